"""What a startup function and a service function see of the server."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from valetkey.errors import InvalidArguments, NotFound
from valetkey.identity.login import SERVICE
from valetkey.identity.powers import ROOT
from valetkey.model.caller import OURS, Owner
from valetkey.model.calls import BEARER, Presented
from valetkey.model.services import NAME
from valetkey.model.tokens import TokenKind
from valetkey.model.users import TokenConfig, UserInfo, UserPermission, create_scope
from valetkey.model.workspaces import PUBLIC
from valetkey.secret import Secret
from valetkey.services.handed_tools import CallsNow, HandsTools
from valetkey.services.manager_tokens import revoke
from valetkey.services.own import register_login
from valetkey.services.root import root_user
from valetkey.services.sight import Who
from valetkey.services.table import Service, ServiceTable

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from valetkey.identity.chain import Chain
    from valetkey.identity.login import LoginService
    from valetkey.identity.plugin import AuthPlugin
    from valetkey.identity.tokens import Tokens
    from valetkey.ports.world import Entropy
    from valetkey.services.directory import Directory
    from valetkey.services.hearing import Handler, Hearing
    from valetkey.services.manager import Manager
    from valetkey.services.objects import Objects

_PERMISSIONS = {each.name: each for each in UserPermission}

_ALONE = "No client can connect here: pip install 'valetkey[services]'."

_log = logging.getLogger("valetkey.services")


class Facts(dict[str, Any]):
    """A dict whose members are attributes, too, as seed 004's programs read them."""

    def __getattr__(self, name: str) -> Any:
        """The member of that name."""
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no {name} here. There are: {', '.join(map(str, self))}") from None


