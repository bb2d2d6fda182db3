"""An app on sockets of this machine."""

import asyncio
import contextlib
import contextvars
import errno
import http.client
import logging
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from valetkey.adapters import serving
from valetkey.adapters.certificates import LoopbackCertificate
from valetkey.adapters.serving import Listener
from valetkey.errors import InvalidSetting, PortTaken
from valetkey.testing.clock import ManualClock

mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="unset")


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the scheme, the client's address as the server sees it, and the path."""
    assert scope["type"] == "http"
    text = f"{scope['scheme']} {scope['client'][0]} {scope['path']} {mark.get()}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
    await send({"type": "http.response.body", "body": text})


@asynccontextmanager
async def listening(app: Any = hello, **about: Any) -> AsyncIterator[Listener]:
    listener = Listener(app, **{"host": "localhost", "port": 0, "setting": "internal_server_port", **about})
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()


def get(
    host: str,
    port: int,
    path: str = "/",
    tls: ssl.SSLContext | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> tuple[int, dict[str, str], str]:
    connection = (
        http.client.HTTPSConnection(host, port, timeout=5, context=tls)
        if tls
        else http.client.HTTPConnection(host, port, timeout=5)
    )
    try:
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
    finally:
        connection.close()


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


async def raw(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    return answer


async def test_it_answers_as_soon_as_start_returns() -> None:
    async with listening() as listener:
        status, headers, text = await asyncio.to_thread(get, "127.0.0.1", listener.port, "/a?code=1")
    assert (status, text) == (200, "http 127.0.0.1 /a unset")
    assert "server" not in headers


async def test_localhost_is_served_in_both_address_families_on_one_port() -> None:
    if not has_ipv6():
        pytest.skip("this machine has no IPv6")
    async with listening() as listener:
        four = await asyncio.to_thread(get, "127.0.0.1", listener.port)
        six = await asyncio.to_thread(get, "::1", listener.port)
    assert (four[2], six[2]) == ("http 127.0.0.1 / unset", "http ::1 / unset")


async def test_without_ipv6_it_listens_on_ipv4_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    really = serving._listen

    def without(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "no IPv6 here")
        return really(family, address, port)

    monkeypatch.setattr(serving, "_listen", without)
    async with listening() as listener:
        assert (await asyncio.to_thread(get, "127.0.0.1", listener.port))[0] == 200


async def test_an_address_is_taken_as_it_is() -> None:
    async with listening(host="127.0.0.1") as listener:
        if has_ipv6():
            with pytest.raises(ConnectionRefusedError):
                await asyncio.to_thread(get, "::1", listener.port)
        assert (await asyncio.to_thread(get, "127.0.0.1", listener.port))[0] == 200


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
async def test_a_taken_port_is_an_error_that_names_port_and_setting(family: socket.AddressFamily) -> None:
    if family == socket.AF_INET6 and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    with socket.socket(family) as other:
        other.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        listener = Listener(hello, host="localhost", port=port, setting="internal_server_port")
        with pytest.raises(PortTaken) as caught:
            await listener.start()
        assert str(port) in str(caught.value)
        assert "set internal_server_port to a port that is free" in str(caught.value)
        with socket.socket() as probe:  # neither family is kept
            probe.settimeout(1)
            refused = probe.connect_ex(("127.0.0.1", port))
        assert (refused == 0) is (family == socket.AF_INET)
        await listener.stop()


async def test_two_listeners_do_not_share_a_port() -> None:
    async with listening() as first:
        with pytest.raises(PortTaken):
            await Listener(hello, host="localhost", port=first.port, setting="public_server_port").start()


async def test_a_port_that_is_taken_in_one_family_is_not_the_free_one(monkeypatch: pytest.MonkeyPatch) -> None:
    really, tried = serving._listen, []

    def once_taken(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
        tried.append((family, port))
        if family == socket.AF_INET6 and len(tried) == 2:
            raise OSError(errno.EADDRINUSE, "taken")
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "no IPv6 here")
        return really(family, address, port)

    monkeypatch.setattr(serving, "_listen", once_taken)
    async with listening() as listener:
        assert tried[0] == (socket.AF_INET, 0)
        assert [family for family, _ in tried] == [socket.AF_INET, socket.AF_INET6] * 2
        assert (await asyncio.to_thread(get, "127.0.0.1", listener.port))[0] == 200


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (OSError(errno.EACCES, "x"), "Permission denied"),
        (OSError(errno.EADDRNOTAVAIL, "x"), "Cannot assign requested address"),
        (OSError("x"), "no reason given"),
        (OverflowError("x"), "number from 1 to 65535"),
    ],
)
async def test_a_port_that_cannot_be_used_is_an_error_that_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, fault: Exception, said: str
) -> None:
    def refuse(*_: object) -> socket.socket:
        raise fault

    monkeypatch.setattr(serving, "_listen", refuse)
    with pytest.raises(InvalidSetting, match=said) as caught:
        await Listener(hello, host="127.0.0.1", port=80, setting="internal_server_port").start()
    assert "internal_server_port" in str(caught.value)


