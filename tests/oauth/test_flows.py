"""Whole flows over the real HTTP client: against the OAuth server for tests in five dialects, and oidc-provider."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.connections.kit import world
from tests.oauth.fakes import Dice
from tests.real import conftest as real
from tests.real.oidc import Oidc
from valetkey.adapters.home import HomeLoop
from valetkey.adapters.http import HttpClient
from valetkey.connections.handler import Flow
from valetkey.connections.handlers.oauth2 import OAuth2Handler
from valetkey.errors import AuthRefused, InvalidAnswer, InvalidSetting, ProviderUnavailable, RefreshFailed
from valetkey.model.caller import Owner
from valetkey.model.connections import Grant
from valetkey.oauth.clients import Clients, ClientSettings
from valetkey.providers.base import ClientAuth, Endpoint, HandlerEntry, HandlerKind, OAuth2, Provider
from valetkey.providers.registry import Registry
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock
from valetkey.testing.oauth_server import GITHUB, GOOGLE, NOTION, REDDIT, SLACK, Dialect, OAuthServer

node, oidc_process, oidc = real.node, real.oidc_process, real.oidc

CALLBACK = "https://localhost:8001/proxy/auth/example/oauth2/callback"
CLIENT = {"app": "app secret +/:%"}
NOW = 1_750_000_000.0


@pytest.fixture
def fetcher() -> Iterator[HttpClient]:
    home = HomeLoop()
    client = HttpClient(home=home)
    yield client
    home.block(client.close)
    home.close()


@pytest.fixture
def clock():
    return ManualClock(start=NOW)


def example(oauth2: OAuth2) -> Provider:
    entry = HandlerEntry(
        name="example-oauth2",
        kind=HandlerKind.OAUTH2,
        default=True,
        scoped=True,
        variables={"EXAMPLE_TOKEN": "access_token"},
        oauth2=oauth2,
    )
    return Provider(name="example", title="Example", handlers=(entry,))


def at(server: OAuthServer, **changes) -> Provider:
    """A provider of the standard's habits at that server, named by the operator."""
    oauth2 = OAuth2(
        authorize=Endpoint(server.authorize_url, operator=True),
        token=Endpoint(server.token_url, operator=True),
        revoke=Endpoint(server.revoke_url, operator=True),
        issuer=server.issuer,
        iss_in_callback=True,
    )
    return example(replace(oauth2, **changes))


class Journey:
    """One handler, and what a person and the road do with it."""

    def __init__(self, provider: Provider, fetcher: HttpClient, clock: ManualClock, **settings) -> None:
        given: dict[str, Any] = {"client_id": "app", "client_secret": Secret(CLIENT["app"])} | settings
        known = ClientSettings(**given)
        self.entry = next(entry for entry in provider.handlers if entry.oauth2)
        self.handler = OAuth2Handler(
            provider=provider,
            entry=self.entry,
            world=world(Clients(lambda name: known), fetcher, Dice(), clock),
        )

    def flow(self, *scopes: str) -> Flow:
        return Flow(
            state="state-1",
            owner=Owner(workspace="w", issuer="host", subject="default"),
            profile="default",
            scopes=frozenset(scopes),
            redirect_uri=CALLBACK,
            pages="",
        )

    async def begin(self, *scopes: str) -> tuple[Flow, dict[str, str], str]:
        flow = self.flow(*scopes)
        begun = await self.handler.begin(flow)
        return flow, dict(begun.private), begun.url

    async def finish(self, flow: Flow, private: dict[str, str], callback: str) -> Grant:
        assert callback.startswith(f"{CALLBACK}?")
        parameters = parse_qsl(urlsplit(callback).query, keep_blank_values=True)
        assert dict(parameters)["state"] == flow.state
        return await self.handler.finish(flow, private, self.handler.judge(private, parameters))

    async def connect(self, server: OAuthServer, *scopes: str) -> Grant:
        flow, private, url = await self.begin(*scopes)
        return await self.finish(flow, private, server.approve(url))


