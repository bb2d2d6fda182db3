"""Functions of a real client's services, called over HTTP: contract 3.1 to 3.3, row by row."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import httpx2
import msgpack
import numpy as np
import pytest
from starlette.applications import Starlette

from tests.rpc.place import ROOT_TOKEN, Place, place, until
from valetkey.entrypoints.rpc.http import service_routes
from valetkey.model.tokens import TokenKind
from valetkey.settings.sections import Rate

ADA = "/ws-user-ada/services"


def add(a: float, b: float = 0) -> float:
    return a + b


def echo(data: Any = None) -> Any:
    return data


def everything(**given: Any) -> dict[str, Any]:
    return given


def raises(kind: str, text: str = "bad value") -> None:
    raise getattr(__import__("builtins"), kind)(text)


async def raises_later(kind: str, text: str = "bad value") -> None:
    raises(kind, text)


def telling(name: str, visibility: str, **config: Any) -> dict[str, Any]:
    def whoami(context: Any = None) -> Any:
        return {key: context[key] for key in ("ws", "user")} if context else None

    return {"id": name, "config": {"visibility": visibility, "require_context": True, **config}, "whoami": whoami}


SERVICE = {
    "id": "calc",
    "config": {"visibility": "public"},
    "version": "1.0",
    "add": add,
    "echo": echo,
    "everything": everything,
    "raises": raises,
    "raises_later": raises_later,
    "nested": {"deep": {"add": add}, "answer": 42},
    "array": lambda: np.arange(6, dtype="float32").reshape(2, 3),
    "long": lambda size: "x" * size,
}
TELLING = telling("telling", "public")


@asynccontextmanager
async def shared(*services: dict[str, Any], **options: Any) -> AsyncIterator[tuple[Place, Any, httpx2.AsyncClient]]:
    """A server, ada's client with these services, and HTTP without a token."""
    async with place(**options) as here:
        client = await here.connect("prog", token=await here.token("ada"))
        for service in services:
            await client.register_service(dict(service))
        async with here.http() as http:
            yield here, client, http


@pytest.mark.requirement(
    "hypha.3.2.arguments", "hypha.3.2.context", "hypha.3.3.no-500", "hypha.4.10", "E3.calls", "E.shown-http"
)
async def test_arguments_come_by_body_or_query_and_go_by_name() -> None:
    async with shared(SERVICE, TELLING) as (_, _, http):
        for name in ("calc", "prog:calc"):
            assert (await http.post(f"{ADA}/{name}/add", json={"a": 1, "b": 2})).json() == 3
        json = {"content-type": "application/json; charset=utf-8"}
        assert (await http.post(f"{ADA}/calc/add", content=b'{"a": 1}', headers=json)).json() == 1
        assert (await http.get(f"{ADA}/calc/add?a=1.5&b=2&_mode=first")).json() == 3.5
        shown = (
            await http.get(f"{ADA}/calc/everything", params={"x": "007", "y": '{"z": [1]}', "workspace": "w"})
        ).json()
        assert shown == {"x": "007", "y": {"z": [1]}, "workspace": "w"}
        assert (await http.post(f"{ADA}/calc/everything")).json() == {}
        assert (await http.post(f"{ADA}/calc/everything", json={"context": {"user": {"id": "root"}}})).json() == {}


@pytest.mark.requirement("hypha.3.1.functions", "E.shown-http")
async def test_functions_are_nested_and_values_are_given_as_they_are() -> None:
    async with shared(SERVICE) as (_, _, http):
        asked = {
            path: await http.get(f"{ADA}/calc/{path}") for path in ("nested.deep.add?a=4", "nested.answer", "version")
        }
        assert [each.json() for each in asked.values()] == [4, 42, "1.0"]
        for path in ("nothing", "nested.nothing", "add.x", "__class__", "nested.deep.__init__", "config.visibility.x"):
            answer = await http.get(f"{ADA}/calc/{path}")
            assert (answer.status_code, answer.json()["success"]) == (404, False), path


