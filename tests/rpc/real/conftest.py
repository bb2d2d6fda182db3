"""What the programs of this folder saw: all run at once, for each spends its time waiting."""

import asyncio
import json
import shlex
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.rpc.real.live import EXAMPLES, PROGRAMS, Live, Program, live, program
from valetkey.testing.faults import FaultProxy, Pass, Refuse


@pytest.fixture(scope="session")
def seen(tmp_path_factory) -> dict[str, Any]:
    """By program."""
    return asyncio.run(_run(tmp_path_factory.mktemp("real")))


async def _run(folder: Path) -> dict[str, Any]:
    functions = f"{PROGRAMS / 'startup.py'}:start", f"{EXAMPLES / 'protected-service.py'}:start_service"
    works = {"everything": _everything, "signing in": _signing_in, "examples": _examples}
    async with live(folder, *functions) as server:
        found = await asyncio.gather(*(work(server, folder) for work in works.values()))
    return {**dict(zip(works, found, strict=True)), "coming back": await _coming_back(folder)}


async def _everything(server: Live, folder: Path) -> Any:
    given = {"url": server.url, **{name: await server.token(name) for name in ("ada", "eve")}}
    async with program("everything.py", folder, **given) as running:
        return await running.result()


async def _signing_in(server: Live, folder: Path) -> Any:
    given = {"url": server.url, "token": await server.token("bob"), "workspace": "ws-user-local|mia"}
    mia = await server.caller("mia")
    asked = []
    async with program("signing_in.py", folder, **given) as running:
        for _ in range(2):
            context = json.loads(await running.line("OPEN "))
            asked.append(context)
            await server.identity.login.confirm(context["key"], mia)
        return {**await running.result(), "asked": asked, "url": server.url}


async def _coming_back(folder: Path) -> Any:
    async with live(folder) as server, FaultProxy(server.port) as proxy:
        ada, row = await server.signed_in("ada")
        given = {"url": server.url, "proxy": f"http://127.0.0.1:{proxy.port}", "ada": ada}
        async with program("coming_back.py", folder, **given) as running:
            await running.line("READY")
            await proxy.use(Refuse())
            await proxy.use(Pass())
            await running.tell("cut")
            await running.line("BACK")
            await server.stop()
            await server.start()
            await running.tell("started anew")
            await running.line("BACK")
            await server.identity.tokens.revoke(await server.caller("ada"), row.id)
            await running.tell("revoked")
            return await running.result()


async def _examples(server: Live, folder: Path) -> Any:
    shares = await Program.start(EXAMPLES / "share-a-function.py", server.url, log=folder / "shares.log")
    try:
        curl = shlex.split(await shares.line("curl "))
        shared = await _fetched(curl[0])
    finally:
        await shares.end()
    gone = await _fetched(curl[0])
    users = {name: await server.token(name) for name in ("user", "kim")}
    path = f"{server.url}/public/services/protected-service/protected_function?data=42"
    asked = {name: await _fetched(path, token) for name, token in users.items()}
    async with program("protected.py", folder, url=server.url, **users) as running:
        return {"shared": shared, "gone": gone, "http": asked, "rpc": await running.result()}


async def _fetched(url: str, token: str = "") -> tuple[int, str]:
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
        answer = await client.get(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    return answer.status_code, answer.text
