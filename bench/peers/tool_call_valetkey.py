"""Calls per second of Pocket.ainvoke; prints one number. Arguments: in_memory or sqlite; sync or async."""

import asyncio
import json
import sys
import time
from pathlib import Path

from valetkey import AuthProvider, Pocket, Secret, function_tool
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.model.connections import Credential, Grant

CALLS = 2000


def plain(a: int, **kwargs):
    """Answer."""
    return f"ok {a} {len(kwargs['SLACK_BOT_TOKEN'])}"


async def awaited(a: int, **kwargs):
    """Answer."""
    return f"ok {a} {len(kwargs['SLACK_BOT_TOKEN'])}"


async def main(store: str, kind: str) -> None:
    Path("valetkey.toml").write_text(
        f'[session]\nsession_type = "{store}"\n[auth.slack]\nclient_id = "x"\nclient_secret = "y"\n', "utf-8"
    )
    Path("valetkey.toml").chmod(0o600)
    tool = function_tool(auth_provider=AuthProvider.SLACK)(plain if kind == "sync" else awaited)
    pocket = Pocket(tools=[tool])
    system = pocket.system
    handler = system.handling.find("slack-oauth2", None)
    grant = Grant(
        credential=Credential(access_token=Secret("xoxp-" + "a" * 40), refresh_token=Secret("xoxe-" + "b" * 40)),
        expires_at=system.clock.now() + 36_000,
    )
    await system.keeper.keep(grant, handler, owner_of("default"), profile="default", asked=handler.recommended_scopes)
    for _ in range(CALLS // 4):
        await pocket.ainvoke(tool.name, {"a": 1})
    began = time.perf_counter()
    for _ in range(CALLS):
        await pocket.ainvoke(tool.name, {"a": 1})
    print(json.dumps(CALLS / (time.perf_counter() - began)))


asyncio.run(main(*sys.argv[1:]))
