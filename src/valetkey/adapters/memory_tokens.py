"""Tokens and stops, in dicts."""

from __future__ import annotations

import hmac
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from valetkey.adapters.sql.identity_rows import (
    STOPPED_AFTER,
    STOPPED_FOR,
    stop_from,
    stop_values,
    token_from,
    token_values,
)
from valetkey.adapters.sql.names import check_digest
from valetkey.model.stops import Stop, StopKind

if TYPE_CHECKING:
    from valetkey.model.tokens import Token, TokenKind


class MemoryStops:
    """The port ``StopStore`` within one process, and gone with it. For any loop and any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[tuple[StopKind, str], Stop] = {}
        self._revision = 0

    async def revision(self) -> int:
        """The newest revision; 0: nothing was ever stopped."""
        return self._revision

    async def since(self, revision: int) -> Sequence[Stop]:
        """Changes after that revision, lifted ones too, in order."""
        with self._lock:
            rows = [row for row in self._rows.values() if row.revision > revision]
        return sorted(rows, key=lambda row: (row.revision, row.kind, row.target))

    async def put(self, stop: Stop) -> None:
        """Stop it, or change why; a new revision.

        Raises:
            InvalidArguments: its target is no text that every database keeps.
        """
        self.put_all([stop])

    def put_all(self, stops: Iterable[Stop]) -> None:
        """Stop these, as one change."""
        rows = [stop_from((*tuple(stop_values(stop).values())[:-1], 0, int(stop.lifted))) for stop in stops]
        with self._lock:
            self._revision += 1
            for row in rows:
                self._rows[row.kind, row.target] = replace(row, revision=self._revision)

    async def lift(self, kind: StopKind, target: str, *, now: float) -> bool:
        """Stop it no more; False: it was not stopped."""
        with self._lock:
            row = self._rows.get((kind, target))
            if row is None or not _in_force(row, now):
                return False
            self._revision += 1
            self._rows[kind, target] = replace(row, lifted=True, ends_at=now, revision=self._revision)
        return True

    async def active(self, *, now: float) -> Sequence[Stop]:
        """Those in force, by kind and target; tokens left out."""
        with self._lock:
            rows = [row for row in self._rows.values() if _in_force(row, now) and row.kind is not StopKind.TOKEN]
        return sorted(rows, key=lambda row: (row.kind, row.target))

    async def sweep(self, *, before: float) -> int:
        """Remove those that ended, or were lifted, before that; how many."""
        with self._lock:
            ended = [key for key, row in self._rows.items() if row.ends_at is not None and row.ends_at < before]
            for key in ended:
                del self._rows[key]
        return len(ended)


def _in_force(stop: Stop, now: float) -> bool:
    return not stop.lifted and (stop.ends_at is None or stop.ends_at > now)


class MemoryTokens:
    """The port ``TokenStore`` within one process, and gone with it. For any loop and any thread.

    Args:
        stops: where what is revoked is stopped.
        now: seconds since the epoch; by it tokens that are over are left out of a list.
    """

    def __init__(self, *, stops: MemoryStops, now: Callable[[], float]) -> None:
        self._stops = stops
        self._now = now
        self._lock = threading.Lock()
        self._rows: dict[str, Token] = {}
        self._digests: dict[str, str] = {}

    async def insert(self, token: Token) -> bool:
        """Save a new one. False, and nothing is written, when its parent is named and is not there, revoked or over.

        False too when its id or its digest is taken.

        Raises:
            InvalidArguments: a name or an id is no text that every database keeps.
        """
        kept = _copy(token)
        with self._lock:
            parent = self._rows.get(kept.parent)
            if kept.parent and (parent is None or not _alive(parent, kept.created_at)):
                return False
            if kept.id in self._rows or kept.digest in self._digests:
                return False
            self._rows[kept.id] = kept
            if kept.digest:
                self._digests[kept.digest] = kept.id
        return True

    async def get(self, token_id: str) -> Token | None:
        """One by its id, revoked or not."""
        row = self._rows.get(token_id)
        return None if row is None else _copy(row)

    async def by_digest(self, digest: str) -> Token | None:
        """One by its hash, revoked or not."""
        token_id = self._digests.get(digest)
        return None if token_id is None else await self.get(token_id)

    async def of_principal(self, issuer: str, subject: str) -> Sequence[Token]:
        """Those of one principal that are neither revoked nor over, newest first."""
        now = self._now()
        with self._lock:
            rows = [row for row in self._rows.values() if _principal(row) == (issuer, subject) and _alive(row, now)]
        return [_copy(row) for row in sorted(rows, key=lambda row: (-row.created_at, row.id))]

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[Token]:
        """All of them by id, following that one, revoked or not."""
        with self._lock:
            rows = sorted(self._rows.items())
        return [_copy(row) for name, row in rows if name > after][:limit]

    async def revoke(self, token_id: str, *, now: float, by: str, reason: str) -> int:
        """Revoke it and all that was made with it, and with that, and stop each; how many."""
        with self._lock:
            tops = [row for row in (self._rows.get(token_id),) if row is not None]
            return self._revoke(tops, keep=None, now=now, by=by, reason=reason)

    async def revoke_all(
        self, issuer: str, subject: str, *, kinds: Collection[TokenKind], keep: str, now: float, by: str, reason: str
    ) -> int:
        """Revoke a principal's tokens of these kinds but the one with the id ``keep``; as ``revoke`` does; how many.

        What is kept stays, with what was made with it, whatever it was made with itself.
        """
        with self._lock:
            mine = [row for row in self._rows.values() if _principal(row) == (issuer, subject) and row.kind in kinds]
            tops = [row for row in mine if row.id != keep]
            return self._revoke(tops, keep=keep, now=now, by=by, reason=reason)

    async def spend(self, token_id: str, *, now: float) -> bool:
        """Revoke it where nobody did; False: it was used, or is not there."""
        with self._lock:
            row = self._rows.get(token_id)
            if row is None or row.revoked_at is not None:
                return False
            self._rows[token_id] = replace(row, revoked_at=now)
        return True

    async def used(self, token_id: str, *, at: float) -> None:
        """Note when it was last used; never earlier than noted."""
        with self._lock:
            row = self._rows.get(token_id)
            if row is not None and (row.last_used_at is None or row.last_used_at < at):
                self._rows[token_id] = replace(row, last_used_at=at)

    async def rehash(self, token_id: str, *, before: str, digest: str, key_id: str) -> bool:
        """Replace its hash, and nothing else, where it still is as given.

        Raises:
            InvalidArguments: the hash or the key's id is no text that every database keeps.
        """
        check_digest(digest, key_id)
        with self._lock:
            row = self._rows.get(token_id)
            taken = self._digests.get(digest, token_id)
            if row is None or not before or taken != token_id:
                return False
            if not hmac.compare_digest(row.digest.encode(), before.encode("utf-8", "replace")):
                return False
            del self._digests[before]
            self._digests[digest] = token_id
            self._rows[token_id] = replace(row, digest=digest, key_id=key_id)
        return True

    async def key_ids(self, *, now: float) -> Mapping[str, int]:
        """How many that are neither revoked nor over each root key signed or hashed."""
        with self._lock:
            return Counter(row.key_id for row in self._rows.values() if row.key_id and _alive(row, now))

    async def sweep(self, *, before: float) -> int:
        """Remove those that were revoked or over before that; one stays as long as what was made with it; how many."""
        swept = 0
        with self._lock:
            while True:
                parents = {row.parent for row in self._rows.values() if row.parent}
                over = [row for row in self._rows.values() if row.id not in parents and _over(row, before)]
                for row in over:
                    del self._rows[row.id]
                    self._digests.pop(row.digest, None)
                if not over:
                    return swept
                swept += len(over)

    def _revoke(self, tops: Iterable[Token], *, keep: str | None, now: float, by: str, reason: str) -> int:
        below: dict[str, list[Token]] = {}
        for row in self._rows.values():
            if row.parent and row.id != keep:
                below.setdefault(row.parent, []).append(row)
        waiting = list(tops)
        tree: dict[str, Token] = {}
        while waiting:
            row = waiting.pop()
            if row.id not in tree:
                tree[row.id] = row
                waiting += below.get(row.id, ())
        ended = [row for row in tree.values() if row.revoked_at is None]
        for row in ended:
            self._rows[row.id] = replace(row, revoked_at=now)
        self._stops.put_all(
            Stop(
                kind=StopKind.TOKEN,
                target=row.id,
                reason=reason,
                by=by,
                created_at=now,
                ends_at=(now + STOPPED_FOR if row.expires_at is None else row.expires_at) + STOPPED_AFTER,
            )
            for row in ended
        )
        return len(ended)


def _copy(token: Token) -> Token:
    return token_from(tuple(token_values(token).values()))


def _principal(token: Token) -> tuple[str, str]:
    return token.owner.issuer, token.owner.subject


def _alive(token: Token, now: float) -> bool:
    return token.revoked_at is None and (token.expires_at is None or token.expires_at > now)


def _over(token: Token, before: float) -> bool:
    return any(end is not None and end < before for end in (token.revoked_at, token.expires_at))
