"""Interactions in Redis."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from valetkey.adapters import redis_scripts as scripts
from valetkey.adapters.redis_client import RedisClient
from valetkey.adapters.redis_rows import interaction, of_interaction, owned, pairs, sought, written
from valetkey.adapters.sql.rows import DamagedRow
from valetkey.errors import InvalidAuthState, StoreUnavailable
from valetkey.model.caller import Owner
from valetkey.model.connections import Sealed
from valetkey.model.interactions import Interaction, InteractionKind, Phase

_log = logging.getLogger("valetkey")
_OPEN = frozenset({Phase.OPEN, Phase.CLAIMED, Phase.ANSWERED, Phase.SETTLING})
_USED = 1
_Rows = Sequence[tuple[bytes, Sequence[bytes]]]


class RedisInteractions:
    """The port ``InteractionStore`` over Redis; each method is one script, which the server runs as one step."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def open(self, interaction: Interaction) -> Interaction:
        """Save it, unless one of the same (kind, owner, topic) is open: then that one is given back.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
            InvalidAuthState: an interaction of that id was there before.
        """
        values = of_interaction(interaction)
        outcome = await self._client.run(scripts.INTERACTION_INSERT, interaction.id, _open_place(interaction), *values)
        if isinstance(outcome, list):
            return _interaction(*outcome[0])
        if outcome == _USED:
            raise InvalidAuthState("This link was used before. Begin again with a new one.")
        return interaction

    async def get(self, interaction_id: str) -> Interaction | None:
        """One interaction, in whatever phase."""
        return _one(await self._client.run(scripts.INTERACTION, sought(interaction_id), again=True))

    async def find_open(self, kind: InteractionKind, owner: Owner, topic: str) -> Interaction | None:
        """The open one."""
        try:
            place = _place(kind, owner, topic)
        except ValueError:
            return None
        return _one(await self._client.run(scripts.INTERACTION_OPEN, place, again=True))

    async def of_owner(self, owner: Owner, kind: InteractionKind) -> Sequence[Interaction]:
        """The owner's open interactions of that kind, oldest first. A damaged row is logged and left out."""
        try:
            start = _place(kind, owner)
        except ValueError:
            return []
        found = _readable(await self._client.run(scripts.INTERACTIONS_OPEN, start, again=True))
        return sorted(found, key=lambda row: (row.created_at, row.id))

    async def save(self, interaction: Interaction, *, version: int) -> bool:
        """Replace the row where its version still is ``version``; False when it moved on.

        False too when it would be a second open one of its (kind, owner, topic): nothing is written.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        values = of_interaction(interaction)
        where = (interaction.id, _open_place(interaction), str(version))
        return bool(await self._client.run(scripts.INTERACTION_SAVE, *where, *values))

    async def sweep(self, *, before: float, unsettled_before: float | None = None) -> int:
        """Remove those whose time ran out before that (epoch seconds), ended or never answered; how many.

        ``unsettled_before``: answered ones, for which nobody came back, go when theirs ran out before that.
        """
        swept = await self._sweep("ends", before)
        return swept if unsettled_before is None else swept + await self._sweep("unsettled", unsettled_before)

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[Interaction]:
        """All of them by id, following that one. A damaged row is logged and left out."""
        values = ("interactions", "interaction", sought(after), str(limit))
        return _readable(await self._client.run(scripts.PAGE, *values, again=True))

    async def reseal(self, interaction: Interaction, *, payload: Sealed, answer: Sealed | None) -> bool:
        """Replace what is sealed, and nothing else, where version and payload still are as given."""
        where = (sought(interaction.id), str(interaction.version), interaction.payload)
        values = written({"payload": payload, "answer": answer})
        return bool(await self._client.run(scripts.INTERACTION_RESEAL, *where, *values))

    async def _sweep(self, index: str, before: float) -> int:
        # Some at a time: while a script runs, the server answers nobody else.
        swept = 0
        while some := int(await self._client.run(scripts.INTERACTIONS_SWEEP, index, repr(float(before)))):
            swept += some
        return swept


def _place(kind: InteractionKind, owner: Owner, *topic: str) -> bytes:
    return kind.value.encode() + b"\0" + owned(owner, *topic)


def _open_place(row: Interaction) -> bytes:
    return _place(row.kind, row.owner, row.topic) if row.phase in _OPEN else b""


def _one(rows: _Rows) -> Interaction | None:
    return _interaction(*rows[0]) if rows else None


def _readable(rows: _Rows) -> list[Interaction]:
    found = []
    for row in rows:
        try:
            found.append(_interaction(*row))
        except StoreUnavailable as error:
            _log.error("%s", error)
    return found


def _interaction(row_id: bytes, flat: Sequence[Any]) -> Interaction:
    try:
        return interaction(pairs(flat))
    except DamagedRow as error:
        raise StoreUnavailable(
            f"The stored question {row_id.decode(errors='replace')} cannot be read: its row is damaged, or of a newer"
            " version. Upgrade valetkey, or begin again."
        ) from error
