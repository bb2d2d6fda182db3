"""Pushed authorization requests and registered clients, through the OAuth2 handler: over a wire by hand."""

import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.connections.kit import KEY, world
from tests.connections.test_oauth2_handler import flow
from tests.oauth.fakes import SECRET, Dice, Settings, Wire, answer, provider, tokens
from valetkey.adapters.memory_registrations import MemoryClients
from valetkey.connections.handlers.oauth2 import OAuth2Handler
from valetkey.errors import (
    AuthRefused,
    ExchangeFailed,
    InvalidSetting,
    MissingSetting,
    ProviderUnavailable,
    RefreshFailed,
)
from valetkey.oauth.registering import Registering
from valetkey.protocol.authorize import challenge_of
from valetkey.providers.base import Endpoint
from valetkey.testing.clock import ManualClock
from valetkey.vault.keyring import Keyring
from valetkey.vault.seal import Sealer

PAR = Endpoint("https://as.test/par")
NAME = "urn:ietf:params:oauth:request_uri:6esc_11ACC5bwc014ltc14eY22c"
START = "https://localhost:8001/proxy/auth/example/oauth2/start?state=state-1"


def pushed(**changed: Any) -> Any:
    return answer({"request_uri": NAME, "expires_in": 60} | changed, 201)


def query(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


class Place:
    def __init__(self, *answers: Any, store: MemoryClients | None = None, settings: Settings | None = None, **dialect):
        clock, dice = ManualClock(), Dice()
        self.clock = clock
        self.wire, self.store = Wire(*answers), store or MemoryClients()
        self.settings = settings or Settings()
        named = provider(**dialect)
        sealer = Sealer(Keyring(KEY, ticks=clock.monotonic), dice)
        registering = Registering(store=self.store, sealer=sealer, fetcher=self.wire, clock=clock)
        made = replace(world(self.settings.clients, self.wire, dice, clock), registering=registering)
        self.handler = OAuth2Handler(provider=named, entry=named.handlers[0], world=made)


async def test_the_link_is_our_page_and_nothing_is_sent_until_it_is_opened():
    place = Place(pushed(), par=PAR)
    begun = await place.handler.begin(flow("read"))
    assert begun.url == START
    assert place.wire.requests == []
    url = await place.handler.start(flow("read"), begun.private)
    assert url.startswith("https://as.test/authorize?")
    assert query(url) == {"client_id": "id-1", "request_uri": NAME}
    (sent,) = place.wire.forms()
    assert sent == {
        "response_type": "code",
        "client_id": "id-1",
        "client_secret": SECRET.reveal(),
        "redirect_uri": "https://localhost:8001/proxy/auth/example/oauth2/callback",
        "state": "state-1",
        "code_challenge": challenge_of(begun.private["verifier"]),
        "code_challenge_method": "S256",
        "scope": "read",
    }
    assert place.wire.requests[0].url == PAR.url


async def test_each_opening_pushes_anew_and_a_wider_flow_keeps_its_link():
    place = Place(pushed(), pushed(request_uri="urn:second"), par=PAR)
    begun = await place.handler.begin(flow("read"))
    await place.handler.start(flow("read"), begun.private)
    wider = await place.handler.reopen(flow("read", "write"), begun.private)
    assert wider is not None
    assert (wider.url, wider.private["verifier"]) == (begun.url, begun.private["verifier"])
    assert query(await place.handler.start(flow("read", "write"), wider.private))["request_uri"] == "urn:second"
    assert place.wire.forms()[1]["scope"] == "read write"


async def test_what_an_endpoint_answers_to_a_push():
    for said, kind, what in (
        (answer({"error": "invalid_request", "error_description": "bad scope"}, 400), AuthRefused, "bad scope"),
        (answer({"error": "invalid_client"}, 401), InvalidSetting, "client_id"),
        (answer({}, 503), ProviderUnavailable, "again"),
        (answer({}, 302, location="https://evil.test"), ProviderUnavailable, "redirect"),
        (answer({}, 201), ProviderUnavailable, "request_uri"),
        (pushed(request_uri="no uri at all"), ProviderUnavailable, "request_uri"),
        (pushed(request_uri="urn:x y\r\nz"), ProviderUnavailable, "request_uri"),
        (pushed(request_uri=7), ProviderUnavailable, "request_uri"),
        (ExchangeFailed("no answer", sent=True), ExchangeFailed, "no answer"),
    ):
        place = Place(said, par=PAR)
        begun = await place.handler.begin(flow())
        with pytest.raises(kind, match=what) as caught:
            await place.handler.start(flow(), begun.private)
        assert SECRET.reveal() not in str(caught.value)


async def test_settings_that_changed_meanwhile_get_nothing_pushed():
    place = Place(par=PAR)
    begun = await place.handler.begin(flow())
    place.settings.set("example", client_id="other")
    with pytest.raises(AuthRefused, match="changed"):
        await place.handler.start(flow(), begun.private)
    assert place.wire.requests == []


EMPTY: dict[str, Any] = {
    "authorize": Endpoint(""),
    "token": Endpoint(""),
    "issuer": "https://as.test",
    "discovered": True,
}
REGISTRAR = Endpoint("https://as.test/register")


def registered(client_id: str = "c-1", **changed: Any) -> Any:
    return answer({"client_id": client_id, "client_secret": f"secret-of-{client_id}"} | changed, 201)


def unset() -> Settings:
    settings = Settings()
    settings.set("example")
    return settings


async def test_a_flow_without_client_id_registers_one_and_its_account_lives_with_it():
    place = Place(registered(), tokens(refresh_token="rt-1"), tokens(), settings=unset(), registration=REGISTRAR)
    begun = await place.handler.begin(flow("read"))
    assert query(begun.url)["client_id"] == "c-1"
    grant = await place.handler.finish(flow("read"), begun.private, {"code": "code-1"})
    assert grant.credential.client_id == "c-1"
    place.handler.check_refresh(grant.credential)
    await place.handler.refresh(grant.credential, frozenset())
    forms = place.wire.forms()[1:]
    assert [(form["client_id"], form["client_secret"]) for form in forms] == [("c-1", "secret-of-c-1")] * 2
    assert json.loads(place.wire.requests[0].body)["token_endpoint_auth_method"] == "client_secret_post"


async def test_a_client_that_is_forgotten_there_is_registered_anew_for_new_flows_only():
    gone = answer({"error": "invalid_client"}, 401)
    place = Place(
        registered(), tokens(refresh_token="rt-1"), gone, registered("c-2"), settings=unset(), registration=REGISTRAR
    )
    begun = await place.handler.begin(flow("read"))
    grant = await place.handler.finish(flow("read"), begun.private, {"code": "code-1"})
    with pytest.raises(RefreshFailed, match="forgotten"):
        await place.handler.refresh(grant.credential, frozenset())
    with pytest.raises(RefreshFailed, match="gone"):  # and nothing more is sent
        await place.handler.refresh(grant.credential, frozenset())
    assert len(place.wire.requests) == 3
    assert query((await place.handler.begin(flow("read"))).url)["client_id"] == "c-2"


async def test_a_code_is_not_sent_by_another_client_than_it_was_given_to():
    place = Place(registered(), registered("c-2"), settings=unset(), registration=REGISTRAR)
    begun = await place.handler.begin(flow("read"))
    await place.store.delete((await place.store.page())[0].id, client_id="c-1")
    with pytest.raises(AuthRefused, match="nothing was sent"):
        await place.handler.finish(flow("read"), begun.private, {"code": "code-1"})


async def test_a_client_id_in_settings_is_used_and_nobody_registers():
    place = Place(registration=REGISTRAR)
    assert query((await place.handler.begin(flow())).url)["client_id"] == "id-1"
    assert place.wire.requests == []


async def test_without_client_id_and_registration_settings_are_asked_for():
    with pytest.raises(MissingSetting, match="client_id"):
        await Place(settings=unset()).handler.begin(flow())
    said = {
        "issuer": "https://as.test",
        "authorization_endpoint": "https://as.test/a",
        "token_endpoint": "https://as.test/t",
    }
    with pytest.raises(MissingSetting, match="client_id"):
        await Place(answer(said), settings=unset(), **EMPTY).handler.begin(flow())


async def test_an_issuer_alone_is_enough_where_it_registers():
    said = {
        "issuer": "https://as.test",
        "authorization_endpoint": "https://as.test/a",
        "token_endpoint": "https://as.test/t",
        "registration_endpoint": REGISTRAR.url,
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic"],
    }
    place = Place(answer(said), registered(), settings=unset(), **EMPTY)
    assert query((await place.handler.begin(flow())).url)["client_id"] == "c-1"
    # One with a secret, where there may be one.
    assert json.loads(place.wire.requests[1].body)["token_endpoint_auth_method"] == "client_secret_basic"


async def test_a_flow_ends_with_the_client_that_it_began_with_although_a_newer_one_serves_others():
    soon = ManualClock().now() + 1800
    place = Place(
        registered(client_secret_expires_at=soon),
        registered("c-2"),
        pushed(),
        tokens(),
        settings=unset(),
        registration=REGISTRAR,
        par=PAR,
    )
    begun = await place.handler.begin(flow("read"))
    place.clock.advance(1000)
    assert (await place.handler.begin(flow("read", state="state-2"))).private["client_id"] == "c-2"
    assert (await place.handler.reopen(flow("read", "write"), begun.private)) is not None
    await place.handler.start(flow("read"), begun.private)
    grant = await place.handler.finish(flow("read"), begun.private, {"code": "code-1"})
    assert grant.credential.client_id == "c-1"
    assert [form["client_secret"] for form in place.wire.forms()[2:]] == ["secret-of-c-1"] * 2


async def test_an_account_is_refreshed_after_the_registration_endpoint_moved_or_closed():
    for now in ({"registration_endpoint": "https://as.test/v2/register"}, {}):
        said = {
            "issuer": "https://as.test",
            "authorization_endpoint": "https://as.test/a",
            "token_endpoint": "https://as.test/t",
        }
        first = answer(said | {"registration_endpoint": REGISTRAR.url})
        place = Place(first, registered(), tokens(refresh_token="rt-1"), settings=unset(), **EMPTY)
        begun = await place.handler.begin(flow("read"))
        grant = await place.handler.finish(flow("read"), begun.private, {"code": "code-1"})
        later = Place(answer(said | now), tokens(access_token="at-2"), store=place.store, settings=unset(), **EMPTY)
        renewed = await later.handler.refresh(grant.credential, frozenset())
        assert renewed.credential.access_token.matches("at-2")


async def test_accounts_of_a_client_live_on_whatever_a_look_at_it_is_answered():
    managed = {"registration_client_uri": f"{REGISTRAR.url}/c", "registration_access_token": "rat"}
    for status, then in ((404, []), (401, [registered("c-2")])):
        place = Place(
            registered(**managed),
            tokens(refresh_token="rt-1"),
            answer({}, status),
            *then,
            tokens(access_token="at-2"),
            settings=unset(),
            registration=REGISTRAR,
        )
        begun = await place.handler.begin(flow("read"))
        grant = await place.handler.finish(flow("read"), begun.private, {"code": "code-1"})
        await place.handler.begin(flow("read", state="state-2"))
        renewed = await place.handler.refresh(grant.credential, frozenset())
        assert renewed.credential.access_token.matches("at-2"), status
