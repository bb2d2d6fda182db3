"""Calls for whoever has no socket: what peers may answer, and that nothing stays behind. No sockets here."""

from __future__ import annotations

import asyncio
from typing import Any

import msgpack
import pytest

from valetkey.adapters.system import SystemEntropy
from valetkey.errors import InvalidArguments, NotFound
from valetkey.model.caller import OURS, Caller, Owner
from valetkey.model.needs import Need, Needs
from valetkey.model.services import Member, Registered
from valetkey.model.users import UserInfo, UserPermission
from valetkey.services import frames
from valetkey.services.calls import Calls
from valetkey.services.directory import Directory
from valetkey.services.failures import PeerGone, RemoteFailure
from valetkey.services.frames import Message
from valetkey.services.relay import Link, Relay, ServiceLoan, Stamp
from valetkey.services.sight import Sight, Who
from valetkey.testing.clock import ManualClock

GITHUB = Needs(((Need(provider="github", scopes=frozenset({"repo"})),),))
FUNCTION = {"type": "function", "function": {"name": "f"}}


def who(name: str) -> Who:
    workspace = f"ws-user-{name}"
    owner = Owner(workspace=workspace, issuer=OURS, subject=name)
    return Who(caller=Caller(owner=owner, how="test", user=UserInfo(id=name, roles=[])), workspace=workspace)


class Peer:
    """A client without a library: a test reads what it gets, and says what it wants."""

    def __init__(self, place: Place, name: str) -> None:
        self.place = place
        self.got: list[dict[str, Any]] = []
        caller = who(name)
        member = Member(
            workspace=caller.workspace, client="c", instance="i", principal=caller.caller.principal, user=caller.user
        )
        self.link = Link(peer=self, who=caller, stamp=Stamp.of(caller), member=member)
        place.relay.attach(self.link)

    @property
    def address(self) -> str:
        return self.link.member.peer

    def deliver(self, message: Message, stamp: Stamp) -> None:
        unpacker = msgpack.Unpacker()
        unpacker.feed(stamp.write(message))
        self.got.append({key: value for each in unpacker for key, value in each.items()})

    async def says(self, to: str, method: str, *args: Any, **more: Any) -> None:
        first = {"type": "method", "to": to, "method": method, **more.pop("routing", {})}
        await self.place.relay.receive(self.link, msgpack.packb(first) + msgpack.packb({"args": list(args), **more}))

    async def answers(self, value: Any, *, name: str = "resolve", call: dict[str, Any] | None = None) -> None:
        call = call or self.got[-1]
        await self.says(call["from"], f"{call['session']}.{name}", value)

    def service(self, **about: Any) -> Registered:
        workspace = self.link.member.workspace
        given = {"id": "s", "visibility": "public", "schema": {"f": FUNCTION, "n": {"type": "number"}}, **about}
        made = Registered(workspace=workspace, client="c", **given)
        self.place.directory.register(made)
        return made


class Place:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.directory = Directory(instance="i")
        self.relay = Relay(
            directory=self.directory,
            sight=Sight(lambda caller, name: UserPermission.admin if name == caller.owner.workspace else None),
            clock=self.clock,
            manager_id="manager-i",
            cap=1_000_000,
            whole=1_000_000,
            most_pending=10,
        )
        self.calls = Calls(relay=self.relay, clock=self.clock, entropy=SystemEntropy(), address="*/http-i")

    def call(self, service: Registered, *path: str, deadline: float = 5, **kwargs: Any) -> asyncio.Task[Any]:
        call = self.calls.call(service, path or ("f",), (), kwargs, who("bob"), deadline=deadline)
        return asyncio.ensure_future(call)

    def quiet(self, peer: Peer) -> bool:
        """Whether nothing waits any more, here and in the relay."""
        return not self.calls._waiting and not self.calls._offers and self.relay.waiting(peer.address) == 0


@pytest.fixture
def place() -> Place:
    return Place()


async def begun() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.requirement("hypha.3.2.context", "hypha.4.12")
async def test_who_calls_is_stamped_and_a_context_of_the_callers_is_dropped(place: Place) -> None:
    ada = Peer(place, "ada")
    call = place.call(ada.service(), a=1, context={"user": "root"})
    await begun()
    got = ada.got[-1]
    assert (got["from"], got["ws"], got["user"]["id"]) == ("ws-user-bob/http-i", "ws-user-bob", "bob")
    assert (got["args"], got["with_kwargs"], got["method"]) == ([{"a": 1}], True, "services.s.f")
    assert "heartbeat" not in got["promise"]
    await ada.answers({"x": [1, b"2"]})
    assert await call == {"x": [1, b"2"]}
    assert place.quiet(ada)


