"""What stands behind the pages while they are tried: providers on this machine instead of those on the Internet.

A page's hidden blocks set the stage; what the reader sees is the program as it is really written.
"""

import io
import json
from collections.abc import Callable
from pathlib import Path

from tests.road.support import client_section
from valetkey.providers.inline import OAuthHandler
from valetkey.testing.oauth_server import OAuthServer

_strike: list[Callable[[], object]] = []


def provider(*names: str, **options) -> OAuthServer:
    """A server in place of these providers of the catalogue, by settings; it asks nothing and agrees."""
    server = _started(**options)
    sections = "\n".join(client_section(name, server) for name in names)
    settings = Path("valetkey.toml")
    settings.write_text((settings.read_text() if settings.is_file() else "") + sections)
    settings.chmod(0o600)
    return server


def inline(**options) -> OAuthServer:
    """A server in place of every provider that a program describes in code."""
    server = _started(**options)
    made = OAuthHandler.__init__
    moved = {
        "client_id": server.client.id,
        "client_secret": server.client.secret or "",
        "auth_url": server.authorize_url,
        "token_url": server.token_url,
    }
    _strike.append(lambda: setattr(OAuthHandler, "__init__", made))
    OAuthHandler.__init__ = lambda self, **given: made(self, **{**given, **moved})  # type: ignore[method-assign]
    return server


def answering(value: object) -> Callable[..., io.BytesIO]:
    """In place of ``urlopen``: an API that answers this, to whoever brings a token."""

    def urlopen(request, **kwargs) -> io.BytesIO:
        assert request.get_header("Authorization", "").startswith("Bearer ")
        return io.BytesIO(json.dumps(value).encode())

    return urlopen


def strike() -> None:
    """Take everything down again."""
    while _strike:
        _strike.pop()()


def _started(**options) -> OAuthServer:
    server = OAuthServer(**{"auto_approve": True, **options})
    server.start()
    _strike.append(server.stop)
    return server
