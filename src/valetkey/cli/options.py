"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

Json = Annotated[bool, Parameter(name="--json", negative="", show_default=False, help="Print JSON, for programs.")]
Thread = Annotated[str, Parameter(help="Whose account it is: the thread_id that your program uses.")]
AnyThread = Annotated[
    str | None, Parameter(name="--thread", show_default=False, help="Only those of this thread_id; by default all.")
]
