"""Client credentials against oidc-provider: every way to prove a client, and a resource that it does not know."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey

from tests.connections.kit import world
from tests.identity.jwt_kit import EC, ED, RSA
from tests.oauth.fakes import Dice, Settings, provider
from tests.protocol.test_assertion import pem
from tests.real.oidc import Oidc
from tests.real.visitor import call
from valetkey.adapters.home import HomeLoop
from valetkey.adapters.http import HttpClient
from valetkey.connections.handler import Flow
from valetkey.connections.handlers.client_credentials import ClientCredentialsHandler
from valetkey.errors import InvalidSetting
from valetkey.model.caller import Owner
from valetkey.model.connections import Grant
from valetkey.ports.world import Response
from valetkey.providers.base import ClientAuth, Endpoint
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock

pytestmark = pytest.mark.node

SCOPES = frozenset({"mail.read"})


@pytest.fixture
def fetcher() -> Iterator[HttpClient]:
    home = HomeLoop()
    client = HttpClient(home)
    yield client
    home.block(client.close)
    home.close()


class Asks:
    def __init__(self, oidc: Oidc, fetcher: HttpClient) -> None:
        self.settings = Settings()
        self.fetcher = fetcher
        self.oidc = oidc
        self.dice = Dice()
        self.answers: list[Response] = []

    async def fetch(self, request: Any) -> Response:
        self.answers.append(await self.fetcher.fetch(request))
        return self.answers[-1]

    async def obtain(self, method: ClientAuth, **settings: Any) -> Grant:
        self.settings.set("example", **settings)
        named = provider(
            token=Endpoint(self.oidc.token_url, operator=True), client_auth=method, issuer=self.oidc.issuer
        )
        entry = named.handler("example-client-credentials")
        assert entry is not None
        made = world(self.settings.clients, self, self.dice, ManualClock(start=time.time()))
        handler = ClientCredentialsHandler(provider=named, entry=entry, world=made)
        owner = Owner(workspace="w", issuer="host", subject="x")
        return await handler.finish(
            Flow(state="", owner=owner, profile="", scopes=SCOPES, redirect_uri="", pages=""), {}, {}
        )

    def register(self, key: Any) -> str:
        told = {
            "grant_types": ["client_credentials"],
            "response_types": [],
            "redirect_uris": [],
            "token_endpoint_auth_method": "private_key_jwt",
            "jwks": {"keys": [key.as_dict(private=False)]},
        }
        answer = call(
            f"{self.oidc.issuer}/reg",
            method="POST",
            body=json.dumps(told).encode(),
            headers={"content-type": "application/json"},
        )
        assert answer.status == 201, answer.body
        return str(json.loads(answer.body)["client_id"])


@pytest.mark.requirement("G-13")
async def test_a_secret_by_basic_and_by_post_with_every_odd_character(oidc: Oidc, fetcher: HttpClient) -> None:
    asks = Asks(oidc, fetcher)
    for client, method in (
        (Oidc.basic, ClientAuth.BASIC),
        (Oidc.odd, ClientAuth.BASIC),
        (Oidc.post, ClientAuth.POST),
    ):
        grant = await asks.obtain(method, client_id=client.id, client_secret=Secret(client.secret or ""))
        assert grant.scopes == SCOPES
        assert grant.expires_at is not None
        assert grant.credential.refresh_token is None


@pytest.mark.requirement("G-14")
async def test_a_signature_by_every_kind_of_key_and_none_of_another_key(oidc: Oidc, fetcher: HttpClient) -> None:
    asks = Asks(oidc, fetcher)
    kinds: Any = (
        (RSA, RSAKey, {}),
        (RSA, RSAKey, {"alg": "PS256"}),
        (EC, ECKey, {}),
    )
    for private, kind, extra in kinds:
        made = kind.import_key(private, extra)
        name = asks.register(made)
        text = Secret(json.dumps({**made.as_dict(private=True), **extra}))
        for _ in range(2):
            grant = await asks.obtain(ClientAuth.PRIVATE_KEY_JWT, client_id=name, private_key=text)
            assert grant.scopes == SCOPES
        with pytest.raises(InvalidSetting, match="invalid_client"):
            await asks.obtain(ClientAuth.PRIVATE_KEY_JWT, client_id=name, private_key=pem(ED))


@pytest.mark.requirement("G-20")
async def test_a_resource_that_it_does_not_know_is_a_matter_of_settings(oidc: Oidc, fetcher: HttpClient) -> None:
    asks = Asks(oidc, fetcher)
    with pytest.raises(InvalidSetting, match=r"auth\.example\.resource"):
        await asks.obtain(
            ClientAuth.POST,
            client_id=Oidc.post.id,
            client_secret=Secret(Oidc.post.secret or ""),
            resource="https://unknown.test/api",
        )
    assert json.loads(asks.answers[-1].body)["error"] == "invalid_target"
