"""Take what a person brought back, and act on it once: whoever holds the handler, in whichever process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from valetkey.audit import Audit, NoAudit
from valetkey.connections.confirm import DECLINED, Confirming
from valetkey.connections.finder import Finder, known
from valetkey.connections.handler import AuthenticateRequest, Flow, Handler
from valetkey.connections.keep import Keeper
from valetkey.connections.polling import Polling
from valetkey.connections.revoke import Ended
from valetkey.connections.told import flow_ended
from valetkey.connections.unfinished import finish_even_if_cancelled
from valetkey.connections.whose import Whose
from valetkey.errors import (
    AuthExpired,
    AuthRefused,
    ExchangeFailed,
    InvalidAnswer,
    InvalidAuthState,
    ValetkeyError,
)
from valetkey.interactions.service import UNCLEAR, Interactions
from valetkey.interactions.states import ENDED, RESOLVED, WAITING, Event
from valetkey.model.caller import Owner
from valetkey.model.connections import Connection
from valetkey.model.interactions import GRANT, Interaction, InteractionKind, Phase
from valetkey.ports.stores import ConnectionStore
from valetkey.ports.world import Clock, Home

TRIES = 10
"""How often values may be pasted into the form of one link."""

ELSEWHERE = "This link was just answered in another window. Go back to the program."

WAIT = 300.0
"""Seconds to wait for a person; the link itself lives twice as long."""


class Links(Protocol):
    """Where the person's browser comes back to."""

    def redirect_uri(self, handler: Handler) -> str:
        """The callback of that handler, as it is registered at the provider."""
        ...

    @property
    def pages(self) -> str:
        """Base URL of our own pages."""
        ...

    def link(self, interaction_id: str, url: str) -> str:
        """What whoever asked is given of a flow whose next step is at ``url``."""
        ...

    def begun(self, interaction_id: str, answering: Answering) -> None:
        """Whoever began a flow takes its callback, as long as this process lives."""
        ...

    async def open(self) -> None:
        """See to it that both are served.

        Raises:
            PortTaken: they cannot be.
        """
        ...


