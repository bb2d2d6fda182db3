"""One Redis or Valkey server: a pool on the home loop, each use in bounded time, every fault in plain words."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import UsernamePasswordCredentialProvider
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ConnectionError,  # noqa: A004 - the library's own name for it
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TimeoutError,  # noqa: A004 - as above
)

from valetkey.errors import InvalidSetting, StoreUnavailable
from valetkey.ports.world import Home
from valetkey.secret import Secret

T = TypeVar("T")

PREFIX = "{valetkey}:"
"""What every key begins with. The braces keep all keys on one node of a cluster, where scripts can reach them."""

CONNECTIONS = 16
FAULTS = (RedisError, OSError, asyncio.TimeoutError)
"""What a use of the library may raise when the server cannot be used."""

_log = logging.getLogger("valetkey")
_FULL = "has no memory left. Raise its maxmemory; nothing that was saved is lost"
_REPLICA = "may only be read, as a replica is. Point the setting to the primary"
_FORBIDDEN = "forbids our user a command or a key. Allow it all commands on keys and channels {valetkey}:*"
_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (AuthenticationError, "refuses our user name or password. Correct them in the settings"),
    (AuthorizationError, "refuses our user name or password. Correct them in the settings"),
    (NoPermissionError, _FORBIDDEN),
    (BusyLoadingError, "is still loading its data. Try again in a moment"),
    (OutOfMemoryError, _FULL),
    (ReadOnlyError, _REPLICA),
    (TimeoutError, "did not answer in time. Try again; if it stays so, look after the server"),
    (asyncio.TimeoutError, "did not answer in time. Try again; if it stays so, look after the server"),
    (ConnectionError, "cannot be reached. Start it, or correct its address in the settings"),
    (OSError, "cannot be reached. Start it, or correct its address in the settings"),
)
_UNTRUSTED = "shows no certificate that is trusted here. Name its authority's in ca_file, or correct the address"
_WORDS = {
    "OOM": _FULL,
    "READONLY": _REPLICA,
    "NOPERM": _FORBIDDEN,
    "MISCONF": "cannot write to its disk, and takes no changes until it can. Look after its disk",
    "NOREPLICAS": "has too few replicas to take changes. Look after them",
}


class Script:
    """One Lua script; it sees all keys below the prefix in ``KEYS[1]``, and runs as one step."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class RedisClient:
    """A pool on the home loop; may be used from any loop and any thread, and after a fork: a child makes its own.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, with user name and password where the server asks.
        setting: the setting that it came from, for errors.
        home: the loop that owns the pool.
        deadline: seconds that one use may take, with all its waiting.
        ca_file: further certificates to trust, PEM; for ``rediss://``.
        store: whether rows are kept there: then settings of the server that lose them are warned of, once.

    Raises:
        InvalidSetting: the address cannot be used.
    """

    def __init__(
        self,
        url: Secret,
        *,
        setting: str,
        home: Home,
        deadline: float = 5.0,
        ca_file: str = "",
        store: bool = False,
    ) -> None:
        self._options = _options(url, setting, ca_file)
        self._home = home
        self._deadline = deadline
        self._store = store
        self._node: dict[str, Any] = {}  # where a cluster sent us
        # By process: a child must neither use nor close the connections that it was forked with.
        self._held: dict[int, tuple[asyncio.AbstractEventLoop, Redis]] = {}
        self._left: list[Redis] = []
        self._looking: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        """Which server and database, without any secret."""
        options = self._options
        where = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        return f"redis {where}/{self.database}"

    @property
    def database(self) -> int:
        """The number of the database."""
        return int(self._options.get("db", 0))

    async def run(
        self, script: Script, *values: str | bytes, again: bool = False, deadline: float | None = None
    ) -> Any:
        """Run a script as one step.

        Args:
            script: what to run.
            values: its ``ARGV``.
            again: whether it may run twice: a reader, which is tried once more where the connection was lost.
            deadline: seconds, instead of the usual ones.

        Raises:
            StoreUnavailable: the server cannot be used now, or it is not known whether the script ran.
        """

        async def work(redis: Redis) -> Any:
            arguments: list[Any] = [PREFIX, *values]
            try:
                return await _answer(redis.evalsha(script.sha, 1, *arguments))
            except NoScriptError:  # the server was restarted, or never saw it
                return await _answer(redis.eval(script.text, 1, *arguments))

        return await self.use(work, again=again, deadline=deadline)

    async def ping(self) -> None:
        """Ask it something small.

        Raises:
            StoreUnavailable: it cannot be used now.
        """

        async def work(redis: Redis) -> None:
            await redis.ping()

        await self.use(work, again=True)

    async def use(
        self, work: Callable[[Redis], Coroutine[Any, Any, T]], *, again: bool = False, deadline: float | None = None
    ) -> T:
        """Do something with the server on the home loop, within the deadline.

        Once begun, it goes on to its end even when the one who waits is cancelled.

        Raises:
            StoreUnavailable: it cannot be used now.
        """
        return await self._home.run(
            lambda: self._use(work, self._deadline if deadline is None else deadline, again=again)
        )

    def here(self) -> Redis:
        """The library's own client, for a use that lasts. On the home loop only."""
        loop = asyncio.get_running_loop()
        held = self._held.get(os.getpid())
        if held is None or held[0] is not loop:
            held = loop, self._made()
            self._held[os.getpid()] = held
            if self._store:
                self._store = False
                looking = loop.create_task(_warn_of_losses(held[1], self.name))
                self._looking.add(looking)
                looking.add_done_callback(self._looking.discard)
        return held[1]

    def close(self) -> None:
        """Close the connections. A later use makes new ones."""
        held = self._held.get(os.getpid())
        if held is not None and not held[0].is_closed():
            self._home.block(self._close)

    def unavailable(self, error: BaseException) -> StoreUnavailable:
        """A fault in plain words; the library's own may quote what was sent."""
        return StoreUnavailable(f"The {self.name} {_reason(error)}.")

    async def _use(self, work: Callable[[Redis], Coroutine[Any, Any, T]], deadline: float, *, again: bool) -> T:
        moves = 3  # a cluster that is being changed may send us on twice
        try:
            async with asyncio.timeout(deadline):
                while True:
                    try:
                        return await work(self.here())
                    except MovedError as moved:
                        moves -= 1
                        if not moves:
                            raise
                        self._follow(moved)
                    except ConnectionError as error:
                        self._node = {}
                        if not again or isinstance(error, AuthenticationError | BusyLoadingError):
                            raise
                        again = False
        except FAULTS as error:
            raise self.unavailable(error) from None

    def _made(self) -> Redis:
        pool: Any = BlockingConnectionPool(**self._options | self._node)
        return Redis.from_pool(pool)

    def _follow(self, moved: MovedError) -> None:
        node = {"port": moved.port} | ({"host": moved.host} if moved.host else {})
        if node != self._node:
            self._node = node
            held = self._held.pop(os.getpid(), None)
            if held is not None:  # what is under way ends on the connections that it has
                self._left.append(held[1])

    async def _close(self) -> None:
        held = self._held.pop(os.getpid(), None)
        if held is not None and held[0] is asyncio.get_running_loop():
            for task in tuple(self._looking):
                task.cancel()
            for redis in (*self._left, held[1]):
                await redis.aclose()
            self._left.clear()