@pytest.mark.requirement("hypha.3.2.arguments", "hypha.3.3.no-500")
async def test_arguments_that_cannot_be_are_no_500() -> None:
    json, packed = "application/json", "application/msgpack"
    asked = [
        (b"{", json, 400),
        (b"[1, 2]", json, 400),
        (b"1", json, 400),
        (b'{"a": 1, "c": 2}', json, 400),
        (b'{"a": 100000000000000000000000000}', json, 400),
        (b'{"a": {"_rtype": "method", "_rtarget": "ws-user-ada/prog", "_rmethod": "x"}}', json, 400),
        (b"a=1", "application/x-www-form-urlencoded", 415),
        (b"a=1", "multipart/form-data; boundary=x", 415),
        (b"\xc1", packed, 400),
        (b"\x93\x01\x02\x03", packed, 400),
        (b"\x81\x01\x02", packed, 400),
    ]
    async with shared(SERVICE) as (_, _, http):
        for body, kind, status in asked:
            answer = await http.post(f"{ADA}/calc/add", content=body, headers={"content-type": kind})
            assert (answer.status_code, answer.json()["success"]) == (status, False), body
        deep = b"\x81\xa4data" + b"\x91" * 100 + b"\x90"
        answer = await http.post(f"{ADA}/calc/echo", content=deep, headers={"content-type": packed})
        assert (answer.status_code, "nested too deep" in answer.json()["detail"]) == (400, True)


@pytest.mark.requirement("d27.exceptions", "hypha.3.3.statuses", "hypha.4.10", "E3.calls", "E.shown-http")
async def test_an_exception_of_a_client_has_its_status() -> None:
    statuses = {
        "PermissionError": 403,
        "KeyError": 404,
        "TypeError": 400,
        "ValueError": 400,
        "UnicodeError": 400,
        "AssertionError": 400,
        "TimeoutError": 504,
        "RuntimeError": 500,
    }
    async with shared(SERVICE) as (_, _, http):
        for name, kind in [(name, kind) for name in ("raises", "raises_later") for kind in statuses]:
            answer = await http.post(f"{ADA}/calc/{name}", json={"kind": kind})
            text = "'bad value'" if kind == "KeyError" else "bad value"
            told = {"success": False, "detail": f"RemoteException: {kind}: {text}"}
            assert (answer.status_code, answer.json()) == (statuses[kind], told)


@pytest.mark.requirement("d27.exceptions")
async def test_a_failure_is_told_in_full_without_its_traceback_and_what_was_presented() -> None:
    async with shared(SERVICE) as (here, _, http):
        token = await here.token("bob")
        given = {"kind": "ValueError", "text": f"one\n  two\nthree {token} hunter-22", "password": "hunter-22"}
        head = {"authorization": f"Bearer {token}"}
        answer = await http.post(f"{ADA}/calc/raises_later", json={**given, "password": None} | {}, headers=head)
        assert answer.json()["detail"].startswith("RemoteException: TypeError: ")
        given.pop("password")
        answer = await http.post(f"{ADA}/calc/raises_later", json=given, headers=head)
        assert answer.json()["detail"] == "RemoteException: ValueError: one\n  two\nthree *** hunter-22"


@pytest.mark.requirement("hypha.3.2.msgpack", "E3.calls")
async def test_msgpack_goes_in_and_out() -> None:
    async with shared(SERVICE) as (_, _, http):
        packed = {"content-type": "application/msgpack"}
        data = {"data": [b"\x00\xff", 1.5, None, {"a": "b"}]}
        answer = await http.post(f"{ADA}/calc/echo", content=msgpack.packb(data), headers=packed)
        assert answer.headers["content-type"] == "application/msgpack"
        assert msgpack.unpackb(answer.content) == data["data"]
        answer = await http.get(f"{ADA}/calc/array", headers={"accept": "application/msgpack"})
        found = msgpack.unpackb(answer.content)
        assert (found["_rtype"], found["_rdtype"], found["_rshape"]) == ("ndarray", "float32", [2, 3])
        assert (await http.get(f"{ADA}/calc/array")).json() == [[0, 1, 2], [3, 4, 5]]
        shown = (
            await http.post(f"{ADA}/calc/echo", content=msgpack.packb(data), headers={**packed, "accept": "*/*"})
        ).content
        assert msgpack.unpackb(shown)[0] == b"\x00\xff"
        assert (await http.post(f"{ADA}/calc/echo", json={"data": "x"})).json() == "x"


