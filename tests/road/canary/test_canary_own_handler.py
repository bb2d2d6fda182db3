"""An auth handler of the host program's own: what it is given and what it obtains stays where it was lent."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import ClassVar
from urllib.parse import quote

import pytest
from fastapi import APIRouter

from tests.road.canary.journey import CLIENT_SECRET, OWNER, PASTED, OddDice
from tests.road.canary.watch import Watch
from tests.road.support import Ports, write_settings
from valetkey import (
    AuthContext,
    AuthenticateRequest,
    AuthenticateResponse,
    AuthHandlerInterface,
    AuthProvider,
    FutureStore,
    Pocket,
    PocketAuth,
    ProviderUnavailable,
    ValetkeyError,
    config,
    function_tool,
)
from valetkey.wiring import build


class LedgerRequest(AuthenticateRequest):
    client_id: str = "ledger"
    client_secret: str


class LedgerResponse(AuthenticateResponse):
    token: str
    renew_with: str


class LedgerContext(AuthContext):
    renew_with: str = ""

    def to_dict(self) -> dict[str, str]:
        return {"LEDGER_TOKEN": self.access_token}


class LedgerHandler(AuthHandlerInterface):
    name = "ledger-canary"
    router: ClassVar[APIRouter] = APIRouter(prefix="/ledger")
    issued: ClassVar[list[str]] = []
    fails: ClassVar[bool] = False

    @staticmethod
    def provider() -> AuthProvider:
        return AuthProvider.register("ledger")

    @staticmethod
    def provider_default() -> bool:
        return True

    def make_request(self, auth_scopes=None, **kwargs) -> LedgerRequest:
        return LedgerRequest(auth_scopes=auth_scopes, client_secret=config().auth.ledger.client_secret)

    def prepare(self, auth_req, thread_id, profile, future_uid, *args, **kwargs) -> str:
        FutureStore.create_future(future_uid, data={"verifier": self.issue("verifier")})
        return f"https://ledger.example/go?state={future_uid}"

    async def authenticate(self, auth_req, future_uid, *args, **kwargs) -> AuthContext:
        found = FutureStore.get_future(future_uid)
        assert found is not None
        assert await found.future in self.issued
        if type(self).fails:
            raise RuntimeError(f"the ledger said no to {found.data['verifier']}")
        return self._context()

    async def refresh(self, auth_req, context, *args, **kwargs) -> AuthContext:
        assert context.renew_with in self.issued
        return self._context()

    def _context(self) -> AuthContext:
        answer = LedgerResponse(token=self.issue("token"), renew_with=self.issue("renew"))
        ends = datetime.now(UTC) + timedelta(seconds=3600)
        return LedgerContext(
            access_token=answer.token,
            renew_with=answer.renew_with,
            detail=answer,
            expires_at=ends,
            description="ledger",
        )

    @classmethod
    def issue(cls, kind: str) -> str:
        cls.issued.append(f"{kind}{OddDice().token()}")
        return cls.issued[-1]


@LedgerHandler.router.get("/callback")
def take(state: str, code: str) -> str:
    FutureStore.resolve_future(state, code)
    return "thank you"


class TestOwnHandler:
    @pytest.fixture
    def ledger(self, watch, ports) -> Iterator[Pocket]:
        LedgerHandler.issued.clear()
        LedgerHandler.fails = False
        write_settings(ports, f"[auth.ledger]\nclient_secret = '{CLIENT_SECRET}'")

        @function_tool(auth_provider=AuthProvider.register("ledger"))
        def book(**kwargs) -> str:
            """Book, and tell the token."""
            return f"booked with {kwargs['LEDGER_TOKEN']}"

        with Pocket(tools=[book], auth=PocketAuth(handlers=[LedgerHandler])) as pocket:
            yield pocket

    async def answer(self, pocket: Pocket, watch: Watch, ports: Ports) -> None:
        (prompt,) = await pocket.initialize_tool_auth()
        state = prompt.url.rpartition("=")[2]
        code = quote(LedgerHandler.issue("code"))
        page = await asyncio.to_thread(
            watch.get, f"https://localhost:{ports.public}/proxy/auth/ledger/callback?state={state}&code={code}"
        )
        assert page.status == 200, page.body
        watch.files("answered")

    def end(self, watch: Watch) -> None:
        watch.secret(CLIENT_SECRET, *LedgerHandler.issued)
        watch.files("while open")
        build.use(None)
        watch.files("after its end")
        assert watch.sightings() == []

    async def test_its_whole_flow(self, ledger, watch, ports):
        await self.answer(ledger, watch, ports)
        await ledger.wait_tool_auth()
        told = await ledger.ainvoke("book", {})
        assert told == "booked with ***"
        watch.result("told", told)
        provider = AuthProvider("ledger")
        context = ledger.auth.get_auth_context(provider)
        assert isinstance(context, LedgerContext)
        request = ledger.auth.make_request(auth_provider=provider)
        watch.objects(context=context, request=request, response=context.detail, handlers=ledger.auth.handlers)
        system = ledger.system
        (row,) = await system.stores.connections.of_owner(OWNER)
        renewed = await system.refresher.fresh(row, system.handling.find(row.handler, row.provider), rejected=True)
        assert renewed.generation == 2
        watch.result("told again", await ledger.ainvoke("book", {}))
        self.end(watch)

    async def test_one_that_fails_with_its_secrets_in_hand(self, ledger, watch, ports):
        LedgerHandler.fails = True
        await self.answer(ledger, watch, ports)
        with watch.raising(ProviderUnavailable) as told:
            await ledger.wait_tool_auth()
        assert "RuntimeError in authenticate" in str(told.value)
        self.end(watch)

    async def test_a_context_that_a_newer_version_of_it_cannot_read(self, ledger, watch, ports, monkeypatch):
        await self.answer(ledger, watch, ports)
        await ledger.wait_tool_auth()

        class Newer(AuthContext):
            renew_with: int
            region: str

        monkeypatch.setitem(AuthContext.registry, f"{__name__}:LedgerContext", Newer)
        with watch.raising(ValetkeyError):
            await ledger.ainvoke("book", {})
        self.end(watch)

    async def test_an_answer_that_does_not_fit_its_own_model(self, watch):
        watch.secret(PASTED)
        for kind in (LedgerResponse, LedgerRequest, LedgerContext):
            with watch.raising(ValueError):
                kind.model_validate({"token": PASTED, "client_secret": [PASTED], "access_token": {"is": PASTED}})
        assert watch.sightings() == []
