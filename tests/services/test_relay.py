"""The relay without sockets: who may send what to whom, what is told of failures, and that nothing is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.services.relay_kit import MANAGER, Client, Sink, Stage, call, reference, tell, written
from valetkey.errors import ApprovalRequired, RateLimited
from valetkey.model.needs import Need, Needs
from valetkey.model.services import Member, Registered
from valetkey.model.users import UserPermission
from valetkey.services import frames
from valetkey.services.chunks import METHODS
from valetkey.services.frames import Message
from valetkey.services.peers import MOST_BAD
from valetkey.services.relay import NOBODY, CutOff, ServiceLoan, Stamp
from valetkey.services.sight import Who

NEEDY = Needs(((Need(provider="slack", scopes=frozenset({"chat"})),),))


class Three(Stage):
    """Two clients of one workspace, and one of another."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.ann, self.bob = self.client("home", "ann"), self.client("home", "bob")
        self.eve = self.client("away", "eve")


@pytest.fixture
def stage() -> Three:
    return Three()


def kept(stage: Stage) -> int:
    pending = stage.relay._pending
    return len(pending._by_caller) + len(pending._by_callee)


def resolve(to: str, session: str = "s1", value: Any = "done") -> bytes:
    return tell(to, f"{session}.resolve", value, parent=session)


# Calls and replies


@pytest.mark.requirement("hypha.2.reply")
async def test_a_call_and_its_reply_say_who_sent_them(stage: Three) -> None:
    await stage.ann.send(call("home/bob", "services.calc.add", 1, 2))
    said = stage.bob.sink.last
    assert (said["from"], said["ws"], said["user"]["id"]) == ("home/ann", "home", "user-of-ann")
    assert (said["args"], said["session"], said["promise"]) == ([1, 2], "s1", "*")
    await stage.bob.send(resolve("home/ann"))
    said = stage.ann.sink.last
    assert (said["method"], said["from"], said["args"], said["parent"]) == ("s1.resolve", "home/bob", ["done"], "s1")
    assert kept(stage) == 0


@pytest.mark.requirement("hypha.4.1")
async def test_what_a_message_says_of_its_sender_is_not_believed(stage: Three) -> None:
    forged = {"from": f"*/{MANAGER}", "ws": "root", "user": {"id": "root"}, "ctx": {"user": {"id": "root"}}}
    routing = {"type": "method", "to": "bob", "method": "services.calc.add", **forged}
    await stage.ann.send(written(routing, {"args": [], **forged}))
    said = stage.bob.sink.last
    assert (said["from"], said["ws"], said["user"]["id"]) == ("home/ann", "home", "user-of-ann")
    assert "ctx" not in said


@pytest.mark.requirement("hypha.2.reply", "W-06.services")
async def test_a_reply_is_taken_once_and_from_whom_was_called(stage: Three) -> None:
    carl = stage.client("home", "carl")
    await stage.ann.send(call("home/bob", "services.calc.add"))
    for stranger in (carl, stage.eve):
        for name in ("resolve", "reject", "heartbeat"):
            await stranger.send(tell("home/ann", f"s1.{name}", "forged"))
    assert stage.ann.sink.methods == []
    await stage.bob.send(tell("home/ann", "s1.heartbeat"))
    await stage.bob.send(resolve("home/ann"))
    await stage.bob.send(resolve("home/ann"))
    await stage.bob.send(tell("home/ann", "s1.heartbeat"))
    assert stage.ann.sink.methods == ["s1.heartbeat", "s1.resolve"]


@pytest.mark.requirement("hypha.2.reply")
async def test_a_reply_across_workspaces_needs_no_permission(stage: Three) -> None:
    stage.bob.offer("open")
    await stage.eve.send(call("home/bob", "services.open.f"))
    await stage.bob.send(resolve("away/eve"))
    assert stage.eve.sink.methods == ["s1.resolve"]


@pytest.mark.requirement("hypha.2.gone")
async def test_nobody_is_there_under_that_name(stage: Three) -> None:
    await stage.ann.send(call("home/carl", "services.calc.add"))
    assert stage.ann.refusal == "Target peer home/carl is not connected"
    assert stage.ann.sink.last["from"] == "home/carl", "a client takes a reply of nobody else"
    assert kept(stage) == 0


