"""Which schema this version knows, and how a database gets there."""

from __future__ import annotations

import threading
from importlib.resources import files

from sqlalchemy import Connection, Engine, inspect, text

from valetkey.errors import StoreUnavailable

REVISIONS = ("0001", "0002", "0003", "0004")
"""All changes in order. They are said here too, so that a database that is up to date needs no Alembic."""

VERSION = "SELECT version_num FROM alembic_version"

READS_SINCE = "SELECT value FROM compatibility WHERE name = 'reads_since'"
"""The oldest schema whose programs may go on using the database. A newer one may have been put there meanwhile."""

_one_at_a_time = threading.Lock()  # Alembic keeps the present migration in its module


def known(version: str | None) -> bool:
    """Whether that version is one of ours, or none yet: then nobody needs to look at ``READS_SINCE``."""
    return version is None or version in REVISIONS


def behind(version: str | None, reads_since: str | None = None) -> bool:
    """Whether a database at that version lacks changes.

    A newer one is used as it is, where it says that programs of one of our versions may: so that during an update
    both run, and the newer one can be taken back.

    Args:
        version: what ``VERSION`` gives; None: there is no schema yet.
        reads_since: what ``READS_SINCE`` gives, of a database whose version is not ``known``.

    Raises:
        StoreUnavailable: it is newer, and not for this version of Valetkey.
    """
    if known(version):
        return version != REVISIONS[-1]
    if reads_since not in REVISIONS:
        raise StoreUnavailable(
            f"The database was made by a newer valetkey (its schema is {version}, this one knows up to"
            f" {REVISIONS[-1]}). Upgrade valetkey, or point VALETKEY_HOME or VALETKEY_DATABASE_URL elsewhere."
        )
    return False


def migrate(engine: Engine) -> None:
    """Bring a database to the newest schema, in one transaction: done whole, or as if never begun.

    The engine's transactions must begin with a lock that keeps other writers out.

    Raises:
        StoreUnavailable: it is newer, and not for this version of Valetkey.
    """
    _load()  # before the transaction, so that its lock is short
    with engine.begin() as connection:
        migrate_within(connection)


def migrate_within(connection: Connection) -> None:
    """As ``migrate``, within the transaction of that connection, which holds the lock already.

    Raises:
        StoreUnavailable: it is newer, and not for this version of Valetkey.
    """
    _load()
    from alembic.command import upgrade  # noqa: PLC0415 - only a database that is behind pays for it
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    folder = str(files("valetkey.adapters.sql") / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.attributes["connection"] = connection
    with _one_at_a_time:
        # Another process may have migrated while this one waited for the lock.
        there = inspect(connection).has_table("alembic_version")
        version = connection.execute(text(VERSION)).scalar() if there else None
        if behind(version, None if known(version) else _reads_since(connection)):
            upgrade(config, REVISIONS[-1])


def _reads_since(connection: Connection) -> str | None:
    there = inspect(connection).has_table("compatibility")
    return connection.execute(text(READS_SINCE)).scalar() if there else None


def _load() -> None:
    import alembic.command  # noqa: F401, PLC0415 - only a database that is behind pays for it
