"""A handler and a provider written outside our checkout from seed 002 alone go through their whole flow."""

import asyncio
import importlib
import sys
import textwrap
from datetime import UTC, datetime, timedelta

import pytest

from tests.road.support import Ports, get, write_settings
from valetkey import AuthProvider, AuthState, InvalidSetting, Pocket, PocketAuth, RefreshFailed, function_tool
from valetkey.wiring import build

PACKAGE = """
from datetime import datetime, timedelta, timezone
from typing import Optional

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from valetkey import (
    AuthContext, AuthenticateRequest, AuthenticateResponse, AuthHandlerInterface, AuthProvider, FutureStore, config,
)

LEDGER = AuthProvider.register("ledger")

class LedgerRequest(AuthenticateRequest):
    client_id: str
    client_secret: str

class LedgerResponse(AuthenticateResponse):
    token: str
    renew_with: str

class LedgerContext(AuthContext):
    _ACCESS_TOKEN_KEY: str = "LEDGER_TOKEN"

    @classmethod
    def from_response(cls, response: LedgerResponse):
        return cls(access_token=response.token, description="ledger", detail=response,
                   expires_at=datetime.now(timezone.utc) + timedelta(seconds=3600))

    def to_dict(self):
        return {self._ACCESS_TOKEN_KEY: self.access_token}

class LedgerHandler(AuthHandlerInterface):
    name: str = "ledger-oauth2"
    description: str = "ledger accounts"
    scoped: bool = True
    router = APIRouter(prefix="/ledger")

    @staticmethod
    def provider() -> AuthProvider:
        return AuthProvider.LEDGER

    @staticmethod
    def provider_default() -> bool:
        return True

    @staticmethod
    def recommended_scopes() -> set[str]:
        return {"books:read"} if config.auth.ledger.use_recommended_scope else set()

    def make_request(self, auth_scopes: Optional[list[str]] = None, **kwargs) -> LedgerRequest:
        return LedgerRequest(auth_scopes=auth_scopes, client_id=config.auth.ledger.client_id,
                             client_secret=config().auth.ledger.client_secret)

    def prepare(self, auth_req, thread_id, profile, future_uid, *args, **kwargs) -> str:
        FutureStore.create_future(future_uid, data={"thread": thread_id, "asked": auth_req.auth_scopes})
        return f"https://ledger.example/go?client={auth_req.client_id}&state={future_uid}"

    async def authenticate(self, auth_req, future_uid, *args, **kwargs):
        found = FutureStore.get_future(future_uid)
        code = await found.future
        assert found.data["thread"] == "ann"
        return LedgerContext.from_response(LedgerResponse(token=f"tok-{code}-1234567890", renew_with="r1"))

    async def refresh(self, auth_req, context, *args, **kwargs):
        assert isinstance(context, LedgerContext)
        assert isinstance(context.detail, LedgerResponse)
        return LedgerContext.from_response(LedgerResponse(token="tok-renewed-1234567890", renew_with="r2"))

@LedgerHandler.router.get("/callback")
async def callback(state: str, code: str):
    try:
        FutureStore.resolve_future(state, code)
    except ValueError:
        return JSONResponse(content="failed")
    return JSONResponse(content="success")
"""


@pytest.fixture
def package(tmp_path, monkeypatch, ports: Ports):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "ledger_auth.py").write_text(textwrap.dedent(PACKAGE), "utf-8")
    monkeypatch.syspath_prepend(str(folder))
    write_settings(ports, '[auth.ledger]\nclient_id = "me"\nclient_secret = "ledger-secret"\n')
    yield importlib.import_module("ledger_auth")
    sys.modules.pop("ledger_auth", None)


def pocket_of(package) -> Pocket:
    @function_tool(auth_provider=AuthProvider.LEDGER, scopes=["books:write"])
    def book(amount: int, **kwargs):
        """Book an amount."""
        return f"{amount} with {len(kwargs['LEDGER_TOKEN'])} characters for {kwargs['thread_id']}"

    return Pocket(tools=[book], auth=PocketAuth(handlers=[package.LedgerHandler]))


