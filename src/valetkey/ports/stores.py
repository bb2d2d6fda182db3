"""What we ask of a database: connections, interactions, revocations, who leads; accounts, tokens, stops, audit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from valetkey.model.caller import Owner
from valetkey.model.connections import Connection, Health, Sealed, Standing
from valetkey.model.interactions import Interaction, InteractionKind
from valetkey.model.revocations import Revocation
from valetkey.ports.messages import Counters

if TYPE_CHECKING:
    # Pydantic's models load with the first server, not with the first Pocket.
    from valetkey.model.accounts import Account
    from valetkey.model.audit import Record
    from valetkey.model.stops import Stop, StopKind
    from valetkey.model.tokens import Token, TokenKind
    from valetkey.model.workspaces import WorkspaceInfo


class ConnectionStore(Protocol):
    """Connections, one for each (owner, provider, profile). Every method is one unit of work.

    All methods raise ``StoreUnavailable`` when the database cannot be used.
    """

    async def get(self, owner: Owner, provider: str, profile: str) -> Connection | None:
        """The owner's connection at that provider under that profile."""
        ...

    async def by_id(self, connection_id: str) -> Connection | None:
        """One connection."""
        ...

    async def of_owner(self, owner: Owner, provider: str | None = None) -> Sequence[Connection]:
        """The owner's connections, ordered by provider and profile."""
        ...

    async def insert(self, connection: Connection) -> bool:
        """Save a new one. False when (owner, provider, profile) or the id is taken: nothing is written."""
        ...

    async def save(self, connection: Connection, *, generation: int) -> bool:
        """Replace the row where its generation still is ``generation`` (compare-and-set); False when it moved on.

        The lease columns are written as the connection has them.
        """
        ...

    async def lease(
        self,
        connection_id: str,
        *,
        generation: int,
        owner: str,
        attempt: str,
        now: float,
        ttl: float,
        seen: str | None = None,
    ) -> bool:
        """Take the refresh lease for ``ttl`` seconds, where the generation still fits and nobody holds it.

        ``seen``: only where that is the attempt in the row still, so that none in between goes unnoticed.

        How long somebody holds it is told by the store's own clock, which no wall clock of a caller moves. ``now``
        (epoch seconds) is noted as the attempt's beginning. The attempt is committed when this returns True.
        """
        ...

    async def release(self, connection_id: str, *, owner: str, attempt: str, unclear: bool) -> None:
        """Give the lease back where it still is ours; anything else is left alone.

        ``unclear``: what became of the attempt is not known, so that its trace stays.
        """
        ...

    async def note(
        self,
        connection_id: str,
        *,
        generation: int,
        standing: Standing,
        attempt: str | None = None,
        unclear: bool = False,
    ) -> bool:
        """Write a standing where the generation still fits; False when it moved on.

        With an ``attempt``: only where that is the present one; its lease is given back, and its trace stays where
        its outcome is ``unclear``. Without one the lease is left alone.
        """
        ...

    async def delete(
        self, connection_id: str, *, generation: int | None = None, revocation: Revocation | None = None
    ) -> Connection | None:
        """Remove it, and give what was removed; in the same transaction, ask for a revocation.

        With a ``generation``: only where it still fits; else nothing is done and None given.
        """
        ...

    async def due(self, *, now: float, limit: int) -> Sequence[Connection]:
        """Those to refresh ahead of their end: ``refresh_at`` has come, ``next_try_at`` too; the most urgent first."""
        ...

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[Connection]:
        """Connections of all owners by id, following that one. A damaged row is logged and left out."""
        ...

    async def sealed_by(self, key_id: str, *, after: str = "", limit: int = 500) -> Sequence[Connection]:
        """Those that this key sealed, by id, following that one. A damaged row is logged and left out."""
        ...

    async def reseal(self, changes: Sequence[tuple[Connection, Sealed]]) -> int:
        """Replace what is sealed, and nothing else, where generation and ciphertext still are as given; how many."""
        ...

    async def keys(self) -> Mapping[str, int]:
        """How many rows each key sealed, by its id."""
        ...

    async def key_ids(self) -> frozenset[str]:
        """The keys that sealed any row; cheap, however many rows there are."""
        ...

    async def census(self) -> Mapping[tuple[str, Health], int]:
        """How many there are, by provider and health."""
        ...


