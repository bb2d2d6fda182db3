"""The one HTTP client, against servers on loopback that lie, stall and flood.

Rows O-25, T-11, T-13, T-14, T-15, X-09, X-12, X-13, X-15, X-25, X-34.
"""

import asyncio
import contextlib
import datetime as dt
import gzip
import ipaddress
import logging
import random
import ssl
import threading
import time
import traceback
import tracemalloc
import warnings
import zlib

import httpcore2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from valetkey.adapters.home import HomeLoop
from valetkey.adapters.http import HttpClient
from valetkey.errors import BlockedAddress, ExchangeFailed, InvalidArguments, InvalidSetting
from valetkey.ports.world import Fetcher, Request, Response, Trust

PUBLIC = "93.184.216.34"
OTHER_PUBLIC = "1.1.1.1"
CANARY = "canary-5c7f"


def answer(body=b"ok", *, head=b"HTTP/1.1 200 OK", headers=()):
    lines = [head, *headers, b"Content-Length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class Server:
    """A raw TCP server on loopback: reads a request, lets a script answer it, and remembers."""

    def __init__(self, script):
        self.script = script
        self.requests = []
        self.connections = 0
        self.tasks = set()

    async def start(self, tls=None):
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0, ssl=tls)
        self.port = self.server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    def accept(self, reader, writer):
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self.serve(reader, writer))
        self.tasks.add(task)

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
                )
                self.requests.append(head + await reader.readexactly(length))
                if await self.script(self, writer) == "close":
                    return
        except (OSError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()  # over TLS a client that keeps its side open would hold up the close
        finally:
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()

    async def stop(self):
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture
async def serve():
    servers = []

    async def begin(script, tls=None):
        if isinstance(script, bytes):
            whole = script

            async def script(server, writer):
                writer.write(whole)
                await writer.drain()

        servers.append(await Server(script).start(tls))
        return servers[-1]

    yield begin
    for server in servers:
        await server.stop()


@pytest.fixture
async def client_with():
    home = HomeLoop()
    home.adopt(asyncio.get_running_loop())
    clients = []

    def make(**options):
        clients.append(HttpClient(home, **options))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


@pytest.fixture
def client(client_with):
    return client_with()


def get(url, **options):
    return Request(**{"method": "GET", "url": url, "trust": Trust.OPERATOR, "deadline": 5.0, **options})


class Resolving:
    """A resolver that gives one answer after another, the last one for ever; and what it was asked."""

    def __init__(self, *answers):
        self.answers = answers
        self.asked = []

    async def __call__(self, host, port):
        self.asked.append((host, port))
        found = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if isinstance(found, Exception):
            raise found
        return found


class Connecting:
    """A connector that goes to one loopback port whatever address it is given; and what it was given."""

    def __init__(self, port):
        self.port = port
        self.given = []

    async def __call__(self, address, port):
        self.given.append((address, port))
        return await httpcore2.AnyIOBackend().connect_tcp("127.0.0.1", self.port)


# What goes out, what comes back.


async def test_a_request_goes_out_as_written_and_its_answer_comes_back_whole(client, serve):
    server = await serve(answer(b"x" * 2048, headers=[b"Content-Type: text/plain", b"X-Two:  b  ", b"X-Two: c"]))
    fetcher: Fetcher = client
    response = await fetcher.fetch(get(f"{server.url}/a%20b?q=%2F#part", headers={"Authorization": "Bearer t"}))
    assert response.status == 200
    assert response.body == b"x" * 2048
    assert response.header("content-type") == "text/plain"
    assert [value for name, value in response.headers if name == "x-two"] == ["b", "c"]
    first, *lines = server.requests[0].decode().removesuffix("\r\n\r\n").split("\r\n")
    assert first == "GET /a%20b?q=%2F HTTP/1.1"
    names = dict(line.split(": ", 1) for line in lines)
    assert names.pop("User-Agent").startswith("valetkey/")
    assert names == {
        "Host": f"127.0.0.1:{server.port}",
        "Accept": "*/*",
        "Accept-Encoding": "gzip",
        "Authorization": "Bearer t",
    }


async def test_a_body_goes_out_with_its_length(client, serve):
    server = await serve(answer())
    await client.fetch(get(server.url, method="POST", body=b"a=b&c=d", headers={"accept": "application/json"}))
    await client.fetch(get(server.url, method="POST"))
    full, empty = server.requests
    assert full.startswith(b"POST / HTTP/1.1\r\n")
    assert full.endswith(b"\r\n\r\na=b&c=d")
    assert b"Content-Length: 7\r\n" in full
    assert full.lower().count(b"\r\naccept:") == 1
    assert b"Content-Length: 0\r\n" in empty


@pytest.mark.parametrize(
    ("method", "raw", "status"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", 200),
        ("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Encoding: gzip\r\n\r\n", 304),
        ("GET", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n", 503),
    ],
)
async def test_an_answer_may_have_no_body(client, serve, method, raw, status):
    server = await serve(raw)
    response = await client.fetch(get(server.url, method=method))
    assert (response.status, response.body) == (status, b"")


async def test_gzip_is_decoded(client, serve):
    body = b"the body " * 1000
    server = await serve(answer(gzip.compress(body), headers=[b"Content-Encoding: GZIP", b"X-A: b"]))
    response = await client.fetch(get(server.url))
    assert response.body == body
    assert dict(response.headers) == {"x-a": "b"}


async def test_connections_are_kept(client, serve):
    server = await serve(answer())
    for _ in range(5):
        await client.fetch(get(server.url))
    assert (len(server.requests), server.connections) == (5, 1)


async def test_cookies_are_not_kept(client, serve):
    server = await serve(answer(headers=[b"Set-Cookie: sid=1; Path=/"]))
    response = await client.fetch(get(server.url))
    await client.fetch(get(server.url))
    assert response.header("set-cookie") == "sid=1; Path=/"
    assert "sid=1" not in repr(response)
    assert b"cookie" not in server.requests[1].lower()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_nothing_is_sent_on(client, serve, status):
    target = await serve(answer())
    server = await serve(answer(head=b"HTTP/1.1 %d Moved" % status, headers=[b"Location: %s/" % target.url.encode()]))
    response = await client.fetch(get(server.url, method="POST", body=CANARY.encode(), headers={"X-API-Key": CANARY}))
    assert response.status == status
    assert response.header("location") == target.url + "/"
    assert target.connections == 0


async def test_localhost_is_this_machine_and_no_resolver_is_asked(client_with, serve):
    resolve = Resolving(OSError())
    client = client_with(resolve=resolve)
    server = await serve(answer())
    response = await client.fetch(get(f"http://idp.localhost:{server.port}/"))
    assert response.status == 200
    assert b"Host: idp.localhost:%d\r\n" % server.port in server.requests[0]
    assert resolve.asked == []


@pytest.mark.parametrize(("host", "address"), [("[::1]", "::1"), ("127.0.0.2", "127.0.0.2")])
async def test_an_address_is_called_as_it_stands(client_with, serve, host, address):
    server = await serve(answer())
    resolve, connect = Resolving(["10.0.0.1"]), Connecting(server.port)
    response = await client_with(resolve=resolve, connect=connect).fetch(get(f"http://{host}:8080/"))
    assert response.status == 200
    assert connect.given == [(address, 8080)]
    assert resolve.asked == []
    assert f"Host: {host}:8080\r\n".encode() in server.requests[0]


async def test_surroundings_are_not_asked(client, serve, monkeypatch, home):
    trap = await serve(answer(b"trap"))
    server = await serve(answer(b"real"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, trap.url)
    monkeypatch.setenv("NO_PROXY", "")
    netrc = home.parent / ".netrc"
    netrc.write_text(f"machine 127.0.0.1 login user password {CANARY}\n")
    netrc.chmod(0o600)
    assert (await client.fetch(get(server.url))).body == b"real"
    assert trap.connections == 0
    assert b"authorization" not in server.requests[0].lower()


# What is refused before anything is sent.


@pytest.mark.parametrize(
    "change",
    [
        {"headers": {"X-A": f"{CANARY}\r\nX-B: c"}},
        {"headers": {"X-A": f"{CANARY}\n"}},
        {"headers": {"X-A": f"{CANARY}\x00"}},
        {"headers": {"X-A": f" {CANARY}"}},
        {"headers": {"X-A": f"{CANARY}\u20ac"}},
        {"headers": {f"X-A: {CANARY}\r\nX-B": "c"}},
        {"headers": {"": "c"}},
        {"headers": {"X A": "c"}},
        {"headers": {"Authorization": CANARY, "authorization": CANARY}},
        {"headers": {"Host": "evil.example"}},
        {"headers": {"content-length": "0"}},
        {"headers": {"Transfer-Encoding": "chunked"}},
        {"headers": {"Connection": "X-API-Key"}},
        {"headers": {"Upgrade": "websocket"}},
        {"headers": {"Proxy-Authorization": CANARY}},
        {"headers": {"Accept-Encoding": "br"}},
        {"method": "GET /x HTTP/1.1\r\nHost: evil\r\n\r\nGET"},
        {"method": "GET\n"},
        {"method": ""},
        {"method": "get"},
        {"method": "CONNECT"},
        {"method": "TRACE"},
        {"url": f"http://127.0.0.1/{CANARY}\r\nX-B: c"},
        {"url": f"http://127.0.0.1/{CANARY} x"},
        {"deadline": 0.0},
        {"deadline": float("nan")},
        {"deadline": float("inf")},
        {"cap": -1},
    ],
    ids=repr,
)
async def test_what_is_no_single_request_is_refused(client_with, change):
    connect = Connecting(1)
    client = client_with(connect=connect)
    with pytest.raises(InvalidArguments) as refused:
        await client.fetch(get(**{"url": "http://127.0.0.1/", **change}))
    assert CANARY not in str(refused.value)
    assert connect.given == []


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/",
        "https://api.example.com:8443/",
        "https://localhost/",
        "https://127.0.0.1/",
        "https://169.254.169.254/latest",
        "https://2130706433/",
        "https://user:pass@api.example.com/",
        "file:///etc/passwd",
    ],
)
async def test_an_address_that_may_not_be_called_is_not(client_with, url):
    connect = Connecting(1)
    resolve = Resolving([PUBLIC])
    client = client_with(connect=connect, resolve=resolve)
    with pytest.raises(BlockedAddress):
        await client.fetch(get(url, trust=Trust.CATALOGUE))
    assert (connect.given, resolve.asked) == ([], [])


@pytest.mark.parametrize(
    "found",
    [["127.0.0.1"], ["10.0.0.1"], [PUBLIC, "10.0.0.1"], ["10.0.0.1", PUBLIC], ["::ffff:127.0.0.1"], ["fe80::1%lo"]],
)
async def test_a_name_that_leads_inside_is_not_called(client_with, found):
    connect = Connecting(1)
    client = client_with(connect=connect, resolve=Resolving(found))
    with pytest.raises(BlockedAddress):
        await client.fetch(get("https://api.example.com/", trust=Trust.CATALOGUE))
    assert connect.given == []


# Connecting: only to what was checked.


async def test_the_connection_goes_to_the_address_that_was_checked(client_with, serve, authority):
    server = await serve(answer(), authority.server("api.example.com"))
    resolve, connect = Resolving([PUBLIC], ["127.0.0.1"]), Connecting(server.port)
    client = client_with(resolve=resolve, connect=connect, ca_file=authority.file)
    request = get("https://api.example.com/", trust=Trust.CATALOGUE)
    assert (await client.fetch(request)).status == 200
    await client.fetch(request)  # the same connection, so the new answer is never asked for
    assert resolve.asked == [("api.example.com", 443)]
    assert connect.given == [(PUBLIC, 443)]
    assert b"Host: api.example.com\r\n" in server.requests[0]


async def test_a_name_that_is_bound_anew_is_judged_anew(client_with, serve, authority):
    server = await serve(answer(headers=[b"Connection: close"]), authority.server("api.example.com"))
    resolve, connect = Resolving([PUBLIC], ["127.0.0.1"]), Connecting(server.port)
    client = client_with(resolve=resolve, connect=connect, ca_file=authority.file)
    request = get("https://api.example.com/", trust=Trust.CATALOGUE)
    assert (await client.fetch(request)).status == 200
    with pytest.raises(BlockedAddress):
        await client.fetch(request)
    assert connect.given == [(PUBLIC, 443)]


async def test_what_an_operator_opened_serves_nobody_else(client_with, serve, authority):
    server = await serve(answer(), authority.server("idp.corp"))
    resolve, connect = Resolving(["10.0.0.7"]), Connecting(server.port)
    client = client_with(resolve=resolve, connect=connect, ca_file=authority.file, allowed_hosts=["idp.corp"])
    assert (await client.fetch(get("https://idp.corp/"))).status == 200
    with pytest.raises(BlockedAddress):
        await client.fetch(get("https://idp.corp/", trust=Trust.CATALOGUE))
    assert len(server.requests) == 1


async def test_the_next_address_is_tried_when_one_does_not_answer(client_with, serve, authority, monkeypatch):
    server = await serve(answer(), authority.server("api.example.com"))
    monkeypatch.setattr("valetkey.adapters.http.ATTEMPT_SECONDS", 0.05)
    onward = Connecting(server.port)

    async def connect(address, port):
        if address == PUBLIC:
            await asyncio.Event().wait()
        if address == OTHER_PUBLIC:
            raise ConnectionRefusedError
        return await onward(address, port)

    client = client_with(resolve=Resolving([PUBLIC, OTHER_PUBLIC, "8.8.8.8"]), connect=connect, ca_file=authority.file)
    assert (await client.fetch(get("https://api.example.com/", trust=Trust.CATALOGUE))).status == 200
    assert onward.given == [("8.8.8.8", 443)]


@pytest.mark.requirement("R-32")
async def test_an_unknown_name_was_surely_not_sent_to(client_with):
    for resolve in (Resolving(OSError("no such name")), Resolving([])):
        client = client_with(resolve=resolve)
        with pytest.raises(ExchangeFailed, match=r"api\.example\.com has no address") as failed:
            await client.fetch(get("https://api.example.com/"))
        assert failed.value.sent is False


async def test_a_refused_connection_was_surely_not_sent_to(client, serve):
    server = await serve(answer())
    await server.stop()
    with pytest.raises(ExchangeFailed, match=r"127\.0\.0\.1 does not take connections") as failed:
        await client.fetch(get(server.url))
    assert failed.value.sent is False


@pytest.mark.parametrize("stage", ["resolve", "connect", "tls"])
async def test_the_deadline_covers_what_comes_before_sending(client_with, serve, stage):
    held: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda reader, writer: held.append(writer), "127.0.0.1", 0)

    async def hang(host, port):
        await asyncio.Event().wait()

    client = client_with(
        resolve=hang if stage == "resolve" else Resolving([PUBLIC]),
        connect=hang if stage == "connect" else Connecting(silent.sockets[0].getsockname()[1]),
    )
    began = time.monotonic()
    with pytest.raises(ExchangeFailed, match=r"within 0\.2 s; try again") as failed:
        await client.fetch(get("https://api.example.com/", deadline=0.2))
    assert failed.value.sent is False
    assert time.monotonic() - began < 3
    silent.close()
    for writer in held:
        writer.close()


