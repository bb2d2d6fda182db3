"""PocketAuth: check, prepare, authenticate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from valetkey.connections.driven import Driven
from valetkey.connections.handler import AuthContext, AuthenticateRequest, AuthHandlerInterface, Handler
from valetkey.connections.shipped import Shipped
from valetkey.connections.states import AuthState
from valetkey.entrypoints.pocket.default import default_system
from valetkey.errors import InvalidArguments, UnknownProvider
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.model.caller import Owner
from valetkey.model.connections import DEFAULT_PROFILE, Connection
from valetkey.model.interactions import Interaction, InteractionKind
from valetkey.model.needs import Need
from valetkey.providers.names import AuthProvider

if TYPE_CHECKING:
    from valetkey.wiring.system import System


class InMemorySessionStorage:
    """Accounts that end with the process; given to :class:`PocketAuth`. Settings given to it are not needed."""

    def __init__(self, config: object = None) -> None:
        self.config = config


class PocketAuth:
    """The accounts of this program's threads: what seed 002 calls check, prepare and authenticate.

    Args:
        handlers: auth handler classes of your own; one of the same name goes before ours.
        session_storage: an :class:`InMemorySessionStorage` keeps these accounts for the life of the process only; by
            default they are where settings say (``session.session_type``, ``database_url``).
        use_prebuilt_handlers: whether ours are there too; as settings say (``auth.use_prebuilt_auth``) by default.
    """

    def __init__(
        self,
        handlers: Sequence[type[AuthHandlerInterface]] | None = None,
        session_storage: InMemorySessionStorage | None = None,
        use_prebuilt_handlers: bool | None = None,
    ) -> None:
        if session_storage is not None and not isinstance(session_storage, InMemorySessionStorage):
            kind = type(session_storage).__name__
            raise InvalidArguments(
                f"session_storage takes an InMemorySessionStorage, or nothing; this is {kind}. "
                "Accounts are kept elsewhere by the settings session.session_type and database_url."
            )
        for own in handlers or ():
            if not (isinstance(own, type) and issubclass(own, AuthHandlerInterface)):
                raise InvalidArguments(f"handlers takes classes made of AuthHandlerInterface; {own!r:.80} is none.")
        self._storage = session_storage
        self._own = tuple(handlers or ())
        self._prebuilt = use_prebuilt_handlers
        self._derived: System | None = None

    @property
    def system(self) -> System:
        """The parts that this works with; made at first need."""
        base = default_system(routers=[router for cls in self._own if (router := getattr(cls, "router", None))])
        as_set = self._prebuilt is None or self._prebuilt is base.config.general.use_prebuilt_auth
        if not self._own and as_set and self._storage is None:
            return base
        if self._derived is None or not self._derived.descends_from(base):
            from valetkey.wiring import build

            self._derived = build.derive(
                base,
                handlers=[cls() for cls in self._own],
                prebuilt=self._prebuilt,
                in_memory=self._storage is not None,
            )
        return self._derived

    @property
    def handlers(self) -> dict[str, Any]:
        """The handlers of your own, by name."""
        return {name: _seed(handler) for name, handler in self.system.handling.own.items()}

    def find_handler_instance(
        self, name: str | None = None, auth_provider: AuthProvider | None = None
    ) -> AuthHandlerInterface:
        """By name, else the provider's default.

        Raises:
            UnknownProvider: there is none; the text names the nearest.
        """
        return _seed(self._handler(name, auth_provider))

    def make_request(
        self,
        auth_scopes: list[str] | None = None,
        auth_handler_name: str | None = None,
        auth_provider: AuthProvider | None = None,
        **kwargs: Any,
    ) -> AuthenticateRequest:
        """A request with these scopes, as the handler makes it."""
        handler = self._handler(auth_handler_name, auth_provider)
        if isinstance(handler, Driven):
            return handler.request(frozenset(auth_scopes or ()), **kwargs)
        return AuthenticateRequest(auth_scopes=auth_scopes or [])

    async def check(
        self,
        auth_req: AuthenticateRequest,
        auth_handler_name: str | None = None,
        auth_provider: AuthProvider | None = None,
        thread_id: str = "default",
        profile: str = DEFAULT_PROFILE,
        *args: Any,
        **kwargs: Any,
    ) -> AuthState:
        """The state of this request (seed 002, "check")."""
        need = self._need(auth_req, auth_handler_name, auth_provider)
        return await self.system.connecting.check(owner_of(thread_id), need, profile)

    async def prepare(
        self,
        auth_req: AuthenticateRequest,
        auth_handler_name: str | None = None,
        auth_provider: AuthProvider | None = None,
        thread_id: str = "default",
        profile: str = DEFAULT_PROFILE,
        **kwargs: Any,
    ) -> str | None:
        """Begin where a person is needed: ``User needs to authenticate using the following URL: <url>``, else None.

        Raises:
            MissingSetting: the provider has no client id in settings.
            PortTaken: the callback server cannot listen.
        """
        interaction = await self.begin(
            self._need(auth_req, auth_handler_name, auth_provider), thread_id, profile, request=auth_req
        )
        return None if interaction is None else self.system.connecting.invitation(interaction).text

    async def begin(
        self, need: Need, thread_id: str, profile: str, *, request: AuthenticateRequest | None = None
    ) -> Interaction | None:
        """The open question for that need; None when no person is needed."""
        return await self.system.connecting.prepare(owner_of(thread_id), need, profile, request=request)

    async def authenticate_async(
        self,
        auth_req: AuthenticateRequest,
        auth_handler_name: str | None = None,
        auth_provider: AuthProvider | None = None,
        thread_id: str = "default",
        profile: str = DEFAULT_PROFILE,
        **kwargs: Any,
    ) -> AuthContext:
        """What is held, refreshed where need be; waits up to 300 s for the person.

        Raises:
            InvalidAuthState: nothing was begun.
            AuthRefused: the person, or the provider, said no.
            AuthExpired: nobody answered in time.
            RefreshFailed: the person has to sign in again.
        """
        need = self._need(auth_req, auth_handler_name, auth_provider)
        system = self.system
        connection = await system.connecting.authenticate(owner_of(thread_id), need, profile, request=auth_req)
        return self._context(connection)

    def get_auth_context(
        self,
        auth_provider: AuthProvider,
        thread_id: str = "default",
        profile: str = DEFAULT_PROFILE,
        **kwargs: Any,
    ) -> AuthContext | None:
        """What is held now, as it is; None when nothing is."""
        system = self.system
        provider = AuthProvider(auth_provider).value
        held = system.home.block(lambda: system.stores.connections.get(owner_of(thread_id), provider, profile))
        return None if held is None else self._context(held)

    async def list_session_state(
        self, thread_id: str, auth_provider: AuthProvider | None = None
    ) -> list[dict[str, Any]]:
        """The accounts of one thread, and its flows: provider, profile, scope and state of each."""
        system, owner = self.system, owner_of(thread_id)
        only = None if auth_provider is None else AuthProvider(auth_provider).value
        held = {(row.provider, row.profile): row for row in await system.stores.connections.of_owner(owner, only)}
        states = []
        for (provider, profile), row in held.items():
            need = Need(provider=provider, scopes=row.scopes, handler=row.handler)
            state = await self._state(owner, need, profile)
            states.append({"provider": provider, "profile": profile, "scope": sorted(row.scopes), "state": state.value})
        for flow in await system.interactions.of_owner(owner, InteractionKind.CONNECT):
            provider, profile = str(flow.about["provider"]), str(flow.about["profile"])
            if (provider, profile) in held or (only is not None and provider != only):
                continue
            scopes = frozenset(system.interactions.payload(flow)["scopes"])
            need = Need(provider=provider, scopes=scopes, handler=str(flow.about["handler"]))
            state = await self._state(owner, need, profile)
            states.append({"provider": provider, "profile": profile, "scope": sorted(scopes), "state": state.value})
        return states

    async def _state(self, owner: Owner, need: Need, profile: str) -> AuthState:
        try:
            return await self.system.connecting.check(owner, need, profile)
        except UnknownProvider:
            # Another program's account, by a handler of its own: there is none for this one.
            return AuthState.NO_SESSION

    def delete_session(
        self, auth_provider: AuthProvider, thread_id: str = "default", profile: str = DEFAULT_PROFILE
    ) -> bool:
        """Forget the account, and its open flow; revoke it at the provider, where it can be. False: there was none."""
        system = self.system
        owner, provider = owner_of(thread_id), AuthProvider(auth_provider).value
        report = system.home.block(lambda: system.disconnector.disconnect(owner, provider, profile))
        return report.deleted

    def _handler(self, name: str | None, auth_provider: AuthProvider | None) -> Handler:
        if name is None and auth_provider is None:
            raise UnknownProvider("Name an auth handler or a provider: neither was given.")
        return self.system.handling.find(name, None if auth_provider is None else AuthProvider(auth_provider).value)

    def _need(self, auth_req: AuthenticateRequest, name: str | None, auth_provider: AuthProvider | None) -> Need:
        if not isinstance(auth_req, AuthenticateRequest):
            kind = type(auth_req).__name__
            raise InvalidArguments(f"auth_req is what make_request gives: an AuthenticateRequest, not {kind}.")
        handler = self._handler(name, auth_provider)
        return Need(provider=handler.provider.name, scopes=frozenset(auth_req.auth_scopes or ()), handler=name)

    def _context(self, connection: Connection) -> AuthContext:
        system = self.system
        handler = system.handling.find(connection.handler, connection.provider)
        return handler.context(system.sealer.open_credential(connection), connection)


def _seed(handler: Handler) -> AuthHandlerInterface:
    return handler.handler if isinstance(handler, Driven) else Shipped(handler)
