"""The page of settings has every setting of the chat, as it is."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from valetkey.settings import bedrock_fields
from valetkey.settings.bedrock import ChatConfig, load_config

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "settings.md"
TOLD_IN_WORDS = {"model_id", "system_prompt", "ui_welcome_message", "public_base_url"}


def table() -> dict[str, list[str]]:
    text = PAGE.read_text("utf-8").partition("## Of the chat")[2]
    rows = [[cell.strip() for cell in line[1:-1].split(" | ")] for line in text.splitlines() if line.startswith("| `")]
    assert len({row[0] for row in rows}) == len(rows), "none is there twice"
    return {row[0].strip("`"): row[1:] for row in rows}


def shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list):
        return f"`{','.join(value)}`" if value else "`[]`"
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


@pytest.mark.requirement("chat.settings")
def test_every_setting_of_the_chat_is_explained_with_its_variable_and_default():
    told = table()
    assert set(told) == set(ChatConfig.model_fields)
    config = load_config()
    for name, (variable, kind, default, text) in told.items():
        names = bedrock_fields.VARIABLES.get(name, (f"BEDROCK_{name.upper()}",))
        assert set(re.findall(r"`([^`]+)`", variable)) == (set() if kind == "keyword only" else set(names)), name
        assert text
        if name not in TOLD_IN_WORDS:
            assert default == shown(getattr(config, name)), name


@pytest.mark.requirement("d17.nothing")
def test_what_is_known_and_does_nothing_is_listed():
    text = PAGE.read_text("utf-8").partition("### Known, and nothing")[2]
    named = re.findall(r"`([a-z_]+)…?`", text)
    listed = {name for name in named if bedrock_fields.means_nothing(name)}
    families = tuple(name for name in named if name.endswith("_"))
    assert {name for name in bedrock_fields._NOTHING if not name.startswith(families)} <= listed
    assert set(bedrock_fields._NOTHING_PREFIXES) <= set(families)
