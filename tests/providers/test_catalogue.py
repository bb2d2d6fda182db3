"""The providers that we ship, against what the contract promises and what a catalogue has to say."""

from pathlib import Path

import pytest

import valetkey.providers.catalog
from valetkey.errors import InvalidSetting
from valetkey.providers.base import HandlerKind
from valetkey.providers.catalog.files import builtin_file
from valetkey.providers.catalog.load import load
from valetkey.providers.names import BUILTIN
from valetkey.providers.registry import Registry

SLACK = (
    "channels:history channels:read chat:write groups:history groups:read im:history mpim:history reactions:read "
    "reactions:write"
)

# contracts/hyperpocket.md 1.2: handler, whether it is the default, recommended scopes, tool variables.
# Linear's two defaults are a fault of the contract's (4.2, 9): OAuth 2 is the one.
CONTRACT = """
asana-oauth2        yes  -                      ASANA_TOKEN
bitbucket-oauth2    yes  -                      BITBUCKET_TOKEN
calendly-oauth2     yes  -                      CALENDLY_TOKEN
discord-oauth2      yes  -                      DISCORD_TOKEN
discord-token       no   -                      DISCORD_TOKEN
facebook-oauth2     yes  -                      FACEBOOK_TOKEN
github-oauth2       yes  repo                   GITHUB_TOKEN
github-token        no   -                      GITHUB_TOKEN
google-oauth2       yes  -                      GOOGLE_TOKEN
hubspot-oauth2      yes  -                      HUBSPOT_TOKEN
hubspot-token       no   -                      HUBSPOT_TOKEN
jira-oauth2         yes  -                      JIRA_TOKEN
jira-token          no   -                      JIRA_TOKEN
linear-oauth2       yes  -                      LINEAR_TOKEN
linear-token        no   -                      LINEAR_TOKEN
linkedin-basicauth  yes  -                      LINKEDIN_BASIC_AUTH
linkedin-oauth2     no   -                      LINKEDIN_TOKEN
mailchimp-oauth2    yes  -                      MAILCHIMP_TOKEN
notion-oauth2       yes  -                      NOTION_TOKEN
notion-token        no   -                      NOTION_TOKEN
reddit-oauth2       yes  account+identity+read  REDDIT_BOT_TOKEN
salesforce-oauth2   yes  -                      SALESFORCE_TOKEN
slack-oauth2        yes  slack                  SLACK_BOT_TOKEN
slack-token         no   -                      SLACK_BOT_TOKEN
spotify-oauth2      yes  -                      SPOTIFY_TOKEN
x-oauth2            yes  -                      X_AUTH_TOKEN
zoom-oauth2         yes  -                      ZOOM_TOKEN
apitoken            yes  -                      API_TOKEN
basicauth           yes  -                      BASIC_AUTH
kraken-keypair      yes  -                      KRAKEN_API_KEY+KRAKEN_API_SECRET
"""

# The same table's endpoints that no longer are the provider's own: what its documentation has today.
MOVED = {
    "https://www.facebook.com/v22.0/dialog/oauth": "https://www.facebook.com/v24.0/dialog/oauth",
    "https://graph.facebook.com/v22.0/oauth/access_token": "https://graph.facebook.com/v24.0/oauth/access_token",
    "https://api.hubapi.com/oauth/v1/token": "https://api.hubapi.com/oauth/2026-03/token",
}
ENDPOINTS = """
asana      https://app.asana.com/-/oauth_authorize                   https://app.asana.com/-/oauth_token
bitbucket  https://bitbucket.org/site/oauth2/authorize               https://bitbucket.org/site/oauth2/access_token
calendly   https://auth.calendly.com/oauth/authorize                 https://auth.calendly.com/oauth/token
discord    https://discord.com/oauth2/authorize                      https://discord.com/api/oauth2/token
facebook   https://www.facebook.com/v22.0/dialog/oauth               https://graph.facebook.com/v22.0/oauth/access_token
github     https://github.com/login/oauth/authorize                  https://github.com/login/oauth/access_token
google     https://accounts.google.com/o/oauth2/v2/auth              https://oauth2.googleapis.com/token
hubspot    https://app.hubspot.com/oauth/authorize                   https://api.hubapi.com/oauth/v1/token
jira       https://auth.atlassian.com/authorize                      https://auth.atlassian.com/oauth/token
linear     https://linear.app/oauth/authorize                        https://api.linear.app/oauth/token
linkedin   https://www.linkedin.com/oauth/v2/authorization           https://www.linkedin.com/oauth/v2/accessToken
mailchimp  https://login.mailchimp.com/oauth2/authorize              https://login.mailchimp.com/oauth2/token
notion     https://api.notion.com/v1/oauth/authorize                 https://api.notion.com/v1/oauth/token
reddit     https://www.reddit.com/api/v1/authorize                   https://www.reddit.com/api/v1/access_token
salesforce {domain_url}/services/oauth2/authorize                    {domain_url}/services/oauth2/token
slack      https://slack.com/oauth/v2/authorize                      https://slack.com/api/oauth.v2.access
spotify    https://accounts.spotify.com/authorize                    https://accounts.spotify.com/api/token
x          https://x.com/i/oauth2/authorize                          https://api.x.com/2/oauth2/token
zoom       https://zoom.us/oauth/authorize                           https://zoom.us/oauth/token
"""


