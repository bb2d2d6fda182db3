"""What a token endpoint refuses, or says when it is not itself: T-02 to T-06, T-09, T-10, T-16, R-11, R-12."""

import json
from email.utils import formatdate
from typing import Any

import pytest

from tests.road.token_endpoint.account import OWNER, Account
from valetkey import InvalidSetting
from valetkey.model.connections import Cause, Health
from valetkey.model.interactions import InteractionKind

HTML = {"content-type": "text/html"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
ANSWER = '{"access_token": "at-canary-1", "token_type": "bearer"}'


def refusal(code: object, status: int = 400, **more: object) -> dict[str, Any]:
    return {"status": status, "body": json.dumps({"error": code, **more})}


# What the endpoint answers while it decides nothing, by row of the catalogue.
TRANSIENT: dict[str, dict[str, Any]] = {
    "T-02 a code of another dialect with 200": refusal("bad_verification_code", 200),
    "T-02 ok is false": {"status": 200, "body": '{"ok": false}'},
    "T-06 500": {"status": 500},
    "T-06 502 with a page": {"status": 502, "html": True},
    "T-06 503 that says invalid_grant": refusal("invalid_grant", 503),
    "T-06 504": {"status": 504},
    "T-06 cut": {"drop": True},
    "T-09 a form that is called JSON": {"status": 200, "body": "access_token=at-canary-1&token_type=bearer"},
    "T-09 JSON that is called a form": {"status": 200, "body": ANSWER, "headers": FORM},
    "T-10 a name twice": {"status": 200, "body": ANSWER[:-1] + ', "access_token": "other"}'},
    "T-10 trailing garbage": {"status": 200, "body": ANSWER + " x"},
    "T-10 truncated": {"status": 200, "body": ANSWER[:-5]},
    "T-10 a byte order mark": {"status": 200, "body": b"\xef\xbb\xbf" + ANSWER.encode()},
    "T-10 UTF-16": {"status": 200, "body": ANSWER.encode("utf-16")},
    "R-12 huge": {"huge": True},
    "R-11 a captive portal": {"html": True},
    "R-11 a proxy's 401": {"html": True, "status": 401},
    "R-11 a proxy's 403": {"html": True, "status": 403},
    "R-11 a proxy's 407": {"html": True, "status": 407},
    "R-11 404": {"status": 404, "body": "{}"},
    "R-11 temporarily_unavailable": refusal("temporarily_unavailable"),
    "R-11 server_error": refusal("server_error"),
    "R-11 invalid_request": refusal("invalid_request"),
    "R-11 invalid_scope": refusal("invalid_scope"),
    "R-11 invalid_grant in the description only": refusal("denied", error_description="invalid_grant"),
    "R-11 a code in capitals": refusal("INVALID_GRANT"),
    "R-11 a list": {"status": 400, "body": '["invalid_grant"]'},
    "T-16 a description of a megabyte": refusal("busy", error_description="<b>\x1b[31m" + "x" * 900_000),
}


class TestTransient:
    @pytest.mark.requirement("B.shown-endpoints", "R-11", "R-12", "T-02", "T-06", "T-09", "T-10")
    @pytest.mark.parametrize("row", sorted({name.partition(" ")[0] for name in TRANSIENT}))
    async def test_nobody_is_asked_and_it_is_not_hurried(self, held: Account, row):
        for name, fault in TRANSIENT.items():
            if name.startswith(f"{row} "):
                with held.meeting(name):
                    held.end()
                    held.fail(**fault)
                    rounds = 3 if row == "T-02" else 1
                    await held.settles_in_transient(Cause.UNAVAILABLE, held.server.heal, rounds=rounds)
                    held.age()
                    held.fail(**fault)
                    await held.goes_on(Cause.UNAVAILABLE, held.server.heal)

    @pytest.mark.requirement("T-16")
    async def test_t_16_what_the_provider_says_is_clean_and_short(self, held: Account, caplog):
        held.end()
        secret = held.server.client.secret
        said = f"<b>{secret}</b> {held.server.issued[1]}\r\n\x1b[31mred\x07 \u202e" + "x " * 400_000
        held.fail(**refusal("busy", error_description=said))
        await held.call()
        row = await held.stands(Health.TRANSIENT, Cause.UNAVAILABLE)
        assert "busy: <b>***</b> *** red" in row.reason
        assert row.reason.isprintable()
        assert len(row.reason) < 400
        held.server.heal()
        await held.heals()


# T-05: what a Retry-After makes of the pause; a number is a date so many seconds from now.
PAUSES: dict[str, tuple[dict[str, str | int], float | None]] = {
    "seconds": ({"retry-after": "120"}, 120),
    "a date": ({"retry-after": 120}, 120),
    "a date by the server's own clock, two hours ahead": ({"retry-after": 7320, "date": 7200}, 120),
    "a date by the server's own clock, two hours behind": ({"retry-after": -7080, "date": -7200}, 120),
    "1e9 in digits": ({"retry-after": "1000000000"}, 3600),
    "5,000 digits": ({"retry-after": "9" * 5000}, 3600),
    "a date in a thousand years": ({"retry-after": "Sun, 06 Nov 2994 08:49:37 GMT"}, 3600),
    "a date long ago": ({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}, None),
    "0": ({"retry-after": "0"}, None),
    "negative": ({"retry-after": "-5"}, None),
    "1e9": ({"retry-after": "1e9"}, None),
    "garbage": ({"retry-after": "soon"}, None),
    "a date beyond all calendars": ({"retry-after": "Sun, 06 Nov 99999999999999999999 08:49:37 GMT"}, None),
    "nothing": ({}, None),
}


class TestRetryAfter:
    @pytest.mark.requirement("T-05", "T-05.honoured")
    async def test_t_05_it_is_obeyed_for_an_ended_token(self, held: Account):
        for name, (headers, asked) in PAUSES.items():
            with held.meeting(name):
                held.end()
                dated = {
                    key: formatdate(held.clock.now() + value, usegmt=True) if isinstance(value, int) else value
                    for key, value in headers.items()
                }
                held.fail(status=429, headers=dated)
                pause = getattr(await held.call(), "retry_after", 0)
                assert asked == pytest.approx(pause, abs=1.1) if asked else 1 <= pause <= 2
                await held.stands(Health.TRANSIENT, Cause.RATE_LIMITED)
                calls = held.calls
                held.clock.advance(pause - 0.1)
                assert await held.crowd() == {"provider_unavailable"}
                assert held.calls == calls
                held.server.heal()
                held.clock.advance(0.2)
                assert await held.lends()

    @pytest.mark.requirement("T-05.honoured")
    async def test_t_05_while_the_token_is_still_good_the_provider_is_left_alone(self, held: Account):
        held.clock.advance(3500)
        held.fail(status=429, headers={"retry-after": "90"})
        assert await held.lends()
        row = await held.stands(Health.TRANSIENT, Cause.RATE_LIMITED)
        assert row.next_try_at == held.clock.now() + 90
        held.server.heal()
        held.clock.advance(89)
        calls = held.calls
        assert await held.lends()
        assert held.calls == calls, "a token that serves is lent, and the provider is left alone"
        held.clock.advance(2)
        assert await held.lends()
        assert held.calls == calls + 1
        await held.stands(Health.OK, Cause.NONE)

    async def test_t_05_a_503_says_so_too_and_a_megabyte_of_garbage_does_not(self, held: Account):
        held.end()
        held.fail(status=503, headers={"retry-after": "77"})
        assert getattr(await held.call(), "retry_after", 0) == 77
        await held.stands(Health.TRANSIENT, Cause.RATE_LIMITED)
        held.server.heal()
        await held.heals()


class TestRefused:
    @pytest.mark.requirement("B.shown-endpoints", "T-03")
    async def test_t_03_a_dead_refresh_token_asks_a_person_once(self, held: Account):
        held.end()
        held.fail(**refusal("invalid_grant"))
        await held.asks_a_person(Cause.REFUSED)
        held.end()
        held.fail(**refusal({"code": "invalid_grant", "message": "used"}, 403))
        await held.asks_a_person(Cause.REFUSED)

    @pytest.mark.requirement("T-03")
    async def test_t_03_while_the_token_is_still_good_it_is_not_lent_any_more(self, held: Account):
        held.age()
        held.fail(**refusal("invalid_grant"))
        await held.asks_a_person(Cause.REFUSED)

    @pytest.mark.requirement("T-03.row")
    async def test_t_03_a_row_that_another_process_renewed_meanwhile_is_used(self, held: Account):
        held.end()
        stale = await held.row()
        assert await held.lends()
        renewed = await held.row()
        assert renewed.generation == stale.generation + 1
        refresher, handling = held.pocket.system.refresher, held.pocket.system.handling
        held.fail(**refusal("invalid_grant"))
        calls = held.calls
        handler = handling.find(stale.handler, stale.provider)
        assert (await refresher.fresh(stale, handler)).generation == renewed.generation
        assert held.calls == calls
        held.server.heal()


class TestSetup:
    @pytest.mark.requirement("B.shown-endpoints", "T-04")
    @pytest.mark.parametrize("mode", ["ended", "still good"])
    @pytest.mark.parametrize("code", ["invalid_client", "unauthorized_client"])
    async def test_t_04_it_is_the_operators_and_nobody_connects_anew(self, held: Account, code, mode):
        fault = refusal(code, 401 if code == "invalid_client" else 400)
        held.fail(**fault)
        if mode == "still good":
            held.age()
            await held.goes_on(Cause.SETUP, held.server.heal, Health.CONFIG_ERROR)
            return
        held.end()
        error = await held.call()
        assert isinstance(error, InvalidSetting)
        assert "auth.google.client_secret" in str(error)
        for _ in range(3):
            await held.stands(Health.CONFIG_ERROR, Cause.SETUP)
            calls = held.calls
            assert await held.crowd() == {"invalid_setting"}
            assert held.calls == calls, "asked again before its time"
            await held.wait()
            assert await held.crowd() == {"invalid_setting"}
            assert held.calls == calls + 1
        assert await held.pocket.system.interactions.of_owner(OWNER, InteractionKind.CONNECT) == [], "a link was made"
        # The row cannot know of a setting that is mended; the back-off brings it within five minutes.
        held.server.heal()
        row = await held.row()
        assert row.next_try_at - held.clock.now() <= 300
        await held.heals()
