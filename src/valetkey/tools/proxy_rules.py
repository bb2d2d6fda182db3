"""What may pass between a service and a provider: paths, queries, headers both ways, and which address is meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, urljoin, urlsplit

from valetkey.errors import Denied, InvalidArguments
from valetkey.model.headers import bears_a_credential, tells_of_the_answer
from valetkey.ports.world import Trust
from valetkey.providers.base import Provider
from valetkey.providers.endpoints import origin_of, permits
from valetkey.providers.names import BUILTIN
from valetkey.scrub import Scrubber
from valetkey.tools.openapi.paths import is_dots, readings

LONGEST_TARGET = 12_000
"""Characters of path and query; servers refuse longer ones."""

MOST_FIELDS = 1000

# RFC 3986 §3.3: what a path may be made of.
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@/%-]*")
_QUERY = re.compile(r"[!$-;=?-~]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(r"[a-z0-9.-]{1,253}(?::[0-9]{1,5})?|\[[0-9a-f:]+\](?::[0-9]{1,5})?")

# RFC 7578 §4.2: what a part of a form is called.
_PART = re.compile(rb'^content-disposition:[^\r\n]*?;\s*name="?([^";\r\n]*)', re.IGNORECASE | re.MULTILINE)

_HOP_BY_HOP = frozenset(
    {"connection", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings"}
)
_OURS = frozenset(
    {
        "accept-encoding",
        "authorization",
        "content-length",
        "cookie",
        "cookie2",
        "forwarded",
        "host",
        "if-range",
        "origin",
        "range",
        "referer",
        "via",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-original-url",
        "x-rewrite-url",
        "x-real-ip",
        "x-client-ip",
        "true-client-ip",
        "cf-connecting-ip",
    }
)
_OURS_BEGIN = ("proxy-", "sec-", "x-forwarded-", "access-control-")

_LONGEST_VALUE = 8192


def checked_target(path: str) -> str:
    """The path, which stays where it is however anybody on the way reads it.

    Raises:
        InvalidArguments: it holds a dot segment, a control character or a backslash, in whatever coding.
    """
    if len(path) > LONGEST_TARGET or not _PATH.fullmatch(path) or _ESCAPE.search(path):
        raise InvalidArguments("The path cannot be sent as it is. Percent-encode what has no place in a path.")
    for form in readings(path):
        if "\\" in form or _CONTROL.search(form):
            raise InvalidArguments("The path holds a backslash or a control character. Leave it out.")
        if any(is_dots(segment) for segment in form.split("/")):
            raise InvalidArguments("The path holds a dot segment, and would lead elsewhere. Give the plain path.")
    return path


def checked_query(path: str, query: str, headers: Mapping[str, str], body: object) -> None:
    """Refuse a request that brings a credential of its own: the one that is lent is the only one.

    Raises:
        InvalidArguments: it does, or its query cannot be sent.
    """
    if len(path) + len(query) > LONGEST_TARGET or not _QUERY.fullmatch(query):
        raise InvalidArguments("The query cannot be sent as it is: it is too long, or not percent-encoded.")
    _refuse_credentials(headers, "headers")
    _refuse_credentials(_fields(query, "query"), "query")
    media = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
    kind = media.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        if not isinstance(body, bytes):
            raise InvalidArguments("A form is of at most 1 MiB here. Send what is longer as multipart/form-data.")
        _refuse_credentials(_fields(body.decode("latin-1"), "form"), "form")
    elif kind == "multipart/form-data" and isinstance(body, bytes):
        _refuse_credentials([found.decode("latin-1") for found in _PART.findall(body)], "form")


def _fields(text: str, where: str) -> list[str]:
    """Their names, however the provider parts them: some take a semicolon for an ampersand."""
    try:
        pairs = parse_qsl(text.replace(";", "&"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise InvalidArguments(f"The {where} has too many fields. Send fewer.") from None
    return [name for name, _ in pairs]


def _refuse_credentials(names: Iterable[str], where: str) -> None:
    for name in names:
        if bears_a_credential(name):
            raise InvalidArguments(
                f"The {where} holds {name.strip().lower()}, which the credential of this call stands for. Leave it out."
            )


def sent_headers(given: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What of a caller's headers goes on to the provider; several of one name are joined (RFC 9110 §5.3).

    Raises:
        InvalidArguments: the body's type is given twice, or a low line hides a header that is not sent on.
    """
    pairs = [(name.lower(), value.strip(" \t")) for name, value in given]
    named = {each.strip().lower() for name, value in pairs if name == "connection" for each in value.split(",")}
    kept: dict[str, str] = {}
    for name, value in pairs:
        if _is_ours(name) or name in named:
            continue
        if _is_ours(name.replace("_", "-")):
            # Gateways for CGI and WSGI make both the same.
            raise InvalidArguments(f"The header {name} stands for one that is not sent on. Leave it out.")
        if name in kept and name.startswith("content-"):
            raise InvalidArguments(f"The header {name} is given twice. Give it once.")
        kept[name] = f"{kept[name]}, {value}" if name in kept else value
    return kept


