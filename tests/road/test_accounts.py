"""Several accounts of one person, on the whole road: which one a call uses, and what becomes of each."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.road.support import CALENDAR, get, timed
from valetkey import (
    AmbiguousConnection,
    AuthProvider,
    AuthRequired,
    InvalidArguments,
    Pocket,
    PocketAuth,
    function_tool,
)
from valetkey.cli.main import main
from valetkey.connections.accounts import Accounts
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.model.connections import Connection
from valetkey.model.interactions import InteractionKind
from valetkey.testing import canary
from valetkey.wiring import build

PASSPHRASE = "correct horse battery staple"


@function_tool(auth_provider=AuthProvider.GOOGLE, scopes=[CALENDAR])
async def which(profile: str, GOOGLE_TOKEN: str) -> str:  # noqa: N803
    """Tell which account this is."""
    return f"{profile} {len(GOOGLE_TOKEN)}"


@pytest.fixture
def pocket(server):
    with Pocket([which]) as pocket:
        yield pocket


@pytest.fixture
def passphrase(home) -> Path:
    file = Path("passphrase")
    file.write_text(f"{PASSPHRASE}\n")
    file.chmod(0o600)
    return file


async def connect(pocket: Pocket, server, profile: str, thread: str = "default") -> None:
    auth = pocket.auth
    request = auth.make_request([CALENDAR], auth_provider=AuthProvider.GOOGLE)
    whose: dict[str, Any] = {"auth_provider": AuthProvider.GOOGLE, "thread_id": thread, "profile": profile}
    link = str(await auth.prepare(request, **whose)).rpartition(" ")[2]
    await asyncio.to_thread(get, server.approve(link))
    await auth.authenticate_async(request, **whose)


async def row_of(profile: str, thread: str = "default") -> Connection:
    row = await build.default().stores.connections.get(owner_of(thread), "google", profile)
    assert row is not None
    return row


async def token_of(profile: str, thread: str = "default") -> str:
    system = build.default()
    row = await row_of(profile, thread)
    return system.sealer.open_credential(row).access_token.reveal()


def accounts() -> Accounts:
    system = build.default()
    return Accounts(
        store=system.stores.connections,
        keeper=system.keeper,
        finder=system.handling,
        clock=system.clock,
        entropy=system.entropy,
    )


async def command(*arguments: str) -> int:
    return await asyncio.to_thread(main, ["connections", *arguments])


@pytest.mark.requirement("B5.profiles")
async def test_each_call_uses_the_account_that_it_names(pocket, server):
    await connect(pocket, server, "work")
    await connect(pocket, server, "home")
    for profile in ("work", "home"):
        assert (await pocket.ainvoke("which", {}, profile=profile)).startswith(f"{profile} ")


@pytest.mark.requirement("B5.several")
async def test_a_call_that_names_none_of_several_is_an_error_for_the_program_that_lists_them(pocket, server):
    await connect(pocket, server, "work")
    await connect(pocket, server, "home")
    for call in (pocket.ainvoke, pocket.acall, pocket.tool_call):
        with pytest.raises(AmbiguousConnection, match=r"Google.* home.* work.*profile='home'") as raised:
            await call("which", {})
        assert raised.value.profiles == ("home", "work")
    with pytest.raises(AmbiguousConnection):
        await pocket.initialize_tool_auth()
    with pytest.raises(AmbiguousConnection):
        await which()
    assert server.refreshes == 0


@pytest.mark.requirement("B5.profiles")
async def test_one_account_under_another_name_serves_calls_that_name_none(pocket, server):
    await connect(pocket, server, "work")
    assert (await pocket.ainvoke("which", {})).startswith("work "), "and the tool is told which"
    assert await pocket.initialize_tool_auth() == []
    assert await pocket.prepare_auth("which") is None
    assert await pocket.wait_tool_auth() is True
    assert await pocket.authenticate("which") == {"GOOGLE_TOKEN": await token_of("work")}
    assert str(await which()).startswith("work ")


async def test_the_steps_one_by_one_are_about_the_very_profile(pocket, server):
    await connect(pocket, server, "work")
    auth = PocketAuth()
    request = auth.make_request([CALENDAR], auth_provider=AuthProvider.GOOGLE)
    assert await auth.prepare(request, auth_provider=AuthProvider.GOOGLE) is not None


async def test_a_default_account_is_used_whatever_else_there_is(pocket, server):
    for profile in ("work", "default", "home"):
        await connect(pocket, server, profile)
    assert (await pocket.ainvoke("which", {})).startswith("default ")


async def test_an_account_that_ended_is_asked_for_again_and_no_other_stands_in(pocket, server, clock):
    await connect(pocket, server, "default")
    server.revoke_all()
    await connect(pocket, server, "work")
    clock.advance(3601)
    assert (await pocket.ainvoke("which", {})).startswith("User needs to authenticate")
    assert (await pocket.ainvoke("which", {}, profile="work")).startswith("work ")


def model_says(tool: str, **arguments: object) -> tuple[str, str]:
    """A model's answer, as the wire has it."""
    return tool, json.dumps(arguments)


