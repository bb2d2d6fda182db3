"""Tools from folders and repositories: found, approved, built, and made."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hmac import compare_digest
from pathlib import Path
from typing import TYPE_CHECKING

from valetkey.errors import Denied, InvalidSetting, ToolFailed
from valetkey.model.tool_sources import ToolApproval, ToolSource, checked, is_url, parse_source
from valetkey.ports.processes import Job
from valetkey.tools.declared import Declared, declared
from valetkey.tools.folder import FolderTool, folder_tool

if TYPE_CHECKING:
    from valetkey.adapters.git import Git
    from valetkey.adapters.processes import ProgramRunner
    from valetkey.adapters.tool_approvals import ToolApprovals
    from valetkey.ports.world import Clock
    from valetkey.settings.pocket import Config

BUILDING = 600.0
"""Seconds that building a tool may take."""

_TOLD = 2_000
_BUILDERS = ("pip", "pip3", "python", "python3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A tool from elsewhere that somebody may say yes to.

    Attributes:
        source: with the folder and the commit that were found.
        known: whether somebody already did.
    """

    source: ToolSource
    said: Declared
    files: Mapping[str, tuple[bool, bytes]]
    digest: str
    known: bool

    @property
    def approval(self) -> ToolApproval:
        """What is noted with a yes."""
        return ToolApproval(
            repository=self.source.repository,
            folder=self.source.folder,
            commit=self.source.commit,
            digest=self.digest,
            name=self.said.name,
            ref=self.source.ref,
        )


@dataclass(frozen=True, kw_only=True)
class FolderTools:
    """Makes tools of folders.

    Attributes:
        variables: values that settings have for tools' variables.
        path: the PATH on which node is looked for.
    """

    processes: ProgramRunner
    git: Git
    approvals: ToolApprovals
    clock: Clock
    variables: Mapping[str, str]
    path: str

    def load(self, place: str, variables: Mapping[str, str] | None = None) -> FolderTool:
        """The tool in a folder of this machine, or at a URL.

        Raises:
            InvalidSetting: there is no tool that can be run here; names the file and the key.
            Denied: nobody has said yes to the code at the URL, or it was changed on this machine.
            NotFound, ProviderUnavailable: the repository has no such branch, or cannot be read.
        """
        if is_url(place):
            return self.from_source(parse_source(place), variables)
        return self.from_folder(Path(place), variables)

    def from_folder(self, path: Path, variables: Mapping[str, str] | None = None) -> FolderTool:
        """The tool in a folder that the program names: its own code, which needs nobody's yes."""
        from valetkey.adapters.tool_files import descriptions

        folder = path.expanduser().resolve()
        said = declared(descriptions(folder), str(path))
        tool = folder_tool(
            said,
            argv=self._argv(said, sys.executable),
            folder=str(folder),
            processes=self.processes,
            path=(str(Path(sys.executable).parent),),
        )
        return self._with(tool, variables)

    def from_source(self, source: ToolSource, variables: Mapping[str, str] | None = None) -> FolderTool:
        """The tool at a URL; a branch is looked up, and what it is now has to be approved."""
        from valetkey.adapters.tool_files import unchanged

        approval = self._approved(source)
        kept = self.approvals.folder_of(approval.digest)
        files = unchanged(kept / "source", approval.digest)
        said = declared({path: content for path, (_, content) in files.items()}, approval.url)
        python = self._built(said, kept, approval.digest)
        tool = folder_tool(
            said,
            argv=self._argv(said, python),
            folder=str(kept / "source"),
            processes=self.processes,
            digest=approval.digest,
            path=(str(Path(python).parent),),
            source=approval.url,
        )
        return self._with(tool, variables)

    def propose(self, source: ToolSource) -> Proposal:
        """What a person is shown before they say yes; nothing of it is run, or kept."""
        from valetkey.adapters.tool_files import digest_of

        source = self.git.resolve(source)
        files = self.git.files(source)
        said = declared({path: content for path, (_, content) in files.items()}, str(source))
        _check_build(said)
        self._argv(said, _python())
        digest = digest_of(files)
        known = any(each.is_of(source) and compare_digest(each.digest, digest) for each in self.approvals.all())
        return Proposal(source=source, said=said, files=files, digest=digest, known=known)

    def approve(self, proposal: Proposal) -> ToolApproval:
        """Keep the code, build it where it asks for that, and note the yes.

        Raises:
            ToolFailed: it cannot be built; nothing is noted.
        """
        from valetkey.adapters.tool_files import write

        kept = self.approvals.folder_of(proposal.digest)
        write(proposal.files, kept / "source")
        self._built(proposal.said, kept, proposal.digest)
        approval = replace(proposal.approval, approved_at=self.clock.now())
        self.approvals.add(approval)
        return approval

    def _approved(self, source: ToolSource) -> ToolApproval:
        approvals = self.approvals.all()
        if not source.commit:
            source = self.git.resolve(source)
        for each in reversed(approvals):
            if each.is_of(source):
                return each
        asked = ToolApproval(
            repository=source.repository,
            folder=source.folder,
            commit=source.commit,
            digest="",
            name="",
            ref=source.path.removesuffix(source.folder) or source.ref,
        ).url
        earlier = any((each.repository, each.folder) == (source.repository, source.folder) for each in approvals)
        moved = " Another commit of it was approved, and it has moved since." if earlier else ""
        raise Denied(
            f"The tool at {source} is code from elsewhere, and nobody has approved its commit {source.commit}.{moved}"
            f" Look at it, and allow it to run: valetkey tools approve {asked}"
        )

    def _built(self, said: Declared, kept: Path, digest: str) -> str:
        """The Python that runs the tool: with a build, one of an environment of its own, made once."""
        if not said.build:
            return _python()
        from valetkey.adapters import tool_files

        made = kept / "venv"
        python = made / "bin" / "python"
        if tool_files.is_marked(made):
            return str(python)
        self._step(said, (_python(), "-m", "venv", "--clear", str(made)), kept / "source", digest)
        module = ("-m", "pip") if said.build[0].startswith("pip") else ()
        self._step(said, (str(python), *module, *said.build[1:]), kept / "source", digest, str(python.parent))
        tool_files.mark(made)
        return str(python)

    def _step(self, said: Declared, argv: tuple[str, ...], folder: Path, digest: str, *path: str) -> None:
        job = Job(argv=argv, folder=str(folder), digest=digest, deadline=BUILDING, path=path)
        ended = self.processes.block(job)
        if ended.late or ended.status:
            why = "it took too long" if ended.late else ended.errors.decode(errors="replace").strip()[-_TOLD:]
            raise ToolFailed(f"The tool {said.name} cannot be built: {why or f'exit status {ended.status}'}")

    def _argv(self, said: Declared, python: str) -> tuple[str, ...]:
        if said.language == "python":
            return (python, *said.run[1:])
        from valetkey.adapters.processes import find_program

        node = find_program("node", path=self.path)
        if node is None:
            raise InvalidSetting(f"The tool {said.name} needs node, which is not on the PATH. Install it.")
        return (node, *said.run[1:])

    def _with(self, tool: FolderTool, variables: Mapping[str, str] | None) -> FolderTool:
        if variables is not None:
            tool = tool.override_tool_variables(variables)
        return tool.configured(self.variables)


