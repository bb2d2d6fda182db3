"""Where a tool's code comes from: a git repository, a folder in it, and a commit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from valetkey.errors import InvalidSetting
from valetkey.model.hosts import is_loopback

COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_TREE = re.compile(r"(?:/-)?/tree/")
_SAFE = re.compile(r"[A-Za-z0-9._~:/@%+,=\-\[\]]+")
_SCHEMES = ("https", "http", "file")
_LONGEST = 1000
_SHAPE = "https://github.com/owner/name, with /tree/<branch>/<folder> and @<commit> where they are needed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSource:
    """A tool in a git repository.

    Attributes:
        repository: what git is asked for, an https URL.
        path: what follows ``/tree/``: a branch or tag, and the folder; who has the repository tells them apart.
        ref, folder: the same where they are given apart.
        commit: the full id; empty: whichever the branch has now.
    """

    repository: str
    path: str = ""
    ref: str = ""
    folder: str = ""
    commit: str = ""

    def __str__(self) -> str:
        """As it is written by people."""
        path = self.path or "/".join(part for part in (self.ref, self.folder) if part)
        return self.repository + (f"/tree/{path}" if path else "")


def is_url(text: str) -> bool:
    """Whether it names a repository, and no folder of this machine."""
    return "://" in text


def parse_source(text: str) -> ToolSource:
    """Read ``URL``, ``URL/tree/<branch>/<folder>``, and either with ``@COMMIT``.

    Raises:
        InvalidSetting: it is none of these, or names no place that code may come from.
    """
    url, at, commit = text.rpartition("@")
    if not at or "/" in commit:
        url, commit = text, ""
    if commit and not COMMIT.fullmatch(commit):
        raise InvalidSetting(f"{_short(text)}: what follows @ is a commit's full id, 40 hexadecimal digits.")
    split = _TREE.split(url, maxsplit=1)
    path = split[1].strip("/") if len(split) > 1 else ""
    source = ToolSource(repository=split[0].rstrip("/"), path=path, commit=commit)
    first, _, rest = path.partition("/")
    if COMMIT.fullmatch(first) and commit in ("", first):
        source = ToolSource(repository=source.repository, ref=first, folder=rest, commit=first)
    return checked(source)


def checked(source: ToolSource) -> ToolSource:
    """The source, where code may come from there.

    Raises:
        InvalidSetting: it may not.
    """
    repository = source.repository
    shown = _short(repository)
    if len(str(source)) > _LONGEST or not _SAFE.fullmatch(repository):
        raise InvalidSetting(f"{shown} is no URL of a git repository. Write {_SHAPE}.")
    try:
        parts = urlsplit(repository)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        raise InvalidSetting(f"{shown} is no URL of a git repository. Write {_SHAPE}.") from None
    if parts.scheme not in _SCHEMES or not parts.path.strip("/") or bool(host) == (parts.scheme == "file"):
        raise InvalidSetting(f"{shown} is no URL of a git repository. Write {_SHAPE}.")
    if parts.username is not None or parts.password is not None:
        raise InvalidSetting("The URL of a tool's repository holds a user name. Tools come from public repositories.")
    if parts.scheme == "http" and not is_loopback(host):
        raise InvalidSetting(f"{shown} is read over plain http, where anybody may change it. Write https.")
    if source.commit and not COMMIT.fullmatch(source.commit):
        raise InvalidSetting(f"{_short(source.commit)} is no commit's full id: 40 hexadecimal digits.")
    for part in (*source.path.split("/"), *source.folder.split("/"), *source.ref.split("/")):
        if part in (".", "..") or part.lower() == ".git" or not part.isprintable() or ":" in part:
            raise InvalidSetting(f"{_short(str(source))}: a branch or a folder has no part named {_short(part)!r}.")
    return source


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"  # noqa: PLR2004  # enough to know it again


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolApproval:
    """Somebody's yes to a tool from elsewhere.

    Attributes:
        digest: of its files.
        ref: the branch or tag by which it was asked for; empty: none.
        approved_at: seconds since the epoch.
    """

    repository: str
    folder: str
    commit: str
    digest: str
    name: str
    ref: str = ""
    approved_at: float = 0.0

    @property
    def place(self) -> tuple[str, str, str]:
        """Which code it is for."""
        return self.repository, self.folder, self.commit

    @property
    def url(self) -> str:
        """As ``valetkey tools approve`` takes it."""
        path = "/".join(part for part in (self.ref or (self.commit if self.folder else ""), self.folder) if part)
        return self.repository + (f"/tree/{path}" if path else "") + f"@{self.commit}"

    def is_of(self, source: ToolSource) -> bool:
        """Whether it is for this source, which names a commit; its branch need not be there any more."""
        if (self.repository, self.commit) != (source.repository, source.commit):
            return False
        if not source.path:
            return self.folder == source.folder
        return source.path in {"/".join(part for part in (ref, self.folder) if part) for ref in (self.ref, self.commit)}
