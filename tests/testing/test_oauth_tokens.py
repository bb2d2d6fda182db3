"""The OAuth server that we ship for tests: tokens, as RFC 6749, 7009, 7636, 7662 and 9700 have them."""

import json
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.real.visitor import Answer, call, post
from tests.testing.oauth_client import (
    CALLBACK,
    CLIENTS,
    VERIFIER,
    Clock,
    asked,
    basic,
    connected,
    exchange,
    landed,
    link,
    new_code,
    refresh,
    refused,
)
from valetkey.testing.oauth_server import Client, Dialect, OAuthServer


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def server(clock):
    with OAuthServer(CLIENTS, clock=clock) as running:
        yield running


class TestTokenEndpoint:
    def test_a_wrong_verifier_gets_nothing_and_uses_the_code_up(self, server):
        code = new_code(server)
        assert refused(exchange(server, code, code_verifier="A" * 43)) == (400, "invalid_grant")
        assert refused(exchange(server, code)) == (400, "invalid_grant")
        assert server.issued == []
        assert server.exchanges == 2

    def test_a_verifier_is_needed_when_there_was_a_challenge(self, server):
        fields = {"grant_type": "authorization_code", "code": new_code(server), "redirect_uri": CALLBACK}
        assert refused(asked(server, fields)) == (400, "invalid_grant")

    def test_a_verifier_without_a_challenge_is_a_downgrade(self):
        with OAuthServer(CLIENTS, require_pkce=False) as server:
            callback = landed(server.approve(link(server, without=("code_challenge", "code_challenge_method"))))
            assert refused(exchange(server, callback["code"])) == (400, "invalid_grant")

    def test_a_replayed_code_kills_what_it_brought(self, server):
        code = new_code(server)
        first = json.loads(exchange(server, code).body)
        assert server.alive(first["access_token"])
        assert refused(exchange(server, code)) == (400, "invalid_grant")
        assert not server.alive(first["access_token"])
        assert not server.family_alive(first["refresh_token"])
        assert refused(refresh(server, first["refresh_token"])) == (400, "invalid_grant")

    def test_the_redirect_uri_must_be_that_of_the_request(self, server):
        assert refused(exchange(server, new_code(server), redirect_uri=CALLBACK + "x")) == (
            400,
            "invalid_grant",
        )

    def test_a_code_expires(self, server, clock):
        code = new_code(server)
        clock.time += 60
        assert refused(exchange(server, code)) == (400, "invalid_grant")

    def test_a_code_of_another_client_stays_good_for_its_own(self):
        with OAuthServer({"app": "one", "other": "two"}) as server:
            code = new_code(server)
            thief = exchange(server, code, client_id="other", client_secret="two")
            assert refused(thief) == (400, "invalid_grant")
            assert exchange(server, code).status == 200

    @pytest.mark.parametrize(
        ("fields", "error"),
        [
            ({"grant_type": "password"}, "unsupported_grant_type"),
            ({"grant_type": "authorization_code"}, "invalid_request"),
            ({"grant_type": "refresh_token"}, "invalid_request"),
        ],
    )
    def test_what_it_cannot_do_it_says(self, server, fields, error):
        assert refused(asked(server, fields)) == (400, error)

    def test_a_field_given_twice_is_refused(self, server):
        body = urlencode([("grant_type", "refresh_token"), ("client_id", "app"), ("client_id", "app")]).encode()
        headers = {"content-type": "application/x-www-form-urlencoded"}
        assert refused(call(server.token_url, method="POST", body=body, headers=headers)) == (
            400,
            "invalid_request",
        )


