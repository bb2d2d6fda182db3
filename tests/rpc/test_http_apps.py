"""Web apps of a real client: ASGI and functions services, what they are told, and what of theirs reaches a browser."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.rpc.place import WAIT, Place, Raw, place
from tests.rpc.test_http_calls import ADA, shared
from valetkey.model.tokens import TokenKind

APPS = ADA.replace("services", "apps")


class App:
    """A Starlette app of a client."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        routes = [
            Route("/", lambda _: Response("the root"), methods=["GET"]),
            Route("/told", self.told, methods=["GET", "POST"]),
            Route("/cookies", self.cookies),
            Route("/endless", self.endless),
            Route("/breaks", self.breaks),
        ]
        self.app = Starlette(routes=routes)
        service = {"id": "web", "type": "asgi", "config": {"visibility": "public"}, "serve": self.serve}
        self.service: dict[str, Any] = service

    async def serve(self, args: Any) -> None:
        try:
            await self.app(args["scope"], args["receive"], args["send"])
        finally:
            self.ended.set()

    async def told(self, request: Request) -> Response:
        scope = {key: request.scope[key] for key in ("path", "root_path", "workspace", "service_id", "method")}
        user = request.scope["user"]
        body = (await request.body()).decode()
        return JSONResponse({**scope, "user": user["id"], "headers": dict(request.headers), "body": body})

    async def cookies(self, _: Request) -> Response:
        headers = {"set-cookie": "valetkey=mine", "content-security-policy": "default-src *", "x-mine": "kept"}
        return Response("<script>1</script>", status_code=201, headers=headers, media_type="text/html")

    async def endless(self, _: Request) -> Response:
        async def parts() -> AsyncIterator[str]:
            while True:
                yield "more\n"
                await asyncio.sleep(0)

        return StreamingResponse(parts())

    async def breaks(self, _: Request) -> Response:
        raise PermissionError("not you")


@pytest.mark.requirement("hypha.3.1.asgi", "E3.apps")
async def test_an_asgi_app_is_told_who_asks_and_never_what_they_sign_in_with() -> None:
    async with shared(App().service) as (here, _, http):
        token, session = await here.token("bob"), await here.token("bob", kind=TokenKind.SESSION)
        headers = {"authorization": f"Bearer {token}", "cookie": f"a=b; valetkey={session}", "x-again": f"<{token}>"}
        told = (await http.post(f"{APPS}/web/told?x=1", content=b"body", headers=headers)).json()
        assert (told["path"], told["root_path"], told["method"], told["body"]) == ("/told", "", "POST", "body")
        assert (told["workspace"], told["service_id"], told["user"]) == ("ws-user-ada", "web", "bob")
        assert "cookie" not in told["headers"]
        assert token not in str(told)
        assert session not in str(told)
        basic = base64.b64encode(f"git:{token}".encode()).decode()
        told = (await http.get(f"{APPS}/web/told", headers={"authorization": f"Basic {basic}"})).json()
        assert (told["user"], "authorization" in told["headers"]) == ("bob", False)
        ours = {"cookie": f"valetkey={session}", "sec-fetch-site": "same-origin"}
        told = (await http.get(f"{APPS}/web/told", headers=ours)).json()
        assert (told["user"], "cookie" in told["headers"]) == ("bob", False)
        assert (await http.get(f"{APPS}/web/told")).json()["user"] == "anonymouz-http"
        assert (await http.get(f"{APPS}/web/")).text == "the root"
        assert (await http.get(f"{APPS}/web")).headers["location"] == f"{APPS}/web/"
        assert (await http.get(f"{APPS}/web/nothing")).status_code == 404


