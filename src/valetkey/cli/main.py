"""valetkey: the table of commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from valetkey.cli.audit import audit
from valetkey.cli.blocks import blocks
from valetkey.cli.connections import connections
from valetkey.cli.devtool import devtool
from valetkey.cli.interactions import interactions
from valetkey.cli.options import Json
from valetkey.cli.output import print_error
from valetkey.cli.serve import serve
from valetkey.cli.tokens import apikeys, tokens
from valetkey.cli.tools import tools
from valetkey.cli.users import users
from valetkey.entrypoints.render import exit_status
from valetkey.errors import ValetkeyError

BAD_USAGE = 2
INTERRUPTED = 130


def version() -> str:
    """The version that is installed."""
    from importlib.metadata import version as installed

    return installed("valetkey")


app = App(
    name="valetkey",
    help="Sign in agents and their users, and lend tools the credentials they need; the model sees no secret.",
    version=version,
    version_flags=["--version"],
    help_format="plaintext",
)
providers = App(name="providers", help="Which services can be connected, and how.")
policy = App(name="policy", help="The rules by which calls are allowed.")
app.command(connections)
app.command(interactions)
app.command(providers)
app.command(policy)
app.command(serve)
app.command(users)
app.command(tokens)
app.command(apikeys)
app.command(blocks)
app.command(audit)
app.command(tools)
app.command(devtool)
vault = App(name="vault", help="The keys that seal what is stored.")
app.command(vault)


@app.command
def demo(*, auto: Annotated[bool, Parameter(negative="", show_default=False)] = False) -> int:
    """Show the main job on this machine: an account is connected, and a tool is called with it.

    Parameters
    ----------
    auto
        Follow the link without a person, and print one line a step.
    """
    from valetkey.cli.demo import show

    return show(auto=auto)


@providers.command(name="list")
def list_(word: str = "", /, *, as_json: Json = False) -> None:
    """List every provider: ours, and those of the project in the current folder.

    Parameters
    ----------
    word
        Only those with this in their name, title or handlers, such as google or device.
    """
    from valetkey.cli.providers import list_providers

    list_providers(word, as_json=as_json)


@providers.command(name="show")
def show_provider(name: str, /, *, as_json: Json = False) -> None:
    """Show one provider: its handlers, scopes, endpoints, and where these facts come from.

    Parameters
    ----------
    name
        Such as slack; `valetkey providers list` has them all.
    """
    from valetkey.cli.providers import show_provider as show

    show(name, as_json=as_json)


@policy.command(name="show")
def show_policy(*, as_json: Json = False) -> None:
    """Show the rules in force."""
    from valetkey.cli.policy import show_policy as show

    show(as_json=as_json)


@vault.command(name="status")
def vault_status(*, as_json: Json = False) -> None:
    """Show each key, what it sealed, and what is to be done."""
    from valetkey.cli.vault import show_status

    show_status(as_json=as_json)


@vault.command(name="rotate")
def vault_rotate(
    *,
    reseal_only: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    drop_old: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> int:
    """Add a key, and seal anew with it all that is stored, while everything runs.

    It may be ended at any time, and gone on with by --reseal-only.

    Parameters
    ----------
    reseal_only
        Add no key; seal anew with the newest one that is there.
    drop_old
        At the end, remove the keys that nothing needs any more: no row, no token, no audit record.
    """
    from valetkey.cli.vault_rotate import rotate

    return rotate(reseal_only=reseal_only, drop_old=drop_old)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: those of the command line by default.

    Returns:
        The exit status: 0; 2 for bad usage; otherwise that of the error (``errors.RENDERINGS``).
    """
    tokens = sys.argv[1:] if arguments is None else list(arguments)
    try:
        status = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        print_error(f"{error} See valetkey --help.")
        return BAD_USAGE
    except ValetkeyError as error:
        print_error(error.message)
        return exit_status(error)
    except BrokenPipeError:
        # Whoever read us has left; what Python still holds must not be written at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print_error("ended by you.")
        return INTERRUPTED
    return status if isinstance(status, int) else 0


if __name__ == "__main__":
    sys.exit(main())
