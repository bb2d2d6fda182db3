"""Choose and connect the parts; the default system of Pocket() and PocketAuth()."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from valetkey.audit import Switch
from valetkey.connections.at_provider import World
from valetkey.connections.breaker import Breakers
from valetkey.connections.driven import Driven, declared
from valetkey.connections.handler import AuthHandlerInterface
from valetkey.connections.handling import Handling
from valetkey.connections.session import SessionPlaces
from valetkey.connections.whose import Whose
from valetkey.errors import InvalidSetting, UnknownProvider
from valetkey.interactions.service import Interactions
from valetkey.logs import show
from valetkey.oauth.clients import Clients
from valetkey.oauth.issuers import Issuers
from valetkey.oauth.registering import Registering
from valetkey.policy.decide import Oversight
from valetkey.ports.world import Clock, Entropy, Fetcher, Journal, KeySource
from valetkey.providers.base import HandlerEntry, HandlerKind, Provider
from valetkey.providers.inline import OAuthHandler
from valetkey.providers.registry import Registry
from valetkey.settings.pocket import Config
from valetkey.vault.keyring import Keyring
from valetkey.vault.seal import Sealer
from valetkey.wiring.bus import open_bus
from valetkey.wiring.inline import inline_client
from valetkey.wiring.keys import key_source, resealer
from valetkey.wiring.links import CallbackLinks
from valetkey.wiring.own_handlers import of_project
from valetkey.wiring.recorders import open_recorder
from valetkey.wiring.rooms import connect, keeping
from valetkey.wiring.stores import Stores, open_stores
from valetkey.wiring.stores import in_memory as in_memory_stores
from valetkey.wiring.system import Parts, System

if TYPE_CHECKING:
    from valetkey.wiring.upkeep import Upkeep

_lock = threading.RLock()
_default: System | None = None
_again: Callable[[], System] | None = None


def default() -> System:
    """The system of this process, made of the settings at first need; a fork makes its own."""
    global _default  # noqa: PLW0603  # one for each process, by decision
    with _lock:
        if _default is not None and _default.ours:
            return _default
        again = _again
        if again is None:
            config = Config.load(Path.cwd(), os.environ)
            if config.sources.get("log_level") is not None:
                show(config.general.log_level)
            _default = build(config, upkeep=True)
            return _default
    return again()  # past the lock: whoever makes it has one of its own, and calls us


def personal() -> System | None:
    """The default system, where it serves several people; None: there is none, or it is a script's."""
    with _lock:
        return _default if _default is not None and _default.ours and _default.links.personal else None


@atexit.register
def _settle() -> None:
    """A program that ends while an account is refreshed would lose what the provider answers."""
    if _default is not None and _default.ours:
        _default.settle()


