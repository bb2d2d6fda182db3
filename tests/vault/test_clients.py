"""Clients that we registered: a rotation seals them anew, and no key goes while one of them needs it."""

from dataclasses import replace

from tests.stores.test_registrations import a_client
from tests.stores.values import Stores, in_memory
from tests.vault.keys import Given
from tests.vault.rows import Vault
from valetkey.model.connections import Sealed, key_id_of
from valetkey.model.registrations import Registration
from valetkey.secret import Secret
from valetkey.vault.held import Held
from valetkey.vault.seal import registered_at


async def kept(stores: Stores, vault: Vault, number: int) -> Registration:
    row = a_client(number)
    row = replace(row, sealed=vault.sealer.seal(Secret(f"secret {number}"), bound=registered_at(row.id)))
    assert await stores.clients.insert(row)
    return row


async def test_registered_clients_are_sealed_anew_counted_and_bound_to_their_rows():
    stores = in_memory()
    old = Vault(stores, Given("k1"))
    rows = [await kept(stores, old, number) for number in range(3)]
    moved = a_client(9, sealed=rows[0].sealed)  # somebody put the secret of one into the row of another
    await stores.clients.insert(moved)
    newer = Vault(stores, Given("k2", "k1"))
    assert (await newer.holdings.count())["k1"] == Held(clients=4)
    assert (await newer.holdings.count())["k1"].needed
    progress = await newer.resealer.walk()
    assert (progress.done, progress.damaged) == (3, 1)
    alone = Vault(stores, Given("k2"))
    for number, row in enumerate(rows):
        now = await stores.clients.get(row.id)
        assert now is not None
        assert key_id_of(now.sealed) == "k2"
        assert alone.sealer.open(now.sealed, registered_at(now.id)).reveal() == f"secret {number}"
        assert replace(now, sealed=Sealed(b"")) == replace(row, sealed=Sealed(b""))
