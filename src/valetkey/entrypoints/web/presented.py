"""What a request presents: bearer, raw, Basic, session cookie."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Scope

from valetkey.errors import InvalidAnswer, Unauthenticated
from valetkey.model.calls import BEARER, DPOP, NOTHING, SESSION, Possession, Presented
from valetkey.protocol.dpop import INVALID
from valetkey.secret import Secret

if TYPE_CHECKING:
    from valetkey.identity.plugin import AuthPlugin

LONGEST = 16_384
"""Characters of a credential; none of ours and no provider's comes near."""

_TOKEN = re.compile(r"[!-+\--~]+")  # visible ASCII, no space and no comma: two credentials are not one
_SCHEMES = frozenset({"bearer", "basic", "digest", "negotiate", "dpop", "token", "apikey"})
_OURS = re.compile(r"vk[str]?_[A-Za-z0-9_-]{60,}")
_JWT = re.compile(r"[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){2,4}")
_OUR_COOKIE = re.compile(r"(?:__(?:Host|Secure)-)?valetkey(?:-.*)?", re.IGNORECASE)
_CARRIERS = frozenset({"token", "jwt", "bearer", "authorization", "api_key", "apikey"})
_FORWARDED = 32  # addresses that are looked at

MALFORMED = "The Authorization header cannot be read. Send one, as: Authorization: Bearer <token>"
TWICE = "The request has more than one credential. Send one."
IN_URL = "A token in the address is not taken: addresses are logged. Send it in the Authorization header."


def session_cookie(*, secure: bool) -> str:
    """The name of the cookie that holds a browser's session; with https only the host itself can set it."""
    return "__Host-valetkey" if secure else "valetkey"


def without_ours(cookies: str) -> str:
    """A ``Cookie`` header without what this server set: sessions, chats, forms, claims. All are called alike."""
    return ";".join(part for part in cookies.split(";") if not _OUR_COOKIE.fullmatch(part.partition("=")[0].strip()))


def set_session(response: Response, session: Secret, *, secure: bool, seconds: float) -> None:
    """Send a session's cookie along; it ends by itself after that many seconds."""
    response.set_cookie(
        session_cookie(secure=secure),
        session.reveal(),
        max_age=int(seconds),
        path="/",
        secure=secure,
        httponly=True,
        samesite="lax",
    )


def drop_session(response: Response, *, secure: bool) -> None:
    """Take the session's cookie back."""
    name = session_cookie(secure=secure)
    response.delete_cookie(name, path="/", secure=secure, httponly=True, samesite="lax")


async def presented(
    connection: HTTPConnection,
    *,
    plugin: AuthPlugin | None = None,
    secure: bool,
    trusted_proxies: Collection[str] = (),
    calls: bool = False,
) -> Presented:
    """The one credential that a request, or a WebSocket's handshake, presents (decision 30).

    What the host program's ``get_token`` finds, where there is one, and then nothing else (contract 1.2). Otherwise
    the Authorization header (RFC 9110 §11.6.2) as ``Bearer`` (RFC 6750 §2.1), as the bare token, or as ``Basic`` with
    the token as password; then the session cookie. The cookie does not count where another site may have caused the
    request: any but GET and HEAD, and with ``calls`` any at all.

    Args:
        connection: the request, or the WebSocket before it is accepted.
        plugin: what ``register_auth_service`` put in place.
        secure: whether the browser came by https; see ``hosts.by_https``.
        trusted_proxies: whose ``X-Forwarded-For`` is believed.
        calls: the address is one where a GET does something, such as a service's function.

    Raises:
        Unauthenticated: it cannot be read, or is in the URL.
        InvalidAnswer: there are two session cookies, and nothing tells which is meant.
    """
    address = client_address(connection.scope, trusted_proxies)
    _refuse_in_url(connection)
    if plugin is not None and plugin.finds:
        text = await plugin.get_token(connection.scope)
        if text is None:
            return Presented(scheme=NOTHING, value="", address=address)
        if len(text) > LONGEST:
            raise Unauthenticated("What this program's get_token found in the request is too long for a token.")
        return Presented(scheme=BEARER, value=Secret(text), address=address)
    headers = connection.headers.getlist("authorization")
    if len(headers) > 1:
        raise Unauthenticated(TWICE)
    if headers:
        bound = _bound(connection, headers[0], secure=secure, address=address)
        if bound is not None:
            return bound
        return Presented(scheme=BEARER, value=Secret(token_of(headers[0])), address=address)
    session = _session_of(connection, session_cookie(secure=secure))
    if session and _is_from_our_page(connection, secure=secure, calls=calls):
        return Presented(scheme=SESSION, value=Secret(session), address=address)
    return Presented(scheme=NOTHING, value="", address=address)


