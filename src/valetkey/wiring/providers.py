"""Which providers a service may ask for: those that there are here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from valetkey.errors import InvalidArguments, InvalidSetting, UnknownProvider
from valetkey.providers.names import nearest

if TYPE_CHECKING:
    from valetkey.wiring.system import System

_log = logging.getLogger("valetkey.services")


def provided_by(system: System) -> Callable[[str], None]:
    """Refuses names of which there is no provider here, with the nearest; and those whose file cannot be used."""

    def check(name: str) -> None:
        try:
            system.handling.find(None, name)
        except UnknownProvider:
            own = (handler.provider.name for handler in system.handling.own.values())
            near = nearest(name, {*system.registry.names(), *own} - {name})
            raise InvalidArguments(
                f"needs names the provider {name}, and this server has none of that name.{near}"
            ) from None
        except InvalidSetting as error:
            _log.warning("a service asks for the provider %s: %s", name, error)
            raise InvalidArguments(
                f"needs names the provider {name}, which is not set up here. Ask whoever runs this server."
            ) from None

    return check
