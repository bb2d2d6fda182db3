"""The kinds of values that settings of the chat have, and what their variables are called."""

from __future__ import annotations

import difflib
import json
import logging
import os
import re
from collections.abc import Iterable
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from valetkey.secret import MASK, Secret
from valetkey.settings.values import listed

DEFAULT_SUPPORTED_AUTH_TYPES = ["bearer_token", "basic_auth", "api_key", "oauth2", "custom"]
"""How a client may give the credentials of its session; ``oauth2_client_credentials`` is ``oauth2``."""

SSO = "sso"
LONG_OAUTH2 = "oauth2_client_credentials"

VARIABLES = {
    "aws_region": ("AWS_DEFAULT_REGION", "AWS_REGION"),
    "aws_access_key_id": ("AWS_ACCESS_KEY_ID",),
    "aws_secret_access_key": ("AWS_SECRET_ACCESS_KEY",),
    "aws_session_token": ("AWS_SESSION_TOKEN",),
}
"""Variables that are not ``BEDROCK_`` and the field's name, the strongest last."""

_NOTHING = frozenset(
    {
        "enable_ai_summarization",
        "enable_rag",
        "history_msg_length_threshold",
        "history_msg_truncation_target",
        "history_total_length_threshold",
        "include_auth_info_in_prompts",
        "llm_client_type",
        "max_truncation_recursion",
        "single_msg_length_threshold",
        "single_msg_truncation_target",
        "ui_lock_input_while_responding",
    }
)
_NOTHING_PREFIXES = ("admin_", "feedback_", "kb_")
_NOTHING_VARIABLES = frozenset(
    {
        "ENABLE_RAG",
        *(
            f"KB_{name}"
            for name in (
                "ALLOW_EMPTY",
                "CHUNK_OVERLAP",
                "CHUNK_SIZE",
                "DATABASE_PATH",
                "EMBEDDING_MODEL",
                "KEYWORD_WEIGHT",
                "POPULATE_ON_STARTUP",
                "SEMANTIC_WEIGHT",
                "SIMILARITY_THRESHOLD",
                "SOURCES_CONFIG",
                "TOP_K_RESULTS",
            )
        ),
    }
)

_log = logging.getLogger("valetkey")
_said: set[str] = set()
_PATH = re.compile(r"/[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*")
_RATE = re.compile(r"([1-9][0-9]{0,8})\s*(?:/|\s+per\s+)\s*(s|m|h|d|sec|min|second|minute|hour|day)s?")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PLAIN_ID = r"[A-Za-z0-9_.~|-]{1,128}"
_SERVICE_ID = re.compile(rf"(?:{_PLAIN_ID}/)?(?:{_PLAIN_ID}:)?{_PLAIN_ID}(?:@{_PLAIN_ID})?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def say_once(what: str, text: str) -> None:
    """Warn of something, once in a process."""
    if what not in _said:
        _said.add(what)
        _log.warning("%s", text)


def say_nothing(names: Iterable[str], hint: str = "") -> None:
    """Warn of names that are known and do nothing, each once in a process."""
    for name in names:
        say_once(name, f"The setting {name} of the chat is known, and does nothing here.{hint}")


def means_nothing(name: str) -> bool:
    """Whether a field of the contract is known and does nothing here (decision 17)."""
    return name in _NOTHING or name.startswith(_NOTHING_PREFIXES)


def means_nothing_as_variable(name: str) -> bool:
    """The same for a variable, in upper case."""
    return name in _NOTHING_VARIABLES or (
        name.startswith("BEDROCK_") and means_nothing(name.removeprefix("BEDROCK_").lower())
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest one, with a space before it; empty when none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]}?" if near else ""


def rate_of(text: str) -> tuple[int, float]:
    """How many, in how many seconds.

    Raises:
        ValueError: it says no rate.
    """
    found = _RATE.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError("write it as 10/minute: a number, then second, minute, hour or day")
    return int(found[1]), _SECONDS[found[2][0]]


def _list(value: Any) -> Any:
    if isinstance(value, str):
        text = value.strip()
        return _json(text, '["a", "b"]') if text.startswith("[") else listed(text)
    return list(value) if isinstance(value, tuple | set | frozenset) else value


def _mapping(value: Any) -> Any:
    return _json(value, '{"a": "b"}') if isinstance(value, str) else value


def _json(text: str, example: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"this is no JSON. Write it as {example}") from None


def _secret(value: Any) -> Any:
    return Secret(value) if isinstance(value, str) else value


def _plain(value: str) -> str:
    if not value or value != value.strip() or _CONTROL.search(value):
        raise ValueError("write it without spaces around it, and without control characters")
    return value


