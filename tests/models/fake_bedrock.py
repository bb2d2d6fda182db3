"""A Bedrock runtime on loopback: Converse and ConverseStream as unmodified boto3 speaks them.

    with FakeBedrock() as bedrock:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", bedrock.url)
        bedrock.script(use("get_item", {"item_id": 1}), say("It is a hammer."))
        ...
        assert bedrock.faults == []
        bedrock.asked[0].body  # what boto3 sent

Every request is recorded, and judged by the rules of the Converse API; one that breaks a rule is answered by a
ValidationException, as Bedrock does. When the script is at its end, ``bedrock.default`` answers.
"""

import json
import re
import select
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote

from tests.models.converse_rules import faults

ROUTE = re.compile(r"/model/([^/]+)/(converse|converse-stream)")
WORD = re.compile(r"\s*\S+\s*")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request, as it came."""

    model: str
    stream: bool
    body: dict[str, Any]
    headers: dict[str, str]
    raw: bytes = field(repr=False)

    @property
    def roles(self) -> list[str]:
        return [message["role"] for message in self.body["messages"]]

    @property
    def tools(self) -> list[dict[str, Any]]:
        return [tool["toolSpec"] for tool in self.body.get("toolConfig", {}).get("tools", [])]

    @property
    def system(self) -> str:
        return "\n".join(block["text"] for block in self.body.get("system", ()))


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One scripted reply.

    Attributes:
        blocks: content blocks of Converse; ``text``, ``toolUse``, ``reasoningContent``.
        pieces: how a text is split for a stream; None: word by word.
        status, error, message: of an error; 0: none.
        after: how many stream events come before the error; None: the error is the answer.
        gate: waited for before the answer begins.
        step: waited for before every stream event but the first two.
        drop: hang up instead of answering, or after ``after`` events.
        signature: of the calls; Google's alone.
    """

    blocks: tuple[dict[str, Any], ...] = ()
    stop: str = "end_turn"
    pieces: tuple[str, ...] | None = None
    status: int = 0
    error: str = ""
    message: str = ""
    after: int | None = None
    gate: threading.Event | None = None
    step: threading.Event | None = None
    drop: bool = False
    signature: str = ""


def say(text: str, *, stop: str = "end_turn", pieces: Sequence[str] | None = None, **more: Any) -> Answer:
    """Text, and nothing else."""
    return Answer(blocks=({"text": text},), stop=stop, pieces=None if pieces is None else tuple(pieces), **more)


def use(name: str, arguments: Mapping[str, Any] | None = None, *, text: str = "", **more: Any) -> Answer:
    """One tool call."""
    return use_all((name, arguments or {}), text=text, **more)


def use_all(*calls: tuple[str, Mapping[str, Any]], text: str = "", ids: Sequence[str] = (), **more: Any) -> Answer:
    """Several tool calls in one answer; ids are made up unless given."""
    blocks: list[dict[str, Any]] = [{"text": text}] if text else []
    for number, (name, arguments) in enumerate(calls):
        given = ids[number] if ids else f"tooluse_{next(_NUMBERS)}"
        blocks.append({"toolUse": {"toolUseId": given, "name": name, "input": dict(arguments)}})
    return Answer(blocks=tuple(blocks), stop="tool_use", **more)


def fail(error: str, status: int, message: str = "", *, after: int | None = None) -> Answer:
    """An error, as Bedrock names it; ``after`` so many events of a stream."""
    text = message or f"arn:aws:bedrock:us-east-1:123456789012:model/x is not happy ({error})"
    blocks = ({"text": "This is only the beginning of an answer."},) if after else ()
    return Answer(status=status, error=error, message=text, after=after, blocks=blocks)


def throttled() -> Answer:
    return fail("ThrottlingException", 429, "Too many requests, please wait before trying again.")


def _numbers() -> Iterator[int]:
    number = 0
    while True:
        number += 1
        yield number


_NUMBERS = _numbers()

Replier = Callable[[Asked], Answer]


