"""K-01 … K-18: keys of issuers, by a wire that answers from a table and a clock wound by hand."""

import asyncio
import logging

import pytest

from tests.identity.jwt_kit import ISSUER, OTHER_EC, OTHER_RSA, World, answer, jwk, jwks
from valetkey.errors import CouldNotTell, ExchangeFailed, ProviderUnavailable
from valetkey.oauth.discovery import discover
from valetkey.oauth.keys import DEADLINE, IssuerKeys, KeysOf
from valetkey.ports.world import Trust
from valetkey.protocol.metadata import metadata_urls, read_metadata
from valetkey.testing.clock import ManualClock

URL = f"{ISSUER}jwks"
A = KeysOf(issuer=ISSUER, jwks_url=URL)
DAY = 86_400
OUT = ExchangeFailed("issuer.test does not answer. Try again later.", sent=True)


class Place:
    """An issuer, its keys, and a clock."""

    def __init__(self, **given):
        self.clock = ManualClock()
        self.world = World({URL: jwks()} | given)
        self.keys = IssuerKeys(self.world, clock=self.clock)

    async def kids(self, kid="RS256", *, alg="RS256", whose=A):
        return [key.kid for key in await self.keys.of(whose, algorithm=alg, kid=kid)]

    async def settle(self):
        """Let what was begun in the background end."""
        for _ in range(5):
            await asyncio.sleep(0)

    @property
    def fetches(self):
        return sum(request.url == URL for request in self.world.asked)


@pytest.fixture
def place():
    return Place()


async def test_keys_are_fetched_once_and_kept_parsed(place):
    first = await place.keys.of(A, algorithm="RS256", kid="RS256")
    again = await place.keys.of(A, algorithm="RS256", kid="RS256")
    assert first[0] is again[0]
    assert place.fetches == 1
    asked = place.world.asked[0]
    assert (asked.method, asked.trust, asked.cap) == ("GET", Trust.OPERATOR, 1_048_576)
    assert 0 < asked.deadline <= DEADLINE


@pytest.mark.requirement("K-01")
async def test_k01_a_flood_of_unknown_kids_is_one_fetch_in_half_a_minute(place):
    await place.kids()
    place.clock.advance(31)
    for number in range(10_000):
        assert await place.kids(f"made-up-{number}") == []
    assert place.fetches == 2
    place.clock.advance(29)
    assert await place.kids("made-up") == []
    assert place.fetches == 2
    place.clock.advance(1)
    assert await place.kids("made-up") == []
    assert place.fetches == 3
    assert await place.kids() == ["RS256"]


async def test_a_key_that_is_new_is_found_at_once(place):
    await place.kids()
    place.clock.advance(31)
    place.world.answers[URL] = jwks(jwk("ES256", OTHER_EC, kid="new"))
    assert await place.kids("new", alg="ES256") == ["new"]
    assert await place.kids() == []  # and the old one is gone with it


BROKEN = {
    "an error": answer({}, status=500),
    "a timeout": OUT,
    "a page": answer(b"<html>", content_type="text/html"),
    "a redirect": answer({}, status=302, location="https://evil.test/keys"),
    "no set": answer({"no": "keys"}),
    "a name twice": answer(b'{"keys": [], "keys": []}'),
    "too many keys": answer({"keys": [jwk("RS256")] * 101}),
    "not UTF-8": answer(b"\xff\xfe"),
    "a depth of thousands": answer(b"[" * 100_000),
}


@pytest.mark.requirement("R-25", "K-02", "K-08")
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
async def test_k02_k08_the_last_good_keys_outlast_an_outage_of_a_day(place, broken, caplog):
    caplog.set_level(logging.CRITICAL)
    await place.kids()
    place.world.answers[URL] = broken
    for _ in range(143):
        place.clock.advance(600)
        assert await place.kids() == ["RS256"]
        await place.settle()
    place.clock.advance(DAY)
    with pytest.raises(CouldNotTell, match="Try again"):
        await place.kids()
    place.world.answers[URL] = jwks()
    place.clock.advance(10)
    assert await place.kids() == ["RS256"]
    assert all(request.url == URL for request in place.world.asked)


@pytest.mark.requirement("C2.keys")
async def test_an_outage_makes_nobody_wait_and_is_asked_again_every_ten_seconds(place):
    await place.kids()
    place.world.answers[URL] = OUT
    place.clock.advance(541)
    assert await place.kids() == ["RS256"]  # this one waited, and heard that it failed
    assert place.fetches == 2
    hanging = asyncio.Event()

    async def hang(_):
        await hanging.wait()

    place.world.before = hang
    for _ in range(3):
        place.clock.advance(10)
        assert await place.kids() == ["RS256"]
    await place.settle()
    assert place.fetches == 3
    hanging.set()
    await place.settle()


async def test_an_unknown_key_in_an_outage_cannot_be_judged(place):
    await place.kids()
    place.world.answers[URL] = OUT
    place.clock.advance(31)
    with pytest.raises(CouldNotTell):
        await place.kids("rotated")
    assert await place.kids() == ["RS256"]