@pytest.mark.requirement("hypha.3.2.results")
async def test_long_arguments_and_results_come_through_whole() -> None:
    async with shared(SERVICE) as (_, _, http):
        assert len((await http.post(f"{ADA}/calc/long", json={"size": 1_500_000})).json()) == 1_500_000
        text = "y" * 1_200_000
        assert (await http.post(f"{ADA}/calc/echo", json={"data": text})).json() == text


@pytest.mark.requirement(
    "E-05", "seed004.services", "hypha.1.5.workspaces", "hypha.3.2.context", "hypha.3.2.workspace", "hypha.3.3.statuses"
)
async def test_who_calls_is_told_by_the_server_alone_and_visibility_holds() -> None:
    closed = telling("closed", "protected")
    shared_with_bob = telling("lent", "protected", authorized_workspaces=["ws-user-bob"])
    async with shared(TELLING, closed, shared_with_bob) as (here, _, http):
        bob = {"authorization": f"Bearer {await here.token('bob')}"}
        ada = {"authorization": f"Bearer {await here.token('ada')}"}
        root = {"authorization": f"Bearer {ROOT_TOKEN}"}
        forged = {"context": {"user": {"id": "root"}, "ws": "ws-user-root"}}
        told = (await http.post(f"{ADA}/telling/whoami", json=forged, headers=bob)).json()
        assert (told["ws"], told["user"]["id"], told["user"]["email"]) == ("ws-user-bob", "bob", "bob@example.com")
        told = (await http.post(f"{ADA}/telling/whoami", json=forged)).json()
        assert (told["ws"], told["user"]["id"], told["user"]["is_anonymous"]) == (
            "ws-anonymous",
            "anonymouz-http",
            True,
        )
        asked = {
            name: [(await http.post(f"{ADA}/{name}/whoami", headers=each)).status_code for each in ({}, bob, ada, root)]
            for name in ("telling", "closed", "lent", "nothing")
        }
        assert asked == {
            "telling": [200, 200, 200, 200],
            "closed": [403, 403, 200, 200],
            "lent": [403, 200, 200, 200],
            "nothing": [404, 404, 404, 404],
        }
        elsewhere = await here.token(
            "eve", workspaces={"ws-user-eve": "a", "ws-user-ada": "r"}, workspace="ws-user-eve"
        )
        told = (await http.post(f"{ADA}/closed/whoami", headers={"authorization": f"Bearer {elsewhere}"})).json()
        assert (told["ws"], told["user"]["id"]) == ("ws-user-eve", "eve")


