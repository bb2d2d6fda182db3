"""Seeds 000-002's names for them; config()."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, get_type_hints
from urllib.parse import urlsplit

from valetkey.errors import InvalidSetting, MissingSetting
from valetkey.oauth.clients import ClientSettings, variable
from valetkey.secret import Secret
from valetkey.settings.keyfiles import read_key
from valetkey.settings.sections import (
    SERVER_NAMES,
    SERVER_TABLES,
    USUAL_PORTS,
    Callbacks,
    General,
    Prefix,
    Session,
)
from valetkey.settings.sources import Layer, Sources, load
from valetkey.settings.values import from_json, read_value

KNOWN = {
    **{field.name: field.name for field in fields(Callbacks)},
    "vault_key": "vault_key",
    "database_url": "database_url",
    "redis_url": "redis_url",
    "allowed_hosts": "allowed_hosts",
    "provider_paths": "provider_paths",
    "ca_file": "ca_file",
    "tool_vars": "tool_vars",
    "metrics": "metrics",
    "metrics_token": "metrics_token",
    "log_level": "log_level",
    "public_base_url": "public_base_url",
    "auth.use_prebuilt_auth": "use_prebuilt_auth",
    "auth.verify_accounts": "verify_accounts",
    "session.session_type": "session_type",
    **{f"session.redis.{name}": f"redis_{name}" for name in ("host", "port", "db", "username", "password", "ssl")},
}
"""Every setting of this dialect but the providers' own, and the field that it fills."""

IGNORED = ("docks.", "auth.auth_encryption_secret_key", "home", "policy.", "chat.", *SERVER_TABLES)
"""Names of the dialect that mean nothing here, or that another part reads."""

_log = logging.getLogger("valetkey")
_SECTIONS = frozenset({"sources", "callbacks", "session", "general", "auth"})
_Section = TypeVar("_Section", Callbacks, Session, General)


class ProviderConfig:
    """``config.auth.<provider>``: a client's settings, by attribute. Its repr shows names only."""

    def __init__(self, client_id: str | None = None, client_secret: str | None = None, /, **values: Any) -> None:
        given = {"client_id": client_id, "client_secret": client_secret}
        given.update(values)
        object.__setattr__(self, "_values", {name: value for name, value in given.items() if value is not None})
        object.__setattr__(self, "_made", None)
        object.__setattr__(self, "_provider", "<provider>")

    def named(self, provider: str) -> ProviderConfig:
        """The same, which tells its provider's name in errors."""
        object.__setattr__(self, "_provider", provider)
        recommended = self._values.get("use_recommended_scope")
        if isinstance(recommended, str):
            # From the environment; a handler of the host program asks `if config.auth.mine.use_recommended_scope`.
            where = f"auth.{provider}.use_recommended_scope"
            self._values["use_recommended_scope"] = read_value(bool, recommended, where)
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        self._values[name] = value
        object.__setattr__(self, "_made", None)

    def given(self) -> dict[str, Any]:
        """The values that are there, by name."""
        return dict(self._values)

    def client(self, provider: str) -> ClientSettings | None:
        """The same as the road reads it: made once, and anew after a change; None when nothing is there."""
        if self._made is None and self._values:
            object.__setattr__(self, "_made", _client(provider, self.given()))
        made: ClientSettings | None = self._made
        return made

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._values:
            return self._values[name]
        if name == "use_recommended_scope":
            return True
        raise MissingSetting(
            f"The setting auth.{self._provider}.{name} is not there. Write {name} into valetkey.toml under "
            f"[auth.{self._provider}], or set {variable(self._provider, name)}."
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}=***' for name in self.given())})"


