"""Error code to HTTP, WebSocket close, RPC, chat frame, MCP, exit code. A test proves it total."""

from __future__ import annotations

from valetkey.errors import RENDERINGS, Rendering, ValetkeyError


def rendering(error: ValetkeyError | type[ValetkeyError]) -> Rendering:
    """The row of ``errors.RENDERINGS`` for an error; a class of somebody else's has the row of its nearest base."""
    kind = error if isinstance(error, type) else type(error)
    return next(RENDERINGS[base] for base in kind.__mro__ if base in RENDERINGS)


def http_status(error: ValetkeyError | type[ValetkeyError]) -> int:
    """The HTTP status (RFC 9110 §15) that tells of this error."""
    return rendering(error).http


def exit_status(error: ValetkeyError | type[ValetkeyError]) -> int:
    """The status with which a command ends for this error."""
    return rendering(error).exit
