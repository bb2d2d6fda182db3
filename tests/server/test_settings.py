"""The server's settings: seed 004's names, ours, and what is refused, with its name."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from valetkey.errors import InvalidSetting
from valetkey.settings import hypha
from valetkey.settings.pocket import Config
from valetkey.settings.sections import Rate, Serving
from valetkey.settings.server import ServerSettings, load_server

SECRET = "0123456789abcdef0123456789abcdef"


def load(environ: dict[str, str] | None = None, *, toml: str = "", dotenv: str = "", **about: Any) -> ServerSettings:
    for name, text in (("valetkey.toml", toml), (".env", dotenv)):
        if text:
            Path(name).write_text(text)
            Path(name).chmod(0o600)
    return load_server(Path.cwd(), environ or {}, **about)


@pytest.mark.requirement("seed004.start-server", "d20.nobody-by-default", "A-21")
def test_by_default_nobody_else_is_trusted_and_only_this_machine_is_served() -> None:
    settings = load()
    assert (settings.identity.issuers, settings.identity.jwt_secret, settings.identity.root_token) == ((), None, None)
    assert settings.serving == Serving(host="127.0.0.1", port=9527)
    assert settings.identity.login_time == 180
    assert settings.serving.allow_origins == ()


@pytest.mark.requirement(
    "seed004.auth0-domain", "seed004.auth0-audience", "seed004.auth0-issuer", "seed004.auth0-namespace"
)
def test_seed_004s_names_of_a_tenant() -> None:
    settings = load(
        {
            "AUTH0_CLIENT_ID": "paEag",
            "AUTH0_DOMAIN": "your-tenant.auth0.com",
            "AUTH0_AUDIENCE": "https://your-tenant.auth0.com/api/v2/",
            "AUTH0_ISSUER": "https://your-organization.com/",
            "AUTH0_NAMESPACE": "https://your-organization.com",
        }
    )
    (tenant,) = settings.identity.issuers
    assert (tenant.alias, tenant.issuer) == ("auth0", "https://your-tenant.auth0.com/")
    assert tenant.audiences == {"https://your-tenant.auth0.com/api/v2/"}
    assert tenant.plain_ids
    assert tenant.algorithms == {"RS256", "ES256", "PS256", "EdDSA"}
    assert tenant.namespace == "https://your-organization.com/"
    assert settings.identity.issuer == "https://your-organization.com/"
    assert settings.identity.audience == "https://your-tenant.auth0.com/api/v2/"
    assert settings.identity.namespace == "https://your-organization.com/"


@pytest.mark.requirement("seed004.auth0-issuer")
def test_the_tenant_is_not_the_issuer_of_our_own_tokens_unless_a_secret_tells_them_apart() -> None:
    tenant = {"AUTH0_DOMAIN": "t.example", "AUTH0_AUDIENCE": "a", "AUTH0_ISSUER": "https://t.example/"}
    assert load(tenant).identity.issuer == ""
    assert load(tenant | {"JWT_SECRET": SECRET}).identity.issuer == "https://t.example/"


@pytest.mark.requirement("seed004.auth0-domain")
@pytest.mark.parametrize(
    ("domain", "issuer"),
    [
        ("127.0.0.1:4711", "http://127.0.0.1:4711/"),
        ("localhost:80", "http://localhost:80/"),
        ("[::1]:4711", "http://[::1]:4711/"),
        ("tenant.example", "https://tenant.example/"),
        ("Tenant.Example:8443", "https://tenant.example:8443/"),
    ],
)
def test_a_tenant_is_https_unless_it_is_this_machine(domain: str, issuer: str) -> None:
    (tenant,) = load({"AUTH0_DOMAIN": domain, "AUTH0_AUDIENCE": "a"}).identity.issuers
    assert tenant.issuer == issuer


@pytest.mark.requirement("seed004.auth0-domain")
@pytest.mark.parametrize(
    "domain", ["https://t.example", "t.example/path", "t example", "user@t.example", "t.example:x"]
)
def test_a_domain_that_is_more_than_a_host_is_refused(domain: str) -> None:
    with pytest.raises(InvalidSetting, match="AUTH0_DOMAIN"):
        load({"AUTH0_DOMAIN": domain, "AUTH0_AUDIENCE": "a"})


@pytest.mark.requirement("seed004.auth0-audience")
def test_a_tenant_without_an_audience_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="AUTH0_AUDIENCE"):
        load({"AUTH0_DOMAIN": "t.example"})


@pytest.mark.requirement("seed004.bp-environment", "J-38")
@pytest.mark.parametrize(
    "name", ["JWT_SECRET", "HYPHA_JWT_SECRET", "VALETKEY_JWT_SECRET", "VALETKEY_IDENTITY__JWT_SECRET"]
)
def test_a_secret_under_32_bytes_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(InvalidSetting, match="jwt_secret") as caught:
        load({name: SECRET[:31]})
    assert SECRET[:31] not in str(caught.value)
    taken = load({name: SECRET}).identity.jwt_secret
    assert taken is not None
    assert taken.matches(SECRET)


@pytest.mark.requirement("seed004.bp-environment")
def test_the_environment_is_only_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JWT_SECRET", raising=False)
    before = dict(os.environ)
    load_server(Path.cwd(), os.environ)
    assert dict(os.environ) == before


def test_the_stronger_source_wins_and_our_name_before_seed_004s() -> None:
    other = "another-secret-of-thirty-two-bytes!!"
    toml = f'[identity]\njwt_secret = "{other}"\n[server]\nport = 1\n'
    found = load({"JWT_SECRET": SECRET}, toml=toml).identity.jwt_secret
    assert found is not None
    assert found.matches(SECRET)
    both = load({"HYPHA_JWT_SECRET": other, "VALETKEY_IDENTITY__JWT_SECRET": SECRET}).identity.jwt_secret
    assert both is not None
    assert both.matches(SECRET)
    assert load({"VALETKEY_PORT": "2"}).serving.port == 2  # not the file's server.port
    assert load({"VALETKEY_PORT": "2"}, keywords={"server.port": 3}).serving.port == 3


@pytest.mark.requirement("seed004.auth0-dotenv")
def test_a_dotenv_file_is_read_with_seed_004s_names() -> None:
    settings = load(dotenv=f"JWT_SECRET={SECRET}\nAUTH0_DOMAIN=t.example\nAUTH0_AUDIENCE=a\nMAXIMUM_LOGIN_TIME=60\n")
    assert settings.identity.login_time == 60
    assert [issuer.issuer for issuer in settings.identity.issuers] == ["https://t.example/"]


@pytest.mark.requirement("d29.calls", "C8.serve")
def test_limits_and_names_of_seed_004() -> None:
    settings = load(
        {
            "HYPHA_HTTP_RATE_LIMIT": "7.5",
            "HYPHA_HTTP_RATE_BURST": "9",
            "HYPHA_HTTP_AUTHENTICATED_RATE_LIMIT": "70",
            "HYPHA_SERVER_ID": "one",
            "HYPHA_LOGLEVEL": "INFO",
        }
    )
    assert settings.serving.rate == Rate(per_second=7.5, burst=9)
    assert settings.serving.signed_in_rate == Rate(per_second=70, burst=5000)
    assert (settings.serving.server_id, settings.serving.log_level) == ("one", "info")


@pytest.mark.requirement("seed004.bp-environment", "C8.serve")
def test_options_are_read_from_the_environment_only_when_asked_for() -> None:
    environ = {
        "HYPHA_HOST": "192.0.2.1",
        "HYPHA_PORT": "9000",
        "HYPHA_PUBLIC_BASE_URL": "https://my-org.com/",
        "HYPHA_BASE_PATH": "hub/",
        "HYPHA_ALLOW_ORIGINS": "https://a.example,https://b.example",
        "HYPHA_STARTUP_FUNCTIONS": "a.py:one pkg.two:three",
        "HYPHA_ROOT_TOKEN": SECRET,
        "HYPHA_TRUSTED_PROXY": "10.0.0.0/8",
        "HYPHA_REDIS_URI": "redis://127.0.0.1:1/0",
    }
    plain = load(environ)
    assert (plain.serving.host, plain.identity.root_token) == ("127.0.0.1", None)
    asked = load(environ, options=True)
    serving = asked.serving
    assert (serving.host, serving.port, serving.base_path) == ("192.0.2.1", 9000, "/hub")
    assert serving.public_base_url == "https://my-org.com"
    assert serving.allow_origins == ("https://a.example", "https://b.example")
    assert serving.startup_functions == ("a.py:one", "pkg.two:three")
    assert serving.trusted_proxies == {"10.0.0.0/8"}
    assert asked.identity.root_token is not None
    assert asked.config.general.redis_url is not None


def test_the_path_of_the_public_address_is_what_comes_before_ours() -> None:
    serving = load(toml="[server]\npublic_base_url = 'https://example.com/hub/'").serving
    assert (serving.public_base_url, serving.base_path) == ("https://example.com", "/hub")
    with pytest.raises(InvalidSetting, match="public_base_url and base_path"):
        load(toml="[server]\npublic_base_url = 'https://example.com/hub'\nbase_path = 'other'")


@pytest.mark.requirement("C8.serve")
def test_names_that_mean_nothing_are_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hypha, "_said", set())
    environ = {"HYPHA_STATIC_MOUNTS": "x", "HYPHA_NEVER_HEARD_OF": "1", "HYPHA_HOST": "x", "HOME": "/x"}
    environ |= {f"HYPHA_{name}": "x" for name in ("TOKEN", "SERVER_URL", "WORKSPACE", "CLIENT_ID")}  # the client's own
    with caplog.at_level(logging.WARNING, logger="valetkey"):
        load(environ)
        load(environ)
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.endswith(": HYPHA_NEVER_HEARD_OF, HYPHA_STATIC_MOUNTS")


ISSUER = '[issuers.corp]\nissuer = "https://login.example"\naudiences = ["us"]\n'


@pytest.mark.requirement("C2.issuers")
def test_issuers_of_the_settings() -> None:
    settings = load(
        toml=ISSUER
        + 'algorithms = ["ES256"]\nnamespace = "https://ns.example"\nclient_id = "c"\nclient_secret = "s"\n'
        + 'introspection_url = "https://login.example/introspect"\n'
        + '[issuers.tenants]\nissuer = "https://l.example/{tid}/v2.0"\ntenants = ["a"]\naudiences = "one, two"\n'
    )
    corp, tenants = settings.identity.issuers
    assert (corp.alias, corp.issuer, corp.plain_ids) == ("corp", "https://login.example", False)
    assert corp.algorithms == {"ES256"}
    assert corp.namespace == "https://ns.example/"
    assert corp.client_secret is not None
    assert tenants.audiences == {"one", "two"}


@pytest.mark.requirement("E-08")
@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ("[identity]\njwt_secrt = 'x'", "identity.jwt_secrt.*jwt_secret"),
        ("[server]\nprot = 1", "server.prot.*port"),
        ("[server]\nport = 'many'", "server.port"),
        ("[server]\nport = 70000", "server.port"),
        ("[server]\nrate = 3", "server.rate"),
        ("[server.rate]\nper_second = 0", "server.rate.per_second"),
        ("[server.rate]\nburst = 0", "server.rate.burst"),
        ("[server]\nbase_path = 'a b'", "server.base_path"),
        ("[server]\npublic_base_url = 'example.com'", "public_base_url"),
        ("[server]\npublic_base_url = 'https://example.com/path?x'", "public_base_url"),
        ("[server]\nallow_origins = ['null']", "allow_origins"),
        ("[server]\nallow_origins = ['https://a.example/path']", "allow_origins"),
        ("[server]\nallow_origins = ['http://a.example']", "allow_origins"),
        ("[server]\ntrusted_proxies = ['*']", "trusted_proxies"),
        ("[server]\ntls_cert = 'c.pem'", "tls_key"),
        ("[server]\nlog_level = 'loud'", "server.log_level"),
        ("[identity]\nroot_token = 'short'", "root_token"),
        ("[identity]\nroot_token = 'has a space in it, and is long enough'", "root_token"),
        ("[identity]\ntoken_lifetime = -1", "identity.token_lifetime"),
        ("[identity]\ntoken_lifetime = inf", "identity.token_lifetime"),
        ("[identity]\nsession_idle = 31536000", "session_idle"),
        ("[issuers]\ncorp = 'https://x.example'", r"issuers.corp.*\[issuers.corp\]"),
        ("[issuers.corp]\naudiences = ['us']", r"issuers.corp\] has no issuer"),
        ("[issuers.corp]\nissuer = 'https://x.example'", "has no audiences"),
        ("[issuers.corp]\nissuer = 'https://x.example'\naudiences = []", "has no audiences"),
        (ISSUER + "audience = 'us'", "issuers.corp.audience.*audiences"),
        (ISSUER + "trust = 'operator'", "issuers.corp.trust"),
        (ISSUER + "algorithms = []", "issuers.corp.algorithms"),
        (ISSUER + "algorithms = ['none']", "issuers.corp.algorithms"),
        (ISSUER + "algorithms = ['RS256', 'HS256']", "issuers.corp.algorithms"),
        (ISSUER + "jwks_url = 'http://keys.example/jwks'", "issuers.corp.jwks_url.*https"),
        (ISSUER + "jwks_url = 'file:///etc/passwd'", "issuers.corp.jwks_url"),
        (ISSUER + "jwks_url = 'data:application/json,{}'", "issuers.corp.jwks_url"),
        (ISSUER + "introspection_url = 'ftp://keys.example/x'", "issuers.corp.introspection_url"),
        (ISSUER.replace("https:", "http:"), "issuers.corp.issuer.*https"),
        (ISSUER + "tenants = ['a']", "tid"),
        (ISSUER.replace("login.example", "login.example/{tid}"), "tid"),
        (ISSUER.replace("issuers.corp", "issuers.local"), "issuers.local"),
        (ISSUER.replace("issuers.corp", "issuers.Corp"), "issuers.Corp"),
        (ISSUER.replace("issuers.corp", "issuers.'a.b'"), "issuers.a.b"),
        (ISSUER + ISSUER.replace("issuers.corp", "issuers.other"), "same URL"),
        ("[auth0]\ntenant = 'x'", "auth0.tenant"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_name(toml: str, named: str) -> None:
    with pytest.raises(InvalidSetting, match=f"(?s){named}"):
        load(toml=toml)


def test_http_is_taken_from_this_machine() -> None:
    toml = (
        ISSUER.replace("https://login.example", "http://127.0.0.1:8080") + "jwks_url = 'http://localhost:8080/jwks'\n"
    )
    (issuer,) = load(toml=toml).identity.issuers
    assert issuer.jwks_url == "http://localhost:8080/jwks"


def test_a_program_with_a_pocket_reads_the_same_file(caplog: pytest.LogCaptureFixture) -> None:
    load(toml=f"{ISSUER}[server]\nport = 1\n[identity]\njwt_secret = '{SECRET}'\n")
    Config.load(Path.cwd(), {"VALETKEY_ROOT_TOKEN": SECRET, "VALETKEY_PORT": "1"})
    assert "not known" not in caplog.text
