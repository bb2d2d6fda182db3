"""The names of a service's functions in another spelling: camelCase, snake_case, or both."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from valetkey.errors import InvalidArguments

_CASES = frozenset({"camel", "snake", "camel+snake", "snake+camel"})
_FACTS = frozenset({"config", "service_schema"})
_JOINT = re.compile(r"(?<=[A-Za-z0-9])_+([A-Za-z0-9])")
_HUMP = re.compile(r"(?<=[a-z0-9])([A-Z])")


def respelled(service: Mapping[str, Any], case: object) -> dict[str, Any]:
    """A service as it is handed on, its functions under names of that spelling.

    Args:
        service: its functions, nested, and its facts, which stay.
        case: ``camel``, ``snake``, or both with ``+``; None: as they are.

    Raises:
        InvalidArguments: there is no such spelling.
    """
    if case is None:
        return dict(service)
    if not isinstance(case, str) or case not in _CASES:
        raise InvalidArguments(f"case_conversion is one of {', '.join(sorted(_CASES))}.")
    shown: dict[str, Any] = {}
    for name, value in service.items():
        if name in _FACTS or name.startswith("_"):
            shown[name] = value
            continue
        inner = respelled(value, case) if isinstance(value, dict) and "_rtype" not in value else value
        if "camel" in case:
            shown[_JOINT.sub(lambda found: found[1].upper(), name)] = inner
        if "snake" in case:
            shown[_HUMP.sub(lambda found: f"_{found[1]}", name).lower()] = inner
    return shown
