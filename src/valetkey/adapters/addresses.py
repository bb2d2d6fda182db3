"""Which addresses may be called. Pure: a URL and what it resolved to go in, a verdict comes out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from valetkey.errors import BlockedAddress, InvalidSetting
from valetkey.ports.world import Trust

Address = IPv4Address | IPv6Address

LOOPBACK_ADDRESSES = ("127.0.0.1", "::1")
DEFAULT_PORTS = {"http": 80, "https": 443}
LONGEST_URL = 16_384
LONGEST_HOST = 253  # RFC 1035 §2.3.4
HIGHEST_PORT = 65_535
MOST_GOOD = 1024  # places that are remembered as good

# RFC 3986 §3, narrowed to what we send: an authority is a host and perhaps a port.
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):"
    r"(?://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?(?:#.*)?)?"
)
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# A last label that a resolver may read as a number: 127.1, 2130706433, 0x7f.1, 017700000001.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PRINTABLE = re.compile(r"[\x21-\x5b\x5d-\x7e]+")

# What clouds answer with credentials of the machine; 168.63.129.16 looks public and is not.
_METADATA: frozenset[Address] = frozenset(
    ip_address(text)
    for text in (
        "100.100.100.200",
        "168.63.129.16",
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "192.0.0.192",
        "fd00:ec2::23",
        "fd00:ec2::254",
        "fd20:ce::254",
    )
)

_LOOPBACK_V4 = IPv4Network("127.0.0.0/8")
# The special-purpose registry of RFC 6890, and multicast.
_SPECIAL_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)

_LOOPBACK_V6 = IPv6Address("::1")
# Global unicast is 2000::/3 (RFC 4291 §2.4) without these: Teredo and its neighbours, 6to4, documentation.
_GLOBAL_V6 = IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
_NAT64 = IPv6Network("64:ff9b::/96")
_LOW_32_BITS = tuple(
    IPv6Network(text) for text in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")
)
_6TO4 = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")
_ISATAP = 0x0000_5EFE  # RFC 5214 §6.1, in the upper half of the interface identifier


class Reach(Enum):
    """How far an address leads."""

    PUBLIC = "public"
    LOOPBACK = "loopback"
    PRIVATE = "private"
    METADATA = "metadata"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One URL, taken apart once: what is judged is what is sent.

    Attributes:
        scheme: ``http`` or ``https``.
        host: lower case, ASCII, an IPv6 address without its brackets.
        port: the one written, or the scheme's.
        path: path and query as they go out; does not print, as a query may hold a credential.
        address: the host, where it is an address and no name.
    """

    scheme: str
    host: str
    port: int
    path: str = field(repr=False)
    address: Address | None

    @property
    def authority(self) -> str:
        """Host and port as the Host header has them: the scheme's own port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port, normalised (RFC 6454 §4)."""
        return f"{self.scheme}://{self.authority}"


def parse(url: str) -> Target:
    """Take a URL apart, without guessing what it may have meant.

    Raises:
        BlockedAddress: it is no plain http or https URL of one host; the text never repeats the URL.
    """
    if len(url) > LONGEST_URL or not _PRINTABLE.fullmatch(url):
        raise BlockedAddress(
            "A URL holds a backslash, a space, a control or non-ASCII character, or is too long. "
            "Percent-encode its path and query, and write a non-ASCII host in its xn-- form."
        )
    parts = _URL.fullmatch(url)
    scheme = parts["scheme"].lower() if parts else ""
    if parts is None or scheme not in DEFAULT_PORTS or parts["authority"] is None:
        raise BlockedAddress("Only https:// and, on loopback, http:// URLs may be called. Correct the URL.")
    if "@" in parts["authority"]:
        raise BlockedAddress("A URL names a user before its host. Put credentials into the connection instead.")
    host, port, address = _authority(parts["authority"], scheme)
    path = (parts["path"] or "/") + (parts["query"] or "")
    return Target(scheme=scheme, host=host, port=port, path=path, address=address)


@lru_cache(maxsize=1024)
def _authority(text: str, scheme: str) -> tuple[str, int, Address | None]:
    """Host and port; the same text is always the same place."""
    authority = _AUTHORITY.fullmatch(text)
    if authority is None:
        raise BlockedAddress("A URL's host cannot be read: expected https://host or https://host:port.")
    host, address = _host(authority["host"].lower())
    port = int(authority["port"] or DEFAULT_PORTS[scheme])
    if not 1 <= port <= HIGHEST_PORT:
        raise BlockedAddress(f"{host} was named with a port outside 1 to 65535. Correct the URL.")
    return host, port, address


