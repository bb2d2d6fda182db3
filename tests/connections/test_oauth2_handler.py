"""The OAuth2 handler: begin, answer, finish, refresh, revoke; over a wire by hand."""

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.connections.kit import world
from tests.oauth.fakes import REVOKE_URL, SECRET, TOKEN_URL, Dice, Settings, Wire, answer, provider, tokens
from valetkey.connections.handler import Flow
from valetkey.connections.handlers.oauth2 import OAuth2Handler
from valetkey.errors import (
    AuthRefused,
    InvalidAnswer,
    InvalidSetting,
    MissingSetting,
    ProviderUnavailable,
    RefreshFailed,
)
from valetkey.model.caller import Owner
from valetkey.model.connections import Credential, Subject
from valetkey.ports.world import Response
from valetkey.protocol.authorize import challenge_of
from valetkey.providers.base import Endpoint
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock

NOW = 1_750_000_000.0
# {} and {"iss": "https://idp.test", "sub": "ada", "aud": "id-1"}, coded as RFC 7515 §2 says; ANOTHER has the sub "eve".
ID_TOKEN = "e30.eyJpc3MiOiJodHRwczovL2lkcC50ZXN0Iiwic3ViIjoiYWRhIiwiYXVkIjoiaWQtMSJ9.c2ln"
ANOTHER = "e30.eyJpc3MiOiJodHRwczovL2lkcC50ZXN0Iiwic3ViIjoiZXZlIiwiYXVkIjoiaWQtMSJ9.c2ln"
OWNER = Owner(workspace="w", issuer="host", subject="default")


def flow(*scopes, **changes):
    given: dict[str, Any] = {
        "state": "state-1",
        "owner": OWNER,
        "profile": "default",
        "scopes": frozenset(scopes),
        "redirect_uri": "https://localhost:8001/proxy/auth/example/oauth2/callback",
        "pages": "https://localhost:8001/proxy",
    }
    return Flow(**(given | changes))


def handler(wire=None, settings=None, *, clock=None, clients=None, **dialect):
    named = provider(**dialect)
    return OAuth2Handler(
        provider=named,
        entry=named.handlers[0],
        world=world(
            clients or (settings or Settings()).clients, wire or Wire(), Dice(), clock or ManualClock(start=NOW)
        ),
    )


def query(url):
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))


async def connect(wire, asked, **options):
    """The whole way: begin, the callback's code, finish."""
    made = handler(wire, **options)
    begun = await made.begin(asked)
    kept = made.judge(begun.private, [("state", asked.state), ("code", "code-1")])
    return await made.finish(asked, begun.private, kept)


CREDENTIAL = Credential(access_token=Secret("at-0"), refresh_token=Secret("rt-0"))


class TestBegin:
    async def test_the_link_leads_to_the_providers_page(self):
        begun = await handler().begin(flow("write", "read"))
        assert begun.url.startswith("https://as.test/authorize?")
        sent = query(begun.url)
        assert sent["client_id"] == "id-1"
        assert sent["state"] == "state-1"
        assert sent["scope"] == "read write"
        assert sent["redirect_uri"] == "https://localhost:8001/proxy/auth/example/oauth2/callback"
        assert sent["code_challenge_method"] == "S256"
        assert sent["code_challenge"] == challenge_of(begun.private["verifier"])
        assert not {"client_secret", "code_verifier"} & set(sent)

    async def test_the_verifier_is_fresh_and_long_and_in_no_repr(self):
        made = handler()
        verifiers = {(await made.begin(flow())).private["verifier"] for _ in range(50)}
        assert len(verifiers) == 50
        for verifier in verifiers:
            assert 43 <= len(verifier) <= 128
            assert set(verifier) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
        begun = await made.begin(flow())
        assert begun.private["verifier"] not in repr(begun)

    async def test_without_a_client_id_the_setting_is_named(self):
        with pytest.raises(MissingSetting, match=r"auth\.example\.client_id"):
            await handler(settings=Settings(client_id="")).begin(flow())

    async def test_endpoints_of_the_operator(self):
        settings = Settings(authorize_url="http://localhost:9000/a?x=1", token_url="http://localhost:9000/t")
        begun = await handler(settings=settings).begin(flow())
        assert begun.url.startswith("http://localhost:9000/a?x=1&response_type=code")

    async def test_scopes_without_which_there_is_no_refresh_token(self):
        made = handler(refresh_scopes=frozenset({"offline_access"}))
        assert query((await made.begin(flow("read"))).url)["scope"] == "offline_access read"
        assert "scope" not in query((await made.begin(flow())).url)

    async def test_a_provider_that_refuses_pkce(self):
        wire = Wire(tokens())
        made = handler(wire, pkce=False)
        begun = await made.begin(flow())
        assert "code_challenge" not in query(begun.url)
        await made.finish(flow(), begun.private, {"code": "code-1"})
        assert "code_verifier" not in wire.forms()[0]

    def test_recommended_scopes_unless_settings_say_no(self):
        settings = Settings()
        made = handler(settings=settings, recommended=frozenset({"basic"}))
        assert made.recommended_scopes == {"basic"}
        settings.set("example", client_id="id-1", use_recommended_scope=False)
        assert made.recommended_scopes == frozenset()

    async def test_more_scopes_on_the_same_state_and_verifier(self):
        made = handler()
        first = await made.begin(flow("read"))
        second = await made.reopen(flow("read", "write"), first.private)
        assert second is not None
        old, new = query(first.url), query(second.url)
        assert {name for name in old if old[name] != new[name]} == {"scope"}
        assert new["scope"] == "read write"
        assert second.private["verifier"] == first.private["verifier"]

    async def test_a_flow_of_other_settings_is_begun_anew(self):
        settings = Settings()
        made = handler(settings=settings)
        first = await made.begin(flow("read"))
        settings.set("example", client_id="id-1", token_url="http://localhost:9000/t")
        assert await made.reopen(flow("read", "write"), first.private) is None