async def test_a_model_names_one_of_the_persons_own_profiles_and_never_anothers(server):
    with Pocket([which], use_profile=True) as pocket:
        await connect(pocket, server, "work", "ann")
        await connect(pocket, server, "home", "ann")
        await connect(pocket, server, "boss", "bob")
        (told,) = await asyncio.to_thread(pocket.describe_tools, "ann")
        assert told["parameters"]["properties"]["profile"]["enum"] == ["home", "work"]
        assert "thread_id" not in json.dumps(told)

        assert (await pocket.ainvoke(*model_says("which", profile="work"), "ann")).startswith("work ")
        for foreign in ("boss", "bob", "Work", "work ", "", 7, ["work"], {"thread_id": "bob"}):
            with pytest.raises(InvalidArguments, match="one of default, home, work"):
                await pocket.ainvoke(*model_says("which", profile=foreign), "ann")
        with pytest.raises(InvalidArguments):
            await pocket.ainvoke(*model_says("which", profile="boss", thread_id="bob"), "ann")
        with pytest.raises(AmbiguousConnection):
            await pocket.ainvoke(*model_says("which", profile=None), "ann")
        assert (await pocket.ainvoke(*model_says("which"), "ann", "home")).startswith("home ")


async def test_default_is_a_profile_like_any_where_a_model_names_it(server):
    with Pocket([which], use_profile=True) as pocket:
        await connect(pocket, server, "work")
        assert (await pocket.ainvoke(*model_says("which", profile="default"))).startswith("work "), "there is none"
        await connect(pocket, server, "default")
        assert (await pocket.ainvoke(*model_says("which", profile="default"))).startswith("default ")
        await build.default().refresher.reject(await row_of("default", "default"), "over")
        text, waiting = await pocket.ainvoke_with_state(*model_says("which", profile="default"))
        assert waiting, f"no other one is taken for it: {text}"


async def test_without_use_profile_a_model_names_none(pocket, server):
    await connect(pocket, server, "work")
    (told,) = pocket.describe_tools()
    assert "profile" not in told["parameters"]["properties"]
    with pytest.raises(InvalidArguments):
        await pocket.ainvoke(*model_says("which", profile="work"))


async def test_renaming_waits_for_the_refresh_that_is_under_way_and_loses_nothing(pocket, server, clock):
    await connect(pocket, server, "work")
    clock.advance(3601)
    server.pause()
    call = asyncio.create_task(pocket.ainvoke("which", {}, profile="work"))
    await asyncio.to_thread(server.wait_held)
    renaming = asyncio.create_task(
        accounts().rename(await accounts().find("google:work", owner_of("default")), "office")
    )
    for _ in range(20):
        await asyncio.sleep(0)
    assert not renaming.done()
    server.resume()
    assert (await call).startswith("work ")
    while not renaming.done():
        clock.advance(0.05)
        await asyncio.sleep(0.001)
    assert (await renaming).profile == "office"
    assert (await pocket.ainvoke("which", {}, profile="office")).startswith("office ")
    assert await token_of("office") == server.issued[-2]
    assert (server.refreshes, server.family_alive(server.issued[-1])) == (1, True)


