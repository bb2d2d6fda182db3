"""Blocks and stops: known everywhere within five seconds, and nobody is let on who may be stopped (E-07, E-04)."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.policy.kit import Told, call, caller, home, host
from valetkey.adapters.home import HomeLoop
from valetkey.adapters.local_messages import LocalWakeups
from valetkey.adapters.memory_tokens import MemoryStops
from valetkey.adapters.sql.sqlite import SqliteDatabase
from valetkey.adapters.sql.stops import SqlStops
from valetkey.cli.main import main
from valetkey.errors import CouldNotTell, Denied, InvalidArguments, StoreUnavailable, Unauthenticated
from valetkey.identity.chain import Chain, Vouch
from valetkey.model.audit import Action
from valetkey.model.caller import Caller
from valetkey.model.calls import Call, Presented
from valetkey.model.stops import Stop, StopKind
from valetkey.policy.blocks import Blocks
from valetkey.policy.decide import Policy
from valetkey.policy.rules import Effect, WrittenRule
from valetkey.ports.stores import StopStore
from valetkey.stops import BOUND, LOOK_EVERY, TOPIC, Stops
from valetkey.testing.clock import ManualClock

ALLOW = WrittenRule(name="all", effect=Effect.ALLOW, tools=("*",))


class Remembering:
    """A verifier whose verdict on a token is remembered for an hour."""

    async def verify(self, presented: Presented) -> Vouch | None:
        who = caller()
        return Vouch(owner=who.owner, how="bearer", user=who.user, token="t1", keep=3600)


class Instance:
    """One server process: its own view of what is stopped, and what rests on it."""

    def __init__(self, store: StopStore, clock: ManualClock, *, of: HomeLoop | None = None) -> None:
        self.audit = Told()
        self.wakeups = LocalWakeups()
        self.stops = Stops(store=store, clock=clock, wakeups=self.wakeups, home=of)
        self.blocks = Blocks(stops=self.stops, audit=self.audit, clock=clock)
        self.policy = Policy((ALLOW,), stops=self.stops, audit=self.audit)
        self.chain = Chain([Remembering()], stops=self.stops, clock=clock)

    async def call(self, who: Caller | None = None, what: Call | None = None) -> bool:
        try:
            await self.policy.decide(who or caller(), what or call())
        except Denied as denied:
            if "is blocked here" not in str(denied):
                raise
            return False
        return True


class Store(MemoryStops):
    """Rows in memory, of a database that may be away, or slow; it counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.away: Exception | None = None
        self.asked = 0
        self.gate: asyncio.Event | None = None

    async def revision(self) -> int:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.away is not None:
            raise self.away
        return await super().revision()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def file(clock: ManualClock, tmp_path: Path) -> Iterator[list[SqliteDatabase]]:
    opened = [SqliteDatabase(tmp_path / "v.db", ticks=clock.monotonic) for _ in range(2)]
    yield opened
    for database in opened:
        database.close()


@pytest.fixture(params=["memory", "sqlite"])
async def two(request: pytest.FixtureRequest, clock: ManualClock) -> Sequence[Instance]:
    """Two instances on one database."""
    stores: list[StopStore]
    if request.param == "memory":
        stores = [MemoryStops()] * 2
    else:
        stores = [SqlStops(database) for database in request.getfixturevalue("file")]
    return [Instance(store, clock) for store in stores]


async def settled(instance: Instance) -> None:
    """Let a look that nobody waits for end."""
    looking = instance.stops._looking
    if looking is not None:
        await asyncio.wait([looking])


BLOCKED = [
    ("user", "ann", caller(), call()),
    ("user", "ann", caller("robot", parent="ann"), call()),
    ("tool", "post", caller(), call()),
    ("workspace", "ws-user-ann", caller(), call()),
    ("user", "thread-1", host("thread-1"), call()),
]


@pytest.mark.requirement("E-07", "C7.blocks")
@pytest.mark.parametrize(("kind", "name", "who", "what"), BLOCKED)
async def test_a_block_stops_calls_here_at_once_and_elsewhere_within_five_seconds(two, clock, kind, name, who, what):
    here, there = two
    assert await here.call(who, what)
    assert await there.call(who, what)
    await here.blocks.add(kind, name, reason="why")
    assert not await here.call(who, what)
    for _ in range(5):  # calls come in all the time
        clock.advance(LOOK_EVERY)
        last = await there.call(who, what)
        await settled(there)
    assert last is False
    assert await there.call(caller("bob"), call("get"))
    assert await here.blocks.remove(kind, name)
    clock.advance(LOOK_EVERY)
    await there.call(who, what)
    await settled(there)
    assert await there.call(who, what)


