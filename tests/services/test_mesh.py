"""Instances of one server: who is where, calls between them, and what is lost, forged or silent."""

import asyncio
import logging
from dataclasses import replace

import msgpack
import pytest

from tests.services.mesh_kit import call, circle, quiet, reply
from valetkey.model.needs import Need, Needs
from valetkey.model.services import Registered
from valetkey.services import mesh, packing, streams
from valetkey.services.frames import Message
from valetkey.services.relay import NOBODY, ServiceLoan, Stamp


@pytest.mark.requirement("E4.across")
async def test_clients_and_services_of_one_are_known_to_all():
    async with circle("a", "b", "c") as (_, a, b, c):
        a.client("ada")
        service = a.service("ada", "echo", schema={"say": {"type": "function"}}, registrant=("issuer", "ada"))
        await quiet()
        for each in (b, c):
            assert each.peers == ["lab/ada"]
            assert each.directory.member("lab/ada").instance == "a"
            assert each.directory.service("lab/ada", "echo") == service
        a.directory.unregister("lab/ada", "echo")
        await quiet()
        assert b.services == c.services == []
        a.relay.detach(a.relay.link("lab/ada"))
        await quiet()
        assert b.peers == c.peers == []


async def test_who_joins_later_is_told_what_there_is_and_tells_it():
    async with circle("a") as (all_, a):
        a.client("ada")
        a.service("ada", "echo")
        b = await all_.join("b")
        assert (b.peers, b.services) == (["lab/ada"], ["lab/ada:echo"])
        b.client("bob")
        c = await all_.join("c")
        await all_.wait(mesh.BEAT)
        assert c.peers == b.peers == a.peers == ["lab/ada", "lab/bob"]


async def test_a_call_and_its_reply_cross_and_the_caller_is_who_its_instance_says():
    async with circle("a", "b") as (_, a, b):
        ada, bob = a.client("ada"), b.client("bob")
        b.service("bob", "echo")
        await quiet()
        await a.relay.receive(ada, call(ada, "bob", "s1"))
        await quiet()
        ((message, stamp),) = b.ears["bob"].heard
        assert (message.method, message.sender, message.to) == ("services.echo.say", "lab/ada", "lab/bob")
        assert (stamp.workspace, stamp.user, stamp.who) == ("lab", {"id": "ada"}, None)
        assert message.arguments() == ([1], {})
        assert (message.interval, message.star) == (5, True)
        await b.relay.receive(bob, reply("s1", "ada", 7))
        await quiet()
        ((answer, _),) = a.ears["ada"].heard
        assert (answer.method, answer.arguments()) == ("s1.resolve", ([7], {}))
        assert a.relay.waiting("lab/bob") == 0


async def test_a_call_of_the_server_s_own_is_answered_to_the_instance_that_made_it():
    async with circle("a", "b") as (_, a, b):
        bob, answers = b.client("bob"), type(b.ears["bob"])()
        a.relay.put("*/http-a", answers)
        await quiet()
        message = Message(
            method="services.echo.say", to="lab/bob", sender="lab/http-a", session="s", promised=True, star=False
        )
        a.relay.send(message, Stamp(workspace="lab"))
        await quiet()
        await b.relay.receive(bob, reply("s", "lab/http-a", 1))
        await quiet()
        assert answers.methods == ["s.resolve"]


async def test_another_instance_s_own_services_take_replies_and_no_calls():
    """Who calls is known where they are connected, and nowhere else: nobody gets at a manager from elsewhere."""
    async with circle("a", "b") as (_, a, b):
        ada, desk = a.client("ada"), type(a.ears["ada"])()
        b.relay.put("*/manager-b", desk)
        await a.relay.receive(ada, call(ada, "*/manager-b", method="services.default.generate_token"))
        await quiet()
        assert desk.heard == []
        assert a.ears["ada"].methods == ["s1.reject"]


async def test_a_long_message_arrives_whole_and_what_follows_behind_it():
    async with circle("a", "b") as (_, a, b):
        a.client("ada")
        b.client("bob")
        await quiet()
        long = bytes(range(256)) * 50_000  # 12.8 MB: more than may be under way at once
        for number, args in enumerate((long, b"\x90", long)):
            a.relay.send(Message(method=f"m{number}", to="lab/bob", sender="lab/ada", args=args), NOBODY)
        async with asyncio.timeout(10):
            while len(b.ears["bob"].heard) < 3:
                await quiet()
        assert [message.args for message, _ in b.ears["bob"].heard] == [long, b"\x90", long]
        assert max(len(data) for _, data in a.line.sent) < streams.BATCH + 2000


