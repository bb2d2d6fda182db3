"""sockets: what an idle chat socket costs, and how long a call takes among ten thousand of them."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import place
import plots
from results import Part, Row
from websockets.asyncio.client import connect

PEERS = Path(__file__).resolve().parent / "peers"
SIZES = (1_000, 2_500, 5_000, 10_000)
CALLS = 300
AT_ONCE = 100
SPARE = 200  # files that a process has besides its sockets
KB = 1024
MOST = 50.0
"""KB that a socket may cost."""

SLOWER = 3.0
"""How many times longer the slowest call in a hundred may take among all of them."""

HANDSHAKE = (
    "GET /bedrock-chat/ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_PING, _PONG, _TEXT = 0x89, 0x8A, 0x81


def measure(*, small: bool) -> Part:
    """Idle chat sockets on one process, each with a credential; then tool calls by the offline model among them."""
    most = _room()
    sizes = (100, 500) if small else tuple(dict.fromkeys(min(size, most) for size in SIZES))
    told = place.calm(patience=0 if small else 240)
    with _server("sockets_valetkey.py") as ours:
        cost, alone, among = asyncio.run(_measured(ours, sizes, calls=50 if small else CALLS))
    with _server("sockets_bare.py") as bare:
        least, _, _ = asyncio.run(_measured(bare, sizes, calls=0))
    few = f"Fewer than {SIZES[-1]:,}: this machine lets a process have {most + SPARE:,} files and sockets."
    is_few = not small and sizes[-1] < SIZES[-1]
    most = sizes[-1]
    rows = [
        Row(
            f"sockets, memory of each of {most:,}",
            f"{cost[most]:.1f} KB",
            f"{MOST:.0f} KB",
            cost[most] / MOST,
            1.0,
            more_is_better=False,
        ),
        Row(
            f"sockets, a call among {most:,}, p99",
            f"{_p99(among) * 1000:.1f} ms",
            f"{_p99(alone) * 1000:.1f} ms alone",
            _p99(among) / _p99(alone),
            SLOWER,
            more_is_better=False,
        ),
        Row(
            f"sockets, a call among {most:,}, p50",
            f"{statistics.median(among) * 1000:.1f} ms",
            f"{statistics.median(alone) * 1000:.1f} ms alone",
            statistics.median(among) / statistics.median(alone),
            more_is_better=False,
        ),
    ]
    plot = plots.draw(
        title="Memory of one idle chat socket, by how many there are",
        x="sockets of one process",
        y="KB each",
        lines={"a chat, with a credential": list(cost.items()), "uvicorn alone": list(least.items())},
        bars={"to reach": MOST},
    )
    say = (
        f"Of what a socket costs, {least[most]:.1f} KB is uvicorn's own: the same server with a WebSocket that only"
        " reads, and no session behind it. Memory is what the process has more than before, by the socket."
    )
    return Part(
        rows,
        beside="uvicorn without a chat",
        notes=[say, *([few] if is_few else []), *([told] if told else [])],
        plot=plot,
    )


def _room() -> int:
    """How many sockets a process may have: as many as the system allows, for us and for the servers that we start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = SIZES[-1] + SPARE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return SIZES[-1] if soft == resource.RLIM_INFINITY else min(SIZES[-1], soft - SPARE)


async def _measured(
    server: _Server, sizes: tuple[int, ...], *, calls: int
) -> tuple[dict[float, float], list[float], list[float]]:
    """KB of a socket at each size; seconds of calls with no other socket open, and with all."""
    idle: list[_Idle] = []
    await _open(server, 50, [])  # what the first ones make is not theirs
    alone = await _calls(server, calls)
    before = server.bytes()
    cost: dict[float, float] = {}
    for size in sizes:
        await _open(server, size - len(idle), idle)
        cost[size] = (server.bytes() - before) / size / KB
        print(f"    {size:,}: {cost[size]:.1f} KB each", flush=True)
    among = await _calls(server, calls)
    for each in idle:
        each.transport.abort()
    return cost, alone, among


async def _open(server: _Server, count: int, idle: list[_Idle]) -> None:
    loop = asyncio.get_running_loop()
    free = asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        async with free:
            _, protocol = await loop.create_connection(lambda: _Idle(server.port), "127.0.0.1", server.port)
            await asyncio.wait_for(protocol.ready, 60)
            idle.append(protocol)

    await asyncio.gather(*(one() for _ in range(count)))


async def _calls(server: _Server, count: int) -> list[float]:
    """Seconds from the message to its answer; each makes one call into the app."""
    if not count:
        return []
    found = []
    uri = f"ws://127.0.0.1:{server.port}/bedrock-chat/ws"
    async with connect(uri, proxy=None) as wire:
        await wire.recv()
        for number in range(count + 20):
            began = time.perf_counter()
            await wire.send(json.dumps({"message": f'CALL item {{"number": {number}}}'}))
            while (frame := json.loads(await wire.recv()))["type"] != "ai_response":
                pass
            if f'"number": {number}' not in str(frame["tool_results"]).replace("'", '"'):
                raise RuntimeError(f"the call did not go through: {frame}")
            if number >= 20:  # noqa: PLR2004 - the first ones warm it up
                found.append(time.perf_counter() - began)
            await wire.send('{"type": "clear"}')
            await wire.recv()
            await asyncio.sleep(0.05)  # no faster than one client may send
    return found


class _Idle(asyncio.Protocol):
    """One client in as little memory as may be: it gives a credential, then answers pings."""

    __slots__ = ("_data", "_port", "ready", "transport")

    def __init__(self, port: int) -> None:
        self._port = port
        self._data = b""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(HANDSHAKE.format(port=self._port).encode())

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self.ready.done():
            if b"connection_established" in self._data and b"auth" not in self._data.partition(b"\r\n\r\n")[2]:
                auth = json.dumps({"type": "auth", "token": secrets.token_urlsafe(32)})
                self.transport.write(_frame(_TEXT, auth.encode()))
                self._data = b"asked"
            elif self._data.startswith(b"asked") and (b"auth_configured" in self._data or b"pong" in self._data):
                self._data = b""
                self.ready.set_result(None)
            return
        if self._data[:1] == bytes([_PING]):
            self.transport.write(_frame(_PONG, self._data[2 : 2 + self._data[1]]))
        self._data = b""

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(exc or ConnectionError("closed"))


def _frame(kind: int, payload: bytes) -> bytes:
    """One frame of a client, masked with nothing (RFC 6455 §5.3)."""
    return bytes([kind, 0x80 | len(payload)]) + bytes(4) + payload


class _Server:
    """One of the servers, as a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port = int(self._line())

    def bytes(self) -> int:
        """What it has of memory."""
        assert self._process.stdin is not None
        self._process.stdin.write("?\n")
        self._process.stdin.flush()
        return int(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def _server(script: str) -> Iterator[_Server]:
    with TemporaryDirectory() as folder:
        environment = {**os.environ, "HOME": folder, "VALETKEY_HOME": f"{folder}/.valetkey"}
        process = subprocess.Popen(
            [sys.executable, PEERS / script],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield _Server(process)
        finally:
            process.kill()
            process.wait()


def _p99(taken: list[float]) -> float:
    return statistics.quantiles(taken, n=100)[98]
