"""A function may give what the wire cannot carry, or too much: who called is told at once, and the program stays."""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import Any

import msgpack
import numpy as np
import pytest

from tests.rpc.place import packed, place
from valetkey.services.peers import MOST_BAD

COUNTS = {1: "one", 2: {None: [1.5], True: b"x"}}
"""What ``dict(enumerate(...))``, a Counter or a data frame gives: its keys are no texts."""

OPEN = {"visibility": "public"}
SMALL = {"max_message_whole": 2 * 1024 * 1024}
WAIT = 4.0


async def test_over_http_keys_that_are_numbers_are_read_and_json_gets_texts() -> None:
    async with place() as here:
        server = await here.connect("c1", token=await here.token("ada"))
        await server.register_service({"id": "s", "config": OPEN, "counts": lambda: COUNTS})
        async with here.http() as http:
            path = "/ws-user-ada/services/s/counts"
            answer = await http.get(path, timeout=WAIT)
            raw = await http.get(path, timeout=WAIT, headers={"accept": "application/msgpack"})
    assert answer.json() == {"1": "one", "2": {"None": [1.5], "true": "eA=="}}
    assert msgpack.unpackb(raw.content, strict_map_key=False) == COUNTS


async def test_over_rpc_keys_that_are_numbers_are_refused_at_once_by_what_they_are() -> None:
    async with place() as here:
        ada = await here.connect("c1", token=await here.token("ada"))
        await ada.register_service({"id": "s", "config": OPEN, "counts": lambda: COUNTS})
        bob = await here.connect("c2", token=await here.token("bob"))
        service = await bob.get_service("ws-user-ada/s")
        async with asyncio.timeout(WAIT):
            with pytest.raises(Exception, match="keys of maps have to be texts"):
                await service.counts()


async def test_arguments_with_keys_that_no_program_reads_are_refused_over_http_too() -> None:
    async with place() as here:
        ada = await here.connect("c1", token=await here.token("ada"))
        await ada.register_service({"id": "s", "config": OPEN, "f": lambda x: x})
        async with here.http() as http:
            answer = await http.post(
                "/ws-user-ada/services/s/f",
                content=msgpack.packb({"x": {1: 2}}),
                headers={"content-type": "application/msgpack"},
                timeout=WAIT,
            )
    assert (answer.status_code, "keys" in answer.text) == (400, True)


async def test_callers_of_a_public_function_cannot_have_its_program_cut_off() -> None:
    """What it answers cannot be read at all; each of its callers is told, and it stays."""
    async with place() as here:
        provider = await here.raw("c1", token=await here.token("ada"))
        service = {"id": "s", "config": OPEN, "service_schema": {"f": {"type": "function"}}}
        await provider.call(provider.manager, "services.default.register_service", service)
        link, stranger = here.link(provider.peer), await here.raw("c2")
        for number in range(2 * MOST_BAD):
            await stranger.send(
                provider.peer, "services.s.f", session=f"x{number}", payload={"promise": "*", "t": 30.0}
            )
            await provider.hear()
            first = {"type": "method", "to": stranger.peer, "method": f"x{number}.resolve"}
            await provider.socket.send(packed(first) + b"\x81\xa4args\x91\xa1\xff")
            told, reason = await stranger.hear()
            assert told["method"] == f"x{number}.reject"
            assert "could not be passed on: It cannot be read" in reason["args"][0]["_rvalue"]
        assert here.services.relay.link(provider.peer) is link


async def test_what_cannot_be_read_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with place() as here:
        stranger = await here.raw("c2")
        caplog.set_level(logging.INFO)
        before = len(caplog.records)
        for number in range(200):
            first = {"type": "method", "to": stranger.peer, "method": "services.s.f", "session": f"x{number}"}
            await stranger.socket.send(packed(first) + b"\x81\xa4args\x91\xa1\xff")
            await stranger.send(
                stranger.peer, "services.s.f", {1: 2}, session=f"y{number}", payload={"promise": "*", "t": 9}
            )
        await stranger.call(stranger.manager, "services.default.echo", 1, session="last")
        assert 0 < len(caplog.records) - before < 20, "one line for each of a stranger's messages"


