"""An OpenAPI document: read within limits, judged, and its references followed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from valetkey.errors import ToolsGenerationError

LARGEST = 32 * 1_048_576
"""Octets of a document as it is kept or sent."""

DEEPEST = 200
"""Levels of nesting."""

HOPS = 32
"""References that lead to references."""

Document = Mapping[str, Any]


class Unusable(ValueError):
    """One part of a document cannot be used; the text says why, for people."""


def parse(data: bytes, *, name: str) -> Document:
    """A document from a file or an answer: JSON, or YAML where the name says so or JSON does not fit.

    Args:
        data: the octets.
        name: the file or the URL, for errors and for its suffix.

    Raises:
        ToolsGenerationError: it is too large, neither JSON nor YAML, no OpenAPI 3.0 or 3.1, or refers to others.
    """
    if len(data) > LARGEST:
        raise ToolsGenerationError(
            f"OpenAPI spec file {name} is larger than {LARGEST // 1_048_576} MB. Give one with the operations needed."
        )
    is_yaml = name.lower().endswith((".yaml", ".yml"))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _unread(name, "YAML" if is_yaml else "JSON", "it is not UTF-8") from None
    found = _yaml(text, name) if is_yaml else _json(text, name)
    return checked(found, name)


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refused)
    except RecursionError:
        raise _unread(name, "JSON", f"it is nested deeper than {DEEPEST} levels") from None
    except json.JSONDecodeError as error:
        if not name.lower().endswith(".json") and not text.lstrip().startswith(("{", "[")):
            return _yaml(text, name)
        raise _unread(name, "JSON", f"{error.msg} in line {error.lineno}") from None
    except ValueError:
        raise _unread(name, "JSON", "it holds a number that JSON has not") from None


def _refused(constant: str) -> Any:
    raise ValueError(constant)


def _yaml(text: str, name: str) -> Any:
    try:
        from valetkey.tools.openapi import yaml_events  # noqa: PLC0415 - an app's own operations need no PyYAML
    except ModuleNotFoundError:
        raise _unread(name, "YAML", "PyYAML is not installed: pip install 'valetkey[chat]', or give JSON") from None
    try:
        return yaml_events.read(text)
    except yaml_events.BadYaml as error:
        raise _unread(name, "YAML", str(error)) from None


def _unread(name: str, kind: str, why: str) -> ToolsGenerationError:
    return ToolsGenerationError(f"Failed to parse OpenAPI spec file {name} as {kind}: {why}. Correct it there.")


def checked(document: Any, name: str) -> Document:
    """The same document, where it is one that tools can be made of.

    Raises:
        ToolsGenerationError: it is none.
    """
    if not isinstance(document, Mapping) or not isinstance(document.get("paths", {}), Mapping):
        raise ToolsGenerationError(f"{name} is no OpenAPI document: expected an object with openapi and paths.")
    version = document.get("openapi", "3.0" if "paths" in document and "swagger" not in document else None)
    if version is None and "swagger" not in document:
        raise ToolsGenerationError(f"{name} is no OpenAPI document: openapi is missing. Expected OpenAPI 3.0 or 3.1.")
    if not isinstance(version, str) or not version.startswith(("3.0", "3.1")):
        found = "Swagger 2.0" if "swagger" in document else f"openapi: {str(version)[:20]}"
        raise ToolsGenerationError(f"{name} is {found}. Expected OpenAPI 3.0 or 3.1: convert it.")
    level: list[Any] = [document]
    for _ in range(DEEPEST):
        below: list[Any] = []
        seen: set[int] = set()
        for value in level:
            if id(value) in seen:
                continue  # an alias of YAML: its contents are looked at once in each level
            seen.add(id(value))
            if isinstance(value, Mapping):
                reference = value.get("$ref")
                if isinstance(reference, str) and not reference.startswith("#"):
                    raise ToolsGenerationError(
                        f"{name} refers to another document ($ref: {reference[:80]!r}), and none is fetched. "
                        f"Bundle them into one file."
                    )
                below += [each for each in value.values() if isinstance(each, Mapping | list)]
            else:
                below += [each for each in value if isinstance(each, Mapping | list)]
        if not below:
            return document
        level = below
    raise ToolsGenerationError(f"{name} is nested deeper than {DEEPEST} levels. Correct it there.")


def resolve(document: Document, node: Any) -> Mapping[str, Any]:
    """What a parameter, a body, a header or a path stands for: itself, or what its ``$ref`` leads to.

    Raises:
        Unusable: it leads nowhere, in a circle, or out of the document.
    """
    for _ in range(HOPS):
        if not isinstance(node, Mapping):
            raise Unusable("a reference leads to something that is no object")
        reference = node.get("$ref")
        if not isinstance(reference, str):
            return node
        node = target(document, reference)
    raise Unusable("references lead in a circle")


def target(document: Document, reference: str) -> Any:
    """What a local reference names (RFC 6901 §6).

    Raises:
        Unusable: it leads nowhere, or out of the document.
    """
    if not reference.startswith("#/"):
        raise Unusable("a reference leads out of the document")
    found: Any = document
    for part in unquote(reference[2:]).split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(key)] if isinstance(found, list) else found[key]
        except (KeyError, IndexError, ValueError, TypeError):
            raise Unusable(f"the reference {reference[:80]!r} leads nowhere") from None
    return found
