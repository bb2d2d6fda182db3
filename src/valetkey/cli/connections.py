"""valetkey connections: the accounts that are connected here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from valetkey.cli.options import AnyThread, Json, Thread

connections = App(name="connections", help="The accounts that are connected here.")

Account = Annotated[str, Parameter(help="Such as google, google:work, or its id.")]
PassphraseFile = Annotated[
    Path | None,
    Parameter(show_default=False, help="A file whose first line is the passphrase; by default it is asked for."),
]


@connections.command(name="list")
def list_(*, thread: AnyThread = None, as_json: Json = False) -> None:
    """List the accounts: whose, where, and how each fares."""
    from valetkey.cli import accounts

    accounts.list_accounts(thread=thread, as_json=as_json)


@connections.command
def show(account: Account, /, *, thread: Thread = "default", as_json: Json = False) -> None:
    """Show one account: what it may do, its state and why, and what to do now."""
    from valetkey.cli import accounts

    accounts.show_account(account, thread=thread, as_json=as_json)


@connections.command
def add(
    name: str,
    /,
    *,
    provider: str,
    handler: Annotated[str | None, Parameter(show_default=False)] = None,
    origin: Annotated[list[str] | None, Parameter(negative="", show_default=False)] = None,
    thread: Thread = "default",
    replace: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> None:
    """Keep a token, a user name and password or a key pair under a name of its own.

    The secret is asked for without showing it, or read from standard input, one line for each value. It is never an
    argument: those are seen by others on this machine.

    Parameters
    ----------
    name
        The profile that calls name, such as work; default is used by calls that name none.
    provider
        Where it belongs: one of `valetkey providers list`, or a service of your own.
    handler
        How it is connected; by default the provider's own way to paste a secret.
    origin
        For a service of your own: where its token may be sent, such as https://api.example.com. Describes it in
        valetkey_providers/<provider>.toml.
    replace
        Take the place of the account that has this name.
    """
    from valetkey.cli import accounts

    accounts.add_account(
        name, provider=provider, handler=handler, origins=tuple(origin or ()), thread=thread, instead=replace
    )


@connections.command
def rename(account: Account, new_name: str, /, *, thread: Thread = "default") -> None:
    """Keep an account under another profile.

    Parameters
    ----------
    new_name
        The new profile; default is used by calls that name none.
    """
    from valetkey.cli import accounts

    accounts.rename_account(account, new_name, thread=thread)


@connections.command
def disconnect(account: Account, /, *, thread: Thread = "default") -> None:
    """Forget an account here, then revoke its tokens at the provider, where it has a way to."""
    from valetkey.cli import accounts

    accounts.disconnect_account(account, thread=thread)


@connections.command
def reconnect(account: Account, /, *, thread: Thread = "default") -> None:
    """Connect an account anew: print the link, and wait for the person. Until then the old one stays."""
    from valetkey.cli import accounts

    accounts.reconnect_account(account, thread=thread)


@connections.command(name="export")
def export_(
    file: Path,
    /,
    *account: Account,
    thread: AnyThread = None,
    passphrase_file: PassphraseFile = None,
    force: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> int:
    """Write accounts with their secrets into one encrypted file.

    A list without secrets is `valetkey connections list --json`.

    Parameters
    ----------
    file
        What to write; only you will be able to read it.
    account
        Only these; by default all.
    force
        Write over a file that is there.
    """
    from valetkey.cli import accounts_file

    return accounts_file.export_accounts(file, account, thread=thread, passphrase_file=passphrase_file, force=force)


@connections.command(name="import")
def import_(
    file: Path,
    /,
    *,
    thread: Annotated[str | None, Parameter(show_default=False)] = None,
    passphrase_file: PassphraseFile = None,
    replace: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    as_json: Json = False,
) -> int:
    """Take the accounts of such a file into this vault.

    Parameters
    ----------
    file
        What export wrote.
    thread
        Whose they become; by default they stay those of their thread_id.
    replace
        Replace accounts of the same name; by default these are kept as they are.
    """
    from valetkey.cli import accounts_file

    return accounts_file.import_accounts(
        file, thread=thread, passphrase_file=passphrase_file, instead=replace, as_json=as_json
    )
