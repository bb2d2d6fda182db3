"""Sign in, and the login service's confirm page with its short code."""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from valetkey.entrypoints.web import page, words
from valetkey.entrypoints.web.presented import drop_session, set_session
from valetkey.entrypoints.web.session import SIGN_IN, SignedPages, Visit
from valetkey.errors import AuthExpired, InvalidAnswer, NotFound, Unauthenticated, ValetkeyError
from valetkey.secret import Secret

WRONG = "That name and password do not belong together here. Check both, then try again."
LOGIN_PAGE = "/public/apps/hypha-login/"


class LoginPages(SignedPages):
    """Sign in and out; the page on which a person lets a program in that asked through the login service."""

    def routes(self) -> list[BaseRoute]:
        """To be mounted at the public address, behind a guard."""
        return [
            Route(SIGN_IN, self.show_sign_in, methods=["GET"]),
            Route(SIGN_IN, self.sign_in, methods=["POST"]),
            Route("/sign-out", self.sign_out, methods=["POST"]),
            Route("/login/{key}/answer", self.answer, methods=["POST"]),
            Route("/login/done", self.done, methods=["GET"]),
            Route("/login/refused", self.refused, methods=["GET"]),
        ]

    async def show_sign_in(self, request: Request) -> Response:
        """Ask for name and password. Whoever opens this, from wherever, is not signed in by it (O-20)."""
        visit = await self._browsers.visit(request)
        target = self._target(request.query_params.get("next", ""))
        if visit.caller is not None:
            return page.see_other(target)
        if not await self._identity.accounts.any():
            return page.show("nobody.html")
        response = self._form(request, target)
        if visit.stale:
            drop_session(response, secure=visit.secure)
        return response

    async def sign_in(self, request: Request) -> Response:
        """Take name and password; a session that is always a new one begins (ASVS 5.0 V7.2.4)."""
        fields = await self._forms.read(request, SIGN_IN)
        visit = await self._browsers.visit(request)
        target = self._target(fields.get("next", ""))
        try:
            session, _ = await self._identity.local.sign_in(
                fields.get("name", ""), Secret(fields.get("password", "")), address=visit.address, agent=visit.agent
            )
        except Unauthenticated:
            return self._form(request, target, name=fields.get("name", ""), error=WRONG)
        if visit.caller is not None:
            await self._identity.tokens.sign_out(visit.caller)
        response = page.see_other(target)
        set_session(response, session, secure=visit.secure, seconds=self._identity.settings.session_lifetime)
        return response

    async def sign_out(self, request: Request) -> Response:
        """End this session; with ``everywhere`` all of this user's. Another site cannot have it done."""
        self._forms.check_origin(request)
        visit = await self._browsers.visit(request)
        if visit.caller is not None:
            fields = await self._forms.read(request, visit.caller.token)
            await self._identity.tokens.sign_out(visit.caller, everywhere=fields.get("everywhere") == "yes")
        response = page.see_other(self._browsers.path(SIGN_IN))
        drop_session(response, secure=visit.secure)
        return response

    async def index(self, request: Request, key: str) -> Response:
        """The login service's page: who asks for what, and the code to compare. Nothing is done by opening it."""
        visit = await self._browsers.visit(request)
        if not key:
            return page.show("program.html", signed_in=visit.caller is not None, root=self._browsers.path(""))
        try:
            asked = await self._identity.login.asked(key)
        except (AuthExpired, InvalidAnswer, NotFound) as error:
            return self._start_again(request, error)
        if visit.caller is None:
            return self._browsers.sign_in_first(request, visit)
        now = self._identity.system.clock.now()
        return page.show(
            "program_asks.html",
            token=self._forms.issue(request, _form_state(key, visit)),
            action=self._browsers.path(f"/login/{key}/answer"),
            code=asked.code,
            program=words.agent(asked.agent),
            address=asked.address,
            since=words.moment(asked.created_at, now=now),
            workspace=asked.workspace or "your own",
            lasts=words.length(asked.expires_in or self._identity.settings.token_lifetime),
            user=_name_of(visit),
        )

    async def answer(self, request: Request) -> Response:
        """The person said yes or no."""
        visit = await self._browsers.visit(request)
        key = request.path_params["key"]
        if visit.caller is None:
            back = f"{self._browsers.path(LOGIN_PAGE)}?key={quote(key)}"
            return self._browsers.sign_in_first(request, visit, back=back)
        fields = await self._forms.read(request, _form_state(key, visit))
        try:
            if fields.get("answer") == "yes":
                await self._identity.login.confirm(key, visit.caller, address=visit.address)
                return page.see_other(self._browsers.path("/login/done"))
            await self._identity.login.refuse(key, visit.caller)
        except (AuthExpired, InvalidAnswer, NotFound) as error:
            return self._start_again(request, error)
        return page.see_other(self._browsers.path("/login/refused"))

    async def done(self, request: Request) -> Response:
        """The person said yes."""
        return page.show(
            "told.html",
            kind="good",
            headline="Your program is signed in",
            what="It gets its token now, and acts in your name until that token ends.",
            next_step="You may close this window, and go back to your program.",
            link=self._browsers.path("/account"),
            label="Look at what you signed in",
        )

    async def refused(self, request: Request) -> Response:
        """The person said no."""
        return page.show(
            "told.html",
            kind="bad",
            headline="The program was not signed in",
            what="You said no. Nobody was given anything.",
            next_step="You may close this window.",
            link="",
            label="",
        )

    def _target(self, given: str) -> str:
        target = page.own_path(given)
        return self._browsers.path("/account") if target == "/" else target

    def _form(self, request: Request, target: str, *, name: str = "", error: str = "") -> Response:
        response = page.show(
            "sign_in.html",
            status=401 if error else 200,
            token=self._forms.issue(request, SIGN_IN),
            action=self._browsers.path(SIGN_IN),
            target=target,
            name=page.plain(name, 64),
            error=error,
            program=LOGIN_PAGE in target,
        )
        if error:
            response.headers["www-authenticate"] = "Bearer"
        return response

    def _start_again(self, request: Request, error: ValetkeyError) -> Response:
        return page.failed(
            title="This sign-in has ended",
            what="A program's link works for a few minutes and only once. This one is too old, was used before, or is"
            " not whole.",
            next_step="Go back to your program and let it sign in again: it gives you a new link.",
            status=410 if isinstance(error, AuthExpired) else 400,
            reference=page.reference_of(request.scope),
        )


def _form_state(key: str, visit: Visit) -> str:
    return f"{key} {visit.caller.token if visit.caller else ''}"


def _name_of(visit: Visit) -> str:
    if visit.caller is None or visit.caller.user is None:
        return ""
    return words.name(visit.caller.user)
