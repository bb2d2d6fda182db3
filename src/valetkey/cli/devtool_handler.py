"""What the devtool writes with --handler: an auth handler as a package, in the names of seed 001."""

from __future__ import annotations

from collections.abc import Mapping

INIT = '''\
"""@Title@: an auth handler of your own."""
'''

CONTEXT = '''\
"""What is kept of a @Title@ account, and what a tool is handed of it."""

from valetkey import AuthContext


class @Class@AuthContext(AuthContext):
    """Sealed as a whole; a tool reads only what to_dict gives."""

    _ACCESS_TOKEN_KEY: str = "@VARIABLE@"

    def to_dict(self) -> dict[str, str]:
        return {self._ACCESS_TOKEN_KEY: self.access_token}
'''

OAUTH2_CONTEXT = '''\
"""A @Title@ account, of the service's token answer."""

from datetime import UTC, datetime, timedelta

from .context import @Class@AuthContext
from .oauth2_schema import @Class@OAuth2Response


class @Class@OAuth2AuthContext(@Class@AuthContext):
    """The access token, and in detail what renews it."""

    detail: @Class@OAuth2Response | None = None

    @classmethod
    def from_@name@_oauth2_response(cls, response: @Class@OAuth2Response) -> "@Class@OAuth2AuthContext":
        ends = None if response.expires_in is None else datetime.now(UTC) + timedelta(seconds=response.expires_in)
        return cls(
            access_token=response.access_token,
            description="@Title@ account connected by OAuth 2",
            expires_at=ends,
            detail=response,
        )
'''

OAUTH2_SCHEMA = '''\
"""What connecting a @Title@ account needs to know, and what the service answers."""

from valetkey import AuthenticateRequest, AuthenticateResponse


class @Class@OAuth2Request(AuthenticateRequest):
    """From [auth.@name@] of the settings."""

    client_id: str
    client_secret: str
    authorize_url: str
    token_url: str


class @Class@OAuth2Response(AuthenticateResponse):
    """A token answer (RFC 6749 section 5.1)."""

    access_token: str
    token_type: str = "bearer"
    expires_in: int | None = None
    refresh_token: str | None = None
    scope: str = ""
'''

