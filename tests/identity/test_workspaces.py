"""Workspaces: made on first use, one principal's for ever, and nobody's by having the same name elsewhere."""

import asyncio

import pytest

from tests.identity.ours_kit import ROOT_TOKEN, Instance
from valetkey.errors import Denied, InvalidArguments, NotFound
from valetkey.identity import workspaces
from valetkey.model.audit import Action
from valetkey.model.caller import CUSTOM, OURS, Caller, Owner
from valetkey.model.users import ScopeInfo, TokenConfig, UserInfo, UserPermission

ACME = "https://acme.example"


@pytest.fixture
def instance() -> Instance:
    return Instance()


def caller(user_id: str = "ann", *, issuer: str = OURS, how: str = "access", **about) -> Caller:
    """Somebody, as the verifier of that issuer would name them."""
    held = {f"ws-user-{user_id}": UserPermission.admin, **about.pop("workspaces", {})}
    user = UserInfo(id=user_id, roles=about.pop("roles", []), scope=ScopeInfo(workspaces=held), **about)
    owner = Owner(workspace=f"ws-user-{user_id}", issuer=issuer, subject=user_id)
    return Caller(owner=owner, how=how, user=user)


@pytest.mark.requirement("seed004.identity", "C1.workspaces")
@pytest.mark.parametrize("user_id", ["ann", "api_user_1", "local|ann", "acme|7", "Ann.B"])
async def test_the_own_workspace_is_made_on_first_use(instance, user_id):
    who = caller(user_id)
    assert await instance.workspaces.permission(who, f"ws-user-{user_id}") is UserPermission.admin
    made = await instance.workspaces.ensure(who, f"ws-user-{user_id}")
    assert (made.id, made.owners, made.config["principal"]) == (f"ws-user-{user_id}", [user_id], [OURS, user_id])
    assert await instance.workspaces.ensure(who, made.id) == made
    assert [entry.what for entry in instance.audit.of(Action.WORKSPACE_MAKE)] == [made.id]


async def test_it_is_made_once_however_many_ask_at_once(instance):
    who = caller()
    made = await asyncio.gather(*(instance.workspaces.ensure(who, "ws-user-ann") for _ in range(5)))
    assert len({each.created_at for each in made}) == 1
    assert len(await instance.database.workspaces.page()) == 1


@pytest.mark.requirement("d21.principal")
async def test_two_principals_of_different_issuers_never_share_one(instance):
    first, second = caller("bob"), caller("bob", issuer=ACME, how="foreign")
    await instance.workspaces.ensure(first, "ws-user-bob")
    assert await instance.workspaces.permission(second, "ws-user-bob") is None
    with pytest.raises(NotFound):
        await instance.workspaces.ensure(second, "ws-user-bob")
    child = caller("random", issuer=ACME, parent="bob", workspaces={"ws-user-bob": UserPermission.admin})
    assert await instance.workspaces.permission(child, "ws-user-bob") is None
    assert await instance.workspaces.permission(first, "ws-user-bob") is UserPermission.admin


async def test_the_own_workspace_is_whose_permission_is_asked_first(instance, monkeypatch):
    first, second = caller("bob"), caller("bob", issuer=ACME, how="foreign")
    asked = [await instance.workspaces.permission(who, "ws-user-bob") for who in (first, second, first)]
    assert asked == [UserPermission.admin, None, UserPermission.admin]
    row = await instance.database.workspaces.get("ws-user-bob")
    assert row is not None
    assert row.config["principal"] == [OURS, "bob"]
    reader = caller("carl", issuer=ACME, workspaces={"ws-user-carl": UserPermission.read})
    await instance.workspaces.permission(reader, "ws-user-bob")
    assert [each.id for each in await instance.database.workspaces.page()] == ["ws-user-bob"]


