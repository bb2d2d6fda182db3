"""OAuth 2 client credentials of a session: fetched once however many ask, and no way to look around with them."""

import asyncio
import base64
import ipaddress
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any

import httpcore2
import pytest
from starlette.requests import Request as Incoming
from starlette.responses import JSONResponse, RedirectResponse

from tests.connections.sessions import (
    ANY,
    BEARER,
    OWNER,
    ROOM,
    URL,
    TokenEndpoint,
    allowed,
    answered,
    client,
    made,
    need,
    put,
    token,
    until,
)
from valetkey.adapters.home import HomeLoop
from valetkey.adapters.http import HttpClient
from valetkey.connections.session import SessionKind, names_host
from valetkey.connections.session_tokens import NO_TOKEN
from valetkey.errors import BlockedAddress, ExchangeFailed, ProviderUnavailable
from valetkey.model.connections import Connection
from valetkey.ports.world import Response, Trust
from valetkey.testing.clock import ManualClock
from valetkey.testing.loopback import Loopback
from valetkey.wiring.system import System


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def endpoint() -> TokenEndpoint:
    return TokenEndpoint()


@pytest.fixture
def system(clock: ManualClock, endpoint: TokenEndpoint) -> Iterator[System]:
    system = made(clock, endpoint)
    yield system
    system.close()


async def met(system: System) -> Connection:
    connection = await system.sessions.meet(ROOM, OWNER, ANY)
    assert connection is not None
    return connection


@pytest.mark.requirement("seed003.oauth2")
async def test_the_request_is_the_one_that_seed_003_s_servers_take(system: System, endpoint: TokenEndpoint) -> None:
    put(system, client(scope="api:read api:write"))
    await token(system)
    (request,) = endpoint.requests
    assert (request.method, request.url, request.trust) == ("POST", URL, Trust.CATALOGUE)
    assert endpoint.forms == [
        {
            "grant_type": "client_credentials",
            "client_id": "the-client",
            "client_secret": "cs-99998888",
            "scope": "api:read api:write",
        }
    ]
    assert request.cap <= 131_072
    assert request.deadline <= 10


@pytest.mark.requirement("seed003.oauth2")
async def test_a_session_that_names_no_scope_asks_for_the_operation_s(system: System, endpoint: TokenEndpoint) -> None:
    put(system, client())
    assert [await token(system, *scopes) for scopes in (("b", "a"), (), ("a", "b"), ("c",))] == [
        "tok-1-secret",
        "tok-2-secret",
        "tok-1-secret",
        "tok-3-secret",
    ]
    assert [form.get("scope") for form in endpoint.forms] == ["a b", None, "c"]


@pytest.mark.requirement("seed003.oauth2")
async def test_a_session_that_names_a_scope_asks_for_no_other(system: System, endpoint: TokenEndpoint) -> None:
    put(system, client(scope="mine"))
    assert {await token(system, "a"), await token(system, "b")} == {"tok-1-secret"}
    assert [form["scope"] for form in endpoint.forms] == ["mine"]


@pytest.mark.requirement("seed003.token-caching", "fault.oauth-race")
async def test_five_calls_at_once_fetch_one_token(system: System, endpoint: TokenEndpoint) -> None:
    gate = endpoint.hold()
    put(system, client())
    calls = [asyncio.create_task(token(system)) for _ in range(5)]
    await until(lambda: bool(endpoint.requests))
    gate.set_result(None)
    assert set(await asyncio.gather(*calls)) == {"tok-1-secret"}
    assert len(endpoint.requests) == 1


@pytest.mark.requirement("fault.oauth-race")
async def test_five_refusals_at_once_fetch_one_more(system: System, endpoint: TokenEndpoint) -> None:
    put(system, client())
    refused = await met(system)
    gate = endpoint.hold()
    calls = [asyncio.create_task(system.sessions.renew(ROOM, refused)) for _ in range(5)]
    await until(lambda: len(endpoint.requests) == 2)
    gate.set_result(None)
    renewed = await asyncio.gather(*calls)
    late = await system.sessions.renew(ROOM, refused)
    assert len({connection.generation for connection in (*renewed, late) if connection is not None}) == 1
    assert late is not None
    assert len(endpoint.requests) == 2
    assert await token(system) == "tok-2-secret"


