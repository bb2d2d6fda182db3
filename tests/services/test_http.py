"""Services over HTTP: who may, what goes in, what comes out, and with which status."""

import asyncio
import builtins
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.services.kit import ROOT_TOKEN, Place, bearer
from valetkey.model.workspaces import PUBLIC
from valetkey.services.handle import Facts

JSON = {"content-type": "application/json; charset=utf-8"}


def add(a: float, b: float = 0) -> float:
    return a + b


async def hello(name: str = "you", **more: Any) -> dict[str, Any]:
    return {"hello": name, **more}


def raises(kind: str, text: str = "bad value") -> None:
    raise getattr(builtins, kind)(text)


async def count(to: int) -> AsyncIterator[int]:
    for each in range(to):
        yield each
    if to > 5:
        raise ValueError("too far")


def steps() -> Iterator[str]:
    yield "a"
    yield "b"


async def whoami(context: Any = None) -> Any:
    return context


SERVICE = {
    "id": "calc",
    "config": {"visibility": "public"},
    "version": "1.0",
    "add": add,
    "hello": hello,
    "raises": raises,
    "count": count,
    "steps": steps,
    "nested": {"add": add},
    "keys": lambda: "a function of that name",
}


async def put(place: Place, service: dict[str, Any], **options: Any) -> Any:
    client = await place.serve(**options)
    place.table.register(service, workspace=PUBLIC)
    return client


@pytest.mark.requirement("seed004.http-bearer")
async def test_arguments_come_by_body_or_query(place: Place):
    client = await put(place, SERVICE)
    path = "/public/services/calc"
    assert (await client.post(f"{path}/add", content=b'{"a": 1, "b": 2}', headers=JSON)).json() == 3
    assert (await client.get(f"{path}/add?a=1.5&b=2&_mode=random")).json() == 3.5
    assert (await client.get(f"{path}/nested.add?a=1")).json() == 1
    assert (await client.get(f"{path}/version")).json() == "1.0"
    assert (await client.post(f"{path}/keys")).json() == "a function of that name"
    shown = (await client.get(f"{path}/hello", params={"name": "007", "x": '{"y": [1]}', "workspace": "w"})).json()
    assert shown == {"hello": "007", "x": {"y": [1]}, "workspace": "w"}


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b'{"a": NaN}', "application/json", 400),
        (b'{"a": 1e999}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"[1, 2]", "application/json", 400),
        (b"1", "application/json", 400),
        (b'{"a": 1, "c": 2}', "application/json", 400),
        (b'{"a": "\xff"}', "application/json", 400),
        (b"a=1", "application/x-www-form-urlencoded", 415),
        (b'{"a": 1}', "text/plain", 415),
        (b'{"a": 1}', "application/json; charset=utf-16", 415),
        (b" " * 70_000, "application/json", 413),
    ],
)
async def test_arguments_that_cannot_be_are_no_500(place: Place, body, kind, status):
    client = await put(place, SERVICE, cap=65_536) if status == 413 else await put(place, SERVICE)
    answer = await client.post("/public/services/calc/add", content=body, headers={"content-type": kind})
    assert answer.status_code == status
    assert answer.json()["success"] is False


@pytest.mark.parametrize("inner", ["", "1"])
async def test_arguments_are_64_levels_deep_and_no_more(place: Place, inner):
    client = await put(place, SERVICE)
    for levels, status in {63: 200, 64: 400, 500: 400}.items():  # in an object, which is one
        data = "[" + "[]," * 9 + "[" * (levels - 1) + inner + "]" * levels
        answer = await client.post("/public/services/ws/echo", content=f'{{"data": {data}}}'.encode(), headers=JSON)
        assert answer.status_code == status
        assert status == 200 or "nested too deep" in answer.json()["detail"]
    assert (await client.post("/public/services/ws/echo", json={"data": [[]] * 80}, headers=JSON)).json() == [[]] * 80


