"""The OAuth server that we ship for tests: authorization, consent, serving."""

import json
import time

import pytest
from starlette.testclient import TestClient

from tests.real.visitor import Visitor, call
from tests.testing.oauth_client import (
    CALLBACK,
    CLIENTS,
    VERIFIER,
    Clock,
    connected,
    exchange,
    landed,
    link,
    new_code,
    refresh,
)
from valetkey.errors import InvalidArguments, InvalidSetting, PortTaken
from valetkey.testing.oauth_server import Client, OAuthServer


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def server(clock):
    with OAuthServer(CLIENTS, clock=clock) as running:
        yield running


class TestAuthorization:
    def test_the_whole_way_from_link_to_mailbox(self, server):
        callback = landed(server.approve(link(server)))
        assert callback["state"] == "st&te=1"
        assert callback["iss"] == server.url
        answer = exchange(server, callback["code"])
        assert answer.headers["cache-control"] == "no-store"
        token = json.loads(answer.body)
        assert token["token_type"] == "Bearer"
        assert token["expires_in"] == 3600
        assert token["scope"] == "mail.read profile"
        mail = call(server.mail_url, headers={"authorization": f"Bearer {token['access_token']}"})
        assert len(json.loads(mail.body)["messages"]) == 3
        assert json.loads(
            call(server.userinfo_url, headers={"authorization": f"Bearer {token['access_token']}"}).body
        ) == {"sub": "test-user", "name": "Test account"}

    def test_a_no_comes_back_as_access_denied(self, server):
        callback = landed(server.deny(link(server)))
        assert callback["error"] == "access_denied"
        assert callback["state"] == "st&te=1"
        assert "code" not in callback

    @pytest.mark.parametrize(
        ("changes", "without", "error"),
        [
            ({}, ("code_challenge",), "invalid_request"),
            ({"code_challenge_method": "plain"}, (), "invalid_request"),
            ({}, ("code_challenge_method",), "invalid_request"),
            ({"code_challenge": "short"}, (), "invalid_request"),
            ({"response_type": "token"}, (), "unsupported_response_type"),
        ],
    )
    def test_a_bad_request_is_sent_back_with_its_error(self, server, changes, without, error):
        callback = landed(server.approve(link(server, without=without, **changes)))
        assert callback["error"] == error
        assert callback["iss"] == server.url

    def test_a_parameter_given_twice_is_refused(self, server):
        assert landed(server.approve(link(server) + "&scope=more"))["error"] == "invalid_request"

    @pytest.mark.parametrize(
        "changes",
        [
            {"client_id": "stranger"},
            {"redirect_uri": "javascript:alert(1)"},
            {"redirect_uri": "http://localhost:8001/callback#here"},
            {"redirect_uri": "http://us:er@localhost/"},
            {"redirect_uri": "http://localhost;x/"},
            {"redirect_uri": ""},
        ],
    )
    def test_nobody_is_sent_to_an_address_that_is_not_trusted(self, server, changes):
        answer = call(link(server, **changes))
        assert answer.status == 400
        assert "location" not in answer.headers
        with pytest.raises(InvalidArguments):
            server.approve(link(server, **changes))

    def test_a_registered_redirect_uri_is_compared_whole(self):
        client = Client(id="app", secret="x" * 20, redirect_uris=(CALLBACK,))
        with OAuthServer([client]) as server:
            assert "code" in landed(server.approve(link(server)))
            assert call(link(server, redirect_uri=CALLBACK + "/")).status == 400

    def test_scopes_may_be_a_closed_set(self):
        with OAuthServer(scopes={"mail.read": "Read your mail"}) as server:
            assert landed(server.approve(link(server)))["error"] == "invalid_scope"
            assert "code" in landed(server.approve(link(server, scope="mail.read")))

    def test_the_person_may_grant_less_than_was_asked(self, server):
        code = landed(server.approve(link(server), scopes=["profile"]))["code"]
        assert json.loads(exchange(server, code).body)["scope"] == "profile"

    def test_iss_can_be_left_out_or_set(self):
        with OAuthServer(iss=False) as server:
            assert "iss" not in landed(server.approve(link(server)))
        with OAuthServer(issuer="https://issuer.test/a") as server:
            assert landed(server.approve(link(server)))["iss"] == "https://issuer.test/a"

    def test_auto_approve_shows_no_page(self):
        with OAuthServer(auto_approve=True) as server:
            answer = call(link(server))
            assert answer.status == 303
            assert exchange(server, landed(answer.headers["location"])["code"]).status == 200

    def test_a_link_of_another_endpoint_is_told_so(self, server):
        with pytest.raises(InvalidArguments, match=r"server\.authorize_url"):
            server.approve(server.token_url)


