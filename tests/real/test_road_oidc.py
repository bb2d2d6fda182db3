"""The whole road against oidc-provider, which rotates refresh tokens and kills a family over any double use."""

import asyncio
import json
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from tests.real.oidc import Oidc
from tests.real.road import OWNER, Road, road_to
from tests.real.visitor import call
from tests.road.support import get
from valetkey import AuthRefused, InvalidSetting
from valetkey.model.connections import Health

pytestmark = pytest.mark.node

INVITATION = "User needs to authenticate using the following URL: "
# RFC 7636, Appendix B: the challenge of a verifier that is not ours.
OTHER_CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@pytest.fixture
def road(oidc) -> Iterator[Road]:
    with road_to(oidc) as road:
        yield road


@pytest.fixture
async def connected(road: Road) -> Road:
    road.project(Oidc.basic)
    page = await road.connect()
    assert page.status == 200, page.body
    return road


def changed(url: str, **changes: str | None) -> str:
    """A URL with other values in its query; None takes a parameter out."""
    parts = urlsplit(url)
    fields = dict(parse_qsl(parts.query)) | changes
    return parts._replace(
        query=urlencode({name: value for name, value in fields.items() if value is not None})
    ).geturl()


def who(oidc: Oidc, token: str) -> int:
    return call(oidc.whoami_url, headers={"authorization": f"Bearer {token}"}).status


@pytest.mark.parametrize("given", ["inline", "project"])
@pytest.mark.parametrize("client", [Oidc.basic, Oidc.post, Oidc.public, Oidc.odd], ids=lambda client: client.id[:6])
async def test_an_account_lives_its_whole_life(road, oidc, given, client):
    getattr(road, given)(client)
    assert (await road.invoke()).startswith(INVITATION + oidc.authorize_url)
    page = await road.connect(login="first")
    assert page.status == 200, page.body
    assert json.loads(await road.invoke())["sub"] == "first"

    before = await road.refresh_token()
    road.clock.advance(3601)
    assert json.loads(await road.invoke())["sub"] == "first"
    after = await road.refresh_token()
    assert after != before, "the rotated refresh token is the one that is kept"
    assert (oidc.refreshes, oidc.family_alive(after)) == (1, True)

    oidc.revoke(after)
    road.clock.advance(31)  # what was renewed a moment ago is not renewed again for a tool's word alone
    assert (await road.invoke()).startswith(INVITATION + oidc.authorize_url)
    assert (await road.connect(login="second")).status == 200
    assert (await road.say_yes()).status == 200
    assert json.loads(await road.invoke())["sub"] == "second"

    refresh, access = await road.refresh_token(), await road.access_token()
    assert await asyncio.to_thread(road.forget) is True
    assert not oidc.family_alive(refresh)
    assert who(oidc, access) == 401
    assert await road.system.stores.connections.of_owner(OWNER) == []
    assert (await road.invoke()).startswith(INVITATION)


async def test_each_rotation_goes_on_from_the_one_before_also_in_a_new_process(connected, oidc):
    seen = [await connected.refresh_token()]
    for _ in range(3):
        connected.clock.advance(3601)
        connected.begin()
        assert json.loads(await connected.invoke())["sub"] == "someone"
        seen.append(await connected.refresh_token())
    assert len(set(seen)) == 4
    assert (await connected.held()).generation == 4
    assert (oidc.refreshes, oidc.errors) == (3, [])
    assert oidc.family_alive(seen[-1])


async def test_a_short_life_is_refreshed_in_its_second_half(road, oidc):
    oidc.lifetime(60)
    road.project(Oidc.post)
    await road.connect()
    road.clock.advance(29)
    await road.invoke()
    assert oidc.refreshes == 0
    road.clock.advance(2)
    await road.invoke()
    assert oidc.refreshes == 1


async def test_fifty_calls_on_an_expired_token_make_one_refresh(connected, oidc):
    old = await connected.access_token()
    connected.clock.advance(3601)
    answers = await asyncio.gather(*(connected.invoke() for _ in range(50)))
    assert {json.loads(answer)["sub"] for answer in answers} == {"someone"}
    assert (oidc.refreshes, oidc.errors) == (1, [])
    assert old not in connected.calls
    assert len(set(connected.calls)) == 1
    assert oidc.family_alive(await connected.refresh_token())


async def test_fifty_calls_whose_token_the_provider_no_longer_takes_make_one_refresh(connected, oidc):
    await connected.end_access_token()
    answers = await asyncio.gather(*(connected.invoke() for _ in range(50)))
    assert {json.loads(answer)["sub"] for answer in answers} == {"someone"}
    assert (oidc.refreshes, oidc.errors) == (1, [])
    assert oidc.family_alive(await connected.refresh_token())


async def test_a_token_that_the_provider_no_longer_takes_is_refreshed_and_the_call_made_once_more(connected, oidc):
    old = await connected.end_access_token()
    assert json.loads(await connected.invoke())["sub"] == "someone"
    assert connected.calls == [old, await connected.access_token()]
    assert oidc.refreshes == 1


