"""Token requests, and what an answer means: RFC 6749 §4.1.3, §5, §6, 7009, and the cases T-02 to T-18, O-27, O-28."""

import json
from dataclasses import dataclass, field
from email.utils import formatdate
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valetkey.errors import InvalidSetting
from valetkey.model.connections import Subject
from valetkey.protocol.client_auth import Proof
from valetkey.protocol.token import (
    Expected,
    Extras,
    Refusal,
    TokenAnswer,
    Verdict,
    code_request,
    included,
    judge_revocation,
    judge_token,
    refresh_request,
    revocation_request,
)
from valetkey.secret import Secret

IMPLIES = {
    "repo": ["public_repo", "repo:status"],
    "admin": ["write"],
    "write": ["read"],
    "a": ["b"],
    "b": ["a"],
}
NOW = 1_700_000_000.0
# {} and {"iss": "https://idp.test", "sub": "ada", "aud": "id"}, coded as RFC 7515 §2 says.
ID_TOKEN = "e30.eyJpc3MiOiJodHRwczovL2lkcC50ZXN0Iiwic3ViIjoiYWRhIiwiYXVkIjoiaWQifQ.c2ln"
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
PROOF = Proof(parameters={"client_id": "id", "client_secret": "s3 cret"})
BASIC = Proof(headers={"authorization": "Basic aWQ6cw=="})


