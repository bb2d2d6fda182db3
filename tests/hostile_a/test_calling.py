"""Who is calling: what a hostile reader could do that the issue, its contract and its decisions rule out."""

import asyncio
import json
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI

from tests.server.rooms import serve
from tests.server.test_fastapi import IN_MEMORY, alive, ask, token_of
from tests.services.conftest import place as place  # noqa: PLC0414 - the fixture
from tests.services.kit import ROOT_TOKEN, Place, bearer
from valetkey import UserInfo, current_user, mount_valetkey, require
from valetkey.model.caller import OURS, Owner
from valetkey.model.tokens import TokenKind
from valetkey.model.users import UserPermission, create_scope
from valetkey.model.workspaces import PUBLIC
from valetkey.wiring import build

JSON = {"content-type": "application/json"}
KEY = "sk_live_abcdefgh"
MANAGER = f"/{PUBLIC}/services/ws"


async def post(client: Any, path: str, bearing: str = "", /, **arguments: Any) -> Any:
    headers = {**JSON, **(bearer(bearing) if bearing else {})}
    return await client.post(path, content=json.dumps(arguments), headers=headers)


async def token_for(place: Place, name: str, *, scopes: tuple[str, ...] = ()) -> str:
    workspace = f"ws-user-{name}"
    scope = create_scope({workspace: "a"}, current_workspace=workspace if scopes else None, extra_scopes=scopes)
    user = UserInfo(id=name, roles=[], scope=scope)
    owner = Owner(workspace=workspace, issuer=OURS, subject=name)
    secret, _ = await place.tokens.issue(TokenKind.ACCESS, user, owner, expires_in=600)
    return secret.reveal()


def u1(text: str) -> UserInfo | None:
    """A parser like the seed's: its users have no expires_at."""
    return UserInfo(id="u1", roles=[]) if text == KEY else None


# --- revocation


async def test_a_child_of_a_parsers_token_without_an_end_ends_with_it(place: Place):
    """Issue 3, contract part 4 row 5: revocation is by parent. The seed's API keys have no expires_at."""
    client = await place.serve()
    await place.plugin.register_auth_service(parse_token=u1)
    made = await post(client, f"{MANAGER}/generate_token", KEY, config={"workspace": "ws-user-u1"})
    child = made.json()
    assert (await post(client, f"{MANAGER}/list_tokens", child)).status_code == 200
    assert (await post(client, f"{MANAGER}/revoke_token", ROOT_TOKEN, token=KEY)).status_code == 200
    assert (await post(client, f"{MANAGER}/list_tokens", KEY)).status_code == 401
    assert (await post(client, f"{MANAGER}/list_tokens", child)).status_code == 401


async def test_a_login_reported_with_a_parsers_token_without_an_end_ends_with_it(place: Place):
    """The same road by `report(key, token, workspace=...)`."""
    client = await place.serve()
    await place.plugin.register_auth_service(parse_token=u1)
    login = f"/{PUBLIC}/services/hypha-login"
    key = (await post(client, f"{login}/start")).json()["key"]
    await post(client, f"{login}/report", key=key, token=KEY, workspace="ws-user-u1")
    given = (await post(client, f"{login}/check", key=key)).json()
    await post(client, f"{MANAGER}/revoke_token", ROOT_TOKEN, token=KEY)
    assert (await post(client, f"{MANAGER}/list_tokens", given)).status_code == 401


# --- two issuers never meet


async def test_a_service_for_one_issuers_user_is_closed_to_another_issuers_user_of_that_id(place: Place):
    """J-40, decision 21: a parser's alice is not our alice, and shares no workspace with her."""
    client = await place.serve()
    await place.plugin.register_auth_service(
        parse_token=lambda text: UserInfo(id="alice", roles=[]) if text == KEY else None
    )
    ours = await token_for(place, "alice")
    await place.workspaces.ensure(await place.identify(ours), "ws-user-alice")
    config = {"visibility": "protected", "authorized_workspaces": ["ws-user-alice"]}
    service = {"id": "safe", "type": "functions", "config": config, "open": lambda: "hers"}
    place.table.register(service, workspace=PUBLIC)
    assert (await post(client, f"/{PUBLIC}/services/safe/open", ours)).status_code == 200
    assert (await post(client, f"/{PUBLIC}/services/safe/open", KEY)).status_code == 403