class TestJudge:
    async def test_the_code_is_kept(self):
        made = handler()
        begun = await made.begin(flow())
        assert made.judge(begun.private, [("state", "state-1"), ("code", "c")]) == {"code": "c"}

    @pytest.mark.parametrize(
        ("promised", "parameters", "error"),
        [
            (True, [("code", "c")], InvalidAnswer),
            (True, [("code", "c"), ("iss", "https://evil.test")], InvalidAnswer),
            (False, [("code", "c"), ("iss", "https://evil.test")], InvalidAnswer),
            (False, [("error", "access_denied")], AuthRefused),
            (False, [("error", "server_error")], AuthRefused),
            (False, [("code", "c"), ("code", "d")], InvalidAnswer),
        ],
    )
    async def test_what_does_not_fit_is_refused(self, promised, parameters, error):
        made = handler(issuer="https://as.test", iss_in_callback=promised)
        begun = await made.begin(flow())
        with pytest.raises(error):
            made.judge(begun.private, parameters)

    async def test_the_issuer_is_the_one_of_the_beginning(self):
        begun = await handler(issuer="https://as.test", iss_in_callback=True).begin(flow())
        later = handler(issuer="https://other.test", iss_in_callback=True)
        assert later.judge(begun.private, [("code", "c"), ("iss", "https://as.test")]) == {"code": "c"}
        with pytest.raises(InvalidAnswer):
            later.judge(begun.private, [("code", "c"), ("iss", "https://other.test")])


