"""valetkey blocks: users, tools and workspaces stopped everywhere within five seconds."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from valetkey.cli.options import Json
from valetkey.cli.output import plain, print_json, print_table

if TYPE_CHECKING:
    from valetkey.wiring.identity import Identity

blocks = App(name="blocks", help="Stop a user, a tool or a workspace, everywhere within five seconds.")

Kind = Annotated[Literal["user", "tool", "workspace"], Parameter(help="What is stopped.")]
Name = Annotated[
    str, Parameter(help="The name of an account here, else the id of the user; or the name of the tool or workspace.")
]


@blocks.command
def add(kind: Kind, name: Name, /, *, reason: Annotated[str, Parameter(show_default=False)] = "") -> None:
    """Stop all calls of a user, of a tool, or in a workspace. A user's tokens are refused, too.

    Parameters
    ----------
    reason
        Why, for whoever reads the list.
    """
    from valetkey.cli.identity import BY, opened_identity

    with opened_identity() as identity:
        name = _meant(identity, kind, name)
        identity.system.home.block(lambda: identity.blocks.add(kind, name, reason=reason, by=BY))
        unknown = _unknown(identity, kind, name)
    print(f"The {kind} {plain(name)} is blocked, on every instance within 5 seconds.")
    if unknown:
        print(unknown, file=sys.stderr)


@blocks.command
def remove(kind: Kind, name: Name, /) -> int:
    """Let a user, a tool or a workspace go on. Exit status 1: it was not blocked."""
    from valetkey.cli.identity import BY, opened_identity

    with opened_identity() as identity:
        name = _meant(identity, kind, name)
        done = identity.system.home.block(lambda: identity.blocks.remove(kind, name, by=BY))
    print(f"The {kind} {plain(name)} {'may go on, on every instance within 5 seconds' if done else 'is not blocked'}.")
    return 0 if done else 1


@blocks.command(name="list")
def list_(*, as_json: Json = False) -> None:
    """List who and what is blocked."""
    from valetkey.cli.identity import opened_identity

    with opened_identity() as identity:
        stops = identity.system.home.block(identity.blocks.list)
    rows = [
        {
            "kind": stop.kind.value,
            "name": stop.target,
            "reason": stop.reason,
            "by": stop.by,
            "since": datetime.fromtimestamp(stop.created_at, UTC).isoformat(timespec="seconds"),
        }
        for stop in stops
    ]
    if as_json:
        print_json(rows)
    elif rows:
        print_table(tuple(rows[0]), (tuple(row.values()) for row in rows))
    else:
        print("Nobody and nothing is blocked.")


def _meant(identity: Identity, kind: str, name: str) -> str:
    """Of a user, the id: an account here may be told by its name, as in the other commands."""
    if kind != "user" or "|" in name:
        return name
    account = identity.system.home.block(lambda: identity.accounts.get(name))
    return name if account is None else account.id


def _unknown(identity: Identity, kind: str, name: str) -> str:
    """What to say where nothing of that name is there yet: it may come, or be mistyped."""
    if kind == "user":
        return "" if "|" in name else f"There is no account {plain(name)!r} here: this stops a user of just that id."
    workspace, parted, _ = name.partition("/")
    if (kind == "tool" and not parted) or workspace == "via":
        return ""
    if identity.system.home.block(lambda: identity.workspaces.at(workspace)) is not None:
        return ""
    return f"There is no workspace {plain(workspace)!r} here so far. One of an account here is ws-user-local|<name>."
