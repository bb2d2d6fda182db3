"""mount_valetkey(app, services=True): clients and callers in somebody's app, whose loop is not the relay's."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx2
import pytest
import uvicorn
from fastapi import Depends, FastAPI
from hypha_rpc import connect_to_server
from starlette.testclient import TestClient
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from valetkey import Pocket, Secret, UserInfo, current_user, mount_valetkey
from valetkey.entrypoints.chat.plugin import add_bedrock_chat
from valetkey.entrypoints.fastapi import Mounted
from valetkey.errors import MissingSetting, StartupFailed
from valetkey.model.tokens import TokenKind
from valetkey.wiring import build

STARTUP = """
async def setup(server):
    async def hello(name, context=None):
        return f"hello {name} from {context['user']['id']}"

    config = {"visibility": "public", "require_context": True}
    await server.register_service({"id": "greeter", "config": config, "hello": hello})

async def broken(server):
    await setup(server)
    raise ValueError("no database")
"""


@pytest.fixture(autouse=True)
def settings() -> Iterator[None]:
    Path("valetkey.toml").write_text('[session]\nsession_type = "in_memory"\n', "utf-8")
    Path("own.py").write_text(STARTUP, "utf-8")
    yield
    build.use(None)


class Server(uvicorn.Server):
    """Without signal handlers; it looks more often whether it is to end."""

    async def main_loop(self) -> None:
        while not self.should_exit:  # noqa: ASYNC110 - it is uvicorn's own way to be told
            await asyncio.sleep(0.005)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@pytest.fixture
def listening() -> Iterator[tuple[socket.socket, str]]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # else no TCP_NODELAY
    sock.bind(("127.0.0.1", 0))
    with contextlib.closing(sock):
        yield sock, f"http://127.0.0.1:{sock.getsockname()[1]}"


@asynccontextmanager
async def served(app: FastAPI, sock: socket.socket) -> AsyncIterator[None]:
    server = Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=2))
    task = asyncio.create_task(server.serve([sock]))
    try:
        async with asyncio.timeout(10):
            while not server.started:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.005)
        yield
    finally:
        server.should_exit = True
        await task


async def key_of(mounted: Mounted, name: str) -> str:
    async def issue() -> str:
        accounts, tokens = mounted.identity.accounts, mounted.identity.tokens
        found = await accounts.get(name) or await accounts.add(name, Secret("correct horse battery staple"))
        user, owner = accounts.user_of(found), accounts.owner_of(found)
        secret, _ = await tokens.issue(TokenKind.API_KEY, user, owner, expires_in=None)
        return secret.reveal()

    return await mounted.system.home.run(issue)


def greet(name: str, context: Any = None) -> str:
    """Greet somebody."""
    return f"hello {name} from {context['user']['id']}"


PUBLIC = {"visibility": "public", "require_context": True}


@pytest.mark.requirement("E5.mounted")
async def test_a_client_a_caller_a_pocket_and_a_chat_in_one_app(listening):
    sock, url = listening
    app = FastAPI()
    mounted = mount_valetkey(app, prefix="/keys", services=True, public_base_url=url)
    chat = add_bedrock_chat(app, model_id="offline", services=["ws-user-local|eve/greeter"], allowed_paths=["/none"])

    @app.get("/greeting")
    async def greeting(user: Annotated[UserInfo, Depends(current_user)]) -> str:
        async with Pocket() as pocket:
            await pocket.add_service("ws-user-local|eve/greeter")
            return await pocket.ainvoke("greeter_hello", {"name": "Bo"}, thread_id=user)  # type: ignore[arg-type]

    async with served(app, sock), httpx2.AsyncClient(base_url=url, trust_env=False) as http:
        token = await key_of(mounted, "eve")
        eve = await connect_to_server({"server_url": f"{url}/keys", "token": token, "client_id": "shop"})
        await eve.register_service({"id": "greeter", "config": PUBLIC, "hello": greet})
        ada = {"authorization": f"Bearer {await key_of(mounted, 'ada')}"}
        called = await http.post("/keys/ws-user-local|eve/services/greeter/hello", json={"name": "Bo"}, headers=ada)
        assert (called.status_code, called.json()) == (200, "hello Bo from local|ada")
        assert (await http.get("/greeting", headers=ada)).json() == "hello Bo from local|ada"
        listed = (await http.get("/keys/ws-user-local|eve/services/")).json()
        assert [each["id"] for each in listed] == ["ws-user-local|eve/shop:greeter"]
        # Long ones go in pieces, each from loop to loop and back.
        long = "x" * 3_000_000
        own = await eve.get_service("greeter")
        assert await own.hello(long) == f"hello {long} from local|eve"
        async with connect(f"{url.replace('http', 'ws')}/bedrock-chat/ws", proxy=None) as wire:
            await wire.send('{"type": "chat", "message": "CALL greeter_hello {\\"name\\": \\"Bo\\"}"}')
            async with asyncio.timeout(10):
                while "ai_response" not in (answer := str(await wire.recv())):
                    pass
        (session_id,) = {seat.session.id for seat in chat.session_manager.seats()} or {""}
        assert "hello Bo from chat|" in answer
        assert session_id in answer or not session_id
        await eve.disconnect()


@pytest.mark.requirement("E5.mounted")
async def test_pages_of_others_and_other_names_of_the_host_open_no_socket(listening):
    sock, url = listening
    app = FastAPI()
    mount_valetkey(app, services=True, public_base_url=url)
    wire = f"{url.replace('http', 'ws')}/ws"
    async with served(app, sock):
        with pytest.raises(InvalidStatus) as foreign:
            async with connect(wire, additional_headers={"Origin": "https://evil.example"}, proxy=None):
                pass
        host, port = sock.getsockname()
        with pytest.raises(InvalidStatus) as renamed:
            async with connect("ws://evil.example/ws", host=host, port=port, proxy=None):
                pass
        assert [each.value.response.status_code for each in (foreign, renamed)] == [403, 421]
        async with connect(wire, additional_headers={"Origin": url}, proxy=None) as own:
            await own.send('{"client_id": "c1"}')
            async with asyncio.timeout(10):
                assert "connection_info" in str(await own.recv())


@pytest.mark.requirement("E5.mounted")
async def test_an_app_that_ends_sends_its_clients_away_and_starts_again(listening):
    sock, url = listening
    app = FastAPI()
    mounted = mount_valetkey(app, services=True, public_base_url=url)
    for _ in range(2):
        with contextlib.closing(sock.dup()) as door:
            async with served(app, door):
                assert mounted.system.services.calls is not None
                first = mounted.system
                client = await connect_to_server({"server_url": url, "client_id": "c1"})
                await client.register_service({"id": "greeter", "config": PUBLIC, "hello": greet})
                assert await (await client.get_service("greeter")).hello("Bo")
                assert mounted.services is not None
                rooms = mounted.services.services
        assert rooms.relay.links() == []
        assert first.services.calls is None
        await client.disconnect()


@pytest.mark.requirement("E5.mounted")
def test_the_apps_own_routes_go_first_whenever_they_were_added(settings):
    app = FastAPI()
    mount_valetkey(app, services=True, startup_functions=["own.py:setup"], public_base_url="http://127.0.0.1:8000")

    @app.get("/orders/info")
    @app.get("/orders/services/new/price")
    @app.get("/login")
    def mine() -> str:
        return "mine"

    app.mount("/", FastAPI())  # takes all that nobody else does
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        for path in ("/orders/info", "/orders/services/new/price", "/login"):
            assert client.get(path).json() == "mine", path
        answer = client.post("/public/services/greeter/hello", json={"name": "Bo"})
        assert (answer.status_code, answer.json()) == (200, "hello Bo from anonymouz-http")
        assert client.get("/orders/services/").json() == []
        assert client.get("/sign-in").status_code == 200
        assert client.get("/nowhere").status_code == 404


@pytest.mark.requirement("hypha.4.11")
def test_a_startup_function_that_fails_leaves_nothing(settings):
    app = FastAPI()
    with pytest.raises(StartupFailed, match=r"own.py:broken.*no database"):
        mount_valetkey(app, services=True, startup_functions=["own.py:broken"])
    assert build.personal() is None


async def test_without_services_there_are_none(settings):
    app = FastAPI()
    mounted = mount_valetkey(app, public_base_url="http://127.0.0.1:8000")
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        assert client.get("/public/services/").status_code == 404
    with pytest.raises(MissingSetting, match="serves no services"):
        await Pocket().add_service("public/greeter")
    assert mounted.services is None
