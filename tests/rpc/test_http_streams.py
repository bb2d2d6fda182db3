"""Generators of a real client over HTTP: server-sent events, their end, and a reader who leaves."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.rpc.place import WAIT, Place
from tests.rpc.test_http_calls import ADA, shared
from valetkey.entrypoints.rpc.answers import Events


async def given_up(here: Place) -> None:
    """Return once no call over HTTP waits any more."""
    async with asyncio.timeout(WAIT):
        while here.services.calls._waiting:  # noqa: ASYNC110 - nothing says so
            await asyncio.sleep(0.01)


class Stream:
    """A service whose generators say when they are closed."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.given = 0

    async def count(self, to: int) -> AsyncIterator[Any]:
        try:
            for each in range(to):
                self.given += 1
                yield {"n": each}
            if to == 2:
                raise ValueError("too far")
        finally:
            self.closed.set()

    async def waits(self) -> AsyncIterator[str]:
        try:
            yield "one"
            await asyncio.Event().wait()
            yield "two"
        finally:
            self.closed.set()

    def steps(self) -> Iterator[str]:
        yield "a\nb"
        yield "c"

    @property
    def service(self) -> dict[str, Any]:
        named = {"count": self.count, "waits": self.waits, "steps": self.steps}
        return {"id": "stream", "config": {"visibility": "public"}, **named}


@pytest.mark.requirement("hypha.3.2.results", "hypha.4.10", "E3.events")
async def test_a_generator_comes_as_events_and_its_end_is_said() -> None:
    stream = Stream()
    async with shared(stream.service) as (here, _, http):
        answer = await http.get(f"{ADA}/stream/count?to=3")
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.text == 'data: {"n":0}\n\ndata: {"n":1}\n\ndata: {"n":2}\n\ndata: [DONE]\n\n'
        assert (await http.post(f"{ADA}/stream/steps")).text == 'data: "a\\nb"\n\ndata: "c"\n\ndata: [DONE]\n\n'
        assert (await http.get(f"{ADA}/stream/count?to=0")).text == "data: [DONE]\n\n"
        assert not here.services.calls._waiting


@pytest.mark.requirement("hypha.3.2.results")
async def test_an_exception_in_mid_stream_is_told_in_the_stream() -> None:
    stream = Stream()
    async with shared(stream.service) as (_, _, http):
        events = (await http.get(f"{ADA}/stream/count?to=2")).text.split("\n\n")
        assert events[:2] == ['data: {"n":0}', 'data: {"n":1}']
        kind, _, data = events[2].partition("\n")
        told = {"success": False, "detail": "RemoteException: ValueError: too far"}
        assert (kind, json.loads(data.removeprefix("data: "))) == ("event: error", told)
        assert "[DONE]" not in events[-1]


@pytest.mark.requirement("E3.events")
async def test_a_reader_who_leaves_early_closes_the_generator_of_the_client() -> None:
    stream = Stream()
    async with shared(stream.service) as (_, _, http):
        async with http.stream("GET", f"{ADA}/stream/count?to=1000000") as answer:
            first = await anext(answer.aiter_lines())
        assert first == 'data: {"n":0}'
        async with asyncio.timeout(WAIT):
            await stream.closed.wait()
        assert stream.given < 1_000_000


@pytest.mark.requirement("E3.events")
async def test_a_reader_who_leaves_while_nothing_comes_ends_the_call() -> None:
    stream = Stream()
    async with shared(stream.service) as (here, _, http):
        async with http.stream("GET", f"{ADA}/stream/waits") as answer:
            assert await anext(answer.aiter_lines()) == 'data: "one"'
        await given_up(here)


@pytest.mark.requirement("E3.events")
async def test_a_client_that_goes_in_mid_stream_is_told_in_the_stream() -> None:
    stream = Stream()
    async with shared(stream.service) as (_, client, http):
        async with http.stream("GET", f"{ADA}/stream/waits") as answer:
            lines = answer.aiter_lines()
            assert await anext(lines) == 'data: "one"'
            await client.disconnect()
            async with asyncio.timeout(WAIT):
                text = "\n".join([line async for line in lines])
        assert "event: error" in text
        assert "is not connected" in text


async def test_a_caller_who_leaves_ends_the_wait_for_a_plain_call() -> None:
    begun = asyncio.Event()

    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    async with shared({"id": "slow", "config": {"visibility": "public"}, "wait": wait}) as (here, _, http):
        call = asyncio.ensure_future(http.post(f"{ADA}/slow/wait"))
        await begun.wait()
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        await given_up(here)


async def test_a_stream_whose_reader_is_gone_before_its_first_value_is_closed() -> None:
    class Values:
        closed = False

        def __aiter__(self) -> Values:
            return self

        async def __anext__(self) -> int:
            return 1

        async def aclose(self) -> None:
            self.closed = True

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        await asyncio.Event().wait()

    values = Values()
    await Events(values, list)({"type": "http"}, receive, send)
    assert values.closed
