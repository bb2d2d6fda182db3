"""What each function of the workspace manager asks of its caller (contract 1.5): one step less is refused."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.services.office import Office
from valetkey.errors import Denied, NotFound
from valetkey.services.sight import Who

TEAM = "team-a"
SERVICE_TYPE = {"id": "greeter", "name": "Greeter", "definition": {"hello": {"type": "function"}}}
Ask = Callable[[Office, Who], Awaitable[Any]]


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    made = Office()
    await made.manager.create_workspace({"id": TEAM}, who=await made.who("owner"))
    await made.manager.set_env("KEY", "value", who=await made.who("owner", workspace=TEAM))
    kept = {**SERVICE_TYPE, "id": "there"}
    await made.manager.register_service_type(kept, who=await made.who("owner", workspace=TEAM))
    yield made
    await made.desk.close()
    made.end()


NEEDS: list[tuple[str, str, Ask]] = [
    ("register_service", "rw", lambda o, w: o.manager.register_service({"id": "calc"}, who=w)),
    ("unregister_service", "rw", lambda o, w: o.manager.unregister_service("there", who=w)),
    ("log", "rw", lambda o, w: o.manager.log("a line", who=w)),
    ("set_env", "rw", lambda o, w: o.manager.set_env("KEY", "other", who=w)),
    ("get_env", "rw", lambda o, w: o.manager.get_env("KEY", who=w)),
    ("get_env, all", "rw", lambda o, w: o.manager.get_env(who=w)),
    ("register_service_type", "rw", lambda o, w: o.manager.register_service_type(SERVICE_TYPE, who=w)),
    ("get_service_type", "r", lambda o, w: o.manager.get_service_type(f"{TEAM}/there", who=w)),
    ("list_service_types", "r", lambda o, w: o.manager.list_service_types(TEAM, who=w)),
    ("list_clients", "r", lambda o, w: o.manager.list_clients(TEAM, who=w)),
    ("ping_client", "r", lambda o, w: o.manager.ping_client(f"{TEAM}/c1", who=w)),
    ("get_workspace_info", "r", lambda o, w: o.manager.get_workspace_info(TEAM, who=w)),
    ("get_summary", "r", lambda o, w: o.manager.get_summary(who=w)),
    ("check_status", "r", lambda o, w: o.manager.check_status(who=w)),
    ("get_service", "r", lambda o, w: o.manager.get_service(f"{TEAM}/hers", who=w)),
    ("get_service_info", "r", lambda o, w: o.manager.get_service_info(f"{TEAM}/hers", who=w)),
    ("list_services, unlisted", "r", lambda o, w: o.manager.list_services(TEAM, True, who=w)),
    ("cleanup", "a", lambda o, w: o.manager.cleanup(TEAM, who=w)),
    ("generate_token", "a", lambda o, w: o.manager.generate_token({"workspace": TEAM}, who=w)),
    ("create_workspace, again", "a", lambda o, w: o.manager.create_workspace({"id": TEAM}, True, who=w)),
    ("delete_workspace", "a", lambda o, w: o.manager.delete_workspace(TEAM, who=w)),
]
LESS = {"r": None, "rw": "r", "a": "rw"}


@pytest.mark.requirement("hypha.1.5.needs", "E2.permissions")
@pytest.mark.parametrize(("wanted", "ask"), [each[1:] for each in NEEDS], ids=[each[0] for each in NEEDS])
async def test_a_function_asks_for_so_much_and_no_more(office: Office, wanted: str, ask: Ask):
    hers = await office.join("c9", "owner", workspace=TEAM)
    await office.register(hers, "hers")
    office.offers(hers, "hers")
    held = LESS[wanted]
    less = await office.join("c1", "less", workspaces={TEAM: held} if held else {}, workspace=TEAM)
    enough = await office.join("c2", "enough", workspaces={TEAM: wanted}, workspace=TEAM)
    if wanted == "rw":
        await office.register(enough, "there")
    with pytest.raises((Denied, NotFound) if ask is NEEDS[-1][2] and held is None else Denied):
        await ask(office, less.who)
    await ask(office, enough.who)


GENERAL = [each for each in NEEDS if each[0] != "generate_token"]


@pytest.mark.requirement("hypha.1.5.specialized")
@pytest.mark.parametrize("ask", [each[2] for each in GENERAL], ids=[each[0] for each in GENERAL])
async def test_a_token_for_one_purpose_only_is_refused(office: Office, ask: Ask):
    hers = await office.join("c9", "owner", workspace=TEAM)
    await office.register(hers, "hers")
    narrow = await office.join("c1", "bob", workspaces={TEAM: "a"}, workspace=TEAM, extra=("billing:read",))
    with pytest.raises(Denied, match="Specialized token"):
        await ask(office, narrow.who)


@pytest.mark.requirement("hypha.1.5.needs", "E2.permissions")
@pytest.mark.parametrize(
    "ask",
    [
        lambda o, w: o.manager.parse_token("x", who=w),
        lambda o, w: o.manager.revoke_token("x", who=w),
        lambda o, w: o.manager.list_tokens(who=w),
        lambda o, w: o.manager.create_workspace({"id": "team-b"}, who=w),
    ],
    ids=["parse_token", "revoke_token", "list_tokens", "create_workspace"],
)
async def test_anonymous_callers_sign_in_first(office: Office, ask: Ask):
    with pytest.raises(Denied, match=r"[Ss]ign"):
        await ask(office, await office.nobody())


@pytest.mark.requirement("E2.permissions")
async def test_who_is_no_connected_client_registers_and_subscribes_nothing(office: Office):
    who = await office.who("owner", workspace=TEAM)
    stranger = await office.who("owner", workspace=TEAM, peer=f"{TEAM}/gone")
    for caller in (who, stranger):
        with pytest.raises(Denied, match="connected client"):
            await office.manager.register_service({"id": "calc"}, who=caller)
        with pytest.raises(Denied, match="connected client"):
            await office.manager.unregister_service("calc", who=caller)
        with pytest.raises(Denied, match="connected client"):
            await office.manager.subscribe("service_added", who=caller)


@pytest.mark.requirement("E2.permissions")
async def test_a_program_with_a_narrowed_token_makes_itself_no_owner(office: Office):
    child = await office.who("program", {TEAM: "a"}, parent="owner", workspace=TEAM)
    with pytest.raises(Denied, match="narrowed"):
        await office.manager.create_workspace({"id": TEAM, "owners": ["program"]}, True, who=child)
    with pytest.raises(Denied):
        await office.manager.create_workspace({"id": "team-b"}, who=child)


@pytest.mark.requirement("hypha.1.5.revoke-token")
async def test_a_token_is_revoked_by_an_admin_of_the_workspace_or_its_own_bearer(office: Office):
    token = await office.manager.generate_token({"workspace": TEAM}, who=await office.who("owner", workspace=TEAM))
    writer = await office.who("writer", {TEAM: "rw", "ws-user-writer": "rw"}, workspace=TEAM)
    with pytest.raises(Denied, match="Only admin can revoke token"):
        await office.manager.revoke_token(token, who=writer)
    own = await office.identify(token)
    await office.manager.revoke_token(token, who=Who(caller=own, workspace=TEAM))
    other = await office.manager.generate_token({"workspace": TEAM}, who=await office.who("owner", workspace=TEAM))
    await office.manager.revoke_token(other, who=await office.who("owner"))
