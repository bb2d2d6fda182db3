"""Under which host names we are asked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from valetkey.model import hosts

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?)(?::(?P<port>[0-9]{1,5}))?")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


def host_name(header: str) -> str | None:
    """The lower-case name in a Host header (RFC 9110 §7.2), brackets kept, without the port; None: malformed."""
    match = _HOST.fullmatch(header.lower())
    return match["name"] if match else None


def is_loopback(host: str) -> bool:
    """Whether a host name or address, with or without brackets, means this machine."""
    return hosts.is_loopback(host.lower().strip("[]"))


def own_hosts(base_url: str, others: Iterable[str] = ()) -> frozenset[str]:
    """The names that we answer to: this machine's own, the public address's, and others from settings."""
    named = (host_name(host) for host in (urlsplit(base_url).netloc.rpartition("@")[2], *others))
    return _LOOPBACK | {host for host in named if host}


def is_public_https(base_url: str) -> bool:
    """Whether browsers reach us by https under a name that is not this machine's own."""
    parts = urlsplit(base_url)
    return parts.scheme == "https" and not is_loopback(parts.hostname or "")


def by_https(connection: HTTPConnection, base_url: str) -> bool:
    """Whether the browser came by https.

    The public address tells, which a proxy in front may serve; on this machine the socket that was used.
    """
    scheme = _told_by(base_url) or connection.scope.get("scheme", "http")
    return scheme in {"https", "wss"}


@lru_cache(maxsize=64)
def _told_by(base_url: str) -> str:
    """The scheme of a public address; empty: it is this machine's own."""
    public = urlsplit(base_url)
    return "" if is_loopback(public.hostname or "") else public.scheme
