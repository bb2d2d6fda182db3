"""valetkey policy: the rules by which calls are allowed."""

from __future__ import annotations

from valetkey.cli.output import print_json, print_table


def show_policy(*, as_json: bool) -> None:
    """Print the rules in force."""
    from valetkey.policy.rules import BUILT_IN

    rules = [{"name": rule.name, "text": rule.text} for rule in BUILT_IN]
    if as_json:
        print_json(rules)
        return
    print_table(("rule", "what it allows"), ((rule["name"], rule["text"]) for rule in rules))
    print("\nAll else is refused.")
