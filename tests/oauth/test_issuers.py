"""Discovery of a provider by its issuer: what is asked, what is believed, for how long, and where our secret goes."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.oauth.fakes import SECRET, Wire, answer, provider
from valetkey.errors import BlockedAddress, ExchangeFailed, InvalidSetting, ProviderUnavailable
from valetkey.oauth.clients import ClientSettings
from valetkey.oauth.issuers import DEADLINE, LIFE, MOST, RETRY, SHORTEST_LIFE, STALE, Issuers
from valetkey.ports.world import Trust
from valetkey.protocol.metadata import read_metadata
from valetkey.providers.base import ClientAuth, Endpoint
from valetkey.providers.inline import OAuthHandler
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock

ISSUER = "https://as.test"
SAID = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "revocation_endpoint": f"{ISSUER}/revoke",
    "device_authorization_endpoint": f"{ISSUER}/device",
    "pushed_authorization_request_endpoint": f"{ISSUER}/par",
    "registration_endpoint": f"{ISSUER}/register",
    "authorization_response_iss_parameter_supported": True,
    "token_endpoint_auth_methods_supported": ["client_secret_basic", "none"],
    "code_challenge_methods_supported": ["S256", "plain"],
}
EMPTY = {"authorize": Endpoint(""), "token": Endpoint(""), "revoke": None, "issuer": ISSUER, "discovered": True}
OUT = ExchangeFailed("as.test does not answer.", sent=True)
OURS = ClientSettings(client_id="id-1", client_secret=SECRET)


class Place:
    def __init__(self, *answers, operator=False, settings=OURS, **dialect):
        self.clock = ManualClock()
        self.wire = Wire(*answers)
        self.issuers = Issuers(self.wire, self.clock)
        self.provider = provider(**(EMPTY | dialect))
        self.operator = operator
        self.settings = settings

    async def oauth2(self):
        given = self.provider.handlers[0].oauth2
        assert given is not None
        return await self.issuers.complete(self.provider, given, operator=self.operator, settings=self.settings)


async def test_an_issuer_alone_names_the_endpoints_and_the_dialect():
    place = Place(answer(SAID), pkce=False)
    found = await place.oauth2()
    ends = (found.authorize, found.token, found.revoke, found.device, found.par, found.registration)
    assert [end.url.removeprefix(ISSUER) for end in ends] == [
        "/authorize",
        "/token",
        "/revoke",
        "/device",
        "/par",
        "/register",
    ]
    assert not any(end.operator for end in ends)  # the catalogue's word is no permission for private addresses
    assert (found.iss_in_callback, found.client_auth, found.pkce) == (True, ClientAuth.BASIC, True)
    asked = place.wire.requests[0]
    assert (asked.method, asked.url, asked.trust) == (
        "GET",
        f"{ISSUER}/.well-known/openid-configuration",
        Trust.CATALOGUE,
    )
    assert asked.deadline <= DEADLINE
    assert asked.cap == 1_048_576
    named = Place(answer(SAID), operator=True)
    assert (await named.oauth2()).token.operator


async def test_the_other_well_known_place_is_asked_where_the_first_has_nothing():
    place = Place(answer({}, 404), answer(SAID | {"issuer": f"{ISSUER}/tenant"}), issuer=f"{ISSUER}/tenant")
    await place.oauth2()
    assert [request.url for request in place.wire.requests] == [
        f"{ISSUER}/tenant/.well-known/openid-configuration",
        f"{ISSUER}/.well-known/oauth-authorization-server/tenant",
    ]


async def test_what_entry_and_settings_say_stays_and_nobody_is_asked_where_nothing_is_missing():
    kept = Endpoint("https://else.test/token", operator=True)
    found = await Place(answer(SAID), token=kept, par=kept).oauth2()
    assert (found.token, found.par) == (kept, kept)
    quiet = Place(discovered=False, token=kept)
    assert (await quiet.oauth2()).token == kept
    assert quiet.wire.requests == []


async def test_metadata_that_speaks_for_another_issuer_to_the_letter_is_refused():
    for other in ("https://evil.test", f"{ISSUER}/", "https://AS.test", f"{ISSUER}:443", "", None, [ISSUER]):
        with pytest.raises(ProviderUnavailable, match="another issuer"):
            await Place(answer(SAID | {"issuer": other})).oauth2()


@pytest.mark.requirement("O-23")
async def test_o23_hostile_endpoints_are_refused_with_all_that_came_with_them():
    hostile = ["javascript:alert(1)", "file:///etc/passwd", "data:text/html,x", "vbscript:x", "http://as.test/a"]
    hostile += [
        "-https://as.test/",
        "https://as.test/$(calc)",
        "https://as.test/a b",
        "https://u@as.test/",
        "//as.test",
    ]
    names = [name for name in SAID if name.endswith("_endpoint")]
    for name in names:
        for url in hostile if name == "authorization_endpoint" else [*hostile[:2], 7]:
            for operator in (False, True):
                with pytest.raises(ProviderUnavailable, match=name):
                    await Place(answer(SAID | {name: url}), operator=operator).oauth2()


@pytest.mark.requirement("O-26")
async def test_o26_our_secret_goes_to_no_other_origin_than_issuer_entry_or_settings_name():
    moved = answer(SAID | {"token_endpoint": "https://evil.test/token"})
    for operator in (False, True):
        with pytest.raises(InvalidSetting, match=r"another origin, https://evil.test.*auth\.example\.token_url"):
            await Place(moved, operator=operator).oauth2()
    for near in ("https://as.test:8443/t", "https://as.test.evil.test/t", "https://x.as.test/t"):
        with pytest.raises(InvalidSetting, match="another origin"):
            await Place(answer(SAID | {"token_endpoint": near})).oauth2()
    # The entry's own API origin is the provider's word; a wildcard among them is none.
    at_api = answer(SAID | {"token_endpoint": "https://api.test/token"})
    assert (await Place(at_api).oauth2()).token == Endpoint("https://api.test/token")
    wide = Place(answer(SAID | {"token_endpoint": "https://evil.tenants.test/t"}))
    wide.provider = replace(wide.provider, origins=frozenset({"https://*.tenants.test"}))
    with pytest.raises(InvalidSetting, match="another origin"):
        await wide.oauth2()


@pytest.mark.requirement("O-26")
async def test_o26_it_changes_while_we_run_and_what_is_optional_is_left_out_and_told_once(caplog):
    place = Place(answer(SAID), answer(SAID | {"token_endpoint": "https://evil.test/token"}))
    assert (await place.oauth2()).token.url == f"{ISSUER}/token"
    place.clock.advance(LIFE)
    with pytest.raises(InvalidSetting, match="token_url"):
        await place.oauth2()
    names = ["revocation_endpoint", "device_authorization_endpoint", "registration_endpoint"]
    names += ["pushed_authorization_request_endpoint"]
    place = Place(answer(SAID | {name: f"https://evil.test/{name}" for name in names}))
    for _ in range(2):
        found = await place.oauth2()
        assert (found.revoke, found.device, found.registration, found.par) == (None, None, None, None)
    assert caplog.text.count("auth.example.revoke_url") == 1
    only = {"pushed_authorization_request_endpoint": "https://evil.test/par"}
    with pytest.raises(InvalidSetting, match=r"auth\.example\.par_url"):
        await Place(answer(SAID | only | {"require_pushed_authorization_requests": True})).oauth2()


async def test_private_addresses_of_metadata_are_the_fetchers_to_refuse():
    """Under the catalogue's rules, whoever named the issuer: its word goes for its own origin."""
    lines = {
        "pushed_authorization_request_endpoint": "https://10.0.0.8/par",
        "authorization_endpoint": "https://x.test/a",
    }
    place = Place(answer(SAID | lines), operator=True)
    place.provider = replace(place.provider, origins=frozenset({"https://10.0.0.8"}))
    found = await place.oauth2()
    assert (found.par, found.authorize.operator) == (Endpoint("https://10.0.0.8/par", operator=False), False)
    with pytest.raises(BlockedAddress):
        await Place(BlockedAddress("as.test is a private address.")).oauth2()