async def test_a_refresh_that_knew_the_old_name_does_not_bring_it_back(pocket, server, clock, monkeypatch):
    await connect(pocket, server, "work")
    await connect(pocket, server, "free")
    clock.advance(3601)
    store = build.default().stores.connections
    lease = store.lease

    async def renamed_before(*args, **keywords):
        monkeypatch.setattr(store, "lease", lease)
        row = await accounts().find("google:work", owner_of("default"))
        await accounts().rename(row, "office")
        return await lease(*args, **keywords)

    monkeypatch.setattr(store, "lease", renamed_before)
    await pocket.ainvoke("which", {}, profile="work")
    assert server.refreshes == 1
    assert [row.profile for row in await store.of_owner(owner_of("default"))] == ["free", "office"]
    clock.advance(3601)
    assert (await pocket.ainvoke("which", {}, profile="office")).startswith("office ")
    assert server.family_alive(server.issued[-1])


async def test_a_rename_whose_process_dies_in_between_holds_the_row_no_longer_than_its_lease(pocket, server, clock):
    await connect(pocket, server, "work")
    store = build.default().stores.connections
    (row,) = await store.of_owner(owner_of("default"))
    assert await store.lease(row.id, generation=row.generation, owner="dead", attempt="a", now=clock.now(), ttl=20)
    renaming = asyncio.create_task(accounts().rename(row, "office"))
    while not renaming.done():
        clock.advance(1)
        await asyncio.sleep(0.001)
    assert (await renaming).profile == "office"


@pytest.mark.requirement("B5.transfer")
async def test_an_export_into_a_fresh_home_is_used_and_refreshed_there(
    pocket, server, clock, passphrase, tmp_path, monkeypatch, capfd
):
    await connect(pocket, server, "work", "ann")
    await connect(pocket, server, "default", "bob")
    before = {profile: await token_of(profile, thread) for thread, profile in (("ann", "work"), ("bob", "default"))}
    assert await command("export", "accounts.json", "--passphrase-file", str(passphrase)) == 0
    said = capfd.readouterr()
    assert "2 accounts" in said.out
    assert "one place only" in said.out

    pocket.teardown()
    monkeypatch.setenv("VALETKEY_HOME", str(tmp_path / "fresh"))
    timed(clock)
    assert await build.default().stores.connections.page() == []
    assert await command("import", "accounts.json", "--passphrase-file", str(passphrase)) == 0
    assert await token_of("work", "ann") == before["work"]
    with Pocket([which]) as fresh:
        assert (await fresh.ainvoke("which", {}, "ann")).startswith("work ")
        clock.advance(3601)
        assert (await fresh.ainvoke("which", {}, "ann")).startswith("work ")
        assert server.refreshes == 1
        assert await token_of("work", "ann") != before["work"]
        assert (await fresh.ainvoke("which", {}, "bob")).startswith("default ")
    said_too = capfd.readouterr()
    places = {
        "stdout": said.out + said_too.out,
        "stderr": said.err + said_too.err,
        **contents(Path("accounts.json"), *(tmp_path / "fresh").iterdir()),
    }
    assert canary.find(places, [*server.issued, PASSPHRASE]) == []


def contents(*files: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in files if file.is_file()}


async def link_of(thread: str = "default") -> str:
    """The link that is asked about, as soon as it is."""
    interactions = build.default().interactions
    async with asyncio.timeout(20):
        while not (asked := await interactions.of_owner(owner_of(thread), InteractionKind.CONNECT)):  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.01)
    return str(interactions.payload(asked[0])["url"])


@asynccontextmanager
async def reconnecting(name: str, clock) -> AsyncIterator[tuple[asyncio.Task[int], str]]:
    """The command while it waits, and the link that it asks with; it waits no longer than the block."""
    waiting = asyncio.create_task(command("reconnect", name))
    try:
        yield waiting, await link_of()
    finally:
        while not waiting.done():
            clock.advance(60)
            await asyncio.sleep(0.01)


