"""[[policy.rules]] in settings, and valetkey policy show."""

import json
import stat
from pathlib import Path

import pytest

from valetkey.cli.main import main
from valetkey.errors import InvalidSetting
from valetkey.policy.rules import Effect, Rule, WrittenRule
from valetkey.settings.pocket import Config
from valetkey.settings.policy import read_rules

GOOD = """
[[policy.rules]]
name = "no-payments"
effect = "deny"
tools = ["pay_*"]
reason = "money stays here"

[[policy.rules]]
name = "ops"
effect = "allow"
tools = ["*"]
entrances = ["http", "rpc"]
users = ["Ann@Example.com", "auth0|Bob"]
roles = ["ops"]
workspaces = ["ws-a#rw"]
scopes = ["tool:post"]
providers = ["Slack"]
"""


def rules(text: str = "", **environ: str) -> tuple[Rule, ...]:
    if text:
        Path("valetkey.toml").write_text(text, "utf-8")
    return read_rules(Config.load(Path.cwd(), environ).sources)[3:]


@pytest.mark.requirement("C7.rules")
def test_rules_are_read_as_they_are_written():
    deny, ops = rules(GOOD)
    assert deny == WrittenRule(name="no-payments", effect=Effect.DENY, tools=("pay_*",), reason="money stays here")
    assert ops == WrittenRule(
        name="ops",
        effect=Effect.ALLOW,
        tools=("*",),
        entrances=frozenset({"http", "rpc"}),
        users=frozenset({"ann@example.com", "auth0|Bob"}),
        roles=frozenset({"ops"}),
        workspaces=frozenset({"ws-a#rw"}),
        scopes=frozenset({"tool:post"}),
        providers=frozenset({"slack"}),
    )


RULE = '[[policy.rules]]\nname = "ok"\neffect = "deny"\ntools = ["x"]\n\n[[ policy.rules ]]\n'
WRONG = [
    ('name = "a"\neffect = "allow"\ntool = ["x"]', r"'a' \(valetkey.toml, line 9\).*Did you mean tools\?"),
    ('name = "a"\neffect = "allow"\nzzz = 1', r"line 9.*zzz is not known\. A rule has name, effect"),
    ('name = "a"\neffect = "permit"\ntools = ["x"]', r"line 8.*effect has to be allow, deny, ask"),
    ('name = "a"\neffect = 1\ntools = ["x"]', r"line 8.*effect has to be a text"),
    ('effect = "allow"\ntools = ["x"]', r"number 2 \(valetkey.toml, line 6\).*it has no name"),
    ('name = "a"\neffect = "allow"\ntools = "x"', r"line 9.*tools has to be a list of texts"),
    ('name = "a"\neffect = "allow"\ntools = [1]', r"line 9.*tools has to be a list of texts"),
    ('name = "a"\neffect = "allow"\nusers = []', r"line 9.*users is empty"),
    ('name = "a"\neffect = "allow"', r"line 6.*it has no condition"),
    ('name = "a"\neffect = "allow"\nentrances = ["htp"]', r"line 9.*no way in 'htp'"),
    ('name = "a"\neffect = "allow"\nworkspaces = ["ws-a"]', r"line 9.*'ws-a' is no permission"),
    ('name = "a"\neffect = "allow"\nworkspaces = ["ws-a#w"]', r"line 9.*is no permission"),
    ('name = "\\u001b[2J"\neffect = "allow"\ntools = ["x"]', r"number 2.*name has to be a text"),
    ('name = "ok"\neffect = "allow"\ntools = ["x"]', r"Two rules of the policy have the name ok"),
    ('name = "own-pocket"\neffect = "deny"\ntools = ["x"]', r"Two rules of the policy have the name own-pocket"),
]


@pytest.mark.requirement("E-08")
@pytest.mark.parametrize(("text", "told"), WRONG)
def test_a_rule_that_cannot_be_used_is_an_error_that_names_it_and_its_line(text, told):
    with pytest.raises(InvalidSetting, match=told):
        rules(RULE + text + "\n")


@pytest.mark.parametrize("text", ["policy.rules = 1", "[policy]\nrulez = []", "policy.rules = [1]"])
def test_what_is_no_list_of_rules_is_an_error(text):
    with pytest.raises(InvalidSetting):
        rules(text)


def test_rules_of_every_source_hold():
    Path(".secrets.toml").write_text('[[policy.rules]]\nname = "s"\neffect = "deny"\ntools = ["x"]\n')
    Path(".secrets.toml").chmod(stat.S_IRUSR | stat.S_IWUSR)
    given = json.dumps([{"name": "e", "effect": "ask", "tools": ["y"]}])
    assert [rule.name for rule in rules(GOOD, VALETKEY_POLICY__RULES=given)] == ["e", "s", "no-payments", "ops"]


def test_the_environment_has_to_hold_json():
    with pytest.raises(InvalidSetting, match="has to be JSON"):
        rules(VALETKEY_POLICY__RULES="deny all")


def test_a_system_of_these_settings_asks_them(capsys):
    Path("valetkey.toml").write_text(GOOD)
    assert main(["policy", "show", "--json"]) == 0
    shown = {rule["name"]: rule for rule in json.loads(capsys.readouterr().out)}
    assert list(shown) == ["own-pocket", "own-connections", "chat-operations", "no-payments", "ops"]
    assert shown["no-payments"]["effect"] == "deny"
    assert shown["no-payments"]["conditions"] == {"tools": ["pay_*"]}
    assert shown["no-payments"]["text"] == "Refuses a call of the tool pay_* (money stays here)."


def test_the_page_says_what_beats_what(capsys):
    assert main(["policy", "show"]) == 0
    assert "denies beats one that asks" in capsys.readouterr().out


def test_a_rule_that_cannot_be_used_is_shown_as_one_line(capsys):
    Path("valetkey.toml").write_text('[[policy.rules]]\nname = "a"\neffect = "allow"\n')
    assert main(["policy", "show"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "line 1" in told
