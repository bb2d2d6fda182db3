"""The handlers we ship, one line each; find one by name or provider."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from valetkey.connections.at_provider import World
from valetkey.connections.handler import Handler
from valetkey.connections.handlers.client_credentials import ClientCredentialsHandler
from valetkey.connections.handlers.device import DeviceHandler
from valetkey.connections.handlers.environment import NAME as ENVIRONMENT
from valetkey.connections.handlers.environment import EnvironmentHandler
from valetkey.connections.handlers.oauth2 import OAuth2Handler
from valetkey.connections.handlers.pasted import PastedHandler
from valetkey.connections.handlers.service_account import ServiceAccountHandler
from valetkey.connections.handlers.session import SESSION_HANDLERS, session_handler
from valetkey.connections.handlers.token_exchange import TokenExchangeHandler
from valetkey.connections.session_credential import SESSION
from valetkey.errors import InvalidSetting, MissingSetting, UnknownProvider
from valetkey.oauth.clients import ClientSettings
from valetkey.providers.base import HandlerEntry, HandlerKind, Provider
from valetkey.providers.names import BUILTIN


class Providers(Protocol):
    """Finds providers; ``providers/registry.py`` is one."""

    def get(self, name: str) -> Provider:
        """The provider of that name.

        Raises:
            UnknownProvider: there is none.
        """
        ...

    def find_handler(self, name: str) -> tuple[Provider, HandlerEntry]:
        """The handler of that name, and whose it is.

        Raises:
            UnknownProvider: there is none.
        """
        ...

    def names(self) -> Iterable[str]:
        """The names of all providers."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What handlers are made of."""

    world: World
    environ: Mapping[str, str]


def _oauth2(parts: Parts, provider: Provider, entry: HandlerEntry) -> Handler:
    return OAuth2Handler(provider=provider, entry=entry, world=parts.world)


def _device(parts: Parts, provider: Provider, entry: HandlerEntry) -> Handler:
    return DeviceHandler(provider=provider, entry=entry, world=parts.world)


def _client_credentials(parts: Parts, provider: Provider, entry: HandlerEntry) -> Handler:
    return ClientCredentialsHandler(provider=provider, entry=entry, world=parts.world)


def _token_exchange(parts: Parts, provider: Provider, entry: HandlerEntry) -> Handler:
    return TokenExchangeHandler(provider=provider, entry=entry, world=parts.world)


def _service_account(parts: Parts, provider: Provider, entry: HandlerEntry) -> Handler:
    return ServiceAccountHandler(provider=provider, entry=entry, world=parts.world)


def _pasted(parts: Parts, provider: Provider, entry: HandlerEntry) -> Handler:
    return PastedHandler(provider=provider, entry=entry, whose=parts.world.whose)


def _environment(parts: Parts, provider: Provider, entry: HandlerEntry) -> Handler:  # noqa: ARG001  # made alike
    return EnvironmentHandler(provider=provider, clients=parts.world.clients, environ=parts.environ)