async def test_of_what_nobody_says_to_have_taken_no_more_than_a_window_is_under_way():
    async with circle("a", "b") as (_, a, b):
        a.client("ada")
        b.client("bob")
        await quiet()
        b.line.loses = lambda _to, _data: True
        before = len(a.line.sent)
        a.relay.send(Message(method="m", to="lab/bob", sender="lab/ada", args=bytes(3 * streams.WINDOW)), NOBODY)
        await quiet()
        under_way = sum(len(data) for _, data in a.line.sent[before:])
        assert streams.WINDOW <= under_way <= streams.WINDOW + 2 * streams.BATCH


async def test_both_may_send_more_than_may_be_under_way_at_the_same_time():
    async with circle("a", "b") as (_, a, b):
        a.client("ada")
        b.client("bob")
        await quiet()
        long = bytes(3 * streams.WINDOW)
        a.relay.send(Message(method="m", to="lab/bob", sender="lab/ada", args=long), NOBODY)
        b.relay.send(Message(method="m", to="lab/ada", sender="lab/bob", args=long), NOBODY)
        async with asyncio.timeout(10):
            while not (a.ears["ada"].heard and b.ears["bob"].heard):
                await quiet()


@pytest.mark.requirement("E4.dies")
async def test_a_silent_instance_is_dropped_and_calls_to_it_fail():
    async with circle("a", "b") as (all_, a, b):
        ada = a.client("ada")
        b.client("bob")
        b.service("bob", "echo")
        await quiet()
        await a.relay.receive(ada, call(ada, "bob"))
        await quiet()
        await all_.kill(b)
        await all_.wait(mesh.SILENT)
        assert a.peers == ["lab/ada", "lab/bob"]
        await all_.wait(mesh.BEAT)
        assert (a.peers, a.services) == (["lab/ada"], [])
        ((message, _),) = a.ears["ada"].heard
        assert message.method == "s1.reject"
        assert "Target peer lab/bob is not connected" in str(message.arguments())


async def test_one_that_says_goodbye_is_gone_at_once_and_nobody_says_it_again():
    async with circle("a", "b") as (_, a, b):
        b.client("bob")
        await quiet()
        beats = [data for to, data in b.line.sent if not to]
        await b.mesh.close()
        await quiet()
        assert a.peers == []
        for data in beats:
            await b.line.publish(data)
        await quiet()
        assert len(a.mesh._others) == 0


async def test_an_instance_that_was_started_anew_takes_the_place_of_its_former_life_at_once():
    async with circle("a", "b") as (all_, a, b):
        b.client("bob")
        await quiet()
        await all_.kill(b)
        again = await all_.join("b")
        assert a.peers == []
        again.client("bea")
        await quiet()
        assert a.peers == ["lab/bea"]


async def test_beats_of_a_former_life_do_not_put_the_present_one_out():
    async with circle("b") as (all_, b):
        beats = [data for to, data in b.line.sent if not to]
        await all_.kill(b)
        a = await all_.join("a")
        again = await all_.join("b")
        again.client("bob")
        await quiet()
        for data in beats:  # a has never heard that life: somebody kept them
            await all_.bus.channel("stranger").publish(data)
        await quiet()
        again.service("bob", "echo")
        await quiet()
        assert a.services == ["lab/bob:echo"]


@pytest.mark.requirement("E4.outage")
@pytest.mark.parametrize("what", ["register", "leave", "answer"])
async def test_what_was_lost_is_noticed_and_told_anew_and_calls_between_the_two_fail(what):
    async with circle("a", "b") as (all_, a, b):
        ada, bob = a.client("ada"), b.client("bob")
        b.service("bob", "echo")
        gone = b.client("bea")
        await quiet()
        await a.relay.receive(ada, call(ada, "bob"))
        await quiet()
        b.line.loses = lambda to, _: to == a.line.instance
        if what == "register":
            b.service("bob", "more")
            b.directory.unregister("lab/bob", "echo")
        elif what == "leave":
            b.relay.detach(gone)
        else:
            await b.relay.receive(bob, reply("s1", "ada", 7))
        await quiet()
        b.line.loses = lambda _to, _: False
        assert a.ears["ada"].heard == []
        await all_.wait(mesh.BEAT)
        assert a.ears["ada"].methods == ["s1.reject"]
        assert a.services == b.services
        assert a.peers == b.peers
        await a.relay.receive(ada, call(ada, "bob", "s2"))
        await quiet()
        assert b.ears["bob"].methods[-1] == "services.echo.say"


