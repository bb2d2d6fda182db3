"""What a client sent, as values: arrays, sets, functions of its own that can be called.

The library's own reading takes time by the square of what comes, builds classes that the sender describes, and follows
references to whomever they name; so only single ones are left to it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from valetkey.errors import Denied, InvalidArguments
from valetkey.services import library

if TYPE_CHECKING:
    from hypha_rpc.rpc import RPC

DEEPEST = 100
"""Levels of nesting."""

_FUNCTIONS = frozenset({"method", "generator"})
_LEAVES = frozenset({"ndarray", "typedarray", "error"})
_OF_LEAVES = frozenset({"_rtype", "_rshape", "_rdtype", "_rtrace"})
_HOLDING: Mapping[str, Callable[[Any], Any]] = {
    "set": set,
    "orderedmap": OrderedDict,
    "memoryview": memoryview,
    "pydantic_model": lambda values: values,
}
_PLAIN = (list, dict)


class Reader:
    """Reads the values of one message.

    Args:
        rpc: calls the functions among them.
        sender: the peer whose functions they have to be: the server acts as root, and must not be led to call
            somebody else's.
        change: what is made of each function that can be called.
    """

    def __init__(self, rpc: RPC, *, sender: str, change: Callable[[Any], Any] | None = None) -> None:
        self._rpc = rpc
        self._sender = sender
        self._client = sender.partition("/")[2]
        self._change = change
        self._mapping = library.mapping()

    def read(self, value: Any) -> Any:
        """One value, as msgpack has it.

        Raises:
            Denied: a function in it is somebody else's.
            InvalidArguments: it cannot be read.
        """
        try:
            return self._read(value, 0)
        except (Denied, InvalidArguments):
            raise
        except Exception:  # noqa: BLE001 - of whatever kind: what it read came off the wire
            raise InvalidArguments("The arguments hold something that cannot be read.") from None

    def _read(self, value: Any, depth: int) -> Any:
        if type(value) not in _PLAIN:
            return value
        if depth > DEEPEST:
            raise InvalidArguments(f"The arguments are nested deeper than {DEEPEST} levels.")
        if type(value) is list:
            return [self._read(each, depth + 1) if type(each) in _PLAIN else each for each in value]
        if "_rtype" in value:
            return self._special(value["_rtype"], value, depth)
        return self._members(value, depth)

    def _members(self, value: Mapping[Any, Any], depth: int) -> Any:
        return self._mapping({name: self._read(each, depth + 1) for name, each in value.items()})

    def _special(self, kind: Any, value: dict[str, Any], depth: int) -> Any:
        if kind in _FUNCTIONS:
            return self._function(kind, value)
        if kind in _HOLDING:
            return _HOLDING[kind](self._read(value["_rvalue"], depth + 1))
        if kind in _LEAVES:
            known = {name: each for name, each in value.items() if name in _OF_LEAVES}
            return self._rpc.decode({**known, "_rvalue": _joined(value["_rvalue"])})
        members = self._members(value, depth)
        codec = self._rpc._codecs.get(kind)  # noqa: SLF001 - the library has no other way to them
        return members if codec is None or not codec.decoder else codec.decoder(members)

    def _function(self, kind: str, value: dict[str, Any]) -> Any:
        if value.get("_rtarget") not in (self._sender, self._client):
            raise Denied("A function that is given to the server has to be the caller's own.")
        function = self._rpc.decode({**value, "_rtarget": self._sender})
        return function if kind != "method" or self._change is None else self._change(function)


def _joined(value: Any) -> Any:
    return b"".join(value) if isinstance(value, list) else value
