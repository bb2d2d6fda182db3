"""Each entry of the catalogue against what the provider's documentation shows going over the wire."""

import json

import pytest

from tests import dialects
from valetkey.providers.base import ClientAuth
from valetkey.providers.registry import Registry

OURS = {"client_id", "redirect_uri", "response_type", "state", "code_challenge", "code_challenge_method"}
STANDARD = {"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type"}
BODY = {"client_id": "{client_id}", "client_secret": "{client_secret}"}


@pytest.fixture(params=dialects.ALL)
def both(request, tmp_path):
    dialect = dialects.load(request.param)
    registry = Registry(paths=[tmp_path])
    provider = registry.override(registry.get(dialect.provider), values=dialect.settings)
    entry = provider.handler(dialect.handler)
    assert entry is not None
    return dialect, entry.oauth2


CONTRACT = """
asana bitbucket calendly discord facebook github google hubspot jira linear linkedin mailchimp notion reddit salesforce
slack spotify x zoom
"""


def test_the_contracts_providers_have_a_dialect_and_ten_more_at_least(tmp_path):
    registry = Registry(paths=[tmp_path])
    contract = set(CONTRACT.split())
    assert len(contract) == 19
    assert contract <= set(dialects.ALL)
    assert len(set(dialects.ALL) - contract) >= 10
    for name in dialects.ALL:
        assert any(entry.oauth2 for entry in registry.get(name).handlers), name


def test_the_pages_are_named(both):
    dialect, _ = both
    wanted = {"authorization", "token", "errors"}
    wanted |= {"refresh"} if dialect.refresh else set()
    wanted |= {"revocation"} if dialect.revocation else set()
    assert set(dialect.pages) == wanted
    assert all(page.startswith("https://") for page in dialect.pages.values())


def test_authorization_request(both):
    dialect, oauth2 = both
    wanted = dialect.authorization
    assert oauth2.authorize.url == wanted.url
    assert {key: value for key, value in wanted.parameters.items() if key not in OURS} == dict(
        oauth2.authorize_parameters
    )
    assert oauth2.pkce == wanted.pkce
    assert oauth2.scope_parameter == wanted.scope_parameter
    if wanted.scope_parameter:
        assert oauth2.scope_separator == wanted.scope_separator
        sent = frozenset(wanted.asked) | (oauth2.refresh_scopes if wanted.asked else frozenset())
        assert sent == wanted.sent


@pytest.mark.parametrize("step", ["token", "refresh"])
def test_token_request(both, step):
    dialect, oauth2 = both
    wanted = getattr(dialect, step)
    if wanted is None:
        return
    assert (oauth2.token if step == "token" or oauth2.refresh is None else oauth2.refresh).url == wanted.url
    assert oauth2.client_auth == wanted.client_auth
    assert oauth2.token_format == ("json" if wanted.content_type == "application/json" else "form")
    headers = {name.lower(): value for name, value in oauth2.token_headers.items()}
    assert wanted.headers.items() <= headers.items()
    if step == "token":
        fields = {"grant_type": "authorization_code", "code": "{code}", "redirect_uri": "{redirect_uri}"}
        fields |= {"code_verifier": "{code_verifier}"} if oauth2.pkce else {}
        fields |= oauth2.token_parameters
    else:
        fields = {"grant_type": "refresh_token", "refresh_token": "{refresh_token}", **oauth2.refresh_parameters}
    assert wanted.fields == fields | (BODY if oauth2.client_auth is ClientAuth.POST else {})


@pytest.mark.parametrize("step", ["token", "refresh"])
def test_token_answer(both, step):
    dialect, oauth2 = both
    wanted = getattr(dialect, step)
    if wanted is None:
        return
    answer = json.loads(wanted.answer.body)
    assert not oauth2.success_field or answer[oauth2.success_field] is True
    token = answer
    for key in oauth2.answer_path if step == "token" else ():
        token = token[key]
    assert token["access_token"] == wanted.gives.access_token
    assert token.get("refresh_token") == wanted.gives.refresh_token
    assert token.get("token_type", "").lower() in oauth2.token_types
    assert (token.get("expires_in") or oauth2.lifetime) == wanted.gives.lifetime
    granted = token.get(oauth2.granted_parameter)
    if wanted.gives.scopes is None:
        assert not granted
    else:
        parts = granted if isinstance(granted, list) else split(granted, oauth2.granted_separators)
        assert frozenset(parts) == wanted.gives.scopes


def test_what_is_granted_holds_what_was_asked_and_no_more(both):
    dialect, oauth2 = both
    granted, sent = dialect.token.gives.scopes, dialect.authorization.sent
    if granted is None or not sent:
        return
    assert set(dialect.authorization.asked) <= closed(granted, oauth2)
    more = granted - closed(sent | oauth2.unasked_scopes, oauth2)
    assert not more or oauth2.scopes_may_widen


def test_google_may_be_asked_for_either_name_of_a_scope(tmp_path):
    oauth2 = Registry(paths=[tmp_path]).get("google").default_handler.oauth2
    long = "https://www.googleapis.com/auth/userinfo.email"
    assert closed({"email"}, oauth2) == closed({long}, oauth2) == {"email", long}


def test_revocation_request(both):
    dialect, oauth2 = both
    if dialect.revocation is None:
        assert oauth2.revoke is None
        return
    assert oauth2.revoke.url == dialect.revocation.url
    method = oauth2.revoke_client_auth or oauth2.client_auth
    assert method == dialect.revocation.client_auth
    assert dialect.revocation.fields == {"token": "{token}", **(BODY if method is ClientAuth.POST else {})}


def test_refusals_are_understood(both):
    dialect, oauth2 = both
    for refusal in dialect.errors:
        answer = json.loads(refusal.answer.body)
        assert not oauth2.success_field or answer[oauth2.success_field] is not True
        code = answer.get("error")
        if code is None and refusal.means != "refused":
            code = answer["errors"][0]["resource"] if "errors" in answer else answer["message"]
        if refusal.means == "refused":
            assert not isinstance(code, str) or oauth2.error_codes.get(code, code) not in STANDARD
        else:
            assert oauth2.error_codes.get(str(code), code) == refusal.means


def closed(scopes, oauth2):
    """The scopes with all that they imply."""
    held, waiting = set(), list(scopes)
    while waiting:
        scope = waiting.pop()
        if scope not in held:
            held.add(scope)
            waiting.extend(oauth2.scope_implies.get(scope, ()))
    return held


def split(text, separators):
    for each in separators:
        text = text.replace(each, " ")
    return text.split()
