"""Read an ``auth`` frame: five kinds of credentials, and what is wrong with one, in the words of the wire."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, Protocol

from valetkey.connections.session import SessionCredential, SessionKind, names_host
from valetkey.connections.session_credential import API_KEY_HEADER
from valetkey.entrypoints.chat.headers import check_name, is_value
from valetkey.errors import AuthenticationError
from valetkey.protocol.authorize import endpoint_fault
from valetkey.secret import Secret

KINDS: Mapping[str, SessionKind] = {
    **{kind.value: kind for kind in SessionKind},
    "oauth2_client_credentials": SessionKind.OAUTH2,
}
"""The kinds by each spelling; both of OAuth 2 are answered as they were sent."""

LONGEST = 16_384
"""Characters of one value."""

MOST_HEADERS = 16
"""Custom headers."""

LONGEST_HEADERS = 8_192
"""Characters of them together: what servers take of one request's headers."""

_SPELT = 64
_RUNS = re.compile(r"([\\%&])\1{4}")  # each may be read in many ways when it comes back: looking for it takes long
_UNSEEN = frozenset({"Cc", "Cs", "Zl", "Zp"})  # controls, half characters, breaks


class AuthSettings(Protocol):
    """What of the chat's settings decides; ``ChatConfig`` has it."""

    @property
    def enable_tool_auth(self) -> bool:
        """Whether a session may have credentials at all."""
        ...

    @property
    def supported_auth_types(self) -> Sequence[str]:
        """The kinds that are taken."""
        ...

    @property
    def token_url_hosts(self) -> Sequence[str]:
        """Hosts of token endpoints that the operator names."""
        ...


def read_auth(frame: Mapping[str, Any], config: AuthSettings) -> tuple[str, SessionCredential]:
    """The type as it was spelt, in lower case, and the credential; fields that it does not know are passed over.

    Raises:
        AuthenticationError: the credential is not taken; the text is what goes over the wire, and holds no value.
    """
    if not config.enable_tool_auth:
        raise AuthenticationError("Tool authentication is disabled")
    given = frame.get("auth_type", SessionKind.BEARER_TOKEN.value)
    if not isinstance(given, str) or _hides(given):
        _wrong("auth_type")
    spelt = given.lower()
    kind = KINDS.get(spelt)
    if kind is None:
        raise AuthenticationError(f"Unknown auth type: {spelt[:_SPELT]}")
    if kind not in {KINDS.get(each.strip().lower()) for each in config.supported_auth_types}:
        raise AuthenticationError(f"Auth type not enabled: {spelt}")
    return spelt, _READERS[kind](frame, config)


def _bearer(frame: Mapping[str, Any], _: AuthSettings) -> SessionCredential:
    fields = {"token": _word(frame, "token")}
    _need(fields, "Bearer token required")
    return SessionCredential(kind=SessionKind.BEARER_TOKEN, fields=_secret(fields))


def _basic(frame: Mapping[str, Any], _: AuthSettings) -> SessionCredential:
    fields = {name: _text(frame, name) for name in ("username", "password")}
    _need(fields, "Username and password required for basic auth")
    if ":" in fields["username"]:  # RFC 7617 §2: it would part the two elsewhere
        raise AuthenticationError("Invalid auth message: username must not hold a colon")
    return SessionCredential(kind=SessionKind.BASIC_AUTH, fields=_secret(fields))


def _api_key(frame: Mapping[str, Any], _: AuthSettings) -> SessionCredential:
    fields = {"api_key": _word(frame, "api_key")}
    header = _word(frame, "api_key_header") or API_KEY_HEADER
    _need(fields, "API key required")
    check_name(header, "api_key_header")
    return SessionCredential(kind=SessionKind.API_KEY, fields=_secret(fields), header=header)


