"""An answer whose beginning is enough, from servers that flood and stall: row X-18."""

import asyncio
import gzip

import pytest

from valetkey.adapters.home import HomeLoop
from valetkey.adapters.http import HttpClient
from valetkey.errors import ExchangeFailed
from valetkey.ports.world import Request, Trust

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


@pytest.fixture
async def answered():
    """Fetch what a script on loopback answers."""
    home = HomeLoop()
    client = HttpClient(home)
    servers = []

    async def fetch(script, **about):
        async def accept(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            try:
                await script(writer)
            except OSError:
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        servers.append(server)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        return await client.fetch(Request(method="GET", url=url, trust=Trust.OPERATOR, whole=False, **about))

    yield fetch
    await client.close()
    for server in servers:
        server.close()
    await asyncio.to_thread(home.close)


async def flood(writer):
    writer.write(HEAD + b"Connection: close\r\n\r\n")
    for _ in range(200):
        writer.write(b"x" * 65_536)
        await writer.drain()


async def bomb(writer):
    body = gzip.compress(b"x" * 50_000_000)
    writer.write(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()


async def drip(writer):
    writer.write(HEAD + b"Content-Length: 100\r\n\r\nabc")
    await writer.drain()
    await asyncio.sleep(5)


async def never(writer):
    await asyncio.sleep(5)


@pytest.mark.requirement("fault.no-limits", "X-18.result")
@pytest.mark.parametrize("script", [flood, bomb])
async def test_the_beginning_of_too_much_is_given_and_marked(answered, script):
    response = await answered(script, cap=1000)
    assert (response.status, response.cut, response.body) == (200, True, b"x" * 1000)
    assert response.header("content-length") is None


@pytest.mark.requirement("X-18.result")
async def test_what_came_by_the_deadline_is_given_and_marked(answered):
    response = await answered(drip, deadline=0.3)
    assert (response.status, response.cut, response.body) == (200, True, b"abc")


async def test_nothing_by_the_deadline_is_late(answered):
    with pytest.raises(ExchangeFailed) as caught:
        await answered(never, deadline=0.2)
    assert caught.value.late
    assert caught.value.sent
