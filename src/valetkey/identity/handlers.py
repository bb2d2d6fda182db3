"""How the functions that a host program registers are called; one that cannot be called so is refused at once."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from valetkey.errors import InvalidArguments


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One signature: as people write it, and calls that it must take."""

    written: str
    calls: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...]


SHAPES: Mapping[str, Shape] = {
    "parse_token": Shape(written="parse_token(token)", calls=((("t",), {}),)),
    "generate_token": Shape(written="generate_token(user_info, expires_in)", calls=((("u", 1), {}),)),
    "get_token": Shape(written="get_token(scope)", calls=((({},), {}),)),
    "login_service": Shape(written="app(scope, receive, send)", calls=((({}, None, None), {}),)),
    "index": Shape(written="index(event)", calls=((({},), {}),)),
    "start": Shape(
        written="start(workspace=None, expires_in=None)",
        calls=(((), {}), ((), {"workspace": "w", "expires_in": 1})),
    ),
    "check": Shape(
        written="check(key, timeout=180, profile=False)",
        calls=((("k",), {}), ((), {"key": "k", "timeout": 1, "profile": True})),
    ),
    "report": Shape(
        written="report(key, token, **kwargs)",
        calls=((("k", "t"), {}), ((), {"key": "k", "token": "t"})),
    ),
}

_USER_OF_URL = re.compile(r"(?<=://)[^\s/?#@\"'<>]+@")  # RFC 3986 §3.2.1
_CREDENTIAL = re.compile(r"\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)

NAMES = frozenset(
    {
        "parse_token",
        "generate_token",
        "get_token",
        "login_service",
        "index_handler",
        "start_handler",
        "check_handler",
        "report_handler",
        "exclusive",
    }
)
"""The parameters of ``register_auth_service`` itself."""

FACTS = frozenset({"id", "name", "type", "description", "docs", "config", "visibility", "workspace"})
"""What a login service may hold besides its handlers."""


def check(name: str, function: object) -> None:
    """Refuse a function that cannot be called as it will be.

    Raises:
        InvalidArguments: it cannot; the text says how it will be.
    """
    shape = SHAPES[name]
    if not callable(function):
        raise InvalidArguments(f"{name} has to be a function, {shape.written}, and is {type(function).__name__}.")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # a built-in one that does not say
    for arguments, keywords in shape.calls:
        try:
            signature.bind(*arguments, **keywords)
        except TypeError:
            shown = getattr(function, "__qualname__", type(function).__qualname__)
            raise InvalidArguments(
                f"{name} is called as {shape.written}, and {shown}{signature} cannot be. Change its parameters."
            ) from None


def check_handlers(service: Mapping[str, Any], *, extra: Collection[str]) -> None:
    """Refuse a login service with a handler that cannot be called, or an extra one whose name is a slip of the pen.

    Raises:
        InvalidArguments: there is one.
    """
    for name in extra:
        meant = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.85)
        if meant:
            raise InvalidArguments(f"register_auth_service has no parameter {name}. Did you mean {meant[0]}?")
    for name, handler in service.items():
        if name in SHAPES:
            check(name, handler)
        elif name not in FACTS and not isinstance(handler, Mapping) and not callable(handler):
            raise InvalidArguments(
                f"{name} has to be a function of the login service, and is {type(handler).__name__}."
            )


def is_async(function: Callable[..., Any]) -> bool:
    """Whether it runs on the loop; all else runs in a thread."""
    call = getattr(function, "__call__", None)  # noqa: B004 - an object may have an asynchronous one
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def outcome(function: Callable[..., Any], arguments: Sequence[Any]) -> tuple[Any, BaseException | None]:
    """Result or exception: as a value, for a StopIteration cannot leave a thread, and a SystemExit must not."""
    try:
        return function(*arguments), None
    except BaseException as error:  # noqa: BLE001
        return None, error


def presentable(error: BaseException) -> str:
    """An exception's text without what URLs and headers in it may give away; empty where it has none to show."""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - a host program's own exception
        return ""
    return _CREDENTIAL.sub(r"\1\2***", _USER_OF_URL.sub("***@", text))
