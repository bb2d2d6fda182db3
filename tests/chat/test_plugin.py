"""add_bedrock_chat on apps of every kind: its signature, its errors, what it leaves as it was."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, FastAPI, Header
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.testclient import TestClient

from valetkey import mount_valetkey
from valetkey.entrypoints.chat.plugin import (
    BedrockChatPlugin,
    add_bedrock_chat,
    create_fastapi_with_bedrock_chat,
)
from valetkey.errors import BedrockChatError, ConfigurationError
from valetkey.wiring import build

PATH = "/bedrock-chat/ws"


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("POCKET_SESSION__SESSION_TYPE", "in_memory")
    monkeypatch.setenv("BEDROCK_MODEL_ID", "offline")
    yield
    build.use(None)


def greets(client: TestClient, path: str = PATH) -> bool:
    with client.websocket_connect(path) as socket:
        return bool(socket.receive_json()["type"] == "connection_established")


def answer(client: TestClient, text: str, path: str = PATH) -> dict[str, Any]:
    with client.websocket_connect(path) as socket:
        socket.receive_json()
        socket.send_json({"message": text})
        while (frame := socket.receive_json())["type"] != "ai_response":
            pass
        return dict(frame)


@pytest.mark.requirement("chat.signature")
def test_its_parameters_are_those_of_the_contract() -> None:
    names = (
        "app model_id aws_region system_prompt temperature enable_ui chat_endpoint websocket_endpoint ui_endpoint "
        "allowed_paths excluded_paths max_tool_calls timeout auth_dependency openapi_spec_file api_base_url kwargs"
    )
    parameters = inspect.signature(add_bedrock_chat).parameters
    assert list(parameters) == names.split()
    assert {each.default for each in list(parameters.values())[1:-1]} == {None}
    assert parameters["kwargs"].kind is inspect.Parameter.VAR_KEYWORD


@pytest.mark.requirement("chat.plugin-attributes")
def test_what_it_gives_has_the_attributes_of_the_contract() -> None:
    app = FastAPI()
    plugin = add_bedrock_chat(app, model_id="offline")
    assert isinstance(plugin, BedrockChatPlugin)
    assert plugin.app is app
    assert plugin.config.chat_endpoint == "/bedrock-chat"
    assert plugin.bedrock_client.model_id == "offline"
    assert plugin.app_base_url == "http://127.0.0.1:8000"
    for name in ("session_manager", "tools_generator", "websocket_handler", "templates"):
        assert hasattr(plugin, name), name
    plugin.update_tools()
    assert inspect.iscoroutinefunction(plugin.shutdown)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"require_tool_aut": True}, "require_tool_auth"),
    ({"nonsense_option": 1}, "nonsense_option"),
    ({"temperature": 7}, "temperature"),
    ({"rate_limit": "often"}, "rate_limit"),
    ({"chat_endpoint": "/same", "ui_endpoint": "/same"}, "different paths"),
    ({"websocket_endpoint": "/same", "ui_endpoint": "/same"}, "different paths"),
    ({"openapi_spec_file": "nowhere.json"}, "nowhere.json"),
    ({"model_id": "nobody:knows"}, "nobody"),
    ({"auth_dependency": "current_user"}, "auth_dependency"),
    ({"public_base_url": "ftp://x"}, "public_base_url"),
]


@pytest.mark.requirement("chat.plugin-errors", "d17.unknown")
@pytest.mark.parametrize(("settings", "named"), WRONG, ids=[named for _, named in WRONG])
def test_a_setting_that_cannot_be_used_is_named_and_the_app_stays_as_it_was(
    settings: dict[str, Any], named: str
) -> None:
    app = FastAPI()
    before, lifespan = list(app.router.routes), app.router.lifespan_context
    with pytest.raises(ConfigurationError, match=named) as caught:
        add_bedrock_chat(app, **settings)
    assert isinstance(caught.value, BedrockChatError)
    assert str(caught.value).startswith("Plugin initialization failed: ")
    assert app.router.routes == before
    assert app.router.lifespan_context == lifespan
    assert greets_after(app)


def greets_after(app: FastAPI) -> bool:
    add_bedrock_chat(app)
    return greets(TestClient(app))


@pytest.mark.requirement("chat.signature")
def test_none_is_not_given() -> None:
    assert add_bedrock_chat(FastAPI(), enable_ui=None, rate_limit=None).config.model_fields_set <= {"model_id"}


@pytest.mark.requirement("seed003.one-call", "fault.frozen-tools", "D.before-after")
def test_operations_are_found_whether_they_came_before_or_after() -> None:
    app = FastAPI()

    @app.get("/early")
    async def early() -> str:
        return "the early bird"

    add_bedrock_chat(app)

    @app.get("/late")
    async def late() -> str:
        return "better late than never"

    with TestClient(app) as client:
        results = answer(client, "CALL early_early_get {}\nCALL late_late_get {}")["tool_results"]
        assert ["the early bird" in str(results[0]), "better late" in str(results[1])] == [True, True]
        router = APIRouter()
        router.add_api_route("/later", late, operation_id="later")
        app.include_router(router)
        assert "better late" in str(answer(client, "CALL later {}")["tool_results"])


@pytest.mark.requirement("D.before-after")
def test_nothing_of_ours_is_in_the_apps_document() -> None:
    app = FastAPI()
    add_bedrock_chat(app)
    with TestClient(app) as client:
        assert client.get("/openapi.json").json()["paths"] == {}


@pytest.mark.requirement("D.before-after")
def test_an_app_that_takes_every_path_leaves_ours() -> None:
    async def everything(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await PlainTextResponse("theirs")(scope, receive, send)

    app = FastAPI()
    app.mount("/", everything)
    app.router.routes.append(Mount("/bedrock-chat/mine", everything))
    add_bedrock_chat(app)
    with TestClient(app) as client:
        assert greets(client)
        assert client.get("/bedrock-chat/health").json()["status"] == "healthy"
        assert client.get("/bedrock-chat/ui").status_code == 200
        assert client.get("/bedrock-chat/mine").text == client.get("/").text == "theirs"


@pytest.mark.requirement("D.before-after")
def test_an_operation_of_the_apps_below_the_chats_path_goes_before_our_pages() -> None:
    app = FastAPI()

    @app.get("/chat/rooms")
    async def rooms() -> list[str]:
        return ["lobby"]

    add_bedrock_chat(app, chat_endpoint="/chat", websocket_endpoint="/chat/ws", ui_endpoint="/chat/ui")
    with TestClient(app) as client:
        assert client.get("/chat/rooms").json() == ["lobby"]
        assert client.get("/chat/sign-in", headers={"host": "localhost"}).status_code == 200
        assert greets(client, "/chat/ws")


@pytest.mark.requirement("D.before-after")
def test_a_path_that_the_app_has_already_is_refused() -> None:
    app = FastAPI()

    @app.websocket(PATH)
    async def theirs(websocket: Any) -> None: ...

    with pytest.raises(ConfigurationError, match="websocket_endpoint"):
        add_bedrock_chat(app)


@pytest.mark.requirement("D.before-after")
def test_two_chats_on_one_app() -> None:
    app = FastAPI()
    first = add_bedrock_chat(app, ui_title="One")
    with pytest.raises(ConfigurationError, match="already"):
        add_bedrock_chat(app)
    other: dict[str, Any] = {"chat_endpoint": "/two", "websocket_endpoint": "/two/ws", "ui_endpoint": "/two/ui"}
    second = add_bedrock_chat(app, **other, max_sessions=1)
    with TestClient(app) as client:
        assert greets(client)
        with client.websocket_connect("/two/ws") as socket:
            socket.receive_json()
            assert (len(first.session_manager), len(second.session_manager)) == (0, 1)
            assert greets(client), "each has its own places"
        assert client.get("/two/health").status_code == 200
        assert client.get("/two/ui").status_code == 200
    assert first.chat.mounted is second.chat.mounted


@pytest.mark.requirement("D.callbacks")
def test_an_app_that_serves_our_pages_already_goes_on_with_those() -> None:
    app = FastAPI()
    mounted = mount_valetkey(app)
    plugin = add_bedrock_chat(app)
    assert plugin.chat.mounted is mounted
    with TestClient(app, base_url="http://localhost") as client:
        assert client.get("/sign-in").status_code == 200
        assert client.get("/bedrock-chat/sign-in").status_code == 404


@pytest.mark.requirement("seed003.one-call", "fault.self-tcp")
def test_it_works_in_an_app_that_is_mounted_in_another_one() -> None:
    inner, outer = FastAPI(), FastAPI()
    plugin = add_bedrock_chat(inner)
    outer.mount("/inner", inner)
    with TestClient(outer) as client:  # no lifespan of the inner one runs
        assert greets(client, f"/inner{PATH}")
        assert client.get("/inner/bedrock-chat/ui").status_code == 200
        assert client.get("/inner/bedrock-chat/health").status_code == 200
    assert len(plugin.session_manager) == 0


@pytest.mark.requirement("D.before-after")
def test_without_a_page_there_is_a_socket_still() -> None:
    app = FastAPI()
    add_bedrock_chat(app, enable_ui=False)
    with TestClient(app) as client:
        assert client.get("/bedrock-chat/ui").status_code == 404
        assert greets(client)


@pytest.mark.requirement("D.before-after")
def test_the_apps_own_lifespan_goes_on_around_the_chat() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, str]]:
        seen.append("started")
        yield {"pool": "open"}
        seen.append("ended")

    app = FastAPI(lifespan=lifespan)
    plugin = add_bedrock_chat(app)
    with TestClient(app) as client, client.websocket_connect(PATH) as socket:
        socket.receive_json()
        (seat,) = plugin.session_manager.seats()
        assert dict(seat.session.visit.state) == {"pool": "open"}, "what it left for requests is at hand for calls"
        assert seen == ["started"]
    assert seen == ["started", "ended"]


@pytest.mark.requirement("chat.create-app")
def test_an_app_and_its_chat_in_one() -> None:
    app, plugin = create_fastapi_with_bedrock_chat(ui_title="Mine")
    assert plugin.app is app
    with TestClient(app) as client:
        assert greets(client)
    assert plugin._ended


def test_what_an_operation_raises_is_in_the_log_without_what_was_lent(caplog: pytest.LogCaptureFixture) -> None:
    app = FastAPI()

    @app.get("/boom/{what}", operation_id="boom")
    async def goes_wrong(what: str, authorization: Annotated[str, Header(include_in_schema=False)] = "") -> None:
        raise RuntimeError(f"no stock for {authorization}")

    add_bedrock_chat(app)
    with TestClient(app) as client, client.websocket_connect(PATH) as socket:
        socket.send_json({"type": "auth", "auth_type": "bearer_token", "token": "token-of-ada-0123456789"})
        socket.send_json({"type": "chat", "message": 'CALL boom {"what": "all"}'})
        while socket.receive_json()["type"] != "ai_response":
            pass
    assert "raised RuntimeError in a call of the chat: GET /boom/{what}" in caplog.text
    assert "goes_wrong" in caplog.text, "the place in the app's own code"
    assert "no stock for Bearer " in caplog.text
    assert "token-of-ada" not in caplog.text
