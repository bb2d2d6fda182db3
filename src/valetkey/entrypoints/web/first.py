"""The first admin: a single-use link that the server prints, and its page (decision 28)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from valetkey.entrypoints.render import http_status
from valetkey.entrypoints.web import page
from valetkey.entrypoints.web.presented import set_session
from valetkey.entrypoints.web.session import SIGN_IN, SignedPages
from valetkey.errors import AuthExpired, InvalidAnswer, InvalidArguments, InvalidAuthState, ValetkeyError
from valetkey.identity.passwords import LONGEST, SHORTEST
from valetkey.interactions.service import identify
from valetkey.interactions.states import RESOLVED, WAITING, Event
from valetkey.model.caller import OURS, Owner
from valetkey.model.interactions import Interaction, InteractionKind, Phase
from valetkey.model.users import ADMIN_ROLE
from valetkey.secret import Secret

if TYPE_CHECKING:
    from valetkey.wiring.identity import Identity

LIFETIME = 900.0
"""Seconds that the link can be used."""

TOPIC = "first-admin"
NOBODY = Owner(workspace="", issuer=OURS, subject=TOPIC)
"""Owns the link: nobody who could sign in."""

_PATH = "/first-admin"
_UNKNOWN = "It is not known here. Open it as the server printed it."
_THERE_IS_ONE = "Somebody has an account here already, and this link makes only the first one."


async def first_admin_link(identity: Identity, *, base_url: str) -> str:
    """The link that makes the first admin, for whoever reads the server's output; once, within 15 minutes.

    Another instance that starts meanwhile is given the same link, unless most of its time is over.

    Raises:
        InvalidAuthState: there is an account already.
    """
    if await identity.accounts.any():
        raise InvalidAuthState(_THERE_IS_ONE)
    interactions = identity.system.interactions
    found = await interactions.find(InteractionKind.SIGN_IN, NOBODY, TOPIC)
    now = identity.system.clock.now()
    if found is not None and (found.phase not in WAITING or found.expires_at - now < LIFETIME / 2):
        # Also one at which somebody's try did not end well: nobody could use it, and it would stand in the way.
        over = Event.FAIL if found.phase is Phase.SETTLING else Event.EXPIRE
        await interactions.move(found, over, reason="A newer link was printed.")

    async def begin(_: str) -> dict[str, Any]:
        return {}

    opened = await interactions.open(
        kind=InteractionKind.SIGN_IN, owner=NOBODY, topic=TOPIC, about={}, begin=begin, lifetime=LIFETIME
    )
    return f"{base_url}{_PATH}/{interactions.payload(opened)['state']}"


class FirstAdminPages(SignedPages):
    """Choose a name and a password; the first admin is made, and signed in."""

    def routes(self) -> list[BaseRoute]:
        """To be mounted at the public address, behind a guard."""
        return [
            Route(f"{_PATH}/{{state}}", self.show, methods=["GET"]),
            Route(f"{_PATH}/{{state}}", self.make, methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:
        """Ask for a name and a password."""
        try:
            await self._asked(request)
        except ValetkeyError as error:
            return self._cannot(request, error)
        return self._form(request)

    async def make(self, request: Request) -> Response:
        """Make the account; of two who send the form at once, one does."""
        fields = await self._forms.read(request, request.path_params["state"])
        try:
            asked = await self._asked(request)
        except ValetkeyError as error:
            return self._cannot(request, error)
        name, password = fields.get("name", ""), Secret(fields.get("password", ""))
        if not password.matches(fields.get("again", "")):
            return self._form(request, name=name, error="The two passwords differ. Type the same one twice.")
        settling = await self._settling(asked)
        if settling is None:
            return self._cannot(request, AuthExpired("This link was used in another browser just now."))
        try:
            account = await self._identity.accounts.add(name, password, roles=(ADMIN_ROLE,))
        except InvalidArguments as wrong:
            await self._identity.system.interactions.move(replace(settling, expires_at=asked.expires_at), Event.RETRY)
            return self._form(request, name=name, error=wrong.message)
        await self._identity.system.interactions.move(settling, Event.FINISH)
        visit = await self._browsers.visit(request)
        session, _ = await self._identity.local.sign_in(
            account.name, password, address=visit.address, agent=visit.agent
        )
        response = page.see_other(self._browsers.path("/account"))
        set_session(response, session, secure=visit.secure, seconds=self._identity.settings.session_lifetime)
        return response

    async def _asked(self, request: Request) -> Interaction:
        """The link's interaction, where it can be used.

        Raises:
            InvalidAnswer: there is no such link.
            InvalidAuthState: there is an account already.
            AuthExpired: it was used, or is too old.
        """
        asked = await self._identity.system.interactions.get(identify(request.path_params["state"]))
        if asked is None or asked.kind is not InteractionKind.SIGN_IN or asked.topic != TOPIC or asked.owner != NOBODY:
            raise InvalidAnswer(_UNKNOWN)
        if await self._identity.accounts.any():
            raise InvalidAuthState(_THERE_IS_ONE)
        late = self._identity.system.clock.now() >= asked.expires_at
        if late or asked.phase not in WAITING | {Phase.ANSWERED}:
            raise AuthExpired("It works for 15 minutes and only once. It is too old, or it was used before.")
        return asked

    async def _settling(self, asked: Interaction) -> Interaction | None:
        answered: Interaction | None = asked
        if asked.phase not in RESOLVED:
            answered = await self._identity.system.interactions.move(asked, Event.ANSWER, answer={})
        return answered and await self._identity.system.interactions.move(answered, Event.SETTLE)

    def _cannot(self, request: Request, error: ValetkeyError) -> Response:
        there_is_one = isinstance(error, InvalidAuthState)
        if not isinstance(error, AuthExpired | InvalidAuthState | InvalidAnswer):
            raise error
        return page.show(
            "told.html",
            status=http_status(error),
            kind="wait",
            headline="This link makes no account",
            what=error.message,
            next_step="Sign in with your account." if there_is_one else "Start the server again: it prints a new link.",
            link=self._browsers.path(SIGN_IN) if there_is_one else "",
            label="Sign in",
            reference=page.reference_of(request.scope),
        )

    def _form(self, request: Request, *, name: str = "", error: str = "") -> Response:
        return page.show(
            "first_admin.html",
            status=400 if error else 200,
            token=self._forms.issue(request, request.path_params["state"]),
            action=request.url.path.rpartition("/")[2],
            name=page.plain(name, 64),
            error=error,
            shortest=SHORTEST,
            longest=LONGEST,
        )
