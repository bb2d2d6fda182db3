"""Change one's own password."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from valetkey.entrypoints.web import page
from valetkey.entrypoints.web.session import Signed, SignedPages
from valetkey.errors import InvalidArguments, NotFound, Unauthenticated
from valetkey.identity.passwords import LONGEST, SHORTEST
from valetkey.model.accounts import PREFIX
from valetkey.model.users import UserInfo
from valetkey.secret import Secret

_PATH = "/account/password"


def is_local(user: UserInfo) -> bool:
    """Whether the user signs in here, by a password."""
    return user.id.startswith(PREFIX)


class PasswordPages(SignedPages):
    """A form for who has an account here. A wrong password now counts as a sign-in that failed."""

    def routes(self) -> list[BaseRoute]:
        """To be mounted at the public address, behind a guard."""
        own = self._browsers.signed_in
        return [Route(_PATH, own(self.show), methods=["GET"]), Route(_PATH, own(self.change), methods=["POST"])]

    async def show(self, request: Request, signed: Signed) -> Response:
        """Ask for both passwords."""
        return self._form(request, signed)

    async def change(self, request: Request, signed: Signed) -> Response:
        """Change it; this browser stays signed in, and all else of the account ends."""
        fields = await self._forms.read(request, signed.session)
        name = _name(signed)
        password = Secret(fields.get("password", ""))
        try:
            await self._identity.local.check(name, Secret(fields.get("current", "")), address=signed.visit.address)
        except Unauthenticated:
            return self._form(request, signed, error="That is not your password now. Type it again.")
        if not password.matches(fields.get("again", "")):
            return self._form(request, signed, error="The two new passwords differ. Type the same one twice.")
        try:
            await self._identity.accounts.set_password(name, password, keep=signed.session)
        except InvalidArguments as wrong:
            return self._form(request, signed, error=wrong.message)
        return page.see_other(self._browsers.path("/account"))

    def _form(self, request: Request, signed: Signed, *, error: str = "") -> Response:
        return page.show(
            "password.html",
            status=400 if error else 200,
            token=self._forms.issue(request, signed.session),
            action=self._browsers.path(_PATH),
            account=self._browsers.path("/account"),
            name=page.plain(_name(signed), 64),
            error=error,
            shortest=SHORTEST,
            longest=LONGEST,
        )


def _name(signed: Signed) -> str:
    """What the person types to sign in.

    Raises:
        NotFound: they sign in elsewhere.
    """
    if not is_local(signed.user):
        raise NotFound("You sign in elsewhere: your password is changed there.")
    return signed.user.id.removeprefix(PREFIX)
