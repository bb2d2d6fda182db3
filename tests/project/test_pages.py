"""Names in examples are names that accounts of this server have."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from valetkey.model.accounts import PREFIX

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("page", ["proxy.md", "services.md"])
def test_a_rule_or_a_block_names_a_person_as_their_key_does(page: str) -> None:
    text = (DOCS / page).read_text("utf-8")
    for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL):
        for rule in tomllib.loads(block).get("policy", {}).get("rules", []):
            assert all(user.startswith(PREFIX) for user in rule.get("users", [])), rule
    for name in re.findall(r"ws-user-[^\s/`'\"?,]+", text):
        assert name.startswith((f"ws-user-{PREFIX}", "ws-user-<")), name