def _bound(connection: HTTPConnection, header: str, *, secure: bool, address: str) -> Presented | None:
    """A token that is bound to a key, with the proof beside it (RFC 9449 §7.1); None: the scheme is another."""
    scheme, _, rest = header.strip(" ").partition(" ")
    if scheme.lower() != DPOP:
        return None
    proofs = connection.headers.getlist("dpop")
    if len(proofs) != 1 or len(proofs[0]) > LONGEST:
        raise Unauthenticated(f"{INVALID}a token of the scheme DPoP needs exactly one DPoP header beside it.")
    # As the client wrote it: a path that is decoded says less.
    raw = connection.scope.get("raw_path") or connection.scope["path"].encode()
    path = raw.partition(b"?")[0].decode("latin-1")
    url = f"{'https' if secure else 'http'}://{connection.headers.get('host', '')}{path}"
    possession = Possession(proof=proofs[0], method=connection.scope.get("method", "GET"), url=url)
    return Presented(scheme=DPOP, value=Secret(_whole(rest.strip(" "))), address=address, possession=possession)


def token_of(header: str) -> str:
    """The token in the value of an Authorization header.

    Raises:
        Unauthenticated: there is none, or more than one.
    """
    scheme, space, rest = header.strip(" ").partition(" ")
    rest = rest.strip(" ")
    if not space:
        if scheme.lower() in _SCHEMES:
            raise Unauthenticated(MALFORMED)
        return _whole(scheme)
    if scheme.lower() == "bearer":
        return _whole(rest)
    if scheme.lower() == "basic":
        return _whole(_password_of(rest))
    raise Unauthenticated(MALFORMED)


def _whole(text: str) -> str:
    if len(text) > LONGEST or not _TOKEN.fullmatch(text):
        raise Unauthenticated(MALFORMED)
    return text


def _password_of(encoded: str) -> str:
    """The password of Basic credentials (RFC 7617); the user name says nothing to us."""
    try:
        pair = base64.b64decode(encoded, validate=True).decode("ascii")
    except ValueError:
        raise Unauthenticated(MALFORMED) from None
    return pair.partition(":")[2]


def _refuse_in_url(connection: HTTPConnection) -> None:
    query = connection.scope.get("query_string", b"")
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    except ValueError:  # more fields than anybody sends
        raise InvalidAnswer("The address cannot be read. Send fewer parameters.") from None
    for name, value in pairs:
        known = name.lower().replace("-", "_")
        if known == "access_token" or _OURS.search(value) or (known in _CARRIERS and _JWT.fullmatch(value)):
            raise Unauthenticated(IN_URL)


def cookie_values(connection: HTTPConnection, name: str) -> set[str]:
    """All values of a cookie: another port, path or subdomain can add a second one of that name."""
    parts = (
        part.strip().partition("=") for header in connection.headers.getlist("cookie") for part in header.split(";")
    )
    return {value.strip('"') for key, _, value in parts if key == name}


def _session_of(connection: HTTPConnection, name: str) -> str:
    """The session cookie's value; of two none is taken."""
    values = cookie_values(connection, name)
    if len(values) > 1:
        raise InvalidAnswer(f"{TWICE} Remove the cookies of this site from your browser, and sign in again.")
    return values.pop() if values else ""


def _is_from_our_page(connection: HTTPConnection, *, secure: bool, calls: bool) -> bool:
    """Whether no other site's page can be behind this request (Fetch Metadata; RFC 6454 §7)."""
    socket = connection.scope["type"] == "websocket"
    if not socket and not calls and connection.scope["method"] in {"GET", "HEAD"}:
        return True
    site = connection.headers.get("sec-fetch-site")
    origin = connection.headers.get("origin")
    own = f"{'https' if secure else 'http'}://{connection.headers.get('host', '')}".lower()
    if site is not None:
        return site == "same-origin" or (site == "none" and not socket)
    return origin.lower() == own if origin is not None else not (socket or calls)


def client_address(scope: Scope, trusted_proxies: Collection[str] = ()) -> str:
    """From where a request comes; empty where no socket tells.

    ``X-Forwarded-For`` is read from its end, and only as far as proxies that are trusted wrote it: whoever else wrote
    something there may have made it up.

    Args:
        scope: the request's.
        trusted_proxies: addresses, or networks such as ``10.0.0.0/8``.
    """
    client = scope.get("client")
    address = client[0] if client else ""
    if not trusted_proxies or not is_among(address, trusted_proxies):
        return str(address)
    for hop in _forwarded(scope["headers"]):
        known = _address(hop)
        if known is None:
            return address
        address = str(known)
        if not is_among(address, trusted_proxies):
            return address
    return address


def _forwarded(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    lines = [value.decode("latin-1") for name, value in headers if name.lower() == b"x-forwarded-for"]
    return [hop.strip() for hop in ",".join(lines).split(",")][::-1][:_FORWARDED] if lines else []


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address, whether or not a port follows it; an IPv4 one inside an IPv6 one is taken out."""
    bare = text.partition("]")[0].lstrip("[") if text.startswith("[") else text
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_among(text: str, proxies: Collection[str]) -> bool:
    """Whether an address is one of those, or of one of those networks."""
    address = _address(text)
    if address is None:
        return text in proxies
    networks = (ipaddress.ip_network(proxy, strict=False) for proxy in proxies if _is_network(proxy))
    return any(address in network for network in networks if network.version == address.version)


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
