"""The library of RPC objects, ``hypha_rpc``, loaded and used so that logging and the loop stay as they were."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hypha_rpc.rpc import RPC

_ENDLESS = 1 << 62  # bytes of a message that it sends in one: the way to a client cuts it in pieces


@contextlib.contextmanager
def _logging_left_alone() -> Iterator[None]:
    """Its modules call ``logging.basicConfig``, which does nothing where the root logger has a handler."""
    root, held = logging.getLogger(), logging.NullHandler()
    root.addHandler(held)
    try:
        yield
    finally:
        root.removeHandler(held)


@contextlib.contextmanager
def _loop_left_alone() -> Iterator[None]:
    """An RPC object sets an exception handler that says nothing, and takes whichever there is away at its end."""
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()
    try:
        yield
    finally:
        loop.set_exception_handler(handler)


def load() -> type[RPC]:
    """The class of RPC objects.

    Raises:
        ImportError: the library is not installed.
    """
    with _logging_left_alone():
        found: type[RPC] = importlib.import_module("hypha_rpc.rpc").RPC
    return found


def mapping() -> type[dict[Any, Any]]:
    """The class of maps as programs hold them: members are attributes, too."""
    found: type[dict[Any, Any]] = importlib.import_module("hypha_rpc.utils").ObjectProxy
    return found


class Wire:
    """What an RPC object takes for its connection; it has no workspace manager.

    Args:
        emit: sends what it says.
    """

    manager_id = None

    def __init__(self, emit: Callable[[bytes], Awaitable[None]]) -> None:
        self.emit_message = emit

    def on_message(self, handler: object) -> None:
        """Messages are not given to it: what is in them is taken apart before."""

    def on_connected(self, handler: object) -> None:
        """It always is."""

    async def disconnect(self) -> None:
        """There is nothing to end."""


def opened(wire: Wire, *, client: str, workspace: str, base_url: str) -> RPC:
    """An RPC object on the running loop. It answers nobody: it writes and reads values, and keeps sessions."""
    library = load()
    with _loop_left_alone():
        rpc: Any = library(
            wire,
            client_id=client,
            workspace=workspace,
            silent=True,
            server_base_url=base_url,
            long_message_chunk_size=_ENDLESS,
        )
    rpc._services.clear()  # noqa: SLF001 - its own built-in service would answer
    return rpc


async def closed(rpc: RPC) -> None:
    """End it, and what it began."""
    with _loop_left_alone():
        await rpc.disconnect()
