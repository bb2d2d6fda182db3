"""Sending token and revocation requests, and what becomes of the answers: T-02 to T-16, O-25, O-27, O-31."""

import base64
import json
import traceback
from dataclasses import replace
from urllib.parse import quote

import pytest

from tests.oauth.fakes import REVOKE_URL, SECRET, TOKEN_URL, Settings, Wire, answer, provider, tokens
from valetkey.errors import (
    AuthRefused,
    BlockedAddress,
    ExchangeFailed,
    InvalidSetting,
    ProviderUnavailable,
    RefreshFailed,
)
from valetkey.model.connections import Subject
from valetkey.oauth.client import OAuthClient
from valetkey.oauth.notes import Notes
from valetkey.ports.world import Response, Trust
from valetkey.providers.base import ClientAuth, Endpoint, TokenFormat
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock

CODE, VERIFIER, REFRESH = Secret("code-canary-1"), Secret("verifier-canary-1"), Secret("refresh-canary-1")
CALLBACK = "https://localhost:8001/cb"


def client(wire, *, settings=None, notes=None, **dialect):
    named = provider(**dialect)
    oauth2 = named.handlers[0].oauth2
    assert oauth2 is not None
    return OAuthClient(
        provider=named,
        oauth2=oauth2,
        settings=(settings or Settings()).clients.of("example"),
        fetcher=wire,
        clock=ManualClock(start=1_700_000_000.0),
        notes=notes or Notes("Example"),
    )


async def exchange(wire, asked=("read",), **dialect):
    return await client(wire, **dialect).exchange(
        code=CODE, redirect_uri=CALLBACK, verifier=VERIFIER, asked=frozenset(asked)
    )


async def refresh(wire, held=("read",), **dialect):
    return await client(wire, **dialect).refresh(refresh_token=REFRESH, held=frozenset(held))