async def test_a_port_out_of_range_is_an_error_of_ours() -> None:
    with pytest.raises(InvalidSetting, match="70000 is no port"):
        await Listener(hello, host="127.0.0.1", port=70_000, setting="internal_server_port").start()


async def test_an_unknown_host_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    with pytest.raises(InvalidSetting, match=r"'nowhere\.test' is not known"):
        await Listener(hello, host="nowhere.test", port=0, setting="internal_server_port").start()


async def test_after_stop_the_port_is_free_and_can_be_listened_on_again() -> None:
    listener = Listener(hello, host="localhost", port=0, setting="internal_server_port")
    await listener.start()
    port = listener.port
    await asyncio.to_thread(get, "127.0.0.1", port)
    await listener.stop()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.to_thread(get, "127.0.0.1", port)
    await listener.start()
    assert listener.port == port
    assert (await asyncio.to_thread(get, "127.0.0.1", port))[0] == 200
    await listener.stop()


async def test_starting_twice_and_stopping_twice_is_harmless() -> None:
    async with listening() as listener:
        await listener.start()
        await listener.stop()


async def test_https_with_our_certificate(home: Path) -> None:
    certificate = LoopbackCertificate(home=home, clock=ManualClock(start=time.time()))
    async with listening(tls=certificate.context()) as listener:
        client = ssl.create_default_context(cafile=certificate.public_path)
        status, _, text = await asyncio.to_thread(get, "localhost", listener.port, "/", client)
        plain = await raw(listener.port, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (status, text.split()[0]) == (200, "https")
    assert not plain.startswith(b"HTTP")


async def test_an_answer_under_way_is_finished_when_we_stop() -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.set()
        await go.wait()
        await hello(scope, receive, send)

    listener = Listener(app, host="127.0.0.1", port=0, setting="internal_server_port")
    await listener.start()
    answer = asyncio.create_task(asyncio.to_thread(get, "127.0.0.1", listener.port))
    await asked.wait()
    stopping = asyncio.create_task(listener.stop())
    asyncio.get_running_loop().call_later(0.05, go.set)
    assert (await answer)[0] == 200
    await stopping


async def test_what_does_not_end_is_cut_within_the_grace_and_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()

    listener = Listener(
        app, host="127.0.0.1", port=0, setting="internal_server_port", bounds=serving.Bounds(grace=0.05)
    )
    await listener.start()
    visitor = asyncio.create_task(raw(listener.port, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    await asked.wait()
    await asyncio.wait_for(listener.stop(), 1)
    assert cancelled.is_set()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    visitor.cancel()
    await asyncio.gather(visitor, return_exceptions=True)


async def test_an_answer_that_was_broken_off_unseen_does_not_break_a_stop() -> None:
    failed = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"30")]})
        try:
            await send({"type": "http.response.body", "body": b"short"})
        except Exception:  # noqa: BLE001 - as a program does that logs it, and goes on
            failed.set()

    listener = Listener(app, host="127.0.0.1", port=0, setting="internal_server_port")
    await listener.start()
    _reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await failed.wait()
    await listener.stop()
    writer.close()


