"""valetkey vault status: which keys there are, and what needs each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from valetkey.cli.output import console, print_json, print_table
from valetkey.errors import InvalidSetting, KeyUnavailable

if TYPE_CHECKING:
    from valetkey.ports.world import Key
    from valetkey.vault.held import Held
    from valetkey.wiring.system import System

GO_ON = "valetkey vault rotate --reseal-only"
"""What goes on with a walk that was ended."""


def show_status(*, as_json: bool) -> None:
    """Print each key, what it sealed, and what is to be done.

    Raises:
        KeyUnavailable: the keys cannot be read; what the database holds is printed all the same.
        StoreUnavailable: the database cannot be used.
    """
    from valetkey.wiring.keys import holdings

    with opened() as system:
        source = system.sealer.keyring.source
        problem: KeyUnavailable | None = None
        keys: tuple[Key, ...] = ()
        try:
            keys = source.keys(make=False)
        except KeyUnavailable as error:
            problem = error
        held = system.home.block(lambda: holdings(system).count())
        rows = _rows(keys, held, known=problem is None)
        if as_json:
            print_json(rows)
        else:
            _print_status(source.name, rows, known=problem is None)
    if problem is not None:
        raise problem


@contextmanager
def opened() -> Iterator[System]:
    """The system of the settings, without what runs by itself.

    Raises:
        InvalidSetting: nothing is kept.
    """
    from valetkey.settings.pocket import Config
    from valetkey.wiring.build import build

    system = build(Config.load(Path.cwd(), os.environ))
    try:
        if not system.stores.kept:
            raise InvalidSetting(
                "With session_type in_memory nothing is kept, and there is no key to look after. Take the setting"
                " session.session_type out, or run this where the accounts are kept."
            )
        yield system
    finally:
        system.close()


def _rows(keys: tuple[Key, ...], held: Mapping[str, Held], *, known: bool) -> list[dict[str, Any]]:
    from valetkey.vault.held import Held

    rows = []
    here = {key.id: key for key in keys}
    for key_id in (*here, *(key_id for key_id in held if key_id not in here)):
        key, sealed = here.get(key_id), held.get(key_id, Held())
        writes = bool(keys) and keys[0].id == key_id
        made = None if key is None or not key.created_at else datetime.fromtimestamp(key.created_at, UTC).isoformat()
        rows.append(
            {
                "id": key_id,
                "source": "" if key is None else key.source,
                "created_at": made,
                "here": key is not None if known else None,
                "writes": writes,
                "connections": sealed.connections,
                "interactions": sealed.interactions,
                "revocations": sealed.revocations,
                "clients": sealed.clients,
                "variables": sealed.variables,
                "waiting": sealed.waiting,
                "tokens": sealed.tokens,
                "audit": sealed.audit,
                "removable": key is not None and not writes and not sealed.needed,
            }
        )
    return rows


_COUNTS = ("connections", "interactions", "revocations", "clients", "variables", "waiting")


def _print_status(source: str, rows: list[dict[str, Any]], *, known: bool) -> None:
    out = console()
    if not rows:
        out.print(f"There is no key yet in {source}. One is made when the first account is connected.", soft_wrap=True)
        return
    out.print(f"Keys come from {source}. Beside each: how many rows it sealed.\n", soft_wrap=True)
    print_table(
        ("key", "kept in", "made (UTC)", *_COUNTS[:-1], ""),
        (
            (
                row["id"] or "(damaged)",
                row["source"],
                (row["created_at"] or "")[:16].replace("T", " "),
                *(str(row[name]) for name in _COUNTS[:-1]),
                _state(row),
            )
            for row in rows
        ),
    )
    hints = _hints(rows) if known else []
    if hints:
        out.print()
    for hint in hints:
        out.print(hint, soft_wrap=True)


def _state(row: Mapping[str, Any]) -> str:
    if row["writes"]:
        return "writes"
    if row["removable"]:
        return "is not needed any more"
    if row["here"]:
        return ", ".join(filter(None, ("opens" if _sealed(row) else "", _verifies(row))))
    return "" if row["here"] is None or not row["id"] else "is not here"


def _sealed(row: Mapping[str, Any]) -> int:
    return sum(row[name] for name in _COUNTS)


def _verifies(row: Mapping[str, Any]) -> str:
    parts = [f"{row['tokens']:,} of our tokens"] if row["tokens"] else []
    parts += ["the audit log"] if row["audit"] else []
    return f"verifies {' and '.join(parts)}" if parts else ""


def _hints(rows: list[dict[str, Any]]) -> list[str]:
    hints = []
    if any(row["here"] and not row["writes"] and _sealed(row) for row in rows):
        hints.append(f"Seal what older keys sealed anew with the one that writes: {GO_ON}")
    if any(row["removable"] for row in rows):
        hints.append(f"Remove the keys that are not needed any more: {GO_ON} --drop-old")
    if waiting := sum(row["waiting"] for row in rows):
        hints.append(
            f"{count(waiting)} on this machine's disk until the database can take it; keep its key until then."
        )
    gone = [row for row in rows if row["id"] and row["here"] is False]
    hints += [lost(row["id"], _sealed(row)) for row in gone if _sealed(row)]
    hints += [
        f"The key {row['id']}, which {_verifies(row)}, is not here: put it back." for row in gone if _verifies(row)
    ]
    if damaged := sum(_sealed(row) for row in rows if not row["id"]):
        hints.append(f"{count(damaged)} damaged: have these accounts connected again, or restore the database.")
    return hints


def count(rows: int) -> str:
    """How many rows are, in words."""
    return "1 row is" if rows == 1 else f"{rows:,} rows are"


def needed_by(held: Held) -> str:
    """What would be lost without that key, in words; empty: nothing."""
    parts = []
    if held.total:
        parts.append(f"{count(held.total)} sealed with it")
    if held.tokens:
        tokens = "1 token" if held.tokens == 1 else f"{held.tokens:,} tokens"
        parts.append(f"{tokens} of ours would end with it")
    if held.audit:
        parts.append("records of the audit log are verified with it")
    return ", ".join(parts)


def lost(key_id: str, rows: int) -> str:
    """What is to be done about a key that is not here."""
    return (
        f"{count(rows)} closed: the key {key_id} that sealed them is not here. Put it back behind the one that"
        " writes, or have these accounts connected again."
    )
