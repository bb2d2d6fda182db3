"""Processes of their own with a system each: forked from one that has imported everything, told what to do by lines.

Run as a program it is the nursery: it takes a plan and a socket, forks a worker for them, and answers with its id.
A plan may say where the worker breaks (``at``) and how (``by``); nothing in the product knows of that.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from valetkey.adapters.system import SystemClock
from valetkey.connections import pace, refresh, rotations
from valetkey.errors import ValetkeyError
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.model.caller import Caller
from valetkey.model.calls import Allowed, Call
from valetkey.model.needs import Need, Needs
from valetkey.settings.pocket import Config
from valetkey.wiring import build
from valetkey.wiring.system import System

PROVIDER = "mailroom"
Command = Callable[..., Awaitable[object]]


class SteppedClock(SystemClock):
    """The machine's clock, whose wall time somebody sets on or back."""

    step = 0.0

    def now(self) -> float:
        return super().now() + self.step


def once(action: str) -> Callable[[], None]:
    """A blow that falls the first time only."""
    left = [{"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[action]]
    went_on = threading.Event()
    signal.signal(signal.SIGCONT, lambda *_: went_on.set())

    def strike() -> None:
        if left:
            os.kill(os.getpid(), left.pop())
            went_on.wait()  # another thread may be the one that the signal holds first

    return strike


def break_at(system: System, point: str, action: str) -> None:
    """Let the process be killed or stopped at that point of its first refresh."""
    strike = once(action)
    store: Any = system.stores.connections
    fetcher: Any = system.fetcher
    lease, save, fetch = store.lease, store.save, fetcher.fetch

    async def leased(*args: Any, **kwargs: Any) -> bool:
        taken: bool = await lease(*args, **kwargs)
        if taken:
            strike()
        return taken

    async def sending(request: Any) -> Any:
        strike()
        return await fetch(request)

    async def fetched(request: Any) -> Any:
        answer = await fetch(request)
        strike()
        return answer

    async def saved(*args: Any, **kwargs: Any) -> bool:
        written: bool = await save(*args, **kwargs)
        strike()
        return written

    target, name, wrapped = {
        "leased": (store, "lease", leased),
        "sending": (fetcher, "fetch", sending),
        "answered": (fetcher, "fetch", fetched),
        "saved": (store, "save", saved),
    }[point]
    setattr(target, name, wrapped)


def hasten(system: System, scale: float) -> None:
    """Let all that a refresh waits for take that part of its time: leases, deadlines, pauses."""
    module: Any = refresh
    for name in ("LEASE", "OWN", "START", "TRY", "PATIENCE"):
        setattr(module, name, getattr(refresh, name) * scale)
    saving: Any = rotations
    saving.SAVE = rotations.SAVE * scale
    pauses: Any = pace
    pauses.FIRST_PAUSE = pace.FIRST_PAUSE * scale
    fetcher: Any = system.fetcher
    fetch = fetcher.fetch

    async def hurried(request: Any) -> Any:
        return await fetch(replace(request, deadline=request.deadline * scale))

    fetcher.fetch = hurried


class Work:
    """What a worker does when it is told so; each command gives something that JSON can say."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.clock = SteppedClock()
        self.clock.step = plan.get("step", 0.0)
        config = Config.load(Path(plan["project"]), {}, **plan["settings"])
        self.system = build.build(config, folder=Path(plan["home"]), environ={}, clock=self.clock)
        if "busy" in plan:
            store: Any = self.system.stores.connections
            store._database._busy_timeout = plan["busy"]
        if "scale" in plan:
            hasten(self.system, plan["scale"])
        if "at" in plan:
            break_at(self.system, plan["at"], plan["by"])

    async def call(self, *, owner: str, callers: int = 1, rejected: bool = False) -> list[dict[str, Any]]:
        """So many calls at once that need the owner's account; the token or the error of each."""
        return await asyncio.gather(*(self._one(owner, rejected=rejected) for _ in range(callers)))

    async def insist(self, *, owner: str) -> list[dict[str, Any]]:
        """One call, made again where a busy machine made it look as if it had stood still."""
        while True:
            outcome = await self._one(owner)
            if "stood still" not in outcome.get("text", ""):
                return [outcome]

    async def load(self, *, owners: list[str], seconds: float) -> dict[str, Any]:
        """Call for each owner again and again; how often that ended how, and the longest time that a call took."""
        ended: Counter[str] = Counter()
        longest = 0.0
        end = time.monotonic() + seconds

        async def go_on(owner: str) -> None:
            nonlocal longest
            while time.monotonic() < end:
                outcome = await self._one(owner)
                ended[outcome.get("error", "ok")] += 1
                longest = max(longest, outcome["seconds"])
                await asyncio.sleep(0.005)

        await asyncio.gather(*(go_on(owner) for owner in owners))
        return {"ended": dict(ended), "longest": longest}

    async def disconnect(self, *, owner: str) -> dict[str, Any]:
        """Delete the owner's account."""
        return asdict(await self.system.disconnector.disconnect(owner_of(owner), PROVIDER, "default"))

    async def replay(self) -> int:
        """Bring home what waits; how much still does."""
        return await self.system.rotations.replay()

    async def catch_up(self) -> int:
        """Revoke what is to be revoked."""
        return await self.system.revoker.catch_up()

    async def ahead(self) -> int:
        """One round of refreshing ahead, as upkeep does it."""
        return await build._upkeep(self.system).refresh_ahead()

    async def become(self, *, account: int) -> None:
        """Be that account of the machine from now on."""
        self.system.handling.find(None, PROVIDER)  # what is in the project's folder is read now
        os.seteuid(account)

    async def idle(self) -> None:
        """Wait until nothing is under way on the home loop, wanted or not."""
        home: Any = self.system.home
        while home._outcomes:  # noqa: ASYNC110 - that loop tells nobody
            await asyncio.sleep(0.01)

    async def step(self, *, seconds: float) -> None:
        """Set the wall clock on or back."""
        self.clock.step += seconds

    async def _one(self, owner: str, *, rejected: bool = False) -> dict[str, Any]:
        began = time.monotonic()
        needs = Needs(((Need(provider=PROVIDER),),))
        allowed = Allowed(caller=Caller(owner=owner_of(owner), how="test"), call=Call(tool="t", needs=needs), rule="")
        try:
            connected = await self.system.connector.connect(allowed)
            if rejected:
                connected = await self.system.connector.renew(connected, certain=True) or connected
            (connection,) = connected.connections
            token = self.system.sealer.open_credential(connection).access_token.reveal()
        except ValetkeyError as error:
            told = {"error": type(error).__name__, "text": str(error), "status": error.code}
        else:
            told = {"token": token}
        return told | {"seconds": time.monotonic() - began}


async def serve(channel: socket.socket, work: Work) -> None:
    """Do each line's command in a task of its own, until nobody tells any more."""
    reader, writer = await asyncio.open_connection(sock=channel)
    tasks: set[asyncio.Task[None]] = set()

    async def do(number: int, name: str, arguments: dict[str, Any]) -> None:
        command: Command = getattr(work, name)
        try:
            answer = {"result": await command(**arguments)}
        except Exception as error:  # noqa: BLE001 - told to the test
            answer = {"raised": f"{type(error).__name__}: {error}"}
        writer.write(json.dumps({"number": number, **answer}).encode() + b"\n")

    while line := await reader.readline():
        task = asyncio.create_task(do(*json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    for task in tasks:
        task.cancel()
    writer.close()


def live(channel: socket.socket, plan: dict[str, Any]) -> None:
    """A worker's life."""
    log = os.open(plan["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(plan["project"])
    work = Work(plan)
    asyncio.run(serve(channel, work))
    work.system.close()


def nursery() -> None:
    """Fork a worker for each plan."""
    import alembic.command  # noqa: F401 - before the fork, so that workers begin at once
    import asyncpg  # noqa: F401 - as above

    import valetkey.adapters.http
    import valetkey.adapters.redis_messages
    import valetkey.adapters.sql.postgres
    import valetkey.adapters.sql.sqlite  # noqa: F401 - as above

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    orders = socket.socket(fileno=os.dup(0))
    while True:
        plan, sockets, *_ = socket.recv_fds(orders, 65_536, 1)
        if not plan:
            return
        worker = os.fork()
        if not worker:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            orders.close()
            os.close(0)
            live(socket.socket(fileno=sockets[0]), json.loads(plan))
            return
        os.close(sockets[0])
        orders.sendall(b"%d\n" % worker)


if __name__ == "__main__":
    nursery()
