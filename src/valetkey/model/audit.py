"""Entry and Record: who did what to which, when, and how it ended. No secret, no argument, no text of a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Action(StrEnum):
    """What was done, or asked for."""

    CALL = "call"
    USE_CONNECTION = "connection.use"
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
    SETUP = "setup"
    SUSPICIOUS = "suspicious"


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
