"""What stands behind the pages while they are tried: providers on this machine instead of those on the Internet.

A page's hidden blocks set the stage; what the reader sees is the program as it is really written.
"""

import asyncio
import importlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

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


class Server:
    """A whole server on a free port, on a thread of its own; pages know it by ``http://127.0.0.1:9527``."""

    usual = "http://127.0.0.1:9527"

    def __init__(self, *startup: str) -> None:
        self._startup = startup
        self._opened, self._over = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), daemon=True)
        self._thread.start()
        if not self._opened.wait(30):
            raise TimeoutError("the server did not start")
        for module in ("hypha_rpc", "hypha_rpc.sync"):
            self._lead_here(importlib.import_module(module))

    @property
    def url(self) -> str:
        return self._place.base_url

    def token(self, user: str, **more: Any) -> str:
        """An API key of that user."""
        return asyncio.run_coroutine_threadsafe(self._place.token(user, **more), self._loop).result(10)

    def give(self, variable: str, user: str) -> None:
        """An API key of that user in the environment, while the page is tried."""
        before = os.environ.get(variable)
        os.environ[variable] = self.token(user)

        def restore() -> None:
            del os.environ[variable]
            if before is not None:
                os.environ[variable] = before

        _strike.append(restore)

    def http(self, method: str, path: str, *, token: str | None = None, **more: Any) -> Any:
        import httpx2

        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx2.request(method, f"{self.url}{path}", headers=headers, trust_env=False, timeout=10, **more)

    def curl(self, line: str, **variables: str) -> str:
        """Run a line of a page as it stands there, but for where the server is; what it prints."""
        words = shlex.split(line.replace(self.usual, self.url))
        for name, value in variables.items():
            words = [word.replace(f"${name}", value) for word in words]
        assert words[0] == "curl", line
        curl = shutil.which("curl")
        if curl is None:
            return self._without_curl(words)
        ended = subprocess.run([curl, "-sS", *words[1:]], check=True, capture_output=True, text=True, timeout=20)
        return ended.stdout

    def _without_curl(self, words: list[str]) -> str:
        """The same on a machine that has none: a URL, ``-H`` and ``-d``."""
        import httpx2

        url, *_ = [word for word in words if word.startswith("http")]
        headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
        body = next((words[at + 1] for at, word in enumerate(words) if word == "-d"), None)
        method = "GET" if body is None else "POST"
        return str(httpx2.request(method, url, headers=headers, content=body, trust_env=False, timeout=10).text)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)

    async def _live(self) -> None:
        from tests.rpc.place import place

        self._loop = asyncio.get_running_loop()
        async with place(*self._startup) as self._place:
            self._opened.set()
            await self._over.wait()

    def _lead_here(self, module: Any) -> None:
        for name in ("connect_to_server", "login"):
            plain = getattr(module, name)
            _strike.append(partial(setattr, module, name, plain))
            setattr(module, name, lambda config, *, plain=plain: _staying(plain(self._moved(config))))

    def _moved(self, config: Any) -> Any:
        return {**config, "server_url": str(config["server_url"]).replace(self.usual, self.url)}


def _staying(found: Any) -> Any:
    """What a page's program is connected to: it stays while the page is tried, and the page goes on."""
    if hasattr(found, "register_service"):
        found.serve = lambda: None
    return found


def server(*startup: str) -> Server:
    """A server of ours in place of the one that a page starts, with these startup functions."""
    started = Server(*startup)
    _strike.append(started.stop)
    return started


def shown(page: str, word: str) -> list[str]:
    """The lines of a page's blocks that begin with a word, as a reader would copy them."""
    text = (Path(__file__).resolve().parent.parent.parent / page).read_text("utf-8")
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line.startswith(f"{word} ")]


def strike() -> None:
    """Take everything down again."""
    while _strike:
        _strike.pop()()


def _started(**options) -> OAuthServer:
    server = OAuthServer(**{"auto_approve": True, **options})
    server.start()
    _strike.append(server.stop)
    return server
