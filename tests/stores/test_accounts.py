"""Accounts are renamed in every store, and go from every store to another in a file."""

import asyncio

import pytest

from tests.connections.system import ANN, made
from valetkey.connections.accounts import Accounts
from valetkey.connections.keep import Keeper
from valetkey.connections.transfer import Became, Transfer
from valetkey.errors import InvalidArguments
from valetkey.secret import Secret
from valetkey.testing.clock import ManualClock

PASSPHRASE = Secret("correct horse battery staple")


@pytest.fixture
def system():
    system = made(ManualClock())
    yield system
    system.close()


def accounts(system, store) -> Accounts:
    parts = {"store": store, "clock": system.clock, "entropy": system.entropy}
    keeper = Keeper(**parts, sealer=system.sealer, wakeups=system.bus.wakeups)
    return Accounts(**parts, keeper=keeper, finder=system.handling)


def transfer(system, store) -> Transfer:
    wakeups = system.bus.wakeups
    return Transfer(store=store, sealer=system.sealer, clock=system.clock, entropy=system.entropy, wakeups=wakeups)


async def added(system, store, name: str):
    handler = system.handling.find("github-token", None)
    return await accounts(system, store).add(handler, ANN, name, {"access_token": f"the token of {name}"})


@pytest.mark.requirement("B5.transfer")
async def test_a_file_takes_accounts_into_every_store_and_out_of_it(stores, system):
    """From memory into the store, and from there back into another memory: all is as it was."""
    origin, after = system.stores.connections, made(system.clock)
    try:
        for name in ("work", "home"):
            await added(system, origin, name)
        first = transfer(system, origin).pack(await accounts(system, origin).all(), PASSPHRASE, cost=2**14)
        outcomes = await transfer(system, stores.connections).unpack(first.file, PASSPHRASE)
        assert {each.became for each in outcomes} == {Became.IMPORTED}
        within = await accounts(system, stores.connections).all()
        second = transfer(system, stores.connections).pack(within, PASSPHRASE, cost=2**14)
        assert not second.left_out
        await transfer(after, after.stores.connections).unpack(second.file, PASSPHRASE)
        went, came = await accounts(system, origin).all(), await accounts(after, after.stores.connections).all()
        assert [(row.profile, row.handler, row.issued_at) for row in went] == [
            (row.profile, row.handler, row.issued_at) for row in came
        ]
        assert [system.sealer.open_credential(row) for row in went] == [
            after.sealer.open_credential(row) for row in came
        ]
        again = await transfer(system, stores.connections).unpack(first.file, PASSPHRASE, instead=True)
        assert {each.became for each in again} == {Became.REPLACED}
    finally:
        after.close()


async def test_two_imports_at_once_leave_one_of_each(stores, system):
    await added(system, system.stores.connections, "work")
    file = transfer(system, system.stores.connections).pack(
        await accounts(system, system.stores.connections).all(), PASSPHRASE, cost=2**14
    )
    imports = [transfer(system, stores.connections).unpack(file.file, PASSPHRASE) for _ in range(4)]
    became = [each.became for outcomes in await asyncio.gather(*imports) for each in outcomes]
    assert sorted(became) == [Became.IMPORTED, *[Became.KEPT] * 3]
    assert len(await accounts(system, stores.connections).all()) == 1


async def test_an_account_is_renamed_in_every_store_and_no_lease_is_left(stores, system):
    row = await added(system, stores.connections, "work")
    await added(system, stores.connections, "home")
    renamed = await accounts(system, stores.connections).rename(row, "office")
    assert await stores.connections.by_id(row.id) == renamed
    assert (renamed.lease_owner, renamed.attempt_id, renamed.generation) == ("", "", row.generation)
    assert system.sealer.open_credential(renamed).access_token.reveal() == "the token of work"
    with pytest.raises(InvalidArguments, match="github:home already"):
        await accounts(system, stores.connections).rename(renamed, "home")
    assert [each.profile for each in await accounts(system, stores.connections).all()] == ["home", "office"]
    assert await stores.connections.lease(
        row.id, generation=row.generation, owner="me", attempt="a", now=system.clock.now(), ttl=20
    )


async def test_the_trace_of_a_lost_attempt_outlives_a_rename(stores, system):
    row = await added(system, stores.connections, "work")
    connections = stores.connections
    assert await connections.lease(row.id, generation=row.generation, owner="p", attempt="lost", now=7.0, ttl=20)
    await connections.release(row.id, owner="p", attempt="lost", unclear=True)
    renamed = await accounts(system, connections).rename(row, "office")
    assert ((await connections.by_id(row.id)).attempt_id, renamed.attempt_id) == ("lost", "lost")


async def test_all_owners_accounts_are_listed_however_many(stores, system):
    handler = system.handling.find("github-token", None)
    book = accounts(system, stores.connections)
    for number in range(12):
        await book.add(handler, ANN, f"p{number:02}", {"access_token": "a token"})
    page = stores.connections.page
    stores.connections.page = lambda after: page(after=after, limit=5)
    try:
        assert [row.profile for row in await book.all()] == [f"p{number:02}" for number in range(12)]
    finally:
        del stores.connections.page
