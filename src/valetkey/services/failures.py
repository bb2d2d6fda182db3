"""Failures as they cross the RPC wire: ours for clients, and what a client's function raised for us."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from valetkey.errors import Denied, InvalidArguments, NotFound, ValetkeyError
from valetkey.ports.agents import ServiceFailed

_EXCEPTION = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_<>]*\.)*([A-Za-z_][A-Za-z0-9_]*)(?:: ?(.*))?", re.DOTALL)
_TRACEBACK = "Traceback (most recent call last)"
_LONGEST = 4000  # characters of a failure's text


class RemoteFailure(ServiceFailed):
    """A service's function raised.

    Attributes:
        kind: the name of the exception's type; empty: it is not told.
        text: what it says.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}" if kind else text)
        self.kind = kind
        self.text = text


class PeerGone(ValetkeyError):
    """The client that should answer is not connected; it may come back."""

    code = "peer_gone"


def told(error: ValetkeyError) -> str:
    """An error of ours as a client reads it: as the Python exception of that meaning, with its link."""
    kind = next((name for known, name in _KINDS if isinstance(error, known)), type(error).__name__)
    url = getattr(error, "url", "")
    return f"{kind}: {error}{' ' if url else ''}{url}"


_KINDS: tuple[tuple[type[ValetkeyError], str], ...] = (
    (Denied, "PermissionError"),
    (NotFound, "KeyError"),
    (InvalidArguments, "ValueError"),
)


def raised(error: Mapping[str, Any]) -> RemoteFailure:
    """What a client sent as the reason of a rejection: a traceback, or a text with the traceback beside it.

    Only the exception itself is kept: where it was raised is nobody's business but the client's.
    """
    text = str(error.get("_rvalue") or "").strip()
    if not text.startswith(_TRACEBACK):
        kind, _ = _exception(text[-_LONGEST:])
        if kind.endswith(("Error", "Exception", "Failure", "Exit", "Interrupt", "Required", "Refused")):
            return RemoteFailure(*_exception(text[-_LONGEST:]))
        kind, _ = _exception(_after(str(error.get("_rtrace") or "").strip()[-_LONGEST:]))
        return RemoteFailure("" if kind == "Exception" else kind, text[-_LONGEST:])
    return RemoteFailure(*_exception(_after(text[-_LONGEST:])))


def _after(text: str) -> str:
    """What follows the frames of the last traceback."""
    start = text.rfind(_TRACEBACK)
    if start < 0:
        return ""
    lines = text[start:].splitlines()[1:]
    frames = next((at for at, line in enumerate(lines) if line.strip() and not line.startswith(" ")), len(lines))
    return "\n".join(lines[frames:]).strip()


def _exception(text: str) -> tuple[str, str]:
    found = _EXCEPTION.fullmatch(text)
    return (found[1], (found[2] or "").strip()) if found else ("", text)
