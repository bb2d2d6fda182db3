"""Revoking a token while somebody makes another with it: one comes first, and no child of a revoked one is alive."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.stores.values import ADA, NOW, IdentityStores, a_record, a_stop, a_token, in_postgres, in_sqlite
from valetkey.adapters.sql import identity_statements as statements
from valetkey.adapters.sql.identity_rows import token_values
from valetkey.adapters.sql.postgres import BEGIN, _prepare
from valetkey.model.tokens import TokenKind

TOLD = {"by": "ada", "reason": "lost"}


@pytest.fixture(params=["sqlite", "postgres"])
def pair(request: pytest.FixtureRequest, sqlite_path: Path) -> Iterator[list[IdentityStores]]:
    """Two processes' stores over one database."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            made = [in_sqlite(sqlite_path), in_sqlite(sqlite_path)]
        else:
            url = request.getfixturevalue("postgres_database")
            made = [in_postgres(url), in_postgres(url)]
        for stores in made:
            stack.callback(stores.close)
        yield [stores.identity for stores in made]


def end(tokens, top, number):
    """Revoke it alone, or with all that Ada has."""
    if number % 2:
        return tokens.revoke(top.id, now=NOW + number, **TOLD)
    kinds = [TokenKind.API_KEY]
    return tokens.revoke_all(ADA.issuer, ADA.subject, kinds=kinds, keep="", now=NOW + number, **TOLD)


async def test_whoever_comes_first_no_child_of_a_revoked_token_is_alive(pair):
    one, other = pair
    made = 0
    for number in range(8):
        top = a_token()
        child = a_token(parent=top.id)
        for token in (top, child):
            await one.tokens.insert(token)
        late = [a_token(parent=(top, child)[at % 2].id) for at in range(6)]
        work: list[Any] = [other.tokens.insert(token) for token in late]
        work.insert(number % 7, end(one.tokens, top, number))
        saved = await asyncio.gather(*work)
        ended = saved.pop(number % 7)
        assert ended == 2 + sum(saved)
        assert [await one.tokens.get(token.id) is not None for token in late] == saved
        made += sum(saved)
    assert await one.tokens.of_principal(ADA.issuer, ADA.subject) == []
    assert len(await one.stops.since(0)) == 16 + made


async def test_revoking_at_once_counts_each_token_once_and_a_ticket_is_spent_once(pair):
    top = a_token()
    below = [a_token(parent=top.id, kind=TokenKind.TICKET) for _ in range(3)]
    for token in (top, *below):
        await pair[0].tokens.insert(token)
    spent = await asyncio.gather(*(each.tokens.spend(below[0].id, now=NOW) for each in pair for _ in range(3)))
    assert sorted(spent) == [False] * 5 + [True]
    counts = await asyncio.gather(*(each.tokens.revoke(top.id, now=NOW, **TOLD) for each in pair for _ in range(3)))
    assert sorted(counts) == [0] * 5 + [3]


async def test_of_two_who_write_the_same_number_into_the_log_one_does(pair):
    for seq in range(1, 6):
        done = await asyncio.gather(*(each.audit.append([a_record(seq, mac=str(at))]) for at, each in enumerate(pair)))
        assert sorted(done) == [False, True]
        assert (await pair[0].audit.head()).mac == str(done.index(True))


class Elsewhere:
    """Another process's transaction on PostgreSQL, a step at a time."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    async def step(self, statement: Any, **values: object) -> None:
        """Run one of our own statements, locking as ours do."""
        prepared = _prepare(statement.with_for_update() if hasattr(statement, "with_for_update") else statement)
        await self.connection.fetch(prepared.sql, *(prepared.parameters(values) or ()))

    async def blocked(self, task: "asyncio.Task[Any]") -> None:
        """Wait until somebody waits for what this transaction holds."""
        while not await self.connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert not task.done()


@pytest.fixture
async def elsewhere(postgres_database):
    connection = await asyncpg.connect(postgres_database)
    await connection.execute(BEGIN)
    yield Elsewhere(connection)
    await connection.close()


async def family(identity):
    """Three generations."""
    top = a_token()
    child = a_token(parent=top.id)
    grandchild = a_token(parent=child.id)
    for token in (top, child, grandchild):
        await identity.tokens.insert(token)
    return top, child, grandchild


async def test_a_child_being_made_is_waited_for_and_ends_with_its_line(postgres_stores, elsewhere):
    identity = postgres_stores.identity
    top, _, grandchild = await family(identity)
    late = a_token(parent=grandchild.id)
    await elsewhere.step(statements.TOKEN_ROOT, token=grandchild.id)
    await elsewhere.step(statements.TOKEN_INSERT_CHILD, **token_values(late))
    revoking = asyncio.create_task(identity.tokens.revoke(top.id, now=NOW, **TOLD))
    await elsewhere.blocked(revoking)
    await elsewhere.connection.execute("COMMIT")
    assert await revoking == 4
    assert (await identity.tokens.get(late.id)).revoked_at == NOW
    assert late.id in {stop.target for stop in await identity.stops.since(0)}


async def test_who_makes_a_child_waits_for_a_revocation_above_and_then_makes_none(postgres_stores, elsewhere):
    identity = postgres_stores.identity
    top, _, grandchild = await family(identity)
    late = a_token(parent=grandchild.id)
    which = {"token": top.id, "now": NOW}
    await elsewhere.step(statements.STOP_CHANGES)
    await elsewhere.step(statements.TOKEN_ROOT, token=top.id)
    making = asyncio.create_task(identity.tokens.insert(late))
    await elsewhere.blocked(making)
    await elsewhere.step(statements.TOKEN_REVOKE, **which)
    await elsewhere.connection.execute("COMMIT")
    assert await making is False
    assert await identity.tokens.get(late.id) is None


async def test_with_a_ticket_that_is_being_spent_no_child_is_made(postgres_stores, elsewhere):
    identity = postgres_stores.identity
    root = a_token()
    ticket = a_token(parent=root.id, kind=TokenKind.TICKET)
    for token in (root, ticket):
        await identity.tokens.insert(token)
    await elsewhere.step(statements.TOKEN_SPEND, where_id=ticket.id, now=NOW)
    making = asyncio.create_task(identity.tokens.insert(a_token(parent=ticket.id)))
    await elsewhere.blocked(making)
    await elsewhere.connection.execute("COMMIT")
    assert await making is False


async def test_a_change_of_stops_is_seen_by_its_number_only_after_those_before_it(postgres_stores, elsewhere):
    """Whoever has heard up to a revision never finds one of a lower number later."""
    stops = postgres_stores.identity.stops
    await stops.put(a_stop(target="before"))
    await elsewhere.step(statements.STOP_CHANGES)
    putting = asyncio.create_task(stops.put(a_stop(target="second")))
    await elsewhere.blocked(putting)
    assert await stops.revision() == 1
    first = {"kind": "user", "target": "first", "reason": "", "stopped_by": "", "created_at": NOW}
    await elsewhere.step(statements.STOP_PUT, **first, ends_at=None, lifted=0)
    await elsewhere.connection.execute("COMMIT")
    await putting
    assert [(stop.target, stop.revision) for stop in await stops.since(1)] == [("first", 2), ("second", 3)]
