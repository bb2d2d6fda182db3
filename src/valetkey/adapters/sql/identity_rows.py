"""Rows of identity in, values out, and back; nothing here knows a database.

Users and workspaces are models of Pydantic, which load with the first one that is read.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from valetkey.adapters.sql.names import check_account, check_stop, check_token, check_workspace
from valetkey.adapters.sql.rows import (
    INTEGER,
    REAL,
    REAL_OR_NONE,
    TEXT,
    TEXT_OR_NONE,
    DamagedRow,
    Row,
    check_row,
    owner_values,
    printable,
)
from valetkey.errors import InvalidArguments
from valetkey.model.accounts import Account
from valetkey.model.audit import Action, Entry, Record
from valetkey.model.caller import Owner
from valetkey.model.stops import Stop, StopKind

if TYPE_CHECKING:
    from pydantic import BaseModel

    from valetkey.model.tokens import Token
    from valetkey.model.users import UserInfo
    from valetkey.model.workspaces import WorkspaceInfo

STOPPED_FOR = 31 * 86_400.0
"""Seconds that the stop of a token without an end is kept: longer than any copy of it is remembered as good."""

STOPPED_AFTER = 3_600.0
"""Seconds that a stop outlives its token: clocks differ, and a verifier allows for that."""

# In the order of tables.py. SQLite keeps whatever it is given: what is read is judged here.
_ACCOUNT = (*([TEXT] * 5), INTEGER, INTEGER, REAL, REAL)
_TOKEN = (*([TEXT] * 7), TEXT_OR_NONE, TEXT_OR_NONE, TEXT, REAL, *([REAL_OR_NONE] * 3), TEXT, TEXT)
_STOP = (*([TEXT] * 4), REAL, REAL_OR_NONE, INTEGER, INTEGER)
_WORKSPACE = (TEXT, TEXT)
_RECORD = (INTEGER, REAL, TEXT, TEXT, TEXT)


def account_from(row: Row) -> Account:
    """A row of ``accounts``.

    Raises:
        DamagedRow: a column holds what it cannot hold.
    """
    check_row(row, _ACCOUNT)
    roles = _json(row[4], list)
    if not all(isinstance(role, str) for role in roles):
        raise DamagedRow("a role is no text")
    return Account(
        name=row[0],
        id=row[1],
        password_hash=row[2],
        email=row[3],
        roles=tuple(roles),
        disabled=bool(row[5]),
        version=row[6],
        created_at=row[7],
        changed_at=row[8],
    )


def account_values(account: Account) -> dict[str, object]:
    """An account's columns by name.

    Raises:
        InvalidArguments: a name is no text that every database keeps.
    """
    check_account(account)
    return {
        "name": account.name,
        "id": account.id,
        "password_hash": account.password_hash,
        "email": account.email,
        "roles": json.dumps(account.roles),
        "disabled": int(account.disabled),
        "version": account.version,
        "created_at": account.created_at,
        "changed_at": account.changed_at,
    }


def token_from(row: Row) -> Token:
    """A row of ``tokens``; its user knows the principal.

    Raises:
        DamagedRow: a column holds what it cannot hold.
    """
    from valetkey.model.tokens import Token, TokenKind  # noqa: PLC0415 - with the first one that is read
    from valetkey.model.users import UserInfo  # noqa: PLC0415 - as above

    check_row(row, _TOKEN)
    user: UserInfo = _model(UserInfo, row[5])
    user._principal = row[3], row[4]  # noqa: SLF001 - every verifier sets it
    try:
        kind = TokenKind(row[1])
    except ValueError as error:
        raise DamagedRow("no such kind") from error
    return Token(
        id=row[0],
        kind=kind,
        owner=Owner(workspace=row[2], issuer=row[3], subject=row[4]),
        user=user,
        name=row[6],
        parent=row[7] or "",
        digest=row[8] or "",
        key_id=row[9],
        created_at=row[10],
        expires_at=row[11],
        last_used_at=row[12],
        revoked_at=row[13],
        address=row[14],
        agent=row[15],
    )


def token_values(token: Token) -> dict[str, object]:
    """A token's columns by name, in the order of the table.

    Raises:
        InvalidArguments: a name or an id is no text that every database keeps.
    """
    check_token(token)
    return {
        "id": token.id,
        "kind": token.kind.value,
        **owner_values(token.owner),
        "bearer": _text(token.user),
        "name": printable(token.name),
        "parent": token.parent or None,
        "digest": token.digest or None,
        "key_id": token.key_id,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "last_used_at": token.last_used_at,
        "revoked_at": token.revoked_at,
        "address": printable(token.address),
        "agent": printable(token.agent),
    }


def stop_from(row: Row) -> Stop:
    """A row of ``stops``.

    Raises:
        DamagedRow: a column holds what it cannot hold.
    """
    check_row(row, _STOP)
    try:
        kind = StopKind(row[0])
    except ValueError as error:
        raise DamagedRow("no such kind") from error
    return Stop(
        kind=kind,
        target=row[1],
        reason=row[2],
        by=row[3],
        created_at=row[4],
        ends_at=row[5],
        revision=row[6],
        lifted=bool(row[7]),
    )


def stop_values(stop: Stop) -> dict[str, object]:
    """A stop's columns by name, but for the revision.

    Raises:
        InvalidArguments: its target is no text that every database keeps.
    """
    check_stop(stop)
    return {
        "kind": stop.kind.value,
        "target": stop.target,
        "reason": printable(stop.reason),
        "stopped_by": printable(stop.by),
        "created_at": stop.created_at,
        "ends_at": stop.ends_at,
        "lifted": int(stop.lifted),
    }


def workspace_from(row: Row) -> WorkspaceInfo:
    """A row of ``workspaces``.

    Raises:
        DamagedRow: a column holds what it cannot hold.
    """
    from valetkey.model.workspaces import WorkspaceInfo  # noqa: PLC0415 - with the first one that is read

    check_row(row, _WORKSPACE)
    workspace: WorkspaceInfo = _model(WorkspaceInfo, row[1])
    if workspace.id != row[0]:
        raise DamagedRow("the row is of another workspace")
    return workspace


def workspace_values(workspace: WorkspaceInfo) -> dict[str, object]:
    """A workspace's columns by name.

    Raises:
        InvalidArguments: its name is no text that every database keeps, or its config no JSON.
    """
    check_workspace(workspace.id)
    return {"id": workspace.id, "info": _text(workspace)}


def record_from(row: Row) -> Record:
    """A row of ``audit``.

    Raises:
        DamagedRow: a column holds what it cannot hold.
    """
    check_row(row, _RECORD)
    told = _json(row[2], dict)
    details = told.pop("details", None)
    if not isinstance(details, dict) or not all(isinstance(text, str) for text in (*told.values(), *details.values())):
        raise DamagedRow("a fact is no text")
    try:
        entry = Entry(**told | {"action": Action(told["action"]), "details": details})
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedRow("the entry has other facts") from error
    return Record(seq=row[0], at=row[1], entry=entry, mac=row[3], key_id=row[4])


def record_values(record: Record) -> dict[str, object]:
    """A record's columns by name. Whatever a fact holds is kept, in ASCII: its letters are what the chain covers."""
    return {
        "seq": record.seq,
        "at": record.at,
        "entry": json.dumps(
            {name: getattr(record.entry, name) for name in _FACTS} | {"details": dict(record.entry.details)}
        ),
        "mac": record.mac,
        "key_id": record.key_id,
    }


_FACTS = tuple(each.name for each in fields(Entry))


def counter_key(name: str) -> str:
    """Under which key a counter is kept: its name holds whatever somebody typed, of any length."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def _text(model: BaseModel) -> str:
    try:
        return json.dumps(model.model_dump(mode="json"))
    except ValueError as error:
        raise InvalidArguments(
            f"The {type(model).__name__} holds a value that is no JSON. Use texts, numbers, lists and dicts."
        ) from error


def _model(model: type[Any], text: str) -> Any:
    try:
        return model.model_validate(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise DamagedRow("the JSON is not of that model") from error


def _json(text: str, kind: type[Any]) -> Any:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedRow("no JSON") from error
    if not isinstance(found, kind):
        raise DamagedRow("another JSON")
    return found