class TestExchange:
    async def test_one_post_to_the_token_endpoint(self):
        wire = Wire(tokens(refresh_token="rt-1", scope="read"))
        found = await exchange(wire)
        assert (found.access_token, found.refresh_token) == (Secret("at-1"), Secret("rt-1"))
        (request,) = wire.requests
        assert (request.method, request.url, request.trust) == ("POST", TOKEN_URL, Trust.CATALOGUE)
        assert wire.forms() == [
            {
                "grant_type": "authorization_code",
                "code": CODE.reveal(),
                "redirect_uri": CALLBACK,
                "code_verifier": VERIFIER.reveal(),
                "client_id": "id-1",
                "client_secret": SECRET.reveal(),
            }
        ]

    async def test_basic(self):
        wire = Wire(tokens())
        await exchange(wire, client_auth=ClientAuth.BASIC)
        coded = base64.b64encode(f"id-1:{SECRET.reveal()}".encode()).decode()
        assert wire.requests[0].headers["authorization"] == f"Basic {coded}"
        assert not {"client_id", "client_secret"} & set(wire.forms()[0])

    async def test_an_endpoint_of_the_operator_is_called_as_such(self):
        wire = Wire(tokens())
        await exchange(wire, token=Endpoint("http://localhost:9/token", operator=True))
        assert wire.requests[0].trust is Trust.OPERATOR

    async def test_json_headers_and_parameters(self):
        wire = Wire(tokens())
        await exchange(
            wire,
            token_format=TokenFormat.JSON,
            token_headers={"Notion-Version": "2022-06-28"},
            token_parameters={"audience": "x"},
        )
        assert wire.requests[0].headers["notion-version"] == "2022-06-28"
        assert b'"audience": "x"' in wire.requests[0].body

    async def test_a_hostile_endpoint_is_not_called(self):
        wire = Wire()
        with pytest.raises(InvalidSetting, match=r"auth\.example"):
            await exchange(wire, token=Endpoint("http://as.test/token"))
        assert wire.requests == []

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    async def test_a_redirect_is_an_error_and_nothing_is_sent_again(self, status):
        wire = Wire(Response(status=status, headers=(("location", "https://evil.test/token"),)))
        with pytest.raises(ProviderUnavailable, match="redirect"):
            await exchange(wire)
        assert len(wire.requests) == 1

    @pytest.mark.parametrize("sent", [True, False])
    async def test_an_exchange_that_failed_is_not_tried_again(self, sent):
        wire = Wire(ExchangeFailed("no answer in time", sent=sent))
        with pytest.raises(ExchangeFailed) as failed:
            await exchange(wire)
        assert failed.value.sent is sent
        assert len(wire.requests) == 1

    async def test_an_address_that_may_not_be_called(self):
        with pytest.raises(BlockedAddress):
            await exchange(Wire(BlockedAddress("private")))

    @pytest.mark.parametrize(
        ("given", "error"),
        [
            (answer({"error": "invalid_grant"}, 400), AuthRefused),
            (answer({"error": "odd"}, 400), AuthRefused),
            (answer({"error": "bad_verification_code"}), AuthRefused),
            (answer({"error": "invalid_client"}, 401), InvalidSetting),
            (answer({"error": "unauthorized_client"}, 400), InvalidSetting),
            (tokens(token_type="mac"), InvalidSetting),
            (answer({}, 429), ProviderUnavailable),
            (Response(status=500), ProviderUnavailable),
            (Response(status=200, body=b"<html>"), ProviderUnavailable),
        ],
    )
    async def test_what_a_refusal_means(self, given, error):
        wire = Wire(given)
        with pytest.raises(error) as raised:
            await exchange(wire)
        assert type(raised.value) is error
        assert "Example" in str(raised.value)
        assert len(wire.requests) == 1

    async def test_a_client_that_is_refused_is_told_what_to_correct(self):
        with pytest.raises(InvalidSetting) as refused:
            await exchange(Wire(answer({"error": "invalid_client"}, 401)), settings=Settings(client_secret=None))
        text = str(refused.value)
        assert "auth.example.client_id" in text
        assert "auth.example.client_secret is not set" in text
        assert "stay connected" in text

    async def test_no_error_tells_a_secret_that_came_back(self):
        echoed = [CODE, VERIFIER, SECRET]
        said = " ".join(f"{each.reveal()} {quote(each.reveal())}" for each in echoed)
        for code in ("invalid_grant", "invalid_client", "odd"):
            with pytest.raises((AuthRefused, InvalidSetting)) as raised:
                await exchange(Wire(answer({"error": code, "error_description": said}, 400)))
            shown = "".join(traceback.format_exception(raised.value))
            assert "canary" not in shown
            assert "***" in str(raised.value)


