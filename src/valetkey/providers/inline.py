"""OAuthHandler: an OAuth 2 provider written down where the tool is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlsplit

from valetkey.errors import InvalidSetting
from valetkey.providers.base import ClientAuth, Endpoint, HandlerEntry, HandlerKind, OAuth2, Provider
from valetkey.providers.catalog.files import NAME
from valetkey.providers.endpoints import checked_origin, checked_url, origin_of
from valetkey.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class OAuthHandler:
    """An OAuth 2 provider in code: ``@tool(auth=OAuthHandler(client_id=…, client_secret=…, …))``.

    Attributes:
        client_id, client_secret: as registered at the provider; a public client has no secret.
        scopes: what the tool has to be allowed to do.
        auth_url, token_url, revoke_url: the endpoints; https, or http on loopback. With an ``issuer`` they may be left
            out: then its metadata names them (RFC 8414).
        name: what the provider is called here; by default after the host of ``auth_url`` or issuer, one a client.
        client_auth: ``client_secret_post``, ``client_secret_basic`` or ``none``; by default the first where
            there is a secret, else the last.
        scope_separator, scope_parameter: how the scopes are sent.
        authorize_parameters, token_parameters: what is sent besides the standard's own.
        issuer: the issuer identifier, which the callback may name (RFC 9207).
        origins: where the token may be sent, besides the token endpoint's own host.

    Raises:
        InvalidSetting: an argument cannot be used; names it.
    """

    client_id: str
    client_secret: Secret
    scopes: frozenset[str]
    auth_url: str
    token_url: str
    name: str
    revoke_url: str | None
    client_auth: ClientAuth
    scope_separator: str
    scope_parameter: str
    authorize_parameters: Mapping[str, str]
    token_parameters: Mapping[str, str]
    issuer: str | None
    origins: frozenset[str]

    def __init__(
        self,
        *,
        client_id: str,
        auth_url: str = "",
        token_url: str = "",
        client_secret: str | Secret = "",
        scopes: Iterable[str] = (),
        name: str | None = None,
        revoke_url: str | None = None,
        client_auth: ClientAuth | str | None = None,
        scope_separator: str = " ",
        scope_parameter: str = "scope",
        authorize_parameters: Mapping[str, str] | None = None,
        token_parameters: Mapping[str, str] | None = None,
        issuer: str | None = None,
        origins: Iterable[str] = (),
    ) -> None:
        if not isinstance(client_id, str) or not client_id:
            raise InvalidSetting("OAuthHandler: client_id is empty. Give the one that the provider shows for your app.")
        secret = client_secret if isinstance(client_secret, Secret) else _secret(client_secret)
        for argument, url in (("auth_url", auth_url), ("token_url", token_url)):
            if url or issuer is None:
                checked_url(url, f"OAuthHandler: {argument}", operator=True)
        for argument, optional in (("revoke_url", revoke_url), ("issuer", issuer)):
            if optional is not None:
                checked_url(optional, f"OAuthHandler: {argument}", operator=True)
        if name is not None and not (isinstance(name, str) and NAME.fullmatch(name)):
            raise InvalidSetting("OAuthHandler: name is no provider's name: lower-case letters, digits, underscores.")
        values: dict[str, object] = {
            "client_id": client_id,
            "client_secret": secret,
            "scopes": _texts(scopes, "scopes"),
            "auth_url": auth_url,
            "token_url": token_url,
            "name": name or _made_name(auth_url or issuer or "", token_url, client_id),
            "revoke_url": revoke_url,
            "client_auth": _client_auth(client_auth, secret),
            "scope_separator": scope_separator,
            "scope_parameter": scope_parameter,
            "authorize_parameters": MappingProxyType(dict(authorize_parameters or {})),
            "token_parameters": MappingProxyType(dict(token_parameters or {})),
            "issuer": issuer,
            "origins": frozenset(
                checked_origin(origin, "OAuthHandler: origins", operator=True) for origin in _texts(origins, "origins")
            ),
        }
        for key, value in values.items():
            object.__setattr__(self, key, value)

    @property
    def variable(self) -> str:
        """What the tool reads the token by: ``SLACK_COM_TOKEN``, or ``ACME_TOKEN`` with ``name="acme"``."""
        return f"{self.name.partition('-')[0].upper()}_TOKEN"

    @property
    def _title(self) -> str:
        if "-" in self.name:
            return urlsplit(self.auth_url or self.issuer or "").hostname or ""
        return self.name.replace("_", " ").capitalize()

    def provider(self) -> Provider:
        """The provider, with one handler. The program named its endpoints: that permits their hosts."""
        return Provider(
            name=self.name,
            title=self._title,
            handlers=(
                HandlerEntry(
                    name=f"{self.name.replace('_', '-')}-oauth2",
                    kind=HandlerKind.OAUTH2,
                    default=True,
                    scoped=True,
                    variables=MappingProxyType({self.variable: "access_token"}),
                    oauth2=OAuth2(
                        authorize=Endpoint(self.auth_url, operator=True),
                        token=Endpoint(self.token_url, operator=True),
                        revoke=Endpoint(self.revoke_url, operator=True) if self.revoke_url else None,
                        client_auth=self.client_auth,
                        scope_parameter=self.scope_parameter,
                        scope_separator=self.scope_separator,
                        authorize_parameters=self.authorize_parameters,
                        token_parameters=self.token_parameters,
                        issuer=self.issuer or "",
                        discovered=not (self.auth_url and self.token_url),
                    ),
                ),
            ),
            origins=self.origins | {origin_of(self.token_url or self.issuer or "")},
        )


def _secret(value: object) -> Secret:
    if not isinstance(value, str):
        raise InvalidSetting("OAuthHandler: client_secret is no text. Give a string, or a Secret.")
    return Secret(value)


def _texts(values: Iterable[str], argument: str) -> frozenset[str]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidSetting(f'OAuthHandler: {argument} is a list of strings, such as ["read", "write"].')
    found = frozenset(values)
    if not all(isinstance(each, str) and each for each in found):
        raise InvalidSetting(f"OAuthHandler: {argument} holds something that is no text, or empty.")
    return found


def _client_auth(given: ClientAuth | str | None, secret: Secret) -> ClientAuth:
    if given is None:
        return ClientAuth.POST if secret else ClientAuth.NONE
    try:
        client_auth = ClientAuth(given)
    except ValueError:
        raise InvalidSetting(f"OAuthHandler: client_auth is none of {', '.join(ClientAuth)}.") from None
    if client_auth is not ClientAuth.NONE and not secret:
        raise InvalidSetting(f"OAuthHandler: client_auth is {client_auth}, and there is no client_secret. Give one.")
    return client_auth


def _made_name(auth_url: str, token_url: str, client_id: str) -> str:
    """The host, and what tells two clients at one host apart."""
    host = re.sub(r"[^a-z0-9]", "_", (urlsplit(auth_url).hostname or "").lower()).strip("_")
    mark = hashlib.sha256(f"{auth_url}\n{token_url}\n{client_id}".encode()).hexdigest()[:8]
    return f"{host if host[:1].isalpha() else f'host_{host}'}-{mark}"
