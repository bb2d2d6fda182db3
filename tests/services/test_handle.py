"""What startup functions do with clients' services: find, call, watch; and where their own services are."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from tests.services.kit import BASE, Place
from tests.services.objects_kit import Stage, staged
from valetkey.errors import InvalidArguments, NotFound
from valetkey.services.calls import Calls
from valetkey.services.events import Events
from valetkey.services.handle import Server
from valetkey.services.manager import Manager


@pytest.fixture
async def stage(place: Place) -> AsyncIterator[Stage]:
    place.open()
    async with staged(place) as made:
        yield made


@pytest.fixture
def server(stage: Stage) -> Server:
    place, relay, directory = stage.place, stage.relay, stage.directory
    manager = Manager(
        tokens=place.tokens,
        chain=place.chain,
        plugin=place.plugin,
        limits=place.limits,
        audit=place.audit,
        workspaces=place.workspaces,
        sealer=place.identity.system.sealer,
        table=stage.table,
        sight=stage.objects._table._sight,
        entropy=place.entropy,
        base_url=lambda: BASE,
        directory=directory,
        relay=relay,
        calls=Calls(relay=relay, clock=place.clock, entropy=place.entropy, address="*/http-tests"),
        events=Events(relay=relay, directory=directory, server="tests"),
    )
    return Server(
        table=stage.table,
        plugin=place.plugin,
        login=place.login,
        tokens=place.tokens,
        chain=place.chain,
        plain=place.plain,
        entropy=place.entropy,
        public_base_url=BASE,
        manager=manager,
        objects=stage.objects,
        directory=directory,
    )


async def test_a_service_is_in_the_workspace_that_its_config_names(server: Server, stage: Stage):
    facts = await server.register_service({"id": "s", "config": {"workspace": "ws-user-local|ada"}, "f": lambda: "own"})
    assert facts.id == "ws-user-local|ada/server:s"
    ada, eve = await stage.client("ada"), await stage.client("eve")
    assert await (await ada.service(facts.id)).f() == "own"
    with pytest.raises(Exception, match="Permission denied"):
        await eve.service(facts.id)
    for bad in ("a/b", "*", 7):
        with pytest.raises(InvalidArguments, match="can be no workspace"):
            await server.register_service({"id": "t", "config": {"workspace": bad}, "f": len})


@pytest.mark.parametrize("visibility", ["public", "protected"])
async def test_a_clients_service_is_called_as_root(server: Server, stage: Stage, visibility):
    ada = await stage.client()
    seen = []

    async def with_callback(callback, context=None):
        seen.append(context)
        return await callback(np.arange(3))

    def counted():
        yield from range(3)

    ada.rpc.add_service(
        {
            "id": "theirs",
            "config": {"visibility": visibility, "require_context": ["with_callback"]},
            "with_callback": with_callback,
            "counted": counted,
        }
    )
    about = {"visibility": visibility}
    await server._manager.register_service(  # type: ignore[union-attr]
        {"id": f"{ada.peer}:theirs", "name": "theirs", "config": about, "service_schema": {}}, who=ada.link.who
    )
    service = await server.get_service(f"{ada.peer}:theirs")
    assert await service.with_callback(lambda array: array.tolist()) == [0, 1, 2]
    assert seen[0]["user"]["id"] == "root"
    assert [each async for each in await service.counted()] == [0, 1, 2]
    assert f"{ada.peer}:theirs" in [each.id for each in await server.list_services(ada.link.who.workspace)]
    assert [each["id"] for each in await server.list_clients(ada.link.who.workspace)] == [ada.peer]
    await ada.leave()
    with pytest.raises(Exception, match="not connected"):
        await service.counted()
    with pytest.raises(NotFound, match="Service not found"):
        await server.get_service(f"{ada.peer}:theirs")


async def test_own_services_come_first_and_their_client_is_looked_at(server: Server, stage: Stage):
    stage.register(id="s", f=lambda: "own")
    assert await (await server.get_service("s")).f() == "own"
    assert await (await server.get_service("public/server:s")).f() == "own"
    with pytest.raises(NotFound):
        await server.get_service("public/another:s")


async def test_events_are_heard(server: Server, stage: Stage, caplog):
    heard: list[tuple[str, str]] = []
    once: list[dict[str, object]] = []

    async def hear(event):
        heard.append((event["type"], event["data"]["id"]))

    def fails(event):
        raise ValueError("mine")

    server.on("client_connected", hear)
    server.on("client_connected", fails)
    server.once("client_connected", once.append)
    server.on("client_disconnected", hear)
    ada = await stage.client("ada")
    await stage.client("eve")
    await ada.leave()
    await asyncio.sleep(0)
    assert heard == [("client_connected", "ada-1"), ("client_connected", "eve-1"), ("client_disconnected", "ada-1")]
    assert len(once) == 1
    assert "fails failed on client_connected: ValueError" in caplog.text
    server.off("client_connected", hear)
    server.off("client_disconnected")
    await stage.client("kim")
    assert len(heard) == 3
    with pytest.raises(InvalidArguments, match="There is no event nothing"):
        server.on("nothing", hear)


async def test_what_a_server_without_clients_says(place: Place, tmp_path):
    program = tmp_path / "program.py"
    program.write_text("async def start(server):\n    server.on('client_connected', print)\n")
    with pytest.raises(Exception, match=r"failed: NotFound: No client can connect here: pip install"):
        await place.start(f"{program}:start")
    other = tmp_path / "other.py"
    other.write_text("async def start(server):\n    server.list_clients\n")
    with pytest.raises(Exception, match="failed: AttributeError: the server has no list_clients"):
        await place.start(f"{other}:start")


@pytest.mark.requirement("E2.functions")
async def test_the_managers_functions_are_the_servers_too(server: Server, stage: Stage):
    assert server["list_clients"] is not None
    await stage.client("ada")
    assert [each["id"] for each in await server.list_clients("ws-user-local|ada")] == ["ws-user-local|ada/ada-1"]
    with pytest.raises(KeyError, match=r"the server has no nothing\. It has: .*list_clients"):
        server["nothing"]
    with pytest.raises(AttributeError):
        server._nothing  # noqa: B018
