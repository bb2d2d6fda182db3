"""Links to connect an account for a chat: only the browser that has the chat open may follow one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from valetkey.entrypoints.chat.handshake import Opener, Refused, Threshold, browser_of, is_here
from valetkey.entrypoints.chat.registry import Sessions
from valetkey.entrypoints.chat.visitors import Reception
from valetkey.entrypoints.render import http_status
from valetkey.entrypoints.web import page
from valetkey.entrypoints.web.guard import strictly
from valetkey.entrypoints.web.hosts import host_name, is_loopback
from valetkey.entrypoints.web.interaction import confirm_link
from valetkey.errors import AuthExpired, Denied, NotFound, ValetkeyError
from valetkey.identity.verifiers.vouched import CHAT, HOST
from valetkey.interactions.states import WAITING
from valetkey.model.caller import CHAT_USERS
from valetkey.model.interactions import Interaction, InteractionKind

if TYPE_CHECKING:
    from valetkey.entrypoints.chat.rooms import Chat
    from valetkey.entrypoints.chat.session import ChatSession

_ELSEWHERE = frozenset({"cross-site", "same-site"})
_ID = re.compile(r"[0-9a-f]{64}")
_LINK = re.compile(r"(?:.*/)?connect/([0-9a-f]{64})")


def link_for(chat: Chat, session: ChatSession, url: str) -> str:
    """The link that the person is shown.

    Users of ours sign in where it leads, and are known there. Users of the app's own sign-in, and those who did not
    sign in at all, are known by their browser: their link leads past us, where it is looked at.

    Args:
        chat: the chat.
        session: that needs the account.
        url: the link of the interaction, as ``AuthRequired.url`` has it.
    """
    session.linked = True
    found = _LINK.fullmatch(url.partition("?")[0].partition("#")[0])
    if session.owner.issuer != HOST or found is None:
        return url
    return f"{_public(chat)}{chat.config.chat_endpoint}/link/{found[1]}"


def link_routes(chat: Chat, sessions: Sessions, reception: Reception) -> list[BaseRoute]:
    """Where those links lead."""
    threshold = Threshold(chat)

    async def follow(request: Request) -> Response:
        try:
            threshold.check_host(request)
        except Refused as refusal:
            return page.from_status(refusal.status)
        interaction = await _find(chat, request.path_params["id"])
        if interaction is None or interaction.owner.workspace not in (CHAT, CHAT_USERS):
            return page.not_found()
        if interaction.phase not in WAITING:
            return page.expired(provider=str(interaction.about.get("title", "")))
        session = await _session_of(chat, sessions, reception, interaction, request)
        if session is None:
            return _not_yours()
        # Behind the prefix of the public address, and at the host that has the browser's cookie.
        path = f"{urlsplit(chat.mounted.base_url).path.rstrip('/')}/connect/{interaction.id}"
        response = page.see_other(path)
        try:
            await confirm_link(chat.mounted, request, response, path, thread_id=session.who)
        except (AuthExpired, Denied, NotFound) as error:
            return page.from_error(error)
        return response

    answer = strictly(follow, lambda: chat.mounted.base_url)
    return [Route(f"{chat.config.chat_endpoint}/link/{{id}}", answer, methods=["GET"], include_in_schema=False)]


async def _find(chat: Chat, text: str) -> Interaction | None:
    if not _ID.fullmatch(text):
        return None
    found = await chat.system.interactions.get(text)
    return found if found is not None and found.kind is InteractionKind.CONNECT else None


async def _session_of(
    chat: Chat, sessions: Sessions, reception: Reception, interaction: Interaction, request: Request
) -> ChatSession | None:
    """The session for which the link was made, where this browser has it open."""
    of_owner = sessions.of(interaction.owner)
    mark = browser_of(request, chat)
    marked = next((each for each in of_owner if mark and each.browser == mark), None)
    if not of_owner:
        return None
    if reception.has_own and interaction.owner.workspace == CHAT_USERS:
        # The sign-in of the app comes first: a browser may have another user by now.
        try:
            visitor = await reception.visitor(request)
        except (Refused, ValetkeyError):
            # A sign-in that only a WebSocket shows; then the chat has to be open there now.
            return marked if marked is not None and sessions.get(marked.id) is marked else None
        return of_owner[0] if visitor.who is not None and visitor.who.owner == interaction.owner else None
    elsewhere = request.headers.get("sec-fetch-site", "").lower() in _ELSEWHERE
    if marked is not None:
        return marked if not elsewhere or marked.opener is Opener.NAMED else None
    alone = _is_alone(chat, of_owner[0], request, elsewhere=elsewhere) and not interaction.claimed_by
    return of_owner[0] if alone else None


def _is_alone(chat: Chat, session: ChatSession, request: Request, *, elsewhere: bool) -> bool:
    """Whether all of it is on one machine, for the one person there; then a program without cookies may be the chat.

    The socket and the browser come from this machine, past no proxy, and it is nobody else's address; and no page but
    ours opened the chat, or led to the link. A cookie of a browser that had one cannot come along from one name of the
    machine to another one: that is no other browser.
    """
    base = urlsplit(_public(chat))
    named = host_name(request.headers.get("host", ""))
    told_elsewhere = host_name(session.visit.host) != host_name(base.netloc)
    return (
        session.opener in (Opener.PROGRAM, Opener.OURS)
        and (not elsewhere or (told_elsewhere and session.opener is Opener.OURS))
        and (not session.brought or told_elsewhere)
        and session.local
        and is_here(request)
        and named is not None
        and is_loopback(named)
        and is_loopback(base.hostname or "")
        and is_loopback(host_name(session.visit.host) or "")
    )


def _public(chat: Chat) -> str:
    """The public address, without the prefix of our pages."""
    mounted = chat.mounted
    return mounted.base_url.removesuffix(f"/{mounted.prefix}") if mounted.prefix else mounted.base_url


def _not_yours() -> Response:
    return page.failed(
        title="Open this link where you chat",
        what="This link is personal, and this browser is not the one that has the chat open. Nothing was connected.",
        next_step="Go back to the chat, and open the link from there. If somebody sent you this link, do not go on: "
        "it would connect your account to their chat.",
        status=http_status(Denied),
    )