class TestScopes:
    async def test_what_was_granted_is_what_counts(self):
        found = await exchange(Wire(tokens(scope="read")), asked=("read", "write"))
        assert found.scopes == {"read"}

    async def test_nothing_said_is_as_asked(self):
        assert (await exchange(Wire(tokens()))).scopes is None

    async def test_more_than_asked_is_refused_and_revoked(self):
        wire = Wire(tokens(scope="read admin", refresh_token="rt-1"), answer({}))
        with pytest.raises(AuthRefused, match=r"more than was asked for.*: admin"):
            await exchange(wire)
        assert wire.requests[1].url == REVOKE_URL
        assert wire.forms()[1]["token"] == "rt-1"

    @pytest.mark.parametrize("later", [ExchangeFailed("cut", sent=True), Response(status=500)])
    async def test_it_is_refused_even_where_it_cannot_be_revoked(self, later):
        with pytest.raises(AuthRefused, match="more than was asked for"):
            await exchange(Wire(tokens(scope="read admin"), later))
        with pytest.raises(AuthRefused, match="more than was asked for"):
            await exchange(Wire(tokens(scope="read admin")), revoke=None)

    async def test_a_provider_that_is_known_to_add_may(self):
        assert (await exchange(Wire(tokens(scope="read admin")), scopes_may_widen=True)).scopes == {"read", "admin"}
        found = await exchange(Wire(tokens(scope="read identify")), unasked_scopes=frozenset({"identify"}))
        assert found.scopes == {"read", "identify"}

    async def test_nothing_was_asked_so_anything_is_the_providers_default(self):
        assert (await exchange(Wire(tokens(scope="all")), asked=())).scopes == {"all"}
        assert (await exchange(Wire(tokens(scope="all")), scope_parameter="")).scopes == {"all"}

    async def test_a_scope_by_another_name_is_not_more(self):
        implies = {"userinfo.email": ("email",), "email": ("userinfo.email",), "repo": ("public_repo",)}
        found = await exchange(Wire(tokens(scope="userinfo.email")), asked=("email",), scope_implies=implies)
        assert found.scopes == {"userinfo.email", "email"}
        found = await exchange(Wire(tokens(scope="repo")), asked=("repo", "public_repo"), scope_implies=implies)
        assert found.scopes == {"repo", "public_repo"}
        with pytest.raises(AuthRefused):
            await exchange(Wire(tokens(scope="repo"), answer({})), asked=("public_repo",), scope_implies=implies)

    async def test_what_a_provider_calls_a_scope_is_shown_clean(self):
        with pytest.raises(AuthRefused) as refused:
            await exchange(Wire(tokens(scope="read \x1b[31mevil\u202e"), answer({})))
        assert str(refused.value).isprintable()

    async def test_a_scope_that_is_a_secret_is_not_shown(self):
        scope = f"read {SECRET.reveal()} {CODE.reveal()} at-canary rt-canary"
        wire = Wire(tokens(scope=scope, access_token="at-canary", refresh_token="rt-canary"), answer({}))
        with pytest.raises(AuthRefused) as refused:
            await exchange(wire)
        assert "canary" not in str(refused.value)

    async def test_a_refresh_keeps_the_token_and_records_no_more_than_was_held(self):
        wire = Wire(tokens(scope="read admin", refresh_token="rt-2"))
        found = await refresh(wire)
        assert (found.scopes, found.refresh_token) == ({"read"}, Secret("rt-2"))
        assert len(wire.requests) == 1
        assert (await refresh(Wire(tokens(scope="")))).scopes is None
        assert (await refresh(Wire(tokens()))).scopes is None


