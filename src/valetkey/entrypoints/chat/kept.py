"""Sessions whose socket has gone, kept a while for whoever may come back: so many, so large, and a share for each."""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from valetkey.entrypoints.chat.history import bare
from valetkey.entrypoints.chat.session import ChatSession
from valetkey.identity.verifiers.vouched import CHAT
from valetkey.model.hosts import is_loopback, visitor_of

OF_SESSION = 256 * 1024
"""Bytes of one history that are kept: the newest part, half of it for the client, half for the model."""

OF_ALL = 64 * 1024 * 1024
"""Bytes of all of them."""

OF_PERSON = 8
"""Sessions of one user; of one browser, where nobody signed in."""

OF_ADDRESS = 64
"""Sessions of visitors from one address, whatever cookies they make up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    session: ChatSession
    size: int
    person: str
    place: str


class Kept:
    """Them all, the oldest first; where there are too many, whoever has most gives the oldest of theirs.

    Args:
        most: how many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: OrderedDict[str, _Row] = OrderedDict()
        self._of: dict[str, OrderedDict[str, None]] = {}
        self._bytes: Counter[str] = Counter()
        self._total = 0

    def __len__(self) -> int:
        return len(self._rows)

    def all(self) -> list[ChatSession]:
        """Oldest first."""
        return [row.session for row in self._rows.values()]

    def get(self, session_id: str) -> ChatSession | None:
        """The one of that id."""
        row = self._rows.get(session_id)
        return None if row is None else row.session

    def add(self, session: ChatSession) -> list[ChatSession]:
        """Keep one, cut to its size.

        Returns:
            Those that had to go; it may be among them.
        """
        shrink(session)
        if not session.said and not session.turns:
            return [session]
        person, place = _keys(session)
        row = _Row(session=session, size=weight(session), person=person, place=place)
        self.drop(session)
        self._rows[session.id] = row
        for each in {person, place}:
            self._of.setdefault(each, OrderedDict())[session.id] = None
        self._bytes[place] += row.size
        self._total += row.size
        gone = []
        while (key := self._over(row)) is not None:
            oldest = self._rows[next(iter(self._of[key]))].session
            self.drop(oldest)
            gone.append(oldest)
        return gone

    def drop(self, session: ChatSession) -> None:
        """Keep it no more."""
        row = self._rows.pop(session.id, None)
        if row is None:
            return
        for key in {row.person, row.place}:
            del self._of[key][session.id]
            if not self._of[key]:
                del self._of[key]
        self._bytes[row.place] -= row.size
        if self._bytes[row.place] <= 0:
            del self._bytes[row.place]
        self._total -= row.size

    def _over(self, added: _Row) -> str | None:
        """Who has to give one."""
        if len(self._of.get(added.person, ())) > OF_PERSON:
            return added.person
        if len(self._of.get(added.place, ())) > OF_ADDRESS:
            return added.place
        if len(self._rows) > self._most:
            return max(self._bytes, key=lambda place: len(self._of[place]))
        if self._total > OF_ALL:
            return max(self._bytes, key=lambda place: self._bytes[place])
        return None


def _keys(session: ChatSession) -> tuple[str, str]:
    """The person, and the place from which others could be made up. An address of this machine tells of nobody."""
    owner, address = session.owner, session.address
    if owner.workspace != CHAT:
        person = f"user {owner.workspace} {owner.issuer} {owner.subject}"
        return person, person
    person = f"browser {session.browser}"
    if not address or is_loopback(address.removeprefix("::ffff:")):
        return person, person
    return person, f"address {visitor_of(address)}"


def shrink(session: ChatSession) -> None:
    """Cut its history to what is kept of one: first what tools did in earlier turns, then the oldest."""
    half, turns, said = OF_SESSION // 2, session.turns, session.said
    sizes = [weight(turn) for turn in turns]
    for at, turn in enumerate(turns):
        if sum(sizes) <= half:
            break
        turns[at] = bare(turn)
        sizes[at] = weight(turns[at])
    while turns and sum(sizes) > half:
        del turns[0], sizes[0]
    size, first = 0, len(said)
    while first and (size := size + weight(said[first - 1])) <= half:
        first -= 1
    while 0 < first < len(said) and said[first].role != "user":
        first += 1  # what answers a question that is gone
    del said[:first]


def weight(value: Any) -> int:
    """Bytes of memory of a history, or of a part of it."""
    if isinstance(value, ChatSession):
        return weight(value.turns) + weight(value.said)
    size = sys.getsizeof(value)
    if isinstance(value, Mapping):
        return size + sum(weight(key) + weight(each) for key, each in value.items())
    if isinstance(value, list | tuple):
        return size + sum(map(weight, value))
    if is_dataclass(value):
        return size + sum(weight(getattr(value, field.name)) for field in fields(value))
    return size