def use(system: System | None, *, again: Callable[[], System] | None = None) -> None:
    """Make ``system`` the default one; None: it is made anew at the next need. The one before is closed.

    ``again`` makes it in a process that was forked: where several people are served, they are in each.
    """
    global _default, _again  # as above
    with _lock:
        before, _default, _again = _default, system, again
    if before is not None and before is not system and before.ours:
        before.links.ended = True
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
    upkeep: bool = False,
) -> System:
    """A system of these settings. What is handed in is used instead of the real part.

    ``upkeep``: whether what runs by itself runs here, from the first work of the home loop on.

    Raises:
        InvalidSetting: a setting cannot be used; the text names it.
    """
    from valetkey.adapters.home import HomeLoop  # adapters load when a system is made
    from valetkey.adapters.http import HttpClient
    from valetkey.adapters.system import SystemClock, SystemEntropy

    environ = os.environ if environ is None else environ
    folder = folder or home_folder(environ)
    clock = clock or SystemClock()
    entropy = entropy or SystemEntropy()
    home = HomeLoop()
    closers: list[Callable[[], Any]] = []
    if fetcher is None:
        client = HttpClient(
            home=home,
            allowed_hosts=config.general.allowed_hosts,
            ca_file=Path(config.general.ca_file) if config.general.ca_file else None,
        )
        closers.append(lambda: home.block(client.close))
        fetcher = client
    sealer = Sealer(Keyring(keys or key_source(config, folder, entropy, clock), ticks=clock.monotonic), entropy)
    stores = open_stores(config, folder, clock=clock, home=home)
    bus = open_bus(config, home, clock)
    inline: dict[str, OAuthHandler] = {}
    registry = Registry(config.general.provider_paths or ("",))
    journal = _journal(folder, stores)
    recorder = open_recorder(
        config, registry, census=stores.connections.census, journal=journal, home=home, clock=clock
    )
    closers += [recorder.close, stores.close, bus.close]
    clients = Clients(
        lambda name: inline_client(config, registry, inline[name]) if name in inline else config.client(name)
    )
    prebuilt = config.general.use_prebuilt_auth
    issuers = Issuers(fetcher, clock)
    whose = Whose(fetcher) if config.general.verify_accounts else None
    world = World(
        clients=clients,
        issuers=issuers,
        fetcher=fetcher,
        entropy=entropy,
        clock=clock,
        whose=whose,
        registering=Registering(store=stores.clients, sealer=sealer, fetcher=fetcher, clock=clock),
    )
    links = CallbackLinks(config, home)
    handling = Handling(registry, world, environ, prebuilt=prebuilt, of_project=of_project(links.routers))
    parts = Parts(
        config=config,
        folder=folder,
        clock=clock,
        entropy=entropy,
        home=home,
        bus=bus,
        recorder=recorder,
        fetcher=fetcher,
        environ=environ,
        registry=registry,
        clients=clients,
        world=world,
        inline=inline,
        links=links,
        stores=stores,
        journal=journal,
        interactions=Interactions(
            store=stores.interactions,
            sealer=sealer,
            clock=clock,
            entropy=entropy,
            wakeups=bus.wakeups,
            personal=lambda: links.personal,
        ),
        sealer=sealer,
        sessions=SessionPlaces(sealer=sealer, fetcher=fetcher, clock=clock, entropy=entropy, home=home),
        breakers=Breakers(clock=clock, entropy=entropy, recorder=recorder),
        audit=Switch(),
        oversight=Oversight(),
        closers=(*closers, home.close),
        process=os.getpid(),
    )
    system = connect(parts, handling, keeping(parts, handling))
    if upkeep:
        home.on_start(lambda: _upkeep(system).run())
    return system


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
        base.world,
        base.environ,
        prebuilt=base.config.general.use_prebuilt_auth if prebuilt is None else prebuilt,
        of_project=of_project(base.links.routers),
    )
    for handler in handlers:
        handling.add(Driven(handler, _provider_of(base.registry, handler)))
    if not in_memory:
        return connect(base, handling, base)
    from valetkey.adapters.journal import NoJournal

    own = in_memory_stores(base.clock)
    stores = replace(own, interactions=base.stores.interactions, leaders=base.stores.leaders)
    parts = replace(base, stores=stores, journal=NoJournal())
    return connect(parts, handling, keeping(parts, handling), in_memory=True)


def _upkeep(system: System) -> Upkeep:
    from valetkey.wiring.upkeep import Upkeep

    walk = resealer(system).walk

    async def reseal() -> int:
        return (await walk()).done

    return Upkeep(
        stores=system.stores,
        finder=system.handling,
        refresher=system.refresher,
        rotations=system.rotations,
        revoker=system.revoker,
        reseal=reseal,
        follow=system.answering.follow,
        clock=system.clock,
        entropy=system.entropy,
        recorder=system.recorder,
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


def _journal(folder: Path, stores: Stores) -> Journal:
    from valetkey.adapters.journal import FileJournal, NoJournal

    return FileJournal(folder, database=stores.name) if stores.kept else NoJournal()
