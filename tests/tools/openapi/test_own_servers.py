"""``servers`` of one path (OpenAPI 3.1 §4.8.9.1): its operation is elsewhere, and is not called at the document's."""

from __future__ import annotations

import json
import threading
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from valetkey import add_bedrock_chat
from valetkey.tools.openapi.servers import check_servers
from valetkey.tools.openapi.spec import Unusable
from valetkey.wiring import build


def test_an_operation_with_servers_of_its_own_is_not_called_at_the_documents(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    got: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            got.append(self.path)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{server.server_port}/v1"
    there = {
        "servers": [{"url": "https://billing.example"}],
        "get": {"operationId": "charge", "responses": {"200": {"description": "charged"}}},
    }
    document = {
        "openapi": "3.0.3",
        "info": {"title": "t", "version": "1"},
        "servers": [{"url": here}],
        "paths": {"/charge": there},
    }
    (tmp_path / "api.json").write_text(json.dumps(document))
    app = FastAPI()
    add_bedrock_chat(app, model_id="offline", openapi_spec_file="api.json")
    try:
        with TestClient(app) as client, client.websocket_connect("/bedrock-chat/ws") as socket:
            socket.send_json({"type": "auth", "token": "token-of-ada-0123456789"})
            socket.send_json({"type": "chat", "message": "CALL charge {}"})
            while socket.receive_json()["type"] != "ai_response":
                pass
    finally:
        build.use(None)
        server.shutdown()
        server.server_close()
    assert got == []


BASE = "https://api.example/v1"
HERE, THERE = {"servers": [{"url": BASE}]}, {"servers": [{"url": "https://billing.example"}]}


@pytest.mark.parametrize(
    ("document", "item", "operation", "base", "passes"),
    [
        (HERE, {}, {}, BASE, True),
        (HERE, HERE, {}, BASE, True),
        (HERE, {"servers": [{"url": "/v1/"}]}, {}, BASE, True),
        (HERE, {"servers": []}, {}, BASE, True),
        (HERE, THERE, {}, BASE, False),
        (HERE, {}, THERE, BASE, False),
        (HERE, HERE, THERE, BASE, False),
        (HERE, THERE, HERE, BASE, True),
        (HERE, HERE, {}, "https://staging.example", True),  # api_base_url stands for the document's first server
        (HERE, THERE, {}, "https://staging.example", False),
        ({}, {"servers": [{"url": "https://[x"}]}, {}, "http://app.invalid", False),
        ({}, {"servers": [{"url": "/"}]}, {}, "http://app.invalid", True),
    ],
)
def test_servers_of_a_path_or_an_operation(
    document: Any, item: Any, operation: Any, base: str, *, passes: bool
) -> None:
    with nullcontext() if passes else pytest.raises(Unusable, match="elsewhere"):
        check_servers(document, item, operation, base=base)
