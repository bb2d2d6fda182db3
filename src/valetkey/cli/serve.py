"""valetkey serve."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from valetkey.cli.output import plain

if TYPE_CHECKING:
    from valetkey.settings.sections import Serving
    from valetkey.settings.server import ServerSettings
    from valetkey.wiring.identity import Identity

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_Several = Parameter(consume_multiple=True, negative="")
_Flag = Parameter(negative="", show_default=False)
_Nothing = Parameter(consume_multiple=True, negative="", show=False)
_Unused = Annotated[bool, Parameter(negative="", show=False)]


def serve(
    *,
    host: str | None = None,
    port: int | None = None,
    public_base_url: str | None = None,
    base_path: str | None = None,
    allow_origins: Annotated[list[str] | None, _Several] = None,
    allowed_host: Annotated[list[str] | None, _Several] = None,
    startup_functions: Annotated[list[str] | None, _Several] = None,
    root_token: str | None = None,
    server_id: str | None = None,
    database_uri: str | None = None,
    redis_uri: str | None = None,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    trusted_proxy: Annotated[list[str] | None, _Several] = None,
    from_env: Annotated[bool, _Flag] = False,
    static_mounts: Annotated[list[str] | None, _Nothing] = None,
    reset_redis: _Unused = False,
    enable_local_auth: _Unused = False,
    disable_ssl: _Unused = False,
) -> None:
    """Serve sign-in, accounts, tokens and services until told to stop (SIGTERM, Ctrl+C).

    Parameters
    ----------
    host
        Where to listen; 127.0.0.1 by default: this machine only.
    port
        9527 by default; 0 finds a free one.
    public_base_url
        What browsers call this server, such as https://my-org.com.
    base_path
        The path that a reverse proxy leaves before ours, such as /valetkey.
    allow_origins
        Origins whose pages may call this server from a browser; none by default.
    allowed_host
        Further host names under which it is asked.
    startup_functions
        file.py:function or module:function, run before the doors open; several.
    root_token
        Who presents it may do everything; at least 32 characters. In HYPHA_ROOT_TOKEN with --from-env nobody sees it.
    server_id
        This instance's name.
    database_uri
        sqlite:///path or postgresql://...; by default a file in the data folder.
    redis_uri
        Where several instances hear of each other.
    tls_cert
        PEM file with the certificate and its chain.
    tls_key
        PEM file with its key.
    trusted_proxy
        Addresses or networks of reverse proxies whose X-Forwarded-For and -Proto are believed.
    from_env
        Read each option from HYPHA_<NAME>, too; what is given here goes before.
    """
    from valetkey.settings.server import load_server

    given = {
        "server.host": host,
        "server.port": port,
        "server.public_base_url": public_base_url,
        "server.base_path": base_path,
        "server.allow_origins": allow_origins,
        "server.hosts": allowed_host,
        "server.startup_functions": startup_functions,
        "server.server_id": server_id,
        "server.tls_cert": tls_cert,
        "server.tls_key": tls_key,
        "server.trusted_proxies": trusted_proxy,
        "identity.root_token": root_token,
        "database_url": database_uri,
        "redis_url": redis_uri,
    }
    unused = {
        "--static-mounts": static_mounts,
        "--reset-redis": reset_redis,
        "--enable-local-auth": enable_local_auth,
        "--disable-ssl": disable_ssl,
    }
    _say_unused([name for name, value in unused.items() if value])
    keywords = {name: value for name, value in given.items() if value is not None}
    settings = load_server(Path.cwd(), os.environ, options=from_env, keywords=keywords)
    logging.basicConfig(level=settings.serving.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    run(settings)


def run(settings: ServerSettings) -> None:
    """Serve until a signal; returns when everything has ended in order.

    Raises:
        ValetkeyError: the start failed; nothing is listened on.
    """
    with contextlib.suppress(asyncio.CancelledError):  # told to stop before it had started
        asyncio.run(_Run(settings).run())


class _Run:
    """One life of the server."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._serving = settings.serving
        self._wake: Callable[[], None] = lambda: None

    async def run(self) -> None:
        """Start, serve until told to stop, and end in order."""
        told = asyncio.Event()
        starting = asyncio.current_task()

        def stop() -> None:
            _let_the_next_signal_kill()
            told.set()
            if starting is not None and not opened.is_set():
                starting.cancel()

        opened = asyncio.Event()
        for each in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(each, stop)
        async with contextlib.AsyncExitStack() as ending:
            lines = await self._open(ending)
            opened.set()
            for line in lines:
                _say(line)
            await told.wait()
            self._wake()
            _say("Valetkey ends; requests that are under way have 20 s.")

    async def _open(self, ending: contextlib.AsyncExitStack) -> list[str]:
        """Everything up to the open doors; what is to be told then."""
        from valetkey.entrypoints.app import build_app
        from valetkey.entrypoints.rpc.startup import end_services, start_services
        from valetkey.wiring import build
        from valetkey.wiring import identity as rooms
        from valetkey.wiring.services import clients_can_connect, open_services
        from valetkey.wiring.serving import adopt, base_url_of, open_listener
        from valetkey.wiring.via import open_loans

        doors: list[Any] = []

        async def door(scope: Any, receive: Any, send: Any) -> None:
            await doors[0](scope, receive, send)

        settings = self._settings.services
        listener = open_listener(door, self._serving, message=settings.max_message)
        await listener.reserve()
        ending.callback(listener.release)
        base_url = base_url_of(self._serving, listener.port)
        system = build.build(self._settings.config, upkeep=True)
        build.use(system)
        # In a thread: what it ends, it ends on this loop, and waits for it.
        ending.push_async_callback(asyncio.to_thread, build.use, None)
        adopt(system)
        identity = rooms.open_identity(system, self._settings.identity, base_url=base_url)
        ending.push_async_callback(identity.close)
        self._wake = system.interactions.waiting.end
        watching = asyncio.create_task(identity.stops.watch(), name="valetkey-stops")
        ending.callback(watching.cancel)
        lend = open_loans(identity, base_url=lambda: base_url).lend if clients_can_connect() else None
        services = await open_services(
            identity, settings, server_id=self._serving.server_id, base_url=base_url, lend=lend
        )
        ending.push_async_callback(services.close)
        functions = self._serving.startup_functions
        table = await start_services(identity, functions, plain=identity.plain, base_url=base_url, services=services)
        ending.callback(end_services, identity, table)
        doors.append(build_app(identity, serving=self._serving, base_url=base_url, services=services))
        await listener.start()
        ending.push_async_callback(listener.stop)
        ending.callback(services.leave)
        return await what_to_tell(identity, serving=self._serving, base_url=base_url, port=listener.port)


