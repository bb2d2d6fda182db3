"""A tool's value as text for a model."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic_core import PydanticSerializationError, to_json


def text_of(value: object) -> str:
    """A string as it is; anything else as JSON, models and dataclasses too; what JSON has no form for by its str()."""
    if isinstance(value, str):
        return value
    try:
        return _json(value)
    except (PydanticSerializationError, ValueError, RecursionError):
        # A client's answer object may be its own iterator, or hold itself.
        return _json(_tree(value, ()))


def _json(value: object) -> str:
    return to_json(value, fallback=str, inf_nan_mode="strings").decode()


def _tree(value: object, above: tuple[object, ...]) -> object:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if any(value is one for one in above):
        return "…"
    if isinstance(value, Mapping):
        return {str(key): _tree(item, (*above, value)) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_tree(item, (*above, value)) for item in value]
    return str(value)