async def test_redirects_and_bodies_that_are_no_json_are_not_followed_and_not_believed():
    redirect = answer({}, 302, location="https://evil.test/")
    for wrong in (redirect, answer([]), replace(answer({}), body=b"{"), answer({}, 500)):
        place = Place(wrong)
        with pytest.raises(ProviderUnavailable):
            await place.oauth2()
        assert len(place.wire.requests) == 1


@pytest.mark.requirement("O-07")
async def test_o07_plain_is_never_a_reason_and_without_s256_the_entry_decides():
    for said in ([], ["plain"], None):
        for pkce in (True, False):
            found = await Place(answer(SAID | {"code_challenge_methods_supported": said}), pkce=pkce).oauth2()
            assert found.pkce is pkce


async def test_the_client_proves_itself_by_the_strongest_way_that_both_have():
    key = replace(OURS, private_key=Secret("pem"))
    public = replace(OURS, client_secret=None)
    table = [
        (["client_secret_post", "client_secret_basic"], OURS, ClientAuth.POST),  # the entry's own
        (["none", "client_secret_basic"], OURS, ClientAuth.BASIC),
        (["client_secret_basic", "private_key_jwt"], key, ClientAuth.PRIVATE_KEY_JWT),
        (["private_key_jwt"], OURS, ClientAuth.POST),  # nothing fits: it says so itself
        (["none"], public, ClientAuth.NONE),
        (None, OURS, ClientAuth.BASIC),  # RFC 8414 §2
        (None, replace(OURS, client_auth="client_secret_post"), ClientAuth.POST),
        (["client_secret_basic"], replace(OURS, client_auth="client_secret_post"), ClientAuth.BASIC),
    ]
    for methods, settings, expected in table:
        said = {key: value for key, value in SAID.items() if "methods" not in key}
        said |= {} if methods is None else {"token_endpoint_auth_methods_supported": methods}
        assert (await Place(answer(said), settings=settings).oauth2()).client_auth is expected, methods


