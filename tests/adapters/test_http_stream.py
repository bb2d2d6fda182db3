"""Streamed exchanges, with servers that stall, flood and break off: rows X-09, X-10, X-13, X-18, X-22."""

import asyncio
import gzip
import zlib

import pytest

from tests.adapters.test_http import PUBLIC, Resolving, client, client_with, get, serve
from valetkey.errors import BlockedAddress, ExchangeFailed, InvalidArguments
from valetkey.ports.world import Streamer, StreamRequest, Trust

__all__ = ["client", "client_with", "serve"]

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Two: b\r\n\r\n"


def asked(url, **about):
    return StreamRequest(**{"method": "GET", "url": url, "trust": Trust.OPERATOR, **about})


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


async def pieces(*given, gate=None):
    for each in given:
        if gate is not None:
            await gate.wait()
        yield each


async def whole(answer):
    return b"".join([piece async for piece in answer])


@pytest.mark.requirement("E.via-streams")
async def test_the_head_comes_first_and_then_each_piece_as_it_is_sent(client, serve):
    gate = asyncio.Event()

    async def script(server, writer):
        writer.write(CHUNKED + chunk(b"one"))
        await gate.wait()
        writer.write(chunk(b"two") + b"0\r\n\r\n")
        await writer.drain()

    server = await serve(script)
    streamer: Streamer = client
    answer = await streamer.stream(asked(server.url))
    assert (answer.status, dict(answer.headers)["x-two"]) == (200, "b")
    body = aiter(answer)
    assert await anext(body) == b"one"
    gate.set()
    assert await whole(body) == b"two"
    assert await whole(await client.stream(asked(server.url))) == b"onetwo"
    assert server.connections == 1, "a body that came to its end leaves its connection for the next"


async def test_closed_before_its_end_it_takes_its_connection_along(client, serve):
    gone = asyncio.Event()

    async def script(server, writer):
        writer.write(CHUNKED + chunk(b"one"))
        try:
            while True:  # until nobody takes it
                await writer.drain()
                writer.write(chunk(b"x" * 65_536))
        finally:
            gone.set()

    server = await serve(script)
    answer = await client.stream(asked(server.url))
    assert (await anext(answer)).startswith(b"one")
    await answer.aclose()
    await answer.aclose()
    async with asyncio.timeout(5):
        await gone.wait()
    with pytest.raises(StopAsyncIteration):
        await anext(answer)