def origin_of(url: str) -> str:
    """The normalised origin of a URL: ``https://api.example.com``, ``http://[::1]:8080``.

    Raises:
        BlockedAddress: it is no plain http or https URL of one host.
    """
    return parse(url).origin


def is_address(host: str) -> bool:
    """Whether the host of a `Target` is an address, which no resolver needs to be asked about."""
    return ":" in host or _NUMBER.fullmatch(host.rpartition(".")[2]) is not None


def is_loopback_name(host: str) -> bool:
    """Whether the name means this machine whatever a resolver says (RFC 6761 §6.3)."""
    return host == "localhost" or host.endswith(".localhost")


@lru_cache(maxsize=4096)
def reach_of(address: Address) -> Reach:
    """How far one address leads; an IPv4 address wrapped in an IPv6 one is unwrapped."""
    inner = {reach_of(wrapped) for wrapped in _embedded(address)}
    if address in _METADATA or Reach.METADATA in inner:
        return Reach.METADATA
    if address in _LOOPBACK_V4 or address == _LOOPBACK_V6:
        return Reach.LOOPBACK
    if isinstance(address, IPv4Address):
        public = not any(address in network for network in _SPECIAL_V4)
    elif inner:
        # RFC 6052 §3.1: how a host without IPv4 reaches a public one; no other wrapping is needed for that.
        public = address in _NAT64 and inner == {Reach.PUBLIC}
    else:
        public = address in _GLOBAL_V6 and not any(address in network for network in _SPECIAL_V6)
    return Reach.PUBLIC if public else Reach.PRIVATE


class AddressRules:
    """What may be called, under a `Trust` and the operator's allow-list.

    Args:
        allowed_hosts: ``host``, ``host:port``, or ``http://host:port`` where a private host has no TLS. An
            exact name or address each, no patterns. It opens private hosts, other ports, and the addresses at
            which clouds hand out a machine's credentials, those only when the address itself is listed.

    Raises:
        InvalidSetting: an entry is none of these.
    """

    def __init__(self, allowed_hosts: Iterable[str] = ()) -> None:
        self._allowed = frozenset(_entry(text) for text in allowed_hosts)
        self._good: set[tuple[str, str, int, Trust]] = set()

    def judge_url(self, url: str, trust: Trust) -> Target:
        """Judge what can be judged before the name is resolved.

        Raises:
            BlockedAddress: the URL may not be called under this trust.
        """
        target = parse(url)
        # The rules never change: a place that was good under a trust is good again, whatever the path.
        place = target.scheme, target.host, target.port, trust
        if place not in self._good:
            self._judge(target, trust)
            if len(self._good) >= MOST_GOOD:
                self._good.clear()
            self._good.add(place)
        return target

    def _judge(self, target: Target, trust: Trust) -> None:
        host, port, address = target.host, target.port, target.address
        local = is_loopback_name(host)
        loopback = local or (address is not None and reach_of(address) is Reach.LOOPBACK)
        if trust is Trust.CATALOGUE:
            if target.scheme != "https":
                raise BlockedAddress(f"{target.origin} is not https. Use the provider's https endpoint.")
            if port != DEFAULT_PORTS["https"] and not self._lists(host, port, ported=True):
                raise BlockedAddress(
                    f"{target.origin} is not on port 443. If that is right, add {target.authority} to allowed_hosts."
                )
            if local:
                raise _not_public(host, "this machine")
        elif target.scheme == "http" and not loopback and not self._lists(host, port, plain=True):
            raise BlockedAddress(
                f"{target.origin} is plain http, which is for loopback only. Use https, or, for a private "
                f"host without TLS, add {target.origin} to allowed_hosts."
            )
        if address is not None:
            self.judge_addresses([str(address)], scheme=target.scheme, host=host, port=port, trust=trust)

    def judge_addresses(
        self, found: Sequence[str], *, scheme: str, host: str, port: int, trust: Trust
    ) -> tuple[str, ...]:
        """Judge all that a name resolved to; what is given back may be connected to.

        One address that may not be called refuses the whole answer: who mixes them is not trusted.

        Raises:
            BlockedAddress: they may not be called under this trust.
        """
        addresses = tuple(dict.fromkeys(ip_address(text) for text in found))
        reaches = {reach_of(address) for address in addresses}
        operator = trust is Trust.OPERATOR
        for address in addresses:
            if reach_of(address) is Reach.METADATA and not (operator and self._lists_metadata(address, port)):
                raise BlockedAddress(
                    f"{host} leads to an address at which clouds hand out a machine's credentials. It is "
                    f"never called unless settings list the address itself in allowed_hosts."
                )
        if scheme == "http" and Reach.PUBLIC in reaches:
            raise BlockedAddress(f"{host} leads to a public address, and plain http hides nothing. Use https.")
        if operator and self._lists(host, port):
            return tuple(str(address) for address in addresses)
        if len(reaches) > 1:
            raise BlockedAddress(
                f"{host} leads to public and private addresses at once, as an attack on name resolution "
                f"does. Ask who runs that name; if it is yours, add {host} to allowed_hosts."
            )
        if Reach.LOOPBACK in reaches and not operator:
            raise _not_public(host, "this machine")
        if reaches & {Reach.PRIVATE, Reach.METADATA}:
            raise _not_public(host, "a private network")
        return tuple(str(address) for address in addresses)

    def _lists(self, host: str, port: int, *, ported: bool = False, plain: bool = False) -> bool:
        return any(
            entry.host == host
            and (entry.port == port or (entry.port is None and not ported))
            and (entry.plain or not plain)
            for entry in self._allowed
        )

    def _lists_metadata(self, address: Address, port: int) -> bool:
        return any(self._lists(str(exact), port) for exact in (address, *_embedded(address)))


