"""What a tool's folder says of it: ``pocket.json``, or the older ``config.toml`` with ``schema.json``."""

from __future__ import annotations

import difflib
import json
import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from valetkey.errors import InvalidSetting, ValetkeyError
from valetkey.providers.names import AuthProvider
from valetkey.tools.openapi.schemas import Definitions, Schemas
from valetkey.tools.openapi.spec import Unusable
from valetkey.tools.tool import ToolAuth

POCKET, CONFIG, SCHEMA = "pocket.json", "config.toml", "schema.json"

RUNS = {"python": "python main.py", "node": "node dist/index.js"}
"""What is run where nothing says it, by language."""

_LANGUAGES = {"python": "python", "python3": "python", "node": "node", "javascript": "node"}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_KEYS = {
    POCKET: ("$schema", "tool", "auth", "variables", "language", "baseImage", "entrypoint"),
    CONFIG: ("name", "description", "language", "auth", "tool_vars", "entrypoint"),
}
_NO_CONTAINERS = "Containers are not run here: take it out, and write language = python or node."


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A tool as its folder describes it.

    Attributes:
        variables: what it reads from its environment, with the values that it brings along.
        language: ``python`` or ``node``.
        run, build: command lines, split; ``build`` is empty where nothing has to be built.
    """

    name: str
    description: str
    schema: Mapping[str, Any] = field(repr=False)
    auth: ToolAuth | None
    variables: Mapping[str, str]
    language: str
    run: tuple[str, ...]
    build: tuple[str, ...] = ()


def declared(files: Mapping[str, bytes], where: str) -> Declared:
    """Read the description of a tool.

    Where both eras are mixed, ``pocket.json`` goes first, and what it lacks is taken from the other two files.

    Args:
        files: those of :data:`POCKET`, :data:`CONFIG` and :data:`SCHEMA` that are there.
        where: the folder, for errors.

    Raises:
        InvalidSetting: something is missing, unknown, or not of its type; names the file and the key.
    """
    if POCKET in files:
        new = _Table(where, POCKET, _json(files[POCKET], f"{where}/{POCKET}"))
        new.only(_KEYS[POCKET])
        about = new.table("tool", ("name", "description", "inputSchema"), required=True)
    elif CONFIG in files:
        new = about = _Table(where, CONFIG, _toml(files[CONFIG], f"{where}/{CONFIG}"))
        new.only(_KEYS[CONFIG])
    else:
        raise InvalidSetting(f"{where} holds no tool: there is neither {POCKET} nor {CONFIG}.")
    name = about.text("name", required=True)
    if not _NAME.fullmatch(name):
        raise about.wrong("name", "takes up to 64 letters, digits, dashes and underscores")
    if "baseImage" in new.values:
        raise new.wrong("baseImage", f"names a container. {_NO_CONTAINERS}")
    authorised = new
    if new.file == POCKET and "auth" not in new.values and CONFIG in files:
        authorised = _Table(where, CONFIG, _toml(files[CONFIG], f"{where}/{CONFIG}"))
    commands = new.table("entrypoint", ("build", "run"))
    run = commands.words("run")
    language = _language(new, run)
    return Declared(
        name=name,
        description=about.text("description", required=True).strip(),
        schema=_schema(about, files, where),
        auth=_auth(authorised),
        variables=_variables(new, "variables" if new.file == POCKET else "tool_vars"),
        language=language,
        run=run or tuple(shlex.split(RUNS[language])),
        build=commands.words("build"),
    )


class _Table:
    """A table of one of the files; what is wrong with it is told with its file and key."""

    def __init__(self, where: str, file: str, values: Any, prefix: str = "") -> None:
        self.where, self.file, self._prefix = where, file, prefix
        if not isinstance(values, Mapping):
            raise InvalidSetting(f"{where}/{file} has to hold an object.")
        self.values = values

    def wrong(self, key: str, why: str) -> InvalidSetting:
        """The error for a key."""
        return InvalidSetting(f"{self.where}/{self.file}: {self._prefix}{key} {why}.")

    def only(self, known: tuple[str, ...]) -> None:
        """Refuse keys that nobody knows."""
        for key in self.values:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                guess = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
                raise self.wrong(str(key)[:80], f"is not known; {guess}")

    def text(self, key: str, *, required: bool = False) -> str:
        """A text; empty where it is not there and need not be."""
        value = self.values.get(key)
        if value is None and not required:
            return ""
        if not isinstance(value, str) or (required and not value.strip()):
            raise self.wrong(key, "is missing, or is no text" if required else "takes a text")
        return value

    def words(self, key: str) -> tuple[str, ...]:
        """A command line, split as a shell would split it; none reads it."""
        try:
            return tuple(shlex.split(self.text(key)))
        except ValueError:
            raise self.wrong(key, "is no command line: a quote is not closed") from None

    def table(self, key: str, known: tuple[str, ...], *, required: bool = False) -> _Table:
        """A table below."""
        value = self.values.get(key)
        if value is None and not required:
            value = {}
        if not isinstance(value, Mapping):
            raise self.wrong(key, "is missing, or is no object" if value is None else "takes an object")
        below = _Table(self.where, self.file, value, f"{self._prefix}{key}.")
        below.only(known)
        return below


def _json(data: bytes, name: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise InvalidSetting(f"{name} is no JSON. Correct it there.") from None


def _toml(data: bytes, name: str) -> Any:
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        why = f": {error}" if isinstance(error, tomllib.TOMLDecodeError) else ""
        raise InvalidSetting(f"{name} is not valid TOML{why}. Correct it there.") from None


def _schema(about: _Table, files: Mapping[str, bytes], where: str) -> Mapping[str, Any]:
    given, place = about.values.get("inputSchema"), f"{where}/{about.file}: tool.inputSchema"
    if given is None and SCHEMA in files:
        given, place = _json(files[SCHEMA], f"{where}/{SCHEMA}"), f"{where}/{SCHEMA}"
    if given is None:
        raise InvalidSetting(f"{place} is missing, and there is no {SCHEMA} beside it.")
    if not isinstance(given, Mapping) or given.get("type", "object") != "object":
        raise InvalidSetting(f"{place} takes the JSON schema of an object.")
    properties = given.get("properties", {})
    required = given.get("required", [])
    if not isinstance(properties, Mapping) or not isinstance(required, list):
        raise InvalidSetting(f"{place}: properties takes an object, and required a list.")
    if strange := [str(name) for name in required if name not in properties]:
        raise InvalidSetting(f"{place}: required names {strange[0][:80]!r}, which is none of its properties.")
    definitions = Definitions({**given, "openapi": "3.1.0"})
    reading = Schemas(definitions)
    try:
        made: dict[str, Any] = {
            "type": "object",
            "properties": {str(name): reading.translated(each) for name, each in properties.items()},
            "required": list(required),
            "additionalProperties": given.get("additionalProperties") is True,
        }
        if reading.named:
            made["$defs"] = definitions.gathered(reading.named)
    except (Unusable, RecursionError) as error:
        why = str(error) if isinstance(error, Unusable) else "it is nested too deeply"
        raise InvalidSetting(f"{place} cannot be used: {why}.") from None
    return made


def _auth(new: _Table) -> ToolAuth | None:
    if new.values.get("auth") is None:
        return None
    auth = new.table("auth", ("auth_provider", "auth_handler", "scopes"))
    provider, handler = auth.text("auth_provider"), auth.text("auth_handler")
    if not provider and not handler:
        raise auth.wrong("auth_provider", "is missing: it names whose account the tool needs")
    scopes = auth.values.get("scopes")
    if scopes is not None and not (isinstance(scopes, list) and all(isinstance(each, str) for each in scopes)):
        raise auth.wrong("scopes", "takes a list of texts")
    try:
        known = AuthProvider(provider) if provider else None
    except ValetkeyError as error:
        raise auth.wrong("auth_provider", f"names no provider. {error.message.rstrip('.')}") from None
    return ToolAuth(scopes=scopes or None, auth_provider=known, auth_handler=handler or None)


def _variables(new: _Table, key: str) -> Mapping[str, str]:
    values = new.values.get(key)
    if values is None:
        return {}
    if not isinstance(values, Mapping) or not all(isinstance(value, str) for value in values.values()):
        raise new.wrong(key, "takes names with their values, which are texts")
    for name, value in values.items():
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            raise new.wrong(f"{key}.{name[:80]}", "can be no environment variable")
    return dict(values)


def _language(new: _Table, run: tuple[str, ...]) -> str:
    named = new.text("language").lower() or (_LANGUAGES.get(run[0], "") if run else "")
    language = _LANGUAGES.get(named)
    if language is None:
        raise new.wrong("language", f"takes python or node{f', not {named[:80]}' if named else '; it is missing'}")
    if run and _LANGUAGES.get(run[0]) != language:
        raise new.wrong("entrypoint.run", f"begins with {run[0][:80]!r}; it takes {language} and a file")
    return language
