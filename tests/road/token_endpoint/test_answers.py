"""Tokens that a token endpoint gives and that are odd: T-07, T-17 to T-19, R-38."""

import base64
import json
import logging
from typing import Any

import pytest

from tests.road.support import CALENDAR
from tests.road.token_endpoint.account import LINK, Account
from valetkey import AuthProvider, InvalidSetting, config, function_tool
from valetkey.model.connections import Cause, Health, Subject

FOREVER = 10 * 366 * 86_400.0


class Unauthorized(Exception):
    """A 401 of nobody knows whom."""

    status_code = 401


@function_tool(auth_provider=AuthProvider.GOOGLE, scopes=[CALENDAR])
async def denied(**kwargs) -> int:
    """Is refused."""
    raise Unauthorized("401")


class TestLifetime:
    @pytest.mark.requirement("T-07")
    @pytest.mark.parametrize(
        ("told", "life"),
        [
            ("3600", 3600.0),
            ('"3600"', 3600.0),
            ("3600.0", 3600.0),
            ("1e12", FOREVER),
            ("1e400", FOREVER),
            ("Infinity", FOREVER),
            ("0", None),
            ("-1", None),
            ("null", None),
            ("NaN", None),
            ("true", None),
            ('"soon"', None),
            ("[3600]", None),
            ("", None),
        ],
    )
    async def test_t_07_a_life_is_seconds_or_not_known_and_never_for_ever(self, held: Account, told, life):
        held.end()
        member = f', "expires_in": {told}' if told else ""
        body = f'{{"access_token": "at-canary-1", "token_type": "Bearer"{member}}}'
        held.server.fail_next(status=200, body=body)
        assert await held.lends()
        row = await held.stands(Health.OK, Cause.NONE)
        assert row.expires_at == (None if life is None else held.clock.now() + life)
        calls = held.calls
        assert await held.crowd() == {str(len("at-canary-1"))}
        assert held.calls == calls
        held.clock.advance(min(life or 86_400.0, FOREVER) + 1)
        assert await held.lends()
        assert held.calls == calls + (life is not None), "one that is not known is used until the API refuses it"

    @pytest.mark.requirement("T-07")
    async def test_t_07_what_is_not_known_is_renewed_when_the_api_refuses_it(self, held: Account):
        held.pocket.load_tools(denied)
        held.end()
        held.gives(expires_in=None)
        assert await held.lends()
        held.clock.advance(31)
        calls = held.calls
        assert "401" in await held.pocket.ainvoke("denied", {})
        assert held.calls == calls + 1
        assert (await held.stands(Health.OK, Cause.NONE)).expires_at == held.clock.now() + 3600


class TestStale:
    """T-18."""

    async def counted(self, held: Account, seconds: int) -> int:
        """How often a token is asked for while somebody calls each second."""
        calls = held.calls
        for _ in range(seconds):
            held.clock.advance(1)
            assert await held.lends()
        return held.calls - calls

    @pytest.mark.requirement("T-18")
    @pytest.mark.parametrize("life", [1, 5, 0.001])
    async def test_a_token_that_is_the_old_one_is_taken_and_asked_for_every_30_s(self, held: Account, life):
        held.end()
        held.gives()
        assert await held.lends()
        held.end()
        for _ in range(10):
            held.gives(expires_in=life)
        assert await held.lends()
        await held.stands(Health.OK, Cause.NONE)
        assert await self.counted(held, 65) == 2
        held.server.heal()

    @pytest.mark.requirement("T-18")
    async def test_one_that_has_ended_already_is_taken_and_asked_for_every_30_s(self, held: Account):
        held.end()
        for number in range(10):
            held.gives(access_token=f"at-canary-{number}", expires_in=0.01)
        assert await held.lends()
        assert await self.counted(held, 65) == 2
        held.server.heal()

    async def test_one_that_honestly_lives_five_seconds_is_refreshed_as_often(self, held: Account):
        held.end()
        for number in range(20):
            held.gives(access_token=f"at-canary-{number}", expires_in=5)
        assert await held.lends()
        assert await self.counted(held, 30) == 6
        held.server.heal()

    @pytest.mark.requirement("rel.rejected")
    @pytest.mark.parametrize("same", [True, False])
    async def test_a_tool_that_always_says_401_has_it_renewed_every_30_s(self, held: Account, same):
        held.pocket.load_tools(denied)
        calls = held.calls
        for number in range(61):
            held.clock.advance(1)
            if same:
                held.server.heal()
                held.gives()
            assert "401" in await held.pocket.ainvoke("denied", {}), number
        assert held.calls - calls == 3
        held.server.heal()
        await held.stands(Health.OK, Cause.NONE)


