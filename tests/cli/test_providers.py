"""valetkey providers: found among hundreds by a word, and shown with all that a newcomer asks."""

import json
from pathlib import Path

import pytest

from valetkey.cli.main import main

MINE = """
title = "My Service"
docs = "https://example.com/apps"
origins = ["https://{region}.api.example.com"]

[handlers.mine-oauth2]
kind = "oauth2"
default = true
description = "An account at our own service."
recommended_scopes = ["base"]
variables = { MINE_TOKEN = "access_token" }

[handlers.mine-oauth2.oauth2]
issuer = "https://login.example.com"
device = "https://login.example.com/device"
registration = "https://login.example.com/register"
client_auth = "client_secret_basic"
scope_parameter = "scopes"
scope_separator = ","
refresh_scopes = ["offline"]
pkce = false
authorize_parameters = { access_type = "offline" }

[handlers.mine-oauth2.placement]
header = "X-Mine"

[handlers.mine-oauth2.userinfo]
url = "https://{region}.api.example.com/me"

[handlers.mine-token]
kind = "token"
variables = { MINE_TOKEN = "access_token" }
fields = [{ name = "access_token", label = "Mine API key" }]

[handlers.mine-token.placement]
query = "key"

[source]
authorization = "https://example.com/oauth"
token = "https://example.com/oauth"
origins = "https://example.com/api"
"""


@pytest.fixture(autouse=True)
def mine(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    Path("valetkey_providers").mkdir()
    Path("valetkey_providers/mine.toml").write_text(MINE)


def lines(capsys) -> list[str]:
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("word", ["xero", "XERO", "my serv", "mine_token", "mine-device"])
def test_a_word_finds_by_name_title_or_handler(word, capsys):
    assert main(["providers", "list", word]) == 0
    _head, _rule, *rows = lines(capsys)
    assert [row.split()[0] for row in rows] == ["xero" if "xero" in word.lower() else "mine"]


def test_a_row_names_each_way_to_connect_with_the_default_first(capsys):
    main(["providers", "list", "mine"])
    *_, row = lines(capsys)
    assert "mine-oauth2, mine-token, mine-device" in row
    assert row.endswith("MINE_TOKEN")


def test_the_columns_of_the_whole_list_are_aligned(capsys):
    assert main(["providers", "list"]) == 0
    head, _rule, *rows = lines(capsys)
    assert len(rows) >= 250
    start = head.index("title")
    assert all(row[start - 1] == " " and row[start] != " " for row in rows)
    assert max(map(len, rows)) < 200


def test_a_word_that_is_nowhere_says_what_to_do(capsys):
    assert main(["providers", "list", "zzqx"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("valetkey: There is no provider with 'zzqx' in its name, title or handlers.")
    assert "valetkey providers list" in said.err
    for advised in ("create-oauth2-auth-template", "create-token-auth-template"):
        assert advised in said.err
        assert main(["devtool", advised, "--help"]) == 0
    capsys.readouterr()
    assert main(["providers", "list", "zzqx", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_word_narrows_the_json_and_leaves_its_shape(capsys):
    main(["providers", "list", "mine", "--json"])
    (row,) = json.loads(capsys.readouterr().out)
    assert row == {
        "name": "mine",
        "title": "My Service",
        "handlers": [
            {"name": "mine-oauth2", "kind": "oauth2", "default": True},
            {"name": "mine-token", "kind": "token", "default": False},
        ],
        "variables": ["MINE_TOKEN"],
        "source": str(Path("valetkey_providers/mine.toml")),
    }


def test_a_provider_is_shown_with_all_that_a_newcomer_asks(capsys):
    assert main(["providers", "show", "mine"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for told in (
        "My Service (mine, valetkey_providers/mine.toml)",
        "API https://{region}.api.example.com",
        "register at https://example.com/apps",
        "settings [auth.mine] client_id, client_secret, region",
        "mine-oauth2 (oauth2, the default)",
        "what it is An account at our own service.",
        "issuer https://login.example.com",
        "device url https://login.example.com/device",
        "registration url https://login.example.com/register",
        "endpoints what is not here, the issuer's metadata names",
        "client auth client_secret_basic",
        "PKCE no",
        "scopes joined by commas in scopes; for a refresh token also offline",
        "sent besides access_type=offline",
        "recommended base",
        "token goes into X-Mine: <token>",
        "whose it is https://{region}.api.example.com/me",
        "mine-token (token) tools read MINE_TOKEN person pastes Mine API key token goes into ?key=<token>",
        "mine-device a code that the person enters elsewhere",
        "mine-client-credentials the program's own account",
        "mine-token-exchange on behalf of the caller",
        "mine-service-account a signed assertion",
        "https://example.com/oauth authorization, token",
        "https://example.com/api origins",
    ):
        assert told in shown


def test_what_is_shown_as_json_has_the_same(capsys):
    main(["providers", "show", "mine", "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert shown["settings"] == ["client_id", "client_secret", "region"]
    assert list(shown["further"]) == [
        "mine-device", "mine-client-credentials", "mine-token-exchange", "mine-service-account",
    ]  # fmt: skip
    oauth2, pasted = shown["handlers"]
    assert oauth2["device_url"] == "https://login.example.com/device"
    assert oauth2["discovered"] is True
    assert pasted["placement"] == "?key=<token>"
    assert shown["facts"]["origins"] == "https://example.com/api"


def test_a_pasted_token_needs_no_settings_and_says_how_it_is_sent(capsys):
    main(["providers", "show", "deepl"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "settings none needed" in shown
    assert "token goes into Authorization: DeepL-Auth-Key <token>" in shown
    assert "Further handlers" not in shown
    main(["providers", "show", "bamboohr"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "settings [auth.bamboohr] company" in shown
    assert "token goes into Authorization: Basic base64(<token>:x)" in shown


def test_a_public_client_needs_no_secret(capsys):
    main(["providers", "show", "lichess"])
    assert "[auth.lichess] client_id\n" in capsys.readouterr().out


def test_a_handler_s_name_shows_its_provider(capsys):
    for named, heading in (("mine-token", "My Service (mine,"), ("mine-device", "My Service (mine,")):
        assert main(["providers", "show", named]) == 0
        assert capsys.readouterr().out.startswith(heading)
    assert main(["providers", "show", "min"]) == 2
    assert "Did you mean mine?" in capsys.readouterr().err


def test_a_class_of_one_s_own_is_shown_with_what_tools_read_and_whose_settings_count(capsys):
    main(["devtool", "create-token-auth-template", "acme", "--handler"])
    capsys.readouterr()
    assert main(["providers", "show", "acme"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for told in (
        "settings those of [auth.acme] that its class reads",
        "class acme.token_handler:AcmeTokenAuthHandler",
        "tools read ACME_TOKEN",
    ):
        assert told in shown