class TestRefresh:
    async def test_one_post(self):
        wire = Wire(tokens())
        await refresh(wire, refresh_parameters={"more": "1"})
        assert wire.forms() == [
            {
                "grant_type": "refresh_token",
                "refresh_token": REFRESH.reveal(),
                "client_id": "id-1",
                "client_secret": SECRET.reveal(),
                "more": "1",
            }
        ]

    @pytest.mark.requirement("R-11")
    @pytest.mark.parametrize(
        ("given", "error"),
        [
            (answer({"error": "invalid_grant"}, 400), RefreshFailed),
            (answer({"error": "bad_refresh_token"}), RefreshFailed),
            (answer({"error": "invalid_client"}, 401), InvalidSetting),
            (answer({"error": "unauthorized_client"}, 400), InvalidSetting),
            (answer({"error": "invalid_request"}, 400), ProviderUnavailable),
            (answer({"error": "server_error", "error_description": "invalid_grant"}, 400), ProviderUnavailable),
            (answer({"error": "invalid_grant"}, 500), ProviderUnavailable),
            (Response(status=302), ProviderUnavailable),
            (Response(status=401, body=b"<html>proxy</html>"), ProviderUnavailable),
            (Response(status=200, body=b"<html>wi-fi</html>"), ProviderUnavailable),
        ],
    )
    async def test_only_the_providers_own_word_is_final(self, given, error):
        with pytest.raises(error) as raised:
            await refresh(Wire(given), error_codes={"bad_refresh_token": "invalid_grant"})
        assert type(raised.value) is error

    async def test_a_final_failure_reads_as_programs_know_it(self):
        with pytest.raises(RuntimeError) as failed:
            await refresh(Wire(answer({"error": "invalid_grant", "error_description": "revoked"}, 400)))
        assert str(failed.value) == (
            "Failed to refresh the token. Please re-authenticate. Example answered: invalid_grant: revoked"
        )

    async def test_no_error_shows_the_token_of_now(self):
        wire = Wire(answer({"error": "odd", "error_description": f"at-canary {REFRESH.reveal()}"}, 400))
        with pytest.raises(ProviderUnavailable) as later:
            await client(wire).refresh(refresh_token=REFRESH, held=frozenset(), secrets=[Secret("at-canary")])
        assert "canary" not in str(later.value)

    @pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("1000000000", 3600.0), ("soon", 1.0)])
    async def test_a_pause_is_told(self, header, seconds):
        with pytest.raises(ProviderUnavailable) as later:
            await refresh(Wire(answer({}, 429, retry_after=header)))
        assert isinstance(later.value, ProviderUnavailable)
        assert later.value.code == "provider_unavailable"
        assert later.value.retry_after == seconds

    async def test_a_token_inside_at_first_and_on_top_later(self):
        dialect = {"answer_path": ("authed_user",), "success_field": "ok", "token_types": ("bearer", "user")}
        inside = {"access_token": "xoxp", "token_type": "user", "refresh_token": "xoxe"}
        assert (await exchange(Wire(answer({"ok": True, "authed_user": inside})), **dialect)).token_type == "user"
        assert (await refresh(Wire(answer({"ok": True, **inside})), **dialect)).refresh_token == Secret("xoxe")


class TestRevoke:
    async def test_one_post(self):
        wire = Wire(Response(status=200))
        assert await client(wire).revoke(token=REFRESH, hint="refresh_token") is True
        assert wire.requests[0].url == REVOKE_URL
        assert wire.forms()[0]["token"] == REFRESH.reveal()
        assert wire.forms()[0]["token_type_hint"] == "refresh_token"

    async def test_a_provider_without_such_an_endpoint(self):
        wire = Wire()
        assert await client(wire, revoke=None).revoke(token=REFRESH, hint="refresh_token") is False
        assert wire.requests == []

    async def test_the_client_may_prove_itself_otherwise_there(self):
        wire = Wire(Response(status=200))
        await client(wire, client_auth=ClientAuth.BASIC, revoke_client_auth=ClientAuth.NONE).revoke(
            token=REFRESH, hint="refresh_token"
        )
        assert "authorization" not in wire.requests[0].headers
        assert wire.forms()[0] == {
            "client_id": "id-1",
            "token": REFRESH.reveal(),
            "token_type_hint": "refresh_token",
        }

    async def test_what_is_not_confirmed_is_said(self):
        with pytest.raises(ProviderUnavailable, match="did not confirm"):
            await client(Wire(answer({"error": "invalid_client"}, 401))).revoke(token=REFRESH, hint="refresh_token")


ADA = Subject(issuer="https://idp.test", subject="ada", audience=frozenset({"id-1"}))