@dataclass
class Answer:
    """What a server answered, as the wire has it."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": JSON})

    def header(self, name):
        return self.headers.get(name)


def answer(members, status=200, **headers):
    return Answer(json.dumps(members).encode(), status, {"content-type": JSON, **headers})


def judge(given, secrets=(), **expected):
    return judge_token(given, expected=Expected(**expected), now=NOW, secrets=secrets)


def token(**members):
    return {"access_token": "at-1", "token_type": "Bearer"} | members


class TestRequests:
    def test_a_code_is_exchanged_as_the_standard_says(self):
        request = code_request(
            code=Secret("c+de"), redirect_uri="https://localhost:8001/cb", verifier=Secret("v" * 43), proof=PROOF
        )
        assert dict(parse_qsl(request.body.decode(), strict_parsing=True)) == {
            "grant_type": "authorization_code",
            "code": "c+de",
            "redirect_uri": "https://localhost:8001/cb",
            "code_verifier": "v" * 43,
            "client_id": "id",
            "client_secret": "s3 cret",
        }
        assert request.headers == {"accept": JSON, "content-type": FORM}

    def test_no_verifier_where_no_challenge_was_sent(self):
        request = code_request(code=Secret("c"), redirect_uri="https://x.test", verifier=None, proof=PROOF)
        assert b"code_verifier" not in request.body

    def test_a_refresh(self):
        request = refresh_request(refresh_token=Secret("rt"), proof=BASIC)
        assert dict(parse_qsl(request.body.decode())) == {"grant_type": "refresh_token", "refresh_token": "rt"}
        assert request.headers["authorization"] == "Basic aWQ6cw=="

    def test_json_with_the_providers_own_headers_and_parameters(self):
        request = refresh_request(
            refresh_token=Secret("rt"),
            proof=BASIC,
            extras=Extras(parameters={"more": "1"}, headers={"Notion-Version": "2022-06-28"}, as_json=True),
        )
        assert json.loads(request.body) == {"grant_type": "refresh_token", "refresh_token": "rt", "more": "1"}
        assert request.headers["content-type"] == JSON
        assert request.headers["notion-version"] == "2022-06-28"

    def test_headers_of_ours_win(self):
        extras = Extras(headers={"Authorization": "Basic other", "Content-Type": "text/plain"})
        request = refresh_request(refresh_token=Secret("rt"), proof=BASIC, extras=extras)
        assert request.headers["authorization"] == "Basic aWQ6cw=="
        assert [name.lower() for name in request.headers].count("content-type") == 1
        assert request.headers["content-type"] == FORM

    def test_an_extra_parameter_may_not_change_ours(self):
        with pytest.raises(InvalidSetting, match="grant_type"):
            refresh_request(
                refresh_token=Secret("rt"), proof=PROOF, extras=Extras(parameters={"grant_type": "password"})
            )
        with pytest.raises(InvalidSetting, match="client_secret"):
            refresh_request(refresh_token=Secret("rt"), proof=PROOF, extras=Extras(parameters={"client_secret": "x"}))

    def test_a_revocation(self):
        request = revocation_request(token=Secret("rt"), hint="refresh_token", proof=BASIC)
        assert dict(parse_qsl(request.body.decode())) == {"token": "rt", "token_type_hint": "refresh_token"}

    def test_a_request_does_not_print(self):
        request = code_request(
            code=Secret("canary-1"), redirect_uri="https://x.test", verifier=Secret("canary-2"), proof=BASIC
        )
        assert "canary" not in repr(request)
        assert "aWQ6cw" not in repr(request)


class TestTokens:
    def test_a_whole_answer(self):
        found = judge(answer(token(refresh_token="rt-1", expires_in=3600, scope="a b", extra={"x": 1})))
        assert found == TokenAnswer(
            access_token=Secret("at-1"),
            refresh_token=Secret("rt-1"),
            token_type="bearer",
            lifetime=3600.0,
            scopes=frozenset({"a", "b"}),
        )

    def test_the_least_answer(self):
        found = judge(answer(token()))
        assert found == TokenAnswer(access_token=Secret("at-1"))

    def test_it_does_not_print(self):
        found = judge(answer(token(access_token="canary-1", refresh_token="canary-2")))
        assert "canary" not in repr(found)

    def test_a_form_where_the_content_type_says_so(self):
        body = b"access_token=gho_1&expires_in=28800&refresh_token=ghr_1&scope=repo%2Cgist&token_type=bearer"
        found = judge(Answer(body, headers={"content-type": FORM}), separators=" ,")
        assert (found.access_token, found.lifetime) == (Secret("gho_1"), 28800.0)
        assert found.scopes == {"repo", "gist"}
        assert judge(Answer(body)).verdict is Verdict.LATER

    @pytest.mark.parametrize(
        ("told", "lifetime"),
        [
            (3600, 3600.0),
            ("3600", 3600.0),
            (3600.0, 3600.0),
            (0.5, 0.5),
            (0, None),
            (-1, None),
            ("-1", None),
            ("0", None),
            (None, None),
            (True, None),
            (False, None),
            ("", None),
            ("an hour", None),
            ("3600s", None),
            ("\u0663\u0660", None),
            ([3600], None),
            ({}, None),
            (1e12, 316_224_000.0),
            ("999999999999999", 316_224_000.0),
            (10**400, 316_224_000.0),
        ],
    )
    def test_a_lifetime_is_seconds_or_unknown_and_never_for_ever(self, told, lifetime):
        assert judge(answer(token(expires_in=told))).lifetime == lifetime

    @pytest.mark.parametrize(
        ("told", "lifetime"),
        [(b"NaN", None), (b"Infinity", 316_224_000.0), (b"-Infinity", None), (b"1e400", 316_224_000.0)],
    )
    def test_a_number_that_is_none_does_not_lose_the_token(self, told, lifetime):
        found = judge(Answer(b'{"access_token": "at", "token_type": "bearer", "expires_in": %s}' % told))
        assert found.lifetime == lifetime

    def test_a_provider_that_does_not_tell_has_a_lifetime_of_its_own(self):
        assert judge(answer(token()), lifetime=7200.0).lifetime == 7200.0
        assert judge(answer(token(expires_in=60)), lifetime=7200.0).lifetime == 60.0

    @pytest.mark.parametrize(
        ("told", "scopes"),
        [
            ("a b", {"a", "b"}),
            ("a,b", {"a", "b"}),
            (" a ,, b ", {"a", "b"}),
            (["a", "b c"], {"a", "b c"}),
            ("", None),
            (" ", None),
            ([], None),
            (None, None),
            (5, None),
            ([1], None),
        ],
    )
    def test_the_granted_scopes(self, told, scopes):
        assert judge(answer(token(scope=told)), separators=" ,").scopes == scopes

    def test_scopes_under_another_name(self):
        assert judge(answer(token(scopes=["a"])), scope_field="scopes").scopes == {"a"}

    def test_a_separator_is_no_pattern(self):
        assert judge(answer(token(scope="a,b+c/d-e")), separators="+-/").scopes == {"a,b", "c", "d", "e"}
        assert judge(answer(token(scope="a]b^c")), separators="^]").scopes == {"a", "b", "c"}
        assert judge(answer(token(scope="a b")), separators="").scopes == {"a b"}

    @pytest.mark.parametrize("kind", ["bearer", "Bearer", "BEARER"])
    def test_bearer_in_any_case(self, kind):
        assert judge(answer(token(token_type=kind))).token_type == "bearer"

    @pytest.mark.parametrize("kind", [None, "", "mac", "DPoP", "user", 1, ["bearer"]])
    def test_another_type_is_not_used(self, kind):
        found = judge(answer(token(token_type=kind)))
        assert found.verdict is Verdict.CONFIGURATION
        assert "expected bearer" in found.text

    def test_a_type_that_is_missing_is_not_used(self):
        found = judge(answer({"access_token": "at"}))
        assert found.verdict is Verdict.CONFIGURATION
        assert judge(answer({"access_token": "at"}), token_types=("bearer", "")).token_type == "bearer"

    def test_what_a_provider_calls_a_bearer_token(self):
        assert judge(answer(token(token_type="user")), token_types=("bearer", "user")).token_type == "user"

    def test_a_token_inside(self):
        inner = {"ok": True, "access_token": "bot", "token_type": "bot", "authed_user": token(scope="a,b")}
        found = judge(answer(inner), paths=(("authed_user",), ()), separators=",")
        assert (found.access_token, found.scopes) == (Secret("at-1"), {"a", "b"})

    def test_a_token_on_top_where_there_is_none_inside(self):
        for inside in ({}, None, "x", {"id": "U1"}, {"access_token": ""}):
            found = judge(answer(token(authed_user=inside)), paths=(("authed_user",), ()))
            assert found.access_token == Secret("at-1")

    @pytest.mark.parametrize("value", [None, "", 5, [], "a b", "a\nb", "a\r\nX: y", "ü", "\x00", "a" * 70_000])
    def test_an_access_token_that_no_header_can_carry(self, value):
        found = judge(answer(token(access_token=value)))
        assert (found.verdict, found.text) == (Verdict.LATER, "an answer without a usable access token")

    def test_whose_account_it_is(self):
        found = judge(answer(token(id_token=ID_TOKEN)))
        assert found.subject == Subject(issuer="https://idp.test", subject="ada", audience=frozenset({"id"}))
        assert found.subject_fault == ""
        inside = {"id_token": ID_TOKEN, "authed_user": token()}
        assert judge(answer(inside), paths=(("authed_user",), ())).subject == found.subject
        assert judge(answer(token(id_token=None))).subject is None

    @pytest.mark.parametrize("id_token", ["canary-odd", 5, [ID_TOKEN], "", False])
    def test_an_id_token_that_cannot_be_read_does_not_lose_the_token(self, id_token):
        found = judge(answer(token(id_token=id_token)))
        assert found.access_token == Secret("at-1")
        assert found.subject is None
        assert found.subject_fault == "it is no signed JSON Web Token in its compact form"

    @pytest.mark.parametrize("value", [None, "", 5, "a\nb"])
    def test_a_refresh_token_that_is_none(self, value):
        assert judge(answer(token(refresh_token=value))).refresh_token is None


class TestRefusals:
    @pytest.mark.requirement("R-11", "T-02")
    @pytest.mark.parametrize(
        ("status", "members", "verdict"),
        [
            # RFC 6749 §5.2
            (400, {"error": "invalid_grant"}, Verdict.FINAL),
            (400, {"error": "invalid_grant", "error_description": "The server is busy"}, Verdict.FINAL),
            (401, {"error": "invalid_client"}, Verdict.CONFIGURATION),
            (400, {"error": "invalid_client"}, Verdict.CONFIGURATION),
            (400, {"error": "unauthorized_client"}, Verdict.CONFIGURATION),
            (400, {"error": "invalid_request"}, Verdict.UNCLEAR),
            (400, {"error": "invalid_scope"}, Verdict.UNCLEAR),
            (400, {"error": "unsupported_grant_type"}, Verdict.UNCLEAR),
            (400, {"error": "server_error", "error_description": "invalid_grant"}, Verdict.UNCLEAR),
            (403, {"error": "Invalid_Grant"}, Verdict.UNCLEAR),
            (401, {"message": "no"}, Verdict.UNCLEAR),
            (404, {}, Verdict.UNCLEAR),
            (400, {"error": {"message": "used", "type": "OAuthException", "code": 100}}, Verdict.UNCLEAR),
            # 200 and yet an error: GitHub, Slack
            (200, {"error": "bad_verification_code"}, Verdict.FINAL),
            (200, {"ok": False, "error": "bad_client_secret"}, Verdict.CONFIGURATION),
            (200, {"error": "invalid_grant", "access_token": "at", "token_type": "bearer"}, Verdict.FINAL),
            (200, {"error": "odd"}, Verdict.UNCLEAR),
            # Reddit, HubSpot
            (400, {"message": "Bad Request", "error": 400}, Verdict.FINAL),
            (400, {"status": "BAD_REFRESH_TOKEN", "message": "missing"}, Verdict.FINAL),
            # Twitch, Strava: no code at all
            (400, {"status": 400, "message": "BAD_REFRESH_TOKEN"}, Verdict.FINAL),
            (400, {"message": "Bad Request", "errors": [{"resource": "BAD_REFRESH_TOKEN"}]}, Verdict.FINAL),
            (400, {"error": "odd", "message": "BAD_REFRESH_TOKEN"}, Verdict.UNCLEAR),
            (400, {"error": "odd", "errors": [{"resource": "BAD_REFRESH_TOKEN"}]}, Verdict.UNCLEAR),
            (400, {"message": "invalid_grant"}, Verdict.UNCLEAR),
            (400, {"errors": ["BAD_REFRESH_TOKEN"], "message": ["BAD_REFRESH_TOKEN"]}, Verdict.UNCLEAR),
        ],
    )
    def test_by_code_and_never_by_description(self, status, members, verdict):
        codes = {
            "bad_verification_code": "invalid_grant",
            "bad_client_secret": "invalid_client",
            "BAD_REFRESH_TOKEN": "invalid_grant",
            "400": "invalid_grant",
        }
        assert judge(answer(members, status), error_codes=codes).verdict is verdict

    @pytest.mark.parametrize("error", [None, "", False, 0])
    def test_an_error_that_is_empty_is_none(self, error):
        assert isinstance(judge(answer(token(error=error))), TokenAnswer)

    @pytest.mark.requirement("T-02")
    @pytest.mark.parametrize("ok", [False, None, 0, 1, "true"])
    def test_a_success_that_is_not_true(self, ok):
        found = judge(answer(token(ok=ok)), success_field="ok")
        assert found.verdict is Verdict.UNCLEAR

    def test_a_success(self):
        assert isinstance(judge(answer(token(ok=True)), success_field="ok"), TokenAnswer)
        assert judge(answer(token()), success_field="ok").verdict is Verdict.UNCLEAR

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_is_not_an_answer(self, status):
        found = judge(answer(token(), status, location="https://evil.test/token"))
        assert found.verdict is Verdict.LATER
        assert str(status) in found.text
        assert "evil" not in found.text

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
    def test_a_server_in_trouble_decides_nothing(self, status):
        found = judge(answer({"error": "invalid_grant"}, status, **{"retry-after": "7"}))
        assert (found.verdict, found.retry_after) == (Verdict.LATER, 7.0)

    def test_a_429_asks_for_time_though_it_does_not_say_how_much(self):
        for header in (None, "soon", "-5", "Sun, 06 Nov 99999999999999999999 08:49:37 GMT"):
            headers = {} if header is None else {"retry-after": header}
            assert judge(answer({}, 429, **headers)).retry_after == 1.0
            assert judge(answer({}, 503, **headers)).retry_after is None

    @pytest.mark.parametrize("skew", [-7200, 0, 7200])
    def test_a_pause_that_is_a_date_is_one_of_the_servers_own_clock(self, skew):
        date, until = (formatdate(NOW + skew + ahead, usegmt=True) for ahead in (0, 60))
        assert judge(answer({}, 503, **{"retry-after": until, "date": date})).retry_after == 60.0

    def test_the_code_is_the_standards_and_does_not_print(self):
        found = judge(answer({"error": "bad_secret"}, 401), error_codes={"bad_secret": "invalid_client"})
        assert found.code == "invalid_client"
        assert "canary" not in repr(
            judge(answer({"error": "canary-1", "error_description": "x"}), secrets=[Secret("canary-1")])
        )

    @pytest.mark.parametrize("status", [200, 400, 401])
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html>sign in to the wi-fi</html>",
            b'{"access_token": "at", "access_token": "evil", "token_type": "bearer"}',
            b'{"access_token": "at", "token_type": "bearer"} trailing',
            b'{"access_token": "at", "token_type": "bea',
            b'\xef\xbb\xbf{"access_token": "at", "token_type": "bearer"}',
            '{"access_token": "at", "token_type": "bearer"}'.encode("utf-16"),
        ],
    )
    def test_an_unreadable_answer_decides_nothing(self, status, body):
        found = judge(Answer(body, status))
        assert found.verdict is Verdict.LATER
        assert "unreadable" in found.text

    def test_what_it_says_is_clean_and_short_and_holds_no_secret(self):
        secret = Secret("canary-client-secret")
        members = {
            "error": "invalid_client\x1b[31m",
            "error_description": "<b>canary-client-secret</b>\r\nSet-Cookie: a=b \u202e" + "x " * 500_000,
        }
        found = judge(answer(members, 401), secrets=[secret])
        assert found.text.startswith("invalid_client: <b>***</b> Set-Cookie: a=b x x")
        assert len(found.text) == 200
        assert found.text.isprintable()
        assert "canary" not in repr(found)

    @pytest.mark.parametrize("path", [(), ("authed_user",)])
    @pytest.mark.parametrize(
        "told",
        [
            {"error": "odd", "error_description": "took Canary-new"},
            {"error": "took Canary-new"},
            {"token_type": "Canary-new"},
            {"token_type": "client-canary"},
        ],
    )
    def test_a_token_that_it_was_about_to_give_is_not_shown(self, path, told):
        members = {"access_token": "Canary-new", "refresh_token": "x"}
        if path:
            members = {path[0]: members | told}
        found = judge(answer(members | told), [Secret("client-canary")], paths=(path,), success_field="")
        if isinstance(found, TokenAnswer):
            pytest.fail("it was refused")
        assert "canary" not in found.text.lower()

    @given(
        st.dictionaries(
            st.sampled_from(["access_token", "token_type", "error", "expires_in", "scope", "refresh_token", "ok"]),
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()),
        ),
        st.integers(200, 599),
    )
    def test_whatever_it_answers_is_a_token_or_a_refusal(self, members, status):
        found = judge(answer(members, status))
        if isinstance(found, TokenAnswer):
            assert 200 <= status < 300
            assert found.access_token.reveal().isascii()
        else:
            assert found.text.isprintable()
            assert len(found.text) <= 200


class TestRevocation:
    def revoked(self, given, **expected):
        return judge_revocation(given, expected=Expected(**expected), now=NOW)

    @pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b'{"error": "x"}'])
    def test_200_says_it_is_dead(self, body):
        assert self.revoked(Answer(body)) is None

    @pytest.mark.parametrize("error", ["invalid_token", "token_revoked"])
    def test_a_token_that_was_dead_is_dead(self, error):
        assert self.revoked(answer({"error": error}, 400)) is None

    @pytest.mark.parametrize(
        "given",
        [
            answer({"error": "unsupported_token_type"}, 400),
            answer({"error": "invalid_client"}, 401),
            Answer(b"", 503),
            Answer(b"", 302),
            Answer(b"<html>", 404),
        ],
    )
    def test_all_else_does_not(self, given):
        assert isinstance(self.revoked(given), Refusal)

    def test_where_success_is_a_field_it_must_be_true(self):
        assert self.revoked(answer({"ok": True, "revoked": True}), success_field="ok") is None
        assert isinstance(self.revoked(answer({"ok": False, "error": "invalid_auth"}), success_field="ok"), Refusal)
        assert isinstance(self.revoked(Answer(b""), success_field="ok"), Refusal)


class TestIncluded:
    @pytest.mark.parametrize(
        ("scopes", "all_of_them"),
        [
            (set(), set()),
            ({"gist"}, {"gist"}),
            ({"repo"}, {"repo", "public_repo", "repo:status"}),
            ({"admin"}, {"admin", "write", "read"}),
            ({"a"}, {"a", "b"}),
            ({"b", "read"}, {"a", "b", "read"}),
        ],
    )
    def test_a_scope_holds_others(self, scopes, all_of_them):
        assert included(scopes, IMPLIES) == all_of_them
