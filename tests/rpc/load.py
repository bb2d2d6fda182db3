"""Many clients at the wire over several instances: each answers what it is called with, and counts what it hears."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgpack
from websockets.asyncio.client import ClientConnection, connect

WAIT = 60.0
AT_ONCE = 50  # handshakes


@dataclass(kw_only=True)
class Echo:
    """A client with one service, ``echo``, that gives back what it is called with."""

    socket: ClientConnection
    peer: str
    manager: str
    waiting: dict[str, asyncio.Future[Any]] = field(default_factory=dict)
    replies: Counter[str] = field(default_factory=Counter)
    served: int = 0

    async def listen(self) -> None:
        """Answer calls and take replies, until the socket ends."""
        async for data in self.socket:
            if isinstance(data, bytes):
                await self._take(data)

    async def call(self, to: str, method: str, session: str, *args: Any) -> Any:
        """Call, and what it gave.

        Raises:
            RuntimeError: it failed.
        """
        done = self.waiting[session] = asyncio.get_running_loop().create_future()
        first = {"type": "method", "to": to, "method": method, "session": session}
        second = {"args": list(args), "promise": "*", "t": 30}
        await self.socket.send(msgpack.packb(first) + msgpack.packb(second))
        return await done

    async def _take(self, data: bytes) -> None:
        unpacker = msgpack.Unpacker(strict_map_key=False)
        unpacker.feed(data)
        first, *rest = unpacker
        session, _, name = first["method"].rpartition(".")
        args = rest[0].get("args", []) if rest else []
        if first["method"] == "services.echo.say":
            self.served += 1
            reply = {"type": "method", "to": first["from"], "method": f"{first['session']}.resolve"}
            await self.socket.send(msgpack.packb(reply) + msgpack.packb({"args": [[args[0], first["from"]]]}))
        elif name in ("resolve", "reject"):
            self.replies[session] += 1
            done = self.waiting.get(session)
            if done is not None and not done.done():
                if name == "resolve":
                    done.set_result(args[0] if args else None)
                else:
                    done.set_exception(RuntimeError(args[0]["_rvalue"]))


@asynccontextmanager
async def clients(urls: Sequence[str], count: int, token: str, *, prefix: str) -> AsyncIterator[list[Echo]]:
    """So many, one after the other on each of the instances, each with its service registered."""
    free = asyncio.Semaphore(AT_ONCE)
    listening: list[asyncio.Task[None]] = []
    async with AsyncExitStack() as stack:

        async def one(number: int) -> Echo:
            async with free, asyncio.timeout(WAIT):
                url = urls[number % len(urls)].replace("http", "ws", 1)
                socket = await stack.enter_async_context(
                    connect(f"{url}/ws", compression=None, proxy=None, ping_interval=None)
                )
                hello = {"client_id": f"{prefix}{number}", "workspace": None, "token": token}
                await socket.send(json.dumps({**hello, "reconnection_token": None}))
                info = json.loads(await socket.recv())
                peer = f"{info['workspace']}/{info['client_id']}"
                made = Echo(socket=socket, peer=peer, manager=f"*/{info['manager_id']}")
                listening.append(asyncio.create_task(made.listen()))
                schema = {"say": {"type": "function", "function": {"name": "say", "parameters": {}}}}
                about = {"id": f"{peer}:echo", "type": "generic", "config": {}, "service_schema": schema}
                await made.call(made.manager, "services.default.register_service", "register", about)
                return made

        yield list(await asyncio.gather(*(one(number) for number in range(count))))
    await asyncio.gather(*listening, return_exceptions=True)


async def call_each_other(there: Sequence[Echo], count: int, *, in_flight: int) -> list[str]:
    """So many calls, of all to all; what went wrong, in words."""
    wrong: list[str] = []
    free = asyncio.Semaphore(in_flight)

    async def one(number: int) -> None:
        caller = there[number % len(there)]
        callee = there[(number * 7 + number // len(there) + 1) % len(there)]
        async with free, asyncio.timeout(WAIT):
            try:
                answer = await caller.call(callee.peer, "services.echo.say", f"s{number}", number)
            except RuntimeError as error:
                wrong.append(f"call {number} failed: {error}")
                return
        if answer != [number, caller.peer]:
            wrong.append(f"call {number} was answered with {answer}")

    await asyncio.gather(*(one(number) for number in range(count)))
    sessions = {f"s{number}": there[number % len(there)] for number in range(count)}
    wrong += [f"{name} had {each.replies[name]} replies" for name, each in sessions.items() if each.replies[name] != 1]
    if sum(each.served for each in there) != count:
        wrong.append(f"{sum(each.served for each in there)} calls arrived")
    return wrong
