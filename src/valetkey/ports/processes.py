"""Processes: a program of somebody else's, run once, with nothing of ours but what it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

OUTPUT = 1_048_576
"""Bytes of what a tool writes to standard output that are kept."""

ERRORS = 65_536
"""Bytes of the end of what it writes to standard error that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of a program.

    Attributes:
        argv: the program by its full path, and its arguments; no shell reads them.
        folder: where it runs.
        digest: of the files in ``folder``: it runs in a copy of its own, made only if they still are those; empty: it
            runs in the folder itself.
        environ: all of its environment, but for PATH, HOME, TMPDIR and LANG.
        body: what it reads from standard input.
        deadline: seconds after which it is ended, with all that it started.
        output: bytes of standard output that are kept, from its beginning.
        errors: bytes of standard error that are kept, of its end.
        memory: bytes of address space of each of its processes; 0: no limit.
        path: folders of programs that go before the system's own.
    """

    argv: tuple[str, ...]
    folder: str
    deadline: float
    digest: str = ""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    output: int = OUTPUT
    errors: int = ERRORS
    memory: int = 0
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended. What it wrote may hold what it was lent: it does not print.

    Attributes:
        status: its exit status; 128 and the signal's number where it was killed.
        cut, errors_cut: whether it wrote more than is here.
        late: whether its time ran out.
    """

    status: int
    output: bytes = field(repr=False)
    errors: bytes = field(repr=False)
    cut: bool = False
    errors_cut: bool = False
    late: bool = False


class Processes(Protocol):
    """Starts programs. For any loop and thread."""

    async def run(self, job: Job) -> Ended:
        """Run it in a process of its own. Cancelling ends it, and all that it started.

        Raises:
            Denied: the files in its folder are not those that were approved.
            ToolFailed: it cannot be started.
        """
        ...

    def block(self, job: Job) -> Ended:
        """The same, and this thread waits."""
        ...
