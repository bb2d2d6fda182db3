"""Clock, Entropy, Fetcher, KeySource, Journal, Home (the loop that owns sockets)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol, TypeVar, runtime_checkable

from valetkey.model.connections import Connection

T = TypeVar("T")


class Clock(Protocol):
    """Time, handed in."""

    def now(self) -> float:
        """Wall time in seconds since the epoch; for what is stored or compared with a claim."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; for ages and deadlines within this process."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Entropy(Protocol):
    """Randomness, handed in."""

    def token(self, size: int = 32) -> str:
        """``size`` random bytes, base64url without padding."""
        ...

    def bytes(self, size: int) -> bytes:
        """``size`` random bytes."""
        ...


class Trust(Enum):
    """Who named a URL; decides which addresses it may lead to."""

    CATALOGUE = "catalogue"
    """A provider's entry that we ship, or what a provider or caller said: https to public addresses only."""

    OPERATOR = "operator"
    """Settings or code of the host program: loopback too, plain http there; private hosts when allowed by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request. Headers may hold a credential: they do not print.

    Attributes:
        whole: whether an answer over the cap is an error; else its beginning is given, and marked.
    """

    method: str
    url: str
    trust: Trust
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    deadline: float = 10.0
    cap: int = 1_048_576
    whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One HTTP response, read whole. Header names are lower case; ``set-cookie`` and the body do not print.

    Attributes:
        cut: whether the body goes on after what is here.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    cut: bool = False

    def header(self, name: str) -> str | None:
        """The first header of that (lower-case) name."""
        return next((value for key, value in self.headers if key == name), None)


class Fetcher(Protocol):
    """The one way out."""

    async def fetch(self, request: Request) -> Response:
        """Send a request within its deadline and cap; redirects are answers, not followed.

        Raises:
            BlockedAddress: the URL or the address it resolves to may not be called.
            ExchangeFailed: no whole answer in time; ``sent`` tells whether the request may have arrived.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRequest:
    """One HTTP request whose answer is read piece by piece.

    Attributes:
        body: what is sent; pieces are sent as they come.
        length: bytes of the pieces together; None: nobody knows, and they are sent in chunks.
        deadline: seconds until the head of the answer is there; each piece that is sent begins them anew.
        idle: seconds between two pieces of the answer.
        longest: seconds that the whole answer may take.
        cap: bytes of the answer, after decoding.
    """

    method: str
    url: str
    trust: Trust
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | AsyncIterator[bytes] = field(default=b"", repr=False)
    length: int | None = None
    deadline: float = 60.0
    idle: float = 60.0
    longest: float = 900.0
    cap: int = 1_073_741_824


class Streamed(Protocol):
    """An answer whose head is there. Its body is iterated over once; header names are lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The body, decoded.

        Raises:
            ExchangeFailed: it is cut: too long, too slow, or broken off.
        """
        ...

    async def aclose(self) -> None:
        """Let go of it; before its end, the connection is closed."""
        ...


@runtime_checkable
class Streamer(Protocol):
    """The one way out, for what is too long or too slow to be read whole. For the home loop only."""

    async def stream(self, request: StreamRequest) -> Streamed:
        """Send a request, and give the head of its answer; redirects are answers, nothing is sent twice.

        Raises:
            InvalidArguments: it is no one HTTP request, or asked from another loop than home; nothing was sent.
            BlockedAddress: the URL or the address it resolves to may not be called.
            ExchangeFailed: no answer in time; ``sent`` tells whether the request may have arrived.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """The connection of a person, as it reached the host program's app.

    A call inside that app is made to look like it, so that the app judges it as it judged the person's own.

    Attributes:
        host: the Host header that the app let in.
        scheme: ``http`` or ``https``.
        client: the peer's address and port (ASGI 3, "HTTP Connection Scope").
        state: what the app's lifespan left for its requests.
    """

    host: str
    scheme: str
    client: tuple[str, int] | None
    state: Mapping[str, Any] = field(default_factory=dict, repr=False)


VISIT: ContextVar[Visit | None] = ContextVar("valetkey_visit", default=None)
"""On whose behalf an app is called in process, during one tool call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One root key: 32 random bytes and its public name.

    Attributes:
        created_at: seconds since the epoch; 0: not known.
        source: where it is kept, in a word or two.
    """

    id: str
    material: bytes = field(repr=False)
    created_at: float = 0.0
    source: str = ""


class KeySource(Protocol):
    """Where root keys come from, newest first. For any thread; may block for a disk or a key service."""

    @property
    def name(self) -> str:
        """Where that is, in words for people."""
        ...

    def keys(self, *, make: bool = True) -> tuple[Key, ...]:
        """All keys, read anew; the first writes. Where there is none, one is made if the source can, and ``make``.

        Raises:
            KeyUnavailable: the source cannot be read, or its key cannot be used.
        """
        ...

    def stamp(self) -> Hashable:
        """Another value as soon as the keys may have changed. Cheap: it is asked again and again. Never raises."""
        ...

    def add(self) -> Key:
        """Make a new key, which writes from now on; kept for good when this returns.

        Raises:
            KeyUnavailable: it cannot be kept there, or this source is changed by hand; the text says how.
        """
        ...

    def remove(self, key_id: str) -> None:
        """Forget a key; what it sealed opens no more. One that is not there is no error.

        Raises:
            KeyUnavailable: it writes, or this source is changed by hand; the text says how.
        """
        ...


class Home(Protocol):
    """The loop that owns sockets and pools: the server's own, or one daemon thread in a script."""

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run on the home loop and wait there or from any other loop; cancelling the wait does not cancel the work."""
        ...

    def block(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run on the home loop and block this thread until it is done.

        Raises:
            RuntimeError: called on the home loop itself, where it would wait for itself.
        """
        ...

    def spawn(self, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Run on the home loop, and do not wait for it.

        Raises:
            RuntimeError: the home loop has ended.
        """
        ...

    def here(self) -> bool:
        """Whether the running loop is that one, and takes work: then it need not be handed in."""
        ...

    def quiet(self) -> None:
        """End what runs by itself in the background; what else was handed in goes on."""
        ...


class Journal(Protocol):
    """What the database could not take, on this machine's disk. For any thread; blocks for a disk's flush."""

    def put(self, connection: Connection, *, generation: int) -> None:
        """Keep a renewed connection that is to replace ``generation``; on the disk when this returns.

        Raises:
            StoreUnavailable: the disk cannot take it either.
        """
        ...

    def of(self, connection_id: str) -> tuple[Connection, int] | None:
        """What is kept for that connection, with the generation that it replaces; the newest."""
        ...

    def entries(self) -> Sequence[tuple[Connection, int]]:
        """All that is kept, the oldest first; a damaged one is logged, set aside and left out."""
        ...

    def remove(self, connection: Connection) -> None:
        """The database has it by now, or does not want it."""
        ...
