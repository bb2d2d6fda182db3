"""Read one value of a setting as the type that its field has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_origin

from pydantic import TypeAdapter, ValidationError

from valetkey.errors import InvalidSetting
from valetkey.secret import Secret


def read_value(hint: Any, value: Any, where: str) -> Any:
    """One value as that type; lists and tables may be text, as environment variables are.

    Args:
        hint: the type, as its field declares it.
        value: as a source has it.
        where: its name and source, for the error.

    Raises:
        InvalidSetting: it cannot be used. The text does not repeat it.
    """
    if hint == Secret | None:
        return Secret(str(value))
    if isinstance(value, str) and get_origin(hint) in (frozenset, tuple):
        value = from_json(value, where) if value.startswith("[") else listed(value)
    elif isinstance(value, str) and get_origin(hint) is Mapping:
        value = from_json(value, where)
    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        raise InvalidSetting(f"The setting {where} cannot be used: {explain(error)}.") from None


def listed(text: str) -> list[str]:
    """The parts of a text that is parted by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def from_json(text: str, where: str) -> Any:
    """What JSON text says.

    Raises:
        InvalidSetting: it is none.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidSetting(f'The setting {where} has to be JSON, such as {{"A": "B"}}.') from None


def explain(error: ValidationError) -> str:
    """What is wrong with a value, without the value."""
    first = error.errors(include_input=False, include_url=False)[0]
    return "it has to be true or false" if first["type"].startswith("bool_") else str(first["msg"])
