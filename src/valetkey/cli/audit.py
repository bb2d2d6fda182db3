"""valetkey audit: who did what to which, and whether the log is as it was written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from valetkey.cli.options import Json
from valetkey.cli.output import plain, print_json, print_table
from valetkey.errors import InvalidArguments

if TYPE_CHECKING:
    from valetkey.model.audit import Record
    from valetkey.ports.stores import AuditStore

audit = App(name="audit", help="Who did what to which, when, and how it ended.")

PAGE = 500
"""Records that are read in one go."""

BROKEN = 1
"""The exit status where a log is not as it was written."""

_PERIOD = re.compile(r"(\d{1,6})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_SHOWN = 20


@audit.command(name="list")
def list_(
    *,
    user: Annotated[str, Parameter(show_default=False)] = "",
    action: Annotated[str, Parameter(show_default=False)] = "",
    since: Annotated[str, Parameter(show_default=False)] = "",
    limit: int = 100,
    as_json: Json = False,
) -> None:
    """List the newest records, the newest last.

    Parameters
    ----------
    user
        Only those of this user: an id, or a subject.
    action
        Only those of this action, such as call, credential.lend or sign_in; call* has all that begin so.
    since
        Only those of the last 30m, 12h or 7d, or from a time such as 2026-05-01T12:00 (UTC).
    limit
        How many at most.
    """
    from valetkey.cli.vault import opened

    if limit < 1:
        raise InvalidArguments("--limit has to be 1 or more.")
    with opened() as system:
        begin = 0.0 if not since else _moment(since, system.clock.now())
        found = system.home.block(lambda: _find(system.stores.audit, user, action, begin, limit))
    rows = [_row(record) for record in found]
    if as_json:
        print_json(rows)
    elif rows:
        print_table(
            ("number", "time", "action", "outcome", "user", "workspace", "what", "rule", "more"),
            (_line(row) for row in rows),
        )
    else:
        print("The audit log has no such record.")


@audit.command
def verify(*, file: Annotated[Path | None, Parameter(show_default=False)] = None, as_json: Json = False) -> int:
    """Check that no record was changed, removed, inserted or moved. Exit status 1: one was.

    Parameters
    ----------
    file
        The JSON lines that the server wrote beside the database: tells, too, whether the newest records were removed.
    """
    from valetkey.audit import verify as check
    from valetkey.cli.vault import opened

    kept: dict[int, str] = {}
    damaged = 0
    if file is not None:
        kept, damaged = _kept(file)
    with opened() as system:
        report = system.home.block(lambda: check(system.stores.audit, system.sealer.keyring, kept=kept))
    whole = report.whole and not damaged
    if as_json:
        faults = [{"number": fault.seq, "what": fault.what} for fault in report.faults]
        print_json(
            [{"whole": whole, "records": report.records, "faults": faults, "count": report.count, "damaged": damaged}]
        )
        return 0 if whole else BROKEN
    print(f"{report.records} records were checked" + (f", and {len(kept)} of {file}." if file else "."))
    if damaged:
        print(f"Lines of the file that cannot be read: {damaged}.")
    for fault in report.faults[:_SHOWN]:
        print(f"Record {fault.seq} {_FAULTS[fault.what]}.")
    if report.count > _SHOWN:
        print(f"And {report.count - _SHOWN} more.")
    print("The log is as it was written." if whole else "The log is NOT as it was written.")
    return 0 if whole else BROKEN


_FAULTS = {
    "missing": "is missing",
    "changed": "was changed, or put there",
    "key_missing": "cannot be checked: the key under which it was made is not here",
    "differs_from_file": "is another one in the file",
    "not_in_database": "is in the file and not in the database",
}


async def _find(store: AuditStore, user: str, action: str, begin: float, limit: int) -> list[Record]:
    """Backwards from the newest, until there are enough or they are too old."""
    newest = await store.head()
    found: list[Record] = []
    end = 0 if newest is None else newest.seq
    while end > 0 and len(found) < limit:
        start = max(0, end - PAGE)
        records = [record for record in await store.page(after=start, limit=end - start) if record.seq <= end]
        found += [record for record in reversed(records) if _fits(record, user, action, begin)]
        if begin and records and all(record.at < begin for record in records):
            break
        end = start
    return found[:limit][::-1]


def _fits(record: Record, user: str, action: str, begin: float) -> bool:
    entry = record.entry
    name = entry.action.value
    return (
        record.at >= begin
        and (not user or user in (entry.user, entry.subject))
        and (not action or (name.startswith(action[:-1]) if action.endswith("*") else name == action))
    )


def _row(record: Record) -> dict[str, Any]:
    from valetkey.model.audit import shown

    time = datetime.fromtimestamp(record.at, UTC).isoformat(timespec="seconds")
    return {"number": record.seq, "time": time, **{k: v for k, v in shown(record).items() if k not in ("seq", "at")}}


def _line(row: dict[str, Any]) -> list[str]:
    details = " ".join(f"{name}={value}" for name, value in row["details"].items() if value)
    address = f"from {row['address']}" if row["address"] else ""
    cells = [str(row["number"]), row["time"], row["action"], row["outcome"], row["user"] or row["subject"]]
    cells += [row["workspace"], row["what"], row["rule"], " ".join(filter(None, (details, address)))]
    return [" ".join(plain(cell).split()) for cell in cells]


def _moment(text: str, now: float) -> float:
    period = _PERIOD.fullmatch(text)
    if period is not None:
        return now - timedelta(**{_UNITS[period[2]]: int(period[1])}).total_seconds()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArguments(
            "--since is a period, such as 30m, 12h or 7d, or a time such as 2026-05-01T12:00."
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _kept(path: Path) -> tuple[dict[int, str], int]:
    """The marks of the records of a file, by number, and how many lines cannot be read."""
    kept: dict[int, str] = {}
    damaged = 0
    for line in _lines(path):
        try:
            record = json.loads(line)
            kept[int(record["seq"])] = str(record["mac"])
        except (ValueError, KeyError, TypeError, RecursionError):
            damaged += 1
    return kept, damaged


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from (line for line in file if line.strip())
    except OSError as error:
        raise InvalidArguments(f"{path.name} cannot be read: {error.strerror}.") from None
