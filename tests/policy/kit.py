"""Callers, calls and a policy over memory stores, on a clock that is wound by hand."""

import asyncio
from collections.abc import Mapping
from typing import Any

from tests.vault.keys import Dice, Given
from valetkey.adapters.home import HomeLoop
from valetkey.adapters.local_messages import LocalWakeups
from valetkey.adapters.memory import MemoryInteractions
from valetkey.interactions.service import Interactions
from valetkey.model.audit import Action, Entry
from valetkey.model.caller import Caller, Owner
from valetkey.model.calls import SESSION, Call
from valetkey.model.needs import PUBLIC, Need, Needs
from valetkey.model.users import UserInfo, UserPermission, create_scope
from valetkey.policy.approvals import Approvals
from valetkey.testing.clock import ManualClock
from valetkey.vault.keyring import Keyring
from valetkey.vault.seal import Sealer

SLACK = Needs(((Need(provider="slack"),),))


def user(name: str = "ann", *, scopes: tuple[str, ...] = (), **more: Any) -> UserInfo:
    scope = create_scope({}, extra_scopes=scopes)
    return UserInfo(**{"id": name, "roles": [], "scope": scope, **more})


def caller(
    name: str = "ann", *, issuer: str = "valetkey", how: str = "bearer", workspace: str = "", **more: Any
) -> Caller:
    owner = Owner(workspace=workspace or f"ws-user-{name}", issuer=issuer, subject=name)
    return Caller(owner=owner, how=how, user=user(name, **more))


def browser(name: str = "ann", **more: Any) -> Caller:
    """The same, signed in in a browser."""
    return caller(name, how=SESSION, **more)


def host(thread: str = "default") -> Caller:
    return Caller(owner=Owner(workspace="local", issuer="host", subject=thread), how="host")


def call(tool: str = "post", *, entrance: str = "http", needs: Needs = PUBLIC, **arguments: Any) -> Call:
    return Call(tool=tool, needs=needs, entrance=entrance, arguments=arguments)


class Told:
    """An audit log that keeps what it is told, and may fail."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.error: Exception | None = None

    def tell(self, entry: Entry) -> None:
        if self.error is not None:
            raise self.error
        self.entries.append(entry)

    async def note(self, entry: Entry) -> None:
        self.tell(entry)

    def of(self, action: Action) -> list[tuple[str, str]]:
        """Outcome and rule of each entry of one action."""
        return [(entry.outcome, entry.rule) for entry in self.entries if entry.action is action]


class Desk:
    """Approvals, with all that they stand on; two desks may share rows."""

    def __init__(
        self,
        clock: ManualClock,
        *,
        rows: MemoryInteractions | None = None,
        keys: Given | None = None,
        permissions: Mapping[tuple[str, str], UserPermission] | None = None,
    ) -> None:
        self.keys = keys or Given("k1")
        self.rows = rows or MemoryInteractions()
        self.audit = Told()
        keyring = Keyring(self.keys, ticks=clock.monotonic)
        dice = Dice(str(id(self)))
        self.interactions = Interactions(
            store=self.rows, sealer=Sealer(keyring, dice), clock=clock, entropy=dice, wakeups=LocalWakeups()
        )
        held = permissions or {}
        self.approvals = Approvals(
            interactions=self.interactions,
            keyring=keyring,
            audit=self.audit,
            clock=clock,
            base_url=lambda: "https://valet.test/",
            permission_of=lambda who, workspace: held.get((who.owner.subject, workspace)),
        )


def home() -> HomeLoop:
    """The running loop as home."""
    adopted = HomeLoop()
    adopted.adopt(asyncio.get_running_loop())
    return adopted
