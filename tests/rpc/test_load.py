"""Many clients and calls over two instances: no reply is lost or doubled, and memory goes back to what it was."""

import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.real import valkey
from tests.rpc.load import call_each_other, clients
from tests.server.process import Server

ROOT = "root-" + "r" * 40
MB = 1_048_576
LIMITS = {"HYPHA_MAX_CONNECTIONS_PER_USER": "5000", "HYPHA_MAX_CLIENTS_PER_WORKSPACE": "5000"}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    folder = tmp_path_factory.mktemp("load")
    with ExitStack() as stack:
        bus = stack.enter_context(valkey.running())
        home = {"VALETKEY_HOME": str(folder / "home"), "HOME": str(folder), **LIMITS}
        options = [f"--redis-uri={bus.url}", f"--root-token={ROOT}"]
        both = [stack.enter_context(Server(*options, environ=home)) for _ in range(2)]
        for each in both:
            each.line("listens on")
        yield both


def resident(server: Server) -> int:
    """Bytes that a process has in memory."""
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def run(pair: list[Server], count: int, calls: int, *, prefix: str) -> None:
    async with clients([server.url for server in pair], count, ROOT, prefix=prefix) as there:
        assert await call_each_other(there, calls, in_flight=count) == []
        for server in pair:
            assert "Traceback" not in server.text


async def work_and_again(pair: list[Server], count: int, calls: int) -> None:
    """The same twice: the first time makes what a server keeps for ever, the second one must leave nothing."""
    start = [resident(server) for server in pair]
    await run(pair, count, calls, prefix="first-")
    before = [resident(server) for server in pair]
    await run(pair, count, calls, prefix="then-")
    after = [resident(server) for server in pair]
    assert max(now - was for now, was in zip(after, before, strict=True)) < 8 * MB
    assert max(now - was for now, was in zip(after, start, strict=True)) < 48 * MB, (start, after)


@pytest.mark.requirement("E.shown-load")
async def test_fifty_clients_and_a_thousand_calls(pair):
    await work_and_again(pair, 50, 1_000)


@pytest.mark.requirement("E.shown-load")
@pytest.mark.long
async def test_a_thousand_clients_and_ten_thousand_calls(pair):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 1_500:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4_096, hard), hard))
    await work_and_again(pair, 1_000, 10_000)
