"""What is logged while a credential is lent holds none of it, whoever logs it and however it is written."""

import asyncio
import base64
import contextlib
import copy
import io
import json
import logging
import pickle
import threading
from typing import Any, cast
from urllib.parse import quote

import httpx2
import pytest
import uvicorn
import websockets
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute

from valetkey import logs
from valetkey.errors import ToolFailed
from valetkey.model.calls import Allowed, Call, Connected, Lent
from valetkey.model.needs import PUBLIC
from valetkey.pipeline import run
from valetkey.scrub import Scrubber
from valetkey.secret import Secret
from valetkey.testing.loopback import Loopback
from valetkey.tools.function import function_to_tool

TOKEN = "tok/EN-4711+with=marks"
OTHER = "an-other-token-0815"
CODED = base64.b64encode(f"user:{TOKEN}".encode()).decode()
SHOWN = {TOKEN, CODED, quote(TOKEN), quote(TOKEN, safe=""), TOKEN.encode().hex()}

tools_own = logging.getLogger("somebodys.tool")


class Everything(logging.Formatter):
    """Prints all that a record holds, as JSON formatters do."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record) + repr(record.__dict__)


@pytest.fixture
def written():
    """All that any logger writes, from DEBUG on."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Everything("%(name)s %(message)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    # A chat of another test may have quieted them.
    quiet = [logging.getLogger(name) for name in ("botocore", "botocore.endpoint", "httpx2", "websockets")]
    levels = [logger.level for logger in quiet]
    for logger in quiet:
        logger.setLevel(logging.NOTSET)
    yield stream
    for logger, before in zip(quiet, levels, strict=True):
        logger.setLevel(before)
    root.setLevel(level)
    root.removeHandler(handler)


def lent(*secrets: str) -> Lent:
    call = Call(tool="t", needs=PUBLIC, deadline=20)
    allowed = Allowed(caller=cast("Any", None), call=call, rule="")
    return Lent(connected=Connected(allowed=allowed), secrets=tuple(Secret(secret) for secret in secrets))


async def travel(func, *secrets: str) -> object:
    tool = function_to_tool(func)
    return (await run(tool, lent(*secrets), {})).value


def clean(stream: io.StringIO) -> str:
    text = stream.getvalue()
    assert not [shown for shown in SHOWN if shown in text], text
    return text


class Held:
    """Something of a library's, whose text has the token."""

    def __str__(self) -> str:
        return f"Held({TOKEN})"


class Shy:
    """Shows it to %r only."""

    def __str__(self) -> str:
        return "Shy"

    def __repr__(self) -> str:
        return f"Shy({TOKEN})"


class Broken:
    """Has no text."""

    def __str__(self) -> str:
        raise ValueError(TOKEN)


WAYS = {
    "in the text": lambda: tools_own.debug(f"got {TOKEN}"),
    "as an argument": lambda: tools_own.info("got %s", TOKEN),
    "in a table of arguments": lambda: tools_own.info("got %(what)s", {"what": TOKEN}),
    "in a structure": lambda: tools_own.warning("headers %s", {"Authorization": [f"Bearer {TOKEN}"]}),
    "in octets": lambda: tools_own.debug("sent %r", TOKEN.encode()),
    "in base64": lambda: tools_own.debug("Basic %s", CODED),
    "in a URL": lambda: tools_own.debug("GET /?key=%s", quote(TOKEN, safe="")),
    "in hexadecimal": lambda: tools_own.debug("hex %s", TOKEN.encode().hex()),
    "in an object's text": lambda: tools_own.debug("%s", Held()),
    "in an object's repr": lambda: tools_own.debug("%r", Shy()),
    "in an object in a list": lambda: tools_own.debug("%s", [Shy()]),
    "in an error as argument": lambda: tools_own.debug("failed: %s", ValueError(TOKEN)),
    "as an object alone": lambda: tools_own.debug(Held()),
    "in halves": lambda: tools_own.debug("%s%s", TOKEN[:9], TOKEN[9:]),
    "with arguments that do not fit": lambda: tools_own.debug(f"%d {TOKEN}", TOKEN),
    "with an argument that has no text": lambda: tools_own.debug(f"{TOKEN} %s", Broken()),
    "as a further value": lambda: tools_own.debug(
        "call", extra={"header": f"Bearer {TOKEN}", "held": [Held()], "shy": Shy()}
    ),
    "in a library's line": lambda: logging.getLogger("botocore.endpoint").debug("%s", {"X-Amz-Token": TOKEN}),
}


