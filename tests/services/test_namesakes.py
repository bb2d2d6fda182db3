"""A server_id that another instance on the bus has already (E): refused before anything is said."""

import asyncio

import pytest

from tests.services.mesh_kit import Circle, circle, quiet
from tests.vault.keys import Given, a_ring
from valetkey.adapters.local_channel import LocalChannel
from valetkey.services.mesh import BEAT
from valetkey.services.namesakes import Listener


def listener(all_: Circle, name: str, *, address: str = "newcomer") -> Listener:
    channel: LocalChannel = all_.bus.channel(address)
    return Listener(channel=channel, keyring=a_ring(Given("k1")), clock=all_.clock, name=name)


async def heard(all_: Circle, name: str, *, kill: bool = False, close: bool = False) -> bool:
    """What it hears while time goes by, beat by beat."""
    asking = asyncio.ensure_future(listener(all_, name).hears_one())
    await quiet()
    for number in range(8):
        if asking.done():
            break
        await all_.clock.sleepers(len(all_.there) + 1)
        all_.clock.advance(BEAT)
        await quiet()
        if number == 0 and kill:
            await all_.kill(all_.there[0])
        if number == 0 and close:
            await all_.there.pop(0).mesh.close()
    return await asking


async def test_a_name_that_somebody_has_is_heard_and_nobody_is_disturbed():
    async with circle("one", "two") as (all_, one, two):
        one.client("ada")
        await quiet()
        assert await heard(all_, "one") is True
        assert await heard(all_, "three") is False
        assert one.peers == two.peers == ["lab/ada"]


@pytest.mark.parametrize("how", ["kill", "close"])
async def test_whoever_ended_just_now_does_not_hold_its_name(how: str):
    async with circle("one", "two") as (all_, _, __):
        assert await heard(all_, "one", **{how: True}) is False


async def test_what_others_say_on_the_bus_is_no_sign_of_life():
    async with circle("one") as (all_, one):
        asking = asyncio.ensure_future(listener(all_, "two").hears_one())
        await quiet()
        stranger = all_.bus.channel("stranger")
        for data in (b"", b"x", *(data for _, data in one.line.sent)):
            await stranger.publish(data)
        while not asking.done():
            await all_.clock.sleepers(2)
            all_.clock.advance(BEAT)
            await quiet()
        assert await asking is False
