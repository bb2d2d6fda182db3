"""Auth handlers of the project's own: classes in its ``valetkey_providers``, made when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from valetkey.connections.driven import Driven
from valetkey.connections.handler import AuthHandlerInterface, Handler
from valetkey.errors import InvalidSetting
from valetkey.providers.base import HandlerEntry, Provider


def of_project(routers: list[Any]) -> Callable[[Provider, HandlerEntry], Handler]:
    """Makes the handler of an entry of the kind custom.

    Args:
        routers: a class's own ``router`` is served from then on.
    """

    def make(provider: Provider, entry: HandlerEntry) -> Handler:
        from valetkey.adapters.project_code import load_class  # adapters load when they are needed

        own = entry.handler
        if own is None:
            raise InvalidSetting(f"The handler {entry.name} names no class.")
        found = load_class(own.folder, own.module, own.name)
        if not issubclass(found, AuthHandlerInterface):
            raise InvalidSetting(f"{own.module}:{own.name} is no AuthHandlerInterface. Make it a subclass of that.")
        made = Driven(_made(found), provider)
        # The file says what it is called, and whether it serves where none is named.
        made.name, made.default = entry.name, entry.default
        router = getattr(found, "router", None)
        if router is not None and router not in routers:
            routers.append(router)
        return made

    return make


def _made(found: type[AuthHandlerInterface]) -> AuthHandlerInterface:
    try:
        return found()
    except TypeError as error:
        raise InvalidSetting(f"{found.__name__} cannot be made without arguments: {error}") from None
