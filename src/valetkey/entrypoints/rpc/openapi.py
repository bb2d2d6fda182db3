"""OpenAPI of registered services: one operation for each function, by its schema."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from valetkey.model.services import Registered, functions_of
from valetkey.services.table import Service

_UNFIT = re.compile(r"[^A-Za-z0-9_-]+")
_TOLD = frozenset({"context", "who"})  # what the server says, and no caller
_LONGEST = 2000  # characters of a description

_FAILURES = {
    "400": "The arguments are not good, or the service says so.",
    "401": "The token is not good.",
    "403": "The caller may not.",
    "404": "There is no such service or function.",
    "429": "Too often; Retry-After says how long to wait.",
    "504": "It did not answer in time.",
}


def document_of(
    workspace: str,
    services: Iterable[tuple[Service | Registered, Mapping[str, Any]]],
    *,
    base_url: str,
) -> dict[str, Any]:
    """An OpenAPI 3.1 document (https://spec.openapis.org/oas/v3.1.0).

    Args:
        workspace: its name.
        services: each with its schema: functions by name, nested.
        base_url: where we are called, without a slash at the end.
    """
    paths: dict[str, Any] = {}
    tags, taken = [], set[str]()
    for service, schema in services:
        if service.type == "asgi":  # its one function takes no arguments of a caller
            continue
        name = f"{service.client}:{service.id}" if isinstance(service, Registered) else service.id
        described = str(service.description or "")[:_LONGEST]
        tags.append({"name": name, **({"description": described} if described else {})})
        for path, function in functions_of(schema):
            if not all(isinstance(part, str) and part for part in path):
                continue
            operation = _free(_UNFIT.sub("_", "_".join([service.id, *path])).strip("_")[:120], taken)
            address = f"/{quote(workspace, safe='')}/services/{quote(name, safe=':')}/{quote('.'.join(path), safe='.')}"
            paths[address] = {"post": _operation(operation, name, ".".join(path), function)}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Services of {workspace}", "version": "1"},
        "servers": [{"url": base_url or "/"}],
        "tags": tags,
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "responses": {
                status: {
                    "description": what,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}},
                }
                for status, what in _FAILURES.items()
            },
            "schemas": {
                "Failure": {
                    "type": "object",
                    "properties": {"success": {"const": False}, "detail": {"type": "string"}},
                    "required": ["success", "detail"],
                }
            },
        },
        "security": [{}, {"bearer": []}],
    }


def _operation(operation: str, tag: str, name: str, function: Mapping[str, Any]) -> dict[str, Any]:
    said = function.get("description")
    text = said.strip()[:_LONGEST] if isinstance(said, str) else ""
    schema, needed = _arguments(function.get("parameters"))
    return {
        "operationId": operation,
        "tags": [tag],
        "summary": text.splitlines()[0][:120] if text else name,
        **({"description": text} if text else {}),
        "requestBody": {"required": needed, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "200": {"description": "What it gives.", "content": {"application/json": {"schema": {}}}},
            **{status: {"$ref": f"#/components/responses/{status}"} for status in _FAILURES},
        },
    }


def _arguments(parameters: Any) -> tuple[dict[str, Any], bool]:
    """The schema of a body, and whether there has to be one; a client may have written anything for it."""
    given = parameters if isinstance(parameters, Mapping) else {}
    properties, required = given.get("properties"), given.get("required")
    shown = {
        name: schema if isinstance(schema, Mapping | bool) else {}
        for name, schema in (properties.items() if isinstance(properties, Mapping) else ())
        if isinstance(name, str) and name not in _TOLD
    }
    needed = [name for name in (required if isinstance(required, list | tuple) else ()) if name in shown]
    more = {key: given[key] for key in ("$defs", "additionalProperties") if isinstance(given.get(key), Mapping | bool)}
    return {"type": "object", "properties": shown, **({"required": needed} if needed else {}), **more}, bool(needed)


def _free(name: str, taken: set[str]) -> str:
    found, count = name or "call", 2
    while found in taken:
        found, count = f"{name}_{count}", count + 1
    taken.add(found)
    return found
