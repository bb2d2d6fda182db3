"""Answers for programs: JSON, and the challenge that says how to sign in (RFC 6750)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response

from valetkey.entrypoints.render import http_status
from valetkey.entrypoints.web import page
from valetkey.errors import Denied, RateLimited, Unauthenticated, ValetkeyError
from valetkey.protocol.dpop import INVALID

_REALM = 'Bearer realm="valetkey"'
_OURS = "Something went wrong on our side, not on yours. Try again later; the reference is in the log."
NOT_THIS_NAME = (
    "This server does not answer to the host name in that address. Whoever runs it says which are its own: by"
    " public_base_url (--public-base-url), and hosts for further ones (--allowed-host)."
)
_TEXTS: Mapping[int, str] = {
    400: "This request cannot be read.",
    404: "There is nothing here.",
    405: "This cannot be used like that.",
    413: "This is too much.",
    421: NOT_THIS_NAME,
}


def wants_page(connection: HTTPConnection) -> bool:
    """Whether a person's browser asks, not a program."""
    return "text/html" in connection.headers.get("accept", "").lower()


def challenge(error: ValetkeyError, *, presented: bool) -> str:
    """The value of ``WWW-Authenticate`` (RFC 6750 §3).

    Args:
        error: why the request is refused.
        presented: whether it had a credential at all; where it had none, nothing is said about one.
    """
    if isinstance(error, Denied):
        return f'{_REALM}, error="insufficient_scope"'
    if not presented:
        return _REALM
    proof = error.message.startswith(INVALID)
    said = page.plain(error.message.removeprefix(INVALID))
    text = said.encode("ascii", "replace").decode().replace("\\", "/").replace('"', "'")
    if proof:
        return f'DPoP error="invalid_dpop_proof", error_description="{text}"'  # RFC 9449 §7.1
    return f'{_REALM}, error="invalid_token", error_description="{text}"'


def from_error(error: ValetkeyError, connection: HTTPConnection) -> Response:
    """The JSON for an error of ours: ``{"success": false, "detail": …}`` with the status of ``errors.RENDERINGS``."""
    status = http_status(error)
    headers = {}
    if isinstance(error, Unauthenticated | Denied):
        headers["www-authenticate"] = challenge(error, presented="authorization" in connection.headers)
    if isinstance(error, RateLimited):
        headers["retry-after"] = str(error.retry_after)
    if status == http_status(ValetkeyError):
        return from_status(status, connection)
    return _answer(status, error.message, connection, code=error.code, headers=headers)


def from_status(status: int, connection: HTTPConnection, headers: Mapping[str, str] | None = None) -> Response:
    """The JSON for a status that has no error of ours; 500 becomes 503, as on pages."""
    ours = status >= http_status(ValetkeyError)
    text = _OURS if ours else _TEXTS.get(status, _TEXTS[400])
    return _answer(503 if status == http_status(ValetkeyError) else status, text, connection, headers=headers)


def _answer(
    status: int,
    detail: str,
    connection: HTTPConnection,
    *,
    code: str = "",
    headers: Mapping[str, str] | None = None,
) -> Response:
    body: dict[str, Any] = {"success": False, "detail": detail}
    if code:
        body["code"] = code
    if reference := page.reference_of(connection.scope):
        body["reference"] = reference
    return JSONResponse(body, status_code=status, headers={**page.HEADERS, **(headers or {})})


async def _on_status(request: Request, error: Exception) -> Response:
    status, headers = (error.status_code, error.headers) if isinstance(error, HTTPException) else (500, None)
    return from_status(status, request, headers)


async def _on_error(request: Request, error: Exception) -> Response:
    return from_error(error if isinstance(error, ValetkeyError) else ValetkeyError(""), request)


def exception_handlers() -> dict[Any, Callable[[Request, Exception], Awaitable[Response]]]:
    """For ``Starlette(exception_handlers=…)``: every error becomes JSON."""
    return {HTTPException: _on_status, ValetkeyError: _on_error, Exception: _on_error}
