"""A tool from a folder: a program of its own, which is given its variables, the credential and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from valetkey.errors import InvalidArguments
from valetkey.model.calls import Lent
from valetkey.model.needs import Needs
from valetkey.ports.processes import ERRORS, OUTPUT, Ended, Job, Processes
from valetkey.providers.names import nearest
from valetkey.scrub import Scrubber
from valetkey.secret import Secret
from valetkey.tools.declared import Declared
from valetkey.tools.function import DEADLINE, needs_of
from valetkey.tools.openapi.quick import Quick
from valetkey.tools.openapi.validate import check
from valetkey.tools.tool import ToolAuth

MARGIN = 16_384
"""Bytes that are read beyond what is shown: a secret that the cut goes through is cut off whole."""

LATER = 1.0
"""Seconds that a program's own deadline is after that of its call, which is the one that is told."""

_MEMORY = {"python": 4_294_967_296}  # node reserves far more address space than it uses


class ProcessFailed(RuntimeError):
    """The tool's program ended with another exit status than 0; the text has the end of what it complained of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderTool:
    """A program that reads its arguments as JSON from standard input, and writes its result to standard output.

    Attributes:
        auth: the account it needs, as its folder says.
        needs: the same, for the road.
        tool_vars: what it reads from its environment besides the credential.
        argv: the program and its arguments.
        folder: where its files are.
        digest: of its files, where they come from elsewhere: each run has a copy, made only if they still are those.
        path: folders of programs that go before the system's own.
        source: where its code comes from; empty: a folder of this machine.
    """

    name: str
    description: str
    schema: Mapping[str, Any] = field(repr=False)
    needs: Needs
    auth: ToolAuth | None
    tool_vars: Mapping[str, str] = field(repr=False)
    argv: tuple[str, ...]
    folder: str
    processes: Processes = field(repr=False)
    language: str = "python"
    digest: str = ""
    path: tuple[str, ...] = ()
    source: str = ""
    deadline: float = DEADLINE
    overridden: frozenset[str] = field(default=frozenset(), repr=False)
    _quick: Quick = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_quick", Quick(self.schema))

    @property
    def argument_json_schema(self) -> Mapping[str, Any]:
        """The schema, by the name that seed 000's library has for it."""
        return self.schema

    def get_description(self, use_profile: bool = False) -> str:  # noqa: FBT001, FBT002  # the contract's signature
        """What a model is told of it."""
        return self.description

    def override_tool_variables(self, variables: Mapping[str, str]) -> FolderTool:
        """The same tool with other values for variables that it declares.

        Raises:
            InvalidArguments: it declares none of that name, or a value is no text.
        """
        if not isinstance(variables, Mapping):
            raise InvalidArguments(f"tool_vars takes names with their values, not {type(variables).__name__}.")
        for name, value in variables.items():
            if name not in self.tool_vars:
                raise InvalidArguments(
                    f"The tool {self.name} has no variable {name!r}.{nearest(str(name), self.tool_vars)}"
                    f" It has: {', '.join(self.tool_vars) or 'none'}."
                )
            if not isinstance(value, str) or "\0" in value:
                raise InvalidArguments(f"{self.name}: the variable {name} takes a text.")
        return replace(
            self, tool_vars={**self.tool_vars, **variables}, overridden=self.overridden | frozenset(variables)
        )

    def configured(self, settings: Mapping[str, str]) -> FolderTool:
        """The same tool with what settings say of its variables, but for those that code has overridden."""
        said = {name: settings[name] for name in self.tool_vars.keys() - self.overridden if name in settings}
        return replace(self, tool_vars={**self.tool_vars, **said}) if said else self

    def bind(self, arguments: Mapping[str, object]) -> Mapping[str, object]:
        """The arguments, where they fit the schema; no process is started for others.

        Raises:
            InvalidArguments: they do not fit.
        """
        if not self._quick.sure(arguments):
            check(self.name, arguments, self.schema)
        return dict(arguments)

    async def run(self, lent: Lent, arguments: Mapping[str, object]) -> str:
        """Run the program; what it writes to standard output is the result.

        Raises:
            ProcessFailed: it ended with another exit status than 0.
            Denied: its files are not those that were approved.
            TimeoutError: it did not end in time.
        """
        seconds = min(self.deadline, lent.connected.allowed.call.deadline)
        lends = {name: value.reveal() for name, value in lent.variables.items()}
        job = Job(
            argv=self.argv,
            folder=self.folder,
            digest=self.digest,
            environ={**self.tool_vars, **lends},
            body=json.dumps(arguments, ensure_ascii=False).encode(),
            deadline=seconds + LATER,
            output=OUTPUT + MARGIN,
            errors=ERRORS + MARGIN,
            memory=_MEMORY.get(self.language, 0),
            path=self.path,
        )
        ended = await self.processes.run(job)
        if ended.late:
            raise TimeoutError(f"{self.name} did not end within {seconds:g} s")
        if ended.status:
            raise ProcessFailed(_complaint(ended, lent.secrets))
        return _shown(ended, lent.secrets)


def _shown(ended: Ended, secrets: tuple[Secret, ...]) -> str:
    if len(ended.output) <= OUTPUT and not ended.cut:
        return ended.output.decode(errors="replace").removesuffix("\n")
    clean = Scrubber(secrets).text(ended.output.decode(errors="replace"))
    # A secret that the cut went through is not known by what is left of it: that part goes, too.
    most = min(OUTPUT, len(clean) - MARGIN) if ended.cut else OUTPUT
    return f"{clean[:most].rstrip()}\n… (cut: the tool wrote more than {OUTPUT} bytes)"


def _complaint(ended: Ended, secrets: tuple[Secret, ...]) -> str:
    clean = Scrubber(secrets).text(ended.errors.decode(errors="replace"))
    first = max(len(clean) - ERRORS, MARGIN if ended.errors_cut else 0)
    text = clean[first:].strip()
    return f"the program ended with exit status {ended.status}{f': {text}' if text else '.'}"


def folder_tool(
    said: Declared,
    *,
    argv: tuple[str, ...],
    folder: str,
    processes: Processes,
    digest: str = "",
    path: tuple[str, ...] = (),
    source: str = "",
) -> FolderTool:
    """The tool that a folder describes."""
    return FolderTool(
        name=said.name,
        description=said.description,
        schema=said.schema,
        needs=needs_of(said.auth),
        auth=said.auth,
        tool_vars=said.variables,
        argv=argv,
        folder=folder,
        processes=processes,
        language=said.language,
        digest=digest,
        path=path,
        source=source,
    )
