"""The authorization URL, and what a callback means: RFC 6749 §4.1, 7636, 9207, and the cases O-06 to O-23."""

from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valetkey.errors import AuthRefused, InvalidAnswer, InvalidSetting
from valetkey.protocol.authorize import authorization_url, challenge_of, endpoint_fault, judge_callback

# RFC 7636, Appendix B.
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
ISSUER = "https://as.test"


def url(endpoint="https://as.test/authorize", **changes):
    given: dict[str, Any] = {
        "operator": False,
        "client_id": "client 1",
        "redirect_uri": "https://localhost:8001/proxy/auth/as/oauth2/callback",
        "state": "st&te=1",
        "verifier": VERIFIER,
        "scopes": frozenset({"read", "write"}),
    }
    return authorization_url(endpoint, **(given | changes))


def query(link):
    return dict(parse_qsl(urlsplit(link).query, keep_blank_values=True, strict_parsing=True))


class TestLink:
    def test_it_asks_for_a_code_with_pkce(self):
        assert query(url()) == {
            "response_type": "code",
            "client_id": "client 1",
            "redirect_uri": "https://localhost:8001/proxy/auth/as/oauth2/callback",
            "state": "st&te=1",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            "scope": "read write",
        }

    def test_the_challenge_is_that_of_the_standard(self):
        assert challenge_of(VERIFIER) == CHALLENGE

    def test_the_verifier_is_not_in_it(self):
        assert VERIFIER not in url()

    def test_no_challenge_only_where_the_provider_refuses_one(self):
        assert not {"code_challenge", "code_challenge_method"} & set(query(url(verifier=None)))

    def test_the_same_question_is_the_same_link(self):
        first = url(scopes=frozenset({"c", "a", "b"}))
        assert first == url(scopes=frozenset({"b", "c", "a"}))
        assert query(first)["scope"] == "a b c"

    @pytest.mark.parametrize(
        ("parameter", "separator", "expected"),
        [("user_scope", ",", {"user_scope": "read,write"}), ("scope", " ", {"scope": "read write"}), ("", " ", {})],
    )
    def test_scopes_in_the_providers_way(self, parameter, separator, expected):
        sent = query(url(scope_parameter=parameter, scope_separator=separator))
        assert {name: sent[name] for name in sent if "scope" in name or not name} == expected

    def test_without_scopes_no_parameter(self):
        assert "scope" not in query(url(scopes=frozenset()))

    def test_what_the_endpoint_has_already_stays_and_comes_once(self):
        link = url("https://as.test/authorize?tenant=a%2Fb&prompt=login&empty=", extra={"prompt": "consent"})
        assert link.startswith("https://as.test/authorize?tenant=a%2Fb&prompt=login&empty=&")
        assert parse_qs(urlsplit(link).query)["prompt"] == ["login"]
        assert query(link)["state"] == "st&te=1"

    def test_extra_parameters(self):
        sent = query(url(extra={"access_type": "offline", "prompt": "consent"}))
        assert sent["access_type"] == "offline"
        assert sent["prompt"] == "consent"

    def test_an_extra_one_may_repeat_the_standards_but_not_change_it(self):
        assert parse_qs(urlsplit(url(extra={"response_type": "code"})).query)["response_type"] == ["code"]
        with pytest.raises(InvalidSetting, match="response_type"):
            url(extra={"response_type": "token"})

    @pytest.mark.parametrize("name", ["state", "redirect_uri", "client_id", "code_challenge_method"])
    def test_an_endpoint_may_not_bring_our_parameters(self, name):
        with pytest.raises(InvalidSetting, match=name):
            url(f"https://as.test/authorize?{name}=plain")

    @given(
        state=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
        scopes=st.frozensets(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)),
    )
    def test_any_value_arrives_as_it_was_given(self, state, scopes):
        sent = query(url(state=state, scopes=scopes))
        assert sent["state"] == state
        assert sent.get("scope", "") == " ".join(sorted(scopes))


class TestEndpoints:
    @pytest.mark.parametrize(
        "endpoint",
        [
            "javascript:alert(1)",
            "file:///etc/passwd",
            "data:text/html,x",
            "vbscript:x",
            "ftp://as.test/authorize",
            "http://as.test/authorize",
            "http://127.0.0.1.evil.test/authorize",
            "http://127.1/authorize",
            "-https://as.test/authorize",
            "--help",
            "$(calc)",
            "https://as.test/$(calc)",
            "https://as.test/`calc`",
            "https://as.test/a b",
            " https://as.test/authorize",
            "https://as.test/authorize\n",
            "https://as.test/authorize\r\nX: y",
            "https://as.test\\@evil.test/",
            "https://as.test/{domain}",
            "https://as.test/ü",
            "https://as.test/authorize#part",
            "https://user@as.test/authorize",
            "https://as%2etest/authorize",
            "https://as.test:99999/authorize",
            "https://as.test:0/authorize",
            "https://[::1/authorize",
            "https:///authorize",
            "//as.test/authorize",
            "",
        ],
    )
    @pytest.mark.parametrize("operator", [True, False])
    def test_a_hostile_one_is_refused(self, endpoint, operator):
        with pytest.raises(InvalidSetting, match="endpoint") as refused:
            url(endpoint, operator=operator)
        assert not endpoint or endpoint not in str(refused.value)

    @pytest.mark.parametrize(
        "endpoint",
        ["http://localhost:9000/a", "http://127.0.0.1/a", "http://[::1]:80/a", "http://as.localhost/a"],
    )
    def test_plain_http_on_loopback_is_for_the_operator(self, endpoint):
        assert url(endpoint, operator=True).startswith(endpoint)
        with pytest.raises(InvalidSetting):
            url(endpoint, operator=False)

    def test_a_good_one_has_no_fault(self):
        assert endpoint_fault("https://as.test:8443/oauth/v2/authorize?x=~a(b)", operator=False) is None


