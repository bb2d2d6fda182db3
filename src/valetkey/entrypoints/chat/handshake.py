"""Whether a WebSocket may be opened at all: under which name, from which page, over what; and the browser's cookie."""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Scope

from valetkey.entrypoints.web.hosts import by_https, host_name, is_loopback, own_hosts
from valetkey.entrypoints.web.presented import client_address, cookie_values, is_among, session_cookie
from valetkey.model.hosts import is_loopback as is_loopback_address
from valetkey.ports.world import Entropy

if TYPE_CHECKING:
    from valetkey.entrypoints.chat.rooms import Chat

NOT_THIS_HOST = (
    "This chat is not served under the name {host}. Whoever runs it can set public_base_url, or name it in hosts of"
    " [server]."
)
NOT_THIS_PAGE = (
    "This chat does not answer pages of {origin}. Whoever runs it can name that origin in cors_origins, or set"
    " public_base_url where a proxy changes the name."
)
FOREIGN = (
    "A page of {origin} may open this chat for nobody but its visitor as such, and here somebody may be signed in by"
    " their browser. Whoever runs it can name that origin in cors_origins: * is for chats without a sign-in."
)
NO_PAGE = "A request with a cookie has to say from which page it comes. Send Origin, or no cookie."

_COOKIE = "valetkey-chat"
_VALUE = re.compile(r"[A-Za-z0-9_-]{43}")
_FORWARDED = frozenset({"forwarded", "via", "x-real-ip", "cf-connecting-ip", "true-client-ip", "x-client-ip"})
_TEST_CLIENT = "testclient"  # how Starlette's TestClient calls its peer; no network gives that name
_TEST_SERVER = "testserver"
_log = logging.getLogger("valetkey")


class Opener(StrEnum):
    """Whose page opens a WebSocket: none at all, ours, one that ``cors_origins`` names, or any other one."""

    PROGRAM = "program"
    OURS = "ours"
    NAMED = "named"
    FOREIGN = "foreign"


class Refused(Exception):
    """The handshake is answered with this status.

    Attributes:
        detail: what is told; JSON.
    """

    def __init__(self, status: int, detail: Any, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Browser:
    """What is known of whoever knocks, before it is asked who they are.

    Attributes:
        connection: theirs; without cookies, where those do not count.
        address: from where; empty where nothing tells.
        opener: whose page it is.
        mark: the SHA-256 of the browser's chat cookie, hexadecimal: of the one it brought, else of the one it is given;
            empty for a page that is neither ours nor named.
        brought: whether it brought one.
        given: the header that gives it one; empty: it has one.
    """

    connection: HTTPConnection
    address: str
    opener: Opener
    mark: str
    brought: bool
    given: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)


class Threshold:
    """Looks at what knocks at one chat."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._told = False

    def look(self, connection: HTTPConnection) -> Browser:
        """What may come in, as it counts here.

        Raises:
            Refused: 400, 403, 421.
        """
        self.check_host(connection)
        opener = self._opener(connection)
        if opener in (Opener.PROGRAM, Opener.FOREIGN):
            connection = _without_cookies(connection)
        mounted = self._chat.mounted
        address = client_address(connection.scope, mounted.serving.trusted_proxies)
        if opener is Opener.FOREIGN:  # neither does it change by which cookie the browser is known
            return Browser(connection=connection, address=address, opener=opener, mark="", brought=False)
        mark = browser_of(connection, self._chat)
        given: tuple[tuple[bytes, bytes], ...] = ()
        brought = bool(mark)
        if not brought:
            response = Response()
            mark = _give(response, connection, base_url=mounted.base_url, entropy=mounted.system.entropy)
            given = ((b"set-cookie", response.headers["set-cookie"].encode("latin-1")),)
        return Browser(connection=connection, address=address, opener=opener, mark=mark, brought=brought, given=given)

    def check_host(self, connection: HTTPConnection) -> None:
        """DNS rebinding: a name that is not ours, and yet leads here (W-15, M-18).

        Raises:
            Refused: 400, 421.
        """
        named = connection.headers.getlist("host")
        host = host_name(named[0]) if len(named) == 1 else None
        if host is None:
            raise Refused(400, "The request has to name one host.")
        mounted = self._chat.mounted
        if host in own_hosts(mounted.base_url, mounted.serving.hosts) or is_loopback(host):
            return
        # A name can be made to lead anywhere, an address only to itself.
        if not mounted.serving.public_base_url and _is_address(host):
            return
        if host == _TEST_SERVER and _peer(connection) in ("", _TEST_CLIENT):
            return
        if not self._told:
            self._told = True
            _log.warning("the chat was asked for as %s and refused; set public_base_url, or hosts of [server]", host)
        raise Refused(421, NOT_THIS_HOST.format(host=host))

    def _opener(self, connection: HTTPConnection) -> Opener:
        """Whose page opens it. Of a foreign one nothing counts, so nothing may be there that could count (W-01).

        Raises:
            Refused: 403.
        """
        origins = connection.headers.getlist("origin")
        if not origins:
            if self._signs_in_by_cookie(connection):
                raise Refused(403, NO_PAGE)
            return Opener.PROGRAM
        config = self._chat.config
        listed = config.cors_origins if "cors_origins" in config.model_fields_set else []
        origin = _normal(origins[0])
        if len(origins) == 1 and origin != "null":
            if origin in self._own(connection):
                return Opener.OURS
            if origin in listed:
                return Opener.NAMED
            if "*" in listed or _is_other_name(origin, connection.headers["host"].lower()):
                if self._may_sign_in(connection):
                    raise Refused(403, FOREIGN.format(origin=origin[:100]))
                return Opener.FOREIGN
        raise Refused(403, NOT_THIS_PAGE.format(origin=origins[0][:100]))

    def _own(self, connection: HTTPConnection) -> frozenset[str]:
        """Our own origins: that of the public address, and the host that was asked, by the scheme that was used."""
        host, mounted = connection.headers["host"], self._chat.mounted
        secure = by_https(connection, mounted.base_url) or connection.url.scheme in {"https", "wss"}
        # By https under the same name and port it is ours whatever a proxy made of it; by http only where we are.
        own = {f"https://{host}"} if secure else {f"https://{host}", f"http://{host}"}
        public = urlsplit(mounted.serving.public_base_url)
        return frozenset(map(_normal, {*own, f"{public.scheme}://{public.netloc}"} if public.netloc else own))

    def _signs_in_by_cookie(self, connection: HTTPConnection) -> bool:
        """Whether one of the cookies could be somebody's sign-in."""
        names = connection.cookies.keys() - {_COOKIE, f"__Host-{_COOKIE}"}
        if self._chat.config.auth_dependency is not None or self._finds_tokens():
            return bool(names)
        return bool(names & {session_cookie(secure=True), session_cookie(secure=False)})

    def _may_sign_in(self, connection: HTTPConnection) -> bool:
        """Whether anybody could be signed in by what a browser adds by itself, or by what a middleware made of that."""
        return (
            self._chat.config.auth_dependency is not None
            or self._finds_tokens()
            or "authorization" in connection.headers  # no page can send it with a WebSocket: the browser did
            or self._signs_in_by_cookie(connection)
            or _is_known(connection.scope)
        )

    def _finds_tokens(self) -> bool:
        """Whether a function of the host program's looks for the token, wherever that may be."""
        return self._chat.mounted.identity.plugin.finds


