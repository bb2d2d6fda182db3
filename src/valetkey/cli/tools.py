"""valetkey tools: code from elsewhere, and which of it may run here."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from valetkey.cli.options import Json
from valetkey.cli.output import plain, print_error, print_json, print_table
from valetkey.errors import InvalidArguments
from valetkey.model.tool_sources import ToolApproval, ToolSource, is_url, parse_source

if TYPE_CHECKING:
    from valetkey.wiring.folder_tools import FolderTools, Proposal

tools = App(name="tools", help="Tools from elsewhere: which code may run here.")

REFUSED = 4
_SHOWN = 12

Url = Annotated[str, Parameter(help="Such as https://github.com/owner/name/tree/main/tools/mine@COMMIT.")]


@tools.command
def approve(url: Url, /, *, yes: Annotated[bool, Parameter(negative="", show_default=False)] = False) -> int:
    """Look at a tool from a git repository, and allow that commit of it to run here.

    Without @COMMIT it is the one that the branch has now. A later one is asked about again.

    Parameters
    ----------
    yes
        Say yes without being asked.
    """
    parts = _parts()
    proposal = parts.propose(parse_source(_given(url)))
    _show(proposal)
    if proposal.known:
        print("It is approved already.")
        return 0
    if not yes and not _asked():
        print("Nothing of it runs here.")
        return REFUSED
    approval = parts.approve(proposal)
    print(f"Approved. Use it by: {plain(approval.url)}")
    return 0


@tools.command(name="list")
def list_(*, as_json: Json = False) -> None:
    """List the tools that are approved."""
    rows = [_row(each) for each in _parts().approvals.all()]
    if as_json:
        print_json(rows)
    elif rows:
        print_table(tuple(rows[0]), (tuple(row.values()) for row in rows))
    else:
        print("No tool from elsewhere is approved. valetkey tools approve URL@COMMIT looks at one.")


@tools.command
def revoke(url: Url, /) -> int:
    """Take a yes back, and remove the code. Without @COMMIT: of all commits. Exit status 1: there was none."""
    parts, source = _parts(), parse_source(_given(url))
    gone = [
        each for each in parts.approvals.all() if each.is_of(source) or (not source.commit and _may_be(each, source))
    ]
    parts.approvals.remove(gone)
    for each in gone:
        print(f"{plain(each.url)} does not run here any more.")
    if not gone:
        print_error("no such tool is approved. valetkey tools list has them all.")
    return 0 if gone else 1


def _may_be(approval: ToolApproval, source: ToolSource) -> bool:
    """Whether that URL may lead to what was approved, by whichever branch: a yes too few is asked for again."""
    folder = approval.folder
    same = not source.path or not folder or source.path == folder or source.path.endswith(f"/{folder}")
    return approval.repository == source.repository and same


def _given(url: str) -> str:
    if not is_url(url):
        raise InvalidArguments(f"{url[:200]!r} is no URL. A folder of this machine needs nobody's yes.")
    return url


def _parts() -> FolderTools:
    from valetkey.settings.pocket import Config
    from valetkey.wiring.build import home_folder
    from valetkey.wiring.folder_tools import open_folder_tools

    config = Config.load(Path.cwd(), os.environ)
    return open_folder_tools(config, home_folder(os.environ), environ=os.environ)


def _show(proposal: Proposal) -> None:
    """What a person needs to know; every text in it is somebody else's."""
    said, source = proposal.said, proposal.source
    auth = said.auth
    needs = "none"
    if auth is not None:
        named = auth.auth_handler or ("" if auth.auth_provider is None else auth.auth_provider.value)
        needs = f"{named}, {'scopes ' + ', '.join(auth.scopes) if auth.scopes else 'no scopes named'}"
    sizes = {path: len(content) for path, (_, content) in proposal.files.items()}
    lines = {
        "Tool": said.name,
        "Does": said.description,
        "Account": needs,
        "Variables": ", ".join(said.variables) or "none",
        "Runs": " ".join(said.run),
        "Built by": " ".join(said.build) or "nothing",
        "From": str(source),
        "Commit": source.commit,
        "Files": f"{len(sizes)}, {sum(sizes.values())} bytes",
        "Read it": _page(proposal),
    }
    for name, value in lines.items():
        print(f"{name + ':':<11}{' '.join(plain(value).split())}")
    for path in sorted(sizes)[:_SHOWN]:
        print(f"{'':<11}{plain(path)} ({sizes[path]} bytes)")
    if len(sizes) > _SHOWN:
        print(f"{'':<11}and {len(sizes) - _SHOWN} more")


def _page(proposal: Proposal) -> str:
    source = proposal.source
    if source.repository.startswith("https://"):
        return f"{source.repository.removesuffix('.git')}/tree/{source.commit}/{source.folder}".rstrip("/")
    return f"git show {source.commit}:{source.folder}"


def _asked() -> bool:
    if not sys.stdin.isatty():
        print_error("nobody is here to say yes. Say it by --yes, once you have read the code.")
        return False
    print("It will run here, with the account that it asks for. Allow this commit to run? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _row(approval: ToolApproval) -> dict[str, str]:
    return {
        "name": approval.name,
        "url": approval.url,
        "commit": approval.commit,
        "approved": datetime.fromtimestamp(approval.approved_at, UTC).isoformat(timespec="seconds"),
    }
