"""What each frame of a client does. Nothing here waits for a turn: frames are handled while one runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from operator import is_
from typing import TYPE_CHECKING, Any, cast

from valetkey.entrypoints.chat import frames
from valetkey.entrypoints.chat.attempts import Attempts
from valetkey.entrypoints.chat.credentials import read_auth
from valetkey.entrypoints.chat.handshake import is_shielded
from valetkey.entrypoints.chat.history import at_ease, rescrub
from valetkey.entrypoints.chat.registry import Sessions
from valetkey.entrypoints.chat.seats import Seat, cancelled
from valetkey.entrypoints.chat.session import Frame
from valetkey.entrypoints.chat.turn import run_turn
from valetkey.entrypoints.chat.verify import verify
from valetkey.entrypoints.chat.waiting import answer_approval, withdraw_approvals
from valetkey.errors import AuthenticationError, RateLimited, ValetkeyError
from valetkey.identity.verifiers.vouched import CHAT
from valetkey.limits import Limit
from valetkey.scrub import Scrubber

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

    from valetkey.entrypoints.chat.rooms import Chat
    from valetkey.secret import Secret

Handler = Callable[[Mapping[str, Any]], Awaitable[None]]

FAILED = "Something went wrong here. The message was not handled; try again."

_log = logging.getLogger("valetkey")


class Conversation:
    """One client's frames, as they come."""

    def __init__(self, chat: Chat, sessions: Sessions, seat: Seat, connection: HTTPConnection) -> None:
        self._chat = chat
        self._sessions = sessions
        self._seat = seat
        self._session = seat.session
        self._shielded = is_shielded(connection, chat.mounted.base_url, chat.mounted.serving.trusted_proxies)
        self._attempts = Attempts(chat, self._session)
        self._verifying: asyncio.Task[None] | None = None
        self._scrubber: tuple[tuple[Secret, ...], Scrubber] = ((), Scrubber(()))
        self._handlers: dict[str, Handler] = {
            "chat": self._chatted,
            "auth": self._auth,
            "logout": self._logout,
            "ping": self._ping,
            "history": self._history,
            "clear": self._clear,
            "options": self._options,
            "cancel": self._cancel,
            "approve": self._approve,
        }

    async def handle(self, data: str | bytes) -> None:
        """Handle one frame; whatever is wrong with it is told, and the socket lives on."""
        self._session.seen_at = self._chat.system.clock.monotonic()
        frame = frames.read_frame(data)
        if isinstance(frame, str):
            await self._error(frame)
            return
        handler = self._handlers.get(frames.type_of(frame) or "")
        if handler is None:
            await self._error(frames.unknown_type(frame))
            return
        try:
            await handler(frame)
        except ValetkeyError as error:
            await self._error(error.message)
        except Exception as error:  # noqa: BLE001 - one bad frame ends no socket
            _log.error("a frame of type %s failed: %s", frames.type_of(frame), type(error).__name__)
            await self._error(FAILED)

    async def send(self, frame: Frame) -> None:
        """Send one frame, without a credential of the session in it."""
        secrets = self._chat.system.sessions.secrets(self._session.id)
        if not secrets:
            self._scrubber = (), Scrubber(())  # what was forgotten is in no memory of ours
        else:
            known = self._scrubber[0]
            if len(known) != len(secrets) or not all(map(is_, known, secrets)):
                self._scrubber = secrets, Scrubber(secrets)
            frame = await self._scrubbed(frame)
        self._session.seen_at = self._chat.system.clock.monotonic()
        await self._seat.outbox.put(frames.write(frame))

    async def _scrubbed(self, frame: Frame) -> Frame:
        scrubber = self._scrubber[1]
        return cast("Frame", await at_ease(lambda: scrubber.value(frame), len(frames.write(frame))))

    async def end(self) -> None:
        """Stop what was begun besides the turn."""
        self._scrubber = (), Scrubber(())
        await self._not_verifying()

    async def _tell(self, kind: str, message: str | None = None, /, **fields: Any) -> None:
        await self.send(frames.frame(kind, self._chat.system.clock.now(), message, **fields))

    async def _error(self, text: str) -> None:
        await self._tell("error", text)

    async def _ping(self, _: Mapping[str, Any]) -> None:
        await self._tell("pong")

    async def _chatted(self, frame: Mapping[str, Any]) -> None:
        text = frame.get("message", "")
        if not isinstance(text, str):
            await self._error(frames.NO_STRING)
        elif not text.strip():
            await self._error(frames.EMPTY)
        elif self._session.turn is not None and not self._session.turn.done():
            await self._error(frames.BUSY)
        elif self._chat.config.require_tool_auth and not self._session.credential and self._verifying is None:
            await self._error(frames.SIGN_IN_FIRST)
        else:
            try:
                await self._take()
            except RateLimited as error:
                await self._error(f"Rate limit exceeded, try again in {error.retry_after} s")
                return
            self._session.turn = asyncio.create_task(self._turn(text.strip()), name="valetkey-chat-turn")

    async def _take(self) -> None:
        """Count one message of this user, or of this visitor; all instances count together."""
        rate = self._chat.config.rate
        if rate is None:
            return
        most, period = rate
        owner, address = self._session.owner, self._session.address
        known = owner.workspace != CHAT
        who = f"{owner.workspace} {owner.issuer} {owner.subject}" if known else address or self._session.id
        limit = Limit(
            name=f"chat:{self._chat.config.websocket_endpoint}",
            most=most,
            period=period,
            text="Rate limit exceeded.",
            by_address=not known,
        )
        identity = self._chat.mounted.identity
        await identity.system.home.run(lambda: identity.limits.take(limit, who))

    async def _turn(self, text: str) -> None:
        """One turn, once it is known whose credentials these are."""
        if self._verifying is not None:
            await asyncio.wait({self._verifying})
            if self._chat.config.require_tool_auth and not self._session.credential:
                await self._error(frames.SIGN_IN_FIRST)
                return
        await run_turn(self._chat, self._session, text, self.send)

    async def _cancel(self, _: Mapping[str, Any]) -> None:
        ran = await cancelled(self._session)
        await self._tell("cancelled", frames.CANCELLED if ran else frames.NOTHING_RUNS)

    async def _clear(self, _: Mapping[str, Any]) -> None:
        ran = await cancelled(self._session)
        self._session.said.clear()
        self._session.turns.clear()
        if ran:
            await self._tell("cancelled", frames.CANCELLED)
        await self._tell("history_cleared", frames.CLEARED)

    async def _history(self, _: Mapping[str, Any]) -> None:
        await self.send(frames.history(self._session.said, self._chat.system.clock.now()))

    async def _options(self, frame: Mapping[str, Any]) -> None:
        stream = frame.get("stream", self._session.stream)
        if not isinstance(stream, bool):
            await self._error(frames.NO_STREAM)
            return
        self._session.stream = stream

    async def _approve(self, frame: Mapping[str, Any]) -> None:
        approval, decision = frame.get("approval_id"), frame.get("decision")
        if not isinstance(approval, str):
            await self._error(frames.NO_APPROVAL)
        elif decision not in ("yes", "no"):
            await self._error(frames.NO_DECISION)
        else:
            wrong = await answer_approval(self._chat, self._session, approval, yes=decision == "yes")
            if wrong:
                await self._error(wrong)

    async def _logout(self, _: Mapping[str, Any]) -> None:
        self._sessions.strip(self._session)
        await cancelled(self._session)  # first: a message that waits to be verified is not answered any more
        await self._not_verifying()
        await self._sessions.log_out(self._session)
        await self._tell("logout_success", frames.LOGGED_OUT)

    async def _auth(self, frame: Mapping[str, Any]) -> None:
        config = self._chat.config
        try:
            spelt, credential = read_auth(frame, config)
        except AuthenticationError as error:
            await self._error(error.message)
            return
        if not (self._shielded or config.allow_insecure_transport):
            await self._error(frames.UNENCRYPTED)
            return
        wait = self._attempts.take()
        if wait:
            await self._error(frames.TOO_MANY_SIGN_INS.format(wait))
            return
        await self._not_verifying()
        session = self._session
        session.display_name = ""
        replaced = self._chat.system.sessions.kind(session.id) is not None
        self._chat.system.sessions.put(
            session.id,
            session.owner,
            credential,
            ttl=config.auth_token_cache_ttl,
            token_hosts=config.token_url_hosts,
            ready=False,
        )
        await self._rescrub()
        # A turn that began as somebody does not go on as somebody else.
        if replaced and await cancelled(session):
            await self._tell("cancelled", frames.REPLACED)
        if not config.auth_verification_endpoint:
            await self._configured(spelt, None)
            return
        # In a task of its own: an endpoint may take its time, and a logout does not wait for it.
        self._verifying = asyncio.create_task(self._verified(spelt), name="valetkey-chat-verify")

    async def _verified(self, spelt: str) -> None:
        me = asyncio.current_task()
        try:
            await self._attempts.look()
            name = await verify(self._chat, self._session)
            # Again: of many that came at once, one may not be good after the others were wrong too often.
            await self._attempts.look()
        except ValetkeyError as error:
            if isinstance(error, AuthenticationError):
                await self._attempts.failed(error)
            self._chat.system.sessions.forget(self._session.id)
            self._session.credential = ""
            await self._tell("auth_failed", error.message, auth_type=spelt)
        else:
            await self._configured(spelt, name)
        finally:
            if self._verifying is me:
                self._verifying = None

    async def _configured(self, spelt: str, name: str | None) -> None:
        session = self._session
        await withdraw_approvals(self._chat, session)
        self._chat.system.sessions.ready(session.id)
        session.credential = spelt
        session.display_name = name or ""
        await self._rescrub()  # of a token that was fetched to verify it
        if name:
            await self._tell("auth_configured", f"Authenticated as {name}", auth_type=spelt, display_name=name)
        else:
            await self._tell("auth_configured", f"Authentication configured: {spelt}", auth_type=spelt)

    async def _rescrub(self) -> None:
        """Star out of what was said what this ``auth`` made known: earlier ones did so with theirs."""
        present = self._chat.system.sessions.secrets(self._session.id, past=False)
        await rescrub(self._session, Scrubber(present))

    async def _not_verifying(self) -> None:
        verifying, self._verifying = self._verifying, None
        if verifying is not None:
            verifying.cancel()
            await asyncio.wait({verifying})