@pytest.mark.requirement("W-06.services")
async def test_a_reply_counts_only_from_whoever_was_called(place: Place) -> None:
    ada, eve = Peer(place, "ada"), Peer(place, "eve")
    call = place.call(ada.service())
    await begun()
    for name in ("resolve", "reject", "heartbeat", "x"):
        await eve.answers("forged", name=name, call=ada.got[-1])
    forged = frames.resolution(
        "forged", call=Message(method="m", to=eve.address, sender="x/y", session=ada.got[-1]["session"])
    )
    place.calls.deliver(forged, eve.link.stamp)  # as if the relay had let it through
    assert not call.done()
    await ada.answers("true")
    assert await call == "true"
    await ada.answers("twice")
    assert place.quiet(ada)


async def test_what_a_client_raised_and_a_client_that_goes_are_told_apart(place: Place) -> None:
    ada = Peer(place, "ada")
    service = ada.service()
    call = place.call(service)
    await begun()
    text = "Target peer ws-user-ada/c is not connected"
    await ada.answers(
        {"_rtype": "error", "_rvalue": text, "_rtrace": "Traceback (most recent call last):\nOSError: x"}, name="reject"
    )
    with pytest.raises(RemoteFailure) as failure:
        await call
    assert (failure.value.kind, failure.value.text) == ("OSError", text)
    call = place.call(service)
    await begun()
    place.relay.detach(ada.link)
    with pytest.raises(PeerGone, match="ws-user-ada/c is not connected"):
        await call
    with pytest.raises(PeerGone):
        await place.call(service)
    assert place.quiet(ada)


@pytest.mark.requirement("X-34.services")
async def test_a_call_that_is_given_up_is_forgotten(place: Place) -> None:
    ada = Peer(place, "ada")
    service = ada.service()
    with pytest.raises(TimeoutError, match="timed out"):
        await place.call(service, deadline=0.001)
    assert place.quiet(ada)
    call = place.call(service)
    await begun()
    call.cancel()
    await asyncio.wait({call})
    assert place.quiet(ada)
    await ada.answers("late")


async def test_functions_are_those_of_the_schema(place: Place) -> None:
    ada = Peer(place, "ada")
    for path in ("g", "_f", "__class__", "f.x", "n.x"):
        with pytest.raises(NotFound):
            await place.call(ada.service(), *path.split("."))
    assert ada.got == []
    call = place.call(ada.service(), "n")
    await begun()
    assert (ada.got[-1]["method"], ada.got[-1]["ws"]) == ("services.built-in.get_service", "ws-user-ada")
    await ada.answers({"id": "s", "n": 42})
    assert await call == 42
    call = place.call(ada.service(), "n")
    await begun()
    await ada.answers({"n": {"_rtype": "method", "_rtarget": "ws-user-eve/c", "_rmethod": "services.other.f"}})
    with pytest.raises(NotFound):
        await call


async def test_arguments_refer_to_nobodys_functions(place: Place) -> None:
    ada = Peer(place, "ada")
    for target in ("*/manager-i", "ws-user-eve/c", "ws-user-bob/http-i/x", "http-i"):
        with pytest.raises(InvalidArguments, match="function of somebody else"):
            await place.call(ada.service(), a=[{"_rtype": "method", "_rtarget": target, "_rmethod": "m"}])
    with pytest.raises(InvalidArguments, match="64 bits"):
        await place.call(ada.service(), a=2**70)
    assert ada.got == []
    assert place.quiet(ada)


@pytest.mark.parametrize(
    "about",
    [
        {"_rtarget": "ws-user-eve/c"},
        {"_rtarget": "*/manager-i"},
        {"_rmethod": "services.default.generate_token"},
        {"_rclose_method": "services.built-in.x"},
        {"_rmethod": None},
    ],
)
async def test_a_generator_is_its_clients_own(place: Place, about: dict[str, Any]) -> None:
    ada = Peer(place, "ada")
    call = place.call(ada.service())
    await begun()
    own = {"_rtype": "generator", "_rtarget": ada.address, "_rmethod": "x.next", "_rclose_method": "x.close"}
    await ada.answers({**own, **about})
    with pytest.raises(RemoteFailure, match="not its own"):
        await call
    assert len(ada.got) == 1


