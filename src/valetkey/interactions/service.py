"""Open one, claim it for a browser, answer it once, settle it once."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from valetkey.errors import InvalidAnswer, InvalidAuthState, VaultError
from valetkey.interactions.browser import only_claimer
from valetkey.interactions.states import ENDED, RESOLVED, WAITING, Event, after
from valetkey.interactions.wait import Waiting
from valetkey.model.caller import Owner
from valetkey.model.connections import Sealed
from valetkey.model.interactions import GRANT, Interaction, InteractionKind, Phase
from valetkey.ports.messages import Wakeups
from valetkey.ports.stores import InteractionStore
from valetkey.ports.world import Clock, Entropy
from valetkey.vault.seal import Part, Sealer

LINK_LIFETIME = 600.0
"""Seconds that a link can be answered."""

SETTLE_LIFETIME = 60.0
"""Seconds after which a settling that did not end counts as failed; longer than any exchange may take."""

_OF_QUESTION = frozenset({Event.ANSWER, Event.ARRIVE, Event.ASK})
"""What comes before the person is asked whether the account is the one that they meant."""

UNCLEAR = "It ended unclear, and is not tried twice. Start again to get a new link."


def identify(state: str) -> str:
    """The id of the interaction whose link carries ``state``. The state is 256 random bits: a plain hash hides it."""
    if not isinstance(state, str):
        raise InvalidAnswer(f"A state is a text, not {type(state).__name__}. Use the one that the link carries.")
    return hashlib.sha256(state.encode("utf-8", "surrogatepass")).hexdigest()


class Interactions:
    """Questions that wait for a person. Rows decide; hints only wake.

    Args:
        personal: whether several people are served here: then a connection is answered by the browser that claimed
            it, and by no other.
    """

    def __init__(
        self,
        *,
        store: InteractionStore,
        sealer: Sealer,
        clock: Clock,
        entropy: Entropy,
        wakeups: Wakeups,
        personal: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._entropy = entropy
        self._wakeups = wakeups
        self._personal = personal
        self.waiting = Waiting(get=self.get, clock=clock, wakeups=wakeups)

    async def open(
        self,
        *,
        kind: InteractionKind,
        owner: Owner,
        topic: str,
        about: Mapping[str, object],
        begin: Callable[[str], Awaitable[Mapping[str, Any]]],
        lifetime: float = LINK_LIFETIME,
    ) -> Interaction:
        """Open one; where one of the same topic is open already, that one is given back.

        ``begin`` gets the state (32 random bytes, base64url) and gives the payload; whatever it raises, nothing is
        saved.
        """
        open_one = await self.find(kind, owner, topic)
        if open_one is not None:
            return open_one
        state = self._entropy.token(32)
        now = self._clock.now()
        payload = {"state": state, **await begin(state)}
        interaction_id = identify(state)
        return await self._store.open(
            Interaction(
                id=interaction_id,
                kind=kind,
                owner=owner,
                topic=topic,
                phase=Phase.OPEN,
                about=about,
                payload=self._sealer.seal_private(payload, interaction_id=interaction_id, owner=owner, part="payload"),
                created_at=now,
                expires_at=now + lifetime,
            )
        )

    async def find(self, kind: InteractionKind, owner: Owner, topic: str) -> Interaction | None:
        """The open one of that topic; one whose time is over is ended first."""
        found = await self._store.find_open(kind, owner, topic)
        if found is None:
            return None
        current = await self._timely(found)
        return current if current.phase in WAITING or current.phase in RESOLVED else None

    async def get(self, interaction_id: str) -> Interaction | None:
        """One by its id, in whatever phase; one whose time is over is ended first."""
        found = await self._store.get(interaction_id)
        return None if found is None else await self._timely(found)

    async def of_owner(self, owner: Owner, kind: InteractionKind) -> Sequence[Interaction]:
        """The owner's open ones."""
        rows = [await self._timely(row) for row in await self._store.of_owner(owner, kind)]
        return [row for row in rows if row.phase in WAITING or row.phase in RESOLVED]

    async def by_state(self, state: str) -> Interaction:
        """The one whose link carries that state.

        Raises:
            InvalidAnswer: there is none.
        """
        found = await self.get(identify(state)) if state else None
        if found is None:
            raise InvalidAnswer("This link is not known here. Go back to the program and ask for a new link.")
        return found

    def check_browser(self, interaction: Interaction) -> None:
        """Where several people are served, let nobody answer a connection but the browser that claimed it.

        Raises:
            Denied: this request is from another one.
        """
        if interaction.kind is InteractionKind.CONNECT and self._personal():
            only_claimer(interaction)

    async def move(
        self,
        interaction: Interaction,
        event: Event,
        *,
        answer: Mapping[str, Any] | None = None,
        payload: Mapping[str, Any] | None = None,
        about: Mapping[str, object] | None = None,
        reason: str = "",
        claimed_by: str = "",
    ) -> Interaction | None:
        """Apply an event; None when somebody else was quicker.

        Every answer passes here, whoever took it: our pages, a handler's own router, a future.

        Raises:
            InvalidAuthState: the event has no place in the phase it is in.
            Denied: a person's answer from another browser than the one that claimed it.
        """
        phase = after(interaction.phase, event)
        if interaction.phase in WAITING and event in (Event.ANSWER, Event.AGREE, Event.REFUSE):
            self.check_browser(interaction)
        if (event in _OF_QUESTION and interaction.confirming) or (event is Event.AGREE and not interaction.confirming):
            raise InvalidAuthState("This link was used already. Open it again to see what is asked now.")
        changed = replace(
            interaction,
            phase=phase,
            version=interaction.version + 1,
            reason=reason or interaction.reason,
            claimed_by=claimed_by or interaction.claimed_by,
            about=interaction.about if about is None else about,
        )
        if phase is Phase.SETTLING or event is Event.ASK:
            lifetime = SETTLE_LIFETIME if phase is Phase.SETTLING else LINK_LIFETIME
            changed = replace(changed, expires_at=self._clock.now() + lifetime)
        if answer is not None:
            changed = replace(changed, answer=self._seal(interaction, answer, "answer"))
        elif phase not in RESOLVED:
            changed = replace(changed, answer=None)
        if payload is None and interaction.confirming and phase in ENDED:
            with suppress(VaultError):
                payload = {name: value for name, value in self.payload(interaction).items() if name != GRANT}
        if payload is not None:
            changed = replace(changed, payload=self._seal(interaction, payload, "payload"))
        return await self._save(changed, interaction.version)

    async def amend(
        self, interaction: Interaction, *, payload: Mapping[str, Any], about: Mapping[str, object]
    ) -> Interaction | None:
        """Replace what is asked while nobody has answered; None when somebody was quicker."""
        changed = replace(
            interaction,
            version=interaction.version + 1,
            about=about,
            payload=self._seal(interaction, payload, "payload"),
        )
        return await self._save(changed, interaction.version)

    def payload(self, interaction: Interaction) -> dict[str, Any]:
        """What is needed to settle it."""
        return self._sealer.open_private(interaction, "payload")

    def answer(self, interaction: Interaction) -> dict[str, Any]:
        """What the person brought back."""
        return self._sealer.open_private(interaction, "answer") if interaction.answer is not None else {}

    def _seal(self, interaction: Interaction, private: Mapping[str, Any], part: Part) -> Sealed:
        return self._sealer.seal_private(private, interaction_id=interaction.id, owner=interaction.owner, part=part)

    async def _save(self, changed: Interaction, version: int) -> Interaction | None:
        if not await self._store.save(changed, version=version):
            return None
        self._wakeups.wake(changed.id)
        return changed

    async def _timely(self, interaction: Interaction) -> Interaction:
        if self._clock.now() < interaction.expires_at:
            return interaction
        if interaction.phase in WAITING:
            event, reason = Event.EXPIRE, "Nobody answered in time. Start again to get a new link."
        elif interaction.phase is Phase.SETTLING:
            event, reason = Event.FAIL, UNCLEAR
        else:
            return interaction
        moved = await self.move(interaction, event, reason=reason)
        return moved or await self._store.get(interaction.id) or interaction