@pytest.mark.requirement("hypha.2.gone")
async def test_whoever_waits_for_a_peer_that_leaves_is_told_at_once(stage: Three) -> None:
    for session in ("s1", "s2"):
        await stage.ann.send(call("home/bob", "services.calc.add", session=session))
    stage.relay.detach(stage.bob.link)
    assert stage.ann.sink.methods == ["s1.reject", "s2.reject"]
    assert stage.ann.refusal == "Target peer home/bob is not connected"
    assert kept(stage) == 0


async def test_a_caller_that_leaves_leaves_nothing(stage: Three) -> None:
    await stage.ann.send(call("home/bob", "services.calc.add"))
    stage.relay.detach(stage.ann.link)
    assert kept(stage) == 0
    await stage.bob.send(resolve("home/ann"))
    assert stage.ann.sink.read == []


@pytest.mark.requirement("W-10.services")
async def test_a_client_that_came_back_takes_the_place_of_its_old_socket(stage: Three) -> None:
    await stage.ann.send(call("home/bob", "services.calc.add"))
    again = stage.client("home", "bob")
    assert stage.ann.refusal == "Target peer home/bob is not connected"
    await stage.bob.send(call("home/ann", "services.x.f"))
    assert stage.ann.sink.methods == ["s1.reject"], "the old socket says nothing any more"
    stage.relay.detach(stage.bob.link)
    await stage.ann.send(call("home/bob", "services.calc.add"))
    assert again.sink.methods == ["services.calc.add"]


@pytest.mark.requirement("E1.caps")
async def test_calls_that_wait_have_a_cap_for_each_client(stage: Three) -> None:
    for at in range(10):
        await stage.ann.send(call("home/bob", "services.calc.add", session=f"s{at}"))
    await stage.ann.send(call("home/bob", "services.calc.add", session="more"))
    assert "10 calls of this client wait already" in stage.ann.refusal
    assert len(stage.bob.sink.read) == 10
    await stage.eve.send(call(f"*/{MANAGER}", "services.default.echo"))
    assert stage.manager.methods == ["services.default.echo"], "others go on"
    await stage.bob.send(resolve("home/ann", "s3"))
    await stage.ann.send(call("home/bob", "services.calc.add", session="more"))
    assert len(stage.bob.sink.read) == 11


@pytest.mark.requirement("hypha.2.heartbeats")
async def test_calls_whose_callers_gave_up_make_room_unless_they_go_on(stage: Three) -> None:
    for at in range(10):
        await stage.ann.send(call("home/bob", "services.calc.add", session=f"s{at}", t=10))
    stage.clock.advance(20)
    await stage.bob.send(tell("home/ann", "s0.heartbeat"))
    stage.clock.advance(10)
    await stage.ann.send(call("home/bob", "services.calc.add", session="more", t=10))
    assert len(stage.bob.sink.read) == 11
    await stage.bob.send(resolve("home/ann", "s1"))
    await stage.bob.send(resolve("home/ann", "s0"))
    assert stage.ann.sink.methods == ["s0.heartbeat", "s0.resolve"]
    stage.clock.advance(30)
    stage.relay.sweep()
    assert kept(stage) == 0


async def test_two_calls_of_one_session_do_not_wait_at_once(stage: Three) -> None:
    carl = stage.client("home", "carl")
    await stage.ann.send(call("home/bob", "services.calc.add"))
    await stage.ann.send(call("home/carl", "services.calc.add"))
    assert carl.sink.read == []
    await stage.bob.send(resolve("home/ann"))
    assert stage.ann.sink.methods[-1] == "s1.resolve"
    assert kept(stage) == 0


# Across workspaces


@pytest.mark.requirement("hypha.1.5.visibility")
@pytest.mark.parametrize("visibility", ["public", "unlisted"])
async def test_a_public_service_is_for_everybody(stage: Three, visibility: str) -> None:
    stage.bob.offer("open", visibility=visibility)
    await stage.eve.send(call("home/bob", "services.open.f"))
    assert stage.bob.sink.last["ws"] == "away"