KINDS: Mapping[HandlerKind, Callable[[Parts, Provider, HandlerEntry], Handler]] = {
    HandlerKind.OAUTH2: _oauth2,
    HandlerKind.DEVICE: _device,
    HandlerKind.CLIENT_CREDENTIALS: _client_credentials,
    HandlerKind.TOKEN_EXCHANGE: _token_exchange,
    HandlerKind.SERVICE_ACCOUNT: _service_account,
    HandlerKind.TOKEN: _pasted,
    HandlerKind.BASIC: _pasted,
    HandlerKind.KEY_PAIR: _pasted,
    HandlerKind.ENVIRONMENT: _environment,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """A handler, and the settings that were in force when it was made."""

    handler: Handler
    settings: ClientSettings


class Handling:
    """Finds handlers, and makes ours when they are first asked for.

    Settings are read at each look; a handler whose provider's settings changed is made anew.

    Args:
        registry: the providers that there are.
        world, environ: what our handlers are made of.
        prebuilt: whether the handlers of the providers that we ship serve; False: only the host program's own, those
            of its project's providers and the environment.
        of_project: makes a handler of a class in the project's ``valetkey_providers``.
    """

    def __init__(
        self,
        registry: Providers,
        world: World,
        environ: Mapping[str, str],
        *,
        prebuilt: bool = True,
        of_project: Callable[[Provider, HandlerEntry], Handler] | None = None,
    ) -> None:
        self._of_project = of_project
        self._registry = registry
        self._prebuilt = prebuilt
        self._parts = Parts(world=world, environ=environ)
        self._own: dict[str, Handler] = {}
        self._made: dict[tuple[str, str], _Made] = {}
        self._found: dict[tuple[str | None, str | None], _Made] = {}

    def add(self, handler: Handler) -> None:
        """Take a handler of the host program. It stands in for ours of the same name.

        It serves its provider when no handler is named, if its ``default`` says so.
        """
        self._own.pop(_dashed(handler.name), None)
        self._own[_dashed(handler.name)] = handler
        self._found.clear()

    @property
    def own(self) -> Mapping[str, Handler]:
        """The host program's handlers, by name."""
        return dict(self._own)

    def find(self, name: str | None = None, provider: str | None = None) -> Handler:
        """The handler of that name, in which ``_`` is as good as ``-``; else the provider's default.

        ``environment`` names that handler of the given provider. It is also the default of a provider for which
        settings name variables.

        Raises:
            UnknownProvider: there is none; names the nearest.
        """
        if provider == SESSION:
            return session_handler(name)
        found = self._found.get((name, provider))
        settings = None if found is None else self._settings(found.handler.provider)
        if found is None or (found.settings is not settings and found.settings != settings):
            handler = self._default(provider) if name is None else self._named(name, provider)
            found = _Made(handler=handler, settings=self._settings(handler.provider))
            self._found[name, provider] = found
        return found.handler

    def _named(self, name: str, provider: str | None) -> Handler:
        found = self._by_name(name, provider)
        if provider is not None and found.provider.name != provider:
            raise UnknownProvider(
                f"The auth handler {found.name} connects {found.provider.name} accounts, not {provider} ones. Name a "
                f"handler of {provider}, or leave the provider out."
            )
        return found

    def _by_name(self, name: str, provider: str | None) -> Handler:
        wanted = _dashed(name)
        if wanted in SESSION_HANDLERS:
            return SESSION_HANDLERS[wanted]
        if wanted in self._own:
            return self._own[wanted]
        if wanted == ENVIRONMENT and provider is not None:
            return self._by_environment(self._provider(provider))
        stem = wanted.removesuffix(f"-{ENVIRONMENT}")
        if stem != wanted:
            known = {_dashed(each): each for each in (*self._registry.names(), *self._providers_of_own())}
            if stem in known:
                return self._by_environment(self._provider(known[stem]))
        try:
            return self._make(*self._registry.find_handler(name))
        except UnknownProvider:
            near = difflib.get_close_matches(wanted, self._own, n=3)
            if not near:
                raise
            raise UnknownProvider(f"There is no auth handler {name!r}. Did you mean {' or '.join(near)}?") from None

    def _default(self, name: str | None) -> Handler:
        if name is None:
            raise UnknownProvider("Neither a provider nor an auth handler was named. Name one of them.")
        settings = self._parts.world.clients.of(name)
        if settings.environment:
            return self._by_environment(self._provider(name))
        if settings.handler:
            try:
                return self._named(settings.handler, name)
            except UnknownProvider as error:
                raise UnknownProvider(f"The setting auth.{name}.handler cannot be used: {error.message}") from None
        own = [handler for handler in self._own.values() if handler.provider.name == name]
        chosen = [handler for handler in own if handler.default]
        if chosen:
            return chosen[-1]
        try:
            provider = self._registry.get(name)
        except UnknownProvider:
            if len(own) != 1:
                raise
            return own[0]
        entry = provider.default_handler
        return self._own.get(_dashed(entry.name)) or self._make(provider, entry)

    def _provider(self, name: str) -> Provider:
        own = self._providers_of_own()
        return own[name] if name in own else self._registry.get(name)

    def _providers_of_own(self) -> dict[str, Provider]:
        return {handler.provider.name: handler.provider for handler in self._own.values()}

    def _by_environment(self, provider: Provider) -> Handler:
        name = f"{provider.name}-{ENVIRONMENT}"
        return self._make(provider, HandlerEntry(name=name, kind=HandlerKind.ENVIRONMENT))

    def _make(self, provider: Provider, entry: HandlerEntry) -> Handler:
        settings = self._settings(provider)
        made = self._made.get((provider.name, entry.name))
        if made is not None and made.settings == settings:
            return made.handler
        if entry.handler is not None and self._of_project is not None:
            handler = self._of_project(provider, entry)
            self._made[provider.name, entry.name] = _Made(handler=handler, settings=settings)
            return handler
        if entry.kind not in KINDS:
            raise UnknownProvider(
                f"The handler {entry.name} is a class of your own. Give it to PocketAuth(handlers=[…])."
            )
        if not self._prebuilt and entry.kind is not HandlerKind.ENVIRONMENT and provider.name in BUILTIN:
            raise UnknownProvider(
                f"The handlers that come with Valetkey are switched off here, and none of your own serves "
                f"{provider.title}. Set use_prebuilt_handlers=True, or give one to PocketAuth(handlers=[…])."
            )
        with suppress(MissingSetting, InvalidSetting):
            # What is wrong there is told when a connection is begun.
            provider = self._parts.world.clients.settle(provider)
        handler = KINDS[entry.kind](self._parts, provider, provider.handler(entry.name) or entry)
        self._made[provider.name, entry.name] = _Made(handler=handler, settings=settings)
        return handler

    def _settings(self, provider: Provider) -> ClientSettings:
        return self._parts.world.clients.of(provider.name)


def _dashed(name: str) -> str:
    return name.replace("_", "-")
