"""What one instance says to another: entries in order, in batches of bounded size, and whether any was lost."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from valetkey.services.packing import pack
from valetkey.vault.wire import End

BATCH = 262_144
"""Bytes of entries in one message, about; a longer entry goes in several."""

WINDOW = 4_194_304
"""Bytes under way to one instance that it has not said to have taken: what the bus has to hold for it."""

MOST_WAITING = 134_217_728
"""Bytes of clients' messages that wait to be said to one instance. As much again may be said of how things stand;
beyond that the line is broken: all is dropped, and the instance is told anew."""

OF_ONE = 4
"""One sender has this part of it, a quarter, or a single message; all whom nobody knows have half of it together."""

_UNKNOWN = ""


class Outgoing:
    """Entries that wait to be said."""

    def __init__(self) -> None:
        self._entries: deque[tuple[bytes, tuple[str, ...]]] = deque()  # with whose they are
        self._shares: Counter[str] = Counter()
        self._messages = 0
        self._from = 0  # where the first one goes on
        self.size = 0
        self._under_way: deque[tuple[int, int]] = deque()
        self._open = WINDOW

    def put(self, entry: bytes) -> bool:
        """Add one of how things stand; False: too much waits already."""
        if self.size + len(entry) > 2 * MOST_WAITING:
            return False
        self._add(entry, ())
        return True

    def put_message(self, entry: bytes, *, sender: str, known: bool, slack: int = 0) -> bool:
        """Add a client's message; False: its sender's share, or that of all, is taken.

        Args:
            entry: the message.
            sender: whose share it counts for.
            known: whether that is somebody known; all others have a share together, too.
            slack: bytes that the sender may have beyond the share.
        """
        size, there = len(entry), self._shares
        if self._messages + size > MOST_WAITING + slack:
            return False
        if there[sender] and there[sender] + size > MOST_WAITING // OF_ONE + slack:
            return False
        if not known and there[_UNKNOWN] and there[_UNKNOWN] + size > MOST_WAITING // 2 + slack:
            return False
        self._add(entry, (sender,) if known else (sender, _UNKNOWN))
        return True

    def _add(self, entry: bytes, whose: tuple[str, ...]) -> None:
        self._entries.append((entry, whose))
        self.size += len(entry)
        self._count(whose, len(entry))

    def _count(self, whose: tuple[str, ...], size: int) -> None:
        if whose:
            self._messages += size
        for each in whose:
            self._shares[each] += size
            if not self._shares[each]:
                del self._shares[each]

    @property
    def ready(self) -> bool:
        """Whether something can be said now."""
        return bool(self._entries) and self._open > 0

    def batch(self, number: int) -> list[Any]:
        """Take what goes into the next message: whether it goes on with an entry, whether one goes on, and pieces."""
        continues, pieces, room = self._from > 0, [], BATCH
        while self._entries and room > 0 and self._open > 0:
            entry, whose = self._entries[0]
            piece = entry[self._from : self._from + room] if self._from or len(entry) > room else entry
            pieces.append(piece)
            room -= len(piece)
            self._from += len(piece)
            if self._from >= len(entry):
                self._entries.popleft()
                self._count(whose, -len(entry))
                self._from = 0
        taken = BATCH - room
        self.size -= taken
        self._open -= taken
        self._under_way.append((number, taken))
        return [continues, self._from > 0, pieces]

    def taken(self, number: int) -> None:
        """The other end has taken all up to that message."""
        while self._under_way and self._under_way[0][0] <= number:
            self._open += self._under_way.popleft()[1]


class Incoming:
    """Entries put together again."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.unsaid = 0  # bytes taken, and not said so yet

    def take(self, continues: bool, goes_on: bool, pieces: list[bytes]) -> list[bytes]:  # noqa: FBT001 - as sent
        """The entries that a message ends."""
        if not continues:
            self._pieces = []
        done: list[bytes] = []
        for number, piece in enumerate(pieces, start=1):
            self.unsaid += len(piece)
            if goes_on and number == len(pieces):
                self._pieces.append(piece)
            else:
                done.append(b"".join((*self._pieces, piece)) if self._pieces else piece)
                self._pieces = []
        return done


@dataclass(slots=True, kw_only=True)
class Other:
    """Another instance, as this one knows it.

    Attributes:
        name: what its clients' members say of where they are.
        heard: when it was heard last.
        stream, number: what was said to it last.
        took, at: the stream and number that were taken from it last.
        broken: whether something of that stream was lost: it is to begin a new one.
        resting: whether it could not be told something, and is left alone until the next beat.
    """

    end: End
    name: str
    heard: float
    stream: int = 0
    number: int = 0
    took: int = 0
    at: int = 0
    broken: bool = False
    resting: bool = False
    out: Outgoing = field(default_factory=Outgoing)
    incoming: Incoming = field(default_factory=Incoming)

    @property
    def ready(self) -> bool:
        """Whether something can be said to it now."""
        return not self.resting and (self.out.ready or self.incoming.unsaid >= WINDOW // 4)

    def begin(self, stream: int, first: bytes) -> None:
        """Say all anew, with that first; what waits is dropped."""
        self.stream, self.number = stream, 0
        self.out = Outgoing()
        self.out.put(first)

    def next(self, name: str) -> bytes:
        """The next message to it, from the instance of that name; not sealed yet.

        It says how much was taken from there, too: even where nothing else can be said before that is heard.
        """
        self.number += 1
        self.incoming.unsaid = 0
        return pack([name, (self.took, self.at), *self.out.batch(self.number)])

    def taken(self, stream: int, number: int) -> None:
        """It has taken all up to that message."""
        if stream == self.stream:
            self.out.taken(number)

    def follows(self, stream: int, number: int) -> bool:
        """Whether that message is the next one of its stream; else it is known from then on to be broken."""
        anew = stream > self.took
        fits = number == 1 if anew else not self.broken and number == self.at + 1
        self.took, self.at, self.broken = stream, number, not fits
        if anew:
            self.incoming = Incoming()
        return fits
