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
        one, two = (stack.enter_context(Server(*options, environ=home)) for _ in range(2))
        for each in (one, two):
            each.line("listens on")
        given = {"urls": [one.url, two.url], "token": ROOT}
        async with program(str(PROGRAM), folder, **given) as client:
            await client.line("WAITING")
            began = time.time()
            os.kill(two.process.pid, signal.SIGKILL)
            await client.tell(str(began))
            seen: dict[str, Any] = await client.result()
        seen["log"] = one.text
    return seen


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the clients saw: servers and clients take seconds to begin, and one life of them is enough."""
    return asyncio.run(_run(tmp_path_factory.mktemp("instances")))


def test_clients_of_two_instances_see_each_other(seen):
    ids = {each.rpartition("/")[2] for each in seen["clients"]}
    assert {"one", "two"} <= ids
    assert any(each.endswith("two:echo") for each in seen["services"])


def test_a_call_goes_across_with_its_caller(seen):
    assert seen["said"] == {
        "text": "hello",
        "from": "ws-user-root/one",
        "ws": "ws-user-root",
        "user": "root",
    }


def test_callbacks_long_arguments_and_generators_go_across(seen):
    assert seen["called back"] == [10, 20]
    assert seen["long"] is True
    assert seen["counted"] == [0, 1, 2]


def test_a_service_on_one_is_called_by_http_on_the_other(seen):
    assert seen["http"] == [200, "hi"]


def test_when_an_instance_is_killed_in_mid_call_its_caller_is_told_in_time(seen):
    assert "Target peer ws-user-root/two is not connected" in seen["failed"]
    assert seen["failed after"] < BOUND


def test_its_clients_and_services_are_off_the_list(seen):
    assert seen["gone after"] < BOUND
    assert not any(each.endswith("two") for each in seen["left"])
    assert seen["http then"][0] == 404


def test_the_other_says_so_and_nothing_else_went_wrong(seen):
    assert seen["log"].count("is silent: its clients are taken off the list.") == 1
    assert "Traceback" not in seen["log"]
    assert "ERROR" not in seen["log"]