async def test_two_issuers_users_of_one_id_are_not_both_let_into_one_workspace():
    """The same under mount_valetkey: nothing ever makes the workspace, so nothing tells whose it is."""
    app = FastAPI()
    mounted = mount_valetkey(app, **IN_MEMORY)

    @app.get("/hers", dependencies=[Depends(require("ws-user-alice#rw"))])
    async def hers() -> str:
        return "hers"

    async with alive(app):
        await mounted.identity.plugin.register_auth_service(
            parse_token=lambda text: UserInfo(id="alice", roles=[]) if text == KEY else None
        )
        first = (await ask(app, "/hers", await token_of(mounted, "alice"))).status
        second = (await ask(app, "/hers", KEY)).status
        assert (first, second) == (200, 403)


async def test_a_parsers_child_token_opens_no_workspace_that_a_local_user_made_later(place: Place):
    """A parser speaks for its own users' workspaces only; a token made of one of theirs is no wider."""
    client = await place.serve()
    scope = create_scope({"team-x": UserPermission.admin})
    await place.plugin.register_auth_service(
        parse_token=lambda text: UserInfo(id="u1", roles=[], scope=scope) if text == KEY else None
    )
    made = (await post(client, "/team-x/services/ws/generate_token", KEY, config={"workspace": "team-x"})).json()
    child = await place.identify(made)
    _, ada = await place.signed_in("ada")
    await place.workspaces.create(ada, "team-x")
    assert await place.workspaces.permission(await place.identify(KEY), "team-x") is None
    assert await place.workspaces.permission(child, "team-x") is None


# --- never wider


async def test_a_token_for_one_purpose_opens_no_protected_service(place: Place):
    """Contract 1.1, 1.5: reject specialised, as `require` and policy do."""
    client = await place.serve()
    narrow = await token_for(place, "ada", scopes=("billing:read",))
    place.table.register({"id": "calc", "type": "functions", "one": lambda: 1}, workspace="ws-user-ada")
    assert (await post(client, "/ws-user-ada/services/calc/one", narrow)).status_code == 403


async def test_a_token_for_one_purpose_revokes_no_others(place: Place):
    client = await place.serve()
    narrow, other = await token_for(place, "ada", scopes=("billing:read",)), await token_for(place, "eve")
    await post(client, f"{MANAGER}/revoke_token", narrow, token=other)
    assert (await post(client, f"{MANAGER}/list_tokens", other)).status_code == 200


async def test_an_admins_narrowed_token_gives_its_children_no_other_persons_email(place: Place):
    """Who is narrowed is an admin no more; services of seed 004 let people in by their e-mail address."""
    client = await place.serve()
    config = {"workspace": "team-x", "permission": "admin"}
    boss = await place.access("boss", roles=("admin",))
    narrow = (await post(client, f"{MANAGER}/generate_token", boss, config=config)).json()
    asked = {"workspace": "team-x", "email": "ceo@example.com"}
    assert (await post(client, "/team-x/services/ws/generate_token", narrow, config=asked)).status_code == 403


# --- what is remembered


async def test_what_an_app_does_to_its_user_is_not_remembered_for_the_next_request():
    """The remembered verdict is handed out itself: one `user.roles.append(...)` lasts for the token's next calls."""
    app = FastAPI()
    mounted = mount_valetkey(app, **IN_MEMORY)

    @app.get("/elevate")
    async def elevate(user: Annotated[UserInfo, Depends(current_user)]) -> None:
        user.roles.append("admin")  # for this request
        assert user.scope is not None
        user.scope.workspaces["*"] = UserPermission.admin

    @app.get("/other", dependencies=[Depends(require("somebody-elses#a"))])
    async def other() -> str:
        return "open"

    async with alive(app):
        token = await token_of(mounted)
        assert (await ask(app, "/other", token)).status == 403
        await ask(app, "/elevate", token)
        assert (await ask(app, "/other", token)).status == 403


