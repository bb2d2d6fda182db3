"""Services of connected clients: registered, found, described, listed; each by whoever may, and nobody else."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.services.kit import BASE
from tests.services.office import Office
from valetkey.errors import Denied, InvalidArguments, NotFound
from valetkey.model.needs import Need, Needs
from valetkey.model.services import Registered
from valetkey.services import registering
from valetkey.services.failures import RemoteFailure

ADA = "ws-user-ada"


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    made = Office(most_services=3)
    yield made
    await made.desk.close()
    made.end()


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [each["id"] for each in found]


# Registering


@pytest.mark.requirement("hypha.2.registering", "E2.visibility")
async def test_a_service_is_its_clients_own_and_as_it_says(office: Office):
    link = await office.join()
    config = {"visibility": "protected", "authorized_workspaces": ["ws-user-bob"], "workspace": "elsewhere", "more": 1}
    needs = [{"provider": "github", "scopes": ["repo"]}]
    given = {
        "id": f"{ADA}/c1:calc",
        "name": "Calculator",
        "type": "maths",
        "description": "Adds.",
        "docs": "Long.",
        "app_id": "app-1",
        "config": {**config, "needs": needs, "require_context": ["add"], "created_by": {"id": "root"}},
        "service_schema": {"add": {"type": "function", "function": {"name": "add"}}},
    }
    await office.manager.register_service(given, {"skip_app_id_validation": True}, who=link.who)
    made = office.directory.service(f"{ADA}/c1", "calc")
    assert made is not None
    assert (made.name, made.type, made.description, made.docs) == ("Calculator", "maths", "Adds.", "Long.")
    assert (made.app_id, made.require_context) == ("app-1", ("add",))
    assert made.authorized_workspaces == {"ws-user-bob"}
    assert made.needs == Needs(((Need(provider="github", scopes=frozenset({"repo"})),),))
    assert made.registrant == ("valetkey", "ada")
    assert (made.info()["config"]["workspace"], made.info()["config"]["created_by"]) == (ADA, {"id": "ada"})
    assert made.info()["config"]["more"] == 1


@pytest.mark.requirement("hypha.2.registering")
@pytest.mark.parametrize(
    "service_id",
    ["ws-user-bob/c1:calc", f"{ADA}/c2:calc", "c2:calc", "public/c1:calc", "*/c1:calc", f"{ADA}/manager:x", "a/b/c1:d"],
)
async def test_an_id_that_is_another_clients_is_refused(office: Office, service_id: str):
    link = await office.join()
    await office.join("c2")
    with pytest.raises(Denied):
        await office.manager.register_service({"id": service_id}, who=link.who)
    with pytest.raises(Denied):
        await office.manager.unregister_service(service_id, who=link.who)
    assert office.directory.count_of(f"{ADA}/c1") == office.directory.count_of(f"{ADA}/c2") == 0


@pytest.mark.requirement("hypha.2.registering")
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"id": 5},
        {"id": ""},
        {"id": "two words"},
        {"id": "x" * 600},
        {"id": "s", "config": {"visibility": "secret"}},
        {"id": "s", "config": {"visibility": ["public"]}},
        {"id": "s", "config": {"visibility": "public", "authorized_workspaces": ["ws-a"]}},
        {"id": "s", "config": {"authorized_workspaces": "ws-a"}},
        {"id": "s", "config": {"singleton": "yes"}},
        {"id": "s", "config": {"require_context": 1}},
        {"id": "s", "config": {"needs": [{"provider": "GitHub repo"}]}},
        {"id": "s", "config": {"needs": [{"provider": "github", "handler": "env"}]}},
        {"id": "s", "config": {"needs": [{"provider": "github", "scopes": "repo"}]}},
        {"id": "s", "config": {"deep": [[]] and __import__("functools").reduce(lambda a, _: [a], range(40), 1)}},
        {"id": "s", "config": {"half": "\ud800"}},
        {"id": "s", "config": {"bytes": b"x"}},
        {"id": "s", "config": {"number": float("nan")}},
        {"id": "s", "config": []},
        {"id": "s", "service_schema": {"add": {"docs": "x" * 66_000}}},
        {"id": "s", "description": "x" * 2000},
        {"id": "s", "docs": "x" * 66_000},
        {"id": "s", "app_id": "a/b"},
        {"id": "s", "type": 5},
        {"id": "s", "config": {"_rtype": "ndarray", "_rvalue": "zz", "_rdtype": "nope", "_rshape": [1]}},
        {"id": "s", "config": {"help": [{"_rtype": "method", "_rtarget": "*/manager-i1", "_rmethod": "services.x.f"}]}},
        {"id": "s", "service_schema": {"f": {"type": "function", "function": {"_rtype": "set"}}}},
        {"id": "s", "service_schema": {"_rtype": {"type": "function"}}},
    ],
    ids=lambda given: str(given)[:40],
)
async def test_what_can_be_no_service_is_refused(office: Office, given: dict[str, Any]):
    link = await office.join()
    with pytest.raises(InvalidArguments):
        await office.manager.register_service(given, who=link.who)
    assert office.directory.count_of(f"{ADA}/c1") == 0


@pytest.mark.parametrize("service_id", ["my.tool", f"{ADA}/c1:my.tool", ".", "a.", ".a"])
async def test_an_id_with_a_dot_is_refused_as_no_call_would_get_there(office: Office, service_id: str):
    link = await office.join()
    with pytest.raises(InvalidArguments, match=r"A-Z, a-z, 0-9, low line, hyphen.*has no dot"):
        await office.manager.register_service({"id": service_id}, who=link.who)
    assert office.directory.count_of(f"{ADA}/c1") == 0


async def test_what_a_library_keeps_to_itself_is_dropped_in_silence(office: Office):
    link = await office.join()
    await office.register(link, "_rintf_abc")
    await office.manager.register_service({"id": "own", "config": {"_local_only": True}}, who=link.who)
    assert office.directory.count_of(f"{ADA}/c1") == 0


@pytest.mark.requirement("hypha.2.registering")
async def test_the_built_in_service_needs_no_permission_and_is_not_for_strangers(office: Office):
    reader = await office.join("c1", "bob", workspaces={"ws-user-bob": "r"})
    built_in = {"id": "ws-user-bob/c1:built-in", "type": "built-in", "config": {"visibility": "public"}}
    await office.manager.register_service(built_in, who=reader.who)
    with pytest.raises(Denied):
        await office.register(reader)
    assert ids(await office.manager.list_services(who=reader.who)) == []
    assert len(await office.manager.list_services({"type": "built-in"}, who=reader.who)) == 1
    with pytest.raises(Denied):
        await office.manager.get_service("ws-user-bob/c1:built-in", who=await office.who("eve"))
    with pytest.raises(NotFound):
        await office.manager.unregister_service("built-in", who=(await office.join("c2", "bob")).who)


@pytest.mark.requirement("hypha.2.registering", "E1.caps")
async def test_a_client_registers_so_many_and_no_more(office: Office):
    link = await office.join()
    await office.manager.register_service({"id": "built-in", "type": "built-in"}, who=link.who)
    for name in ("a", "b", "c"):
        await office.register(link, name)
    with pytest.raises(InvalidArguments, match=r"Service quota exceeded: client ws-user-ada/c1 already has 3"):
        await office.register(link, "d")
    await office.register(link, "c")  # the same again
    await office.manager.unregister_service("a", who=link.who)
    await office.register(link, "d")


async def test_all_services_of_a_client_together_say_so_much_of_themselves(
    office: Office, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(registering, "MOST_BYTES", 3000)
    link = await office.join()
    await office.register(link, "a", docs="x" * 1000)
    with pytest.raises(InvalidArguments, match="and may say 3000"):
        await office.register(link, "b", docs="x" * 1500)
    await office.register(link, "a", docs="x" * 2000)  # in its own place
    await office.manager.unregister_service("a", who=link.who)
    await office.register(link, "b", docs="x" * 1500)
    office.relay.detach(link)
    await office.register(await office.join(), "c", docs="x" * 2000)


async def test_a_client_that_goes_while_it_registers_leaves_nothing_behind(office: Office):
    link = await office.join()

    async def goes(*_: Any) -> bool:
        office.relay.detach(link)
        await office.join()  # another one of that address
        return True

    office.sight.may = goes  # type: ignore[method-assign, assignment]
    with pytest.raises(Denied, match="connected client"):
        await office.register(link)
    assert office.directory.count_of(link.member.peer) == 0


@pytest.mark.requirement("E2.visibility")
async def test_a_singleton_is_alone_in_its_workspace(office: Office):
    first, second = await office.join("c1"), await office.join("c2")
    await office.register(first, singleton=True)
    await office.register(first, singleton=True)  # once more by the same client
    with pytest.raises(InvalidArguments, match="singleton service with the same name"):
        await office.register(second)
    await office.register(second, "other")
    with pytest.raises(InvalidArguments, match="singleton"):
        await office.register(first, "other", singleton=True)
    elsewhere = await office.join("c1", "bob")
    await office.register(elsewhere, singleton=True)


# Who sees what


@pytest.mark.requirement("hypha.1.5.visibility", "E2.visibility")
async def test_visibility_decides_who_finds_a_service(office: Office):
    ada, bob, eve = [await office.join("c1", name) for name in ("ada", "bob", "eve")]
    configs: dict[str, dict[str, Any]] = {
        "open": {"visibility": "public"},
        "hidden": {"visibility": "unlisted"},
        "shared": {"authorized_workspaces": ["ws-user-bob"]},
    }
    for name, config in configs.items():
        await office.register(ada, name, **config)
        office.offers(ada, name)
    for link in (ada, bob, eve):
        for name in ("open", "hidden", "shared"):
            if (link, name) != (eve, "shared"):
                info = await office.manager.get_service_info(f"{ADA}/{name}", who=link.who)
                assert info["id"] == f"{ADA}/c1:{name}"
    with pytest.raises(Denied, match=f"Permission denied for non-public service in workspace {ADA}"):
        await office.manager.get_service_info(f"{ADA}/shared", who=eve.who)
    lists = [ids(await office.manager.list_services(ADA, who=link.who)) for link in (ada, bob, eve)]
    assert lists == [
        [f"{ADA}/c1:open", f"{ADA}/c1:shared"],
        [f"{ADA}/c1:open", f"{ADA}/c1:shared"],
        [f"{ADA}/c1:open"],
    ]
    hidden = await office.manager.list_services({"visibility": "unlisted"}, who=ada.who)
    assert ids(hidden) == [f"{ADA}/c1:hidden"]
    with pytest.raises(Denied, match="Cannot include unlisted services from workspace"):
        await office.manager.list_services(ADA, True, who=bob.who)


@pytest.mark.requirement("E2.visibility")
async def test_whom_else_a_service_lets_in_is_told_to_those_of_its_workspace(office: Office):
    ada, bob = await office.join("c1", "ada"), await office.join("c1", "bob")
    await office.register(ada, authorized_workspaces=["ws-user-bob", "ws-user-carl"])
    office.offers(ada)
    own = await office.manager.get_service_info("calc", who=ada.who)
    assert own["config"]["authorized_workspaces"] == ["ws-user-bob", "ws-user-carl"]
    shown = [
        await office.manager.get_service_info(f"{ADA}/calc", who=bob.who),
        await office.manager.get_service(f"{ADA}/calc", who=bob.who),
        *(await office.manager.list_services(ADA, who=bob.who)),
        *(await office.manager.search_services("calc", who=bob.who) or [{"config": {}}]),
    ]
    assert all("authorized_workspaces" not in each["config"] for each in shown)


async def test_a_listing_of_all_workspaces_has_public_ones_and_the_own(office: Office):
    ada, bob = await office.join("c1", "ada"), await office.join("c1", "bob")
    await office.register(ada, "open", visibility="public")
    await office.register(ada, "closed", authorized_workspaces=["ws-user-bob"])
    await office.register(bob, "mine")
    found = await office.manager.list_services({"workspace": "*"}, who=bob.who)
    assert sorted(ids(found)) == [f"{ADA}/c1:open", "ws-user-bob/c1:mine"]
    for query in ({"workspace": "*", "visibility": "protected"}, {"strange": 1}, {"id": "a", "service_id": "b"}, 5):
        with pytest.raises(InvalidArguments):
            await office.manager.list_services(query, who=bob.who)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (None, ["c1:a", "c1:b", "c2:a"]),
        (ADA, ["c1:a", "c1:b", "c2:a"]),
        (f"{ADA}/a", ["c1:a", "c2:a"]),
        ("c2:*", ["c2:a"]),
        (f"{ADA}/c1:b", ["c1:b"]),
        ({"service_id": "a@app-1"}, ["c2:a"]),
        ({"id": "b"}, ["c1:b"]),
        ({"client_id": "c?"}, ["c1:a", "c1:b", "c2:a"]),
        ({"type": "maths"}, ["c2:a"]),
        ({"visibility": "public"}, ["c1:b"]),
    ],
)
async def test_a_query_says_which_are_listed(office: Office, query: Any, expected: list[str]):
    first, second = await office.join("c1"), await office.join("c2")
    await office.register(first, "a")
    await office.register(first, "b", visibility="public")
    await office.register(second, "a", app_id="app-1", type="maths")
    found = await office.manager.list_services(query, who=first.who)
    assert sorted(ids(found)) == [f"{ADA}/{each}" for each in expected]


# Which one is meant


@pytest.mark.requirement("hypha.2.get-service")
async def test_one_of_several_is_chosen_as_the_caller_says(office: Office):
    links = [await office.join(name) for name in ("c1", "c2", "c3")]
    for link in links:
        await office.register(link)
        office.clock.advance(1)
    who = links[0].who
    with pytest.raises(InvalidArguments, match=r"Multiple services found for ws-user-ada/\*:calc"):
        await office.manager.resolve("calc", who)

    async def chosen(mode: str, query: str = "calc") -> str:
        found = await office.manager.resolve(query, who, mode=mode)
        assert isinstance(found, Registered)
        return found.client

    assert (await chosen("first"), await chosen("last")) == ("c1", "c3")
    assert await chosen("exact", "c2:calc") == await chosen("exact", f"{ADA}/c2:calc") == "c2"
    assert {await chosen("random") for _ in range(40)} == {"c1", "c2", "c3"}
    busy = {f"{ADA}/c1": 2, f"{ADA}/c2": 0, f"{ADA}/c3": 1}
    office.relay.waiting = lambda peer: busy[peer]  # type: ignore[method-assign]
    assert await chosen("min_load") == "c2"
    office.calls.values = {
        f"{ADA}/c1:calc": 5,
        f"{ADA}/c2:calc": RemoteFailure("ValueError", ""),
        f"{ADA}/c3:calc": 1.5,
    }
    assert (await chosen("select:min:load"), await chosen("select:max:load")) == ("c3", "c1")
    assert await chosen("select:first_success:load") == "c1"
    office.calls.values = {}
    assert await chosen("select:min:load") in ("c1", "c2", "c3")
    for mode in ("nearest", "select:min", "select:mean:load", "select:min:a:b"):
        with pytest.raises(InvalidArguments, match=r"mode|criteria"):
            await chosen(mode)


async def test_one_of_this_instance_goes_before_others(office: Office):
    from valetkey.model.services import Member

    here = await office.join("c9")
    await office.register(here)
    far = Member(workspace=ADA, client="c1", instance="i2", principal=("valetkey", "ada"), since=0)
    office.directory.join(far)
    office.directory.register(Registered(workspace=ADA, client="c1", id="calc"))
    found = {(await office.manager.resolve("calc", here.who, mode="native:random")).client for _ in range(20)}
    assert found == {"c9"}


@pytest.mark.requirement("hypha.2.get-service")
async def test_an_app_is_named_after_the_service(office: Office):
    link = await office.join()
    await office.register(link, app_id="app-1")
    assert (await office.manager.resolve("calc@app-1", link.who)).id == "calc"
    with pytest.raises(NotFound, match="Service not found: ws-user-ada/\\*:calc@app-2"):
        await office.manager.resolve("calc@app-2", link.who)


@pytest.mark.parametrize("query", ["", "*", "a/b/c", "a:b:c", "x@y@z", "*/calc", "/calc", "ws-a/*", "x" * 800, None, 5])
async def test_what_names_no_service_is_a_bad_query(office: Office, query: Any):
    with pytest.raises(InvalidArguments):
        await office.manager.resolve(query, await office.who())


@pytest.mark.requirement("d25.relay-uses-it")
async def test_the_servers_own_services_come_first(office: Office):
    link = await office.join("c1", "ada", roles=("admin",), workspace="public")
    office.table.register(
        {"id": "calc", "config": {"visibility": "public"}, "add": lambda a, b: a + b}, workspace="public"
    )
    await office.register(link)
    found = await office.manager.get_service("public/calc", who=await office.who("eve"))
    assert (found["id"], found["add"]["_rtarget"]) == ("public/server:calc", "public/server")
    assert (found["add"]["_rmethod"], found["config"]["url"]) == (
        "services.calc.add",
        f"{BASE}/public/services/server:calc",
    )


async def test_what_another_instance_announced_just_now_is_found(office: Office):
    from valetkey.model.services import Member

    def announce() -> None:
        far = Member(workspace=ADA, client="far", instance="i2", principal=("valetkey", "ada"))
        office.directory.join(far)
        office.directory.register(Registered(workspace=ADA, client="far", id="calc"))

    office.others.known = [announce]
    assert (await office.manager.resolve("calc", await office.who())).client == "far"


# Handed on


@pytest.mark.requirement("hypha.2.get-service")
async def test_a_service_is_handed_on_with_its_clients_functions_and_the_servers_facts(office: Office):
    ada, bob = await office.join("c1", "ada"), await office.join("c1", "bob")
    await office.register(ada, visibility="public", description="Adds.")
    given = office.offers(
        ada, nested={"more": [{"_rtype": "method", "_rtarget": f"{ADA}/c1", "_rmethod": "services.calc.x"}]}
    )
    given["config"] = {"visibility": "unlisted", "workspace": "public", "url": "https://elsewhere.example"}
    found = await office.manager.get_service(f"{ADA}/calc", {"timeout": 3}, who=bob.who)
    assert office.calls.asked == [(f"{ADA}/c1", "services.built-in.get_service", ["calc"], True, 3)]
    assert (found["id"], found["description"]) == (f"{ADA}/c1:calc", "Adds.")
    assert (found["config"]["visibility"], found["config"]["workspace"]) == ("public", ADA)
    assert found["config"]["url"] == f"{BASE}/{ADA}/services/c1:calc"
    assert found["add"]["_rtarget"] == found["nested"]["more"][0]["_rtarget"] == f"{ADA}/c1"
    assert f"{ADA}/c1" in bob.talked


@pytest.mark.requirement("hypha.2.get-service")
async def test_functions_are_named_as_the_caller_spells_names(office: Office):
    link = await office.join()
    await office.register(link)
    reference = {"_rtype": "method", "_rtarget": "c1", "_rmethod": "services.calc.add_all"}
    for case, names in {
        "camel": {"addAll", "inNested"},
        "snake": {"add_all", "in_nested"},
        "camel+snake": {"addAll", "add_all", "inNested", "in_nested"},
    }.items():
        office.offers(link, add_all=reference, inNested={"subAll": reference}, add=1)
        found = await office.manager.get_service("calc", {"case_conversion": case}, who=link.who)
        assert found.keys() - {"id", "name", "type", "description", "docs", "app_id", "config", "add"} == names
        nested = found.get("inNested") or found["in_nested"]
        assert all(each["_rmethod"] == "services.calc.add_all" for each in nested.values())
    with pytest.raises(InvalidArguments, match="case_conversion"):
        await office.manager.get_service("calc", {"case_conversion": "title"}, who=link.who)


@pytest.mark.requirement("hypha.2.get-service")
@pytest.mark.parametrize(
    "wrong",
    [
        {"_rtype": "method", "_rtarget": "ws-user-bob/c1", "_rmethod": "services.calc.add"},
        {"_rtype": "method", "_rtarget": "*/manager-i1", "_rmethod": "services.default.generate_token"},
        {"_rtype": "method", "_rtarget": "c2", "_rmethod": "services.calc.add"},
        {"_rtype": "method", "_rtarget": "c1", "_rmethod": "services.other.add"},
        {"_rtype": "method", "_rtarget": "c1", "_rmethod": "services.calcx.add"},
        {"_rtype": "method", "_rtarget": "c1", "_rmethod": "s1.resolve"},
        {"_rtype": "method", "_rtarget": "c1"},
        {"_rtype": "method", "_rmethod": "services.calc.add"},
        {"_rtype": "generator", "_rtarget": "c1", "_rmethod": "services.calc.add"},
    ],
    ids=str,
)
async def test_a_client_that_describes_another_ones_functions_is_not_believed(office: Office, wrong: dict[str, Any]):
    ada, bob = await office.join("c1", "ada"), await office.join("c1", "bob")
    await office.register(ada, visibility="public")
    office.offers(ada, nested=[{"deep": wrong}])
    with pytest.raises(NotFound, match="does not say what it offers"):
        await office.manager.get_service(f"{ADA}/calc", who=bob.who)
    assert f"{ADA}/c1" not in bob.talked
    office.calls.raw[f"{ADA}/c1"] = "no dict"
    with pytest.raises(NotFound):
        await office.manager.get_service(f"{ADA}/calc", who=bob.who)


@pytest.mark.requirement("hypha.2.manager")
async def test_the_manager_gives_itself(office: Office):
    link = await office.join()
    for query in ("~", "public/~"):
        found = await office.manager.get_service(query, who=link.who)
        assert found["echo"]["_rtarget"] == "*/manager-i1"
        info = await office.manager.get_service_info(query, who=link.who)
        assert info["service_schema"]["set_env"]["function"]["parameters"]["required"] == ["key", "value"]
        told = [each["function"] for each in info["service_schema"].values()]
        assert not any("who" in each["parameters"]["properties"] or "Raises" in each["description"] for each in told)