class RevocationStore(Protocol):
    """Revocations to do upstream. Every method is one unit of work; ``ConnectionStore.delete`` adds to them, too."""

    async def add(self, revocation: Revocation) -> None:
        """Ask for one; one of that id is left as it is."""
        ...

    async def due(self, *, now: float, limit: int) -> Sequence[Revocation]:
        """Those whose ``next_try_at`` has come, the oldest first."""
        ...

    async def claim(self, revocation: Revocation, *, next_try_at: float) -> bool:
        """Count one try and set the time of the next, where ``tries`` still is as given: only one may try."""
        ...

    async def fail(self, revocation_id: str, *, reason: str) -> None:
        """Note what the last try met."""
        ...

    async def remove(self, revocation_id: str) -> None:
        """It is done, or given up. Its credential is erased from the database's own files, too."""
        ...

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[Revocation]:
        """All of them by id, following that one. A damaged row is logged and left out."""
        ...

    async def reseal(self, revocation: Revocation, sealed: Sealed) -> bool:
        """Replace what is sealed where it still is as given."""
        ...


class LeaderStore(Protocol):
    """Who does what is done by one process only. Every method is one unit of work."""

    async def lead(self, name: str, *, owner: str, ttl: float) -> bool:
        """Become or stay the leader of that work for ``ttl`` seconds, on the store's own clock; False: another is."""
        ...

    async def resign(self, name: str, *, owner: str) -> None:
        """Let another lead at once, where we still do."""
        ...


class InteractionStore(Protocol):
    """Interactions, at most one open for each (kind, owner, topic). Every method is one unit of work.

    Open means: phase open, claimed, answered or settling.
    """

    async def open(self, interaction: Interaction) -> Interaction:
        """Save it, unless one of the same (kind, owner, topic) is open: then that one is given back."""
        ...

    async def get(self, interaction_id: str) -> Interaction | None:
        """One interaction, in whatever phase."""
        ...

    async def find_open(self, kind: InteractionKind, owner: Owner, topic: str) -> Interaction | None:
        """The open one."""
        ...

    async def of_owner(self, owner: Owner, kind: InteractionKind) -> Sequence[Interaction]:
        """The owner's open interactions of that kind, oldest first."""
        ...

    async def save(self, interaction: Interaction, *, version: int) -> bool:
        """Replace the row where its version still is ``version`` (compare-and-set); False when it moved on."""
        ...

    async def sweep(self, *, before: float, unsettled_before: float | None = None) -> int:
        """Remove those whose time ran out before that (epoch seconds), ended or never answered; how many.

        ``unsettled_before``: answered ones, for which nobody came back, go when theirs ran out before that; None: stay.
        """
        ...

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[Interaction]:
        """All of them by id, following that one. A damaged row is logged and left out."""
        ...

    async def reseal(self, interaction: Interaction, *, payload: Sealed, answer: Sealed | None) -> bool:
        """Replace what is sealed, and nothing else, where version and payload still are as given."""
        ...


class AccountStore(Protocol):
    """Local accounts. Every method is one unit of work."""

    async def get(self, name: str) -> Account | None:
        """The account of that name."""
        ...

    async def insert(self, account: Account) -> bool:
        """Save a new one; False when the name is taken: nothing is written."""
        ...

    async def save(self, account: Account, *, version: int) -> bool:
        """Replace the row where its version still is ``version`` (compare-and-set); False when it moved on."""
        ...

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[Account]:
        """All of them by name, following that one. A damaged row is logged and left out."""
        ...


