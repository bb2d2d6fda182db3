"""Many people at once: each gets their own answers with their own credential, and afterwards all is given back."""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import tracemalloc
from collections import Counter
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from websockets.asyncio.client import connect

from tests.chat.live import Client, Live, eventually, live
from valetkey.ports.agents import ModelChoice
from valetkey.wiring.models import open_model

DEADLINE = 50.0
AT_ONCE = 50  # handshakes: more than these do not fit a listening socket's queue
Bearer = Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]


class Desk:
    """An operation that answers nobody before everybody has asked; and what each of its calls carried."""

    def __init__(self) -> None:
        self.app = FastAPI()
        self.carried: dict[str, str] = {}
        self.all_here = asyncio.Event()
        self.wanted = 0

        @self.app.get("/mine", operation_id="mine")
        async def mine(marker: str, bearer: Bearer) -> dict[str, str]:
            self.carried[marker] = bearer.credentials
            if len(self.carried) == self.wanted:
                self.all_here.set()
            await self.all_here.wait()
            return {"marker": marker, "sent": bearer.credentials}

    def expect(self, count: int) -> None:
        self.carried.clear()
        self.all_here.clear()
        self.wanted = count


async def crowd(chat: Live, desk: Desk, count: int, *, stream: bool) -> None:
    """So many sessions, whose calls are all under way at the same time; then all of them leave."""
    desk.expect(count)
    doors = asyncio.Semaphore(AT_ONCE)
    tasks = len(asyncio.all_tasks())

    async def visit(number: int) -> list[dict[str, Any]]:
        marker, token = f"m-{number:05}-own", f"token-of-{number:05}-{number * 7919:08x}"
        async with doors:
            wire = await connect(
                f"ws://127.0.0.1:{chat.port}/bedrock-chat/ws", proxy=None, compression=None, close_timeout=5
            )
        frames: list[dict[str, Any]] = []

        async def until(kind: str) -> None:
            while not frames or frames[-1]["type"] not in {kind, "error"}:
                frames.append(json.loads(await wire.recv()))

        client = Client(wire)
        await until("connection_established")
        if stream:
            await client.send(type="options", stream=True)
        await client.send(type="auth", token=token)
        await until("auth_configured")
        await client.send(type="chat", message=f'CALL mine {{"marker": "{marker}"}}')
        await until("ai_response")
        await client.send(type="history")
        await until("history")
        assert desk.carried[marker] == token
        answer = next(frame for frame in frames if frame["type"] == "ai_response")
        assert answer["tool_results"][0]["result"] == {"marker": marker, "sent": "***"}
        told = json.dumps(frames)
        assert told.count("m-") == told.count(marker), "somebody else's"
        assert "token-of-" not in told
        await everybody.wait()
        async with doors:
            await wire.close()
        return frames

    everybody = asyncio.Barrier(count)
    async with asyncio.timeout(DEADLINE):
        everything = await asyncio.gather(*(visit(number) for number in range(count)))
    ids = {frames[0]["session_id"] for frames in everything}
    assert (len(ids), len(desk.carried)) == (count, count)
    await eventually(lambda: len(chat.plugin.session_manager) == 0)
    await chat.clock.sleepers(1)
    chat.clock.advance(1)  # who looks after the sockets sees that there are none
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks)


def ours() -> Counter[str]:
    """How many objects of ours there are, by their type; the audit log is there to keep what it is told."""
    gc.collect()
    kinds = ((type(each), str(type(each).__dict__.get("__module__", ""))) for each in gc.get_objects())
    return Counter(
        kind.__qualname__
        for kind, module in kinds
        if module.startswith("valetkey.") and module != "valetkey.model.audit"
    )


def given_back(chat: Live, before: Counter[str]) -> None:
    """Nothing of a session is left, where it is kept and anywhere else."""
    manager, system = chat.plugin.session_manager, chat.plugin.chat.system
    assert (len(manager), manager.kept, dict(manager._from)) == (0, 0, {})
    assert system.sessions._places == {}
    assert dict(chat.plugin.chat.road.lender._conversations) == {}
    more = ours() - before
    assert max(more.values(), default=0) <= 3, more.most_common(5)


def room_for(sockets: int) -> None:
    """Both ends of each are ours."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * sockets + 200
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"this machine allows {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))


async def with_the_stand_in(chat: Live, desk: Desk) -> Counter[str]:
    """Answer by it; and what there is of ours once all that is made at first need is made."""
    chat.plugin.chat.model = open_model(ModelChoice(model_id="offline"))
    await crowd(chat, desk, 5, stream=True)
    return ours()


@pytest.mark.requirement("chat.crowd", "X-23", "seed003.isolation")
async def test_five_hundred_people_at_once_get_their_own_and_leave_nothing() -> None:
    room_for(500)
    desk = Desk()
    async with live(desk.app) as chat:
        before = await with_the_stand_in(chat, desk)
        await crowd(chat, desk, 500, stream=False)
        given_back(chat, before)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.requirement("chat.crowd")
async def test_crowds_that_come_and_go_cost_no_memory() -> None:
    """Two thousand at once, then crowds that are watched: what is left after the last is what the first one left."""
    room_for(2000)
    desk = Desk()
    async with live(desk.app, max_sessions=2000, toml="[identity]\naudit = false\n") as chat:
        before = await with_the_stand_in(chat, desk)
        await crowd(chat, desk, 2000, stream=True)
        given_back(chat, before)
        tracemalloc.start()
        await crowd(chat, desk, 500, stream=True)
        first = tracemalloc.take_snapshot()
        for _ in range(2):
            await crowd(chat, desk, 500, stream=True)
            given_back(chat, before)
        grown = tracemalloc.take_snapshot().compare_to(first, "filename")
        tracemalloc.stop()
        left = sum(each.size_diff for each in grown if "valetkey" in each.traceback[0].filename)
        assert left < 100_000, [str(each) for each in grown[:5]]