# Answers that lie, stall and flood.


def forever(piece, pause=0.0):
    async def script(server, writer):
        while not writer.is_closing():
            writer.write(piece)
            await writer.drain()
            if pause:
                await asyncio.sleep(pause)

    return script


def begun(start, then):
    async def script(server, writer):
        writer.write(start)
        return await then(server, writer)

    return script


@pytest.mark.parametrize(
    "script",
    [
        forever(b"H", pause=0.02),
        begun(b"HTTP/1.1 200 OK\r\nX-A: ", forever(b"a", pause=0.02)),
        begun(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", forever(b"a", pause=0.02)),
        begun(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", forever(b"1\r\na\r\n", pause=0.02)),
        forever(b"HTTP/1.1 102 Processing\r\n\r\n" * 100),
        begun(b"", lambda server, writer: asyncio.Event().wait()),
    ],
    ids=["status line", "headers", "body", "chunks", "1xx flood", "nothing"],
)
async def test_an_answer_that_never_ends_ends_at_the_deadline(client, serve, script):
    server = await serve(script)
    began = time.monotonic()
    with pytest.raises(ExchangeFailed, match=r"no whole answer within 0\.3 s; look there") as failed:
        await client.fetch(get(server.url, deadline=0.3))
    assert failed.value.sent is True
    assert time.monotonic() - began < 3
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 1000 + b"Content-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 1_000_000 + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 80_000 + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 3_000_000,
        b"HTTP/1.1 " + b"2" * 1_000_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;" + b"e" * 1_000_000 + b"\r\nok\r\n0\r\n\r\n",
    ],
    ids=["1,000 headers", "1 MB header", "80 KB header", "endless header", "status line", "chunk extension"],
)
async def test_headers_beyond_all_measure_are_refused(client, serve, raw):
    server = await serve(raw)
    with pytest.raises(ExchangeFailed) as failed:
        await client.fetch(get(server.url))
    assert failed.value.sent is True