class Server(HandsTools):
    """The server, for its own startup functions: ``server.x`` and ``server["x"]`` are the same.

    It acts as root in the workspace ``public``.

    Args:
        plain: asks our own verifiers alone: root is nobody whom a parser knows.
        public_base_url: where browsers find us.
        manager, objects, directory: find, call and watch services of clients; None: no client can connect.
    """

    def __init__(
        self,
        *,
        table: ServiceTable,
        plugin: AuthPlugin,
        login: LoginService,
        tokens: Tokens,
        chain: Chain,
        plain: Chain,
        entropy: Entropy,
        public_base_url: str,
        manager: Manager | None = None,
        objects: Objects | None = None,
        directory: Directory | None = None,
        calls_now: CallsNow = lambda: None,
    ) -> None:
        self._calls_now = calls_now
        self._table = table
        self._plugin = plugin
        self._login = login
        self._tokens = tokens
        self._chain = chain
        self._plain = plain
        self._entropy = entropy
        self._manager = manager
        self._objects = objects
        self._directory = directory
        self._hearing: Hearing | None = None
        self.public_base_url = public_base_url
        self.config = Facts(
            workspace=PUBLIC,
            client_id=table.client,
            public_base_url=public_base_url,
            local_base_url=public_base_url,
            user=Facts(root_user().model_dump(mode="json")),
        )

    def __getitem__(self, name: str) -> Any:
        """``server["register_service"]`` is ``server.register_service``."""
        if isinstance(name, str) and not name.startswith("_") and hasattr(self, name):
            return getattr(self, name)
        there = sorted({*(each for each in dir(self) if not each.startswith("_")), *self._others()})
        raise KeyError(f"the server has no {name}. It has: {', '.join(there)}")

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """What else the workspace manager offers, such as ``list_clients``, as root."""
        function = None if name.startswith("_") else self._others().get(name)
        if function is None:
            raise AttributeError(f"the server has no {name}")

        async def call(*arguments: Any, **named: Any) -> Any:
            return await function(*arguments, **{**named, "who": await self._who()})

        return call

    def _others(self) -> Mapping[str, Callable[..., Any]]:
        manager: Manager | None = self.__dict__.get("_manager")
        return {} if manager is None else manager.functions()

    def on(self, event: str, handler: Handler) -> None:
        """Call it with each ``client_connected``, ``client_disconnected``, ``service_added`` or ``service_removed``.

        Raises:
            InvalidArguments: there is no such event.
            NotFound: no client can connect to this server.
        """
        self._heard().on(event, handler)

    def once(self, event: str, handler: Handler) -> None:
        """Call it with the next one alone.

        Raises:
            InvalidArguments, NotFound: as `on`.
        """
        self._heard().on(event, handler, once=True)

    def off(self, event: str | None = None, handler: Handler | None = None) -> None:
        """Call it no more; without a handler: none of that event; without an event: none at all."""
        self._heard().off(event, handler)

    async def register_auth_service(self, **parts: Any) -> None:
        """Put your own parser, generator and login service in place; see `AuthPlugin.register_auth_service`.

        Raises:
            InvalidArguments: one of them cannot be called as it will be.
        """
        given = await self._plugin.register_auth_service(**parts)
        if given is not None:
            register_login(self._table, self._login, given)

    async def set_parse_token_function(self, function: Callable[..., Any] | None) -> None:
        """Ask this parser, and no other one."""
        self._plugin.set_parse_token_function(function)

    async def set_generate_token_function(self, function: Callable[..., Any] | None) -> None:
        """Make tokens with this generator."""
        self._plugin.set_generate_token_function(function)

    async def set_get_token_function(self, function: Callable[..., Any] | None) -> None:
        """Find the token of a request with this function."""
        self._plugin.set_get_token_function(function)

    async def set_login_service(self, app: ASGIApp | None) -> None:
        """Let an ASGI app serve every path under ``/public/apps/hypha-login/``; start, check, report stay."""
        self._plugin.set_login_service(app)

    async def register_service(
        self,
        service: Mapping[str, Any],
        config: Mapping[str, Any] | None = None,
        overwrite: bool = False,  # noqa: FBT001, FBT002 - seed 004's callers may give it by place
        **_: Any,
    ) -> Facts:
        """Register a service of this process; its facts, with its full id.

        It is in the workspace that its config names, by default in ``public``.

        Raises:
            InvalidArguments: it is none, or one of that id is there.
        """
        if config is not None and isinstance(service, Mapping):
            service = {**service, "config": {**(service.get("config") or {}), **config}}
        about = service.get("config") if isinstance(service, Mapping) else None
        workspace = (about.get("workspace") if isinstance(about, Mapping) else None) or PUBLIC
        if not isinstance(workspace, str) or not NAME.fullmatch(workspace):
            raise InvalidArguments(f"{workspace!r} can be no workspace of a service.")
        registered = self._table.register(service, workspace=workspace, overwrite=overwrite)
        return Facts(registered.info())

    async def unregister_service(self, service_id: str, **_: Any) -> None:
        """Forget one.

        Raises:
            NotFound: there is none.
        """
        self._table.unregister(service_id, workspace=PUBLIC)

    async def get_service(self, query: str, config: Mapping[str, Any] | None = None, **more: Any) -> Any:
        """A service, to be called as root: one of this process, or one that a client registered.

        Functions of the latter take callbacks, generators and arrays, and give them.

        Args:
            query: ``id``, ``workspace/id`` or ``workspace/client:id``.
            config: ``mode`` and ``timeout``, as `Manager.get_service` takes them.
            more: the same by name.

        Raises:
            NotFound: there is none.
        """
        if query.rpartition("/")[2] == SERVICE and not self._table.has(PUBLIC, SERVICE):
            register_login(self._table, self._login)
        who = await self._who()
        service = await self._own(query, who)
        if service is None:
            if self._manager is None or self._objects is None:
                raise NotFound(f"Service not found: {query}")
            facts = await self._manager.get_service(query, {**(config or {}), **more}, who=who)
            return self._objects.service(facts, workspace=_from(facts))
        return Facts({**service.info(), **self._callable(service, who, service.functions, ())})

    async def list_services(self, query: object = None) -> list[Facts]:
        """All in the workspace ``public``, in another one, or those that a query of `Manager.list_services` finds."""
        who = await self._who()
        if self._manager is not None and not (query is None or isinstance(query, str)):
            return [Facts(each) for each in await self._manager.list_services(query, who=who)]  # type: ignore[arg-type]
        workspace = query if isinstance(query, str) else PUBLIC
        own = [Facts(each.info()) for each in await self._table.list(who, workspace=workspace)]
        if self._manager is None:
            return own
        known = {each["id"] for each in own}
        found = await self._manager.list_services({"workspace": workspace}, who=who)
        return own + [Facts(each) for each in found if each["id"] not in known]

    @property
    def rpc(self) -> Any:
        """The RPC object that calls clients from the workspace ``public``.

        Raises:
            NotFound: no client can connect to this server.
        """
        if self._objects is None:
            raise NotFound(_ALONE)
        return self._objects.rpc(PUBLIC)

    async def generate_token(self, config: Mapping[str, Any] | None = None) -> str:
        """A token of root's for one workspace; by default for ``public``, to read and write, for an hour.

        It has no role: what it may do stands in its scope.

        Raises:
            InvalidArguments: the config can be none.
            InvalidSetting: the host program's own generator failed.
        """
        try:
            wanted = TokenConfig.model_validate(config or {})
        except ValidationError as error:
            raise InvalidArguments(f"config cannot be used: {error.error_count()} values have a wrong form.") from None
        workspace = wanted.workspace or PUBLIC
        scope = create_scope(
            {workspace: _PERMISSIONS[wanted.permission]}, wanted.client_id, workspace, wanted.extra_scopes
        )
        subject = self._entropy.token(16)
        user = UserInfo(id=subject, roles=[], parent=ROOT, email=wanted.email, scope=scope)
        owner = Owner(workspace=workspace, issuer=OURS, subject=ROOT)
        if self._plugin.generates:
            seconds = min(wanted.expires_in, self._tokens.max_lifetime)
            return await self._plugin.generate(user, seconds, owner=owner, name="startup function")
        secret, _ = await self._tokens.issue(
            TokenKind.ACCESS, user, owner, expires_in=wanted.expires_in, name="startup function"
        )
        return secret.reveal()

    async def parse_token(self, token: str) -> UserInfo:
        """The user behind a token that is good here.

        Raises:
            Unauthenticated: it is not.
        """
        caller = await self._chain.identify(Presented(scheme=BEARER, value=Secret(token)))
        return caller.user.model_copy(deep=True) if caller.user is not None else root_user()

    async def revoke_token(self, token: str) -> None:
        """End a token, and what was made with it.

        Raises:
            NotFound: it is not known.
        """
        await revoke((await self._who()).caller, token, tokens=self._tokens, chain=self._chain)

    async def echo(self, data: Any) -> Any:
        """The same back."""
        return data

    async def log(self, message: object) -> None:
        """A line in the server's log."""
        _log.info("%s", message)

    def _heard(self) -> Hearing:
        if self._directory is None:
            raise NotFound(_ALONE)
        if self._hearing is None:
            from valetkey.services.hearing import Hearing  # noqa: PLC0415 - it wants what clients want

            self._hearing = Hearing(self._directory)
        return self._hearing

    async def _own(self, query: str, who: Who) -> Service | None:
        """A service of this process."""
        client = query.rpartition("/")[2].rpartition(":")[0]
        if client not in ("", self._table.client):
            return None
        try:
            return await self._table.get(query, who, workspace=PUBLIC)
        except NotFound:
            if self._manager is None:
                raise
            return None

    async def _who(self) -> Who:
        """Root, as a token that lives for a minute says."""
        owner = Owner(workspace=PUBLIC, issuer=OURS, subject=ROOT)
        secret, _ = await self._tokens.issue(TokenKind.ACCESS, root_user(), owner, expires_in=60, name="server")
        return Who(caller=await self._plain.identify(Presented(scheme=BEARER, value=secret)), workspace=PUBLIC)

    def _callable(
        self, service: Service, who: Who, functions: Mapping[str, Any], place: tuple[str, ...]
    ) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for name, each in functions.items():
            path = (*place, name)
            if isinstance(each, Mapping):
                shown[name] = Facts(self._callable(service, who, each, path))
            else:
                shown[name] = self._caller_of(service, who, path) if callable(each) else each
        return shown

    def _caller_of(self, service: Service, who: Who, path: tuple[str, ...]) -> Callable[..., Any]:
        async def call(*arguments: Any, **named: Any) -> Any:
            result = await self._table.call(service, path, named, who, positional=arguments)
            return await result if inspect.isawaitable(result) else result

        call.__name__ = path[-1]
        return call


def _from(facts: Mapping[str, Any]) -> str:
    """The workspace to call a client's service from: a client lets protected functions be called from its own alone."""
    workspace = str(facts["id"]).partition("/")[0]
    return workspace if facts["config"].get("visibility") == "protected" else PUBLIC
