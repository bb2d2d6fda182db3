"""The one HTTP client."""

from __future__ import annotations

import asyncio
import logging
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpcore2

from valetkey.adapters.addresses import LOOPBACK_ADDRESSES, AddressRules, Target, is_address, is_loopback_name
from valetkey.adapters.http_socket import NetworkStream, connect_tcp, system_resolve
from valetkey.adapters.http_stream import StreamedAnswer, timed
from valetkey.adapters.http_wire import check, failed, head_of, headers_of
from valetkey.errors import BlockedAddress, ExchangeFailed, InvalidArguments, InvalidSetting
from valetkey.ports.world import Home, Request, Response, StreamRequest, Trust

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""A host name and a port to addresses; raises OSError where there are none."""

Connector = Callable[[str, int], Awaitable[NetworkStream]]
"""An address and a port to an open stream; raises OSError or httpcore2.ConnectError."""

MOST_CONNECTIONS = 256
IDLE_CONNECTIONS = 32
IDLE_SECONDS = 4.0  # shorter than the 5 s after which common servers close
ATTEMPT_SECONDS = 3.0  # for each address that has another one after it

_BROKEN = (httpcore2.ProtocolError, httpcore2.NetworkError, OSError)


@dataclass(slots=True)
class _Sent:
    """Whether anything of a request was sent."""

    yes: bool = False


_exchanging: ContextVar[_Sent | None] = ContextVar("valetkey_exchanging", default=None)


class HttpClient:
    """Sends a request to an address that was checked, and reads its answer whole.

    No redirects, cookies, proxies, environment or .netrc; HTTP/1.1. Connections are kept for the next request
    to the same origin under the same trust. All sockets live on the home loop.

    Args:
        home: the loop that owns the sockets.
        allowed_hosts: hosts that the operator opens, as `AddressRules` takes them.
        ca_file: certificates in PEM to trust beside the system's.
        resolve: how a name becomes addresses; by default as the system does.
        connect: how an address becomes a stream; by default over TCP.

    Raises:
        InvalidSetting: an entry of ``allowed_hosts`` is no host.
    """

    def __init__(
        self,
        home: Home,
        *,
        allowed_hosts: Iterable[str] = (),
        ca_file: Path | None = None,
        resolve: Resolver | None = None,
        connect: Connector | None = None,
    ) -> None:
        self._home = home
        self._rules = AddressRules(allowed_hosts)
        self._ca_file = ca_file
        self._resolve = resolve or system_resolve
        self._connect = connect or connect_tcp
        self._tls: ssl.SSLContext | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pools: dict[tuple[Trust, str, bool], httpcore2.AsyncConnectionPool] = {}
        for name in ("httpcore2.connection", "httpcore2.http11"):
            logging.getLogger(name).addFilter(_not_ours)

    async def fetch(self, request: Request) -> Response:
        """Send a request within its deadline and cap; redirects are answers, not followed.

        The deadline covers name resolution, connecting, TLS, sending and the whole answer; the cap counts the
        body after decoding. Nothing is sent twice.

        Raises:
            InvalidArguments: the request could not be written down as one HTTP request; nothing was sent.
            BlockedAddress: the URL or the address it resolves to may not be called; nothing was sent.
            ExchangeFailed: no whole answer in time; ``sent`` is False only when surely nothing was sent.
            InvalidSetting: ``ca_file`` cannot be read.
        """
        check(request.method, request.url, request.deadline, cap=request.cap)
        target = self._rules.judge_url(request.url, request.trust)
        headers = headers_of(request.headers, target, method=request.method, length=len(request.body))
        if self._loop is None:
            await self._home.run(self._arrive)
        if self._loop is asyncio.get_running_loop():
            # Who gives up at home, out of time, gives up the exchange: what was not sent by then is not sent any more.
            return await self._exchange(request, target, headers)
        return await self._home.run(partial(self._exchange, request, target, headers))

    async def stream(self, request: StreamRequest) -> StreamedAnswer:
        """Send a request, and give the head of its answer; the body comes piece by piece. For the home loop only.

        The same rules hold as for `fetch`. Closing the answer before its end closes its connection.

        Raises:
            InvalidArguments: as `fetch` does; or it is asked from another loop than home.
            BlockedAddress: the URL or the address it resolves to may not be called; nothing was sent.
            ExchangeFailed: no answer in time; ``sent`` is False only when surely nothing was sent.
            InvalidSetting: ``ca_file`` cannot be read.
        """
        check(request.method, request.url, request.deadline, request.idle, request.longest, cap=request.cap)
        target = self._rules.judge_url(request.url, request.trust)
        length = len(request.body) if isinstance(request.body, bytes) else request.length
        headers = headers_of(request.headers, target, method=request.method, length=length)
        if self._loop is None:
            await self._home.run(self._arrive)
        if self._loop is not asyncio.get_running_loop():
            raise InvalidArguments("A streamed exchange stays on the loop that owns the sockets. Ask for it there.")
        sent = _Sent()
        limit = asyncio.timeout(request.deadline)
        body = request.body if isinstance(request.body, bytes) else timed(request, limit, request.body)
        outgoing = _outgoing(request.method, target, headers, body)
        quiet = _exchanging.set(sent)
        try:
            async with limit:
                pool = self._pool(request.trust, target.scheme, streams=True)
                answer = await pool.handle_async_request(outgoing)
        except TimeoutError:
            raise failed(target, f"gave no answer within {request.deadline:g} s", sent=sent.yes, late=True) from None
        except _BROKEN:
            raise failed(target, "broke off, or its answer is not HTTP", sent=sent.yes) from None
        finally:
            _exchanging.reset(quiet)
        try:
            head = head_of(answer.headers, target)
        except ExchangeFailed:
            await answer.aclose()
            raise
        return StreamedAnswer(
            status=answer.status,
            head=head,
            pieces=answer.aiter_stream(),
            request=request,
            target=target,
            close=answer.aclose,
            ended=partial(_end, answer),
            broken=_BROKEN,
        )

    async def close(self) -> None:
        """Close all connections. A later request opens new ones."""
        if self._pools:
            await self._home.run(self._close)

    async def _close(self) -> None:
        pools = tuple(self._pools.values()) if self._loop is asyncio.get_running_loop() else ()
        self._pools = {}
        for pool in pools:
            await pool.aclose()

    async def _arrive(self) -> None:
        self._loop = asyncio.get_running_loop()

    async def _exchange(self, request: Request, target: Target, headers: list[tuple[bytes, bytes]]) -> Response:
        sent = _Sent()
        outgoing = _outgoing(request.method, target, headers, request.body)
        quiet = _exchanging.set(sent)
        begun = _Begun()
        try:
            async with asyncio.timeout(request.deadline):
                answer = await self._pool(request.trust, target.scheme).handle_async_request(outgoing)
                try:
                    return await _read(answer, request, target, begun)
                finally:
                    await answer.aclose()
        except TimeoutError:
            if begun.status and not request.whole:
                return begun.response()
            what = f"gave no whole answer within {request.deadline:g} s"
            raise failed(target, what, sent=sent.yes, late=True) from None
        except _BROKEN:
            # Without its cause: the library quotes the header lines that it could not read.
            raise failed(target, "broke off, or its answer is not HTTP", sent=sent.yes) from None
        finally:
            _exchanging.reset(quiet)

    def _pool(self, trust: Trust, scheme: str, *, streams: bool = False) -> httpcore2.AsyncConnectionPool:
        """The connections of this trust only: what an operator's URL opened must not serve anybody else's.

        Streams have their own: many that are slow must not keep an account from being refreshed.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # another home, or a forked child: those sockets belong elsewhere
            self._loop, self._pools = loop, {}
        if (trust, scheme, streams) not in self._pools:
            self._pools[trust, scheme, streams] = httpcore2.AsyncConnectionPool(
                ssl_context=self._tls_context() if scheme == "https" else None,
                max_connections=MOST_CONNECTIONS,
                max_keepalive_connections=IDLE_CONNECTIONS,
                keepalive_expiry=IDLE_SECONDS,
                network_backend=_CheckedNetwork(self._rules, trust, scheme, self._resolve, self._connect),
            )
        return self._pools[trust, scheme, streams]

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            # As ssl.create_default_context does, but for session keys written to where SSLKEYLOGFILE says.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.hostname_checks_common_name = False
            context.load_default_certs()
            if self._ca_file is not None:
                try:
                    context.load_verify_locations(cafile=self._ca_file)
                except (OSError, ssl.SSLError):
                    raise InvalidSetting(
                        f"ca_file {self._ca_file} cannot be read as certificates. Give a readable PEM file."
                    ) from None
            self._tls = context
        return self._tls