class Answering:
    """Settles connect interactions. The row is read before every step: a restart or another process changes nothing."""

    def __init__(
        self,
        *,
        store: ConnectionStore,
        interactions: Interactions,
        finder: Finder,
        keeper: Keeper,
        links: Links,
        clock: Clock,
        home: Home,
        in_memory: bool = False,
        confirming: Confirming,
        polling: Polling,
        audit: Audit | None = None,
        whose: Whose | None = None,
    ) -> None:
        self._audit = audit or NoAudit()
        self._whose = whose
        self._confirming = confirming
        self.polling = polling
        self._store = store
        self._interactions = interactions
        self._finder = finder
        self._keeper = keeper
        self._links = links
        self._clock = clock
        self.in_memory = in_memory
        self.home = home

    async def answered(self, provider: str, parameters: Sequence[tuple[str, str]]) -> None:
        """Take what a callback or form brought; act on it at once where this process can.

        Raises:
            InvalidAnswer: it fits no open question of that provider.
            AuthExpired: it comes too late.
            Denied: it comes from another browser than the one that claimed the question, which stays open.
            ValetkeyError: acting on it failed; the interaction's row says why, too.
        """
        interaction, handler = await self.asked(provider, parameters)
        if interaction.phase is Phase.EXPIRED:
            raise AuthExpired(interaction.reason)
        if interaction.about.get("in_memory") and not self.in_memory:
            raise InvalidAnswer("The program that asked has ended, and wanted nothing kept. Start it again.")
        if interaction.phase not in WAITING or interaction.confirming:
            raise InvalidAnswer(f"This link was used already ({interaction.phase}). Go back to the program.")
        private = self._interactions.payload(interaction)["private"]
        try:
            answer = handler.judge(private, parameters)
        except AuthRefused as refused:
            await self._interactions.move(interaction, Event.REFUSE, reason=str(refused))
            self._audit.tell(flow_ended(interaction, error=refused))
            raise
        interaction, answer = await self._tried(interaction, handler, answer)
        moved = await self._interactions.move(interaction, Event.ANSWER, answer=answer)
        if moved is None:
            raise InvalidAnswer(ELSEWHERE)
        if handler.at_home:
            await self._act(moved, handler, None)

    async def _tried(
        self, interaction: Interaction, handler: Handler, answer: Mapping[str, str]
    ) -> tuple[Interaction, Mapping[str, str]]:
        """The answer, tried at the provider where it was pasted; the link stays open for another one, a few times.

        Each try is counted in the row before it begins, so that the page tells nobody which of many tokens are good.
        """
        if not handler.fields or await handler.asks() is None:
            return interaction, answer
        self._interactions.check_browser(interaction)
        payload = self._interactions.payload(interaction)
        tries = int(payload.get("tries", 0))
        if tries >= TRIES:
            refused = AuthRefused(
                f"{handler.provider.title} accepted none of {TRIES} tries. Start again when you know."
            )
            await self._interactions.move(interaction, Event.REFUSE, reason=str(refused))
            self._audit.tell(flow_ended(interaction, error=refused))
            raise refused
        counted = await self._interactions.amend(
            interaction, payload={**payload, "tries": tries + 1}, about=interaction.about
        )
        if counted is None:
            raise InvalidAnswer(ELSEWHERE)
        return counted, await handler.tried(answer)

    async def held(self, interaction: Interaction) -> Connection | None:
        """The connection that a connect interaction brought, or that was there before."""
        about = interaction.about
        return await self._store.get(interaction.owner, str(about["provider"]), str(about["profile"]))

    async def asked(self, provider: str, parameters: Sequence[tuple[str, str]]) -> tuple[Interaction, Handler]:
        """The question that a callback's state names, and its handler.

        Raises:
            InvalidAnswer: none of that provider; a state given twice is none.
        """
        states = [value for name, value in parameters if name == "state"]
        if len(states) != 1:
            raise InvalidAnswer("This link is incomplete: it needs exactly one state. Ask the program for a new link.")
        interaction = await self._interactions.by_state(states[0])
        if interaction.kind is not InteractionKind.CONNECT or interaction.about.get("provider") != provider:
            raise InvalidAnswer("This link belongs to another provider. Ask the program for a new link.")
        return interaction, self._finder.find(str(interaction.about["handler"]), provider)

    async def settle(
        self, interaction: Interaction, handler: Handler, *, request: AuthenticateRequest | None = None
    ) -> Connection:
        """Act on the answer: obtain the credential and save it. Only one process ever does; the others wait.

        Raises:
            ValetkeyError: what went wrong; the interaction has ended, unless the exchange surely was not begun.
        """
        connection = await self._act(interaction, handler, request)
        if connection is None:
            latest = await self._interactions.get(interaction.id)
            return await self.wait(latest or interaction, handler, request=request)
        return connection

    async def _act(
        self, interaction: Interaction, handler: Handler, request: AuthenticateRequest | None
    ) -> Connection | None:
        """As ``settle``; None where the person is asked first whether the account is the one that they meant."""
        taken = await self._interactions.move(interaction, Event.SETTLE)
        if taken is None:
            latest = await self._interactions.get(interaction.id)
            return await self._waited(latest or interaction, handler, request, WAIT, patient=False)

        async def work() -> Connection | None:
            try:
                connection = await self._finish(taken, handler, request)
            except BaseException as error:
                self._audit.tell(flow_ended(taken, error=error))
                raise
            if connection is not None:
                self._audit.tell(flow_ended(taken, connection_id=connection.id))
            return connection

        return await (self.home.run(work) if handler.at_home else finish_even_if_cancelled(work))

    async def _finish(
        self, taken: Interaction, handler: Handler, request: AuthenticateRequest | None
    ) -> Connection | None:
        payload = self._interactions.payload(taken)
        profile = str(taken.about["profile"])
        asked = frozenset(payload["scopes"])
        answer = self._interactions.answer(taken)
        flow = self.flow(handler, payload["state"], taken.owner, profile, asked, request)
        try:
            if taken.confirming:
                grant = await self._confirming.taken(payload[GRANT], taken.owner)
            else:
                grant = await handler.finish(flow, payload["private"], answer)
                if self._whose is not None and not handler.fields:
                    grant = await self._whose.told(grant, handler)
                if await self._confirming.asks(taken, payload, grant, handler, pages=self._links.pages):
                    return None
            connection = await self._keeper.keep(grant, handler, taken.owner, profile=profile, asked=asked)
        except AuthRefused as refused:
            await self._interactions.move(taken, Event.REFUSE, reason=str(refused))
            raise
        except ExchangeFailed as failure:
            if failure.sent:
                await self._interactions.move(taken, Event.FAIL, reason=str(failure))
            else:
                await self._interactions.move(taken, Event.RETRY, reason=str(failure), answer=answer)
            raise
        except ValetkeyError as error:
            await self._interactions.move(taken, Event.FAIL, reason=str(error))
            raise
        except BaseException as error:
            # A user's own handler may raise anything; its text may hold anything, so only its type is kept.
            await self._interactions.move(taken, Event.FAIL, reason=f"{type(error).__name__}. {UNCLEAR}")
            raise
        await self._interactions.move(taken, Event.FINISH, reason=grant.note)
        return connection

    async def decided(self, interaction: Interaction, *, yes: bool) -> None:
        """Take what the person said of the account that was obtained: keep it, or give it up.

        Raises:
            InvalidAnswer: nothing is asked, or not any more.
            Denied: it comes from another browser than the one that claimed the question.
        """
        if interaction.phase not in WAITING or not interaction.confirming:
            raise InvalidAnswer("This question was answered, or its time is over. Go back to the program.")
        if interaction.about.get("in_memory") and not self.in_memory:
            raise InvalidAnswer("The program that asked has ended, and wanted nothing kept. Start it again.")
        handler = known(self._finder, str(interaction.about["handler"]), str(interaction.about["provider"]))
        event, told = (Event.AGREE, "") if yes else (Event.REFUSE, DECLINED)
        moved = await self._interactions.move(interaction, event, answer={"yes": "yes"} if yes else None, reason=told)
        if moved is None:
            raise InvalidAnswer(ELSEWHERE)
        if not yes:
            self._audit.tell(flow_ended(interaction, error=AuthRefused(DECLINED)))
            await self.give_up(interaction)
        elif handler is not None:
            await self._act(moved, handler, None)

    async def give_up(self, interaction: Interaction) -> Ended:
        """What waited for the person's yes, and will not get it, is revoked now.

        Raises:
            VaultError: the flow cannot be opened any more.
        """
        handler = known(self._finder, str(interaction.about["handler"]), str(interaction.about["provider"]))
        held = self._interactions.payload(interaction)[GRANT]
        return await self.home.run(lambda: self._confirming.given_up(held, interaction.owner, handler))

    def follow(self, interaction: Interaction) -> None:
        """Fetch the answer in the background, where no browser brings it; any process may, one at a time does."""
        handler = known(self._finder, str(interaction.about["handler"]), str(interaction.about["provider"]))
        if handler is None or not self.polling.waits(interaction, handler):
            return

        async def act(answered: Interaction) -> None:
            await self._act(answered, handler, None)

        self.home.spawn(lambda: self.polling.follow(interaction.id, handler, act))

    def topic(self, provider: str, profile: str) -> str:
        """What a connect interaction is about: one account at one provider. A provider's name holds no colon."""
        return f"{provider}:{profile}:in memory" if self.in_memory else f"{provider}:{profile}"

    async def pending(self, owner: Owner, provider: str, profile: str) -> Interaction | None:
        """The open flow. One answered for a handler that nobody has here is given up when its link has ended."""
        found = await self._interactions.find(InteractionKind.CONNECT, owner, self.topic(provider, profile))
        if found is None or found.phase is not Phase.ANSWERED or self._clock.now() < found.expires_at:
            return found
        if known(self._finder, str(found.about["handler"]), provider) is not None:
            return found
        await self._interactions.move(found, Event.EXPIRE, reason="Whoever began this flow did not come back for it.")
        return None

    async def answered_connection(self, owner: Owner, profile: str, handler: Handler) -> Connection | None:
        """The connection of a flow that is answered and not yet acted on; a handler of the host program leaves it so.

        None where there is no such flow.
        """
        pending = await self.pending(owner, handler.provider.name, profile)
        if pending is None:
            return None
        begun = known(self._finder, str(pending.about["handler"]), handler.provider.name)
        if begun is not None and self.polling.waits(pending, begun):
            asked = pending
            await self.home.run(lambda: self.polling.look(asked, begun))
            pending = await self._interactions.get(asked.id) or asked
        if pending.phase not in RESOLVED:
            return None
        maker = self._finder.find(str(pending.about["handler"]), handler.provider.name)
        return await self._waited(pending, maker, None, WAIT, patient=False)

    async def wait(
        self,
        interaction: Interaction,
        handler: Handler,
        *,
        request: AuthenticateRequest | None = None,
        timeout: float = WAIT,
    ) -> Connection:
        """Wait for the person's answer, and act on it unless that was done already.

        Raises:
            AuthRefused: the person, or the provider, said no.
            AuthExpired: nobody answered within ``timeout`` seconds.
            InvalidAuthState: acting on the answer failed; the text says why.
        """
        connection = await self._waited(interaction, handler, request, timeout, patient=True)
        if connection is None:
            raise InvalidAuthState("Nobody said yet whether this is the right account. Call again to go on waiting.")
        return connection

    async def _waited(
        self,
        interaction: Interaction,
        handler: Handler,
        request: AuthenticateRequest | None,
        timeout: float,
        *,
        patient: bool,
    ) -> Connection | None:
        """As ``wait``; None where a person is asked once more, unless ``patient``: then that is waited for, too."""
        row = await self._interactions.get(interaction.id) or interaction
        if row.phase in WAITING:
            if not patient:
                return None
            self.follow(row)
            row = await self._interactions.waiting.until(row.id, RESOLVED | ENDED, timeout=timeout)
        if row.phase is Phase.ANSWERED:
            connection = await self._act(row, handler, request)
            if connection is not None or not patient:
                return connection
            row = await self._interactions.get(row.id) or row
            return await self._waited(row, handler, request, timeout, patient=True)
        if row.phase is Phase.SETTLING:
            settled = ENDED | WAITING | {Phase.ANSWERED}
            row = await self._interactions.waiting.until(row.id, settled, timeout=timeout)
            return await self._waited(row, handler, request, timeout, patient=patient)
        if row.phase is Phase.DONE:
            connection = await self._store.get(row.owner, handler.provider.name, str(row.about["profile"]))
            if connection is not None:
                return connection
        if row.phase is Phase.REFUSED:
            raise AuthRefused(row.reason or f"The connection to {handler.provider.title} was refused.")
        raise InvalidAuthState(
            row.reason or f"The connection to {handler.provider.title} is {row.phase}. Ask for a new link."
        )

    def flow(
        self,
        handler: Handler,
        state: str,
        owner: Owner,
        profile: str,
        scopes: frozenset[str],
        request: AuthenticateRequest | None,
    ) -> Flow:
        """The flow as its handler sees it."""
        return Flow(
            state=state,
            owner=owner,
            profile=profile,
            scopes=scopes,
            redirect_uri=self._links.redirect_uri(handler),
            pages=self._links.pages,
            request=request,
        )