async def test_a_flood_of_interim_answers_takes_no_memory(client, serve):
    server = await serve(forever(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 100))
    tracemalloc.start()
    try:
        with pytest.raises(ExchangeFailed):
            await client.fetch(get(server.url, deadline=0.5))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


PACKER = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
BOMB = b"".join(PACKER.compress(bytes(1_000_000)) for _ in range(100)) + PACKER.flush()  # 100 MB in 97 KB


@pytest.mark.parametrize(
    "script",
    [
        answer(b"x" * 2_000_000),
        begun(b"HTTP/1.1 200 OK\r\n\r\n", forever(b"x" * 65_536)),
        begun(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", forever(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        ),
        answer(BOMB, headers=[b"Content-Encoding: gzip"]),
    ],
    ids=["huge", "endless", "endless chunks", "gzip bomb"],
)
async def test_a_body_over_the_cap_is_dropped_at_the_cap(client, serve, script):
    server = await serve(script)
    tracemalloc.start()
    try:
        with pytest.raises(ExchangeFailed, match="more than 100000 bytes") as failed:
            await client.fetch(get(server.url, cap=100_000))
        assert failed.value.sent is True
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


async def test_a_body_of_exactly_the_cap_is_taken(client, serve):
    plain = await serve(answer(b"x" * 1000))
    packed = await serve(answer(gzip.compress(b"x" * 1000), headers=[b"Content-Encoding: gzip"]))
    for server in (plain, packed):
        assert len((await client.fetch(get(server.url, cap=1000))).body) == 1000
        with pytest.raises(ExchangeFailed, match="more than 999 bytes"):
            await client.fetch(get(server.url, cap=999))


def closing(raw):
    async def script(server, writer):
        writer.write(raw)
        await writer.drain()
        return "close"

    return script


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nshort\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nX-A: b\r\n",
        b"HTTP/1.1 200 OK\r\nnot a header\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"\x16\x03\x01\x00",
        b"",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        answer(gzip.compress(b"x" * 1000)[:-9], headers=[b"Content-Encoding: gzip"]),
        answer(gzip.compress(b"x" * 1000) + b"more", headers=[b"Content-Encoding: gzip"]),
        answer(b"no gzip at all", headers=[b"Content-Encoding: gzip"]),
        answer(b"x", headers=[b"Content-Encoding: br"]),
        answer(gzip.compress(gzip.compress(b"x")), headers=[b"Content-Encoding: gzip, gzip"]),
    ],
    ids=[
        "length too long",
        "chunks end early",
        "chunk ends early",
        "chunk size",
        "negative length",
        "two lengths",
        "half a head",
        "no header line",
        "another protocol",
        "TLS",
        "nothing",
        "switching",
        "half a gzip",
        "gzip and more",
        "no gzip",
        "br",
        "gzip in gzip",
    ],
)
async def test_an_answer_that_is_not_whole_is_no_answer(client, serve, raw):
    server = await serve(closing(raw))
    with pytest.raises(ExchangeFailed) as failed:
        await client.fetch(get(server.url))
    assert failed.value.sent is True
    assert len(server.requests) == 1


