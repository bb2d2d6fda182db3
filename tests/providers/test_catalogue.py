"""The providers that we ship, against what the contract promises and what a catalogue has to say."""

import json
import re
from pathlib import Path

import pytest

import valetkey.providers.catalog
from tests import dialects
from valetkey.connections.handler import placed
from valetkey.errors import InvalidSetting
from valetkey.providers.base import HandlerKind
from valetkey.providers.catalog.files import builtin_file
from valetkey.providers.catalog.load import load
from valetkey.providers.endpoints import origin_of, permits
from valetkey.providers.names import BUILTIN, AuthProvider
from valetkey.providers.registry import Registry
from valetkey.secret import Secret

# What settings name, for the providers that give each customer a host of their own.
VALUES = {
    "api_key": "0f1e2d3c",
    "cluster_url": "https://mine.weaviate.cloud",
    "company": "acme",
    "domain_url": "https://acme.example",
    "site": "datadoghq.eu",
    "subdomain": "acme",
}

SLACK = (
    "channels:history channels:read chat:write groups:history groups:read im:history mpim:history reactions:read "
    "reactions:write"
)

# contracts/hyperpocket.md 1.2, OAuth 2 handlers and the others: handler, default, recommended scopes, tool variables.
CONTRACT = """
asana-oauth2        yes  -                      ASANA_TOKEN
bitbucket-oauth2    yes  -                      BITBUCKET_TOKEN
calendly-oauth2     yes  -                      CALENDLY_TOKEN
discord-oauth2      yes  -                      DISCORD_TOKEN
facebook-oauth2     yes  -                      FACEBOOK_TOKEN
github-oauth2       yes  repo                   GITHUB_TOKEN
google-oauth2       yes  -                      GOOGLE_TOKEN
hubspot-oauth2      yes  -                      HUBSPOT_TOKEN
jira-oauth2         yes  -                      JIRA_TOKEN
linear-oauth2       yes  -                      LINEAR_TOKEN
linkedin-basicauth  yes  -                      LINKEDIN_BASIC_AUTH
linkedin-oauth2     no   -                      LINKEDIN_TOKEN
mailchimp-oauth2    yes  -                      MAILCHIMP_TOKEN
notion-oauth2       yes  -                      NOTION_TOKEN
reddit-oauth2       yes  account+identity+read  REDDIT_BOT_TOKEN
salesforce-oauth2   yes  -                      SALESFORCE_TOKEN
slack-oauth2        yes  slack                  SLACK_BOT_TOKEN
spotify-oauth2      yes  -                      SPOTIFY_TOKEN
x-oauth2            yes  -                      X_AUTH_TOKEN
zoom-oauth2         yes  -                      ZOOM_TOKEN
basicauth           yes  -                      BASIC_AUTH
kraken-keypair      yes  -                      KRAKEN_API_KEY+KRAKEN_API_SECRET
"""

# The same, the token handlers: <p>-token with dashes, <P>_TOKEN, the default but where it says nd. Linear's second
# default is a fault of the contract's (4.2, 9): OAuth 2 is the one.
TOKENS = """
activeloop adobe affinity agentql ahrefs airtable alchemy altoviz bamboohr bitwarden brevo brex cal canvas clickup
cloudflare dailybot datadog discord(nd) discordbot elevenlabs exa finage github(nd) gumloop happyrobot heygen
hubspot(nd) jira(nd) klaviyo lever lever_sandbox linear(nd) listennotes mem0 microsoft_clarity neon ngrok notion(nd)
oncehub pagerduty pandadoc pipedrive posthog ravenseotools semantic_scholar sendgrid serpapi slack(nd) stripe supabase
tavily timekit trello valyu wandb weaviate workiom zinc apitoken
"""
TOKEN_NAMES = {"apitoken": "apitoken"}
TOKEN_VARIABLES = {"apitoken": "API_TOKEN", "slack": "SLACK_BOT_TOKEN", "valyu": "VALYU_API_KEY"}

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


