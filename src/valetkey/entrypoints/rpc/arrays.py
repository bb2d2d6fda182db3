"""What RPC has and JSON has not, such as arrays of numbers, as JSON can have it."""

from __future__ import annotations

from math import prod
from typing import Any

MOST = 1_000_000
"""Numbers of an array that are written out; a larger one stays as it came: type, shape and bytes."""

_CODES = {
    "bool": "?",
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}


def plain(value: Any) -> Any:
    """The same with arrays as lists of lists, and sets as lists; what cannot be shown so stays as it is."""
    if isinstance(value, dict):
        shown = _of_type(value)
        return {key: plain(each) for key, each in value.items()} if shown is None else shown
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def _of_type(value: dict[Any, Any]) -> Any:
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
    code = _CODES.get(kind) if isinstance(kind, str) else None
    if code is None or not isinstance(shape, list) or not all(isinstance(size, int) and size > 0 for size in shape):
        return None
    try:
        return None if prod(shape) > MOST else memoryview(held).cast(code, shape).tolist()  # type: ignore[call-overload]
    except (TypeError, ValueError):  # bytes and shape do not fit
        return None