@pytest.mark.parametrize(("kind", "name", "who", "what"), BLOCKED)
async def test_after_a_silence_the_first_call_waits_for_the_truth(two, clock, kind, name, who, what):
    here, there = two
    assert await there.call(who, what)
    await here.blocks.add(kind, name)
    clock.advance(BOUND)
    assert not await there.call(who, what)


@pytest.mark.requirement("E-07")
async def test_a_blocked_users_tokens_are_refused_though_they_were_verified_before(two, clock):
    here, there = two
    shown = Presented(scheme="bearer", value="a token")
    known = await there.chain.identify(shown)
    await here.blocks.add("user", "ann")
    clock.advance(BOUND)
    with pytest.raises(Unauthenticated, match="This user is blocked here"):
        await there.chain.identify(shown)
    with pytest.raises(Unauthenticated):
        await there.chain.still(known)
    with pytest.raises(Unauthenticated):
        await here.chain.identify(shown)


async def test_two_issuers_do_not_share_a_block(clock):
    here = Instance(MemoryStops(), clock)
    await here.blocks.add("user", "ann")
    other = caller("ann", issuer="https://idp.test", id="corp|ann")
    assert await here.call(other)
    assert not await here.call(caller("ann"))


async def test_a_hint_of_another_instance_is_looked_at_without_waiting_for_the_second(two):
    here, there = two
    assert await there.call()
    watching = asyncio.create_task(there.stops.watch())
    await asyncio.sleep(0)
    await here.blocks.add("tool", "post")
    seen = there.stops.generation
    there.wakeups.wake(TOPIC)
    async with asyncio.timeout(5):
        while there.stops.generation == seen:  # noqa: ASYNC110 - the look is in another task, and on a thread
            await asyncio.sleep(0.001)
    assert not await there.call()
    watching.cancel()
    await asyncio.wait([watching])