OAUTH2_HANDLER = '''\
"""Connects @Title@ accounts by OAuth 2: an authorization code with PKCE (RFC 6749 section 4.1, RFC 7636)."""

import asyncio
import base64
import hashlib
import json
import secrets
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from valetkey import (
    AuthHandlerInterface,
    AuthProvider,
    AuthRefused,
    FutureStore,
    ProviderUnavailable,
    RefreshFailed,
    config,
)

from .oauth2_context import @Class@OAuth2AuthContext
from .oauth2_schema import @Class@OAuth2Request, @Class@OAuth2Response
from .server import router

AUTHORIZE_URL = "https://@host@/oauth/authorize"
TOKEN_URL = "https://@host@/oauth/token"


class @Class@OAuth2AuthHandler(AuthHandlerInterface):
    name = "@dashed@-oauth2"
    description = "Connects a @Title@ account by OAuth 2."
    scoped = True
    router = router

    @staticmethod
    def provider() -> AuthProvider:
        return AuthProvider("@name@")

    @staticmethod
    def provider_default() -> bool:
        return True

    @staticmethod
    def recommended_scopes() -> set[str]:
        return set()

    def make_request(self, auth_scopes=None, **kwargs) -> @Class@OAuth2Request:
        ours = config().auth.@name@
        return @Class@OAuth2Request(
            auth_scopes=auth_scopes,
            client_id=ours.client_id or "",
            client_secret=ours.client_secret or "",
            authorize_url=ours.authorize_url or AUTHORIZE_URL,
            token_url=ours.token_url or TOKEN_URL,
        )

    def prepare(self, auth_req, thread_id, profile, future_uid, *args, **kwargs) -> str:
        verifier, back = secrets.token_urlsafe(32), redirect_uri()
        FutureStore.create_future(future_uid, data={"code_verifier": verifier, "redirect_uri": back})
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        query = {
            "response_type": "code",
            "client_id": auth_req.client_id,
            "redirect_uri": back,
            "scope": " ".join(auth_req.auth_scopes or []),
            "state": future_uid,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{auth_req.authorize_url}?{urlencode(query)}"

    async def authenticate(self, auth_req, future_uid, *args, **kwargs) -> @Class@OAuth2AuthContext:
        flow = FutureStore.get_future(future_uid)
        answer = await flow.future
        if "code" not in answer:
            raise AuthRefused("@Title@ did not connect the account: the person, or the service, said no.")
        form = {
            "grant_type": "authorization_code",
            "code": answer["code"],
            "redirect_uri": flow.data["redirect_uri"],
            "code_verifier": flow.data["code_verifier"],
        }
        try:
            given = await asyncio.to_thread(ask, auth_req, form)
        except HTTPError as error:
            raise AuthRefused(f"@Title@ did not take the code ({error.code}). Ask for a new link.") from None
        return @Class@OAuth2AuthContext.from_@name@_oauth2_response(given)

    async def refresh(self, auth_req, context, *args, **kwargs) -> @Class@OAuth2AuthContext:
        held = context.detail.refresh_token if context.detail else None
        if held is None:
            raise RefreshFailed("@Title@ gave no refresh token. Connect the account again.")
        try:
            given = await asyncio.to_thread(ask, auth_req, {"grant_type": "refresh_token", "refresh_token": held})
        except HTTPError as error:
            if error.code in (400, 401):
                raise RefreshFailed("@Title@ does not renew this account. Connect it again.") from None
            raise ProviderUnavailable(f"@Title@ answered with {error.code}.") from None
        kept = given.model_copy(update={"refresh_token": given.refresh_token or held})
        return @Class@OAuth2AuthContext.from_@name@_oauth2_response(kept)


def redirect_uri() -> str:
    """Register it at the service."""
    return f"{config().prefixed_base_url}/auth/@name@/oauth2/callback"


def ask(auth_req: @Class@OAuth2Request, form: dict[str, str]) -> @Class@OAuth2Response:
    body = {**form, "client_id": auth_req.client_id, "client_secret": auth_req.client_secret}
    request = Request(auth_req.token_url, data=urlencode(body).encode(), headers={"Accept": "application/json"})
    try:
        with urlopen(request, timeout=10) as answer:
            return @Class@OAuth2Response(**json.load(answer))
    except HTTPError:
        raise
    except (URLError, TimeoutError):
        raise ProviderUnavailable("@Title@ could not be reached.") from None
'''

OAUTH2_SERVER = '''\
"""Where @Title@ sends the browser back: /auth/@name@/oauth2/callback."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from valetkey import FutureStore

router = APIRouter(prefix="/@name@")


@router.get("/oauth2/callback")
async def callback(state: str, code: str = "") -> HTMLResponse:
    try:
        FutureStore.resolve_future(state, {"code": code} if code else {})
    except ValueError:
        return HTMLResponse("<h1>This link is not known, or is over.</h1>", status_code=400)
    told = "is connected" if code else "is not connected"
    return HTMLResponse(f"<h1>@Title@ {told}.</h1><p>You can close this window.</p>")
'''

TOKEN_CONTEXT = '''\
"""A @Title@ account, of the token that a person pasted."""

from .context import @Class@AuthContext
from .token_schema import @Class@TokenResponse


class @Class@TokenAuthContext(@Class@AuthContext):
    """The token; it has no end that is known."""

    @classmethod
    def from_@name@_token_response(cls, response: @Class@TokenResponse) -> "@Class@TokenAuthContext":
        return cls(access_token=response.access_token, description="@Title@ account connected by a token")
'''