class AuthConfig:
    """``config.auth``: one :class:`ProviderConfig` for each provider; assigning one replaces it at once."""

    def __init__(self, sources: Sources) -> None:
        object.__setattr__(self, "_sources", sources)
        object.__setattr__(self, "_given", {})

    def __getattr__(self, provider: str) -> ProviderConfig:
        if provider.startswith("_"):
            raise AttributeError(provider)
        given: ProviderConfig | None = self._given.get(provider)
        if given is None:
            values = self._sources.under(f"auth.{provider}")
            given = self._given[provider] = ProviderConfig(**values).named(provider)
        return given

    @property
    def use_prebuilt_auth(self) -> bool:
        """Whether the handlers that we ship serve; ``PocketAuth(use_prebuilt_handlers=…)`` goes before it."""
        sources: Sources = self.__dict__["_sources"]
        return _section(General, sources).use_prebuilt_auth

    @property
    def auth_encryption_secret_key(self) -> str | None:
        """As settings have it; nothing is sealed with it (see ``vault_key``)."""
        sources: Sources = self.__dict__["_sources"]
        value = sources.get("auth.auth_encryption_secret_key")
        return None if value is None else str(value)

    def __setattr__(self, provider: str, value: object) -> None:
        if isinstance(value, ProviderConfig):
            value = value.given()
        if not isinstance(value, Mapping) and not hasattr(value, "__dict__"):
            kind = type(value).__name__
            raise InvalidSetting(f"config().auth.{provider} takes OAuth2AuthConfig(client_id=…, …); this is {kind}.")
        values = dict(value) if isinstance(value, Mapping) else dict(vars(value))
        self._given[provider] = ProviderConfig(**values).named(provider)

    def __repr__(self) -> str:
        return "AuthConfig(…)"


