"""Real issuers: oidc-provider as the tenant behind AUTH0_*, and hostile key servers on loopback."""

import asyncio
import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.identity.jwt_kit import jwks
from tests.real import conftest as real
from tests.real.node import Node
from tests.real.tenant import Tenant
from valetkey.adapters.home import HomeLoop
from valetkey.adapters.http import HttpClient
from valetkey.adapters.local_messages import LocalWakeups
from valetkey.adapters.memory_tokens import MemoryStops
from valetkey.errors import CouldNotTell, Unauthenticated
from valetkey.identity.chain import Chain, Verifier
from valetkey.identity.issuers import ALGORITHMS, TrustedIssuer
from valetkey.identity.verifiers.foreign import Foreign
from valetkey.identity.verifiers.introspection import Introspection
from valetkey.model.caller import Caller
from valetkey.model.calls import Presented
from valetkey.model.stops import Stop, StopKind
from valetkey.model.users import UserInfo
from valetkey.oauth import keys as keys_module
from valetkey.oauth.keys import IssuerKeys, KeysOf
from valetkey.protocol.jwt import fingerprint
from valetkey.secret import Secret
from valetkey.stops import Stops
from valetkey.testing.clock import ManualClock
from valetkey.testing.loopback import Loopback

node = real.node

AUDIENCE = "https://api.example"
NAMESPACE = "https://ns.example/"


@pytest.fixture(scope="module")
def tenant_process(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenant]:
    log: Path = tmp_path_factory.mktemp("tenant") / "tenant.log"
    running = Tenant(node.node, log, namespace=NAMESPACE, audience=AUDIENCE)
    yield running
    running.stop()


@pytest.fixture
def tenant(tenant_process: Tenant) -> Tenant:
    tenant_process.behave()
    return tenant_process


@pytest.fixture
def fetcher() -> Iterator[HttpClient]:
    home = HomeLoop()
    client = HttpClient(home)
    yield client
    home.block(client.close)
    home.close()


class House:
    """Who trusts the tenant, as AUTH0_* makes it, with a clock that is wound by hand from now on."""

    def __init__(self, tenant: Tenant, fetcher: HttpClient, **changed: Any) -> None:
        given: dict[str, Any] = {
            "alias": "auth0",
            "issuer": tenant.issuer,
            "audiences": frozenset({AUDIENCE}),
            "algorithms": ALGORITHMS,
            "namespace": NAMESPACE,
            "plain_ids": True,
        }
        issuer = TrustedIssuer(**(given | changed))
        self.clock = ManualClock(time.time())
        self.keys = IssuerKeys(fetcher, clock=self.clock)
        verifiers: list[Verifier] = [
            Foreign([issuer], self.keys, clock=self.clock),
            Introspection([issuer], fetcher, clock=self.clock),
        ]
        self.stops = Stops(store=MemoryStops(), clock=self.clock, wakeups=LocalWakeups())
        self.chain = Chain(verifiers, stops=self.stops, clock=self.clock)

    async def who(self, text: str) -> Caller:
        return await self.chain.identify(Presented(scheme="bearer", value=Secret(text)))

    async def user(self, text: str) -> UserInfo:
        caller = await self.who(text)
        assert caller.user is not None
        return caller.user


@pytest.mark.requirement("seed004.auth0-domain", "C2.algorithms", "C.shown-tenant")
@pytest.mark.node
@pytest.mark.parametrize("alg", sorted(ALGORITHMS))
@pytest.mark.parametrize("token_type", ["", "at+jwt"])
async def test_the_tenants_tokens_of_every_algorithm_are_its_users(alg, token_type, tenant, fetcher):
    house = House(tenant, fetcher, token_type=token_type)
    user = await house.user(tenant.token(alg=alg, roles=["editor"], email="ada@example.com"))
    assert (user.id, user.roles, user.email) == ("auth0|ada", ["editor"], "ada@example.com")
    assert user.get_workspace() == "ws-user-auth0|ada"


@pytest.mark.requirement("R-25", "K-03", "C.shown-tenant")
@pytest.mark.node
async def test_rotation_is_followed_and_what_the_old_keys_signed_ends(tenant, fetcher):
    house = House(tenant, fetcher)
    old = tenant.token()
    await house.who(old)
    tenant.rotate()
    house.clock.advance(31)
    await house.who(tenant.token())
    await house.who(old)  # its verdict is remembered for a minute
    house.clock.advance(30)
    with pytest.raises(Unauthenticated, match="signature"):
        await house.who(old)


