"""oidc-provider and Node start, do what the tests lean on, and leave nothing behind."""

import base64
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlencode, urlsplit

import pytest

from tests.real.node import HERE, find_node, install
from tests.real.oidc import Oidc, OidcClient
from tests.real.visitor import Answer, call, post

# RFC 7636, Appendix B.
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
CALLBACK = "https://localhost:8001/callback"


def link(url: str, client: str, callback: str = CALLBACK, **changes: str) -> str:
    fields = {
        "response_type": "code",
        "client_id": client,
        "redirect_uri": callback,
        "state": "some-state",
        "scope": "openid offline_access mail.read",
        "prompt": "consent",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    } | changes
    return f"{url}?{urlencode({name: value for name, value in fields.items() if value})}"


def said(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def proof(client: OidcClient) -> tuple[dict[str, str], dict[str, str]]:
    """Fields and headers by which a client proves itself."""
    if client.method == "client_secret_basic":
        pair = f"{quote_plus(client.id)}:{quote_plus(client.secret or '')}"
        return {}, {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
    return {"client_id": client.id} | ({"client_secret": client.secret} if client.secret else {}), {}


def ask(url: str, client: OidcClient, fields: dict[str, str]) -> Answer:
    own, headers = proof(client)
    return post(url, fields | own, headers)


def exchange(oidc: Oidc, client: OidcClient, code: str, verifier: str = VERIFIER) -> Answer:
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": verifier,
    }
    return ask(oidc.token_url, client, fields)


def connect(oidc: Oidc, client: OidcClient) -> dict[str, Any]:
    oidc.allow(CALLBACK)
    answer = exchange(oidc, client, said(oidc.consent(link(oidc.authorize_url, client.id)))["code"])
    assert answer.status == 200, answer.text
    token: dict[str, Any] = json.loads(answer.body)
    return token


def refresh(oidc: Oidc, client: OidcClient, token: str) -> Answer:
    return ask(oidc.token_url, client, {"grant_type": "refresh_token", "refresh_token": token})


def whoami(oidc: Oidc, token: str) -> Answer:
    return call(oidc.whoami_url, headers={"authorization": f"Bearer {token}"})


@pytest.mark.node
class TestOidcProvider:
    @pytest.mark.parametrize("client", [Oidc.basic, Oidc.post, Oidc.public], ids=lambda client: client.method)
    def test_a_person_consents_and_the_token_works(self, oidc, client):
        oidc.allow(CALLBACK)
        callback = said(oidc.consent(link(oidc.authorize_url, client.id), login="nobody"))
        assert callback["state"] == "some-state"
        assert callback["iss"] == oidc.issuer
        token = json.loads(exchange(oidc, client, callback["code"]).body)
        assert token["expires_in"] == 3600
        assert json.loads(whoami(oidc, token["access_token"]).body)["sub"] == "nobody"
        assert oidc.exchanges == 1
        assert oidc.errors == []

    def test_a_no_comes_back(self, oidc):
        oidc.allow(CALLBACK)
        url = oidc.consent(link(oidc.authorize_url, Oidc.post.id), answer="deny")
        assert said(url)["error"] == "access_denied"

    def test_pkce_is_required_and_checked(self, oidc):
        oidc.allow(CALLBACK)
        bare = link(oidc.authorize_url, Oidc.post.id, code_challenge="", code_challenge_method="")
        assert said(oidc.consent(bare))["error"] == "invalid_request"
        code = said(oidc.consent(link(oidc.authorize_url, Oidc.post.id)))["code"]
        refused = exchange(oidc, Oidc.post, code, verifier="A" * 43)
        assert (refused.status, json.loads(refused.body)["error"]) == (400, "invalid_grant")

    def test_only_redirect_uris_that_were_allowed(self, oidc):
        answer = call(link(oidc.authorize_url, Oidc.post.id, callback="https://localhost:8001/elsewhere"))
        assert answer.status == 400
        assert "location" not in answer.headers

    def test_a_double_refresh_kills_the_family(self, oidc):
        first = connect(oidc, Oidc.basic)
        second = json.loads(refresh(oidc, Oidc.basic, first["refresh_token"]).body)
        assert second["refresh_token"] != first["refresh_token"]
        assert oidc.family_alive(second["refresh_token"])
        assert refresh(oidc, Oidc.basic, first["refresh_token"]).status == 400
        assert not oidc.family_alive(second["refresh_token"])
        assert refresh(oidc, Oidc.basic, second["refresh_token"]).status == 400
        assert whoami(oidc, second["access_token"]).status == 401
        assert oidc.refreshes == 3
        assert len(oidc.errors) == 2

    def test_the_user_withdraws_at_the_provider(self, oidc):
        token = connect(oidc, Oidc.post)
        oidc.revoke(token["refresh_token"])
        assert not oidc.family_alive(token["refresh_token"])
        assert whoami(oidc, token["access_token"]).status == 401
        assert refresh(oidc, Oidc.post, token["refresh_token"]).status == 400

    def test_the_client_revokes(self, oidc):
        token = connect(oidc, Oidc.post)
        assert ask(oidc.revoke_url, Oidc.post, {"token": token["refresh_token"]}).status == 200
        assert not oidc.family_alive(token["refresh_token"])
        told = ask(oidc.introspect_url, Oidc.post, {"token": token["access_token"]})
        assert json.loads(told.body) == {"active": False}
        assert oidc.revocations == 1

    def test_the_life_of_access_tokens_can_be_set(self, oidc):
        oidc.lifetime(7)
        assert connect(oidc, Oidc.post)["expires_in"] == 7

    def test_it_ends_with_its_owner(self, node, tmp_path):
        own = Oidc(node.node, tmp_path / "log")
        process = own._process
        assert call(f"{own.issuer}/.well-known/openid-configuration").status == 200
        own.stop()
        assert process.returncode == 0
        with pytest.raises(ConnectionRefusedError):
            call(own.issuer)

    def test_what_keeps_it_from_starting_is_told(self, node, tmp_path):
        with pytest.raises(RuntimeError, match="SyntaxError"):
            Oidc(sys.executable, tmp_path / "log")


@pytest.mark.node
class TestNode:
    def test_the_lock_names_no_place_to_fetch_from(self):
        lock = json.loads((HERE / "package-lock.json").read_text())
        packages = {name: entry for name, entry in lock["packages"].items() if name}
        assert "node_modules/oidc-provider" in packages
        assert not [name for name, entry in packages.items() if "resolved" in entry]
        assert not [name for name, entry in packages.items() if not entry["integrity"].startswith("sha512-")]

    def test_the_wheels_node_stands_in_for_a_missing_one(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        found = find_node()
        assert Path(found.node).is_file()
        assert Path(found.npm[-1]).is_file()

    def test_what_is_installed_is_not_installed_again(self, node, monkeypatch):
        nothing = type(node)(node.node, ("/no/such/npm",))
        assert (install(nothing, {}) / "oidc-provider" / "package.json").is_file()
