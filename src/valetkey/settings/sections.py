"""One frozen section per room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from valetkey.identity.issuers import TrustedIssuer
from valetkey.secret import Secret

USUAL_PORTS = {"https": 443, "http": 80}

LogLevel = Annotated[
    Literal["debug", "info", "warning", "error", "critical", "fatal"],
    BeforeValidator(lambda value: value.strip().lower() if isinstance(value, str) else value),
]
"""A level of Python's logging, by name."""

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
        verify_accounts: whether providers are asked if what was pasted is good, and whose an account is.
        metrics: who takes the metrics.
        metrics_token: who shows it as a bearer token reads metrics and details from elsewhere than this machine.
        log_level: of the logger ``valetkey``, where it is set.
    """

    vault_key: Secret | None = None
    database_url: Secret | None = None
    redis_url: Secret | None = None
    allowed_hosts: frozenset[str] = frozenset()
    provider_paths: tuple[str, ...] = ()
    ca_file: str = ""
    tool_vars: Mapping[str, str] = field(default_factory=dict)
    use_prebuilt_auth: bool = True
    verify_accounts: bool = True
    metrics: frozenset[Literal["prometheus", "opentelemetry"]] = frozenset()
    metrics_token: Secret | None = None
    log_level: LogLevel = "info"


DAY = 86_400.0

Seconds = Annotated[float, Field(gt=0, le=366 * DAY, allow_inf_nan=False)]
"""A period."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who is let in, and what they are given.

    Attributes:
        jwt_secret: with it our access tokens are signed HS256, and those that others sign with it are taken
            (decision 20); at least 32 bytes. None: they are signed with a key of the vault (ES256).
        issuer, audience, namespace: of our own tokens; empty: of the public address, or with ``jwt_secret`` those of
            the contract.
        issuers: whose users are let in, too.
        root_token: who presents it may do everything; at least 32 characters.
        token_lifetime, max_token_lifetime: seconds that an access token lives by default, and at most.
        session_idle, session_lifetime: seconds that a browser's session lives without use, and at most.
        consent_lifetime: seconds that a yes holds by which a service may use a caller's account.
        login_time: seconds that a login waits for its person (``MAXIMUM_LOGIN_TIME``).
        audit: whether the audit log is kept.
        audit_file: JSON lines of the same; empty: none.
    """

    jwt_secret: Secret | None = None
    issuer: str = ""
    audience: str = ""
    namespace: str = ""
    issuers: tuple[TrustedIssuer, ...] = ()
    root_token: Secret | None = None
    token_lifetime: Seconds = 3600.0
    max_token_lifetime: Seconds = 31 * DAY
    session_idle: Seconds = DAY / 3
    session_lifetime: Seconds = 14 * DAY
    consent_lifetime: Seconds = 30 * DAY
    login_time: Seconds = 180.0
    audit: bool = True
    audit_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Requests a second in the long run, and how many at once."""

    per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    burst: Annotated[int, Field(ge=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Clients that register services, and how much of each.

    Attributes:
        max_clients_per_workspace, max_connections_per_user, max_services_per_client: at once, on this instance.
        max_workspaces_per_user: that one user may make.
        max_pending_calls: of one client that wait for their reply.
        max_message: bytes of one message on a socket.
        max_message_whole: bytes of one that comes in pieces.
        max_queue: bytes that wait for a client to read them; meanwhile others' calls to it are refused.
        message_rate: messages of one client.
        idle_timeout: seconds without a message after which a client is cut off.
        reconnection_lifetime: seconds that a reconnection token lives; never longer than the token behind it.
    """

    max_clients_per_workspace: Annotated[int, Field(ge=1)] = 1000
    max_connections_per_user: Annotated[int, Field(ge=1)] = 200
    max_services_per_client: Annotated[int, Field(ge=1)] = 100
    max_workspaces_per_user: Annotated[int, Field(ge=1)] = 100
    max_pending_calls: Annotated[int, Field(ge=1)] = 1000
    max_message: Annotated[int, Field(ge=300_000)] = 1_048_576
    max_message_whole: Annotated[int, Field(ge=1_048_576)] = 67_108_864
    max_queue: Annotated[int, Field(ge=1_048_576)] = 16_777_216
    message_rate: Rate = Rate(per_second=200, burst=2000)
    idle_timeout: Seconds = 600.0
    reconnection_lifetime: Seconds = 2 * DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """The server.

    Attributes:
        public_base_url: what browsers call us, without a path; empty: by host and port.
        hosts: further names under which we are asked, besides this machine's own and the public address's.
        base_path: the path before our own in the public address, such as ``/valetkey``; empty: none.
        allow_origins: whose pages may call us from a browser; never any with credentials.
        trusted_proxies: addresses whose ``X-Forwarded-For`` and ``-Proto`` are believed.
        tls_cert, tls_key: PEM files; empty: no TLS.
        startup_functions: ``file.py:func`` or ``module:func``, run before the doors open.
        rate, signed_in_rate: for each address, and for each one with a token of ours.
        server_id: this instance's name; empty: a random one.
        log_level: what is logged.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 9527
    public_base_url: str = ""
    hosts: frozenset[HostName] = frozenset()
    base_path: Prefix = ""
    allow_origins: tuple[str, ...] = ()
    trusted_proxies: frozenset[str] = frozenset()
    tls_cert: str = ""
    tls_key: str = ""
    startup_functions: tuple[str, ...] = ()
    rate: Rate = Rate(per_second=100, burst=500)
    signed_in_rate: Rate = Rate(per_second=1000, burst=5000)
    server_id: str = ""
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "warning"


def _names() -> dict[str, tuple[str, str]]:
    found = {}
    for table, section in (("identity", Identity), ("server", Serving), ("services", Services)):
        for each in fields(section):
            if each.name == "issuers":
                continue
            parts = [f".{part.name}" for part in fields(Rate)] if isinstance(each.default, Rate) else [""]
            for part in parts:
                found[f"{table}.{each.name}{part}"] = (table, f"{each.name}{part}")
                found[f"{each.name}{part}"] = (table, f"{each.name}{part}")
    return found


SERVER_NAMES: Mapping[str, tuple[str, str]] = _names()
"""Every setting of the server by its names, ``server.port`` and ``port``: its table, and its field there."""

SERVER_TABLES = ("identity.", "issuers.", "server.", "services.", "auth0.")
"""What names of the server begin with."""
