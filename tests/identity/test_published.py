"""The documents by which others verify our tokens: small, cacheable, and naming only what is there."""

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.identity.ours_kit import ISSUER, SHARED, Instance
from valetkey.entrypoints.web.oauth import Published
from valetkey.errors import KeyUnavailable

DOCUMENTS = ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"]


def browser(instance: Instance) -> TestClient:
    return TestClient(Starlette(routes=Published(instance.signer, base_url=lambda: ISSUER).routes()))


@pytest.mark.requirement("C3.access")
@pytest.mark.parametrize("path", DOCUMENTS)
def test_the_metadata_lead_to_the_keys_and_promise_nothing_else(path):
    with browser(Instance()) as client:
        answer = client.get(path)
        assert answer.json() == {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/.well-known/jwks.json"}
        assert answer.headers["cache-control"] == "public, max-age=300"
        keys = client.get("/.well-known/jwks.json")
    assert [key["kid"] for key in keys.json()["keys"]] == ["k1"]
    assert keys.headers["cache-control"] == "public, max-age=300"
    assert "d" not in keys.json()["keys"][0]


@pytest.mark.requirement("C3.hs256")
def test_with_a_shared_secret_nothing_is_published():
    with browser(Instance(secret=SHARED)) as client:
        assert client.get("/.well-known/jwks.json").json() == {"keys": []}
        assert [client.get(path).status_code for path in DOCUMENTS] == [404, 404]


def test_without_a_vault_key_it_is_said_and_not_kept():
    instance = Instance()
    instance.database.keys.error = KeyUnavailable("The vault's disk is gone.")
    with browser(instance) as client:
        answer = client.get("/.well-known/jwks.json")
    assert (answer.status_code, answer.headers["cache-control"]) == (503, "no-store")


def test_the_documents_are_read_and_not_written():
    with browser(Instance()) as client:
        assert [client.post(path).status_code for path in (*DOCUMENTS, "/.well-known/jwks.json")] == [405] * 3