def _python() -> str:
    """The machine's own Python, without what is installed for this program."""
    return str(getattr(sys, "_base_executable", "") or sys.executable)


def _check_build(said: Declared) -> None:
    if said.build and (said.language != "python" or said.build[0] not in _BUILDERS):
        raise InvalidSetting(
            f"The tool {said.name} is built by {' '.join(said.build)[:200]!r}. Here entrypoint.build begins with"
            " pip or python, for tools in Python."
        )


def source_of(repository: str, ref: str, rel_path: str) -> ToolSource:
    """A tool in a repository, given in parts as the contract's ``from_git`` does; a path is one of this machine.

    Raises:
        InvalidSetting: code may not come from there.
    """
    from valetkey.model.tool_sources import COMMIT

    if not is_url(repository):
        repository = f"file://{Path(repository).expanduser().resolve()}"
    commit = ref if COMMIT.fullmatch(ref) else ""
    named = "" if ref == "HEAD" else ref
    folder = rel_path.strip("/").removeprefix("./").removeprefix(".")
    return checked(ToolSource(repository=repository.rstrip("/"), ref=named, folder=folder, commit=commit))


def open_folder_tools(
    config: Config, folder: Path, *, environ: Mapping[str, str], clock: Clock | None = None
) -> FolderTools:
    """The parts for one data folder."""
    from valetkey.adapters.git import Git
    from valetkey.adapters.processes import ProgramRunner
    from valetkey.adapters.system import SystemClock
    from valetkey.adapters.tool_approvals import ToolApprovals

    clock = clock or SystemClock()
    processes, path = ProgramRunner(clock), environ.get("PATH", os.defpath)
    return FolderTools(
        processes=processes,
        git=Git(processes, path=path, ca_file=config.general.ca_file or ""),
        approvals=ToolApprovals(folder),
        clock=clock,
        variables=config.general.tool_vars,
        path=path,
    )
