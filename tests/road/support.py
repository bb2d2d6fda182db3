"""A program's journey in one process: settings in the current folder, an OAuth server, a browser of few lines."""

import asyncio
import http.client
import ssl
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from tests.ports import free_port
from valetkey import AuthProvider, Pocket, function_tool
from valetkey.settings.pocket import Config
from valetkey.testing.clock import ManualClock
from valetkey.testing.oauth_server import OAuthServer
from valetkey.wiring import build


@dataclass
class Ports:
    internal: int = field(default_factory=free_port)
    public: int = field(default_factory=free_port)


def write_settings(ports: Ports, *sections: str, general: str = "") -> None:
    """Write valetkey.toml into the current folder."""
    head = f"internal_server_port = {ports.internal}\npublic_server_port = {ports.public}\n{general}\n"
    Path("valetkey.toml").write_text(head + "\n".join(textwrap.dedent(part) for part in sections), "utf-8")
    Path("valetkey.toml").chmod(0o600)


def client_section(provider: str, server: OAuthServer, **more: str) -> str:
    """The settings that point a provider at a local server."""
    lines = {
        "client_id": server.client.id,
        "client_secret": server.client.secret or "",
        "authorize_url": server.authorize_url,
        "token_url": server.token_url,
        "revoke_url": server.revoke_url,
        **more,
    }
    return f"[auth.{provider}]\n" + "".join(f'{key} = "{value}"\n' for key, value in lines.items())


def unverified() -> ssl.SSLContext:
    """A person who says yes to the self-made certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass
class Page:
    status: int
    url: str
    body: str
    headers: dict[str, str]


def get(url: str, *, follow: bool = True, headers: dict[str, str] | None = None) -> Page:
    """Fetch a page as a browser would, with the self-made certificate accepted by hand."""
    return send("GET", url, follow=follow, headers=headers)


def send(method: str, url: str, body: str = "", *, follow: bool = True, headers: dict[str, str] | None = None) -> Page:
    """One request; redirects are followed by GET."""
    parts = urlsplit(url)
    assert parts.hostname in ("localhost", "127.0.0.1")
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=10, context=unverified())
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    try:
        connection.request(method, path, body=body or None, headers=headers or {})
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
    finally:
        connection.close()
    found = {name.lower(): value for name, value in answer.getheaders()}
    if follow and answer.status in (302, 303):
        return get(urljoin(url, found["location"]))
    return Page(status=answer.status, url=url, body=text, headers=found)


CALENDAR = "https://www.googleapis.com/auth/calendar"


@function_tool(auth_provider=AuthProvider.GOOGLE, scopes=[CALENDAR])
async def read(**kwargs) -> int:
    """Read the calendar."""
    return len(kwargs["GOOGLE_TOKEN"])


async def connected(server: OAuthServer) -> Pocket:
    """A Pocket with that tool, whose account is there."""
    pocket = Pocket(tools=[read])
    (prompt,) = await pocket.initialize_tool_auth()
    await asyncio.to_thread(get, server.approve(prompt.url))
    await pocket.wait_tool_auth()
    return pocket


def timed(clock: ManualClock) -> None:
    """Make the default system one whose time is wound by hand."""
    build.use(build.build(Config.load(Path.cwd(), {}), clock=clock))
