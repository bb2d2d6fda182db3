"""Files, environment, keywords: which wins, where a value came from, what is unknown."""

from __future__ import annotations

import json
import logging
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping
from configparser import Error as ParserError
from configparser import RawConfigParser
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from valetkey.errors import InvalidSetting

PREFIXES = ("POCKET_", "VALETKEY_")
"""Environment names that are ours, the stronger last."""

SECRET_NAMES = frozenset(
    {
        "client_secret",
        "previous_client_secret",
        "vault_key",
        "database_url",
        "redis_url",
        "metrics_token",
        "jwt_secret",
        "root_token",
        "password",
        "api_key",
        "auth_encryption_secret_key",
        "aws_secret_access_key",
        "aws_session_token",
        "model_api_key",
        "sso_client_secret",
        "sso_session_secret",
    }
)

_log = logging.getLogger("valetkey")


@dataclass(frozen=True, slots=True)
class Layer:
    """Settings of one source, by dotted name; ``path``: the TOML file that they are from."""

    source: str
    values: Mapping[str, Any] = field(repr=False)
    path: Path | None = None

    def line_of(self, table: str, number: int, key: str = "") -> int | None:
        """The line of the key, else of the header, of one ``[[table]]`` of an array, counted from 0; None: unknown."""
        if self.path is None:
            return None
        header = re.compile(r"\s*\[\[\s*" + r"\s*\.\s*".join(map(re.escape, table.split("."))) + r"\s*\]\]")
        wanted = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=")
        seen, found = -1, None
        try:
            lines = self.path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return None
        for line, text in enumerate(lines, 1):
            if header.match(text):
                seen += 1
                found = line if seen == number else found
            elif seen == number and key and wanted.match(text):
                return line
        return found


@dataclass(frozen=True, slots=True)
class Sources:
    """All layers, the strongest first."""

    layers: tuple[Layer, ...]

    def get(self, name: str) -> Any:
        """The value of a dotted name; None when no source has it."""
        return next((layer.values[name] for layer in self.layers if name in layer.values), None)

    def source_of(self, name: str) -> str:
        """Which source it came from."""
        return next((layer.source for layer in self.layers if name in layer.values), "default")

    def rank(self, name: str) -> int:
        """How strong its source is: 0 the strongest; as many as there are where none has it."""
        ranks = [rank for rank, layer in enumerate(self.layers) if name in layer.values]
        return ranks[0] if ranks else len(self.layers)

    def names(self) -> Iterator[str]:
        """Every dotted name that any source has, once."""
        yield from dict.fromkeys(name for layer in self.layers for name in layer.values)

    def under(self, prefix: str) -> dict[str, Any]:
        """All values below ``prefix.``, the strongest of each, by what follows the prefix."""
        start = f"{prefix}."
        return {name.removeprefix(start): self.get(name) for name in self.names() if name.startswith(start)}


Dialect = Callable[[Mapping[str, str]], Mapping[str, Any]]
"""What environment variables with other names than ours say, by the dotted names of ours."""


def load(
    folder: Path,
    environ: Mapping[str, str],
    keywords: Mapping[str, Any] | None = None,
    *,
    dialect: Dialect = lambda _: {},
) -> Sources:
    """Read all sources.

    In this order: keywords, environment, and in ``folder`` ``.env``, ``.secrets.toml``, ``valetkey.toml`` or
    ``settings.toml``.

    Raises:
        InvalidSetting: a file cannot be read as what it is; the text names the file and the line.
    """
    layers = [
        Layer("keywords", flatten(keywords or {})),
        Layer("environment", {**dialect(environ), **from_environment(environ)}),
    ]
    dotenv = folder / ".env"
    if dotenv.is_file():
        named = _read_dotenv(dotenv)
        layers.append(Layer(".env", {**dialect(named), **from_environment(named)}))
    chosen = "valetkey.toml" if (folder / "valetkey.toml").is_file() else "settings.toml"
    for name in (".secrets.toml", chosen):
        path = folder / name
        if path.is_file():
            layers.append(Layer(name, flatten(_read_toml(path)), path))
    for layer in layers:
        _warn_if_others_can_read(folder / layer.source, layer)
    return Sources(tuple(layer for layer in layers if layer.values))


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as dotted names. Tables of free names (``environment``, ``tool_vars``) stay whole."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key.lower()}" if key.upper() == key or not prefix else f"{prefix}{key}"
        if isinstance(value, Mapping) and key not in ("environment", "tool_vars"):
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat


def from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """``VALETKEY_A__B`` and ``POCKET_A__B`` as ``a.b``; nothing else of the environment is looked at."""
    found: dict[str, Any] = {}
    for prefix in PREFIXES:
        for name, value in environ.items():
            if name.startswith(prefix):
                found[name.removeprefix(prefix).lower().replace("__", ".")] = value
    return found


def _read_dotenv(path: Path) -> dict[str, str]:
    from dotenv import dotenv_values  # only where there is such a file

    try:
        return {name: value for name, value in dotenv_values(path, interpolate=False).items() if value is not None}
    except (UnicodeDecodeError, OSError):
        # Not as its cause: the error holds the bytes of the file.
        raise InvalidSetting(f"{path.name} cannot be read as UTF-8 text. Correct it, or its permissions.") from None


def read_ini(path: Path) -> dict[str, dict[str, str]]:
    """The sections of a file of AWS; none where there is no such file, or it cannot be read."""
    parser = RawConfigParser(strict=False, default_section="")
    try:
        parser.read_string(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ParserError):
        return {}
    return {name: dict(parser[name]) for name in parser.sections()}


def read_prompts(path: Path) -> Any:
    """What a file of preset prompts says: YAML, of which JSON is a part.

    Raises:
        InvalidSetting: it cannot be read; or PyYAML is not installed, and it is no JSON.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise InvalidSetting(f"{path.name} is missing. Correct the path of preset_prompts_file.") from None
    except (OSError, UnicodeDecodeError):
        raise InvalidSetting(f"{path.name} cannot be read as UTF-8 text. Correct the path, or the file.") from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        import yaml
    except ImportError:
        raise InvalidSetting(f"{path.name} is no JSON. For YAML: pip install 'valetkey[chat]'.") from None
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        raise InvalidSetting(f"{path.name} is not valid YAML. Correct it there.") from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"{path.name} is not valid TOML: {error}. Correct it there.") from None
    except OSError as error:
        raise InvalidSetting(f"{path.name} cannot be read: {error.strerror}. Give its owner read permission.") from None


def _warn_if_others_can_read(path: Path, layer: Layer) -> None:
    if os.name != "posix" or not path.is_file():
        return
    secret = next((name for name in layer.values if name.rpartition(".")[2] in SECRET_NAMES), None)
    if secret is not None and stat.S_IMODE(path.stat().st_mode) & 0o077:
        _log.warning("%s holds a secret (%s) and can be read by others: chmod 600 %s", path.name, secret, path.name)
