"""A request as the server for tests recorded it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from starlette.requests import Request

from valetkey.testing.oauth.ledger import OAuthError

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request that arrived. What may hold a credential does not print.

    Attributes:
        query: the query's fields; the last one of a name counts.
        form: the body's fields, from a form or a JSON object; empty when the body is neither.
        headers: by lower-case name.
        pairs: the query's fields as they stood, repetitions included.
        body: the body's bytes.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    form: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    cookies: Mapping[str, str] = field(default_factory=dict, repr=False)
    pairs: Pairs = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def content_type(self) -> str:
        """The media type of the body, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def fields(self, coding: str) -> dict[str, str]:
        """The body's fields, sent in that coding (``form`` or ``json``) and each named once.

        Raises:
            OAuthError: ``invalid_request`` (RFC 6749 §5.2).
        """
        expected = "application/json" if coding == "json" else "application/x-www-form-urlencoded"
        if self.content_type != expected:
            raise OAuthError("invalid_request", f"The body must be {expected}.")
        return single(_body_pairs(self.body, coding))


async def receive(request: Request) -> Received:
    """Read a request whole."""
    body = await request.body()
    headers = dict(request.headers.items())
    query = _form_pairs(request.url.query)
    return Received(
        method=request.method,
        path=request.url.path,
        query=dict(query),
        form=_readable(body, "json" if headers.get("content-type", "").startswith("application/json") else "form"),
        headers=headers,
        cookies=dict(request.cookies),
        pairs=query,
        body=body,
    )


def single(pairs: Pairs) -> dict[str, str]:
    """Fields by name.

    Raises:
        OAuthError: ``invalid_request``: a name comes twice (RFC 6749 §3.1, §3.2).
    """
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise OAuthError("invalid_request", "A parameter is included more than once.")
    return fields


def _readable(body: bytes, coding: str) -> dict[str, str]:
    try:
        return dict(_body_pairs(body, coding))
    except OAuthError:
        return {}


def _form_pairs(text: str) -> Pairs:
    return tuple(parse_qsl(text, keep_blank_values=True))


def _body_pairs(body: bytes, coding: str) -> Pairs:
    try:
        text = body.decode()
        if coding == "form":
            return _form_pairs(text)
        found = json.loads(text, object_pairs_hook=tuple)
    except ValueError as error:
        raise OAuthError("invalid_request", "The body cannot be read.") from error
    if not isinstance(found, tuple):
        raise OAuthError("invalid_request", "The body must be a JSON object.")
    return tuple((str(name), value if isinstance(value, str) else json.dumps(value)) for name, value in found)