async def test_its_whole_flow(package, ports):
    with pocket_of(package) as pocket:
        (prompt,) = await pocket.initialize_tool_auth(thread_id="ann")
        assert prompt.url.startswith("https://ledger.example/go?client=me&state=")
        state = prompt.url.rpartition("=")[2]
        auth = pocket.auth
        request = auth.make_request(["books:write"], auth_provider=AuthProvider.LEDGER)
        assert (
            await auth.check(request, auth_provider=AuthProvider.LEDGER, thread_id="ann") is AuthState.PENDING_RESOLVE
        )
        page = await asyncio.to_thread(
            get, f"https://localhost:{ports.public}/proxy/auth/ledger/callback?state={state}&code=c1"
        )
        assert (page.status, page.body) == (200, '"success"')
        assert await auth.check(request, auth_provider=AuthProvider.LEDGER, thread_id="ann") is AuthState.RESOLVED
        assert await pocket.wait_tool_auth(thread_id="ann") is True
        assert await pocket.ainvoke("book", {"amount": 3}, thread_id="ann") == "3 with 17 characters for ann"
        unknown = await asyncio.to_thread(
            get, f"https://localhost:{ports.public}/proxy/auth/ledger/callback?state=x&code=c1"
        )
        assert unknown.body == '"failed"'


async def test_the_call_itself_finishes_what_the_person_answered(package, ports):
    with pocket_of(package) as pocket:
        asked, paused = await pocket.ainvoke_with_state("book", {"amount": 3}, thread_id="ann")
        assert paused
        state = asked.rpartition("=")[2]
        await asyncio.to_thread(
            get, f"https://localhost:{ports.public}/proxy/auth/ledger/callback?state={state}&code=c1"
        )
        assert (await pocket.ainvoke_with_state("book", {"amount": 3}, thread_id="ann"))[1] is False


async def test_its_flow_outlives_a_restart(package, ports):
    with pocket_of(package) as pocket:
        (prompt,) = await pocket.initialize_tool_auth(thread_id="ann")
    state = prompt.url.rpartition("=")[2]
    build.use(None)
    with pocket_of(package) as pocket:
        await pocket.initialize_tool_auth(thread_id="ann")
        await asyncio.to_thread(
            get, f"https://localhost:{ports.public}/proxy/auth/ledger/callback?state={state}&code=c1"
        )
        assert (await pocket.ainvoke_with_state("book", {"amount": 1}, thread_id="ann"))[1] is False


async def test_its_refresh_gets_its_own_context_back_with_its_own_detail(package, ports):
    with pocket_of(package) as pocket:
        (prompt,) = await pocket.initialize_tool_auth(thread_id="ann")
        state = prompt.url.rpartition("=")[2]
        await asyncio.to_thread(
            get, f"https://localhost:{ports.public}/proxy/auth/ledger/callback?state={state}&code=c1"
        )
        await pocket.wait_tool_auth(thread_id="ann")
        system = pocket.system
        (held,) = await system.stores.connections.of_owner(owner("ann"))
        handler = system.handling.find(held.handler, held.provider)
        renewed = await system.refresher.fresh(held, handler, rejected=True)
        assert handler.context(system.sealer.open_credential(renewed), renewed).access_token == "tok-renewed-1234567890"


def owner(thread_id: str):
    from valetkey.identity.verifiers.vouched import owner_of

    return owner_of(thread_id)


async def test_only_authenticate_must_be_there_and_the_rest_says_what_to_write(package):
    from valetkey import AuthContext, AuthenticateRequest, AuthHandlerInterface

    class Bare(AuthHandlerInterface):
        name = "bare"

        async def authenticate(self, auth_req, future_uid, *args, **kwargs):
            return AuthContext(access_token="x" * 12, description="", expires_at=datetime.now(UTC) + timedelta(1))

    bare = Bare()
    for call in (bare.provider, bare.make_request, lambda: bare.prepare(AuthenticateRequest(), "t", "p", "u")):
        with pytest.raises(NotImplementedError, match="has to override"):
            call()
    assert bare.recommended_scopes() == set()
    assert bare.provider_default() is False
    with pytest.raises(RefreshFailed, match="sign in again"):
        await bare.refresh(AuthenticateRequest(), AuthContext(access_token="x"))
    with pytest.raises(InvalidSetting, match="override provider"):
        _ = PocketAuth(handlers=[Bare]).system
