"""What valetkey connections does with accounts: list, show, add, rename, disconnect, reconnect."""

from __future__ import annotations

import asyncio
import getpass
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from valetkey.cli.output import console, plain, print_error, print_json, print_table

if TYPE_CHECKING:
    from valetkey.connections.accounts import Accounts
    from valetkey.connections.handler import Handler
    from valetkey.model.caller import Owner
    from valetkey.model.connections import Connection
    from valetkey.providers.base import PastedField
    from valetkey.wiring.system import System

WIDE = 150
"""Columns from which on a table has all of them."""

LARGEST = 65_536
"""Characters that are read of what is pasted."""

_NARROW = ("thread", "provider", "profile", "account", "connected by", "state", "expires")


def list_accounts(*, thread: str | None, as_json: bool) -> None:
    """Print every account, or those of one thread."""
    system = open_system()
    owner = None if thread is None else owner_named(thread)
    found = asyncio.run(accounts_of(system).all(owner))
    rows = [row_of(system, each) for each in found]
    if as_json:
        print_json(rows)
        return
    if not rows:
        print("No account is connected here." if thread is None else f"The thread {plain(thread)!r} has no account.")
        return
    now = system.clock.now()
    lines = [_line(each, row, now) for each, row in zip(found, rows, strict=True)]
    out = console()
    columns = [name for name in lines[0] if name in _NARROW or not out.is_terminal or out.width >= WIDE]
    print_table(columns, ([line[name] for name in columns] for line in lines))
    for each, row in zip(found, rows, strict=True):
        if row["state"] != "ok" or not (row["servable"] or each.refreshable):
            print(f"\n{plain(_title(each))}: {plain(row['reason'] or row['state'])}\n  {plain(row['next_step'])}")


def show_account(name: str, *, thread: str, as_json: bool) -> None:
    """Print one account.

    Raises:
        InvalidArguments: there is none of that name.
        AmbiguousConnection: there are several at that provider.
    """
    system = open_system()
    found = asyncio.run(accounts_of(system).find(name, owner_named(thread)))
    row = row_of(system, found)
    if as_json:
        print_json(row)
        return
    now = system.clock.now()
    print(plain(_title(found)))
    for label, text in {
        "id": found.id,
        "account": found.account or "",
        "connected by": found.handler,
        "scopes": " ".join(row["scopes"]),
        "state": state_of(row),
        "reason": row["reason"] or "",
        "next step": row["next_step"],
        "last success": moment(found.issued_at, now),
        "expires": moment(found.expires_at, now),
        "refreshed from": moment(found.refresh_at, now) if row["refresh_at"] else "",
        "next try": moment(found.next_try_at, now) if row["next_try_at"] else "",
        "failures": str(found.fail_count or ""),
        "connected": moment(found.created_at or None, now),
    }.items():
        if text:
            print(f"  {label:<16}{plain(text)}")


def add_account(
    name: str, *, provider: str, handler: str | None, origins: Sequence[str], thread: str, instead: bool
) -> None:
    """Keep what a person types or pipes in, under that name.

    Raises:
        UnknownProvider: there is no such provider, and no origin makes it one of the project's own.
        InvalidArguments: the name is taken, or cannot be used.
        InvalidAnswer: a value can be none.
    """
    from valetkey.cli.own_service import describe_service, write_service

    system, provider = open_system(), provider.strip().lower()
    described = describe_service(system, provider, origins)
    chosen = described.handler if described else _pasted_handler(system, provider, handler)
    values = _read_values(chosen.fields)
    if described:
        write_service(described)
        chosen = _pasted_handler(system, provider, handler)
        print(f"{plain(provider)} is described in {described.file}.")
    added = asyncio.run(accounts_of(system).add(chosen, owner_named(thread), name, values, instead=instead))
    reads = " and ".join(sorted(chosen.variable_names()))
    whose = f" as {plain(added.account)}" if added.account else ""
    print(f"{plain(_title(added))} is kept{whose}. A tool that asks for {plain(provider)} reads it as {plain(reads)}.")
    if not chosen.origins:
        print(f"{chosen.provider.title} has no address: Valetkey itself sends it nowhere.")


