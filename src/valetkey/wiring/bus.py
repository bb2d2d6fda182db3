"""How processes hear of each other, as settings say: over Redis or Valkey, or not at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from valetkey.errors import InvalidSetting
from valetkey.ports.messages import Channel, Counters, Wakeups
from valetkey.ports.world import Clock, Home
from valetkey.secret import Secret
from valetkey.settings.pocket import Config

if TYPE_CHECKING:
    from valetkey.adapters.redis_client import RedisClient
    from valetkey.adapters.redis_messages import Background


@dataclass(frozen=True, kw_only=True)
class Bus:
    """What processes tell each other; never what decides.

    Attributes:
        wakeups: hints that a row changed.
        counters: counts for limits.
        channel: messages between the instances of one server; None: there is one instance.
        shared: whether other processes are told; else the database counts for all (``Stores.counters``).
        ping: ask the server something small; raises ``StoreUnavailable``. Within one process there is nothing to ask.
        close: close what is open.
    """

    wakeups: Wakeups
    counters: Counters
    channel: Channel | None
    shared: bool
    ping: Callable[[], Awaitable[None]]
    close: Callable[[], None]


def open_bus(config: Config, home: Background, clock: Clock) -> Bus:
    """The bus of these settings; nothing is opened before the first use.

    Where accounts are kept in Redis, its server is the bus, too, unless ``redis_url`` names another.

    Raises:
        InvalidSetting: the server's address cannot be used.
    """
    if config.general.redis_url is None and config.session.session_type != "redis":
        return _local(clock)
    client = redis_client(config, home, store=False)
    from valetkey.adapters.redis_channel import RedisChannel
    from valetkey.adapters.redis_messages import RedisCounters, RedisWakeups
    from valetkey.adapters.system import SystemEntropy

    source = SystemEntropy().token(9)
    wakeups = RedisWakeups(client, home=home, clock=clock, source=source)

    def close() -> None:
        wakeups.close()
        client.close()

    return Bus(
        wakeups=wakeups,
        counters=RedisCounters(client, clock=clock),
        channel=RedisChannel(client, clock=clock, name=source),
        shared=True,
        ping=client.ping,
        close=close,
    )


def redis_client(config: Config, home: Home, *, store: bool) -> RedisClient:
    """The client of the bus, or of the store.

    The store is where ``session.redis.*`` says, else where ``redis_url`` does; the bus the other way round.

    Raises:
        InvalidSetting: the server's address cannot be used, or the package is missing.
    """
    try:
        from valetkey.adapters.redis_client import RedisClient
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "redis":
            raise
        raise InvalidSetting(
            "The settings name a Redis server, and the package for it is missing: pip install 'valetkey[redis]'."
        ) from None
    named = any(name.startswith("session.redis.") for name in config.sources.names())
    url = config.general.redis_url
    if url is None or (store and named):
        url, setting = _session_url(config), "session.redis"
    else:
        setting = "redis_url"
    deadline = 5.0 if store else 1.0
    return RedisClient(url, setting=setting, home=home, deadline=deadline, ca_file=config.general.ca_file, store=store)


def _session_url(config: Config) -> Secret:
    given = config.session
    password = "" if given.redis_password is None else f":{quote(given.redis_password.reveal(), safe='')}"
    user = f"{quote(given.redis_username, safe='')}{password}"
    bare = given.redis_host.strip("[]")
    host = f"[{bare}]" if ":" in bare else bare
    scheme = "rediss" if given.redis_ssl else "redis"
    return Secret(f"{scheme}://{user}{'@' if user else ''}{host}:{given.redis_port}/{given.redis_db}")


def _local(clock: Clock) -> Bus:
    from valetkey.adapters.local_messages import LocalCounters, LocalWakeups

    async def ping() -> None:
        pass

    return Bus(
        wakeups=LocalWakeups(),
        counters=LocalCounters(ticks=clock.monotonic),
        channel=None,
        shared=False,
        ping=ping,
        close=lambda: None,
    )
