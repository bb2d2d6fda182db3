"""A turn's questions to its person: connect an account, approve a call; each asked once, and waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from urllib.parse import urlsplit

from valetkey.connections.unfinished import finish_even_if_cancelled
from valetkey.entrypoints.chat import frames
from valetkey.entrypoints.chat.links import link_for
from valetkey.entrypoints.chat.rooms import Chat
from valetkey.entrypoints.chat.session import ChatSession
from valetkey.entrypoints.chat.voice import Voice
from valetkey.entrypoints.chat.withdrawn import GONE
from valetkey.errors import (
    ApprovalRequired,
    AuthExpired,
    AuthRequired,
    CouldNotTell,
    InvalidAuthState,
    ValetkeyError,
)
from valetkey.interactions.states import ENDED, RESOLVED, WAITING
from valetkey.model.interactions import Interaction, Phase
from valetkey.policy.approvals import LENDING
from valetkey.ports.agents import ToolCall

SETTLING = 60.0
"""Seconds that acting on an answer may take."""

GRACE = 1.0
"""Seconds past the end of a question: it is its row that says that it ended."""

CHANGED = "Other credentials were given while this call waited for approval. Call again to ask anew."

NOT_APPROVED = "The person did not approve this call. Do not try it again unless they ask for it."


class Questions:
    """What one turn asks. Of calls that need the same account only the first one asks; all of them go on."""

    def __init__(self, chat: Chat, session: ChatSession, voice: Voice) -> None:
        self._chat = chat
        self._session = session
        self._voice = voice
        self._asked: dict[str, asyncio.Task[str]] = {}
        self._approving: set[str] = set()
        self._shown: dict[str, tuple[str, tuple[str, ...]]] = {}

    async def answered(self, required: AuthRequired | ApprovalRequired, call: ToolCall) -> str:
        """Ask, and wait for the answer.

        Returns:
            Why the call cannot go on; empty: it can.
        """
        key = required.interaction
        row = await self._chat.system.interactions.get(key)
        if row is None:
            return required.message
        lending = bool(row.about.get(LENDING))
        if isinstance(required, AuthRequired):
            await self._invite(row, required, call)
        elif lending:
            await self._ask_to_lend(row, required, call)
        task = self._asked.get(key)
        if task is None or task.done():
            if lending:
                asking = self._lent(row)
            elif isinstance(required, AuthRequired):
                asking = self._connected(row, required, call)
            else:
                asking = self._approved(row, required, call)
            task = self._asked[key] = asyncio.create_task(asking)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Wait for nothing any more. No answer that comes later, and no yes that was not used, lets a call through."""
        tasks = [task for task in self._asked.values() if not task.done()]
        for task in tasks:
            task.cancel()
        left, self._approving = self._approving, set()
        for key in left:
            self._session.approvals.pop(key, None)
        if tasks or left:
            await finish_even_if_cancelled(lambda: self._withdrawn(tasks, left))

    async def _withdrawn(self, tasks: Collection[asyncio.Task[str]], left: Collection[str]) -> None:
        await asyncio.gather(*tasks, return_exceptions=True)
        for key in left:
            await self._chat.mounted.identity.approvals.withdraw(key, GONE)

    async def _invite(self, row: Interaction, required: AuthRequired, call: ToolCall) -> None:
        """Show the link; again where it changed, as more was asked for."""
        url = link_for(self._chat, self._session, required.url)
        listed = row.about.get("scopes")
        scopes = tuple(str(each) for each in listed) if isinstance(listed, list | tuple) else ()
        if row.phase not in WAITING or self._shown.get(row.id) == (url, scopes):
            return
        self._shown[row.id] = url, scopes
        title = str(row.about.get("title", required.provider))
        payload = self._chat.system.interactions.payload(row)
        # A code is entered at the provider; whose account came of it is asked on our own page.
        target = str(payload.get("shown", {}).get("verification_uri") or payload.get("url", ""))
        given = {"user_code": required.user_code, "verification_uri": required.verification_uri}
        await self._voice.say(
            "auth_required",
            f"{call.tool} needs your {title} account. Open the link to connect it; I go on by myself then.",
            provider=required.provider,
            provider_title=title,
            provider_host=urlsplit(target).hostname or "",
            scopes=list(scopes),
            url=url,
            tool=call.tool,
            request_id=row.id,
            expires_at=frames.stamp(row.expires_at),
            **({name: value for name, value in given.items() if value}),
        )

    async def _ask_whose(self, row: Interaction, required: AuthRequired, call: ToolCall) -> None:
        """The account is there, and its owner is asked on our page whether it is the one that they meant."""
        title = str(row.about.get("title", required.provider))
        await self._voice.say(
            "auth_required",
            f"{call.tool} waits: open the link and say whether this is the {title} account that you meant.",
            provider=required.provider,
            provider_title=title,
            provider_host="",
            scopes=[],
            url=link_for(self._chat, self._session, self._chat.system.connecting.url(row)),
            tool=call.tool,
            request_id=row.id,
            expires_at=frames.stamp(row.expires_at),
        )

    async def _connected(self, row: Interaction, required: AuthRequired, call: ToolCall) -> str:
        title = str(row.about.get("title", ""))
        self._chat.system.answering.follow(row)
        try:
            asked = row.confirming
            row = await self._until(row, RESOLVED | ENDED, confirming=not asked)
            if row.phase is Phase.SETTLING:
                row = await self._until(row, ENDED | WAITING | {Phase.ANSWERED}, timeout=SETTLING)
            if row.phase in WAITING and not asked:
                await self._ask_whose(row, required, call)
                row = await self._until(row, ENDED)
        except AuthExpired:
            return f"Nobody connected a {title} account in time. Ask the person, and call again when they are ready."
        except (InvalidAuthState, CouldNotTell) as error:
            return error.message
        # What was answered for a handler of the host program's own is acted on by the call that goes on.
        if row.phase in (Phase.DONE, Phase.ANSWERED):
            held = await self._chat.system.answering.held(row) if row.phase is Phase.DONE else None
            whose = f" as {held.account}" if held and held.account else ""
            await self._voice.say("connection_ready", f"{title} is connected{whose}.", request_id=row.id)
            return ""
        if row.phase is Phase.REFUSED:
            return f"The {title} account was not connected: {row.reason or 'the person said no.'}"
        if row.phase is Phase.EXPIRED:
            return f"Nobody connected a {title} account in time. Ask the person, and call again when they are ready."
        return f"The {title} account could not be connected: {row.reason}"

    async def _ask_to_lend(self, row: Interaction, required: ApprovalRequired, call: ToolCall) -> None:
        """Show the link: whether somebody else's program may use an account is answered on our page alone."""
        if row.phase not in WAITING or self._shown.get(row.id) == (required.url, ()):
            return
        self._shown[row.id] = required.url, ()
        facts = self._chat.system.interactions.payload(row)
        (title, _, scopes, _), *_ = facts["accounts"]
        await self._voice.say(
            "auth_required",
            f"{call.tool} is run by somebody else, and asks to use your {title} account. Open the link and answer; I"
            " go on by myself then.",
            provider=str(facts["lending"]["accounts"][0][0]),
            provider_title=str(title),
            provider_host="",
            scopes=list(scopes),
            url=required.url,
            tool=call.tool,
            request_id=row.id,
            expires_at=frames.stamp(row.expires_at),
        )

    async def _lent(self, row: Interaction) -> str:
        late = "Nobody answered whether the service may use the account. Ask the person, and call again."
        try:
            row = await self._until(row, RESOLVED | ENDED)
            if row.phase not in ENDED:
                row = await self._until(row, ENDED, timeout=SETTLING)
        except AuthExpired:
            return late
        except (InvalidAuthState, CouldNotTell) as error:
            return error.message
        if row.phase is Phase.DONE:
            await self._voice.say("connection_ready", "The service may use your account.", request_id=row.id)
            return ""
        if row.phase is Phase.REFUSED:
            return "The person does not lend their account to this service. Do not try it again unless they ask for it."
        return late if row.phase is Phase.EXPIRED else row.reason or late

    async def _approved(self, row: Interaction, required: ApprovalRequired, call: ToolCall) -> str:
        if row.phase in WAITING:
            row = await self._ask(row, required, call)
        if row.phase is Phase.EXPIRED and row.reason == CHANGED:
            return CHANGED
        if row.phase in (Phase.EXPIRED, Phase.OPEN, Phase.CLAIMED):
            return "Nobody approved this call in time. Ask the person, and call again when they are ready."
        # One that is used up already let another call through: this one asks anew.
        return NOT_APPROVED if row.phase is Phase.REFUSED else ""

    async def _ask(self, row: Interaction, required: ApprovalRequired, call: ToolCall) -> Interaction:
        """Here, by a frame, or on our page: whichever comes first."""
        self._approving.add(row.id)
        here = self._session.approvals[row.id] = asyncio.get_running_loop().create_future()
        watch = asyncio.create_task(self._until(row, RESOLVED | ENDED))
        try:
            await self._voice.say(
                "approval_required",
                f"{call.tool} waits for your approval: {self._chat.system.interactions.payload(row)['reason']}.",
                approval_id=row.id,
                tool=call.tool,
                arguments=self._voice.scrubber.value(dict(call.arguments)),
                expires_at=frames.stamp(row.expires_at),
            )
            await asyncio.wait({here, watch}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        self._session.approvals.pop(row.id, None)
        return await self._chat.system.interactions.get(row.id) or row

    async def _until(
        self, row: Interaction, phases: Collection[Phase], *, timeout: float | None = None, confirming: bool = False
    ) -> Interaction:
        system = self._chat.system
        left = row.expires_at - system.clock.now() + GRACE if timeout is None else timeout
        left = max(left, GRACE)
        return await system.interactions.waiting.until(row.id, phases, timeout=left, confirming=confirming)


async def answer_approval(chat: Chat, session: ChatSession, approval_id: str, *, yes: bool) -> str | None:
    """Take what the person at this socket answers to a question of this session.

    Returns:
        What was wrong with it, for an ``error`` frame; None: it was taken.
    """
    waiting = session.approvals.get(approval_id)
    if waiting is None:
        return "There is no such question here, or it was answered already."
    identity = chat.mounted.identity
    try:
        if session.caller is not None:
            await identity.chain.still(session.caller)
        caller = await chat.road.chain.identify(session.presented)
        await identity.approvals.answer_here(approval_id, caller, conversation=session.id, yes=yes)
    except ValetkeyError as error:
        return error.message
    if not waiting.done():
        waiting.set_result(yes)
    return None


async def withdraw_approvals(chat: Chat, session: ChatSession) -> None:
    """No yes counts any more that would be for other credentials than those of the moment of the question."""
    for key, waiting in list(session.approvals.items()):
        await chat.mounted.identity.approvals.withdraw(key, CHANGED)
        if not waiting.done():
            waiting.set_result(False)
