"""Headers of clients' web apps: what they are told of a request, and which of theirs reach a browser.

Whoever may register a service may answer under our name. So a header passes where it is known to tell of the answer
alone; one that speaks for the whole site, or to the proxy before it, does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from valetkey.model.headers import belongs_to_the_request, tells_of_the_answer

SANDBOX = (
    "sandbox allow-scripts allow-forms allow-popups allow-modals allow-downloads; base-uri 'self'; object-src 'none';"
    " frame-ancestors 'none'"
)
"""The policy of a client's page: an origin of its own, which reaches neither our pages nor our cookies."""

OURS: Mapping[str, str] = {"content-security-policy": SANDBOX, "x-content-type-options": "nosniff"}
"""What each of their answers says."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NOT_TOLD = frozenset(
    {b"authorization", b"proxy-authorization", b"cookie", b"cookie2", b"connection", b"transfer-encoding", b"upgrade"}
)
_OF_PAGES = frozenset(
    """
    accept-ranges age cache-control content-encoding content-length content-range expires pragma referrer-policy vary
    """.split()  # noqa: SIM905 - a list that people read
)
# Commands to a proxy or a browser, and what we say ourselves.
_SPEAKING = frozenset(
    """
    x-content-security-policy x-content-type-options x-dns-prefetch-control x-frame-options
    x-permitted-cross-domain-policies
    x-request-id x-reproxy-url x-webkit-csp x-xss-protection
    """.split()  # noqa: SIM905 - a list that people read
)
_SPEAKING_BEGINNING = ("x-accel", "x-lighttpd-", "x-litespeed-", "x-sendfile", "x-ua-", "x-valetkey-", "x-varnish")


def told(headers: Iterable[tuple[bytes, bytes]], secret: str) -> list[tuple[bytes, bytes]]:
    """Headers of a request, without cookies, and without what its caller signs in with, wherever that stands."""
    own = secret.encode("utf-8", "surrogatepass")
    return [
        (name, value)
        for name, value in headers
        if name.lower() not in _NOT_TOLD and value and not (own and own in value)
    ]


def passes(name: str) -> bool:
    """Whether a client's answer may have that header."""
    plain = name.lower()
    if tells_of_the_answer(plain) or plain in _OF_PAGES:
        return True
    speaks = plain in _SPEAKING or plain.startswith(_SPEAKING_BEGINNING) or belongs_to_the_request(plain)
    return plain.startswith("x-") and not speaks


def checked(name: str, value: str) -> tuple[str, str]:
    """A header as it can be sent (RFC 9110 §5.1, §5.5).

    Raises:
        ValueError: it cannot; the text says why.
    """
    if not _TOKEN.fullmatch(name):
        raise ValueError("a header is a name and a value, and its name is a token")
    if _CONTROL.search(value):
        raise ValueError("a header cannot hold a line break, nor another control character")
    return name, value.strip(" \t")