def promised():
    """Handler, provider, kind, default, recommended scopes, variables; of all 74 providers."""
    for line in CONTRACT.strip().splitlines():
        name, default, scopes, variables = line.split()
        recommended = {"-": "", "slack": SLACK}.get(scopes, scopes.replace("+", " "))
        provider, _, way = name.partition("-")
        kind = {"oauth2": HandlerKind.OAUTH2, "keypair": HandlerKind.KEY_PAIR}.get(way, HandlerKind.BASIC)
        yield name, provider, kind, default == "yes", frozenset(recommended.split()), frozenset(variables.split("+"))
    for word in TOKENS.split():
        provider = word.removesuffix("(nd)")
        name = TOKEN_NAMES.get(provider, f"{provider.replace('_', '-')}-token")
        variable = TOKEN_VARIABLES.get(provider, f"{provider.upper()}_TOKEN")
        yield name, provider, HandlerKind.TOKEN, provider == word, frozenset(), frozenset({variable})


PROMISED = {provider for _, provider, *_ in promised()}


def test_handlers_are_those_of_the_contract(registry):
    assert len(TOKENS.split()) == 60
    assert len(PROMISED) == 74
    for name, provider, kind, default, scopes, variables in promised():
        entry = registry.get(provider).handler(name)
        assert entry is not None, name
        shipped = (entry.kind, entry.default, entry.recommended_scopes, frozenset(entry.variables))
        assert shipped == (kind, default, scopes, variables), name
        assert entry.scoped == (kind is HandlerKind.OAUTH2 and name != "calendly-oauth2"), name
        assert registry.find_handler(name) == registry.find_handler(name.replace("-", "_"))
        assert registry.find_handler(name)[0].name == provider


def test_what_the_contract_does_not_have_is_never_a_default(registry):
    known = {name for name, *_ in promised()}
    for provider in PROMISED:
        more = [entry for entry in registry.get(provider).handlers if entry.name not in known]
        assert not any(entry.default for entry in more), provider


def test_names_are_those_of_the_contract():
    for provider in PROMISED:
        assert AuthProvider[provider.upper()].value == provider
        assert AuthProvider.get_auth_provider(provider) is AuthProvider(provider)


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


def test_each_group_of_facts_has_its_page(registry):
    for name in sorted(PROMISED | set(dialects.ALL)):
        provider = registry.get(name)
        groups = {"origins"} if provider.origins else set()
        for entry in provider.handlers:
            groups |= {"userinfo"} if entry.userinfo else set()
            if entry.oauth2 is None:
                groups.add("pasted")
            else:
                groups |= {"authorization", "token", "scopes"}
                groups |= {"revocation"} if entry.oauth2.revoke else set()
                groups |= {"device"} if entry.oauth2.device else set()
        assert groups <= set(provider.source), name
        assert set(provider.source) - groups <= {"refresh"}, name
        assert provider.title, name
        # Their credentials are for whatever host the operator's tool names.
        if name not in {"apitoken", "basicauth"}:
            assert provider.docs, name
            assert provider.origins, name


def test_an_account_is_asked_for_where_its_credential_may_go(registry):
    asked = 0
    for name in sorted(PROMISED | set(dialects.ALL)):
        provider = registry.override(registry.get(name), values=VALUES)
        for entry in filter(lambda each: each.userinfo, provider.handlers):
            userinfo = entry.userinfo
            asked += 1
            assert permits(provider.origins, origin_of(userinfo.url.url)), entry.name
            assert not userinfo.body or json.loads(userinfo.body) is None or "query" in userinfo.body, entry.name
            assert all(part for path in (*userinfo.account, userinfo.subject or "x") for part in path.split("."))
    assert asked >= 50


