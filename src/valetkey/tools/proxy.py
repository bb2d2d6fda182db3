"""Any request to a provider, with the caller's own credential on it: what a service with a ticket calls."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from valetkey.connections.finder import Finder
from valetkey.errors import Denied, ExchangeFailed, InvalidArguments, ProviderUnavailable, ValetkeyError
from valetkey.model.calls import Lent
from valetkey.model.needs import Need, Needs
from valetkey.ports.world import Streamed, Streamer, StreamRequest
from valetkey.scrub import Scrubber
from valetkey.tools.openapi.answer import OperationFailed, named
from valetkey.tools.openapi.placing import Placed, heard_nonce, place, proofs
from valetkey.tools.openapi.security import Bound, Security, Spot
from valetkey.tools.proxy_rules import checked_query, checked_target, kept_headers, origin_for, trust_of

UNAUTHORIZED = 401
REFUSAL = 65_536
"""Bytes of a provider's 401 that are given on."""

SHORT = 65_536
"""Bytes of a body that is scrubbed as a whole, where its length is known beforehand."""

_NOT_FINAL = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyRequest:
    """What is to be sent.

    Attributes:
        host: which of the provider's addresses; empty: its usual one.
        path: percent-encoded, beginning with a slash.
        query: as it came, without the question mark.
        headers: those that may go on.
        body: bytes, which can be sent again; or pieces, which cannot.
        length: bytes of the pieces together, where they are known.
    """

    method: str
    host: str
    path: str
    query: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | AsyncIterator[bytes] = field(default=b"", repr=False)
    length: int | None = None


class ProxyAnswer:
    """The head of an answer, and its body piece by piece; scrubbed of what was lent."""

    def __init__(self, streamed: Streamed, scrubber: Scrubber, *, url: str) -> None:
        self._streamed = streamed
        self._scrubber = scrubber
        self.status = streamed.status
        self.headers = kept_headers(streamed.headers, scrubber, url=url)
        self.length = _length(streamed.headers)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body.

        Raises:
            ExchangeFailed: it is cut: too long, too slow, or broken off.
        """
        if not self._scrubber.needles:
            async for piece in self._streamed:
                yield piece
            return
        if self.length is not None and self.length <= SHORT:
            # Looking for what a tail may begin costs many times what looking through a short text does.
            whole = b"".join([piece async for piece in self._streamed])
            yield self._scrubber.data(whole)
            return
        stream = self._scrubber.byte_stream()
        async for piece in self._streamed:
            clean = stream.feed(piece)
            if clean:
                yield clean
        last = stream.close()
        if last:
            yield last

    async def aclose(self) -> None:
        """Let go of it."""
        await self._streamed.aclose()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The provider's own 401, read and scrubbed."""

    headers: tuple[tuple[str, str], ...]
    body: bytes


