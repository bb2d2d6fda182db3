"""valetkey: the table of commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from valetkey.cli.output import print_error
from valetkey.entrypoints.render import exit_status
from valetkey.errors import ValetkeyError

BAD_USAGE = 2
INTERRUPTED = 130

Json = Annotated[bool, Parameter(name="--json", negative="", show_default=False, help="Print JSON, for programs.")]


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
app.command(providers)
app.command(policy)


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
def list_(*, as_json: Json = False) -> None:
    """List every provider: ours, and those of the project in the current folder."""
    from valetkey.cli.providers import list_providers

    list_providers(as_json=as_json)


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
