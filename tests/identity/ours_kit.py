"""What we issue, over stores in memory, with a clock wound by hand."""

from __future__ import annotations

import itertools
from typing import Any

from tests.vault.keys import Dice, Given
from valetkey.adapters.local_messages import LocalCounters, LocalWakeups
from valetkey.adapters.memory_identity import MemoryAccounts, MemoryWorkspaces
from valetkey.adapters.memory_tokens import MemoryStops, MemoryTokens
from valetkey.errors import StoreUnavailable
from valetkey.identity.accounts import Accounts
from valetkey.identity.chain import Chain
from valetkey.identity.logins.local import LocalLogin
from valetkey.identity.tokens import Tokens
from valetkey.identity.verifiers.anonymous import Anonymous
from valetkey.identity.verifiers.ours import Ours
from valetkey.identity.workspaces import Workspaces
from valetkey.limits import Limits
from valetkey.model.audit import Action, Entry
from valetkey.model.caller import OURS, Caller, Owner
from valetkey.model.calls import BEARER, NOTHING, SESSION, Presented
from valetkey.model.tokens import Token
from valetkey.model.users import ScopeInfo, UserInfo, UserPermission
from valetkey.ports.stores import TokenStore
from valetkey.secret import Secret
from valetkey.stops import Stops
from valetkey.testing.clock import ManualClock
from valetkey.vault.keyring import Keyring
from valetkey.vault.signing import Signer

ISSUER = "https://valetkey.example"
NAMESPACE = "https://valetkey.example/claims/"
SHARED = Secret("a shared secret of more than thirty-two bytes")
ROOT_TOKEN = Secret("the root token, which is longer than 32 characters")
PASSWORD = Secret("correct horse battery staple")
ADDRESS = "192.0.2.7"


_numbers = itertools.count(1)


class Noted:
    """An audit log in a list."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.broken = False

    async def note(self, entry: Entry) -> None:
        if self.broken:
            raise StoreUnavailable("down")
        self.entries.append(entry)

    def tell(self, entry: Entry) -> None:
        self.entries.append(entry)

    def of(self, action: Action) -> list[Entry]:
        return [entry for entry in self.entries if entry.action is action]


class Counted:
    """A token store that counts the questions that it is asked."""

    def __init__(self, store: TokenStore) -> None:
        self._store = store
        self.asked: list[str] = []

    def __getattr__(self, name: str):
        self.asked.append(name)
        return getattr(self._store, name)


class Database:
    """What several instances share."""

    def __init__(self, clock: ManualClock) -> None:
        self.stops = MemoryStops()
        self.tokens = MemoryTokens(stops=self.stops, now=clock.now)
        self.accounts = MemoryAccounts()
        self.workspaces = MemoryWorkspaces()
        self.counters = LocalCounters(ticks=clock.monotonic)
        self.keys = Given("k1")


class Instance:
    """One server's rooms, as far as they are about what we issue."""

    def __init__(
        self, *, clock: ManualClock | None = None, database: Database | None = None, secret: Secret | None = None
    ) -> None:
        self.clock = clock or ManualClock()
        self.database = database or Database(self.clock)
        self.dice = Dice(f"instance {next(_numbers)}")
        self.audit = Noted()
        self.store = Counted(self.database.tokens)
        self.keyring = Keyring(self.database.keys, ticks=self.clock.monotonic)
        self.signer = Signer(self.keyring, secret=secret, issuer=ISSUER, audience="api", namespace=NAMESPACE)
        # No hints between instances: each has to find out by itself.
        self.stops = Stops(store=self.database.stops, clock=self.clock, wakeups=LocalWakeups())
        common: dict[str, Any] = {"audit": self.audit, "clock": self.clock}
        self.tokens = Tokens(
            store=self.store,
            signer=self.signer,
            keyring=self.keyring,
            stops=self.stops,
            entropy=self.dice,
            lifetime=3600,
            max_lifetime=31 * 86_400,
            session_idle=8 * 3600,
            session_lifetime=14 * 86_400,
            **common,
        )
        self.accounts = Accounts(store=self.database.accounts, tokens=self.tokens, entropy=self.dice, **common)
        self.limits = Limits(self.database.counters)
        self.local = LocalLogin(accounts=self.accounts, tokens=self.tokens, limits=self.limits, **common)
        self.workspaces = Workspaces(store=self.database.workspaces, **common)
        self.ours = Ours(self.signer, self.tokens, clock=self.clock, root_token=ROOT_TOKEN, others={"https://o"})
        self.chain = Chain([self.ours, Anonymous()], stops=self.stops, clock=self.clock)

    async def bearer(self, text: Secret | str, *, address: str = "") -> Caller:
        return await self.chain.identify(Presented(scheme=BEARER, value=_secret(text), address=address))

    async def session(self, text: Secret | str) -> Caller:
        return await self.chain.identify(Presented(scheme=SESSION, value=_secret(text)))

    async def nobody(self) -> Caller:
        return await self.chain.identify(Presented(scheme=NOTHING, value=""))

    async def signed_in(self, name: str = "ann", password: Secret = PASSWORD) -> tuple[Secret, Token]:
        if await self.accounts.get(name) is None:
            await self.accounts.add(name, password)
        return await self.local.sign_in(name, password, address=ADDRESS, agent="a browser")


def _secret(text: Secret | str) -> Secret:
    return text if isinstance(text, Secret) else Secret(text)


def ann(*, roles: list[str] | None = None, scope: ScopeInfo | None = None) -> UserInfo:
    own = ScopeInfo(current_workspace="ws-user-ann", workspaces={"ws-user-ann": UserPermission.admin})
    return UserInfo(id="ann", roles=roles or [], email="ann@example.org", scope=scope or own)


ANN = Owner(workspace="ws-user-ann", issuer=OURS, subject="ann")
