"""The example of seed 003: each kind of credential reaches what it is for; and it runs as its reader runs it."""

import json
import os
import re
import runpy
import socket as sockets
import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import pytest
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient
from websockets.sync.client import connect

from tests.ports import free_port
from valetkey.testing.oauth_server import Client as Shop
from valetkey.testing.oauth_server import OAuthServer
from valetkey.wiring import build

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLE = ROOT / "examples" / "fastAPI" / "app_auth.py"
CLIENT = ROOT / "examples" / "fastAPI" / "chat_client.py"
BASE = "http://localhost:8000"
SOCKET = "ws://localhost:8000/bedrock-chat/ws"

BEARER = {"auth_type": "bearer_token", "token": "demo-token-of-ada"}
BASIC = {"auth_type": "basic_auth", "username": "demo", "password": "demo-password"}
KEY = {"auth_type": "api_key", "api_key": "demo-api-key", "api_key_header": "X-API-Key"}
CUSTOM = {"auth_type": "custom", "custom_headers": {"X-Partner": "demo-partner", "X-Partner-Key": "demo-partner-key"}}


@pytest.fixture
def example(home, monkeypatch):
    monkeypatch.setenv("BEDROCK_MODEL_ID", "offline")
    build.use(None)
    yield runpy.run_path(str(EXAMPLE))
    build.use(None)


@pytest.fixture
def client(example):
    app = example["make_app"](BASE, mail_url="http://127.0.0.1:9", client_id="shop", client_secret="not-a-secret")
    with TestClient(app, base_url=BASE, headers={"Origin": BASE}) as client:
        yield client


class Chat:
    """One socket of the chat."""

    def __init__(self, socket):
        self._socket = socket
        assert self.frame("connection_established")

    def frame(self, *kinds):
        while True:
            frame = self._socket.receive_json()
            if frame["type"] in (*kinds, "error"):
                return frame

    def sign_in(self, credential):
        self._socket.send_json({"type": "auth", **credential})
        assert self.frame("auth_configured")["type"] == "auth_configured"

    def ask(self, text):
        self._socket.send_json({"type": "chat", "message": text})
        return self.frame("ai_response", "approval_required", "auth_required")

    def send(self, **frame):
        self._socket.send_json(frame)


@pytest.fixture
def chat(client):
    with client.websocket_connect(SOCKET) as socket:
        yield Chat(socket)


