"""Names of identity that try to be something else (security-cases V-14), and rows that nobody of us wrote."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.stores.test_names import IMPOSSIBLE, ODD
from tests.stores.values import (
    ADA,
    NOW,
    IdentityStores,
    a_record,
    a_stop,
    a_token,
    a_workspace,
    an_account,
    in_sqlite,
)
from valetkey.errors import InvalidArguments, StoreUnavailable
from valetkey.model.stops import StopKind
from valetkey.model.tokens import TokenKind

TOKEN_FIELDS = ["id", "workspace", "issuer", "subject", "parent", "digest", "key_id"]
ACCOUNT_FIELDS = ["id", "name", "password_hash", "email"]


def named(token, field, name):
    changes: dict[str, Any] = {field: name}
    if field in {"workspace", "issuer", "subject"}:
        changes = {"owner": replace(token.owner, **changes)}
    changed = replace(token, **changes)
    changed.user._principal = (changed.owner.issuer, changed.owner.subject)
    return changed


async def everything(identity: IdentityStores) -> list[object]:
    return [
        *await identity.accounts.page(),
        *await identity.tokens.page(),
        *await identity.stops.since(0),
        *await identity.workspaces.page(),
    ]


async def test_an_odd_name_is_a_name_like_any_other(identity):
    bystander = a_token(owner=replace(ADA, subject="bystander"))
    await identity.tokens.insert(bystander)
    revokes = {"now": NOW, "by": "'; --", "reason": "%"}
    for name in ODD:
        for field in TOKEN_FIELDS:
            odd = named(a_token(), field, name)
            if field == "parent" and name:
                await identity.tokens.insert(a_token(id=name))
            assert await identity.tokens.insert(odd) is True
            assert await identity.tokens.get(odd.id) == odd
            assert (await identity.tokens.by_digest(odd.digest) == odd) is bool(odd.digest)
            assert odd in await identity.tokens.of_principal(odd.owner.issuer, odd.owner.subject)
            everybody = {"kinds": list(TokenKind), "keep": "'"}
            assert await identity.tokens.revoke_all(odd.owner.issuer, odd.owner.subject, **everybody, **revokes) > 0
            assert await identity.tokens.sweep(before=NOW + 1) > 0
        for kind in StopKind:
            await identity.stops.put(a_stop(kind=kind, target=name, reason=name, by=name))
            assert await identity.stops.lift(kind, name, now=NOW) is True
        account = an_account(name=name, id=name, password_hash=name, email=name, roles=(name,))
        assert await identity.accounts.insert(account) is True
        assert await identity.accounts.get(name) == account
        workspace = a_workspace(id=name, owners=[name])
        assert await identity.workspaces.insert(workspace) is True
        assert await identity.workspaces.get(name) == workspace
        assert await identity.workspaces.delete(name) is True
    assert await identity.tokens.page() == [bystander]
    assert len(await identity.accounts.page()) == len(ODD) - 1  # but for the empty one, which no page begins before


@pytest.mark.parametrize("name", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
async def test_a_name_that_not_every_database_keeps_is_refused_and_nothing_changes(identity, name):
    token, account = a_token(), an_account()
    await identity.tokens.insert(token)
    await identity.accounts.insert(account)
    before = await everything(identity)
    for field in TOKEN_FIELDS:
        with pytest.raises(InvalidArguments, match="Use"):
            await identity.tokens.insert(named(a_token(), field, name))
    for field in ACCOUNT_FIELDS:
        with pytest.raises(InvalidArguments, match="Use"):
            await identity.accounts.insert(replace(an_account(), **{field: name}))
    with pytest.raises(InvalidArguments, match="Use"):
        await identity.accounts.save(replace(account, email=name), version=1)
    for digest, key_id in ((name, "key-1"), ("new", name)):
        with pytest.raises(InvalidArguments, match="Use"):
            await identity.tokens.rehash(token.id, before=token.digest, digest=digest, key_id=key_id)
    with pytest.raises(InvalidArguments, match="Use"):
        await identity.stops.put(a_stop(target=name))
    if "\ud800" not in name:  # Pydantic takes no such text
        with pytest.raises(InvalidArguments, match="Use"):
            await identity.workspaces.insert(a_workspace(id=name))
    assert await everything(identity) == before


async def test_looking_for_any_text_finds_nothing_else_and_changes_nothing(identity):
    token = a_token()
    await identity.tokens.insert(token)
    await identity.accounts.insert(an_account())
    await identity.stops.put(a_stop())
    before = await everything(identity)
    told = {"now": NOW, "by": "ada", "reason": "test"}
    for name in (*ODD, *IMPOSSIBLE.values()):
        assert await identity.tokens.get(name) is None
        assert await identity.tokens.by_digest(name) is None
        assert list(await identity.tokens.of_principal(name, "ada")) == []
        assert list(await identity.tokens.of_principal("host", name)) == []
        assert await identity.tokens.revoke(name, **told) == 0
        assert await identity.tokens.revoke_all("host", name, kinds=list(TokenKind), keep=name, **told) == 0
        assert await identity.tokens.spend(name, now=NOW) is False
        await identity.tokens.used(name, at=NOW)
        assert await identity.tokens.rehash(name, before=name, digest="new", key_id="key-2") is False
        assert await identity.accounts.get(name) is None
        assert await identity.workspaces.get(name) is None
        assert await identity.workspaces.delete(name) is False
        assert await identity.stops.lift(StopKind.USER, name, now=NOW) is False
    assert await everything(identity) == before


async def test_what_people_wrote_is_shown_and_never_in_the_way(identity):
    odd = "a\0b\ud800" + "x" * 5000
    token = a_token(name=odd, agent=odd, address=odd)
    assert await identity.tokens.insert(token) is True
    shown = "a?b?" + "x" * 5000
    assert await identity.tokens.get(token.id) == replace(token, name=shown, agent=shown, address=shown)
    await identity.tokens.revoke(token.id, now=NOW, by=odd, reason=odd)
    (stop,) = await identity.stops.since(0)
    assert (stop.by, stop.reason) == (shown, shown)


DAMAGE = {
    "tokens": [
        ("kind", "'another'"),
        ("bearer", "'{'"),
        ("bearer", "'[]'"),
        ("bearer", """'{"id": "", "roles": []}'"""),
        ("created_at", "'soon'"),
        ("digest", "x'00'"),
        ("expires_at", "'never'"),
    ],
    "accounts": [("roles", "'admin'"), ("roles", "'[1]'"), ("version", "'one'"), ("password_hash", "x'ff'")],
    "workspaces": [("info", "'null'"), ("info", """'{"id": "another", "name": "x"}'""")],
    "audit": [
        ("entry", "'{'"),
        ("entry", "'{}'"),
        ("entry", """'{"action": "call", "details": {"a": 1}}'"""),
        ("entry", """'{"action": "call", "details": {}, "more": "x"}'"""),
        ("entry", """'{"action": 5, "details": {}}'"""),
        ("mac", "x'00'"),
    ],
    "stops": [("target", "x'00'"), ("created_at", "'soon'"), ("ends_at", "'later'")],
}


@pytest.mark.parametrize(
    ("table", "column", "value"), [(table, *each) for table, damages in DAMAGE.items() for each in damages]
)
async def test_a_damaged_row_is_told_and_nothing_is_made_of_it(home: Path, caplog, table, column, value):
    stores = in_sqlite(home / "valetkey.db")
    identity = stores.identity
    token, account, workspace = a_token(id="1"), an_account(name="1"), a_workspace(id="1")
    await identity.tokens.insert(token)
    await identity.accounts.insert(account)
    await identity.workspaces.insert(workspace)
    await identity.audit.append([a_record(1)])
    await identity.stops.put(a_stop(ends_at=NOW + 9))
    database: Any = identity.tokens
    await database._database.write((text(f"UPDATE {table} SET {column} = {value}"), {}))  # noqa: S608 - from above
    second = {"tokens": a_token(id="2"), "accounts": an_account(name="2"), "workspaces": a_workspace(id="2")}
    if table in second:
        store: Any = getattr(identity, table)
        await store.insert(second[table])
        with pytest.raises(StoreUnavailable, match="cannot be read: its row is damaged"):
            await store.get("1")
        assert await store.page() == [second[table]]
        assert "cannot be read" in caplog.text
    else:
        looks = {"audit": (identity.audit.head, identity.audit.page), "stops": (lambda: identity.stops.since(0),)}
        for look in looks[table]:
            with pytest.raises(StoreUnavailable, match="cannot be read"):
                await look()
    stores.close()


async def test_a_kind_of_stop_that_only_a_newer_version_knows_is_passed_over(sqlite_stores):
    stops: Any = sqlite_stores.identity.stops
    await stops.put(a_stop(target="a"))
    await stops._database.write((text("UPDATE stops SET kind = 'planet'"), {}))
    await stops.put(a_stop(target="b"))
    assert [stop.target for stop in await stops.since(0)] == ["b"]


async def test_what_a_newer_version_adds_to_a_user_is_left_out(sqlite_stores):
    tokens: Any = sqlite_stores.identity.tokens
    token = a_token()
    await tokens.insert(token)
    newer = json.dumps(token.user.model_dump(mode="json") | {"mood": "calm"})
    await tokens._database.write((text("UPDATE tokens SET bearer = :bearer"), {"bearer": newer}))
    assert await tokens.get(token.id) == token