def id_token(sub: object = "ada", iss: object = "https://idp.test", aud: object = None, **more: object) -> str:
    claims = {"iss": iss, "sub": sub, "aud": "test-client" if aud is None else aud, **more}
    parts = [{"alg": "RS256", "kid": "1"}, claims]
    return ".".join([*(_coded(json.dumps(part).encode()) for part in parts), _coded(b"signature")])


def _coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


OTHERS: dict[str, Any] = {
    "another sub": id_token("eve"),
    "another iss": id_token(iss="https://idp.test/"),
    "another aud": id_token(aud="other-client"),
    "no sub": id_token(None),
    "a sub that is a number": id_token(5),
    "two subs": "e30." + _coded(b'{"iss":"https://idp.test","aud":"test-client","sub":"ada","sub":"ada"}') + ".",
    "encrypted": "a.b.c.d.e",
    "garbage": "not a token",
    "a number": 5,
    "empty": "",
}


class TestSubject:
    """T-17."""

    async def connect_anew(self, held: Account, token: object) -> None:
        held.gives(refresh_token="rt-canary-1", id_token=token)
        await held.disconnect()
        await held.reconnect()

    async def subject(self, held: Account) -> Subject | None:
        return held.pocket.system.sealer.open_credential(await held.row()).subject

    @pytest.mark.requirement("T-17", "L-11.refresh")
    @pytest.mark.parametrize("mode", ["ended", "still good"])
    async def test_an_answer_for_somebody_else_is_neither_kept_nor_lent(self, held: Account, mode):
        for name, other in OTHERS.items():
            with held.meeting(name):
                await self.connect_anew(held, id_token())
                before = await held.row()
                if mode == "ended":
                    held.end()
                else:
                    held.age()
                held.gives(access_token="at-canary-2", refresh_token="rt-canary-2", id_token=other)
                revocations = held.server.revocations
                calls = held.calls
                told = await held.call()
                assert isinstance(told, str)
                assert told.startswith(LINK), "it is not lent, even where the old one still serves"
                row = await held.stands(Health.NEEDS_REAUTH, Cause.REFUSED)
                assert "another account" in row.reason
                assert (row.generation, row.sealed) == (before.generation, before.sealed)
                assert held.server.revocations == revocations + 1
                assert held.server.requests[-1].form["token"] == "rt-canary-2"
                assert await held.crowd() == {told}
                assert held.calls == calls + 1
        await held.reconnect()

    @pytest.mark.requirement("T-17")
    async def test_an_answer_for_the_same_is_kept_with_or_without_an_id_token(self, held: Account):
        await self.connect_anew(held, id_token(aud=["test-client"]))
        known = Subject(issuer="https://idp.test", subject="ada", audience=frozenset({"test-client"}))
        assert await self.subject(held) == known
        for token in (id_token(), None, id_token(aud=["test-client", "more"], nonce="x")):
            held.end()
            held.gives(refresh_token="rt-canary-1", id_token=token)
            assert await held.lends()
            assert await self.subject(held) == known

    async def test_what_cannot_be_read_is_passed_over_with_one_warning_where_nobody_is_known(
        self, held: Account, caplog
    ):
        for token in ("not a token", id_token(aud="other-client"), "a.b.c"):
            held.end()
            held.gives(id_token=token)
            assert await held.lends()
            assert await self.subject(held) is None
        (warned,) = [record for record in caplog.records if "ID token" in record.getMessage()]
        assert warned.levelno == logging.WARNING
        held.end()
        held.gives(id_token=id_token())
        assert await held.lends()
        assert await self.subject(held) is not None, "the first one that can be read is kept to"

    async def test_a_refusal_does_not_wait_for_a_revocation_that_does_not_answer(self, held: Account):
        await self.connect_anew(held, id_token())
        held.end()
        held.gives(access_token="at-canary-2", refresh_token="rt-canary-2", id_token=id_token("eve"))
        held.server.fail_next(drop=True, at="revoke")
        told = await held.call()
        assert isinstance(told, str)
        assert told.startswith(LINK)
        await held.stands(Health.NEEDS_REAUTH, Cause.REFUSED)