async def test_a_stream_asks_value_by_value_and_closes_what_it_leaves(place: Place) -> None:
    ada = Peer(place, "ada")
    call = place.call(ada.service())
    await begun()
    own = {"_rtype": "generator", "_rtarget": "c", "_rmethod": "x.next", "_rclose_method": "x.close"}
    await ada.answers(own)
    stream = await call
    value = asyncio.ensure_future(anext(stream))
    await begun()
    assert (ada.got[-1]["method"], ada.got[-1]["from"]) == ("x.next", "ws-user-bob/http-i")
    await ada.answers(1)
    assert await value == 1
    await stream.aclose()
    await stream.aclose()
    assert [each["method"] for each in ada.got[2:]] == ["x.close"]
    assert "promise" not in ada.got[-1]
    assert [value async for value in stream] == []
    assert place.quiet(ada)


@pytest.mark.requirement("E5.ticket")
async def test_what_a_service_is_lent_ends_with_its_call_or_its_stream(place: Place) -> None:
    ended: list[str] = []

    async def lend(service: Registered, caller: Who) -> ServiceLoan:
        return ServiceLoan(told={"via": {"github": 1}}, end=lambda: ended.append(caller.user["id"]))

    place.relay.lend = lend
    ada = Peer(place, "ada")
    service = ada.service(needs=GITHUB)
    for name, reply in (("resolve", 1), ("reject", {"_rtype": "error", "_rvalue": "x"})):
        call = place.call(service)
        await begun()
        assert ada.got[-1]["via"] == {"github": 1}
        assert not ended
        await ada.answers(reply, name=name)
        await asyncio.wait({call})
        assert ended == ["bob"]
        ended.clear()
        call.exception()
    with pytest.raises(TimeoutError):
        await place.call(service, deadline=0.001)
    assert ended == ["bob"]
    ended.clear()
    call = place.call(service)
    await begun()
    await ada.answers({"_rtype": "generator", "_rtarget": "c", "_rmethod": "x.n", "_rclose_method": "x.c"})
    stream = await call
    assert not ended
    value = asyncio.ensure_future(anext(stream, "end"))
    await begun()
    assert ada.got[-1]["via"] == {"github": 1}
    await ada.answers({"_rtype": "stop_iteration"})
    assert (await value, ended) == ("end", ["bob"])


async def test_what_is_offered_is_for_the_called_peer_alone_and_for_as_long_as_the_call(place: Place) -> None:
    ada, eve = Peer(place, "ada"), Peer(place, "eve")
    called: list[Any] = []

    async def take(value: Any) -> str:
        called.append(value)
        return "taken"

    promise = {"promise": "*", "t": 10.0}
    service = ada.service()
    with place.calls.offering(service, who("bob"), {"take": take}) as references:
        reference = references["take"]
        target, method = reference["_rtarget"], reference["_rmethod"]
        assert target == "ws-user-bob/http-i"
        await eve.says(target, method, "hers", routing={"session": "e1"}, **promise)
        await begun()
        assert (eve.got[-1]["method"], called) == ("e1.reject", [])
        await ada.says(target, method, "mine", routing={"session": "a1"}, **promise)
        await begun()
        assert (ada.got[-1]["method"], ada.got[-1]["args"], called) == ("a1.resolve", ["taken"], ["mine"])
        await ada.says(target, method, 1, 2, 3, routing={"session": "a2"}, **promise)
        await begun()
        assert ada.got[-1]["method"] == "a2.reject"
    await ada.says(target, method, "late", routing={"session": "a3"}, **promise)
    await begun()
    assert (ada.got[-1]["method"], called) == ("a3.reject", ["mine"])
    assert place.quiet(ada)


async def test_a_function_that_takes_its_time_beats_for_whoever_called_it(place: Place) -> None:
    ada, ending = Peer(place, "ada"), asyncio.Event()
    with place.calls.offering(ada.service(), who("bob"), {"wait": ending.wait}) as references:
        target, method = references["wait"]["_rtarget"], references["wait"]["_rmethod"]
        await ada.says(target, method, routing={"session": "a1"}, promise="*", t=10.0)
        await begun()
        assert ada.got == []
        place.clock.advance(10)
        await begun()
        assert [each["method"] for each in ada.got] == ["a1.heartbeat"]
        ending.set()
        await begun()
        assert [each["method"] for each in ada.got] == ["a1.heartbeat", "a1.resolve"]
        place.clock.advance(10)
        await begun()
        assert len(ada.got) == 2
