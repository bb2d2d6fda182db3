"""Who calls a service over HTTP, and in which workspace they act."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from typing import TYPE_CHECKING

from starlette.requests import Request

from valetkey.entrypoints.rpc.answers import LOOKED_AT
from valetkey.entrypoints.web.hosts import by_https
from valetkey.entrypoints.web.presented import presented, session_cookie
from valetkey.errors import Denied, Unauthenticated
from valetkey.model.caller import Caller
from valetkey.model.calls import NOTHING, SESSION, Presented
from valetkey.model.users import UserInfo, UserPermission, includes
from valetkey.model.workspaces import ANONYMOUS_WORKSPACE
from valetkey.services.sight import Who

if TYPE_CHECKING:
    from valetkey.identity.chain import Chain
    from valetkey.ports.world import Clock
    from valetkey.wiring.identity import Identity

KEEP = 2.0
"""Seconds for which it is remembered in which workspace a caller acts."""

REMEMBERED = 5000
"""Callers and paths of whom it is."""

_AGENT = 256


class Watch:
    """Tells whether the caller of a request that takes its time still is one."""

    __slots__ = ("_caller", "_chain", "_clock", "_looked")

    def __init__(self, chain: Chain, caller: Caller, clock: Clock) -> None:
        self._chain = chain
        self._caller = caller
        self._clock = clock
        self._looked = clock.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time to look again."""
        return self._clock.monotonic() - self._looked >= LOOKED_AT

    async def still(self) -> None:
        """Look.

        Raises:
            Unauthenticated: the credential ended or was revoked, or the user is blocked.
            CouldNotTell: it cannot be told now.
        """
        await self._chain.still(self._caller)
        self._looked = self._clock.monotonic()


class Callers:
    """Knows callers by what their requests present."""

    def __init__(self, identity: Identity, *, base_url: str, trusted_proxies: Collection[str]) -> None:
        self._identity = identity
        self._base_url = base_url
        self._trusted = trusted_proxies
        self._acting: OrderedDict[tuple[int, str], tuple[Caller, str, float]] = OrderedDict()

    async def of(self, request: Request, *, calls: bool) -> tuple[Presented, Who]:
        """What a request presents, and who that is.

        Args:
            request: the request.
            calls: it runs something: then a session's cookie counts only where our own page sent it.

        Raises:
            Unauthenticated: the credential is not good, or cannot be read.
            Denied: another site's page caused a request with this browser's session.
            RateLimited: too many bad ones came from that address.
            CouldNotTell: it cannot be told now.
        """
        secure = by_https(request, self._base_url)
        shown = await presented(
            request, plugin=self._identity.plugin, secure=secure, trusted_proxies=self._trusted, calls=calls
        )
        plugin = self._identity.plugin  # one that looks for the token itself may find none: then nobody calls
        if shown.scheme == NOTHING and not plugin.finds and session_cookie(secure=secure) in request.cookies:
            raise Denied("Another site's page sent this request. Call from a page of this server, or with a token.")
        try:
            caller = await self._identity.chain.identify(shown)
        except Unauthenticated:
            if shown.scheme != SESSION or calls:
                raise
            shown = Presented(scheme=NOTHING, value="", address=shown.address)  # a page opens all the same
            caller = await self._identity.chain.identify(shown)
        workspace = await self._acts_in(caller, request.path_params["workspace"])
        agent = request.headers.get("user-agent", "")[:_AGENT]
        return shown, Who(caller=caller, workspace=workspace, address=shown.address, agent=agent)

    def watch(self, who: Who) -> Watch:
        """A watch over somebody who was identified just now, for as long as their request takes."""
        return Watch(self._identity.chain, who.caller, self._identity.system.clock)

    async def _acts_in(self, caller: Caller, named: str) -> str:
        """A token's own workspace; else the URL's; else the user's (contract 3.2): the first where its user may read.

        A token's own one stands alone. Who may read in none acts where everybody does: the name of a workspace tells
        services who calls. What was found is remembered for a moment; whether they may, each door asks anew.
        """
        if caller.user is None or caller.user.is_anonymous:
            return ANONYMOUS_WORKSPACE
        key, now = (id(caller), named), self._identity.system.clock.monotonic()
        held = self._acting.get(key)
        if held is not None and held[0] is caller and now < held[2]:
            return held[1]
        found = await self._first(caller, caller.user, named)
        self._acting[key] = caller, found, now + KEEP
        self._acting.move_to_end(key)
        if len(self._acting) > REMEMBERED:
            self._acting.popitem(last=False)
        return found

    async def _first(self, caller: Caller, user: UserInfo, named: str) -> str:
        bound = None if user.scope is None else user.scope.current_workspace
        for name in (bound,) if bound else (named, user.get_workspace()):
            if includes(await self._identity.workspaces.permission(caller, name), UserPermission.read):
                return name
        return ANONYMOUS_WORKSPACE
