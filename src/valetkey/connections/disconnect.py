"""Here first, then upstream, with a truthful report."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from valetkey.audit import Audit, NoAudit
from valetkey.connections.answer import Answering
from valetkey.connections.finder import Finder, known
from valetkey.connections.revoke import Ended, Revoker
from valetkey.connections.rotations import Rotations
from valetkey.connections.told import forgotten
from valetkey.errors import AuthExpired, InvalidAuthState, StoreUnavailable, ValetkeyError, VaultError
from valetkey.interactions.service import Interactions
from valetkey.interactions.states import ENDED, WAITING, Event
from valetkey.model.caller import Owner
from valetkey.model.connections import Connection
from valetkey.model.interactions import Interaction, InteractionKind, Phase
from valetkey.ports.messages import Wakeups
from valetkey.ports.stores import ConnectionStore
from valetkey.vault.seal import Sealer

ROUNDS = 8
"""How often a deletion begins anew because a refresh moved the row on."""

EXCHANGE = 12.0
"""Seconds that an exchange which is under way may still take: its deadline, and the time to save."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of an account.

    Attributes:
        deleted: whether there was one here, or a flow for one; it is gone now.
        revoked: whether the provider said that its tokens are revoked (RFC 7009).
        queued: whether the provider is asked again later, by whichever process lives then.
        reason: where they are not: why.
    """

    deleted: bool
    revoked: bool = False
    queued: bool = False
    reason: str = ""


class Disconnector:
    """Forgets accounts."""

    def __init__(
        self,
        *,
        store: ConnectionStore,
        interactions: Interactions,
        answering: Answering,
        finder: Finder,
        sealer: Sealer,
        rotations: Rotations,
        revoker: Revoker,
        wakeups: Wakeups,
        audit: Audit | None = None,
    ) -> None:
        self._audit = audit or NoAudit()
        self._store = store
        self._interactions = interactions
        self._answering = answering
        self._finder = finder
        self._sealer = sealer
        self._rotations = rotations
        self._revoker = revoker
        self._wakeups = wakeups

    async def disconnect(self, owner: Owner, provider: str, profile: str) -> Report:
        """Delete the owner's connection and withdraw an open flow; then revoke at the provider, if it can be."""
        withdrawn = await self._withdraw(owner, provider, profile)
        for _ in range(ROUNDS):
            held = await self._store.get(owner, provider, profile)
            report = Report(deleted=withdrawn is not None) if held is None else await self._end(held)
            if report is not None:
                if withdrawn is not None and withdrawn.confirming:
                    waited = _report(await self._give_up(withdrawn))
                    report = waited if held is None else _both(report, waited)
                self._tell(owner, provider, "" if held is None else held.id, report)
                return report
        raise StoreUnavailable("The account could not be deleted: its row changes all the time. Try again.")

    async def _end(self, held: Connection) -> Report | None:
        """Delete that generation and ask for its revocation, in one step; None where it moved on meanwhile."""
        handler = known(self._finder, held.handler, held.provider)
        # What lives at the provider may be what the journal has.
        held = await self._rotations.settle(held) or held
        try:
            credential = self._sealer.open_credential(held)
        except VaultError as error:
            removed = await self._store.delete(held.id, generation=held.generation)
            if removed is None:
                return None
            self._wakeups.wake(held.id)
            return Report(deleted=True, reason=f"It is gone here; it could not be revoked at the provider: {error}")
        revocation = self._revoker.prepare(held, credential)
        if await self._store.delete(held.id, generation=held.generation, revocation=revocation) is None:
            return None
        self._wakeups.wake(held.id)
        return _report(await self._revoker.revoke(revocation, handler))

    def _tell(self, owner: Owner, provider: str, connection_id: str, report: Report) -> None:
        if not report.deleted:
            return
        upstream = "revoked" if report.revoked else "queued" if report.queued else "not_revoked"
        self._audit.tell(forgotten(owner, provider, connection_id, upstream=upstream))

    async def _give_up(self, withdrawn: Interaction) -> Ended:
        """End what waited for the person's yes."""
        try:
            return await self._answering.give_up(withdrawn)
        except VaultError as error:
            return Ended(queued=True, reason=str(error))  # its note in the store does not need the flow

    async def _withdraw(self, owner: Owner, provider: str, profile: str) -> Interaction | None:
        """End the open flow, and give it as it was; None: there is none."""
        topic = self._answering.topic(provider, profile)
        pending = await self._interactions.find(InteractionKind.CONNECT, owner, topic)
        if pending is not None and pending.phase is Phase.SETTLING:
            # The code is being exchanged: what it brings is deleted, too.
            with suppress(AuthExpired, InvalidAuthState):
                settled = ENDED | WAITING | {Phase.ANSWERED}
                await self._interactions.waiting.until(pending.id, settled, timeout=EXCHANGE)
            pending = await self._interactions.find(InteractionKind.CONNECT, owner, topic)
        if pending is None or pending.phase not in WAITING | {Phase.ANSWERED}:
            return None
        moved = await self._interactions.move(pending, Event.EXPIRE, reason="This flow was withdrawn. Begin again.")
        handler = known(self._finder, str(pending.about["handler"]), provider)
        late = pending.phase is Phase.ANSWERED and not pending.confirming
        if moved is not None and late and handler is not None and handler.polls:
            with suppress(ValetkeyError):  # tokens that were fetched already should not live on at the provider
                await handler.drop(self._interactions.answer(pending))
        return None if moved is None else pending


def _report(ended: Ended) -> Report:
    if ended.revoked:
        return Report(deleted=True, revoked=True)
    if ended.queued:
        return Report(
            deleted=True,
            queued=True,
            reason=f"It is gone here; the provider did not confirm its end yet, and is asked again: {ended.reason}",
        )
    return Report(deleted=True, reason=f"It is gone here; {ended.reason}")


def _both(account: Report, waited: Report) -> Report:
    """Of an account, and of one that was to take its place: revoked is what is revoked wholly."""
    reasons = dict.fromkeys(filter(None, (account.reason, waited.reason)))
    return replace(
        account,
        revoked=account.revoked and waited.revoked,
        queued=account.queued or waited.queued,
        reason=" ".join(reasons),
    )
