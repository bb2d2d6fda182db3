"""The addresses of a provider: checked when they are named, overridden by settings, matched by origin."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from valetkey.errors import InvalidSetting, MissingSetting
from valetkey.model.hosts import is_loopback
from valetkey.providers.base import ClientAuth, Endpoint, HandlerEntry, OAuth2, Provider, Userinfo

PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")

# RFC 3986 §2: no space, control, quote, backslash, brace.
_URL_CHARACTERS = re.compile(r"[!#-;=?-\[\]_a-z~]+")
# Never a whole top-level domain.
_WIDE = re.compile(r"https://\*\.[^.*]+\.[^*]+")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9])?")
_HOST_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
NAMES = ("email", "preferred_username", "login", "username", "name", "sub")
"""By what a userinfo answer names an account: OpenID Connect Core §5.1, and what others say instead."""

_DEFAULT_PORTS = {"https": 443, "http": 80}
# Settings after which another server authorizes or gives tokens.
_ELSEWHERE = frozenset({"authorize_url", "token_url", "issuer"})


def checked_url(url: str, where: str, *, operator: bool) -> str:
    """The URL of an endpoint as it was given (RFC 6749 §3.1, §3.2).

    Args:
        url: absolute, https, without user information and fragment.
        where: the setting, argument or key that named it, for the error.
        operator: whether whoever runs the program named it; then http is taken on loopback.

    Raises:
        InvalidSetting: it cannot be used. The text does not repeat it: it may hold a secret.
    """
    if not isinstance(url, str) or not url:
        raise InvalidSetting(f"{where} is empty. Give the full URL, such as https://example.com/oauth/token.")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise InvalidSetting(f"{where} is no URL that can be read. Give it as https://host/path.") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise InvalidSetting(f"{where} does not begin with https://. Give the full URL.")
    if parts.scheme == "http" and not (operator and is_loopback(host)):
        raise InvalidSetting(f"{where} is http, which is taken on loopback only. Give the https URL.")
    if not _is_host(host) or port == 0:
        raise InvalidSetting(f"{where} names no host that can be called. Give it as https://host/path.")
    if "@" in parts.netloc:
        raise InvalidSetting(f"{where} holds a user name. Leave out everything up to the @.")
    if "#" in url:
        raise InvalidSetting(f"{where} holds a #fragment, which an endpoint has not (RFC 6749 §3.1). Leave it out.")
    if not _URL_CHARACTERS.fullmatch(url):
        raise InvalidSetting(f"{where} holds a character that no URL has. Write it percent-encoded.")
    return url


def checked_origin(origin: str, where: str, *, operator: bool) -> str:
    """An origin, ``scheme://host[:port]``; its host may begin with ``*.``.

    Raises:
        InvalidSetting: it is none.
    """
    plain = origin.replace("://*.", "://", 1) if isinstance(origin, str) and _WIDE.fullmatch(origin) else origin
    if origin_of(checked_url(plain, where, operator=operator)) != plain:
        raise InvalidSetting(f"{where} is no origin. Give scheme and host in lower case: https://api.example.com.")
    return origin


def checked_template(url: str, where: str, *, operator: bool, origin: bool = False) -> str:
    """The same for a URL (or origin) that may hold ``{placeholders}``.

    Raises:
        InvalidSetting: no value for the placeholders would make it usable.
    """
    if not isinstance(url, str):
        raise InvalidSetting(f"{where} is no text. Give a URL.")
    tried = PLACEHOLDER.sub(lambda found: "x" if found.start() else "https://x.example", url)
    (checked_origin if origin else checked_url)(tried, where, operator=operator)
    return url


def origin_of(url: str) -> str:
    """``scheme://host[:port]`` of a URL, in lower case and without the scheme's own port (RFC 6454 §4)."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in {None, _DEFAULT_PORTS.get(parts.scheme)} else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def permits(origins: frozenset[str], origin: str) -> bool:
    """Whether a credential with these origins may be sent to that one. None at all permit nothing."""
    if origin in origins:
        return True
    scheme, _, rest = origin.partition("://")
    labels = rest.split(".")
    return any(f"{scheme}://*.{'.'.join(labels[start:])}" in origins for start in range(1, len(labels)))