async def test_idle_connections_do_not_hold_up_a_stop() -> None:
    async with listening(host="127.0.0.1") as listener:
        writers = [(await asyncio.open_connection("127.0.0.1", listener.port))[1] for _ in range(5)]
        await asyncio.wait_for(listener.stop(), 0.7)
    for writer in writers:
        writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET /again HTTP/1.1\r\nHo",
    ],
    ids=["nothing", "half a line", "half a body", "a whole one and a half"],
)
async def test_a_request_that_never_becomes_whole_is_cut_off(sent: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await hello(scope, receive, send)

    async with listening(app, host="127.0.0.1", bounds=serving.Bounds(whole=0.05, keep_alive=1)) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(sent)
        with contextlib.suppress(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 2)
        writer.close()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 40_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    ],
    ids=["two hosts", "two lengths", "no host", "huge head", "a TLS hello"],
)
async def test_what_is_no_request_is_a_400_that_nobody_stores(
    request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:  # W-15
    async with listening(host="127.0.0.1") as listener:
        answer = await raw(listener.port, request_)
    assert answer.startswith(b"HTTP/1.1 400 ")
    head = answer.lower()
    assert b"cache-control: no-store" in head
    assert b"x-content-type-options: nosniff" in head
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_websocket_is_answered_as_a_request_without_advice_on_the_terminal(
    caplog: pytest.LogCaptureFixture,
) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    async with listening() as listener:
        status, *_ = await asyncio.to_thread(get, "127.0.0.1", listener.port, headers=upgrade)
    assert status == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_forwarded_headers_are_not_believed() -> None:
    async with listening() as listener:
        answer = await asyncio.to_thread(
            get, "127.0.0.1", listener.port, headers={"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https"}
        )
    assert answer[2].startswith("http 127.0.0.1 ")


async def test_a_request_sees_nothing_of_the_call_that_started_the_server() -> None:
    mark.set("of a tool call")
    async with listening() as listener:
        assert (await asyncio.to_thread(get, "127.0.0.1", listener.port))[2].endswith(" unset")


async def test_too_many_connections_are_turned_away() -> None:
    async with listening(host="127.0.0.1", bounds=serving.Bounds(connections=3)) as listener:
        writers = [(await asyncio.open_connection("127.0.0.1", listener.port))[1] for _ in range(3)]
        assert (await asyncio.to_thread(get, "127.0.0.1", listener.port))[0] == 503
        for writer in writers:
            writer.close()


@pytest.mark.requirement("J-36")
@pytest.mark.parametrize("level", [logging.NOTSET, logging.DEBUG])
async def test_a_url_is_in_no_log_at_any_level(caplog: pytest.LogCaptureFixture, level: int) -> None:
    caplog.handler.setLevel(0)
    root = logging.getLogger()
    before = root.level
    root.setLevel(level)
    try:
        async with listening() as listener:
            await asyncio.to_thread(get, "127.0.0.1", listener.port, "/cb?code=canary-of-a-code")
    finally:
        root.setLevel(before)
    assert "canary" not in caplog.text


async def test_the_host_programs_own_uvicorn_keeps_its_loggers_and_signals() -> None:
    names = ("uvicorn", "uvicorn.access", "uvicorn.error", "uvicorn.asgi")
    handler = logging.NullHandler()
    access = logging.getLogger("uvicorn.access")
    access.addHandler(handler)

    def state() -> list[object]:
        loggers = [logging.getLogger(name) for name in names]
        return [
            *((one.level, list(one.handlers), one.propagate, one.disabled) for one in loggers),
            signal.getsignal(signal.SIGINT),
            signal.getsignal(signal.SIGTERM),
        ]

    try:
        before = state()
        async with listening():
            assert state() == before
        assert state() == before
    finally:
        access.removeHandler(handler)


async def test_settings_of_the_host_programs_server_do_not_reach_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "many")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    async with listening() as listener:
        answer = await asyncio.to_thread(get, "127.0.0.1", listener.port, headers={"X-Forwarded-For": "6.6.6.6"})
    assert answer[2].startswith("http 127.0.0.1 ")
