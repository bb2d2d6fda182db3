"""Messages in pieces: put together within caps, judged whole, and cut for whoever reads them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgpack
import pytest

from tests.services.relay_kit import as_client, call, reference, tell
from valetkey.errors import Denied, InvalidArguments, NotFound, RateLimited
from valetkey.services import chunks, frames, reading
from valetkey.services.chunks import METHODS, Uploads, pieces
from valetkey.services.frames import BadFrame, Message
from valetkey.services.relay import Stamp
from valetkey.services.rooms import Share

ME, YOU = "home/me", "home/you"
WHOLE = 1 << 20
LONG = call("you", "services.a.b", b"x" * 300_000)


class Shared(Share):
    """Room that clients share."""

    def __init__(self, most: int) -> None:
        self._counted: Counter[str] = Counter()
        super().__init__(self._counted, {"": most})

    @property
    def used(self) -> int:
        return self._counted[""]


class Sending:
    """One client's pieces."""

    def __init__(self, room: Share | None = None) -> None:
        self.uploads = Uploads()
        self.room = room
        self.now = 0.0

    def piece(self, name: str, *args: Any, to: str = YOU) -> tuple[Message | None, str]:
        data = tell(to, METHODS + name, *args)
        message = reading.read(data, sender=ME, cap=1 << 21)
        return self.uploads.take(message, whole=WHOLE, now=self.now, room=self.room)

    def whole(self, data: bytes = LONG, key: str = "k", size: int = 100_000) -> Message | None:
        self.piece("create", key)
        for index in range(-(-len(data) // size)):
            self.piece("set", key, index, data[index * size : (index + 1) * size], False)
        return self.piece("process", key)[0]


def test_pieces_make_the_message_that_they_were_cut_from() -> None:
    made = Sending().whole()
    assert made == reading.read(LONG, sender=ME, cap=WHOLE)


def test_pieces_may_come_in_any_order_and_again() -> None:
    sending = Sending()
    sending.piece("create", "k")
    for index in (2, 0, 1, 0, 3):
        sending.piece("set", "k", index, LONG[index * 100_000 : (index + 1) * 100_000])
    assert sending.piece("process", "k")[0] == reading.read(LONG, sender=ME, cap=WHOLE)


def test_append_puts_a_piece_behind_the_others() -> None:
    sending = Sending()
    sending.piece("create", "k")
    for start in range(0, len(LONG), 70_000):
        sending.piece("append", "k", LONG[start : start + 70_000])
    assert sending.piece("process", "k")[0] == reading.read(LONG, sender=ME, cap=WHOLE)


@pytest.mark.requirement("hypha.4.1", "E.shown-hostile")
def test_what_a_piece_hides_is_judged_as_if_it_came_whole() -> None:
    forged = msgpack.packb(
        {"type": "method", "to": "you", "method": "services.a.b", "ctx": {"user": "root"}, "ws": "r"}
    )
    forged += msgpack.packb({"args": [1], "ctx": {"user": "root"}, "user": {"id": "root"}, "from": "*/manager"})
    made = Sending().whole(forged, size=7)
    assert made is not None
    said = as_client(Stamp(workspace="home", user={"id": "me"}).write(made))
    assert said.keys() == {"type", "from", "ws", "user", "to", "method", "args"}
    assert (said["from"], said["ws"], said["user"]) == (ME, "home", {"id": "me"})


@pytest.mark.requirement("hypha.4.2")
def test_a_promise_or_a_reference_in_pieces_is_seen() -> None:
    with pytest.raises(BadFrame, match="promise"):
        Sending().whole(call("you", "services.a.b", promise={"resolve": {"_rtarget": "you"}}))
    made = Sending().whole(call("you", "services.a.b", [reference("*/manager-1", "services.default.f")]))
    assert made is not None
    assert made.references == {("*/manager-1", "services.default.f")}


def test_a_message_goes_where_its_pieces_went() -> None:
    for to in ("him", "*", "other/you"):
        with pytest.raises(BadFrame, match="goes where"):
            Sending().whole(call(to, "services.a.b"))
    sending = Sending()
    sending.piece("create", "k")
    with pytest.raises(NotFound):
        sending.piece("set", "k", 0, b"x", to="home/him")


def test_pieces_do_not_make_pieces() -> None:
    with pytest.raises(BadFrame, match="none of them"):
        Sending().whole(tell("you", METHODS + "create", "j"))


@pytest.mark.parametrize(
    "piece",
    [
        ("create",),
        ("create", ""),
        ("create", 5),
        ("create", "k" * 2000),
        ("other", "k"),
        ("set", "k", 0, "text"),
        ("set", "k", "0", b"x"),
        ("set", "k", True, b"x"),
        ("append", "k", None),
    ],
)
def test_what_is_no_piece_is_refused(piece: tuple[Any, ...]) -> None:
    sending = Sending()
    sending.piece("create", "k")
    with pytest.raises(BadFrame):
        sending.piece(*piece)


@pytest.mark.parametrize("name", ["set", "append", "process", "remove"])
def test_what_was_not_begun_does_not_go_on(name: str) -> None:
    with pytest.raises(NotFound, match="no message in pieces"):
        Sending().piece(name, "k", 0, b"x")


def test_a_missing_piece_is_told() -> None:
    sending = Sending()
    sending.piece("create", "k")
    sending.piece("set", "k", 0, LONG[:1000])
    sending.piece("set", "k", 2, LONG[1000:])
    with pytest.raises(InvalidArguments, match="missing"):
        sending.piece("process", "k")


def test_two_messages_of_one_key_are_not_mixed() -> None:
    sending = Sending()
    sending.piece("create", "k")
    sending.piece("set", "k", 0, LONG[:1000])
    with pytest.raises(InvalidArguments, match="under way"):
        sending.piece("create", "k")
    sending.piece("create", "k", False, True)
    sending.piece("set", "k", 0, LONG)
    assert sending.piece("process", "k")[0] == reading.read(LONG, sender=ME, cap=WHOLE)


def test_pieces_for_two_peers_may_have_one_key() -> None:
    sending = Sending()
    sending.piece("create", "k")
    sending.piece("create", "k", to="home/him")
    sending.piece("set", "k", 0, LONG)
    assert sending.piece("process", "k")[0] is not None


@pytest.mark.requirement("hypha.2.pieces", "E1.caps")
def test_all_pieces_together_have_a_cap() -> None:
    sending = Sending()
    for key in ("a", "b"):
        sending.piece("create", key)
        sending.piece("set", key, 0, b"x" * (WHOLE // 2))
    sending.piece("create", "c")
    with pytest.raises(Denied, match="at most"):
        sending.piece("set", "c", 0, b"x")
    with pytest.raises(NotFound):
        sending.piece("set", "c", 0, b"x")
    sending.piece("remove", "a")
    sending.piece("create", "c")
    sending.piece("set", "c", 0, b"x")


def test_a_piece_that_is_sent_again_counts_once() -> None:
    sending = Sending()
    sending.piece("create", "k")
    for _ in range(20):
        sending.piece("set", "k", 0, b"x" * (WHOLE // 2))


@pytest.mark.parametrize("index", [-1, 1 << 20, 2**63])
def test_places_of_pieces_have_a_cap(index: int) -> None:
    sending = Sending()
    sending.piece("create", "k")
    with pytest.raises(Denied):
        sending.piece("set", "k", index, b"x")


@pytest.mark.requirement("E.shown-hostile")
def test_pieces_of_nothing_have_an_end() -> None:
    sending = Sending()
    sending.piece("create", "k")
    sending.piece("create", "j")

    def fill() -> None:
        for index in range(WHOLE // 1024 + 1):
            for key in ("k", "j"):
                sending.piece("set", key, index, b"")

    with pytest.raises(Denied, match="at least"):
        fill()


@pytest.mark.requirement("E1.caps")
def test_messages_at_once_have_a_cap_and_old_ones_make_room() -> None:
    sending = Sending()
    for at in range(chunks.MOST_SETS):
        sending.piece("create", f"k{at}")
    with pytest.raises(RateLimited):
        sending.piece("create", "one more")
    sending.now = chunks.TOO_OLD
    sending.piece("create", "one more")


def test_what_nobody_goes_on_with_is_forgotten() -> None:
    room = Shared(WHOLE)
    sending = Sending(room)
    sending.piece("create", "k")
    sending.piece("set", "k", 0, b"x" * 1000)
    sending.now = 1.0
    sending.piece("create", "j")
    sending.piece("set", "j", 0, b"x" * 10)
    assert room.used == 1010
    sending.uploads.expire(chunks.TOO_OLD, room)
    assert room.used == 10
    with pytest.raises(NotFound):
        sending.piece("set", "k", 1, b"x")
    sending.piece("set", "j", 1, b"x")


@pytest.mark.requirement("E1.caps")
def test_clients_share_the_room_and_give_it_back() -> None:
    room = Shared(1000)
    one, other = Sending(room), Sending(room)
    for sending in (one, other):
        sending.piece("create", "k")
    one.piece("set", "k", 0, b"x" * 600)
    with pytest.raises(RateLimited):
        other.piece("set", "k", 0, b"x" * 600)
    one.uploads.clear(room)
    assert room.used == 0
    other.piece("create", "k")
    other.piece("set", "k", 0, b"x" * 600)
    with pytest.raises(BadFrame):
        other.piece("process", "k")
    assert room.used == 0
    assert other.whole(call("you", "services.a.b", b"y" * 500), size=100) is not None
    assert room.used == 0


def test_whoever_waits_hears_of_pieces_at_most_once_a_second() -> None:
    sending = Sending()
    assert sending.piece("create", "k", True) == (None, "k")
    assert sending.piece("set", "k", 0, b"x", True) == (None, "")
    sending.now = 1.0
    assert sending.piece("set", "k", 1, b"x", False) == (None, "")
    assert sending.piece("set", "k", 1, b"x", True) == (None, "k")
    assert sending.piece("set", "k", 2, b"x", True) == (None, "")


@pytest.mark.requirement("hypha.2.pieces")
def test_a_long_message_is_cut_as_clients_put_it_together() -> None:
    stamp = Stamp(workspace="home", user={"id": "me"}, more={"via": {"url": "x"}})
    message = reading.read(call("you", "services.a.b", b"x" * (3 * frames.PIECE)), sender=ME, cap=1 << 22)
    data = stamp.write(message)
    store: dict[int, bytes] = {}
    names = []
    for each in pieces(data, message, key="k1"):
        out = stamp.write(each)
        assert len(out) <= frames.PIECE + frames.OVERHEAD
        said = as_client(out)
        name = said["method"].removeprefix(METHODS)
        names.append(name)
        assert (said["from"], said["to"], said["args"][0]) == (ME, YOU, "k1")
        if name == "set":
            store[said["args"][1]] = said["args"][2]
            assert said["args"][3] is False
    assert names == ["create", "set", "set", "set", "set", "process"]
    assert b"".join(store[at] for at in range(len(store))) == data


def test_a_long_reply_keeps_its_caller_waiting() -> None:
    reply = Message(method="s1.s2.resolve", to=YOU, sender=ME, parent="s1.s2", args=frames.packed([b"x" * 600_000]))
    names = [each.method.rpartition(".")[2] for each in pieces(b"x" * 600_000, reply, key="k")]
    assert names == ["create", "heartbeat", "set", "heartbeat", "set", "heartbeat", "set", "process"]
    beats = [each for each in pieces(b"x" * 600_000, reply, key="k") if each.method.endswith("heartbeat")]
    assert {(each.method, each.to, each.sender) for each in beats} == {("s1.s2.heartbeat", YOU, ME)}
