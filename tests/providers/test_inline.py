"""OAuthHandler: a provider written down where the tool is."""

import dataclasses
import hashlib
from typing import Any

import pytest

from valetkey.errors import InvalidSetting
from valetkey.providers.base import ClientAuth, Endpoint, HandlerKind
from valetkey.providers.inline import OAuthHandler
from valetkey.providers.registry import Registry
from valetkey.secret import Secret

CANARY = "canary-7f3a-client-secret"

# Seed 000's own.
SEED: dict[str, Any] = {
    "client_id": "your_client_id",
    "client_secret": CANARY,
    "scopes": ["read:messages", "write:messages"],
    "auth_url": "https://slack.com/oauth/authorize",
    "token_url": "https://slack.com/api/oauth.access",
}


def test_the_seeds_handler_is_a_provider_of_its_own():
    handler = OAuthHandler(**SEED)
    text = "https://slack.com/oauth/authorize\nhttps://slack.com/api/oauth.access\nyour_client_id"
    assert handler.name == f"slack_com-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    assert handler.variable == "SLACK_COM_TOKEN"
    assert handler.scopes == {"read:messages", "write:messages"}
    provider = handler.provider()
    assert (provider.name, provider.title) == (handler.name, "slack.com")
    assert provider.origins == {"https://slack.com"}
    (entry,) = provider.handlers
    assert entry.name == handler.name.replace("_", "-") + "-oauth2"
    assert (entry.kind, entry.default, entry.scoped) == (HandlerKind.OAUTH2, True, True)
    assert entry.variables == {"SLACK_COM_TOKEN": "access_token"}
    oauth2 = entry.oauth2
    assert oauth2 is not None
    assert oauth2.authorize == Endpoint(SEED["auth_url"], operator=True)
    assert oauth2.token == Endpoint(SEED["token_url"], operator=True)
    assert oauth2.revoke is None
    assert oauth2.client_auth is ClientAuth.POST
    assert oauth2.pkce


def test_a_name_of_ones_own():
    handler = OAuthHandler(**SEED, name="acme")
    assert (handler.name, handler.variable) == ("acme", "ACME_TOKEN")
    assert handler.provider().handlers[0].name == "acme-oauth2"
    assert OAuthHandler(**SEED, name="acme_crm").variable == "ACME_CRM_TOKEN"


def test_two_clients_at_one_host_are_two_providers():
    one = OAuthHandler(**SEED)
    assert one.name == OAuthHandler(**{**SEED, "scopes": [], "client_secret": "other"}).name
    for key, value in (
        ("client_id", "another"),
        ("auth_url", "https://slack.com/oauth/v2/authorize"),
        ("token_url", "https://slack.com/api/oauth.v2.access"),
    ):
        other = OAuthHandler(**{**SEED, key: value})
        assert other.name != one.name
        assert other.name.startswith("slack_com-")


@pytest.mark.parametrize(
    ("url", "name", "variable"),
    [
        ("http://127.0.0.1:9000/authorize", "host_127_0_0_1-", "HOST_127_0_0_1_TOKEN"),
        ("http://[::1]:9000/authorize", "host_1-", "HOST_1_TOKEN"),
        ("http://localhost:9000/authorize", "localhost-", "LOCALHOST_TOKEN"),
        ("https://Auth.My-Company.example/authorize", "auth_my_company_example-", "AUTH_MY_COMPANY_EXAMPLE_TOKEN"),
    ],
)
def test_the_name_comes_from_the_host(url, name, variable):
    handler = OAuthHandler(**{**SEED, "auth_url": url})
    assert handler.name[:-8] == name
    assert handler.variable == variable


def test_the_registry_takes_it(tmp_path):
    registry = Registry(paths=[tmp_path])
    provider = OAuthHandler(**{**SEED, "client_id": "for-the-registry"}).provider()
    registry.register(provider)
    registry.register(OAuthHandler(**{**SEED, "client_id": "for-the-registry"}).provider())
    assert registry.get(provider.name) is provider
    assert registry.find_handler(provider.handlers[0].name)[0] is provider
    with pytest.raises(InvalidSetting, match="There is a provider 'slack' already"):
        registry.register(OAuthHandler(**SEED, name="slack").provider())