async def test_whose_the_own_workspace_is_costs_one_question_a_minute(instance, monkeypatch):
    monkeypatch.setattr(workspaces, "REMEMBERED", 2)
    store, asked = instance.database.workspaces, list[str]()
    get = store.get

    async def counted(name):
        asked.append(name)
        return await get(name)

    monkeypatch.setattr(store, "get", counted)
    for _ in range(3):
        await instance.workspaces.permission(caller(), "ws-user-ann")
    assert asked == ["ws-user-ann"]
    instance.clock.advance(workspaces.KEEP)
    await instance.workspaces.permission(caller(), "ws-user-ann")
    assert asked == ["ws-user-ann"] * 2
    for name in ("bob", "carl", "ann"):  # two are remembered
        await instance.workspaces.permission(caller(name), f"ws-user-{name}")
    assert asked[2:] == ["ws-user-bob", "ws-user-carl", "ws-user-ann"]


async def test_of_two_instances_one_makes_the_own_workspace(instance):
    other = Instance(clock=instance.clock, database=instance.database)
    theirs = caller("bob", issuer=ACME, how="foreign")
    held = await asyncio.gather(
        instance.workspaces.permission(caller("bob"), "ws-user-bob"),
        other.workspaces.permission(theirs, "ws-user-bob"),
    )
    assert sorted(held, key=str) == sorted([UserPermission.admin, None], key=str)


async def test_an_owner_by_address_is_one_of_the_same_issuer(instance):
    await instance.workspaces.create(caller(), "lab-1", owners=["bob@example.org", "carl"])
    bob = caller("bob", email="bob@example.org")
    assert await instance.workspaces.permission(bob, "lab-1") is UserPermission.admin
    assert await instance.workspaces.permission(caller("carl"), "lab-1") is UserPermission.admin
    for other in (caller("bob", issuer=ACME, email="bob@example.org"), caller("carl", issuer=CUSTOM, how=CUSTOM)):
        assert await instance.workspaces.permission(other, "lab-1") is None


@pytest.mark.requirement("C1.workspaces")
async def test_a_workspace_that_a_host_programs_parser_names_is_made_on_first_use(instance):
    who = caller("api_user_1", issuer=CUSTOM, how=CUSTOM, workspaces={"api-workspace": UserPermission.admin})
    made = await instance.workspaces.ensure(who, "api-workspace")
    assert made.config["principal"] == [CUSTOM, "api_user_1"]
    mate = caller("api_user_2", issuer=CUSTOM, how=CUSTOM, workspaces={"api-workspace": UserPermission.read})
    assert await instance.workspaces.permission(mate, "api-workspace") is UserPermission.read
    assert (await instance.workspaces.ensure(mate, "api-workspace")).id == "api-workspace"


@pytest.mark.parametrize("how", [CUSTOM, "access"])
async def test_a_parser_gives_nobody_a_part_in_somebody_elses_workspace(instance, how):
    await instance.workspaces.create(caller(), "lab-1")
    who = caller("eve", issuer=CUSTOM, how=how, workspaces={"lab-1": UserPermission.admin})
    assert await instance.workspaces.permission(who, "lab-1") is None
    with pytest.raises(NotFound):
        await instance.workspaces.ensure(who, "lab-1")


@pytest.mark.requirement("E-05")
@pytest.mark.parametrize("name", ["ws-nobodys", "ws-user-bob", "lab-1"])
async def test_what_is_not_there_and_what_may_not_be_seen_look_alike(instance, name):
    await instance.workspaces.create(caller("bob"), "lab-1")
    with pytest.raises(NotFound, match=f"^Workspace {name} does not exist or is not accessible$"):
        await instance.workspaces.ensure(caller(), name)
    with pytest.raises(Denied, match=f"^ann has no permission to access {name}$"):
        await instance.workspaces.get(caller(), name)
    with pytest.raises(NotFound):
        await instance.workspaces.delete(caller(), name)


