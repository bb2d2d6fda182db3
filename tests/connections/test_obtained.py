"""What is obtained without a person is kept in memory: rows G-12 and G-18, single flight, ends, refusals."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.connections.kit import ADA, Kit, Provided
from valetkey.connections.flights import Flights
from valetkey.connections.keep import Keeper
from valetkey.connections.obtained import AGAIN, FIRST_PAUSE, UNKNOWN_LIFE, Obtained
from valetkey.connections.unattended import token_digest
from valetkey.errors import InvalidSetting, ProviderUnavailable
from valetkey.model.caller import Caller, Owner
from valetkey.model.connections import Credential, Grant
from valetkey.model.needs import Need
from valetkey.secret import Secret

EVE = Owner(workspace="local", issuer="host", subject="eve")
ELSEWHERE = Owner(workspace="other", issuer="host", subject="ada")
NEED = Need(provider="example", scopes=frozenset({"a"}))


class Asked(Provided):
    """A handler that needs no person; its settings are what a test says."""

    interactive = False

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self.life: float | None = 3600.0
        self.faults: list[Exception] = []
        self.times = 0
        self.settings = "s-1"

    def kept_as(self, flow: Any) -> tuple[str, ...]:
        bearer = flow.caller.bearer if flow.caller else None
        return (self.settings, token_digest(bearer) if bearer else "", *sorted(flow.scopes))

    async def finish(self, flow: Any, private: Any, answer: Any) -> Grant:
        self.times += 1
        await asyncio.sleep(0)
        if self.faults:
            raise self.faults.pop(0)
        ends = None if self.life is None else self.clock.now() + self.life
        return Grant(credential=Credential(access_token=Secret(f"canary-at-{self.times}")), expires_at=ends)


class Room:
    def __init__(self) -> None:
        self.kit = Kit()
        self.clock = self.kit.clock
        self.handler = Asked(self.clock)
        keeper = Keeper(
            store=self.kit.store,
            sealer=self.kit.sealer,
            clock=self.clock,
            entropy=self.kit.dice,
            wakeups=self.kit.wakeups,
        )
        self.obtained = Obtained(
            keeper=keeper, sealer=self.kit.sealer, flights=Flights(self.kit.home), clock=self.clock
        )

    async def get(self, owner: Owner = ADA, need: Need = NEED, *, bearer: str = "") -> Any:
        return await self.obtained.get(self.handler, owner, need, "default", caller=caller_of(owner, bearer))

    def token(self, connection: Any) -> str:
        return str(self.kit.sealer.open_credential(connection).access_token.reveal())


def caller_of(owner: Owner, bearer: str) -> Caller:
    return Caller(owner=owner, how="foreign", until=1e12, bearer=Secret(bearer) if bearer else None)


@pytest.mark.requirement("G-12")
async def test_one_token_serves_a_workspace_and_each_other_thing_has_its_own():
    room = Room()
    first = await room.get()
    assert await room.get() is first
    of_eve = await room.get(EVE)
    assert room.token(of_eve) == room.token(first) == "canary-at-1"
    assert (of_eve.owner, first.owner) == (EVE, ADA)
    assert room.handler.times == 1
    await room.get(ELSEWHERE)
    await room.get(need=replace(NEED, scopes=frozenset({"a", "b"})))
    room.handler.settings = "s-2"
    await room.get()
    assert room.handler.times == 4
    assert not first.kept
    assert await room.kit.store.of_owner(ADA) == []


async def test_many_at_once_ask_once_and_the_value_is_nowhere_in_the_clear():
    room = Room()
    got = await asyncio.gather(*(room.get(owner) for owner in (ADA, EVE) for _ in range(20)))
    assert room.handler.times == 1
    assert {room.token(each) for each in got} == {"canary-at-1"}
    assert "canary-at" not in repr(vars(room.obtained))


async def test_a_token_is_lent_until_shortly_before_its_end():
    for life, still, over in ((3600.0, 3539.0, 3541.0), (100.0, 89.0, 91.0), (None, UNKNOWN_LIFE - 1, UNKNOWN_LIFE)):
        room = Room()
        room.handler.life = life
        await room.get()
        room.clock.advance(still)
        await room.get()
        assert room.handler.times == 1, life
        room.clock.advance(over - still)
        await room.get()
        assert room.handler.times == 2, life


async def test_who_is_refused_is_not_asking_at_every_call_and_new_settings_are_tried_at_once():
    room = Room()
    room.handler.faults = [InvalidSetting("refused"), InvalidSetting("refused")]
    for _ in range(5):
        with pytest.raises(InvalidSetting, match="refused"):
            await room.get()
    assert room.handler.times == 1
    room.clock.advance(FIRST_PAUSE)
    with pytest.raises(InvalidSetting):
        await room.get()
    room.clock.advance(FIRST_PAUSE)  # the second pause is twice as long
    with pytest.raises(InvalidSetting):
        await room.get()
    assert room.handler.times == 2
    room.handler.settings = "mended"
    assert room.token(await room.get()) == "canary-at-3"


async def test_a_provider_that_asks_for_time_gets_it_and_one_that_fails_is_asked_again():
    room = Room()
    room.handler.faults = [ProviderUnavailable("slow down", retry_after=7.0), ProviderUnavailable("broken")]
    for _ in range(2):
        with pytest.raises(ProviderUnavailable, match="slow down") as caught:
            await room.get()
        assert caught.value.retry_after == 7.0
    room.clock.advance(7)
    with pytest.raises(ProviderUnavailable, match="broken"):
        await room.get()
    await room.get()
    assert room.handler.times == 3


async def test_what_an_api_refuses_is_thrown_away_once_and_not_at_every_call():
    room = Room()
    first, of_eve = await room.get(), await room.get(EVE)
    caller = caller_of(ADA, "")
    second = await room.obtained.renew(room.handler, first, NEED, caller=caller)
    assert second is not None
    assert room.token(second) == "canary-at-2"
    other = await room.obtained.renew(room.handler, of_eve, NEED, caller=caller)
    assert other is not None
    assert room.token(other) == "canary-at-2", "who comes later takes the new one"
    assert await room.obtained.renew(room.handler, second, NEED, caller=caller) is None
    assert room.handler.times == 2
    room.clock.advance(AGAIN)
    assert await room.obtained.renew(room.handler, second, NEED, caller=caller) is not None
    assert room.handler.times == 3


@pytest.mark.requirement("G-18")
async def test_what_was_exchanged_is_for_the_holder_of_that_very_token():
    room = Room()
    first = await room.get(bearer="t-1")
    assert await room.get(bearer="t-1") is first
    assert room.token(await room.get(bearer="t-2")) == "canary-at-2"
    assert room.token(await room.get(EVE, bearer="t-3")) == "canary-at-3"
    assert room.token(await room.get()) == "canary-at-4"
    assert "t-1" not in repr(vars(room.obtained))