@pytest.mark.requirement("hypha.1.5.visibility")
async def test_a_protected_service_is_for_who_may_read_there(stage: Three) -> None:
    stage.bob.offer("closed", visibility="protected")
    await stage.eve.send(call("home/bob", "services.closed.f"))
    assert "PermissionError: Permission denied for non-public service in workspace home" in stage.eve.refusal
    stage.rights["away", "home"] = UserPermission.read
    await stage.eve.send(call("home/bob", "services.closed.f"))
    assert stage.bob.sink.methods == ["services.closed.f"]


@pytest.mark.requirement("E1.relay")
@pytest.mark.parametrize(
    ("to", "method"),
    [
        ("home/bob", "services.none.f"),
        ("home/carl", "services.open.f"),
        ("home/bob", "services.built-in.get_service"),
        ("home/bob", "services._rintf_abc.f"),
        ("home/bob", "2222222222222222222222.2222222222222222222222#f"),
        ("home/*", "services.open.f"),
        ("*/*", "services.open.f"),
        ("*/none", "services.default.f"),
    ],
)
async def test_nothing_else_of_another_workspace_can_be_called(stage: Three, to: str, method: str) -> None:
    stage.bob.offer("open")
    for _ in range(2):  # a refusal does not make them know each other
        await stage.eve.send(call(to, method))
        assert stage.eve.refusal
    assert stage.bob.sink.read == stage.ann.sink.read == stage.manager.read == []
    assert kept(stage) == 0


async def test_those_who_have_to_do_with_each_other_may_call_back(stage: Three) -> None:
    stage.bob.offer("open")
    await stage.eve.send(call("home/bob", "services.open.f", reference("away/eve", "s1.2222222222222222222222#f")))
    await stage.eve.send(call("home/bob", "services.built-in.get_service", "open", session="s3"))
    await stage.bob.send(call("away/eve", "s1.2222222222222222222222#f", 1, session="b1"))
    await stage.bob.send(call("away/eve", "services.built-in.get_service", "built-in", session="b2"))
    assert stage.eve.sink.methods == ["s1.2222222222222222222222#f", "services.built-in.get_service"]
    assert stage.bob.sink.methods == ["services.open.f", "services.built-in.get_service"]
    await stage.bob.send(call("away/eve", "services.private.f", session="b3"))
    assert "KeyError: Service not found" in stage.bob.refusal


async def test_who_leaves_while_a_permission_is_looked_up_calls_nobody(stage: Three) -> None:
    stage.bob.offer("closed", visibility="protected")
    stage.rights["away", "home"] = UserPermission.read
    stage.meanwhile = lambda: stage.relay.detach(stage.eve.link)
    await stage.eve.send(call("home/bob", "services.closed.f"))
    assert stage.bob.sink.read == []
    assert kept(stage) == 0


@pytest.mark.requirement("E1.relay")
@pytest.mark.parametrize(
    "method",
    [
        "s1.2222222222222222222222#f.__globals__",
        "s1.2222222222222222222222#f.real",
        "s1.2222222222222222222222.delete_all",
        "s1.timer.clear",
        "s1.timer",
        "s1._promise_manager.settle",
        "s1.__class__",
        "services.open.f.__globals__.os",
        "services.open",
        "services",
        "message_cache.k",
        "plain",
    ],
)
async def test_names_do_not_lead_into_what_a_client_holds(stage: Three, method: str) -> None:
    """A client's library follows the parts of a name through attributes, whoever calls."""
    await stage.ann.send(call("home/bob", method))
    assert stage.bob.sink.read == []
    assert "There is no such function" in stage.ann.refusal


@pytest.mark.requirement("hypha.2.references")
@pytest.mark.parametrize(
    "method",
    ["s1.2222222222222222222222#<lambda>", "s1.s2.2222222222222222222222", "s1.abc123defg#f", "s1.abc1234567890:close"],
)
async def test_what_a_client_hands_out_can_be_called(stage: Three, method: str) -> None:
    await stage.ann.send(call("home/bob", method))
    assert stage.bob.sink.methods == [method]


# Functions in arguments