async def test_a_token_of_ours_names_no_workspace_into_being(instance):
    who = caller(workspaces={"ws-new": UserPermission.admin})
    with pytest.raises(NotFound):
        await instance.workspaces.ensure(who, "ws-new")


async def test_a_narrowed_token_may_what_its_scope_says_and_no_more(instance):
    root = await instance.bearer(ROOT_TOKEN)
    await instance.workspaces.create(root, "lab-1")
    secret, _ = await instance.tokens.child(root, TokenConfig(workspace="lab-1", permission="read"))
    program = await instance.bearer(secret)
    assert await instance.workspaces.permission(program, "lab-1") is UserPermission.read
    assert await instance.workspaces.permission(program, "ws-user-root") is None
    with pytest.raises(Denied):
        await instance.workspaces.create(program, "lab-2")
    with pytest.raises(Denied):
        await instance.workspaces.delete(program, "lab-1")
    assert [each.id for each in await instance.workspaces.list(program)] == ["lab-1"]


@pytest.mark.parametrize(
    "name", ["lab", "", "Lab-1", "lab_1-", "lab 1-", "ws-user-bob", "ws-anonymous", "a-" * 65, "lab-é"]
)
async def test_a_name_that_can_be_none_is_refused(instance, name):
    with pytest.raises(InvalidArguments):
        await instance.workspaces.create(caller(), name)


@pytest.mark.requirement("C1.workspaces")
async def test_a_workspace_is_made_shown_and_deleted_by_its_owner(instance):
    made = await instance.workspaces.create(caller(), "lab-1|x", description="ours")
    assert (await instance.workspaces.get(caller(), made.id)).description == "ours"
    with pytest.raises(InvalidArguments, match="There is a workspace"):
        await instance.workspaces.create(caller("bob"), made.id)
    await instance.workspaces.ensure(caller(), "ws-user-ann")
    assert [each.id for each in await instance.workspaces.list(caller())] == [made.id, "ws-user-ann"]
    assert await instance.workspaces.list(caller("bob")) == []
    await instance.workspaces.delete(caller(), made.id)
    assert await instance.workspaces.permission(caller(), made.id) is None


async def test_the_own_workspace_stays_whose_it_is(instance):
    await instance.workspaces.ensure(caller(), "ws-user-ann")
    with pytest.raises(Denied):
        await instance.workspaces.delete(caller(), "ws-user-ann")


async def test_a_user_makes_so_many_and_no_more(instance, monkeypatch):
    monkeypatch.setattr(workspaces, "MOST", 2)
    for number in range(2):
        await instance.workspaces.create(caller(), f"lab-{number}")
    with pytest.raises(InvalidArguments, match="You have 2"):
        await instance.workspaces.create(caller(), "lab-2")
    await instance.workspaces.create(caller("bob"), "lab-2")


@pytest.mark.requirement("C1.anonymous")
async def test_nobody_and_everybody_have_built_in_ones(instance):
    nobody = await instance.nobody()
    assert await instance.workspaces.permission(nobody, "ws-anonymous") is UserPermission.read
    assert (await instance.workspaces.ensure(nobody, "ws-anonymous")).read_only
    assert await instance.workspaces.permission(nobody, "public") is None
    assert await instance.workspaces.permission(caller("root"), "public") is UserPermission.admin
    assert await instance.workspaces.permission(caller("root", issuer=ACME), "public") is None
    with pytest.raises(Denied, match=r"^anonymouz-http has no permission to access lab-1$"):
        await instance.workspaces.get(nobody, "lab-1")
    with pytest.raises(Denied):
        await instance.workspaces.create(nobody, "lab-1")


@pytest.mark.parametrize("name", ["*", "a b", "\n", ""])
async def test_what_can_be_no_name_is_no_workspace(instance, name):
    root = await instance.bearer(ROOT_TOKEN)
    with pytest.raises(InvalidArguments):
        await instance.workspaces.ensure(root, name)
