"""make demo: open, sign in, ask, connect, restart, check; with a person, or by itself (AUTO=1)."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from valetkey.cli.demo_app import AGAIN, EXAMPLE, StepFailed
from valetkey.cli.demo_journey import PORT, STEPS, Journey
from valetkey.cli.demo_screen import Screen
from valetkey.cli.output import plain
from valetkey.errors import ValetkeyError

if TYPE_CHECKING:
    from valetkey.testing.oauth_server import OAuthServer

INTERRUPTED = 130


def show(
    *,
    auto: bool,
    server: OAuthServer | None = None,
    answer: Literal["approve", "deny"] = "approve",
    port: int = PORT,
    out: IO[str] | None = None,
) -> int:
    """Show the demo; the exit status: 0, 1 when a step failed, 130 when it was interrupted.

    Args:
        auto: follow the link without a person.
        server: where the account is; by default one that is started for the demo.
        answer: what is answered on the consent page when nobody is there.
        port: where the app is; a free one where somebody has it already.
        out: where to print; standard output.
    """
    # The demo tells in its own words what the log would, such as that a key was made for a folder that will go.
    logging.getLogger("valetkey").addHandler(logging.NullHandler())
    screen = Screen(out or sys.stdout, auto=auto)
    try:
        screen.title("Valetkey demo" + (" (unattended)" if auto else ""))
        with tempfile.TemporaryDirectory(prefix="valetkey-demo-", ignore_cleanup_errors=True) as folder:
            journey = Journey(screen=screen, folder=folder, port=port, server=server, answer=answer, auto=auto)
            return asyncio.run(_walk(journey, screen, auto=auto))
    except KeyboardInterrupt:
        print("\ndemo: ended by you; nothing is left behind.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  # whoever read us has left
        return 1


async def _walk(journey: Journey, screen: Screen, *, auto: bool) -> int:
    loop = asyncio.get_running_loop()
    first = loop.time()
    try:
        for number, step in enumerate(STEPS, 1):
            screen.heading(number, step.title)
            began = loop.time()
            deadline = step.deadline if auto or step.patience is None else step.patience
            problem = None
            try:
                with screen.busy(step.busy):
                    async with asyncio.timeout(deadline):
                        done = await journey.steps[step.name]()
            except StepFailed as failed:
                problem = str(failed)
            except ValetkeyError as error:
                problem = error.message
            except TimeoutError:
                problem = f"it did not end within {deadline:g} s. Is this machine very busy? {AGAIN}"
            except Exception as error:  # noqa: BLE001  # the person gets a line, not a traceback
                problem = f"{type(error).__name__}: {error}. {AGAIN}"
            if problem is not None:
                sys.stdout.flush()
                print(f'demo: failed at step "{step.name}": {" ".join(plain(problem).split())}', file=sys.stderr)
                return 1
            screen.done(step.name, loop.time() - began, done)
        screen.end(f"demo: all of it worked, in {loop.time() - first:.1f} s")
        screen.tell("The shop has ended. Its program is a good one to read next. Start it again, with more to try, by:")
        screen.copy(_again())
        return 0
    finally:
        await journey.close()


def _again() -> str:
    """How the example is started by itself."""
    python = Path(sys.executable)
    here = python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python
    return f"{here} {EXAMPLE}"


def main() -> int:
    """``python -m valetkey.cli.demo``; AUTO=1 in the environment: unattended."""
    return show(auto=os.environ.get("AUTO", "").strip().lower() not in ("", "0", "no", "false"))


if __name__ == "__main__":
    sys.exit(main())
