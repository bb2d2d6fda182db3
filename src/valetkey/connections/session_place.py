"""One credential of one chat session, and the tokens that it brought: what is lent, and what is only starred."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

from valetkey.connections.session_credential import SessionKind
from valetkey.connections.session_tokens import TokenClient
from valetkey.model.caller import Owner
from valetkey.model.connections import Connection

PAST = 8
"""Earlier values of one session that are still looked for in what comes back; the oldest are dropped first.

Looking for very many takes long, and whoever authenticates again and again would make all others wait. What was
replaced last is kept whole, however many values it has.
"""

Audience = tuple[str, frozenset[str]]
"""For what a token is: the token endpoint, and the scopes."""

Past = tuple[int, Connection]
"""How many values, and in what."""

Flying = tuple[asyncio.AbstractEventLoop, "asyncio.Task[object] | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token that was fetched. Times are monotonic; ``renewed``: because of a 401."""

    connection: Connection
    at: float
    until: float
    renewed: bool


@dataclass(slots=True, kw_only=True, eq=False)
class Place:
    """One credential of one conversation; another one gets a place of its own.

    Attributes:
        ready: whether it is lent: it was verified, where that is asked for.
    """

    owner: Owner
    kind: SessionKind
    connection: Connection
    ttl: float
    client: TokenClient | None
    values: int
    ready: bool = True
    past: deque[Past] = field(default_factory=deque)
    tokens: dict[Audience, Token] = field(default_factory=dict)
    failed: dict[Audience, float] = field(default_factory=dict)
    flying: list[Flying] = field(default_factory=list)
    generation: int = 1
    gone: bool = False

    @property
    def rows(self) -> list[Past]:
        """All that it holds, the oldest first."""
        return [*self.past, *self.present]

    @property
    def present(self) -> list[Past]:
        """The credential and its tokens; of these the oldest first."""
        return [(self.values, self.connection), *((1, token.connection) for token in self.tokens.values())]

    def remember(self, *rows: Past) -> None:
        """Keep what is not lent any more."""
        self.past.extend(rows)
        while len(self.past) > 1 and sum(values for values, _ in self.past) > PAST:
            self.past.popleft()

    def end(self) -> None:
        """Nothing is lent from it any more, and what is being fetched is given up."""
        self.gone = True
        self.tokens.clear()
        for loop, task in self.flying:
            with suppress(RuntimeError):  # that loop has ended, and the flight with it
                if task is not None:
                    loop.call_soon_threadsafe(task.cancel)