class _CheckedNetwork(httpcore2.AsyncNetworkBackend):
    """Resolves a name, judges every address, and connects to one that was judged."""

    def __init__(self, rules: AddressRules, trust: Trust, scheme: str, resolve: Resolver, connect: Connector) -> None:
        self._rules = rules
        self._trust = trust
        self._scheme = scheme
        self._resolve = resolve
        self._connect = connect

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # httpcore2's signature; the exchange has one deadline
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        found: Sequence[str] = ()
        if is_loopback_name(host):
            found = LOOPBACK_ADDRESSES
        elif is_address(host):
            found = (host,)
        else:
            with suppress(OSError):
                found = await self._resolve(host, port)
        if not found:
            raise ExchangeFailed(f"{host} has no address now. Check the name; try again later.", sent=False)
        addresses = self._rules.judge_addresses(found, scheme=self._scheme, host=host, port=port, trust=self._trust)
        for address in addresses:
            try:
                async with asyncio.timeout(None if address == addresses[-1] else ATTEMPT_SECONDS):
                    return _Stream(await self._connect(address, port), host)
            except (OSError, httpcore2.NetworkError, httpcore2.TimeoutException):
                continue
        raise ExchangeFailed(f"{host} does not take connections on port {port}. Try again later.", sent=False)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        raise BlockedAddress("Unix sockets may not be called. Use an https URL.")


