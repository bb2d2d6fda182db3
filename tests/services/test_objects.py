"""The server's own services as RPC objects: what clients call, and what they cannot."""

import asyncio
import dataclasses
import datetime as dt
import gc
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import numpy as np
import pytest

from tests.services.kit import Place
from tests.services.objects_kit import Stage, staged
from valetkey.services.frames import Message


@pytest.fixture
async def stage(place: Place) -> AsyncIterator[Stage]:
    async with staged(place) as made:
        yield made


@pytest.mark.requirement("E1.objects")
async def test_functions_are_called_with_arguments_by_place_and_by_name(stage: Stage):
    async def add(a: int, b: int = 2) -> int:
        return a + b

    stage.register(id="math", add=add, nested={"deeper": {"double": lambda value: value * 2}}, pi=3.14)
    ada = await stage.client()
    math = await ada.service("public/server:math")
    assert await math.add(1) == 3
    assert await math.add(1, b=5) == 6
    assert await math.nested.deeper.double("ab") == "abab"
    assert math.pi == 3.14
    assert math.add.__schema__["parameters"]["properties"] == {"a": {"type": "integer"}, "b": {"type": "integer"}}
    assert math.config.visibility == "public"


async def test_an_id_with_dots_and_arguments_called_like_methods_of_dicts(stage: Stage):
    stage.register(id="my.own.service", f=lambda items, keys: [items, keys])
    ada = await stage.client()
    service = await ada.service("public/server:my.own.service")
    assert await service.f(items=1, keys=2) == [1, 2]


@pytest.mark.requirement("hypha.4.1", "d25.relay-uses-it", "E2.visibility")
async def test_context_is_of_the_stamp_and_nothing_that_a_caller_gives_stands_in_for_it(stage: Stage):
    def whoami(data=None, context=None):
        return context

    config = {"visibility": "public", "require_context": True}
    stage.register(id="told", config=config, whoami=whoami)
    stage.register(id="some", config={**config, "require_context": ["whoami"]}, whoami=whoami, other=lambda: "plain")
    stage.register(id="untold", whoami=whoami)
    ada = await stage.client()
    told = await ada.service("public/server:told")
    context = await told.whoami(1)
    assert context["user"]["id"] == "local|ada"
    assert (context["ws"], context["from"], context["to"]) == (ada.link.who.workspace, ada.peer, "public/server:told")
    forged = {"user": {"id": "root", "roles": ["admin"]}}
    assert (await told.whoami(1, context=forged))["user"]["id"] == "local|ada"
    assert await (await ada.service("public/server:untold")).whoami(1, context=forged) is None
    for name in ("told", "untold"):
        with pytest.raises(Exception, match="context is not given by callers"):
            await (await ada.service(f"public/server:{name}")).whoami(1, forged)
    some = await ada.service("public/server:some")
    assert (await some.whoami())["user"]["id"] == "local|ada"
    assert await some.other() == "plain"


@pytest.mark.requirement("E1.objects")
async def test_values_of_all_kinds_come_and_go(stage: Stage):
    @dataclasses.dataclass
    class Point:
        x: int
        when: dt.date

    given = []

    async def take(value):
        given.append(value)
        return value

    stage.register(id="values", take=take, point=lambda: Point(1, dt.date(2026, 1, 2)), hole=object)
    ada = await stage.client()
    service = await ada.service("public/server:values")
    array = np.arange(12, dtype="float32").reshape(3, 4)
    back = await service.take(array)
    assert isinstance(given[0], np.ndarray)
    assert (back == array).all()
    assert back.dtype == array.dtype
    assert (await service.take({"deep": [{"array": array}]})).deep[0].array.shape == (3, 4)
    assert await service.take({1, 2}) == {1, 2}
    assert await service.take(b"\x00\xff") == b"\x00\xff"
    assert await service.point() == {"x": 1, "when": "2026-01-02"}
    with pytest.raises(Exception, match="TypeError: the function gave a object that cannot be sent"):
        await service.hole()


async def test_long_arguments_and_results(stage: Stage):
    stage.register(id="long", size=len, make=lambda size: b"\x05" * size)
    ada = await stage.client()
    service = await ada.service("public/server:long")
    assert await service.size(b"x" * 3_000_000) == 3_000_000
    assert await service.make(100_000) == b"\x05" * 100_000


