"""Tokens in SQL: each change that must be known everywhere is one transaction with its stops."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from sqlalchemy import Executable

from valetkey.adapters.sql import identity_statements as statements
from valetkey.adapters.sql.damaged import page, readable
from valetkey.adapters.sql.database import Database, Taken
from valetkey.adapters.sql.identity_rows import STOPPED_AFTER, STOPPED_FOR, token_from, token_values
from valetkey.adapters.sql.names import check_digest
from valetkey.adapters.sql.rows import DamagedRow, Row, printable
from valetkey.errors import StoreUnavailable

if TYPE_CHECKING:
    from valetkey.model.tokens import Token, TokenKind


class SqlTokens:
    """The port ``TokenStore`` over a database; each method is one transaction.

    Args:
        database: where they are.
        now: seconds since the epoch; by it tokens that are over are left out of a list.
    """

    def __init__(self, database: Database, *, now: Callable[[], float]) -> None:
        self._database = database
        self._now = now

    async def insert(self, token: Token) -> bool:
        """Save a new one. False, and nothing is written, when its parent is named and is not there, revoked or over.

        False too when its id or its digest is taken.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        values = token_values(token)
        try:
            if not token.parent:
                await self._database.write((statements.TOKEN_INSERT, values))
                return True
            parent = {"token": token.parent}
            *_, inserted = await self._database.write(
                (statements.TOKEN_ROOT, parent),
                (statements.TOKEN_ITSELF, parent),  # for who spends it, and locks nothing else
                (statements.TOKEN_INSERT_CHILD, values),
            )
        except Taken:
            return False
        return inserted.count == 1

    async def get(self, token_id: str) -> Token | None:
        """One by its id, revoked or not."""
        rows = await self._database.read(statements.TOKEN, {"id": token_id})
        return _token(rows[0]) if rows else None

    async def by_digest(self, digest: str) -> Token | None:
        """One by its hash, revoked or not."""
        rows = await self._database.read(statements.TOKEN_BY_DIGEST, {"digest": digest})
        return _token(rows[0]) if rows else None

    async def of_principal(self, issuer: str, subject: str) -> Sequence[Token]:
        """Those of one principal that are neither revoked nor over, newest first. A damaged row is left out."""
        values = {"issuer": issuer, "subject": subject, "now": self._now()}
        return readable(await self._database.read(statements.TOKENS_OF_PRINCIPAL, values), _token)

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[Token]:
        """All of them by id, following that one, revoked or not. A damaged row is logged and left out."""
        return await page(self._database, statements.TOKENS_PAGE, {}, _token, after=after, limit=limit)

    async def revoke(self, token_id: str, *, now: float, by: str, reason: str) -> int:
        """Revoke it and all that was made with it, and with that, and stop each; how many."""
        which: dict[str, object] = {"token": token_id}
        steps = (statements.TOKEN_ROOT, statements.TOKEN_STOP, statements.TOKEN_REVOKE)
        return await self._revoke(steps, which, now=now, by=by, reason=reason)

    async def revoke_all(
        self, issuer: str, subject: str, *, kinds: Collection[TokenKind], keep: str, now: float, by: str, reason: str
    ) -> int:
        """Revoke a principal's tokens of these kinds but the one with the id ``keep``; as ``revoke`` does; how many.

        What is kept stays, with what was made with it, whatever it was made with itself.
        """
        named = [kind.value for kind in set(kinds)]
        named += [""] * (statements.KINDS - len(named))
        which: dict[str, object] = {"issuer": issuer, "subject": subject, "keep": keep}
        which |= {f"kind_{number}": kind for number, kind in enumerate(named)}
        steps = (statements.TOKENS_ROOTS, statements.TOKENS_STOP, statements.TOKENS_REVOKE)
        return await self._revoke(steps, which, now=now, by=by, reason=reason)

    async def _revoke(
        self,
        steps: tuple[Executable, Executable, Executable],
        which: dict[str, object],
        *,
        now: float,
        by: str,
        reason: str,
    ) -> int:
        lock, stop, revoke = steps
        told = {"reason": printable(reason), "stopped_by": printable(by), "now": now}
        outcomes = await self._database.write(
            (statements.STOP_CHANGES, {}),
            (lock, which),
            (stop, which | told | {"until": now + STOPPED_FOR, "late": STOPPED_AFTER}),
            (revoke, which | {"now": now}),
        )
        return outcomes[-1].count

    async def spend(self, token_id: str, *, now: float) -> bool:
        """Revoke it where nobody did; False: it was used, or is not there."""
        (outcome,) = await self._database.write((statements.TOKEN_SPEND, {"where_id": token_id, "now": now}))
        return outcome.count == 1

    async def used(self, token_id: str, *, at: float) -> None:
        """Note when it was last used; never earlier than noted."""
        await self._database.write((statements.TOKEN_USED, {"where_id": token_id, "at": at}))

    async def rehash(self, token_id: str, *, before: str, digest: str, key_id: str) -> bool:
        """Replace its hash, and nothing else, where it still is as given.

        Raises:
            InvalidArguments: the hash or the key's id is no text that every database keeps.
        """
        check_digest(digest, key_id)
        values = {"where_id": token_id, "before": before, "new_digest": digest, "new_key_id": key_id}
        try:
            (outcome,) = await self._database.write((statements.TOKEN_REHASH, values))
        except Taken:
            return False
        return outcome.count == 1

    async def key_ids(self, *, now: float) -> Mapping[str, int]:
        """How many that are neither revoked nor over each root key signed or hashed."""
        return dict(await self._database.read(statements.TOKEN_KEYS, {"now": now}, aside=True))

    async def sweep(self, *, before: float) -> int:
        """Remove those that were revoked or over before that; one stays as long as what was made with it; how many."""
        swept = 0
        while True:
            (outcome,) = await self._database.write((statements.TOKENS_SWEEP, {"before": before}), erase=True)
            if not outcome.count:
                return swept
            swept += outcome.count


def _token(row: Row) -> Token:
    try:
        return token_from(row)
    except DamagedRow as error:
        raise StoreUnavailable(
            f"The stored token {row[0]} cannot be read: its row is damaged, or of a newer version. Upgrade valetkey,"
            " or revoke it and make another."
        ) from error