@pytest.mark.requirement("R-25", "K-02", "C.shown-tenant")
@pytest.mark.node
async def test_an_outage_of_the_tenant_is_not_seen_by_its_users(tenant, fetcher):
    house = House(tenant, fetcher)
    texts = [tenant.token(sub=f"auth0|{number}") for number in range(8)]
    await house.who(texts[0])
    tenant.behave(down=True)
    for text in texts[1:]:
        house.clock.advance(300)
        await house.who(text)
    house.clock.advance(1400)
    tenant.rotate()
    unknown = tenant.token(sub="auth0|new")
    with pytest.raises(CouldNotTell):
        await house.who(unknown)
    tenant.behave()
    house.clock.advance(31)
    await house.who(unknown)


@pytest.mark.requirement("seed004.bp-backup")
@pytest.mark.node
async def test_a_tenant_that_is_down_at_the_start_is_let_in_when_it_is_there(tenant, fetcher):
    tenant.behave(down=True)
    house, text = House(tenant, fetcher), tenant.token()
    with pytest.raises(CouldNotTell):
        await house.who(text)
    tenant.behave()
    house.clock.advance(10)
    await house.who(text)


@pytest.mark.requirement("K-05")
@pytest.mark.node
async def test_a_cold_start_of_many_is_one_fetch(tenant, fetcher):
    house, before = House(tenant, fetcher), tenant.asked
    texts = [tenant.token(sub=f"auth0|{number}") for number in range(20)]
    await asyncio.gather(*(house.who(text) for text in texts))
    assert tenant.asked == before + 1


@pytest.mark.requirement("J-44")
@pytest.mark.node
async def test_a_revoked_token_of_the_tenant_is_refused_at_once(tenant, fetcher):
    house, text = House(tenant, fetcher), tenant.token()
    await house.who(text)
    await house.stops.put(Stop(kind=StopKind.TOKEN, target=fingerprint(text), created_at=house.clock.now()))
    with pytest.raises(Unauthenticated, match="revoked"):
        await house.who(text)


@pytest.mark.requirement("C2.introspection")
@pytest.mark.node
async def test_opaque_tokens_of_the_tenant_are_explained_by_it(tenant, fetcher):
    house = House(
        tenant,
        fetcher,
        introspection_url=f"{tenant.issuer}/token/introspection",
        client_id="api",
        client_secret=Secret("api secret:%"),
    )
    text = tenant.token(format="opaque", roles=["editor"])
    assert "." not in text
    caller = await house.who(text)
    assert caller.how == "introspection"
    assert caller.owner.subject == "auth0|ada"
    tenant.revoke(text)
    house.clock.advance(5)
    with pytest.raises(Unauthenticated):
        await house.who(text)


class Hostile:
    """A server of keys that behaves as it is told."""

    def __init__(self) -> None:
        self.way = "good"
        self.paths: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope["path"])
        good = json.dumps(jwks()).encode()
        headers = [(b"content-type", b"application/json")]
        body, status = good, 200
        if self.way == "large":
            body = b" " * 1_100_000 + good
        if self.way == "a gzip bomb":
            headers.append((b"content-encoding", b"gzip"))
            body = gzip.compress(b" " * 50_000_000)
        if self.way == "elsewhere":
            status = 302
            headers.append((b"location", b"/other"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if self.way == "slow":
            for octet in good:
                await send({"type": "http.response.body", "body": bytes([octet]), "more_body": True})
                await asyncio.sleep(0.05)
        await send({"type": "http.response.body", "body": body})


@pytest.mark.requirement("K-08")
@pytest.mark.parametrize("way", ["large", "a gzip bomb", "elsewhere", "slow"])
async def test_k08_a_hostile_key_server_costs_little_and_changes_nothing(way, fetcher, monkeypatch):
    monkeypatch.setattr(keys_module, "DEADLINE", 0.5)
    hostile, clock = Hostile(), ManualClock()
    async with Loopback(hostile) as server:
        keys = IssuerKeys(fetcher, clock=clock)
        whose = KeysOf(issuer="https://issuer.test/", jwks_url=f"{server.url}/keys")
        assert await keys.of(whose, algorithm="RS256", kid="RS256")
        hostile.way = way
        clock.advance(541)
        began = time.monotonic()
        assert await keys.of(whose, algorithm="RS256", kid="RS256")
        assert time.monotonic() - began < 3
    assert hostile.paths == ["/keys", "/keys"]
