"""What an operator in a hurry, and a visitor with many addresses, meet."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.policy.kit import call
from tests.server.process import running
from tests.server.rooms import serve
from tests.server.test_watched import noted
from valetkey.errors import Denied, RateLimited, Unauthenticated
from valetkey.model.audit import Action
from valetkey.model.calls import BEARER, Presented
from valetkey.policy.decide import Policy
from valetkey.policy.rules import BUILT_IN, Effect, WrittenRule
from valetkey.secret import Secret

WRONG = Secret("not the password of anybody")


@pytest.fixture
def home(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same as for every test, and the current folder too."""
    monkeypatch.setenv("VALETKEY_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def valetkey(*arguments: str) -> str:
    command = [sys.executable, "-m", "valetkey.cli.main", *arguments]
    done = subprocess.run(command, check=False, env=os.environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_beside_a_running_server_the_command_line_lets_in_and_blocks(home: Path) -> None:
    """An account by its name, in every command; a token for the address that the server was started with."""
    with running("--public-base-url=http://localhost:8099") as server:
        valetkey("users", "add", "ada", "--generate")
        token = valetkey("tokens", "create", "--user", "ada", "--public-base-url", "http://localhost:8099")
        assert server.get("/assets/config.json", token)[0] == 200
        assert json.loads(server.get("/assets/config.json")[1])["server_info"]["server_id"]
        valetkey("blocks", "add", "user", "ada")
        blocked = time.monotonic()
        while server.get("/assets/config.json", token)[0] != 401:
            assert time.monotonic() - blocked < 5


def test_on_ipv6_the_links_lead_there_and_who_waits_is_told_to_come_back(home: Path) -> None:
    with running("--host=::") as server:
        link = urlsplit(server.line(r"http://\S+/first-admin/\S+")[0])
        connection = http.client.HTTPConnection(str(link.hostname), link.port, timeout=10)
        connection.request("GET", link.path)
        assert connection.getresponse().read()
        headers = {"content-type": "application/json"}
        connection.request("POST", "/public/services/hypha-login/start", "{}", headers)
        key = json.loads(connection.getresponse().read())["key"]
        connection.request("POST", "/public/services/hypha-login/check", json.dumps({"key": key}), headers)
        server.process.terminate()
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("retry-after")) == (503, "5")
        assert server.ended(10) == 0
        connection.close()


def test_a_connection_ends_after_a_request_with_both_lengths(home: Path) -> None:
    with running() as server, socket.create_connection(("127.0.0.1", server.port), timeout=5) as wire:
        host = f"Host: 127.0.0.1:{server.port}\r\n"
        wire.sendall(
            (
                f"POST /public/services/hypha-login/start HTTP/1.1\r\n{host}Content-Type: application/json\r\n"
                "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
                f"GET /health HTTP/1.1\r\n{host}Connection: close\r\n\r\n"
            ).encode()
        )
        answer = b""
        while part := wire.recv(65536):
            answer += part
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_addresses_of_one_ipv6_network_are_counted_as_one_visitor() -> None:
    async with serve() as served:
        path, headers = "/public/services/hypha-login/start", {"content-type": "application/json"}
        codes = [
            (await served.ask("POST", peer=f"2001:db8::{number:x}", body=b"{}", path=path, headers=headers)).status
            for number in range(1, 70)
        ]
        elsewhere = await served.ask("POST", peer="2001:db8:1::1", body=b"{}", path=path, headers=headers)
    assert 429 in codes
    assert elsewhere.status == 200


@pytest.mark.requirement("d29.suspicious-subject")
@pytest.mark.parametrize("kind", ["address", "subject"])
async def test_twenty_failed_sign_ins_are_suspicious(kind: str) -> None:
    async with serve() as served:
        await served.identity.accounts.add("ada", Secret("the right password of ada"))
        for number in range(25):
            name, address = ("ada", f"9.9.9.{number}") if kind == "subject" else (f"user{number}", "9.9.9.9")
            with pytest.raises((Unauthenticated, RateLimited)):
                await served.identity.local.sign_in(name, WRONG, address=address, agent="")
        (record,) = await noted(served, Action.SUSPICIOUS)
    assert dict(record.entry.details) == {"kind": kind, "count": "20"}


async def test_nobody_gives_themselves_the_scope_that_a_rule_lets_on() -> None:
    """What its bearer named narrows a token; what an admin named grants, and may be handed on."""
    rule = WrittenRule(name="billing", effect=Effect.ALLOW, tools=("pay",), scopes=frozenset({"billing:pay"}))
    policy = Policy((*BUILT_IN, rule))
    async with serve() as served:

        async def child_of(token: str) -> str:
            headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
            asked = {"extra_scopes": ["billing:pay"], "workspace": "ws-user-bob", "permission": "admin"}
            body = json.dumps({"config": asked}).encode()
            made = await served.ask("POST", "/public/services/ws/generate_token", headers=headers, body=body)
            assert made.status == 200, made.text
            return str(json.loads(made.text))

        async def may(token: str) -> bool:
            caller = await served.identity.chain.identify(Presented(scheme=BEARER, value=Secret(token)))
            try:
                await policy.decide(caller, call("pay"))
            except Denied:
                return False
            return True

        own = await child_of(await served.token("bob"))
        assert not await may(own)
        assert not await may(await child_of(own))
        given = await child_of("r" * 32)
        assert await may(given)
        assert await may(await child_of(given))


def test_what_the_command_line_blocks_is_in_the_file_beside_the_audit_log_too(home: Path) -> None:
    """Else `audit verify --file` would say that somebody cut the file."""
    (home / "valetkey.toml").write_text('[identity]\naudit_file = "audit.jsonl"\n')
    valetkey("blocks", "add", "tool", "pay")
    (line,) = (home / "audit.jsonl").read_text().splitlines()
    assert json.loads(line)["action"] == "block"
    assert valetkey("audit", "verify", "--file", "audit.jsonl")