def _is_ours(name: str) -> bool:
    return name in _HOP_BY_HOP or name in _OURS or name.startswith(_OURS_BEGIN)


def kept_headers(given: Iterable[tuple[str, str]], scrubber: Scrubber, *, url: str) -> tuple[tuple[str, str], ...]:
    """What of an answer's headers is given on, scrubbed: no cookie, and nothing that speaks for our own origin.

    A redirect is not followed; where it points is told in full, as a path alone would point to us.
    """
    kept: list[tuple[str, str]] = []
    for name, value in given:
        if not tells_of_the_answer(name):
            continue
        text = scrubber.text(_absolute(value, url) if name == "location" else value)
        if text and len(text) <= _LONGEST_VALUE and not _CONTROL.search(text):
            kept.append((name, text))
    return tuple(kept)


def _absolute(location: str, url: str) -> str:
    try:
        full = urljoin(url, location)
        return full if urlsplit(full).scheme in {"http", "https"} else ""
    except ValueError:
        return ""


def origin_for(host: str, origins: frozenset[str], *, provider: str) -> str:
    """Which of a provider's addresses is meant.

    Args:
        host: ``files.slack.com``, with its port where that is not the usual one; empty: the usual one: the only one,
            else the only one that begins with ``api.``, else the one below which all others are.
        origins: the provider's, patterns among them.
        provider: for the text.

    Raises:
        Denied: it is none of them.
        InvalidArguments: several could be meant.
    """
    if host:
        named = host.lower()
        if not _HOST.fullmatch(named):
            raise InvalidArguments("The address after @ is no host. Write it as /via/provider/@host/path.")
        for scheme in ("https", "http"):
            origin = origin_of(f"{scheme}://{named}")
            if permits(origins, origin):
                return origin
        raise Denied(f"The account at {provider} is not lent to {named}: that is none of its own addresses.")
    plain = sorted(origin for origin in origins if "*" not in origin)
    hosts = {origin: origin.partition("://")[2] for origin in plain}
    api = [origin for origin, name in hosts.items() if name.startswith("api.")]
    above = [
        origin
        for origin, name in hosts.items()
        if all(other == name or other.endswith(f".{name}") for other in hosts.values())
    ]
    for found in (plain, api, above):
        if len(found) == 1:
            return found[0]
    shown = ", ".join(sorted(origin.partition("://")[2] for origin in origins)) or "none"
    raise InvalidArguments(
        f"{provider} has several addresses ({shown}). Say which is meant: /via/{provider}/@host/path."
    )


def trust_of(provider: Provider, origin: str) -> Trust:
    """Who named the address: the operator, who may mean this machine; or our catalogue, or whoever calls."""
    if origin not in provider.origins:  # one of a pattern: the caller chose it
        return Trust.CATALOGUE
    endpoints = [
        each
        for entry in provider.handlers
        if entry.oauth2 is not None
        for each in (entry.oauth2.authorize, entry.oauth2.token, entry.oauth2.revoke)
    ]
    by_operator = any(each is not None and each.operator and origin_of(each.url) == origin for each in endpoints)
    return Trust.CATALOGUE if provider.name in BUILTIN and not by_operator else Trust.OPERATOR