class TestStandard:
    @pytest.mark.parametrize("method", [ClientAuth.BASIC, ClientAuth.POST, ClientAuth.NONE])
    async def test_connect_refresh_revoke(self, fetcher, clock, method):
        clients = {"app": None} if method is ClientAuth.NONE else CLIENT
        with OAuthServer(clients, clock=clock, access_lifetime=600) as server:
            journey = Journey(at(server, client_auth=method), fetcher, clock)
            first = await journey.connect(server, "mail.read", "profile")
            assert server.alive(first.credential.access_token.reveal())
            assert first.scopes == frozenset({"mail.read", "profile"})
            assert first.expires_at == NOW + 600
            clock.advance(601)
            assert not server.alive(first.credential.access_token.reveal())
            second = await journey.handler.refresh(first.credential, frozenset({"mail.read", "profile"}))
            assert server.alive(second.credential.access_token.reveal())
            assert second.credential.refresh_token != first.credential.refresh_token
            assert await journey.handler.revoke(second.credential)
            assert not server.alive(second.credential.access_token.reveal())
            with pytest.raises(RefreshFailed):
                await journey.handler.refresh(second.credential, frozenset())

    async def test_without_rotation_the_refresh_token_stays(self, fetcher, clock):
        with OAuthServer(CLIENT, clock=clock, rotation=False) as server:
            journey = Journey(at(server), fetcher, clock)
            first = await journey.connect(server, "read")
            second = await journey.handler.refresh(first.credential, frozenset({"read"}))
            assert second.credential.refresh_token == first.credential.refresh_token

    async def test_the_person_says_no(self, fetcher, clock):
        with OAuthServer(CLIENT) as server:
            journey = Journey(at(server), fetcher, clock)
            flow, private, url = await journey.begin("read")
            with pytest.raises(AuthRefused, match="denied"):
                await journey.finish(flow, private, server.deny(url))
            assert server.exchanges == 0

    async def test_an_answer_of_another_issuer(self, fetcher, clock):
        with OAuthServer(CLIENT, issuer="https://other.test") as server:
            journey = Journey(at(server, issuer="https://as.test"), fetcher, clock)
            flow, private, url = await journey.begin("read")
            with pytest.raises(InvalidAnswer):
                await journey.finish(flow, private, server.approve(url))
            assert server.exchanges == 0

    async def test_less_and_more_than_was_asked(self, fetcher, clock):
        with OAuthServer(CLIENT) as server:
            journey = Journey(at(server), fetcher, clock)
            flow, private, url = await journey.begin("read", "write")
            less = await journey.finish(flow, private, server.approve(url, scopes=["read"]))
            assert less.scopes == frozenset({"read"})
            flow, private, url = await journey.begin("read")
            with pytest.raises(AuthRefused, match="admin"):
                await journey.finish(flow, private, server.approve(url, scopes=["read", "admin"]))
            assert not server.family_alive(server.issued[-1])

    async def test_a_client_secret_that_is_wrong(self, fetcher, clock):
        with OAuthServer(CLIENT) as server:
            journey = Journey(at(server), fetcher, clock, client_secret=Secret("canary-wrong"))
            with pytest.raises(InvalidSetting, match=r"auth\.example\.client_secret") as refused:
                await journey.connect(server, "read")
            assert "canary" not in str(refused.value)

    @pytest.mark.parametrize(
        "fault",
        [
            {"status": 503},
            {"html": True},
            {"huge": True},
            {"drop": True},
            {"status": 200, "body": '{"access_token": "cut'},
            {"status": 307, "headers": {"location": "https://evil.test/token"}},
        ],
        ids=["503", "html", "huge", "drop", "cut", "redirect"],
    )
    async def test_a_token_endpoint_in_trouble(self, fetcher, clock, fault):
        with OAuthServer(CLIENT) as server:
            journey = Journey(at(server), fetcher, clock)
            held = await journey.connect(server, "read")
            server.fail_next(**fault)
            with pytest.raises(ProviderUnavailable):
                await journey.handler.refresh(held.credential, frozenset({"read"}))
            again = await journey.handler.refresh(held.credential, frozenset({"read"}))
            assert server.alive(again.credential.access_token.reveal())

    async def test_a_code_is_sent_once_whatever_happens(self, fetcher, clock):
        with OAuthServer(CLIENT) as server:
            journey = Journey(at(server), fetcher, clock)
            flow, private, url = await journey.begin("read")
            server.fail_next(drop=True, processed=True)
            with pytest.raises(ProviderUnavailable):
                await journey.finish(flow, private, server.approve(url))
            assert server.exchanges == 1


