"""A service that no catalogue has, written down as a provider of the project: its name, and where its token may go."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from valetkey.connections.handler import Handler
    from valetkey.wiring.system import System

TEMPLATE = """\
# Written by `valetkey connections add`. Its token is sent to these origins only.
title = {title}
origins = {origins}

[handlers.{handler}]
kind = "token"
default = true
variables = {{ {variable} = "access_token" }}
fields = [{{ name = "access_token", label = {label} }}]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A provider to be written.

    Attributes:
        file: where to.
        text: what.
        handler: as it will be.
    """

    file: Path
    text: str
    handler: Handler


def describe_service(system: System, name: str, origins: Sequence[str]) -> Service | None:
    """What is to be written; None where there is such a provider already.

    Raises:
        UnknownProvider: there is none, and no origin says where its token may be sent.
        InvalidArguments: its name cannot be used; or origins are named for a provider that is there.
        InvalidSetting: an origin is none.
    """
    from valetkey.connections.handlers.pasted import PastedHandler
    from valetkey.errors import InvalidArguments, UnknownProvider
    from valetkey.providers.base import HandlerEntry, HandlerKind, PastedField, Provider
    from valetkey.providers.catalog.files import FOLDER, NAME
    from valetkey.providers.endpoints import checked_origin
    from valetkey.providers.names import shown

    try:
        known = system.registry.get(name)
    except UnknownProvider as error:
        if not origins:
            raise UnknownProvider(
                f"{error.message} Or say where its token may be sent: --origin https://api.example.com"
            ) from None
    else:
        if origins:
            raise InvalidArguments(
                f"{known.title} is described already, with where its tokens may be sent. Leave --origin out."
            )
        return None
    if not NAME.fullmatch(name):
        usable = name.replace("-", "_")
        hint = f" Take {usable}." if NAME.fullmatch(usable) else ""
        raise InvalidArguments(f"{shown(name)} is no provider's name: lower-case letters, digits, underscores.{hint}")
    allowed = sorted({checked_origin(origin, "--origin", operator=True) for origin in origins})
    title, label, variable = name.replace("_", " ").capitalize(), "Token", f"{name.upper()}_TOKEN"
    handler = f"{name.replace('_', '-')}-token"
    entry = HandlerEntry(
        name=handler,
        kind=HandlerKind.TOKEN,
        default=True,
        variables={variable: "access_token"},
        fields=(PastedField(name="access_token", label=label),),
    )
    provider = Provider(name=name, title=title, handlers=(entry,), origins=frozenset(allowed))
    folder = Path(next(iter(system.config.general.provider_paths), ""))
    return Service(
        file=folder / FOLDER / f"{name}.toml",
        text=TEMPLATE.format(
            title=json.dumps(title),
            origins=json.dumps(allowed),
            handler=handler,
            variable=variable,
            label=json.dumps(label),
        ),
        handler=PastedHandler(provider=provider, entry=entry),
    )


def write_service(service: Service) -> None:
    """Write the file.

    Raises:
        InvalidSetting: it cannot be written.
    """
    from valetkey.errors import InvalidSetting

    try:
        service.file.parent.mkdir(parents=True, exist_ok=True)
        with service.file.open("x", encoding="utf-8") as file:
            file.write(service.text)
    except OSError as error:
        raise InvalidSetting(f"{service.file} cannot be written: {error.strerror}.") from None