@pytest.mark.parametrize("data", ['"\\ud800"', '{"\\uDC00": 1}', '[["\\udC00\\uD800"]]'])
async def test_half_a_character_is_a_400(place: Place, data):
    client = await put(place, SERVICE)
    path, body = "/public/services/ws/echo", f'{{"data": {data}}}'
    asked = [
        await client.post(path, content=body.encode(), headers=JSON),
        await client.get(path, params={"data": data if data[0] in "[{" else f"[{data}]"}),
    ]
    assert [(each.status_code, "half a character" in each.json()["detail"]) for each in asked] == [(400, True)] * 2
    whole = await client.post(path, content=b'{"data": "\\ud83d\\udd11"}', headers=JSON)
    assert whole.json() == "\U0001f511"


@pytest.mark.parametrize("query", ["a=1&a=2", "a=%ff", "&".join(f"a{n}=1" for n in range(300)), "b=2"])
async def test_a_query_that_cannot_be_is_a_400(place: Place, query):
    client = await put(place, SERVICE)
    assert (await client.get(f"/public/services/calc/add?{query}")).status_code == 400


@pytest.mark.requirement("d27.exceptions")
@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("PermissionError", 403),
        ("KeyError", 404),
        ("TypeError", 400),
        ("ValueError", 400),
        ("AssertionError", 400),
        ("TimeoutError", 504),
        ("RuntimeError", 500),
        ("SystemExit", 500),
    ],
)
async def test_an_exception_has_its_status(place: Place, kind, status):
    client = await put(place, SERVICE)
    answer = await client.post("/public/services/calc/raises", json={"kind": kind})
    detail = answer.json()["detail"]
    assert answer.status_code == status
    assert detail.startswith("RemoteException: ")
    assert kind in detail


@pytest.mark.requirement("d27.exceptions")
async def test_a_failure_is_told_without_what_was_presented(place: Place):
    client = await put(place, SERVICE)
    token = await place.access()
    told = {"kind": "ValueError", "text": f"bad {token} and hunter-22", "password": "hunter-22"}
    answer = await client.post("/public/services/calc/raises", json=told, headers=bearer(token))
    assert answer.status_code == 400
    assert token not in answer.text
    told.pop("password")
    answer = await client.post("/public/services/calc/raises", json=told, headers=bearer(token))
    assert answer.json()["detail"] == "RemoteException: ValueError: bad *** and hunter-22"


async def test_generators_stream_as_events(place: Place):
    client = await put(place, SERVICE)
    answer = await client.get("/public/services/calc/count?to=2")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text == "data: 0\n\ndata: 1\n\ndata: [DONE]\n\n"
    assert (await client.get("/public/services/calc/steps")).text == 'data: "a"\n\ndata: "b"\n\ndata: [DONE]\n\n'
    broken = (await client.get("/public/services/calc/count?to=6")).text
    assert "event: error" in broken
    assert "[DONE]" not in broken


async def test_what_is_no_json_is_the_services_fault(place: Place):
    client = await put(place, {"id": "odd", "config": {"visibility": "public"}, "give": object})
    answer = await client.post("/public/services/odd/give")
    assert (answer.status_code, answer.json()["success"]) == (500, False)


async def cancelled() -> None:
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    await task


async def cancels_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def closed() -> None:
    raise GeneratorExit


def closed_in_thread() -> None:
    raise GeneratorExit


@pytest.mark.parametrize("function", [cancelled, cancels_itself, closed, closed_in_thread])
async def test_a_function_that_ends_its_own_task_is_a_500(place: Place, function):
    client = await put(place, {"id": "odd", "type": "functions", "config": {"visibility": "public"}, "end": function})
    for path in ("/public/services/odd/end", "/public/apps/odd/end"):
        if path.startswith("/public/apps"):
            place.table.register(
                {"id": "odd", "type": "functions", "config": {"visibility": "public"}, "end": lambda _: function()},
                workspace=PUBLIC,
                overwrite=True,
            )
        if function is cancels_itself and "apps" in path:
            continue  # there it is the request's own task
        answer = await client.post(path)
        assert (answer.status_code, answer.json()["success"]) == (500, False), path


async def test_a_stream_that_ends_its_own_task_is_told_in_the_stream(place: Place):
    async def stream() -> AsyncIterator[int]:
        yield 1
        await cancelled()

    client = await put(place, {"id": "odd", "config": {"visibility": "public"}, "stream": stream})
    answer = (await client.post("/public/services/odd/stream")).text
    assert answer.startswith("data: 1\n\nevent: error\n")