@pytest.mark.requirement("E4.outage")
async def test_while_the_bus_is_away_calls_fail_at_once_and_all_is_well_when_it_is_back():
    async with circle("a", "b") as (all_, a, b):
        ada = a.client("ada")
        b.client("bob")
        b.service("bob", "echo")
        await quiet()
        a.line.broken = b.line.broken = True
        await a.relay.receive(ada, call(ada, "bob"))
        await quiet()
        assert a.ears["ada"].methods == ["s1.reject"]
        a.service("ada", "new")
        a.line.broken = b.line.broken = False
        await all_.wait(2 * mesh.BEAT)
        assert b.services == a.services == ["lab/ada:new", "lab/bob:echo"]


async def test_an_instance_whose_process_stood_still_drops_nobody():
    async with circle("a", "b") as (all_, a, b):
        ada, bob = a.client("ada"), b.client("bob")
        b.service("bob", "echo")
        await quiet()
        await a.relay.receive(ada, call(ada, "bob"))
        await quiet()
        all_.clock.advance(60)
        await quiet()
        await all_.wait(mesh.BEAT)
        assert a.peers == b.peers == ["lab/ada", "lab/bob"]
        await b.relay.receive(bob, reply("s1", "ada", 7))
        await quiet()
        assert a.ears["ada"].methods == ["s1.resolve"]


async def test_one_that_was_taken_for_dead_and_replaced_is_not_believed_in_any_more():
    async with circle("a", "b") as (all_, a, b):
        b.client("bob")
        await quiet()
        b.line.loses = lambda _to, _data: True  # it stands still
        again = await all_.join("b")
        again.client("bea")
        await quiet()
        b.line.loses = lambda _to, _data: False
        b.client("ben")
        await all_.wait(2 * mesh.BEAT)
        assert a.peers == ["lab/bea"]


@pytest.mark.requirement("E4.sealed")
async def test_replayed_and_forged_messages_change_nothing_and_are_logged(caplog):
    async with circle("a", "b") as (all_, a, b):
        ada, cat = a.client("ada"), b.client("cat")
        b.service("cat", "echo")
        await quiet()
        await a.relay.receive(ada, call(ada, "cat"))
        b.client("bob")
        b.service("bob", "echo")
        await quiet()
        said = list(b.line.sent)
        b.relay.detach(b.relay.link("lab/bob"))
        await quiet()
        assert a.peers == ["lab/ada", "lab/cat"]
        stranger = all_.bus.channel("stranger")
        for _, data in said:
            await stranger.send(a.line.instance, data)
            await stranger.send(a.line.instance, data[:-1] + bytes([data[-1] ^ 1]))
            await stranger.send(b.line.instance, data)
        for junk in (b"", b"\x00", b"\x01" * 40, bytes(5000)):
            await stranger.publish(junk)
        await quiet()
        assert a.peers == b.peers == ["lab/ada", "lab/cat"]
        lines = [record for record in caplog.records if "was dropped" in record.getMessage()]
        assert 1 <= len(lines) <= 2  # one each, however many there were
        await b.relay.receive(cat, reply("s1", "ada", 7))
        await quiet()
        assert a.ears["ada"].methods == ["s1.resolve"]


@pytest.mark.requirement("E4.sealed")
async def test_an_instance_with_another_key_says_nothing_here_and_hears_nothing():
    async with circle("a") as (all_, a):
        a.client("ada")
        stranger = await all_.join("x", keys="another")
        stranger.client("eve")
        await all_.wait(2 * mesh.BEAT)
        assert (a.peers, stranger.peers) == (["lab/ada"], ["lab/eve"])


@pytest.mark.requirement("E4.sealed")
async def test_nothing_on_the_bus_is_readable():
    async with circle("a", "b") as (_, a, b):
        a.client("ada", workspace="hush-hush")
        a.relay.send(Message(method="m", to="hush-hush/ada", sender="*/manager-a", args=b"\x91\xa6secret"), NOBODY)
        b.client("bob")
        a.relay.send(Message(method="m", to="lab/bob", sender="*/manager-a", args=b"\x91\xa6canary"), NOBODY)
        await quiet()
        wire = b"".join(data for each in (a, b) for _, data in each.line.sent)
        assert not any(word in wire for word in (b"hush-hush", b"secret", b"canary", b"lab"))


