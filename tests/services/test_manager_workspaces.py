"""Workspaces by the manager: made, changed, deleted with all that was made for them; variables; service types."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tests.services.kit import Stores
from tests.services.office import Office
from valetkey.errors import (
    Denied,
    InvalidArguments,
    NotFound,
    RateLimited,
    StoreUnavailable,
    Unauthenticated,
    VaultError,
)
from valetkey.limits import DELETIONS_BY_USER
from valetkey.model.audit import Entry
from valetkey.model.services import Member
from valetkey.model.workspaces import WorkspaceInfo
from valetkey.services import manager_workspaces
from valetkey.services.sight import Who

TEAM = "team-a"


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    made = Office()
    yield made
    await made.desk.close()
    made.end()


@pytest.mark.requirement("C1.workspaces-made", "E2.workspaces")
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


@pytest.mark.requirement("hypha.1.5.workspace-name")
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
        {"id": "team-b", "config": {"deep": [{"_rtype": "method", "_rtarget": "c", "_rmethod": "services.x.f"}]}},
    ],
    ids=lambda config: str(config)[:30],
)
async def test_what_can_be_no_workspace_is_refused(office: Office, config: Any):
    await office.manager.create_workspace({"id": TEAM}, who=await office.who("bob"))
    with pytest.raises(InvalidArguments):
        await office.manager.create_workspace(config, who=await office.who())


@pytest.mark.requirement("E2.workspaces")
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


@pytest.mark.requirement("C1.workspaces-made", "E2.workspaces")
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


@pytest.mark.requirement("E2.workspaces")
async def test_what_another_instance_deleted_or_cut_off_goes_here_too(office: Office):
    ada = await office.who()
    await office.manager.create_workspace({"id": TEAM}, who=ada)
    office.attach(await office.who(workspace=TEAM), "c1")
    office.others.handlers["workspace_deleted"](workspace=TEAM)
    office.others.handlers["kick"](peer=f"{TEAM}/c1", reason="silent")
    assert [peer for peer, _ in office.kicked] == [f"{TEAM}/c1", f"{TEAM}/c1"]


async def test_a_deleted_workspaces_name_lets_whoever_makes_it_anew_into_no_service(office: Office):
    ada, bob = await office.who(), await office.join("c9", "bob")
    await office.manager.create_workspace({"id": TEAM}, who=ada)
    config = {"authorized_workspaces": [TEAM, "ws-user-eve"]}
    await office.manager.register_service({"id": "tool", "config": config}, who=bob.who)
    await office.manager.delete_workspace(TEAM, who=ada)
    service = office.directory.service(bob.member.peer, "tool")
    assert service is not None
    assert service.authorized_workspaces == {"ws-user-eve"}
    assert service.info()["config"]["authorized_workspaces"] == ["ws-user-eve"]


async def test_one_user_deletes_so_many_in_a_minute(office: Office, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(manager_workspaces, "DELETIONS_BY_USER", replace(DELETIONS_BY_USER, most=1))
    ada = await office.who()
    for name in (TEAM, "team-b"):
        await office.manager.create_workspace({"id": name}, who=ada)
    await office.manager.delete_workspace(TEAM, who=ada)
    with pytest.raises(RateLimited, match="deleted too many"):
        await office.manager.delete_workspace("team-b", who=ada)


async def test_new_owners_are_told_to_all_instances_so_that_others_sockets_end(office: Office):
    ada = await office.who()
    await office.manager.create_workspace({"id": TEAM, "owners": ["bob"]}, who=ada)
    await office.manager.create_workspace({"id": TEAM}, True, who=ada)
    assert office.others.told == [("workspace_changed", {"workspace": TEAM})]
    await office.others.handlers["workspace_changed"](workspace=TEAM)
    assert office.judged == [TEAM, TEAM]


async def test_who_may_have_a_part_in_few_workspaces_is_answered_from_those_alone(
    office: Office, monkeypatch: pytest.MonkeyPatch
):
    ada = await office.who()
    await office.manager.create_workspace({"id": TEAM}, who=ada)
    child = await office.manager.generate_token({"workspace": TEAM}, who=await office.who(workspace=TEAM))
    narrowed = Who(caller=await office.identify(child), workspace=TEAM)
    monkeypatch.setattr(office.stores.workspaces, "page", None)
    assert await office.manager.list_workspaces(who=await office.nobody()) == []
    assert [each["id"] for each in await office.manager.list_workspaces(who=narrowed)] == [TEAM]


@pytest.mark.requirement("E2.workspaces")
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


@pytest.mark.requirement("E2.variables")
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
    was = kept.model_copy(deep=True)
    kept.config["environs"]["OTHER"] = kept.config["environs"]["API_KEY"]  # moved by somebody with the database
    assert await office.stores.workspaces.save(kept, was=was)
    with pytest.raises(VaultError):
        await office.manager.get_env("OTHER", who=ada)
    await office.manager.set_env("API_KEY", None, who=ada)
    with pytest.raises(NotFound, match="Environment variable 'API_KEY' not found in workspace ws-user-ada"):
        await office.manager.get_env("API_KEY", who=ada)


async def test_what_two_instances_change_at_the_same_moment_is_all_kept():
    stores = Stores()
    offices = [Office(stores=stores) for _ in range(2)]
    ada = await offices[0].who()
    await offices[0].manager.set_env("FIRST", "0", who=ada)
    save, read, both = stores.workspaces.save, list[WorkspaceInfo](), asyncio.Event()

    async def at_once(
        workspace: WorkspaceInfo, *, was: WorkspaceInfo
    ) -> bool:  # both have read the row before either one saves it
        read.append(workspace)
        if len(read) == 2:
            both.set()
        await both.wait()
        return await save(workspace, was=was)

    stores.workspaces.save = at_once  # type: ignore[method-assign]
    await asyncio.gather(
        offices[0].manager.set_env("A", "a", who=ada),
        offices[1].manager.register_service_type({"id": "t", "name": "t", "definition": {}}, who=ada),
    )
    assert len(read) == 3  # the second one tried again
    assert await offices[1].manager.get_env(who=ada) == {"A": "a", "FIRST": "0"}
    assert [each["id"] for each in await offices[0].manager.list_service_types(who=ada)] == ["t"]
    for each in offices:
        await each.desk.close()
        each.end()


@pytest.mark.requirement("E2.variables")
async def test_what_is_changed_is_in_the_audit_log_and_no_value_is():
    office = Office()
    ada = await office.who()
    await office.manager.set_env("API_KEY", "sk-very-secret", who=ada)
    await office.manager.set_env("API_KEY", None, who=ada)
    await office.manager.register_service_type({"id": "t", "name": "t", "definition": {"x": 1}}, who=ada)
    await office.manager.create_workspace({"id": TEAM}, who=ada)
    await office.manager.create_workspace({"id": TEAM, "description": "new"}, True, who=ada)
    await office.manager.delete_workspace(TEAM, who=ada)
    with pytest.raises(Denied):
        await office.manager.set_env("OTHER", "x", who=await office.who("eve", workspace="ws-user-ada"))
    changed = office.audit.of("workspace.change")
    assert [dict(entry.details) for entry in changed] == [
        {"change": "variable set", "name": "API_KEY"},
        {"change": "variable removed", "name": "API_KEY"},
        {"change": "service type registered", "name": "t"},
        {"change": "rewritten"},
    ]
    assert {(entry.user, entry.issuer, entry.outcome) for entry in changed} == {("ada", "valetkey", "ok")}
    assert [entry.what for entry in changed] == [*["ws-user-ada"] * 3, TEAM]
    made = [(entry.what, entry.details["change"]) for entry in office.audit.of("workspace.make")]
    assert made == [("ws-user-ada", "made"), (TEAM, "made"), (TEAM, "deleted")]
    assert "sk-very-secret" not in repr(office.audit.entries)
    await office.desk.close()
    office.end()


async def test_a_variable_that_cannot_be_noted_is_not_set(office: Office, monkeypatch: pytest.MonkeyPatch):
    ada = await office.who()
    await office.manager.set_env("A", "before", who=ada)

    async def full(entry: Entry) -> None:
        raise StoreUnavailable("The log is full.")

    monkeypatch.setattr(office.audit, "note", full)
    with pytest.raises(StoreUnavailable):
        await office.manager.set_env("A", "after", who=ada)
    assert await office.manager.get_env("A", who=ada) == "before"


@pytest.mark.requirement("E2.variables")
async def test_variables_have_names_and_bounds(office: Office):
    ada = await office.who()
    for name, value in {
        "": "x",
        "1A": "x",
        "A B": "x",
        "A" * 129: "x",
        "A": "x" * 8193,
        "B": 5,
        "_rtype": "set",
    }.items():
        with pytest.raises(InvalidArguments):
            await office.manager.set_env(name, value, who=ada)  # type: ignore[arg-type]
    for number in range(12):
        await office.manager.set_env(f"N{number}", "x" * 8000, who=ada)
    with pytest.raises(InvalidArguments, match="too large"):
        await office.manager.set_env("N12", "x" * 8000, who=ada)
    await office.manager.set_env("N0", None, who=ada)
    await office.manager.set_env("N12", "x" * 8000, who=ada)


@pytest.mark.requirement("E2.variables")
async def test_two_who_set_variables_at_once_lose_none(office: Office, monkeypatch: pytest.MonkeyPatch):
    ada, get = await office.who(), office.stores.workspaces.get

    async def slow(name: str) -> Any:
        found = await get(name)
        await asyncio.sleep(0)
        return found

    monkeypatch.setattr(office.stores.workspaces, "get", slow)
    await asyncio.gather(*(office.manager.set_env(f"N{number}", "x", who=ada) for number in range(10)))
    assert len(await office.manager.get_env(who=ada)) == 10


@pytest.mark.requirement("hypha.1.5.workspaces")
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


@pytest.mark.requirement("E2.types")
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


@pytest.mark.requirement("E2.types")
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
        {"id": "_rtype", "name": "x"},
        {"id": "a", "name": "x", "definition": {"f": {"_rtype": "method", "_rtarget": "c"}}},
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
    (entry,) = office.audit.of("client.cut")
    assert (entry.what, entry.workspace, entry.user) == ("ws-user-ada/c2", "ws-user-ada", "ada")
    assert office.kicked == [("ws-user-ada/c2", "This client did not answer.")]
    assert office.others.told == [("kick", {"peer": "ws-user-ada/c2", "reason": "This client did not answer."})]
    office.calls.raw[silent.member.peer] = "pong"
    assert await office.manager.cleanup(who=here.who) == {}
    summary = await office.manager.get_summary(who=here.who)
    assert (summary["client_count"], summary["service_count"]) == (2, 0)


# Tokens


@pytest.mark.requirement("hypha.1.5.generate-token")
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


@pytest.mark.requirement("hypha.1.5.revoke-token", "hypha.4.5")
async def test_a_revoked_token_is_parsed_no_more(office: Office):
    ada = await office.who()
    token = await office.manager.generate_token({"permission": "read"}, who=ada)
    parsed = await office.manager.parse_token(token, who=ada)
    assert (parsed["parent"], parsed["scope"]["workspaces"]) == ("ada", {"ws-user-ada": "r"})
    await office.manager.revoke_token(token, who=ada)
    with pytest.raises(Unauthenticated):
        await office.manager.parse_token(token, who=ada)
