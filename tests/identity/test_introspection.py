"""RFC 7662: opaque tokens, by what their issuer says of them, and only by an answer that can be relied on."""

import asyncio
import logging
from typing import Any
from urllib.parse import parse_qsl

import pytest

from tests.identity.jwt_kit import AUDIENCE, ISSUER, NOW, World, answer, token, trusted
from valetkey.adapters.local_messages import LocalWakeups
from valetkey.adapters.memory_tokens import MemoryStops
from valetkey.errors import CouldNotTell, ExchangeFailed, InvalidSetting, Unauthenticated
from valetkey.identity.chain import Chain
from valetkey.identity.verifiers.introspection import AT_ONCE, Introspection
from valetkey.model.calls import Presented
from valetkey.model.users import UserPermission
from valetkey.secret import Secret
from valetkey.stops import Stops
from valetkey.testing.clock import ManualClock

URL = f"{ISSUER}introspect"
OPAQUE = "opaque-canary-4f1d"
ALIVE = {
    "active": True,
    "iss": ISSUER,
    "sub": "ada",
    "aud": AUDIENCE,
    "exp": NOW + 600,
    "iat": NOW - 5,
    "token_type": "Bearer",
    "client_id": "app",
    "scope": "read ws:public#a",
    "roles": ["editor"],
}


def bearer(text: str = OPAQUE) -> Presented:
    return Presented(scheme="bearer", value=Secret(text))


def asked_at(**changed: Any):
    given: dict[str, Any] = {"introspection_url": URL, "client_id": "us", "client_secret": Secret("s:cr t")}
    return trusted(**(given | changed))


class Desk:
    """An issuer that explains, and who asks it."""

    def __init__(self, said=None, *issuers):
        self.clock = ManualClock(NOW)
        self.world = World({URL: ALIVE if said is None else said})
        self.verifier = Introspection(issuers or (asked_at(),), self.world, clock=self.clock)
        stops = Stops(store=MemoryStops(), clock=self.clock, wakeups=LocalWakeups())
        self.chain = Chain([self.verifier], stops=stops, clock=self.clock)


@pytest.mark.requirement("C2.introspection")
async def test_a_token_that_its_issuer_explains_is_its_users():
    desk = Desk()
    caller = await desk.chain.identify(bearer())
    assert (caller.how, caller.until, caller.principal) == ("introspection", NOW + 630, (ISSUER, "ada"))
    assert caller.user is not None
    assert (caller.user.id, caller.user.roles) == ("main|ada", ["editor"])
    assert caller.user.scope is not None
    assert caller.user.scope.workspaces == {"ws-user-main|ada": UserPermission.admin}
    assert caller.user.scope.extra_scopes == ["read"]
    (request,) = desk.world.asked
    assert (request.method, request.url) == ("POST", URL)
    assert dict(parse_qsl(request.body.decode())) == {"token": OPAQUE, "token_type_hint": "access_token"}
    assert request.headers["authorization"] == "Basic dXM6cyUzQWNyK3Q="
    assert OPAQUE not in repr(request)


async def test_its_word_is_believed_for_seconds_only():
    desk = Desk()
    for _ in range(3):
        await desk.chain.identify(bearer())
    assert len(desk.world.asked) == 1
    desk.world.answers[URL] = {"active": False}
    desk.clock.advance(5)
    with pytest.raises(Unauthenticated):
        await desk.chain.identify(bearer())


NOT_GOOD = [
    {"active": False},
    {"iss": ISSUER + "x"},
    {"iss": [ISSUER]},
    {"aud": "other"},
    {"aud": ["other"]},
    {"aud": None},
    {"aud": [AUDIENCE, 5]},
    {"aud": ..., "client_id": "stranger"},
    {"aud": ..., "client_id": ...},
    {"exp": NOW - 30},
    {"nbf": NOW + 31},
    {"iat": NOW + 31},
    {"token_type": "DPoP"},
    {"token_type": "refresh_token"},
    {"token_use": "refresh_token"},
    {"cnf": {"jkt": "x"}},
]


@pytest.mark.requirement("C2.introspection")
@pytest.mark.parametrize("changed", NOT_GOOD, ids=str)
async def test_what_is_not_active_or_not_for_us_is_nobody(changed):
    said = {name: value for name, value in (ALIVE | changed).items() if value is not ...}
    assert await Desk(said).verifier.verify(bearer()) is None


@pytest.mark.parametrize(
    "changed", [{"aud": ["x", AUDIENCE]}, {"aud": ..., "client_id": "us"}, {"iss": ...}, {"iat": ...}]
)
async def test_what_may_be_left_out(changed):
    said = {name: value for name, value in (ALIVE | changed).items() if value is not ...}
    assert await Desk(said).verifier.verify(bearer()) is not None