@pytest.mark.requirement("hypha.4.2")
@pytest.mark.parametrize(
    ("target", "method"),
    [
        (f"*/{MANAGER}", "services.default.generate_token"),
        ("*/other", "s1.f"),
        ("public/server", "services.login.report"),
        ("home/bob", "services.closed.f"),
        ("home/ann", "services.closed.f"),
        ("home/none", "services.closed.f"),
        ("home/ann", "services.built-in.get_service"),
    ],
)
@pytest.mark.parametrize("how", ["call", "reply", "pieces"])
async def test_a_function_that_its_sender_may_not_call_is_not_handed_on(
    stage: Three, target: str, method: str, how: str
) -> None:
    """Whoever got it would call it with their own permission."""
    stage.relay.put("public/server", Sink())
    stage.bob.offer("open")
    for each in (stage.bob, stage.ann):
        each.offer("closed", visibility="protected")
    bad = [{"deep": [reference(target, method)]}]
    stage.eve.offer("hers")
    if how == "reply":
        await stage.bob.send(call("away/eve", "services.hers.f"))
        await stage.eve.send(tell("home/bob", "s1.resolve", bad))
        assert stage.bob.sink.methods == ["s1.reject"], "its caller waits no more"
        assert kept(stage) == 0
        return
    message = call("home/bob", "services.open.f", bad)
    if how == "pieces":
        await upload(stage.eve, "home/bob", message)
    else:
        await stage.eve.send(message)
    assert stage.bob.sink.read == []
    assert stage.eve.sink.last["method"] == "s1.reject"


@pytest.mark.requirement("hypha.2.references")
@pytest.mark.parametrize(
    ("target", "method"),
    [
        ("eve", "services.hers.f"),
        ("away/eve", "services.hers.f"),
        ("away/eve", "s1.2222222222222222222222#f"),
        ("away/eve", "services._rintf_abc.f"),
        ("home/ann", "services.open.f"),
    ],
)
async def test_ones_own_functions_and_public_ones_are_handed_on(stage: Three, target: str, method: str) -> None:
    for each in (stage.ann, stage.bob):
        each.offer("open")
    await stage.eve.send(call("home/bob", "services.open.f", reference(target, method)))
    assert stage.bob.sink.last["args"][0]["_rmethod"] == method


async def test_in_one_workspace_functions_go_from_hand_to_hand(stage: Three) -> None:
    await stage.ann.send(call("home/bob", "services.x.f", reference("home/carl", "services.y.f")))
    assert stage.bob.sink.methods == ["services.x.f"]


# To all


async def test_a_message_to_all_is_for_the_senders_workspace(stage: Three) -> None:
    carl = stage.client("home", "carl")
    await stage.ann.send(tell("*", "services.news.f", 1, session="s1"))
    assert [each.sink.methods for each in (stage.ann, stage.bob, carl, stage.eve)] == [
        [],
        ["services.news.f"],
        ["services.news.f"],
        [],
    ]
    assert stage.bob.sink.last["to"] == "home/bob"
    assert "session" not in stage.bob.sink.last


@pytest.mark.requirement("hypha.1.5.broadcast")
async def test_a_message_to_all_needs_write_and_waits_for_nothing(stage: Three) -> None:
    await stage.ann.send(call("*", "services.news.f"))
    assert "waits for no reply" in stage.ann.refusal
    stage.rights["home", "home"] = UserPermission.read
    await stage.ann.send(tell("home/*", "services.news.f"))
    await stage.eve.send(tell("home/*", "services.news.f"))
    assert stage.bob.sink.read == []


# Bad messages


async def test_who_sends_too_much_that_is_no_message_is_cut_off(stage: Three) -> None:
    for _ in range(MOST_BAD - 1):
        await stage.eve.send(b"\xc1")
    with pytest.raises(CutOff):
        await stage.eve.send(b"\xc1")
    await stage.ann.send(call("home/bob", "services.x.f"))
    assert stage.bob.sink.methods == ["services.x.f"], "others go on"


async def test_now_and_then_one_is_no_message(stage: Three) -> None:
    for _ in range(3 * MOST_BAD):
        await stage.eve.send(b"\xc1")
        stage.clock.advance(5)


async def test_what_can_be_answered_is_and_counts_for_nothing(stage: Three) -> None:
    stage.eve.offer("hers")
    for _ in range(3 * MOST_BAD):
        await stage.eve.send(call("home/bob", "services.open.f", {1: 2}))
    assert "keys of maps have to be texts" in stage.eve.refusal
    await stage.bob.send(call("away/eve", "services.hers.f", session="b1"))
    routing = {"type": "method", "to": "home/bob", "method": "b1.resolve", "session": "e1"}
    await stage.eve.send(written(routing, {"_enc": {"v": 2}, "data": b"x"}))
    assert "Encrypted" in stage.bob.refusal


