"""Endpoints that an operator names: which are taken, and what they change."""

import pytest

from valetkey.errors import InvalidSetting, MissingSetting
from valetkey.providers.endpoints import checked_url, origin_of, permits
from valetkey.providers.registry import Registry


@pytest.fixture
def registry(tmp_path):
    return Registry(paths=[tmp_path])


def oauth2(provider):
    return next(entry.oauth2 for entry in provider.handlers if entry.oauth2)


def test_slack_is_pointed_at_a_local_server(registry):
    slack = registry.override(
        registry.get("slack"),
        authorize_url="http://127.0.0.1:9000/authorize",
        token_url="http://localhost:9001/token",
    )
    dialect = oauth2(slack)
    assert dialect.authorize.url == "http://127.0.0.1:9000/authorize"
    assert dialect.authorize.operator
    assert dialect.token.operator
    assert dialect.revoke.url == "https://slack.com/api/auth.revoke"
    assert not dialect.revoke.operator
    assert dialect.scope_parameter == "user_scope"
    assert slack.origins >= {"https://slack.com", "http://127.0.0.1:9000", "http://localhost:9001"}
    assert registry.get("slack").origins == {"https://slack.com", "https://files.slack.com"}


@pytest.mark.parametrize("key", ["authorize_url", "token_url"])
def test_another_server_is_not_held_to_the_catalogues_issuer(registry, key):
    assert oauth2(registry.get("google")).issuer == "https://accounts.google.com"
    google = registry.override(registry.get("google"), **{key: "https://as.example/x"})
    assert (oauth2(google).issuer, oauth2(google).iss_in_callback) == ("", False)


def test_another_revocation_endpoint_leaves_the_issuer(registry):
    google = registry.override(registry.get("google"), revoke_url="https://as.example/revoke")
    assert oauth2(google).issuer == "https://accounts.google.com"
    assert oauth2(google).revoke.operator


def test_nothing_named_changes_nothing(registry):
    assert registry.override(registry.get("google")) == registry.get("google")


def test_a_token_is_refreshed_where_the_provider_says_and_never_where_another_server_did_not_give_it(registry):
    start = registry.get("start_gg")
    assert oauth2(start).refresh.url == "https://api.start.gg/oauth/refresh"
    assert oauth2(registry.override(start, revoke_url="https://as.example/revoke")).refresh == oauth2(start).refresh
    for key in ("token_url", "issuer"):
        assert oauth2(registry.override(start, **{key: "https://as.example/x"})).refresh is None


def test_a_placeholder_is_filled_and_is_permission(registry):
    sales = registry.override(registry.get("salesforce"), values={"domain_url": "https://Acme.my.salesforce.com/"})
    dialect = oauth2(sales)
    assert dialect.authorize.url == "https://acme.my.salesforce.com/services/oauth2/authorize"
    assert dialect.token.url == "https://acme.my.salesforce.com/services/oauth2/token"
    assert dialect.revoke.url == "https://acme.my.salesforce.com/services/oauth2/revoke"
    assert dialect.token.operator
    assert sales.origins == {"https://acme.my.salesforce.com", "https://*.my.salesforce.com"}


@pytest.mark.parametrize("urls", [{}, {"authorize_url": "https://x.example/a"}, {"token_url": "https://x.example/t"}])
def test_a_missing_value_is_named(registry, urls):
    with pytest.raises(MissingSetting, match=r"auth\.salesforce\.domain_url is not set"):
        registry.override(registry.get("salesforce"), **urls)


def test_full_urls_need_no_value(registry):
    sales = registry.override(
        registry.get("salesforce"), authorize_url="https://x.example/a", token_url="https://x.example/t"
    )
    assert oauth2(sales).revoke is None
    assert sales.origins == {"https://x.example", "https://*.my.salesforce.com"}


@pytest.mark.parametrize(
    "value",
    [
        "acme",
        "http://acme.my.salesforce.com",
        "https://acme.my.salesforce.com/x",
        "https://a.example?b",
        "javascript:x",
    ],
)
def test_a_value_that_is_no_address_is_refused(registry, value):
    with pytest.raises(InvalidSetting, match=r"auth\.salesforce\.domain_url"):
        registry.override(registry.get("salesforce"), values={"domain_url": value})