class ProxyTool:
    """One request, to be sent once, or once more after a 401.

    Args:
        name: of whoever asks: a service that was lent a ticket, or ``via/<provider>``.
        provider: whose account goes on the request.
        finder: knows the provider's addresses.
        deadline: seconds until the head of the answer.
        account: which account was lent, by its name at the provider or its connection's id; empty: whichever is there.
        scopes: what was lent of it: an account that nobody connected is asked for with these.

    Attributes:
        error: why there is no answer.
        refusal: the last 401.
    """

    description = "Sends one request to a provider with the caller's own account."

    def __init__(
        self,
        *,
        name: str,
        provider: str,
        request: ProxyRequest,
        streamer: Streamer,
        finder: Finder,
        deadline: float = 300.0,
        account: str = "",
        scopes: Collection[str] = (),
    ) -> None:
        self.name = name
        self.deadline = deadline
        self.needs = Needs(((Need(provider=provider, scopes=frozenset(scopes)),),))
        self.schema: Mapping[str, Any] = {"type": "object"}
        self.error: ValetkeyError | None = None
        self.refusal: Refusal | None = None
        self._request = request
        self._streamer = streamer
        self._finder = finder
        self._account = account
        self._spent = False

    def bind(self, arguments: Mapping[str, object]) -> Mapping[str, object]:
        """Judge the request, before anybody is asked about it.

        Raises:
            InvalidArguments: its path leads elsewhere, or it brings a credential of its own.
        """
        asked = self._request
        checked_target(asked.path)
        checked_query(asked.path, asked.query, asked.headers, asked.body)
        return arguments

    async def run(self, lent: Lent, arguments: Mapping[str, object]) -> ProxyAnswer:
        """Send it with what was lent.

        Raises:
            OperationFailed: there is no answer, or it is a 401: see ``error`` and ``refusal``.
        """
        try:
            return await self._run(lent)
        except ValetkeyError as error:
            self.error = error
            raise OperationFailed(error.message) from None

    async def _run(self, lent: Lent) -> ProxyAnswer:
        if self._spent:
            raise ProviderUnavailable(
                "The provider refused the credential, which was renewed since; this request's body cannot be sent"
                " again from here. Send it again.",
                retry_after=1,
            )
        request = self._request
        (connection,) = lent.connected.connections
        if self._account and self._account != (connection.account or connection.id):
            raise Denied(f"Another account at {connection.provider} is connected now. Call the service again.")
        origin = origin_for(request.host, lent.origins, provider=connection.provider)
        provider = self._finder.find(connection.handler, connection.provider).provider
        placed = self._credential(lent, origin)
        headers = {**request.headers, **placed.headers}
        query = "&".join(filter(None, (request.query, *(f"{name}={value}" for name, value in placed.query))))
        path = f"{request.path}?{query}" if query else request.path
        self._spent = not isinstance(request.body, bytes)
        streamed = await self._streamer.stream(
            StreamRequest(
                method=request.method,
                url=origin + path,
                trust=trust_of(provider, origin),
                headers={**headers, **proofs(lent, request.method, origin + path, headers)},
                body=request.body,
                length=request.length,
            )
        )
        if streamed.status < _NOT_FINAL:
            await streamed.aclose()
            raise ExchangeFailed("The provider answered with another protocol than HTTP.", sent=True)
        scrubber, url = Scrubber(lent.secrets), origin + request.path
        if streamed.status == UNAUTHORIZED:
            nonce = next((value for name, value in streamed.headers if name == "dpop-nonce"), None)
            heard_nonce(lent, origin + path, nonce)
            self.refusal = await _read(streamed, scrubber, url)
            raise OperationFailed(named(UNAUTHORIZED), status_code=UNAUTHORIZED, url=url)
        return ProxyAnswer(streamed, scrubber, url=url)

    def _credential(self, lent: Lent, origin: str) -> Placed:
        """What goes on the request, by the provider's entry.

        Raises:
            Denied: it is not for that origin, or nothing of a request carries it.
            InvalidArguments: the request brings a header or a parameter of that name.
        """
        (need,) = self.needs.alternatives[0]
        security = Security(alternatives=((Bound(need, (Spot(way="all"),)),),))
        placed = place(security, lent, origin=origin)
        if not placed.headers and not placed.query:
            raise Denied(f"The account at {need.provider} has no credential that goes on a request by itself.")
        # Gateways for CGI and WSGI take - and _ for one.
        given = {name.lower().replace("_", "-") for name in self._request.headers}
        for name in placed.headers:
            if name.lower().replace("_", "-") in given:
                raise InvalidArguments(f"The header {name} is filled by the credential of this call. Leave it out.")
        # Some providers take a semicolon for an ampersand, and names in any case.
        pairs = parse_qsl(self._request.query.replace(";", "&"), keep_blank_values=True)
        asked = {name.lower() for name, _ in pairs}
        for name, _ in placed.query:
            if unquote(name).lower() in asked:
                raise InvalidArguments(f"The parameter {name} is filled by the credential of this call. Leave it out.")
        return placed


def _length(headers: Sequence[tuple[str, str]]) -> int | None:
    said = [value for name, value in headers if name == "content-length"]
    return int(said[0]) if len(said) == 1 and said[0].isdecimal() and len(said[0]) < 20 else None  # noqa: PLR2004


async def _read(streamed: Streamed, scrubber: Scrubber, url: str) -> Refusal:
    body = b""
    try:
        async for piece in streamed:
            body += piece
            if len(body) > REFUSAL:
                break
    except ExchangeFailed:
        body = b""
    finally:
        await streamed.aclose()
    stream = scrubber.byte_stream()
    clean = stream.feed(body[:REFUSAL]) + (stream.close() if len(body) <= REFUSAL else b"")
    return Refusal(headers=kept_headers(streamed.headers, scrubber, url=url), body=clean)
