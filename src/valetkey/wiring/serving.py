"""Where a server listens, as settings say."""

from __future__ import annotations

import asyncio
import importlib.util
from typing import TYPE_CHECKING, Any

from valetkey.model.hosts import is_loopback
from valetkey.settings.sections import USUAL_PORTS, Serving

if TYPE_CHECKING:
    from valetkey.adapters.serving import Listener
    from valetkey.wiring.system import System

_ANY = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - asked for, not listened on
HERE = "127.0.0.1"


def open_listener(app: Any, serving: Serving, *, message: int = 0) -> Listener:
    """What serves the app at the settings' host and port; nothing is listened on yet.

    Args:
        app: what is served.
        serving: how.
        message: bytes of one message on a WebSocket; 0: there are no WebSockets.

    Raises:
        InvalidSetting: the certificate cannot be used.
    """
    from valetkey.adapters.serving import SERVER, Listener, certificate

    tls = certificate(serving.tls_cert, serving.tls_key) if serving.tls_cert else None
    websockets = None
    if message and importlib.util.find_spec("websockets") is not None:
        from valetkey.adapters.sockets import served

        websockets = served(message=message)
    return Listener(
        app, host=serving.host, port=serving.port, tls=tls, setting="--port", bounds=SERVER, websockets=websockets
    )


def adopt(system: System) -> bool:
    """Make the running loop the one that owns the system's sockets; False where another is that already."""
    from valetkey.adapters.home import HomeLoop

    return isinstance(system.home, HomeLoop) and system.home.adopt(asyncio.get_running_loop())


def address_of(serving: Serving, port: int) -> str:
    """Where this process listens, as a browser on this machine would be told."""
    scheme = "https" if serving.tls_cert else "http"
    bare = serving.host.strip("[]")
    host = "[::1]" if bare == "::" else HERE if bare in _ANY else f"[{bare}]" if ":" in bare else bare
    return f"{scheme}://{host}" + ("" if port == USUAL_PORTS[scheme] else f":{port}")


def base_url_of(serving: Serving, port: int) -> str:
    """The public address with the prefix of our paths, without a slash at the end."""
    return (serving.public_base_url or address_of(serving, port)) + serving.base_path


def is_for_this_machine(serving: Serving) -> bool:
    """Whether only programs of this machine can connect."""
    return is_loopback(serving.host.strip("[]").lower())


def own_names(serving: Serving) -> frozenset[str]:
    """The names under which we are asked, besides this machine's own and the public address's."""
    return serving.hosts | (frozenset() if serving.host.strip("[]") in _ANY else frozenset({_named(serving.host)}))


def names_itself(serving: Serving) -> bool:
    """Whether there is a name, or an address, under which other machines may ask."""
    return bool(serving.public_base_url or own_names(serving))


def _named(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