def id_token(sub="ada", aud="id-1"):
    claims = json.dumps({"iss": "https://idp.test", "sub": sub, "aud": aud}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.c2ln"


class TestSubject:
    """T-17; OpenID Connect Core §12.2."""

    async def renewed(self, wire, subject=ADA, **more):
        return await client(wire, **more).refresh(refresh_token=REFRESH, held=frozenset(), subject=subject)

    async def test_the_account_of_the_connect_is_told(self):
        assert (await exchange(Wire(tokens(id_token=id_token())))).subject == ADA

    @pytest.mark.parametrize("told", ["canary-garbage", 5, id_token(aud="another")])
    async def test_at_the_connect_what_cannot_be_relied_on_is_passed_over_and_warned_of(self, told, caplog):
        found = await exchange(Wire(tokens(id_token=told)))
        assert (found.access_token, found.subject) == (Secret("at-1"), None)
        assert "An ID token of Example is passed over" in caplog.text
        assert "canary" not in caplog.text

    @pytest.mark.parametrize("told", [None, id_token(), id_token(aud=["id-1", "more"])])
    async def test_the_same_account_or_no_word_of_it(self, told):
        wire = Wire(tokens(id_token=told))
        assert (await self.renewed(wire)).access_token == Secret("at-1")
        assert len(wire.requests) == 1

    @pytest.mark.requirement("T-17")
    @pytest.mark.parametrize("told", [id_token("eve"), id_token(aud="another"), "garbage", 5, ""])
    async def test_another_account_is_refused_and_what_it_brought_is_revoked(self, told):
        wire = Wire(tokens(id_token=told, refresh_token="rt-eve"), Response(status=200))
        with pytest.raises(RefreshFailed, match="answered for another account") as failed:
            await self.renewed(wire)
        assert str(failed.value).startswith("Failed to refresh the token. Please re-authenticate.")
        assert [request.url for request in wire.requests] == [TOKEN_URL, REVOKE_URL]
        assert wire.forms()[1]["token"] == "rt-eve"
        assert wire.requests[1].deadline == 3.0, "the lease of the refresh does not last for ever"

    @pytest.mark.parametrize("later", [Response(status=503), ExchangeFailed("no answer", sent=True)])
    async def test_it_is_refused_even_where_it_cannot_be_revoked(self, later):
        with pytest.raises(RefreshFailed):
            await self.renewed(Wire(tokens(id_token=id_token("eve")), later))
        with pytest.raises(RefreshFailed):
            await self.renewed(Wire(tokens(id_token=id_token("eve"))), revoke=None)

    async def test_an_account_that_was_not_known_is_told(self):
        assert (await self.renewed(Wire(tokens(id_token=id_token())), None)).subject == ADA
        assert (await self.renewed(Wire(tokens(id_token="garbage")), None)).subject is None


UNKNOWN = answer({"error": "invalid_client"}, 401)
OLD = Secret("cs-canary-old")


class TestTwoSecrets:
    """R-38."""

    def made(self, wire, **dialect):
        self.notes = Notes("Example")
        settings = Settings(previous_client_secret=OLD)
        return client(wire, settings=settings, notes=self.notes, **dialect)

    def sent(self, wire):
        return [form.get("client_secret") for form in wire.forms()]

    async def test_a_refresh_is_sent_again_with_the_other_one_once(self):
        wire = Wire(UNKNOWN, tokens(), tokens(), UNKNOWN, tokens(), tokens())
        made = self.made(wire)
        for _ in range(4):
            await made.refresh(refresh_token=REFRESH, held=frozenset())
        new, old = SECRET.reveal(), OLD.reveal()
        assert self.sent(wire) == [new, old, old, old, new, new]

    async def test_a_code_and_a_revocation_are_too(self):
        wire = Wire(UNKNOWN, tokens(), UNKNOWN, Response(status=200))
        made = self.made(wire)
        await made.exchange(code=CODE, redirect_uri=CALLBACK, verifier=None, asked=frozenset())
        self.notes.took(SECRET)
        assert await made.revoke(token=REFRESH, hint="refresh_token") is True
        assert self.sent(wire) == [SECRET.reveal(), OLD.reveal()] * 2
        assert [form.get("code") for form in wire.forms()] == [CODE.reveal()] * 2 + [None] * 2

    async def test_by_basic_and_by_a_dialects_own_code(self):
        wire = Wire(answer({"error": "incorrect_client_credentials"}), tokens())
        made = self.made(
            wire, client_auth=ClientAuth.BASIC, error_codes={"incorrect_client_credentials": "invalid_client"}
        )
        await made.refresh(refresh_token=REFRESH, held=frozenset())
        first, second = (request.headers["authorization"] for request in wire.requests)
        assert base64.b64decode(second.removeprefix("Basic ")).decode() == f"id-1:{OLD.reveal()}"
        assert first != second

    async def test_neither_is_known(self):
        wire = Wire(UNKNOWN, UNKNOWN)
        with pytest.raises(InvalidSetting):
            await self.made(wire).refresh(refresh_token=REFRESH, held=frozenset())
        assert len(wire.requests) == 2

    @pytest.mark.parametrize(
        "given",
        [
            answer({"error": "unauthorized_client"}, 400),
            answer({"error": "invalid_grant"}, 400),
            answer({"error": "invalid_request", "error_description": "invalid_client"}, 400),
            answer({"error": "invalid_client"}, 503),
            Response(status=401, body=b"<html>invalid_client"),
            tokens(token_type="mac"),
        ],
    )
    async def test_any_other_answer_is_an_answer(self, given):
        wire = Wire(given)
        with pytest.raises((InvalidSetting, RefreshFailed, ProviderUnavailable)):
            await self.made(wire).refresh(refresh_token=REFRESH, held=frozenset())
        assert len(wire.requests) == 1

    async def test_one_that_failed_on_the_way_is_not_sent_again(self):
        wire = Wire(ExchangeFailed("no answer", sent=True))
        with pytest.raises(ExchangeFailed):
            await self.made(wire).refresh(refresh_token=REFRESH, held=frozenset())

    @pytest.mark.requirement("R-38")
    async def test_both_share_one_deadline(self):
        clock = ManualClock()

        def slow(request):
            clock.advance(8)
            return UNKNOWN

        wire = Wire(slow, tokens())
        await replace(self.made(wire), clock=clock).refresh(refresh_token=REFRESH, held=frozenset())
        assert [request.deadline for request in wire.requests] == [10.0, 2.0]

    async def test_neither_is_shown(self):
        said = {"error": "invalid_client", "error_description": f"{SECRET.reveal()} {OLD.reveal()}"}
        with pytest.raises(InvalidSetting) as refused:
            await self.made(Wire(answer(said, 401), answer(said, 401))).refresh(refresh_token=REFRESH, held=frozenset())
        assert "canary" not in str(refused.value)

    async def test_the_same_one_twice_is_one(self):
        wire = Wire(UNKNOWN)
        same = Settings(previous_client_secret=SECRET)
        with pytest.raises(InvalidSetting):
            await client(wire, settings=same).refresh(refresh_token=REFRESH, held=frozenset())

    async def test_where_none_is_sent_nothing_is_sent_again(self):
        wire = Wire(UNKNOWN)
        with pytest.raises(InvalidSetting):
            await self.made(wire, client_auth=ClientAuth.NONE).refresh(refresh_token=REFRESH, held=frozenset())
        assert self.sent(wire) == [None]


async def test_a_clock_that_is_off_is_warned_of_once(caplog):
    made = client(Wire(*(tokens() for _ in range(2)), *(_dated(tokens()) for _ in range(3))))
    for _ in range(5):
        await made.refresh(refresh_token=REFRESH, held=frozenset())
    assert caplog.text.count("The clock of Example") == 1


def _dated(response):
    return replace(response, headers=(*response.headers, ("date", "Sun, 06 Nov 1994 08:49:37 GMT")))


async def test_nothing_that_is_sent_prints():
    wire = Wire(tokens())
    made = client(wire, client_auth=ClientAuth.BASIC)
    await made.refresh(refresh_token=REFRESH, held=frozenset())
    shown = repr(wire.requests) + repr(made)
    assert "canary" not in shown
    assert base64.b64encode(f"id-1:{SECRET.reveal()}".encode()).decode() not in shown
