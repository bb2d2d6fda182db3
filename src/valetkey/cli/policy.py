"""valetkey policy: the rules by which calls are allowed."""

from __future__ import annotations

import os
from pathlib import Path

from valetkey.cli.output import print_json, print_table


def show_policy(*, as_json: bool) -> None:
    """Print the rules in force: the built-in ones, and those of the settings.

    Raises:
        InvalidSetting: a rule of the settings cannot be used.
    """
    from valetkey.policy.rules import shown
    from valetkey.settings.pocket import Config
    from valetkey.settings.policy import read_rules

    rules = [shown(rule) for rule in read_rules(Config.load(Path.cwd(), os.environ).sources)]
    if as_json:
        print_json(rules)
        return
    print_table(
        ("rule", "effect", "from", "what it says"),
        ((rule["name"], rule["effect"], rule["source"], rule["text"]) for rule in rules),
    )
    print(
        "\nA rule that denies beats one that asks, and one that asks beats one that allows. All else is refused."
        "\nRules of your own: [[policy.rules]] in valetkey.toml."
    )
