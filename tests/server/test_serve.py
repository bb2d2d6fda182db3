"""The server as a process: what it prints, what ends it, and with which status."""

import base64
import http.client
import json
import logging
import signal
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.server.process import Server, running, startup
from tests.server.rooms import serve
from valetkey.adapters.certificates import LoopbackCertificate
from valetkey.adapters.system import SystemClock
from valetkey.cli.main import main
from valetkey.cli.serve import what_to_tell
from valetkey.identity.issuers import TrustedIssuer
from valetkey.secret import Secret
from valetkey.settings.sections import Identity, Serving
from valetkey.testing.visitor import Visitor

MORE = """
import asyncio, pathlib

order = pathlib.Path("order")

async def one(server):
    order.write_text("1")

async def two(server):
    order.write_text(order.read_text() + "2")

    async def slow():
        pathlib.Path("asked").touch()
        await asyncio.sleep(1)
        return "whole"

    async def stuck():
        pathlib.Path("asked").touch()
        await asyncio.sleep(600)

    await server.register_service(
        {"id": "mine", "type": "functions", "config": {"visibility": "public"}, "slow": slow, "stuck": stuck}
    )
"""


WAITING = """
import asyncio, pathlib

async def begin(server):
    pathlib.Path("begun").touch()
    await asyncio.sleep(60)
"""


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def appears(path: str) -> None:
    for _ in range(1000):
        if Path(path).exists():
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"no {path}")


@pytest.mark.requirement(
    "B4.server", "seed004.start-server", "seed004.startup-functions", "C8.serve", "C8.graceful", "d.commands-identity"
)
def test_one_life_of_a_server() -> None:
    """Start, first admin, a request under way when it is told to stop; then again over the same data."""
    root = "root-token-of-thirty-two-or-more-characters"
    Path("more.py").write_text(MORE)
    visitor = Visitor()
    options = ["--from-env", "--static-mounts", "/x:y", "/z:w", "--reset-redis", "--startup-functions"]
    with running(
        *options, "more.py:one", "more:two", environ={"HYPHA_ROOT_TOKEN": root, "HYPHA_SERVER_ID": "x"}
    ) as one:
        link = one.line(r"first admin.* (http\S+/first-admin/\S+)")[1]
        told = [line for line in one.lines if "vault key" not in line]  # that one is made at the first start
        assert told[0] == "These options do nothing here: --static-mounts, --reset-redis"
        assert told[1].endswith(f"listens on {one.url}")
        assert len(told) == 4, one.text
        assert one.get("/health")[:2] == (200, '{"status":"ok"}')
        assert one.get("/health/readiness")[0] == 200
        status, body, _ = one.get("/assets/config.json", root)
        assert (status, json.loads(body)["user"]["id"]) == (200, "root")
        assert json.loads(body)["server_info"]["server_id"] == "x"
        secret = "a long enough password of the first admin"
        made = visitor.submit(visitor.open(link), name="ada", password=secret, again=secret)
        assert made.url == f"{one.url}/account", made.text
        answers: list[Any] = []
        asking = threading.Thread(target=lambda: answers.append(one.get("/public/services/mine/slow")[:2]))
        asking.start()
        appears("asked")
        assert one.told(signal.SIGTERM) == 0
        asking.join()
        assert answers == [(200, '"whole"')]
        assert Path("order").read_text() == "12"
        assert refuses(one.port)
        assert len(one.lines) == len(told) + 2, one.text
        assert root not in one.text
    environ = {"HYPHA_ROOT_TOKEN": root, "HYPHA_HOST": "192.0.2.1"}  # without --from-env these say nothing
    with running("--startup-functions=more.py:two", port=one.port, environ=environ) as two:
        assert visitor.open(f"{two.url}/account").url == f"{two.url}/account"  # the session outlives the process
        assert two.get("/assets/config.json", root)[0] == 401
        assert "first admin" not in two.text
        Path("asked").unlink()
        connection = http.client.HTTPConnection("127.0.0.1", two.port, timeout=20)
        connection.request("GET", "/public/services/mine/stuck")
        appears("asked")
        two.process.send_signal(signal.SIGINT)
        two.line("^Valetkey ends")
        two.process.send_signal(signal.SIGINT)
        assert two.ended(10) == -signal.SIGINT  # at once
        connection.close()


