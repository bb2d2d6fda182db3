"""[[policy.rules]]: the rules of the settings as the values that policy asks."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from typing import Any

from valetkey.errors import InvalidSetting
from valetkey.policy.rules import BUILT_IN, CONDITIONS, ENTRANCES, Effect, Rule, WrittenRule
from valetkey.settings.sources import Layer, Sources

RULES = "policy.rules"
KEYS = ("name", "effect", "reason", *CONDITIONS)
"""What a rule may have."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
_WORKSPACE = re.compile(r"[^\s#]{1,256}#(r|rw|a)")
_REASON = 256


def read_rules(sources: Sources) -> tuple[Rule, ...]:
    """The built-in rules, and those of every source: a weaker source's rules hold, too.

    Raises:
        InvalidSetting: one cannot be used; the text names the rule, and the line where it is in a file.
    """
    rules: list[Rule] = list(BUILT_IN)
    for layer in sources.layers:
        for name in layer.values:
            if name.startswith("policy.") and name != RULES:
                raise InvalidSetting(
                    f"{layer.source} has the setting {name}, which is not known. Rules are written below [[{RULES}]]."
                )
        rules += _rules(layer)
    names = [rule.name for rule in rules]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidSetting(f"Two rules of the policy have the name {twice}. Give each a name of its own.")
    return tuple(rules)


def _rules(layer: Layer) -> list[WrittenRule]:
    given = layer.values.get(RULES, [])
    if isinstance(given, str):  # an environment variable
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            raise InvalidSetting(f"{RULES} ({layer.source}) has to be JSON: a list of objects.") from None
    if not isinstance(given, list):
        raise InvalidSetting(f"{RULES} ({layer.source}) has to be a list of rules. Write each below [[{RULES}]].")
    return [_Reader(layer, number, rule).read() for number, rule in enumerate(given)]


class _Reader:
    """Reads one rule; whatever is wrong with it is told with its place."""

    def __init__(self, layer: Layer, number: int, given: object) -> None:
        self._layer = layer
        self._number = number
        self._given = given

    def read(self) -> WrittenRule:
        given = self._given
        if not isinstance(given, Mapping):
            raise self._wrong("", "a rule is a table")
        for key in given:
            if key not in KEYS:
                near = difflib.get_close_matches(key, KEYS, n=1)
                hint = f" Did you mean {near[0]}?" if near else f" A rule has {', '.join(KEYS)}."
                raise self._wrong(key, f"{key} is not known.{hint}")
        name = self._text(given, "name")
        if not _NAME.fullmatch(name):
            raise self._wrong("name", "a name has 1 to 64 letters, digits, spaces, '.', '_' or '-'")
        effect = self._text(given, "effect")
        if effect not in list(Effect):
            raise self._wrong("effect", f"effect has to be {', '.join(Effect)}")
        conditions = {kind: self._list(given, kind) for kind in CONDITIONS if kind in given}
        if not conditions:
            raise self._wrong("", 'it has no condition. One for every tool has tools = ["*"]')
        return WrittenRule(
            name=name,
            effect=Effect(effect),
            tools=tuple(conditions.get("tools", ())),
            entrances=self._known(conditions.get("entrances", ()), ENTRANCES),
            users=frozenset(each.lower() if "@" in each else each for each in conditions.get("users", ())),
            roles=frozenset(conditions.get("roles", ())),
            workspaces=self._workspaces(conditions.get("workspaces", ())),
            scopes=frozenset(conditions.get("scopes", ())),
            providers=frozenset(each.lower() for each in conditions.get("providers", ())),
            reason=self._text(given, "reason") if "reason" in given else "",
        )

    def _text(self, given: Mapping[str, Any], key: str) -> str:
        value = given.get(key)
        if value is None:
            raise self._wrong("", f"it has no {key}")
        if not isinstance(value, str) or not 0 < len(value) <= _REASON or not value.isprintable():
            raise self._wrong(key, f"{key} has to be a text of 1 to {_REASON} characters in one line")
        return value

    def _list(self, given: Mapping[str, Any], key: str) -> list[str]:
        value = given[key]
        if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
            raise self._wrong(key, f'{key} has to be a list of texts, such as {key} = ["…"]')
        if not value:
            raise self._wrong(key, f"{key} is empty, so that the rule would never fit. Take it out, or fill it")
        return value

    def _known(self, values: list[str] | tuple[str, ...], known: frozenset[str]) -> frozenset[str]:
        for each in values:
            if each not in known:
                raise self._wrong("entrances", f"there is no way in {each!r}. There are {', '.join(sorted(known))}")
        return frozenset(values)

    def _workspaces(self, values: list[str] | tuple[str, ...]) -> frozenset[str]:
        for each in values:
            if not _WORKSPACE.fullmatch(each):
                raise self._wrong(
                    "workspaces", f"{each!r} is no permission. Write workspace#r, workspace#rw or workspace#a"
                )
        return frozenset(values)

    def _wrong(self, key: str, what: str) -> InvalidSetting:
        line = self._layer.line_of(RULES, self._number, key)
        where = self._layer.source if line is None else f"{self._layer.source}, line {line}"
        name = self._given.get("name") if isinstance(self._given, Mapping) else None
        called = f"{name!r}" if isinstance(name, str) and _NAME.fullmatch(name) else f"number {self._number + 1}"
        return InvalidSetting(
            f"The policy's rule {called} ({where}) cannot be used: {what}{'' if what.endswith(('.', '?')) else '.'}"
        )