@pytest.mark.requirement("E1.objects")
async def test_callbacks_are_called_from_the_loop_and_from_threads(stage: Stage):
    async def on_loop(callback):
        return [await callback(each) for each in range(3)]

    def in_thread(options):
        return options["callback"]("from a thread").result(timeout=5)

    stage.register(id="back", on_loop=on_loop, in_thread=in_thread)
    ada = await stage.client()
    service = await ada.service("public/server:back")
    assert await service.on_loop(lambda value: value * 10) == [0, 10, 20]

    async def answer(text):
        return f"heard {text}"

    assert await service.in_thread({"callback": answer}) == "heard from a thread"

    async def fails(_):
        raise ValueError("mine")

    with pytest.raises(Exception, match="ValueError: mine"):
        await service.on_loop(fails)


@pytest.mark.requirement("hypha.2.references")
async def test_generators_are_read_value_by_value_and_closed(stage: Stage):
    closed = asyncio.Event()

    async def counted(upto):
        try:
            for each in range(upto):
                yield each
        finally:
            closed.set()

    def stepped(upto):
        yield from range(upto)

    async def failing():
        yield 1
        raise ValueError("in the middle")

    stage.register(id="streams", counted=counted, stepped=stepped, failing=failing)
    ada = await stage.client()
    service = await ada.service("public/server:streams")
    assert [each async for each in await service.counted(3)] == [0, 1, 2]
    assert [each async for each in await service.stepped(3)] == [0, 1, 2]
    seen = []
    with pytest.raises(Exception, match="ValueError: in the middle") as caught:
        seen += [each async for each in await service.failing()]
    assert ".py" not in str(caught.value)
    closed.clear()
    async for _ in (early := await service.counted(10)):
        break
    await early.aclose()
    await asyncio.wait_for(closed.wait(), 5)
    assert not stage.objects.rpc("public")._object_store.keys() - {"services"}, "nothing is kept"


@pytest.mark.requirement("d.errors-later")
async def test_failures_are_told_without_traceback_and_errors_of_ours_as_their_kind(stage: Stage, caplog):
    def fails():
        raise LookupError("for https://ada:secret@example.com")

    def ends():
        raise SystemExit(3)

    def wrong():
        raise KeyError("gone")

    stage.register(id="bad", fails=fails, ends=ends, wrong=wrong)
    ada = await stage.client()
    service = await ada.service("public/server:bad")
    for name, said in (("fails", "LookupError: for https://***@example.com"), ("wrong", "KeyError: 'gone'")):
        with pytest.raises(Exception, match="RemoteError") as caught:
            await service[name]()
        assert str(caught.value).strip() == f"RemoteError:{said}"
    with pytest.raises(Exception, match="RuntimeError: the function raised SystemExit"):
        await service.ends()
    assert "services.bad.fails failed: LookupError in fails, line" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.requirement("d25.relay-uses-it")
async def test_a_protected_service_is_there_for_those_who_may_read_in_its_workspace(stage: Stage):
    stage.register("ws-user-local|ada", id="mine", config={}, f=lambda: "yes")
    stage.register("ws-user-local|ada", id="shared", config={"authorized_workspaces": ["ws-user-local|eve"]}, f=len)
    ada, eve = await stage.client("ada"), await stage.client("eve")
    assert await (await ada.service("ws-user-local|ada/server:mine")).f() == "yes"
    with pytest.raises(Exception, match="PermissionError: Permission denied for non-public service"):
        await eve.service("ws-user-local|ada/server:mine")
    with pytest.raises(Exception, match="PermissionError: Permission denied for non-public service"):
        await eve.method("services.mine.f", "ws-user-local|ada/server")()
    assert await (await eve.service("ws-user-local|ada/server:shared")).f("abc") == 3


@pytest.mark.requirement("E1.objects")
@pytest.mark.parametrize(
    "method",
    [
        "services.open.f.__self__",
        "services.open.f.__globals__.keys",
        "services.open.f.__class__.__mro__.__len__",
        "services.open.__class__",
        "services.open.items",
        "services.open",
        "services..f",
        "services.built-in.get_service.__self__",
        "services.built-in.message_cache",
        "services.built-in._create_message",
        "services.keys",
        "message_cache.keys",
        "built-in.ping",
        "_emit_message",
        "services",
        "x.y",
        "x",
    ],
)
async def test_only_offered_functions_can_be_called(stage: Stage, method):
    stage.register(id="open", f=lambda: 1)
    ada = await stage.client()
    with pytest.raises(Exception, match=r"RemoteError:KeyError: .*(not found|no such function)") as caught:
        await asyncio.wait_for(ada.method(method)(), 5)
    assert ".py" not in str(caught.value)


