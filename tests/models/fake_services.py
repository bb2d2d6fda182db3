"""Anthropic's Messages API, OpenAI's chat completions and Google's Gemini API on loopback.

As their libraries speak them, with the same script of answers as the fake Bedrock. Every request is recorded.
"""

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.models.fake_bedrock import WORD, Answer, say

GEMINI = re.compile(r"/v1(?:beta)?/models/([^:/]+):(generateContent|streamGenerateContent)(\?.*)?")


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request, as it came."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str] = field(repr=False)


class FakeServices:
    """The server; ``url`` is without a path."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self._script: list[Answer] = []
        self._lock = threading.Condition()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def script(self, *answers: Answer) -> None:
        self._script.extend(answers)

    def wait_for(self, count: int) -> None:
        """Block until so many requests have come."""
        with self._lock:
            if not self._lock.wait_for(lambda: len(self.asked) >= count, timeout=20):
                raise TimeoutError(f"{len(self.asked)} requests of {count} came")

    def take(self, request: Request) -> Answer:
        with self._lock:
            self.asked.append(request)
            self._lock.notify_all()
            return self._script.pop(0) if self._script else say("Hello from the fake service.")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    fake: FakeServices

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is nothing to print."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    timeout = 60

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.fake.take(Request(path=self.path, body=body, headers=headers))
        if answer.gate is not None:
            answer.gate.wait(30)
        gemini = GEMINI.fullmatch(self.path)
        if self.path == "/v1/chat/completions":
            whole, events, stream, failed = openai, openai_events, bool(body.get("stream")), openai_error
        elif self.path.partition("?")[0] == "/v1/messages":
            whole, events, stream, failed = anthropic, anthropic_events, bool(body.get("stream")), anthropic_error
        elif gemini is not None:
            whole, events, stream, failed = google, google_events, gemini[2] != "generateContent", google_error
        else:
            self._send(404, b"{}", "application/json")
            return
        if answer.status:
            self._send(answer.status, json.dumps(failed(answer)).encode(), "application/json")
        elif stream:
            self._send(200, b"".join(events(answer)), "text/event-stream")
        else:
            self._send(200, json.dumps(whole(answer)).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it
        """Quiet."""


def _text(answer: Answer) -> str:
    return "".join(block["text"] for block in answer.blocks if "text" in block)


def _uses(answer: Answer) -> list[dict[str, Any]]:
    return [block["toolUse"] for block in answer.blocks if "toolUse" in block]


def _event(value: object, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(value)}\n\n".encode()


def openai(answer: Answer) -> dict[str, Any]:
    calls = [
        {
            "id": use["toolUseId"],
            "type": "function",
            "function": {"name": use["name"], "arguments": json.dumps(use["input"])},
        }
        for use in _uses(answer)
    ]
    message = {"role": "assistant", "content": _text(answer) or None, **({"tool_calls": calls} if calls else {})}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
    }


def openai_events(answer: Answer) -> Iterator[bytes]:
    def chunk(delta: dict[str, Any], ended: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": ended}
        kind = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m"}
        return _event({**kind, "choices": [choice]})

    yield chunk({"role": "assistant", "content": ""})
    for piece in WORD.findall(_text(answer)):
        yield chunk({"content": piece})
    for index, use in enumerate(_uses(answer)):
        start = {"name": use["name"], "arguments": ""}
        yield chunk({"tool_calls": [{"index": index, "id": use["toolUseId"], "type": "function", "function": start}]})
        written = json.dumps(use["input"])
        for at in range(0, len(written), 5):
            part = {"index": index, "function": {"arguments": written[at : at + 5]}}
            yield chunk({"tool_calls": [part]})
    yield chunk({}, "tool_calls" if _uses(answer) else "stop")
    yield b"data: [DONE]\n\n"


def openai_error(answer: Answer) -> dict[str, Any]:
    return {"error": {"message": answer.message, "type": answer.error, "param": None, "code": answer.error}}


def anthropic(answer: Answer) -> dict[str, Any]:
    text, uses = _text(answer), _uses(answer)
    content: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    content += [{"type": "tool_use", "id": u["toolUseId"], "name": u["name"], "input": u["input"]} for u in uses]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": content,
        "stop_reason": "tool_use" if uses else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 5},
    }


def anthropic_events(answer: Answer) -> Iterator[bytes]:
    def event(name: str, **value: Any) -> bytes:
        return _event({"type": name, **value}, name)

    whole = anthropic(answer)
    yield event("message_start", message={**whole, "content": [], "stop_reason": None})
    for index, block in enumerate(whole["content"]):
        if block["type"] == "text":
            yield event("content_block_start", index=index, content_block={"type": "text", "text": ""})
            for piece in WORD.findall(block["text"]):
                yield event("content_block_delta", index=index, delta={"type": "text_delta", "text": piece})
        else:
            yield event("content_block_start", index=index, content_block={**block, "input": {}})
            written = json.dumps(block["input"])
            for at in range(0, len(written), 5):
                delta = {"type": "input_json_delta", "partial_json": written[at : at + 5]}
                yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    ended = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield event("message_delta", delta=ended, usage={"output_tokens": 5})
    yield event("message_stop")


def anthropic_error(answer: Answer) -> dict[str, Any]:
    return {"type": "error", "error": {"type": answer.error, "message": answer.message}}


def google(answer: Answer) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"text": _text(answer)}] if _text(answer) else []
    return _candidate([*parts, *_function_calls(answer)], "STOP")


def google_events(answer: Answer) -> Iterator[bytes]:
    for piece in WORD.findall(_text(answer)):
        yield _event(_candidate([{"text": piece}], None))
    yield _event(_candidate(_function_calls(answer), "STOP"))


def _function_calls(answer: Answer) -> list[dict[str, Any]]:
    signed = {"thoughtSignature": answer.signature} if answer.signature else {}
    return [{"functionCall": {"name": use["name"], "args": use["input"]}, **signed} for use in _uses(answer)]


def _candidate(parts: list[dict[str, Any]], ended: str | None) -> dict[str, Any]:
    content = {"role": "model", **({"parts": parts} if parts else {})}
    candidate = {"index": 0, "content": content, **({"finishReason": ended} if ended else {})}
    usage = {"promptTokenCount": 7, "candidatesTokenCount": 5, "totalTokenCount": 12}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m", "responseId": "r"}


def google_error(answer: Answer) -> dict[str, Any]:
    return {"error": {"code": answer.status, "message": answer.message, "status": answer.error}}