@pytest.mark.requirement("E4.twins")
async def test_of_two_clients_with_one_address_the_newer_stays_on_all_instances():
    async with circle("a", "b", "c") as (_, a, b, c):
        older = a.client("twin", since=100)
        newer = b.client("twin", since=101)  # neither knows of the other yet
        b.service("twin", "echo")
        await quiet()
        assert [each.directory.member("lab/twin").instance for each in (a, b, c)] == ["b", "b", "b"]
        assert (a.cut, b.cut) == ([older], [])
        assert a.relay.link("lab/twin") is None
        assert b.relay.link("lab/twin") is newer
        assert c.services == ["lab/twin:echo"]
        a.relay.detach(older)  # its socket is closed now: the newer one stays
        await quiet()
        assert c.peers == ["lab/twin"]


@pytest.mark.requirement("E4.twins")
async def test_of_two_users_clients_with_one_address_the_older_stays_on_all_instances():
    async with circle("a", "b", "c") as (_, a, b, c):
        older = a.client("twin", since=100)
        newer = b.client("twin", since=101, principal=("issuer", "eve"))
        await quiet()
        assert [each.directory.member("lab/twin").instance for each in (a, b, c)] == ["a", "a", "a"]
        assert (a.cut, b.cut) == ([], [newer])
        assert a.relay.link("lab/twin") is older
        b.relay.detach(newer)
        await quiet()
        assert c.peers == ["lab/twin"]


async def test_what_a_service_is_lent_for_a_stream_does_not_end_with_the_reply_from_another_instance():
    async with circle("a", "b") as (_, a, b):
        ended: list[str] = []

        async def lend(service, _who):
            return ServiceLoan(told={}, end=lambda: ended.append(service.id))

        needs = Needs(((Need(provider="github", scopes=frozenset()),),))
        a.relay.lend = lend
        ada, bob = a.client("ada"), b.client("bob")
        for name in ("echo", "stream"):
            b.service("bob", name, visibility="public", needs=needs)
        await quiet()
        given = {"_rtype": "generator", "_rtarget": "lab/bob", "_rmethod": "g.2222222222222222222222"}
        for name, value in {"stream": given, "echo": 1}.items():
            await a.relay.receive(ada, call(ada, "lab/bob", name, method=f"services.{name}.say"))
            await quiet()
            await b.relay.receive(bob, reply(name, "lab/ada", value))
            await quiet()
        assert a.ears["ada"].methods == ["stream.resolve", "echo.resolve"]
        assert ended == ["echo"]


@pytest.mark.requirement("E4.twins")
async def test_who_takes_the_place_of_a_known_client_stays_whatever_the_clocks_say():
    async with circle("a", "b") as (_, a, b):
        before = a.client("twin", since=1000)
        await quiet()
        b.client("twin", since=5)  # its token lets it in, and the clock there is behind
        await quiet()
        assert [each.directory.member("lab/twin").instance for each in (a, b)] == ["b", "b"]
        assert (a.cut, b.cut) == ([before], [])


async def test_settle_gives_what_another_instance_knew_before():
    async with circle("a", "b") as (_, a, b):
        a.client("ada")
        a.service("ada", "echo")
        assert b.services == []
        await b.mesh.settle()
        assert b.services == ["lab/ada:echo"]
        a.service("ada", "second")
        asking = [asyncio.create_task(b.mesh.settle()) for _ in range(3)]
        await asyncio.sleep(0)
        a.service("ada", "third")
        await asyncio.gather(b.mesh.settle(), *asking)
        assert b.services == ["lab/ada:echo", "lab/ada:second", "lab/ada:third"]


async def test_settle_does_not_wait_for_one_that_is_silent(monkeypatch):
    async with circle("a", "b") as (all_, a, b):
        await all_.kill(b)
        await all_.wait(1.5)
        asked = len(a.line.sent)
        async with asyncio.timeout(0.5):
            await a.mesh.settle()
        assert len(a.line.sent) == asked


async def test_control_messages_reach_all_others_and_not_oneself():
    async with circle("a", "b", "c") as (_, a, b, c):
        heard = []
        for each in (a, b):
            each.mesh.on("kick", lambda each=each, **facts: heard.append((each.name, facts)))

        async def kick(peer):
            heard.append((c.name, {"peer": peer}))

        c.mesh.on("kick", kick)
        a.mesh.tell("kick", peer="lab/bob")
        await quiet()
        assert sorted(heard, key=str) == [("b", {"peer": "lab/bob"}), ("c", {"peer": "lab/bob"})]