@pytest.mark.requirement("seed003.bearer", "seed003.basic", "seed003.api-key", "seed003.custom", "seed003.example")
@pytest.mark.parametrize(
    ("credential", "question", "tool", "found"),
    [
        (BEARER, "What have I ordered?", "list_orders", "Espresso machine"),
        (BEARER, "Get my user data", "get_user_data", "Ada"),
        (BASIC, "Show my invoices", "list_invoices", "2026-031"),
        (KEY, "How many kettles are in stock?", "check_stock", "12"),
        (CUSTOM, "Show the partner prices", "partner_prices", "31"),
        (None, "Which products are there?", "list_products", "249"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else None,
)
def test_each_kind_of_credential_reaches_its_route(chat, credential, question, tool, found):
    if credential:
        chat.sign_in(credential)
    answer = chat.ask(question)
    assert [call["name"] for call in answer["tool_calls"]] == [tool]
    assert found in answer["message"], answer


@pytest.mark.requirement("fault.dead-security")
@pytest.mark.parametrize(
    ("credential", "question"),
    [
        (None, "What have I ordered?"),
        (BASIC, "What have I ordered?"),
        (BEARER, "Show my invoices"),
        (BASIC, "How many kettles are in stock?"),
        (BEARER, "Show the partner prices"),
        (KEY, "Give me the sales report"),
    ],
)
def test_a_credential_that_does_not_fit_reaches_nothing(chat, credential, question):
    if credential:
        chat.sign_in(credential)
    (result,) = chat.ask(question)["tool_results"]
    assert "401" in str(result["error"])


@pytest.mark.requirement("fault.echo")
def test_a_credential_that_comes_back_is_starred_out(chat):
    chat.sign_in(BEARER)
    answer = chat.ask("Which headers did you get?")
    assert "***" in str(answer["tool_results"])
    assert "demo-token-of-ada" not in str(answer)


@pytest.mark.requirement("fault.credential-tools")
def test_a_route_that_is_kept_out_is_no_tool(chat):
    chat.sign_in(BEARER)
    answer = chat.ask("CALL list_customers {}")
    assert answer["tool_results"][0]["error"] == "Unknown tool: list_customers"
    assert "list_customers" not in chat.ask("Dance for me")["message"]


@pytest.mark.requirement("d15.approval")
@pytest.mark.parametrize(("decision", "state"), [("yes", "cancelled"), ("no", "packed")])
def test_a_marked_route_waits_for_a_yes(chat, decision, state):
    chat.sign_in(BEARER)
    asked = chat.ask("Cancel order A-21")
    assert (asked["type"], asked["tool"], asked["arguments"]) == (
        "approval_required", "cancel_order", {"order": "A-21"},
    )  # fmt: skip
    chat.send(type="approve", approval_id=asked["approval_id"], decision=decision)
    assert chat.frame("ai_response")["type"] == "ai_response"
    assert f"state {state}" in "\n".join(
        line for line in chat.ask("What have I ordered?")["message"].splitlines() if "A-21" in line
    )


@pytest.mark.requirement("design.own-beside", "D.scheme-providers")
def test_the_mailbox_needs_an_account_and_gets_no_credential_of_the_session(chat):
    chat.sign_in(BEARER)
    asked = chat.ask("What are the 2 newest messages in my mailbox?")
    assert (asked["type"], asked["provider"], asked["scopes"]) == ("auth_required", "acme_mail", ["mail.read"])
    assert asked["url"].startswith(BASE)


@pytest.mark.requirement("design.own-beside", "X-19")
def test_the_account_is_connected_on_the_way_and_renewed_when_its_token_is_refused(example):
    with OAuthServer(
        [Shop(id="shop", secret="not-a-secret")], scopes={"mail.read": ""}, mail_scope="mail.read"
    ) as mail:
        app = example["make_app"](BASE, mail_url=mail.url, client_id="shop", client_secret="not-a-secret")
        with TestClient(app, base_url=BASE, headers={"Origin": BASE}) as client:
            client.get("/")
            with client.websocket_connect(SOCKET) as socket:
                chat = Chat(socket)
                chat.sign_in(BEARER)
                asked = chat.ask("What are the 2 newest messages in my mailbox?")
                page = client.get(asked["url"])
                form = dict(re.findall(r'name="(csrf|shown)" value="([^"]*)"', page.text))
                leave = client.post(str(page.url), data={**form, "answer": "yes"}, follow_redirects=False)
                assert "connected" in client.get(mail.approve(leave.headers["location"])).text
                ready = chat.frame("connection_ready", "ai_response")
                assert (ready["type"], ready["request_id"]) == ("connection_ready", asked["request_id"])
                assert "Your invoice for March" in chat.frame("ai_response")["message"]
                mail.expire_access_tokens()
                assert "Your invoice for March" in chat.ask("What are the 2 newest messages in my mailbox?")["message"]
        shown = [each.headers["authorization"] for each in mail.requests if each.path == "/api/mail"]
        access = [f"Bearer {token}" for token in mail.issued]
        assert mail.refreshes == 1
        assert shown == [access[0], access[0], access[2]]


@pytest.mark.requirement("seed003.example", "d19.example")
def test_the_page_is_found_at_the_root_and_the_visitor_known_again(client):
    opened = client.get("/", follow_redirects=False)
    assert (opened.status_code, opened.headers["location"]) == (303, "/bedrock-chat/ui")
    assert "httponly" in opened.headers["set-cookie"].lower()
    assert "set-cookie" not in client.get("/", follow_redirects=False).headers
    assert "Corner shop" in client.get("/").text


def test_programs_without_a_cookie_are_each_somebody_new(example):
    connection = HTTPConnection({"type": "websocket", "headers": []})
    assert example["visitor"](connection) != example["visitor"](connection)


@pytest.fixture
def running(tmp_path):
    """The example as it is run, and where it is."""
    port = free_port()
    environment = {
        **os.environ,
        "PORT": str(port),
        "VALETKEY_HOME": str(tmp_path / "home"),
        "BEDROCK_MODEL_ID": "offline",
    }
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLE)], cwd=tmp_path, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    with process:
        try:
            yield process, f"http://localhost:{port}"
        finally:
            process.terminate()


def wait_for(url: str) -> None:
    transport = httpx2.HTTPTransport(retries=0)
    with httpx2.Client(transport=transport, trust_env=False) as client:
        for _ in range(200):
            try:
                client.get(url)
            except httpx2.TransportError:
                threading.Event().wait(0.05)
            else:
                return
    raise AssertionError(url)


def test_a_port_that_is_taken_is_told_in_one_line_before_anything_else(tmp_path):
    with sockets.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [sys.executable, str(EXAMPLE)], cwd=tmp_path, env={**os.environ, "PORT": str(port)},
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.strip() == (
        f"Port {port} is taken. Choose another: PORT={port + 1} python examples/fastAPI/app_auth.py"
    )


@pytest.mark.requirement("seed003.oauth2", "seed003.python", "seed003.example", "d19.example", "d19.client")
def test_it_runs_as_its_reader_runs_it_with_the_corrected_client_and_oauth2(running, tmp_path):
    process, base = running
    said = ""
    while "CALL list_orders" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    assert f"{base}/oauth/token" in said
    wait_for(base)
    socket = f"{base.replace('http', 'ws', 1)}/bedrock-chat/ws"
    ended = subprocess.run(
        [sys.executable, str(CLIENT)], env={**os.environ, "CHAT_URL": socket, "PYTHONIOENCODING": "utf-8"},
        capture_output=True, text=True, encoding="utf-8", timeout=30, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[0] == "✅ Authentication configured: bearer_token"
    assert "Sam" in ended.stdout
    with connect(socket, proxy=None) as ws:
        chat = Chat(_Sync(ws))
        chat.sign_in(
            {
                "auth_type": "oauth2", "client_id": "demo-client", "client_secret": "demo-client-secret",
                "token_url": f"{base}/oauth/token", "scope": "reports:read",
            }
        )  # fmt: skip
        assert "best Kettle" in chat.ask("Give me the sales report")["message"]


class _Sync:
    def __init__(self, ws):
        self._ws = ws

    def send_json(self, frame):
        self._ws.send(json.dumps(frame))

    def receive_json(self):
        return json.loads(self._ws.recv(timeout=20))