@pytest.mark.requirement("fault.oauth-race", "X-19")
async def test_a_token_that_a_refusal_brought_and_that_is_refused_is_not_fetched_again_at_once(
    system: System, endpoint: TokenEndpoint, clock: ManualClock
) -> None:
    put(system, client())
    again = await system.sessions.renew(ROOM, await met(system))
    assert again is not None
    assert await system.sessions.renew(ROOM, again) is None
    assert len(endpoint.requests) == 2
    clock.advance(31)
    assert await system.sessions.renew(ROOM, again) is not None


async def test_a_refusal_while_the_endpoint_is_down_leaves_the_answer_as_it_is(
    system: System, endpoint: TokenEndpoint
) -> None:
    put(system, client())
    refused = await met(system)
    endpoint.script = [Response(status=503)]
    assert await system.sessions.renew(ROOM, refused) is None
    assert await system.sessions.renew(ROOM, refused) is None
    assert len(endpoint.requests) == 2


async def test_a_pasted_token_is_never_renewed(system: System, endpoint: TokenEndpoint) -> None:
    put(system, BEARER)
    assert await system.sessions.renew(ROOM, await met(system)) is None
    put(system, client())
    of_before = await met(system)
    put(system, client())
    assert await system.sessions.renew(ROOM, of_before) is None  # it belongs to what was replaced
    assert len(endpoint.requests) == 1


@pytest.mark.requirement("X-19")
async def test_the_road_renews_once_and_gives_up_without_touching_the_store(
    system: System, endpoint: TokenEndpoint
) -> None:
    put(system, client())
    connected = await system.connector.connect(allowed((ANY,)))
    again = await system.connector.renew(connected, certain=True)
    assert again is not None
    assert again.connections[0].generation > connected.connections[0].generation
    await system.connector.give_up(again)
    assert await token(system) == "tok-2-secret"
    put(system, BEARER)
    assert await system.connector.renew(await system.connector.connect(allowed((ANY,))), certain=True) is None


@pytest.mark.requirement("seed003.cache-ttl", "seed003.token-caching")
@pytest.mark.parametrize(
    ("expires_in", "ttl", "good_for"),
    [
        (1000, 3600, 900.0),
        (1000, 600, 600.0),
        ("1000", 3600, 900.0),
        (None, 3600, 3240.0),
        (0, 9999, 3240.0),
        (-5, 9999, 3240.0),
        ("soon", 9999, 3240.0),
        (True, 9999, 3240.0),
        ([1], 9999, 3240.0),
        (10**400, 3600, 3600.0),
        (1.5, 3600, 1.35),
    ],
)
async def test_a_token_is_fetched_anew_at_nine_tenths_of_its_life_or_after_the_ttl(
    system: System, endpoint: TokenEndpoint, clock: ManualClock, expires_in: Any, ttl: float, good_for: float
) -> None:
    endpoint.members["expires_in"] = expires_in
    put(system, client(), ttl=ttl)
    await token(system)
    clock.advance(good_for * 0.99)
    await token(system)
    assert len(endpoint.requests) == 1
    clock.advance(good_for * 0.02)
    assert await token(system) == "tok-2-secret"


BAD: dict[str, Response | Exception | dict[str, Any]] = {
    "refused": answered({"error": "invalid_scope", "error_description": "cs-99998888 is fine"}, 400),
    "server error": Response(status=500, body=b"Traceback: secret"),
    "redirect": Response(status=302, headers=(("location", "http://169.254.169.254/"),)),
    "page": Response(status=200, headers=(("content-type", "text/html"),), body=b"<h1>intranet</h1>"),
    "empty": Response(status=204),
    "list": answered(["access_token"]),
    "no token": {},
    "token of a number": {"access_token": 5},
    "empty token": {"access_token": ""},
    "line break in the token": {"access_token": "abc\r\nX-Admin: 1", "token_type": "bearer"},
    "control character": {"access_token": "abc\x00", "token_type": "bearer"},
    "not ASCII": {"access_token": "tökén", "token_type": "bearer"},
    "endless token": {"access_token": "a" * 70_000, "token_type": "bearer"},
    "another type": {"access_token": "abc", "token_type": "mac"},
    "proof of possession": {"access_token": "abc", "token_type": "DPoP"},
    "blocked": BlockedAddress("10.0.0.7 leads to a private network"),
    "no connection": ExchangeFailed("auth.example.com does not take connections on port 443.", sent=False),
    "no answer in time": ExchangeFailed("gave no whole answer within 10 s", sent=True),
    "nested": Response(status=200, body=b"[" * 50_000),
}


