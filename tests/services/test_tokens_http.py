"""What callers do with their tokens over HTTP: children end with their parents, and nothing gets wider."""

import base64
import contextlib
import json
from typing import Any

import pytest

from tests.services.kit import ROOT_TOKEN, Place, bearer
from valetkey.errors import Denied, Unauthenticated
from valetkey.limits import REVOCATIONS_BY_USER
from valetkey.model.caller import OURS, Owner
from valetkey.model.tokens import TokenKind
from valetkey.model.users import UserInfo, UserPermission, create_scope
from valetkey.model.workspaces import PUBLIC
from valetkey.services.sight import Who

KEY = "sk_live_abcdefgh"
ALG = {"alg": "ES256", "typ": "JWT"}
MANAGER = f"/{PUBLIC}/services/ws"
LOGIN = f"/{PUBLIC}/services/hypha-login"


async def post(client: Any, path: str, bearing: str = "", /, **arguments: Any) -> Any:
    headers = {"content-type": "application/json", **(bearer(bearing) if bearing else {})}
    return await client.post(path, content=json.dumps(arguments), headers=headers)


async def token_for(place: Place, name: str, *, extra: tuple[str, ...] = ()) -> str:
    workspace = f"ws-user-{name}"
    scope = create_scope({workspace: "a"}, current_workspace=workspace if extra else None, extra_scopes=extra)
    user = UserInfo(id=name, roles=[], scope=scope)
    owner = Owner(workspace=workspace, issuer=OURS, subject=name)
    secret, _ = await place.tokens.issue(TokenKind.ACCESS, user, owner, expires_in=600)
    return secret.reveal()


async def parses(place: Place, name: str = "u1", text: str = KEY, **about: Any) -> None:
    """A parser like seed 004's: its users have no end."""
    await place.plugin.register_auth_service(
        parse_token=lambda given: UserInfo(id=name, roles=[], **about) if given == text else None
    )


# Revocation


async def test_the_child_of_a_parsers_token_without_an_end_ends_with_it(place: Place):
    client = await place.serve()
    await parses(place)
    child = (await post(client, f"{MANAGER}/generate_token", KEY, config={"workspace": "ws-user-u1"})).json()
    assert (await post(client, f"{MANAGER}/list_tokens", child)).status_code == 200
    assert (await post(client, f"{MANAGER}/revoke_token", ROOT_TOKEN, token=KEY)).status_code == 200
    assert (await post(client, f"{MANAGER}/list_tokens", KEY)).status_code == 401
    assert (await post(client, f"{MANAGER}/list_tokens", child)).status_code == 401


async def test_a_login_that_a_parsers_token_without_an_end_reported_ends_with_it(place: Place):
    client = await place.serve()
    await parses(place)
    key = (await post(client, f"{LOGIN}/start")).json()["key"]
    await post(client, f"{LOGIN}/report", key=key, token=KEY, workspace="ws-user-u1")
    given = (await post(client, f"{LOGIN}/check", key=key)).json()
    assert (await post(client, f"{MANAGER}/list_tokens", given)).status_code == 200
    await post(client, f"{MANAGER}/revoke_token", ROOT_TOKEN, token=KEY)
    assert (await post(client, f"{MANAGER}/list_tokens", given)).status_code == 401


async def test_a_text_that_nobody_knows_is_stopped_for_a_while_and_one_that_is_good_here_for_good(place: Place):
    client = await place.serve()
    await parses(place)
    for text in (KEY, "of-nobody", KEY):
        await post(client, f"{MANAGER}/revoke_token", ROOT_TOKEN, token=text)
    ends = [stop.ends_at for stop in await place.stores.stops.since(0)]
    assert ends == [None, place.clock.now() + 86_400 + 3600]
    place.clock.advance(400 * 86_400)
    assert (await post(client, f"{MANAGER}/list_tokens", KEY)).status_code == 401
    await place.stores.tokens.sweep(before=place.clock.now())
    await post(client, f"{MANAGER}/revoke_token", ROOT_TOKEN, token=KEY)  # nobody knows it any more
    place.clock.advance(400 * 86_400)
    assert (await post(client, f"{MANAGER}/list_tokens", KEY)).status_code == 401


