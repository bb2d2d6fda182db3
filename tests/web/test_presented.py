"""One credential a request: where it may stand, and what is refused before anybody is asked."""

import base64
from typing import Any

import pytest
from starlette.requests import HTTPConnection

from tests.web.asgi import scope_of
from valetkey.entrypoints.web.hosts import by_https
from valetkey.entrypoints.web.presented import client_address, presented
from valetkey.errors import InvalidAnswer, Unauthenticated
from valetkey.model.calls import BEARER, NOTHING, SESSION, Presented
from valetkey.secret import Secret

KEY = f"vk_{'i' * 22}_{'s' * 43}_{'c' * 6}"
JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
HOST = ("host", "localhost:8000")


async def look(*headers: tuple[str, str], query: str = "", method: str = "GET", **about: Any) -> Presented:
    scope = scope_of(method, "/services", query=query, headers=[HOST, *headers])
    return await presented(HTTPConnection(scope), **{"secure": False, **about})


def basic(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


@pytest.mark.requirement("seed004.http-bearer", "d30.carriers", "J-35")
@pytest.mark.parametrize(
    "header",
    [f"Bearer {JWT}", f"bearer {JWT}", f"BEARER   {JWT}", JWT, basic(f"git:{JWT}"), basic(f":{JWT}"), f" {JWT} "],
)
async def test_a_token_may_come_as_bearer_bare_or_as_a_password(header: str) -> None:
    shown = await look(("authorization", header))
    assert shown == Presented(scheme=BEARER, value=Secret(JWT), address="127.0.0.1")


async def test_a_password_may_hold_colons() -> None:
    assert (await look(("authorization", basic("me:oauth:a:b")))).value == Secret("oauth:a:b")


@pytest.mark.requirement("J-35")
@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "bearer",
        "Bearer ",
        "Basic",
        "Bearer\tabc",
        "Bearer a, Bearer b",
        "Bearer a,b",
        "Bearer a b",
        "a b",
        "Digest username=x",
        "DPoP abc",
        "Basic !!!",
        basic("nopassword"),
        basic("me:"),
        basic("me:pass word"),
        "Basic " + base64.b64encode(b"me:\xff").decode(),
        "Bearer caf\xe9",
        "Bearer a\x00b",
        "Bearer " + "x" * 16_385,
    ],
)
async def test_a_header_that_names_no_single_token_is_refused(header: str) -> None:
    with pytest.raises(Unauthenticated):
        await look(("authorization", header))


@pytest.mark.requirement("J-35")
async def test_two_authorization_headers_are_refused() -> None:
    with pytest.raises(Unauthenticated, match="more than one"):
        await look(("authorization", f"Bearer {KEY}"), ("authorization", f"Bearer {JWT}"))