def browser_cookie(response: Response, connection: HTTPConnection, chat: Chat) -> None:
    """Give the browser a cookie by which it is known again, unless it has one."""
    if not browser_of(connection, chat):
        _give(response, connection, base_url=chat.mounted.base_url, entropy=chat.system.entropy)


def browser_of(connection: HTTPConnection, chat: Chat) -> str:
    """The SHA-256 of the browser's chat cookie; empty: it has none, or two."""
    values = cookie_values(connection, cookie_name(secure=by_https(connection, chat.mounted.base_url)))
    value = values.pop() if len(values) == 1 else ""
    return _mark(value) if _VALUE.fullmatch(value) else ""


def cookie_name(*, secure: bool) -> str:
    """The name of the chat's cookie; with https only the host itself can set it (RFC 6265bis §4.1.3.2)."""
    return f"__Host-{_COOKIE}" if secure else _COOKIE


def is_here(connection: HTTPConnection) -> bool:
    """Whether the peer is this machine, and no proxy that says so; what no socket carries is, too."""
    names = {name.lower() for name in connection.headers}
    if names & _FORWARDED or any(name.startswith("x-forwarded") for name in names):
        return False
    peer = _peer(connection)
    return peer in ("", _TEST_CLIENT) or is_loopback_address(peer.removeprefix("::ffff:"))


def is_shielded(connection: HTTPConnection, base_url: str, trusted_proxies: Collection[str] = ()) -> bool:
    """Whether nobody on the way can read what it carries: TLS, or no way at all.

    Where the public address is https, a proxy in front of us ends TLS: one that is trusted, or on this machine. Whoever
    else comes by plain text came past it, straight to our port.
    """
    if connection.url.scheme in {"https", "wss"} or is_here(connection):
        return True
    peer = _peer(connection)
    proxied = is_loopback_address(peer.removeprefix("::ffff:")) or is_among(peer, trusted_proxies)
    return proxied and by_https(connection, base_url)


def _peer(connection: HTTPConnection) -> str:
    return connection.client.host.lower() if connection.client else ""


def _give(response: Response, connection: HTTPConnection, *, base_url: str, entropy: Entropy) -> str:
    secure = by_https(connection, base_url)
    value = entropy.token(32)
    response.set_cookie(cookie_name(secure=secure), value, path="/", secure=secure, httponly=True, samesite="lax")
    return _mark(value)


def _mark(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def _normal(origin: str) -> str:
    """In lower case, and without the port that the scheme has anyway (RFC 6454 §6.2)."""
    origin = origin.lower()
    return origin.removesuffix(":443" if origin.startswith("https:") else ":80")


def _is_known(scope: Scope) -> bool:
    """Whether a middleware of the app found somebody."""
    user, auth = scope.get("user"), scope.get("auth")
    return bool(
        scope.get("session")
        or (user is not None and getattr(user, "is_authenticated", True))
        or (auth is not None and getattr(auth, "scopes", True))
    )


def _is_other_name(origin: str, host: str) -> bool:
    """Whether a page of this machine calls us by another name of this machine: 127.0.0.1 and localhost."""
    scheme, _, netloc = origin.partition("://")
    names = host_name(netloc), host_name(host)
    same_port = netloc.removeprefix(names[0] or "") == host.removeprefix(names[1] or "")
    return scheme == "http" and same_port and all(name is not None and is_loopback(name) for name in names)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _without_cookies(connection: HTTPConnection) -> HTTPConnection:
    scope: Scope = {**connection.scope}
    scope["headers"] = [(name, value) for name, value in scope["headers"] if name.lower() != b"cookie"]
    return HTTPConnection(scope)
