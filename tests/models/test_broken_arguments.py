"""A model's call whose arguments are no JSON is not made (docs/models.md: a call that was cut in two is not made)."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from starlette.testclient import TestClient

from valetkey import add_bedrock_chat
from valetkey.wiring import build


class Note(BaseModel):
    """A body that takes fields of the caller's own, as many APIs' do."""

    model_config = ConfigDict(extra="allow")
    text: str = ""


def test_a_call_whose_arguments_cannot_be_read_is_not_made(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    calls = [{"id": "c0", "type": "function", "function": {"name": "add_note", "arguments": '{"text": "cut of'}}]
    answers: list[dict[str, Any]] = [{"role": "assistant", "content": None, "tool_calls": calls}]
    made: list[dict[str, Any]] = []

    class Model(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            message = answers.pop(0) if answers else {"role": "assistant", "content": "Done."}
            choice = {
                "index": 0,
                "finish_reason": "tool_calls" if "tool_calls" in message else "stop",
                "message": message,
            }
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            body = {
                "id": "x",
                "object": "chat.completion",
                "created": 1,
                "model": "m",
                "choices": [choice],
                "usage": usage,
            }
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    app = FastAPI()

    @app.post("/notes", operation_id="add_note")
    def add_note(note: Note) -> str:
        made.append(note.model_dump())
        return "added"

    url = f"http://127.0.0.1:{server.server_port}/v1"
    add_bedrock_chat(app, model_id="openai:m", model_base_url=url, model_api_key="key-0123456789")
    try:
        with TestClient(app) as client, client.websocket_connect("/bedrock-chat/ws") as socket:
            socket.send_json({"type": "chat", "message": "take a note"})
            while (frame := socket.receive_json())["type"] != "ai_response":
                pass
    finally:
        build.use(None)
        server.shutdown()
        server.server_close()
    assert made == []
    assert "INVALID_JSON" not in json.dumps(frame)