class TokenStore(Protocol):
    """What we issued. Every method is one unit of work."""

    async def insert(self, token: Token) -> bool:
        """Save a new one. False, and nothing is written, when its parent is named and is not there, revoked or over.

        False too when its id or its digest is taken. Whether the parent is over is told by ``created_at``.
        Of two at once, a parent's revocation and this, one comes first: no child of a revoked token is left alive.
        """
        ...

    async def get(self, token_id: str) -> Token | None:
        """One by its id, revoked or not."""
        ...

    async def by_digest(self, digest: str) -> Token | None:
        """One by its hash, revoked or not."""
        ...

    async def of_principal(self, issuer: str, subject: str) -> Sequence[Token]:
        """Those of one principal that are neither revoked nor over, newest first; all kinds."""
        ...

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[Token]:
        """All of them by id, following that one, revoked or not. A damaged row is logged and left out."""
        ...

    async def revoke(self, token_id: str, *, now: float, by: str, reason: str) -> int:
        """Revoke it and all that was made with it, and with that, and stop each; how many. In one transaction."""
        ...

    async def revoke_all(
        self, issuer: str, subject: str, *, kinds: Collection[TokenKind], keep: str, now: float, by: str, reason: str
    ) -> int:
        """Revoke a principal's tokens of these kinds but the one with the id ``keep``; as ``revoke`` does; how many."""
        ...

    async def spend(self, token_id: str, *, now: float) -> bool:
        """Revoke it where nobody did: what is for one use is used by one; False: it was used, or is not there."""
        ...

    async def used(self, token_id: str, *, at: float) -> None:
        """Note when it was last used; never earlier than noted."""
        ...

    async def rehash(self, token_id: str, *, before: str, digest: str, key_id: str) -> bool:
        """Replace its hash, and nothing else, where it still is as given."""
        ...

    async def key_ids(self, *, now: float) -> Mapping[str, int]:
        """How many that are neither revoked nor over each root key signed or hashed."""
        ...

    async def sweep(self, *, before: float) -> int:
        """Remove those that were revoked or over before that (epoch seconds); how many."""
        ...


class StopStore(Protocol):
    """What is stopped. Revisions are given in the order in which changes are committed."""

    async def revision(self) -> int:
        """The newest revision; 0: nothing was ever stopped. Cheap: it is asked each second."""
        ...

    async def since(self, revision: int) -> Sequence[Stop]:
        """Changes after that revision, lifted ones too, in order."""
        ...

    async def put(self, stop: Stop) -> None:
        """Stop it, or change why; a new revision."""
        ...

    async def lift(self, kind: StopKind, target: str, *, now: float) -> bool:
        """Stop it no more; False: it was not stopped."""
        ...

    async def active(self, *, now: float) -> Sequence[Stop]:
        """Those in force, by kind and target; tokens left out."""
        ...

    async def sweep(self, *, before: float) -> int:
        """Remove those that ended, or were lifted, before that (epoch seconds); how many."""
        ...


class WorkspaceStore(Protocol):
    """Workspaces. Every method is one unit of work."""

    async def get(self, name: str) -> WorkspaceInfo | None:
        """One by its name."""
        ...

    async def insert(self, workspace: WorkspaceInfo) -> bool:
        """Save a new one; False when the name is taken: nothing is written."""
        ...

    async def save(self, workspace: WorkspaceInfo, *, was: WorkspaceInfo) -> bool:
        """Replace it where it still is as it was read (compare-and-set); False: it moved on, or is not there."""
        ...

    async def delete(self, name: str) -> bool:
        """Remove it; False: it was not there."""
        ...

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[WorkspaceInfo]:
        """All of them by name, following that one. A damaged row is logged and left out."""
        ...


class AuditStore(Protocol):
    """The audit log; it only grows."""

    async def head(self) -> Record | None:
        """The newest record; None: there is none."""
        ...

    async def append(self, records: Sequence[Record]) -> bool:
        """Save these, all or none. False when a number is taken: somebody else wrote meanwhile."""
        ...

    async def page(self, *, after: int = 0, limit: int = 500) -> Sequence[Record]:
        """Records by number, following that one.

        Raises:
            StoreUnavailable: a record cannot be read: none is left out of a log.
        """
        ...

    async def latest(self, *, limit: int) -> Sequence[Record]:
        """The newest ones, in order of their numbers."""
        ...

    async def key_ids(self) -> frozenset[str]:
        """The root keys under which any record was made; cheap, however many there are."""
        ...


class CounterStore(Counters, Protocol):
    """Counts kept in the database, for those who share it and no bus."""

    async def sweep(self, *, before: float) -> int:
        """Remove those whose period ended before that (epoch seconds); how many."""
        ...