@pytest.mark.requirement("E3.app-pages")
async def test_pages_of_clients_are_in_a_sandbox_and_set_no_cookies() -> None:
    index = {"status": 200, "headers": {"Set-Cookie": "valetkey=mine", "content-type": "text/html"}, "body": "<b>x</b>"}
    pages = {"id": "pages", "type": "functions", "config": {"visibility": "public"}, "index": lambda event: index}
    async with shared(App().service, pages) as (_, _, http):
        shown = [await http.get(f"{APPS}/{path}") for path in ("web/cookies", "pages/")]
        assert [each.status_code for each in shown] == [201, 200]
        for each in shown:
            assert "set-cookie" not in each.headers
            policy = each.headers.get_list("content-security-policy")
            assert len(policy) == 1
            assert policy[0].startswith("sandbox ")
            assert "allow-same-origin" not in policy[0]
            assert each.headers["content-type"].startswith("text/html")
        assert shown[0].headers["x-mine"] == "kept"


@pytest.mark.requirement("hypha.3.1.asgi")
async def test_a_body_comes_whole_and_one_that_is_too_large_is_refused() -> None:
    async with shared(App().service) as (_, _, http):
        text = "z" * 700_000
        assert (await http.post(f"{APPS}/web/told", content=text)).json()["body"] == text
        assert (await http.post(f"{APPS}/web/told", content=b"z" * 4_200_000)).status_code == 413


@pytest.mark.requirement("E3.apps")
async def test_a_visitor_who_leaves_ends_the_app_and_a_failing_one_is_answered_for() -> None:
    app = App()
    async with shared(app.service) as (_, client, http):
        async with http.stream("GET", f"{APPS}/web/endless") as answer:
            assert await anext(answer.aiter_lines()) == "more"
        async with asyncio.timeout(WAIT):
            await app.ended.wait()

        async def nothing(args: Any) -> None:
            pass

        async def wrong(args: Any) -> None:
            await args["send"]({"type": "http.response.start", "status": 200, "headers": [[b"a\r\nb", b"c"]]})

        for function, text in ((nothing, "gave no answer"), (wrong, "its name is a token")):
            await client.register_service({**app.service, "serve": function}, overwrite=True)
            answer = await http.get(f"{APPS}/web/x")
            assert (answer.status_code, text in answer.json()["detail"]) == (500, True)


@pytest.mark.requirement("hypha.3.1.function-apps", "E3.apps", "E.shown-http")
async def test_functions_of_a_client_answer_requests() -> None:
    def index(event: dict[str, Any]) -> dict[str, Any]:
        told = {key: event[key] for key in ("method", "path", "query_string", "workspace", "service_id")}
        return {"status": 200, "headers": {"x-mine": "1"}, "body": f"{told} {event['user']['id']}"}

    def upload(event: dict[str, Any]) -> dict[str, Any]:
        return {"size": len(event["body"]), "kind": event["headers"]["content-type"]}

    def default(event: dict[str, Any]) -> dict[str, Any]:
        return {"status": 404, "body": event["function_path"].encode()}

    def context(event: dict[str, Any]) -> Any:
        raise KeyError(event["path"])

    service = {"id": "pages", "type": "functions", "config": {"visibility": "public"}, "index": index, "upload": upload}
    async with shared({**service, "a": {"b": context}, "default": default}) as (here, _, http):
        answer = await http.get(f"{APPS}/pages/?x=1", headers={"authorization": f"Bearer {await here.token('bob')}"})
        assert answer.text.endswith("'service_id': 'pages'} bob")
        assert ("'query_string': 'x=1'" in answer.text, answer.headers["x-mine"]) == (True, "1")
        answer = await http.post(f"{APPS}/pages/upload", content=b"12345", headers={"content-type": "x/y"})
        assert answer.json() == {"size": 5, "kind": "x/y"}
        answer = await http.get(f"{APPS}/pages/no/such")
        assert (answer.status_code, answer.text) == (404, "/no/such")
        answer = await http.get(f"{APPS}/pages/a/b")
        assert (answer.status_code, answer.json()["detail"]) == (404, "RemoteException: KeyError: '/a/b'")


