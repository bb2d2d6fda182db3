"""valetkey interactions: what waits for a person."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from cyclopts import App

from valetkey.cli.options import Json
from valetkey.cli.output import print_json, print_table

if TYPE_CHECKING:
    from valetkey.model.interactions import Interaction
    from valetkey.ports.stores import InteractionStore

interactions = App(name="interactions", help="What waits for a person.")


@interactions.command(name="list")
def list_(*, as_json: Json = False) -> None:
    """List the questions that wait for a person: to sign in, to connect an account, to approve a call.

    No link is shown: it is for the person alone, and their program has it.
    """
    from valetkey.cli.accounts import moment, open_system

    system = open_system()
    now = system.clock.now()
    found = asyncio.run(_waiting(system.stores.interactions, now))
    if as_json:
        print_json([row_of(each) for each in found])
        return
    if not found:
        print("Nothing waits for a person.")
        return
    columns = ("kind", "about", "of", "workspace", "phase", "since", "until")
    print_table(
        columns, (_line(row_of(each), moment(each.created_at, now), moment(each.expires_at, now)) for each in found)
    )


def row_of(asked: Interaction) -> dict[str, Any]:
    """One question as JSON: no state, no link, nothing that was sealed."""
    owner, about = asked.owner, asked.about
    return {
        "kind": asked.kind.value,
        "provider": about.get("provider"),
        "profile": about.get("profile"),
        "tool": about.get("tool"),
        "owner": {"workspace": owner.workspace, "issuer": owner.issuer, "subject": owner.subject},
        "phase": asked.phase.value,
        "since": asked.created_at,
        "until": asked.expires_at,
    }


async def _waiting(store: InteractionStore, now: float) -> list[Interaction]:
    from valetkey.interactions.states import RESOLVED, WAITING
    from valetkey.vault.held import pages

    found: list[Interaction] = []
    async for rows in pages(store.page):
        found += [row for row in rows if (row.phase in WAITING and now < row.expires_at) or row.phase in RESOLVED]
    return sorted(found, key=lambda row: row.created_at)


def _line(row: dict[str, Any], since: str, until: str) -> tuple[str, ...]:
    about = " for ".join(str(part) for part in (row["provider"], row["tool"]) if part)
    owner = row["owner"]
    return row["kind"], about, owner["subject"], owner["workspace"], row["phase"], since, until
