"""The wire: whatever comes in, only known keys go out, and who is calling is the server's to say."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.services.relay_kit import as_client, call, reference, written
from valetkey.services import frames, reading
from valetkey.services.frames import BadFrame, Message
from valetkey.services.relay import Stamp

SENDER = "home/me"
STAMP = Stamp(workspace="home", user={"id": "me"})
FIRST = {"type", "from", "ws", "user", "to", "method", "session", "parent"}
SECOND = {"args", "with_kwargs", "promise", "t"}


def read(data: bytes, *, cap: int = 1 << 20) -> Message:
    return reading.read(data, sender=SENDER, cap=cap)


def through(data: bytes) -> dict[str, Any]:
    return as_client(STAMP.write(read(data)))


def promise(session: str = "s1", target: str = "me", **more: Any) -> dict[str, Any]:
    ends = {
        name: {"_rtype": "method", "_rtarget": target, "_rmethod": f"{session}.{name}", "_rpromise": False}
        for name in ("heartbeat", "resolve", "reject")
    }
    return {**ends, "interval": 15.0, **more}


@pytest.mark.requirement("hypha.2.frames")
def test_a_call_goes_through_as_it_was_but_for_who_calls() -> None:
    said = through(call("home/you", "services.calc.add", 1, 2.5, b"x", {"a": None}, parent="p1"))
    assert said == {
        "type": "method",
        "from": SENDER,
        "ws": "home",
        "user": {"id": "me"},
        "to": "home/you",
        "method": "services.calc.add",
        "session": "s1",
        "parent": "p1",
        "args": [1, 2.5, b"x", {"a": None}],
        "promise": "*",
        "t": 15.0,
    }


@pytest.mark.requirement("hypha.2.frames")
@pytest.mark.parametrize(
    ("to", "whole"),
    [("you", "home/you"), ("*", "home/*"), ("other/*", "other/*"), ("*/manager-1", "*/manager-1"), ("a|b/c", "a|b/c")],
)
def test_an_address_without_a_workspace_is_one_of_the_senders(to: str, whole: str) -> None:
    assert read(call(to, "services.a.b")).to == whole


@pytest.mark.requirement("hypha.4.1", "E.shown-hostile")
@pytest.mark.parametrize("key", ["ctx", "from", "ws", "user", "_enc2", "data", "context", "type2", "via"])
def test_keys_that_say_who_calls_are_dropped_in_either_segment(key: str) -> None:
    forged = {"user": {"id": "root", "roles": ["admin"]}, "ws": "root", "from": "*/manager-1"}
    first = {"type": "method", "to": "home/you", "method": "services.a.b", key: forged}
    first["type"] = "method"
    said = through(written(first, {"args": [1], key: forged, "to": "home/other", "method": "services.other.f"}))
    assert said == {
        "type": "method",
        "from": SENDER,
        "ws": "home",
        "user": {"id": "me"},
        "to": "home/you",
        "method": "services.a.b",
        "args": [1],
    }


@pytest.mark.requirement("E.shown-hostile")
@pytest.mark.parametrize(
    "to",
    ["a/b/c", "a:b", "a/b:c", "a/b@c", "", "/", "a/", "/b", "a b", "a/b\n", "a/*b", "**", None, 5, ["a"], "a" * 300],
)
def test_an_address_with_separators_is_none(to: object) -> None:
    with pytest.raises(BadFrame):
        read(written({"type": "method", "to": to, "method": "services.a.b"}))


@pytest.mark.parametrize("kind", ["client_disconnected", "force-exit", "peer_not_found", "error", "", None, 1])
def test_no_other_type_is_passed_on(kind: object) -> None:
    with pytest.raises(BadFrame, match="type method"):
        read(written({"type": kind, "to": "you", "method": "services.a.b"}))


@pytest.mark.parametrize(
    "name",
    [
        "services",
        "services.a",
        "message_cache",
        "message_cache.k",
        "a._b",
        "a.__b",
        "a..b",
        ".a",
        "a b",
        "a\n",
        "x" * 2000,
    ],
)
@pytest.mark.parametrize("where", ["session", "parent"])
def test_a_session_is_none_of_the_stores_that_clients_keep(where: str, name: str) -> None:
    with pytest.raises(BadFrame, match="session and parent"):
        read(written({"type": "method", "to": "you", "method": "services.a.b", where: name}))


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("services.calc.add", True),
        ("services.calc.more.deep_one", True),
        ("services._rintf_abc.on_data", True),
        ("services._rintf_abc._dispose", True),
        ("s1.resolve", True),
        ("-_token.prefix.resolve", True),
        ("s1.xYz#<lambda>", True),
        ("s1.xYz:close", True),
        ("services", False),
        ("services.calc", False),
        ("services..add", False),
        ("services.calc.add.__globals__", False),
        ("services.calc.__class__.x", False),
        ("s1", False),
        ("s1.cb#f.__globals__", False),
        ("s1._promise_manager", False),
        ("s1.timer._callback", False),
        ("message_cache.key", False),
        ("s1.a\nb", False),
        ("", False),
    ],
)
def test_a_name_leads_to_a_function_and_never_into_one(name: str, good: bool) -> None:
    assert reading.is_method(name) is good


@pytest.mark.requirement("hypha.4.2", "E.shown-hostile")
@pytest.mark.parametrize(
    "given_promise",
    [
        promise(target="you"),
        promise(target="*/manager-1"),
        promise(target="other/me"),
        promise(session="other"),
        promise(resolve={"_rtarget": "me", "_rmethod": "services.secret.delete"}),
        promise(resolve="*"),
        promise(more=1),
        {"resolve": promise()["resolve"]},
        "**",
        7,
        [],
    ],
)
def test_a_promise_that_leads_anywhere_but_to_its_sender_is_refused(given_promise: Any) -> None:
    with pytest.raises(BadFrame, match=r"promise"):
        read(call("you", "services.a.b", promise=given_promise))


@pytest.mark.requirement("hypha.2.promise")
@pytest.mark.parametrize("target", ["me", SENDER])
def test_a_promise_in_full_is_written_anew(target: str) -> None:
    first = {"type": "method", "to": "you", "method": "services.a.b", "session": "s1"}
    assert through(written(first, {"promise": promise(target=target)})) | {} == {
        **first,
        "from": SENDER,
        "ws": "home",
        "user": {"id": "me"},
        "to": "home/you",
        "args": [],
        "promise": "*",
        "t": 15.0,
    }


@pytest.mark.requirement("hypha.2.promise")
def test_a_promise_without_heartbeats_keeps_to_its_two_ends() -> None:
    ends = {name: each for name, each in promise().items() if name in ("resolve", "reject")}
    said = through(call("you", "services.a.b", promise={**ends, "interval": 3}))
    assert said["promise"] == {
        name: {"_rtype": "method", "_rtarget": SENDER, "_rmethod": f"s1.{name}", "_rpromise": False} for name in ends
    }


@pytest.mark.requirement("hypha.2.promise")
def test_a_promise_needs_a_session() -> None:
    with pytest.raises(BadFrame, match="session"):
        read(written({"type": "method", "to": "you", "method": "services.a.b"}, {"promise": "*", "t": 1}))


@pytest.mark.parametrize(
    ("t", "interval"), [(15, 15.0), (0.001, 0.5), (1e300, 3600.0), (2**64 - 1, 3600.0), (float("inf"), 3600.0)]
)
def test_heartbeats_come_neither_without_end_nor_never(t: Any, interval: float) -> None:
    assert read(call("you", "services.a.b", t=t)).interval == interval


@pytest.mark.requirement("hypha.2.promise")
@pytest.mark.parametrize("t", [None, 0, -1, "5", True, float("nan"), [1]])
def test_a_promise_in_short_says_how_often(t: object) -> None:
    with pytest.raises(BadFrame, match="has t"):
        read(call("you", "services.a.b", t=t))


FRAME = written({"type": "method", "to": "you", "method": "services.a.b"})
DEEP = b"\x91" * 1020 + b"\x90"


@pytest.mark.requirement("hypha.2.frames")
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x90",
        b"\xc0",
        FRAME[:-1],
        FRAME + b"\x90",
        FRAME + b"\x80\x80",
        FRAME + b"\x80\xc1",
        FRAME + b"\x81\xa4args\x90" + b"\x00",
        FRAME + b"\x81\xa4args\x80",
        FRAME + b"\x81\xa4args\xc0",
        FRAME + b"\x82\xa4args\x90\xa4args\x91\x01",
        FRAME + b"\x82\xa4args\x90\xd9\x04args\x91\x01",
        FRAME + b"\x81\x90\x90",
        FRAME + b"\x81\xa4args\x91\xa1\xff",
        FRAME + b"\x81\xa4args\x91\x81\x90\x01",
        FRAME + b"\x81\xa4args\xdd\xff\xff\xff\xff",
        FRAME + b"\x81\xabwith_kwargs\x01",
        b"\x84\xa4type\xa6method\xa2to\xa3you\xa2to\xa3him\xa6method\xacservices.a.b",
        b"\xdf\x00\x00\x00\x01\xa4type\xa6method\x01",
    ],
)
def test_what_is_not_two_plain_maps_is_no_message(data: bytes) -> None:
    with pytest.raises(BadFrame):
        read(data)


def test_what_says_that_it_holds_more_than_it_does_costs_nothing() -> None:
    """Each of these headers claims a million elements; a list for each of them would take gigabytes."""
    import tracemalloc

    data = FRAME + b"\x81\xa4args" + b"\xdd\x00\x0f\x00\x00" * 1000
    data += b"\xc0" * ((1 << 20) - len(data))
    tracemalloc.start()
    try:
        with pytest.raises(BadFrame):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("depth", [100, 1021, 1022, 1023, 1024, 5000])
def test_what_a_client_could_not_read_for_its_depth_is_not_passed_on(depth: int) -> None:
    data = FRAME + b"\x81\xa4args" + b"\x91" * depth + b"\x90"
    try:
        message = read(data)
    except BadFrame:
        with pytest.raises((msgpack.StackError, ValueError)):
            as_client(data)
    else:
        as_client(STAMP.write(message))
        assert message.args == b"\x91" * depth + b"\x90"


@pytest.mark.requirement("E1.caps")
def test_a_message_has_a_cap() -> None:
    data = call("you", "services.a.b", b"x" * 1000)
    assert read(data, cap=len(data)).args
    with pytest.raises(BadFrame, match="at most"):
        read(data, cap=len(data) - 1)


@pytest.mark.parametrize(
    ("second", "text"),
    [
        ({"_enc": {"v": 2}, "data": b"x"}, "Encrypted"),
        ({"args": [], "with_kwargs": 1, "promise": "*", "t": 1}, "true or false"),
        ({"args": {}, "promise": "*", "t": 1}, "array"),
    ],
)
def test_a_call_that_cannot_be_passed_on_can_be_answered(second: dict[str, Any], text: str) -> None:
    with pytest.raises(BadFrame, match=text) as caught:
        read(written({"type": "method", "to": "you", "method": "services.a.b", "session": "s1"}, second))
    waits = caught.value.call
    assert waits is not None
    assert (waits.sender, waits.to, waits.session, waits.promised) == (SENDER, "home/you", "s1", True)


def test_keys_that_are_no_texts_are_read_and_it_is_told_that_they_are_there() -> None:
    there, other = (read(call("you", "services.a.b", {key: 2}, 3)) for key in (1, "1"))
    assert (there.text_keys, there.arguments()) == (False, ([{1: 2}, 3], {}))
    assert other.text_keys is True


def test_a_reply_that_cannot_be_read_can_be_answered_to_whoever_waits() -> None:
    with pytest.raises(BadFrame) as caught:
        read(written({"type": "method", "to": "you", "method": "s1.resolve"}) + b"\x81\xa4args\x91\xa1\xff")
    waits = caught.value.call
    assert waits is not None
    assert (waits.method, waits.to, waits.promised) == ("s1.resolve", "home/you", False)


def test_functions_in_arguments_are_named_wherever_they_are() -> None:
    deep = {
        "a": [{"b": reference("x/y", "services.a.f")}, reference("z", "s.c", _rclose_method="s.d")],
        "_rtype": "set",
    }
    assert read(call("you", "services.a.b", deep)).references == {("x/y", "services.a.f"), ("z", "s.c"), ("z", "s.d")}
    assert read(call("you", "services.a.b", "_rtarget")).references == frozenset()
    assert {target for target, _ in frames.references_in(frames.packed([deep]))} == {"x/y", "z"}


@pytest.mark.requirement("hypha.2.frames")
def test_arguments_are_given_by_place_and_by_name() -> None:
    message = read(
        written({"type": "method", "to": "you", "method": "services.a.b"}, {"args": [1, {"b": 2}], "with_kwargs": True})
    )
    assert message.arguments() == ([1], {"b": 2})
    assert message.arguments() == ([1], {"b": 2}), "and again, decoded anew"
    message = read(
        written({"type": "method", "to": "you", "method": "services.a.b"}, {"args": [1], "with_kwargs": True})
    )
    with pytest.raises(BadFrame, match="with_kwargs"):
        message.arguments()


def test_a_stamp_with_more_facts_is_read_whole() -> None:
    stamp = Stamp(workspace="home", user={"id": "me"}, more={f"fact{at}": at for at in range(20)})
    said = as_client(stamp.write(read(call("you", "services.a.b"))))
    assert said["fact19"] == 19
    assert said["method"] == "services.a.b"


def test_stamps_of_many_senders_are_not_kept() -> None:
    for at in range(1000):
        frame = Message(method="s.reject", to="a/b", sender=f"x/{at}")
        assert as_client(STAMP.write(frame))["from"] == f"x/{at}"
    assert len(STAMP._packed) <= 16


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from([*sorted(FIRST | SECOND), "ctx", "data", "_enc", "x"])
LIKELY = {
    "type": st.sampled_from(["method", "event"]),
    "to": st.sampled_from(["you", "other/you", "*", "*/manager-1", "a:b"]),
    "method": st.sampled_from(["services.a.b", "s1.resolve", "s1.x#f"]),
    "session": st.sampled_from(["s1", "s1.s2", ""]),
    "parent": st.sampled_from(["p1", ""]),
    "promise": st.sampled_from(["*", promise(), promise(target="you"), False]),
    "t": st.sampled_from([15, 0.5, 1e9]),
    "args": st.lists(PLAIN, max_size=3),
    "with_kwargs": st.booleans(),
}


@st.composite
def segments(draw: st.DrawFn) -> bytes:
    """Bytes that are nearly a message, or one."""
    made = b""
    for names in (("type", "to", "method"), ("args", "promise", "t")):
        chosen = [*names, *draw(st.lists(KEYS, max_size=4))]
        pairs = [
            msgpack.packb(name)
            + msgpack.packb(draw(PLAIN if draw(st.integers(0, 9)) == 0 else LIKELY.get(name, PLAIN)))
            for name in (chosen if draw(st.booleans()) else dict.fromkeys(chosen))
        ]
        made += bytes((0x80 | len(pairs),)) + b"".join(pairs)
    if draw(st.integers(0, 4)) == 0 and made:
        at = draw(st.integers(0, len(made) - 1))
        made = made[:at] + draw(st.binary(max_size=3)) + made[at + 1 :]
    return made


@pytest.mark.requirement("hypha.4.1", "E1.relay")
@given(segments() | st.binary(max_size=60))
@example(call("you", "services.a.b", DEEP))
def test_whatever_comes_in_is_refused_or_goes_out_with_known_keys_alone(data: bytes) -> None:
    try:
        message = read(data)
    except BadFrame:
        return
    out = as_client(STAMP.write(message))
    assert out.keys() <= FIRST | SECOND
    assert (out["from"], out["ws"], out["user"]) == (SENDER, "home", {"id": "me"})
    theirs = as_client(data)  # as the client's own library reads what was sent
    unpacker = msgpack.Unpacker()
    unpacker.feed(data)
    routing = unpacker.unpack()  # what the second segment says of the first is not believed
    for name in ("type", "method"):
        assert out[name] == routing[name]
    for name in ("session", "parent"):
        assert out.get(name, "") == (routing.get(name) or "")
    payload = {name: each for name, each in theirs.items() if name in SECOND and name not in routing}
    assert out.get("args", []) == (payload.get("args") or [])
    assert out.get("with_kwargs", False) == payload.get("with_kwargs", False)
    assert ("promise" in out) == bool(payload.get("promise"))
