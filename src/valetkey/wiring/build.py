"""Choose and connect the parts; the default system of Pocket() and PocketAuth()."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from valetkey.connections.answer import Answering
from valetkey.connections.connect import Connecting
from valetkey.connections.disconnect import Disconnector
from valetkey.connections.driven import Driven, declared
from valetkey.connections.find import Connector
from valetkey.connections.handler import AuthHandlerInterface
from valetkey.connections.handling import Handling
from valetkey.connections.keep import Keeper
from valetkey.connections.refresh import Refresher
from valetkey.errors import InvalidSetting, UnknownProvider
from valetkey.identity.chain import Chain
from valetkey.identity.verifiers.vouched import Vouched
from valetkey.interactions.service import Interactions
from valetkey.lending import Lender
from valetkey.oauth.clients import Clients
from valetkey.pipeline import Road
from valetkey.policy.decide import Policy
from valetkey.ports.messages import Wakeups
from valetkey.ports.stores import ConnectionStore, InteractionStore
from valetkey.ports.world import Clock, Entropy, Fetcher, Home, KeySource
from valetkey.providers.base import HandlerEntry, HandlerKind, Provider
from valetkey.providers.inline import OAuthHandler
from valetkey.providers.registry import Registry
from valetkey.secret import Secret
from valetkey.settings.pocket import Config
from valetkey.vault.keyring import Keyring
from valetkey.vault.seal import Sealer
from valetkey.wiring.inline import inline_client
from valetkey.wiring.links import CallbackLinks
from valetkey.wiring.system import Parts, System

_lock = threading.RLock()
_default: System | None = None


def default() -> System:
    """The system of this process, made of the settings at first need; a fork makes its own."""
    global _default  # noqa: PLW0603  # one for each process, by decision
    with _lock:
        if _default is None or not _default.ours:
            _default = build(Config.load(Path.cwd(), os.environ))
        return _default


def use(system: System | None) -> None:
    """Make ``system`` the default one; None: it is made anew at the next need. The one before is closed."""
    global _default
    with _lock:
        before, _default = _default, system
    if before is not None and before is not system and before.ours:
        before.close()


def home_folder(environ: Mapping[str, str]) -> Path:
    """The data folder: ``VALETKEY_HOME``, else ``~/.valetkey``."""
    given = environ.get("VALETKEY_HOME", "")
    return Path(given).expanduser() if given else Path.home() / ".valetkey"


def build(
    config: Config,
    *,
    folder: Path | None = None,
    environ: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    entropy: Entropy | None = None,
    fetcher: Fetcher | None = None,
    keys: KeySource | None = None,
) -> System:
    """A system of these settings. What is handed in is used instead of the real part.

    Raises:
        InvalidSetting: a setting cannot be used; the text names it.
    """
    from valetkey.adapters.home import HomeLoop  # adapters load when a system is made
    from valetkey.adapters.http import HttpClient
    from valetkey.adapters.local_messages import LocalWakeups
    from valetkey.adapters.system import SystemClock, SystemEntropy

    environ = os.environ if environ is None else environ
    folder = folder or home_folder(environ)
    clock = clock or SystemClock()
    entropy = entropy or SystemEntropy()
    home = HomeLoop()
    wakeups = LocalWakeups()
    closers: list[Callable[[], Any]] = []
    if fetcher is None:
        client = HttpClient(
            home=home,
            allowed_hosts=config.general.allowed_hosts,
            ca_file=Path(config.general.ca_file) if config.general.ca_file else None,
        )
        closers.append(lambda: home.block(client.close))
        fetcher = client
    sealer = Sealer(Keyring(keys or _keys(config, folder, entropy, clock)), entropy)
    connections, interaction_rows, close_stores = _stores(config, folder)
    closers.append(close_stores)
    inline: dict[str, OAuthHandler] = {}
    registry = Registry(config.general.provider_paths or ("",))
    clients = Clients(
        lambda name: inline_client(config, registry, inline[name]) if name in inline else config.client(name)
    )
    links = CallbackLinks(config, home)
    interactions = Interactions(store=interaction_rows, sealer=sealer, clock=clock, entropy=entropy, wakeups=wakeups)
    keeper, refresher = _keeping(connections, sealer, clock, entropy, home, wakeups)
    prebuilt = config.general.use_prebuilt_auth
    handling = Handling(registry, clients, fetcher, entropy, clock, environ, prebuilt=prebuilt)
    return _connect(
        Parts(
            config=config,
            folder=folder,
            clock=clock,
            entropy=entropy,
            home=home,
            wakeups=wakeups,
            fetcher=fetcher,
            environ=environ,
            registry=registry,
            clients=clients,
            inline=inline,
            links=links,
            connections=connections,
            interactions=interactions,
            sealer=sealer,
            keeper=keeper,
            refresher=refresher,
            closers=(*closers, home.close),
            process=os.getpid(),
        ),
        handling,
    )


def derive(
    base: System,
    *,
    handlers: Sequence[AuthHandlerInterface] = (),
    prebuilt: bool | None = None,
    in_memory: bool = False,
) -> System:
    """The same system with auth handlers of the host program's own, or with accounts that end with the process.

    Raises:
        InvalidSetting: one of them has no name, or no provider.
    """
    handling = Handling(
        base.registry,
        base.clients,
        base.fetcher,
        base.entropy,
        base.clock,
        base.environ,
        prebuilt=base.config.general.use_prebuilt_auth if prebuilt is None else prebuilt,
    )
    for handler in handlers:
        handling.add(Driven(handler, _provider_of(base.registry, handler)))
    if not in_memory:
        return _connect(base, handling)
    from valetkey.adapters.memory import MemoryConnections

    store = MemoryConnections()
    parts = _keeping(store, base.sealer, base.clock, base.entropy, base.home, base.wakeups)
    return _connect(replace(base, connections=store, keeper=parts[0], refresher=parts[1]), handling, in_memory=True)


def _keeping(
    store: ConnectionStore, sealer: Sealer, clock: Clock, entropy: Entropy, home: Home, wakeups: Wakeups
) -> tuple[Keeper, Refresher]:
    keeper = Keeper(store=store, sealer=sealer, clock=clock, entropy=entropy, wakeups=wakeups)
    return keeper, Refresher(store=store, sealer=sealer, clock=clock, entropy=entropy, home=home, wakeups=wakeups)


def _connect(system: Parts, handling: Handling, *, in_memory: bool = False) -> System:
    """The rooms that look for handlers, over this table of them."""
    answering = Answering(
        store=system.connections,
        interactions=system.interactions,
        finder=handling,
        keeper=system.keeper,
        links=system.links,
        clock=system.clock,
        home=system.home,
        in_memory=in_memory,
    )
    connecting = Connecting(
        store=system.connections,
        interactions=system.interactions,
        finder=handling,
        answering=answering,
        refresher=system.refresher,
        keeper=system.keeper,
        links=system.links,
        clock=system.clock,
    )
    connector = Connector(
        store=system.connections,
        finder=handling,
        connecting=connecting,
        answering=answering,
        refresher=system.refresher,
        clock=system.clock,
    )
    disconnector = Disconnector(
        store=system.connections,
        interactions=system.interactions,
        answering=answering,
        finder=handling,
        sealer=system.sealer,
        home=system.home,
        wakeups=system.wakeups,
    )
    road = Road(
        chain=Chain([Vouched()]),
        policy=Policy(),
        connector=connector,
        lender=Lender(sealer=system.sealer, finder=handling, store=system.connections),
    )
    parts = {part.name: getattr(system, part.name) for part in fields(Parts)}
    return System(
        **parts,
        handling=handling,
        answering=answering,
        connecting=connecting,
        connector=connector,
        disconnector=disconnector,
        road=road,
    )


def _provider_of(registry: Registry, handler: AuthHandlerInterface) -> Provider:
    """The provider of a handler of the host program's own; one that no catalogue has is made of its name."""
    try:
        name = handler.provider().value
    except NotImplementedError as error:
        raise InvalidSetting(f"{type(handler).__name__} cannot be used: {error}") from None
    try:
        return registry.get(name)
    except UnknownProvider:
        own = declared(handler, "name") or type(handler).__name__
        scoped = declared(handler, "scoped") is True
        entry = HandlerEntry(name=own, kind=HandlerKind.CUSTOM, default=True, scoped=scoped)
        provider = Provider(name=name, title=name.replace("_", " ").capitalize(), handlers=(entry,))
        registry.register(provider)
        return provider