TOKEN_SCHEMA = '''\
"""What connecting a @Title@ account needs to know, and what the person answers."""

from valetkey import AuthenticateRequest, AuthenticateResponse


class @Class@TokenRequest(AuthenticateRequest):
    """Nothing but the scopes."""


class @Class@TokenResponse(AuthenticateResponse):
    """What was pasted."""

    access_token: str
'''

TOKEN_HANDLER = '''\
"""Connects @Title@ accounts by a token that a person pastes into a page of ours."""

from urllib.parse import urlencode

from valetkey import AuthHandlerInterface, AuthProvider, FutureStore, config

from .server import router
from .token_context import @Class@TokenAuthContext
from .token_schema import @Class@TokenRequest, @Class@TokenResponse


class @Class@TokenAuthHandler(AuthHandlerInterface):
    name = "@dashed@-token"
    description = "Connects a @Title@ account by a token."
    scoped = False
    router = router

    @staticmethod
    def provider() -> AuthProvider:
        return AuthProvider("@name@")

    @staticmethod
    def provider_default() -> bool:
        return True

    def make_request(self, auth_scopes=None, **kwargs) -> @Class@TokenRequest:
        return @Class@TokenRequest(auth_scopes=auth_scopes)

    def prepare(self, auth_req, thread_id, profile, future_uid, *args, **kwargs) -> str:
        FutureStore.create_future(future_uid)
        return f"{config().prefixed_base_url}/auth/@name@/token?{urlencode({'state': future_uid})}"

    async def authenticate(self, auth_req, future_uid, *args, **kwargs) -> @Class@TokenAuthContext:
        token = await FutureStore.get_future(future_uid).future
        return @Class@TokenAuthContext.from_@name@_token_response(@Class@TokenResponse(access_token=token))
'''

TOKEN_SERVER = '''\
"""The page that asks for the token: /auth/@name@/token."""

from html import escape
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from valetkey import FutureStore

router = APIRouter(prefix="/@name@")

FORM = """<!doctype html><meta charset="utf-8"><title>Connect @Title@</title>
<h1>Connect @Title@</h1>
<form method="post" autocomplete="off">
<input type="hidden" name="state" value="{state}">
<p><label>API token <input type="password" name="user_token" required autocomplete="off"></label></p>
<button type="submit">Connect</button>
</form>"""
HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}


@router.get("/token")
async def form(state: str) -> HTMLResponse:
    return HTMLResponse(FORM.format(state=escape(state)), headers=HEADERS)


@router.post("/token")
async def take(request: Request) -> HTMLResponse:
    # In the body only: what is in an address stays in histories and logs.
    given = parse_qs((await request.body()).decode("utf-8", "replace"))
    state, token = ("".join(given.get(name, [])).strip() for name in ("state", "user_token"))
    if not token.isascii() or not token.isprintable() or not token:
        return HTMLResponse("<h1>This is no token. Go back, and paste it again.</h1>", status_code=400, headers=HEADERS)
    try:
        FutureStore.resolve_future(state, token)
    except ValueError:
        return HTMLResponse("<h1>This link is not known, or is over.</h1>", status_code=400, headers=HEADERS)
    return HTMLResponse("<h1>@Title@ is connected.</h1><p>You can close this window.</p>", headers=HEADERS)
'''

FILES: Mapping[str, Mapping[str, str]] = {
    "oauth2": {
        "__init__.py": INIT,
        "context.py": CONTEXT,
        "oauth2_context.py": OAUTH2_CONTEXT,
        "oauth2_handler.py": OAUTH2_HANDLER,
        "oauth2_schema.py": OAUTH2_SCHEMA,
        "server.py": OAUTH2_SERVER,
    },
    "token": {
        "__init__.py": INIT,
        "context.py": CONTEXT,
        "token_context.py": TOKEN_CONTEXT,
        "token_handler.py": TOKEN_HANDLER,
        "token_schema.py": TOKEN_SCHEMA,
        "server.py": TOKEN_SERVER,
    },
}
"""What the package of each kind is made of."""