@pytest.mark.requirement("fault.ssrf", "fault.oauth-race")
@pytest.mark.parametrize("case", BAD)
async def test_whatever_comes_instead_of_a_token_the_same_is_said(
    system: System, endpoint: TokenEndpoint, clock: ManualClock, case: str
) -> None:
    endpoint.script = [BAD[case]]
    put(system, client())
    with pytest.raises(ProviderUnavailable) as failed:
        await token(system)
    assert str(failed.value) == NO_TOKEN
    assert failed.value.__cause__ is None
    with pytest.raises(ProviderUnavailable):  # so soon the endpoint is not asked again
        await token(system)
    assert len(endpoint.requests) == 1
    clock.advance(5.1)
    assert await token(system) == "tok-2-secret"


@pytest.mark.requirement("seed003.oauth2")
async def test_an_answer_without_a_type_is_a_bearer_token(system: System, endpoint: TokenEndpoint) -> None:
    endpoint.members = {}
    put(system, client())
    assert await token(system) == "tok-1-secret"


@pytest.mark.requirement("seed003.oauth2")
async def test_a_server_that_wants_basic_gets_it_and_is_asked_so_from_then_on(
    system: System, endpoint: TokenEndpoint, clock: ManualClock
) -> None:
    endpoint.script = [answered({"error": "invalid_client"}, 401)]
    put(system, client())
    assert await token(system) == "tok-2-secret"
    clock.advance(3600)
    assert await token(system) == "tok-3-secret"
    coded = base64.b64encode(b"the-client:cs-99998888").decode()
    assert [request.headers.get("authorization") for request in endpoint.requests] == [
        None,
        f"Basic {coded}",
        f"Basic {coded}",
    ]
    assert "client_secret" not in endpoint.forms[1]


async def test_a_client_that_is_unknown_in_both_ways_is_tried_no_third_time(
    system: System, endpoint: TokenEndpoint
) -> None:
    endpoint.script = [answered({"error": "invalid_client"}, 401)] * 2
    put(system, client())
    with pytest.raises(ProviderUnavailable, match="did not give a token"):
        await token(system)
    assert len(endpoint.requests) == 2


@pytest.mark.requirement("d11.token-hosts", "X-14")
@pytest.mark.parametrize(
    "url",
    [
        "http://auth.example.com/token",
        "http://127.0.0.1/token",
        "https://user@auth.example.com/token",
        "https://auth.example.com/token#part",
        "file:///etc/passwd",
        "unix:///run/docker.sock",
        "gopher://auth.example.com/1",
        "ftp://auth.example.com/",
        "ws://auth.example.com/",
        "https:///token",
        "",
    ],
)
async def test_what_is_no_https_endpoint_is_not_asked(system: System, endpoint: TokenEndpoint, url: str) -> None:
    put(system, client(url))
    with pytest.raises(ProviderUnavailable, match="did not give a token"):
        await token(system)
    assert not endpoint.requests


# one of each range. X-11: forms that resolvers read as numbers.
PRIVATE = """
    127.0.0.1 127.8.8.8 10.1.2.3 172.16.0.1 172.31.255.254 192.168.0.1 169.254.169.254 100.64.0.1 192.0.0.192 198.18.0.1
    0.0.0.0 224.0.0.1 240.0.0.1 255.255.255.255 192.88.99.1 100.100.100.200 ::1 :: fc00::1 fe80::1 ff02::1
    ::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::7f00:1 64:ff9b:1::a00:1 2002:7f00:1:: 2001::1 fd00:ec2::254
    2400::5efe:10.0.0.1
    """.split()  # noqa: SIM905
NUMBERS = ["2130706433", "0x7f.1", "017700000001", "127.1", "localhost.", "localhost", "0", "app.localhost"]


class Net:
    """A network in which one name leads to given addresses; remembers what was connected to."""

    def __init__(self, *found: str) -> None:
        self.found = found
        self.connected: list[str] = []

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        return self.found

    async def connect(self, host: str, port: int) -> httpcore2.AsyncNetworkStream:
        self.connected.append(host)
        raise httpcore2.ConnectError


@asynccontextmanager
async def networked(clock: ManualClock, **options: Any) -> AsyncIterator[System]:
    """A system over the HTTP client itself."""
    home = HomeLoop()
    http = HttpClient(home, **options)
    system = made(clock, http)
    with closing(home), closing(system):
        yield system
        await http.close()


async def refused(clock: ManualClock, net: Net, *urls: str) -> None:
    async with networked(clock, resolve=net.resolve, connect=net.connect) as system:
        for url in urls:
            put(system, client(url))
            with pytest.raises(ProviderUnavailable) as failed:
                await token(system)
            assert str(failed.value) == NO_TOKEN, url