class TestRefresh:
    def test_rotation_brings_a_new_refresh_token_and_ends_the_old(self, server):
        first = connected(server)
        second = json.loads(refresh(server, first["refresh_token"]).body)
        assert second["refresh_token"] != first["refresh_token"]
        assert second["access_token"] != first["access_token"]
        assert refresh(server, second["refresh_token"]).status == 200

    def test_a_refresh_token_used_twice_kills_the_family(self, server):
        first = connected(server)
        second = json.loads(refresh(server, first["refresh_token"]).body)
        assert server.family_alive(second["refresh_token"])
        assert refused(refresh(server, first["refresh_token"])) == (400, "invalid_grant")
        assert not server.family_alive(second["refresh_token"])
        assert refused(refresh(server, second["refresh_token"])) == (400, "invalid_grant")
        assert not server.alive(second["access_token"])

    def test_reuse_may_only_be_refused(self):
        with OAuthServer(CLIENTS, reuse="refuse") as server:
            first = connected(server)
            second = json.loads(refresh(server, first["refresh_token"]).body)
            assert refused(refresh(server, first["refresh_token"])) == (400, "invalid_grant")
            assert server.alive(second["access_token"])

    def test_within_the_grace_a_lost_answer_can_be_asked_for_again(self, clock):
        with OAuthServer(CLIENTS, clock=clock, reuse_grace=30) as server:
            first = connected(server)
            assert refresh(server, first["refresh_token"]).status == 200
            clock.time += 29
            assert refresh(server, first["refresh_token"]).status == 200
            clock.time += 1
            assert refused(refresh(server, first["refresh_token"])) == (400, "invalid_grant")
            assert not server.family_alive(first["refresh_token"])

    def test_without_rotation_the_refresh_token_stays(self):
        with OAuthServer(CLIENTS, rotation=False) as server:
            first = connected(server)
            second = json.loads(refresh(server, first["refresh_token"]).body)
            assert "refresh_token" not in second
            assert refresh(server, first["refresh_token"]).status == 200

    def test_an_unrotated_token_may_be_repeated(self):
        with OAuthServer(CLIENTS, rotation=False, dialect=Dialect(repeats_refresh=True)) as server:
            first = connected(server)
            again = json.loads(refresh(server, first["refresh_token"]).body)
            assert again["refresh_token"] == first["refresh_token"]

    def test_scopes_can_be_narrowed_for_one_token_and_never_widened(self, server):
        first = connected(server)
        assert refused(refresh(server, first["refresh_token"], scope="mail.read admin")) == (
            400,
            "invalid_scope",
        )
        second = json.loads(refresh(server, first["refresh_token"], scope="profile").body)
        assert second["scope"] == "profile"
        assert json.loads(refresh(server, second["refresh_token"]).body)["scope"] == "mail.read profile"

    def test_tokens_expire_by_the_clock(self, clock):
        with OAuthServer(CLIENTS, clock=clock, access_lifetime=100, refresh_lifetime=1000) as server:
            first = connected(server)
            assert first["expires_in"] == 100
            clock.time += 100
            assert not server.alive(first["access_token"])
            assert server.alive(first["refresh_token"])
            clock.time += 900
            assert refused(refresh(server, first["refresh_token"])) == (400, "invalid_grant")

    def test_fifty_at_once_leave_one_winner(self, server):
        first = connected(server)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: refresh(server, first["refresh_token"]).status, range(50)))
        assert answers.count(200) == 1
        assert server.refreshes == 50
        assert not server.family_alive(first["refresh_token"])