def _oauth2(frame: Mapping[str, Any], config: AuthSettings) -> SessionCredential:
    fields = {name: _text(frame, name) for name in ("client_id", "client_secret")}
    url, scope = _word(frame, "token_url"), " ".join(_word(frame, "scope").split())
    required = "client_id, client_secret, and token_url required for OAuth2"
    if not url:
        raise AuthenticationError(f"{required} (OAuth2 token URL not provided)")
    _need(fields, required)
    fault = endpoint_fault(url, operator=names_host(config.token_url_hosts, url))
    if fault is not None:
        said = "must be https" if "not https" in fault else f"cannot be used: {fault}"
        raise AuthenticationError(f"Invalid auth message: token_url {said}")
    if '"' in scope or "\\" in scope:  # RFC 6749 §3.3
        raise AuthenticationError("Invalid auth message: scope must not hold quotes or backslashes")
    return SessionCredential(kind=SessionKind.OAUTH2, fields=_secret(fields), token_url=url, scope=scope)


def _custom(frame: Mapping[str, Any], _: AuthSettings) -> SessionCredential:
    given = frame.get("custom_headers")
    if not isinstance(given, Mapping) or not given:
        _no_headers()
    headers: dict[str, str] = {}
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, str) or _hides(value):
            _no_headers()
        check_name(name, "custom_headers")
        if not is_value(value):
            raise AuthenticationError(f"Invalid auth message: the value of {name} must be ASCII")
        if not value.strip(" "):
            raise AuthenticationError(f"Invalid auth message: the value of {name} must not be empty")
        _check_runs(f"the value of {name}", value)
        headers[name] = value.strip(" ")
    if len({name.lower() for name in headers}) < len(headers):
        raise AuthenticationError("Invalid auth message: custom_headers has a name twice")
    size = sum(len(name) + len(value) for name, value in headers.items())
    if len(headers) > MOST_HEADERS or size > LONGEST_HEADERS:
        raise AuthenticationError(
            f"Invalid auth message: custom_headers has more than {MOST_HEADERS} headers or {LONGEST_HEADERS} characters"
        )
    return SessionCredential(kind=SessionKind.CUSTOM, headers=_secret(headers))


_READERS: Mapping[SessionKind, Callable[[Mapping[str, Any], AuthSettings], SessionCredential]] = {
    SessionKind.BEARER_TOKEN: _bearer,
    SessionKind.BASIC_AUTH: _basic,
    SessionKind.API_KEY: _api_key,
    SessionKind.OAUTH2: _oauth2,
    SessionKind.CUSTOM: _custom,
}


def _secret(fields: Mapping[str, str]) -> dict[str, Secret]:
    return {name: Secret(value) for name, value in fields.items()}


def _text(frame: Mapping[str, Any], name: str) -> str:
    """A field as it was sent; empty where it is missing or null."""
    value = frame.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or _hides(value):
        _wrong(name)
    if len(value) > LONGEST:
        raise AuthenticationError(f"Invalid auth message: {name} is longer than {LONGEST} characters")
    _check_runs(name, value)
    return value


def _word(frame: Mapping[str, Any], name: str) -> str:
    """A field that goes into a header or a URL: ASCII, without the spaces around it that come from copying."""
    value = _text(frame, name).strip(" ")
    if not is_value(value):
        raise AuthenticationError(f"Invalid auth message: {name} must be ASCII")
    return value


def _hides(text: str) -> bool:
    """Whether it holds what nobody sees and a header cannot carry: line breaks, control characters."""
    return any(unicodedata.category(char) in _UNSEEN for char in text)


def _check_runs(name: str, value: str) -> None:
    if _RUNS.search(value):
        raise AuthenticationError(f"Invalid auth message: {name} must not have five of \\, % or & in a row")


def _need(fields: Mapping[str, str], text: str) -> None:
    if not all(fields.values()):
        raise AuthenticationError(text)


def _wrong(name: str) -> NoReturn:
    raise AuthenticationError(f"Invalid auth message: {name} must be a string")


def _no_headers() -> NoReturn:
    raise AuthenticationError("custom_headers required for custom auth")