async def test_a_reset_after_the_request_may_have_been_received(client, serve):
    async def script(server, writer):
        writer.transport.abort()
        return "close"

    server = await serve(script)
    with pytest.raises(ExchangeFailed, match="look there before you repeat") as failed:
        await client.fetch(get(server.url, method="POST", body=b"code=1"))
    assert failed.value.sent is True
    assert len(server.requests) == 1


async def test_what_follows_an_answer_is_not_taken_for_the_next_one(client, serve):
    evil = answer(b"evil")

    async def script(server, writer):
        writer.write(answer(b"good") + (evil if len(server.requests) == 1 else b""))
        await writer.drain()

    server = await serve(script)
    assert (await client.fetch(get(server.url))).body == b"good"
    assert (await client.fetch(get(server.url))).body == b"good"
    assert (len(server.requests), server.connections) == (2, 2)


async def test_a_connection_that_was_closed_meanwhile_is_not_used(client, serve):
    server = await serve(closing(answer()))
    for _ in range(3):
        assert (await client.fetch(get(server.url))).status == 200
        await asyncio.gather(*server.tasks)
    assert (len(server.requests), server.connections) == (3, 3)


@pytest.mark.requirement("R-31")
async def test_a_request_that_may_have_been_received_is_never_sent_again(client, serve):
    async def script(server, writer):
        if len(server.requests) == 2:
            return "close"
        writer.write(answer())
        return await writer.drain()

    server = await serve(script)
    await client.fetch(get(server.url))
    with pytest.raises(ExchangeFailed) as failed:
        await client.fetch(get(server.url))
    assert failed.value.sent is True
    assert (len(server.requests), server.connections) == (2, 1)


