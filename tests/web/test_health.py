"""The health endpoints: who is told what, whatever a request says about itself."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from http.client import HTTPConnection
from typing import Any

import pytest
from starlette.applications import Starlette

from tests.ports import free_port
from tests.web.asgi import Answer, Draws, drive, scope_of
from valetkey.adapters.serving import Listener
from valetkey.entrypoints.web import page
from valetkey.entrypoints.web.guard import Guard
from valetkey.entrypoints.web.health import health_routes
from valetkey.secret import Secret
from valetkey.wiring.readiness import Check, Report

TOKEN = "canary-token-5b2e8d1f"
TEXT = b"# TYPE valetkey_swept_rows_total counter\nvaletkey_swept_rows_total 1.0\n"
LOCAL = (("host", "localhost:9527"),)
READY = Report(checks={"database": Check(ok=True, detail="ok", needed=True)})
DEGRADED = Report(checks={**READY.checks, "bus": Check(ok=False, detail="cannot be reached", needed=False)})
DOWN = Report(checks={"database": Check(ok=False, detail="cannot be used now", needed=True)})
Headers = Sequence[tuple[str, str]]


def app(report: Report | Exception = READY, *, metrics: bool = True, token: Secret | None = None) -> Any:
    async def readiness() -> Report:
        if isinstance(report, Exception):
            raise report
        return report

    async def exposition() -> bytes:
        return TEXT

    routes = health_routes(readiness, metrics=exposition if metrics else None, token=token)
    inner = Starlette(routes=routes, exception_handlers=page.exception_handlers())
    inner.router.redirect_slashes = False
    return Guard(inner, base_url="https://keys.example.test", entropy=Draws())


async def ask(
    over: Any, path: str, *, method: str = "GET", headers: Headers = LOCAL, peer: str | None = "127.0.0.1"
) -> Answer:
    scope = scope_of(method, path, headers=headers)
    scope["client"] = None if peer is None else (peer, 50_000)
    return await drive(over, scope)


def bearer(value: str, host: str = "keys.example.test") -> Headers:
    return [("host", host), ("authorization", value)]


@pytest.mark.requirement("B6.parts")
@pytest.mark.parametrize("path", ["/health", "/health/liveness"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "203.0.113.9"])
async def test_a_process_that_runs_is_alive_whatever_is_down(path: str, peer: str) -> None:
    answer = await ask(app(DOWN), path, peer=peer)
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ok"})
    assert answer.header("cache-control") == "no-store"
    assert answer.header("content-type") == "application/json"


@pytest.mark.requirement("B6.readiness")
@pytest.mark.parametrize(("report", "status"), [(READY, 200), (DEGRADED, 200), (DOWN, 503)])
async def test_readiness_tells_this_machine_all_and_others_the_status(report: Report, status: int) -> None:
    here = await ask(app(report), "/health/readiness")
    assert (here.status, json.loads(here.body)) == (status, report.as_dict())
    there = await ask(app(report), "/health/readiness", peer="203.0.113.9")
    assert (there.status, json.loads(there.body)) == (status, {"status": "ready" if report.ready else "unavailable"})
    assert there.header("cache-control") == here.header("cache-control") == "no-store"


async def test_readiness_that_cannot_be_told_is_no_readiness(caplog: pytest.LogCaptureFixture) -> None:
    answer = await ask(app(RuntimeError("canary-41aa\nforged")), "/health/readiness")
    assert (answer.status, json.loads(answer.body)) == (503, {"status": "unavailable"})
    assert [record.getMessage() for record in caplog.records] == ["readiness could not be told: RuntimeError"]


async def test_this_machine_reads_the_metrics() -> None:
    answer = await ask(app(), "/metrics")
    assert (answer.status, answer.body) == (200, TEXT)
    assert answer.header("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.header("cache-control") == "no-store"


@pytest.mark.parametrize("path", ["/health", "/health/liveness", "/health/readiness", "/metrics"])
async def test_nothing_is_stored_without_our_guard_in_front_either(path: str) -> None:
    async def readiness() -> Report:
        return DOWN

    async def exposition() -> bytes:
        return TEXT

    bare = Starlette(routes=health_routes(readiness, metrics=exposition))
    assert (await ask(bare, path)).header("cache-control") == "no-store"


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9527", "[::1]:9527"])
async def test_every_name_of_this_machine_is_local(peer: str, host: str) -> None:
    assert (await ask(app(), "/metrics", peer=peer, headers=[("host", host)])).status == 200


OUTSIDE: list[tuple[str | None, Headers]] = [
    ("203.0.113.9", LOCAL),
    ("::ffff:203.0.113.9", LOCAL),
    ("10.0.0.1", LOCAL),
    ("localhost", LOCAL),  # no address
    ("", LOCAL),
    (None, LOCAL),
    # What a request from elsewhere says about its origin.
    ("203.0.113.9", [*LOCAL, ("x-forwarded-for", "127.0.0.1")]),
    ("203.0.113.9", [*LOCAL, ("forwarded", "for=127.0.0.1"), ("x-real-ip", "127.0.0.1")]),
    # What came over a reverse proxy of this machine.
    ("127.0.0.1", [*LOCAL, ("x-forwarded-for", "203.0.113.9")]),
    ("127.0.0.1", [*LOCAL, ("x-forwarded-for", "127.0.0.1")]),
    ("127.0.0.1", [*LOCAL, ("X-Forwarded-For", "")]),
    ("127.0.0.1", [*LOCAL, ("forwarded", "for=203.0.113.9")]),
    ("127.0.0.1", [*LOCAL, ("via", "1.1 proxy")]),
    ("127.0.0.1", [*LOCAL, ("x-real-ip", "203.0.113.9")]),
    ("127.0.0.1", [*LOCAL, ("x-forwarded-host", "keys.example.test")]),
    ("127.0.0.1", [*LOCAL, ("x-forwarded-port", "443")]),
    ("127.0.0.1", [("host", "keys.example.test")]),
    ("127.0.0.1", [("host", "KEYS.example.test:443")]),
]


@pytest.mark.requirement("B6.parts")
@pytest.mark.parametrize(("peer", "headers"), OUTSIDE)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "TRACE"])
async def test_to_others_there_is_no_page_of_metrics(peer: str | None, headers: Headers, method: str) -> None:  # W-18
    for token in (None, Secret(TOKEN)):
        answer = await ask(app(token=token), "/metrics", method=method, peer=peer, headers=headers)
        nothing = await ask(app(token=token), "/nothing", method=method, peer=peer, headers=headers)
        assert (answer.status, answer.body) == (nothing.status, nothing.body)
        assert answer.status == 404


@pytest.mark.parametrize(("peer", "headers"), OUTSIDE)
async def test_to_others_there_are_no_details(peer: str | None, headers: Headers) -> None:
    answer = await ask(app(DEGRADED), "/health/readiness", peer=peer, headers=headers)
    assert json.loads(answer.body) == {"status": "ready"}


@pytest.mark.parametrize("host", ["evil.test", "localhost.evil.test"])
async def test_under_a_name_that_is_not_ours_nothing_is_told(host: str) -> None:  # W-15
    assert (await ask(app(), "/metrics", headers=[("host", host)])).status == 421


@pytest.mark.requirement("B6.parts")
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_token_opens_metrics_and_details_from_anywhere(scheme: str) -> None:
    headers = [*bearer(f"{scheme} {TOKEN}"), ("x-forwarded-for", "203.0.113.9")]
    over = app(DOWN, token=Secret(TOKEN))
    assert (await ask(over, "/metrics", peer="203.0.113.9", headers=headers)).body == TEXT
    answer = await ask(over, "/health/readiness", peer="203.0.113.9", headers=headers)
    assert json.loads(answer.body) == DOWN.as_dict()


@pytest.mark.parametrize(
    "headers",
    [
        bearer("Bearer wrong"),
        bearer(f"Bearer {TOKEN}x"),
        bearer(f"Bearer {TOKEN[:-1]}"),
        bearer("Bearer "),
        bearer("Bearer"),
        bearer(""),
        bearer(TOKEN),
        bearer(f"Basic {TOKEN}"),
        bearer("Bearer \xff\xfe"),
        [*bearer(f"Bearer {TOKEN}"), ("authorization", f"Bearer {TOKEN}")],
    ],
)
async def test_a_wrong_token_opens_nothing(headers: Headers) -> None:
    assert (await ask(app(token=Secret(TOKEN)), "/metrics", peer="203.0.113.9", headers=headers)).status == 404


@pytest.mark.parametrize("token", [None, Secret("")])
@pytest.mark.parametrize("given", ["Bearer ", "Bearer", "Bearer None", "Bearer ***"])
async def test_without_a_token_set_none_opens(token: Secret | None, given: str) -> None:
    answer = await ask(app(token=token), "/metrics", peer="203.0.113.9", headers=bearer(given))
    assert answer.status == 404


async def test_the_token_is_not_taken_from_the_address() -> None:
    scope = scope_of("GET", "/metrics", query=f"token={TOKEN}&access_token={TOKEN}", headers=LOCAL)
    scope["client"] = ("203.0.113.9", 1)
    assert (await drive(app(token=Secret(TOKEN)), scope)).status == 404


async def test_without_metrics_there_is_no_page_of_them() -> None:
    assert (await ask(app(metrics=False), "/metrics")).status == 404


@pytest.mark.parametrize("path", ["/health", "/health/liveness", "/health/readiness", "/metrics"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_they_are_only_read(path: str, method: str) -> None:
    answer = await ask(app(), path, method=method)
    assert answer.status == 405
    assert set((answer.header("allow") or "").split(", ")) == {"GET", "HEAD"}


@pytest.fixture
async def served() -> AsyncIterator[int]:
    port = free_port()
    listener = Listener(app(DEGRADED), host="localhost", port=port, setting="port")
    await listener.start()
    yield port
    await listener.stop()


@pytest.mark.requirement("B6.parts")
async def test_over_a_real_socket(served: int) -> None:
    def visit(method: str, path: str, **headers: str) -> tuple[int, bytes, str | None]:
        connection = HTTPConnection("127.0.0.1", served, timeout=10)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body, answer.getheader("content-length")

    def visits() -> None:
        for path in ("/health", "/health/liveness", "/health/readiness", "/metrics"):
            status, body, length = visit("GET", path)
            assert (status, length) == (200, str(len(body)))
            assert visit("HEAD", path) == (200, b"", length)
            assert visit("POST", path)[0] == 405
        assert json.loads(visit("GET", "/health/readiness")[1]) == DEGRADED.as_dict()
        for forged in ("127.0.0.1", "203.0.113.9", "127.0.0.1, 203.0.113.9"):
            headers = {"X-Forwarded-For": forged}
            assert visit("GET", "/metrics", **headers)[0] == 404
            assert json.loads(visit("GET", "/health/readiness", **headers)[1]) == {"status": "ready"}
        assert visit("GET", "/metrics", Host="keys.example.test")[0] == 404
        assert visit("GET", "/metrics", Host="evil.test")[0] == 421

    await asyncio.to_thread(visits)  # the server's own loop goes on meanwhile