async def test_what_was_handed_out_to_one_client_is_for_that_client_alone(stage: Stage):
    async def counted():
        yield 1
        yield 2

    held = []

    async def hold(callback):
        held.append(callback)
        return await callback("hello")

    stage.register(id="s", counted=counted, hold=hold)
    ada, eve = await stage.client("ada"), await stage.client("eve")
    values = await (await ada.service("public/server:s")).counted()
    assert await anext(values) == 1
    (session,) = stage.objects.rpc("public")._object_store.keys() - {"services"}
    place = stage.objects.rpc("public")._object_store[session]
    name = next(key for key, each in place.items() if callable(each) and not key.endswith(":close"))
    with pytest.raises(Exception, match="no such function"):
        await eve.method(f"{session}.{name}")()
    for inner in ("target_id", "_created_at", f"{name}.__self__", f"{name}.__call__", "__class__", "pop"):
        with pytest.raises(Exception, match="no such function"):
            await ada.method(f"{session}.{inner}")()
    for inner in ("_created_at", "_promise_manager.settle", f"{name}.__call__", "keys"):
        message = Message(method=f"{session}.{inner}", to="public/server", sender=ada.peer)
        assert stage.objects._in("public").find(message) is None, "whatever the wire lets through"
    place["_private"] = print
    message = Message(method=f"{session}._private", to="public/server", sender=ada.peer)
    assert stage.objects._in("public").find(message) is None
    assert await ada.method(f"{session}.{name}")() == 2
    await values.aclose()


async def test_a_reply_is_taken_from_nobody_but_whom_the_call_went_to(stage: Stage):
    waiting = asyncio.Event()

    async def ask(callback):
        waiting.set()
        return await callback()

    stage.register(id="s", ask=ask)
    ada, eve = await stage.client("ada"), await stage.client("eve")
    go = asyncio.Event()

    async def slow():
        await go.wait()
        return "of ada"

    asked = asyncio.ensure_future((await ada.service("public/server:s")).ask(slow))
    await waiting.wait()
    await asyncio.sleep(0)
    (session,) = stage.objects.rpc("public")._object_store.keys() - {"services"}
    forge = eve.rpc._generate_remote_method(
        {"_rtype": "method", "_rtarget": "public/server", "_rmethod": f"{session}.resolve", "_rpromise": False}
    )
    await forge("of eve")
    go.set()
    assert await asked == "of ada"


@pytest.mark.requirement("hypha.4.2")
@pytest.mark.parametrize("target", ["ws-user-local|ada/ada-1", "ada-1", "public/ada-1"])
async def test_a_function_that_is_given_is_the_callers_own(stage: Stage, target):
    """The server acts as root: it must not be led to call somebody else's function."""
    called: list[int] = []
    stage.register(id="s", call=lambda f: f(1))
    ada, eve = await stage.client("ada"), await stage.client("eve")
    ada.rpc.add_service({"id": "private", "config": {"visibility": "public"}, "f": called.append})
    reference = {"_rtype": "method", "_rtarget": target, "_rmethod": "services.private.f", "_rpromise": "*"}
    service = await eve.service("public/server:s")
    with pytest.raises(Exception, match="has to be the caller's own"):
        await service.call({"deep": [reference]})
    assert called == []


async def test_arguments_that_cannot_be_read_are_refused(stage: Stage):
    stage.register(id="s", f=lambda value: str(type(value)))
    ada = await stage.client()
    service = await ada.service("public/server:s")
    model = {"_rtype": "pydantic_model", "_rschema": {"title": "M", "properties": {}}, "_rvalue": {"a": 1}}
    assert "ObjectProxy" in await service.f(model), "no class of the caller's making"
    array = {"_rtype": "ndarray", "_rvalue": [b"ab", b"cd"], "_rdtype": "u1", "_rshape": [4]}
    assert "ndarray" in await service.f(array)
    nested: list[object] = []
    for _ in range(200):
        nested = [nested]
    for bad in (
        {"_rtype": ["ndarray"], "_rvalue": b""},
        {"_rtype": "ndarray", "_rvalue": b"x" * 8, "_rdtype": "O", "_rshape": [1]},
        {"_rtype": "ndarray", "_rvalue": [7], "_rdtype": "u1", "_rshape": [1]},
        {"_rtype": "set", "_rvalue": [[]]},
        {"_rtype": "orderedmap", "_rvalue": [1]},
        {"_rtype": "ndarray", "_rvalue": b"x" * 8, "_rdtype": "float64", "_rshape": [1 << 60]},
        {"_rtype": "method", "_rtarget": "ada-1"},
        {"_rtype": "error"},
    ):
        with pytest.raises(Exception, match="ValueError: The arguments hold something"):
            await service.f(bad)
    with pytest.raises(Exception, match="ValueError: The arguments are nested deeper than 100 levels"):
        await service.f(nested)


