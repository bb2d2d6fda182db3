"""R-37: a row is damaged, or its key is gone; that account fails and says so, and no other."""

import sqlite3
from contextlib import closing

import pytest

from tests.faults.place import Place
from valetkey.model.connections import Connection

pytestmark = pytest.mark.node


def flipped(held: Connection) -> dict[str, object]:
    return {"sealed": held.sealed[:-1] + bytes([held.sealed[-1] ^ 1])}


def of_an_unknown_key(held: Connection) -> dict[str, object]:
    size = held.sealed[1]
    return {"sealed": held.sealed[:2] + b"k" * size + held.sealed[2 + size :]}


def of_another_generation(held: Connection) -> dict[str, object]:
    return {"generation": held.generation + 1}


def of_a_wrong_type(held: Connection) -> dict[str, object]:
    return {"scopes": '["mail.read"'}


def of_a_newer_version(held: Connection) -> dict[str, object]:
    return {"health": "splendid"}


DAMAGE = {
    flipped: ("VaultError", "cannot be opened"),
    of_an_unknown_key: ("KeyUnavailable", "key"),
    of_another_generation: ("VaultError", "cannot be opened"),
    of_a_wrong_type: ("StoreUnavailable", "cannot be read"),
    of_a_newer_version: ("StoreUnavailable", "cannot be read"),
}


def damage(place: Place, postgres, held: Connection, values: dict[str, object]) -> None:
    for column, value in values.items():
        if postgres is not None:
            query = f"UPDATE connections SET {column} = $1 WHERE id = $2"  # noqa: S608 - from above
            postgres.sql(query, value, held.id, url=place.settings["database_url"])
        else:
            with closing(sqlite3.connect(place.home / "valetkey.db", isolation_level=None)) as elsewhere:
                elsewhere.execute(f"UPDATE connections SET {column} = ? WHERE id = ?", [value, held.id])  # noqa: S608


@pytest.mark.requirement("B.shown-corrupted", "R-37")
@pytest.mark.parametrize("how", DAMAGE, ids=lambda how: how.__name__)
def test_a_damaged_row_fails_alone_and_says_so(places, request, database, how):
    place = places(database)
    postgres = request.getfixturevalue("postgres") if database == "postgres" else None
    good, bad = place.account("good"), place.account("bad")
    damage(place, postgres, place.held("bad"), how(place.held("bad")))
    worker = place.worker()
    kind, words = DAMAGE[how]
    outcome = worker.call("bad")
    assert (outcome.get("error"), words in outcome.get("text", "")) == (kind, True), outcome
    assert worker.do("ahead") == 1, "upkeep passes it by, and refreshes the other one"
    assert worker.call("good")["token"] == place.tokens("good")[0] != good.access_token
    assert place.oidc.family(bad.refresh_token).refreshes == 0