@pytest.mark.requirement("K-03")
@pytest.mark.parametrize("told", ["", "max-age=315360000", "public, max-age=3600"])
async def test_k03_a_removed_key_is_gone_within_ten_minutes_less_the_minute_of_a_verdict(told):
    place = Place(**{URL: answer(jwks(), cache_control=told)})
    await place.kids()
    place.world.answers[URL] = jwks(jwk("ES256"))
    place.clock.advance(540)
    assert await place.kids() == []


@pytest.mark.requirement("K-03", "C2.keys")
async def test_k03_it_is_asked_ahead_so_that_nobody_waits(place):
    await place.kids()
    place.clock.advance(433)
    assert await place.kids() == ["RS256"]
    await place.settle()
    assert place.fetches == 2
    place.clock.advance(500)
    assert await place.kids() == ["RS256"]
    await place.settle()
    assert place.fetches == 3


@pytest.mark.requirement("K-15")
@pytest.mark.parametrize(
    ("told", "asked_after"),
    [
        ("max-age=0", 30),
        ("no-store", 30),
        ("max-age=60", 60),
        ("max-age=315360000", 540),
        ("max-age=-1", 540),
        ("x", 540),
    ],
)
async def test_k15_the_life_of_keys_has_bounds(told, asked_after):
    place = Place(**{URL: answer(jwks(), cache_control=told)})
    await place.kids()
    place.clock.advance(asked_after * 0.8 - 1)
    await place.kids()
    await place.settle()
    assert place.fetches == 1
    place.clock.advance(asked_after * 0.2 + 1)
    await place.kids()
    assert place.fetches == 2


@pytest.mark.requirement("K-15")
async def test_k15_an_answer_without_a_body_is_no_answer(place):
    await place.kids()
    place.world.answers[URL] = answer(b"", status=304)
    place.clock.advance(541)
    assert await place.kids() == ["RS256"]


@pytest.mark.requirement("K-05", "C2.keys")
async def test_k05_a_thousand_callers_on_a_cold_start_are_one_fetch(place):
    async def slow(_):
        await place.clock.sleep(1)

    place.world.before = slow
    callers = [asyncio.create_task(place.kids()) for _ in range(1000)]
    await place.clock.sleepers(1)
    callers[0].cancel()  # whoever began it may go
    await asyncio.sleep(0)
    place.clock.advance(1)
    assert await asyncio.gather(*callers[1:]) == [["RS256"]] * 999
    assert place.fetches == 1


@pytest.mark.requirement("K-09")
async def test_k09_bad_keys_are_told_of_once(caplog):
    bad = {"kty": "oct", "k": "AAAA", "kid": "shared"}
    place = Place(**{URL: jwks(jwk("RS256"), bad, jwk("ES256", kid="twice"), jwk("EdDSA", kid="twice"))})
    for _ in range(3):
        assert await place.kids() == ["RS256"]
        assert await place.kids("shared", alg="HS256") == []
        assert await place.kids("twice", alg="ES256") == []
        place.clock.advance(541)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert all("is not used" in each for each in said)
    assert "AAAA" not in caplog.text


@pytest.mark.requirement("K-13")
async def test_k13_a_token_that_names_no_key_has_five_tried():
    many = [jwk("RS256", OTHER_RSA, kid=f"k{n}", n=jwk("RS256", OTHER_RSA)["n"]) for n in range(8)]
    place = Place(**{URL: jwks(jwk("ES256"), *many)})
    assert await place.kids(None) == ["k0", "k1", "k2", "k3", "k4"]
    assert await place.kids(None, alg="ES256") == ["ES256"]


async def test_a_key_is_for_its_own_algorithm(place):
    assert await place.kids("RS256", alg="ES256") == []
    assert place.fetches == 1  # its id is known: that is nothing to ask for


@pytest.mark.requirement("K-16")
async def test_k16_issuers_do_not_share_keys():
    b = KeysOf(issuer="https://b.test", jwks_url="https://b.test/keys")
    place = Place(**{b.jwks_url: jwks(jwk("RS256", OTHER_RSA, kid="RS256"))})
    for each in (b, A, b):
        await place.keys.of(each, algorithm="RS256", kid="RS256")
    mine = await place.keys.of(A, algorithm="RS256", kid="RS256")
    other = await place.keys.of(b, algorithm="RS256", kid="RS256")
    assert mine[0].octets != other[0].octets


@pytest.mark.requirement("K-17")
async def test_k17_ages_are_told_by_a_clock_that_never_goes_back(place):
    await place.kids()
    place.clock.jump(-3600)
    await place.kids()
    assert place.fetches == 1
    place.clock.jump(7200)
    await place.kids()
    assert place.fetches == 1
    place.clock.advance(541)
    await place.kids()
    assert place.fetches == 2


