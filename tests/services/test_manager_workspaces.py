"""Workspaces by the manager: made, changed, deleted with all that was made for them; variables; service types."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.services.office import Office
from valetkey.errors import Denied, InvalidArguments, NotFound, RateLimited, Unauthenticated, VaultError
from valetkey.model.services import Member

TEAM = "team-a"


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    made = Office()
    yield made
    await made.desk.close()
    made.end()


async def test_a_workspace_is_made_as_it_says_and_listed(office: Office):
    ada = await office.who()
    await office.manager.check_status(who=ada)  # the own one is made on first use
    wanted = {
        "id": TEAM,
        "name": "The team",
        "description": "Ours.",
        "persistent": True,
        "owners": ["bob@example.com", "ada"],
        "config": {"colour": "red", "principal": ["valetkey", "root"], "environs": {"A": "x"}},
        "read_only": True,
    }
    made = await office.manager.create_workspace(wanted, who=ada)
    assert (made["id"], made["name"], made["description"], made["persistent"]) == (TEAM, "The team", "Ours.", True)
    assert (made["owners"], made["config"], made["read_only"]) == (["ada", "bob@example.com"], {"colour": "red"}, False)
    kept = await office.stores.workspaces.get(TEAM)
    assert kept is not None
    assert kept.config == {"colour": "red", "principal": ["valetkey", "ada"]}
    assert (await office.manager.get_workspace_info(TEAM, who=ada))["config"] == {"colour": "red"}
    assert [each["id"] for each in await office.manager.list_workspaces(who=ada)] == [TEAM, "ws-user-ada"]
    assert [each["id"] for each in await office.manager.list_workspaces({"persistent": True}, who=ada)] == [TEAM]
    assert [each["id"] for each in await office.manager.list_workspaces(None, 1, 1, who=ada)] == ["ws-user-ada"]
    assert await office.manager.list_workspaces(who=await office.who("eve")) == []
    with pytest.raises(InvalidArguments):
        await office.manager.list_workspaces(limit=300, who=ada)


@pytest.mark.parametrize(
    "config",
    [
        "team-b",
        {},
        {"id": ""},
        {"id": "team"},
        {"id": "Team-B"},
        {"id": "public"},
        {"id": "ws-user-bob"},
        {"id": TEAM},
        {"id": "team-b", "strange": 1},
        {"id": "team-b", "owners": "ada"},
        {"id": "team-b", "owners": [5]},
        {"id": "team-b", "description": 5},
        {"id": "team-b", "config": {"deep": "x" * 70_000}},
    ],
    ids=lambda config: str(config)[:30],
)
async def test_what_can_be_no_workspace_is_refused(office: Office, config: Any):
    await office.manager.create_workspace({"id": TEAM}, who=await office.who("bob"))
    with pytest.raises(InvalidArguments):
        await office.manager.create_workspace(config, who=await office.who())


async def test_its_admin_changes_it_and_its_maker_and_variables_stay(office: Office):
    ada, there = await office.who(), await office.who(workspace=TEAM)
    await office.manager.create_workspace({"id": TEAM, "owners": ["bob"], "config": {"a": 1}}, who=ada)
    await office.manager.set_env("KEY", "value", who=there)
    changed = {"id": TEAM, "description": "new", "owners": ["carl"], "config": {"b": 2, "principal": ["x", "y"]}}
    made = await office.manager.create_workspace(changed, True, who=await office.who("bob"))
    assert (made["description"], made["owners"], made["config"]) == ("new", ["ada", "carl"], {"b": 2})
    assert await office.manager.get_env("KEY", who=there) == "value"
    kept = await office.stores.workspaces.get(TEAM)
    assert kept is not None
    assert kept.config["principal"] == ["valetkey", "ada"]
    fresh = await office.manager.create_workspace({"id": "team-b"}, True, who=ada)
    assert fresh["owners"] == ["ada"]
    await office.manager.create_workspace({"id": "team-b", "config": {"environs": {"A": "x"}}}, True, who=ada)
    assert await office.manager.get_env(who=await office.who(workspace="team-b")) == {}


async def test_one_user_makes_so_many_as_the_settings_say(office: Office):
    office.workspaces.limit(1)
    await office.manager.create_workspace({"id": TEAM}, who=await office.who())
    with pytest.raises(InvalidArguments, match="You have 1 workspaces"):
        await office.manager.create_workspace({"id": "team-b"}, who=await office.who())


async def test_deleting_one_ends_its_tokens_and_cuts_its_clients_off_everywhere(office: Office):
    ada, there = await office.who(), await office.who(workspace=TEAM)
    await office.manager.create_workspace({"id": TEAM}, who=ada)
    own = await office.manager.generate_token(who=ada)
    child = await office.manager.generate_token({"workspace": TEAM}, who=there)
    office.attach(there, "c1")
    elsewhere = await office.join("c1")
    office.directory.join(Member(workspace=TEAM, client="far", instance="i2", principal=("valetkey", "ada")))
    await office.manager.delete_workspace(TEAM, who=ada)
    gone = f"The workspace {TEAM} was deleted."
    assert sorted(office.kicked) == [(f"{TEAM}/c1", gone), (f"{TEAM}/far", gone)]
    assert elsewhere.member.peer not in dict(office.kicked)
    assert office.others.told == [("workspace_deleted", {"workspace": TEAM})]
    with pytest.raises(Unauthenticated):
        await office.identify(child)
    await office.identify(own)
    await office.manager.create_workspace({"id": TEAM}, who=await office.who("eve"))  # hers now
    assert await office.workspaces.permission(ada.caller, TEAM) is None


async def test_what_another_instance_deleted_or_cut_off_goes_here_too(office: Office):
    ada = await office.who()
    await office.manager.create_workspace({"id": TEAM}, who=ada)
    office.attach(await office.who(workspace=TEAM), "c1")
    office.others.handlers["workspace_deleted"](workspace=TEAM)
    office.others.handlers["kick"](peer=f"{TEAM}/c1", reason="silent")
    assert [peer for peer, _ in office.kicked] == [f"{TEAM}/c1", f"{TEAM}/c1"]


async def test_nobody_deletes_what_they_do_not_see_or_their_own(office: Office):
    await office.manager.create_workspace({"id": TEAM}, who=await office.who())
    with pytest.raises(NotFound):
        await office.manager.delete_workspace(TEAM, who=await office.who("eve"))
    ada = await office.who()
    await office.manager.check_status(who=ada)
    with pytest.raises(Denied):
        await office.manager.delete_workspace("ws-user-ada", who=ada)
    assert (office.kicked, office.others.told) == ([], [])


# Variables


async def test_variables_are_sealed_each_in_its_place_and_told_to_nobody_else(office: Office):
    ada = await office.who()
    await office.manager.set_env("API_KEY", "sk-very-secret", who=ada)
    await office.manager.set_env("OTHER", "b", who=ada)
    assert await office.manager.get_env("API_KEY", who=ada) == "sk-very-secret"
    assert await office.manager.get_env(who=ada) == {"API_KEY": "sk-very-secret", "OTHER": "b"}
    kept = await office.stores.workspaces.get("ws-user-ada")
    assert kept is not None
    assert "sk-very-secret" not in kept.model_dump_json()
    told = [await office.manager.get_workspace_info(who=ada), *await office.manager.list_workspaces(who=ada)]
    assert "environs" not in str(told)
    assert "environs" not in (await office.workspaces.get(ada.caller, "ws-user-ada")).config
    kept.config["environs"]["OTHER"] = kept.config["environs"]["API_KEY"]  # moved by somebody with the database
    await office.stores.workspaces.save(kept)
    with pytest.raises(VaultError):
        await office.manager.get_env("OTHER", who=ada)
    await office.manager.set_env("API_KEY", None, who=ada)
    with pytest.raises(NotFound, match="Environment variable 'API_KEY' not found in workspace ws-user-ada"):
        await office.manager.get_env("API_KEY", who=ada)


async def test_variables_have_names_and_bounds(office: Office):
    ada = await office.who()
    for name, value in {"": "x", "1A": "x", "A B": "x", "A" * 129: "x", "A": "x" * 8193, "B": 5}.items():
        with pytest.raises(InvalidArguments):
            await office.manager.set_env(name, value, who=ada)  # type: ignore[arg-type]
    for number in range(12):
        await office.manager.set_env(f"N{number}", "x" * 8000, who=ada)
    with pytest.raises(InvalidArguments, match="too large"):
        await office.manager.set_env("N12", "x" * 8000, who=ada)
    await office.manager.set_env("N0", None, who=ada)
    await office.manager.set_env("N12", "x" * 8000, who=ada)


async def test_two_who_set_variables_at_once_lose_none(office: Office, monkeypatch: pytest.MonkeyPatch):
    ada, get = await office.who(), office.stores.workspaces.get

    async def slow(name: str) -> Any:
        found = await get(name)
        await asyncio.sleep(0)
        return found

    monkeypatch.setattr(office.stores.workspaces, "get", slow)
    await asyncio.gather(*(office.manager.set_env(f"N{number}", "x", who=ada) for number in range(10)))
    assert len(await office.manager.get_env(who=ada)) == 10


async def test_an_anonymous_clients_workspace_is_theirs_and_keeps_nothing(office: Office):
    link = office.attach(await office.nobody(), "c1")
    await office.register(link)
    assert [each["id"] for each in await office.manager.list_services(who=link.who)] == [link.member.peer + ":calc"]
    assert (await office.manager.check_status(who=link.who))["user_permission"] == "a"
    assert (await office.manager.get_workspace_info(who=link.who))["id"] == link.member.workspace
    other = await office.nobody()
    with pytest.raises(Denied):
        await office.manager.list_clients(link.member.workspace, who=other)
    with pytest.raises(Denied, match="Nothing is kept"):
        await office.manager.set_env("A", "x", who=link.who)
    assert await office.stores.workspaces.page() == []


# Service types


async def test_service_types_are_kept_and_shown_to_those_of_the_workspace(office: Office):
    ada, eve = await office.who(), await office.who("eve")
    plain = {"id": "greeter", "name": "Greeter", "definition": {"hello": {"type": "function"}}}
    public = {**plain, "id": "ws-user-ada/open", "config": {"visibility": "public"}, "docs": "More."}
    assert (await office.manager.register_service_type(plain, who=ada))["id"] == "greeter"
    await office.manager.register_service_type(public, who=ada)
    assert [each["id"] for each in await office.manager.list_service_types(who=ada)] == ["greeter", "open"]
    assert (await office.manager.get_service_type("greeter", who=ada))["id"] == "ws-user-ada/greeter"
    assert (await office.manager.get_service_type("ws-user-ada/open", who=eve))["docs"] == "More."
    with pytest.raises(Denied):
        await office.manager.get_service_type("ws-user-ada/greeter", who=eve)
    with pytest.raises(NotFound, match="Service type not found: nothing"):
        await office.manager.get_service_type("nothing", who=ada)
    with pytest.raises(InvalidArguments, match="already exists"):
        await office.manager.register_service_type(plain, who=ada)


@pytest.mark.parametrize(
    "given",
    [
        5,
        {},
        {"id": "a b", "name": "x", "definition": {}},
        {"id": "ws-user-eve/a", "name": "x", "definition": {}},
        {"id": "a", "definition": {}},
        {"id": "a", "name": "x", "definition": []},
        {"id": "a", "name": "x", "definition": {"big": "x" * 20_000}},
        {"id": "a", "name": "x", "docs": 5},
        {"id": "a", "name": "x", "strange": 5},
    ],
    ids=lambda given: str(given)[:40],
)
async def test_what_can_be_no_service_type_is_refused(office: Office, given: Any):
    with pytest.raises(InvalidArguments):
        await office.manager.register_service_type(given, who=await office.who())


# Clients


async def test_clients_are_listed_and_those_that_do_not_answer_are_cut_off(office: Office):
    here, silent = await office.join("c1"), await office.join("c2")
    office.calls.raw = {here.member.peer: "pong", silent.member.peer: TimeoutError()}
    listed = await office.manager.list_clients(who=here.who)
    assert [each["id"] for each in listed] == ["ws-user-ada/c1", "ws-user-ada/c2"]
    assert listed[0]["user"]["id"] == "ada"
    assert "scope" not in listed[0]["user"]
    assert await office.manager.ping_client("c1", who=here.who) == "pong"
    for client in ("c2", "ws-user-ada/c2", "c9"):
        assert (await office.manager.ping_client(client, who=here.who)).startswith("Failed to ping client ws-user-ada/")
    assert await office.manager.cleanup(who=here.who) == {"removed_clients": ["ws-user-ada/c2"]}
    assert office.kicked == [("ws-user-ada/c2", "This client did not answer.")]
    assert office.others.told == [("kick", {"peer": "ws-user-ada/c2", "reason": "This client did not answer."})]
    office.calls.raw[silent.member.peer] = "pong"
    assert await office.manager.cleanup(who=here.who) == {}
    summary = await office.manager.get_summary(who=here.who)
    assert (summary["client_count"], summary["service_count"]) == (2, 0)


# Tokens


async def test_tokens_of_anonymous_callers_are_short_and_few(office: Office):
    link = office.attach(await office.nobody(), "c1")
    token = await office.manager.generate_token({"expires_in": 10**6}, who=link.who)
    child = await office.identify(token)
    assert child.until == office.clock.now() + 3600
    assert await office.workspaces.permission(child, link.member.workspace) is not None
    for _ in range(19):
        await office.manager.generate_token(who=link.who)
    with pytest.raises(RateLimited):
        await office.manager.generate_token(who=link.who)
    await office.manager.generate_token(who=await office.who())  # of others not


async def test_a_revoked_token_is_parsed_no_more(office: Office):
    ada = await office.who()
    token = await office.manager.generate_token({"permission": "read"}, who=ada)
    parsed = await office.manager.parse_token(token, who=ada)
    assert (parsed["parent"], parsed["scope"]["workspaces"]) == ("ada", {"ws-user-ada": "r"})
    await office.manager.revoke_token(token, who=ada)
    with pytest.raises(Unauthenticated):
        await office.manager.parse_token(token, who=ada)