# TLS.


def certificate(name, issuer, issuer_key, key, *, days=(-1, 30), ca=False, names=()):
    now = dt.datetime.now(dt.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=days[0]))
        .not_valid_after(now + dt.timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if ca:
        builder = builder.add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=True,
                crl_sign=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


class Authority:
    """A certificate authority, and servers that it vouches for."""

    def __init__(self, folder):
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = certificate("Test authority", None, self.key, self.key, ca=True)
        self.file = folder / "ca.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, name, *, self_signed=False, days=(-1, 30), common_name_only=False):
        key = ec.generate_private_key(ec.SECP256R1())
        numbers = name.replace(".", "").isdigit()
        named = x509.IPAddress(ipaddress.ip_address(name)) if numbers else x509.DNSName(name)
        made = certificate(
            name,
            None if self_signed else self.certificate.subject,
            key if self_signed else self.key,
            key,
            days=days,
            names=() if common_name_only else [named],
        )
        file = self.folder / f"{made.serial_number}.pem"
        file.write_bytes(
            made.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


async def test_a_host_with_a_certificate_of_a_trusted_authority_is_called(client_with, serve, authority):
    server = await serve(answer(b"secure"), authority.server("127.0.0.1"))
    client = client_with(ca_file=authority.file)
    for _ in range(2):
        assert (await client.fetch(get(f"https://127.0.0.1:{server.port}/"))).body == b"secure"
    assert server.connections == 1


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"name": "api.example.com", "self_signed": True}, "self-signed"),
        ({"name": "api.example.com", "days": (-30, -1)}, "expired"),
        ({"name": "api.example.com", "days": (1, 30)}, "not yet valid"),
        ({"name": "other.example.com"}, "api.example.com"),
        ({"name": "api.example.com", "common_name_only": True}, "api.example.com"),
    ],
    ids=["self-signed", "expired", "not yet valid", "wrong host", "common name"],
)
async def test_a_bad_certificate_is_refused_before_anything_is_sent(client_with, serve, authority, options, why):
    server = await serve(answer(), authority.server(**options))
    client = client_with(resolve=Resolving([PUBLIC]), connect=Connecting(server.port), ca_file=authority.file)
    for trust in Trust:
        with pytest.raises(ExchangeFailed, match=why) as failed:
            await client.fetch(get("https://api.example.com/", trust=trust, headers={"X-API-Key": CANARY}))
        assert failed.value.sent is False
        assert "ca_file" in str(failed.value)
    assert server.requests == []