@pytest.mark.requirement("hypha.3.2.carriers", "hypha.3.3.statuses", "hypha.4.10", "E3.calls", "E.shown-http")
async def test_every_carrier_of_a_token_is_taken_and_a_bad_one_is_a_401() -> None:
    async with shared(TELLING) as (here, _, http):
        token = await here.token("bob")
        session = await here.token("bob", kind=TokenKind.SESSION)
        basic = base64.b64encode(f"x:{token}".encode()).decode()
        ours = {"cookie": f"valetkey={session}", "sec-fetch-site": "same-origin"}
        for headers in (
            {"authorization": f"Bearer {token}"},
            {"authorization": token},
            {"authorization": f"Basic {basic}"},
            ours,
        ):
            assert (await http.post(f"{ADA}/telling/whoami", headers=headers)).json()["user"]["id"] == "bob", headers
        for headers in ({"authorization": "Bearer nothing"}, {"authorization": f"Bearer {token}x"}):
            answer = await http.post(f"{ADA}/telling/whoami", headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert (await http.post(f"{ADA}/telling/whoami?access_token={token}")).status_code == 401
        assert (
            await http.post(f"{ADA}/telling/whoami", headers={**ours, "sec-fetch-site": "cross-site"})
        ).status_code == 403


@pytest.mark.requirement("hypha.3.1.lists", "E3.lists")
async def test_services_are_listed_and_described_to_those_who_may_see_them() -> None:
    hidden = {"id": "hidden", "config": {"visibility": "unlisted"}, "add": add}
    async with shared(SERVICE, hidden, {"id": "closed", "add": add}) as (here, _, http):
        ada = {"authorization": f"Bearer {await here.token('ada')}"}
        listed = {each["id"] for each in (await http.get(f"{ADA}/")).json()}
        assert listed == {"ws-user-ada/prog:calc"}
        listed = {each["id"] for each in (await http.get(f"{ADA}/", headers=ada)).json()}
        assert listed == {"ws-user-ada/prog:calc", "ws-user-ada/prog:closed"}
        info = (await http.get(f"{ADA}/hidden")).json()
        assert (info["id"], info["functions"], info["config"]["visibility"]) == (
            "ws-user-ada/prog:hidden",
            ["add"],
            "unlisted",
        )
        assert (await http.get(f"{ADA}/closed")).status_code == 403
        assert (await http.get(f"{ADA}/nothing")).status_code == 404
        assert (await http.get(ADA)).headers["location"] == f"{ADA}/"


@pytest.mark.requirement("hypha.3.1.functions")
async def test_of_several_of_one_name_mode_says_which() -> None:
    async with shared({**SERVICE, "version": "first"}) as (here, _, http):
        other = await here.connect("later", token=await here.token("ada"))
        await other.register_service({**SERVICE, "version": "last"})
        assert (await http.get(f"{ADA}/calc/version")).status_code == 400
        modes = {mode: (await http.get(f"{ADA}/calc/version?_mode={mode}")).json() for mode in ("first", "last")}
        assert modes == {"first": "first", "last": "last"}
        assert (await http.get(f"{ADA}/calc/version?_mode=random")).json() in ("first", "last")
        assert (await http.get(f"{ADA}/calc/version?_mode=oddly")).status_code == 400


@asynccontextmanager
async def twins(**more: Any) -> AsyncIterator[tuple[Place, httpx2.AsyncClient]]:
    """Two clients of ada's, with a service of the same name; the later one is less busy."""
    waiting = asyncio.Event()

    def twin(name: str, load: float) -> dict[str, Any]:
        held = {"id": "twin", "config": {"visibility": "public"}, "wait": waiting.wait, "load": lambda: load}
        return {**held, "who": lambda: name}

    async with shared(twin("prog", 5), **more) as (here, _, http):
        other = await here.connect("later", token=await here.token("ada"))
        await other.register_service(twin("later", 2.5))
        yield here, http
        waiting.set()


def waits_for(here: Place, client: str, calls: int) -> bool:
    return here.services.relay.waiting(f"ws-user-ada/{client}") == calls


@pytest.mark.requirement("hypha.3.1.functions")
async def test_mode_min_load_asks_whoever_has_fewer_calls_to_answer() -> None:
    async with twins() as (here, http):
        for busy, free in (("prog", "later"), ("later", "prog")):
            waits = asyncio.ensure_future(http.get(f"{ADA}/{busy}:twin/wait"))
            await until(partial(waits_for, here, busy, 1))
            for _ in range(5):
                assert (await http.get(f"{ADA}/twin/who?_mode=min_load")).json() == free
            waits.cancel()
            await until(partial(waits_for, here, busy, 0))


@pytest.mark.requirement("hypha.3.1.functions")
async def test_mode_select_asks_whose_function_says_least_or_most() -> None:
    async with twins() as (_, http):
        for mode, chosen in (("min:load", "later"), ("max:load", "prog")):
            assert (await http.get(f"{ADA}/twin/who?_mode=select:{mode}")).json() == chosen
        assert (await http.get(f"{ADA}/twin/who?_mode=select:first_success:load")).json() in ("prog", "later")
        assert (await http.get(f"{ADA}/twin/who?_mode=select:min:nothing")).json() in ("prog", "later")
        for mode in ("min", "mean:load", "min:load:more"):
            answer = await http.get(f"{ADA}/twin/who?_mode=select:{mode}")
            assert (answer.status_code, answer.json()["success"]) == (400, False)


@pytest.mark.requirement("hypha.3.1.functions")
async def test_mode_native_random_asks_one_of_this_instance() -> None:
    async with twins() as (here, http):
        directory = here.services.directory
        for number in range(20):  # what other instances have said
            known = directory.member("ws-user-ada/prog")
            found = directory.service("ws-user-ada/prog", "twin")
            assert known is not None
            assert found is not None
            directory.join(replace(known, client=f"far{number}", instance="another"))
            directory.register(replace(found, client=f"far{number}"))
        asked = [(await http.get(f"{ADA}/twin/who?_mode=native:random")).json() for _ in range(40)]
        assert set(asked) == {"prog", "later"}


@pytest.mark.requirement("hypha.3.3.statuses")
async def test_a_call_that_takes_too_long_is_a_504_and_one_whose_client_goes_a_503() -> None:
    begun, ending = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        await ending.wait()

    async with shared({"id": "slow", "config": {"visibility": "public"}, "wait": wait}) as (here, client, http):
        rooms = here.services
        routes = service_routes(
            here.identity, rooms.table, manager=rooms.manager, calls=rooms.calls, base_url=here.base_url, deadline=0.05
        )
        transport = httpx2.ASGITransport(app=Starlette(routes=routes))
        async with httpx2.AsyncClient(transport=transport, base_url=here.base_url) as hasty:
            answer = await hasty.post(f"{ADA}/slow/wait")
            assert (answer.status_code, "timed out" in answer.json()["detail"]) == (504, True)
        begun.clear()
        call = asyncio.ensure_future(http.post(f"{ADA}/slow/wait"))
        await begun.wait()
        await client.disconnect()
        answer = await call
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["detail"] == "Target peer ws-user-ada/prog is not connected"
        assert (await http.post(f"{ADA}/slow/wait")).status_code == 404
        ending.set()


@pytest.mark.requirement("hypha.3.3.statuses")
async def test_too_many_waiting_calls_are_429(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valetkey.services.relay.MOST_OWN", 3)
    began, ending = asyncio.Semaphore(0), asyncio.Event()

    async def wait() -> None:
        began.release()
        await ending.wait()

    async with shared({**SERVICE, "wait": wait}) as (_, _, http):
        calls = [asyncio.ensure_future(http.post(f"{ADA}/calc/wait")) for _ in range(3)]
        for _ in calls:
            await began.acquire()
        answer = await http.post(f"{ADA}/calc/add", json={"a": 1})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        ending.set()
        assert {each.status_code for each in await asyncio.gather(*calls)} == {200}
        assert (await http.post(f"{ADA}/calc/add", json={"a": 1})).status_code == 200


@pytest.mark.requirement("hypha.3.3.statuses", "d29.calls")
async def test_too_many_requests_are_429() -> None:
    serving = {"rate": Rate(per_second=1, burst=2)}
    async with place(serving=serving) as here, here.http() as http:
        asked = [await http.get("/public/services/") for _ in range(3)]
        assert [each.status_code for each in asked] == [200, 200, 429]
        assert asked[-1].headers["retry-after"] == "1"
