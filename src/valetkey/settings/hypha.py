"""Seed 004's names for them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

ISSUER = "https://amun.ai/"
AUDIENCE = "https://amun-ai.eu.auth0.com/api/v2/"
"""What tools of that ecosystem expect of tokens that are signed with a shared secret; the namespace is the issuer."""

_ALWAYS = {
    "JWT_SECRET": "identity.jwt_secret",
    "HYPHA_JWT_SECRET": "identity.jwt_secret",
    "MAXIMUM_LOGIN_TIME": "identity.login_time",
    "AUTH0_CLIENT_ID": "auth0.client_id",
    "AUTH0_DOMAIN": "auth0.domain",
    "AUTH0_AUDIENCE": "auth0.audience",
    "AUTH0_ISSUER": "auth0.issuer",
    "AUTH0_NAMESPACE": "auth0.namespace",
    "HYPHA_SERVER_ID": "server.server_id",
    "HYPHA_LOGLEVEL": "server.log_level",
    "HYPHA_HTTP_RATE_LIMIT": "server.rate.per_second",
    "HYPHA_HTTP_RATE_BURST": "server.rate.burst",
    "HYPHA_HTTP_RATE_LIMIT_BURST": "server.rate.burst",
    "HYPHA_HTTP_AUTHENTICATED_RATE_LIMIT": "server.signed_in_rate.per_second",
    "HYPHA_HTTP_AUTHENTICATED_RATE_BURST": "server.signed_in_rate.burst",
    "HYPHA_HTTP_AUTHENTICATED_RATE_LIMIT_BURST": "server.signed_in_rate.burst",
    "HYPHA_WS_MSG_RATE_LIMIT": "services.message_rate.per_second",
    "HYPHA_WS_MSG_RATE_BURST": "services.message_rate.burst",
    "HYPHA_WS_IDLE_TIMEOUT": "services.idle_timeout",
    "HYPHA_MAX_CLIENTS_PER_WORKSPACE": "services.max_clients_per_workspace",
    "HYPHA_MAX_CONNECTIONS_PER_USER": "services.max_connections_per_user",
    "HYPHA_MAX_SERVICES_PER_CLIENT": "services.max_services_per_client",
    "HYPHA_MAX_WORKSPACES_PER_USER": "services.max_workspaces_per_user",
    "RECONNECTION_TOKEN_LIFE_TIME": "services.reconnection_lifetime",
}
"""The stronger of two that say the same last."""

_OPTIONS = {
    "HYPHA_HOST": "server.host",
    "HYPHA_PORT": "server.port",
    "HYPHA_PUBLIC_BASE_URL": "server.public_base_url",
    "HYPHA_BASE_PATH": "server.base_path",
    "HYPHA_ALLOW_ORIGINS": "server.allow_origins",
    "HYPHA_STARTUP_FUNCTIONS": "server.startup_functions",
    "HYPHA_ROOT_TOKEN": "identity.root_token",
    "HYPHA_REDIS_URI": "redis_url",
    "HYPHA_DATABASE_URI": "database_url",
    "HYPHA_TLS_CERT": "server.tls_cert",
    "HYPHA_TLS_KEY": "server.tls_key",
    "HYPHA_TRUSTED_PROXY": "server.trusted_proxies",
}
"""Options of the command line; read with ``--from-env`` only."""

_CLIENTS = frozenset({"HYPHA_CLIENT_ID", "HYPHA_SERVER_URL", "HYPHA_TOKEN", "HYPHA_WORKSPACE"})
"""Those that programs which connect read, ``hypha_rpc`` and ours: they mean something, but not to a server."""

_NOTHING = frozenset(
    {
        *(
            f"HYPHA_{name}"
            for name in (
                "ACCESS_LOG",
                "DISABLE_SSL",
                "ENABLE_LOCAL_AUTH",
                "ENABLE_S3",
                "EXPOSE_DETAILED_ERRORS",
                "LOGIN_PING_TIMEOUT",
                "MAX_CONCURRENT_CONNECTIONS",
                "RESET_REDIS",
                "STATIC_MOUNTS",
            )
        ),
    }
)
"""Names of the contract that mean nothing here."""

_log = logging.getLogger("valetkey")
_said: set[str] = set()


def dialect(environ: Mapping[str, str], *, options: bool = False) -> dict[str, Any]:
    """What these environment variables say, by the names of ours; an empty one says nothing.

    Args:
        environ: the environment, or a ``.env`` file; it is only read.
        options: whether those count that stand for options of the command line (``--from-env``).
    """
    known = _ALWAYS | (_OPTIONS if options else {})
    found: dict[str, Any] = {}
    for name, ours in known.items():
        value = environ.get(name, "").strip()
        if value:
            found[ours] = _as_ours(ours, value)
    _say(sorted(name for name in environ if name in _NOTHING or _is_stray(name)))
    return found


def _as_ours(name: str, value: str) -> Any:
    if name in ("server.startup_functions", "server.trusted_proxies", "server.allow_origins"):
        return value.replace(",", " ").split()
    return value.lower() if name == "server.log_level" else value


def _is_stray(name: str) -> bool:
    return name.startswith("HYPHA_") and not (name in _ALWAYS or name in _OPTIONS or name in _CLIENTS)


def _say(names: list[str]) -> None:
    fresh = [name for name in names if name not in _said]
    if fresh:
        _said.update(fresh)
        _log.warning("These environment variables mean nothing here, and do nothing: %s", ", ".join(fresh))
