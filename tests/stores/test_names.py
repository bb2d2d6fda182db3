"""Names and ids that try to be something else (security-cases V-14)."""

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.stores.values import ADA, NOW, Stores, a_connection, an_interaction, in_sqlite
from valetkey.errors import InvalidArguments
from valetkey.model.connections import Connection
from valetkey.model.interactions import Interaction, InteractionKind, Phase

ODD = [
    "'; DROP TABLE connections; --",
    '" OR "1"="1',
    "%",
    "_",
    "\\",
    ":subject",
    "?",
    "a\nb\tc\r",
    "é\U0001f511\u202e",
    "",
    " ",
    "NULL",
    "x" * 1024,
]
IMPOSSIBLE = {"NUL": "a\0b", "half a character": "a\ud800b", "a million characters": "x" * 1_000_000}

CONNECTION_FIELDS = ["id", "workspace", "issuer", "subject", "provider", "handler", "profile"]
INTERACTION_FIELDS = ["id", "workspace", "issuer", "subject", "topic", "claimed_by"]


Row = TypeVar("Row", Connection, Interaction)


def with_name(row: Row, field: str, name: str) -> Row:
    changes: dict[str, Any] = {field: name}
    if field in {"workspace", "issuer", "subject"}:
        changes = {"owner": replace(row.owner, **changes)}
    return replace(row, **changes)


async def everything(stores: Stores) -> list[object]:
    return [
        *await stores.connections.of_owner(ADA),
        *await stores.interactions.of_owner(ADA, InteractionKind.CONNECT),
    ]


@pytest.mark.parametrize("field", CONNECTION_FIELDS)
async def test_an_odd_name_of_a_connection_is_a_name_like_any_other(stores, field):
    bystander = a_connection(profile="bystander")
    await stores.connections.insert(bystander)
    for name in ODD:
        odd = with_name(a_connection(), field, name)
        assert await stores.connections.insert(odd) is True
        assert await stores.connections.by_id(odd.id) == odd
        assert await stores.connections.get(odd.owner, odd.provider, odd.profile) == odd
        assert odd in await stores.connections.of_owner(odd.owner, odd.provider)
        newer = replace(odd, generation=2)
        assert await stores.connections.save(newer, generation=1) is True
        assert await stores.connections.delete(odd.id) == newer
    assert list(await stores.connections.of_owner(ADA)) == [bystander]


@pytest.mark.parametrize("field", INTERACTION_FIELDS)
async def test_an_odd_name_of_an_interaction_is_a_name_like_any_other(stores, field):
    bystander = an_interaction(topic="bystander")
    await stores.interactions.open(bystander)
    for name in ODD:
        odd = with_name(an_interaction(), field, name)
        assert await stores.interactions.open(odd) == odd
        assert await stores.interactions.get(odd.id) == odd
        assert await stores.interactions.find_open(odd.kind, odd.owner, odd.topic) == odd
        assert odd in await stores.interactions.of_owner(odd.owner, odd.kind)
        assert await stores.interactions.save(replace(odd, phase=Phase.DONE, version=2), version=1) is True
    assert list(await stores.interactions.of_owner(ADA, bystander.kind)) == [bystander]


@pytest.mark.parametrize("name", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
async def test_a_name_that_not_every_database_keeps_is_refused_and_nothing_changes(stores, name):
    connection, interaction = a_connection(), an_interaction()
    await stores.connections.insert(connection)
    await stores.interactions.open(interaction)
    before = await everything(stores)

    for field in CONNECTION_FIELDS:
        bad = with_name(a_connection(profile="other"), field, name)
        with pytest.raises(InvalidArguments, match="Use"):
            await stores.connections.insert(bad)
        if field != "id":
            with pytest.raises(InvalidArguments, match="Use"):
                await stores.connections.save(with_name(connection, field, name), generation=1)
    for field in INTERACTION_FIELDS:
        with pytest.raises(InvalidArguments, match="Use"):
            await stores.interactions.open(with_name(an_interaction(topic="other"), field, name))
        if field != "id":
            with pytest.raises(InvalidArguments, match="Use"):
                await stores.interactions.save(with_name(interaction, field, name), version=1)
    for names in ({"owner": name, "attempt": "a"}, {"owner": "a", "attempt": name}):
        with pytest.raises(InvalidArguments, match="Use"):
            await stores.connections.lease(connection.id, generation=1, now=NOW, ttl=1, **names)
    assert await everything(stores) == before


async def test_looking_for_any_text_finds_nothing_else_and_changes_nothing(stores):
    await stores.connections.insert(a_connection())
    await stores.interactions.open(an_interaction())
    before = await everything(stores)

    for name in (*ODD, *IMPOSSIBLE.values()):
        assert await stores.connections.by_id(name) is None
        assert await stores.interactions.get(name) is None
        for part in ("workspace", "issuer", "subject"):
            owner = replace(ADA, **{part: name})
            assert await stores.connections.get(owner, "slack", "default") is None
            assert list(await stores.connections.of_owner(owner)) == []
            assert await stores.interactions.find_open(InteractionKind.CONNECT, owner, "slack/default") is None
            assert list(await stores.interactions.of_owner(owner, InteractionKind.CONNECT)) == []
        assert await stores.connections.get(ADA, name, "default") is None
        assert await stores.connections.get(ADA, "slack", name) is None
        assert list(await stores.connections.of_owner(ADA, name)) == []
        assert await stores.interactions.find_open(InteractionKind.CONNECT, ADA, name) is None
        assert await stores.connections.delete(name) is None
        assert await stores.connections.lease(name, generation=1, owner="p", attempt="a", now=NOW, ttl=1) is False
        await stores.connections.release(name, owner=name, attempt=name, unclear=False)
    assert await everything(stores) == before


async def test_what_a_provider_calls_an_account_never_costs_the_credential(sqlite_stores):
    odd = a_connection(account="a\0b\ud800", reason="c\0d\ud800", scopes=frozenset({"e\0f\ud800"}))
    assert await sqlite_stores.connections.insert(odd) is True
    assert await sqlite_stores.connections.by_id(odd.id) == replace(odd, account="a?b?", reason="c?d?")


async def test_a_file_name_with_odd_characters_is_a_file_name(home: Path):
    path = home / "what%20is ?mode=memory#1;" / "v?k.db"
    stores = in_sqlite(path)
    row = a_connection()
    await stores.connections.insert(row)
    stores.close()
    assert path.read_bytes().startswith(b"SQLite format 3\0")
