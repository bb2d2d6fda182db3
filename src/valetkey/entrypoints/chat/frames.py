"""The frames of the chat's WebSocket: read one, build one, write one. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NoReturn

from valetkey.entrypoints.chat.session import Frame, Said
from valetkey.entrypoints.web.page import plain

CONNECTED = "Connected to AI assistant"
LOGGED_OUT = "Successfully logged out"
CLEARED = "Conversation history cleared"
CANCELLED = "The answer was cancelled"
REPLACED = "Stopped: other credentials took the place of those that it began with. Ask again."
NOTHING_RUNS = "There was nothing to cancel"
EXPIRED = "The session was idle for too long and has ended. Connect again to go on."

EMPTY = "Empty message"
BUSY = "The last message is still being answered. Wait for the answer, or send cancel first."
SIGN_IN_FIRST = "Authentication is required before sending messages. Please authenticate first."
UNENCRYPTED = (
    "Credentials are not taken over an unencrypted connection. Connect with wss; behind a proxy that ends TLS set"
    " trusted_proxies. Or set allow_insecure_transport."
)
TOO_MANY_SIGN_INS = "Too many sign-ins, try again in {} s"
NO_TEXT = "Invalid message: expected text"
NO_OBJECT = "Invalid message: expected a JSON object"
NO_STRING = "Invalid message: message must be a string"
NO_DECISION = "Invalid message: decision must be yes or no"
NO_APPROVAL = "Invalid message: approval_id must be a string"
NO_STREAM = "Invalid message: stream must be true or false"

_SHOWN = 64  # characters of a type that we do not know


def read_frame(data: str | bytes) -> dict[str, Any] | str:
    """One frame of a client: the object, or the text that its sender is told.

    Python's reader takes more than JSON is (RFC 8259): NaN, names twice, half characters. Those are refused, as what
    stands behind may read them otherwise.
    """
    if isinstance(data, bytes):
        return NO_TEXT
    try:
        value = json.loads(data, object_pairs_hook=_object, parse_constant=_no_constant)
        if "\\u" in data:
            json.dumps(value, ensure_ascii=False).encode()
    except (json.JSONDecodeError, _Refused) as error:
        wrong = str(error)
    except UnicodeEncodeError:
        wrong = "a string has half a character (a lone surrogate)"
    except RecursionError:
        wrong = "nested too deeply"
    except ValueError:  # Python's own limit on the digits of a number
        wrong = "a number has too many digits"
    else:
        return value if isinstance(value, dict) else NO_OBJECT
    return f"Invalid JSON: {wrong}"


def type_of(frame: Mapping[str, Any]) -> str | None:
    """What a frame is; one that does not say is a chat message. None: its type is no text."""
    kind = frame.get("type", "chat")
    return kind if isinstance(kind, str) else None


def unknown_type(frame: Mapping[str, Any]) -> str:
    """What the sender of a frame of no known type is told."""
    kind = frame.get("type")
    shown = kind if isinstance(kind, str) else json.dumps(kind)
    return f"Unknown message type: {plain(shown, _SHOWN)}"


def stamp(now: float) -> str:
    """A time as the contract's frames have it: this machine's, without a zone.

    Args:
        now: seconds since the epoch.
    """
    return datetime.fromtimestamp(now).isoformat()  # noqa: DTZ006 - the contract says local and naive


def frame(kind: str, now: float, message: str | None = None, /, **fields: Any) -> Frame:
    """A frame of ours: type, message, fields, timestamp, in this order."""
    text = {} if message is None else {"message": message}
    return {"type": kind, **text, **fields, "timestamp": stamp(now)}


def error(text: str, now: float) -> Frame:
    """What was wrong with a frame."""
    return frame("error", now, text)


def connected(session_id: str, now: float, *, resumed: bool, notes: Mapping[str, Any]) -> Frame:
    """The first frame; ours follows the contract's keys.

    Args:
        session_id: of the session.
        now: seconds since the epoch.
        resumed: whether an earlier session of the same person goes on.
        notes: what else the client is told.
    """
    about = {"type": "connection_established", "session_id": session_id, "message": CONNECTED, "timestamp": stamp(now)}
    return {**about, "resumed": resumed, **notes}


def history(said: Iterable[Said], now: float) -> Frame:
    """All that was said."""
    return frame("history", now, messages=[_entry(each) for each in said])


def write(value: Frame) -> str:
    """Compact JSON in UTF-8, whatever is in it."""
    try:
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=str)
        text.encode()
    except ValueError:  # a half character, or a number that JSON has not
        text = json.dumps(_whole(value), separators=(",", ":"), ensure_ascii=False, default=str)
    return text


def _entry(said: Said) -> dict[str, Any]:
    return {
        "message_id": said.message_id,
        "role": said.role,
        "content": said.content,
        "timestamp": stamp(said.at),
        "tool_calls": list(said.tool_calls),
        "tool_results": list(said.tool_results),
        "metadata": dict(said.metadata),
    }


class _Refused(ValueError):
    """It can be read, and is not taken."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Refused("a name is there twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise _Refused(f"{name} is no number of JSON")


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_whole(str(key)): _whole(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(each) for each in value]
    return str(value) if isinstance(value, float) and value - value != 0 else value