def override(
    provider: Provider,
    *,
    authorize_url: str | None = None,
    token_url: str | None = None,
    revoke_url: str | None = None,
    device_url: str | None = None,
    par_url: str | None = None,
    registration_url: str | None = None,
    issuer: str | None = None,
    userinfo_url: str | None = None,
    client_auth: str = "",
    dpop: bool | None = None,
    values: Mapping[str, str] | None = None,
) -> Provider:
    """The provider with the endpoints that settings name, and its ``{placeholders}`` filled from ``values``.

    What the operator named is permission for its host. Where another server authorizes or gives tokens, the
    catalogue's issuer no longer holds and is dropped; the server's origin is added to those that credentials
    may see. An origin whose placeholder has no value is left out; that is no error, as with a pasted token that
    only its tool uses.

    Raises:
        InvalidSetting: a URL or value cannot be used; names the setting.
        MissingSetting: a placeholder has no value; names the setting.
    """
    setting = f"auth.{provider.name}"
    filler = _Filler(setting, values or {})
    named = {
        key: Endpoint(url=checked_url(url, f"{setting}.{key}", operator=True), operator=True)
        for key, url in (
            ("authorize_url", authorize_url),
            ("token_url", token_url),
            ("revoke_url", revoke_url),
            ("device_url", device_url),
            ("par_url", par_url),
            ("registration_url", registration_url),
            ("issuer", issuer),
        )
        if url is not None
    }
    if client_auth and client_auth not in list(ClientAuth):
        raise InvalidSetting(f"{setting}.client_auth is none of {', '.join(ClientAuth)}.")
    elsewhere = not _ELSEWHERE.isdisjoint(named)
    provider = _asking(provider, userinfo_url, filler, elsewhere=elsewhere)
    if named and not any(entry.oauth2 for entry in provider.handlers):
        raise InvalidSetting(f"{setting}.{next(iter(named))} is set, and {provider.title} has no OAuth 2. Remove it.")
    handlers = tuple(
        replace(entry, oauth2=_told(_overridden(entry.oauth2, named, filler), client_auth, dpop=dpop))
        if entry.oauth2
        else entry
        for entry in provider.handlers
    )
    known = {filled for origin in provider.origins if (filled := filler.try_fill(origin, "origins")) is not None}
    origins = frozenset(known | {origin_of(end.url) for end in named.values()})
    if (handlers, origins) == (provider.handlers, provider.origins):
        return provider
    return replace(provider, handlers=handlers, origins=origins)


def _asking(provider: Provider, url: str | None, filler: _Filler, *, elsewhere: bool) -> Provider:
    """The provider, asked whose an account is where settings say; another server's token is not shown to the entry's.

    ``url``: None: the entry's, where its placeholders have values; empty: nobody is asked.
    """
    if url:
        url = checked_url(url, f"auth.{provider.name}.userinfo_url", operator=True)

    def asked(entry: HandlerEntry) -> Userinfo | None:
        held = entry.userinfo
        if url:
            named = Endpoint(url, operator=True)
            return replace(held, url=named) if held else Userinfo(url=named, account=NAMES, subject="sub")
        if held is None or url is not None or (elsewhere and entry.oauth2) or filler.lacks(held.url.url):
            return None
        return replace(held, url=filler.fill(held.url, "userinfo_url"))

    handlers = tuple(replace(entry, userinfo=asked(entry)) for entry in provider.handlers)
    return provider if handlers == provider.handlers else replace(provider, handlers=handlers)