def _reason(error: BaseException) -> str:
    if isinstance(error.__context__ or error.__cause__, ssl.SSLError):
        return _UNTRUSTED
    for kind, text in _REASONS:
        if isinstance(error, kind):
            return text
    # Servers before Redis 7 tell what stopped a script within another sentence: "... -OOM command not allowed".
    told = next((text for word, text in _WORDS.items() if re.search(rf"(^|-){word}\b", str(error))), None)
    return told or f"refuses what we ask ({type(error).__name__}). Look into its log"


async def _answer(reply: Awaitable[T] | T) -> T:
    return await reply if isinstance(reply, Awaitable) else reply


def _options(url: Secret, setting: str, ca_file: str) -> dict[str, Any]:
    try:
        given: dict[str, Any] = dict(parse_url(url.reveal()))
    except ValueError:
        # Not as its cause, and not in its words: they may quote a part of the password.
        raise InvalidSetting(
            f"The setting {setting} is no address of a Redis server. Write redis://host:6379/0, or rediss:// for TLS;"
            " characters such as / @ : in a password have to be percent-encoded."
        ) from None
    user, password = given.pop("username", None), given.pop("password", None)
    if password is not None:
        given["credential_provider"] = UsernamePasswordCredentialProvider(user, password)  # it does not print them
    if ca_file and "ssl" in getattr(given.get("connection_class"), "__name__", "").lower():
        given.setdefault("ssl_ca_certs", ca_file)
    usual = {"max_connections": CONNECTIONS, "client_name": "valetkey"}
    ours = {
        "protocol": 2,
        "decode_responses": False,
        "timeout": None,
        "socket_timeout": None,
        "retry": Retry(NoBackoff(), 0),
    }
    return usual | given | ours


async def _warn_of_losses(redis: Redis, name: str) -> None:
    try:
        async with asyncio.timeout(5):
            memory = await redis.info("memory")
            policy = str(memory.get("maxmemory_policy", ""))
            if memory.get("maxmemory") and policy.startswith("allkeys"):
                _log.warning(
                    "The %s removes keys when its memory is full (maxmemory-policy %s), connections too."
                    " Set it to noeviction.",
                    name,
                    policy,
                )
            persistence = await redis.info("persistence")
            saves = await redis.config_get("save")
            if not persistence.get("aof_enabled") and not any(saves.values()):
                _log.warning(
                    "The %s keeps nothing on disk: a restart of it loses every connection. Set appendonly yes.", name
                )
    except FAULTS:
        return  # INFO and CONFIG may be forbidden; and whether it can be reached is told by the use itself
