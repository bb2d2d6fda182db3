"""The built-in service of peers that are no clients: how long messages are brought to the manager and to HTTP."""

from __future__ import annotations

from typing import Any

from valetkey.model.services import BUILT_IN
from valetkey.services import frames
from valetkey.services.chunks import METHODS
from valetkey.services.frames import Message

_NAMES = ("create", "append", "set", "process", "remove")

_ASKED = f"services.{BUILT_IN}.get_service"
_ASKED_FOR = frames.packed([BUILT_IN])


def built_in(peer: str) -> dict[str, Any]:
    """The service as a client is given it. The relay itself takes the pieces that are sent there.

    Args:
        peer: the address, ``workspace/http-<instance>``.
    """
    return {
        "id": f"{peer}:{BUILT_IN}",
        "name": BUILT_IN,
        "type": BUILT_IN,
        "description": "",
        "config": {
            "visibility": "public",
            "require_context": True,
            "workspace": peer.partition("/")[0],
            "api_version": 3,
        },
        "message_cache": {
            name: {
                "_rtype": "method",
                "_rtarget": peer,
                "_rmethod": f"{METHODS}{name}",
                "_rpromise": "*",
                "_rname": name,
                "_rasync": True,
                "_rdoc": None,
            }
            for name in _NAMES
        },
    }


def is_asked(message: Message) -> bool:
    """Whether a call asks for it."""
    return message.method == _ASKED and message.args == _ASKED_FOR