@pytest.mark.requirement("fault.ssrf", "X-10", "X-11")
async def test_no_private_address_is_called_however_it_is_written(clock: ManualClock) -> None:
    net = Net("93.184.216.34")
    literal = [f"[{text}]" if ipaddress.ip_address(text).version == 6 else text for text in PRIVATE]
    await refused(clock, net, *(f"https://{host}/token" for host in (*literal, *NUMBERS, "[::]")))
    assert net.connected == []


@pytest.mark.requirement("fault.ssrf", "X-13")
async def test_no_name_leads_to_a_private_address(clock: ManualClock) -> None:
    net = Net()
    async with networked(clock, resolve=net.resolve, connect=net.connect) as system:
        for address in PRIVATE:
            for found in ((address,), ("93.184.216.34", address)):
                net.found = found
                put(system, client("https://auth.example.com/token"))
                with pytest.raises(ProviderUnavailable):
                    await token(system)
                assert net.connected == [], found


@pytest.mark.requirement("fault.ssrf", "X-14")
async def test_other_ports_are_not_looked_at(clock: ManualClock) -> None:
    net = Net("93.184.216.34")
    await refused(clock, net, "https://auth.example.com:8443/token", "https://auth.example.com:22/token")
    assert net.connected == []


@pytest.mark.requirement("X-12")
async def test_the_address_that_was_judged_is_the_one_that_is_called(clock: ManualClock) -> None:
    net = Net("93.184.216.34")
    await refused(clock, net, "https://auth.example.com/token")
    assert net.connected == ["93.184.216.34"]


@pytest.mark.requirement("d11.token-hosts")
@pytest.mark.parametrize("named", [True, False], ids=["named in settings", "named by the client"])
async def test_a_host_that_the_operator_names_may_be_on_loopback(clock: ManualClock, *, named: bool) -> None:
    seen: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(dict(await Incoming(scope, receive).form()))
        await JSONResponse({"access_token": "from-loopback", "token_type": "bearer"})(scope, receive, send)

    async with networked(clock) as system, Loopback(app) as server:
        hosts = [f"127.0.0.1:{server.port}"] if named else []
        put(system, client(f"{server.url}/token"), token_hosts=hosts)
        if named:
            assert await token(system) == "from-loopback"
        else:
            with pytest.raises(ProviderUnavailable):
                await token(system)
    assert len(seen) == int(named)


@pytest.mark.requirement("fault.ssrf", "X-09")
async def test_a_redirect_takes_the_secret_nowhere(clock: ManualClock) -> None:
    paths: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        paths.append(scope["path"])
        await RedirectResponse("/elsewhere", 307)(scope, receive, send)

    async with networked(clock) as system, Loopback(app) as server:
        put(system, client(f"{server.url}/token"), token_hosts=["127.0.0.1"])
        with pytest.raises(ProviderUnavailable):
            await token(system)
    assert paths == ["/token"]


@pytest.mark.requirement("d11.token-hosts")
@pytest.mark.parametrize(
    ("hosts", "url", "named"),
    [
        (["Auth.Example.com"], "https://auth.example.com/t", True),
        ([" localhost:9000 "], "http://localhost:9000/t", True),
        (["localhost:9000"], "http://localhost:9001/t", False),
        (["localhost"], "http://localhost:9001/t", True),
        (["[::1]"], "http://[::1]:80/t", True),
        (["[::1]:9000"], "http://[::1]:9000/t", True),
        (["[::1]:9000"], "http://[::1]:9001/t", False),
        (["auth.example.com:443"], "https://auth.example.com/t", True),
        (["example.com"], "https://auth.example.com/t", False),
        (["auth.example.com"], "https://auth.example.com.evil.test/t", False),
        (["auth.example.com"], "https://evil.test/auth.example.com", False),
        (["auth.example.com"], "https://auth.example.com:99999/t", False),
        (["", " "], "https:///t", False),
        ([], "https://auth.example.com/t", False),
    ],
)
def test_the_operator_s_list_names_whole_hosts(hosts: list[str], url: str, *, named: bool) -> None:
    assert names_host(hosts, url) is named


async def test_a_token_of_one_kind_of_need_serves_the_session_alone(system: System, endpoint: TokenEndpoint) -> None:
    put(system, client())
    assert await system.sessions.meet(ROOM, OWNER, need(SessionKind.BEARER_TOKEN)) is None
    assert not endpoint.requests
