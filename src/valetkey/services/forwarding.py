"""Messages on their way to another instance: each sender has a share of what waits, and is told where that is taken."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from valetkey.services import frames, packing

if TYPE_CHECKING:
    from valetkey.services.frames import Message
    from valetkey.services.peers import Stamp
    from valetkey.services.streams import Outgoing

FULL = "RateLimited: Too much of yours waits to be brought to another server. Try again in a moment."

_SLACK = 1_048_576  # bytes beyond a share, for words of what was not brought
_log = logging.getLogger("valetkey.services")


def forward(out: Outgoing, message: Message, stamp: Stamp) -> bool:
    """Have a message said to another instance; False: its sender is to be told that it was not.

    In place of a reply that is not, whoever waits for it is told so.
    """
    sender = str(stamp.user.get("id") or message.sender)
    known = stamp.user.get("is_anonymous") is not True
    if out.put_message(_entry(message, stamp), sender=sender, known=known):
        return True
    session, _, name = message.method.rpartition(".")
    if not session or message.promised or name not in ("resolve", "reject"):
        _log.info("a message of %s to %s was dropped: too much waits", message.sender, message.to)
        return False
    told = frames.rejection(FULL, call=frames.Message(method="", to=message.sender, sender=message.to, session=session))
    return out.put_message(_entry(told, stamp), sender=sender, known=known, slack=_SLACK)


def _entry(message: Message, stamp: Stamp) -> bytes:
    return packing.pack(["message", packing.of_message(message, stamp)])
