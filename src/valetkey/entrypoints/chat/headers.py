"""Which headers a client of a chat may set on calls of tools, and with which values."""

from __future__ import annotations

import re

from valetkey.errors import AuthenticationError

LONGEST_NAME = 128

# RFC 9110 §5.1
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 9110 §5.5, without what only some servers take.
_VALUE = re.compile(r"[\x20-\x7e]*")

# How a message is framed, handed on and where it goes; and who says that it came from where.
_NEVER = frozenset(
    """
    accept-encoding alt-svc alt-used cf-connecting-ip client-ip connection cookie cookie2 date early-data expect
    fastly-client-ip forwarded forwarded-for forwarded-host forwarded-proto front-end-https host http2-settings
    keep-alive max-forwards origin referer set-cookie set-cookie2 te trailer transfer-encoding true-client-ip upgrade
    via x-client-cert x-client-ip x-cluster-client-ip x-envoy-external-address x-forwarded x-host x-http-host-override
    x-http-method x-http-method-override x-method-override x-proxyuser-ip x-real-ip x-rewrite-url x-ssl-client-cert
    x-url-scheme
    """.split()  # noqa: SIM905 - a list that people read
)
_NEVER_BEGINNING = (
    "access-control-",
    "content-",
    "proxy-",
    "sec-",
    "x-accel-",
    "x-client-cert-",
    "x-forwarded-",
    "x-original-",
    "x-ssl-client-",
)


def check_name(name: str, field: str) -> None:
    """Let a header's name pass.

    Raises:
        AuthenticationError: it is no name, or one that no credential needs; names the field that held it.
    """
    if len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
        raise AuthenticationError(f"Invalid auth message: {field} must be a header name of letters, digits and hyphens")
    # Gateways for CGI and WSGI make both the same.
    plain = name.lower().replace("_", "-")
    if plain in _NEVER or plain.startswith(_NEVER_BEGINNING):
        raise AuthenticationError(
            f"Invalid auth message: {field} must not set {name}, which belongs to the request and is no credential"
        )


def is_value(text: str) -> bool:
    """Whether a header can have that value, everywhere the same."""
    return _VALUE.fullmatch(text) is not None
