"""Git: what a branch is now, and the files of a folder at a commit. Nothing is checked out, and nothing of it runs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from valetkey.adapters.processes import find_program
from valetkey.adapters.tool_files import MOST_BYTES, MOST_FILES, is_plain
from valetkey.errors import InvalidSetting, MissingSetting, NotFound, ProviderUnavailable
from valetkey.model.tool_sources import COMMIT, ToolSource, checked
from valetkey.ports.processes import Ended, Job, Processes

DEADLINE = 120.0
"""Seconds that one question to a repository may take."""

_REFS = 16_777_216
_HEADS, _TAGS = "refs/heads/", "refs/tags/"
_REGULAR, _RUNS = "100644", "100755"
_OPTIONS = (
    *("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.symlinks=false"),
    *("-c", "credential.helper=", "-c", "http.followRedirects=false", "-c", "submodule.recurse=false"),
    *("-c", "fetch.recurseSubmodules=false", "-c", "transfer.fsckObjects=true", "-c", "gc.auto=0"),
    *("-c", "transfer.bundleURI=false", "-c", "maintenance.auto=false"),
)
_ENVIRON = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "true",
    "GIT_SSH_COMMAND": "false",
    "GIT_LFS_SKIP_SMUDGE": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_PROTOCOL_FROM_USER": "0",
}


class Git:
    """Asks repositories, by the git program. Blocks.

    Args:
        processes: starts it, with an environment of its own.
        path: the PATH on which git is looked for.
        ca_file: certificates that are trusted besides; empty: the system's.
    """

    def __init__(self, processes: Processes, *, path: str, ca_file: str = "") -> None:
        self._processes = processes
        self._path = path
        self._ca_file = ca_file

    def resolve(self, source: ToolSource) -> ToolSource:
        """The source with its folder, and the commit that its branch has now.

        Raises:
            NotFound: the repository has no such branch or tag.
            ProviderUnavailable: it cannot be reached.
        """
        if source.commit and not source.path:
            return source
        refs = self._refs(source.repository)
        if not source.path and not source.ref:
            return self._at(source, refs, "HEAD", source.folder)
        if source.ref:
            return self._at(source, refs, source.ref, source.folder)
        parts = source.path.split("/")
        for count in range(1, len(parts) + 1):
            name = "/".join(parts[:count])
            if _commit(refs, name):
                return self._at(source, refs, name, "/".join(parts[count:]))
        raise NotFound(f"{source.repository} has no branch or tag that {source.path[:200]!r} begins with.")

    def files(self, source: ToolSource) -> dict[str, tuple[bool, bytes]]:
        """The files of the folder at the commit: plain ones, whole, as they are in the repository.

        Raises:
            NotFound: there is no such commit, or no such folder in it.
            InvalidSetting: it holds what a tool may not: links, submodules, odd names, too much.
            ProviderUnavailable: the repository cannot be reached.
        """
        with self._own() as made:
            self._fetch(made, source)
            listed = self._listed(made, source)
            return self._contents(made, listed, source)

    @contextmanager
    def _own(self) -> Iterator[Path]:
        """A repository of our own, gone at the end: git obeys what is written in the one where it is started."""
        made = Path(tempfile.mkdtemp(prefix="valetkey-git-"))
        try:
            self._git(made, ["init", "--bare", "--quiet", "--template=", "."])
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)

    @staticmethod
    def _at(source: ToolSource, refs: Mapping[str, str], name: str, folder: str) -> ToolSource:
        commit = source.commit or _commit(refs, name)
        if not commit:
            raise NotFound(f"{source.repository} has no branch or tag {name[:200]!r}.")
        return checked(replace(source, path="", ref="" if name == "HEAD" else name, folder=folder, commit=commit))

    def _refs(self, repository: str) -> dict[str, str]:
        with self._own() as made:
            ended = self._git(made, ["ls-remote", "--", repository], repository, output=_REFS)
        if ended.status or ended.cut or ended.late:
            raise _unreachable(repository, ended)
        lines = (line.partition("\t") for line in ended.output.decode(errors="replace").splitlines())
        return {name: commit for commit, _, name in lines if COMMIT.fullmatch(commit)}

    def _fetch(self, folder: Path, source: ToolSource) -> None:
        """That commit alone, where the server gives it; else all branches."""
        alone = ["fetch", "--quiet", "--no-tags", "--depth=1", "--", source.repository, source.commit]
        if self._git(folder, alone, source.repository).status == 0:
            return
        every = ["fetch", "--quiet", "--no-tags", "--", source.repository, "+refs/*:refs/fetched/*"]
        ended = self._git(folder, every, source.repository)
        if not self._has(folder, source.commit):
            if ended.status or ended.late:
                raise _unreachable(source.repository, ended)
            raise NotFound(f"{source.repository} has no commit {source.commit}.")

    def _has(self, folder: Path, commit: str) -> bool:
        return self._git(folder, ["cat-file", "-e", f"{commit}^{{commit}}"]).status == 0

    def _listed(self, folder: Path, source: ToolSource) -> list[tuple[str, bool, str]]:
        """Path, whether it can be run, and the id of what it holds."""
        asked = f"{source.commit}:{source.folder}"
        ended = self._git(folder, ["ls-tree", "-r", "-l", "-z", "--full-tree", asked], output=_REFS)
        if ended.status:
            raise NotFound(f"{source.repository} has no folder {source.folder!r} at {source.commit}.")
        found: list[tuple[str, bool, str]] = []
        size = 0
        for entry in filter(None, ended.output.split(b"\0")):
            facts, _, name = entry.partition(b"\t")
            mode, kind, blob, length = facts.decode().split()
            path = name.decode(errors="backslashreplace")
            if kind != "blob" or mode not in (_REGULAR, _RUNS):
                what = "a submodule" if kind == "commit" else "a link"
                raise InvalidSetting(f"{source}: {path[:200]} is {what}. A tool's folder holds plain files only.")
            if not is_plain(path):
                raise InvalidSetting(f"{source}: {path[:200]!r} is no name that a tool's file may have.")
            size += int(length)
            if size > MOST_BYTES or len(found) >= MOST_FILES:
                raise _too_large(source)
            found.append((path, mode == _RUNS, blob))
        if ended.cut:
            raise _too_large(source)
        return found

    def _contents(
        self, folder: Path, listed: Sequence[tuple[str, bool, str]], source: ToolSource
    ) -> dict[str, tuple[bool, bytes]]:
        asked = "".join(f"{blob}\n" for _, _, blob in listed).encode()
        ended = self._git(folder, ["cat-file", "--batch"], body=asked, output=MOST_BYTES + 256 * (len(listed) + 1))
        if ended.status or ended.cut:
            raise _unreachable(source.repository, ended)
        files, place = {}, 0
        for path, runs, blob in listed:
            line = ended.output.index(b"\n", place)
            name, _, length = ended.output[place:line].decode().split()
            if name != blob:
                raise _unreachable(source.repository, ended)
            end = line + 1 + int(length)
            files[path] = (runs, ended.output[line + 1 : end])
            place = end + 1
        return files

    def _git(
        self,
        folder: Path,
        arguments: Sequence[str],
        repository: str = "",
        *,
        body: bytes = b"",
        output: int = 65_536,
    ) -> Ended:
        program = find_program("git", path=self._path)
        if program is None:
            raise MissingSetting("Tools from a repository need git, which is not on the PATH. Install it.")
        scheme = repository.partition("://")[0]
        environ = {
            **_ENVIRON,
            "GIT_DIR": str(folder),
            "GIT_CEILING_DIRECTORIES": str(folder.parent),
            "GIT_ALLOW_PROTOCOL": scheme if repository else "none",
        }
        if self._ca_file:
            environ["GIT_SSL_CAINFO"] = self._ca_file
        if scheme == "file":
            # Whoever wrote its path trusts that one, and no other.
            path = unquote(repository.removeprefix("file://")).rstrip("/")
            trusted = (path, f"{path}/.git")
            environ["GIT_CONFIG_COUNT"] = str(len(trusted))
            for place, each in enumerate(trusted):
                environ |= {f"GIT_CONFIG_KEY_{place}": "safe.directory", f"GIT_CONFIG_VALUE_{place}": each}
        argv = (program, *_OPTIONS, *arguments)
        return self._processes.block(
            Job(argv=argv, folder=str(folder), environ=environ, body=body, deadline=DEADLINE, output=output)
        )


def _commit(refs: Mapping[str, str], name: str) -> str:
    """Of a branch, else of a tag: the commit that it stands for."""
    if name == "HEAD":
        return refs.get(name, "")
    tag = f"{_TAGS}{name}"
    return refs.get(f"{_HEADS}{name}") or refs.get(f"{tag}^{{}}") or refs.get(tag, "")


def _unreachable(repository: str, ended: Ended) -> ProviderUnavailable:
    why = "it did not answer in time" if ended.late else "git cannot read it"
    lines = ended.errors.decode(errors="replace").strip().splitlines()
    said = f" ({lines[-1][:300]})" if lines and not ended.late else ""
    return ProviderUnavailable(f"The repository {repository} cannot be read now: {why}{said}. Look at its URL.")


def _too_large(source: ToolSource) -> InvalidSetting:
    return InvalidSetting(
        f"{source} holds more than {MOST_FILES} files or {MOST_BYTES} bytes. Name the tool's own folder."
    )
