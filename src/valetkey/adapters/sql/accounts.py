"""Accounts and workspaces in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from valetkey.adapters.sql import identity_statements as statements
from valetkey.adapters.sql.damaged import page
from valetkey.adapters.sql.database import Database, Taken
from valetkey.adapters.sql.identity_rows import account_from, account_values, workspace_from, workspace_values
from valetkey.adapters.sql.rows import DamagedRow, Row
from valetkey.errors import StoreUnavailable
from valetkey.model.accounts import Account

if TYPE_CHECKING:
    from valetkey.model.workspaces import WorkspaceInfo


class SqlAccounts:
    """The port ``AccountStore`` over a database; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, name: str) -> Account | None:
        """The account of that name."""
        rows = await self._database.read(statements.ACCOUNT, {"name": name})
        return _account(rows[0]) if rows else None

    async def insert(self, account: Account) -> bool:
        """Save a new one; False when the name is taken: nothing is written.

        Raises:
            InvalidArguments: a name is no text that every database keeps.
        """
        try:
            await self._database.write((statements.ACCOUNT_INSERT, account_values(account)))
        except Taken:
            return False
        return True

    async def save(self, account: Account, *, version: int) -> bool:
        """Replace the row where its version still is ``version`` (compare-and-set); False when it moved on.

        Raises:
            InvalidArguments: a name is no text that every database keeps.
        """
        values = account_values(account) | {"where_name": account.name, "where_version": version}
        (outcome,) = await self._database.write((statements.ACCOUNT_SAVE, values))
        return outcome.count == 1

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[Account]:
        """All of them by name, following that one. A damaged row is logged and left out."""
        return await page(self._database, statements.ACCOUNTS_PAGE, {}, _account, after=after, limit=limit)


class SqlWorkspaces:
    """The port ``WorkspaceStore`` over a database; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, name: str) -> WorkspaceInfo | None:
        """One by its name."""
        rows = await self._database.read(statements.WORKSPACE, {"id": name})
        return _workspace(rows[0]) if rows else None

    async def insert(self, workspace: WorkspaceInfo) -> bool:
        """Save a new one; False when the name is taken: nothing is written.

        Raises:
            InvalidArguments: its name is no text that every database keeps, or its config no JSON.
        """
        try:
            await self._database.write((statements.WORKSPACE_INSERT, workspace_values(workspace)))
        except Taken:
            return False
        return True

    async def save(self, workspace: WorkspaceInfo, *, was: WorkspaceInfo) -> bool:
        """Replace it where it still is as it was read (compare-and-set); False: it moved on, or is not there.

        Raises:
            InvalidArguments: its name is no text that every database keeps, or its config no JSON.
        """
        values = workspace_values(workspace)
        rows = await self._database.read(statements.WORKSPACE, {"id": workspace.id})
        # By what the row says, and not by its text: another version may have written the same in another way.
        if not rows or workspace_values(_workspace(rows[0])) != workspace_values(was):
            return False
        where = {"where_id": workspace.id, "where_info": rows[0][1]}
        (outcome,) = await self._database.write((statements.WORKSPACE_SAVE, values | where))
        return outcome.count == 1

    async def delete(self, name: str) -> bool:
        """Remove it; False: it was not there."""
        (outcome,) = await self._database.write((statements.WORKSPACE_DELETE, {"id": name}))
        return outcome.count == 1

    async def page(self, *, after: str = "", limit: int = 500) -> Sequence[WorkspaceInfo]:
        """All of them by name, following that one. A damaged row is logged and left out."""
        return await page(self._database, statements.WORKSPACES_PAGE, {}, _workspace, after=after, limit=limit)


def _account(row: Row) -> Account:
    try:
        return account_from(row)
    except DamagedRow as error:
        raise StoreUnavailable(
            f"The stored account {row[0]} cannot be read: its row is damaged, or of a newer version. Upgrade valetkey,"
            " or restore the database from its backup."
        ) from error


def _workspace(row: Row) -> WorkspaceInfo:
    try:
        return workspace_from(row)
    except DamagedRow as error:
        raise StoreUnavailable(
            f"The stored workspace {row[0]} cannot be read: its row is damaged, or of a newer version. Upgrade"
            " valetkey, or restore the database from its backup."
        ) from error