class TestFinish:
    async def test_a_code_becomes_a_credential(self):
        wire = Wire(tokens(refresh_token="rt-1", scope="read", expires_in=3600))
        grant = await connect(wire, flow("read"))
        assert grant.credential == Credential(
            access_token=Secret("at-1"), refresh_token=Secret("rt-1"), client_id="id-1"
        )
        assert grant.scopes == {"read"}
        assert grant.expires_at == NOW + 3600
        (sent,) = wire.forms()
        assert sent["code"] == "code-1"
        assert sent["redirect_uri"] == "https://localhost:8001/proxy/auth/example/oauth2/callback"
        assert len(sent["code_verifier"]) == 43

    async def test_the_challenge_of_the_link_is_that_of_the_verifier_sent(self):
        wire = Wire(tokens())
        made = handler(wire)
        begun = await made.begin(flow())
        await made.finish(flow(), begun.private, {"code": "c"})
        assert challenge_of(wire.forms()[0]["code_verifier"]) == query(begun.url)["code_challenge"]

    async def test_the_life_counts_from_the_answer(self):
        clock = ManualClock(start=NOW)

        def slow(request):
            clock.advance(9)
            return tokens(expires_in=100)

        grant = await connect(Wire(slow), flow(), clock=clock)
        assert grant.expires_at == NOW + 109

    async def test_an_unknown_life_has_no_end(self):
        assert (await connect(Wire(tokens(expires_in=None)), flow())).expires_at is None

    async def test_scopes_that_the_provider_does_not_tell_are_left_to_the_asker(self):
        assert (await connect(Wire(tokens()), flow("read"))).scopes is None

    async def test_a_refresh_scope_that_was_asked_for_is_not_too_much(self):
        wire = Wire(tokens(scope="read offline_access"))
        grant = await connect(wire, flow("read"), refresh_scopes=frozenset({"offline_access"}))
        assert grant.scopes == {"read", "offline_access"}

    @pytest.mark.parametrize(
        "changed",
        [
            {"client_id": "id-1", "token_url": "http://localhost:9000/t"},
            {"client_id": "id-2"},
        ],
    )
    async def test_settings_that_changed_meanwhile_get_neither_code_nor_secret(self, changed):
        settings, wire = Settings(), Wire()
        made = handler(wire, settings)
        begun = await made.begin(flow())
        settings.set("example", client_secret=SECRET, **changed)
        with pytest.raises(AuthRefused, match="changed while the sign-in was open"):
            await made.finish(flow(), begun.private, {"code": "c"})
        assert wire.requests == []

    async def test_a_secret_that_was_rotated_meanwhile_is_used(self):
        settings, wire = Settings(), Wire(tokens())
        made = handler(wire, settings)
        begun = await made.begin(flow())
        settings.set("example", client_id="id-1", client_secret=Secret("new"))
        await made.finish(flow(), begun.private, {"code": "c"})
        assert wire.forms()[0]["client_secret"] == "new"

    @pytest.mark.requirement("R-20")
    async def test_another_process_finishes_what_one_began(self):
        begun = await handler().begin(flow("read"))
        wire = Wire(tokens())
        await handler(wire).finish(flow("read"), dict(begun.private), {"code": "c"})
        assert wire.forms()[0]["code_verifier"] == begun.private["verifier"]

    @pytest.mark.parametrize(
        ("given", "error"),
        [
            (answer({"error": "invalid_grant"}, 400), AuthRefused),
            (answer({"error": "invalid_client"}, 401), InvalidSetting),
            (Response(status=500), ProviderUnavailable),
            (Response(status=200, body=b"<html>"), ProviderUnavailable),
        ],
    )
    async def test_a_code_is_sent_once(self, given, error):
        wire = Wire(given)
        with pytest.raises(error):
            await connect(wire, flow())
        assert len(wire.requests) == 1


class TestRefresh:
    async def test_a_new_refresh_token_takes_the_place_of_the_old(self):
        wire = Wire(tokens(access_token="at-2", refresh_token="rt-2", scope="read"))
        grant = await handler(wire).refresh(CREDENTIAL, frozenset({"read"}))
        assert grant.credential == Credential(access_token=Secret("at-2"), refresh_token=Secret("rt-2"))
        assert grant.scopes == {"read"}
        assert grant.expires_at == NOW + 3600
        assert wire.forms()[0]["refresh_token"] == "rt-0"

    async def test_whose_account_it_is_stays_with_the_credential(self):
        ada = Subject(issuer="https://idp.test", subject="ada", audience=frozenset({"id-1"}))
        wire = Wire(
            tokens(id_token=ID_TOKEN), tokens(access_token="at-2"), tokens(id_token=ANOTHER), Response(status=200)
        )
        held = (await connect(wire, flow())).credential
        assert held.subject == ada
        renewed = (await handler(wire).refresh(replace(held, refresh_token=Secret("rt")), frozenset())).credential
        assert (renewed.subject, renewed.access_token) == (ada, Secret("at-2"))
        with pytest.raises(RefreshFailed, match="another account"):
            await handler(wire).refresh(renewed, frozenset())

    async def test_whose_account_it_is_may_be_told_later(self):
        grant = await handler(Wire(tokens(id_token=ID_TOKEN))).refresh(CREDENTIAL, frozenset())
        assert grant.credential.subject is not None

    async def test_the_secret_that_was_taken_is_remembered_by_whatever_settings_make(self):
        settings = Settings(previous_client_secret=Secret("old"))
        wire = Wire(answer({"error": "invalid_client"}, 401), tokens(), tokens())
        clients = settings.clients
        for _ in range(2):
            await handler(wire, clients=clients).refresh(CREDENTIAL, frozenset())
        assert [form["client_secret"] for form in wire.forms()] == [SECRET.reveal(), "old", "old"]

    async def test_without_a_new_one_the_old_stays(self):
        grant = await handler(Wire(tokens(access_token="at-2"))).refresh(CREDENTIAL, frozenset({"read"}))
        assert grant.credential.refresh_token == Secret("rt-0")
        assert grant.scopes is None

    async def test_without_any_the_person_has_to_sign_in_again(self):
        wire = Wire()
        with pytest.raises(RefreshFailed) as failed:
            await handler(wire).refresh(Credential(access_token=Secret("at")), frozenset())
        assert str(failed.value).startswith("Failed to refresh the token. Please re-authenticate.")
        assert wire.requests == []

    async def test_a_dead_one_fails_as_programs_know_it(self):
        with pytest.raises(RefreshFailed) as failed:
            await handler(Wire(answer({"error": "invalid_grant"}, 400))).refresh(CREDENTIAL, frozenset())
        assert str(failed.value).startswith("Failed to refresh the token. Please re-authenticate.")

    async def test_no_error_shows_what_it_held(self):
        held = Credential(access_token=Secret("at-canary"), refresh_token=Secret("rt-canary"))
        wire = Wire(answer({"error": "invalid_grant", "error_description": "rt-canary at-canary"}, 400))
        with pytest.raises(RefreshFailed) as failed:
            await handler(wire).refresh(held, frozenset())
        assert "canary" not in str(failed.value)

    @pytest.mark.parametrize("code", ["invalid_client", "unauthorized_client"])
    async def test_our_own_fault_is_not_the_persons(self, code):
        with pytest.raises(InvalidSetting):
            await handler(Wire(answer({"error": code}, 401))).refresh(CREDENTIAL, frozenset())

    async def test_the_settings_of_now_are_used(self):
        settings, wire = Settings(), Wire(tokens())
        made = handler(wire, settings)
        settings.set("example", client_id="id-1", token_url="http://localhost:9000/t")
        await made.refresh(CREDENTIAL, frozenset())
        assert wire.requests[0].url == "http://localhost:9000/t"