async def test_arguments_that_would_fill_memory_or_take_the_loop_are_refused_at_once(stage: Stage):
    stage.register(id="s", f=lambda value: str(type(value)))
    ada = await stage.client()
    service = await ada.service("public/server:s")
    begun = time.perf_counter()
    with pytest.raises(Exception, match="ValueError: The arguments hold more than 2000000 values"):
        await service.f([[0] * 60_000] * 40)
    array = {"_rtype": "ndarray", "_rvalue": [b"x"] * 800_000, "_rdtype": "u1", "_rshape": [800_000]}
    assert "ndarray" in await service.f(array)
    assert time.perf_counter() - begun < 5, "in time that goes with the size"


async def test_a_client_that_leaves_ends_its_calls(stage: Stage):
    begun, ended, closed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def wait():
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def endless():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    async def ask(callback):
        return await callback()

    stage.register(id="s", wait=wait, endless=endless, ask=ask)
    ada = await stage.client()
    service = await ada.service("public/server:s")
    values = await service.endless()
    assert await anext(values) == 1
    waiting = asyncio.ensure_future(service.wait())
    await begun.wait()
    await ada.leave()
    await asyncio.wait_for(asyncio.gather(ended.wait(), closed.wait(), waiting, return_exceptions=True), 5)
    assert ended.is_set()
    assert closed.is_set()
    assert not stage.objects.rpc("public")._object_store.keys() - {"services"}


async def test_one_client_has_so_many_calls_at_once(stage: Stage, monkeypatch):
    monkeypatch.setattr("valetkey.services.objects.MOST_CALLS", 2)
    go = asyncio.Event()
    stage.register(id="s", wait=go.wait)
    ada = await stage.client()
    service = await ada.service("public/server:s")
    calls = [asyncio.ensure_future(service.wait()) for _ in range(3)]
    done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    with pytest.raises(Exception, match="2 calls of this client run already"):
        done.pop().result()
    go.set()
    await asyncio.wait(calls)


@pytest.mark.requirement("hypha.2.heartbeats")
async def test_a_call_that_takes_long_is_kept_alive(stage: Stage):
    go = asyncio.Event()
    stage.register(id="s", wait=go.wait)
    ada = await stage.client()
    service = await ada.service("public/server:s")
    waiting = asyncio.ensure_future(service.wait())
    for _ in range(3):
        await stage.place.clock.sleepers(1)
        stage.place.clock.advance(15)
    await stage.place.clock.sleepers(1)
    assert sum(each.method.endswith(".heartbeat") for each in ada.taken) == 3
    go.set()
    assert await waiting is True


async def test_many_calls_leave_nothing_behind(stage: Stage):
    async def echo(value, callback=None):
        return value

    stage.register(id="s", echo=echo)
    ada = await stage.client()
    service = await ada.service("public/server:s")
    await service.echo(np.zeros(3), callback=print)
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(200):
        await service.echo({"a": [1, {"b": np.zeros(2)}]}, callback=lambda: None)
    await asyncio.sleep(0)
    gc.collect()
    assert len(gc.get_objects()) - before < 400
    assert not stage.objects.rpc("public")._object_store.keys() - {"services"}


@pytest.mark.requirement("hypha.2.library")
async def test_closing_leaves_no_task_and_the_loops_handler_as_it_was(place: Place):
    loop = asyncio.get_running_loop()

    def handler(_loop, _context):
        pass

    loop.set_exception_handler(handler)
    before = asyncio.all_tasks()
    async with staged(place) as stage:
        stage.register(id="s", f=lambda value: value)
        stage.objects.rpc("public")
        assert loop.get_exception_handler() is handler
    assert loop.get_exception_handler() is handler
    assert asyncio.all_tasks() == before
    loop.set_exception_handler(None)


@pytest.mark.requirement("hypha.2.library")
def test_the_library_leaves_logging_alone():
    program = (
        "import logging; from valetkey.services import library; library.load();"
        "root = logging.getLogger(); print(root.handlers, root.level, logging.getLogger('valetkey').handlers)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert said.stdout.split() == ["[]", str(logging.WARNING), "[]"]
