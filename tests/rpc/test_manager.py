"""The workspace manager, asked by the unmodified client of seed 004."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from hypha_rpc.rpc import RemoteException

from tests.rpc.place import ROOT_TOKEN, Place, place

STARTUP = """
async def start(server):
    async def ask():
        made = await server.create_workspace({"id": "team-root"})
        there = [each["id"] for each in await server.list_clients(workspace="ws-user-gina")]
        return [made["owners"], there, await server.check_status()]
    await server.register_service({"id": "asks", "config": {"visibility": "public"}, "ask": ask})
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    file = tmp_path_factory.mktemp("startup") / "asks.py"
    file.write_text(STARTUP)
    async with place(f"{file}:start") as made:
        yield made


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def person(here: Place, name: str, client: str = "c1", **about: Any) -> Any:
    """A client of somebody's; each test has somebody of its own."""
    return await here.connect(client, token=await here.token(name, **about))


async def refused(asked: Any) -> str:
    with pytest.raises(RemoteException) as error:
        await asked
    return str(error.value)


@pytest.mark.requirement("seed004.services", "hypha.2.manager", "E2.functions")
async def test_a_service_is_registered_found_listed_and_called(here: Place):
    ada = await person(here, "ada")
    other = await person(here, "ada", "c2")
    service = {
        "id": "calc",
        "name": "Calculator",
        "description": "Adds and names.",
        "config": {"require_context": True},
        "add": lambda a, b, context=None: a + b,
        "nested": {"who": lambda context=None: context["user"]["id"]},
    }
    info = await ada.register_service(service)
    assert info["id"] == "ws-user-ada/c1:calc"
    assert [each["id"] for each in await other.list_services()] == ["ws-user-ada/c1:calc"]
    for query in ("calc", "c1:calc", "ws-user-ada/calc", "ws-user-ada/c1:calc"):
        found = await other.get_service(query)
        assert found["id"] == "ws-user-ada/c1:calc"
        assert await found.add(1, b=2) == 3
        assert await found.nested.who() == "ada"
    assert found.config["url"] == f"{here.base_url}/ws-user-ada/services/c1:calc"
    shown = await other.get_service_info("calc")
    assert (shown["name"], shown["config"]["visibility"]) == ("Calculator", "protected")
    assert sorted(shown["functions"]) == ["add", "nested.who"]
    assert (await other.search_services("adds"))[0]["id"] == "ws-user-ada/c1:calc"
    await ada.unregister_service("calc")
    assert "Service not found" in await refused(other.get_service("calc"))
    assert "KeyError" in await refused(ada.get_service("nothing"))


@pytest.mark.requirement("hypha.1.5.visibility")
async def test_who_may_see_a_service_follows_its_visibility(here: Place):
    eve, bob, mallory = [await person(here, name) for name in ("eve", "bob", "mallory")]
    await eve.register_service({"id": "open", "config": {"visibility": "public"}, "f": lambda: 1})
    await eve.register_service({"id": "shared", "config": {"authorized_workspaces": ["ws-user-bob"]}, "f": lambda: 2})
    assert await (await mallory.get_service("ws-user-eve/open")).f() == 1
    assert await (await bob.get_service("ws-user-eve/shared")).f() == 2
    assert "Permission denied for non-public service" in await refused(mallory.get_service("ws-user-eve/shared"))
    assert [each["id"] for each in await mallory.list_services("ws-user-eve")] == ["ws-user-eve/c1:open"]
    assert "PermissionError" in await refused(mallory.list_clients("ws-user-eve"))


@pytest.mark.requirement("hypha.2.events")
async def test_clients_are_listed_pinged_and_told_of_each_other(here: Place):
    first = await person(here, "carl")
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    first.on("client_connected", heard.put_nowait)
    first.on("client_disconnected", heard.put_nowait)
    assert await first.subscribe(["client_connected", "client_disconnected"]) is True
    second = await person(here, "carl", "c2")
    assert (await asyncio.wait_for(heard.get(), 5))["data"] == {"id": "c2", "workspace": "ws-user-carl"}
    assert [each["id"] for each in await first.list_clients()] == ["ws-user-carl/c1", "ws-user-carl/c2"]
    assert (await first.ping_client("c2"), await first.ping()) == ("pong", "pong")
    await second.disconnect()
    gone = await asyncio.wait_for(heard.get(), 5)
    assert (gone["type"], gone["data"]["id"]) == ("client_disconnected", "c2")
    assert "not connected" in await first.ping_client("c2")
    assert await first.unsubscribe("client_connected") is True