# A token T where the provider's documentation puts it, for each that does not take it as a bearer token.
PLACED = """
agentql-token           X-API-Key: T
altoviz-token           x-api-key: T
bamboohr-token          Authorization: Basic VDp4
brevo-token             api-key: T
clickup-token           Authorization: T
dailybot-token          X-API-KEY: T
datadog-token           DD-API-KEY: T
discordbot-token        Authorization: Bot T
elevenlabs-token        xi-api-key: T
exa-token               x-api-key: T
finage-token            ?apikey=T
heygen-token            X-Api-Key: T
klaviyo-token           Authorization: Klaviyo-API-Key T
lever-sandbox-token     Authorization: Basic VDo=
lever-token             Authorization: Basic VDo=
linear-token            Authorization: T
listennotes-token       X-ListenAPI-Key: T
mem0-token              Authorization: Token T
oncehub-token           API-Key: T
pagerduty-token         Authorization: Token token=T
pandadoc-token          Authorization: API-Key T
pipedrive-token         x-api-token: T
ravenseotools-token     ?key=T
semantic-scholar-token  x-api-key: T
serpapi-token           ?api_key=T
timekit-token           Authorization: Basic OlQ=
trello-token            ?token=T
valyu-token             x-api-key: T
wandb-token             Authorization: Basic YXBpOlQ=
workiom-token           X-Api-Key: T
zinc-token              Authorization: Basic VDo=
"""


def test_a_token_goes_where_the_documentation_puts_it(registry):
    wanted = dict(line.split(maxsplit=1) for line in PLACED.strip().splitlines())
    for name in {name for name, *_ in promised()} | {f"{provider}-oauth2" for provider in dialects.ALL}:
        _, entry = registry.find_handler(name)
        if entry.kind not in (HandlerKind.OAUTH2, HandlerKind.TOKEN):
            continue
        loan = placed(name, Secret("T"), entry.placement)
        sent = [f"{header}: {value.reveal()}" for header, value in loan.headers.items()]
        sent += [f"?{parameter}={value.reveal()}" for parameter, value in loan.query.items()]
        assert sent == [wanted.get(name, "Authorization: Bearer T")], name


def test_a_key_goes_to_the_host_that_settings_name_and_to_no_other_customers(registry):
    weaviate = registry.get("weaviate")
    mine = registry.override(weaviate, values={"cluster_url": "https://mine.weaviate.cloud"})
    assert mine.origins == {"https://mine.weaviate.cloud"}
    assert mine.default_handler.userinfo.url.url == "https://mine.weaviate.cloud/v1/users/own-info"
    unset = registry.override(weaviate)
    assert unset.origins == frozenset()
    assert unset.default_handler.userinfo is None
    bamboo = registry.override(registry.get("bamboohr"), values={"company": "acme"})
    assert bamboo.origins == {"https://api.bamboohr.com", "https://acme.bamboohr.com"}
    with pytest.raises(InvalidSetting, match=r"auth\.bamboohr\.company goes into a host name"):
        registry.override(registry.get("bamboohr"), values={"company": "acme.evil.example/"})


def test_catalogue_is_no_permission_for_hosts_and_speaks_tls(registry):
    for name in BUILTIN:
        provider = registry.get(name)
        ends = [entry.userinfo.url for entry in provider.handlers if entry.userinfo]
        for oauth2 in filter(None, (entry.oauth2 for entry in provider.handlers)):
            known = (oauth2.authorize, oauth2.token, oauth2.revoke, oauth2.device, oauth2.par, oauth2.registration)
            ends += [end for end in known if end is not None and end.url]
        assert not any(end.operator for end in ends), name
        for url in (*(end.url for end in ends), *provider.origins):
            assert url.startswith("https://") or re.match(r"\{[a-z_]+\}(/|$)", url), (name, url)


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


def test_a_misspelt_key_in_any_file_is_noticed(tmp_path):
    for name in sorted(PROMISED | set(dialects.ALL)):
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