@pytest.mark.requirement("d.commands-reconnect")
async def test_reconnect_prints_a_link_and_keeps_the_old_account_until_it_is_answered(pocket, server, clock, capfd):
    await connect(pocket, server, "work")
    before = await token_of("work")
    async with reconnecting("google", clock) as (waiting, link):
        assert set(parse_qs(urlsplit(link).query)["scope"][0].split()) >= {CALENDAR}
        assert await token_of("work") == before
        await asyncio.to_thread(get, server.approve(link))
        assert await asyncio.wait_for(asyncio.shield(waiting), 20) == 0
    said = capfd.readouterr().out
    assert link in said
    assert "google:work of the thread default is connected" in said
    assert await token_of("work") != before


@pytest.mark.requirement("d.commands-reconnect")
async def test_reconnect_whose_person_says_no_leaves_the_old_account(pocket, server, clock, capfd):
    await connect(pocket, server, "work")
    before = await token_of("work")
    async with reconnecting("google:work", clock) as (waiting, link):
        await asyncio.to_thread(get, server.deny(link))
        assert await asyncio.wait_for(asyncio.shield(waiting), 20) == 4
    assert capfd.readouterr().err.count("\n") == 1
    assert await token_of("work") == before
    assert (await pocket.ainvoke("which", {})).startswith("work ")


async def test_ctrl_c_ends_the_wait_and_the_link_can_still_be_answered(pocket, server):
    await connect(pocket, server, "work")
    before = await token_of("work")
    assert (await pocket.ainvoke("which", {})).startswith("work ")
    await asyncio.to_thread(pocket.teardown)  # its ports go to the command
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "valetkey", "connections", "reconnect", "google:work",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        link = await link_of()
        assert child.stdout
        assert child.stderr
        async with asyncio.timeout(20):
            while b"Ctrl-C" not in (line := await child.stdout.readline()):
                assert line, (await child.stderr.read()).decode()
        child.send_signal(signal.SIGINT)
        _, told = await asyncio.wait_for(child.communicate(), 20)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode == 130
    assert b"stays open until" in told
    assert b"Traceback" not in told
    assert (await pocket.ainvoke("which", {}, profile="work")).startswith("work ")
    request = pocket.auth.make_request([CALENDAR, "more"], auth_provider=AuthProvider.GOOGLE)
    again = await pocket.auth.prepare(request, auth_provider=AuthProvider.GOOGLE, profile="work")
    assert parse_qs(urlsplit(again).query)["state"] == parse_qs(urlsplit(link).query)["state"], "the same question"
    await asyncio.to_thread(get, server.approve(again.rpartition(" ")[2]))
    assert await token_of("work") != before


async def test_disconnecting_one_of_two_tells_the_truth_and_leaves_the_other(pocket, server, capfd):
    await connect(pocket, server, "work")
    await connect(pocket, server, "home")
    assert await command("disconnect", "google") == 2
    assert "home" in capfd.readouterr().err
    assert await command("disconnect", "google:work") == 0
    assert "google:work of the thread default is disconnected." in capfd.readouterr().out
    assert (await pocket.ainvoke("which", {})).startswith("home ")
    with pytest.raises(AuthRequired):
        await pocket.tool_call("which", {}, profile="work")


async def test_the_list_shows_whose_and_where_and_no_secret(pocket, server, clock, capfd):
    await connect(pocket, server, "work", "ann")
    await connect(pocket, server, "default", "bob")
    await build.default().refresher.reject(await row_of("default", "bob"), "The provider said no.")
    assert await command("list", "--json") == 0
    listed = capfd.readouterr().out
    assert await command("list") == 0
    table = capfd.readouterr().out
    assert await command("show", "google", "--thread", "ann") == 0
    shown = capfd.readouterr().out
    rows = {row["thread"]: row for row in json.loads(listed)}
    assert (rows["ann"]["profile"], rows["ann"]["state"], rows["ann"]["servable"]) == ("work", "ok", True)
    assert (rows["bob"]["state"], rows["bob"]["cause"]) == ("needs_reauth", "rejected")
    assert rows["ann"]["scopes"] == [CALENDAR]
    assert "bob" in table
    assert "The provider said no." in table
    assert "Connect the account again" in table
    assert "in 1 h" in table
    assert rows["ann"]["id"] in shown
    assert canary.find({"list": listed, "table": table, "show": shown}, server.issued) == []
