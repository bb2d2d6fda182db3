"""Run a user's own routes off the home loop."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from valetkey.entrypoints.web import page
from valetkey.entrypoints.web.guard import Gone, TooLarge, note, read_body

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def off_loop(
    app: ASGIApp, *, cap: int = 65_536, answer_cap: int = 1_048_576, deadline: float = 60.0, threads: int = 16
) -> ASGIApp:
    """An app that runs ``app`` in threads, each request on an event loop of its own.

    A handler's router (seed 002) calls the synchronous FutureStore, which waits for the home loop: on the
    home loop itself it would wait for ever. So it sees neither that loop nor its tasks; the context of the
    request goes along. The answer is collected, then sent; streams without an end, WebSockets and lifespans
    are not served.

    Args:
        app: an ASGI 3 app, such as a ``FastAPI`` that includes the routers.
        cap: most bytes of a request's body (413).
        answer_cap: most bytes of an answer's body (502).
        deadline: seconds until the visitor is told that it took too long (504); the thread is left to end by
            itself.
        threads: how many may run at once (503).
    """
    places = threading.BoundedSemaphore(threads)

    async def visit(scope: Scope, receive: Receive) -> Response:
        reference = page.reference_of(scope)
        try:
            body = await read_body(receive, cap)
        except TooLarge:
            return page.from_status(413, reference=reference)
        if not places.acquire(blocking=False):
            _log.warning("all %d threads for handlers' own routes are busy (reference %s)", threads, reference)
            return page.from_status(503, reference=reference)
        running = _in_thread(lambda: asyncio.run(_run(app, dict(scope), body, answer_cap)), places.release)
        try:
            async with asyncio.timeout(deadline):
                outcome = await asyncio.wrap_future(running)
        except TimeoutError:
            _log.warning("a handler's own route took more than %g s (reference %s)", deadline, reference)
            return page.from_status(504, reference=reference)
        if isinstance(outcome, BaseException):
            note(outcome, reference)
            return page.from_status(502, reference=reference)
        response = Response(outcome.body, status_code=outcome.status)
        response.raw_headers = outcome.headers
        return response

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                answer = await visit(scope, receive)
            except Gone:
                return
            await answer(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": ""})

    return serve


def _in_thread(work: Callable[[], _Answer], release: Callable[[], None]) -> Future[_Answer | BaseException]:
    """Run in a new daemon thread with a copy of this context.

    What it raises is a result too: a SystemExit of a user's code ends that request and not the home loop. The
    place is given back when the thread ends, whether or not anyone still waits.
    """
    result: Future[_Answer | BaseException] = Future()
    result.set_running_or_notify_cancel()
    context = contextvars.copy_context()

    def run() -> None:
        outcome: _Answer | BaseException
        try:
            outcome = work()
        except BaseException as error:  # noqa: BLE001 - see above
            outcome = error
        release()
        result.set_result(outcome)

    try:
        threading.Thread(target=context.run, args=(run,), name="valetkey-visitor", daemon=True).start()
    except RuntimeError as error:  # no more threads
        release()
        result.set_result(error)
    return result


async def _run(app: ASGIApp, scope: Scope, body: bytes, cap: int) -> _Answer:
    """One request through the app.

    Raises:
        RuntimeError: the app gave no whole answer, or one over the cap.
    """
    pending = [body]
    started: list[Message] = []
    parts: list[bytes] = []
    whole = False

    async def receive() -> Message:
        if pending:
            return {"type": "http.request", "body": pending.pop(), "more_body": False}
        # The client counts as connected until the answer is there: one that is told otherwise stops streaming.
        await asyncio.get_running_loop().create_future()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal whole
        if message["type"] == "http.response.start":
            started.append(message)
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))
            whole = not message.get("more_body", False)
            if sum(map(len, parts)) > cap:
                raise RuntimeError("the answer of a handler's own route is too large")

    await app(scope, receive, send)
    if not (started and whole):
        raise RuntimeError("a handler's own route gave no whole answer")
    content = b"".join(parts)
    headers = [(name.lower(), value) for name, value in started[0].get("headers", [])]
    if content:
        headers = [header for header in headers if header[0] != b"content-length"]
        headers.append((b"content-length", str(len(content)).encode()))
    return _Answer(status=started[0]["status"], headers=headers, body=content)
