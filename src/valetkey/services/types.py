"""Service types: what services of a kind offer, kept with a workspace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from valetkey.errors import InvalidArguments, NotFound
from valetkey.model.services import NAME
from valetkey.services.asking import mapping, plain, text

LARGEST = 16_384
"""Bytes of one, as JSON."""

MOST = 50
"""Of one workspace."""

_KEYS = frozenset({"id", "name", "definition", "description", "config", "docs"})


def type_of(given: object, workspace: str) -> tuple[str, dict[str, Any]]:
    """The id and the facts of a service type as it is given.

    Raises:
        InvalidArguments: it can be none, or is one of another workspace.
    """
    facts = mapping(given, "type_info")
    strange = facts.keys() - _KEYS
    if strange:
        raise InvalidArguments(f"A service type has {', '.join(sorted(_KEYS))}, and no {', '.join(sorted(strange))}.")
    place, type_id = split(text(facts.get("id"), "id"), workspace)
    if place != workspace:
        raise InvalidArguments(
            f"Workspace mismatch: {place} != {workspace}, you can only register service type in your own workspace."
        )
    definition = mapping(facts.get("definition"), "definition")
    kept = {
        "id": type_id,
        "name": text(facts.get("name"), "name"),
        "definition": definition,
        "description": facts.get("description"),
        "config": mapping(facts.get("config"), "config"),
        "docs": facts.get("docs"),
    }
    if any(not isinstance(kept[name], str | None) for name in ("description", "docs")):
        raise InvalidArguments("The description and the docs of a service type are texts.")
    plain({type_id: kept}, f"The service type {type_id}", most=LARGEST)
    return type_id, kept


def split(query: str, workspace: str) -> tuple[str, str]:
    """Workspace and id of ``id`` or ``workspace/id``.

    Raises:
        InvalidArguments: that can be none.
    """
    place, slash, type_id = query.rpartition("/")
    if not NAME.fullmatch(type_id) or (slash and not place):
        raise InvalidArguments("A service type's id is of letters, digits, dot, hyphen, low line; at most 128 of them.")
    return (place if slash else workspace), type_id


def put(types: dict[str, Any], type_id: str, facts: Mapping[str, Any]) -> None:
    """Keep one.

    Raises:
        InvalidArguments: one of that id is there, or there are too many.
    """
    if type_id in types:
        raise InvalidArguments(f"Service type already exists: {type_id}")
    if len(types) >= MOST:
        raise InvalidArguments(f"A workspace has at most {MOST} service types.")
    types[type_id] = dict(facts)


def get(types: Mapping[str, Any], type_id: str, workspace: str) -> dict[str, Any]:
    """One that is there, with its whole id.

    Raises:
        NotFound: it is not.
    """
    facts = types.get(type_id)
    if not isinstance(facts, Mapping):
        raise NotFound(f"Service type not found: {type_id}")
    return {**facts, "id": f"{workspace}/{type_id}"}