@pytest.mark.requirement("C1.workspaces-made", "hypha.2.manager")
async def test_workspaces_are_made_used_and_deleted_with_their_clients(here: Place):
    dora = await person(here, "dora")
    made = await dora.create_workspace({"id": "team-dora", "description": "Ours."})
    assert (made["id"], made["owners"]) == ("team-dora", ["dora"])
    assert [each["id"] for each in await dora.list_workspaces()] == ["team-dora", "ws-user-dora"]
    token = await dora.generate_token({"workspace": "team-dora", "expires_in": 600})
    member = await here.connect("c1", token=token, reconnect=False)
    assert member.config["workspace"] == "team-dora"
    await member.set_env("KEY", "value")
    assert (await member.get_env("KEY"), await member.get_env()) == ("value", {"KEY": "value"})
    assert await member.check_status() == {"status": "ready", "errors": None, "user_permission": "rw"}
    assert (await member.get_summary())["client_count"] == 1
    assert (await member.get_workspace_info("team-dora"))["config"] == {}
    await member.register_service_type({"id": "greeter", "name": "Greeter", "definition": {"hello": {}}})
    assert (await member.get_service_type("greeter"))["id"] == "team-dora/greeter"
    assert [each["id"] for each in await member.list_service_types()] == ["greeter"]
    assert "Only admin" in await refused(member.generate_token({"workspace": "team-dora"}))
    gone = asyncio.Event()
    member.rpc._connection.on_disconnected(lambda _: gone.set())
    await dora.delete_workspace("team-dora")
    await asyncio.wait_for(gone.wait(), 5)
    assert here.services.relay.link("team-dora/c1") is None
    assert "does not exist" in await refused(dora.delete_workspace("team-dora"))


@pytest.mark.requirement("hypha.1.5.client-id", "hypha.1.5.needs")
async def test_a_child_token_is_no_wider_and_its_socket_ends_when_it_is_revoked(here: Place):
    emil = await person(here, "emil")
    token = await emil.generate_token({"permission": "read", "client_id": "reader"})
    parsed = await emil.parse_token(token)
    assert (parsed["parent"], parsed["scope"]["workspaces"]) == ("emil", {"ws-user-emil": "r"})
    with pytest.raises(ConnectionAbortedError, match="Client id mismatch"):
        await here.connect("other", token=token)
    reader = await here.connect("reader", token=token, reconnect=False)
    assert await reader.echo({"a": [1]}) == {"a": [1]}
    for asked in (reader.register_service({"id": "calc", "f": lambda: 1}), reader.set_env("A", "x"), reader.log("x")):
        with pytest.raises(Exception, match="Permission denied for workspace ws-user-emil"):
            await asked
    gone = asyncio.Event()
    reader.rpc._connection.on_disconnected(lambda _: gone.set())
    await emil.revoke_token(token)
    await asyncio.wait_for(gone.wait(), 5)
    assert "revoked" in await refused(emil.parse_token(token))


async def test_an_anonymous_client_has_a_workspace_of_its_own(here: Place):
    nobody = await here.connect("c1")
    workspace = nobody.config["workspace"]
    assert workspace.startswith("ws-user-anonymouz-")
    await nobody.register_service({"id": "open", "config": {"visibility": "public"}, "f": lambda: 1})
    fred = await person(here, "fred")
    assert await (await fred.get_service(f"{workspace}/open")).f() == 1
    assert "Sign in" in await refused(nobody.parse_token("x"))
    assert "Only users who signed in" in await refused(nobody.create_workspace({"id": "team-x"}))


@pytest.mark.requirement("C1.workspaces-made", "hypha.3.1.functions", "E2.functions")
async def test_callers_over_http_and_startup_functions_ask_the_same_manager(here: Place):
    async with here.http(await here.token("gina")) as client:
        made = await client.post("/ws-user-gina/services/ws/create_workspace", json={"config": {"id": "team-gina"}})
        assert (made.status_code, made.json()["id"]) == (200, "team-gina")
        listed = await client.get("/ws-user-gina/services/~/list_workspaces")
        assert [each["id"] for each in listed.json()] == ["team-gina", "ws-user-gina"]
        refused = await client.post("/ws-user-gina/services/ws/register_service", json={"service": {"id": "calc"}})
        assert refused.status_code == 403
        wrong = await client.post("/ws-user-gina/services/ws/set_env", json={"key": "A", "value": 5})
        assert wrong.status_code == 400
    gina = await person(here, "gina")
    asked = await (await gina.get_service("public/asks")).ask()
    assert asked[:2] == [["root"], ["ws-user-gina/c1"]]
    assert asked[2]["user_permission"] == "a"
    root = await here.connect("boss", token=ROOT_TOKEN)
    assert "team-gina" in [each["id"] for each in await root.list_workspaces()]
