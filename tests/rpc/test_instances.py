"""Two server processes on one Valkey and one database: clients of one meet those of the other, until one is killed."""

import asyncio
import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.real import valkey
from tests.rpc.real.live import program
from tests.server.process import Server

PROGRAM = Path(__file__).with_name("instances_program.py")
ROOT = "root-" + "r" * 40
BOUND = 5.0  # seconds within which nobody waits for a dead instance any more


async def _run(folder: Path) -> dict[str, Any]:
    with ExitStack() as stack:
        bus = stack.enter_context(valkey.running())
        home = {"VALETKEY_HOME": str(folder / "home"), "HOME": str(folder)}
        options = [f"--redis-uri={bus.url}", f"--root-token={ROOT}"]
        names: tuple[list[str], ...] = (["--server-id=first"], [])
        one, two = (stack.enter_context(Server(*options, *name, environ=home)) for name in names)
        for each in (one, two):
            each.line("listens on")
        namesake = stack.enter_context(Server(*options, *names[0], environ=home))
        given = {"urls": [one.url, two.url], "token": ROOT}
        async with program(str(PROGRAM), folder, **given) as client:
            await client.line("WAITING")
            began = time.time()
            os.kill(two.process.pid, signal.SIGKILL)
            await client.tell(str(began))
            seen: dict[str, Any] = await client.result()
        seen["namesake"] = await asyncio.to_thread(namesake.ended), namesake.text
        seen["log"] = one.text
    return seen


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the clients saw: servers and clients take seconds to begin, and one life of them is enough."""
    return asyncio.run(_run(tmp_path_factory.mktemp("instances")))


@pytest.mark.requirement("E4.across")
def test_clients_of_two_instances_see_each_other(seen):
    ids = {each.rpartition("/")[2] for each in seen["clients"]}
    assert {"one", "two"} <= ids
    assert any(each.endswith("two:echo") for each in seen["services"])


def test_a_second_server_of_the_same_name_does_not_start(seen):
    status, said = seen["namesake"]
    assert status != 0
    assert "Another server with the server_id first runs on the same Redis." in said
    assert "Traceback" not in said
    assert "listens on" not in said
    assert "Two servers are called" not in seen["log"]


@pytest.mark.requirement("E4.across")
def test_a_call_goes_across_with_its_caller(seen):
    assert seen["said"] == {
        "text": "hello",
        "from": "ws-user-root/one",
        "ws": "ws-user-root",
        "user": "root",
    }


@pytest.mark.requirement("E4.across")
def test_callbacks_long_arguments_and_generators_go_across(seen):
    assert seen["called back"] == [10, 20]
    assert seen["long"] is True
    assert seen["counted"] == [0, 1, 2]


@pytest.mark.requirement("E4.across")
def test_a_service_on_one_is_called_by_http_on_the_other(seen):
    assert seen["http"] == [200, "hi"]


@pytest.mark.requirement("E4.dies", "E.shown-killed")
def test_when_an_instance_is_killed_in_mid_call_its_caller_is_told_in_time(seen):
    assert "Target peer ws-user-root/two is not connected" in seen["failed"]
    assert seen["failed after"] < BOUND


@pytest.mark.requirement("E4.dies")
def test_its_clients_and_services_are_off_the_list(seen):
    assert seen["gone after"] < BOUND
    assert not any(each.endswith("two") for each in seen["left"])
    assert seen["http then"][0] == 404


@pytest.mark.requirement("E.shown-killed")
def test_the_other_says_so_and_nothing_else_went_wrong(seen):
    assert seen["log"].count("is silent: its clients are taken off the list.") == 1
    assert "Traceback" not in seen["log"]
    assert "ERROR" not in seen["log"]