class TestClock:
    """T-19."""

    @pytest.mark.requirement("T-19", "T-19.skew")
    @pytest.mark.parametrize("skew", [7200, -7200])
    async def test_a_clock_that_is_off_is_warned_of_once_and_lifetimes_count_on_ours(self, held: Account, caplog, skew):
        for _ in range(3):
            held.end()
            held.dated(skew)
            assert await held.lends()
            assert (await held.row()).expires_at == held.clock.now() + 3600
        (warned,) = [record for record in caplog.records if "clock" in record.getMessage()]
        assert f"Google is 120 minutes {'ahead of' if skew > 0 else 'behind'} ours" in warned.getMessage()

    @pytest.mark.requirement("T-19.skew")
    async def test_one_that_is_nearly_right_or_makes_no_sense_is_not(self, held: Account, caplog):
        for date in (299, -299, "yesterday", "Sun, 06 Nov 99999999999999999999 08:49:37 GMT"):
            held.end()
            held.dated(date)
            assert await held.lends()
        assert "clock" not in caplog.text


OLD, NEW = "old-client-canary-secret", "new-client-canary-secret"


class TestTwoSecrets:
    """R-38: the provider takes another secret than it did, at whichever time settings learn of it."""

    def settings(self, held: Account, **secrets: str) -> None:
        given = {name: value for name, value in config().auth.google.given().items() if "secret" not in name}
        config().auth.google = {**given, **secrets}

    def refused(self, held: Account) -> None:
        held.server.fail_next(status=401, body='{"error": "invalid_client"}')

    def sent(self, held: Account) -> list[str]:
        return [request.form["client_secret"] for request in held.server.requests if "client_secret" in request.form]

    @pytest.mark.requirement("R-38")
    async def test_the_other_one_is_tried_once_and_then_first(self, held: Account, caplog):
        known = held.server.client.secret or ""
        self.settings(held, client_secret=NEW, previous_client_secret=known)
        start = len(self.sent(held))
        for _ in range(3):
            held.end()
            assert await held.lends()
        assert self.sent(held)[start:] == [NEW, known, known, known]
        assert held.server.refreshes == 4
        assert await held.disconnect()
        assert self.sent(held)[start + 4 :] == [known] * 2, "revocation, too"
        self.settings(held, client_secret=known, previous_client_secret=OLD)
        await held.reconnect()
        assert self.sent(held)[-1] == known
        held.look(caplog, OLD, NEW)

    async def test_it_is_tried_for_a_code_and_for_a_revocation(self, held: Account):
        known = held.server.client.secret or ""
        assert await held.disconnect()
        self.settings(held, client_secret=NEW, previous_client_secret=known)
        start = len(self.sent(held))
        await held.reconnect()
        assert self.sent(held)[start:] == [NEW, known]
        self.settings(held, client_secret=known, previous_client_secret=OLD)

    @pytest.mark.requirement("R-38")
    async def test_neither_is_taken(self, held: Account, caplog):
        self.settings(held, client_secret=NEW, previous_client_secret=OLD)
        start = len(self.sent(held))
        held.end()
        assert isinstance(await held.call(), InvalidSetting)
        await held.stands(Health.CONFIG_ERROR, Cause.SETUP)
        assert await held.crowd() == {"invalid_setting"}
        assert self.sent(held)[start:] == [NEW, OLD], "each once, and no loop"
        self.settings(held, client_secret=held.server.client.secret or "")
        await held.heals()
        held.look(caplog, OLD, NEW)

    @pytest.mark.requirement("R-38")
    async def test_another_refusal_is_not_tried_with_the_other_one(self, held: Account):
        self.settings(held, client_secret=held.server.client.secret or "", previous_client_secret=OLD)
        for fault in ({"status": 500}, {"status": 400, "body": '{"error": "invalid_grant"}'}):
            held.end()
            calls = held.calls
            held.server.fail_next(**fault)
            await held.call()
            assert held.calls == calls + 1
            await held.wait()
