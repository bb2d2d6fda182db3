"""A server's identity over stores in memory, with real tokens, and its services asked over HTTP in this process."""

import asyncio
import base64
import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
from starlette.applications import Starlette

from valetkey.adapters.home import HomeLoop
from valetkey.adapters.keysources import EnvironmentKey
from valetkey.adapters.local_messages import LocalCounters, LocalWakeups
from valetkey.adapters.memory import MemoryInteractions
from valetkey.adapters.memory_identity import MemoryWorkspaces
from valetkey.adapters.memory_tokens import MemoryStops, MemoryTokens
from valetkey.adapters.system import SystemEntropy
from valetkey.entrypoints.rpc.http import service_routes
from valetkey.entrypoints.rpc.startup import end_services, start_services
from valetkey.identity.chain import Chain, Verifier
from valetkey.identity.login import LoginService
from valetkey.identity.plugin import AuthPlugin
from valetkey.identity.tokens import Tokens
from valetkey.identity.verifiers.anonymous import Anonymous
from valetkey.identity.verifiers.custom import around
from valetkey.identity.verifiers.ours import Ours
from valetkey.identity.workspaces import Workspaces
from valetkey.interactions.service import Interactions
from valetkey.limits import Limits
from valetkey.model.audit import Entry
from valetkey.model.caller import OURS, Caller, Owner
from valetkey.model.calls import BEARER, SESSION, Presented
from valetkey.model.tokens import TokenKind
from valetkey.model.users import UserInfo, UserPermission, create_scope
from valetkey.secret import Secret
from valetkey.services.table import ServiceTable
from valetkey.stops import Stops
from valetkey.testing.clock import ManualClock
from valetkey.tools.threads import THREADS
from valetkey.vault.keyring import Keyring
from valetkey.vault.seal import Sealer
from valetkey.vault.signing import Signer
from valetkey.wiring.services import manager_of

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
BASE = "http://localhost:9527"
KEY = EnvironmentKey(Secret(base64.b64encode(hashlib.sha256(b"a key of tests").digest()).decode()), name="tests")
ROOT_TOKEN = "root-" + "r" * 40


class Kept:
    """An audit log in a list."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    async def note(self, entry: Entry) -> None:
        self.entries.append(entry)

    def tell(self, entry: Entry) -> None:
        self.entries.append(entry)

    def of(self, action: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.action.value == action]


class Stores:
    """What two instances of one server share."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.interactions = MemoryInteractions()
        self.stops = MemoryStops()
        self.tokens = MemoryTokens(stops=self.stops, now=self.clock.now)
        self.workspaces = MemoryWorkspaces()


class Place:
    """One instance."""

    def __init__(
        self, stores: Stores | None = None, *, foreign: tuple[Verifier, ...] = (), wait: float = 180.0, **plugin: Any
    ) -> None:
        self.stores = stores = stores or Stores()
        self.clock = clock = stores.clock
        self.entropy = SystemEntropy()
        self.home = HomeLoop()
        self.home.adopt(asyncio.get_running_loop())
        self.audit = Kept()
        self.wakeups = LocalWakeups()
        self.limits = Limits(LocalCounters(ticks=clock.monotonic))
        self.stops = Stops(store=stores.stops, clock=clock, wakeups=self.wakeups)
        keyring = Keyring(KEY, ticks=clock.monotonic)
        signer = Signer(keyring, secret=None, issuer=BASE, audience=BASE, namespace=f"{BASE}/")
        self.tokens = Tokens(
            store=stores.tokens,
            signer=signer,
            keyring=keyring,
            stops=self.stops,
            audit=self.audit,
            clock=clock,
            entropy=self.entropy,
            lifetime=3600,
            max_lifetime=86_400,
        )
        self.workspaces = Workspaces(store=stores.workspaces, audit=self.audit, clock=clock)
        self.plugin = AuthPlugin(tokens=self.tokens, clock=clock, **{"in_thread": THREADS.run, **plugin})
        ours = Ours(signer, self.tokens, clock=clock, root_token=Secret(ROOT_TOKEN))
        own: list[Verifier] = [ours, *foreign, Anonymous(self.entropy)]
        self.plain = Chain(own, stops=self.stops, clock=clock)
        self.chain = Chain(around(self.plugin, own, clock=clock), stops=self.stops, clock=clock)
        self.interactions = Interactions(
            store=stores.interactions,
            sealer=Sealer(keyring, self.entropy),
            clock=clock,
            entropy=self.entropy,
            wakeups=self.wakeups,
        )
        self.login = LoginService(
            interactions=self.interactions,
            tokens=self.tokens,
            chain=self.chain,
            audit=self.audit,
            limits=self.limits,
            clock=clock,
            entropy=self.entropy,
            base_url=lambda: BASE,
            wait=wait,
            permission_of=self.workspaces.permission,
            plugin=self.plugin,
            longest=86_400,
        )
        self.identity: Any = SimpleNamespace(
            system=SimpleNamespace(
                home=self.home, entropy=self.entropy, clock=clock, sealer=Sealer(keyring, self.entropy)
            ),
            audit=self.audit,
            limits=self.limits,
            chain=self.chain,
            tokens=self.tokens,
            workspaces=self.workspaces,
            login=self.login,
            plugin=self.plugin,
        )
        self.table: ServiceTable

    def open(self) -> None:
        """As a server without startup functions, for tests below HTTP."""
        self.plugin.open(plain=self.plain, home=self.home, forget=self.chain.forget)

    async def start(self, *functions: str) -> None:
        """Run startup functions: a name of an example, or ``file.py:function``."""
        paths = [f"{EXAMPLES / name}" if name.startswith(("custom-", "protected-")) else name for name in functions]
        self.table = await start_services(self.identity, paths, plain=self.plain, base_url=BASE)

    async def serve(self, *functions: str, **options: Any) -> httpx2.AsyncClient:
        """The same, and a client that asks over HTTP."""
        await self.start(*functions)
        return self.client(**options)

    def client(self, **options: Any) -> httpx2.AsyncClient:
        manager = manager_of(self.identity, self.table, base_url=lambda: BASE)
        routes = service_routes(self.identity, self.table, manager=manager, base_url=BASE, **options)
        app = Starlette(routes=routes)
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=BASE)

    def end(self) -> None:
        if hasattr(self, "table"):
            end_services(self.identity, self.table)
        self.plugin.close()

    async def identify(self, text: str, *, scheme: str = BEARER, address: str = "") -> Caller:
        return await self.chain.identify(Presented(scheme=scheme, value=Secret(text), address=address))

    async def signed_in(self, name: str = "ada", *, roles: tuple[str, ...] = ()) -> tuple[str, Caller]:
        """A browser's session of a local account, and its caller."""
        user = UserInfo(id=f"local|{name}", roles=list(roles), email=f"{name}@example.com")
        user.scope = create_scope({user.get_workspace(): UserPermission.admin})
        if "admin" in roles:
            user.scope.workspaces["*"] = UserPermission.admin
        owner = Owner(workspace=user.get_workspace(), issuer=OURS, subject=user.id)
        secret, _ = await self.tokens.issue(TokenKind.SESSION, user, owner)
        return secret.reveal(), await self.identify(secret.reveal(), scheme=SESSION)

    async def access(self, name: str = "ada", **about: Any) -> str:
        """An access token of such an account."""
        _, caller = await self.signed_in(name, **about)
        assert caller.user is not None
        secret, _ = await self.tokens.issue(TokenKind.ACCESS, caller.user, caller.owner, expires_in=3600)
        return secret.reveal()


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}