async def test_a_text_that_says_it_never_ends_is_stopped_no_longer_than_a_token_can_live(place: Place):
    client = await place.serve()
    told = {"iss": "https://nobody.example", "exp": 10**11}
    text = ".".join(base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in (ALG, told))
    await post(client, f"{MANAGER}/revoke_token", ROOT_TOKEN, token=f"{text}.{'A' * 86}")
    ends = {stop.ends_at for stop in await place.stores.stops.since(0)}
    assert ends == {place.clock.now() + 86_400 + 3600}


async def test_a_user_revokes_so_many_by_text_and_no_more(place: Place):
    client = await place.serve()
    ada, eve = await token_for(place, "ada"), await token_for(place, "eve")
    for _ in range(REVOCATIONS_BY_USER.most):
        await place.limits.count(REVOCATIONS_BY_USER, f"{OURS} ada")
    answer = await post(client, f"{MANAGER}/revoke_token", ada, token="x")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    assert (await post(client, f"{MANAGER}/revoke_token", eve, token="x")).status_code == 200


# Two issuers


async def test_a_service_for_one_issuers_user_is_closed_to_another_issuers_user_of_that_id(place: Place):
    client = await place.serve()
    await parses(place, "alice")
    ours = await token_for(place, "alice")
    config = {"visibility": "protected", "authorized_workspaces": ["ws-user-alice"]}
    place.table.register({"id": "safe", "config": config, "open": lambda: "hers"}, workspace=PUBLIC)
    where = {"visibility": "public", "require_context": True}
    place.table.register({"id": "who", "config": where, "ws": lambda context: context["ws"]}, workspace=PUBLIC)
    assert (await post(client, f"/{PUBLIC}/services/safe/open", ours)).status_code == 200
    assert (await post(client, f"/{PUBLIC}/services/safe/open", KEY)).status_code == 403
    places = [(await post(client, f"/{PUBLIC}/services/who/ws", each)).json() for each in (ours, KEY)]
    assert places == ["ws-user-alice", "ws-anonymous"]
    assert (await client.get("/ws-user-alice/info", headers=bearer(KEY))).status_code == 403
    said = Who(caller=await place.identify(KEY), workspace="ws-user-alice")  # whoever says so: permission decides
    with pytest.raises(Denied):
        await place.table.get("safe", said, workspace=PUBLIC)


async def test_a_parsers_child_token_opens_no_workspace_that_a_local_user_made_later(place: Place):
    client = await place.serve()
    await parses(place, scope=create_scope({"team-x": UserPermission.admin}))
    made = (await post(client, "/team-x/services/ws/generate_token", KEY, config={"workspace": "team-x"})).json()
    child = await place.identify(made)
    assert await place.workspaces.permission(child, "team-x") is UserPermission.read_write
    _, ada = await place.signed_in("ada")
    await place.workspaces.create(ada, "team-x")
    assert await place.workspaces.permission(await place.identify(KEY), "team-x") is None
    assert await place.workspaces.permission(child, "team-x") is None


# Workspaces, made on first use


@pytest.mark.requirement("C1.workspaces-served")
async def test_the_own_workspace_and_one_that_a_parser_names_are_there_when_they_are_asked_for(place: Place):
    client = await place.serve()
    scope = create_scope({"api-workspace": UserPermission.admin})
    await parses(place, "api_user_1", scope=scope)
    for path, token in {
        "/ws-user-ada/info": await token_for(place, "ada"),
        "/api-workspace/info": KEY,
        "/ws-user-api_user_1/info": KEY,
    }.items():
        answer = await client.get(path, headers=bearer(token))
        assert (answer.status_code, f"/{answer.json()['id']}/info") == (200, path)
    assert (await client.get("/another/info", headers=bearer(KEY))).status_code == 403


# For one purpose only


async def test_a_token_for_one_purpose_opens_public_services_alone(place: Place):
    client = await place.serve()
    narrow, whole = await token_for(place, "ada", extra=("billing:read",)), await token_for(place, "ada")
    place.table.register({"id": "calc", "one": lambda: 1}, workspace="ws-user-ada")
    place.table.register({"id": "open", "config": {"visibility": "public"}, "one": lambda: 1}, workspace="ws-user-ada")
    assert (await post(client, "/ws-user-ada/services/calc/one", whole)).status_code == 200
    refused = await post(client, "/ws-user-ada/services/calc/one", narrow)
    assert refused.status_code == 403
    assert "Specialized token with scopes ['billing:read'] cannot be used" in refused.json()["detail"]
    assert (await post(client, "/ws-user-ada/services/open/one", narrow)).json() == 1
    listed = (await client.get("/ws-user-ada/services/", headers=bearer(narrow))).json()
    assert [each["id"] for each in listed] == ["ws-user-ada/server:open"]
    info = await client.get("/ws-user-ada/info", headers=bearer(narrow))
    assert (info.status_code, "Specialized token" in info.json()["detail"]) == (403, True)


