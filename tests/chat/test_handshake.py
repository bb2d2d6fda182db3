"""Who may open the chat's WebSocket: by page, by name, by the app's own sign-in, by ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from fastapi import Cookie, Depends, FastAPI, Header, HTTPException, Request, Response, Security, WebSocket
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from starlette.requests import HTTPConnection
from websockets.exceptions import InvalidStatus

from tests.chat.live import Live, live
from valetkey import UserInfo, current_user
from valetkey.entrypoints.chat.handshake import cookie_name
from valetkey.entrypoints.chat.session import ChatSession
from valetkey.entrypoints.chat.visitors import vouched
from valetkey.errors import ConfigurationError, CouldNotTell
from valetkey.identity.verifiers.vouched import CHAT
from valetkey.model.caller import CHAT_USERS, OURS, Owner
from valetkey.model.tokens import TokenKind
from valetkey.model.users import create_scope

PATH = "/bedrock-chat/ws"


async def refused(chat: Live, **about: Any) -> tuple[int, Any]:
    """Status and detail of a handshake that is refused."""
    headers = {name: about.pop(name) for name in ("cookie", "authorization", "x-key") if name in about}
    headers.update(about.pop("headers", {}))
    with pytest.raises(InvalidStatus) as caught:
        await chat.raw(about.pop("path", PATH), additional_headers=headers, **about)
    response = caught.value.response
    body = bytes(response.body or b"")
    is_ours = response.headers.get("content-type") == "application/json"
    return response.status_code, json.loads(body)["detail"] if is_ours else body.decode()


def session_of(chat: Live, session_id: str) -> ChatSession:
    found = chat.plugin.session_manager.get(session_id)
    assert found is not None
    return found


async def token_of(chat: Live, name: str = "ada", *extra: str) -> str:
    """A token of ours."""
    mounted = chat.plugin.chat.mounted
    owner = Owner(workspace=f"ws-user-{name}", issuer=OURS, subject=name)
    issue = mounted.identity.tokens.issue
    user = UserInfo(id=name, roles=[], scope=create_scope(f"ws-user-{name}#a", extra_scopes=extra))
    secret, _ = await mounted.system.home.run(lambda: issue(TokenKind.API_KEY, user, owner))
    return secret.reveal()


@pytest.fixture
async def chat() -> AsyncIterator[Live]:
    async with live() as found:
        yield found


@pytest.mark.requirement("fault.origin", "W-01")
async def test_pages_of_other_origins_are_refused_before_anything_is_read(chat: Live) -> None:
    foreign = [
        "https://evil.example",
        "null",
        f"http://127.0.0.1:{chat.port}.evil.example",
        f"http://127.0.0.1:{chat.port + 1}",
        f"http://localhost:{chat.port + 1}",
        f"http://localhost.evil.example:{chat.port}",
        "http://127.0.0.1",
    ]
    for origin in foreign:
        status, detail = await refused(chat, origin=origin)
        assert status == 403, origin
        assert "cors_origins" in detail
    assert (await refused(chat, headers={"origin": chat.url}, origin="https://evil.example"))[0] in {400, 403}
    assert (await chat.open(origin=chat.url)).first["type"] == "connection_established"
    assert len(chat.plugin.session_manager) == 1
    # Two names of this machine are one, but no cookie counts.
    other = await chat.open(origin=f"http://localhost:{chat.port}", cookie=f"{cookie_name(secure=False)}={'a' * 43}")
    assert session_of(chat, other.id).brought is False


@pytest.mark.requirement("fault.origin", "W-01", "D.browser")
async def test_a_cookie_that_signs_in_needs_an_origin_and_ours_alone_does_not(chat: Live) -> None:
    assert (await refused(chat, cookie="valetkey=vks_1"))[0] == 403
    assert (await refused(chat, cookie="__Host-valetkey=vks_1"))[0] == 403
    # A cookie of the app's own says nothing where the app does not ask; nor does ours without a page.
    client = await chat.open(cookie=f"app=1; {cookie_name(secure=False)}={'a' * 43}")
    assert session_of(chat, client.id).brought is False


@pytest.mark.requirement("W-01")
async def test_with_a_sign_in_of_the_apps_any_cookie_needs_an_origin() -> None:
    async def user(app: Annotated[str, Cookie()] = "") -> str:
        return app

    async with live(auth_dependency=user) as chat:
        assert (await refused(chat, cookie="app=ada"))[0] == 403
        client = await chat.open(cookie="app=ada", origin=chat.url)
        assert session_of(chat, client.id).owner.subject == f"{PATH}#user:ada"


@pytest.mark.requirement("fault.dead-settings", "W-01", "W-16")
async def test_origins_that_are_named_may_come_with_cookies_and_all_others_not() -> None:
    async def user(app: Annotated[str, Cookie()] = "") -> str | None:
        return app or None

    friends = "https://friend.example, https://other.example:8443"
    async with live(cors_origins=friends, auth_dependency=user) as chat:
        client = await chat.open(cookie="app=ada", origin="https://other.example:8443")
        assert session_of(chat, client.id).owner.subject == f"{PATH}#user:ada"
        assert (await refused(chat, cookie="app=ada", origin="https://other.example"))[0] == 403
        assert (await refused(chat, cookie="app=ada", origin="null"))[0] == 403
    async with live(cors_origins=["*"], auth_dependency=user) as chat:
        status, detail = await refused(chat, cookie="app=ada", origin="https://evil.example")
        assert status == 403
        assert "cors_origins" in detail
        assert (await refused(chat, cookie="app=ada", origin="null"))[0] == 403
        assert (await chat.open(cookie="app=ada", origin=chat.url)).first["resumed"] is False
    async with live(cors_origins=["*"]) as chat:
        client = await chat.open(cookie=f"{cookie_name(secure=False)}={'a' * 43}", origin="https://any.example")
        assert session_of(chat, client.id).brought is False


@pytest.mark.requirement("W-15")
async def test_names_that_are_not_ours_are_refused(chat: Live) -> None:
    for host in ("evil.example", f"evil.example:{chat.port}", f"127.0.0.1.evil.example:{chat.port}"):
        status, detail = await refused(chat, named=host, origin=f"http://{host}")
        assert status == 421, host
        assert "public_base_url" in detail
    assert (await chat.open(named="localhost")).first["session_id"]


@pytest.mark.requirement("W-01")
async def test_a_public_address_and_hosts_of_the_settings_are_answered() -> None:
    toml = '[server]\nhosts = ["inner.example"]\n'
    async with live(public_base_url="https://chat.example", toml=toml) as chat:
        for host in ("chat.example", "inner.example"):
            assert (await chat.open(named=host, origin=f"https://{host}")).id
        assert (await chat.open(named="inner.example", origin="https://chat.example")).id, "a proxy changes the name"
        assert (await refused(chat, named="chat.example", origin="http://chat.example"))[0] == 403
        assert (await refused(chat, named="10.0.0.7"))[0] == 421


@pytest.mark.requirement("D.browser")
async def test_the_browser_gets_a_cookie_and_is_known_by_it(chat: Live) -> None:
    wire = await chat.raw(origin=chat.url)
    assert wire.response is not None
    given = wire.response.headers["set-cookie"]
    assert given.startswith("valetkey-chat=")
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= {part.strip() for part in given.split(";")}
    cookie = given.partition(";")[0]
    assert len(cookie.partition("=")[2]) == 43
    again = await chat.raw(additional_headers={"cookie": cookie}, origin=chat.url)
    assert again.response is not None
    assert "set-cookie" not in again.response.headers
    sessions = [seat.session for seat in chat.plugin.session_manager.seats()]
    assert sessions[0].browser == sessions[1].browser
    assert [session.brought for session in sessions] == [False, True]
    odd = await chat.raw(additional_headers={"cookie": f"{cookie}; valetkey-chat={'b' * 43}"}, origin=chat.url)
    assert odd.response is not None
    assert "set-cookie" in odd.response.headers, "of two, none is taken"


@pytest.mark.requirement("D.browser")
async def test_by_https_the_cookie_can_be_set_by_the_host_alone() -> None:
    async with live(public_base_url="https://chat.example") as chat:
        wire = await chat.raw(origin="https://chat.example", named="chat.example")
        assert wire.response is not None
        given = wire.response.headers["set-cookie"]
        assert given.startswith("__Host-valetkey-chat=")
        assert "Secure" in given
        assert "Domain" not in given


@pytest.mark.requirement("fault.user-id")
async def test_nobody_is_whom_the_address_says(chat: Live) -> None:
    client = await chat.open(f"{PATH}?user_id=admin")
    owner = session_of(chat, client.id).owner
    assert (owner.workspace, owner.subject) == (CHAT, client.id)


@pytest.mark.requirement("W-02", "D.own-users")
async def test_our_own_sign_in_counts_and_a_bad_one_is_none(chat: Live) -> None:
    token = await token_of(chat)
    known = await chat.open(headers={"authorization": f"Bearer {token}"})
    session = session_of(chat, known.id)
    assert session.owner == Owner(workspace="ws-user-ada", issuer=OURS, subject="ada")
    assert session.caller is not None
    bad = await chat.open(headers={"authorization": f"Bearer {token}x"})
    assert session_of(chat, bad.id).owner.workspace == CHAT
    assert session_of(chat, bad.id).caller is None
    purpose = await token_of(chat, "ada", "billing:read")
    narrow = await chat.open(headers={"authorization": f"Bearer {purpose}"})
    assert session_of(chat, narrow.id).owner.workspace == CHAT, "a token for one purpose is none for this"


@pytest.mark.requirement("W-02")
async def test_when_it_cannot_be_told_who_comes_nobody_is_taken_for_nobody(
    chat: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unsure(_: HTTPConnection) -> None:
        raise CouldNotTell("The issuer does not answer.")

    monkeypatch.setattr(chat.plugin.chat.mounted, "caller", unsure)
    assert (await refused(chat, authorization="Bearer good"))[0] == 503


@pytest.mark.requirement("D.own-users")
async def test_a_user_of_ours_whom_the_dependency_gives_is_that_user() -> None:
    async with live(auth_dependency=current_user) as chat:
        assert (await refused(chat))[0] == 401 or (await refused(chat))[0] == 403
        token = await token_of(chat)
        client = await chat.open(headers={"authorization": f"Bearer {token}"})
        session = session_of(chat, client.id)
        assert session.owner == Owner(workspace="ws-user-ada", issuer=OURS, subject="ada")
        assert session.caller is not None


@dataclass
class Row:
    email: str
    id: int = 7


USERS: list[tuple[Any, str | None]] = [
    ("ada", "user:ada"),
    (5, "user:5"),
    ({"user_id": "u1", "email": "a@example.com"}, "user_id:u1"),
    ({"sub": "s1", "email": "a@example.com"}, "sub:s1"),
    ({"email": "a@example.com", "id": 4}, "id:4"),
    ({"email": "a@example.com", "username": "ada"}, "email:a@example.com"),
    ({"username": "ada", "name": "Ada L."}, "username:ada"),
    ({"user": "ada"}, "user:ada"),
    ({"user": {"id": 7}}, "user.id:7"),
    ({"user_id": "", "id": 9}, None),
    ({"sub": None, "email": "a@example.com"}, None),
    ({"name": "Ada"}, "name:Ada"),
    (Row(email="a@example.com"), "id:7"),
    (UserInfo(id="forged-admin", roles=["admin"]), "id:forged-admin"),
    ("x" * 247, f"user:{'x' * 247}"),
    (None, None),
    (False, None),
    (True, None),
    ("", None),
    ("  ", None),
    ("a\nb", None),
    ("x" * 248, None),
    ({}, None),
    ([], None),
    (["ada"], None),
    (object(), None),
    (UserInfo(id="anonymous", roles=["anonymous"], is_anonymous=True), None),
]


@pytest.mark.requirement("d14.auth-dependency", "D.own-users")
@pytest.mark.parametrize(("value", "subject"), USERS, ids=[str(index) for index in range(len(USERS))])
def test_what_a_dependency_gives_is_a_user_or_nobody(value: Any, subject: str | None) -> None:
    found = vouched(value, "/ws")
    if subject is None:
        assert found is None
    else:
        assert found is not None
        # Whatever it is called, it is no user of ours and no thread of the program's.
        assert found.owner == Owner(workspace=CHAT_USERS, issuer="host", subject=f"/ws#{subject}")
        assert found.user is None


closed: list[str] = []


def database() -> Iterator[str]:
    closed.append("opened")
    try:
        yield "rows"
    finally:
        closed.append("closed")


async def scoped(scopes: SecurityScopes, key: Annotated[str, Security(APIKeyHeader(name="x-key"))]) -> str:
    return f"{key}:{scopes.scope_str}"


async def for_requests(
    request: Request,
    response: Response,
    bearer: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())],
    rows: Annotated[str, Depends(database)],
    x_tenant: Annotated[str, Header()] = "none",
) -> dict[str, str]:
    assert request.method == "GET"
    assert await request.body() == b""
    assert request.app is not None
    if bearer.credentials != "good":
        raise HTTPException(401, {"why": "bad token"}, {"WWW-Authenticate": "Bearer"})
    return {"sub": f"{bearer.credentials}-{rows}-{x_tenant}"}


def sync_user(connection: HTTPConnection) -> str | None:
    return connection.headers.get("x-key")


async def for_sockets(websocket: WebSocket) -> str | None:
    if websocket.headers.get("x-key") != "k":
        await websocket.close(code=1008)
        return None
    return "socket-user"


async def with_scopes(found: Annotated[str, Security(scoped, scopes=["chat"])]) -> str:
    return found


@pytest.mark.requirement("d14.auth-dependency", "W-02")
async def test_a_dependency_that_was_written_for_requests_works_at_the_handshake() -> None:
    closed.clear()
    async with live(auth_dependency=for_requests) as chat:
        assert (await refused(chat))[0] in {401, 403}
        status, detail = await refused(chat, authorization="Bearer bad")
        assert (status, detail) == (401, {"why": "bad token"})
        client = await chat.open(headers={"authorization": "Bearer good", "x-tenant": "t1"})
        assert session_of(chat, client.id).owner.subject == f"{PATH}#sub:good-rows-t1"
        assert closed.count("opened") == closed.count("closed") > 0


@pytest.mark.requirement("fault.dead-settings", "d14.auth-dependency")
@pytest.mark.parametrize(
    ("dependency", "subject"),
    [(sync_user, "k"), (for_sockets, "socket-user"), (with_scopes, "k:chat")],
    ids=["synchronous", "of a WebSocket", "with scopes"],
)
async def test_dependencies_of_every_kind(dependency: Any, subject: str) -> None:
    async with live(auth_dependency=dependency) as chat:
        assert (await refused(chat))[0] in {401, 403}
        client = await chat.open(headers={"x-key": "k"})
        assert session_of(chat, client.id).owner.subject == f"{PATH}#user:{subject}"


@pytest.mark.requirement("d14.auth-dependency")
async def test_a_dependency_that_breaks_lets_nobody_in_and_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> str:
        raise RuntimeError("secret of the database")

    async with live(auth_dependency=broken) as chat:
        status, detail = await refused(chat)
    assert status == 503
    assert "secret" not in detail
    assert "secret" not in caplog.text


@pytest.mark.requirement("d14.auth-dependency")
async def test_overrides_of_the_app_hold_for_the_chat_too() -> None:
    app = FastAPI()
    app.dependency_overrides[sync_user] = lambda: "overridden"
    async with live(app, auth_dependency=sync_user) as chat:
        client = await chat.open()
        assert session_of(chat, client.id).owner.subject == f"{PATH}#user:overridden"


async def test_a_dependency_that_wants_a_request_and_a_socket_is_refused_where_it_is_given() -> None:
    async def both(request: Request, other: Annotated[str, Depends(for_sockets)]) -> str:
        return other

    with pytest.raises(ConfigurationError, match="HTTPConnection"):
        async with live(auth_dependency=both):
            await asyncio.sleep(0)