async def test_an_authority_of_its_own_is_refused_unless_it_is_named(client_with, serve, authority):
    server = await serve(answer(), authority.server("127.0.0.1"))
    with pytest.raises(ExchangeFailed, match="certificate") as failed:
        await client_with().fetch(get(f"https://127.0.0.1:{server.port}/"))
    assert failed.value.sent is False


async def test_old_tls_is_refused(client_with, serve, authority):
    context = authority.server("127.0.0.1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    server = await serve(answer(), context)
    with pytest.raises(ExchangeFailed, match=r"TLS 1\.2") as failed:
        await client_with(ca_file=authority.file).fetch(get(f"https://127.0.0.1:{server.port}/"))
    assert failed.value.sent is False


async def test_a_server_without_tls_is_refused(client):
    def speak_plainly(reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(speak_plainly, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ExchangeFailed, match=r"TLS 1\.2") as failed:
            await client.fetch(get(f"https://127.0.0.1:{port}/"))
    assert failed.value.sent is False


async def test_session_keys_are_written_nowhere(client_with, serve, authority, monkeypatch, tmp_path):
    keys = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    server = await serve(answer(), ssl_server := authority.server("127.0.0.1"))
    assert ssl_server.keylog_filename is None
    client = client_with(ca_file=authority.file)
    assert (await client.fetch(get(f"https://127.0.0.1:{server.port}/"))).status == 200
    assert not keys.exists()


@pytest.mark.parametrize("text", [None, "no certificate"])
async def test_a_ca_file_that_cannot_be_read_is_named(client_with, tmp_path, text):
    file = tmp_path / "missing.pem"
    if text:
        file.write_text(text)
    client = client_with(ca_file=file, resolve=Resolving([PUBLIC]))
    with pytest.raises(InvalidSetting, match=r"missing\.pem"):
        await client.fetch(get("https://api.example.com/"))


# What is told.


async def test_no_error_and_no_log_line_shows_what_was_sent_or_answered(client, serve, caplog):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpcore2").setLevel(logging.DEBUG)
    good = answer(headers=[f"Set-Cookie: {CANARY}".encode(), f"Location: /?code={CANARY}".encode()])
    bad = f"HTTP/1.1 200 OK\r\nSet-Cookie: {CANARY}\r\n{CANARY} no header\r\n\r\n".encode()
    told = []
    for raw in (good, bad, b"", good[:-5]):
        server = await serve(closing(raw))
        request = get(
            f"{server.url}/{CANARY}?key={CANARY}",
            method="POST",
            body=CANARY.encode(),
            headers={"Authorization": f"Bearer {CANARY}"},
        )
        told.append(repr(request).replace(request.url, ""))
        try:
            told.append(repr(await client.fetch(request)))
        except ExchangeFailed as error:
            told.append("".join(traceback.format_exception(error)))
    assert CANARY not in "".join(told)
    assert CANARY not in caplog.text


async def test_other_users_of_the_library_keep_their_log_lines(client, serve, caplog):
    caplog.set_level(logging.DEBUG, "httpcore2")
    server = await serve(answer())
    await client.fetch(get(server.url))
    assert caplog.records == []
    async with httpcore2.AsyncConnectionPool() as pool:
        await pool.request("GET", server.url)
    assert "receive_response_headers" in caplog.text


# Loops, threads and cancellation.


async def test_it_is_used_from_any_loop_over_one_set_of_connections(serve):
    server = await serve(answer(b"x" * 100))
    home = HomeLoop()
    client = HttpClient(home)
    try:
        assert (await client.fetch(get(server.url))).status == 200
        in_thread = await asyncio.to_thread(asyncio.run, client.fetch(get(server.url)))
        blocked = await asyncio.to_thread(home.block, lambda: client.fetch(get(server.url)))
        assert isinstance(in_thread, Response)
        assert isinstance(blocked, Response)
        assert server.connections == 1
    finally:
        await client.close()
        await asyncio.to_thread(home.close)


async def test_a_new_home_gets_new_connections(serve):
    server = await serve(answer())
    home = HomeLoop()
    client = HttpClient(home)
    for expected in (1, 2):
        assert (await client.fetch(get(server.url))).status == 200
        await client.close()
        await asyncio.to_thread(home.close)
        assert server.connections == expected


async def test_closing_closes_connections(client, serve):
    server = await serve(answer())
    await client.fetch(get(server.url))
    await client.close()
    await asyncio.wait_for(asyncio.gather(*server.tasks), 5)
    assert (await client.fetch(get(server.url))).status == 200


async def test_closing_an_unused_client_starts_nothing():
    before = threading.active_count()
    await HttpClient(HomeLoop()).close()
    assert threading.active_count() == before


async def test_many_exchanges_run_side_by_side(client, serve):
    gate = asyncio.Event()

    async def script(server, writer):
        if len(server.requests) == 100:
            gate.set()
        await gate.wait()
        writer.write(answer())
        await writer.drain()

    server = await serve(script)
    responses = await asyncio.gather(*(client.fetch(get(server.url)) for _ in range(100)))
    assert [response.status for response in responses] == [200] * 100


async def test_no_caller_gets_anothers_answer_however_many_give_up(client, serve):
    draw = random.Random(7)  # noqa: S311 - who gives up when; the same each time

    async def script(server, writer):
        path = server.requests[-1].split(b" ", 2)[1]
        for _ in range(draw.randrange(4)):
            await asyncio.sleep(0)
        writer.write(answer(path))
        await writer.drain()

    server = await serve(script)

    async def one(number):
        try:
            response = await client.fetch(get(f"{server.url}/{number}", deadline=draw.choice([0.002, 0.004, 5.0])))
        except ExchangeFailed:
            return "gave up"
        assert response.body == b"/%d" % number
        return "answered"

    async def twenty(start):
        return [await one(number) for number in range(start, start + 20)]

    outcomes = await asyncio.gather(*(twenty(start) for start in range(0, 1000, 20)))
    assert {outcome for batch in outcomes for outcome in batch} == {"answered", "gave up"}
    assert (await client.fetch(get(f"{server.url}/last"))).body == b"/last"
