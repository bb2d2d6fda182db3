"""How often one socket may sign in, and how often credentials may be wrong."""

from __future__ import annotations

import math
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from valetkey.entrypoints.chat.verified import GENERIC, NO_CONNECTION, TIMED_OUT
from valetkey.errors import AuthenticationError
from valetkey.limits import UNVERIFIED_CREDENTIALS

if TYPE_CHECKING:
    from valetkey.entrypoints.chat.rooms import Chat
    from valetkey.entrypoints.chat.session import ChatSession

MOST, PERIOD = 10, 60.0
"""Credentials that one socket may give in so many seconds: each is looked for in all that was said."""

_UNTOLD = frozenset({TIMED_OUT, NO_CONNECTION, GENERIC})  # nobody said that they were wrong


class Attempts:
    """Those of one socket. Wrong ones are counted for its address, whichever socket they came by."""

    def __init__(self, chat: Chat, session: ChatSession) -> None:
        self._chat = chat
        self._session = session
        self._taken: deque[float] = deque(maxlen=MOST)

    def take(self) -> int:
        """Count one; in how many seconds it may come, where it is one too many. 0: now."""
        now = self._chat.system.clock.monotonic()
        if len(self._taken) == MOST and (left := self._taken[0] + PERIOD - now) > 0:
            return math.ceil(left)
        self._taken.append(now)
        return 0

    async def look(self) -> None:
        """Let one be verified.

        Raises:
            RateLimited: too many were wrong.
        """
        identity = self._chat.mounted.identity
        for who in self._who:
            await identity.system.home.run(partial(identity.limits.look, UNVERIFIED_CREDENTIALS, who))

    async def failed(self, error: AuthenticationError) -> None:
        """Count one that was wrong; an endpoint that did not answer said nothing of it."""
        if error.message in _UNTOLD:
            return
        identity = self._chat.mounted.identity
        for who in self._who:
            await identity.system.home.run(partial(identity.limits.count, UNVERIFIED_CREDENTIALS, who))

    @property
    def _who(self) -> list[str]:
        return [who for who in (self._session.address, self._session.id) if who]
