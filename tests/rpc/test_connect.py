"""The handshake of `/ws` at the wire (contract 2.1 and 1.5): who comes in, where, and what others are told."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from tests.rpc.place import ROOT_TOKEN, Place, place, until
from valetkey.entrypoints.rpc import handshake
from valetkey.errors import CouldNotTell, StoreUnavailable
from valetkey.limits import NEWCOMERS_FROM_ADDRESS
from valetkey.model.tokens import TokenKind
from valetkey.secret import Secret
from valetkey.settings.sections import Identity
from valetkey.testing.clock import ManualClock


async def refused(here: Place, client: str = "c1", **first: Any) -> str:
    """The text with which a client is sent away; its socket is closed with 1008."""
    raw = await here.raw(client, **first)
    assert raw.info["type"] == "error"
    assert (await raw.ended())[0] == 1008
    return str(raw.info["message"])


@pytest.mark.requirement("hypha.1.5.order", "hypha.2.connection-info")
async def test_a_client_with_a_token_is_told_where_it_is_and_who() -> None:
    async with place(server_id="one") as here:
        raw = await here.raw("c1", token=await here.token("ada"))
        info = raw.info
        assert set(info) == {
            "type",
            "hypha_version",
            "public_base_url",
            "local_base_url",
            "manager_id",
            "workspace",
            "client_id",
            "user",
            "reconnection_token",
            "reconnection_token_life_time",
        }
        assert (info["type"], info["manager_id"]) == ("connection_info", "manager-one")
        assert (info["workspace"], info["client_id"]) == ("ws-user-ada", "c1")
        assert info["public_base_url"] == here.base_url
        assert info["reconnection_token_life_time"] == 172800.0
        assert info["user"]["id"] == "ada"
        assert info["user"]["current_workspace"] == "ws-user-ada"
        assert info["user"]["scope"]["workspaces"] == {"ws-user-ada": "a"}
        assert here.services.directory.member("ws-user-ada/c1") is not None
        assert await raw.call(raw.manager, "services.default.echo", 5) == {"resolve": 5}


@pytest.mark.requirement("hypha.1.5.workspaces", "W-02")
async def test_each_client_without_a_token_has_a_workspace_of_its_own_and_is_admin_there() -> None:
    async with place() as here:
        one, two = await here.raw("c1"), await here.raw("c1")
        for raw in (one, two):
            user = raw.info["user"]
            assert user["id"].startswith("anonymouz-")
            assert user["is_anonymous"] is True
            assert raw.info["workspace"] == f"ws-user-{user['id']}"
            assert user["scope"]["workspaces"] == {raw.info["workspace"]: "a"}
        assert one.info["workspace"] != two.info["workspace"]
        assert (await here.identity.workspaces.list(here.link(one.peer).who.caller)) == []  # nothing is kept of it


@pytest.mark.requirement("hypha.2.connection-info", "E1.socket")
async def test_the_real_client_connects_registers_and_is_called() -> None:
    async with place() as here:
        one = await here.connect("one", token=await here.token("ada"))
        await one.register_service({"id": "hi", "hello": lambda name: f"hi {name}"})
        two = await here.connect("two", token=await here.token("ada"))
        hi = await two.get_service("hi")
        assert await hi.hello("there") == "hi there"


@pytest.mark.requirement("hypha.2.first-frame", "hypha.2.errors")
@pytest.mark.parametrize(
    ("frame", "told"),
    [
        ("{", "Failed to decode"),
        ("[]", "JSON object"),
        ("null", "JSON object"),
        ('{"client_id": "a", "client_id": "b"}', "Failed to decode"),
        ("[" * 60_000, "Failed to decode"),
        ('{"client_id": "c", "x": "' + "y" * 70_000 + '"}', "Failed to decode"),
        (b"\x81\xa9client_id\xa1c", "Failed to decode"),
        ({}, "client_id"),
        ({"client_id": None}, "client_id"),
        ({"client_id": 5}, "client_id"),
        ({"client_id": "c", "workspace": 5}, "workspace is a text"),
        ({"client_id": "c", "token": ["t"]}, "token is a text"),
        ({"client_id": "c", "reconnection_token": {}}, "reconnection_token is a text"),
        *(
            ({"client_id": name}, "client_id is of")
            for name in ("", "a/b", "a:b", "a@b", "*", "a b", "é", ".a", "a" * 129)
        ),
        *(({"client_id": name}, "the server's own") for name in ("manager-x", "http-x", "server")),
    ],
)
async def test_a_first_frame_that_is_none_is_refused(frame: Any, told: str) -> None:
    async with place() as here:
        raw = await here.open_raw()
        await (raw.socket.send(frame) if isinstance(frame, bytes) else raw.say(frame))
        error = await raw.hear()
        assert error["type"] == "error"
        assert told in error["message"]
        assert (await raw.ended())[0] == 1008
        assert here.services.relay.links() == []


@pytest.mark.requirement("hypha.2.first-frame")
async def test_nobody_who_says_nothing_keeps_a_socket() -> None:
    clock = ManualClock()
    async with place(clock=clock) as here:
        raw = await here.open_raw()
        await clock.sleepers(3)  # the server's own two, and this one
        clock.advance(4.9)
        await raw.socket.ping()
        ended = asyncio.ensure_future(raw.ended())
        for _ in range(50):
            await asyncio.sleep(0)
        assert not ended.done()
        clock.advance(0.1)
        assert (await ended)[0] == 1008


@pytest.mark.requirement("hypha.2.first-frame", "d30.carriers-socket")
async def test_what_stands_in_the_address_is_refused_unread() -> None:
    async with place() as here:
        raw = await here.open_raw(path=f"?client_id=c1&token={await here.token()}")
        error = await raw.hear()
        assert error["message"].startswith("Connection rejected: send client_id")
        assert (await raw.ended())[0] == 1008
        assert here.services.relay.links() == []


@pytest.mark.requirement("hypha.1.5.specialized", "W-02")
async def test_a_token_that_is_not_good_is_told_so() -> None:
    async with place() as here:
        text, row = await here.issue("ada")
        await here.identity.tokens.end(row, by="ada")
        for token in ("nonsense", "a.b.c", text, text[:-1]):
            assert await refused(here, token=token)
        assert "Specialized token with scopes ['files:read']" in await refused(
            here, token=await here.token("ada", "files:read")
        )


@pytest.mark.requirement("hypha.1.5.client-id")
async def test_a_token_for_one_client_lets_no_other_in() -> None:
    async with place() as here:
        token = await here.token("ada", client_id="only")
        assert (await here.raw("only", token=token)).info["client_id"] == "only"
        assert await refused(here, "other", token=token) == (
            "Client id mismatch: this token is restricted to client with client_id='only'"
        )


@pytest.mark.requirement("hypha.1.5.token-workspace")
async def test_a_token_for_one_workspace_leads_there_and_nowhere_else() -> None:
    async with place() as here:
        token = await here.token("ada", workspace="ws-user-bob", workspaces={"ws-user-bob": "rw"})
        await here.raw("b1", token=await here.token("bob"))  # it is made by whose it is
        raw = await here.raw("c1", token=token)
        assert raw.info["workspace"] == "ws-user-bob"
        assert raw.info["user"]["scope"]["workspaces"]["ws-user-bob"] == "rw"
        assert await refused(here, "c2", token=token, workspace="ws-user-ada") == (
            "Current workspace encoded in the token (ws-user-bob) does not match the specified workspace (ws-user-ada)"
        )
        assert (await here.raw("c3", token=token, workspace="ws-user-bob")).info["workspace"] == "ws-user-bob"


@pytest.mark.requirement("hypha.1.5.loaded")
@pytest.mark.parametrize("token", [True, False])
async def test_other_peoples_workspaces_are_not_there(token: bool) -> None:
    async with place() as here:
        await here.raw("b1", token=await here.token("bob"))
        text = await here.token("ada") if token else None
        for workspace in ("ws-user-bob", "ws-user-nobody", "no-such"):
            assert await refused(here, token=text, workspace=workspace) == (
                f"Workspace {workspace} does not exist or is not accessible"
            )


@pytest.mark.requirement("hypha.1.5.workspaces", "hypha.1.5.public")
async def test_the_workspace_public_is_the_servers_own() -> None:
    async with place() as here:
        for token in (None, await here.token("ada", workspaces={"ws-user-ada": "a", "public": "r"})):
            assert "workspace public" in await refused(here, token=token, workspace="public")
        assert (await here.raw("c1", token=ROOT_TOKEN, workspace="public")).info["workspace"] == "public"
        assert (await here.raw("c1", token=ROOT_TOKEN)).info["workspace"] == "ws-user-root"


async def test_root_registers_in_its_own_workspace_and_in_public_and_comes_back_to_both() -> None:
    async with place() as here:

        def is_back(peer: str) -> bool:
            return here.services.directory.service(peer, "nightly") is not None

        eve = await here.connect("eve", token=await here.token("eve"))
        for workspace in ("ws-user-root", "public"):
            root = await here.connect("r1", token=ROOT_TOKEN, workspace=workspace)
            assert root.config["workspace"] == workspace
            own = {"id": "nightly", "config": {"visibility": "public", "require_context": True}}
            await root.register_service({**own, "who": lambda context=None: context["user"]["id"]})
            assert await (await eve.get_service(f"{workspace}/nightly")).who() == "eve"
            peer = f"{workspace}/r1"
            here.services.live.kick(peer, reason="a network that broke")  # the client comes back by itself
            await here.gone(peer)
            await until(partial(is_back, peer))
            assert await (await eve.get_service(f"{workspace}/nightly")).who() == "eve"
            again = await here.raw("r2", token=ROOT_TOKEN, workspace=workspace)
            text = again.info["reconnection_token"]
            back = await here.raw("r2", reconnection_token=text, workspace=workspace)
            assert (back.info["workspace"], back.info["user"]["id"]) == (workspace, "root")


@pytest.mark.requirement("hypha.1.5.duplicate")
async def test_a_client_that_is_there_keeps_its_name() -> None:
    async with place() as here:
        token = await here.token("ada")
        first = await here.raw("c1", token=token)
        assert await refused(here, "c1", token=token) == "Client already exists and is active: ws-user-ada/c1"
        await first.say({"type": "ping"})
        assert await first.hear() == {"type": "pong"}
        await first.socket.close()
        await here.gone(first.peer)
        assert (await here.raw("c1", token=token)).info["client_id"] == "c1"


@pytest.mark.requirement("hypha.1.5.duplicate")
async def test_two_of_one_name_at_once_are_one() -> None:
    async with place() as here:
        token = await here.token("ada")
        both = await asyncio.gather(*(here.raw("c1", token=token) for _ in range(6)))
        assert sorted(raw.info["type"] for raw in both) == ["connection_info", *["error"] * 5]
        assert len(here.services.relay.links()) == 1


@pytest.mark.requirement("hypha.2.errors")
@pytest.mark.parametrize("error", [CouldNotTell("not now"), StoreUnavailable("not now")])
async def test_what_may_pass_by_itself_closes_without_an_error_frame(error: Exception) -> None:
    async with place() as here:
        token = await here.token("ada")

        async def fail(*_: Any, **__: Any) -> Any:
            raise error

        here.identity.workspaces.permission = fail  # type: ignore[method-assign]
        raw = await here.open_raw()
        await raw.say({"client_id": "c1", "token": token})
        frames: list[Any] = []
        assert (await raw.ended(frames))[0] == 1013
        assert frames == []


@pytest.mark.requirement("hypha.2.keepalive", "E1.socket")
async def test_keepalives_are_answered() -> None:
    async with place() as here:
        raw = await here.raw("c1")
        for _ in range(3):
            await raw.say({"type": "ping"})
            assert await raw.hear() == {"type": "pong"}


# Reconnection


@pytest.mark.requirement("hypha.2.keepalive")
async def test_a_new_reconnection_token_is_the_same_for_a_minute() -> None:
    clock = ManualClock()
    async with place(clock=clock) as here:
        raw = await here.raw("c1", token=await here.token("ada"))
        first = raw.info["reconnection_token"]

        async def again() -> Any:
            await raw.say({"type": "refresh_token"})
            frame = await raw.hear()
            assert set(frame) == {"type", "reconnection_token"}
            assert frame["type"] == "reconnection_token"
            return frame["reconnection_token"]

        assert await again() == first
        clock.advance(59)
        assert await again() == first
        clock.advance(1)
        second = await again()
        assert second != first
        rows = await here.identity.tokens.every(kinds={TokenKind.RECONNECTION})
        assert len(rows) == 2


@pytest.mark.requirement("hypha.2.reconnection", "W-10.services", "E1.socket")
async def test_whoever_comes_back_takes_its_own_place() -> None:
    async with place() as here:
        first = await here.raw("c1", token=await here.token("ada"))
        other = await here.raw("c2", token=await here.token("ada"))
        old = here.link(first.peer)
        again = await here.raw("c1", reconnection_token=first.info["reconnection_token"])
        assert again.info["workspace"] == "ws-user-ada"
        assert again.info["user"]["id"] == "ada"
        assert (await first.ended())[0] == 4409
        assert here.link(again.peer) is not old
        await other.send(again.peer, "x.y", 1)
        await other.send(again.peer, "services.built-in.f", 1)
        assert (await again.hear())[0]["from"] == other.peer
        assert {link.member.peer for link in here.services.relay.links()} == {first.peer, other.peer}


@pytest.mark.requirement("hypha.2.reconnection")
async def test_an_anonymous_client_comes_back_as_who_it_was() -> None:
    async with place() as here:
        first = await here.raw("c1")
        first.socket.transport.abort()
        await here.gone(first.peer)
        again = await here.raw(
            "c1", workspace=first.info["workspace"], reconnection_token=first.info["reconnection_token"]
        )
        assert again.info["user"] == first.info["user"]
        assert again.info["workspace"] == first.info["workspace"]


@pytest.mark.parametrize("how", ["ended in order", "too late"])
async def test_an_anonymous_client_does_not_come_back_once_it_left_or_after_ten_minutes(how: str) -> None:
    async with place(clock=ManualClock()) as here:
        first = await here.raw("c1")
        assert first.info["reconnection_token_life_time"] == 600
        assert (await here.raw("c1", token=await here.token("ada"))).info["reconnection_token_life_time"] == 172_800
        if how == "too late":
            first.socket.transport.abort()
            here.clock.advance(601)
        else:
            await first.socket.close()
        await here.gone(first.peer)
        known = first.info["workspace"], first.info["reconnection_token"]
        assert "not good" in await refused(here, "c1", workspace=known[0], reconnection_token=known[1])


async def test_so_many_come_without_a_token_from_one_address_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "NEWCOMERS_FROM_ADDRESS", replace(NEWCOMERS_FROM_ADDRESS, most=2))
    async with place() as here:
        for number in range(2):
            assert (await here.raw(f"c{number}")).info["type"] == "connection_info"
        late = await here.open_raw()
        await late.say({"client_id": "c9"})
        assert await late.ended() == (1013, "Try again later.")
        assert (await here.raw("c9", token=await here.token("ada"))).info["type"] == "connection_info"


@pytest.mark.requirement("hypha.2.reconnection")
async def test_nobody_takes_the_place_of_another_users_client_with_an_old_reconnection_token() -> None:
    async with place() as here:
        ada = await here.token("ada")
        ben = await here.token("ben", workspaces={"team-x": "rw", "ws-user-ben": "a"})
        owner = await here.raw("o", token=ada)
        made = await owner.call(owner.manager, "services.default.create_workspace", {"id": "team-x", "owners": ["ben"]})
        assert "resolve" in made
        first = await here.raw("worker", token=ben, workspace="team-x")
        first.socket.transport.abort()
        await here.gone("team-x/worker")
        await here.raw("worker", token=ada, workspace="team-x")
        text = first.info["reconnection_token"]
        assert "already exists" in await refused(here, "worker", workspace="team-x", reconnection_token=text)
        assert here.link("team-x/worker").who.caller.principal[1] == "ada"


@pytest.mark.parametrize("word", ["manager", "http", "server"])
async def test_what_the_server_calls_its_own_on_whichever_instance_is_no_clients_name(word: str) -> None:
    async with place() as here:
        assert "the server's own" in await refused(here, f"{word}-other", token=await here.token("ada"))


@pytest.mark.requirement("hypha.2.reconnection")
async def test_a_reconnection_token_is_for_its_client_and_workspace_alone() -> None:
    async with place() as here:
        first = await here.raw("c1", token=await here.token("ada"))
        text = first.info["reconnection_token"]
        assert await refused(here, "c2", reconnection_token=text) == "Client id mismatch, disconnecting"
        assert await refused(here, "c1", reconnection_token=text, workspace="ws-user-bob") == (
            "Invalid scope, workspace mismatch: ws-user-bob != ws-user-ada"
        )
        assert await refused(here, "c1", token=text)  # and it is no token
        async with here.http(text) as http:
            assert (await http.get("/assets/config.json")).status_code == 401
        await first.say({"type": "ping"})
        assert await first.hear() == {"type": "pong"}


@pytest.mark.requirement("hypha.4.3")
async def test_a_reconnection_token_ends_with_the_token_behind_it() -> None:
    clock = ManualClock()
    async with place(clock=clock) as here:
        token, row = await here.issue("ada", kind=TokenKind.ACCESS, expires_in=600)
        text = (await here.raw("c1", token=token)).info["reconnection_token"]
        (made,) = await here.identity.tokens.every(kinds={TokenKind.RECONNECTION})
        assert made.expires_at == row.expires_at
        again = await here.raw("c1", reconnection_token=text)
        assert here.link(again.peer).who.caller.until == row.expires_at
        clock.advance(600)
        assert await refused(here, "c1", reconnection_token=text)


async def test_coming_back_does_not_shorten_a_life_without_end() -> None:
    clock = ManualClock()
    async with place(clock=clock, limits={"idle_timeout": 1e6}) as here:
        first = await here.raw("c1", token=await here.token("ada"))
        again = await here.raw("c1", reconnection_token=first.info["reconnection_token"])
        clock.advance(100_000)
        await again.say({"type": "refresh_token"})
        text = (await again.hear())["reconnection_token"]
        clock.advance(100_000)  # more than two days after the first
        assert (await here.raw("c1", reconnection_token=text)).info["user"]["expires_at"] is None


@pytest.mark.requirement("hypha.4.3")
async def test_a_reconnection_token_is_revoked_with_the_token_behind_it_on_every_instance() -> None:
    async with place() as here, place(system=here.identity.system) as there:
        token, row = await here.issue("ada")
        text = (await here.raw("c1", token=token)).info["reconnection_token"]
        assert (await there.raw("c1", reconnection_token=text)).info["type"] == "connection_info"
        await here.identity.tokens.end(row, by="ada")
        for each in (here, there):
            assert await refused(each, "c1", reconnection_token=text)


async def test_roots_reconnection_token_ends_with_the_root_token() -> None:
    async with place() as here:
        text = (await here.raw("c1", token=ROOT_TOKEN)).info["reconnection_token"]
        again = await here.raw("c1", reconnection_token=text)
        assert again.info["user"]["id"] == "root"
        async with place(system=here.identity.system, identity=Identity(root_token=Secret("n" * 40))) as changed:
            assert await refused(changed, "c1", reconnection_token=text)


@pytest.mark.requirement("hypha.1.5.order")
async def test_a_good_token_counts_where_the_reconnection_token_is_over() -> None:
    async with place() as here:
        token, row = await here.issue("ada")
        text = (await here.raw("c1", token=token)).info["reconnection_token"]
        await here.identity.tokens.end(row, by="ada")
        fresh = await here.token("ada")
        assert (await here.raw("c2", token=fresh, reconnection_token=text)).info["client_id"] == "c2"
        assert (await here.raw("c3", token=fresh, reconnection_token="vkr_none")).info["client_id"] == "c3"


# Where it is opened from


@pytest.mark.requirement("W-15")
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("a b", 400),
        ("", 400),
        ("127.0.0.1\r\nhost: evil.example", 400),
    ],
)
async def test_another_name_is_refused_at_the_handshake(host: str, status: int) -> None:
    async with place() as here:
        assert await here.knock({"host": host}) == status
        assert await here.knock({"host": f"127.0.0.1:{here.listener.port}"}) == 101


@pytest.mark.requirement("W-01")
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://us.evil", "http://127.0.0.1:1", ""])
async def test_pages_of_others_are_refused_at_the_handshake(origin: str) -> None:
    async with place() as here:
        assert await here.knock({"host": f"127.0.0.1:{here.listener.port}", "origin": origin}) == 403


@pytest.mark.requirement("hypha.4.9")
async def test_our_own_pages_and_named_ones_may_connect() -> None:
    async with place(serving={"allow_origins": ("https://lab.example",)}) as here:
        for origin in (here.base_url, "https://lab.example"):
            raw = await here.open_raw(additional_headers={"origin": origin})
            await raw.say({"client_id": "c1"})
            assert (await raw.hear())["type"] == "connection_info"
    async with place(serving={"allow_origins": ("*",)}) as here:
        raw = await here.open_raw(additional_headers={"origin": "https://any.example"})
        await raw.say({"client_id": "c1"})
        assert (await raw.hear())["user"]["is_anonymous"] is True


@pytest.mark.requirement("W-01", "d30.carriers-socket")
async def test_no_cookie_and_no_header_says_who_is_calling() -> None:
    async with place() as here:
        session = await here.token("ada", kind=TokenKind.SESSION)
        key = await here.token("ada")
        for headers in (
            {"cookie": f"valetkey={session}; access_token={key}", "origin": here.base_url},
            {"authorization": f"Bearer {key}"},
        ):
            raw = await here.open_raw(additional_headers=headers)
            await raw.say({"client_id": "c1"})
            assert (await raw.hear())["user"]["is_anonymous"] is True
        assert await refused(here, token=session)


async def test_nothing_of_a_socket_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    async with place() as here:
        token = await here.token("ada")
        raw = await here.raw("c1", token=token)
        await here.open_raw(path=f"?token={token}")
        await raw.say({"type": "refresh_token"})
        frame = await raw.hear()
    told = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("websockets"))
    for secret in (token, frame["reconnection_token"], "?token"):
        assert secret not in told
    assert json.dumps({"type": "refresh_token"}) not in told
