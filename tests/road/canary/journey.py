"""A program at an OAuth server whose every code and token is a canary."""

import asyncio
import secrets
import string
from pathlib import Path
from typing import Any

from tests.road.canary.watch import Watch
from tests.road.forms import over_http
from tests.road.support import Ports, write_settings
from valetkey import OAuthHandler, Pocket, tool
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.model.interactions import InteractionKind
from valetkey.settings.pocket import Config
from valetkey.testing.clock import ManualClock
from valetkey.testing.oauth_server import OAuthServer
from valetkey.wiring import build

SCOPE = "mail.read"
OWNER = owner_of("default")
CLIENT_SECRET = 'velvetheronclientsecret"\\/+=%&<quietly'
VAULT_KEY = "b4Vh2nq0Zr8x_T6c1mYwKs9dLgPfUe5jAo3iRtQvXzE"
NEW = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiI0MiJ9.c29tZXRoaW5nLXNpZ25lZA"
"""A token that a provider shows instead of giving it: nobody here knows it, and it looks like one."""
PASTED = 'xoxbpastedcanaryvalue"\\/+=%&<afterwards'


class OddDice:
    """Codes and tokens with every character that some coding changes, around letters that none does."""

    def token(self, size: int = 32) -> str:
        if size < 24:
            return secrets.token_urlsafe(size)
        letters = "".join(secrets.choice(string.ascii_letters) for _ in range(36))
        return f'{letters[:20]}"\\/+=%&<{letters[20:]}'


class Journey:
    """A program at one OAuth server, and the person who uses it."""

    def __init__(
        self, watch: Watch, server: OAuthServer, clock: ManualClock, ports: Ports, *, key: str = VAULT_KEY
    ) -> None:
        self.watch, self.server, self.clock, self.ports = watch, server, clock, ports
        write_settings(ports, general=f"vault_key = '{key}'" if key else "")
        self.start()

    def start(self) -> None:
        build.use(build.build(Config.load(Path.cwd(), {}), clock=self.clock))
        self.system = build.default()

    def tool(self, func, **more) -> Any:
        auth = OAuthHandler(
            name="canary",
            client_id=self.server.client.id,
            client_secret=CLIENT_SECRET,
            client_auth=more.pop("client_auth", "client_secret_post"),
            scopes=[SCOPE],
            auth_url=self.server.authorize_url,
            token_url=self.server.token_url,
            revoke_url=self.server.revoke_url,
        )
        return tool(auth=auth, **more)(func)

    def pocket(self, func, **more) -> Pocket:
        return Pocket(tools=[self.tool(func, **more)])

    async def connect(self, pocket: Pocket) -> None:
        prompts = await pocket.initialize_tool_auth()
        for prompt in prompts:
            callback = over_http(self.server.approve(prompt.url), self.ports)
            page = await asyncio.to_thread(self.watch.get, callback)
            assert page.status == 200, page.body

    async def verifier(self) -> str:
        (row,) = await self.system.interactions.of_owner(OWNER, InteractionKind.CONNECT)
        return str(self.system.interactions.payload(row)["private"]["verifier"])

    def end(self) -> None:
        """Look everywhere, with the program still open and after its end."""
        server, watch = self.server, self.watch
        verifiers = [request.form["code_verifier"] for request in server.requests if "code_verifier" in request.form]
        watch.secret(CLIENT_SECRET, VAULT_KEY, NEW, *server.issued, *server.codes, *verifiers)
        watch.files("while open")
        build.use(None)
        watch.files("after its end")
        found = watch.sightings() + watch.raw_key(VAULT_KEY)
        assert not found, found


def length(**kwargs) -> int:
    """Tell how long the token is."""
    return len(kwargs["CANARY_TOKEN"])
