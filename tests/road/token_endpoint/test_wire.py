"""A token endpoint whose connection, certificate or bytes are broken: T-06, T-11, T-13 to T-15, R-12, R-32."""

import asyncio
import socket
import ssl
import tracemalloc
import warnings

import pytest

from tests.road.token_endpoint.account import Account, Script
from valetkey.model.connections import Cause

GOOD = b'{"access_token": "at-canary-1", "token_type": "bearer", "expires_in": 3600}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
SHORT = 0.2
"""Seconds of a deadline, instead of ten."""


def once(raw: bytes) -> Script:
    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()

    return script


def dripping(first: bytes, drop: bytes) -> Script:
    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while True:
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(0.02)

    return script


def flooding(piece: bytes) -> Script:
    async def script(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(piece)
            await writer.drain()

    return script


async def silent(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


whole = once(HEAD + b"Content-Length: %d\r\n\r\n" % len(GOOD) + GOOD)

BROKEN: dict[str, Script] = {
    "T-11 a length beyond the body": once(HEAD + b"Content-Length: 5000\r\n\r\n" + GOOD),
    "T-11 a chunk that breaks off": once(HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\n" + GOOD[:20]),
    "T-11 no last chunk": once(HEAD + b"Transfer-Encoding: chunked\r\n\r\n4b\r\n" + GOOD + b"\r\n"),
    "T-14 1,000 headers": once(HEAD + b"".join(b"X-%d: x\r\n" % n for n in range(1000)) + b"\r\n"),
    "T-14 a header of a megabyte": once(HEAD + b"X: " + b"x" * 1_000_000 + b"\r\n\r\n"),
    "no HTTP": once(b"SSH-2.0-OpenSSH_9.2\r\n"),
}
ENDLESS: dict[str, Script] = {
    "T-13 no answer": silent,
    "T-13 headers by the byte": dripping(HEAD + b"X: ", b"x"),
    "T-13 a body by the byte": dripping(HEAD + b"Content-Length: 100000\r\n\r\n", b" "),
    "T-14 interim answers without an end": flooding(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
}


class TestBytes:
    @pytest.mark.requirement("B.shown-endpoints", "R-12", "T-11", "T-14")
    @pytest.mark.parametrize("row", ["T-11", "T-14", "no"])
    async def test_half_an_answer_is_none(self, held: Account, row):
        for name, script in BROKEN.items():
            if name.startswith(row):
                with held.meeting(name):
                    await meets(held, await held.serve(script))

    @pytest.mark.requirement("R-12", "T-13", "T-14")
    @pytest.mark.parametrize("name", ENDLESS)
    async def test_an_answer_that_does_not_end_has_one_deadline(self, held: Account, name):
        raw = await held.serve(ENDLESS[name])
        tracemalloc.start()
        try:
            await meets(held, raw, deadline=SHORT)
            assert tracemalloc.get_traced_memory()[1] < 8_000_000
        finally:
            tracemalloc.stop()


async def meets(held: Account, raw, *, scheme: str = "http", host: str = "127.0.0.1", deadline=None) -> None:
    """The endpoint is there, before the end of a token and after it."""
    url = f"{scheme}://{host}:{raw.port}/token"
    held.end()
    back = held.move(url)
    held.fetcher.deadline = deadline
    await held.settles_in_transient(Cause.UNAVAILABLE, back, rounds=1)
    held.age()
    back = held.move(url)
    held.fetcher.deadline = deadline
    await held.goes_on(Cause.UNAVAILABLE, back)


class TestConnection:
    @pytest.mark.requirement("T-06")
    async def test_t_06_nobody_listens(self, held: Account):
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            held.end()
            back = held.move(f"http://127.0.0.1:{bound.getsockname()[1]}/token")
            await held.settles_in_transient(Cause.UNAVAILABLE, back)
            held.age()
            back = held.move(f"http://127.0.0.1:{bound.getsockname()[1]}/token")
            await held.goes_on(Cause.UNAVAILABLE, back)

    @pytest.mark.requirement("R-32")
    async def test_r_32_a_name_that_is_not_known_is_asked_for_anew(self, held: Account, names, authority):
        raw = await held.serve(whole, authority.server("idp.example"))
        names.down = True
        held.end()
        held.move(f"https://idp.example:{raw.port}/token")
        calls = held.calls

        def up() -> None:
            names.down = False

        await held.settles_in_transient(Cause.UNAVAILABLE, up)
        assert held.calls == calls + 1, "only the answer that came was sent for"
        assert len(names.asked) >= 4
        row = await held.row()
        assert row.attempt_id == "", "nothing was sent, so nothing can be lost"


class TestCertificate:
    @pytest.mark.requirement("T-15")
    @pytest.mark.parametrize(
        "options",
        [
            {"name": "idp.example", "self_signed": True},
            {"name": "idp.example", "days": (-30, -1)},
            {"name": "other.example"},
        ],
        ids=["self-signed", "expired", "wrong host"],
    )
    async def test_t_15_it_is_refused_and_nothing_is_sent(self, held: Account, authority, options):
        raw = await held.serve(whole, authority.server(**options))
        await meets(held, raw, scheme="https", host="idp.example")
        assert raw.requests == 0

    async def test_t_15_an_address_of_this_machine_is_no_exception(self, held: Account, authority):
        raw = await held.serve(whole, authority.server("127.0.0.1", self_signed=True))
        await meets(held, raw, scheme="https")
        assert raw.requests == 0

    @pytest.mark.requirement("T-15")
    async def test_t_15_old_tls_is_refused(self, held: Account, authority):
        context = authority.server("idp.example")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        raw = await held.serve(whole, context)
        await meets(held, raw, scheme="https", host="idp.example")
        assert raw.requests == 0

    @pytest.mark.requirement("T-06")
    async def test_t_06_a_server_that_wants_our_certificate_ends_the_handshake(self, held: Account, authority):
        context = authority.server("idp.example")
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.file)
        raw = await held.serve(whole, context)
        await meets(held, raw, scheme="https", host="idp.example")
        assert raw.requests == 0

    async def test_with_a_good_one_it_is_asked(self, held: Account, authority):
        raw = await held.serve(whole, authority.server("idp.example"))
        held.end()
        held.move(f"https://idp.example:{raw.port}/token")
        assert await held.lends()
        assert raw.requests == 1