async def test_a_result_over_the_cap_is_told_to_who_called_over_http() -> None:
    async with place(limits=SMALL) as here:
        ada = await here.connect("c1", token=await here.token("ada"))
        await ada.register_service({"id": "s", "config": OPEN, "big": lambda: b"x" * 5_000_000})
        async with here.http() as http:
            answer = await http.get("/ws-user-ada/services/s/big", timeout=WAIT)
    assert (answer.status_code, str(SMALL["max_message_whole"]) in answer.text) == (500, True)


async def test_a_result_over_the_cap_is_told_to_who_called_by_rpc() -> None:
    async with place(limits=SMALL) as here:
        ada = await here.connect("c1", token=await here.token("ada"))
        await ada.register_service({"id": "s", "config": OPEN, "big": lambda: b"x" * 5_000_000})
        bob = await here.connect("c2", token=await here.token("bob"))
        service = await bob.get_service("ws-user-ada/s")
        async with asyncio.timeout(WAIT):
            with pytest.raises(Exception, match=f"at most {SMALL['max_message_whole']} bytes"):
                await service.big()


async def test_bytes_over_http_are_read_by_every_base64() -> None:
    async with place() as here:
        ada = await here.connect("c1", token=await here.token("ada"))
        await ada.register_service({"id": "s", "config": OPEN, "give": lambda: b"\xff\xfe\xfb"})
        async with here.http() as http:
            assert base64.b64decode((await http.get("/ws-user-ada/services/s/give")).json()) == b"\xff\xfe\xfb"


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros((0, 3)), []),
        (np.zeros((2, 0)), [[], []]),
        (np.ones(2, dtype="float16"), [1.0, 1.0]),
        (np.array([1, 2], dtype=">i4"), [1, 2]),
        (np.array([[True], [False]]), [[True], [False]]),
        (np.array([1 + 2j]), [[1.0, 2.0]]),
        (np.array(7), 7),
    ],
    ids=["empty", "flat", "float16", "big-endian", "bool", "complex", "number"],
)
async def test_an_array_is_a_list_of_lists(array: Any, expected: Any) -> None:
    async with place() as here:
        ada = await here.connect("c1", token=await here.token("ada"))
        await ada.register_service({"id": "s", "config": OPEN, "give": lambda: array})
        async with here.http() as http:
            assert (await http.get("/ws-user-ada/services/s/give")).json() == expected


async def test_an_array_of_records_is_told_by_its_facts() -> None:
    array = np.array([(1, 2.0)], dtype=[("a", "<i4"), ("b", "<f8")])
    async with place() as here:
        ada = await here.connect("c1", token=await here.token("ada"))
        await ada.register_service({"id": "s", "config": OPEN, "give": lambda: array})
        async with here.http() as http:
            given = (await http.get("/ws-user-ada/services/s/give")).json()
    assert (given["_rtype"], given["_rshape"], base64.b64decode(given["_rvalue"])) == ("ndarray", [1], array.tobytes())


async def test_a_page_that_is_none_is_the_programs_own_failure_and_one_line(caplog: pytest.LogCaptureFixture) -> None:
    async with place() as here:
        ada = await here.connect("c1", token=await here.token("ada"))
        service = {"id": "s", "type": "functions", "config": OPEN, "index": lambda event: {"status": 9999, "body": "x"}}
        await ada.register_service(service)
        caplog.set_level(logging.INFO)
        async with here.http() as http:
            answers = [await http.get("/ws-user-ada/apps/s/") for _ in range(3)]
    assert [each.status_code for each in answers] == [500] * 3
    said = [each for each in caplog.records if "status of 200" in each.getMessage()]
    assert [each.levelno for each in said] == [logging.WARNING]
