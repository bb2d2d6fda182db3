"""valetkey users: the accounts that sign in here by name and password."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from valetkey.cli.options import Json
from valetkey.cli.output import plain, print_json, print_table

if TYPE_CHECKING:
    from valetkey.model.accounts import Account
    from valetkey.secret import Secret
    from valetkey.wiring.identity import Identity

users = App(name="users", help="The accounts that sign in here by name and password.")

Name = Annotated[str, Parameter(help="What the person types to sign in.")]
Generate = Annotated[
    bool,
    Parameter(negative="", show_default=False, help="Make a password, and print it once, alone on standard output."),
]


@users.command
def add(
    name: Name,
    /,
    *,
    admin: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    email: Annotated[str, Parameter(show_default=False)] = "",
    generate: Generate = False,
) -> None:
    """Make an account. The password is asked for without showing it, or read from standard input.

    Parameters
    ----------
    admin
        It may do everything, everywhere.
    email
        The person's address.
    """
    from valetkey.cli.identity import opened_identity

    with opened_identity() as identity:
        password = _password(identity, generate=generate)
        roles = ("admin",) if admin else ()
        made = identity.system.home.block(lambda: identity.accounts.add(name, password, roles=roles, email=email))
    _say(f"The account {made.name} is made{', and is an admin' if admin else ''}.", generate, password)


@users.command(name="list")
def list_(*, as_json: Json = False) -> None:
    """List the accounts."""
    from valetkey.cli.identity import opened_identity

    with opened_identity() as identity:
        found = identity.system.home.block(identity.accounts.list)
    rows = [_row(account) for account in found]
    if as_json:
        print_json(rows)
    elif rows:
        columns = ("name", "email", "roles", "state", "created")
        print_table(columns, ([_cell(row, column) for column in columns] for row in rows))
    else:
        print("There is no account here. Make one: valetkey users add NAME --admin")


@users.command
def disable(name: Name, /) -> None:
    """Let nobody sign in with an account, and end its sessions, tokens and keys, everywhere within 5 seconds."""
    from valetkey.cli.identity import account_named, opened_identity

    with opened_identity() as identity:
        account = account_named(identity, name)
        identity.system.home.block(lambda: identity.accounts.disable(account.name))
    print(f"The account {account.name} is disabled; its sessions, tokens and keys have ended.")


@users.command
def enable(name: Name, /) -> None:
    """Let an account sign in again. What was ended stays so."""
    from valetkey.cli.identity import account_named, opened_identity

    with opened_identity() as identity:
        account = account_named(identity, name)
        identity.system.home.block(lambda: identity.accounts.enable(account.name))
    print(f"The account {account.name} may sign in again.")


@users.command(name="set-password")
def set_password(name: Name, /, *, generate: Generate = False) -> None:
    """Change a password, and end the account's sessions, tokens and keys, everywhere within 5 seconds.

    The new one is asked for without showing it, or read from standard input.
    """
    from valetkey.cli.identity import account_named, opened_identity

    with opened_identity() as identity:
        account = account_named(identity, name)
        password = _password(identity, generate=generate)
        identity.system.home.block(lambda: identity.accounts.set_password(account.name, password))
    _say(f"The password of {account.name} is changed; its sessions, tokens and keys have ended.", generate, password)


def _password(identity: Identity, *, generate: bool) -> Secret:
    from valetkey.cli.identity import read_password
    from valetkey.secret import Secret

    return Secret(identity.system.entropy.token(18)) if generate else read_password()


def _say(line: str, generated: bool, password: Secret) -> None:  # noqa: FBT001 - one call away
    if generated:
        print(plain(line), file=sys.stderr)
        print("Its password, which is shown only now:", file=sys.stderr)
        print(password.reveal())
    else:
        print(plain(line))


def _row(account: Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "name": account.name,
        "email": account.email or None,
        "roles": list(account.roles),
        "disabled": account.disabled,
        "created_at": account.created_at,
        "changed_at": account.changed_at,
    }


def _cell(row: dict[str, Any], column: str) -> str:
    from valetkey.cli.identity import moment_of

    match column:
        case "roles":
            return " ".join(row["roles"])
        case "state":
            return "disabled" if row["disabled"] else "ok"
        case "created":
            return moment_of(row["created_at"])
        case _:
            return str(row[column] or "")