async def test_a_failure_is_told_without_credentials_of_others(place: Place):
    client = await put(place, SERVICE)
    text = "GET https://user:hunter-22@db.example/x with Authorization: Bearer abcdef-1 and basic dXNlcjpwdw=="
    answer = await client.post("/public/services/calc/raises", json={"kind": "ValueError", "text": text})
    assert answer.json()["detail"] == (
        "RemoteException: ValueError: GET https://***@db.example/x with Authorization: Bearer *** and basic ***"
    )


async def test_a_call_that_takes_too_long_is_a_504(place: Place):
    service = {"id": "slow", "config": {"visibility": "public"}, "wait": lambda: asyncio.Event().wait()}
    client = await put(place, service, deadline=0.05)
    assert (await client.post("/public/services/slow/wait")).status_code == 504


@pytest.mark.requirement("seed004.example-protected")
async def test_context_is_ours_to_give(place: Place):
    service = {"id": "who", "config": {"visibility": "public", "require_context": True}, "whoami": whoami}
    client = await put(place, service)
    place.table.register({**service, "id": "blind", "config": {"visibility": "public"}}, workspace=PUBLIC)
    forged = {"context": {"user": {"id": "root"}, "ws": "ws-user-root"}}
    anonymous = (await client.post("/public/services/who/whoami", json=forged)).json()
    assert (anonymous["ws"], anonymous["user"]["id"]) == ("ws-anonymous", "anonymouz-http")
    ada = (await client.post("/public/services/who/whoami", json=forged, headers=bearer(await place.access()))).json()
    assert (ada["ws"], ada["user"]["id"]) == ("ws-user-local|ada", "local|ada")
    assert (await client.post("/public/services/blind/whoami", json=forged)).json() is None


@pytest.mark.requirement("E-05")
async def test_visibility(place: Place):
    client = await place.serve()
    for name, config in {
        "open": {"visibility": "public"},
        "hidden": {"visibility": "unlisted"},
        "closed": {},
        "shared": {"authorized_workspaces": ["ws-user-local|ada"]},
    }.items():
        place.table.register({"id": name, "config": config, "hello": hello}, workspace=PUBLIC)
    ada, root = bearer(await place.access()), bearer(ROOT_TOKEN)

    async def statuses(headers: dict[str, str]) -> list[int]:
        paths = [f"/public/services/{name}/hello" for name in ("open", "hidden", "closed", "shared")]
        return [(await client.get(path, headers=headers)).status_code for path in paths]

    assert await statuses({}) == [200, 200, 403, 403]
    assert await statuses(ada) == [200, 200, 403, 200]
    assert await statuses(root) == [200, 200, 200, 200]
    denied = (await client.get("/public/services/closed", headers=ada)).json()
    assert denied["detail"] == "Permission denied for non-public service in workspace public"
    listed = [each["id"] for each in (await client.get("/public/services/", headers=ada)).json()]
    assert listed == ["public/server:hypha-login", "public/server:open", "public/server:shared"]
    assert (await client.get("/public/services/nothing/f")).status_code == 404
    assert (await client.get("/public/services/open/nothing")).status_code == 404
    assert (await client.get("/public/services")).headers["location"] == "/public/services/"


async def test_a_workspace_says_who_may_not(place: Place):
    client = await place.serve()
    answer = await client.get("/ws-user-bob/info")
    detail = "anonymouz-http has no permission to access ws-user-bob"
    assert (answer.status_code, answer.json()) == (403, {"success": False, "detail": detail})
    assert (await client.get("/public/info", headers=bearer(ROOT_TOKEN))).json()["id"] == "public"


async def test_a_browser_is_nobody_where_get_token_finds_none(place: Place):
    client = await place.serve()
    session, _ = await place.signed_in()
    cookie = {"cookie": f"valetkey={session}", "sec-fetch-site": "same-origin"}
    await place.plugin.register_auth_service(get_token=lambda scope: None)
    assert (await client.get("/public/services/", headers=cookie)).status_code == 200
    assert (await client.post("/public/services/ws/echo", json={"data": 1}, headers=cookie)).json() == 1
    assert (await client.post("/public/services/ws/list_tokens", headers=cookie)).status_code == 403


