"""The app that the demo shows: the example with the chat, and somebody who writes down what goes where.

Started as a program of its own (``python -m valetkey.cli.demo_program``): a ``Setup`` as one line of JSON on standard
input, ``Seen`` as lines of JSON on standard output. It ends when its standard input does.
"""

from __future__ import annotations

import json
import logging
import runpy
import socket
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import uvicorn

from valetkey.cli.demo_app import Setup
from valetkey.ports.agents import Message, ToolCall

if TYPE_CHECKING:
    from valetkey.ports.agents import ChatModel

API = "/api/"
PAGE = "/bedrock-chat/ui"
SOCKET = "/bedrock-chat/ws"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Tell = Callable[..., None]


class Heard:
    """A model, and a note of all that it is given and answers."""

    def __init__(self, model: ChatModel, tell: Tell) -> None:
        self._model = model
        self._tell = tell

    @property
    def model_id(self) -> str:
        """The model's own."""
        return self._model.model_id

    async def answer(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, system: str, stream: bool
    ) -> AsyncIterator[str | ToolCall]:
        """The model's own answer."""
        self._tell("model", system=system, tools=list(tools), messages=[asdict(each) for each in messages])
        text, calls = "", []
        async for piece in self._model.answer(messages, tools, system=system, stream=stream):
            if isinstance(piece, ToolCall):
                calls.append(asdict(piece))
            else:
                text += piece
            yield piece
        self._tell("reply", text=text, calls=calls)

    async def close(self) -> None:
        """Close the model."""
        await self._model.close()


def outside(app: App, tell: Tell) -> App:
    """The app, and a note of what browsers get: that the page was opened, and each frame of the chat."""

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == PAGE:
            tell("page")

        async def sent(message: Scope) -> None:
            if message["type"] == "websocket.send" and scope["path"] == SOCKET:
                tell("frame", frame=json.loads(message.get("text") or message["bytes"]))
            await send(message)

        await app(scope, receive, sent)

    return watched


class Inside:
    """The app's own API, and a note of each call: with which credential, and how it ended."""

    def __init__(self, app: App, tell: Tell) -> None:
        self._app = app
        self._tell = tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve it."""
        if scope["type"] != "http" or not scope["path"].startswith(API):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        call = f"{scope['method']} {scope['path']}"
        if scope.get("query_string"):
            call += f"?{scope['query_string'].decode('latin-1')}"

        async def sent(message: Scope) -> None:
            if message["type"] == "http.response.start":
                shown = headers.get("authorization", "")
                self._tell("api", call=call, path=scope["path"], credential=shown, status=message["status"])
            await send(message)

        await self._app(scope, receive, sent)


def main() -> int:
    """Serve the example until standard input ends; 1 when its port is taken."""
    setup = Setup(**json.loads(sys.stdin.readline()))
    with _teller() as tell:
        try:
            listening = _listen(setup.port)
        except OSError:
            tell("taken")
            return 1
        with closing(listening):
            example = runpy.run_path(setup.example)
            app = example["make_app"](
                setup.base,
                mail_url=setup.mail_url,
                client_id=setup.client_id,
                client_secret=setup.client_secret,
            )
            app.add_middleware(Inside, tell=tell)
            chat = app.state.chat.chat
            chat.model = Heard(chat.model, tell)
            # As the example does: an access log has addresses, and with them the codes that browsers come back with.
            config = uvicorn.Config(
                outside(app, tell), log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=1
            )
            server = _Server(config, lambda: tell("ready"))
            threading.Thread(target=_end_with_input, args=(server,), daemon=True).start()
            server.run(sockets=[listening])
    return 0


def _listen(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", port))
    except OSError:
        made.close()
        raise
    return made


@contextmanager
def _teller() -> Iterator[Tell]:
    """Notes go to standard output, whole lines; what anybody logs goes to standard error, and much of it."""
    lock = threading.Lock()
    out, sys.stdout = sys.stdout, sys.stderr
    logging.basicConfig(stream=sys.stderr, level=logging.DEBUG)

    def tell(kind: str, **what: Any) -> None:
        line = json.dumps({"kind": kind, **what}, default=str)
        with lock, suppress(BrokenPipeError):
            print(line, file=out, flush=True)

    yield tell


def _end_with_input(server: uvicorn.Server) -> None:
    sys.stdin.read()
    server.should_exit = True


class _Server(uvicorn.Server):
    """uvicorn's, which says when it serves."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve."""
        await super().startup(sockets)
        if self.started:
            self._ready()


if __name__ == "__main__":
    sys.exit(main())
