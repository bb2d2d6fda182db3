"""Calls per second of hyperpocket's Pocket.ainvoke, session in memory; prints one number. Argument: sync or async."""

import asyncio
import json
import os
import socket
import sys
import time
from datetime import UTC, datetime, timedelta

from hyperpocket import Pocket
from hyperpocket.auth import AuthProvider
from hyperpocket.auth.slack.oauth2_context import SlackOAuth2AuthContext
from hyperpocket.config import config
from hyperpocket.config.auth import SlackAuthConfig
from hyperpocket.tool import from_func
from hyperpocket.tool.tool import ToolAuth

CALLS = 500


def plain(a: int, **kwargs):
    """Answer."""
    return f"ok {a} {len(kwargs['SLACK_BOT_TOKEN'])}"


async def awaited(a: int, **kwargs):
    """Answer."""
    return f"ok {a} {len(kwargs['SLACK_BOT_TOKEN'])}"


async def main(kind: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        config().internal_server_port = probe.getsockname()[1]
    config().enable_local_callback_proxy = False
    config().auth.slack = SlackAuthConfig(client_id="x", client_secret="y")
    func = plain if kind == "sync" else awaited
    auth = ToolAuth(auth_provider=AuthProvider.SLACK, scopes=[])
    tool = from_func(func, afunc=None if kind == "sync" else awaited, auth=auth)
    pocket = Pocket(tools=[tool])
    handler = pocket.auth.find_handler_instance(auth_provider=AuthProvider.SLACK)
    pocket.auth.session_storage.set(
        auth_provider=AuthProvider.SLACK,
        thread_id="default",
        profile="default",
        auth_scopes=list(handler.recommended_scopes()),
        auth_resolve_uid=None,
        auth_context=SlackOAuth2AuthContext(
            access_token="xoxp-" + "a" * 40,
            description="",
            expires_at=datetime.now(UTC) + timedelta(hours=10),
        ),
        is_auth_scope_universal=True,
    )
    answer = await pocket.ainvoke(tool.name, {"a": 1})
    assert answer == "ok 1 45", answer
    for _ in range(CALLS // 4):
        await pocket.ainvoke(tool.name, {"a": 1})
    began = time.perf_counter()
    for _ in range(CALLS):
        await pocket.ainvoke(tool.name, {"a": 1})
    print(json.dumps(CALLS / (time.perf_counter() - began)), flush=True)


asyncio.run(main(sys.argv[1]))
os._exit(0)