@pytest.mark.requirement("K-18")
async def test_k18_an_issuer_that_is_down_at_the_start_is_asked_again_and_others_work(caplog):
    b = KeysOf(issuer="https://b.test", jwks_url="https://b.test/keys")
    place = Place(**{URL: OUT, b.jwks_url: jwks()})
    for _ in range(5):
        with pytest.raises(CouldNotTell):
            await place.kids()
        assert await place.kids(whose=b) == ["RS256"]
    assert place.fetches == 1
    place.world.answers[URL] = jwks()
    place.clock.advance(10)
    assert await place.kids() == ["RS256"]
    assert [record.getMessage() for record in caplog.records] == [f"keys of {ISSUER}: cannot be had: {OUT}"]


async def test_what_is_under_way_ends_with_the_server(place):
    async def hang(_):
        await asyncio.Event().wait()

    place.world.before = hang
    caller = asyncio.create_task(place.kids())
    await place.settle()
    await place.keys.close()
    with pytest.raises(asyncio.CancelledError):
        await caller


BY_NAME = KeysOf(issuer="https://login.test/tenant")
OPENID, OAUTH = metadata_urls(BY_NAME.issuer)
METADATA = {"issuer": BY_NAME.issuer, "jwks_uri": "https://login.test/keys"}


@pytest.mark.parametrize("where", [OPENID, OAUTH])
async def test_keys_are_found_by_discovery(where):
    place = Place(**{where: METADATA, "https://login.test/keys": jwks()})
    assert await place.kids(whose=BY_NAME) == ["RS256"]
    assert [request.trust for request in place.world.asked] == [Trust.OPERATOR] * len(place.world.asked)


def test_where_metadata_is():
    assert metadata_urls("https://t.test/") == (
        "https://t.test/.well-known/openid-configuration",
        "https://t.test/.well-known/oauth-authorization-server",
    )
    assert OAUTH == "https://login.test/.well-known/oauth-authorization-server/tenant"


@pytest.mark.requirement("K-07")
async def test_k07_where_metadata_leads_elsewhere_it_is_nobodys_word():
    for url in ("https://keys.test/k", "https://login.test:8443/keys", "https://169.254.169.254/keys"):
        place = Place(**{OPENID: METADATA | {"jwks_uri": url}, url: jwks()})
        await place.kids(whose=BY_NAME)
        assert [request.trust for request in place.world.asked] == [Trust.OPERATOR, Trust.CATALOGUE]


@pytest.mark.requirement("K-06")
@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://a/b", "data:,x", "gopher://a", "http://login.test/keys", 5]
)
async def test_k06_keys_are_https(url):
    place = Place(**{OPENID: METADATA | {"jwks_uri": url}})
    with pytest.raises(CouldNotTell):
        await place.kids(whose=BY_NAME)
    assert [request.url for request in place.world.asked] == [OPENID]


OTHERS = [
    "https://LOGIN.test/tenant",
    "https://login.test/tenant/",
    "https://login.test:443/tenant",
    "https://login.test/%74enant",
    "",
    None,
    [BY_NAME.issuer],
]


@pytest.mark.requirement("K-10")
@pytest.mark.parametrize("named", OTHERS, ids=str)
async def test_k10_metadata_of_another_issuer_is_not_believed(named):
    place = Place(**{OPENID: METADATA | {"issuer": named}})
    with pytest.raises(CouldNotTell):
        await place.kids(whose=BY_NAME)
    assert len(place.world.asked) == 1


@pytest.mark.requirement("K-11")
async def test_k11_discovery_follows_no_redirect():
    place = Place(**{OPENID: answer({}, status=302, location="https://evil.test/")})
    with pytest.raises(CouldNotTell):
        await place.kids(whose=BY_NAME)
    assert [request.url for request in place.world.asked] == [OPENID]


async def test_metadata_that_is_nowhere():
    world = World()
    with pytest.raises(ProviderUnavailable, match=r"404, 404"):
        await discover(world, issuer=BY_NAME.issuer, trust=Trust.OPERATOR, left=lambda: 1.0)
    place = Place(**{OPENID: {"issuer": BY_NAME.issuer}})
    with pytest.raises(CouldNotTell):
        await place.kids(whose=BY_NAME)


@pytest.mark.requirement("K-12")
def test_k12_what_nobody_should_choose_is_not_offered_on():
    weak = {
        "issuer": "i",
        "id_token_signing_alg_values_supported": ["none", "HS256", "RS256", "ES512", 5],
        "response_types_supported": ["token", "id_token token"],
        "code_challenge_methods_supported": ["plain"],
    }
    read = read_metadata(weak, issuer="i", operator=False)
    assert (read.algorithms, read.code, read.s256) == (frozenset({"RS256"}), False, False)
    good = weak | {"response_types_supported": ["code", "token"], "code_challenge_methods_supported": ["plain", "S256"]}
    read = read_metadata(good, issuer="i", operator=False)
    assert (read.code, read.s256) == (True, True)
    assert read_metadata({"issuer": "i"}, issuer="i", operator=False).code
