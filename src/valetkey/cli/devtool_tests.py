"""What the devtool writes with --handler besides: a test of the whole journey, on this machine."""

from __future__ import annotations

from collections.abc import Mapping

_TEST_HEAD = '''\
"""The whole journey of a @Title@ account, on this machine: python -m pytest tests/test_@name@.py"""

import asyncio
import socket
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from valetkey import AuthProvider, Pocket, function_tool
@imports@

def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """This project, with a data folder and a port of its own."""
    monkeypatch.chdir(Path(__file__).parent.parent)
    port = str(free_port())
    settings = {
        "HOME": str(tmp_path / "data"),
        "INTERNAL_SERVER_PORT": port,
        "ENABLE_LOCAL_CALLBACK_PROXY": "false",
        "PUBLIC_BASE_URL": f"http://localhost:{port}",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"VALETKEY_{name}", value)
    return monkeypatch


def post(url: str, **form: str) -> str:
    with urlopen(url, data=urlencode(form).encode(), timeout=10) as answer:
        return answer.read().decode()

'''

OAUTH2_TEST = (
    _TEST_HEAD.replace("@imports@", "from valetkey.testing.oauth_server import OAuthServer\n")
    .replace("from urllib.parse import urlencode\n", "")
    .replace(
        """def post(url: str, **form: str) -> str:
    with urlopen(url, data=urlencode(form).encode(), timeout=10) as answer:
        return answer.read().decode()

""",
        "",
    )
    + '''\
def test_an_account_is_connected_and_a_tool_reads_its_token(project):
    with OAuthServer() as server:
        for name, value in {
            "CLIENT_ID": server.client.id,
            "CLIENT_SECRET": server.client.secret,
            "AUTHORIZE_URL": server.authorize_url,
            "TOKEN_URL": server.token_url,
        }.items():
            project.setenv(f"VALETKEY_AUTH__@NAME@__{name}", value)

        @function_tool(auth_provider=AuthProvider.@NAME@)
        def call_it(**kwargs):
            """Call @Title@."""
            return kwargs["@VARIABLE@"] in server.issued

        async def journey() -> str:
            async with Pocket(tools=[call_it]) as pocket:
                (prompt,) = await pocket.initialize_tool_auth()
                await asyncio.to_thread(lambda: urlopen(server.approve(prompt.url), timeout=10).read())
                await pocket.wait_tool_auth()
                return await pocket.ainvoke("call_it", {})

        assert asyncio.run(journey()) == "true"
'''
)

TOKEN_TEST = (
    _TEST_HEAD.replace("@imports@", "")
    + '''\
def test_an_account_is_connected_and_a_tool_reads_its_token(project):
    @function_tool(auth_provider=AuthProvider.@NAME@)
    def call_it(**kwargs):
        """Call @Title@."""
        return len(kwargs["@VARIABLE@"])

    async def journey() -> str:
        async with Pocket(tools=[call_it]) as pocket:
            (prompt,) = await pocket.initialize_tool_auth()
            state = prompt.url.rpartition("state=")[2]
            await asyncio.to_thread(lambda: urlopen(prompt.url, timeout=10).read())
            await asyncio.to_thread(post, prompt.url, state=state, user_token="pasted-token")
            await pocket.wait_tool_auth()
            return await pocket.ainvoke("call_it", {})

    assert asyncio.run(journey()) == str(len("pasted-token"))
'''
)

TESTS: Mapping[str, str] = {"oauth2": OAUTH2_TEST, "token": TOKEN_TEST}
