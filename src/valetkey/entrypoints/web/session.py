"""The browser's session: who is signed in here, or where to sign in first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from valetkey.entrypoints.web import page
from valetkey.entrypoints.web.forms import Forms
from valetkey.entrypoints.web.hosts import by_https
from valetkey.entrypoints.web.presented import drop_session, presented
from valetkey.errors import Unauthenticated
from valetkey.identity.chain import Chain
from valetkey.identity.powers import is_admin
from valetkey.model.caller import Caller
from valetkey.model.calls import SESSION
from valetkey.model.users import UserInfo

if TYPE_CHECKING:
    from valetkey.wiring.identity import Identity

SIGN_IN = "/sign-in"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request of a browser.

    Attributes:
        caller: who is signed in; None: nobody.
        stale: the browser has a session's cookie that is good no more.
        secure: whether it came by https.
        address, agent: from where, and what the browser calls itself.
    """

    caller: Caller | None
    stale: bool
    secure: bool
    address: str
    agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A visit of somebody who is signed in."""

    caller: Caller
    user: UserInfo
    visit: Visit

    @property
    def session(self) -> str:
        """The id of this browser's session; no secret."""
        return self.caller.token

    @property
    def is_admin(self) -> bool:
        """Whether they may see and do everything."""
        return is_admin(self.caller)


Page = Callable[[Request, Signed], Awaitable[Response]]


class Browsers:
    """Knows browsers by their sessions. On pages nothing else counts: a program's token opens none."""

    def __init__(self, *, chain: Chain, base_url: str, trusted_proxies: Collection[str] = ()) -> None:
        self._chain = chain
        self._base_url = base_url
        self._trusted = trusted_proxies
        self._prefix = urlsplit(base_url).path.rstrip("/")

    def path(self, path: str) -> str:
        """The path as browsers see it: behind the prefix of the public address."""
        return f"{self._prefix}{path}"

    async def visit(self, request: HTTPConnection) -> Visit:
        """Who is there.

        Raises:
            Unauthenticated: the request has a token in its URL, or an Authorization header that cannot be read.
            InvalidAnswer: it has two sessions.
            CouldNotTell: whether the session is good cannot be told now.
        """
        secure = by_https(request, self._base_url)
        shown = await presented(request, secure=secure, trusted_proxies=self._trusted)
        caller = None
        if shown.scheme == SESSION:
            try:
                caller = await self._chain.identify(shown)
            except Unauthenticated:
                caller = None
        return Visit(
            caller=caller,
            stale=caller is None and shown.scheme == SESSION,
            secure=secure,
            address=shown.address,
            agent=page.plain(request.headers.get("user-agent", "")),
        )

    def signed_in(self, endpoint: Page) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that only those who are signed in reach; others sign in first, and a form is not kept."""

        async def guarded(request: Request) -> Response:
            visit = await self.visit(request)
            caller = visit.caller
            if caller is None or caller.user is None:
                back = "" if request.method in {"GET", "HEAD"} else self.path("/account")
                return self.sign_in_first(request, visit, back=back)
            return await endpoint(request, Signed(caller=caller, user=caller.user, visit=visit))

        return guarded

    def sign_in_first(self, request: HTTPConnection, visit: Visit, *, back: str = "") -> Response:
        """303 to the sign-in page, and from there back to ``back``: by default to this page."""
        if not back:
            query = request.scope.get("query_string", b"").decode("latin-1")
            inner = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
            back = self.path(inner) + (f"?{query}" if query else "")
        response = page.see_other(f"{self.path(SIGN_IN)}?next={quote(page.own_path(back), safe='/')}")
        if visit.stale:
            drop_session(response, secure=visit.secure)
        return response


class SignedPages:
    """What the pages of signed-in people have in common.

    Args:
        identity: the rooms behind them.
        forms: binds their forms to browsers.
        base_url: the public address with the prefix of our paths, without a slash at the end.
        trusted_proxies: whose ``X-Forwarded-For`` is believed.
    """

    def __init__(
        self, identity: Identity, forms: Forms, *, base_url: str, trusted_proxies: Collection[str] = ()
    ) -> None:
        self._identity = identity
        self._forms = forms
        self._browsers = Browsers(chain=identity.chain, base_url=base_url, trusted_proxies=trusted_proxies)
