"""Every statement that the stores run, once, for any dialect; values go in by name, never into the text."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Executable, Table, and_, bindparam, delete, insert, select, text, update

from valetkey.adapters.sql.tables import OPEN, connections, interactions


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
CONNECTION_LEASE: Executable = (
    update(connections)
    .where(_unmoved, connections.c.lease_until <= bindparam("now"))
    .values(
        lease_owner=bindparam("taker"),
        lease_until=bindparam("until"),
        attempt_id=bindparam("attempt"),
        attempt_started=bindparam("now"),
    )
)
CONNECTION_RELEASE: Executable = (
    update(connections)
    .where(
        connections.c.id == bindparam("where_id"),
        connections.c.lease_owner == bindparam("holder"),
        connections.c.attempt_id == bindparam("attempt"),
    )
    .values(lease_owner=text("''"), lease_until=text("0.0"), attempt_id=text("''"), attempt_started=text("0.0"))
)
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
INTERACTIONS_SWEEP: Executable = delete(interactions).where(
    interactions.c.expires_at < bindparam("before"), text("phase NOT IN ('answered', 'settling')")
)