@pytest.mark.requirement("seed003.not-logged", "fault.logs")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_tool_that_logs_what_it_was_lent_logs_stars(way, kind, written, capsys):
    async def on_the_loop() -> str:
        WAYS[way]()
        return "done"

    def in_a_thread() -> str:
        WAYS[way]()
        return "done"

    assert await travel(on_the_loop if kind == "async" else in_a_thread, TOKEN) == "done"
    text = clean(written)
    assert "somebodys.tool" in text or "botocore" in text
    assert "***" in text
    assert TOKEN not in capsys.readouterr().err, "logging's own complaint"


def refuse(held: str, cause: Exception) -> None:
    raise RuntimeError(f"refused: {held}") from cause


class Kept(logging.Handler):
    """Keeps records as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def kept(written):
    handler = Kept()
    tools_own.addHandler(handler)
    yield handler.records
    tools_own.removeHandler(handler)


@pytest.mark.requirement("fault.logs")
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_traceback_has_stars(kind, written):
    def note() -> None:
        held = f"Bearer {TOKEN}"
        try:
            dict[str, str]()[held]
        except KeyError as first:
            try:
                refuse(held, first)
            except RuntimeError:
                tools_own.exception("it failed", stack_info=True)

    async def on_the_loop() -> None:
        note()

    await travel(on_the_loop if kind == "async" else note, TOKEN, "stack_info=True")
    text = clean(written)
    assert "Traceback" in text
    assert "stack_info=True" not in text, "lines of the source are shown, too"
    assert "RuntimeError: refused: Bearer ***" in text
    assert "'exc_info': None" in text, "a handler that shows local variables has none to show"


async def test_a_tool_that_raises_leaves_no_secret_in_the_log(written):
    async def tool() -> None:
        raise ValueError(TOKEN)

    with pytest.raises(ToolFailed, match=r"\*\*\*"):
        await travel(tool, TOKEN)
    assert "raised ValueError" in clean(written)


@pytest.mark.requirement("design.lent-remembered")
async def test_what_a_tool_starts_is_scrubbed_when_it_outlives_the_call(written):
    go = asyncio.Event()

    async def later() -> None:
        await go.wait()
        tools_own.info("at last %s", TOKEN)

    tasks = []

    async def tool() -> None:
        tasks.append(asyncio.create_task(later()))
        await asyncio.to_thread(tools_own.info, "meanwhile %s", TOKEN)

    await travel(tool, TOKEN)
    go.set()
    await tasks[0]
    text = clean(written)
    assert "meanwhile ***" in text
    assert "at last ***" in text


@pytest.mark.requirement("design.lent-remembered")
async def test_a_call_within_a_call_knows_the_secrets_of_both(written):
    async def inner() -> None:
        tools_own.info("%s and %s", TOKEN, OTHER)

    async def outer() -> None:
        await travel(inner, OTHER)
        tools_own.info("again %s", TOKEN)

    await travel(outer, TOKEN)
    assert OTHER not in clean(written)


@pytest.mark.requirement("design.lent-remembered")
async def test_two_calls_side_by_side_do_not_mix(written):
    async def tool() -> None:
        await asyncio.sleep(0)
        tools_own.info("mine is %s", OTHER)

    await asyncio.gather(travel(tool, OTHER), travel(tool))
    assert written.getvalue().count("somebodys.tool mine is ***") == 1
    assert written.getvalue().count(f"somebodys.tool mine is {OTHER}") == 1, "the second call was lent nothing"


@pytest.mark.requirement("fault.logs")
async def test_the_lines_of_an_http_client_are_scrubbed(written):
    async def answer(request):
        return PlainTextResponse(request.query_params["key"])

    with Loopback(Starlette(routes=[Route("/", answer)])) as server:

        async def tool() -> str:
            async with httpx2.AsyncClient(trust_env=False) as client:
                headers = {"Authorization": f"Bearer {TOKEN}"}
                return (await client.get(f"{server.url}/", params={"key": TOKEN}, headers=headers)).text

        assert await travel(tool, TOKEN) == "***"
    assert "HTTP Request: GET" in clean(written)


def test_outside_of_a_call_records_are_as_they_were_made(kept):
    logs.install()
    argument, cause = Held(), ValueError("cause")
    try:
        refuse(TOKEN, cause)
    except RuntimeError:
        tools_own.exception("%s", argument, extra={"more": argument})
    (record,) = kept
    assert record.exc_info[1].__cause__ is cause
    assert record.args == (argument,)
    assert record.more is argument
    assert type(record.__dict__) is dict
    assert logging.makeLogRecord({"msg": "from elsewhere"}).getMessage() == "from elsewhere"


async def test_a_record_can_be_copied_sent_and_taken_apart(kept):
    async def tool() -> None:
        tools_own.info('%s - "%s %s" %d', "127.0.0.1", "GET", f"/?key={TOKEN}", 200, extra={"more": 1})

    await travel(tool, TOKEN)
    (record,) = kept
    assert record.args == ("127.0.0.1", "GET", "/?key=***", 200)
    sent = logging.makeLogRecord(pickle.loads(pickle.dumps(record.__dict__)))  # noqa: S301  # as SocketHandler does
    for same in (copy.copy(record), copy.deepcopy(record), sent):
        assert same.getMessage() == '127.0.0.1 - "GET /?key=***" 200'
        assert same.__dict__["more"] == 1


def test_it_is_installed_once_however_often_it_is_asked_for():
    logs.install()
    factory = logging.getLogRecordFactory()
    threads = [threading.Thread(target=logs.install) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert logging.getLogRecordFactory() is factory


@pytest.mark.requirement("seed003.not-logged", "fault.logs")
@pytest.mark.parametrize("ws", ["websockets", "websockets-sansio"])
@pytest.mark.filterwarnings("ignore:The `websockets` implementation", "ignore::DeprecationWarning")
async def test_a_websockets_frames_are_not_in_the_servers_debug_log(ws, written):
    """Uvicorn at log_level=debug prints frames and headers; the first frame of a chat is a credential."""
    logs.install()
    heard = []

    async def chat(socket):
        await socket.accept()
        heard.append(await socket.receive_json())
        await socket.send_text(f"echo {TOKEN}")
        await socket.close(1000)

    app = Starlette(routes=[WebSocketRoute("/ws", chat)])
    config = uvicorn.Config(app, port=0, ws=cast("Any", ws), log_config=None, lifespan="off", log_level="debug")
    server = uvicorn.Server(config)
    served = asyncio.create_task(server.serve())
    while not server.started and not served.done():  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    headers = {"Authorization": f"Bearer {TOKEN}", "Cookie": f"session={TOKEN}"}
    async with websockets.connect(f"ws://127.0.0.1:{port}/ws", additional_headers=headers, proxy=None) as socket:
        await socket.send(json.dumps({"type": "auth", "token": TOKEN}))
        assert TOKEN in await socket.recv()
        with contextlib.suppress(websockets.ConnectionClosed):
            await socket.recv()
    server.should_exit = True
    await served
    assert heard[0]["token"] == TOKEN
    text = clean(written)
    lines = [line for line in text.splitlines() if line.startswith("uvicorn.error")]
    frame = len(json.dumps({"type": "auth", "token": TOKEN}))
    assert any(f"< TEXT [{frame} bytes]" in line for line in lines), "else nothing was shown at all"
    assert any("< authorization: ***" in line.lower() for line in lines)
    assert any(line.startswith("uvicorn.error > ") for line in lines)


@pytest.mark.requirement("d18.line")
def test_the_line_of_a_call_says_what_and_how_long_and_nothing_else(caplog):
    caplog.set_level("DEBUG", logger="valetkey")
    told: dict[str, Any] = {"operation": "get_orders", "outcome": "200", "seconds": 0.12345}
    logs.log_call(session="12345678-9abc", credential="bearer_token", loud=False, **told)
    logs.log_call(session="12345678-9abc", credential="", loud=True, **told)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("DEBUG", "chat 12345678: get_orders: 200 in 0.123 s, credential: bearer_token"),
        ("INFO", "chat 12345678: get_orders: 200 in 0.123 s, credential: none"),
    ]


async def test_nothing_lent_nothing_scrubbed():
    seen = []

    async def tool() -> None:
        seen.append(logs.SPOKEN.get())

    await travel(tool)
    await travel(tool, TOKEN)
    assert seen[0] is None
    assert isinstance(seen[1], Scrubber)
    assert logs.SPOKEN.get() is None
