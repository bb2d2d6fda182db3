"""A program with tools of its own against a real provider: settings and a provider's file in the current folder."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote_plus

from tests.real.oidc import Oidc, OidcClient
from tests.real.visitor import call, post
from tests.road.forms import open_form
from tests.road.support import Page, Ports, get, write_settings
from valetkey import AuthProvider, FunctionTool, OAuthHandler, Pocket, PocketAuth, function_tool, tool
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.model.connections import Connection, Credential
from valetkey.model.interactions import INVITATION
from valetkey.settings.pocket import Config
from valetkey.testing.clock import ManualClock
from valetkey.wiring import build
from valetkey.wiring.system import System

NAME = "mailroom"
OWNER = owner_of("default")
SCOPE = "mail.read"
REFRESHING = ("openid", "offline_access")


class NotTakenError(Exception):
    """What an HTTP client raises for a 401: its status is where such clients have it."""

    status_code = 401


class Road:
    """One program and its accounts, on a clock wound by hand."""

    def __init__(self, oidc: Oidc) -> None:
        self.oidc = oidc
        self.clock = ManualClock()
        self.ports = Ports()
        self.pocket: Pocket
        self.calls: list[str] = []

    @property
    def redirect_uri(self) -> str:
        return f"https://localhost:{self.ports.public}/proxy/auth/{NAME}/oauth2/callback"

    def inline(self, client: OidcClient, *, issuer: str | None = None) -> None:
        """The provider is in the tool's own code."""
        write_settings(self.ports)
        provider = OAuthHandler(
            name=NAME,
            client_id=client.id,
            client_secret=client.secret or "",
            client_auth=client.method,
            scopes=[SCOPE, *REFRESHING],
            auth_url=self.oidc.authorize_url,
            token_url=self.oidc.token_url,
            revoke_url=self.oidc.revoke_url,
            authorize_parameters={"prompt": "consent"},
            issuer=issuer or self.oidc.issuer,
        )
        self._open(tool(auth=provider))

    def project(self, client: OidcClient) -> None:
        """The provider is a file of the project, and settings say who we are there."""
        oidc = self.oidc
        # A TOML literal: no character of it means anything.
        secret = "" if client.secret is None else f"client_secret = '{client.secret}'"
        write_settings(self.ports, f"[auth.{NAME}]\nclient_id = '{client.id}'\n{secret}")
        folder = Path("valetkey_providers")
        folder.mkdir(exist_ok=True)
        (folder / f"{NAME}.toml").write_text(
            f"""
            title = "Mailroom"
            origins = ["{oidc.issuer}"]

            [handlers.{NAME}-oauth2]
            kind = "oauth2"
            default = true
            variables = {{ {NAME.upper()}_TOKEN = "access_token" }}

            [handlers.{NAME}-oauth2.oauth2]
            authorize = "{oidc.authorize_url}"
            token = "{oidc.token_url}"
            revoke = "{oidc.revoke_url}"
            client_auth = "{client.method}"
            refresh_scopes = ["openid", "offline_access"]
            authorize_parameters = {{ prompt = "consent" }}
            issuer = "{oidc.issuer}"
            iss_in_callback = true
            """,
            "utf-8",
        )
        self._open(function_tool(auth_provider=AuthProvider(NAME), scopes=[SCOPE]))

    def _open(self, decorate) -> None:
        self.decorate = decorate
        self.oidc.allow(self.redirect_uri)
        self.begin()

    def begin(self) -> None:
        """Start the program, anew where it ran already: only its folders are the same."""
        build.use(build.build(Config.load(Path.cwd(), {}), clock=self.clock))
        self.pocket = Pocket(tools=[self._tool()])

    def _tool(self) -> FunctionTool:
        def whose_mail(**kwargs) -> str:
            """Tell whose mailbox it is."""
            token = kwargs["MAILROOM_TOKEN"]
            self.calls.append(token)
            answer = call(self.oidc.whoami_url, headers={"authorization": f"Bearer {token}"})
            if answer.status == 401:
                raise NotTakenError(f"401 for {token}")
            return answer.text

        made: FunctionTool = self.decorate(whose_mail)
        return made

    @property
    def system(self) -> System:
        return self.pocket.system

    async def link(self) -> str:
        (prompt,) = await self.pocket.initialize_tool_auth()
        return prompt.url

    async def callback(self, **consent: str) -> str:
        """A person follows the link; where the provider sends their browser then."""
        url = await self.link()
        return await asyncio.to_thread(lambda: self.oidc.consent(url, **consent))

    async def connect(self, **consent: str) -> Page:
        return await asyncio.to_thread(get, await self.callback(**consent))

    async def say_yes(self) -> Page:
        """Another account than the one before was connected, and is not used unasked: keep it."""
        url = (await self.invoke()).removeprefix(INVITATION)
        assert "/confirm/" in url
        return await asyncio.to_thread(lambda: open_form(url).send(answer="yes"))

    async def invoke(self) -> str:
        return await self.pocket.ainvoke("whose_mail", {})

    async def held(self) -> Connection:
        (connection,) = await self.system.stores.connections.of_owner(OWNER)
        return connection

    async def credential(self) -> Credential:
        return self.system.sealer.open_credential(await self.held())

    async def refresh_token(self) -> str:
        found = (await self.credential()).refresh_token
        assert found is not None, "the provider gave no refresh token"
        return found.reveal()

    async def access_token(self) -> str:
        return (await self.credential()).access_token.reveal()

    async def end_access_token(self) -> str:
        """The provider takes the access token no more, and we do not know it yet."""
        token = await self.access_token()
        self.oidc.end(token)
        return token

    def refresh_elsewhere(self, refresh_token: str) -> int:
        """Somebody else who has our refresh token and our client's secret uses it; the status of the answer."""
        pair = f"{quote_plus(self.oidc.basic.id)}:{quote_plus(self.oidc.basic.secret or '')}"
        proof = {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
        fields = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return post(self.oidc.token_url, fields, proof).status

    def forget(self) -> bool:
        return PocketAuth().delete_session(AuthProvider(NAME))


@contextmanager
def road_to(oidc: Oidc) -> Iterator[Road]:
    build.use(None)
    try:
        yield Road(oidc)
    finally:
        build.use(None)
