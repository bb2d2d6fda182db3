"""The OAuth server that we ship for tests: the dialects, as the providers' own pages show them."""

import json
from collections.abc import Mapping
from urllib.parse import parse_qs

from tests.real.visitor import Answer, call, post
from tests.testing.oauth_client import (
    CALLBACK,
    CLIENTS,
    VERIFIER,
    asked,
    basic,
    connected,
    exchange,
    new_code,
    refresh,
    refused,
)
from valetkey.testing.oauth_server import GITHUB, GOOGLE, NOTION, REDDIT, SLACK, Dialect, OAuthServer


class TestDialects:
    """What the providers' own pages show; see the docstrings of the dialects for which."""

    def test_slack_puts_the_token_under_authed_user_and_errors_into_200(self):
        with OAuthServer(CLIENTS, dialect=SLACK) as server:
            code = new_code(server, user_scope="channels:read,chat:write", scope="")
            answer = json.loads(exchange(server, code).body)
            assert answer["ok"] is True
            user = answer["authed_user"]
            assert user["id"] == "test-user"
            assert user["scope"] == "channels:read,chat:write"
            assert user["access_token"].startswith("xoxe.xoxp-")
            assert "access_token" not in answer
            refreshed = json.loads(refresh(server, user["refresh_token"]).body)
            assert refreshed["access_token"] != user["access_token"]
            bad = exchange(server, "no such code")
            assert bad.status == 200
            assert json.loads(bad.body)["ok"] is False
            assert json.loads(bad.body)["error"] == "invalid_code"
            assert json.loads(refresh(server, "nothing").body)["error"] == "invalid_refresh_token"

    def test_github_answers_in_a_form_unless_asked_for_json(self):
        with OAuthServer(CLIENTS, dialect=GITHUB) as server:
            answer = exchange(server, new_code(server, scope="repo,gist"))
            assert answer.type == "application/x-www-form-urlencoded"
            fields = {name: values[0] for name, values in parse_qs(answer.text).items()}
            assert fields["scope"] == "repo,gist"
            assert fields["token_type"] == "bearer"
            assert server.alive(fields["access_token"])
            bad = asked(server, {"code": "x", "redirect_uri": CALLBACK}, {"accept": "application/json"})
            assert refused(bad) == (200, "bad_verification_code")
            wrong = asked(server, {"code": "x", "client_secret": "y"}, {"accept": "application/json"})
            assert refused(wrong) == (200, "incorrect_client_credentials")

    def test_notion_wants_json_and_basic(self):
        with OAuthServer({"app": "secret"}, dialect=NOTION) as server:
            fields = {"grant_type": "authorization_code", "redirect_uri": CALLBACK, "code_verifier": VERIFIER}

            def ask(who: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
                body = json.dumps({**fields, **who, "code": new_code(server)}).encode()
                json_type = {"content-type": "application/json"}
                return call(server.token_url, method="POST", body=body, headers=json_type | dict(headers))

            answer = json.loads(ask({}, basic("app", "secret")).body)
            assert server.alive(answer["access_token"])
            assert "expires_in" not in answer
            assert "scope" not in answer
            assert answer["bot_id"] == "test-user"
            assert ask({"client_id": "app", "client_secret": "secret"}, {}).status == 401
            form = post(server.token_url, fields | {"code": new_code(server)}, basic("app", "secret"))
            assert refused(form) == (400, "invalid_request")

    def test_reddit_wants_a_user_agent_and_duration_permanent(self):
        with OAuthServer({"app": "secret"}, dialect=REDDIT) as server:
            fields = {"grant_type": "authorization_code", "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
            named = basic("app", "secret") | {"user-agent": "test:valetkey:1 (by nobody)"}
            anonymous = post(server.token_url, fields | {"code": new_code(server)}, basic("app", "secret"))
            assert anonymous.status == 429
            short = json.loads(post(server.token_url, fields | {"code": new_code(server)}, named).body)
            assert "refresh_token" not in short
            code = new_code(server, duration="permanent")
            long = json.loads(post(server.token_url, fields | {"code": code}, named).body)
            again = {"grant_type": "refresh_token", "refresh_token": long["refresh_token"]}
            assert "refresh_token" not in json.loads(post(server.token_url, again, named).body)

    def test_google_gives_a_refresh_token_only_when_asked_offline(self):
        with OAuthServer(CLIENTS, dialect=GOOGLE) as server:
            assert "refresh_token" not in connected(server)
            offline = connected(server, access_type="offline")
            assert "refresh_token" not in json.loads(refresh(server, offline["refresh_token"]).body)
            assert refresh(server, offline["refresh_token"]).status == 200

    def test_a_dialect_of_ones_own(self):
        own = Dialect(token_at=("data", "token"), expires_in="string", token_type=None, issues_refresh=False)
        with OAuthServer(CLIENTS, dialect=own, access_lifetime=7200) as server:
            answer = json.loads(exchange(server, new_code(server)).body)
            token = answer["data"]["token"]
            assert token["expires_in"] == "7200"
            assert set(token) == {"access_token", "expires_in", "scope"}