def judged(*parameters, issuer=ISSUER, promised=False):
    return judge_callback(parameters, issuer=issuer, iss_promised=promised)


class TestCallback:
    def test_a_code(self):
        assert judged(("state", "s"), ("code", "c0de/+ü")) == "c0de/+ü"

    @pytest.mark.parametrize(
        ("promised", "iss", "taken"),
        [
            (True, ISSUER, True),
            (True, None, False),
            (True, "https://evil.test", False),
            (False, "https://evil.test", False),
            (False, ISSUER, True),
            (False, None, True),
        ],
    )
    @pytest.mark.parametrize("kind", ["code", "error"])
    def test_the_rows_of_rfc_9207(self, promised, iss, taken, kind):
        parameters = [(kind, "x"), *([("iss", iss)] if iss else [])]
        if not taken:
            with pytest.raises(InvalidAnswer, match="does not come from the provider"):
                judged(*parameters, promised=promised)
        elif kind == "error":
            with pytest.raises(AuthRefused):
                judged(*parameters, promised=promised)
        else:
            assert judged(*parameters, promised=promised) == "x"

    @pytest.mark.parametrize(
        "iss",
        ["https://as.test/", "https://as.test:443", "HTTPS://AS.TEST", "https://as%2Etest", " https://as.test", ""],
    )
    @pytest.mark.parametrize("promised", [True, False])
    def test_an_issuer_is_compared_as_it_stands(self, iss, promised):
        with pytest.raises(InvalidAnswer):
            judged(("code", "c"), ("iss", iss), promised=promised)

    def test_an_issuer_that_we_do_not_know_cannot_be_compared(self):
        assert judged(("code", "c"), ("iss", "https://as.test"), issuer="") == "c"
        with pytest.raises(InvalidAnswer):
            judged(("code", "c"), ("iss", "https://as.test"), issuer="", promised=True)

    def test_an_error_of_another_issuer_is_not_shown(self):
        with pytest.raises(InvalidAnswer) as refused:
            judged(("error", "evil_error"), ("error_description", "call 555"), ("iss", "https://evil.test"))
        assert not any(text in str(refused.value) for text in ("evil", "555"))

    @pytest.mark.parametrize("name", ["state", "code", "iss", "error"])
    @pytest.mark.parametrize("second", ["a", "b", ""])
    def test_a_parameter_given_twice(self, name, second):
        with pytest.raises(InvalidAnswer, match="twice"):
            judged(("code", "c"), (name, "a"), (name, second))

    def test_other_parameters_may_come_twice(self):
        assert judged(("code", "c"), ("utm", "1"), ("utm", "2")) == "c"

    @pytest.mark.parametrize("name", ["access_token", "id_token", "refresh_token"])
    def test_a_token_in_the_callback(self, name):
        with pytest.raises(InvalidAnswer, match="token"):
            judged(("code", "c"), (name, "canary-9f2"))

    @pytest.mark.parametrize(
        "parameters",
        [(), (("code", ""),), (("state", "s"),), (("code", "c"), ("error", "e")), (("code", "c" * 9000),)],
        ids=["nothing", "empty", "neither", "both", "huge"],
    )
    def test_neither_or_both(self, parameters):
        with pytest.raises(InvalidAnswer):
            judged(*parameters)

    def test_the_person_said_no(self):
        with pytest.raises(AuthRefused, match="denied") as refused:
            judged(("error", "access_denied"), ("error_description", "<b>no</b>"))
        assert "<b>" not in str(refused.value)

    def test_another_error_is_told_in_one_clean_line(self):
        description = "\x1b[31mred\x1b[0m\r\nSet-Cookie: x\x00 \u202eesrever <script>" + "x " * 5000
        with pytest.raises(AuthRefused) as refused:
            judged(("error", "invalid_scope"), ("error_description", description))
        text = str(refused.value)
        assert text.startswith("The provider refused: invalid_scope: red Set-Cookie: x esrever <script>")
        assert text.isprintable()
        assert len(text) <= len("The provider refused: ") + 200

    @given(st.lists(st.tuples(st.sampled_from(["code", "error", "iss", "state", "error_description"]), st.text())))
    def test_whatever_comes_is_a_code_or_an_error_of_ours(self, parameters):
        try:
            told = judged(*parameters)
        except (AuthRefused, InvalidAnswer) as error:
            told = str(error) if str(error).isprintable() else ""
        assert told
        assert len(told) < 300