def rename_account(name: str, profile: str, *, thread: str) -> None:
    """Keep an account under another profile.

    Raises:
        InvalidArguments: there is none, or the new name is taken.
        AmbiguousConnection: there are several at that provider.
    """
    system = open_system()

    async def rename() -> tuple[Connection, Connection]:
        accounts = accounts_of(system)
        before = await accounts.find(name, owner_named(thread))
        return before, await accounts.rename(before, profile)

    before, renamed = asyncio.run(rename())
    print(f"{plain(_title(before))} is {plain(renamed.provider)}:{plain(renamed.profile)} now.")


def disconnect_account(name: str, *, thread: str) -> None:
    """Forget an account, and tell truthfully what became of its tokens.

    Raises:
        InvalidArguments: there is none.
        AmbiguousConnection: there are several at that provider.
    """
    system = open_system()
    found = asyncio.run(accounts_of(system).find(name, owner_named(thread)))
    report = asyncio.run(system.disconnector.disconnect(found.owner, found.provider, found.profile))
    print(f"{plain(_title(found))} is disconnected." if report.deleted else f"{plain(_title(found))} was gone already.")
    if report.revoked:
        print("Its tokens are revoked at the provider.")
    elif report.reason:
        print(plain(report.reason))


def reconnect_account(name: str, *, thread: str) -> None:
    """Print a link, wait for the person, and tell what is connected then.

    Raises:
        InvalidArguments: there is no such account.
        AuthRefused: the person said no; the old account stays.
        AuthExpired: nobody answered in time.
        PortTaken: the callback server cannot listen.
    """
    from valetkey.connections.answer import WAIT
    from valetkey.entrypoints import local
    from valetkey.model.needs import Need

    system = open_system()
    local.attach(system)
    holder = _Holder()
    system.links.hold(holder)
    ends = 0.0

    async def reconnect() -> tuple[Connection, Connection]:
        nonlocal ends
        before = await accounts_of(system).find(name, owner_named(thread))
        need = Need(provider=before.provider, scopes=before.scopes, handler=before.handler)
        asked, handler = await system.connecting.again(before.owner, need, before.profile)
        ends = asked.expires_at
        invited = system.connecting.invitation(asked)
        code = f"The code to enter there: {invited.user_code}\n" if invited.user_code else ""
        print(f"Open this link to connect {plain(_title(before))}:\n\n{invited.url}\n{code}")
        print(f"Waiting for {WAIT / 60:g} minutes; Ctrl-C ends the wait, and the old account stays.", flush=True)
        return before, await system.answering.wait(asked, handler)

    try:
        before, after = asyncio.run(reconnect())
    except KeyboardInterrupt:
        if ends:
            until = datetime.fromtimestamp(ends, UTC).strftime("%H:%M UTC")
            print_error(f"the link stays open until {until}, while a program of yours serves its callbacks.")
        raise
    finally:
        system.links.let_go(holder)
    print(f"{plain(_title(after))} is connected{f' as {plain(after.account)}' if after.account else ''}.")
    if before.account and after.account and before.account != after.account:
        print(f"Before, it was {plain(before.account)}.")


class _Holder:
    """Whoever needs the callback server."""


def open_system() -> System:
    """The system of the settings of the current folder."""
    from valetkey.wiring import build

    return build.default()


def accounts_of(system: System) -> Accounts:
    """Its accounts."""
    from valetkey.connections.accounts import Accounts

    return Accounts(
        store=system.stores.connections,
        keeper=system.keeper,
        finder=system.handling,
        clock=system.clock,
        entropy=system.entropy,
    )


def owner_named(thread: str) -> Owner:
    """The owner that a ``thread_id`` stands for.

    Raises:
        InvalidArguments: it can be none.
    """
    from valetkey.errors import InvalidArguments, Unauthenticated
    from valetkey.identity.verifiers.vouched import owner_of

    try:
        return owner_of(thread)
    except Unauthenticated as error:
        raise InvalidArguments(error.message) from None