async def test_a_session_counts_only_where_our_own_page_sent_it(place: Place):
    client = await put(place, SERVICE)
    session, _ = await place.signed_in()
    cookie = {"cookie": f"valetkey={session}"}
    path = "/public/services/ws/list_tokens"
    assert (await client.post(path, headers=cookie | {"sec-fetch-site": "same-origin"})).status_code == 200
    for method in ("GET", "POST"):
        for site in ("cross-site", "same-site"):
            answer = await client.request(method, path, headers=cookie | {"sec-fetch-site": site})
            assert answer.status_code == 403
        assert (await client.request(method, path, headers=cookie)).status_code == 403


@pytest.mark.requirement("C3.revoke")
async def test_ws_looks_after_a_callers_tokens(place: Place):
    client = await place.serve()
    token = await place.access()
    ada = bearer(token)
    child = (await client.post("/public/services/ws/generate_token", json={"config": {}}, headers=ada)).json()
    parsed = (await client.post("/public/services/~/parse_token", json={"token": child}, headers=ada)).json()
    assert (parsed["parent"], parsed["scope"]["workspaces"]) == ("local|ada", {"ws-user-local|ada": "rw"})
    assert (await client.get(f"/public/services/ws/parse_token?token={child}", headers=ada)).status_code == 401
    listed = (await client.get("/public/services/ws/list_tokens", headers=ada)).json()
    assert "access" in {each["kind"] for each in listed}
    assert token not in json.dumps(listed)
    await client.post("/public/services/ws/revoke_token", json={"token": child}, headers=ada)
    refused = await client.post("/public/services/ws/echo", json={"data": 1}, headers=bearer(child))
    assert refused.status_code == 401
    assert (await client.get("/public/services/ws/list_tokens")).status_code == 403
    bad = await client.post("/public/services/ws/generate_token", json={"config": {"permission": "x"}}, headers=ada)
    assert bad.status_code == 400


@pytest.mark.requirement("seed004.register-asgi", "d25.own-table")
async def test_an_asgi_app_stands_at_its_own_root(place: Place):
    seen: list[Any] = []

    async def app(scope, receive, send):
        seen.append({**scope, "body": (await receive())["body"]})
        await send({"type": "http.response.start", "status": 201, "headers": [[b"x-app", b"1"]]})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    service = {
        "id": "site",
        "type": "asgi",
        "config": {"visibility": "public"},
        "serve": lambda args: app(args["scope"], args["receive"], args["send"]),
    }
    client = await put(place, service)
    answer = await client.post("/public/apps/site/a/b?x=1", content=b"in", headers={"cookie": "a=1; valetkey=s; b=2"})
    assert (answer.status_code, seen) == (403, [])
    answer = await client.post("/public/apps/site/a/b?x=1", content=b"in", headers={"cookie": "a=1; b=2"})
    assert (answer.status_code, answer.headers["x-app"], answer.text) == (201, "1", "/a/b")
    (scope,) = seen
    assert (scope["root_path"], scope["workspace"], scope["service_id"], scope["body"]) == ("", "public", "site", b"in")


async def test_an_app_never_sees_the_session(place: Place):
    seen: list[dict[str, Any]] = []

    async def page(event):
        seen.append(event)
        return {"status": 200, "headers": {"Content-Type": "text/plain"}, "body": event["user"]["id"]}

    client = await put(place, {"id": "site", "type": "functions", "config": {"visibility": "public"}, "index": page})
    session, _ = await place.signed_in()
    answer = await client.get("/public/apps/site/", headers={"cookie": f"a=1; valetkey={session}; b=2"})
    assert (answer.status_code, answer.text) == (200, "local|ada")
    assert session not in str(seen)
    assert seen[0]["headers"]["cookie"].replace(" ", "") == "a=1;b=2"


