"""Accounts, workspaces and the audit log, in dicts."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from valetkey.adapters.sql.identity_rows import (
    account_values,
    record_from,
    record_values,
    workspace_from,
    workspace_values,
)
from valetkey.model.accounts import Account
from valetkey.model.audit import Record

if TYPE_CHECKING:
    from valetkey.model.workspaces import WorkspaceInfo


class MemoryAccounts:
    """The port ``AccountStore`` within one process, and gone with it. For any loop and any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[str, Account] = {}

    async def get(self, name: str) -> Account | None:
        """The account of that name."""
        return self._rows.get(name)

    async def insert(self, account: Account) -> bool:
        """Save a new one; False when the name is taken: nothing is written.

        Raises:
            InvalidArguments: a name is no text that every database keeps.
        """
        account_values(account)
        with self._lock:
            return self._rows.setdefault(account.name, account) is account

    async def save(self, account: Account, *, version: int) -> bool:
        """Replace the row where its version still is ``version`` (compare-and-set); False when it moved on.

        Raises:
            InvalidArguments: a name is no text that every database keeps.
        """
        account_values(account)
        with self._lock:
            row = self._rows.get(account.name)
            if row is None or row.version != version:
                return False
            self._rows[account.name] = account
        return True

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[Account]:
        """All of them by name, following that one."""
        with self._lock:
            rows = sorted(self._rows.items())
        return [row for name, row in rows if name > after][:limit]


class MemoryWorkspaces:
    """The port ``WorkspaceStore`` within one process, and gone with it. For any loop and any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[str, WorkspaceInfo] = {}

    async def get(self, name: str) -> WorkspaceInfo | None:
        """One by its name."""
        row = self._rows.get(name)
        return None if row is None else _as_kept(row)

    async def insert(self, workspace: WorkspaceInfo) -> bool:
        """Save a new one; False when the name is taken: nothing is written.

        Raises:
            InvalidArguments: its name is no text that every database keeps, or its config no JSON.
        """
        kept = _as_kept(workspace)
        with self._lock:
            return self._rows.setdefault(kept.id, kept) is kept

    async def save(self, workspace: WorkspaceInfo, *, was: WorkspaceInfo) -> bool:
        """Replace it where it still is as it was read (compare-and-set); False: it moved on, or is not there.

        Raises:
            InvalidArguments: its name is no text that every database keeps, or its config no JSON.
        """
        kept = _as_kept(workspace)
        with self._lock:
            there = self._rows.get(kept.id)
            if there is None or workspace_values(there) != workspace_values(was):
                return False
            self._rows[kept.id] = kept
        return True

    async def delete(self, name: str) -> bool:
        """Remove it; False: it was not there."""
        with self._lock:
            return self._rows.pop(name, None) is not None

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[WorkspaceInfo]:
        """All of them by name, following that one."""
        with self._lock:
            rows = sorted(self._rows.items())
        return [_as_kept(row) for name, row in rows if name > after][:limit]


def _as_kept(workspace: WorkspaceInfo) -> WorkspaceInfo:
    # As with any database, what one side does to it later does not change the other's.
    return workspace_from(tuple(workspace_values(workspace).values()))


class MemoryAudit:
    """The port ``AuditStore`` within one process, and gone with it. For any loop and any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[int, Record] = {}
        self._newest: Record | None = None
        self._keys: frozenset[str] = frozenset()

    async def head(self) -> Record | None:
        """The newest record; None: there is none."""
        return self._newest

    async def append(self, records: Sequence[Record]) -> bool:
        """Save these, all or none. False when a number is taken: somebody else wrote meanwhile."""
        kept = {record.seq: record_from(tuple(record_values(record).values())) for record in records}
        with self._lock:
            if len(kept) < len(records) or kept.keys() & self._rows.keys():
                return False
            self._rows |= kept
            self._keys |= {record.key_id for record in records}
            self._newest = max(
                filter(None, (self._newest, *kept.values())), key=lambda record: record.seq, default=None
            )
        return True

    async def page(self, *, after: int = 0, limit: int = 500) -> Sequence[Record]:
        """Records by number, following that one."""
        with self._lock:
            return [self._rows[seq] for seq in sorted(seq for seq in self._rows if seq > after)[:limit]]

    async def latest(self, *, limit: int) -> Sequence[Record]:
        """The newest ones, in order of their numbers."""
        with self._lock:
            numbers = sorted(self._rows)
            return [self._rows[seq] for seq in numbers[max(0, len(numbers) - limit) :]]

    async def key_ids(self) -> frozenset[str]:
        """The root keys under which any record was made."""
        return self._keys
