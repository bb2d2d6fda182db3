"""The app's own operations on the road: late routes, every place of an argument, the session's credential (issue D)."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Cookie, Depends, FastAPI, Form, Header, HTTPException, Query, UploadFile
from fastapi.openapi.utils import get_openapi
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BaseModel

from tests.tools.openapi.kit import document
from valetkey.connections.session_credential import SessionCredential, SessionKind
from valetkey.entrypoints.chat.generator import ToolsGenerator, create_tools_generator_from_spec
from valetkey.entrypoints.chat.offer import ChatOffer
from valetkey.errors import ConfigurationError, Denied, ToolsGenerationError
from valetkey.identity.verifiers.vouched import CHAT, HOST, in_chat
from valetkey.model.calls import Call, Presented
from valetkey.secret import Secret
from valetkey.settings.bedrock import ChatConfig
from valetkey.settings.pocket import Config
from valetkey.testing.clock import ManualClock
from valetkey.wiring import build
from valetkey.wiring.chat import chat_road

CANARY = "canary-token-77aa"
SESSION_ID = "session-1"


class Size(BaseModel):
    w: int
    h: float | None = None


class Item(BaseModel):
    id: int
    size: Size | str
    parent: "Item | None" = None


def shop() -> FastAPI:
    app = FastAPI()
    bearer = HTTPBearer()

    @app.put("/items/{id}")
    async def put(
        id: int,  # noqa: A002  # also a name in the body
        item: Item,
        dry: bool = False,
        x_tag: Annotated[str, Header()] = "",
        c: Annotated[str, Cookie()] = "",
    ) -> Any:
        return {"id": id, "item": item, "dry": dry, "tag": x_tag, "cookie": c}

    @app.get("/tags")
    async def tags(tag: Annotated[list[int], Query()]) -> Any:
        return tag

    @app.post("/file")
    async def file(file: UploadFile, note: Annotated[str, Form()]) -> Any:
        return [file.filename, (await file.read()).decode(), note]

    @app.get("/me")
    async def me(token: Annotated[Any, Depends(bearer)]) -> Any:
        if token.credentials != CANARY:
            raise HTTPException(401, "Bad token")
        return {"you": "ada", "echo": token.credentials}

    @app.get("/key")
    async def key(value: Annotated[str, Depends(APIKeyHeader(name="X-Shop-Key"))]) -> Any:
        return {"length": len(value)}

    @app.get("/open", openapi_extra={"security": []})
    async def free(authorization: Annotated[str, Header()] = "none") -> Any:
        return authorization

    @app.delete("/items", openapi_extra={"x-requires-approval": True})
    async def purge() -> Any:
        return "gone"

    return app


class Desk:
    """One session at the app's chat."""

    def __init__(self, system: Any, app: FastAPI, **config: Any) -> None:
        self.system = system
        self.config = ChatConfig(**{"model_id": "test-model", **config})
        self.offer = ChatOffer(app, self.config, mounted=SimpleNamespace(system=system))  # type: ignore[arg-type]
        self.road = chat_road(system, offered=_Live(self.offer), marked=self.offer.marked)
        self.who = in_chat(SESSION_ID, workspace=CHAT)

    def give(self, kind: SessionKind = SessionKind.BEARER_TOKEN, **fields: str) -> None:
        secrets = {name: Secret(value) for name, value in (fields or {"token": CANARY}).items()}
        self.system.sessions.put(SESSION_ID, self.who.owner, SessionCredential(kind=kind, fields=secrets))

    async def call(self, beginning: str, **arguments: Any) -> Any:
        (tool,) = (tool for name, tool in self.offer.tools().items() if name.startswith(beginning))
        asked = Call(
            tool=tool.name, needs=tool.needs, arguments=arguments, entrance="chat", conversation=SESSION_ID, deadline=10
        )
        result = await self.road.travel(Presented(scheme=HOST, value=self.who), tool, asked)
        return result.value


class _Live:
    def __init__(self, offer: ChatOffer) -> None:
        self._offer = offer

    def __contains__(self, name: object) -> bool:
        return name in self._offer.tools()


@pytest.fixture
def system(home):
    settings = Config.load(Path.cwd(), {}, **{"session.session_type": "in_memory"})
    made = build.build(settings, clock=ManualClock(), folder=home, environ={})
    yield made
    made.close()


@pytest.fixture
def desk(system):
    return Desk(system, shop())


@pytest.mark.requirement("fault.schemas", "fault.places")
async def test_every_argument_reaches_the_app_where_it_belongs(desk):
    given = {"id": 1, "body_id": 2, "size": {"w": 3}, "parent": {"id": 4, "size": "s"}, "dry": True}
    answer = await desk.call("put", **given, **{"x-tag": "t", "c": "a;b"})
    assert answer == {
        "id": 1,
        "item": {"id": 2, "size": {"w": 3, "h": None}, "parent": {"id": 4, "size": "s", "parent": None}},
        "dry": True,
        "tag": "t",
        "cookie": "a%3Bb",
    }
    assert await desk.call("tags", tag=[1, 2]) == [1, 2]
    assert await desk.call("file", file="hello", note="é") == ["file", "hello", "é"]


