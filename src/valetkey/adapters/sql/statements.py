"""Every statement that the stores run, once, for any dialect; values go in by name, never into the text."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Double,
    Executable,
    Integer,
    Table,
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
    update,
)

from valetkey.adapters.sql.tables import OPEN, REFRESHES, connections, interactions, leaders, revocations


def _owned(table: Table) -> ColumnElement[bool]:
    return and_(
        table.c.workspace == bindparam("workspace"),
        table.c.issuer == bindparam("issuer"),
        table.c.subject == bindparam("subject"),
    )


_ours = _owned(connections)
_unmoved = and_(connections.c.id == bindparam("where_id"), connections.c.generation == bindparam("where_generation"))

CONNECTION: Executable = select(connections).where(connections.c.id == bindparam("id"))
CONNECTION_OF_ACCOUNT: Executable = select(connections).where(
    _ours, connections.c.provider == bindparam("provider"), connections.c.profile == bindparam("profile")
)
CONNECTIONS_OF_OWNER: Executable = (
    select(connections).where(_ours).order_by(connections.c.provider, connections.c.profile)
)
CONNECTIONS_AT_PROVIDER: Executable = (
    select(connections).where(_ours, connections.c.provider == bindparam("provider")).order_by(connections.c.profile)
)
CONNECTION_INSERT: Executable = insert(connections)
CONNECTION_SAVE: Executable = update(connections).where(_unmoved)
_held_until = connections.c.lease_until
_held_ticks = connections.c.lease_ticks
_as_seen = and_(_unmoved, or_(bindparam("any_seen", type_=Integer) == 1, connections.c.attempt_id == bindparam("seen")))
_taken: dict[str, Any] = {
    "lease_owner": bindparam("taker"),
    "attempt_id": bindparam("attempt"),
    "attempt_started": bindparam("now"),
}
# Told by the machine's steady clock, and for the version before, which knows no other, by the wall clock. A lease that
# would last much longer than any does was told before a restart of the machine, or before the clock was set back. Much:
# who waited for the database has read the clock before whoever was faster, and must not take that one's lease.
_WAITED = text("60.0")
CONNECTION_LEASE: Executable = (
    update(connections)
    .where(
        _as_seen,
        or_(_held_ticks <= bindparam("ticks"), _held_ticks > bindparam("until_ticks") + _WAITED),
        or_(_held_ticks > 0, _held_until <= bindparam("now"), _held_until > bindparam("until") + _WAITED),
    )
    .values(lease_until=bindparam("until"), lease_ticks=bindparam("until_ticks"), **_taken)
)
SERVER_CLOCK: ColumnElement[float] = func.extract("epoch", func.clock_timestamp()).cast(Double)
CONNECTION_LEASE_BY_SERVER: Executable = (
    update(connections)
    .where(_as_seen, _held_until <= SERVER_CLOCK)
    .values(lease_until=SERVER_CLOCK + bindparam("ttl", type_=Double), **_taken)
)
_by_holder = and_(
    connections.c.id == bindparam("where_id"),
    connections.c.lease_owner == bindparam("holder"),
    connections.c.attempt_id == bindparam("attempt"),
)
_freed: dict[str, Any] = {"lease_owner": text("''"), "lease_until": text("0.0"), "lease_ticks": text("0.0")}
_forgotten: dict[str, Any] = {"attempt_id": text("''"), "attempt_started": text("0.0")}
CONNECTION_RELEASE: Executable = update(connections).where(_by_holder).values(**_freed, **_forgotten)
CONNECTION_RELEASE_UNCLEAR: Executable = update(connections).where(_by_holder).values(**_freed)
_standing: dict[str, Any] = {
    name: bindparam(name) for name in ("health", "cause", "reason", "fail_count", "next_try_at", "updated_at")
}
_of_attempt = and_(_unmoved, connections.c.attempt_id == bindparam("attempt"))
CONNECTION_NOTE: Executable = update(connections).where(_unmoved).values(**_standing)
CONNECTION_NOTE_ATTEMPT: Executable = update(connections).where(_of_attempt).values(**_standing, **_freed, **_forgotten)
CONNECTION_NOTE_UNCLEAR: Executable = update(connections).where(_of_attempt).values(**_standing, **_freed)
CONNECTIONS_DUE: Executable = (
    select(connections)
    .where(text(REFRESHES), connections.c.refresh_at <= bindparam("now"), connections.c.next_try_at <= bindparam("now"))
    .order_by(connections.c.refresh_at)
    .limit(bindparam("limit"))
)
CONNECTIONS_PAGE: Executable = (
    select(connections)
    .where(connections.c.id > bindparam("after"))
    .order_by(connections.c.id)
    .limit(bindparam("limit"))
)
CONNECTIONS_SEALED_BY: Executable = (
    select(connections)
    .where(connections.c.key_id == bindparam("key_id"), connections.c.id > bindparam("after"))
    .order_by(connections.c.id)
    .limit(bindparam("limit"))
)
_keys = select(connections.c.key_id).order_by(connections.c.key_id).limit(1)
CONNECTION_FIRST_KEY: Executable = _keys
CONNECTION_NEXT_KEY: Executable = _keys.where(connections.c.key_id > bindparam("key_id"))
CONNECTION_RESEAL: Executable = (
    update(connections)
    .where(_unmoved, connections.c.sealed == bindparam("before"))
    .values(sealed=bindparam("after"), key_id=bindparam("new_key_id"))
)
CONNECTION_KEYS: Executable = select(connections.c.key_id, func.count()).group_by(connections.c.key_id)
CONNECTION_CENSUS: Executable = select(connections.c.provider, connections.c.health, func.count()).group_by(
    connections.c.provider, connections.c.health
)
CONNECTION_UNMOVED: Executable = select(connections).where(_unmoved)
CONNECTION_DELETE_UNMOVED: Executable = delete(connections).where(_unmoved)
CONNECTION_DELETE: Executable = delete(connections).where(connections.c.id == bindparam("id"))

_open = text(OPEN)
_asked = and_(_owned(interactions), interactions.c.kind == bindparam("kind"), _open)

INTERACTION: Executable = select(interactions).where(interactions.c.id == bindparam("id"))
INTERACTION_OPEN: Executable = select(interactions).where(_asked, interactions.c.topic == bindparam("topic"))
INTERACTIONS_OPEN: Executable = (
    select(interactions).where(_asked).order_by(interactions.c.created_at, interactions.c.id)
)
INTERACTION_INSERT: Executable = insert(interactions)
INTERACTION_SAVE: Executable = update(interactions).where(
    interactions.c.id == bindparam("where_id"), interactions.c.version == bindparam("where_version")
)
# What was answered waits to be settled, however late that is; only what nobody answered, or what ended, goes.
SWEPT_AT_ONCE = 1000
"""Rows that one transaction removes: no other one waits long for it."""


def _swept(which: str) -> Executable:
    over = interactions.c.expires_at < bindparam("before")
    some = select(interactions.c.id).where(over, text(which)).limit(SWEPT_AT_ONCE)
    return delete(interactions).where(interactions.c.id.in_(some.scalar_subquery()))


INTERACTIONS_SWEEP: Executable = _swept("phase NOT IN ('answered', 'settling')")
INTERACTIONS_SWEEP_UNSETTLED: Executable = _swept("phase IN ('answered', 'settling')")
INTERACTIONS_PAGE: Executable = (
    select(interactions)
    .where(interactions.c.id > bindparam("after"))
    .order_by(interactions.c.id)
    .limit(bindparam("limit"))
)
INTERACTION_RESEAL: Executable = (
    update(interactions)
    .where(
        interactions.c.id == bindparam("where_id"),
        interactions.c.version == bindparam("where_version"),
        interactions.c.payload == bindparam("before"),
    )
    .values(payload=bindparam("new_payload"), answer=bindparam("new_answer"))
)

REVOCATION_INSERT: Executable = insert(revocations)
# Together with the deletion of its connection, and only if that is still there to be deleted.
_asked_for = select(*(cast(bindparam(column.name, type_=column.type), column.type) for column in revocations.c))
REVOCATION_OF_CONNECTION: Executable = insert(revocations).from_select(
    [column.name for column in revocations.c],
    _asked_for.where(exists().where(connections.c.id == bindparam("where_id"))),
)
REVOCATION_OF_UNMOVED: Executable = insert(revocations).from_select(
    [column.name for column in revocations.c], _asked_for.where(exists().where(_unmoved))
)
REVOCATIONS_DUE: Executable = (
    select(revocations)
    .where(revocations.c.next_try_at <= bindparam("now"))
    .order_by(revocations.c.next_try_at, revocations.c.id)
    .limit(bindparam("limit"))
)
REVOCATION_CLAIM: Executable = (
    update(revocations)
    .where(revocations.c.id == bindparam("where_id"), revocations.c.tries == bindparam("where_tries"))
    .values(tries=bindparam("new_tries"), next_try_at=bindparam("new_next_try_at"))
)
REVOCATION_FAIL: Executable = (
    update(revocations).where(revocations.c.id == bindparam("where_id")).values(reason=bindparam("new_reason"))
)
REVOCATION_DELETE: Executable = delete(revocations).where(revocations.c.id == bindparam("id"))
REVOCATIONS_PAGE: Executable = (
    select(revocations)
    .where(revocations.c.id > bindparam("after"))
    .order_by(revocations.c.id)
    .limit(bindparam("limit"))
)
REVOCATION_RESEAL: Executable = (
    update(revocations)
    .where(revocations.c.id == bindparam("where_id"), revocations.c.sealed == bindparam("before"))
    .values(sealed=bindparam("new_sealed"))
)

LEADER: Executable = select(leaders.c.name).where(leaders.c.name == bindparam("name"))
LEADER_INSERT: Executable = insert(leaders)
_leads = leaders.c.name == bindparam("where_name")
LEADER_TAKE: Executable = (
    update(leaders)
    .where(
        _leads,
        or_(
            leaders.c.owner == bindparam("where_owner"),
            leaders.c.until <= bindparam("ticks"),
            leaders.c.until > bindparam("new_until") + _WAITED,
        ),
    )
    .values(owner=bindparam("new_owner"), until=bindparam("new_until"))
)
LEADER_TAKE_BY_SERVER: Executable = (
    update(leaders)
    .where(_leads, or_(leaders.c.owner == bindparam("where_owner"), leaders.c.until <= SERVER_CLOCK))
    .values(owner=bindparam("new_owner"), until=SERVER_CLOCK + bindparam("ttl", type_=Double))
)
LEADER_DELETE: Executable = delete(leaders).where(_leads, leaders.c.owner == bindparam("where_owner"))

PING: Executable = select(leaders.c.name).limit(1)