def _path(value: str) -> str:
    path = value.rstrip("/")
    if not _PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
        raise ValueError("write a path of plain segments that begins with a slash, such as /bedrock-chat")
    return path


def _root_or_path(value: str) -> str:
    return value if value == "/" else _path(value)


def _rooted(values: list[str]) -> list[str]:
    if any(not value.startswith("/") or _CONTROL.search(value) for value in values):
        raise ValueError("each path begins with a slash, such as /orders")
    return values


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        well = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        well = False
    if not well or "@" in parts.netloc or _CONTROL.search(value) or " " in value:
        raise ValueError("write a URL without user name, such as https://api.example.com")
    return value


def _url_or_path(value: str) -> str:
    return value if value.startswith("/") and not value.startswith("//") else _url(value)


_USUAL_PORTS = {"https": ":443", "http": ":80"}


def _origins(values: list[str]) -> list[str]:
    found = []
    for value in values:
        origin = value.rstrip("/").lower()
        if origin != "*":
            if "*" in origin:
                raise ValueError("* stands alone, for every page, and in no name: write out each origin that you trust")
            parts = urlsplit(_url(origin))
            if origin != f"{parts.scheme}://{parts.netloc}":
                raise ValueError("each is * or scheme and host, such as https://app.example.com")
            origin = origin.removesuffix(_USUAL_PORTS.get(parts.scheme, ""))  # no browser writes it
        found.append(origin)
    return found


def _auth_type(value: str) -> str:
    name = value.strip().lower()
    name = "oauth2" if name == LONG_OAUTH2 else name
    if name not in (*DEFAULT_SUPPORTED_AUTH_TYPES, SSO):
        known = ", ".join(DEFAULT_SUPPORTED_AUTH_TYPES)
        raise ValueError(f"there is no such type.{nearest(name, DEFAULT_SUPPORTED_AUTH_TYPES)} Known are {known}")
    return name


def _auth_types(values: list[str]) -> list[str]:
    found = dict.fromkeys(_auth_type(value) for value in values)
    if found.pop(SSO, SSO) is None:
        say_once(SSO, "supported_auth_types: sso is no type here; who signs in to the app is known without it.")
    return list(found)


def _rate(value: str) -> str:
    rate_of(value)
    return value


def _prompts(values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not all(isinstance(each.get(key), str) for each in values for key in ("label", "template")):
        raise ValueError("each prompt has a label and a template, both of them text")
    return values


def _file(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _dependency(value: Any) -> Any:
    if not callable(value) and not callable(getattr(value, "dependency", None)):
        raise ValueError("give a function, as FastAPI's Depends takes it, or Depends of it")  # noqa: TRY004  # pydantic's
    return value


def _upper(value: Any) -> Any:
    return value.strip().upper() if isinstance(value, str) else value


def _service_ids(value: list[str]) -> list[str]:
    for each in value:
        if not _SERVICE_ID.fullmatch(each):
            raise ValueError("a service is named by its id: my-service, workspace/my-service or workspace/client:id")
    return value


Listed = Annotated[list[str], BeforeValidator(_list)]
ServiceIds = Annotated[list[str], BeforeValidator(_list), AfterValidator(_service_ids)]
"""A list; as text parted by commas, or JSON."""

Paths = Annotated[Listed, AfterValidator(_rooted)]
Origins = Annotated[Listed, AfterValidator(_origins)]
AuthTypes = Annotated[Listed, AfterValidator(_auth_types)]
OneAuthType = Annotated[str, AfterValidator(_auth_type)]
Objects = Annotated[list[dict[str, Any]], BeforeValidator(_list)]
Prompts = Annotated[Objects, AfterValidator(_prompts)]
FileName = Annotated[str, BeforeValidator(_file)]
Names = Annotated[dict[str, str], BeforeValidator(_mapping)]
Hidden = Annotated[Secret, BeforeValidator(_secret), PlainSerializer(lambda _: MASK, return_type=str, when_used="json")]
"""A secret: neither printed nor part of JSON."""

ModelName = Annotated[str, AfterValidator(_plain)]
Path = Annotated[str, AfterValidator(_path)]
RootOrPath = Annotated[str, AfterValidator(_root_or_path)]
Url = Annotated[str, AfterValidator(_url)]
UrlOrPath = Annotated[str, AfterValidator(_url_or_path)]
RateText = Annotated[str, AfterValidator(_rate)]
Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Upper = BeforeValidator(_upper)
Dependency = Annotated[Any, AfterValidator(_dependency)]
"""A function as FastAPI's ``Depends`` takes it, or the marker that ``Depends`` gives."""
