"""One frozen section per room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from valetkey.secret import Secret

USUAL_PORTS = {"https": 443, "http": 80}

Port = Annotated[int, Field(ge=1, le=65_535)]
"""A TCP port that a browser can be sent to."""


HostName = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])$")]
"""A host name or address, without port."""

Prefix = Annotated[str, Field(pattern=r"^/?([A-Za-z0-9_~-][A-Za-z0-9._~-]*/?)*$")]
"""A path of plain segments; empty: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Callbacks:
    """Pocket's own auth server, and how providers reach it.

    Attributes:
        internal_server_port: HTTP on loopback.
        enable_local_callback_proxy: whether HTTPS is served on loopback too, at ``public_server_port``.
        public_hostname, public_server_protocol, public_server_port: what redirect URIs begin with.
        callback_url_rewrite_prefix: the path that redirect URIs begin with; a reverse proxy in front takes it off.
    """

    internal_server_port: Port = 8000
    enable_local_callback_proxy: bool = True
    public_hostname: HostName = "localhost"
    public_server_protocol: Literal["https", "http"] = "https"
    public_server_port: Port = 8001
    callback_url_rewrite_prefix: Prefix = "proxy"

    @property
    def internal_base_url(self) -> str:
        """Where this process listens."""
        return f"http://localhost:{self.internal_server_port}"

    @property
    def public_base_url(self) -> str:
        """What a browser is told."""
        usual = USUAL_PORTS[self.public_server_protocol]
        port = "" if self.public_server_port == usual else f":{self.public_server_port}"
        return f"{self.public_server_protocol}://{self.public_hostname}{port}"

    @property
    def prefixed_base_url(self) -> str:
        """The public base URL with the prefix, without a slash at the end."""
        prefix = self.callback_url_rewrite_prefix.strip("/")
        return f"{self.public_base_url}/{prefix}" if prefix else self.public_base_url


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Where connections are kept.

    Attributes:
        redis_host, redis_port, redis_db, redis_username, redis_password, redis_ssl: the server of type ``redis``.
    """

    session_type: Literal["sqlite", "in_memory", "redis"] = "sqlite"
    redis_host: Annotated[str, Field(pattern=r"^[^\s/@]+$")] = "localhost"
    redis_port: Port = 6379
    redis_db: Annotated[int, Field(ge=0)] = 0
    redis_username: str = ""
    redis_password: Secret | None = None
    redis_ssl: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class General:
    """The rest.

    Attributes:
        vault_key: 32 bytes, base64url or hexadecimal; or a place: ``file:``, ``keyring:``, ``aws-kms:KEY``. Several,
            parted by commas: the first writes.
        database_url: ``sqlite:///path`` or ``postgresql://…``; by default ``valetkey.db`` in the data folder.
        redis_url: ``redis://``, ``rediss://`` or ``unix://``; by default processes do not hear of each other.
        allowed_hosts: private hosts that settings may name as endpoints.
        provider_paths: folders with a ``valetkey_providers`` folder.
        ca_file: further certificates to trust, PEM.
        tool_vars: values that tools read by name.
        metrics: who takes the metrics.
        metrics_token: who shows it as a bearer token reads metrics and details from elsewhere than this machine.
    """

    vault_key: Secret | None = None
    database_url: Secret | None = None
    redis_url: Secret | None = None
    allowed_hosts: frozenset[str] = frozenset()
    provider_paths: tuple[str, ...] = ()
    ca_file: str = ""
    tool_vars: Mapping[str, str] = field(default_factory=dict)
    use_prebuilt_auth: bool = True
    metrics: frozenset[Literal["prometheus", "opentelemetry"]] = frozenset()
    metrics_token: Secret | None = None
