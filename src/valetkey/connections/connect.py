"""Obtain one, over an interaction of kind connect: begun, answered, finished once by whoever holds the handler."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from valetkey.audit import Audit, NoAudit
from valetkey.connections.answer import WAIT, Answering, Links
from valetkey.connections.finder import Finder, known
from valetkey.connections.handler import AuthenticateRequest, Begun, Flow, Handler
from valetkey.connections.obtained import Obtained
from valetkey.connections.refresh import Refresher
from valetkey.connections.states import AuthState, expired, view
from valetkey.connections.told import flow_begun
from valetkey.errors import InvalidArguments, InvalidAuthState, MissingSetting, PortTaken
from valetkey.interactions.service import Interactions
from valetkey.interactions.states import WAITING
from valetkey.model.caller import Caller, Owner
from valetkey.model.connections import Connection
from valetkey.model.interactions import Interaction, InteractionKind, Invitation
from valetkey.model.needs import Need
from valetkey.ports.stores import ConnectionStore
from valetkey.ports.world import Clock


class Connecting:
    """Connects accounts. Every step reads the row first, so that a restart or another process changes nothing."""

    def __init__(
        self,
        *,
        store: ConnectionStore,
        interactions: Interactions,
        finder: Finder,
        answering: Answering,
        refresher: Refresher,
        links: Links,
        clock: Clock,
        obtained: Obtained,
        audit: Audit | None = None,
    ) -> None:
        self._obtained = obtained
        self._audit = audit or NoAudit()
        self._store = store
        self._interactions = interactions
        self._finder = finder
        self._answering = answering
        self._refresher = refresher
        self._links = links
        self._clock = clock

    async def check(self, owner: Owner, need: Need, profile: str) -> AuthState:
        """The state of a request (seed 002, "check")."""
        return (await self._look(owner, need, profile))[0]

    async def prepare(
        self,
        owner: Owner,
        need: Need,
        profile: str,
        *,
        request: AuthenticateRequest | None = None,
        tool: str = "",
    ) -> Interaction | None:
        """Begin, where a person is needed (seed 002, "prepare"); an open flow is given back, widened where needed.

        ``tool``: the one for whose call it is, where that is known; the person is told.
        """
        state, held, pending, handler = await self._look(owner, need, profile)
        if state in (AuthState.SKIP_AUTH, AuthState.DO_REFRESH, AuthState.RESOLVED):
            return None
        if pending is not None:
            interaction = await self._renewed(pending, handler, need, request)
        else:
            interaction = await self._begin(owner, need, profile, handler, request, state=state, held=held, tool=tool)
        self._links.begun(interaction.id, self._answering)
        # Once the link can be made at all; a port that is taken leaves the flow open for the next try.
        await self._serve(interaction, handler)
        return interaction

    async def _serve(self, interaction: Interaction, handler: Handler) -> None:
        """Serve what the browser comes back to; an answer that no browser brings is fetched, and needs no port."""
        if not handler.polls:
            await self._links.open()
            return
        self._answering.follow(interaction)
        with suppress(PortTaken):
            await self._links.open()

    async def _begin(
        self,
        owner: Owner,
        need: Need,
        profile: str,
        handler: Handler,
        request: AuthenticateRequest | None,
        *,
        state: AuthState,
        held: Connection | None,
        tool: str = "",
    ) -> Interaction:
        # What was held is asked for again, so that the new credential can do all that the old one could.
        already = frozenset[str]() if held is None or state is AuthState.NO_SESSION else held.scopes
        scopes = self._ask_for(handler, need.scopes | already)

        about = self._about(handler, profile, scopes, tool, named=need.handler is not None)

        async def begin(uid: str) -> Mapping[str, Any]:
            flow = self._answering.flow(handler, uid, owner, profile, scopes, request)
            try:
                begun = await handler.begin(flow)
                about.update(_code(begun.shown))
                return _payload(flow, begun)
            except MissingSetting as missing:
                if handler.polls:
                    raise
                raise MissingSetting(f"{missing} Register there the redirect URI {flow.redirect_uri}") from None

        interaction = await self._interactions.open(
            kind=InteractionKind.CONNECT,
            owner=owner,
            topic=self._answering.topic(handler.provider.name, profile),
            about=about,
            begin=begin,
        )
        self._audit.tell(flow_begun(interaction))
        return interaction

    async def again(self, owner: Owner, need: Need, profile: str) -> tuple[Interaction, Handler]:
        """A link for an account whatever its state: what it brings takes the place of what is held.

        Raises:
            MissingSetting: the provider has no client id in settings.
            PortTaken: the callback server cannot listen.
        """
        handler = self._finder.find(need.handler, need.provider or None)
        if not handler.interactive:
            raise InvalidArguments(f"{handler.name} needs no person: its accounts are obtained at each call.")
        held = await self._store.get(owner, handler.provider.name, profile)
        pending = await self._answering.pending(owner, handler.provider.name, profile)
        if pending is not None:
            interaction = await self._renewed(pending, handler, need, None)
        else:
            interaction = await self._begin(owner, need, profile, handler, None, state=AuthState.DO_AUTH, held=held)
        self._links.begun(interaction.id, self._answering)
        await self._serve(interaction, handler)
        return interaction, handler

    def url(self, interaction: Interaction) -> str:
        """The link to open: where several people are served, our own page; else the provider's."""
        payload = self._interactions.payload(interaction)
        shown = payload.get("shown", {})
        direct = shown.get("verification_uri_complete") or shown.get("verification_uri") or payload["url"]
        return self._links.link(interaction.id, str(direct))

    def invitation(self, interaction: Interaction) -> Invitation:
        """What whoever asked is told: the link and, where the person has to enter a code, that."""
        url = self.url(interaction)
        shown = self._interactions.payload(interaction).get("shown", {})
        return Invitation(
            url=url, user_code=shown.get("user_code", ""), verification_uri=shown.get("verification_uri", "")
        )

    async def authenticate(
        self,
        owner: Owner,
        need: Need,
        profile: str,
        *,
        request: AuthenticateRequest | None = None,
        asked: Interaction | None = None,
        timeout: float = WAIT,
    ) -> Connection:
        """Give the connection, after waiting for the person where need be (seed 002, "authenticate").

        ``asked`` is the question that the caller began; it is looked at where it is open no more, so that a refusal
        is told as one.

        Raises:
            InvalidAuthState: nothing was begun.
            AuthRefused: the person, or the provider, said no.
            AuthExpired: nobody answered within ``timeout`` seconds.
        """
        state, held, pending, handler = await self._look(owner, need, profile)
        if not handler.interactive:
            return await self.obtain(handler, owner, need, profile)
        if state is AuthState.SKIP_AUTH and held is not None:
            return held
        if state is AuthState.DO_REFRESH and held is not None:
            maker = handler if held.handler == handler.name else known(self._finder, held.handler, held.provider)
            serves = not expired(held, self._clock.now())
            if maker is not None and (held.refreshable or not serves):
                return await self._refresher.fresh(held, maker)
            if serves:
                return held  # it cannot be renewed here
            raise InvalidAuthState(
                f"This {handler.provider.title} account was connected by {held.handler}, which this program does not "
                "have. Use the program that has it, or connect the account again."
            )
        pending = pending or asked
        if pending is None:
            raise InvalidAuthState(
                f"No connection to {handler.provider.title} was begun for this request ({state.value}). "
                "Call initialize_tool_auth (or prepare) first, and have the person open the link that it gives."
            )
        if pending.phase in WAITING:
            self._links.begun(pending.id, self._answering)
            # After a restart nobody listens yet, unless another process of ours does.
            with suppress(PortTaken):
                await self._links.open()
        return await self._answering.wait(pending, handler, request=request, timeout=timeout)

    async def obtain(
        self, handler: Handler, owner: Owner, need: Need, profile: str, *, caller: Caller | None = None
    ) -> Connection:
        """What needs no person is obtained at once, or was before; no store keeps it.

        Raises:
            MissingSetting: what it is obtained from is not there.
            ValetkeyError: as the handler's ``finish`` does.
        """
        return await self._obtained.get(handler, owner, need, profile, caller=caller)

    async def obtain_again(
        self, handler: Handler, held: Connection, need: Need, *, caller: Caller
    ) -> Connection | None:
        """Another one than that, which the provider's API refused; None where there is none.

        Raises:
            ValetkeyError: as ``obtain`` does.
        """
        return await self._obtained.renew(handler, held, need, caller=caller)

    async def _look(
        self, owner: Owner, need: Need, profile: str
    ) -> tuple[AuthState, Connection | None, Interaction | None, Handler]:
        handler = self._finder.find(need.handler, need.provider or None)
        if not handler.interactive:
            return AuthState.SKIP_AUTH, None, None, handler
        held = await self._store.get(owner, handler.provider.name, profile)
        if held is not None and need.handler is not None and held.handler != handler.name:
            held = None
        scoped = handler.scoped if held is None else self._scoped(held, handler)
        now = self._clock.now()
        state = view(held, None, scopes=need.scopes, scoped=scoped, now=now)
        if state in (AuthState.SKIP_AUTH, AuthState.DO_REFRESH):
            return state, held, None, handler
        pending = await self._answering.pending(owner, handler.provider.name, profile)
        return view(held, pending, scopes=need.scopes, scoped=scoped, now=now), held, pending, handler

    def _scoped(self, held: Connection, handler: Handler) -> bool:
        """Whether scopes limit what is held: a pasted token does what it does."""
        if held.handler == handler.name:
            return handler.scoped
        other = known(self._finder, held.handler, held.provider)
        return handler.scoped if other is None else other.scoped

    async def _renewed(
        self, pending: Interaction, handler: Handler, need: Need, request: AuthenticateRequest | None
    ) -> Interaction:
        """The open flow, asked for more scopes where the need has more, and with a link that leads back here."""
        if pending.phase not in WAITING or pending.confirming:
            return pending
        payload = self._interactions.payload(pending)
        asked = frozenset[str](payload["scopes"])
        same = pending.about["handler"] == handler.name
        enough = need.scopes <= asked or not handler.scoped
        here = payload["redirect_uri"] == self._links.redirect_uri(handler)
        named = bool(pending.about.get("named"))
        # Another handler's link stays for a tool that names none, where a tool asked for that handler by its name;
        # else settings chose it, and choose another one now.
        kept = enough and here and (same or (need.handler is None and named))
        if kept and not (same and handler.at_home):
            return pending
        scopes = asked if kept else self._ask_for(handler, asked | need.scopes)
        profile = str(pending.about["profile"])
        flow = self._answering.flow(handler, payload["state"], pending.owner, profile, scopes, request)
        # What another handler kept of its flow says nothing to this one.
        begun = (await handler.reopen(flow, payload["private"]) if same else None) or await handler.begin(flow)
        if kept and begun.url == payload["url"]:
            return pending  # else settings changed: the old link leads nowhere
        widened = await self._interactions.amend(
            pending,
            payload={**payload, **_payload(flow, begun)},
            about=self._about(
                handler,
                profile,
                scopes,
                str(pending.about.get("tool", "")),
                named=need.handler is not None or (same and named),
            )
            | _code(begun.shown),
        )
        return widened or await self._interactions.get(pending.id) or pending

    def _about(
        self, handler: Handler, profile: str, scopes: frozenset[str], tool: str, *, named: bool
    ) -> dict[str, object]:
        return {
            "provider": handler.provider.name,
            "title": handler.provider.title,
            "handler": handler.name,
            "profile": profile,
            "scopes": sorted(scopes),
            **({"tool": tool} if tool else {}),
            **({"named": True} if named else {}),
            **({"in_memory": True} if self._answering.in_memory else {}),
        }

    def _ask_for(self, handler: Handler, scopes: frozenset[str]) -> frozenset[str]:
        return scopes | handler.recommended_scopes if handler.scoped else scopes


def _code(shown: Mapping[str, str]) -> dict[str, object]:
    """What pages and lists show of a code that the person enters; never the device code."""
    return {"device": {name: shown[name] for name in ("user_code", "verification_uri")}} if shown else {}


def _payload(flow: Flow, begun: Begun) -> dict[str, Any]:
    return {
        "url": begun.url,
        "private": dict(begun.private),
        "scopes": sorted(flow.scopes),
        "redirect_uri": flow.redirect_uri,
        "shown": dict(begun.shown),
    }
