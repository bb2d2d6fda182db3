"""How live sockets end: with their token, by silence, with the server; and that nothing more is passed then."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.rpc.place import Place, Raw, place, wind
from valetkey.errors import CouldNotTell
from valetkey.model.stops import Stop, StopKind
from valetkey.model.tokens import TokenKind
from valetkey.services import live
from valetkey.testing.clock import ManualClock


async def ended(here: Place, raw: Raw, seconds: float = 5) -> tuple[int | None, list[Any]]:
    """The close code of a socket that ends within so many seconds, and the frames that came before."""
    frames: list[Any] = []
    reading = asyncio.ensure_future(raw.ended(frames))
    await wind(here.clock, seconds, reading)
    code, _ = await reading
    return code, frames


@pytest.mark.requirement("W-05", "hypha.4.3", "hypha.4.5")
@pytest.mark.parametrize("how", ["revoked", "expired", "user blocked", "workspace blocked", "parent revoked"])
async def test_a_socket_ends_with_its_token_and_no_other_one_does(how: str) -> None:
    async with place(clock=ManualClock(), limits={"idle_timeout": 1e6}) as here:
        identity = here.identity
        text, row = await here.issue("ada", kind=TokenKind.ACCESS, expires_in=600)
        other = await here.raw("b1", token=await here.token("bob"))
        victim = await here.raw("c1", token=text)
        if how == "parent revoked":
            made = await victim.call(victim.manager, "services.default.generate_token", {"expires_in": 300})
            victim = await here.raw("c2", token=made["resolve"])
        if how in ("revoked", "parent revoked"):
            await identity.tokens.end(row, by="ada")
        elif how == "expired":
            here.clock.advance(599)
            await victim.say({"type": "ping"})
            assert await victim.hear() == {"type": "pong"}
        else:
            kind, target = (StopKind.USER, "ada") if "user" in how else (StopKind.WORKSPACE, "ws-user-ada")
            await identity.stops.put(Stop(kind=kind, target=target, by="root", reason="", created_at=here.clock.now()))
        assert await ended(here, victim) == (4401, [])
        await here.gone(victim.peer)
        await other.say({"type": "ping"})
        assert await other.hear() == {"type": "pong"}


@pytest.mark.requirement("W-05", "hypha.4.5")
async def test_a_token_revoked_on_another_instance_ends_its_sockets_here() -> None:
    clock = ManualClock()
    async with place(clock=clock) as here, place(system=here.identity.system) as there:
        text, row = await here.issue("ada")
        raw = await there.raw("c1", token=text)
        await here.identity.tokens.end(row, by="ada")
        assert (await ended(there, raw))[0] == 4401


async def test_a_socket_ends_once_its_user_is_no_owner_of_its_workspace_any_more() -> None:
    async with place(clock=ManualClock()) as here:
        config = {"id": "team-x", "owners": ["ben", "cid"]}
        owner = await here.raw("o", token=await here.token("ada"))
        make = "services.default.create_workspace"
        assert "resolve" in await owner.call(owner.manager, make, config)
        ben = await here.raw("b", token=await here.token("ben"), workspace="team-x")
        others = [await here.raw(name, token=await here.token(name), workspace="team-x") for name in ("cid", "ada")]
        config["owners"] = ["cid"]
        assert "resolve" in await owner.call(owner.manager, make, config, True, session="s2")
        assert await ben.ended() == (4401, "Permission denied for workspace: team-x")
        for other in others:
            assert "resolve" in await other.call(other.manager, "services.default.check_status")


async def test_a_socket_that_came_while_its_user_was_taken_off_the_owners_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async with place() as here:
        owner = await here.raw("o", token=await here.token("ada"))
        make = "services.default.create_workspace"
        assert "resolve" in await owner.call(owner.manager, make, {"id": "team-x", "owners": ["ben"]})
        ben, issue = await here.token("ben"), here.services.reconnections.issue

        async def late(*args: Any) -> Any:
            monkeypatch.undo()
            assert "resolve" in await owner.call(owner.manager, make, {"id": "team-x"}, True, session="s2")
            return await issue(*args)

        monkeypatch.setattr(here.services.reconnections, "issue", late)
        raw = await here.open_raw()
        await raw.say({"client_id": "b", "token": ben, "workspace": "team-x"})
        assert (await raw.ended())[0] == 4401


@pytest.mark.requirement("W-05")
async def test_a_socket_that_came_back_ends_with_the_token_behind_it() -> None:
    async with place(clock=ManualClock()) as here:
        text, row = await here.issue("ada")
        first = await here.raw("c1", token=text)
        again = await here.raw("c1", reconnection_token=first.info["reconnection_token"])
        await here.identity.tokens.end(row, by="ada")
        assert (await ended(here, again))[0] == 4401


@pytest.mark.requirement("W-05")
async def test_nothing_more_is_passed_once_it_is_over() -> None:
    async with place(clock=ManualClock()) as here:
        text, row = await here.issue("ada")
        victim, other = await here.raw("c1", token=text), await here.raw("c2", token=await here.token("ada"))
        await here.identity.tokens.end(row, by="ada")
        link = here.link(victim.peer)
        await here.services.live.look()
        await other.send(victim.peer, "services.built-in.late", 1)  # to and from it
        await victim.send(other.peer, "services.built-in.late", 1)
        assert await other.call(other.manager, "services.default.echo", 1) == {"resolve": 1}
        frames: list[Any] = []
        assert (await victim.ended(frames))[0] == 4401
        assert frames == []
        assert here.services.relay.link(victim.peer) is not link
        await other.say({"type": "ping"})
        assert await other.hear() == {"type": "pong"}


@pytest.mark.requirement("hypha.2.gone", "W-10.services")
async def test_calls_that_wait_for_a_client_fail_as_soon_as_it_is_gone() -> None:
    async with place() as here:
        token = await here.token("ada")
        one, two = await here.raw("c1", token=token), await here.raw("c2", token=token)
        call = asyncio.ensure_future(one.call(two.peer, "services.x.f", 1))
        assert (await two.hear())[0]["method"] == "services.x.f"
        await two.socket.close()
        assert await call == {"reject": "Target peer ws-user-ada/c2 is not connected"}


@pytest.mark.requirement("hypha.2.errors")
async def test_where_nobody_can_tell_who_is_blocked_clients_are_sent_away_to_come_back() -> None:
    async with place(clock=ManualClock()) as here:
        raw = await here.raw("c1", token=await here.token("ada"))

        async def fails() -> None:
            raise CouldNotTell("not now")

        here.identity.stops.fresh = fails  # type: ignore[method-assign]
        assert await ended(here, raw) == (1013, [])


@pytest.mark.requirement("W-10.silent-client")
async def test_a_client_that_is_silent_for_too_long_is_cut_off() -> None:
    async with place(clock=ManualClock(), limits={"idle_timeout": 30}) as here:
        silent, talks = await here.raw("c1"), await here.raw("c2")
        for _ in range(9):
            here.clock.advance(3)
            await talks.say({"type": "ping"})
            assert await talks.hear() == {"type": "pong"}
        reading = asyncio.ensure_future(silent.ended())
        assert 2 <= await wind(here.clock, 5, reading) <= 4
        assert await reading == (1001, "Idle timeout (30s)")
        await talks.say({"type": "ping"})
        assert await talks.hear() == {"type": "pong"}


async def test_a_server_that_stops_says_so_and_lets_nobody_in() -> None:
    async with place() as here:
        raw, waiting = await here.raw("c1", token=await here.token("ada")), await here.open_raw()
        here.services.leave()
        assert (await raw.ended())[0] == live.RESTART == 1012
        assert await here.knock({"host": f"127.0.0.1:{here.listener.port}"}) == 503
        await here.listener.stop()
        assert (await waiting.ended())[0] == 1012


@pytest.mark.requirement("E1.socket")
async def test_the_real_client_comes_back_after_a_restart_with_its_services() -> None:
    async with place() as here:
        token = await here.token("ada")
        one = await here.connect("one", token=token)
        await one.register_service({"id": "hi", "hello": lambda name: f"hi {name}"})
        link = here.link("ws-user-ada/one")
        again = here.services.directory.watch(back := _Back("hi"))
        here.services.live.kick(link.member.peer, code=1012, reason="cut")
        async with asyncio.timeout(10):
            await back.told.wait()
        again()
        two = await here.connect("two", token=token)
        assert await (await two.get_service("hi")).hello("again") == "hi again"


class _Back:
    """Watches for a service."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.told = asyncio.Event()

    def joined(self, member: Any) -> None:
        pass

    def left(self, member: Any, services: Any) -> None:
        pass

    def registered(self, service: Any) -> None:
        if service.id == self._name:
            self.told.set()

    def unregistered(self, service: Any) -> None:
        pass
