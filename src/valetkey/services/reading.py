"""The RPC wire (contract 2): two msgpack maps in, only known keys out.

What is let through: of the first map type, to, method, session, parent; of the second args, with_kwargs, promise, t.
The rest is dropped before anything reads it, and who is calling is written by the server alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import msgpack

from valetkey.services.frames import LONGEST_INTERVAL, SHORTEST_INTERVAL, BadFrame, Message, counted, references_of

LONGEST_NAME = 1024
"""Characters of a method or a session."""

_NAME = r"[^/:*@\s\x00-\x1f\x7f]{1,256}"
_PART = r"[^.\s\x00-\x1f\x7f]+"
# Clients' libraries follow the parts of a name through attributes: none of theirs may be reached that begins with _.
_INNER = rf"(?!_){_PART}"
_TO = re.compile(rf"\*|(?:\*|{_NAME})(?:/(?:\*|{_NAME}))?")
_SERVED = re.compile(rf"services\.{_PART}(?:\.(?!__){_PART})+")
_HEAD = rf"(?!(?:services|message_cache)(?:\.|$)){_PART}"
_OF_REPLIES = re.compile(r"(?!services\.).+\.(?:resolve|reject)")
_SESSION = re.compile(rf"{_HEAD}(?:\.{_INNER})*")
_OF_SESSION = re.compile(rf"{_HEAD}(?:\.{_INNER})*\.(?!_)[^.\x00-\x1f\x7f]+")
_GOES = "A message goes to workspace/client, to client, or to *."
_MAPS_ONLY = "A message is two msgpack maps with texts as keys, each there once, and nothing follows them."
_UNREADABLE = "It cannot be read as msgpack: texts have to be UTF-8, and keys of maps texts or numbers."
_SMALL = 1024  # bytes that cannot say much more than they hold


def read(data: bytes, *, sender: str, cap: int) -> Message:
    """A message as a peer sent it, with nothing in it that is not the sender's to say.

    Args:
        data: the bytes.
        sender: the address of whoever sent it.
        cap: bytes that it may have.

    Raises:
        BadFrame: it is none, or says what is not the sender's to say.
    """
    if len(data) > cap:
        raise BadFrame(f"A message has at most {cap} bytes.")
    unpacker = _fed(data, counted() if len(data) > _SMALL else {})
    try:
        if len(data) > _SMALL:
            _check_complete(data)
        first = unpacker.unpack()
    except Exception:  # noqa: BLE001 - of whatever kind
        raise BadFrame(_MAPS_ONLY) from None
    if type(first) is not dict or len(first) != _pairs(data):
        raise BadFrame(_MAPS_ONLY)
    message = _routed(first, sender)
    if unpacker.tell() == len(data):
        return message
    try:
        second = _second(unpacker, data, message)
        if second:
            _fill(message, second)
            _promise(message, second)
    except BadFrame as error:
        replies = _OF_REPLIES.fullmatch(message.method) is not None
        if message.session or replies:
            message.promised = not replies
            message.drop_values()
            error.call = message
        raise
    return message


def _fed(data: bytes, options: Mapping[str, Any] = MappingProxyType({})) -> msgpack.Unpacker:
    unpacker = msgpack.Unpacker(max_buffer_size=len(data) or 1, **options)
    unpacker.feed(data)
    return unpacker


def _check_complete(data: bytes) -> None:
    """Let all be there: until then nothing is made of what it says that it holds; nor of what is nested too deep."""
    unpacker = _fed(data)
    unpacker.skip()
    if unpacker.tell() < len(data):
        unpacker.skip()


def _second(unpacker: msgpack.Unpacker, data: bytes, message: Message) -> dict[str, Any]:
    """The second map; its arguments also as they were packed. Maps in them may have numbers as keys."""
    start = unpacker.tell()
    try:
        return _payload(unpacker, data, message)
    except BadFrame as error:
        if error.__cause__ is None:  # it says more than that it cannot be read
            raise
    again = _fed(data, {**counted(), "strict_map_key": False})
    again.skip()
    message.text_keys = False
    if again.tell() != start:
        raise BadFrame(_UNREADABLE)
    return _payload(again, data, message)


def _payload(unpacker: msgpack.Unpacker, data: bytes, message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        pairs = unpacker.read_map_header()
        for _ in range(pairs):
            key = unpacker.unpack()
            start = unpacker.tell()
            found[key] = unpacker.unpack()
            if key == "args":
                message.args = data[start : unpacker.tell()]
    except BadFrame:
        raise
    except Exception as error:
        raise BadFrame(_UNREADABLE) from error
    if len(found) != pairs or unpacker.tell() < len(data):
        raise BadFrame(_MAPS_ONLY)
    return found


def _routed(first: Mapping[str, Any], sender: str) -> Message:
    method, to = first.get("method"), first.get("to")
    session, parent = first.get("session"), first.get("parent")
    if first.get("type") != "method":
        raise BadFrame("Only messages of the type method are passed on.")
    if type(method) is not str or not 0 < len(method) <= LONGEST_NAME:
        raise BadFrame(f"method is a text of at most {LONGEST_NAME} characters.")
    for name in (session, parent):
        if name and (type(name) is not str or len(name) > LONGEST_NAME or not _SESSION.fullmatch(name)):
            raise BadFrame(f"session and parent are texts of at most {LONGEST_NAME} characters, of plain names.")
    if type(to) is not str:
        raise BadFrame(_GOES)
    to = _address(to, sender)
    return Message(method=method, to=to, sender=sender, session=session or "", parent=parent or "")


@lru_cache(maxsize=4096)  # the same few, again and again
def _address(to: str, sender: str) -> str:
    """An address, whole: of the sender's workspace where it names none."""
    if not _TO.fullmatch(to):
        raise BadFrame(_GOES)
    return to if "/" in to else f"{sender.partition('/')[0]}/{to}"