def row_of(system: System, connection: Connection) -> dict[str, Any]:
    """One account as JSON; holds no secret."""
    from valetkey.connections.health import describe

    owner = connection.owner
    return {
        "id": connection.id,
        "thread": thread_of(owner),
        "owner": {"workspace": owner.workspace, "issuer": owner.issuer, "subject": owner.subject},
        "provider": connection.provider,
        "profile": connection.profile,
        "account": connection.account,
        "handler": connection.handler,
        "scopes": sorted(connection.scopes),
        **describe(connection, now=system.clock.now()).as_dict(),
    }


def thread_of(owner: Owner) -> str | None:
    """The ``thread_id`` that stands for the owner; None for one who signed in."""
    from valetkey.identity.verifiers.vouched import HOST, WORKSPACE

    return owner.subject if (owner.workspace, owner.issuer) == (WORKSPACE, HOST) else None


def state_of(row: dict[str, Any]) -> str:
    """The state and its cause, in a cell."""
    ended = row["state"] == "ok" and not row["servable"] and not row["refresh_at"]
    return "ended" if ended else f"{row['state']}: {row['cause']}" if row["cause"] else str(row["state"])


def moment(at: float | None, now: float) -> str:
    """A time, and how far away it is; empty where it is not known."""
    if at is None:
        return ""
    try:
        text = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return ""
    return f"{text} ({distance(at - now)})"


def distance(seconds: float) -> str:
    """Such as ``in 42 min`` or ``3 h ago``."""
    size = abs(seconds)
    units = ((86_400, "d"), (3_600, "h"), (60, "min"))
    text = next((f"{size / unit:.0f} {name}" for unit, name in units if size >= unit), f"{size:.0f} s")
    return f"in {text}" if seconds >= 0 else f"{text} ago"


def _line(connection: Connection, row: dict[str, Any], now: float) -> dict[str, str]:
    """One account in the table."""

    def away(at: float | None) -> str:
        return "" if at is None else distance(at - now)

    owner = connection.owner
    return {
        "thread": row["thread"] or f"{owner.subject} ({owner.issuer}, {owner.workspace})",
        "provider": connection.provider,
        "profile": connection.profile,
        "account": connection.account or "",
        "connected by": connection.handler,
        "scopes": " ".join(row["scopes"]),
        "state": state_of(row),
        "last success": away(connection.issued_at),
        "expires": away(connection.expires_at),
        "next try": away(connection.next_try_at) if row["next_try_at"] else "",
    }


def _title(connection: Connection) -> str:
    whose = thread_of(connection.owner) or connection.owner.subject
    return f"{connection.provider}:{connection.profile} of the thread {whose}"


def _pasted_handler(system: System, provider: str, handler: str | None) -> Handler:
    """The handler of that name; else the provider's first one that takes what is pasted."""
    from valetkey.errors import InvalidArguments

    found = system.handling.find(handler, provider)
    if handler is not None or found.fields:
        return found
    for entry in found.provider.handlers:
        if entry.fields:
            return system.handling.find(entry.name, provider)
    raise InvalidArguments(f"{found.provider.title} takes nothing pasted: its accounts are connected by a link.")


def _read_values(fields: Sequence[PastedField]) -> dict[str, str]:
    """The values that a person types unseen, or that a program pipes in, a line for each."""
    from valetkey.errors import InvalidAnswer

    if sys.stdin.isatty():
        return {
            field.name: getpass.getpass(f"{field.label} (not shown): ") if field.secret else input(f"{field.label}: ")
            for field in fields
        }
    lines = [line for line in sys.stdin.read(LARGEST).splitlines() if line.strip()]
    if len(lines) != len(fields):
        labels = ", ".join(field.label for field in fields)
        raise InvalidAnswer(f"Standard input has {len(lines)} lines, and these are asked for, one a line: {labels}.")
    return {field.name: line for field, line in zip(fields, lines, strict=True)}
