"""A whole chat at DEBUG: what everybody logs of it, down to the server's frames, holds no credential."""

import base64
import io
import json
import logging

import pytest
from fastapi import FastAPI, HTTPException, Request

from tests.chat.kit import Script, call
from tests.chat.live import live
from valetkey.entrypoints.chat.told import THIRD_PARTIES

TOKEN = "t0ken/of+ada=0123456789"
PASSWORD = "pass word-of-ada"
SHOWN = [TOKEN, PASSWORD, base64.b64encode(f"ada:{PASSWORD}".encode()).decode()]

app_log = logging.getLogger("the.app")


class Whole(logging.Formatter):
    """With everything that is on the record."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record) + repr(record.__dict__)


@pytest.fixture
def written():
    names = ["", "valetkey", "uvicorn.error", *THIRD_PARTIES]
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger.level, logger.handlers[:], logger.filters[:]) for logger in loggers]
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Whole("%(levelname)s %(name)s %(message)s"))
    for logger in loggers:
        logger.setLevel(logging.NOTSET)
    loggers[0].setLevel(logging.DEBUG)
    loggers[0].addHandler(handler)
    yield stream
    for logger, (level, handlers, filters) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:], logger.filters[:] = handlers, filters


def app() -> FastAPI:
    app = FastAPI()

    @app.get("/orders")
    async def list_orders(request: Request) -> dict[str, str]:
        app_log.debug("asked with %s", dict(request.headers))
        return {"echo": request.headers["authorization"]}

    @app.get("/stock")
    def list_stock(request: Request) -> None:
        try:
            dict[str, str]()[request.headers["authorization"]]
        except LookupError:
            app_log.exception("in a thread", extra={"header": request.headers["authorization"]})
        raise HTTPException(401, "Not you.")

    return app


@pytest.mark.requirement("seed003.not-logged", "seed003.trouble-log-level", "fault.logs", "d18.line")
@pytest.mark.parametrize(
    ("frame", "credential"),
    [
        ({"auth_type": "bearer_token", "token": TOKEN}, "bearer_token"),
        ({"auth_type": "basic_auth", "username": "ada", "password": PASSWORD}, "basic_auth"),
    ],
)
async def test_a_chat_at_debug_logs_each_call_and_no_credential(frame, credential, written):
    async with live(app(), log_level="DEBUG", suppress_third_party_logs=False) as chat:
        chat.plugin.chat.model = Script([call("list_orders_orders_get"), call("list_stock_stock_get")], "Done.")
        client = await chat.open()
        assert (await client.ask(type="auth", **frame))["type"] == "auth_configured"
        await client.send(type="chat", message="What is there?")
        answer = await client.until("ai_response")
    text = written.getvalue()
    assert [result.get("error") for result in answer["tool_results"]][1].startswith("HTTP 401")
    assert not [shown for shown in SHOWN if shown in text + json.dumps(answer)]
    assert "asked with" in text, "the app's own line is there"
    assert "KeyError: " in text
    assert "< TEXT [" in text, "and the server's"
    assert "WARNING valetkey" not in text, "an API that says 401 is no fault of ours"
    lines = [line for line in text.splitlines() if f"chat {client.id[:8]}: " in line]
    told = sorted(line.split("{'name'")[0] for line in lines)
    assert [line.partition(" in ")[0].partition(": ")[2] for line in told] == [
        "list_orders_orders_get: 200",
        "list_stock_stock_get: 401",
    ]
    assert all(line.startswith("DEBUG valetkey chat ") and line.endswith(f"credential: {credential}") for line in told)
