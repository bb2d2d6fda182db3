"""Which schema this version knows, and how a database gets there."""

from __future__ import annotations

import threading
from importlib.resources import files

from sqlalchemy import Engine, inspect, text

from valetkey.errors import StoreUnavailable

REVISIONS = ("0001",)
"""All changes in order. They are said here too, so that a database that is up to date needs no Alembic."""

VERSION = "SELECT version_num FROM alembic_version"

_one_at_a_time = threading.Lock()  # Alembic keeps the present migration in its module


def behind(version: str | None) -> bool:
    """Whether a database at that version lacks changes.

    Raises:
        StoreUnavailable: it is newer than this version of Valetkey.
    """
    if version is not None and version not in REVISIONS:
        raise StoreUnavailable(
            f"The database was made by a newer valetkey (its schema is {version}, this one knows up to"
            f" {REVISIONS[-1]}). Upgrade valetkey, or point VALETKEY_HOME or VALETKEY_DATABASE_URL elsewhere."
        )
    return version != REVISIONS[-1]


def migrate(engine: Engine) -> None:
    """Bring a database to the newest schema, in one transaction: done whole, or as if never begun.

    The engine's transactions must begin with a lock that keeps other writers out.

    Raises:
        StoreUnavailable: it is newer than this version of Valetkey.
    """
    # Only a database that is behind pays for these; before the transaction, so that its lock is short.
    from alembic.command import upgrade  # noqa: PLC0415 - as above
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    folder = str(files("valetkey.adapters.sql") / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    with _one_at_a_time, engine.begin() as connection:
        # Another process may have migrated while this one waited for the lock.
        known = inspect(connection).has_table("alembic_version")
        if behind(connection.execute(text(VERSION)).scalar() if known else None):
            config.attributes["connection"] = connection
            upgrade(config, REVISIONS[-1])
