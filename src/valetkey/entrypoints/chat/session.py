"""ChatSession: one person at one socket; what was said, what the model saw, and the turn that runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from valetkey.entrypoints.chat.handshake import Opener
from valetkey.identity.verifiers.vouched import HOST, Named
from valetkey.model.caller import Caller, Owner
from valetkey.model.calls import Presented
from valetkey.ports.agents import Message
from valetkey.ports.world import Visit

Frame = Mapping[str, Any]
Send = Callable[[Frame], Awaitable[None]]
"""Sends one frame, scrubbed; of a socket that has gone it is dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One entry of the history that a client is shown; scrubbed when it was made.

    Attributes:
        role: ``user`` or ``assistant``.
        at: seconds since the epoch.
    """

    role: str
    content: str
    at: float
    message_id: str
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    tool_results: tuple[Mapping[str, Any], ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True, eq=False)
class ChatSession:
    """One session. It lives as long as its socket, and its history a while longer where its user may come back.

    Attributes:
        id: a UUID; also the conversation that lends are remembered by.
        who: whom the host program vouches for: the user of its sign-in, or the session itself, anew after a logout.
        caller: who signed in with us, looked at again while the socket is open; None: nobody did.
        address: from where the socket comes; empty where nothing tells.
        browser: the SHA-256 of the browser's cookie, hexadecimal; of the one that it was given, where it brought none.
        brought: whether it brought one.
        local: whether the socket comes from this machine, past no proxy.
        opener: whose page opened it.
        linked: whether a person was sent to connect an account for it.
        visit: the connection as the app saw it.
        display_name: as the app's own verification told it.
        seen_at: when something last came in or went out, on the monotonic clock.
        said: the history for the client; scrubbed.
        turns: whole turns for the model, each beginning with the person's message; scrubbed.
        credential: the ``auth_type`` that is configured, as the client spelt it; empty: none.
        stream: whether the client asked for pieces.
        turn: what runs now.
        approvals: questions that wait for this socket's person: the interaction's id, and the future of the answer.
    """

    id: str
    who: Named
    visit: Visit
    caller: Caller | None = None
    address: str = ""
    browser: str = ""
    brought: bool = False
    local: bool = False
    opener: Opener = Opener.PROGRAM
    linked: bool = False
    display_name: str = ""
    created_at: float = 0.0
    seen_at: float = 0.0
    said: list[Said] = field(default_factory=list)
    turns: list[list[Message]] = field(default_factory=list)
    credential: str = ""
    stream: bool = False
    turn: asyncio.Task[None] | None = None
    approvals: dict[str, asyncio.Future[bool]] = field(default_factory=dict)

    @property
    def owner(self) -> Owner:
        """Whose connections it uses."""
        return self.who.owner

    @property
    def presented(self) -> Presented:
        """What is shown at the beginning of the road."""
        return Presented(scheme=HOST, value=self.who, address=self.address)

    def forget(self) -> None:
        """Empty it: what was said, and to whom."""
        self.said.clear()
        self.turns.clear()
        self.credential = self.display_name = ""