async def test_two_servers_of_one_name_are_complained_of(caplog):
    async with circle("a") as (all_, a):
        a.client("ada")
        again = await all_.join("a")
        again.client("eve")
        await all_.wait(mesh.BEAT)
        assert any("Two servers are called a" in record.getMessage() for record in caplog.records)
        assert a.peers == ["lab/ada"]


async def test_too_much_for_one_is_dropped_and_its_callers_are_told(monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    async with circle("a", "b") as (_, a, b):
        ada = a.client("ada")
        b.client("bob")
        b.service("bob", "echo")
        await quiet()
        monkeypatch.setattr(streams, "MOST_WAITING", 10_000)
        await a.relay.receive(ada, call(ada, "bob"))
        a.mesh.tell("whatever", data=bytes(20_000))
        await quiet()
        assert a.ears["ada"].methods == ["s1.reject"]
        assert any("too much waits" in record.getMessage().lower() for record in caplog.records)
        await a.relay.receive(ada, call(ada, "bob", "s2"))
        await quiet()
        assert b.ears["bob"].methods[-1] == "services.echo.say"


@pytest.mark.requirement("E4.across", "W-07")
async def test_a_flood_to_another_instance_is_refused_and_fails_no_call_of_others(monkeypatch):
    monkeypatch.setattr(streams, "MOST_WAITING", 2_000_000)
    async with circle("a", "b") as (_, a, b):
        ada, bob, cyd = a.client("ada"), b.client("bob"), a.client("cyd")
        b.service("bob", "echo", visibility="public")
        eves = [a.client(f"eve{number}", workspace=f"away{number}") for number in range(8)]
        for number, eve in enumerate(eves):
            eve.stamp = Stamp(workspace="away", user={"id": f"eve{number}", "is_anonymous": True})
        cyd.stamp = Stamp(workspace="lab", user={"id": "cyd", "is_anonymous": False})
        await quiet()
        await a.relay.receive(ada, call(ada, "bob", "s1"))
        await quiet()
        data = msgpack.packb([bytes(300_000)])
        for number in range(4):  # faster than the bus takes it
            for eve in eves:
                await a.relay.receive(eve, call(eve, "lab/bob", f"e{number}", args=data))
        refused = [a.ears[f"eve{number}"].heard for number in range(8)]
        assert sum(map(len, refused)) == 4 * 8 - 3, "all whom nobody knows have half of it"
        assert b"RateLimited" in refused[0][0][0].args
        await a.relay.receive(cyd, call(cyd, "bob", "c1", args=data))
        assert a.ears["cyd"].heard == []
        await quiet()
        assert len(b.ears["bob"].methods) == 1 + 3 + 1
        await b.relay.receive(bob, reply("s1", "lab/ada", 7))
        await quiet()
        assert a.ears["ada"].methods == ["s1.resolve"]
        await a.relay.receive(eves[0], call(eves[0], "lab/bob", "again", args=data))
        await quiet()
        assert len(b.ears["bob"].methods) == 1 + 3 + 1 + 1, "what was said counts no more"


async def test_whoever_waits_for_a_reply_that_is_not_brought_is_told_so(monkeypatch):
    monkeypatch.setattr(streams, "MOST_WAITING", 2_000_000)
    async with circle("a", "b") as (_, a, b):
        ada, bob = a.client("ada"), b.client("bob")
        b.service("bob", "echo")
        await quiet()
        for number in range(3):
            await a.relay.receive(ada, call(ada, "bob", f"s{number}"))
        await quiet()
        for number in range(3):
            await b.relay.receive(bob, reply(f"s{number}", "lab/ada", bytes(400_000)))
        await quiet()
        assert a.ears["ada"].methods == ["s0.resolve", "s1.reject", "s2.reject"]
        assert b"RateLimited" in a.ears["ada"].heard[-1][0].args


def test_services_come_out_as_they_went_in():
    service = Registered(
        workspace="lab",
        client="ada",
        id="echo",
        type="functions",
        name="Echo \ud800",
        visibility="public",
        require_context=("say",),
        authorized_workspaces=frozenset({"x", "y"}),
        config={"deep": {"list": [1, 2.5, None, True]}},
        schema={"say": {"type": "function"}},
        registrant=("issuer", "ada"),
        needs=Needs(((Need(provider="slack", scopes=frozenset({"a", "b"})),), (Need(provider="x", handler="y"),))),
    )
    for each in (service, replace(service, require_context=True, needs=Needs(((),)))):
        assert packing.service(packing.unpack(packing.pack(packing.of_service(each)))) == each