CATALOGUE = [
    ("slack", SLACK, ("chat:write", "channels:read")),
    ("github", GITHUB, ("repo", "gist")),
    ("notion", NOTION, ()),
    ("reddit", REDDIT, ("identity", "read")),
    ("google", GOOGLE, ("https://www.googleapis.com/auth/calendar",)),
]


class TestCatalogue:
    """Entries of the catalogue, with the server of settings in the provider's place."""

    @pytest.mark.parametrize(("name", "dialect", "scopes"), CATALOGUE, ids=[row[0] for row in CATALOGUE])
    async def test_connect_refresh_and_a_dead_refresh_token(
        self, fetcher, clock, name: str, dialect: Dialect, scopes: tuple[str, ...]
    ):
        with OAuthServer(CLIENT, clock=clock, dialect=dialect) as server:
            journey = Journey(
                Registry().get(name),
                fetcher,
                clock,
                authorize_url=server.authorize_url,
                token_url=server.token_url,
                revoke_url=server.revoke_url,
            )
            first = await journey.connect(server, *scopes)
            assert first.scopes is None or set(scopes) <= first.scopes
            (lent,) = journey.handler.variables(first.credential).values()
            assert server.alive(lent.reveal())
            second = await journey.handler.refresh(first.credential, frozenset(scopes))
            assert server.alive(second.credential.access_token.reveal())
            assert second.credential.access_token != first.credential.access_token
            server.revoke_all()
            with pytest.raises(RefreshFailed):
                await journey.handler.refresh(second.credential, frozenset(scopes))


def at_oidc(oidc: Oidc, method: ClientAuth) -> Provider:
    return example(
        OAuth2(
            authorize=Endpoint(oidc.authorize_url, operator=True),
            token=Endpoint(oidc.token_url, operator=True),
            revoke=Endpoint(oidc.revoke_url, operator=True),
            client_auth=method,
            authorize_parameters={"prompt": "consent"},
            issuer=oidc.issuer,
            iss_in_callback=True,
        )
    )


@pytest.mark.node
class TestOidcProvider:
    """A certified server, which decodes Basic as RFC 6749 §2.3.1 says and kills a family on any double refresh."""

    @pytest.mark.parametrize(
        ("known", "method"),
        [
            (Oidc.basic, ClientAuth.BASIC),
            (Oidc.post, ClientAuth.POST),
            (Oidc.public, ClientAuth.NONE),
            (Oidc.public, ClientAuth.BASIC),
        ],
        ids=lambda value: getattr(value, "id", str(value)),
    )
    async def test_connect_refresh_revoke(self, oidc, fetcher, clock, known, method):
        oidc.allow(CALLBACK)
        journey = Journey(
            at_oidc(oidc, method),
            fetcher,
            clock,
            client_id=known.id,
            client_secret=Secret(known.secret) if known.secret else None,
        )
        flow, private, url = await journey.begin("openid", "offline_access", "mail.read")
        first = await journey.finish(flow, private, oidc.consent(url))
        assert first.credential.refresh_token is not None
        assert first.scopes == frozenset({"openid", "offline_access", "mail.read"})
        second = await journey.handler.refresh(first.credential, first.scopes)
        assert second.credential.refresh_token is not None
        assert second.credential.refresh_token != first.credential.refresh_token
        assert oidc.family_alive(second.credential.refresh_token.reveal())
        assert await journey.handler.revoke(second.credential)
        assert not oidc.family_alive(second.credential.refresh_token.reveal())
        with pytest.raises(RefreshFailed):
            await journey.handler.refresh(second.credential, first.scopes)
        assert oidc.exchanges == 1
