"""What pages of interactions share: whose browser it is, the sign-in detour, the owner check, the claim."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from valetkey.entrypoints.web import page, pages_links
from valetkey.entrypoints.web.hosts import by_https
from valetkey.entrypoints.web.session import SIGN_IN, Browsers, Visit
from valetkey.errors import AuthExpired, Denied, InvalidAnswer, NotFound
from valetkey.identity.verifiers.vouched import HOST, owner_of
from valetkey.interactions.browser import BROWSER, Browser, claim_of, claimed_here
from valetkey.interactions.states import WAITING, Event
from valetkey.model.audit import Action, Entry
from valetkey.model.caller import ANONYMOUS, Caller, Owner
from valetkey.model.interactions import Interaction, InteractionKind

if TYPE_CHECKING:
    from valetkey.audit import Audit
    from valetkey.interactions.service import Interactions
    from valetkey.model.users import UserInfo
    from valetkey.wiring.system import System

Endpoint = Callable[[Request], Awaitable[Response]]

MISMATCH = "link_user_mismatch"
"""The outcome in the audit log when a link is opened, or answered, by somebody else than it was made for."""

OTHER_BROWSER = "link_browser_mismatch"
"""The same when nobody is signed in there, or its owner is, in another browser than the one that claimed it."""

_ROUNDS = 4
_COOKIE = re.compile(r"(__Host-)?valetkey-claim-[0-9a-f]{12}")
_ID = re.compile(r"[0-9a-f]{64}")
_LINK = re.compile(r"(?:.*/)?connect/([0-9a-f]{64})", re.DOTALL)


class Claims:
    """Tells which browser sends a request, for the time of that request, and lets the owner's claim a link.

    A browser is told by its session, or by a cookie that :func:`confirm_link` gave it. Nothing in a URL, a body or a
    header says who it is (L-09): what a link carries could be forwarded with it.
    """

    def __init__(self, *, browsers: Browsers, interactions: Interactions, audit: Audit) -> None:
        self._browsers = browsers
        self._interactions = interactions
        self._audit = audit
        self.path = browsers.path

    def known(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint, served with the browser known."""

        async def serve(request: Request) -> Response:
            with _as(await self.browser(request)):
                return await endpoint(request)

        return serve

    def around(self, app: ASGIApp) -> ASGIApp:
        """The app, served with the browser known; what it runs in threads knows it, too."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            with _as(await self.browser(HTTPConnection(scope))):
                await app(scope, receive, send)

        return serve

    async def browser(self, request: HTTPConnection) -> Browser:
        """The browser that sends this.

        Raises:
            Unauthenticated, InvalidAnswer, CouldNotTell: see ``Browsers.visit``.
        """
        visit = await self._browsers.visit(request)
        claims = {
            claim_of("cookie", value)
            for name, value in request.cookies.items()
            # By https none that a neighbouring subdomain could have set (RFC 6265bis §4.1.3.2).
            if (found := _COOKIE.fullmatch(name)) and bool(found[1]) is visit.secure
        }
        if visit.caller is not None and visit.caller.token:
            claims.add(claim_of("session", visit.caller.token))
        reference = page.reference_of(request.scope)

        def refused(interaction: Interaction) -> None:
            self._audit.tell(_mismatch(interaction, visit, reference))

        return Browser(claims=frozenset(claims), caller=visit.caller, refused=refused)

    async def sign_in_first(self, request: Request, *, back: str = "") -> Response:
        """303 to the sign-in page, and back."""
        return self._browsers.sign_in_first(request, await self._browsers.visit(request), back=back)

    async def find(self, text: str) -> Interaction | None:
        """The connect interaction of that id."""
        if not _ID.fullmatch(text):
            return None
        found = await self._interactions.get(text)
        return found if found is not None and found.kind is InteractionKind.CONNECT else None

    def is_owner(self, interaction: Interaction) -> bool:
        """Whether this browser may claim it: it did already, or its owner is signed in there.

        A thread of a host program's own never signs in here: its link is claimed by :func:`confirm_link` only.
        """
        return claimed_here(interaction) or is_principal(signed_in(), interaction.owner)

    async def claim(self, interaction: Interaction) -> Interaction:
        """Make this browser the one that may answer; another one that was it before may no more.

        Raises:
            Denied: it is not the owner's.
            AuthExpired: it can be answered no more.
        """
        if claimed_here(interaction):
            return interaction
        caller = signed_in()
        if caller is None or not caller.token or not is_principal(caller, interaction.owner):
            raise Denied("This link was made for somebody else.")
        claimed = await _claim(self._interactions, interaction, claim_of("session", caller.token))
        self._audit.tell(
            Entry(
                action=Action.CONNECT_CLAIM,
                workspace=interaction.owner.workspace,
                what=interaction.id,
                details=_about(interaction),
            ).by(caller)
        )
        return claimed

    def not_yours(self, interaction: Interaction, *, opened: bool) -> Response:
        """403 for a browser that may not go on: it says what its person can do, and nothing of the link.

        Args:
            interaction: what they may not answer.
            opened: whether the link was opened; otherwise an answer was brought.
        """
        caller, link = signed_in(), self.path(f"/connect/{interaction.id}")
        if interaction.owner.issuer in (HOST, ANONYMOUS):
            return pages_links.in_your_program()
        if caller is None:
            return pages_links.sign_in_to_finish(f"{self.path(SIGN_IN)}?next={link}")
        if not opened and is_principal(caller, interaction.owner):
            return pages_links.go_on_here(link)
        return pages_links.not_yours(caller.user.id if caller.user else caller.owner.subject)

    def refuse(self, interaction: Interaction) -> None:
        """Note that somebody else opened the link."""
        browser = BROWSER.get()
        if browser is not None:
            browser.refused(interaction)


def signed_in() -> Caller | None:
    """Who is signed in, in the browser of this request."""
    browser = BROWSER.get()
    return None if browser is None else browser.caller


def is_principal(caller: Caller | None, owner: Owner) -> bool:
    """Whether the person who is signed in is the owner: the same issuer and subject, wherever they act."""
    if caller is None or owner.issuer in (HOST, ANONYMOUS):
        return False
    return caller.principal == (owner.issuer, owner.subject)


class Confirming(Protocol):
    """What ``mount_valetkey`` gives, and ``Identity``: a system, and where it is noted."""

    @property
    def system(self) -> System:
        """Whose links are confirmed."""
        ...

    @property
    def audit(self) -> Audit:
        """Where it is noted."""
        ...


async def confirm_link(
    system_or_identity: System | Confirming,
    request: HTTPConnection,
    response: Response,
    url: str,
    *,
    thread_id: str | UserInfo,
) -> None:
    """Say that the browser of this request is that of the thread for which the link was made.

    For apps with a sign-in of their own: call it where your app has authenticated the person as that thread, then
    send the browser on to ``url``. The response sets a cookie of random bytes (HttpOnly, SameSite=Lax), and the link
    may be answered by the browser that has it, and by no other. It is a cookie and no part of the URL, since a URL can
    be forwarded. Called again, the browser of that request takes the place of the one before.

    Args:
        system_or_identity: what ``mount_valetkey`` gave.
        request: of the browser.
        response: what is sent back to it.
        url: the link, as ``AuthRequired.url`` or ``AuthPrompt.url`` has it.
        thread_id: whom your app authenticated.

    Raises:
        InvalidAnswer: it is no link of ours.
        NotFound: there is no such link here.
        Denied: it was made for another thread; this is noted in the audit log.
        AuthExpired: it is too old, or was used.
    """
    given: Any = system_or_identity
    system: System = getattr(given, "system", given)
    audit: Audit = given.audit
    found = _LINK.fullmatch(url.partition("?")[0].partition("#")[0])
    if found is None:
        raise InvalidAnswer("This is no link to connect an account. Give the one of AuthRequired.url, as it stands.")
    interaction = await system.interactions.get(found[1])
    if interaction is None or interaction.kind is not InteractionKind.CONNECT:
        raise NotFound("There is no such link here. Ask for a new one.")
    owner = owner_of(thread_id)
    if owner.issuer == ANONYMOUS:
        raise Denied("Nobody signed in, so there is nobody to confirm it for. Have the person sign in first.")
    who = {"issuer": owner.issuer, "subject": owner.subject, "workspace": interaction.owner.workspace}
    if (owner.issuer, owner.subject) != (interaction.owner.issuer, interaction.owner.subject):
        details = _about(interaction)
        audit.tell(Entry(action=Action.CONNECT_CLAIM, outcome=MISMATCH, what=interaction.id, details=details, **who))
        raise Denied("This link was made for somebody else, so it is not confirmed.")
    nonce = system.entropy.token(32)
    await _claim(system.interactions, interaction, claim_of("cookie", nonce))
    secure = by_https(request, system.links.pages)
    response.set_cookie(
        f"{'__Host-' if secure else ''}valetkey-claim-{interaction.id[:12]}",
        nonce,
        max_age=max(1, int(interaction.expires_at - system.clock.now())),
        path="/",
        secure=secure,
        httponly=True,
        samesite="lax",
    )
    audit.tell(Entry(action=Action.CONNECT_CLAIM, what=interaction.id, details=_about(interaction), **who))


async def _claim(interactions: Interactions, interaction: Interaction, claim: str) -> Interaction:
    """Compare and set, until it is done or cannot be any more.

    Raises:
        AuthExpired: it can be answered no more.
    """
    for _ in range(_ROUNDS):
        if interaction.phase not in WAITING:
            break
        claimed = await interactions.move(interaction, Event.CLAIM, claimed_by=claim)
        if claimed is not None:
            return claimed
        interaction = await interactions.get(interaction.id) or interaction
    raise AuthExpired("This link is too old, or it was used before. Go back to your program and ask for a new one.")


def _about(interaction: Interaction) -> dict[str, str]:
    return {
        "provider": str(interaction.about.get("provider", "")),
        "owner_issuer": interaction.owner.issuer,
        "owner_subject": interaction.owner.subject,
    }


def _mismatch(interaction: Interaction, visit: Visit, reference: str) -> Entry:
    caller = visit.caller
    other = caller is not None and not is_principal(caller, interaction.owner)
    return Entry(
        action=Action.CONNECT_CLAIM,
        outcome=MISMATCH if other else OTHER_BROWSER,
        workspace=interaction.owner.workspace,
        what=interaction.id,
        address=visit.address,
        request=reference,
        details=_about(interaction),
    ).by(caller)


@contextmanager
def _as(browser: Browser) -> Iterator[None]:
    token = BROWSER.set(browser)
    try:
        yield
    finally:
        BROWSER.reset(token)
