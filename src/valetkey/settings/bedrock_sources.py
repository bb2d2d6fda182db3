"""Where the settings of a chat are written, and under which names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from valetkey.errors import InvalidSetting
from valetkey.settings import bedrock_fields as of
from valetkey.settings.sources import Layer, Sources, load, read_prompts
from valetkey.settings.values import explain

TABLE = "chat."
"""What their dotted names begin with: the table ``[chat]``, and ``VALETKEY_CHAT__…``."""

_KEYWORDS_ONLY = frozenset({"auth_dependency", "tools", "tools_desc"})


def read(
    folder: Path, environ: Mapping[str, str], keywords: Mapping[str, Any], fields: Collection[str]
) -> tuple[dict[str, Any], Sources]:
    """The strongest value of each field, and what it was chosen from.

    Args:
        folder: where ``.env`` and ``valetkey.toml`` are looked for.
        environ: is not written to.
        keywords: go before all else; one that is None is not given.
        fields: the names that there are.

    Raises:
        InvalidSetting: a file cannot be read, or there is no such name.
    """
    files = load(folder, environ, dialect=lambda names: _dialect(names, fields))
    given = {f"{TABLE}{name}": value for name, value in keywords.items() if value is not None}
    sources = Sources((Layer("keywords", given), *files.layers))
    values = _values(sources, fields)
    if values.get("tools_desc"):
        of.say_nothing(["tools_desc"], hint=" Tools are made from the OpenAPI document; further ones go into tools.")
    file = values.get("preset_prompts_file")
    if file and not values.get("preset_prompts"):
        values |= _prompts(folder / file, variables="preset_variables" not in values)
    return values, sources


def explained(error: ValidationError, sources: Sources) -> str:
    """What is wrong with which setting, and where it stands; never the value."""
    place = error.errors(include_input=False, include_url=False)[0]["loc"]
    why = explain(error).removeprefix("Value error, ").rstrip(".")
    if not place:
        return f"{why}."
    field = str(place[0])
    variable = of.VARIABLES.get(field, (f"BEDROCK_{field.upper()}",))[-1]
    source = sources.source_of(f"{TABLE}{field}")
    source = f"{source}: {variable}" if source in ("environment", ".env") else source
    return f"The setting {field} ({source}) cannot be used: {why}."


def _dialect(environ: Mapping[str, str], fields: Collection[str]) -> dict[str, Any]:
    """What variables of seed 003 say, in any case; an empty one says nothing."""
    upper = {name.upper(): name for name in sorted(environ)}
    named = {name: environ[name if name in environ else upper[name]].strip() for name in upper}
    known: dict[str, str] = {}
    for field in fields:
        if field not in _KEYWORDS_ONLY:
            known.update(dict.fromkeys(of.VARIABLES.get(field, (f"BEDROCK_{field.upper()}",)), field))
    of.say_nothing(sorted(name for name in named if of.means_nothing_as_variable(name)))
    for name in sorted(named):
        if name.startswith("BEDROCK_") and name not in known and not of.means_nothing_as_variable(name):
            of.say_once(name, f"The variable {upper[name]} is not known, and does nothing.{of.nearest(name, known)}")
    return {f"{TABLE}{field}": named[variable] for variable, field in known.items() if named.get(variable)}


def _values(sources: Sources, fields: Collection[str]) -> dict[str, Any]:
    """The strongest of each field; a table is of one source."""
    found: dict[str, Any] = {}
    for layer in sources.layers:
        of_layer: dict[str, Any] = {}
        for name, value in layer.values.items():
            if not name.startswith(TABLE):
                continue
            field, _, key = name.removeprefix(TABLE).partition(".")
            if of.means_nothing(field):
                of.say_nothing([field])
            elif field not in fields or (field in _KEYWORDS_ONLY and layer.source != "keywords"):
                _unknown(field, layer.source, fields)
            elif key:
                of_layer.setdefault(field, {})[key] = value
            else:
                of_layer[field] = value
        found = {**of_layer, **found}
    return found


def _unknown(field: str, source: str, fields: Collection[str]) -> None:
    text = f"{source} has the setting {TABLE}{field}, which is not known."
    text = f"There is no keyword {field}." if source == "keywords" else text
    hint = of.nearest(field, fields)
    if source in ("keywords", "valetkey.toml"):
        raise InvalidSetting(f"{text}{hint} Correct it or take it out.")
    of.say_once(f"{source} {field}", text + hint)  # others may keep theirs there, too


def _prompts(path: Path, *, variables: bool) -> dict[str, Any]:
    held = read_prompts(path)
    table = held if isinstance(held, Mapping) else {"prompts": held}
    if not isinstance(table.get("prompts"), list):
        raise InvalidSetting(f"{path.name} has no list of prompts. Write prompts: with label and template in each.")
    found = {"preset_prompts": table["prompts"]}
    if variables and isinstance(table.get("variables"), list):
        found["preset_variables"] = table["variables"]
    return found