async def test_dpop_is_refused_where_it_cannot_be_spoken():
    said = SAID | {"dpop_signing_alg_values_supported": ["RS256"]}
    with pytest.raises(InvalidSetting, match=r"auth\.example\.dpop"):
        await Place(answer(said), dpop=True).oauth2()
    assert not (await Place(answer(said)).oauth2()).dpop
    assert (await Place(answer(SAID), dpop=True).oauth2()).dpop
    assert read_metadata(said, issuer=ISSUER, operator=False).dpop == {"RS256"}


async def test_many_at_once_ask_once_and_an_hour_later_again():
    place = Place(answer(SAID), answer(SAID), answer(SAID))
    await asyncio.gather(*(place.oauth2() for _ in range(20)))
    place.clock.advance(LIFE - 1)
    await place.oauth2()
    assert len(place.wire.requests) == 1
    place.clock.advance(1)
    await place.oauth2()
    assert len(place.wire.requests) == 2


async def test_cache_headers_count_within_bounds():
    for control, life in (("max-age=300", 300), ("max-age=99999999", LIFE), ("no-store", SHORTEST_LIFE), ("x", LIFE)):
        place = Place(answer(SAID, cache_control=control), answer(SAID))
        await place.oauth2()
        place.clock.advance(life - 1)
        await place.oauth2()
        assert len(place.wire.requests) == 1, control
        place.clock.advance(1)
        await place.oauth2()
        assert len(place.wire.requests) == 2, control


async def test_the_last_good_metadata_serves_through_an_outage_for_a_day(caplog):
    place = Place(answer(SAID), *[OUT] * 10)
    await place.oauth2()
    place.clock.advance(LIFE)
    for _ in range(3):
        assert (await place.oauth2()).token.url == f"{ISSUER}/token"
    assert len(place.wire.requests) == 2  # a failure is remembered for some seconds
    place.clock.advance(RETRY)
    await place.oauth2()
    assert len(place.wire.requests) == 3
    assert caplog.text.count("cannot be had") == 1
    place.clock.advance(STALE - LIFE - RETRY)
    with pytest.raises(ExchangeFailed):
        await place.oauth2()


async def test_a_failure_is_remembered_for_some_seconds_and_nothing_of_ours_was_sent():
    place = Place(OUT, answer(SAID))
    for _ in range(3):
        with pytest.raises(ExchangeFailed) as caught:
            await place.oauth2()
        assert not caught.value.sent  # the code that was to be exchanged is good still
    assert len(place.wire.requests) == 1
    place.clock.advance(RETRY)
    assert (await place.oauth2()).token.url == f"{ISSUER}/token"


async def test_no_more_issuers_are_remembered_than_fit():
    answers = [answer(SAID | {"issuer": f"https://a{n}.test"}) for n in range(MOST + 1)]
    place = Place(*answers, answer(SAID | {"issuer": "https://a0.test"}))
    for n in range(MOST + 1):
        await place.issuers.metadata(f"https://a{n}.test", Trust.CATALOGUE)
    await place.issuers.metadata(f"https://a{MOST}.test", Trust.CATALOGUE)
    assert len(place.wire.requests) == MOST + 1
    await place.issuers.metadata("https://a0.test", Trust.CATALOGUE)
    assert len(place.wire.requests) == MOST + 2


def test_an_inline_handler_needs_an_issuer_or_both_urls():
    by_issuer = OAuthHandler(client_id="c", issuer="http://127.0.0.1:9/x").provider()
    given = by_issuer.handlers[0].oauth2
    assert given is not None
    assert (given.discovered, given.authorize, given.token) == (True, *[Endpoint("", operator=True)] * 2)
    assert by_issuer.origins == {"http://127.0.0.1:9"}
    assert by_issuer.title == "127.0.0.1"
    both = OAuthHandler(client_id="c", issuer=ISSUER, auth_url=f"{ISSUER}/a", token_url=f"{ISSUER}/t").provider()
    named = both.handlers[0].oauth2
    assert named is not None
    assert not named.discovered
    lacks: tuple[dict[str, Any], ...] = ({}, {"auth_url": f"{ISSUER}/a"}, {"token_url": f"{ISSUER}/t"})
    for lacking in lacks:
        with pytest.raises(InvalidSetting, match="_url is empty"):
            OAuthHandler(client_id="c", **lacking)


async def test_the_setting_that_names_an_issuer_which_cannot_be_asked_is_in_the_error():
    place = Place(OUT, operator=True, settings=replace(OURS, issuer=ISSUER))
    with pytest.raises(ExchangeFailed, match=rf"auth\.{place.provider.name}\.issuer"):
        await place.oauth2()
    place = Place(OUT)
    with pytest.raises(ExchangeFailed) as caught:
        await place.oauth2()
    assert "auth." not in str(caught.value)