@pytest.mark.requirement("seed004.bp-https", "C8.graceful")
def test_with_tls_and_ended_by_ctrl_c(tmp_path: Path) -> None:
    LoopbackCertificate(home=tmp_path, clock=SystemClock(), host="localhost").context()
    (pem,) = tmp_path.rglob("*.pem")
    with running(f"--tls-cert={pem}", f"--tls-key={pem}") as server:
        server.line(f"listens on https://127.0.0.1:{server.port}$")
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        assert server.get("/health", tls=context)[0] == 200
        assert server.told(signal.SIGINT) == 0
        assert "Traceback" not in server.text


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log of the process of the tests stays as it is."""
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)


def in_one_line(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    """The exit status of a start that fails, and the one line that it prints."""
    status = main(["serve", *options])
    (line,) = capsys.readouterr().err.splitlines()
    return status, line


@pytest.mark.usefixtures("quiet")
def test_a_taken_port_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        status, line = in_one_line(capsys, f"--port={port}")
    assert status == 2
    assert f"Port {port} on 127.0.0.1 is in use" in line
    assert "--port" in line


@pytest.mark.requirement("E-08")
@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"JWT_SECRET": "secret"}, "JWT_SECRET"),
        ({"VALETKEY_ROOT_TOKEN": "short"}, "root_token"),
        ({"VALETKEY_SERVER__PROT": "1"}, "server.prot"),
        ({"AUTH0_DOMAIN": "t.example"}, "AUTH0_AUDIENCE"),
        ({"VALETKEY_TLS_CERT": "none.pem", "VALETKEY_TLS_KEY": "none.pem"}, "tls_cert"),
        ({"VALETKEY_PORT": "70000"}, "port"),
    ],
)
def test_a_setting_that_cannot_be_used_is_one_line(
    environ: dict[str, str], named: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    status, line = in_one_line(capsys)
    assert status == 2
    assert named in line


def test_an_unknown_option_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    status, line = in_one_line(capsys, "--prot=1")
    assert status == 2
    assert "--prot" in line


@pytest.mark.requirement("seed004.ts-startup", "C6.startup")
def test_a_startup_function_that_fails_is_one_line_and_nothing_listens() -> None:
    text = "async def begin(server):\n    raise ValueError('no such tenant')"
    with Server(f"--startup-functions={startup(text)}") as server:
        assert server.ended() == 1
        (line,) = [line for line in server.lines if "vault key" not in line]
        assert "mine.py:begin failed: ValueError: no such tenant" in line
        assert refuses(server.port)


def test_nobody_can_connect_before_the_startup_functions_have_run() -> None:
    with Server("--startup-functions", startup(WAITING)) as server:
        appears("begun")
        assert refuses(server.port)
        assert server.told() == 0  # told to stop before it had started


@pytest.mark.requirement("seed004.bp-backup", "K-18")
async def test_an_issuer_that_is_down_does_not_hold_up_the_start() -> None:
    """K-18: its tokens are told to come back later; everybody else is served."""
    issuer = f"http://127.0.0.1:{free_port()}"
    down = TrustedIssuer(alias="down", issuer=issuer, audiences=frozenset({"us"}))
    claims = {"iss": issuer, "sub": "a", "aud": "us", "exp": int(time.time()) + 600, "iat": int(time.time())}
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "kid": "x"}, claims)] + [bytes(256)]
    token = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    async with serve(identity=Identity(issuers=(down,)), clock=SystemClock()) as served:
        assert (await served.ask(path="/assets/config.json")).status == 200
        refused = await served.ask(path="/assets/config.json", headers={"authorization": f"Bearer {token}"})
        assert (refused.status, refused.header("retry-after")) == (503, "5")


@pytest.mark.requirement("seed004.bp-https", "d28.first-admin", "d28.no-tls", "A-21")
@pytest.mark.parametrize(
    ("serving", "issuers", "warned", "link"),
    [
        ({"host": "127.0.0.1"}, False, False, True),
        ({"host": "127.0.0.1"}, True, False, True),
        ({"host": "192.0.2.1"}, False, True, True),
        ({"host": "192.0.2.1"}, True, True, False),
        ({"host": "192.0.2.1", "trusted_proxies": frozenset({"10.0.0.1"})}, True, False, False),
        ({"host": "192.0.2.1", "tls_cert": "c", "tls_key": "k"}, True, False, False),
    ],
)
async def test_what_the_start_tells(serving: dict[str, Any], *, issuers: bool, warned: bool, link: bool) -> None:
    trusted = (TrustedIssuer(alias="x", issuer="https://x.example", audiences=frozenset({"us"})),) if issuers else ()
    async with serve(identity=Identity(issuers=trusted)) as served:
        about: Any = {"serving": Serving(**serving), "base_url": served.base_url, "port": 9527}
        lines = await what_to_tell(served.identity, **about)
        assert any("neither TLS nor a trusted proxy" in line for line in lines) is warned
        assert any("/first-admin/" in line for line in lines) is link
        await served.identity.accounts.add("ada", Secret("a long enough password"), roles=("admin",))
        assert not any("/first-admin/" in line for line in await what_to_tell(served.identity, **about))


ANYWHERE = "0.0.0.0"  # noqa: S104 - asked for, not listened on


@pytest.mark.parametrize(
    ("serving", "told"),
    [
        ({"host": ANYWHERE}, True),
        ({"host": "::"}, True),
        ({"host": ANYWHERE, "public_base_url": "https://my-org.com"}, False),
        ({"host": ANYWHERE, "hosts": frozenset({"hub"})}, False),
        ({"host": "192.0.2.1"}, False),
        ({"host": "127.0.0.1"}, False),
    ],
)
async def test_who_listens_to_all_without_a_name_is_told_to_name_one(serving: dict[str, Any], *, told: bool) -> None:
    async with serve() as served:
        lines = await what_to_tell(served.identity, serving=Serving(**serving), base_url=served.base_url, port=9527)
    assert any("--public-base-url" in line and "--allowed-host" in line for line in lines) is told
