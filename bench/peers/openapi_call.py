"""Seconds of one call of an app's operation in process; prints one number. Argument: road, bare or httpx2."""

import asyncio
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import httpx2
from fastapi import Depends, FastAPI
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from valetkey.connections.session import SessionCredential, SessionKind
from valetkey.entrypoints.chat.offer import ChatOffer
from valetkey.identity.verifiers.vouched import CHAT, HOST, in_chat
from valetkey.model.calls import Call, Presented
from valetkey.secret import Secret
from valetkey.settings.bedrock import ChatConfig
from valetkey.settings.pocket import Config
from valetkey.wiring import build
from valetkey.wiring.chat import chat_road

CALLS = 2000
TOKEN = "token-of-a-session-0123456789"

app = FastAPI()


@app.get("/items/{item_id}")
async def get_item(
    item_id: int, q: str = "", credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())] = None
):
    """Get an item."""
    return {"id": item_id, "q": q, "length": len(credentials.credentials)}


def road():
    system = build.build(Config.load(Path.cwd(), {}, **{"session.session_type": "in_memory"}), folder=Path.cwd())
    offer = ChatOffer(app, ChatConfig(model_id="offline"), mounted=SimpleNamespace(system=system))

    class Offered:
        def __contains__(self, name):
            return name in offer.tools()

    way = chat_road(system, offered=Offered(), marked=offer.marked)
    who = in_chat("session", workspace=CHAT)
    given = SessionCredential(kind=SessionKind.BEARER_TOKEN, fields={"token": Secret(TOKEN)})
    system.sessions.put("session", who.owner, given)
    presented = Presented(scheme=HOST, value=who)

    async def call(number):
        tool = offer.tools()["get_item_items__item_id__get"]
        arguments = {"item_id": number, "q": "a b"}
        asked = Call(
            tool=tool.name,
            needs=tool.needs,
            arguments=arguments,
            entrance="chat",
            conversation="session",
            deadline=30.0,
        )
        return (await way.travel(presented, tool, asked)).value

    return call


def bare():
    async def call(number):
        pieces = []

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(event):
            pieces.append(event)

        path = f"/items/{number}"
        headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {TOKEN}".encode())]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"q=a%20b",
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 80),
        }
        await app(scope, receive, send)
        return json.loads(b"".join(event.get("body", b"") for event in pieces[1:]))

    return call


def by_httpx2():
    client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost")

    async def call(number):
        answer = await client.get(f"/items/{number}", params={"q": "a b"}, headers={"Authorization": f"Bearer {TOKEN}"})
        return answer.json()

    return call


async def main(how: str) -> None:
    call = {"road": road, "bare": bare, "httpx2": by_httpx2}[how]()
    expected = {"id": 7, "q": "a b", "length": len(TOKEN)}
    assert await call(7) == expected
    for number in range(CALLS // 4):
        await call(number)
    began = time.perf_counter()
    for number in range(CALLS):
        await call(number)
    print(json.dumps((time.perf_counter() - began) / CALLS))


asyncio.run(main(*sys.argv[1:]))
