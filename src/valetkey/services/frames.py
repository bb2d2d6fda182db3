"""Messages of RPC, and how they are written: with known keys only, and by the server who is calling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgpack

from valetkey.errors import InvalidArguments

PIECE = 262_144
"""Bytes of a message that clients take in one; a longer one goes in pieces (``message_cache``)."""

OVERHEAD = 1024
"""Bytes that a message may have beyond that."""

MOST_VALUES = 2_000_000
"""Values in one message: those that take a byte on the wire may take a hundred in memory."""

LONGEST_INTERVAL = 3600.0
"""Seconds between two heartbeats of a call, at most."""

SHORTEST_INTERVAL = 0.5
"""And at least: a caller does not have whom it calls send without end."""

_NO_ARGUMENTS = b"\x90"

_pack = msgpack.Packer(autoreset=True).pack


class BadFrame(InvalidArguments):
    """A message is none that may be sent; the text says why.

    Attributes:
        call: whose reply its sender waits for, where that could be read.
    """

    call: Message | None = None


class Waiting(Protocol):
    """A call that waits for its reply."""

    @property
    def sender(self) -> str:
        """Who waits."""
        ...

    @property
    def to(self) -> str:
        """For whose reply."""
        ...

    @property
    def session(self) -> str:
        """Where it goes."""
        ...


@dataclass(slots=True, kw_only=True)
class Message:
    """One message between two peers, on its way.

    Attributes:
        to: the address, whole: ``workspace/client``, ``*/manager``, or ``workspace/*``.
        sender: the address of whoever sent it, as the server knows it: nothing on the wire says it.
        session: what replies are sent to; empty: none is waited for.
        parent: the session of the peer's that this belongs to.
        args: packed, as they came; empty: none.
        promised: whether a reply is waited for.
        star: whether the promise was written in short.
        interval: seconds between heartbeats; None: none are sent. Without a promise it says nothing.
        references: the functions that the arguments refer to: their address, and their method.
        text_keys: whether the keys of all maps in the arguments are texts, or bytes: clients' libraries read no others.
    """

    method: str
    to: str
    sender: str = ""
    session: str = ""
    parent: str = ""
    args: bytes = field(default=b"", repr=False)
    with_kwargs: bool = False
    promised: bool = False
    star: bool = True
    interval: float | None = None
    references: frozenset[tuple[str, str]] = frozenset()
    text_keys: bool = True
    _values: list[Any] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def size(self) -> int:
        """About how many bytes it has."""
        return len(self.args) + 512

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """What it calls with, decoded anew for each who asks: by place, and by name.

        Raises:
            BadFrame: it cannot be read.
        """
        args, self._values = self._values, None
        if args is None:
            args = _decoded(self.args) if self.args else []
        if not self.with_kwargs:
            return args, {}
        if not args or not isinstance(args[-1], dict) or not all(isinstance(name, str) for name in args[-1]):
            raise BadFrame("with_kwargs says that the last argument is a map by name, and it is not.")
        return args[:-1], args[-1]

    def hold(self, values: list[Any]) -> None:
        """Keep the arguments decoded, too, for whoever reads them first."""
        self._values = values

    def drop_values(self) -> None:
        """Keep the arguments as bytes alone: whoever comes next does not read them."""
        self._values = None

    def encode(self, stamp: bytes, pairs: int) -> bytes:
        """The bytes for a peer.

        Args:
            stamp: who sends it, as `stamped` gives it.
            pairs: how many keys that has.
        """
        parts = [b"", stamp, _TO_KEY, _pack(self.to), _METHOD_KEY, _pack(self.method)]
        pairs += 3
        if self.session:
            parts += (_SESSION_KEY, _pack(self.session))
            pairs += 1
        if self.parent:
            parts += (_PARENT_KEY, _pack(self.parent))
            pairs += 1
        parts[0] = (_MAPS[pairs] if pairs < len(_MAPS) else _map(pairs)) + _TYPE
        if self.promised:
            promise = self._promise()
        elif self.args:
            promise = b""
        else:
            return b"".join(parts)
        kwargs = _WITH_KWARGS if self.with_kwargs else b""
        count = 1 + (1 if kwargs else 0) + (1 if promise else 0) + (1 if promise.startswith(_STAR) else 0)
        parts += (_MAPS[count], _ARGS_KEY, self.args or _NO_ARGUMENTS, kwargs, promise)
        return b"".join(parts)

    def _promise(self) -> bytes:
        """Its promise, written anew: replies go to the sender and to nobody else, whatever stood there."""
        if self.interval is not None:
            return _STAR + bytes(_pack(float(self.interval)))
        start = b"\x84" + _pack("_rtype") + _pack("method") + _pack("_rtarget") + _pack(self.sender)
        ends = [
            _pack(name) + start + _pack("_rmethod") + _pack(f"{self.session}.{name}") + _pack("_rpromise") + b"\xc2"
            for name in ("resolve", "reject")
        ]
        return _PROMISE_KEY + b"\x82" + b"".join(ends)


_TO_KEY, _METHOD_KEY, _SESSION_KEY, _PARENT_KEY, _ARGS_KEY, _PROMISE_KEY = (
    bytes(_pack(name)) for name in ("to", "method", "session", "parent", "args", "promise")
)
_TYPE = bytes(_pack("type") + _pack("method"))
_WITH_KWARGS = bytes(_pack("with_kwargs") + _pack(True))  # noqa: FBT003 - of msgpack
_STAR = bytes(_PROMISE_KEY + _pack("*") + _pack("t"))
_MAPS = tuple(bytes((0x80 | pairs,)) for pairs in range(16))


def stamped(*, sender: str, workspace: str, user: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> bytes:
    """Who sends a message, for `Message.encode`: ``from``, ``ws``, ``user`` and what else the callee is told."""
    facts = {"from": sender, "ws": workspace, "user": dict(user), **(more or {})}
    return b"".join(_pack(each) for pair in facts.items() for each in pair)


def packed(value: Any) -> bytes:
    """A value of plain types.

    Raises:
        TypeError, ValueError, OverflowError: msgpack does not have it.
    """
    return bytes(msgpack.packb(value))


def rejection(text: str, *, call: Waiting) -> Message:
    """The reply that a call was not answered, as from whoever was called: of nobody else does its caller take one."""
    return _reply("reject", {"_rtype": "error", "_rvalue": text, "_rtrace": ""}, call)


def resolution(value: Any, *, call: Waiting) -> Message:
    """The reply with what a call gave.

    Raises:
        TypeError, ValueError, OverflowError: msgpack does not have it.
    """
    return _reply("resolve", value, call)


def _reply(name: str, value: Any, call: Waiting) -> Message:
    method = f"{call.session}.{name}"
    return Message(method=method, to=call.sender, sender=call.to, parent=call.session, args=packed([value]))


def references_in(args: bytes) -> set[tuple[str, str]]:
    """The functions that packed arguments refer to, as `references_of`; cheap where there are none.

    Raises:
        BadFrame: they cannot be read.
    """
    return set(references_of(_decoded(args))) if b"_rtarget" in args else set()


def has_text_keys(args: bytes) -> bool:
    """Whether the keys of all maps in packed arguments are such as clients' libraries read."""
    try:
        msgpack.unpackb(args)
    except ValueError:
        return False
    return True


def references_of(values: list[Any]) -> Iterator[tuple[str, str]]:
    """The functions that values refer to: their address, and their method."""
    level: list[Any] = [values]
    while level:
        each = level.pop()
        if type(each) is dict:
            if "_rtarget" in each:
                target = str(each["_rtarget"])
                yield target, str(each.get("_rmethod", ""))
                if "_rclose_method" in each:
                    yield target, str(each["_rclose_method"])
            level += each.values()
        elif type(each) is list:
            level += each


def _decoded(args: bytes) -> list[Any]:
    try:
        found = msgpack.unpackb(args, strict_map_key=False, **counted())
    except BadFrame:
        raise
    except Exception:  # noqa: BLE001 - of whatever kind
        raise BadFrame("The arguments cannot be read as msgpack.") from None
    if type(found) is not list:
        raise BadFrame("args has to be an array.")
    return found


def counted() -> dict[str, Any]:
    """Options of msgpack, for one reading: not more is made of what comes than `MOST_VALUES`."""
    left = MOST_VALUES

    def made(values: Any) -> Any:
        nonlocal left
        left -= len(values) + 1
        if left < 0:
            raise BadFrame(f"The arguments hold more than {MOST_VALUES} values. Send arrays, or bytes.")
        return values

    return {"list_hook": made, "object_hook": made, "max_array_len": MOST_VALUES, "max_map_len": MOST_VALUES}


def _map(pairs: int) -> bytes:
    return b"\xde" + pairs.to_bytes(2, "big")