@pytest.mark.requirement("hypha.3.1.function-apps")
async def test_other_services_have_no_pages_and_visibility_holds() -> None:
    closed = {**App().service, "id": "closed", "config": {"visibility": "protected"}}
    plain = {"id": "plain", "config": {"visibility": "public"}, "index": lambda event: "x"}
    async with shared(closed, plain) as (here, _, http):
        assert (await http.get(f"{APPS}/plain/index")).status_code == 400
        assert (await http.get(f"{APPS}/closed/")).status_code == 403
        ada = {"authorization": f"Bearer {await here.token('ada')}"}
        assert (await http.get(f"{APPS}/closed/", headers=ada)).text == "the root"
        assert (await http.get(f"{APPS}/nothing/")).status_code == 404
        assert isinstance(http, httpx2.AsyncClient)


async def register(raw: Raw) -> None:
    """A public service of a client at the wire."""
    schema = {"f": {"type": "function", "function": {"name": "f", "parameters": {}}}}
    facts = {"id": "probe", "config": {"visibility": "public"}, "service_schema": schema}
    assert "resolve" in await raw.call(raw.manager, "services.default.register_service", facts)


async def the_app(here: Place) -> tuple[asyncio.Event, asyncio.Event]:
    """Ada's client: pages that read a request late, and a function that calls what it is given."""
    server = await here.connect("app", token=await here.token("ada"))
    began, go = asyncio.Event(), asyncio.Event()

    async def serve(args: Any) -> None:
        began.set()
        await go.wait()
        await args["send"]({"type": "http.response.start", "status": 200, "headers": []})
        await args["send"]({"type": "http.response.body", "body": b"fine"})

    async def apply(function: Any) -> Any:
        return await function()

    public = {"visibility": "public"}
    await server.register_service({"id": "pages", "type": "asgi", "config": public, "serve": serve})
    await server.register_service({"id": "tools", "config": public, "apply": apply})
    return began, go


@pytest.mark.parametrize("way", ["http", "rpc"])
async def test_a_request_is_not_read_by_another_caller_who_knows_its_name(way: str) -> None:
    async with place() as here:
        began, go = await the_app(here)
        mallory = await here.raw("mallory")
        async with here.http() as bob, here.http() as eve:
            asked = asyncio.ensure_future(bob.post("/ws-user-ada/apps/pages/", content=b"password-of-bob"))
            await began.wait()
            (session,) = here.services.calls._offers
            gateway = f"ws-anonymous/http-{here.services.instance}"  # as all are called that have no token
            given = {
                "_rtype": "method",
                "_rtarget": gateway,
                "_rmethod": f"{session}.receive",
                "_rpromise": "*",
                "_rname": "f",
            }
            if way == "http":
                answer = await eve.post("/ws-user-ada/services/tools/apply", json={"function": given}, timeout=5)
                got, refused = answer.text, answer.status_code == 400
            else:
                reply = await mallory.call("ws-user-ada/app", "services.tools.apply", given)
                got, refused = str(reply), "cannot be handed on" in reply["reject"]
            go.set()
            await asked
        assert refused, got


async def test_sessions_of_the_gateway_cannot_be_guessed_from_one_another() -> None:
    async with place() as here:
        raw = await here.raw("evil")
        await register(raw)
        seen = []
        async with here.http() as own:
            for _ in range(2):
                calling = asyncio.ensure_future(own.post(f"/{raw.info['workspace']}/services/probe/f", json={}))
                first, _ = await raw.hear()
                seen.append(first["session"])
                await raw.send(first["from"], f"{first['session']}.resolve", 1, parent=first["session"])
                await calling
        assert len(seen[0]) >= 20
        assert seen[0][:4] != seen[1][:4]


async def test_a_call_to_what_waits_at_the_gateway_under_another_name_is_answered() -> None:
    async with place() as here:
        raw = await here.raw("evil")
        await register(raw)
        async with here.http() as own:
            calling = asyncio.ensure_future(own.post(f"/{raw.info['workspace']}/services/probe/f", json={}))
            first, _ = await raw.hear()
            got = await raw.call(first["from"], f"{first['session']}.receive")
            await raw.send(first["from"], f"{first['session']}.resolve", 1, parent=first["session"])
            assert (await calling).json() == 1
        assert "reject" in got