# --- register_auth_service


async def test_generate_token_uses_the_registered_generator(place: Place):
    """Contract 1.2: generate_auth_token is the custom function's; with exclusive ours is a token that nobody knows."""
    client = await place.serve()
    users = {KEY: UserInfo(id="bob", roles=[])}

    def generate(user: UserInfo, expires_in: int) -> str:
        users[f"mine-{len(users)}-token"] = user
        return f"mine-{len(users) - 1}-token"

    def parse(text: str) -> UserInfo:
        if text not in users:
            raise ValueError("Invalid token")
        return users[text]

    await place.plugin.register_auth_service(parse_token=parse, generate_token=generate, exclusive=True)
    made = (await post(client, "/ws-user-bob/services/ws/generate_token", KEY)).json()
    assert (await post(client, f"{MANAGER}/list_tokens", made)).status_code == 200


async def test_a_get_token_that_finds_none_leaves_a_browser_anonymous():
    """Contract 1.2: returning None = anonymous. A browser that signed in here is refused as if by another site."""
    async with serve() as served:
        await served.identity.plugin.register_auth_service(get_token=lambda scope: None)
        headers = {"cookie": "valetkey=vks_whatever", "sec-fetch-site": "same-origin"}
        assert (await served.ask("GET", "/public/services/", headers=headers)).status == 200


@pytest.mark.parametrize("kind", ["text", "dump"])
async def test_a_parser_that_breaks_in_an_odd_way_is_401(place: Place, kind: str):
    """Decision 22; contract part 4 row 10."""

    class Odd(ValueError):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    class Other(UserInfo):
        def model_dump(self, **_: Any) -> dict[str, Any]:  # type: ignore[override]
            raise KeyError("id")

    def parse(_: str) -> UserInfo:
        if kind == "text":
            raise Odd
        return Other(id="u1", roles=[])

    client = await place.serve()
    await place.plugin.register_auth_service(parse_token=parse)
    assert (await post(client, f"{MANAGER}/list_tokens", KEY)).status_code == 401


# --- services


@pytest.mark.parametrize("data", ['"\\ud800"', "[" * 500 + "]" * 500], ids=["half a pair", "deep"])
async def test_bad_input_to_a_function_of_ours_is_never_a_500(place: Place, data: str):
    client = await place.serve()
    answer = await client.post(f"{MANAGER}/echo", content=f'{{"data": {data}}}'.encode(), headers=JSON)
    assert answer.status_code < 500


async def test_a_service_whose_own_task_was_cancelled_is_a_500_with_its_detail(place: Place):
    """Decision 27: any other exception is 500 with {success: false, detail}; here it leaves the app."""

    async def ask_elsewhere() -> None:
        task = asyncio.create_task(asyncio.sleep(60))
        task.cancel()
        await task

    client = await place.serve()
    service = {"id": "calc", "type": "functions", "config": {"visibility": "public"}, "ask": ask_elsewhere}
    place.table.register(service, workspace=PUBLIC)
    try:
        answer = await post(client, f"/{PUBLIC}/services/calc/ask")
    except asyncio.CancelledError:
        pytest.fail("it left the app")
    assert (answer.status_code, answer.json()["success"]) == (500, False)


async def test_a_users_own_workspace_is_made_on_first_use():
    """Issue 1: workspaces are made on first use; nothing but tests calls `Workspaces.ensure`."""
    async with serve() as served:
        token = await served.token("ada")
        assert (await served.ask("GET", "/ws-user-ada/info", headers=bearer(token))).status == 200


async def test_the_profile_page_of_the_login_service_redirects(place: Place):
    """Contract 1.3: `profile` -> 302. Ours answers 404 under apps, and a JSON of a redirect under services."""
    client = await place.serve()
    assert (await client.get(f"/{PUBLIC}/apps/hypha-login/profile")).status_code in {302, 303, 307}


@pytest.fixture(autouse=True)
def closed() -> Any:
    yield
    build.use(None)
