"""What strangers send, or do not read, costs others nothing: floods at the wire."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.rpc.place import Raw, packed, place, until

MIB = 1_048_576
CACHE = "services.built-in.message_cache."
PROMISE = {"promise": "*", "t": 30}
SMALL = {"max_queue": MIB, "max_message_whole": MIB}


async def alive(raw: Raw) -> bool:
    await raw.say({"type": "ping"})
    while await raw.hear() != {"type": "pong"}:
        pass
    return True


async def register(raw: Raw, service: str, *functions: str, session: str = "reg", **config: Any) -> None:
    schema = {name: {"type": "function", "function": {"name": name, "parameters": {}}} for name in functions}
    facts = {"id": service, "config": config, "service_schema": schema}
    got = await raw.call(raw.manager, "services.default.register_service", facts, session=session)
    assert "resolve" in got, got


async def hand_in(raw: Raw, to: str, method: str, size: int, *, session: str) -> None:
    """A long call, in pieces; all but the last word of it."""
    whole = packed(
        {"type": "method", "to": to, "method": method, "session": session}, {"args": [bytes(size)], **PROMISE}
    )
    await raw.send(to, CACHE + "create", "k", False, True)
    for index, start in enumerate(range(0, len(whole), 260_000)):
        await raw.send(to, CACHE + "set", "k", index, whole[start : start + 260_000], False)
    assert await alive(raw)


@pytest.mark.requirement("W-07", "W-07.readers", "E.shown-hostile")
async def test_long_messages_of_strangers_do_not_cut_a_provider_off() -> None:
    async with place(limits=SMALL) as here:
        token = await here.token("ada")
        provider, own = await here.raw("p", token=token), await here.raw("q", token=token)
        await register(provider, "store", "put", visibility="public")
        strangers = [await here.raw(f"b{number}") for number in range(4)]
        provider.socket.transport.pause_reading()
        box: Any = here.link(provider.peer).peer
        for number in range(20):  # what the kernel holds, and the queue
            for bad in strangers:
                await hand_in(bad, provider.peer, "services.store.put", 1_000_000, session=f"long{number}")
                assert "resolve" in await bad.call(provider.peer, CACHE + "process", "k", False)
            if box.size > MIB:
                break
        assert MIB < box.size < 3 * MIB
        waiting = here.services.relay.waiting(provider.peer)
        told = await strangers[0].call(provider.peer, "services.store.put", b"x", session="more")
        assert told["reject"].startswith("RateLimited: This client does not read fast enough")
        assert here.services.relay.waiting(provider.peer) == waiting, "what was refused waits no more"
        assert all([await alive(each) for each in (*strangers, own)])
        provider.socket.transport.resume_reading()
        assert await alive(provider)
        await until(lambda: box.size == 0)
        await strangers[0].send(provider.peer, "services.store.put", b"y", session="late", payload=PROMISE)
        while (await provider.hear())[0].get("session") != "late":
            pass


@pytest.mark.requirement("W-07.readers", "E1.unread")
async def test_who_does_not_read_its_replies_holds_up_no_provider() -> None:
    async with place(limits=SMALL) as here:
        provider = await here.raw("p", token=await here.token("ada"))
        await register(provider, "store", "get", visibility="public")
        reader, other = await here.raw("b1"), await here.raw("b2")
        for number in range(100):
            await reader.send(provider.peer, "services.store.get", session=f"s{number}", payload=PROMISE)
        for number in range(100):
            assert (await provider.hear())[0]["session"] == f"s{number}"
        reader.socket.transport.pause_reading()
        box: Any = here.link(reader.peer).peer
        for number in range(100):
            await provider.send(reader.peer, f"s{number}.resolve", bytes(200_000))
        asked = asyncio.ensure_future(other.call(provider.peer, "services.store.get"))
        assert (await provider.hear())[0]["from"] == other.peer
        await provider.send(other.peer, "s1.resolve", 5)
        assert await asked == {"resolve": 5}
        assert box.size <= 2 * MIB
        reader.socket.transport.resume_reading()
        told = [got for got in [await reader.hear() for _ in range(100)] if got[0]["method"].endswith(".reject")]
        assert told, "of replies that were dropped it is told"
        assert told[0][1]["args"][0]["_rvalue"].startswith("RateLimited: You do not read fast enough")
        assert await alive(reader)


@pytest.mark.requirement("W-07", "E1.unread")
async def test_who_asks_for_all_public_services_is_answered_whatever_strangers_registered() -> None:
    async with place(limits=SMALL) as here:
        for client in range(4):
            bad = await here.raw(f"b{client}")
            for number in range(15):
                await register(bad, f"s{number}", "f", session=f"r{number}", visibility="public", more="x" * 60_000)
        ada = await here.connect("ada", token=await here.token("ada"), method_timeout=5)
        assert len(await ada.list_services({"workspace": "*"})) >= 60
        one = await here.raw("b5")
        for number in range(15):
            await register(one, f"s{number}", "f", session=f"r{number}", visibility="public", more="x" * 60_000)
        with pytest.raises(Exception, match="Narrow the query"):
            await ada.list_services({"workspace": "*"})
        assert len(await ada.list_services({"workspace": "*", "service_id": "s1"})) == 5
