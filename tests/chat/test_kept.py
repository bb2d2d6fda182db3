"""What is kept of sessions whose socket has gone: so large, a share for each, and nothing once the program ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed

from tests.chat.live import live
from tests.chat.test_links import ADA, BOB, Browser, asked, chatting
from valetkey.entrypoints.chat import kept as limits
from valetkey.entrypoints.chat.kept import OF_ADDRESS, OF_PERSON, OF_SESSION, Kept, weight
from valetkey.entrypoints.chat.session import ChatSession, Said
from valetkey.identity.verifiers.vouched import CHAT, in_chat
from valetkey.model.caller import CHAT_USERS
from valetkey.ports.agents import Message
from valetkey.ports.world import Visit
from valetkey.testing.oauth_server import GOOGLE, OAuthServer

HERE = Visit(host="h", scheme="https", client=None)


@pytest.fixture
def google() -> Iterator[OAuthServer]:
    with OAuthServer(dialect=GOOGLE, title="Google") as running:
        yield running


def session(number: int, *, address: str = "", browser: str = "", user: str = "", text: str = "hello") -> ChatSession:
    who = in_chat(user, workspace=CHAT_USERS) if user else in_chat(str(number), workspace=CHAT)
    made = ChatSession(id=str(number), who=who, visit=HERE, address=address, browser=browser, brought=True)
    made.said.append(Said(role="user", content=text, at=0.0, message_id=""))
    made.turns.append([Message(role="user", text=text)])
    return made


def test_of_a_long_history_the_newest_part_is_kept() -> None:
    long = session(1)
    for number in range(200):
        text = f"{number} " * 1000
        long.said += [Said(role=role, content=text, at=0.0, message_id="") for role in ("user", "assistant")]
        long.turns.append([Message(role="user", text=text), Message(role="assistant", text=text)])
    assert Kept(10).add(long) == []
    assert OF_SESSION / 2 < weight(long) <= OF_SESSION
    assert long.said[-1].content.startswith("199 ")
    assert long.said[0].role == "user"
    assert long.turns[-1][0].text.startswith("199 ")
    huge = session(2, text="x" * OF_SESSION)
    assert Kept(10).add(huge) == [huge], "nothing of it is small enough"


@pytest.mark.parametrize("about", [{"user": "ada"}, {"browser": "b", "address": "127.0.0.1"}], ids=["user", "browser"])
def test_one_person_has_a_share(about: dict[str, str]) -> None:
    kept = Kept(1000)
    gone = [each.id for number in range(OF_PERSON + 2) for each in kept.add(session(number, **about))]
    assert gone == ["0", "1"]


def test_so_has_an_address_whatever_cookies_it_makes_up() -> None:
    kept = Kept(1000)
    kept.add(session(-1, address="198.51.100.1", browser="other"))
    for number in range(OF_ADDRESS + 5):
        kept.add(session(number, address="203.0.113.66", browser=str(number)))
    assert len(kept) == OF_ADDRESS + 1
    assert kept.get("-1") is not None
    assert kept.get("0") is None


def test_past_all_bytes_whoever_has_most_gives_their_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OF_ALL", 300_000)
    kept = Kept(1000)
    kept.add(session(-1, address="198.51.100.1", browser="other", text="y" * 20_000))
    gone = [
        each.id
        for number in range(6)
        for each in kept.add(session(number, address="203.0.113.66", browser=str(number), text="x" * 40_000))
    ]
    assert gone == ["0", "1", "2"]
    assert kept.get("-1") is not None
    for each in kept.all():
        kept.drop(each)
    assert (len(kept), kept._total, dict(kept._bytes), kept._of) == (0, 0, {}, {})


@pytest.mark.requirement("D.resume")
async def test_one_address_does_not_push_out_what_others_may_go_back_to() -> None:
    eve, bob = {"x-forwarded-for": "203.0.113.66"}, {"x-forwarded-for": "203.0.113.7"}
    async with live(max_sessions=6, max_sessions_per_address=2) as chat:
        cookie = chat.browser(ADA)
        other = await chat.open(headers=bob, **cookie)
        await other.send(type="chat", message="what I want to keep")
        await other.until("ai_response")
        await other.wire.close()
        await chat.gone(other.id)
        for _ in range(6):
            client = await chat.open(headers=eve, **chat.browser(BOB))
            await client.send(type="chat", message="x")
            await client.until("ai_response")
            await client.wire.close()
            await chat.gone(client.id)
        again = await chat.open(f"/bedrock-chat/ws?session_id={other.id}", headers=bob, **cookie)
        assert again.first["resumed"] is True


@pytest.mark.requirement("seed003.cleanup")
async def test_a_plugin_that_was_shut_down_keeps_nothing_of_a_visitor(google: OAuthServer) -> None:
    async with chatting(google) as chat:
        client = await chat.open(**chat.browser(ADA))
        session = chat.plugin.session_manager.get(client.id)
        assert session is not None
        browser = Browser(chat, ADA)
        sent = await browser.submit(await browser.get((await asked(chat, client))["url"]))
        await browser.get(await asyncio.to_thread(google.approve, sent.headers["location"]))
        chat.model.pieces = ["done"]
        await client.until("ai_response")
        connections, owner = chat.plugin.chat.system.stores.connections, session.owner
        assert len(await connections.of_owner(owner)) == 1
        await chat.plugin.shutdown()
        assert chat.plugin.session_manager.kept == 0
        async with asyncio.timeout(5):
            while await connections.of_owner(owner):  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        late = await chat.raw()
        with pytest.raises(ConnectionClosed):
            await late.recv()
