"""The tables, as the newest migration leaves them; the same on SQLite and PostgreSQL."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

# Times are seconds since the epoch. Double is REAL in SQLite, and keeps its precision in PostgreSQL.
metadata = MetaData()

REFRESHES = "refreshable = 1 AND health <> 'needs_reauth'"
"""What may be refreshed without a person; index and query say it in the same words."""

connections = Table(
    "connections",
    metadata,
    Column("id", Text, primary_key=True),
    Column("workspace", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("handler", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("scopes", Text, nullable=False),  # a JSON array, sorted
    Column("sealed", LargeBinary, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("issued_at", Double),
    Column("expires_at", Double),
    Column("refreshable", Integer, nullable=False),  # 0 or 1
    Column("account", Text),
    Column("health", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("lease_owner", Text, nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("attempt_id", Text, nullable=False),
    Column("attempt_started", Double, nullable=False),
    Column("fail_count", Integer, nullable=False),
    Column("next_try_at", Double, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("refresh_at", Double),
    Column("cause", Text, nullable=False, server_default=""),
    Column("key_id", Text, nullable=False, server_default=""),  # the key that sealed it
    Column("lease_ticks", Double, nullable=False, server_default="0"),  # SQLite: until when, on the steady clock
    UniqueConstraint("workspace", "issuer", "subject", "provider", "profile", name="uq_connections_account"),
    Index("ix_connections_refresh_at", "refresh_at", sqlite_where=text(REFRESHES), postgresql_where=text(REFRESHES)),
    Index("ix_connections_key_id", "key_id", "id"),
)

OPEN = "phase IN ('open', 'claimed', 'answered', 'settling')"
"""The phases in which an interaction waits; index and queries say it in the same words, or SQLite scans."""

interactions = Table(
    "interactions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("workspace", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("about", Text, nullable=False),  # a JSON object
    Column("payload", LargeBinary, nullable=False),
    Column("answer", LargeBinary),
    Column("version", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("claimed_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Index(
        "uq_interactions_open",
        "kind",
        "workspace",
        "issuer",
        "subject",
        "topic",
        unique=True,
        sqlite_where=text(OPEN),
        postgresql_where=text(OPEN),
    ),
    Index("ix_interactions_expires_at", "expires_at"),
)

revocations = Table(
    "revocations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("workspace", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("handler", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("next_try_at", Double, nullable=False),
    Column("reason", Text, nullable=False),
    Index("ix_revocations_next_try_at", "next_try_at"),
)

leaders = Table(
    "leaders",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("until", Double, nullable=False),
)

LONG = BigInteger().with_variant(Integer, "sqlite")
"""What grows for ever; SQLite's INTEGER has 64 bits, and as a primary key is the row's own number."""

accounts = Table(
    "accounts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("id", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("roles", Text, nullable=False),  # a JSON array
    Column("disabled", Integer, nullable=False),  # 0 or 1
    Column("version", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("changed_at", Double, nullable=False),
)

REVOKED = "revoked_at IS NOT NULL"
"""What the index of what was revoked holds: with the others in it, it would be taken for finding those."""

tokens = Table(
    "tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("workspace", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("bearer", Text, nullable=False),  # a JSON object: the user
    Column("name", Text, nullable=False),
    Column("parent", Text),  # NULL: none, so that no id can be taken for it
    Column("digest", Text),  # NULL: none, and any number of rows may have none
    Column("key_id", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("last_used_at", Double),
    Column("revoked_at", Double),
    Column("address", Text, nullable=False),
    Column("agent", Text, nullable=False),
    UniqueConstraint("digest", name="uq_tokens_digest"),
    Index("ix_tokens_parent", "parent"),
    Index("ix_tokens_principal", "issuer", "subject", "created_at"),
    Index("ix_tokens_expires_at", "expires_at"),
    Index("ix_tokens_revoked_at", "revoked_at", sqlite_where=text(REVOKED), postgresql_where=text(REVOKED)),
)

stops = Table(
    "stops",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("stopped_by", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("ends_at", Double),  # of one that was lifted: when
    Column("revision", LONG, nullable=False),
    Column("lifted", Integer, nullable=False),  # 0 or 1
    Index("ix_stops_revision", "revision"),
    Index("ix_stops_ends_at", "ends_at"),
)

revisions = Table(
    "revisions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", LONG, nullable=False),
)
"""The newest revision of what is followed by it. Whoever changes that changes this row first, and so comes alone."""

workspaces = Table(
    "workspaces",
    metadata,
    Column("id", Text, primary_key=True),
    Column("info", Text, nullable=False),  # a JSON object: all of it
)

audit = Table(
    "audit",
    metadata,
    Column("seq", LONG, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("entry", Text, nullable=False),  # a JSON object in ASCII: what the chain covers is kept to the letter
    Column("mac", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Index("ix_audit_key_id", "key_id"),
)

counters = Table(
    "counters",
    metadata,
    Column("key", Text, primary_key=True),  # the SHA-256 of its name, which may be anything
    Column("amount", LONG, nullable=False),
    Column("ends_at", Double, nullable=False),
    Index("ix_counters_ends_at", "ends_at"),
)

clients = Table(
    "clients",
    metadata,
    Column("id", Text, primary_key=True),
    Column("registrar", Text, nullable=False),
    Column("redirect_uri", Text, nullable=False),
    Column("client_id", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),  # 0: never
)

compatibility = Table(
    "compatibility",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
"""``reads_since``: the oldest revision whose code may still use this schema."""