@pytest.mark.requirement("seed003.applied")
async def test_the_session_is_lent_and_never_shown(desk):
    assert "HTTP 401 Unauthorized" in await desk.call("me")
    desk.give()
    answer = await desk.call("me")
    assert answer["you"] == "ada"
    assert CANARY not in json.dumps(answer)


@pytest.mark.requirement("fault.dead-security")
async def test_an_operation_gets_only_what_fits_it(desk):
    desk.give()
    assert await desk.call("free") == "none"
    assert "HTTP 401" in await desk.call("key")
    desk.give(SessionKind.API_KEY, api_key="k3y-of-ada")
    assert await desk.call("key") == {"length": 10}
    assert "HTTP 401" in await desk.call("me")


@pytest.mark.requirement("d32.chat")
async def test_only_what_is_offered_may_be_called(system):
    desk = Desk(system, shop(), excluded_paths=["/tags"])
    tool = Desk(system, shop()).offer.tools()["tags_tags_get"]
    asked = Call(tool=tool.name, needs=tool.needs, arguments={"tag": []}, entrance="chat", conversation=SESSION_ID)
    with pytest.raises(Denied):
        await desk.road.travel(Presented(scheme=HOST, value=desk.who), tool, asked)


@pytest.mark.requirement("d15.approval")
def test_what_asks_for_approval_is_marked(desk):
    (name,) = (name for name in desk.offer.tools() if name.startswith("purge"))
    assert name in desk.offer.marked
    assert "tags_tags_get" not in desk.offer.marked


@pytest.mark.requirement("fault.frozen-tools")
def test_routes_that_come_late_are_there_and_else_nothing_is_made_anew(desk, system):
    app = FastAPI()
    offer = Desk(system, app).offer
    assert dict(offer.tools()) == {}
    app.add_api_route("/late", lambda: 1, name="late")
    first = offer.tools()
    assert list(first) == ["late_late_get"]
    assert offer.tools() is first
    router = APIRouter(prefix="/r")
    app.include_router(router)
    router.add_api_route("/later", lambda: 1, name="later")
    assert list(offer.tools()) == ["late_late_get", "later_r_later_get"]
    app.router.routes.clear()
    assert dict(offer.tools()) == {}


@pytest.mark.requirement("fault.frozen-tools")
def test_an_override_of_openapi_is_followed_and_late_routes_still_come(system):
    app = FastAPI()

    def custom() -> dict[str, Any]:
        if app.openapi_schema:
            return app.openapi_schema
        schema = get_openapi(title="Mine", version="1", routes=app.routes)
        for item in schema["paths"].values():
            for about in item.values():
                about["operationId"] = "mine_" + about["operationId"]
        app.openapi_schema = schema
        return schema

    offer = Desk(system, app).offer
    app.add_api_route("/a", lambda: 1, name="a")
    assert list(offer.tools()) == ["a_a_get"]
    app.openapi = custom  # type: ignore[method-assign]
    app.openapi_schema = None
    assert list(offer.tools()) == ["mine_a_a_get"]
    app.add_api_route("/b", lambda: 1, name="b")
    assert list(offer.tools()) == ["mine_a_a_get", "mine_b_b_get"]


def test_an_app_whose_document_cannot_be_made_says_so(system):
    app = FastAPI()

    def broken() -> dict[str, Any]:
        raise KeyError(CANARY)

    app.openapi = broken  # type: ignore[method-assign]
    with pytest.raises(ToolsGenerationError, match=r"cannot be made \(KeyError\)"):
        Desk(system, app).offer.tools()


@pytest.mark.requirement("D.program-tools")
def test_tools_of_the_host_program_stand_beside_operations_under_names_of_their_own(system):
    app = FastAPI()
    app.add_api_route("/add", lambda: 1, operation_id="add")

    def add(a: int) -> int:
        """Add one."""
        return a + 1

    def other() -> str:
        """Another."""
        return ""

    tools = Desk(system, app, tools=[add, other]).offer.tools()
    assert next(iter(tools)) == "add"
    assert "other" in tools
    assert len(tools) == 3
    assert all(name == tool.name for name, tool in tools.items())


@pytest.fixture
def spec(tmp_path):
    def write(given: Any, name: str = "spec.json") -> str:
        (tmp_path / name).write_text(given if isinstance(given, str) else json.dumps(given), "utf-8")
        return str(tmp_path / name)

    return write


@pytest.mark.requirement("D.remote-api")
async def test_a_file_without_a_server_is_of_the_app_itself(system, spec):
    given = document({"/open": {"get": {"operationId": "free", "security": []}}})
    desk = Desk(system, shop(), openapi_spec_file=spec(given))
    desk.give()
    assert await desk.call("free") == "none"


