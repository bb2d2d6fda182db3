"""Replies that are not passed on: whoever waits is told so at once, as by whoever was asked."""

from __future__ import annotations

from dataclasses import dataclass

from valetkey.services import frames, reading
from valetkey.services.frames import Message

_REPLIES = frozenset({"resolve", "reject", "heartbeat"})


@dataclass(frozen=True, slots=True)
class _Call:
    """Whose reply it was; a `frames.Waiting`."""

    sender: str
    to: str
    session: str


def is_reply(message: Message) -> bool:
    """Whether it is the reply to a call, or a sign that one goes on."""
    return not message.method.startswith("services.") and message.method.rpartition(".")[2] in _REPLIES


def instead_of(reply: Message, text: str) -> Message | None:
    """The rejection that goes in place of a reply; None: there can be none."""
    session, _, name = reply.method.rpartition(".")
    return _rejection(reply, session, text) if name != "heartbeat" else None


def instead_of_pieces(piece: Message, session: str, text: str) -> Message | None:
    """The same for one that came in pieces, which say whose session it is for; None: they do not."""
    return _rejection(piece, session, text) if session and reading.is_method(f"{session}.reject") else None


def _rejection(message: Message, session: str, text: str) -> Message:
    told = f"The answer of {message.sender} could not be passed on: {text}"
    return frames.rejection(told, call=_Call(sender=message.to, to=message.sender, session=session))
