"""Functions of this process as the RPC wire refers to them, and their schemas."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from valetkey.services.table import Service

_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string", list: "array", dict: "object"}
_TOLD = frozenset({"context", "who"})
_LONGEST = 4000  # characters of a description


def reference(target: str, method: str, *, name: str, docs: str = "", schema: Mapping[str, Any] | None = None) -> Any:
    """A function of a peer.

    Args:
        target: the peer's address.
        method: ``services.<id>.<path>``.
        name: what it is called.
        docs: what it says of itself.
        schema: its ``{name, description, parameters}``.
    """
    shown = {
        "_rtype": "method",
        "_rtarget": target,
        "_rmethod": method,
        "_rpromise": "*",
        "_rname": name,
        "_rasync": True,
        "_rdoc": docs or None,
    }
    return shown if schema is None else {**shown, "_rschema": dict(schema)}


def described(service: Service) -> dict[str, Any]:
    """A service of this process as a client gets it: its facts, and a reference for each function."""
    target = service.full_id.partition(":")[0]
    return {
        **service.info(),
        "service_schema": schema_of(service.functions),
        **_references(service.functions, target, f"services.{service.id}"),
    }


def _references(functions: Mapping[str, Any], target: str, place: str) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, each in functions.items():
        method = f"{place}.{name}"
        if isinstance(each, Mapping):
            shown[name] = _references(each, target, method)
        elif callable(each):
            schema = function_schema(name, each)
            shown[name] = reference(target, method, name=name, docs=schema["description"], schema=schema)
        elif each is None or isinstance(each, str | int | float | bool | bytes):
            shown[name] = each
    return shown


def schema_of(functions: Mapping[str, Any]) -> dict[str, Any]:
    """The ``service_schema`` of what a service of this process offers."""
    shown: dict[str, Any] = {}
    for name, each in functions.items():
        if isinstance(each, Mapping):
            shown[name] = schema_of(each)
        elif callable(each):
            shown[name] = {"type": "function", "function": function_schema(name, each)}
    return shown


def function_schema(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    """``{name, description, parameters}``: as the function says in ``__schema__``, or from its signature."""
    said = getattr(function, "__schema__", None)
    if isinstance(said, Mapping):
        parameters = said.get("parameters")
        properties = dict(parameters.get("properties") or {}) if isinstance(parameters, Mapping) else {}
        required = list(parameters.get("required") or ()) if isinstance(parameters, Mapping) else []
        docs = str(said.get("description") or "")
    else:
        docs = inspect.getdoc(function) or ""
        properties, required = _parameters(function)
    shown = {key: value for key, value in properties.items() if key not in _TOLD}
    needed = [key for key in required if key in shown]
    return {
        "name": name,
        "description": docs[:_LONGEST],
        "parameters": {"type": "object", "properties": shown, "required": needed},
    }


def _parameters(function: Callable[..., Any]) -> tuple[dict[str, Any], list[str]]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {}, []  # a built-in one that does not say
    by_name = [each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    required = [each.name for each in by_name if each.default is each.empty]
    return {each.name: _type(each.annotation) for each in by_name}, required


def _type(annotation: object) -> dict[str, str]:
    name = annotation if isinstance(annotation, str) else ""
    found = next((shown for type_, shown in _TYPES.items() if annotation is type_ or name == type_.__name__), None)
    return {} if found is None else {"type": found}
