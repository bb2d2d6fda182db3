"""Who I am; my sessions, tokens, keys and connections: end, revoke, disconnect."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from valetkey.connections.health import describe
from valetkey.entrypoints.web import page, words
from valetkey.entrypoints.web.password import is_local
from valetkey.entrypoints.web.presented import drop_session
from valetkey.entrypoints.web.session import SIGN_IN, Signed, SignedPages
from valetkey.errors import InvalidAnswer, NotFound, UnknownProvider
from valetkey.model.connections import DEFAULT_PROFILE, Connection, Health
from valetkey.model.lendings import lending_of
from valetkey.model.tokens import Token, TokenKind
from valetkey.model.users import ScopeInfo, UserInfo, UserPermission

PROGRAMS = frozenset({TokenKind.ACCESS, TokenKind.API_KEY, TokenKind.CUSTOM, TokenKind.RECONNECTION})
KINDS = {
    TokenKind.ACCESS: "Access token",
    TokenKind.API_KEY: "API key",
    TokenKind.CUSTOM: "Token of this program",
    TokenKind.RECONNECTION: "Reconnection token",
    TokenKind.CONSENT: "Service that may use your accounts",
}
LIVES = {"7": "7 days", "30": "30 days", "90": "90 days", "365": "1 year", "": "Until I revoke it"}
MAY = {
    "r": "Only read in my workspace",
    "rw": "Read and write in my workspace",
    "a": "Everything in my workspace",
    "all": "Everything that I may do, everywhere",
}
_STATES = {
    Health.OK: ("good", "Connected"),
    Health.TRANSIENT: ("wait", "Renewing it did not work yet"),
    Health.NEEDS_REAUTH: ("bad", "Has to be connected again"),
    Health.CONFIG_ERROR: ("bad", "The provider's settings are wrong"),
}
_NO_SUCH = "There is none of that id among yours. It may have ended meanwhile: look at your account page."


class AccountPages(SignedPages):
    """What a signed-in person sees and ends. Nobody else's is ever shown: another's id is not found."""

    def routes(self) -> list[BaseRoute]:
        """To be mounted at the public address, behind a guard."""
        own = self._browsers.signed_in
        return [
            Route("/account", own(self.show), methods=["GET"]),
            Route("/account/keys", own(self.create_key), methods=["POST"]),
            Route("/account/sessions/others/end", own(self.end_others), methods=["POST"]),
            Route("/account/tokens/{id}/end", own(self.ask_end), methods=["GET"]),
            Route("/account/tokens/{id}/end", own(self.end), methods=["POST"]),
            Route("/account/connections/{id}/disconnect", own(self.ask_disconnect), methods=["GET"]),
            Route("/account/connections/{id}/disconnect", own(self.disconnect), methods=["POST"]),
        ]

    async def show(self, request: Request, signed: Signed) -> Response:
        """All of it."""
        now = self._identity.system.clock.now()
        tokens = await self._identity.tokens.list(signed.caller)
        connections = await self._own_connections(signed)
        return page.show(
            "account.html",
            token=self._forms.issue(request, signed.session),
            root=self._browsers.path(""),
            name=words.name(signed.user),
            id=page.plain(signed.user.id),
            email=signed.user.email or "",
            roles=[page.plain(role) for role in signed.user.roles],
            workspace=page.plain(signed.caller.owner.workspace),
            admin=signed.is_admin,
            local=is_local(signed.user),
            sessions=[_session(each, now, signed.session) for each in tokens if each.kind is TokenKind.SESSION],
            tokens=[_token(each, now) for each in tokens if each.kind in PROGRAMS],
            connections=[self._connection(each, now) for each in connections],
            consents=[self._consent(each, now) for each in tokens if each.kind is TokenKind.CONSENT],
            lives=LIVES,
            may=MAY if signed.is_admin else {key: text for key, text in MAY.items() if key != "all"},
        )

    async def create_key(self, request: Request, signed: Signed) -> Response:
        """Make an API key, and show it: this page alone ever has it, so it is the answer to the POST itself."""
        fields = await self._forms.read(request, signed.session)
        life, may = fields.get("life", "90"), fields.get("may", "r")
        if life not in LIVES or may not in MAY:
            raise InvalidAnswer("This form cannot be read: go back, choose from its lists, and send it again.")
        key, token = await self._identity.tokens.issue(
            TokenKind.API_KEY,
            signed.user if may == "all" else _narrowed(signed.user, signed.caller.owner.workspace, may),
            signed.caller.owner,
            expires_in=int(life) * words.DAY if life else None,
            name=page.plain(fields.get("name", ""), 64) or "API key",
            address=signed.visit.address,
            agent=signed.visit.agent,
            by=signed.session,
        )
        return page.show(
            "key.html",
            key=key.reveal(),
            name=token.name,
            expires=words.moment(token.expires_at, now=self._identity.system.clock.now()),
            may=words.permissions(token.user),
            account=self._browsers.path("/account"),
        )

    async def end_others(self, request: Request, signed: Signed) -> Response:
        """End all sessions but this one."""
        await self._forms.read(request, signed.session)
        for token in await self._identity.tokens.list(signed.caller):
            if token.kind is TokenKind.SESSION and token.id != signed.session:
                await self._identity.tokens.revoke(signed.caller, token.id)
        return self._back()

    async def ask_end(self, request: Request, signed: Signed) -> Response:
        """Ask once more before a token or session ends."""
        token = await self._own_token(request, signed)
        now = self._identity.system.clock.now()
        if token.kind is TokenKind.CONSENT:
            return self._ask_end_consent(request, signed, token, now)
        session = token.kind is TokenKind.SESSION
        row = _session(token, now, signed.session) if session else _token(token, now)
        return page.show(
            "confirm.html",
            token=self._forms.issue(request, signed.session),
            headline=f"End the session of {row['title']}?" if session else f"Revoke {row['title']}?",
            what="Whoever uses that browser has to sign in again."
            if session
            else "Programs that use it are refused from then on, everywhere, and so is every token made with it.",
            facts=row["facts"],
            button="End this session" if session else "Revoke it",
            action=request.url.path,
            account=self._browsers.path("/account"),
        )

    def _ask_end_consent(self, request: Request, signed: Signed, token: Token, now: float) -> Response:
        row = self._consent(token, now)
        return page.show(
            "confirm.html",
            token=self._forms.issue(request, signed.session),
            headline=f"Lend nothing to {row['title']} any more?",
            what="The service cannot use your account from then on, and what it was lent for calls that still run"
            " ends. If you call it again, you are asked again.",
            facts=row["facts"],
            button="End it",
            action=request.url.path,
            account=self._browsers.path("/account"),
        )

    async def end(self, request: Request, signed: Signed) -> Response:
        """End a token or a session; with this one, the person is signed out."""
        await self._forms.read(request, signed.session)
        token = await self._own_token(request, signed)
        await self._identity.tokens.revoke(signed.caller, token.id)
        if token.id != signed.session:
            return self._back()
        response = page.see_other(self._browsers.path(SIGN_IN))
        drop_session(response, secure=signed.visit.secure)
        return response

    async def ask_disconnect(self, request: Request, signed: Signed) -> Response:
        """Ask once more before an account is disconnected."""
        connection = await self._own_connection(request, signed)
        row = self._connection(connection, self._identity.system.clock.now())
        return page.show(
            "confirm.html",
            token=self._forms.issue(request, signed.session),
            headline=f"Disconnect {row['title']}?",
            what="Tools can use this account no more. Its credential is deleted here, and revoked at the provider"
            " where that has a way to.",
            facts=[each for each in (row["account"], row["profile"], *row["facts"]) if each],
            button="Disconnect",
            action=request.url.path,
            account=self._browsers.path("/account"),
        )

    async def disconnect(self, request: Request, signed: Signed) -> Response:
        """Disconnect it."""
        await self._forms.read(request, signed.session)
        connection = await self._own_connection(request, signed)
        await self._identity.system.disconnector.disconnect(connection.owner, connection.provider, connection.profile)
        return self._back()

    def _back(self) -> Response:
        return page.see_other(self._browsers.path("/account"))

    async def _own_token(self, request: Request, signed: Signed) -> Token:
        wanted = request.path_params["id"]
        for token in await self._identity.tokens.list(signed.caller):
            if token.id == wanted:
                return token
        raise NotFound(_NO_SUCH)

    async def _own_connection(self, request: Request, signed: Signed) -> Connection:
        wanted = request.path_params["id"]
        for connection in await self._own_connections(signed):
            if connection.id == wanted:
                return connection
        raise NotFound(_NO_SUCH)

    async def _own_connections(self, signed: Signed) -> list[Connection]:
        """In every workspace in which this person, or a program of theirs, acts."""
        owner = signed.caller.owner
        found: list[Connection] = []
        tokens = await self._identity.tokens.list(signed.caller)
        shared = await self._identity.workspaces.list(signed.caller)
        for name in dict.fromkeys(
            (owner.workspace, *(token.owner.workspace for token in tokens), *(each.id for each in shared))
        ):
            found += await self._identity.system.stores.connections.of_owner(replace(owner, workspace=name))
        return found

    def _connection(self, connection: Connection, now: float) -> dict[str, Any]:
        condition = describe(connection, now=now)
        tone, state = _STATES[condition.state]
        profile = "" if connection.profile == DEFAULT_PROFILE else connection.profile
        ends = f"Its credential ends {words.moment(condition.expires_at, now=now)}" if condition.expires_at else ""
        renewed = "; it is renewed by itself" if ends and connection.refreshable else ""
        return {
            "id": connection.id,
            "title": self._title(connection.provider),
            "account": page.plain(connection.account or ""),
            "profile": page.plain(profile),
            "tone": tone,
            "state": state,
            "reason": page.plain(condition.reason),
            "next_step": condition.next_step.removeprefix("Nothing: ").capitalize(),
            "facts": [fact for fact in (f"{ends}{renewed}",) if fact],
            "scopes": sorted(page.plain(scope) for scope in connection.scopes),
        }

    def _consent(self, token: Token, now: float) -> dict[str, Any]:
        """A service that a person lends accounts to; one that cannot be read is shown by its name, to be ended."""
        lending = lending_of(token.user)
        runs, accounts = ("", []) if lending is None else (page.plain(lending.registrant[1]), lending.accounts)
        named = [
            self._title(each.provider) + (f" ({scope})" if scope else "")
            for each in accounts
            for scope in (each.scopes or ("",))
        ]
        return {
            "id": token.id,
            "title": page.plain(token.name) or KINDS[token.kind],
            "facts": [
                *([f"Run by {runs}"] if runs else []),
                f"You said yes {words.moment(token.created_at, now=now)}",
                f"Ends {words.moment(token.expires_at, now=now)}",
            ],
            "scopes": [page.plain(each) for each in named],
        }

    def _title(self, provider: str) -> str:
        try:
            return page.plain(self._identity.system.registry.get(provider).title)
        except UnknownProvider:  # its entry was removed since
            return page.plain(provider)


def _session(token: Token, now: float, this: str) -> dict[str, object]:
    return {
        "id": token.id,
        "title": words.agent(token.agent),
        "this": token.id == this,
        "facts": [
            f"Signed in {words.moment(token.created_at, now=now)}{f' from {token.address}' if token.address else ''}",
            f"Last used {words.moment(token.last_used_at or token.created_at, now=now)}",
        ],
    }


def _token(token: Token, now: float) -> dict[str, object]:
    return {
        "id": token.id,
        "title": page.plain(token.name) or KINDS[token.kind],
        "kind": KINDS[token.kind],
        "facts": [
            f"Made {words.moment(token.created_at, now=now)}",
            f"Last used: {words.moment(token.last_used_at, now=now)}",
            f"Ends {words.moment(token.expires_at, now=now)}" if token.expires_at else "Does not end by itself",
        ],
        "scopes": [page.plain(scope) for scope in words.permissions(token.user)],
    }


def _narrowed(user: UserInfo, workspace: str, may: str) -> UserInfo:
    """The same user for one workspace only: without roles, which reach everywhere."""
    scope = ScopeInfo(workspaces={workspace: UserPermission(may)}, current_workspace=workspace)
    return user.model_copy(update={"scope": scope, "roles": []})
