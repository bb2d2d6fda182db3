"""A handler belongs to one provider."""

from pathlib import Path

import pytest

from tests.connections.kit import world
from tests.oauth.fakes import Dice, Settings, Wire
from valetkey.connections.handling import Handling
from valetkey.errors import ValetkeyError
from valetkey.providers.registry import Registry
from valetkey.testing.clock import ManualClock

MINE = """
title = "Mine"
origins = ["https://mine.example"]
[handlers.{0}]
kind = "token"
default = true
[handlers.{0}.variables]
MINE_TOKEN = "token"
[[handlers.{0}.fields]]
name = "token"
label = "Token"
"""


def handling(tmp_path: Path, name: str, handler: str) -> Handling:
    folder = tmp_path / "valetkey_providers"
    folder.mkdir()
    (folder / f"{name}.toml").write_text(MINE.format(handler))
    registry = Registry([tmp_path])
    return Handling(registry, world(Settings().clients, Wire(), Dice(), ManualClock()), {})


def test_a_handler_of_the_projects_is_not_taken_for_a_shipped_one_of_that_name(tmp_path):
    made = handling(tmp_path, "mine", "slack-token")
    try:
        mine = made.find(provider="mine")
    except ValetkeyError:
        return  # refused: as good
    assert mine.provider.name == "mine"
    assert made.find("slack-token").provider.name == "slack"
    assert made.find("slack-token", "slack").provider.name == "slack"


def test_a_shipped_handler_does_not_serve_the_projects_provider(tmp_path):
    made = handling(tmp_path, "mine", "slack-token")
    assert made.find("slack-token").provider.name == "slack"
    try:
        mine = made.find(provider="mine")
    except ValetkeyError:
        return
    assert mine.provider.name == "mine"


@pytest.mark.parametrize("order", [0, 1])
def test_a_projects_provider_does_not_stand_in_for_a_grant_of_a_shipped_one(tmp_path, order):
    made = handling(tmp_path, "github_device", "github-device")
    try:
        if order:
            made.find(provider="github_device")
        found = made.find("github-device")
    except ValetkeyError:
        return
    assert found.provider.name == "github"