@pytest.mark.requirement("D.remote-api")
async def test_a_relative_server_of_a_file_is_a_prefix_within_the_app(system, spec):
    app = FastAPI()
    app.add_api_route("/v1/one", lambda: "here")
    app.add_api_route("/v1/two", lambda: "excluded")
    given = document({"/one": {"get": {"operationId": "one"}}, "/two": {"get": {}}}, servers=[{"url": "/v1"}])
    desk = Desk(system, app, openapi_spec_file=spec(given), excluded_paths=["/v1/two"])
    assert list(desk.offer.tools()) == ["one"]
    assert await desk.call("one") == "here"
    app.root_path = "/v1"  # each request of this app has it anyway
    app.add_api_route("/one", lambda: "below")
    assert await Desk(system, app, openapi_spec_file=spec(given)).call("one") == "below"


@pytest.mark.requirement("chat.generator", "D.remote-api")
def test_where_the_api_of_a_file_is(spec):
    given = document({"/a": {"get": {"operationId": "a"}}}, servers=[{"url": "https://api.example.com/v1"}])
    generator = create_tools_generator_from_spec(spec(given))
    assert generator.get_api_base_url() == "https://api.example.com/v1"
    other = create_tools_generator_from_spec(spec(given), api_base_url="https://other.example")
    assert other.get_api_base_url() == "https://other.example"


@pytest.mark.requirement("chat.generator")
def test_the_generator_describes_tools_as_the_contract_has_it(spec):
    about = {
        "operationId": "get-a",
        "summary": "Gets it.",
        "security": [{"k": []}],
        "parameters": [{"name": "q", "in": "query", "schema": {"type": "integer"}}],
    }
    schemes = {"securitySchemes": {"k": {"type": "http", "scheme": "basic"}}}
    given = document({"/a": {"get": about}, "/b": {"get": {"security": []}}}, components=schemes)
    generator = create_tools_generator_from_spec(spec(given), allowed_paths=["/a", "/b"])
    told = generator.generate_tools_desc()
    assert told["type"] == "function"
    first, second = told["functions"]
    assert (first["name"], first["description"]) == ("get_a", "Gets it. (HTTP GET /a)")
    assert first["parameters"]["properties"] == {"q": {"type": "integer"}}
    assert first["_metadata"]["http_method"] == "GET"
    assert first["_metadata"]["path"] == "/a"
    assert first["_metadata"]["original_operation"] == about
    assert first["_metadata"]["authentication"]["fitting"] == ["basic_auth", "custom"]
    assert second["_metadata"]["authentication"] is None
    json.dumps(told)
    metadata = generator.get_tool_metadata("get_a")
    assert metadata is not None
    assert (metadata["path"], metadata["method"], metadata["operation"]) == ("/a", "GET", about)
    assert generator.get_all_tools_metadata().keys() == {"get_a", "get_b"}
    assert generator.get_tool_metadata("none") is None
    assert generator.validate_tool_call("get_a", {"q": 1}) is True
    assert generator.validate_tool_call("get_a", {"q": "1"}) is False
    assert generator.validate_tool_call("none", {}) is False
    assert generator.get_tool_statistics()["total_tools"] == 2


@pytest.mark.requirement("chat.generator")
def test_the_texts_of_the_contract(spec):
    with pytest.raises(ToolsGenerationError, match=r"OpenAPI spec file not found: /none\.json"):
        create_tools_generator_from_spec("/none.json")
    with pytest.raises(ToolsGenerationError, match=r"Failed to parse OpenAPI spec file .*bad.yaml as YAML"):
        create_tools_generator_from_spec(spec("a: [", "bad.yaml"))
    with pytest.raises(ToolsGenerationError, match="Either FastAPI app, openapi_spec parameter, or config"):
        ToolsGenerator()
    with pytest.raises(ConfigurationError, match=r"Failed to load configuration: .*nonsense"):
        create_tools_generator_from_spec(spec(document({})), nonsense=1)
    assert ToolsGenerator(openapi_spec=document({"/x": {"get": {}}})).validate_tool_call("get_x", {})
    assert ToolsGenerator(FastAPI()).generate_tools_desc()["functions"] == []


@pytest.mark.requirement("D.remote-api", "X-07")
async def test_a_document_at_a_url_binds_calls_to_its_own_origin(system):
    served = document({"/a": {"get": {"operationId": "a"}}}, servers=[{"url": "/v1"}])
    seen: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        seen.append(head)
        body = json.dumps(served if "openapi" in head.split()[1] else {"answer": 1}).encode()
        media = b"application/json"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (media, len(body)) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        desk = await asyncio.to_thread(Desk, system, shop(), openapi_spec_url=f"{base}/openapi.json")
        desk.give()
        assert await desk.call("a") == {"answer": 1}
        assert "authorization" not in seen[0].lower()
        assert seen[1].startswith("GET /v1/a HTTP/1.1")
        assert f"Bearer {CANARY}" in seen[1]
        served["servers"] = [{"url": "https://evil.example"}]
        with pytest.raises(ToolsGenerationError, match="set api_base_url"):
            await asyncio.to_thread(Desk, system, shop(), openapi_spec_url=f"{base}/openapi.json")
        with pytest.raises(ToolsGenerationError, match="cannot be fetched"):
            await asyncio.to_thread(Desk, system, shop(), openapi_spec_url="http://127.0.0.1:1/openapi.json")
    finally:
        server.close()