class TestConsentPage:
    def test_the_form_leads_back_with_a_code_once(self, server):
        visitor = Visitor()
        page = visitor.visit(link(server))
        sent = visitor.submit(page, answer="approve")
        assert exchange(server, landed(sent.url)["code"]).status == 200
        again = visitor.submit(page, answer="approve")
        assert again.answer is not None
        assert again.answer.status == 400
        assert len(server.codes) == 1

    def test_deny_on_the_page(self, server):
        visitor = Visitor()
        assert landed(visitor.submit(visitor.visit(link(server)), answer="deny").url)["error"] == "access_denied"

    def test_the_account_is_the_one_chosen(self):
        with OAuthServer(users={"one": "First", "two": "Second"}) as server:
            visitor = Visitor()
            page = visitor.visit(link(server))
            unknown = visitor.submit(page, answer="approve", user="three")
            assert unknown.answer is not None
            assert unknown.answer.status == 400
            code = landed(visitor.submit(page, answer="approve", user="two").url)["code"]
            token = json.loads(exchange(server, code).body)["access_token"]
            seen = call(server.userinfo_url, headers={"authorization": f"Bearer {token}"})
            assert json.loads(seen.body)["sub"] == "two"

    def test_an_answer_from_elsewhere_is_refused(self, server):
        visitor, stranger = Visitor(), Visitor()
        page = visitor.visit(link(server))
        stranger.visit(link(server))
        for who, answers in ((stranger, {}), (visitor, {"csrf": "guess"})):
            refusal = who.submit(page, answer="approve", **answers)
            assert refusal.answer is not None
            assert refusal.answer.status == 403
        assert server.codes == []
        assert "code" in landed(visitor.submit(page, answer="approve").url)

    def test_the_page_is_escaped_and_locked_down(self):
        client = Client(id="app", secret="x" * 20, title="<script>alert(1)</script>")
        with OAuthServer([client]) as server:
            page = call(link(server, scope='"><img src=x>'))
        assert "<script>" not in page.text
        assert "<img" not in page.text
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "form-action 'self' http://localhost:8001" in policy
        assert page.headers["cache-control"] == "no-store"
        assert "httponly" in page.headers["set-cookie"].lower()


class TestServing:
    def test_it_is_up_in_half_a_second(self):
        server = OAuthServer()
        began = time.perf_counter()
        with server:
            took = time.perf_counter() - began
            assert call(server.metadata_url).status == 200
        assert took < 0.5

    def test_it_stops_and_comes_back_where_it_was(self):
        server = OAuthServer(CLIENTS)
        with server:
            token, url = connected(server)["refresh_token"], server.url
        with pytest.raises(ConnectionRefusedError):
            call(f"{url}/token")
        with server:
            assert server.url == url
            assert refresh(server, token).status == 200

    async def test_it_serves_inside_a_running_loop(self):
        async with OAuthServer(CLIENTS) as server:
            assert connected(server)["access_token"] in server.issued

    def test_the_bare_app_needs_no_socket(self):
        server = OAuthServer(CLIENTS, auto_approve=True)
        client = TestClient(server.app)
        sent = client.get(link(server), follow_redirects=False)
        code = landed(sent.headers["location"])["code"]
        fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
        who = {"client_id": "app", "client_secret": CLIENTS["app"], "code_verifier": VERIFIER}
        assert client.post("/token", data=fields | who).json()["access_token"] in server.issued

    def test_a_taken_port_is_named(self, server):
        with pytest.raises(PortTaken, match=str(server.port)):
            OAuthServer(port=server.port).start()

    @pytest.mark.parametrize("host", ["::", "192.0.2.1", "example.org"])
    def test_it_stays_on_loopback(self, host):
        with pytest.raises(InvalidSetting):
            OAuthServer(host=host)

    def test_a_server_without_clients_is_refused(self):
        with pytest.raises(InvalidSetting):
            OAuthServer({})

    def test_what_arrived_is_recorded_and_does_not_print(self, server):
        token = connected(server)
        seen = server.requests[-1]
        assert (seen.method, seen.path) == ("POST", "/token")
        assert seen.form["code_verifier"] == VERIFIER
        assert seen.form["code"] == server.codes[0]
        assert seen.headers["content-type"] == "application/x-www-form-urlencoded"
        assert server.issued == [token["access_token"], token["refresh_token"]]
        for secret in (*server.issued, *server.codes, CLIENTS["app"]):
            assert secret not in repr(seen)
            assert secret not in repr(server.client)

    def test_tokens_look_random_and_can_be_drawn_by_the_test(self, server):
        connected(server)
        connected(server)
        assert len(set(server.issued)) == 4
        assert all(len(value) >= 43 for value in server.issued)

        class Counting:
            drawn = 0

            def token(self, size: int = 32) -> str:
                self.drawn += 1
                return f"drawn-{self.drawn}"

        with OAuthServer(CLIENTS, entropy=Counting()) as counted:
            assert new_code(counted).startswith("drawn-")

    def test_a_token_it_never_issued_has_no_family(self, server):
        with pytest.raises(InvalidArguments):
            server.family_alive("made up")
