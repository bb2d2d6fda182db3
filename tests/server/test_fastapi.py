"""Valetkey in somebody's own FastAPI app."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, WebSocket
from starlette.types import Message, Receive, Scope, Send

from tests.web.asgi import Answer, drive, scope_of
from valetkey import UserInfo, current_user, mount_valetkey, optional_user, parse_token, require, require_scope
from valetkey.entrypoints.fastapi import Mounted
from valetkey.errors import CouldNotTell, InvalidArguments, InvalidSetting, Unauthenticated
from valetkey.model.caller import OURS, Owner
from valetkey.model.tokens import TokenKind
from valetkey.model.users import UserPermission, create_scope
from valetkey.wiring import build

BASE = "http://127.0.0.1:8000"
IN_MEMORY: dict[str, Any] = {"session": {"session_type": "in_memory"}}
User = Annotated[UserInfo, Depends(current_user)]


def app_with(prefix: str = "", **settings: Any) -> tuple[FastAPI, Mounted]:
    """An app with routes of every kind."""
    app = FastAPI()

    @app.get("/before")
    async def before(user: User) -> str:
        return user.id

    mounted = mount_valetkey(app, prefix=prefix, **IN_MEMORY, **settings)

    @app.get("/me")
    async def me(user: User) -> str:
        return user.id

    @app.get("/sync")
    def sync(user: User) -> str:
        return user.id

    @app.get("/perhaps")
    async def perhaps(user: Annotated[UserInfo | None, Depends(optional_user)]) -> str:
        return user.id if user else "nobody"

    @app.post("/write")
    async def write(user: Annotated[UserInfo, Depends(require("ws-user-ada#rw"))]) -> str:
        return user.id

    @app.get("/bills", dependencies=[Depends(require_scope("billing:read"))])
    async def bills() -> str:
        return "bills"

    @app.websocket("/socket")
    async def socket(websocket: WebSocket, user: User) -> None:
        await websocket.accept()
        await websocket.send_text(user.id)
        await websocket.close()

    return app, mounted


@asynccontextmanager
async def alive(app: FastAPI) -> AsyncIterator[None]:
    """The app, between its startup and its shutdown."""
    async with app.router.lifespan_context(app):
        yield
    await asyncio.to_thread(build.use, None)


@pytest.fixture(autouse=True)
def closed() -> Any:
    yield
    build.use(None)


async def ask(app: FastAPI, path: str, token: str = "", method: str = "GET", **headers: str) -> Answer:
    given = {"host": "127.0.0.1:8000", **headers, **({"authorization": f"Bearer {token}"} if token else {})}
    here = asyncio.get_running_loop()

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            assert asyncio.get_running_loop() is here, "an app is answered on the loop that asks"
            await send(message)

        await app(scope, receive, sent)

    return await drive(watched, scope_of(method, path, headers=given.items()), b"")


async def token_of(mounted: Mounted, name: str = "ada", *extra: str, permission: str = "a") -> str:
    scope = create_scope(f"ws-user-{name}#{permission}", extra_scopes=extra)
    user = UserInfo(id=name, roles=[], scope=scope)
    owner = Owner(workspace=f"ws-user-{name}", issuer=OURS, subject=name)
    issue = mounted.identity.tokens.issue
    secret, _ = await mounted.system.home.run(lambda: issue(TokenKind.API_KEY, user, owner))
    return secret.reveal()


@pytest.mark.requirement("C8.mount")
@pytest.mark.parametrize("lifespan", [True, False], ids=["on the app's loop", "without a lifespan"])
async def test_routes_of_every_kind_know_their_user(*, lifespan: bool) -> None:
    app, mounted = app_with()
    async with alive(app) if lifespan else asyncio.timeout(30):
        token = await token_of(mounted)
        for path in ("/before", "/me", "/sync", "/perhaps"):
            assert json.loads((await ask(app, path, token)).body) == "ada", path
        assert (await ask(app, "/perhaps")).text == '"nobody"'
        assert (await ask(app, "/sign-in")).status == 200
        assert (await ask(app, "/account")).header("location") == "/sign-in?next=/account"


async def test_without_a_credential_it_is_401_and_with_a_bad_one_too() -> None:
    app, mounted = app_with()
    async with alive(app):
        token = await token_of(mounted)
        for path in ("/me", "/sync", "/before", "/bills"):
            nothing = await ask(app, path)
            assert (nothing.status, nothing.header("www-authenticate")) == (401, 'Bearer realm="valetkey"')
            assert "detail" in json.loads(nothing.body)
            bad = await ask(app, path, f"{token}x")
            assert bad.status == 401
            assert 'error="invalid_token"' in (bad.header("www-authenticate") or "")
        assert (await ask(app, "/perhaps", f"{token}x")).status == 401


@pytest.mark.requirement("C8.mount")
async def test_permissions_and_scopes() -> None:
    app, mounted = app_with()
    async with alive(app):
        expected = {
            ("ada", "a"): 200,
            ("ada", "rw"): 200,
            ("bob", "a"): 403,
        }
        for (name, permission), status in expected.items():
            token = await token_of(mounted, name, permission=permission)
            assert (await ask(app, "/write", token, "POST")).status == status, (name, permission)
        purpose = await token_of(mounted, "ada", "billing:read")
        assert (await ask(app, "/write", purpose, "POST")).status == 403
        assert (await ask(app, "/bills", purpose)).status == 200
        assert (await ask(app, "/bills", await token_of(mounted))).status == 403
        assert (await ask(app, "/write", method="POST")).status == 401


async def test_two_issuers_users_of_one_id_are_not_both_let_into_one_workspace() -> None:
    app, mounted = app_with()
    async with alive(app):
        await mounted.identity.plugin.register_auth_service(
            parse_token=lambda text: UserInfo(id="ada", roles=[]) if text == "a-key-of-theirs" else None
        )
        first = (await ask(app, "/write", await token_of(mounted), "POST")).status
        second = (await ask(app, "/write", "a-key-of-theirs", "POST")).status
        assert (first, second) == (200, 403)


async def test_what_an_app_does_to_its_user_is_not_remembered_for_the_next_request() -> None:
    app, mounted = app_with()

    @app.get("/elevate")
    async def elevate(user: User) -> None:
        user.roles.append("admin")
        assert user.scope is not None
        user.scope.workspaces["*"] = UserPermission.admin

    async with alive(app):
        token = await token_of(mounted, "bob")
        assert (await ask(app, "/write", token, "POST")).status == 403
        assert (await ask(app, "/elevate", token)).status == 200
        assert (await ask(app, "/write", token, "POST")).status == 403


@pytest.mark.parametrize("text", ["ws", "ws#", "#rw", "ws#write", ""])
def test_a_permission_that_is_none_is_refused_where_it_is_written(text: str) -> None:
    with pytest.raises(InvalidArguments):
        require(text)


@pytest.mark.requirement("C8.mount")
async def test_websockets() -> None:
    app, mounted = app_with()
    async with alive(app):
        token = await token_of(mounted)

        async def knock(headers: list[tuple[bytes, bytes]]) -> list[Message]:
            scope = {**scope_of(path="/socket"), "type": "websocket", "scheme": "ws", "subprotocols": []}
            scope["headers"] = [(b"host", b"127.0.0.1:8000"), *headers]
            sent: list[Message] = []
            received: list[Message] = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}]

            async def receive() -> Message:
                return received.pop(0)

            async def send(message: Message) -> None:
                sent.append(message)

            await app(scope, receive, send)
            return sent

        taken = await knock([(b"authorization", f"Bearer {token}".encode())])
        assert [message["type"] for message in taken] == ["websocket.accept", "websocket.send", "websocket.close"]
        assert taken[1]["text"] == "ada"
        (refused,) = await knock([])
        assert (refused["type"], refused["code"]) == ("websocket.close", 4401)


@pytest.mark.requirement("d.ports-app", "C8.mount")
async def test_links_lead_to_the_app_and_no_port_is_opened() -> None:
    app, mounted = app_with(prefix="/keys/", public_base_url="https://my-app.example")
    async with alive(app):
        links = build.default().links
        assert mounted.system is build.default()
        assert links.personal
        assert links.server is None
        assert links.pages == "https://my-app.example/keys"
        host = {"host": "my-app.example"}
        assert (await ask(app, "/keys/sign-in", **host)).status == 200
        assert (await ask(app, "/keys/", **host)).header("location") == "/keys/account"
        assert (await ask(app, "/keys/account", **host)).header("location") == "/keys/sign-in?next=/keys/account"
        assert (await ask(app, "/sign-in", **host)).status == 404
        assert (await ask(app, "/keys/sign-in", host="evil.example")).status == 421


async def test_the_apps_own_routes_stay_where_they_were() -> None:
    app, _ = app_with()

    @app.get("/")
    async def root() -> str:
        return "mine"

    async with alive(app):
        assert (await ask(app, "/")).text == '"mine"'
        assert (await ask(app, "/nothing")).text == '{"detail":"Not Found"}'
        assert (await ask(app, "/health")).status == 404


@pytest.mark.requirement("seed004.bp-documentation")
async def test_openapi_says_how_to_sign_in() -> None:
    app, _ = app_with()
    spec = app.openapi()
    assert spec["components"]["securitySchemes"]["Valetkey"]["scheme"] == "bearer"
    assert spec["paths"]["/me"]["get"]["security"] == [{"Valetkey": []}]
    assert "/sign-in" not in spec["paths"]


async def test_the_apps_own_lifespan_goes_on_and_the_app_may_start_again() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, str]]:
        seen.append("up")
        yield {"mine": "kept"}
        seen.append("down")

    app = FastAPI(lifespan=lifespan)
    mounted = mount_valetkey(app, **IN_MEMORY)
    for _ in range(2):
        async with app.router.lifespan_context(app) as state:
            assert state == {"mine": "kept"}
            assert (await ask(app, "/sign-in")).status == 200
            await token_of(mounted)
    assert seen == ["up", "down"] * 2


async def test_an_app_that_mounts_nothing_is_told_so() -> None:
    app = FastAPI()

    @app.get("/me")
    async def me(user: User) -> str:
        return user.id

    with pytest.raises(Exception, match="mount_valetkey"):
        await ask(app, "/me")


def test_a_wrong_setting_is_refused_where_it_is_mounted() -> None:
    with pytest.raises(InvalidSetting, match="jwt_secret"):
        mount_valetkey(FastAPI(), jwt_secret="short")
    with pytest.raises(InvalidSetting, match="jwt_secrt"):
        mount_valetkey(FastAPI(), identity={"jwt_secrt": "x"})


def test_fastapi_loads_with_the_first_use_only() -> None:
    code = (
        "import sys, valetkey; from valetkey import UserInfo, create_scope, Pocket\n"
        "assert 'fastapi' not in sys.modules\nfrom valetkey import mount_valetkey\nassert 'fastapi' in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0


async def test_an_app_that_was_dropped_is_asked_for_no_token() -> None:
    mount_valetkey(FastAPI(), session={"session_type": "in_memory"})
    with pytest.raises(Unauthenticated):
        await parse_token("unknown")
    build.use(None)
    with pytest.raises(CouldNotTell, match="No Valetkey server runs"):
        await parse_token("unknown")
