"""The body of a request to a service: whole, small, in time."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

from valetkey.entrypoints.rpc.answers import TooLarge

CAP = 4_194_304
"""Bytes that the body of a call may have."""

DEADLINE = 30.0
"""Seconds until it must be there."""


async def whole_body(request: Request, cap: int) -> bytes:
    """The body of a request.

    Raises:
        TooLarge: it has more than ``cap`` bytes.
        TimeoutError: it was not there in time.
        ClientDisconnect: the caller left before it was whole.
    """
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length[:20]) > cap:
        raise TooLarge(f"The body of a call has at most {cap} bytes.")
    parts, size, more = [], 0, True
    async with asyncio.timeout(DEADLINE):
        while more:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            part, more = message.get("body", b""), message.get("more_body", False)
            size += len(part)
            if size > cap:
                raise TooLarge(f"The body of a call has at most {cap} bytes.")
            parts.append(part)
    return b"".join(parts)