async def test_a_page_opens_for_a_browser_whose_session_has_ended(place: Place):
    async def page(event):
        return {"body": event["user"]["id"]}

    client = await put(place, {"id": "site", "type": "functions", "config": {"visibility": "public"}, "index": page})
    session, ada = await place.signed_in()
    await place.tokens.sign_out(ada)
    answer = await client.get("/public/apps/site/", headers={"cookie": f"valetkey={session}"})
    assert (answer.status_code, answer.text) == (200, "anonymouz-http")


@pytest.mark.requirement("seed004.index-handler", "d25.own-table")
async def test_functions_answer_pages(place: Place):
    async def page(event):
        return {"status": 200, "headers": {"Content-Type": "text/html"}, "body": f"{event['function_path']}"}

    service = {
        "id": "site",
        "type": "functions",
        "config": {"visibility": "public"},
        "a": {"b": page},
        "default": page,
        "split": lambda event: {"status": 200, "headers": {"X": "a\r\nSet-Cookie: x"}, "body": ""},
        "data": lambda event: {"k": event["query_string"]},
    }
    client = await put(place, service)
    assert (await client.get("/public/apps/site/a/b")).text == "/a/b"
    assert (await client.get("/public/apps/site/c")).text == "/c"
    assert (await client.get("/public/apps/site/data?q=1")).json() == {"k": "q=1"}
    split = await client.get("/public/apps/site/split")
    assert (split.status_code, "set-cookie" in split.headers) == (500, False)
    place.table.register({"id": "plain", "config": {"visibility": "public"}}, workspace=PUBLIC)
    answer = await client.get("/public/apps/plain/x")
    assert (answer.status_code, "Invalid service type: generic" in answer.json()["detail"]) == (400, True)


@pytest.mark.requirement("seed004.set-login-service", "d24.set-login-service")
async def test_set_login_service_gets_every_path_and_the_functions_stay(place: Place, tmp_path):
    program = tmp_path / "saml.py"
    program.write_text(
        "async def app(scope, receive, send):\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "    await send({'type': 'http.response.body', 'body': b'saml ' + scope['path'].encode()})\n"
        "async def startup(server):\n"
        "    await server['set_login_service'](app)\n"
    )
    client = await place.serve(f"{program}:startup")
    assert (await client.get("/public/apps/hypha-login/saml/acs")).text == "saml /saml/acs"
    assert (await client.get("/public/apps/hypha-login/")).text == "saml /"
    assert "key" in (await client.post("/public/services/hypha-login/start")).json()


@pytest.mark.requirement("seed004.extra-handlers", "C6.register")
async def test_extra_handlers_alone_register_the_login_service(place: Place, tmp_path):
    program = tmp_path / "extra.py"
    program.write_text(
        "async def hello(event):\n"
        "    return {'status': 200, 'headers': {}, 'body': event['user']['id']}\n"
        "async def startup(server):\n"
        "    await server.register_auth_service(hello=hello)\n"
    )
    client = await place.serve(f"{program}:startup")
    assert (await client.get("/public/apps/hypha-login/hello")).text == "anonymouz-http"
    assert "key" in (await client.post("/public/services/hypha-login/start")).json()


def test_facts_are_read_by_attribute():
    assert Facts(a=1).a == 1
    with pytest.raises(AttributeError, match="there is no b"):
        _ = Facts(a=1).b


async def test_where_a_caller_acts_is_remembered_for_a_moment_only(place: Place):
    client = await place.serve()
    service = {"id": "who", "config": {"visibility": "public", "require_context": True}, "whoami": whoami}
    place.table.register(service, workspace="team-x")
    session, caller = await place.signed_in()
    await place.workspaces.create(caller, "team-x")
    ada = {"cookie": f"valetkey={session}", "sec-fetch-site": "same-origin"}
    bob = bearer(await place.access("bob"))

    async def acts_in(headers: dict[str, str]) -> str:
        return str((await client.post("/team-x/services/who/whoami", headers=headers)).json()["ws"])

    assert [await acts_in(ada), await acts_in(bob)] == ["team-x", "ws-user-local|bob"]
    await place.stores.workspaces.delete("team-x")
    place.clock.advance(3)
    assert await acts_in(ada) == "ws-user-local|ada"
