"""Who we are at a provider that a tool brings along: as the code says, unless settings move its server."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from valetkey.errors import UnknownProvider
from valetkey.oauth.clients import ClientSettings
from valetkey.providers.inline import OAuthHandler
from valetkey.providers.registry import Registry
from valetkey.settings.pocket import Config


def inline_client(config: Config, registry: Registry, handler: OAuthHandler) -> ClientSettings:
    """The client of an inline provider.

    Settings that point a provider's endpoints elsewhere (``[auth.slack] authorize_url, token_url``) point an inline
    provider at the same host there, too. A client belongs to the server that it is registered at: there it is the one
    of settings, and the code's own secret is not sent.
    """
    own = ClientSettings(client_id=handler.client_id, client_secret=handler.client_secret or None)
    for name in config.moved_providers:
        if _host_of(registry, name) != urlsplit(handler.auth_url or handler.issuer or "").hostname:
            continue
        moved = config.client(name)
        if moved is not None:
            return moved if moved.client_id else replace(moved, client_id=own.client_id)
    return own


def _host_of(registry: Registry, name: str) -> str | None:
    try:
        entries = registry.get(name).handlers
    except UnknownProvider:
        return None
    return next((urlsplit(entry.oauth2.authorize.url).hostname for entry in entries if entry.oauth2), None)