def test_everything_else_that_can_be_said():
    handler = OAuthHandler(
        **SEED,
        revoke_url="https://slack.com/api/auth.revoke",
        client_auth="client_secret_basic",
        scope_separator=",",
        scope_parameter="user_scope",
        authorize_parameters={"owner": "user"},
        token_parameters={"audience": "x"},
        issuer="https://slack.com",
        origins=["https://files.slack.com"],
    )
    oauth2 = handler.provider().handlers[0].oauth2
    assert oauth2 is not None
    assert oauth2.revoke == Endpoint("https://slack.com/api/auth.revoke", operator=True)
    assert oauth2.client_auth is ClientAuth.BASIC
    assert (oauth2.scope_separator, oauth2.scope_parameter) == (",", "user_scope")
    assert (dict(oauth2.authorize_parameters), dict(oauth2.token_parameters)) == ({"owner": "user"}, {"audience": "x"})
    assert oauth2.issuer == "https://slack.com"
    assert handler.provider().origins == {"https://slack.com", "https://files.slack.com"}


def test_a_public_client_has_no_secret():
    handler = OAuthHandler(client_id="x", auth_url=SEED["auth_url"], token_url=SEED["token_url"])
    assert handler.client_auth is ClientAuth.NONE
    assert not handler.client_secret
    assert handler.scopes == frozenset()


def test_the_secret_does_not_print():
    for handler in (OAuthHandler(**SEED), OAuthHandler(**{**SEED, "client_secret": Secret(CANARY)})):
        assert CANARY not in repr(handler)
        assert CANARY not in str(handler)
        assert CANARY not in repr(handler.provider())
        assert CANARY not in f"{handler.client_secret}"
        assert handler.client_secret.reveal() == CANARY


def test_it_is_frozen_and_compared_by_value():
    handler = OAuthHandler(**SEED)
    with pytest.raises(dataclasses.FrozenInstanceError):
        handler.client_id = "other"  # type: ignore[misc]  # it is read-only
    assert handler == OAuthHandler(**SEED)
    assert handler != OAuthHandler(**{**SEED, "client_secret": "other"})


@pytest.mark.parametrize("argument", ["auth_url", "token_url", "revoke_url", "issuer"])
@pytest.mark.parametrize(
    "url", ["slack.com/oauth", "javascript:alert(1)", "http://slack.com/oauth", "https://u:p@slack.com", "", 7]
)
def test_a_url_that_is_refused_is_named_by_its_argument(argument, url):
    with pytest.raises(InvalidSetting, match=f"OAuthHandler: {argument} "):
        OAuthHandler(**{**SEED, argument: url})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"client_id": ""}, "client_id is empty"),
        ({"client_id": None}, "client_id is empty"),
        ({"client_secret": None}, "client_secret is no text"),
        ({"scopes": "read write"}, "scopes is a list of strings"),
        ({"scopes": None}, "scopes is a list of strings"),
        ({"scopes": ["read", 7]}, "scopes holds something that is no text"),
        ({"scopes": [""]}, "scopes holds something that is no text, or empty"),
        ({"name": "My Service"}, "name is no provider's name"),
        ({"name": "a-b"}, "name is no provider's name"),
        ({"name": ""}, "name is no provider's name"),
        (
            {"client_auth": "basic"},
            "client_auth is none of client_secret_basic, client_secret_post, private_key_jwt, none",
        ),
        ({"client_auth": "client_secret_basic", "client_secret": ""}, "there is no client_secret"),
        ({"origins": ["https://api.example/v1"]}, "origins is no origin"),
        ({"origins": "https://api.example"}, "origins is a list of strings"),
    ],
)
def test_an_argument_that_is_refused_is_named(change, said):
    with pytest.raises(InvalidSetting, match=f"OAuthHandler: .*{said}") as caught:
        OAuthHandler(**{**SEED, **change})
    assert CANARY not in str(caught.value)