class TestRevoke:
    async def test_both_tokens_the_refresh_token_first(self):
        wire = Wire(Response(status=200), Response(status=200))
        assert await handler(wire).revoke(CREDENTIAL) is True
        assert [request.url for request in wire.requests] == [REVOKE_URL, REVOKE_URL]
        assert [form["token"] for form in wire.forms()] == ["rt-0", "at-0"]
        assert [form["token_type_hint"] for form in wire.forms()] == ["refresh_token", "access_token"]

    async def test_a_provider_without_such_an_endpoint(self):
        assert await handler(revoke=None).revoke(CREDENTIAL) is False

    async def test_a_failure_is_told(self):
        with pytest.raises(ProviderUnavailable):
            await handler(Wire(Response(status=503))).revoke(CREDENTIAL)

    async def test_a_token_of_another_server_is_not_sent_to_the_catalogues(self):
        wire = Wire()
        made = handler(wire, Settings(token_url="http://localhost:9000/t"))
        assert await made.revoke(CREDENTIAL) is False
        assert wire.requests == []


class TestVariables:
    def test_the_catalogues(self):
        made = handler()
        assert dict(made.variables(CREDENTIAL)) == {"EXAMPLE_TOKEN": Secret("at-0")}
        assert made.variable_names() == {"EXAMPLE_TOKEN"}

    def test_what_it_is(self):
        made = handler()
        assert (made.name, made.provider.name) == ("example-oauth2", "example")
        assert (made.scoped, made.default, made.interactive, made.at_home) == (True, True, True, True)

    def test_its_tokens_may_be_sent_to_the_servers_of_settings_too(self):
        assert handler().origins == {"https://api.test"}
        elsewhere = Settings(token_url="http://localhost:9000/t")
        assert handler(settings=elsewhere).origins == {"https://api.test", "http://localhost:9000"}
        assert handler(settings=Settings(token_url="http://as.test/t")).origins == {"https://api.test"}

    async def test_a_provider_whose_addresses_are_the_operators(self):
        dialect = {"authorize": Endpoint("{domain_url}/a"), "token": Endpoint("{domain_url}/t"), "revoke": None}
        with pytest.raises(MissingSetting, match="domain_url"):
            await handler(**dialect).begin(flow())
        settings = Settings(values={"domain_url": "https://acme.test"})
        begun = await handler(settings=settings, **dialect).begin(flow())
        assert begun.url.startswith("https://acme.test/a?")
        assert begun.private["token_url"] == "https://acme.test/t"


async def test_the_token_endpoint_is_that_of_the_entry():
    wire = Wire(tokens())
    await connect(wire, flow())
    assert wire.requests[0].url == TOKEN_URL