def is_address(name: str) -> bool:
    """Whether that is the whole address of a peer."""
    return "/" in name and _TO.fullmatch(name) is not None


def is_method(name: str) -> bool:
    """Whether it names a function of a service or of a session, and nothing inside of one."""
    return _is_served(name) if name.startswith("services.") else _OF_SESSION.fullmatch(name) is not None


@lru_cache(maxsize=4096)
def _is_served(name: str) -> bool:
    return _SERVED.fullmatch(name) is not None


def _fill(message: Message, second: Mapping[str, Any]) -> None:
    if "_enc" in second:
        raise BadFrame("Encrypted messages are not passed on: what they hold could not be checked.")
    args, with_kwargs = second.get("args", []), second.get("with_kwargs", False)
    if type(args) is not list:
        raise BadFrame("args is an array.")
    if type(with_kwargs) is not bool:
        raise BadFrame("with_kwargs is true or false.")
    message.hold(args)
    message.with_kwargs = with_kwargs
    if b"_rtarget" in message.args:
        message.references = frozenset(references_of(args))


def _promise(message: Message, second: Mapping[str, Any]) -> None:
    promise = second.get("promise")
    if promise is None or promise is False:
        return
    if not message.session:
        raise BadFrame("A message with a promise names the session for its replies.")
    if promise == "*":
        message.interval = _interval(second.get("t"))
        if message.interval is None:
            raise BadFrame("A promise in short has t, the seconds between heartbeats.")
    else:
        _check_promise(promise, message.session, message.sender)
        message.star = False
        message.interval = _interval(promise.get("interval")) if "heartbeat" in promise else None
    message.promised = True


_PROMISES = frozenset({"resolve", "reject", "heartbeat", "interval"})


def _check_promise(promise: Any, session: str, sender: str) -> None:
    if type(promise) is not dict or not {"resolve", "reject"} <= promise.keys() <= _PROMISES:
        raise BadFrame("A promise is *, or a map of heartbeat, resolve, reject and interval.")
    targets = sender, sender.partition("/")[2]
    for name, each in promise.items():
        if name == "interval":
            continue
        if type(each) is not dict or each.get("_rtarget") not in targets or each.get("_rmethod") != f"{session}.{name}":
            raise BadFrame("The replies of a promise go to its sender's own session, and nowhere else.")


def _interval(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return None
    return float(min(max(value, SHORTEST_INTERVAL), LONGEST_INTERVAL))


def _pairs(data: bytes) -> int:
    """How many keys the map in front says that it has."""
    head = data[0]
    if head & 0xF0 == 0x80:  # noqa: PLR2004 - fixmap
        return head & 0x0F
    return int.from_bytes(data[1 : 3 if head == 0xDE else 5])  # noqa: PLR2004 - map 16, map 32