async def what_to_tell(identity: Identity, *, serving: Serving, base_url: str, port: int) -> list[str]:
    """What the start prints: where it is, what is not safe, and how the first admin is made (decision 28)."""
    from valetkey.entrypoints.web.first import first_admin_link
    from valetkey.wiring.serving import address_of, is_for_this_machine, names_itself

    here = is_for_this_machine(serving)
    lines = [f"Valetkey listens on {address_of(serving, port)}", f"Sign in and see your account: {base_url}/"]
    if not here and not names_itself(serving):
        lines.append(
            "Only this machine may ask: others name it by a name or an address that it does not know, and get 421."
            " Say which one: --public-base-url https://my-org.com, or --allowed-host for further ones."
        )
    if not here and not serving.tls_cert and not serving.trusted_proxies:
        lines.append(
            "There is neither TLS nor a trusted proxy: passwords and tokens cross the network in the clear."
            " Use --tls-cert and --tls-key, or --trusted-proxy."
        )
    if not await identity.accounts.any() and (here or not identity.settings.issuers):
        link = await first_admin_link(identity, base_url=base_url)
        lines.append(f"Nobody has an account yet. Make the first admin, once and within 15 minutes: {link}")
    return lines


def _let_the_next_signal_kill() -> None:
    for each in _SIGNALS:
        asyncio.get_running_loop().remove_signal_handler(each)
        signal.signal(each, signal.SIG_DFL)


def _say_unused(names: Sequence[str]) -> None:
    if names:
        _say(f"These options do nothing here: {', '.join(names)}")


def _say(line: str) -> None:
    print(plain(line), flush=True)
