"""Settings that are assigned (docs/settings.md: "what it has can be assigned"): paths as well as flags."""

from __future__ import annotations

import pytest
from fastapi import FastAPI

from valetkey import add_bedrock_chat
from valetkey.wiring import build


@pytest.mark.parametrize(("name", "value"), [("excluded_paths", ["/admin"]), ("allowed_paths", ["/orders"])])
def test_paths_that_are_assigned_hold_at_the_next_look(tmp_path, monkeypatch, name: str, value: list[str]) -> None:
    """``require_tool_auth`` and the others that are assigned hold at once."""
    monkeypatch.chdir(tmp_path)
    app = FastAPI()

    @app.get("/admin/users", operation_id="list_users")
    def list_users() -> list[str]:
        return []

    plugin = add_bedrock_chat(app, model_id="offline")
    try:
        assert "list_users" in plugin.chat.offer.tools()
        setattr(plugin.config, name, value)
        plugin.update_tools()
        assert "list_users" not in plugin.chat.offer.tools()
        assert not plugin.tools_generator.validate_tool_call("list_users", {})
    finally:
        build.use(None)