async def test_a_token_for_one_purpose_lists_and_revokes_itself_alone(place: Place):
    client = await place.serve()
    narrow, eve = await token_for(place, "ada", extra=("billing:read",)), await token_for(place, "eve")
    other = await token_for(place, "ada")
    assert len((await post(client, f"{MANAGER}/list_tokens", narrow)).json()) == 1
    for text in (eve, other, "of-nobody"):
        assert (await post(client, f"{MANAGER}/revoke_token", narrow, token=text)).status_code == 403
        with contextlib.suppress(Unauthenticated):
            await place.identify(text)
    assert (await post(client, f"{MANAGER}/list_tokens", eve)).status_code == 200
    caller = await place.identify(narrow)
    with pytest.raises(Denied, match="Specialized"):
        await place.workspaces.delete(caller, "ws-user-ada")
    assert await place.workspaces.list(caller) == []
    assert (await post(client, f"{MANAGER}/revoke_token", narrow, token=narrow)).status_code == 200
    assert (await post(client, f"{MANAGER}/list_tokens", narrow)).status_code == 401


# Never wider


async def test_an_admins_narrowed_token_gives_its_children_no_other_persons_email(place: Place):
    client = await place.serve()
    boss = await place.access("boss", roles=("admin",))
    config = {"workspace": "team-x", "permission": "admin"}
    narrow = (await post(client, f"{MANAGER}/generate_token", boss, config=config)).json()
    asked = {"workspace": "team-x", "email": "ceo@example.com"}
    assert (await post(client, "/team-x/services/ws/generate_token", narrow, config=asked)).status_code == 403
    assert (await post(client, "/team-x/services/ws/generate_token", boss, config=asked)).status_code == 200


@pytest.mark.parametrize("name", ["two words", "a,b"])
async def test_a_parsers_user_whose_id_no_scope_can_hold_is_told_so(place: Place, name):
    client = await place.serve()
    await parses(place, name)
    answer = await post(client, f"{MANAGER}/generate_token", KEY)
    assert (answer.status_code, "That can be no workspace" in answer.json()["detail"]) == (400, True)
    key = (await post(client, f"{LOGIN}/start")).json()["key"]
    reported = await post(client, f"{LOGIN}/report", key=key, token=KEY, workspace=f"ws-user-{name}")
    assert reported.status_code == (400 if " " in name else 200)


# The host program's own generator


async def test_generate_token_uses_the_registered_generator(place: Place):
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
    config = {"permission": "read"}
    made = (await post(client, "/ws-user-bob/services/ws/generate_token", KEY, config=config)).json()
    assert made == "mine-1-token"
    assert (await post(client, f"{MANAGER}/list_tokens", made)).status_code == 200
    child = await place.identify(made)
    assert child.user is not None
    assert (child.principal, child.user.parent) == (("custom", "bob"), "bob")
    assert child.user.get_permission("ws-user-bob") is UserPermission.read
    await post(client, f"{MANAGER}/revoke_token", KEY, token=KEY)
    assert (await post(client, f"{MANAGER}/list_tokens", made)).status_code == 401


async def test_a_startup_functions_token_is_the_generators_too_and_what_it_parses_is_its_own(place: Place, tmp_path):
    file = tmp_path / "start.py"
    file.write_text(
        """
async def start(server):
    def generate(user, expires_in):
        return f"made-for-{user.parent}-{expires_in}"
    token = await server.generate_token({"workspace": "ws-a"})
    (await server.parse_token(token)).roles.append("admin")
    assert (await server.parse_token(token)).roles == []
    await server.register_auth_service(generate_token=generate)
    assert await server.generate_token({"expires_in": 10**9}) == "made-for-root-86400"
"""
    )
    await place.serve(f"{file}:start")