@pytest.mark.parametrize("length", [7, None])
async def test_a_body_goes_out_in_pieces_with_its_length_or_in_chunks(client, length):
    got = []

    async def accept(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        body = await (reader.readexactly(7) if b"Content-Length: 7" in head else reader.readuntil(b"0\r\n\r\n"))
        got.append((head, body))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    about = {"method": "PUT", "body": pieces(b"abc", b"defg"), "length": length}
    answer = await client.stream(asked(url, **about))
    assert (answer.status, await whole(answer)) == (204, b"")
    ((head, body),) = got
    if length is None:
        assert b"\r\nTransfer-Encoding: chunked\r\n" in head
        assert b"Content-Length" not in head
        assert body == b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
    else:
        assert b"Transfer-Encoding" not in head
        assert body == b"abcdefg"
    server.close()


@pytest.mark.parametrize("given", [[b"abc"], [b"abcdefgh"]])
async def test_a_body_of_another_length_than_was_said_is_no_request(client, serve, given):
    server = await serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(InvalidArguments, match="longer or shorter"):
        await client.stream(asked(server.url, method="PUT", body=pieces(*given), length=5))


@pytest.mark.requirement("X-18")
async def test_silence_a_flood_and_a_drip_end(client, serve):
    async def silent(server, writer):
        writer.write(CHUNKED + chunk(b"one"))
        await asyncio.Event().wait()

    async def flood(server, writer):
        writer.write(CHUNKED)
        while True:
            writer.write(chunk(b"x" * 4096))
            await writer.drain()

    for script, about, said in (
        (silent, {"idle": 0.05}, "was silent for 0.05 s"),
        (flood, {"cap": 10_000}, "more than 10000 bytes"),
        (flood, {"longest": 0.05, "cap": 1 << 40}, "took too long"),
    ):
        server = await serve(script)
        answer = await client.stream(asked(server.url, **about))
        with pytest.raises(ExchangeFailed, match=said) as raised:
            await whole(answer)
        assert raised.value.sent

    async def never(server, writer):
        await asyncio.Event().wait()

    server = await serve(never)
    with pytest.raises(ExchangeFailed, match="gave no answer within") as raised:
        await client.stream(asked(server.url, deadline=0.05))
    assert (raised.value.sent, raised.value.late) == (True, True)


@pytest.mark.requirement("X-18")
async def test_gzip_is_decoded_piece_by_piece_and_a_bomb_is_cut(client, serve):
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    packed = gzip.compress(b"hello " * 40_000)
    server = await serve(head % len(packed) + packed)
    answer = await client.stream(asked(server.url))
    assert not {"content-encoding", "content-length"} & {name for name, _ in answer.headers}
    got = [piece async for piece in answer]
    assert b"".join(got) == b"hello " * 40_000
    assert max(map(len, got)) <= 65_536
    bomb = gzip.compress(bytes(50_000_000))
    server = await serve(head % len(bomb) + bomb)
    answer = await client.stream(asked(server.url, cap=100_000))
    with pytest.raises(ExchangeFailed, match="more than 100000 bytes"):
        await whole(answer)
    for damaged in (packed[:-4], b"not gzip", packed + b"more"):
        server = await serve(head % len(damaged) + damaged)
        with pytest.raises(ExchangeFailed, match="cannot be read"):
            await whole(await client.stream(asked(server.url)))
    deflated = zlib.compress(b"x")
    server = await serve(head.replace(b"gzip", b"deflate") % len(deflated) + deflated)
    with pytest.raises(ExchangeFailed, match="coding"):
        await client.stream(asked(server.url))


@pytest.mark.requirement("X-22")
async def test_what_breaks_off_is_told_and_sent_once(client, serve):
    async def script(server, writer):
        writer.write(CHUNKED + chunk(b"one"))
        await writer.drain()
        return "close"

    server = await serve(script)
    answer = await client.stream(asked(server.url, method="POST", body=b"pay"))
    assert await anext(answer) == b"one"
    with pytest.raises(ExchangeFailed, match="broke off") as raised:
        await anext(answer)
    assert raised.value.sent
    assert len(server.requests) == 1


@pytest.mark.requirement("X-10", "X-12", "X-13", "X-14", "X-11")
async def test_the_same_addresses_are_closed_to_it(client_with):
    for url in (
        "http://127.0.0.1/",
        "https://127.1/",
        "https://169.254.169.254/",
        "file:///etc/passwd",
        "https://[::]/",
    ):
        with pytest.raises(BlockedAddress):
            await client_with().stream(asked(url, trust=Trust.CATALOGUE))
    for found in (["10.0.0.1"], [PUBLIC, "127.0.0.1"], ["100.100.100.200"]):
        resolving = Resolving(found)
        with pytest.raises(BlockedAddress):
            await client_with(resolve=resolving).stream(asked("https://api.test/", trust=Trust.CATALOGUE))
        assert resolving.asked == [("api.test", 443)]


@pytest.mark.requirement("X-15")
async def test_surroundings_are_not_asked(client, serve, monkeypatch, home):
    async def script(server, writer):
        writer.write(CHUNKED + chunk(b"real") + b"0\r\n\r\n")
        await writer.drain()

    trap, server = await serve(script), await serve(script)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, trap.url)
    monkeypatch.setenv("NO_PROXY", "")
    netrc = home.parent / ".netrc"
    netrc.write_text("machine 127.0.0.1 login user password canary-of-netrc\n")
    netrc.chmod(0o600)
    assert await whole(await client.stream(asked(server.url))) == b"real"
    assert (trap.connections, server.connections) == (0, 1)
    assert b"authorization" not in server.requests[0].lower()


@pytest.mark.requirement("X-25")
@pytest.mark.parametrize(
    "about",
    [
        {"method": "GET\r\nX: y"},
        {"headers": {"Transfer-Encoding": "chunked"}},
        {"headers": {"Content-Length": "5"}},
        {"headers": {"X": "a\r\nY: b"}},
        {"idle": 0},
        {"url": "http://127.0.0.1:9/a b"},
    ],
)
async def test_a_request_that_is_not_one_is_refused(client, about):
    with pytest.raises(InvalidArguments):
        await client.stream(asked("http://127.0.0.1:9/", **about) if "url" not in about else asked(**about))


async def test_from_another_loop_it_says_where_it_belongs(client, serve):
    server = await serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    await whole(await client.stream(asked(server.url)))

    def elsewhere():
        return asyncio.run(client.stream(asked(server.url)))

    with pytest.raises(InvalidArguments, match="owns the sockets"):
        await asyncio.to_thread(elsewhere)


async def test_streams_that_stand_still_do_not_hold_up_an_exchange(client, serve, monkeypatch):
    monkeypatch.setattr("valetkey.adapters.http.MOST_CONNECTIONS", 1)

    async def script(server, writer):
        if b"GET /slow" in server.requests[-1]:
            writer.write(CHUNKED)
            await asyncio.Event().wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    server = await serve(script)
    slow = await client.stream(asked(f"{server.url}/slow"))
    assert (await client.fetch(get(server.url))).body == b"ok"
    with pytest.raises(ExchangeFailed):
        await client.stream(asked(server.url, deadline=0.05))
    await slow.aclose()
