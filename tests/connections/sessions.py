"""A token endpoint that does what a test tells it, and a system that asks it."""

import asyncio
import concurrent.futures
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from valetkey.connections.session import SESSION, SessionCredential, SessionKind, handler_name
from valetkey.identity.verifiers.vouched import CHAT, in_chat
from valetkey.model.caller import Caller, Owner
from valetkey.model.calls import Allowed, Call
from valetkey.model.needs import Need, Needs
from valetkey.ports.world import Fetcher, Request, Response
from valetkey.secret import Secret
from valetkey.settings.pocket import Config
from valetkey.testing.clock import ManualClock
from valetkey.wiring import build
from valetkey.wiring.system import System

ROOM, OTHER = "5f0c7f3e-room", "77aa1b2c-other"
OWNER = in_chat("ann", workspace=CHAT).owner
STRANGER = in_chat("bob", workspace=CHAT).owner
ANY = Need(provider=SESSION)
URL = "https://auth.example.com/token"

BEARER = SessionCredential(kind=SessionKind.BEARER_TOKEN, fields={"token": Secret("tok-11112222")})
BASIC = SessionCredential(
    kind=SessionKind.BASIC_AUTH, fields={"username": Secret("zoë"), "password": Secret("pass:wörd")}
)
API_KEY = SessionCredential(kind=SessionKind.API_KEY, fields={"api_key": Secret("key-33334444")}, header="X-Key")
CUSTOM = SessionCredential(
    kind=SessionKind.CUSTOM, headers={"X-One": Secret("one-55556666"), "Authorization": Secret("Token two-7777")}
)
GIVEN = {given.kind: given for given in (BEARER, BASIC, API_KEY, CUSTOM)}


def client(url: str = URL, scope: str = "") -> SessionCredential:
    fields = {"client_id": Secret("the-client"), "client_secret": Secret("cs-99998888")}
    return SessionCredential(kind=SessionKind.OAUTH2, fields=fields, token_url=url, scope=scope)


class TokenEndpoint:
    """A fetcher. Answers ``tok-1-secret``, ``tok-2-secret``, … unless ``script`` holds something else."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.script: list[dict[str, Any] | Response | Exception] = []
        self.members: dict[str, Any] = {"token_type": "Bearer", "expires_in": 3600}
        self.gate: concurrent.futures.Future[None] | None = None
        self.cancelled = 0
        self.deaf = False

    async def fetch(self, request: Request) -> Response:
        self.requests.append(request)
        number = len(self.requests)
        if self.gate is not None:
            try:
                await asyncio.wrap_future(self.gate)
            except asyncio.CancelledError:
                self.cancelled += 1
                if not self.deaf:
                    raise
        answer = self.script.pop(0) if self.script else {"access_token": f"tok-{number}-secret", **self.members}
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Response) else answered(answer)

    def hold(self) -> concurrent.futures.Future[None]:
        """Do not answer before the result is set."""
        self.gate = concurrent.futures.Future()
        self.gate.set_running_or_notify_cancel()
        return self.gate

    @property
    def forms(self) -> list[dict[str, str]]:
        return [dict(parse_qsl(request.body.decode())) for request in self.requests]


def answered(members: Any, status: int = 200) -> Response:
    return Response(status=status, headers=(("content-type", "application/json"),), body=json.dumps(members).encode())


def made(clock: ManualClock, fetcher: Fetcher) -> System:
    config = Config.load(Path.cwd(), {}, **{"session.session_type": "in_memory"})
    return build.build(config, clock=clock, folder=Path.cwd() / "home", environ={}, fetcher=fetcher)


def put(system: System, given: SessionCredential, **options: Any) -> None:
    system.sessions.put(ROOM, OWNER, given, **{"ttl": 3600.0, **options})


def need(kind: SessionKind, *scopes: str) -> Need:
    return Need(provider=SESSION, handler=handler_name(kind), scopes=frozenset(scopes))


def allowed(*alternatives: tuple[Need, ...], room: str = ROOM, owner: Owner = OWNER) -> Allowed:
    call = Call(tool="t", needs=Needs(alternatives), entrance="chat", conversation=room)
    return Allowed(caller=Caller(owner=owner, how="host"), call=call, rule="test")


async def token(system: System, *scopes: str) -> str:
    """What a call of the room would send."""
    connection = await system.sessions.meet(ROOM, OWNER, need(SessionKind.OAUTH2, *scopes))
    assert connection is not None
    return system.sealer.open_credential(connection).access_token.reveal()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - another loop makes it true
            await asyncio.sleep(0)