@pytest.mark.requirement("d30.carriers", "J-36", "A-04")
@pytest.mark.parametrize(
    "query",
    [
        "access_token=anything",
        "ACCESS_TOKEN=x",
        "access-token=x",
        f"api_key={KEY}",
        f"x={KEY}",
        f"token={JWT}",
        f"a=1&next=%2Fp%3Fk%3D{KEY}",
    ],
)
async def test_a_token_in_the_address_is_refused_though_the_header_is_good(query: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await look(("authorization", f"Bearer {KEY}"), query=query)
    assert KEY not in str(caught.value)
    assert JWT not in str(caught.value)


@pytest.mark.parametrize("query", ["token=3", "key=AbC123AbC123AbC123AbC1", f"code={JWT}", "q=vk_short", "a=b;c"])
async def test_what_only_looks_a_little_like_a_token_is_let_through(query: str) -> None:
    assert (await look(query=query)).scheme == NOTHING


@pytest.mark.requirement("A-18")
@pytest.mark.parametrize(("secure", "name"), [(True, "__Host-valetkey"), (False, "valetkey")])
async def test_the_session_cookie_has_one_name_with_https_and_another_without(secure: bool, name: str) -> None:
    shown = await look(("cookie", f"other=1; {name}=abc"), secure=secure)
    assert (shown.scheme, shown.value) == (SESSION, Secret("abc"))
    other = {"__Host-valetkey", "valetkey"} - {name}
    assert (await look(("cookie", f"{other.pop()}=abc"), secure=secure)).scheme == NOTHING


@pytest.mark.requirement("d30.carriers", "A-06")
async def test_an_authorization_header_goes_before_a_session() -> None:
    shown = await look(("cookie", "valetkey=abc"), ("authorization", f"Bearer {KEY}"))
    assert shown == Presented(scheme=BEARER, value=Secret(KEY), address="127.0.0.1")


@pytest.mark.requirement("A-06")
@pytest.mark.parametrize("where", [[("cookie", "valetkey=a; valetkey=b")], [("cookie", "valetkey=a")] * 2])
async def test_two_sessions_are_one_too_many_and_the_same_one_twice_is_fine(where: list[tuple[str, str]]) -> None:
    if len(where) == 1:
        with pytest.raises(InvalidAnswer, match="more than one credential"):
            await look(*where)
    else:
        assert (await look(*where)).value == Secret("a")


@pytest.mark.parametrize(
    ("method", "calls", "headers", "counts"),
    [
        ("GET", False, {"sec-fetch-site": "cross-site"}, True),
        ("GET", True, {"sec-fetch-site": "cross-site"}, False),
        ("GET", True, {"sec-fetch-site": "same-site"}, False),
        ("GET", True, {"sec-fetch-site": "same-origin"}, True),
        ("GET", True, {"sec-fetch-site": "none"}, True),
        ("GET", True, {}, False),
        ("POST", False, {"sec-fetch-site": "cross-site"}, False),
        ("POST", False, {"sec-fetch-site": "same-site"}, False),
        ("POST", False, {"sec-fetch-site": "same-origin"}, True),
        ("POST", False, {"origin": "http://localhost:8000"}, True),
        ("POST", False, {"origin": "http://localhost:9000"}, False),
        ("POST", False, {"origin": "null"}, False),
        ("POST", False, {}, True),
    ],
)
async def test_a_session_counts_only_where_no_other_site_can_be_behind_the_request(
    method: str, calls: bool, headers: dict[str, str], counts: bool
) -> None:
    shown = await look(("cookie", "valetkey=abc"), *headers.items(), method=method, calls=calls)
    assert (shown.scheme == SESSION) is counts


@pytest.mark.parametrize(("headers", "counts"), [({}, False), ({"origin": "http://localhost:8000"}, True)])
async def test_a_socket_takes_a_session_from_our_own_page_only(headers: dict[str, str], counts: bool) -> None:
    scope = scope_of("GET", "/ws", headers=[HOST, ("cookie", "valetkey=abc"), *headers.items()])
    shown = await presented(HTTPConnection({**scope, "type": "websocket", "scheme": "ws"}), secure=False)
    assert (shown.scheme == SESSION) is counts


class Plugin:
    finds = True

    async def get_token(self, scope: Any) -> str | None:
        return dict(scope["headers"]).get(b"x-token", b"").decode() or None


@pytest.mark.requirement("seed004.get-token")
async def test_a_host_programs_get_token_alone_finds_the_token() -> None:
    plugin: Any = Plugin()
    shown = await look(("x-token", "SAML: mine"), ("authorization", f"Bearer {KEY}"), plugin=plugin)
    assert (shown.scheme, shown.value) == (BEARER, Secret("SAML: mine"))
    assert (await look(("authorization", f"Bearer {KEY}"), plugin=plugin)).scheme == NOTHING
    with pytest.raises(Unauthenticated):
        await look(("x-token", "x" * 20_000), plugin=plugin)


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "address"),
    [
        ("203.0.113.9", "1.2.3.4", (), "203.0.113.9"),
        ("203.0.113.9", "1.2.3.4", ("10.0.0.1",), "203.0.113.9"),
        ("10.0.0.1", "1.2.3.4", ("10.0.0.1",), "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4", ("10.0.0.1",), "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.7", ("10.0.0.0/8",), "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, what, 10.0.0.7", ("10.0.0.0/8",), "10.0.0.7"),
        ("10.0.0.1", "1.2.3.4:5678", ("10.0.0.1",), "1.2.3.4"),
        ("10.0.0.1", "[2001:db8::1]:443", ("10.0.0.1",), "2001:db8::1"),
        ("::ffff:10.0.0.1", "1.2.3.4", ("10.0.0.1",), "1.2.3.4"),
        ("10.0.0.1", None, ("10.0.0.1",), "10.0.0.1"),
        ("10.0.0.1", "", ("10.0.0.1",), "10.0.0.1"),
        ("10.0.0.1", "10.0.0.2", ("10.0.0.0/8",), "10.0.0.2"),
    ],
)
def test_only_proxies_that_are_trusted_say_who_is_behind_them(
    peer: str, forwarded: str | None, trusted: tuple[str, ...], address: str
) -> None:
    headers = [HOST] if forwarded is None else [HOST, ("x-forwarded-for", forwarded)]
    scope = scope_of(headers=headers) | {"client": (peer, 1)}
    assert client_address(scope, trusted) == address


def test_without_a_socket_there_is_no_address() -> None:
    assert client_address(scope_of() | {"client": None}, ("127.0.0.1",)) == ""


@pytest.mark.parametrize(
    ("base_url", "scheme", "secure"),
    [
        ("https://tools.example", "http", True),
        ("http://tools.example", "https", False),
        ("https://localhost:8001", "http", False),
        ("https://localhost:8001", "https", True),
    ],
)
def test_the_public_address_tells_whether_a_browser_came_by_https(base_url: str, scheme: str, secure: bool) -> None:
    assert by_https(HTTPConnection(scope_of(scheme=scheme)), base_url) is secure
