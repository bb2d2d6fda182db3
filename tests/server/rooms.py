"""A server over memory, and its doors."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.web.asgi import Answer, drive, scope_of
from valetkey.entrypoints.app import build_app, build_doors
from valetkey.entrypoints.rpc.startup import end_services, start_services
from valetkey.entrypoints.web.doors import Doors
from valetkey.model.caller import OURS, Owner
from valetkey.model.tokens import TokenKind
from valetkey.model.users import UserInfo, create_scope
from valetkey.secret import Secret
from valetkey.settings.pocket import Config
from valetkey.settings.sections import Identity as IdentitySettings
from valetkey.settings.sections import Serving
from valetkey.testing.clock import ManualClock
from valetkey.wiring import build
from valetkey.wiring.identity import Identity, open_identity
from valetkey.wiring.serving import adopt

BASE = "http://127.0.0.1:9527"


@dataclass(frozen=True)
class Served:
    """A server's app, as requests reach it."""

    app: Any
    doors: Doors
    identity: Identity
    clock: ManualClock
    base_url: str

    async def ask(self, method: str = "GET", path: str = "/", *, peer: str = "127.0.0.1", **about: Any) -> Answer:
        """Send one request; ``headers`` go beside a Host of ours."""
        host = self.base_url.partition("://")[2].partition("/")[0]
        body = about.pop("body", b"")
        headers = [("host", about.pop("host", host)), *about.pop("headers", {}).items()]
        scope = scope_of(method, path, headers=[*headers, *about.pop("more", ())], **about)
        return await drive(self.app, {**scope, "client": (peer, 4711)}, body)

    async def token(self, name: str = "ada", *extra: str, kind: TokenKind = TokenKind.API_KEY) -> str:
        """A token of somebody's."""
        scope = create_scope({f"ws-user-{name}": "a"}, extra_scopes=extra)
        user = UserInfo(id=name, roles=[], scope=scope)
        owner = Owner(workspace=f"ws-user-{name}", issuer=OURS, subject=name)
        secret, _ = await self.identity.tokens.issue(kind, user, owner)
        return secret.reveal()


@asynccontextmanager
async def serve(
    *, base_url: str = BASE, identity: IdentitySettings | None = None, clock: Any = None, **serving: Any
) -> AsyncIterator[Served]:
    """The doors of a server over memory, on this loop."""
    clock = clock or ManualClock()
    system = build.build(Config.load(Path.cwd(), {}, session={"session_type": "in_memory"}), clock=clock)
    adopt(system)
    rooms = open_identity(system, identity or IdentitySettings(root_token=Secret("r" * 32)), base_url=base_url)
    table = await start_services(rooms, (), plain=rooms.plain, base_url=base_url)
    about: dict[str, Any] = {"serving": Serving(**serving), "base_url": base_url, "table": table}
    yield Served(build_app(rooms, **about), build_doors(rooms, **about), rooms, clock, base_url)
    end_services(rooms, table)
    await asyncio.to_thread(system.close)  # what it ends, it ends on this loop
