"""Refresh ahead, causes and keys of connections; revocations, leaders, and how long old code may stay."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

REFRESHES = "refreshable = 1 AND health <> 'needs_reauth'"


def upgrade() -> None:
    """Add columns with defaults, so that the version before goes on writing rows, and three tables."""
    op.add_column("connections", sa.Column("refresh_at", sa.Double))
    op.add_column("connections", sa.Column("cause", sa.Text, nullable=False, server_default=""))
    op.add_column("connections", sa.Column("key_id", sa.Text, nullable=False, server_default=""))
    op.add_column("connections", sa.Column("lease_ticks", sa.Double, nullable=False, server_default="0"))
    op.execute("UPDATE connections SET refresh_at = expires_at - 300 WHERE refreshable = 1")
    # What was sealed says by which key: a byte of version, one with the length of the id (16), the id.
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "UPDATE connections SET key_id = CAST(substr(sealed, 3, 16) AS TEXT)"
            " WHERE hex(substr(sealed, 1, 2)) = '0110'"
        )
    else:
        op.execute(
            "UPDATE connections SET key_id = encode(substring(sealed from 3 for 16), 'escape')"
            " WHERE encode(substring(sealed from 1 for 2), 'hex') = '0110'"
        )
    op.create_index(
        "ix_connections_refresh_at",
        "connections",
        ["refresh_at"],
        sqlite_where=sa.text(REFRESHES),
        postgresql_where=sa.text(REFRESHES),
    )
    op.create_index("ix_connections_key_id", "connections", ["key_id", "id"])
    op.create_table(
        "revocations",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("workspace", sa.Text, nullable=False),
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("handler", sa.Text, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("next_try_at", sa.Double, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_index("ix_revocations_next_try_at", "revocations", ["next_try_at"])
    op.create_table(
        "leaders",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
    )
    compatibility = op.create_table(
        "compatibility",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.bulk_insert(compatibility, [{"name": "reads_since", "value": "0001"}])


def downgrade() -> None:
    """Remove what was added."""
    for table in ("compatibility", "leaders", "revocations"):
        op.drop_table(table)
    for index in ("ix_connections_key_id", "ix_connections_refresh_at"):
        op.drop_index(index, "connections")
    for column in ("lease_ticks", "key_id", "cause", "refresh_at"):
        op.drop_column("connections", column)