def _keys(config: Config, folder: Path, entropy: Entropy, clock: Clock) -> KeySource:
    from valetkey.adapters.keysources import EnvironmentKey, FileKeys

    if config.general.vault_key is not None:
        return EnvironmentKey(config.general.vault_key)
    if config.session.session_type == "in_memory":
        return EnvironmentKey(Secret(entropy.token(32)))
    return FileKeys(folder / "vault.keys", entropy=entropy, clock=clock)


def _stores(config: Config, folder: Path) -> tuple[ConnectionStore, InteractionStore, Callable[[], None]]:
    if config.session.session_type == "in_memory":
        from valetkey.adapters.memory import MemoryConnections, MemoryInteractions

        return MemoryConnections(), MemoryInteractions(), lambda: None
    from valetkey.adapters.sql.connections import SqlConnections
    from valetkey.adapters.sql.interactions import SqlInteractions
    from valetkey.adapters.sql.sqlite import SqliteDatabase

    database = SqliteDatabase(_database_path(config, folder))
    return SqlConnections(database), SqlInteractions(database), database.close


def _database_path(config: Config, folder: Path) -> Path:
    if config.general.database_url is None:
        return folder / "valetkey.db"
    url = config.general.database_url.reveal()
    if not url.startswith("sqlite:///"):
        raise InvalidSetting(
            "The setting database_url has to begin with sqlite:/// (other databases are not supported yet)."
        )
    return Path(url.removeprefix("sqlite:///"))
