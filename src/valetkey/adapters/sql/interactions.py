"""Interactions in SQL."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Executable

from valetkey.adapters.sql import statements
from valetkey.adapters.sql.damaged import page, readable
from valetkey.adapters.sql.database import Database, Taken
from valetkey.adapters.sql.rows import DamagedRow, Row, interaction_from, interaction_values, owner_values
from valetkey.errors import InvalidAuthState, StoreUnavailable
from valetkey.model.caller import Owner
from valetkey.model.connections import Sealed
from valetkey.model.interactions import Interaction, InteractionKind

_TRIES = 5


class SqlInteractions:
    """The port ``InteractionStore`` over a database; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, interaction: Interaction) -> Interaction:
        """Save it, unless one of the same (kind, owner, topic) is open: then that one is given back.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
            InvalidAuthState: an interaction of that id was there before.
        """
        values = interaction_values(interaction)
        for _ in range(_TRIES):
            try:
                await self._database.write((statements.INTERACTION_INSERT, values))
            except Taken:
                # The index decided, not this look: the one that it found may have ended in between.
                there = await self.find_open(interaction.kind, interaction.owner, interaction.topic)
                if there is not None:
                    return there
                if await self.get(interaction.id) is not None:
                    raise InvalidAuthState("This link was used before. Begin again with a new one.") from None
            else:
                return interaction
        raise StoreUnavailable("Another question about the same account is asked over and over. Try again.")

    async def get(self, interaction_id: str) -> Interaction | None:
        """One interaction, in whatever phase."""
        rows = await self._database.read(statements.INTERACTION, {"id": interaction_id})
        return _interaction(rows[0]) if rows else None

    async def find_open(self, kind: InteractionKind, owner: Owner, topic: str) -> Interaction | None:
        """The open one."""
        values = owner_values(owner) | {"kind": kind.value, "topic": topic}
        rows = await self._database.read(statements.INTERACTION_OPEN, values)
        return _interaction(rows[0]) if rows else None

    async def of_owner(self, owner: Owner, kind: InteractionKind) -> Sequence[Interaction]:
        """The owner's open interactions of that kind, oldest first. A damaged row is logged and left out."""
        rows = await self._database.read(statements.INTERACTIONS_OPEN, owner_values(owner) | {"kind": kind.value})
        return readable(rows, _interaction)

    async def save(self, interaction: Interaction, *, version: int) -> bool:
        """Replace the row where its version still is ``version``; False when it moved on.

        False too when it would be a second open one of its (kind, owner, topic): nothing is written.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        values = interaction_values(interaction)
        values |= {"where_id": interaction.id, "where_version": version}
        try:
            (outcome,) = await self._database.write((statements.INTERACTION_SAVE, values))
        except Taken:
            return False
        return outcome.count == 1

    async def sweep(self, *, before: float, unsettled_before: float | None = None) -> int:
        """Remove those whose time ran out before that (epoch seconds), ended or never answered; how many.

        ``unsettled_before``: answered ones, for which nobody came back, go when theirs ran out before that.
        """
        swept = await self._sweep(statements.INTERACTIONS_SWEEP, before)
        if unsettled_before is not None:
            swept += await self._sweep(statements.INTERACTIONS_SWEEP_UNSETTLED, unsettled_before)
        return swept

    async def _sweep(self, statement: Executable, before: float) -> int:
        swept = 0
        while True:
            (outcome,) = await self._database.write((statement, {"before": before}), erase=True)
            swept += outcome.count
            if outcome.count < statements.SWEPT_AT_ONCE:
                return swept

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[Interaction]:
        """All of them by id, following that one. A damaged row is logged and left out."""
        return await page(self._database, statements.INTERACTIONS_PAGE, {}, _interaction, after=after, limit=limit)

    async def reseal(self, interaction: Interaction, *, payload: Sealed, answer: Sealed | None) -> bool:
        """Replace what is sealed, and nothing else, where version and payload still are as given."""
        values = {
            "where_id": interaction.id,
            "where_version": interaction.version,
            "before": interaction.payload,
            "new_payload": payload,
            "new_answer": answer,
        }
        (outcome,) = await self._database.write((statements.INTERACTION_RESEAL, values), erase=True)
        return outcome.count == 1


def _interaction(row: Row) -> Interaction:
    try:
        return interaction_from(row)
    except DamagedRow as error:
        raise StoreUnavailable(
            f"The stored question {row[0]} cannot be read: its row is damaged, or of a newer version."
            " Upgrade valetkey, or begin again."
        ) from error