@pytest.mark.requirement("T-03")
async def test_a_consent_withdrawn_while_the_token_had_ended_asks_again_and_only_once(connected, oidc):
    oidc.revoke(await connected.refresh_token())
    connected.clock.advance(3601)
    first = await connected.invoke()
    assert first.startswith(INVITATION)
    assert await connected.invoke() == first, "the link stays, and the dead refresh token is not tried again"
    assert oidc.refreshes == 1
    assert (await connected.held()).health is Health.NEEDS_REAUTH
    assert (await connected.connect(login="back-again")).status == 200
    assert (await connected.say_yes()).status == 200
    assert json.loads(await connected.invoke())["sub"] == "back-again"
    assert (await connected.held()).health is Health.OK


async def test_a_refresh_token_stolen_and_used_elsewhere_asks_again(connected, oidc):
    # The thief's use is the first one; ours is the double one, and kills the family (RFC 9700 §4.14.2).
    stolen = await connected.refresh_token()
    assert connected.refresh_elsewhere(stolen) == 200
    connected.clock.advance(3601)
    assert (await connected.invoke()).startswith(INVITATION)
    assert not oidc.family_alive(stolen)


async def test_a_no_at_the_provider_ends_the_wait_at_once(road, oidc):
    road.project(Oidc.basic)
    url = await road.link()
    waiting = asyncio.create_task(road.pocket.wait_tool_auth())
    page = await asyncio.to_thread(lambda: get(oidc.consent(url, answer="deny")))
    assert page.status == 403
    async with asyncio.timeout(5):
        with pytest.raises(AuthRefused, match="new link"):
            await waiting
    assert oidc.exchanges == 0


class TestPkce:
    async def test_the_provider_refuses_the_code_of_another_challenge(self, road, oidc):
        road.project(Oidc.basic)
        link = changed(await road.link(), code_challenge=OTHER_CHALLENGE)
        page = await asyncio.to_thread(lambda: get(oidc.consent(link)))
        assert page.status == 403
        assert "did not accept the sign-in" in page.body
        assert oidc.errors == ["invalid_grant: code_verifier does not match code_challenge"]
        assert await road.system.stores.connections.of_owner(OWNER) == []
        assert (await road.connect()).status == 200, "and a new link works"

    async def test_every_link_brings_a_challenge_of_its_own(self, road):
        road.project(Oidc.basic)
        seen = set()
        for thread in ("ann", "bob", "eve"):
            (prompt,) = await road.pocket.initialize_tool_auth(thread)
            fields = dict(parse_qsl(urlsplit(prompt.url).query))
            assert fields["code_challenge_method"] == "S256"
            seen |= {fields["code_challenge"], fields["state"]}
        assert len(seen) == 6


class TestIssuer:
    """RFC 9207; security case O-09: who was promised in the callback, and who is there."""

    @pytest.mark.parametrize("given", ["inline", "project"])
    async def test_the_one_that_was_asked_is_taken(self, road, oidc, given):
        getattr(road, given)(Oidc.post)
        callback = await road.callback()
        assert dict(parse_qsl(urlsplit(callback).query))["iss"] == oidc.issuer
        assert (await asyncio.to_thread(get, callback)).status == 200

    @pytest.mark.parametrize("given", ["inline", "project"])
    @pytest.mark.parametrize("iss", ["https://honest.example", "{}/", "{}:443", ""])
    async def test_another_one_is_not_and_its_code_goes_nowhere(self, road, oidc, given, iss):
        getattr(road, given)(Oidc.post)
        callback = await road.callback()
        wrong = changed(callback, iss=iss.format(oidc.issuer))
        page = await asyncio.to_thread(get, wrong)
        assert page.status == 400
        assert oidc.exchanges == 0
        assert (await asyncio.to_thread(get, callback)).status == 200, "the real answer still finishes the flow"

    async def test_none_is_not_taken_where_one_was_promised(self, road, oidc):
        road.project(Oidc.post)
        page = await asyncio.to_thread(get, changed(await road.callback(), iss=None))
        assert (page.status, oidc.exchanges) == (400, 0)

    async def test_none_is_taken_where_none_was_promised(self, road, oidc):
        road.inline(Oidc.post)
        page = await asyncio.to_thread(get, changed(await road.callback(), iss=None))
        assert (page.status, oidc.exchanges) == (200, 1)


async def test_a_wrong_secret_is_told_to_the_operator_and_nobody_is_asked_to_connect_again(connected, oidc):
    # Security case T-04.
    connected.clock.advance(3601)
    connected.system.config.auth.mailroom.client_secret = "no longer the secret"
    with pytest.raises(InvalidSetting, match=r"auth\.mailroom\.client_secret") as told:
        await connected.invoke()
    assert "stay connected" in str(told.value)
    assert (await connected.held()).health is Health.CONFIG_ERROR
    connected.system.config.auth.mailroom.client_secret = Oidc.basic.secret
    connected.clock.advance(301)
    assert json.loads(await connected.invoke())["sub"] == "someone"
    assert oidc.family_alive(await connected.refresh_token())
