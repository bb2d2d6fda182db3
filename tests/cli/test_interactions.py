"""valetkey interactions list: what waits for a person, and no link to it."""

import asyncio
import json

import pytest

from valetkey import AuthProvider, Pocket, function_tool
from valetkey.cli.main import main
from valetkey.wiring import build


@pytest.fixture(autouse=True)
def fresh_system():
    build.use(None)
    yield
    build.use(None)


@function_tool(auth_provider=AuthProvider.NOTION, auth_handler="notion-token")
def read_page(**kwargs):
    """Read it."""


def test_nothing_waits(capsys):
    assert main(["interactions", "list"]) == 0
    assert capsys.readouterr().out == "Nothing waits for a person.\n"
    assert main(["interactions", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.requirement("d.commands-identity")
def test_what_waits_is_listed_without_state_or_link(capsys, monkeypatch):
    system = build.default()

    async def no_port() -> None:
        """Listen nowhere."""

    monkeypatch.setattr(system.links, "open", no_port)
    said, waits = asyncio.run(Pocket(tools=[read_page]).ainvoke_with_state("read_page", {}, thread_id="ann"))
    assert waits
    state = said.rpartition("=")[2]
    assert main(["interactions", "list", "--json"]) == 0
    printed = capsys.readouterr().out
    (row,) = json.loads(printed)
    assert row["until"] - row["since"] == pytest.approx(600)
    assert {name: row[name] for name in ("kind", "provider", "profile", "tool", "owner", "phase")} == {
        "kind": "connect",
        "provider": "notion",
        "profile": "default",
        "tool": "read_page",
        "owner": {"workspace": "local", "issuer": "host", "subject": "ann"},
        "phase": "open",
    }
    assert main(["interactions", "list"]) == 0
    printed += capsys.readouterr().out
    assert "notion for read_page" in printed
    (open_one,) = asyncio.run(system.stores.interactions.page())
    for secret in (state, open_one.id, "://"):
        assert secret not in printed
