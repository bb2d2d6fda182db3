"""Messages in pieces (``message_cache``): put together here, judged whole, and cut anew for whoever reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from valetkey.errors import Denied, InvalidArguments, NotFound, RateLimited
from valetkey.services import frames, reading
from valetkey.services.frames import BadFrame, Message
from valetkey.services.rooms import Room

METHODS = "services.built-in.message_cache."

MOST_SETS = 64
"""Messages in pieces that one client may have under way at once."""

TOO_OLD = 60.0
"""Seconds after which one that nobody goes on with is forgotten."""

BEAT_EVERY = 1.0
"""Seconds between two words to whoever waits for a message in pieces, that more of it came."""

_SMALLEST = 1024  # bytes of a piece, on average and at least
_KEEP = "Pieces are kept for a minute, then begin anew with create."


@dataclass(slots=True)
class _Set:
    at: float
    beat: float
    parts: dict[int, bytes] = field(default_factory=dict)
    size: int = 0


class Uploads:
    """What one client is sending in pieces."""

    def __init__(self) -> None:
        self._sets: dict[tuple[str, str], _Set] = {}  # by addressee and key
        self._size = 0
        self._count = 0

    @staticmethod
    def takes(message: Message) -> bool:
        """Whether a message is such a piece."""
        return message.method.startswith(METHODS)

    def take(self, message: Message, *, whole: int, now: float, room: Room | None = None) -> tuple[Message | None, str]:
        """Take one; the message, once it is whole, and the session whose call is to be kept waiting for it, if any.

        Args:
            message: the piece.
            whole: bytes that a message in pieces may have, and all that are not whole yet, together.
            now: seconds that never go back.
            room: where they are kept, with those of others.

        Raises:
            InvalidArguments: it is none, or the message that they make is none.
            Denied: there are too many or too large ones.
            NotFound: it belongs to none.
            RateLimited: there is no room for it now.
        """
        name, values, waits = _said(message)
        place = message.to, str(values["key"])
        if name == "create":
            self._begin(place, now, room, anew=values.get("overwrite") is True)
        there = self._sets.get(place)
        if there is None:
            raise NotFound(f"There is no message in pieces of that key. {_KEEP}")
        there.at = now
        made = None
        if name in ("process", "remove"):
            del self._sets[place]
            self._forget(there, room)
            if name == "process":
                made = _whole(there, message, whole)
        elif name != "create":
            try:
                self._add(there, values.get("data"), values.get("index"), whole, room)
            except (InvalidArguments, Denied, RateLimited):
                self._forget(self._sets.pop(place), room)
                raise
        if not waits or now - there.beat < BEAT_EVERY:
            return made, ""
        there.beat = now
        return made, waits

    def expire(self, now: float, room: Room | None = None) -> None:
        """Forget those that nobody goes on with."""
        for place in [place for place, each in self._sets.items() if now - each.at >= TOO_OLD]:
            self._forget(self._sets.pop(place), room)

    def clear(self, room: Room | None = None) -> None:
        """Forget all: their sender is gone."""
        while self._sets:
            self._forget(self._sets.popitem()[1], room)

    def _begin(self, place: tuple[str, str], now: float, room: Room | None, *, anew: bool) -> None:
        self.expire(now, room)
        before = self._sets.get(place)
        if before is not None and not anew:  # a client's own library says the same
            raise InvalidArguments("A message in pieces of that key is under way already. Remove it, or use another.")
        if before is not None:
            self._forget(self._sets.pop(place), room)
        if len(self._sets) >= MOST_SETS:
            raise RateLimited(f"At most {MOST_SETS} messages in pieces may be under way at once.", retry_after=1)
        self._sets[place] = _Set(at=now, beat=now - BEAT_EVERY)

    def _add(self, there: _Set, data: object, index: object, whole: int, room: Room | None) -> None:
        if index is None:
            index = len(there.parts)
        if not isinstance(data, bytes) or isinstance(index, bool) or not isinstance(index, int):
            raise BadFrame("A piece has data, bytes, and its index.")
        before = there.parts.get(index)
        more = len(data) - len(before or b"")
        if not 0 <= index <= whole // _SMALLEST or self._size + more > whole:
            raise Denied(f"A message in pieces has at most {whole} bytes, and so have all that are under way.")
        if before is None and self._count >= MOST_SETS + whole // _SMALLEST:
            raise Denied(f"Pieces have at least {_SMALLEST} bytes, but for the last one.")
        if room is not None:
            room.take(more)
        self._size += more
        self._count += before is None
        there.size += more
        there.parts[index] = data

    def _forget(self, there: _Set, room: Room | None) -> None:
        self._size -= there.size
        self._count -= len(there.parts)
        if room is not None:
            room.give(there.size)


def _whole(there: _Set, message: Message, whole: int) -> Message:
    if any(index not in there.parts for index in range(len(there.parts))):
        raise InvalidArguments("A piece of the message is missing.")
    data = b"".join(there.parts.pop(index) for index in range(len(there.parts)))
    made = reading.read(data, sender=message.sender, cap=whole)
    if made.to != message.to or Uploads.takes(made):
        raise BadFrame("A message in pieces goes where its pieces went, and is none of them itself.")
    return made


_PLACES = {
    "create": ("key", "heartbeat", "overwrite"),
    "append": ("key", "data", "heartbeat"),
    "set": ("key", "index", "data", "heartbeat"),
    "process": ("key", "heartbeat"),
    "remove": ("key",),
}


def awaited(piece: Message) -> str:
    """The session whose call waits for the message of which that is a piece; empty: it does not say."""
    try:
        return _said(piece)[2]
    except InvalidArguments:
        return ""


def _said(piece: Message) -> tuple[str, dict[str, Any], str]:
    """What a piece says: which word it is, its values, and the session of whoever waits for it, or nothing."""
    args, named = piece.arguments()
    name = piece.method.removeprefix(METHODS)
    values = dict(zip(_PLACES.get(name, ()), args, strict=False)) | named
    key = values.get("key")
    if name not in _PLACES or not isinstance(key, str) or not 0 < len(key) <= reading.LONGEST_NAME:
        raise BadFrame("A message in pieces is sent by create, set or append, and process, each with its key.")
    return name, values, key if values.get("heartbeat") is True else ""


def heartbeat(session: str, *, to: str, sender: str) -> Message:
    """The word to a caller that its call goes on."""
    return Message(method=f"{session}.heartbeat", to=to, sender=sender)


def pieces(data: bytes, message: Message, *, key: str) -> Iterator[Message]:
    """An encoded message that is too long for one, as the messages that bring it to its addressee in order.

    Whoever waits for it as a reply is told before each piece that its call goes on: a slow way is no silence.
    """

    def piece(name: str, *args: object) -> Message:
        return Message(method=METHODS + name, to=message.to, sender=message.sender, args=frames.packed([key, *args]))

    awaited = bool(message.parent) and message.method in (f"{message.parent}.resolve", f"{message.parent}.reject")
    beating, overwriting = False, True
    yield piece("create", beating, overwriting)
    for index, start in enumerate(range(0, len(data), frames.PIECE)):
        if awaited:
            yield heartbeat(message.parent, to=message.to, sender=message.sender)
        yield piece("set", index, data[start : start + frames.PIECE], beating)
    yield piece("process", beating)