@pytest.mark.parametrize("value", ["acme/x", "acme.evil.example#", "a@b", "a b", "", "-a"])
def test_a_value_inside_a_host_stays_there(tmp_path, value):
    (tmp_path / "valetkey_providers").mkdir()
    (tmp_path / "valetkey_providers" / "shop.toml").write_text(
        'title = "Shop"\n[handlers.shop-oauth2]\nkind = "oauth2"\ndefault = true\n'
        'variables = { SHOP_TOKEN = "access_token" }\n[handlers.shop-oauth2.oauth2]\n'
        'authorize = "https://{shop}.shops.example/a"\ntoken = "https://{shop}.shops.example/t"\n',
        encoding="utf-8",
    )
    registry = Registry(paths=[tmp_path])
    filled = registry.override(registry.get("shop"), values={"shop": "my-shop"})
    assert oauth2(filled).token.url == "https://my-shop.shops.example/t"
    with pytest.raises((InvalidSetting, MissingSetting), match=r"auth\.shop\.shop"):
        registry.override(registry.get("shop"), values={"shop": value})


def test_an_endpoint_for_a_provider_without_oauth2_is_refused(registry):
    with pytest.raises(InvalidSetting, match=r"auth\.kraken\.token_url is set, and Kraken has no OAuth 2"):
        registry.override(registry.get("kraken"), token_url="https://x.example/t")
    assert registry.override(registry.get("kraken")) is registry.get("kraken")


@pytest.mark.parametrize(
    "url",
    [
        "https://as.example/token",
        "https://as.example:8443/token?tenant=a",
        "https://[2001:db8::1]/token",
        "http://localhost:8080/token",
        "http://app.localhost/token",
        "http://127.0.0.1/token",
        "http://127.8.9.10:1/token",
        "http://[::1]:9000/token",
        "https://host_name.internal/token",
    ],
)
def test_urls_that_are_taken(url):
    assert checked_url(url, "auth.x.token_url", operator=True) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "as.example/token",
        "//as.example/token",
        "/token",
        "http://as.example/token",
        "http://10.0.0.1/token",
        "http://localhost.evil.example/token",
        "http://127.0.0.1.evil.example/token",
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "ftp://as.example/token",
        "vbscript:x",
        "https:as.example",
        "https:///token",
        "https://user:pass@as.example/token",
        "https://as.example/token#x",
        "https://as.example/to ken",
        "https://as.example/\ntoken",
        "https://as.example/\ttoken",
        "https://as.example\\@evil.example/",
        "https://as.example:0/token",
        "https://as.example:99999/token",
        "https://as.example:x/token",
        "https://as..example/token",
        "https://-as.example/token",
        "https://ex%61mple.com/token",
        "https://[::1/token",
        "https://{tenant}.example/token",
        "https://münchen.example/token",
        "-https://as.example/token",
        None,
        7,
    ],
)
def test_urls_that_are_refused(url):
    with pytest.raises(InvalidSetting, match=r"^auth\.x\.token_url ") as caught:
        checked_url(url, "auth.x.token_url", operator=True)
    assert not url or str(url) not in str(caught.value)


def test_a_catalogues_own_url_is_never_plain_http():
    with pytest.raises(InvalidSetting):
        checked_url("http://127.0.0.1/token", "token", operator=False)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://API.example/x", "https://api.example"),
        ("https://api.example:443/", "https://api.example"),
        ("http://127.0.0.1:80/x", "http://127.0.0.1"),
        ("http://[::1]:9000/x", "http://[::1]:9000"),
    ],
)
def test_origin_of_a_url(url, origin):
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    ("origin", "may"),
    [
        ("https://api.example", True),
        ("https://us5.api.tenants.example", True),
        ("https://a.b.api.tenants.example", True),
        ("https://api.tenants.example", False),
        ("https://evilapi.tenants.example", False),
        ("http://us5.api.tenants.example", False),
        ("https://us5.api.tenants.example:8443", False),
        ("https://api.example.evil.test", False),
        ("https://x.api.example", False),
        ("", False),
    ],
)
def test_where_a_credential_may_go(origin, may):
    origins = frozenset({"https://api.example", "https://*.api.tenants.example"})
    assert permits(origins, origin) is may
    assert not permits(frozenset(), origin)