@dataclass(frozen=True, slots=True)
class _Entry:
    host: str
    port: int | None
    plain: bool


def _entry(text: str) -> _Entry:
    bare = text.strip()
    written = f"[{bare}]" if bare.count(":") > 1 and not bare.startswith(("[", "http")) else bare
    url = written if "://" in written else f"https://{written}"
    try:
        target = parse(url)
    except BlockedAddress:
        target = None
    if target is None or target.path != "/" or "#" in url:
        raise InvalidSetting(
            "allowed_hosts has an entry that is no host. Write each as host, host:port, [IPv6 address]:port "
            "or, for a private host without TLS, http://host:port; patterns and paths are not possible."
        )
    ported = "://" in written or re.search(r":[0-9]+$", written) is not None
    return _Entry(target.host, target.port if ported else None, target.scheme == "http")


def _host(text: str) -> tuple[str, Address | None]:
    """A host as it is compared and sent: a name, or an address in its one canonical form."""
    if text.startswith("["):
        try:
            address = IPv6Address(text[1:-1])
        except ValueError:
            raise BlockedAddress("A URL's host is no IPv6 address. Correct what the brackets hold.") from None
        return str(address), address
    labels = text.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return text, IPv4Address(text)
        except ValueError:
            raise BlockedAddress(
                "A URL's host is a number that programs read differently. Write an address as four decimals."
            ) from None
    if len(text) > LONGEST_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        raise BlockedAddress("A URL's host is no host name. Write it as api.example.com, without a dot at the end.")
    return text, None


def _embedded(address: Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that an IPv6 address carries."""
    if isinstance(address, IPv4Address):
        return ()
    bits = int(address)
    low = IPv4Address(bits & 0xFFFF_FFFF)
    if any(address in network for network in _LOW_32_BITS):
        return (low,)
    if address in _6TO4:  # RFC 3056 §2
        return (IPv4Address((bits >> 80) & 0xFFFF_FFFF),)
    if address in _TEREDO:  # RFC 4380 §4: the server, and the client with its bits turned over
        return (IPv4Address((bits >> 64) & 0xFFFF_FFFF), IPv4Address(~bits & 0xFFFF_FFFF))
    if (bits >> 32) & 0xFCFF_FFFF == _ISATAP:
        return (low,)
    return ()


def _not_public(host: str, where: str) -> BlockedAddress:
    return BlockedAddress(
        f"{host} leads to {where}, which may not be called from here. If that is meant, name the endpoint in "
        f"settings; a private host must be in allowed_hosts too."
    )
