"""The person of the demo where nobody is there: a browser's cookies, and the chat's WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from valetkey.testing.visitor import Page, Visitor

Frame = Mapping[str, Any]

_LARGEST = 4_194_304  # bytes of one frame


class Browser:
    """Opens the page, talks to the chat, follows its links: what a person does.

    Args:
        base: where the app is.
        path: where its chat's WebSocket is.
    """

    def __init__(self, base: str, path: str) -> None:
        self._base = base
        self._path = path
        self._visitor = Visitor()
        self._socket: ClientConnection | None = None

    async def open(self) -> Page:
        """Open the page."""
        return await asyncio.to_thread(self._visitor.open, self._base + "/")

    async def connect(self) -> Frame:
        """Open the chat's socket as the page does, with the browser's cookies; the first frame."""
        await self.close()
        url = self._base + self._path
        self._socket = await connect(
            url.replace("http", "ws", 1),
            origin=self._base,  # type: ignore[arg-type]  # a NewType of str
            additional_headers={"Cookie": self._visitor.cookies(url)},
            max_size=_LARGEST,
            proxy=None,
        )
        return await self.until("connection_established")

    async def send(self, **frame: Any) -> None:
        """Send a frame."""
        if self._socket is not None:
            await self._socket.send(json.dumps(frame))

    async def until(self, *types: str) -> Frame:
        """The next frame of one of these types, or an error; others are passed over."""
        while self._socket is not None:
            frame: Frame = json.loads(await self._socket.recv())
            if frame.get("type") in (*types, "error"):
                return frame
        return {"type": "error", "message": "the chat is not open"}

    async def answer(self, url: str, answer: str) -> Page:
        """Follow a link, go on from the app's own page, and answer the provider's; the page at the end."""
        page = await asyncio.to_thread(self._visitor.open, url)
        if page.action.startswith(self._base):
            page = await self._submit(page, "yes")
        return await self._submit(page, answer) if page.action else page

    async def _submit(self, page: Page, answer: str) -> Page:
        return await asyncio.to_thread(lambda: self._visitor.submit(page, answer=answer))

    async def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            await self._socket.close()
            self._socket = None