@pytest.mark.requirement("E1.relay")
async def test_a_flood_of_refused_messages_leaves_nothing(stage: Three) -> None:
    for at in range(2000):
        await stage.eve.send(call(f"home/x{at}", f"services.x{at}.f", session=f"s{at}"))
        await stage.eve.send(tell(f"home/x{at}", f"s{at}.resolve"))
    assert kept(stage) == 0
    assert len(NOBODY._packed) <= 16
    assert stage.eve.link.talked == {}


# In pieces


async def upload(
    client: Client, to: str, data: bytes, *, size: int = 50_000, key: str = "k", beat: bool = False
) -> None:
    await client.send(call(to, METHODS + "create", key, beat, session="u0"))
    for index in range(-(-len(data) // size)):
        piece = data[index * size : (index + 1) * size]
        await client.send(call(to, METHODS + "set", key, index, piece, beat, session=f"u1{index}"))
    await client.send(call(to, METHODS + "process", key, beat, session="u2"))


@pytest.mark.requirement("hypha.2.pieces")
async def test_a_message_in_pieces_comes_whole_and_each_piece_is_answered(stage: Three) -> None:
    await upload(stage.ann, "home/bob", call("home/bob", "services.x.f", b"y" * 120_000))
    assert stage.bob.sink.last["args"] == [b"y" * 120_000]
    assert stage.ann.sink.methods == ["u0.resolve", "u10.resolve", "u11.resolve", "u12.resolve", "u2.resolve"]
    assert {each["from"] for each in stage.ann.sink.read} == {"home/bob"}
    await stage.bob.send(resolve("home/ann"))
    assert stage.ann.sink.methods[-1] == "s1.resolve"
    assert kept(stage) == 0


async def test_a_piece_that_is_refused_is_answered_and_so_is_the_call(stage: Three) -> None:
    await stage.ann.send(call("home/bob", METHODS + "set", "k", 0, b"x", session="u1"))
    assert "KeyError: There is no message in pieces" in stage.ann.refusal
    routing = {"type": "method", "to": "home/bob", "method": "services.x.f", "session": "s1"}
    await upload(stage.ann, "home/bob", written(routing, {"_enc": {"v": 2}, "data": b"x", "promise": "*", "t": 1}))
    assert stage.ann.sink.methods[-2:] == ["u2.reject", "s1.reject"]
    assert stage.bob.sink.read == []


@pytest.mark.requirement("hypha.2.pieces")
async def test_a_reply_in_pieces_keeps_its_caller_waiting(stage: Three) -> None:
    await stage.ann.send(call("home/bob", "services.x.f", t=1))
    reply = resolve("home/ann", value=b"y" * 150_000)
    await stage.bob.send(call("home/ann", METHODS + "create", "s1", True, session="u"))
    for index in range(3):
        stage.clock.advance(5)
        stage.relay.sweep()
        piece = reply[index * 60_000 : (index + 1) * 60_000]
        await stage.bob.send(call("home/ann", METHODS + "set", "s1", index, piece, True, session=f"u{index}"))
        await stage.bob.send(call("home/ann", METHODS + "set", "s1", index, piece, True, session=f"v{index}"))
    assert stage.ann.sink.methods == ["s1.heartbeat"] * 4, "at the beginning, and at most once a second"
    await stage.bob.send(call("home/ann", METHODS + "process", "s1", True, session="w"))
    assert stage.ann.sink.last["args"] == [b"y" * 150_000]
    assert kept(stage) == 0


async def test_pieces_keep_nobody_waiting_who_does_not_wait_for_their_sender(stage: Three) -> None:
    carl = stage.client("home", "carl")
    await stage.ann.send(call("home/bob", "services.x.f", t=1))
    for stranger in (carl, stage.eve):
        await stranger.send(call("home/ann", METHODS + "create", "s1", True, session="u"))
    assert stage.ann.sink.read == []


async def test_pieces_of_who_left_are_forgotten(stage: Three) -> None:
    room = stage.relay._rooms
    for client in (stage.ann, stage.eve):
        await client.send(call("home/bob", METHODS + "create", "k", session="u"))
        await client.send(call("home/bob", METHODS + "set", "k", 0, b"x" * 1000, session="v"))
    assert room.used == 2000
    stage.relay.detach(stage.ann.link)
    stage.client("away", "eve")
    assert room.used == 0
    await stage.bob.send(call("home/ann", METHODS + "create", "k", session="u"))
    await stage.bob.send(call("home/ann", METHODS + "set", "k", 0, b"x" * 1000, session="v"))
    stage.clock.advance(60)
    stage.relay.sweep()
    assert room.used == 0


# What a service is lent


class Lending:
    """Lends as it is told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.ended = 0
        self.go = asyncio.Event()
        self.go.set()
        self.error: Exception | None = None

    async def __call__(self, service: Registered, who: Who) -> ServiceLoan:
        self.asked.append((service.full_id, who.peer))
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return ServiceLoan(told={"via": {"slack": {"token": "t1"}}}, end=self._end)

    def _end(self) -> None:
        self.ended += 1


async def soon(until: Callable[[], object]) -> None:
    for _ in range(20):
        if until():
            return
        await asyncio.sleep(0)
    pytest.fail("it did not come to that")


@pytest.fixture
def lending() -> Lending:
    return Lending()


@pytest.fixture
def lent(lending: Lending) -> Three:
    made = Three(lend=lending)
    made.bob.offer("needy", needs=NEEDY)
    return made


@pytest.mark.requirement("E5.ticket")
async def test_a_service_with_needs_is_lent_for_one_call(lent: Three, lending: Lending) -> None:
    await lent.eve.send(call("home/bob", "services.needy.f", 1))
    await soon(lambda: lent.bob.sink.read)
    said = lent.bob.sink.last
    assert (said["via"], said["from"], said["args"]) == ({"slack": {"token": "t1"}}, "away/eve", [1])
    assert (lending.asked, lending.ended) == ([("home/bob:needy", "away/eve")], 0)
    await lent.bob.send(resolve("away/eve"))
    assert lending.ended == 1
    await lent.eve.send(call("home/bob", "services.needy.f", 1))
    await soon(lambda: len(lent.bob.sink.read) == 2)
    assert len(lending.asked) == 2


@pytest.mark.requirement("E5.ticket")
@pytest.mark.parametrize("end", ["callee leaves", "caller leaves", "caller gives up"])
async def test_what_was_lent_is_taken_back_however_it_ends(lent: Three, lending: Lending, end: str) -> None:
    await lent.eve.send(call("home/bob", "services.needy.f"))
    await soon(lambda: lent.bob.sink.read)
    if end == "callee leaves":
        lent.relay.detach(lent.bob.link)
    elif end == "caller leaves":
        lent.relay.detach(lent.eve.link)
    else:
        lent.clock.advance(36)
        lent.relay.sweep()
    assert lending.ended == 1


@pytest.mark.parametrize("gone", ["eve", "bob"])
async def test_who_leaves_while_it_is_lent_gets_nothing(lent: Three, lending: Lending, gone: str) -> None:
    lending.go.clear()
    await lent.eve.send(call("home/bob", "services.needy.f"))
    await soon(lambda: lending.asked)
    lent.relay.detach(getattr(lent, gone).link)
    lending.go.set()
    await soon(lambda: lending.ended == 1)
    assert lent.bob.sink.read == []
    assert kept(lent) == 0


async def test_others_go_on_while_one_is_lent(lent: Three, lending: Lending) -> None:
    lending.go.clear()
    await lent.ann.send(call("home/bob", "services.needy.f"))
    await lent.ann.send(call("home/bob", "services.other.f", session="s2"))
    assert lent.bob.sink.methods == ["services.other.f"]
    lending.go.set()
    await soon(lambda: len(lent.bob.sink.read) == 2)


@pytest.mark.requirement("d.errors-later", "W-20.services")
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ApprovalRequired("Say yes first.", url="https://here/approve/1"), "Say yes first. https://here/approve/1"),
        (ZeroDivisionError("internals"), "The service was lent nothing."),
    ],
)
async def test_where_nothing_is_lent_nothing_is_called(
    lent: Three, lending: Lending, error: Exception, text: str
) -> None:
    lending.error = error
    await lent.eve.send(call("home/bob", "services.needy.f"))
    await soon(lambda: lent.eve.sink.read)
    assert lent.eve.refusal.endswith(text)
    assert lent.bob.sink.read == []
    assert kept(lent) == 0


async def test_who_waits_for_no_reply_is_lent_nothing(lent: Three, lending: Lending) -> None:
    await lent.ann.send(tell("home/bob", "services.needy.f"))
    assert lending.asked == []
    assert "via" not in lent.bob.sink.last


# The server's own peers


def sent(to: str, method: str, *args: Any, sender: str = "home/http-one", session: str = "h1", **more: Any) -> Message:
    packed = frames.packed(list(args))
    return Message(method=method, to=to, sender=sender, session=session, args=packed, **more)


async def test_the_servers_own_peers_call_clients_and_get_their_replies(stage: Three) -> None:
    http = Sink()
    stage.relay.put("*/http-one", http)
    for session in ("h1", "h2"):
        stage.relay.send(sent("home/bob", "services.x.f", session=session, promised=True), Stamp(workspace="home"))
    assert stage.bob.sink.last["promise"].keys() == {"resolve", "reject"}
    await stage.ann.send(tell("home/http-one", "h1.resolve", "forged"))
    await stage.bob.send(tell("home/http-one", "h1.resolve", "done"))
    stage.relay.detach(stage.bob.link)
    assert http.methods == ["h1.resolve", "h2.reject"]
    assert http.read[0]["args"] == ["done"]
    assert kept(stage) == 0


@pytest.mark.requirement("X-34.services")
async def test_a_call_that_is_given_up_is_forgotten_and_its_reply_too(stage: Three) -> None:
    http = Sink()
    stage.relay.put("*/http-one", http)
    asked = sent("home/bob", "services.x.f", promised=True)
    stage.relay.send(asked, Stamp(workspace="home"))
    stage.relay.forget(asked)
    await stage.bob.send(tell("home/http-one", "h1.resolve", "late"))
    assert http.read == []
    assert kept(stage) == 0


async def test_the_manager_answers_whoever_called_it(stage: Three) -> None:
    await stage.eve.send(call(f"*/{MANAGER}", "services.default.echo", 1))
    asked = stage.manager.messages[0]
    assert asked.arguments() == ([1], {})
    stage.relay.send(frames.resolution(2, call=asked), NOBODY)
    stage.relay.send(frames.resolution(2, call=asked), NOBODY)
    assert [(each["from"], each["args"]) for each in stage.eve.sink.read] == [(f"*/{MANAGER}", [2])]


@pytest.mark.requirement("W-20.services")
async def test_a_fault_of_the_servers_own_is_told_and_hurts_nobody(stage: Three) -> None:
    class Faulty:
        def deliver(self, message: Message, stamp: Stamp) -> None:
            raise ZeroDivisionError

    stage.relay.put("public/server", Faulty())
    await stage.ann.send(call("public/server", "services.x.f"))
    assert stage.ann.refusal.startswith("RemoteException: The server could not do that")
    assert kept(stage) == 0


async def test_the_servers_own_peers_have_a_cap_too(stage: Three, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valetkey.services.relay.MOST_OWN", 1)
    stage.relay.send(sent("home/bob", "services.x.f", promised=True), NOBODY)
    with pytest.raises(RateLimited):
        stage.relay.send(sent("home/bob", "services.x.f", session="h2", promised=True), NOBODY)


# Other instances


class Others:
    """The way to one other instance, ``two``."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Message, Stamp]] = []

    def deliver(self, instance: str, message: Message, stamp: Stamp) -> None:
        self.sent.append((instance, message, stamp))

    def instance_of(self, address: str) -> str | None:
        return "two" if address.endswith("-two") else None


@pytest.fixture
def meshed() -> tuple[Three, Others]:
    others = Others()
    made = Three(away=others)
    made.directory.join(Member(workspace="home", client="far", instance="two", principal=("i", "s")))
    return made, others


async def test_a_call_goes_to_where_its_client_is(meshed: tuple[Three, Others]) -> None:
    stage, others = meshed
    await stage.ann.send(call("home/far", "services.x.f", 1))
    instance, message, stamp = others.sent[0]
    assert (instance, message.sender, stamp.workspace) == ("two", "home/ann", "home")
    assert stage.relay.arrive(sent("home/ann", "s1.resolve", "forged", sender="home/other"), Stamp(workspace="home"))
    assert stage.ann.sink.read == []
    assert stage.relay.arrive(sent("home/ann", "s1.resolve", 2, sender="home/far", session=""), Stamp(workspace="home"))
    assert stage.ann.sink.last["args"] == [2]
    assert kept(stage) == 0


async def test_what_was_not_delivered_there_is_rejected(meshed: tuple[Three, Others]) -> None:
    stage, others = meshed
    await stage.ann.send(call("home/far", "services.x.f", 1))
    stage.relay.undelivered(Message(method="", to="home/other", sender="home/ann", session="s1"))
    assert stage.ann.sink.read == []
    stage.relay.undelivered(others.sent[0][1])
    assert stage.ann.refusal == "Target peer home/far is not connected"


@pytest.mark.requirement("E4.dies")
async def test_an_instance_that_dies_fails_what_waits_for_it(meshed: tuple[Three, Others]) -> None:
    stage, _ = meshed
    await stage.ann.send(call("home/far", "services.x.f", 1))
    stage.directory.drop("two")
    assert stage.ann.refusal == "Target peer home/far is not connected"


async def test_what_comes_for_nobody_here_is_said(meshed: tuple[Three, Others]) -> None:
    stage, _ = meshed
    assert not stage.relay.arrive(sent("home/none", "services.x.f", sender="home/far"), Stamp(workspace="home"))


async def test_a_reply_goes_back_to_another_instance_and_to_its_own_peers(meshed: tuple[Three, Others]) -> None:
    stage, others = meshed
    for sender in ("home/far", "else/http-two"):
        stage.relay.arrive(sent("home/ann", "services.x.f", sender=sender, promised=True), Stamp(workspace="home"))
        await stage.ann.send(tell(sender, "h1.resolve", 3))
        await stage.ann.send(
            call(sender, "h1.send#f" if sender.endswith("far") else "h1.send", session=f"s-{len(others.sent)}")
        )
    assert [(instance, each.to, each.method) for instance, each, _ in others.sent] == [
        ("two", "home/far", "h1.resolve"),
        ("two", "home/far", "h1.send#f"),
        ("two", "else/http-two", "h1.resolve"),
        ("two", "else/http-two", "h1.send"),
    ]
    await stage.eve.send(tell("home/far", "h1.resolve", "forged"))
    assert len(others.sent) == 4


async def test_pieces_for_another_instances_peers_are_put_together_here(meshed: tuple[Three, Others]) -> None:
    stage, others = meshed
    stage.relay.arrive(sent("home/ann", "services.x.f", sender="home/http-two", promised=True), Stamp(workspace="home"))
    await stage.ann.send(call("home/http-two", "services.built-in.get_service", "built-in"))
    cache = stage.ann.sink.last["args"][0]["message_cache"]
    assert (cache["create"]["_rtarget"], cache["create"]["_rmethod"]) == ("home/http-two", METHODS + "create")
    await upload(stage.ann, "home/http-two", tell("home/http-two", "h1.resolve", b"y" * 100_000), key="h1", beat=True)
    assert [each.method for _, each, _ in others.sent] == ["h1.heartbeat", "h1.resolve"]
    assert others.sent[1][1].arguments() == ([b"y" * 100_000], {})


async def test_without_other_instances_nobody_is_there(stage: Three) -> None:
    stage.directory.join(Member(workspace="home", client="far", instance="two", principal=("i", "s")))
    await stage.ann.send(call("home/far", "services.x.f"))
    assert stage.ann.refusal == "Target peer home/far is not connected"


async def test_one_that_came_on_another_instance_is_there_and_not_here(meshed: tuple[Three, Others]) -> None:
    stage, others = meshed
    moved = Member(workspace="home", client="bob", instance="two", principal=("i", "s"))
    stage.directory.join(moved)
    stage.relay.detach(stage.bob.link)
    assert stage.directory.member("home/bob") is moved
    await stage.ann.send(call("home/bob", "services.x.f"))
    assert len(others.sent) == 1
