"""valetkey connections export and import: the file, its passphrase, and what is told of each account."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from valetkey.cli.accounts import accounts_of, open_system, owner_named, thread_of
from valetkey.cli.output import plain, print_error, print_json, print_table

if TYPE_CHECKING:
    from valetkey.connections.transfer import Outcome, Transfer
    from valetkey.model.connections import Connection
    from valetkey.secret import Secret
    from valetkey.wiring.system import System

INCOMPLETE = 1
"""The exit status when some accounts were left out or refused."""

LARGEST = 64 * 1024 * 1024
"""Bytes of a file that is read."""

ONE_PLACE = (
    "A provider that gives a new refresh token at each refresh ends an account that two places refresh. "
    "Use these accounts in one place only: disconnecting one of the two would end both."
)


def export_accounts(
    file: Path, names: Sequence[str], *, thread: str | None, passphrase_file: Path | None, force: bool
) -> int:
    """Write the file.

    Raises:
        InvalidArguments: there is no such account, the file is there, or the passphrase cannot be used.
        AmbiguousConnection: a name stands for several accounts.
        StoreUnavailable: the file cannot be written.
    """
    from valetkey.errors import InvalidArguments

    system = open_system()
    # What was renewed and waits in the journal is what is to be packed.
    asyncio.run(system.rotations.replay())
    found = asyncio.run(_selected(system, names, thread))
    if not found:
        raise InvalidArguments("There is no account to export. `valetkey connections list` has those that are there.")
    if file.exists() and not force:
        raise InvalidArguments(f"{file} is there already. Take another name, or --force to write over it.")
    packed = _transfer(system).pack(found, _passphrase(passphrase_file, twice=True))
    if packed.packed:
        write_file(file, packed.file, force=force)
        print(f"{_count(len(packed.packed))} with secrets, encrypted, in {plain(str(file))}:")
        for each in packed.packed:
            print(f"  {plain(_name(each))}")
        if any(each.refreshable for each in packed.packed):
            print(ONE_PLACE)
    for each, reason in packed.left_out:
        print_error(f"left out: {_name(each)}: {reason}")
    return INCOMPLETE if packed.left_out else 0


def import_accounts(
    file: Path, *, thread: str | None, passphrase_file: Path | None, instead: bool, as_json: bool
) -> int:
    """Take in what a file holds.

    Raises:
        InvalidArguments: it is no such file; nothing was written.
        VaultError: the passphrase is another one, or the file was changed; nothing was written.
    """
    from valetkey.connections.transfer import Became

    system = open_system()
    owner = None if thread is None else owner_named(thread)
    data, passphrase = _read(file), _passphrase(passphrase_file, twice=False)
    outcomes = asyncio.run(_transfer(system).unpack(data, passphrase, owner=owner, instead=instead))
    rows = [_row(each) for each in outcomes]
    if as_json:
        print_json(rows)
    else:
        columns = ("thread", "account", "became", "reason")
        print_table(columns, ([str(row[name] or "") for name in columns] for row in rows))
        if any(each.became is Became.KEPT for each in outcomes):
            print("\nWhat was kept is as it was; --replace puts the file's in its place.")
        taken = [each for each in outcomes if each.became in (Became.IMPORTED, Became.REPLACED)]
        if any(each.refreshable for each in taken):
            print(f"\n{ONE_PLACE}")
    return INCOMPLETE if any(each.became is Became.REFUSED for each in outcomes) else 0


async def _selected(system: System, names: Sequence[str], thread: str | None) -> list[Connection]:
    accounts = accounts_of(system)
    owner = None if thread is None else owner_named(thread)
    if not names:
        return await accounts.all(owner)
    found = [await accounts.find(name, owner or owner_named("default")) for name in names]
    return list({each.id: each for each in found}.values())


def _transfer(system: System) -> Transfer:
    from valetkey.connections.transfer import Transfer

    return Transfer(
        store=system.stores.connections,
        sealer=system.sealer,
        clock=system.clock,
        entropy=system.entropy,
        wakeups=system.bus.wakeups,
    )


def _passphrase(file: Path | None, *, twice: bool) -> Secret:
    """The passphrase, from its file or as a person types it, unseen."""
    from valetkey.errors import InvalidArguments
    from valetkey.secret import Secret

    if file is not None:
        lines = _read(file).decode("utf-8", "replace").splitlines()
        if os.name == "posix" and file.stat().st_mode & 0o077:
            print_error(f"{file} can be read by others on this machine. chmod 600 keeps it yours.")
        if not lines or not lines[0]:
            raise InvalidArguments(f"{file} is empty. Its first line has to be the passphrase.")
        return Secret(lines[0])
    if not sys.stdin.isatty():
        raise InvalidArguments("Nobody can be asked for the passphrase here. Give it by --passphrase-file FILE.")
    given = Secret(getpass.getpass("Passphrase (not shown): "))
    if twice and Secret(getpass.getpass("The same again: ")) != given:
        raise InvalidArguments("The two passphrases differ. Nothing was written.")
    return given


def _read(file: Path) -> bytes:
    from valetkey.errors import InvalidArguments

    try:
        with file.open("rb") as opened:
            return opened.read(LARGEST + 1)
    except OSError as error:
        raise InvalidArguments(f"{file} cannot be read: {error.strerror}.") from None


def write_file(file: Path, data: bytes, *, force: bool) -> None:
    """All of it or nothing, for its owner only; what is there is written over only by ``force``."""
    from valetkey.errors import InvalidArguments, StoreUnavailable

    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(data)
                opened.flush()
                os.fsync(opened.fileno())
            if force:
                beside.replace(file)
            else:
                os.link(beside, file)
        finally:
            beside.unlink(missing_ok=True)
    except FileExistsError:
        raise InvalidArguments(f"{file} is there already. Take another name, or --force to write over it.") from None
    except OSError as error:
        raise StoreUnavailable(f"{file} cannot be written: {error.strerror}.") from None


def _row(outcome: Outcome) -> dict[str, str | None]:
    owner = outcome.owner
    return {
        "thread": None if owner is None else thread_of(owner) or owner.subject,
        "account": outcome.name,
        "became": outcome.became.value,
        "reason": outcome.reason or None,
    }


def _name(connection: Connection) -> str:
    whose = thread_of(connection.owner) or connection.owner.subject
    return f"{connection.provider}:{connection.profile} of the thread {whose}"


def _count(number: int) -> str:
    return "1 account" if number == 1 else f"{number} accounts"
