"""Entry and Record: who did what to which, when, and how it ended. No secret, no argument, no text of a person."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from valetkey.model.caller import Caller

LONGEST = 512
"""Characters that are kept of a field; what is cut ends in an ellipsis."""

DETAILS = 32
"""Further facts that are kept of an entry."""


class Action(StrEnum):
    """What was done, or asked for."""

    CALL = "call"
    LEND = "credential.lend"
    SIGN_IN = "sign_in"
    SIGN_OUT = "sign_out"
    LOGIN_START = "login.start"
    LOGIN_CONFIRM = "login.confirm"
    LOGIN_CHECK = "login.check"
    TOKEN_ISSUE = "token.issue"
    TOKEN_REVOKE = "token.revoke"
    TOKEN_REFUSE = "token.refuse"
    CONNECT_BEGIN = "connection.begin"
    CONNECT_CLAIM = "connection.claim"
    CONNECT_FINISH = "connection.finish"
    DISCONNECT = "connection.disconnect"
    APPROVE = "approval"
    BLOCK = "block"
    UNBLOCK = "unblock"
    ACCOUNT_ADD = "account.add"
    ACCOUNT_CHANGE = "account.change"
    WORKSPACE_MAKE = "workspace.make"
    WORKSPACE_CHANGE = "workspace.change"
    CLIENT_CUT = "client.cut"
    SUSPICIOUS = "suspicious"

    @classmethod
    def _missing_(cls, value: object) -> Action | None:
        """What a newer version did: during an update it writes the same log, and both read it."""
        if not isinstance(value, str) or not value.isascii() or not value:
            return None
        unknown = str.__new__(cls, value)
        unknown._name_ = unknown._value_ = value
        return unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a room tells the audit log.

    Attributes:
        outcome: ``ok``, or a word for why not, such as ``denied``, ``refused``, ``failed``, ``link_user_mismatch``.
        issuer, subject: the principal who acted; empty where nobody is known.
        user: their ``UserInfo.id``, or the program that acts for them.
        workspace: where.
        what: to which: a tool's name, the id of a token, connection or interaction.
        rule: which rule decided.
        address: from where, where a socket tells.
        request: the correlation id, where there is one.
        details: further facts by name; none is a secret.
    """

    action: Action
    outcome: str = "ok"
    issuer: str = ""
    subject: str = ""
    user: str = ""
    workspace: str = ""
    what: str = ""
    rule: str = ""
    address: str = ""
    request: str = ""
    details: Mapping[str, str] = field(default_factory=dict)

    def by(self, caller: Caller | None) -> Entry:
        """The same, done by that caller; None: by nobody who is known."""
        if caller is None:
            return self
        issuer, subject = caller.principal
        return replace(self, issuer=issuer, subject=subject, user="" if caller.user is None else caller.user.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An entry in the log, chained to the one before.

    Attributes:
        seq: 1, 2, 3, … without a gap.
        at: seconds since the epoch.
        mac: HMAC-SHA-256, hexadecimal, of the record before's ``mac`` and of this one's canonical JSON.
        key_id: the root key under which it was made.
    """

    seq: int
    at: float
    entry: Entry
    mac: str
    key_id: str


def clean(entry: Entry, *, address: str = "", request: str = "") -> Entry:
    """The entry as any database and any reader takes it: texts only, none without end, no half characters.

    Args:
        entry: as it was told.
        address: for one that says none itself.
        request: as well.
    """
    given = list(entry.details.items())[:DETAILS]
    return Entry(
        action=entry.action,
        outcome=text_of(entry.outcome),
        issuer=text_of(entry.issuer),
        subject=text_of(entry.subject),
        user=text_of(entry.user),
        workspace=text_of(entry.workspace),
        what=text_of(entry.what),
        rule=text_of(entry.rule),
        address=text_of(entry.address or address),
        request=text_of(entry.request or request),
        details={text_of(name)[:64]: text_of(value) for name, value in given},
    )


def text_of(value: object) -> str:
    """A text of at most so many characters, that every database keeps; control characters stay, escaped by JSON."""
    if type(value) is str and len(value) <= LONGEST and value.isascii() and "\0" not in value:
        return value  # nearly all
    text = value if isinstance(value, str) else "" if value is None else str(value)
    if len(text) > LONGEST:
        text = text[: LONGEST - 1] + "\u2026"
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def shown(record: Record) -> dict[str, Any]:
    """All of a record but its ``mac``, by name: what the chain covers."""
    entry = record.entry
    return {
        "seq": record.seq,
        "at": record.at,
        "key_id": record.key_id,
        **{name: getattr(entry, name) for name in _TEXTS},
        "action": str(entry.action),
        "details": dict(entry.details),
    }


def line(record: Record) -> str:
    """A record as one line of JSON in ASCII, whatever is in it; ``time`` is for people, UTC."""
    time = datetime.fromtimestamp(record.at, UTC).isoformat(timespec="milliseconds")
    return json.dumps({**shown(record), "time": time, "mac": record.mac}, separators=(",", ":"), ensure_ascii=True)


_TEXTS = tuple(each.name for each in fields(Entry) if each.name not in ("action", "details"))