def test_handlers_are_those_of_the_contract(registry):
    promised = {}
    for line in CONTRACT.strip().splitlines():
        name, default, scopes, variables = line.split()
        recommended = {"-": "", "slack": SLACK}.get(scopes, scopes.replace("+", " "))
        promised[name] = (default == "yes", frozenset(recommended.split()), frozenset(variables.split("+")))
    shipped = {
        entry.name: (entry.default, entry.recommended_scopes, frozenset(entry.variables))
        for name in BUILTIN
        for entry in registry.get(name).handlers
    }
    assert shipped == promised


def test_endpoints_are_those_of_the_contract_or_moved_since(registry):
    promised = {name: (authorize, token) for name, authorize, token in map(str.split, ENDPOINTS.strip().splitlines())}
    assert len(promised) == 19
    for name, urls in promised.items():
        oauth2 = registry.get(name).handler(f"{name}-oauth2").oauth2
        assert (oauth2.authorize.url, oauth2.token.url) == tuple(MOVED.get(url, url) for url in urls)


def test_names_for_the_editor_are_the_files_of_the_catalogue():
    files = {path.stem for path in Path(valetkey.providers.catalog.__file__).parent.glob("*.toml")}
    assert set(BUILTIN) == files
    assert len(BUILTIN) == len(files)


def test_a_file_outside_the_catalogue_is_not_found_by_its_path():
    assert builtin_file("../catalog/slack") is None
    assert builtin_file("nobody") is None


@pytest.mark.parametrize("name", BUILTIN)
def test_each_group_of_facts_has_its_page(registry, name):
    provider = registry.get(name)
    groups = set()
    for entry in provider.handlers:
        if entry.oauth2 is None:
            groups.add("pasted")
        else:
            groups |= {"authorization", "token", "scopes"}
            groups |= {"revocation"} if entry.oauth2.revoke else set()
    if provider.origins:
        groups.add("origins")
    assert groups <= set(provider.source)
    assert set(provider.source) - groups <= {"refresh"}
    assert provider.title
    assert provider.docs or provider.name in {"apitoken", "basicauth"}


@pytest.mark.parametrize("name", BUILTIN)
def test_catalogue_is_no_permission_for_hosts_and_speaks_tls(registry, name):
    provider = registry.get(name)
    for oauth2 in filter(None, (entry.oauth2 for entry in provider.handlers)):
        for endpoint in filter(None, (oauth2.authorize, oauth2.token, oauth2.revoke)):
            assert not endpoint.operator
            assert endpoint.url.startswith(("https://", "{domain_url}/"))
    assert all(origin.startswith(("https://", "{domain_url}")) for origin in provider.origins)


def test_scopes_limit_oauth2_and_nothing_else(registry):
    scoped = {entry.name for name in BUILTIN for entry in registry.get(name).handlers if entry.scoped}
    oauth2 = {
        entry.name for name in BUILTIN for entry in registry.get(name).handlers if entry.kind is HandlerKind.OAUTH2
    }
    assert scoped == oauth2 - {"calendly-oauth2"}  # the contract's one exception


@pytest.mark.parametrize(
    ("handler", "fields"),
    [
        ("slack-token", [("access_token", True)]),
        ("apitoken", [("access_token", True)]),
        ("basicauth", [("username", False), ("password", True)]),
        ("linkedin-basicauth", [("username", False), ("password", True)]),
        ("kraken-keypair", [("api_key", True), ("api_secret", True)]),
    ],
)
def test_pasted_fields_are_masked_but_for_the_user_name(registry, handler, fields):
    _, entry = registry.find_handler(handler)
    assert [(field.name, field.secret) for field in entry.fields] == fields


def test_a_catalogue_entry_cannot_be_changed(registry):
    entry = registry.get("slack").default_handler
    with pytest.raises(TypeError):
        entry.variables["MORE"] = "access_token"
    with pytest.raises(TypeError):
        entry.oauth2.authorize_parameters["more"] = "x"


@pytest.mark.parametrize("name", BUILTIN)
def test_a_misspelt_key_in_any_file_is_noticed(tmp_path, name):
    file = builtin_file(name)
    assert file is not None
    text = file.read_text(encoding="utf-8")
    broken = tmp_path / f"{name}.toml"
    broken.write_text(text.replace("variables =", "variabels =", 1), encoding="utf-8")
    with pytest.raises(InvalidSetting, match=r"variabels is not known here"):
        load(broken, operator=False)


@pytest.fixture
def registry(tmp_path):
    return Registry(paths=[tmp_path])
