"""What RPC has and JSON has not, such as arrays of numbers and bytes, as JSON can have it."""

from __future__ import annotations

import re
import struct
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from math import prod
from typing import Any

MOST = 1_000_000
"""Numbers of an array that are written out; a larger one stays as it came: type, shape and bytes."""

MOST_DIMENSIONS = 64
"""Of an array, as numpy has at most."""

_KIND = re.compile(r"(?P<order>[<>=|]?)(?P<kind>bool|int|uint|float|complex|[biufc?])(?P<size>\d*)")
_SHORT = {"b": "bool", "i": "int", "u": "uint", "f": "float", "c": "complex", "?": "bool"}  # with bytes instead of bits
_CODES = {
    ("bool", 1): "?",
    ("int", 1): "b",
    ("uint", 1): "B",
    ("int", 2): "h",
    ("uint", 2): "H",
    ("int", 4): "i",
    ("uint", 4): "I",
    ("int", 8): "q",
    ("uint", 8): "Q",
    ("float", 2): "e",
    ("float", 4): "f",
    ("float", 8): "d",
}
_BYTES = frozenset({bytes, bytearray, memoryview})
_SCALARS = frozenset({str, int, float, bool, type(None)})


def plain(value: Any) -> Any:
    """The same with arrays as lists of lists, and sets as lists; what cannot be shown so stays as it is."""
    if isinstance(value, dict):
        shown = _of_type(value)
        return {key: plain(each) for key, each in value.items()} if shown is None else shown
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def holds_bytes(value: Any) -> bool:
    """Whether there are bytes in what a function gave; quick where it is plain."""
    level = [value]
    while level:
        each = level.pop()
        if isinstance(each, Mapping):
            each = each.values()
        elif is_dataclass(each) and not isinstance(each, type):
            each = [getattr(each, field.name) for field in fields(each)]
        elif not isinstance(each, list | tuple | set | frozenset):
            if type(each) in _BYTES:
                return True
            continue
        kinds = set(map(type, each))
        if kinds & _BYTES:
            return True
        if kinds - _SCALARS:
            level += [each for each in each if type(each) not in _SCALARS]
    return False


def without_bytes(value: Any) -> Any:
    """The same with bytes as base64 (RFC 4648 §4), and arrays as `plain` has them. Models stay as they are."""
    if isinstance(value, bytes | bytearray | memoryview):
        return b64encode(value).decode()
    if isinstance(value, Mapping):
        shown = _of_type(value)
        return {key: without_bytes(each) for key, each in value.items()} if shown is None else without_bytes(shown)
    if isinstance(value, list | tuple | set | frozenset):
        return [without_bytes(each) for each in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: without_bytes(getattr(value, field.name)) for field in fields(value)}
    return value


def _of_type(value: Mapping[Any, Any]) -> Any:
    held = value.get("_rvalue")
    match value.get("_rtype"):
        case "memoryview" if isinstance(held, bytes):
            return held
        case "set" if isinstance(held, list):
            return [plain(each) for each in held]
        case "ndarray" if isinstance(held, bytes):
            return _numbers(held, value.get("_rdtype"), value.get("_rshape"))
    return None


def _numbers(held: bytes, kind: Any, shape: Any) -> Any:
    """Nested lists; a complex number is a list of its two parts. None: it is no array of numbers, or too large."""
    found = _KIND.fullmatch(kind) if isinstance(kind, str) else None
    if found is None or not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS:
        return None
    if not all(type(size) is int and 0 <= size <= MOST for size in shape):
        return None
    name, size = _type_of(found["kind"], found["size"])
    sizes = list(shape)
    if name == "complex":
        name, size = "float", size // 2
        sizes.append(2)
    code, count = _CODES.get((name, size)), prod(sizes)
    if code is None or prod(size or 1 for size in sizes) > MOST or len(held) != count * size:
        return None
    order = ">" if found["order"] == ">" else "<"
    return _nested(iter(struct.unpack(f"{order}{count}{code}", held)), sizes)


def _type_of(kind: str, size: str) -> tuple[str, int]:
    """The name of a type, and the bytes that each of it has."""
    if kind in _SHORT:
        return _SHORT[kind], int(size or kind == "?")
    return kind, int(size or 8) // 8


def _nested(numbers: Iterator[Any], shape: list[int]) -> Any:
    if not shape:
        return next(numbers)
    if len(shape) == 1:
        return [next(numbers) for _ in range(shape[0])]
    return [_nested(numbers, shape[1:]) for _ in range(shape[0])]