class TestClientAuthentication:
    def test_basic_takes_form_encoded_id_and_secret(self, server):
        fields = {"grant_type": "authorization_code", "code": new_code(server), "redirect_uri": CALLBACK}
        # RFC 6749 §2.3.1: both are form-encoded before they are joined.
        header = basic("app", "app+secret+%2B%2F%3A")
        assert post(server.token_url, fields | {"code_verifier": VERIFIER}, header).status == 200

    @pytest.mark.parametrize("secret", ["", "wrong", "app secret +/"])
    def test_a_wrong_secret_is_invalid_client(self, server, secret):
        answer = exchange(server, new_code(server), client_secret=secret)
        assert refused(answer) == (401, "invalid_client")
        assert answer.headers["www-authenticate"].startswith("Basic")

    def test_two_proofs_at_once_are_refused(self, server):
        answer = asked(server, {"grant_type": "refresh_token", "refresh_token": "x"}, basic("app", "app+secret"))
        assert refused(answer) == (400, "invalid_request")

    @pytest.mark.parametrize(("auth", "by_header", "by_body"), [("basic", 200, 401), ("post", 401, 200)])
    def test_a_client_may_be_held_to_one_method(self, auth, by_header, by_body):
        with OAuthServer([Client(id="app", secret="secret", auth=auth)]) as server:
            fields = {"grant_type": "authorization_code", "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
            header = post(server.token_url, fields | {"code": new_code(server)}, basic("app", "secret"))
            assert header.status == by_header
            assert asked(server, fields | {"code": new_code(server)}).status == by_body

    def test_a_public_client_has_no_secret(self):
        with OAuthServer({"app": None}) as server:
            assert exchange(server, new_code(server)).status == 200
            assert refused(exchange(server, new_code(server), client_secret="made up")) == (
                401,
                "invalid_client",
            )


class TestRevocation:
    def revoke(self, server: OAuthServer, token: str, **who: str) -> Answer:
        return post(server.revoke_url, {"client_id": "app", "client_secret": CLIENTS["app"], "token": token} | who)

    def test_a_refresh_token_takes_everything_along(self, server):
        token = connected(server)
        assert self.revoke(server, token["refresh_token"]).status == 200
        assert not server.alive(token["access_token"])
        assert not server.family_alive(token["refresh_token"])
        assert server.revocations == 1

    def test_an_access_token_goes_alone(self, server):
        token = connected(server)
        assert self.revoke(server, token["access_token"]).status == 200
        assert not server.alive(token["access_token"])
        assert refresh(server, token["refresh_token"]).status == 200

    def test_an_unknown_token_is_no_error(self, server):
        assert self.revoke(server, "unknown").status == 200

    def test_a_stranger_cannot_revoke(self):
        with OAuthServer({**CLIENTS, "other": "two"}) as server:
            token = connected(server)
            refusal = self.revoke(server, token["access_token"], client_id="other", client_secret="two")
            assert refused(refusal) == (400, "unauthorized_client")
            assert refused(self.revoke(server, token["access_token"], client_secret="x")) == (
                401,
                "invalid_client",
            )
            assert server.alive(token["access_token"])

    def test_introspection_tells_live_from_dead(self, server, clock):
        token = connected(server)
        who = {"client_id": "app", "client_secret": CLIENTS["app"], "token": token["access_token"]}
        live = json.loads(post(server.introspect_url, who).body)
        assert live["active"] is True
        assert live["exp"] == clock.time + 3600
        assert live["scope"] == "mail.read profile"
        server.revoke_all()
        assert json.loads(post(server.introspect_url, who).body) == {"active": False}


class TestResource:
    def test_no_token_is_challenged_without_an_error(self, server):
        answer = call(server.mail_url)
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="mail"'

    def test_a_dead_token_is_named_so(self, server):
        token = connected(server)["access_token"]
        server.expire_access_tokens()
        answer = call(server.mail_url, headers={"authorization": f"Bearer {token}"})
        assert answer.status == 401
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]

    def test_a_refresh_token_opens_no_mailbox(self, server):
        token = connected(server)["refresh_token"]
        assert call(server.mail_url, headers={"authorization": f"Bearer {token}"}).status == 401

    def test_a_missing_scope_is_named(self):
        with OAuthServer(mail_scope="mail.read") as server:
            token = connected(server, scope="profile")["access_token"]
            answer = call(server.mail_url, headers={"authorization": f"Bearer {token}"})
            assert answer.status == 403
            assert 'scope="mail.read"' in answer.headers["www-authenticate"]

    def test_limit_counts_messages(self, server):
        token = connected(server)["access_token"]
        answer = call(f"{server.mail_url}?limit=1", headers={"authorization": f"Bearer {token}"})
        assert len(json.loads(answer.body)["messages"]) == 1

    def test_routes_of_ones_own_share_the_tokens(self):
        async def channels(request: Request) -> Response:
            judged = here.bearer(request.headers.get("authorization", ""), "chat")
            return judged if isinstance(judged, Response) else JSONResponse({"who": judged.family.subject})

        with OAuthServer(routes=[Route("/api/channels", channels)]) as here:
            token = connected(here, scope="chat")["access_token"]
            url = f"{here.url}/api/channels"
            assert json.loads(call(url, headers={"authorization": f"Bearer {token}"}).body) == {"who": "test-user"}
            assert call(url).status == 401

    def test_metadata_names_what_is_there(self, server):
        told = json.loads(call(server.metadata_url).body)
        assert told["issuer"] == server.url
        assert told["token_endpoint"] == server.token_url
        assert told["code_challenge_methods_supported"] == ["S256"]
        assert told["authorization_response_iss_parameter_supported"] is True
