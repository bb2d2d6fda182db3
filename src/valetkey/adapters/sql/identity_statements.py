"""Every statement of identity, once, for any dialect; values go in by name, never into the text.

An upsert, and a walk down a tree, are the same words on SQLite and PostgreSQL, and SQLAlchemy has them for one of
the two at a time: these are text.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Double,
    Executable,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.sql.elements import TextClause
from sqlalchemy.types import TypeEngine

from valetkey.adapters.sql.statements import SERVER_CLOCK, SWEPT_AT_ONCE
from valetkey.adapters.sql.tables import LONG, accounts, audit, counters, revisions, stops, tokens, workspaces

_TYPES: dict[str, TypeEngine[Any]] = {
    "now": Double(),
    "until": Double(),
    "late": Double(),
    "ends_at": Double(),
    "created_at": Double(),
}
_TYPES |= {"period": Double(), "amount": LONG, "lifted": stops.c.lifted.type}


def _said(words: str) -> TextClause:
    clause = text(words)
    return clause.bindparams(*(bindparam(name, type_=_TYPES.get(name, Text())) for name in clause.compile().params))


def _page(table: Table) -> Executable:
    by = next(iter(table.primary_key.columns))
    return select(table).where(by > bindparam("after")).order_by(by).limit(bindparam("limit"))


ACCOUNT: Executable = select(accounts).where(accounts.c.name == bindparam("name"))
ACCOUNT_INSERT: Executable = insert(accounts)
ACCOUNT_SAVE: Executable = update(accounts).where(
    accounts.c.name == bindparam("where_name"), accounts.c.version == bindparam("where_version")
)
ACCOUNTS_PAGE: Executable = _page(accounts)

WORKSPACE: Executable = select(workspaces).where(workspaces.c.id == bindparam("id"))
WORKSPACE_INSERT: Executable = insert(workspaces)
WORKSPACE_SAVE: Executable = update(workspaces).where(
    workspaces.c.id == bindparam("where_id"), workspaces.c.info == bindparam("where_info")
)
WORKSPACE_DELETE: Executable = delete(workspaces).where(workspaces.c.id == bindparam("id"))
WORKSPACES_PAGE: Executable = _page(workspaces)

_alive = tokens.c.revoked_at.is_(None)
_this = tokens.c.id == bindparam("where_id")
_principal = and_(tokens.c.issuer == bindparam("issuer"), tokens.c.subject == bindparam("subject"))


def _lasts(until: str) -> ColumnElement[bool]:
    return or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > bindparam(until, type_=Double))


def _hashed(given: str) -> ColumnElement[bool]:
    # The database looks in its index for a keyed hash, and nobody can choose one: how long that takes tells nothing.
    return tokens.c.digest.op("=", is_comparison=True)(bindparam(given, type_=Text))


TOKEN: Executable = select(tokens).where(tokens.c.id == bindparam("id"))
TOKEN_BY_DIGEST: Executable = select(tokens).where(_hashed("digest"))
TOKENS_OF_PRINCIPAL: Executable = (
    select(tokens).where(_principal, _alive, _lasts("now")).order_by(tokens.c.created_at.desc(), tokens.c.id)
)
TOKENS_PAGE: Executable = _page(tokens)
TOKEN_INSERT: Executable = insert(tokens)


def _roots(which: ColumnElement[bool]) -> Select[tuple[str]]:
    """The tokens at the root of these, which are locked by whoever makes a child of them, or revokes them.

    So one waits for the other, however many tokens lie between what both are about; and as nobody locks another token
    before, and of several roots all have the same order, no two wait for each other.
    """
    first = select(tokens.c.id, tokens.c.parent).where(which).cte("line", recursive=True)
    line = first.union(select(tokens.c.id, tokens.c.parent).where(tokens.c.id == first.c.parent))
    above = tokens.alias("above")
    is_root = ~exists().where(above.c.id == tokens.c.parent)
    return select(tokens.c.id).where(tokens.c.id == line.c.id, is_root).order_by(tokens.c.id)


TOKEN_ROOT: Executable = _roots(tokens.c.id == bindparam("token"))
TOKEN_ITSELF: Executable = select(tokens.c.id).where(tokens.c.id == bindparam("token"))
# A statement of its own: on PostgreSQL it sees what was committed while the locks were waited for.
TOKEN_INSERT_CHILD: Executable = insert(tokens).from_select(
    [column.name for column in tokens.c],
    select(*(cast(bindparam(column.name, type_=column.type), column.type) for column in tokens.c)).where(
        exists().where(tokens.c.id == bindparam("parent"), _alive, _lasts("created_at"))
    ),
)
TOKEN_SPEND: Executable = update(tokens).where(_this, _alive).values(revoked_at=bindparam("now"))
TOKEN_USED: Executable = (
    update(tokens)
    .where(_this, or_(tokens.c.last_used_at.is_(None), tokens.c.last_used_at < bindparam("at")))
    .values(last_used_at=bindparam("at"))
)
TOKEN_REHASH: Executable = (
    update(tokens)
    .where(_this, _hashed("before"))
    .values(digest=bindparam("new_digest"), key_id=bindparam("new_key_id"))
)
TOKEN_KEYS: Executable = (
    select(tokens.c.key_id, func.count()).where(_alive, _lasts("now"), tokens.c.key_id != "").group_by(tokens.c.key_id)
)
_made_with = tokens.alias("made_with")
_over = or_(tokens.c.revoked_at < bindparam("before"), tokens.c.expires_at < bindparam("before"))
# What was made with it is found by it, and must be when what it was made with is revoked: so the last ones go first.
_swept = select(tokens.c.id).where(_over, ~exists().where(_made_with.c.parent == tokens.c.id)).limit(SWEPT_AT_ONCE)
TOKENS_SWEEP: Executable = delete(tokens).where(tokens.c.id.in_(_swept.scalar_subquery()))

KINDS = 8
"""How many kinds of token can be named at once; what is not needed is an empty text."""

_named = or_(*(tokens.c.kind == bindparam(f"kind_{number}") for number in range(KINDS)))
_ONE = "tokens.id = :token"
_ALL = (
    "tokens.issuer = :issuer AND tokens.subject = :subject AND tokens.id <> :keep AND tokens.kind IN ("
    + ", ".join(f":kind_{number}" for number in range(KINDS))
    + ")"
)
_TREE = (
    "WITH RECURSIVE tree (id) AS (SELECT tokens.id FROM tokens WHERE {top}"
    " UNION SELECT tokens.id FROM tokens JOIN tree ON tokens.parent = tree.id WHERE {below})"
)
_CHANGED = (
    "reason = excluded.reason, stopped_by = excluded.stopped_by, created_at = excluded.created_at,"
    " ends_at = excluded.ends_at, revision = excluded.revision, lifted = excluded.lifted"
)
_INTO_STOPS = "INSERT INTO stops (kind, target, reason, stopped_by, created_at, ends_at, revision, lifted)"
_NEWEST = "(SELECT revisions.value FROM revisions WHERE revisions.name = 'stops')"


def _stop_tree(top: str, below: str) -> Executable:
    return _said(
        f"{_INTO_STOPS} {_TREE.format(top=top, below=below)} SELECT 'token', tokens.id, :reason, :stopped_by, :now,"  # noqa: S608 - our own words
        f" COALESCE(tokens.expires_at, :until) + :late, {_NEWEST}, 0 FROM tokens JOIN tree ON tokens.id = tree.id"
        f" WHERE tokens.revoked_at IS NULL ON CONFLICT (kind, target) DO UPDATE SET {_CHANGED}"
    )


def _revoke_tree(top: str, below: str) -> Executable:
    return _said(
        "UPDATE tokens SET revoked_at = :now WHERE tokens.revoked_at IS NULL AND tokens.id IN"  # noqa: S608 - our own words
        f" ({_TREE.format(top=top, below=below)} SELECT tree.id FROM tree)"
    )


TOKEN_STOP: Executable = _stop_tree(_ONE, "1 = 1")
TOKEN_REVOKE: Executable = _revoke_tree(_ONE, "1 = 1")
TOKENS_ROOTS: Executable = _roots(and_(_principal, _named, tokens.c.id != bindparam("keep")))
TOKENS_STOP: Executable = _stop_tree(_ALL, "tokens.id <> :keep")
TOKENS_REVOKE: Executable = _revoke_tree(_ALL, "tokens.id <> :keep")

_revision = select(revisions.c.value).where(revisions.c.name == "stops")
STOP_REVISION: Executable = _revision
# The first step of every change: whoever changes this row comes alone, until it is committed.
STOP_CHANGES: Executable = _said(
    "INSERT INTO revisions (name, value) VALUES ('stops', 1)"
    " ON CONFLICT (name) DO UPDATE SET value = revisions.value + 1"
)
STOP_PUT: Executable = _said(
    f"{_INTO_STOPS} VALUES (:kind, :target, :reason, :stopped_by, :created_at, :ends_at, {_NEWEST}, :lifted)"
    f" ON CONFLICT (kind, target) DO UPDATE SET {_CHANGED}"
)
_in_force = and_(stops.c.lifted == 0, or_(stops.c.ends_at.is_(None), stops.c.ends_at > bindparam("now", type_=Double)))
STOP_LIFT: Executable = (
    update(stops)
    .where(stops.c.kind == bindparam("where_kind"), stops.c.target == bindparam("where_target"), _in_force)
    .values(lifted=1, ends_at=bindparam("now"), revision=_revision.scalar_subquery())
)
STOPS_SINCE: Executable = (
    select(stops)
    .where(stops.c.revision > bindparam("revision", type_=LONG))
    .order_by(stops.c.revision, stops.c.kind, stops.c.target)
)
STOPS_ACTIVE: Executable = (
    select(stops).where(_in_force, stops.c.kind != "token").order_by(stops.c.kind, stops.c.target)
)
_ended = select(stops.c.kind, stops.c.target).where(stops.c.ends_at < bindparam("before")).limit(SWEPT_AT_ONCE)
STOPS_SWEEP: Executable = delete(stops).where(tuple_(stops.c.kind, stops.c.target).in_(_ended))

RECORD_NEWEST: Executable = select(audit).order_by(audit.c.seq.desc()).limit(bindparam("limit"))
RECORDS_PAGE: Executable = _page(audit)
RECORD_INSERTS = {
    size: insert(audit).values(
        [
            {column.name: bindparam(f"{column.name}_{row}", type_=column.type) for column in audit.c}
            for row in range(size)
        ]
    )
    for size in (64, 8, 1)
}
"""Statements for so many records at once: a batch takes a few round trips, not one for each."""
_keys = select(audit.c.key_id).order_by(audit.c.key_id).limit(1)
RECORD_FIRST_KEY: Executable = _keys
RECORD_NEXT_KEY: Executable = _keys.where(audit.c.key_id > bindparam("key_id"))

# A period that ends much later than any that begins now was told before the clock was set back. Much: who waited for
# the row has read the clock before whoever was faster, and must not begin a period anew.
_PRESENT = "counters.ends_at > {end} - :period AND counters.ends_at <= {end} + 60.0"
_COUNT = (
    "INSERT INTO counters (key, amount, ends_at) VALUES (:key, :amount, {now} + :period)"  # noqa: S608 - our own words
    " ON CONFLICT (key) DO UPDATE SET"
    f" amount = CASE WHEN {_PRESENT} THEN counters.amount + excluded.amount ELSE excluded.amount END,"
    f" ends_at = CASE WHEN {_PRESENT} THEN counters.ends_at ELSE excluded.ends_at END"
).replace("{end}", "excluded.ends_at")
_SERVER = "CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)"
COUNT: Executable = _said(_COUNT.format(now=":now"))
COUNT_BY_SERVER: Executable = _said(_COUNT.format(now=_SERVER))
_key = counters.c.key == bindparam("key")
_now = bindparam("now", type_=Double)
_period = bindparam("period", type_=Double)
COUNTED: Executable = select(counters.c.amount, counters.c.ends_at - _now).where(
    _key, counters.c.ends_at > _now, counters.c.ends_at <= _now + _period + text("60.0")
)
COUNTED_BY_SERVER: Executable = select(counters.c.amount, counters.c.ends_at - SERVER_CLOCK).where(
    _key, counters.c.ends_at > SERVER_CLOCK, counters.c.ends_at <= SERVER_CLOCK + _period + text("60.0")
)
_done = select(counters.c.key).where(counters.c.ends_at < bindparam("before")).limit(SWEPT_AT_ONCE)
COUNTERS_SWEEP: Executable = delete(counters).where(counters.c.key.in_(_done.scalar_subquery()))
