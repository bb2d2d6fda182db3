"""The clients that we registered, in every store."""

import asyncio
from dataclasses import replace

import pytest

from tests.stores.values import NOW
from valetkey.errors import InvalidArguments
from valetkey.model.connections import Sealed
from valetkey.model.registrations import Registration


def a_client(number: int = 0, **changed) -> Registration:
    made = Registration(
        id=f"{number:064x}",
        registrar="https://as.test/register",
        redirect_uri="https://us.test/auth/acme/oauth2/callback",
        client_id=f"client-{number}",
        sealed=Sealed(bytes([1, number, 0, 255])),
        created_at=NOW,
        expires_at=0.0,
    )
    return replace(made, **changed)


async def test_of_many_who_register_at_once_one_is_kept(stores):
    mine = [a_client(client_id=f"c-{n}", sealed=Sealed(bytes([1, n]))) for n in range(10)]
    outcomes = await asyncio.gather(*(stores.clients.insert(each) for each in mine))
    assert outcomes.count(True) == 1
    assert await stores.clients.get(mine[0].id) == mine[outcomes.index(True)]
    assert await stores.clients.get("0" * 63 + "f") is None


async def test_a_newer_client_takes_the_place_of_the_one_that_was_seen(stores):
    old = a_client()
    new = replace(old, client_id="newer", sealed=Sealed(b"\x01new"), created_at=NOW + 1, expires_at=NOW + 9)
    assert await stores.clients.replace(new, client_id=old.client_id) is False
    assert await stores.clients.insert(old)
    outcomes = await asyncio.gather(
        *(stores.clients.replace(replace(new, client_id=f"n-{n}"), client_id=old.client_id) for n in range(5))
    )
    assert outcomes.count(True) == 1
    kept = await stores.clients.get(old.id)
    assert kept == replace(new, client_id=f"n-{outcomes.index(True)}")
    assert await stores.clients.delete(old.id, client_id=old.client_id) is False
    assert await stores.clients.delete(old.id, client_id=kept.client_id) is True
    assert await stores.clients.get(old.id) is None
    assert list(await stores.clients.page()) == []


async def test_clients_are_paged_and_sealed_anew_where_they_are_as_they_were(stores):
    rows = [a_client(n) for n in range(5)]
    for row in reversed(rows):
        await stores.clients.insert(row)
    assert list(await stores.clients.page(limit=2)) == rows[:2]
    assert list(await stores.clients.page(after=rows[1].id, limit=9)) == rows[2:]
    assert await stores.clients.reseal(rows[0], Sealed(b"\x01a")) is True
    assert await stores.clients.reseal(rows[0], Sealed(b"\x01b")) is False
    assert await stores.clients.get(rows[0].id) == replace(rows[0], sealed=Sealed(b"\x01a"))


async def test_what_no_database_keeps_is_refused_alike(stores):
    for wrong in ("a\0b", "\ud800", "x" * 3000):
        with pytest.raises(InvalidArguments):
            await stores.clients.insert(a_client(client_id=wrong))
    assert await stores.clients.get("\ud800") is None
