"""Pages of functions services: what their functions are told of a request, and what they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from valetkey.entrypoints.rpc.answers import Still, result
from valetkey.entrypoints.rpc.client_headers import checked
from valetkey.model.services import Registered
from valetkey.services.sight import Who
from valetkey.services.table import Service


def event_of(
    request: Request, path: str, service: Service | Registered, who: Who, headers: Mapping[str, str], body: bytes
) -> dict[str, Any]:
    """What a function is told (contract 3.1)."""
    return {
        "type": "http",
        "method": request.method,
        "path": f"/{path}",
        "function_path": f"/{path}",
        "query_string": request.scope["query_string"].decode("latin-1"),
        "headers": dict(headers),
        "body": body,
        "workspace": service.workspace,
        "service_id": service.id,
        "user": who.user,
    }


def page_of(
    value: Any,
    *,
    still: Still | None = None,
    passes: Callable[[str], bool] | None = None,
    more: Mapping[str, str] | None = None,
) -> Response:
    """What a function of a page gave: ``{"status", "headers", "body"}``; anything else is JSON.

    Args:
        value: what it gave.
        still: whether its caller still is one, where it is a stream.
        passes: which headers it may send; None: all.
        more: headers that go in place of its own.

    Raises:
        RuntimeError: it is no answer of HTTP.
    """
    if not isinstance(value, Mapping) or not {"status", "body"} & set(value):
        return result(value, still=still)
    status, headers, body = value.get("status", 200), value.get("headers") or {}, value.get("body", b"")
    if not isinstance(status, int) or not 200 <= status <= 599 or not isinstance(headers, Mapping):  # noqa: PLR2004
        raise RuntimeError("a page's function has to give a status of 200 to 599, and a dict of headers")
    if body is not None and not isinstance(body, str | bytes | bytearray):
        raise RuntimeError("a page's function has to give a body of text or bytes")
    try:
        given = dict(checked(str(name), str(text)) for name, text in headers.items())
    except ValueError as error:
        raise RuntimeError(f"a page's function gave what cannot be sent: {error}") from None
    # Its length is counted here: one that is wrong would break the connection.
    shown = {
        name: text
        for name, text in given.items()
        if name.lower() != "content-length" and (passes is None or passes(name))
    }
    if status in (204, 304):  # RFC 9110 §6.4.1
        body = b""
    try:
        content = body.encode() if isinstance(body, str) else bytes(body or b"")
        "".join([*shown, *shown.values()]).encode("latin-1")
    except UnicodeEncodeError:
        raise RuntimeError("a page's function gave half a character, or a header that is not Latin-1") from None
    return Response(content, status_code=status, headers={"x-content-type-options": "nosniff", **shown, **(more or {})})