NO_ANSWER = {
    "an error": answer({}, status=500),
    "we are not known": answer({"error": "invalid_client"}, status=401),
    "a redirect": answer(ALIVE, status=302, location="https://evil.test"),
    "a page": answer(b"<html>", content_type="text/html"),
    "a text of JSON": answer(ALIVE, content_type="text/plain"),
    "active a text": answer(ALIVE | {"active": "true"}),
    "active a number": answer(ALIVE | {"active": 1}),
    "active null": answer(ALIVE | {"active": None}),
    "not said": answer({"sub": "ada"}),
    "said twice": answer(b'{"active": false, "active": true}'),
    "a list": answer([ALIVE]),
    "no exp": answer({name: value for name, value in ALIVE.items() if name != "exp"}),
    "no sub": answer({name: value for name, value in ALIVE.items() if name != "sub"}),
    "no token_type": answer({name: value for name, value in ALIVE.items() if name != "token_type"}),
    "sub a number": answer(ALIVE | {"sub": 7}),
    "exp a text": answer(ALIVE | {"exp": "never"}),
    "exp true": answer(ALIVE | {"exp": True}),
    "away": ExchangeFailed("issuer.test does not answer.", sent=False),
    "repeats the token": answer({"active": OPAQUE}),
}


@pytest.mark.parametrize("said", NO_ANSWER.values(), ids=NO_ANSWER)
async def test_an_answer_that_is_none_is_no_verdict(said, caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(CouldNotTell, match="Try again"):
        await Desk(said).verifier.verify(bearer())
    assert OPAQUE not in caplog.text


@pytest.mark.parametrize("text", ["", "short", "two words", "x" * 5000, token(), "a.b.c", "é" * 9, "a\nb-long-enough"])
async def test_what_has_not_the_form_of_an_opaque_token_is_sent_nowhere(text):
    desk = Desk()
    assert await desk.verifier.verify(bearer(text)) is None
    assert await desk.verifier.verify(Presented(scheme="session", value=OPAQUE)) is None
    assert desk.world.asked == []


async def test_a_token_that_nobody_knows_is_asked_about_once_in_a_while():
    desk = Desk({"active": False})
    for _ in range(5):
        assert await desk.verifier.verify(bearer()) is None
    assert len(desk.world.asked) == 1
    desk.clock.advance(5)
    assert await desk.verifier.verify(bearer()) is None
    assert len(desk.world.asked) == 2


async def test_issuers_are_asked_in_turn_and_one_that_is_away_hides_no_other(caplog):
    b = asked_at(alias="b", issuer="https://b.test", jwks_url="https://b.test/k", introspection_url="https://b.test/i")
    desk = Desk({"active": False}, asked_at(), b)
    desk.world.answers["https://b.test/i"] = ALIVE | {"iss": "https://b.test"}
    vouch = await desk.verifier.verify(bearer())
    assert vouch is not None
    assert vouch.owner.issuer == "https://b.test"
    desk.world.answers |= {URL: ExchangeFailed("away", sent=False)}
    assert await desk.verifier.verify(bearer("another-token")) is not None
    desk.world.answers["https://b.test/i"] = {"active": False}
    with pytest.raises(CouldNotTell):
        await desk.verifier.verify(bearer("a-third-token"))


async def test_the_same_token_at_once_is_one_question_and_a_flood_is_bounded():
    desk = Desk()
    go = asyncio.Event()

    async def wait(_):
        await go.wait()

    desk.world.before = wait
    same = [asyncio.create_task(desk.verifier.verify(bearer())) for _ in range(10)]
    others = [asyncio.create_task(desk.verifier.verify(bearer(f"token-{n:04}"))) for n in range(AT_ONCE - 1)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(CouldNotTell, match="Too many"):
        await desk.verifier.verify(bearer("one-too-many"))
    go.set()
    assert all(await asyncio.gather(*same, *others))
    assert len(desk.world.asked) == AT_ONCE
    assert await desk.verifier.verify(bearer("one-more-now")) is not None


async def test_a_user_who_cannot_be_one_here_is_refused():
    desk = Desk(ALIVE | {"sub": "root"}, asked_at(plain_ids=True))
    with pytest.raises(Unauthenticated, match="somebody else"):
        await desk.verifier.verify(bearer())


@pytest.mark.parametrize(
    "changed",
    [{"client_id": ""}, {"issuer": "https://l.test/{tid}", "tenants": frozenset({"t"})}, {"audiences": frozenset()}],
)
def test_who_asks_must_be_known_there(changed):
    with pytest.raises(InvalidSetting):
        Desk(None, asked_at(**changed))


async def test_where_no_issuer_explains_nobody_is_asked():
    desk = Desk(None, trusted())
    assert await desk.verifier.verify(bearer()) is None
    assert desk.world.asked == []
