"""Credentials over plain ws from elsewhere than this machine (decision 18), where the public address is https."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.chat.live import SECRET, live
from valetkey import add_bedrock_chat
from valetkey.wiring import build


async def test_a_socket_of_which_the_trusted_proxy_says_that_it_is_plain_takes_no_credential() -> None:
    toml = '[server]\ntrusted_proxies = ["127.0.0.1"]\n'
    async with live(toml=toml, public_base_url="https://chat.example") as chat:
        headers = {"x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "http"}
        client = await chat.open(named="chat.example", headers=headers)
        answer = await client.ask(type="auth", token=SECRET)
        assert answer["type"] == "error", answer
        assert "unencrypted" in answer["message"]


def test_a_plain_socket_from_elsewhere_past_no_proxy_takes_no_credential(tmp_path, monkeypatch) -> None:
    """The program's own port, reached by another machine: nobody ended TLS."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VALETKEY_HOME", str(tmp_path / "home"))
    app = FastAPI()
    add_bedrock_chat(app, model_id="offline", public_base_url="https://chat.example")
    try:
        with TestClient(app, client=("203.0.113.7", 4711)) as client:
            with client.websocket_connect("/bedrock-chat/ws", headers={"host": "chat.example"}) as socket:
                assert socket.receive_json()["type"] == "connection_established"
                socket.send_json({"type": "auth", "token": SECRET})
                assert socket.receive_json()["type"] == "error"
    finally:
        build.use(None)