class Config:
    """Settings of the Pocket dialect; ``config.auth.slack.client_id`` is the setting of that name."""

    def __init__(self, sources: Sources) -> None:
        _check_names(sources)
        self.sources = sources
        self.callbacks = _at(_section(Callbacks, sources), sources)
        self.session = _section(Session, sources)
        self.general = _section(General, sources)
        self.auth = AuthConfig(sources)

    @classmethod
    def load(cls, folder: Path, environ: Mapping[str, str], **keywords: Any) -> Config:
        """Read all sources.

        Raises:
            InvalidSetting: a file or a value cannot be used; the text names it.
        """
        return cls(load(folder, environ, keywords))

    def client(self, provider: str) -> ClientSettings | None:
        """Who we are at that provider; None when no setting names it."""
        found: ProviderConfig = getattr(self.auth, provider)
        return found.client(provider)

    @property
    def docks(self) -> dict[str, Any]:
        """What settings have below ``docks``; nothing reads it."""
        return self.sources.under("docks")

    @cached_property
    def moved_providers(self) -> list[str]:
        """The providers whose endpoints settings point elsewhere."""
        ends = (".authorize_url", ".token_url")
        names = [
            name.split(".")[1] for name in self.sources.names() if name.startswith("auth.") and name.endswith(ends)
        ]
        return list(dict.fromkeys(names))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        for section in (self.callbacks, self.session, self.general):
            if hasattr(section, name):
                return getattr(section, name)
        raise AttributeError(f"no setting of that name: {name}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _SECTIONS:
            super().__setattr__(name, value)
        elif any(name == field.name for field in fields(Callbacks)):
            super().__setattr__("callbacks", replace(self.callbacks, **{name: value}))
        else:
            raise AttributeError(
                f"The setting {name} cannot be set while the program runs. Write it into valetkey.toml, "
                f"or set VALETKEY_{name.upper()}."
            )

    def __repr__(self) -> str:
        return "Config(…)"


def _read_as(provider: str, name: str, value: object) -> Any:
    if name in _IN_FILES:
        return read_key(str(value), f"auth.{provider}.{name}")
    return Secret(str(value)) if name in _SECRETS else str(value)


_SECRETS = ("client_secret", "previous_client_secret")
_IN_FILES = ("private_key", "service_account")


def _client(provider: str, given: dict[str, Any]) -> ClientSettings:
    known = {field.name for field in fields(ClientSettings)}
    extra = {name: str(value) for name, value in given.items() if name not in known}
    values: dict[str, Any] = {name: value for name, value in given.items() if name in known}
    dpop = values.pop("dpop", None)
    recommended = values.pop("use_recommended_scope", True)
    environment = values.pop("environment", {})
    if isinstance(environment, str):
        environment = from_json(environment, f"auth.{provider}.environment")
    where = f"auth.{provider}"
    return ClientSettings(
        dpop=None if dpop is None else read_value(bool, dpop, f"{where}.dpop"),
        use_recommended_scope=read_value(bool, recommended, f"{where}.use_recommended_scope"),
        environment=read_value(dict[str, str], environment, f"{where}.environment"),
        values=extra,
        **{name: _read_as(provider, name, value) for name, value in values.items() if value is not None},
    )


def _section(cls: type[_Section], sources: Sources) -> _Section:
    hints = get_type_hints(cls, include_extras=True)
    values = {}
    for name, field_name in KNOWN.items():
        value = sources.get(name)
        if field_name in hints and value is not None:
            values[field_name] = read_value(hints[field_name], value, f"{name} ({sources.source_of(name)})")
    return cls(**values)


def _at(callbacks: Callbacks, sources: Sources) -> Callbacks:
    """``public_base_url`` says in one what protocol, host name and port say in three, and its path the prefix."""
    url = sources.get("public_base_url")
    if url is None:
        return callbacks
    parts = urlsplit(str(url))
    try:
        port = parts.port
    except ValueError:
        port = 0
    named = f"public_base_url ({sources.source_of('public_base_url')})"
    path = parts.path.strip("/")
    if parts.scheme not in USUAL_PORTS or not parts.hostname or port == 0 or parts.query:
        raise InvalidSetting(f"The setting {named} has to be like https://example.com, or https://example.com/path.")
    if path and sources.get("callback_url_rewrite_prefix") is not None:
        raise InvalidSetting(
            f"The setting {named} has a path, and callback_url_rewrite_prefix is another. Name it in one of them."
        )
    if path:
        callbacks = replace(callbacks, callback_url_rewrite_prefix=read_value(Prefix, path, f"{named}, its path,"))
    return replace(
        callbacks,
        public_server_protocol="https" if parts.scheme == "https" else "http",
        public_hostname=parts.hostname,
        public_server_port=port or USUAL_PORTS[parts.scheme],
    )


CLIENT_KEYS = tuple(field.name for field in fields(ClientSettings) if field.name != "values")


def _check_client(name: str, layer: Layer) -> None:
    """A provider of the host program's own may have keys of its own; one that is nearly ours is a slip."""
    _, _, key = name.removeprefix("auth.").partition(".")
    if not key:
        raise InvalidSetting(
            f"{layer.source} has {name}, which is no table. Write [{name}] with client_id and client_secret below it."
        )
    near = difflib.get_close_matches(key, CLIENT_KEYS, n=1, cutoff=0.8)
    if key not in CLIENT_KEYS and near:
        _log.warning("%s has the setting %s, which is not known. Did you mean %s?", layer.source, name, near[0])


def _check_names(sources: Sources) -> None:
    """A name that nobody knows is an error in our own files, and a warning where others keep theirs, too."""
    for layer in sources.layers:
        for name in layer.values:
            if name in KNOWN or name in SERVER_NAMES or name.startswith(IGNORED):
                continue
            if name.startswith("auth."):
                _check_client(name, layer)
                continue
            near = difflib.get_close_matches(name, [*KNOWN, *SERVER_NAMES], n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            text = f"{layer.source} has the setting {name}, which is not known.{hint}"
            if layer.source in ("valetkey.toml", "keywords"):
                raise InvalidSetting(f"{text} Correct it or take it out.")
            _log.warning("%s", text)
