"""The answer to a handshake that is refused: whatever the app's own sign-in said, it is one that HTTP can carry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from valetkey.entrypoints.chat.handshake import Refused

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_VALUE = re.compile(r"[\t -~\x80-\xff]*")
_OURS = frozenset({"connection", "content-length", "content-type", "transfer-encoding", "cache-control"})
_STATUSES = range(400, 600)


def denial(refusal: Refused) -> JSONResponse:
    """Its status, ``{"detail": …}`` and its headers, without what can be no JSON or no header."""
    status = refusal.status if refusal.status in _STATUSES else HTTPStatus.FORBIDDEN.value
    headers = {**_headers(refusal.headers), "cache-control": "no-store"}
    try:
        return JSONResponse({"detail": refusal.detail}, status_code=status, headers=headers)
    except (TypeError, ValueError, RecursionError):  # a date, half a character, a circle
        text = refusal.detail if isinstance(refusal.detail, str) else _word(status)
        return JSONResponse({"detail": text.encode("utf-8", "replace").decode()}, status_code=status, headers=headers)


def _headers(given: Mapping[Any, Any]) -> dict[str, str]:
    texts = {str(name): str(value) for name, value in given.items()}
    return {
        name: value
        for name, value in texts.items()
        if _NAME.fullmatch(name) and _VALUE.fullmatch(value) and name.lower() not in _OURS
    }


def _word(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Refused"