class FakeBedrock:
    """The server. Thread-safe: replies are taken in the order in which requests come."""

    def __init__(self, *, strict: bool = True) -> None:
        self.strict = strict
        self.asked: list[Asked] = []
        self.faults: list[str] = []
        self.default: Answer | Replier = say("Hello from the fake Bedrock.")
        self.hung_up = threading.Event()  # a client did not wait for its answer
        self._script: list[Answer | Replier] = []
        self._lock = threading.Condition()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def environment(self) -> dict[str, str]:
        """All that boto3 needs to come here, and to look nowhere else."""
        return {
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": self.url,
            "AWS_ACCESS_KEY_ID": "AKIAFAKEFAKEFAKEFAKE",
            "AWS_SECRET_ACCESS_KEY": "fake/secret/access/key/of/nobody/00000000",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def script(self, *replies: Answer | Replier) -> None:
        with self._lock:
            self._script.extend(replies)

    def wait_for(self, count: int) -> None:
        """Block until so many requests have come."""
        with self._lock:
            if not self._lock.wait_for(lambda: len(self.asked) >= count, timeout=20):
                raise TimeoutError(f"{len(self.asked)} requests of {count} came")

    def take(self, asked: Asked) -> Answer:
        with self._lock:
            self.asked.append(asked)
            self._lock.notify_all()
            problems = faults(asked.body)
            self.faults += problems
            if problems and self.strict:
                return fail("ValidationException", 400, "; ".join(problems))
            reply = self._script.pop(0) if self._script else self.default
        return reply if isinstance(reply, Answer) else reply(asked)

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
    request_queue_size = 256
    fake: FakeBedrock

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is nothing to print."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = 60
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        match = ROUTE.fullmatch(self.path)
        if match is None:
            self._error(fail("UnknownOperationException", 404))
            return
        asked = Asked(
            model=unquote(match[1]),
            stream=match[2] == "converse-stream",
            body=json.loads(raw),
            headers={name.lower(): value for name, value in self.headers.items()},
            raw=raw,
        )
        answer = self.server.fake.take(asked)
        try:
            if answer.gate is not None:
                self._wait(answer.gate)
            self._answer(asked, answer)
        except OSError:
            self.server.fake.hung_up.set()
            self.close_connection = True

    def _wait(self, event: threading.Event) -> None:
        """Until the test lets it go on, or the client has hung up."""
        while not event.wait(0.01):
            if select.select([self.connection], [], [], 0)[0] and not self.connection.recv(1, socket.MSG_PEEK):
                self.server.fake.hung_up.set()
                raise ConnectionAbortedError

    def _answer(self, asked: Asked, answer: Answer) -> None:
        if answer.drop and answer.after is None:
            self.close_connection = True
        elif answer.status and (answer.after is None or not asked.stream):
            self._error(answer)
        elif asked.stream:
            self._stream(answer)
        else:
            self._json(200, converse(answer))

    def _json(self, status: int, value: object, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("x-amzn-requestid", "00000000-1111-2222-3333-444444444444")
        self.send_header("content-length", str(len(body)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def _error(self, answer: Answer) -> None:
        self._json(answer.status, {"message": answer.message}, {"x-amzn-errortype": answer.error})

    def _stream(self, answer: Answer) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/vnd.amazon.eventstream")
        self.send_header("x-amzn-requestid", "00000000-1111-2222-3333-444444444444")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number, (kind, value) in enumerate(events(answer)):
            if answer.step is not None and number > 1:
                self._wait(answer.step)
            if answer.after is not None and number == answer.after:
                if answer.drop:
                    self.close_connection = True
                    return
                name = answer.error[0].lower() + answer.error[1:]
                self._chunk(
                    frame({"message": answer.message}, **{":exception-type": name, ":message-type": "exception"})
                )
                break
            self._chunk(frame(value, **{":event-type": kind, ":message-type": "event"}))
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it
        """Quiet."""


def frame(value: object, **headers: str) -> bytes:
    """One message of application/vnd.amazon.eventstream: prelude, headers, payload, and two CRCs."""
    payload = json.dumps(value).encode()
    named = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(text)) + text.encode()
        for name, text in {**headers, ":content-type": "application/json"}.items()
    )
    prelude = struct.pack("!II", 16 + len(named) + len(payload), len(named))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + named + payload
    return message + struct.pack("!I", zlib.crc32(message))


USAGE = {"inputTokens": 7, "outputTokens": 5, "totalTokens": 12}


def converse(answer: Answer) -> dict[str, Any]:
    """The body of a Converse response."""
    return {
        "output": {"message": {"role": "assistant", "content": list(answer.blocks)}},
        "stopReason": answer.stop,
        "usage": USAGE,
        "metrics": {"latencyMs": 1},
    }


def events(answer: Answer) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events of a ConverseStream response."""
    yield "messageStart", {"role": "assistant"}
    for index, block in enumerate(answer.blocks):
        where = {"contentBlockIndex": index}
        if "toolUse" in block:
            tool = block["toolUse"]
            start = {"toolUse": {"toolUseId": tool["toolUseId"], "name": tool["name"]}}
            yield "contentBlockStart", {**where, "start": start}
            written = json.dumps(tool["input"])
            for at in range(0, len(written), 7):
                yield "contentBlockDelta", {**where, "delta": {"toolUse": {"input": written[at : at + 7]}}}
        elif "reasoningContent" in block:
            thought = block["reasoningContent"]["reasoningText"]
            yield "contentBlockDelta", {**where, "delta": {"reasoningContent": {"text": thought["text"]}}}
            if "signature" in thought:
                yield "contentBlockDelta", {**where, "delta": {"reasoningContent": {"signature": thought["signature"]}}}
        else:
            for piece in answer.pieces or WORD.findall(block["text"]):
                yield "contentBlockDelta", {**where, "delta": {"text": piece}}
        yield "contentBlockStop", where
    yield "messageStop", {"stopReason": answer.stop}
    yield "metadata", {"usage": USAGE, "metrics": {"latencyMs": 1}}
