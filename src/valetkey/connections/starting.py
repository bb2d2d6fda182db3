"""Open the provider's page for a flow whose request is pushed when the person comes, not before (RFC 9126)."""

from __future__ import annotations

from collections import OrderedDict

from valetkey.connections.answer import Answering
from valetkey.connections.handler import Handler
from valetkey.errors import AuthExpired, AuthRefused, InvalidAnswer, RateLimited
from valetkey.interactions.service import Interactions
from valetkey.interactions.states import WAITING, Event
from valetkey.model.interactions import Interaction, Phase

MOST = 20
"""How often one flow may be opened, in one process: each time a request is pushed."""

REMEMBERED = 10_000
"""Flows of which it is counted."""

PAUSE = 60
"""Seconds after which whoever is refused may ask again: for a new link."""


class Starting:
    """Pushes requests. Who may have it done was checked before."""

    def __init__(self, *, answering: Answering, interactions: Interactions) -> None:
        self._answering = answering
        self._interactions = interactions
        self._opened: OrderedDict[str, int] = OrderedDict()

    async def url(self, interaction: Interaction, handler: Handler) -> str:
        """Where the browser goes on to: the provider's own page, for this one time.

        Raises:
            AuthRefused, AuthExpired, InvalidAnswer: the flow is over, or of another kind.
            RateLimited: it was opened too often.
            ValetkeyError: the provider did not take the request; the text says what to do.
        """
        if interaction.phase is Phase.REFUSED:
            raise AuthRefused(interaction.reason)
        if interaction.phase not in WAITING or interaction.confirming:
            raise AuthExpired(interaction.reason or "This link was used before. Go back to your program.")
        payload = self._interactions.payload(interaction)
        if not payload["private"].get("par"):
            raise InvalidAnswer("This link leads nowhere. Open the one that your program gave you.")
        self._count(interaction.id)
        scopes, profile = frozenset[str](payload["scopes"]), str(interaction.about["profile"])
        flow = self._answering.flow(handler, payload["state"], interaction.owner, profile, scopes, None)
        try:
            return await self._answering.home.run(lambda: handler.start(flow, payload["private"]))
        except AuthRefused as refused:
            # The same request would be refused again: the program asks with a new one.
            await self._interactions.move(interaction, Event.REFUSE, reason=str(refused))
            raise

    def _count(self, interaction_id: str) -> None:
        count = self._opened[interaction_id] = self._opened.get(interaction_id, 0) + 1
        self._opened.move_to_end(interaction_id)
        if len(self._opened) > REMEMBERED:
            self._opened.popitem(last=False)
        if count > MOST:
            raise RateLimited("This link was opened too often. Ask your program for a new one.", retry_after=PAUSE)
