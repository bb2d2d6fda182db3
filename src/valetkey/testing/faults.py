"""A TCP proxy that cuts, delays and garbles."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from valetkey.adapters.system import SystemClock
from valetkey.ports.world import Clock

Side = Literal["request", "answer"]
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Pass:
    """All bytes go through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """Each piece of an answer comes that many seconds late."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drip:
    """An answer comes one byte at a time, so many seconds apart."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The connection ends after so many further bytes of one side: closed, or reset."""

    after: int
    side: Side = "answer"
    reset: bool = False


@dataclass(frozen=True, slots=True)
class Garble:
    """Every bit of an answer is turned over."""


@dataclass(frozen=True, slots=True)
class Blackhole:
    """Connections are taken and stay open; nothing arrives on either side."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """No connection is taken; those that were open are reset."""


Fault = Pass | Delay | Drip | Cut | Garble | Blackhole | Refuse


class FaultProxy:
    """Stands before a server on loopback and does to its connections what networks do.

    So it is used::

        async with FaultProxy(server_port) as proxy:
            ...  # talk to 127.0.0.1:proxy.port
            await proxy.use(Cut(after=10))

    Args:
        target: the port of the server on 127.0.0.1.
        fault: what to begin with.
        clock: what delays wait on; a `ManualClock` makes them exact.

    Attributes:
        port: where the proxy listens on 127.0.0.1; the same all the time.
        accepted: how many connections were taken so far.
    """

    def __init__(self, target: int, fault: Fault | None = None, *, clock: Clock | None = None) -> None:
        self.port = 0
        self.accepted = 0
        self._target = target
        self._fault = fault or Pass()
        self._clock = clock or SystemClock()
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Event()
        self._open: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._listen()
        if isinstance(self._fault, Refuse):
            await self._stop()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def use(self, fault: Fault) -> None:
        """Switch, for open connections too: what waits in a delay goes on at once under the new fault."""
        self._fault = fault
        self._changed.set()
        self._changed = asyncio.Event()
        if isinstance(fault, Refuse):
            await self._stop()
        elif self._server is None:
            await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in self._open:
            connection.cancel()
        if self._open:
            await asyncio.wait(self._open)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        connection = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._open.add(connection)
        connection.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        reset = True
        try:
            from_target, to_target = await asyncio.open_connection(LOOPBACK, self._target)
            writers.append(to_target)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump("request", reader, to_target))
                pumps.create_task(self._pump("answer", from_target, writer))
            reset = False
        except* _CutError as cut:
            reset = any(isinstance(error, _CutError) and error.reset for error in cut.exceptions)
        except* OSError:
            pass
        finally:
            for each in writers:
                await _end(each, reset=reset)

    async def _pump(self, side: Side, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        counted: Fault | None = None
        passed = 0
        while data := await reader.read(65_536):
            while data:
                fault = self._fault
                if fault is not counted:
                    counted, passed = fault, 0
                piece, data = await self._treat(fault, side, data, passed)
                passed += len(piece)
                writer.write(piece)
                await writer.drain()
                if isinstance(fault, Cut) and fault.side == side and passed >= fault.after:
                    raise _CutError(reset=fault.reset)
        if not isinstance(self._fault, Blackhole):
            with contextlib.suppress(OSError):
                writer.write_eof()

    async def _treat(self, fault: Fault, side: Side, data: bytes, passed: int) -> tuple[bytes, bytes]:
        """What goes through now, and what is looked at again."""
        room = len(data)
        if isinstance(fault, Blackhole):
            return b"", b""
        if isinstance(fault, Cut) and fault.side == side:
            room = max(fault.after - passed, 0)
        elif isinstance(fault, Garble) and side == "answer":
            data = bytes(byte ^ 0xFF for byte in data)
        elif isinstance(fault, Delay | Drip) and side == "answer":
            if not await self._pause(fault.seconds):
                room = 0
            elif isinstance(fault, Drip):
                room = 1
        return data[:room], data[room:]

    async def _pause(self, seconds: float) -> bool:
        """Wait; False where the fault was switched meanwhile."""
        changed = self._changed
        waits = {
            asyncio.ensure_future(self._clock.sleep(seconds)),
            asyncio.ensure_future(changed.wait()),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return not changed.is_set()


class _CutError(Exception):
    def __init__(self, *, reset: bool) -> None:
        super().__init__()
        self.reset = reset


async def _end(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    with contextlib.suppress(OSError):
        if reset:
            # SO_LINGER of zero seconds makes a close a reset.
            held: socket.socket | None = writer.get_extra_info("socket")
            if held is not None:
                held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        writer.close()
        await writer.wait_closed()
