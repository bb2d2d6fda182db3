"""Tools whose account no person connects, the whole road: from a Pocket, and for a caller of another issuer."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.identity.jwt_kit import EC, RSA, jwk, jwks, token
from tests.protocol.test_assertion import pem
from tests.road.support import client_section, get, write_settings
from valetkey import AuthProvider, Pocket, function_tool
from valetkey.errors import AuthRefused, InvalidSetting, MissingSetting, Unauthenticated
from valetkey.identity.issuers import TrustedIssuer
from valetkey.identity.verifiers.vouched import HOST
from valetkey.model.caller import OURS, Owner
from valetkey.model.calls import BEARER, SESSION, Call, Presented
from valetkey.model.stops import Stop, StopKind
from valetkey.model.tokens import TokenKind
from valetkey.model.users import UserInfo, create_scope
from valetkey.protocol.jwt import fingerprint
from valetkey.secret import Secret
from valetkey.settings.pocket import Config
from valetkey.settings.sections import Identity as IdentitySettings
from valetkey.testing.clock import ManualClock
from valetkey.testing.oauth.options import Client
from valetkey.testing.oauth_server import OAuthServer
from valetkey.wiring import build
from valetkey.wiring.chat import chat_road
from valetkey.wiring.identity import open_identity
from valetkey.wiring.serving import adopt

SCOPE = "https://www.googleapis.com/auth/calendar"
ROBOT = "robot@project.test"


class RefusedError(Exception):
    """What an HTTP client raises for a 401."""

    status_code = 401


def public_pem(private: Any) -> str:
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return str(private.public_key().public_bytes(*form).decode())


def google_tool(server: OAuthServer, handler: str, *scopes: str) -> Any:
    @function_tool(auth_provider=AuthProvider.GOOGLE, auth_handler=handler, scopes=list(scopes))
    async def who(**kwargs: str) -> str:
        """Tell whose account it is."""
        url = f"{server.issuer}/userinfo"
        page = await asyncio.to_thread(get, url, headers={"authorization": f"Bearer {kwargs['GOOGLE_TOKEN']}"})
        if page.status == 401:
            raise RefusedError("401 Unauthorized")
        return page.body

    return who


@pytest.fixture
def server(clock: ManualClock) -> Iterator[OAuthServer]:
    clients = [Client(id="id-1", secret="secret-1"), Client(id="by-key", auth="private_key")]
    keys = {"by-key": public_pem(EC), ROBOT: public_pem(RSA)}
    with OAuthServer(clients, clock=clock, keys=keys, scopes={SCOPE: "Calendar"}) as server:
        yield server


def open_with(server: OAuthServer, clock: ManualClock, ports: Any, **more: str) -> None:
    write_settings(ports, client_section("google", server, **more))
    build.use(build.build(Config.load(Path.cwd(), {}), clock=clock))


def write(name: str, text: str, mode: int) -> None:
    Path(name).write_text(text, "utf-8")
    Path(name).chmod(mode)


def grants(server: OAuthServer) -> list[str]:
    return [each.form["grant_type"].rpartition(":")[2] for each in server.requests if each.path == "/token"]


async def test_client_credentials_serve_a_tool_and_are_asked_for_once(server, clock, ports):
    for more in ({}, {"client_auth": "client_secret_basic"}):
        open_with(server, clock, ports, **more)
        before = len(grants(server))
        pocket = Pocket(tools=[google_tool(server, "google-client-credentials", SCOPE)])
        assert await pocket.initialize_tool_auth() == [], "nobody is asked for anything"
        for thread in ("default", "another"):
            assert json.loads(await pocket.ainvoke("who", {}, thread_id=thread))["sub"] == "id-1"
        assert grants(server)[before:] == ["client_credentials"]
        clock.advance(3600)
        assert json.loads(await pocket.ainvoke("who", {}))["sub"] == "id-1"
        assert grants(server)[before:] == ["client_credentials"] * 2


@pytest.mark.requirement("G-14")
async def test_a_client_proves_itself_by_a_key_in_a_file(server, clock, ports, caplog):
    write("client.pem", pem(EC).reveal(), 0o644)
    open_with(server, clock, ports, client_id="by-key", client_auth="private_key_jwt", private_key="file:client.pem")
    pocket = Pocket(tools=[google_tool(server, "google-client-credentials")])
    assert json.loads(await pocket.ainvoke("who", {}))["sub"] == "by-key"
    assert "can be read by others: chmod 600" in caplog.text
    assert "PRIVATE KEY" not in caplog.text


async def test_a_service_account_serves_a_tool_and_a_token_that_its_api_refuses_is_replaced_once(server, clock, ports):
    file = {"type": "service_account", "client_email": ROBOT, "private_key": pem(RSA).reveal()}
    write("robot.json", json.dumps(file | {"private_key_id": "k", "token_uri": server.token_url}), 0o600)
    open_with(server, clock, ports, service_account="file:robot.json")
    pocket = Pocket(tools=[google_tool(server, "google-service-account", SCOPE)])
    assert json.loads(await pocket.ainvoke("who", {}))["sub"] == ROBOT
    server.revoke_all()
    assert json.loads(await pocket.ainvoke("who", {}))["sub"] == ROBOT
    assert grants(server) == ["jwt-bearer"] * 2
    server.revoke_all()
    assert "401" in await pocket.ainvoke("who", {}), "not once more within half a minute"
    assert grants(server) == ["jwt-bearer"] * 2
    clock.advance(31)
    assert json.loads(await pocket.ainvoke("who", {}))["sub"] == ROBOT


async def test_the_operator_chooses_the_handler_of_a_provider_in_settings(server, clock, ports):
    open_with(server, clock, ports, handler="google-client-credentials")

    @function_tool(auth_provider=AuthProvider.GOOGLE)
    async def length(**kwargs: str) -> int:
        """How long the token is."""
        return len(kwargs["GOOGLE_TOKEN"])

    assert int(await Pocket(tools=[length]).ainvoke("length", {})) > 10
    assert grants(server) == ["client_credentials"]


async def test_a_client_that_is_refused_is_told_so_at_each_call_and_asked_once(server, clock, ports):
    open_with(server, clock, ports, client_secret="wrong-canary")
    pocket = Pocket(tools=[google_tool(server, "google-client-credentials")])
    for _ in range(3):
        with pytest.raises(InvalidSetting, match=r"auth\.google") as caught:
            await pocket.ainvoke("who", {})
        assert "wrong-canary" not in str(caught.value)
    assert len(grants(server)) == 1


# A caller of another issuer, on whose behalf a provider is used.

AUDIENCE = "https://valetkey.test"


class Behind:
    """A system that trusts an issuer, and a provider that exchanges its tokens."""

    def __init__(self, ports: Any) -> None:
        self.clock = ManualClock()
        self.taken = True
        self.idp = OAuthServer(routes=[Route("/keys", lambda _: JSONResponse(jwks(jwk("ES256"))))])
        self.idp.start()
        self.server = OAuthServer(
            [Client(id="id-1", secret="secret-1")],
            clock=self.clock,
            subject_of=lambda text: "ada-there" if self.taken and text in self.presented else None,
        )
        self.server.start()
        self.presented: list[str] = []
        write_settings(ports, client_section("google", self.server))
        self.system = build.build(Config.load(Path.cwd(), {}), clock=self.clock)
        adopt(self.system)
        issuer = TrustedIssuer(
            alias="idp",
            issuer=self.idp.issuer,
            audiences=frozenset({AUDIENCE}),
            algorithms=frozenset({"ES256"}),
            jwks_url=f"{self.idp.issuer}/keys",
        )
        settings = IdentitySettings(root_token=Secret("r" * 32), issuers=(issuer,))
        self.identity = open_identity(self.system, settings, base_url="http://127.0.0.1:9527")
        self.road = replace(chat_road(self.system, offered={"who"}, marked=()), chain=self.identity.chain)
        self.tool = google_tool(self.server, "google-token-exchange")

    def token(self, **changes: Any) -> str:
        now = self.clock.now()
        told: dict[str, Any] = {
            "iss": self.idp.issuer,
            "aud": AUDIENCE,
            "sub": "ada",
            "iat": now,
            "exp": now + 600,
            "jti": "j",
        }
        made = token(alg="ES256", **(told | changes))
        self.presented.append(made)
        return made

    async def ask(self, presented: str | Presented) -> str:
        given = presented if isinstance(presented, Presented) else Presented(scheme=BEARER, value=Secret(presented))
        call = Call(tool="who", needs=self.tool.needs, entrance="chat", conversation="c")
        result = await self.road.travel(given, self.tool, call)
        return str(result.value)

    @property
    def exchanges(self) -> int:
        return grants(self.server).count("token-exchange")

    async def end(self, text: str) -> None:
        """Revoke the token of the caller here."""
        stops = self.identity.chain._stops
        assert stops is not None
        await stops.put(Stop(kind=StopKind.TOKEN, target=fingerprint(text), created_at=self.clock.now()))

    def close(self) -> None:
        self.system.close()
        self.server.stop()
        self.idp.stop()


@pytest.fixture
async def behind(ports) -> AsyncIterator[Behind]:
    made = Behind(ports)
    yield made
    await asyncio.to_thread(made.close)  # what it ends, it ends on this loop


@pytest.mark.requirement("G-16")
@pytest.mark.requirement("G-18")
async def test_a_tool_acts_on_behalf_of_whoever_signed_in_with_a_token_of_their_issuer(behind):
    mine = behind.token()
    for _ in range(3):
        assert json.loads(await behind.ask(mine))["sub"] == "ada-there"
    assert behind.exchanges == 1
    newer = behind.token(jti="k", exp=behind.clock.now() + 300)
    assert json.loads(await behind.ask(newer))["sub"] == "ada-there"
    assert behind.exchanges == 2, "what was exchanged is for the holder of that very token"
    await behind.end(newer)
    with pytest.raises(Unauthenticated):
        await behind.ask(newer)
    for bad in (behind.token(aud="https://elsewhere.test"), behind.token(exp=behind.clock.now() - 300)):
        with pytest.raises(Unauthenticated):
            await behind.ask(bad)
    behind.clock.advance(700)
    with pytest.raises(Unauthenticated):
        await behind.ask(mine)
    assert behind.exchanges == 2, "for none of them was anything sent"


async def test_who_came_with_anything_else_is_told_what_to_sign_in_with(behind):
    user = UserInfo(id="ada", roles=[], scope=create_scope({"ws-user-ada": "a"}))
    owner = Owner(workspace="ws-user-ada", issuer=OURS, subject="ada")
    for kind, scheme in ((TokenKind.ACCESS, BEARER), (TokenKind.API_KEY, BEARER), (TokenKind.SESSION, SESSION)):
        secret, _ = await behind.identity.tokens.issue(kind, user, owner)
        with pytest.raises(Unauthenticated, match="access token of an issuer"):
            await behind.ask(Presented(scheme=scheme, value=secret))
    behind.road = replace(behind.road, chain=behind.system.road.chain)
    with pytest.raises(Unauthenticated, match="access token of an issuer"):
        await behind.ask(Presented(scheme=HOST, value="default"))
    assert behind.exchanges == 0


async def test_a_token_that_the_provider_does_not_take_is_told_to_its_holder(behind):
    behind.taken = False
    mine = behind.token()
    with pytest.raises(AuthRefused, match="Sign in again") as caught:
        await behind.ask(mine)
    assert mine not in str(caught.value)


@pytest.mark.requirement("G-19")
async def test_the_caller_s_token_is_in_no_other_request_than_the_exchange(behind, caplog):
    caplog.set_level("DEBUG")
    mine = behind.token()
    await behind.ask(mine)
    behind.server.revoke_all()
    await behind.ask(mine)
    signature = mine.rpartition(".")[2]
    carried = [(each, where) for each in behind.server.requests for where in _parts(each) if signature in where]
    assert [each.path for each, _ in carried] == ["/token"] * 2
    for each, where in carried:
        assert where == each.body.decode()
        assert [name for name, value in each.form.items() if signature in value] == ["subject_token"]
    assert {each.path for each in behind.server.requests} == {"/token", "/userinfo"}, "the API was called, too"
    assert not any(signature in where for each in behind.idp.requests for where in _parts(each))
    assert signature not in caplog.text


def _parts(received: Any) -> list[str]:
    """Where a value could be: the path, the query, each header, the cookies, the body; as it is and decoded."""
    texts = [received.path, *received.query.values(), *received.cookies.values(), received.body.decode()]
    for value in received.headers.values():
        texts.append(value)
        if value.lower().startswith("basic "):
            texts.append(base64.b64decode(value[6:]).decode())
    return texts


async def test_a_service_account_that_settings_do_not_have_is_the_setting_that_is_named_first(server, clock, ports):
    open_with(server, clock, ports)
    with pytest.raises(MissingSetting) as caught:
        Pocket(tools=[google_tool(server, "google-service-account", SCOPE)]).invoke("who", {})
    assert str(caught.value).startswith("auth.google.service_account is not set")
