"""A provider's file is read strictly: what is wrong is named with file and key."""

import pytest

from valetkey.errors import InvalidSetting
from valetkey.providers.catalog.load import load

GOOD = """
title = "My service"
docs = "https://mine.example/docs"
origins = ["https://api.mine.example", "https://*.tenants.mine.example"]

[handlers.my-service-oauth2]
kind = "oauth2"
default = true
variables = { MY_SERVICE_TOKEN = "access_token" }

[handlers.my-service-oauth2.oauth2]
authorize = "https://{domain}.mine.example/authorize"
token = "https://{domain}.mine.example/token"
lifetime = 60

[handlers.my-service-basic]
kind = "basic"
variables = { MY_SERVICE_BASIC = "basic", MY_SERVICE_USER = "username" }
fields = [{ name = "username", label = "User", secret = false }, { name = "password", label = "Password" }]

[source]
authorization = "https://mine.example/docs"
"""


def read(tmp_path, text, *, operator=True, name="my_service"):
    folder = tmp_path / "valetkey_providers"
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}.toml"
    file.write_text(text, encoding="utf-8")
    return load(file, operator=operator)


def test_a_whole_file(tmp_path):
    provider = read(tmp_path, GOOD)
    assert (provider.name, provider.title) == ("my_service", "My service")
    assert provider.origins == {"https://api.mine.example", "https://*.tenants.mine.example"}
    oauth2, basic = provider.handlers
    assert provider.default_handler is oauth2
    assert (oauth2.scoped, basic.scoped) == (True, False)
    assert oauth2.oauth2.lifetime == 60.0
    assert oauth2.oauth2.token.operator
    assert not read(tmp_path, GOOD, operator=False).handlers[0].oauth2.token.operator


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ('title = "My service"', "", "title is missing"),
        ('title = "My service"', 'title = " "', "title is empty"),
        ('title = "My service"', "title = 7", "title is not of type str"),
        ('title = "My service"', 'title = "x"\nname = "y"', "name is not known here"),
        ('docs = "https://mine.example/docs"', 'docs = "mine.example"', "docs does not begin with https"),
        ("lifetime = 60", "lifetime = 0", r"handlers\.my-service-oauth2\.oauth2\.lifetime is not a number of seconds"),
        ("lifetime = 60", 'lifetime = "60"', r"oauth2\.lifetime is not of type"),
        ("lifetime = 60", "lifetime = true", r"oauth2\.lifetime is not of type"),
        ("lifetime = 60", "pkce = 1", r"oauth2\.pkce is not of type bool"),
        ("lifetime = 60", "liftime = 60", r"oauth2\.liftime is not known here; there are .*lifetime"),
        ("lifetime = 60", 'client_auth = "client_secret"', "client_auth is none of client_secret_basic"),
        ("lifetime = 60", 'token_format = "xml"', "token_format is none of form, json"),
        ("lifetime = 60", "iss_in_callback = true", "iss_in_callback needs issuer"),
        ("lifetime = 60", 'error_codes = { bad = "worse" }', r"error_codes\.bad is no error of RFC 6749"),
        ("lifetime = 60", "error_codes = { bad = 1 }", r"error_codes\.bad is not of type str"),
        ("lifetime = 60", 'refresh_scopes = "a b"', "refresh_scopes is not of type list"),
        ("lifetime = 60", 'refresh_scopes = ["a", "a"]', "refresh_scopes names something twice"),
        ("lifetime = 60", "refresh_scopes = [1]", "refresh_scopes is not a list of strings"),
        ("lifetime = 60", 'scope_implies = { a = "b" }', r"scope_implies\.a is not a list of strings"),
        ('token = "https://{domain}', 'token = "http://{domain}', "token is http, which is taken on loopback only"),
        ('token = "https://{domain}', 'token = "javascript:{domain}', "token does not begin with https"),
        ('token = "https://{domain}.mine.example/token"', "", "token is missing"),
        ("[handlers.my-service-oauth2.oauth2]", "[handlers.my-service-oauth2.oauth]", "oauth2 is missing"),
        ("[handlers.my-service-basic]", "[handlers.My_Basic]", "handlers.My_Basic is no handler's name"),
        ('kind = "basic"', 'kind = "basics"', "kind is none of oauth2, device, .*token, basic, key_pair"),
        ('kind = "basic"', "", "kind is missing"),
        ('kind = "basic"', 'kind = "custom"', r"handlers\.my-service-basic\.handler is missing"),
        ('kind = "basic"', 'kind = "basic"\ndefault = true', "handlers has 2 with default = true"),
        ("default = true", "", "handlers has 0 with default = true"),
        ("default = true", 'default = "yes"', "default is not of type bool"),
        ('name = "password"', 'name = "username"', "fields names each value that is pasted, once"),
        ('name = "password"', 'name = "pass"', "fields has username and password"),
        ('name = "password"', 'name = "Pass"', r"fields\[1\]\.name is no field's name"),
        ('label = "Password"', 'lable = "Password"', r"fields\[1\]\.label is missing"),
        ('MY_SERVICE_USER = "username"', 'MY_SERVICE_USER = "user"', r"variables\.MY_SERVICE_USER is none of basic"),
        ("MY_SERVICE_USER =", "my_service_user =", r"variables\.my_service_user is no variable's name"),
        ('{ MY_SERVICE_TOKEN = "access_token" }', "{}", "variables is empty"),
        ('"https://api.mine.example"', '"https://api.mine.example/v1"', r"origins\[0\] is no origin"),
        ('"https://*.tenants.mine.example"', '"https://*.example"', r"origins\[1\] names no host"),
        ('"https://*.tenants.mine.example"', '"https://a.*.example"', r"origins\[1\] names no host"),
        ('"https://*.tenants.mine.example"', '"HTTPS://API.example"', r"origins\[1\] is no origin"),
        ("authorization =", "authorisation =", r"source\.authorisation is none of authorization"),
        ('authorization = "https', 'authorization = "http', r"source\.authorization is neither the https address"),
        ("[source]", "source = 1\n[unknown]", "source"),
    ],
)
def test_what_is_refused(tmp_path, good, bad, said):
    assert good in GOOD
    with pytest.raises(InvalidSetting, match=rf"valetkey_providers/my_service\.toml: .*{said}"):
        read(tmp_path, GOOD.replace(good, bad, 1))


@pytest.mark.parametrize("text", ["title =", 'a = "\ud83d', "\x00", "[x]\n[x]"])
def test_what_is_no_toml_is_refused(tmp_path, text):
    folder = tmp_path / "valetkey_providers"
    folder.mkdir()
    (folder / "broken.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InvalidSetting, match=r"valetkey_providers/broken\.toml is no TOML"):
        load(folder / "broken.toml", operator=True)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "gone.toml").mkdir()
    with pytest.raises(InvalidSetting, match=r"gone\.toml cannot be read"):
        load(tmp_path / "gone.toml", operator=False)


def test_loopback_without_tls_is_for_the_users_own_files(tmp_path):
    text = GOOD.replace("https://{domain}.mine.example/token", "http://localhost:9000/token")
    assert read(tmp_path, text).handlers[0].oauth2.token.url == "http://localhost:9000/token"
    with pytest.raises(InvalidSetting, match="taken on loopback only"):
        read(tmp_path, text, operator=False)
