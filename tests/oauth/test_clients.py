"""Who we are at a provider: from settings, read anew each time."""

import os

import pytest

from tests.oauth.fakes import SECRET, Settings, provider
from valetkey.errors import InvalidSetting, MissingSetting
from valetkey.oauth.clients import Clients
from valetkey.providers.base import Endpoint
from valetkey.secret import Secret
from valetkey.settings.pocket import Config


def oauth2(found):
    return found.handlers[0].oauth2


def test_a_provider_without_settings_has_empty_ones():
    settings = Clients(lambda name: None).of("slack")
    assert (settings.client_id, settings.client_secret, dict(settings.environment)) == ("", None, {})
    assert settings.use_recommended_scope


def test_a_missing_client_id_names_what_to_write_and_where():
    with pytest.raises(MissingSetting) as missing:
        Clients(lambda name: None).require(provider())
    text = str(missing.value)
    assert "auth.example.client_id is not set" in text
    assert '[auth.example]\n    client_id = "…"\n    client_secret = "…"' in text
    assert "valetkey.toml" in text
    assert "VALETKEY_AUTH__EXAMPLE__CLIENT_ID" in text
    assert "VALETKEY_AUTH__EXAMPLE__CLIENT_SECRET" in text
    assert "https://example.test/register" in text


def test_settings_assigned_at_run_time_hold_at_once():
    settings = Settings(client_id="")
    clients = settings.clients
    with pytest.raises(MissingSetting):
        clients.require(provider())
    settings.set("example", client_id="later")
    assert clients.require(provider()).client_id == "later"


def test_a_public_client_needs_no_secret():
    assert Settings(client_secret=None).clients.require(provider()).client_id == "id-1"


def test_settings_do_not_print_their_secret():
    assert SECRET.reveal() not in repr(Settings().clients.of("example"))


def test_the_secrets_that_a_provider_may_know_us_by():
    old = Secret("cs-canary-old")

    def secrets(**given):
        return Settings(**given).clients.of("example").secrets

    assert secrets() == (SECRET,)
    assert secrets(previous_client_secret=old) == (SECRET, old)
    assert secrets(client_secret=None, previous_client_secret=old) == (old,)
    assert secrets(previous_client_secret=SECRET) == (SECRET,)
    assert secrets(client_secret=Secret(""), previous_client_secret=Secret("")) == ()
    assert "canary" not in repr(Settings(previous_client_secret=old).clients.of("example"))


def test_what_is_remembered_of_a_provider_is_shared():
    clients = Settings().clients
    assert clients.notes(provider()) is clients.notes(provider())
    assert clients.notes(provider()) is not Settings().clients.notes(provider())


class TestEndpoints:
    def test_without_overrides_they_are_the_catalogues(self):
        assert Settings().clients.settle(provider()) == provider()

    def test_what_settings_name_is_the_operators(self):
        settings = Settings(authorize_url="http://localhost:9/a", token_url="http://localhost:9/t")
        found = oauth2(settings.clients.settle(provider(issuer="https://as.test", iss_in_callback=True)))
        assert found.authorize == Endpoint("http://localhost:9/a", operator=True)
        assert found.token == Endpoint("http://localhost:9/t", operator=True)
        assert (found.issuer, found.iss_in_callback) == ("", False)

    def test_a_token_of_another_server_never_goes_to_the_catalogues_revocation_endpoint(self):
        elsewhere = Settings(token_url="http://localhost:9/t").clients
        assert oauth2(elsewhere.settle(provider())).revoke is None
        named = Settings(token_url="http://localhost:9/t", revoke_url="http://localhost:9/r").clients
        assert oauth2(named.settle(provider())).revoke == Endpoint("http://localhost:9/r", operator=True)
        page_only = Settings(authorize_url="http://localhost:9/a").clients
        assert oauth2(page_only.settle(provider())).revoke == Endpoint("https://as.test/revoke")

    def test_placeholders_are_filled_by_the_operator(self):
        asked = provider(
            authorize=Endpoint("{domain_url}/authorize"), token=Endpoint("{domain_url}/token"), revoke=None
        )
        with pytest.raises(MissingSetting, match=r"auth\.example\.domain_url"):
            Settings().clients.settle(asked)
        found = oauth2(Settings(values={"domain_url": "https://acme.test/"}).clients.settle(asked))
        assert found.authorize == Endpoint("https://acme.test/authorize", operator=True)
        assert found.token == Endpoint("https://acme.test/token", operator=True)

    def test_a_hostile_one_is_a_setting_to_correct(self):
        with pytest.raises(InvalidSetting, match=r"auth\.example\.token_url"):
            Settings(token_url="http://as.test/token").clients.settle(provider())


def test_the_secret_before_is_a_secret_in_settings_too(caplog, tmp_path):
    file = tmp_path / "valetkey.toml"
    file.write_text('[auth.google]\nclient_id = "me"\nprevious_client_secret = "canary-before"\n', "utf-8")
    file.chmod(0o644)
    loaded = Config.load(tmp_path, {})
    found = loaded.client("google")
    assert found is not None
    assert found.secrets == (Secret("canary-before"),)
    assert "holds a secret (auth.google.previous_client_secret) and can be read by others" in caplog.text
    assert "canary" not in caplog.text + repr(found) + repr(loaded.auth.google)
    given = Config.load(tmp_path, {"VALETKEY_AUTH__GOOGLE__PREVIOUS_CLIENT_SECRET": "of-the-environment"})
    found = given.client("google")
    assert found is not None
    assert found.previous_client_secret == Secret("of-the-environment")


def refused(tmp_path, name, value):
    config = Config.load(tmp_path, {}, **{f"auth.google.{name}": value})
    with pytest.raises(InvalidSetting) as caught:
        config.client("google")
    assert f"auth.google.{name}" in str(caught.value)
    assert str(value) not in str(caught.value)
    return str(caught.value)


def test_a_typed_setting_that_cannot_be_used_is_named(tmp_path):
    for name in ("dpop", "use_recommended_scope"):
        assert "true or false" in refused(tmp_path, name, "perhaps")
    refused(tmp_path, "environment", '{"A": 5}')
    refused(tmp_path, "environment", 77)


def test_a_key_file_that_is_none_is_told_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty.pem").write_text("\n")
    for name in ("private_key", "service_account"):
        assert "is no file" in refused(tmp_path, name, f"file:{tmp_path}/pipe")
        assert "is no file" in refused(tmp_path, name, f"file:{tmp_path}")
        assert "is empty" in refused(tmp_path, name, f"file:{tmp_path}/empty.pem")
        for path in ("/srv/robot", "~/robot", "./robot", "robot.JSON", "robot.pem"):
            assert "Write file: before it" in refused(tmp_path, name, path)


def test_the_text_of_a_key_is_no_path(tmp_path):
    for text in ("-----BEGIN PRIVATE KEY-----\nMIIE/a\n-----END PRIVATE KEY-----", '{"kty": "EC", "kid": "a.key"}'):
        config = Config.load(tmp_path, {}, **{"auth.google.private_key": text})
        found = config.client("google")
        assert found is not None
        assert found.private_key == Secret(text)