class _Stream(httpcore2.AsyncNetworkStream):
    """A connected stream. Whose request is sent on it is told so before."""

    def __init__(self, stream: NetworkStream, host: str) -> None:
        self._stream = stream
        self._host = host

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        sent = _exchanging.get()
        if sent is not None:
            sent.yes = True
        try:
            await self._stream.write(buffer, timeout)
        except OSError:
            raise httpcore2.WriteError("the connection broke off") from None  # an answer may have come before

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            self._stream = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException as error:
            await self._stream.aclose()  # a handshake that is cancelled leaves it open
            if not isinstance(error, httpcore2.NetworkError | OSError):
                raise
            reason = error if isinstance(error, ssl.SSLError) else error.args[0] if error.args else None
            why = (
                reason.verify_message
                if isinstance(reason, ssl.SSLCertVerificationError)
                else "the handshake failed, and TLS 1.2 or newer is needed"
            )
            raise ExchangeFailed(
                f"{self._host} could not be trusted: {why}. Correct the certificate there, or, for a private "
                f"authority, name its certificate in ca_file.",
                sent=False,
            ) from None
        return self


@dataclass(slots=True)
class _Begun:
    """What has come of an answer."""

    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    pieces: list[bytes] = field(default_factory=list)

    def response(self) -> Response:
        """All of it, marked as cut."""
        return Response(status=self.status, headers=self.headers, body=b"".join(self.pieces), cut=True)


async def _read(answer: httpcore2.Response, request: Request, target: Target, begun: _Begun) -> Response:
    head = head_of(answer.headers, target)
    begun.headers, begun.status = head.decoded, answer.status
    if not await _body(answer, request, coded=head.gzip, target=target, pieces=begun.pieces):
        return begun.response()
    await _end(answer)
    body = b"".join(begun.pieces)
    return Response(status=answer.status, headers=head.decoded if head.gzip else head.headers, body=body)


async def _end(answer: httpcore2.Response) -> None:
    # What follows an answer would be taken for the next one, and httpcore2 has no public way to see it.
    if answer.stream._stream._connection._h11_state.trailing_data[0]:  # type: ignore[union-attr]  # noqa: SLF001
        await answer.extensions["network_stream"].aclose()


def _outgoing(
    method: str,
    target: Target,
    headers: list[tuple[bytes, bytes]],
    body: bytes | AsyncIterator[bytes],
) -> httpcore2.Request:
    url = httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
    return httpcore2.Request(method, url, headers=headers, content=body)


async def _body(
    answer: httpcore2.Response, request: Request, *, coded: bool, target: Target, pieces: list[bytes]
) -> bool:
    """Read the body into ``pieces``; False where it goes on after the cap, and its beginning is enough."""
    gzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16) if coded else None
    room = request.cap
    async with aclosing(answer.aiter_stream()) as chunks:
        async for chunk in chunks:
            try:
                # At most one byte over the cap, however far the rest would unfold.
                piece = gzip.decompress(chunk, room + 1) if gzip else chunk
            except zlib.error:
                raise failed(target, "answered with gzip that cannot be read", sent=True) from None
            if len(piece) > room:
                if request.whole:
                    raise failed(target, f"answered with more than {request.cap} bytes", sent=True)
                pieces.append(piece[:room])
                return False
            room -= len(piece)
            pieces.append(piece)
    if gzip and pieces and (not gzip.eof or gzip.unused_data):
        raise failed(target, "answered with gzip that cannot be read", sent=True)
    return True


def _not_ours(_: logging.LogRecord) -> bool:
    """Keep the library's debug lines on our exchanges out of the log: they print the headers of answers."""
    return _exchanging.get() is None