def _told(oauth2: OAuth2, client_auth: str, *, dpop: bool | None) -> OAuth2:
    return replace(
        oauth2,
        client_auth=ClientAuth(client_auth) if client_auth else oauth2.client_auth,
        dpop=oauth2.dpop if dpop is None else dpop,
    )


def _overridden(oauth2: OAuth2, named: Mapping[str, Endpoint], filler: _Filler) -> OAuth2:
    elsewhere = not _ELSEWHERE.isdisjoint(named)
    revoke = named.get("revoke_url")
    if revoke is None and oauth2.revoke is not None and not (elsewhere and filler.lacks(oauth2.revoke.url)):
        revoke = filler.fill(oauth2.revoke, "revoke_url")
    issuer = "" if elsewhere else filler.try_fill(oauth2.issuer, "issuer") or ""
    if "issuer" in named:
        issuer = named["issuer"].url
    # An issuer that the operator names speaks for all its endpoints; those of the entry are another server's.
    moved = "issuer" in named

    def ours(end: Endpoint | None, key: str) -> Endpoint | None:
        if key in named:
            return named[key]
        return None if end is None or elsewhere else filler.fill(end, key)

    def main(end: Endpoint, key: str) -> Endpoint:
        return named.get(key) or (Endpoint("") if moved else filler.fill(end, key))

    return replace(
        oauth2,
        authorize=main(oauth2.authorize, "authorize_url"),
        token=main(oauth2.token, "token_url"),
        refresh=None if moved or "token_url" in named else ours(oauth2.refresh, "refresh_url"),
        discovered=moved or (oauth2.discovered and not elsewhere),
        device=ours(oauth2.device, "device_url"),
        par=ours(oauth2.par, "par_url"),
        registration=ours(oauth2.registration, "registration_url"),
        revoke=None if moved and "revoke_url" not in named else revoke,
        revoke_client_auth=None if "revoke_url" in named else oauth2.revoke_client_auth,
        issuer=issuer,
        iss_in_callback=oauth2.iss_in_callback and bool(issuer),
    )


class _Filler:
    """Puts settings into the placeholders of URLs."""

    def __init__(self, setting: str, values: Mapping[str, str]) -> None:
        self._setting = setting
        self._values = values

    def lacks(self, template: str) -> str | None:
        """The first placeholder without a value."""
        return next((name for name in PLACEHOLDER.findall(template) if not self._values.get(name)), None)

    def fill(self, endpoint: Endpoint, key: str) -> Endpoint:
        if not PLACEHOLDER.search(endpoint.url):
            return endpoint
        if missing := self.lacks(endpoint.url):
            raise MissingSetting(
                f"{self._setting}.{missing} is not set. Set it, or {self._setting}.{key} to the full URL."
            )
        return Endpoint(url=self._filled(endpoint.url, key), operator=True)

    def try_fill(self, template: str, key: str) -> str | None:
        """The URL; None where a value is missing."""
        if not PLACEHOLDER.search(template):
            return template
        return None if self.lacks(template) else self._filled(template, key)

    def _filled(self, template: str, key: str) -> str:
        url = PLACEHOLDER.sub(self._value, template)
        return checked_url(url, f"{self._setting}.{key}", operator=True)

    def _value(self, found: re.Match[str]) -> str:
        name, value = found[1], self._values[found[1]]
        setting = f"{self._setting}.{name}"
        if found.start() == 0:
            base = checked_url(value, setting, operator=True)
            if urlsplit(base).path.strip("/") or "?" in base:
                raise InvalidSetting(f"{setting} is more than a host. Give it as https://host, without a path.")
            return origin_of(base)
        if not _HOST_VALUE.fullmatch(value):
            raise InvalidSetting(f"{setting} goes into a host name: letters, digits, dots and hyphens only.")
        return value


def _is_host(host: str) -> bool:
    if ":" in host:
        try:
            return isinstance(ipaddress.ip_address(host), ipaddress.IPv6Address)
        except ValueError:
            return False
    return bool(_HOST.fullmatch(host)) and ".." not in host