class TestDatabaseAway:
    """E-04: what is known grows old, and then nobody is let on."""

    @pytest.mark.requirement("E-04")
    async def test_for_a_while_calls_go_on_and_after_five_seconds_none_does(self, clock):
        store = Store()
        there = Instance(store, clock)
        assert await there.call()
        store.away = StoreUnavailable("away")
        for _ in range(4):
            clock.advance(1)
            assert await there.call()
            await settled(there)
        clock.advance(1.01)
        for _ in range(10):  # in the pause between two looks, too
            with pytest.raises(CouldNotTell):
                await there.call()
            clock.advance(0.1)
        store.away = None
        clock.advance(1)
        assert await there.call()

    async def test_at_the_start_nobody_is_let_on_before_the_database_answered(self, clock):
        store = Store()
        store.away = RuntimeError("a fault that nobody thought of")
        there = Instance(store, clock)
        with pytest.raises(CouldNotTell):
            await there.call()
        with pytest.raises(CouldNotTell):
            await there.chain.identify(Presented(scheme="bearer", value="x"))

    async def test_many_callers_wait_for_one_look(self, clock):
        store = Store()
        store.gate = asyncio.Event()
        there = Instance(store, clock)
        calls = [asyncio.create_task(there.call()) for _ in range(50)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert store.asked == 1
        store.gate.set()
        assert all(await asyncio.gather(*calls))
        assert store.asked == 1

    async def test_a_second_goes_by_between_two_looks_however_many_call(self, clock):
        store = Store()
        there = Instance(store, clock)
        for _ in range(100):
            await there.call()
            await settled(there)
            clock.advance(0.0999)
        assert 9 <= store.asked <= 11

    async def test_what_was_stopped_and_cannot_be_read_again_lets_nobody_on(self, clock):
        store = Store()
        here = Instance(store, clock)
        assert await here.call()
        store.away = StoreUnavailable("away")
        await here.blocks.add("tool", "post")
        with pytest.raises(CouldNotTell):
            await here.call()

    async def test_a_block_that_cannot_be_saved_is_an_error(self, clock, monkeypatch):
        store = Store()
        here = Instance(store, clock)

        async def put(stop: Stop) -> None:
            raise StoreUnavailable("away")

        monkeypatch.setattr(store, "put", put)
        with pytest.raises(StoreUnavailable):
            await here.blocks.add("tool", "post")
        assert here.audit.of(Action.BLOCK) == []


class Crossed(MemoryStops):
    """A database whose answers are late: the first reader gets what was there when it asked."""

    def __init__(self) -> None:
        super().__init__()
        self.late: asyncio.Event | None = None

    async def since(self, revision: int) -> Sequence[Stop]:
        answer = await super().since(revision)
        late, self.late = self.late, None
        if late is not None:
            await late.wait()
        return answer


@pytest.mark.parametrize("last", ["put", "lift"])
async def test_an_answer_that_comes_late_undoes_nothing(clock, last):
    store = Crossed()
    stops = Stops(store=store, clock=clock, wakeups=LocalWakeups())
    stop = Stop(kind=StopKind.TOOL, target="post", created_at=clock.now())
    await stops.put(stop)
    if last == "put":
        await store.lift(StopKind.TOOL, "post", now=clock.now())
    else:
        await store.put(stop)
    late = store.late = asyncio.Event()
    first = asyncio.create_task(stops.changed())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    second = asyncio.create_task(stops.put(stop) if last == "put" else stops.lift(StopKind.TOOL, "post"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    late.set()
    await asyncio.gather(first, second)
    assert (stops.why(StopKind.TOOL, "post") is not None) is (last == "put")


async def test_a_copy_of_the_database_that_was_put_back_is_read_anew(clock):
    store = MemoryStops()
    here = Instance(store, clock)
    for tool in ("a", "b", "post"):
        await here.blocks.add("tool", tool)
    copy = MemoryStops()
    await copy.put(Stop(kind=StopKind.TOOL, target="get", created_at=clock.now()))
    here.stops._store = copy
    clock.advance(BOUND)
    assert await here.call()
    assert not await here.call(what=call("get"))


async def test_a_stop_with_an_end_ends(clock):
    stops = Stops(store=MemoryStops(), clock=clock, wakeups=LocalWakeups())
    now = clock.now()
    await stops.put(Stop(kind=StopKind.TOKEN, target="t", created_at=now, ends_at=now + 2))
    assert stops.why(StopKind.TOKEN, "t") is not None
    clock.advance(2)
    assert stops.why(StopKind.TOKEN, "t") is None


def test_another_loop_may_ask_too(clock):
    async def served() -> None:
        of = home()
        here = Instance(MemoryStops(), clock, of=of)
        await here.blocks.add("tool", "post")

        def elsewhere() -> bool:
            return asyncio.run(here.call())

        assert await asyncio.to_thread(elsewhere) is False
        clock.advance(1)
        assert await asyncio.to_thread(elsewhere) is False
        clock.advance(BOUND)
        assert await asyncio.to_thread(elsewhere) is False

    asyncio.run(served())


class TestBlocks:
    @pytest.mark.parametrize(
        ("kind", "name"),
        [("token", "x"), ("users", "x"), ("user", ""), ("user", " "), ("user", "x" * 257), ("tool", "a\nb")],
    )
    async def test_what_cannot_be_blocked_is_refused(self, clock, kind, name):
        here = Instance(MemoryStops(), clock)
        with pytest.raises(InvalidArguments):
            await here.blocks.add(kind, name)

    async def test_blocks_are_listed_and_tokens_are_not_among_them(self, two, clock):
        here, there = two
        await here.stops.put(Stop(kind=StopKind.TOKEN, target="t", created_at=clock.now()))
        await here.blocks.add("user", "ann", reason="left", by="boss")
        await here.blocks.add("tool", "post")
        assert [(stop.kind, stop.target) for stop in await there.blocks.list()] == [("tool", "post"), ("user", "ann")]
        assert ((await there.blocks.list())[1].reason, here.audit.of(Action.BLOCK)) == ("left", [("ok", "")] * 2)

    async def test_what_is_not_blocked_cannot_be_unblocked(self, two):
        here, _ = two
        assert await here.blocks.remove("user", "ann") is False
        assert here.audit.of(Action.UNBLOCK) == []


@pytest.mark.requirement("E-07", "C7.blocks", "d.commands-identity")
def test_one_command_blocks_lists_and_unblocks(capsys):
    assert main(["blocks", "list"]) == 0
    assert "Nobody and nothing" in capsys.readouterr().out
    assert main(["blocks", "add", "user", "ann", "--reason", "left"]) == 0
    capsys.readouterr()
    assert main(["blocks", "list", "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["kind"], row["name"], row["reason"], row["by"]) == ("user", "ann", "left", "command line")
    assert main(["blocks", "remove", "user", "ann"]) == 0
    assert main(["blocks", "remove", "user", "ann"]) == 1
    assert main(["blocks", "add", "token", "x"]) == 2
    capsys.readouterr()
    assert main(["audit", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["action"], row["what"]) for row in rows] == [("block", "ann"), ("unblock", "ann")]
