"""Ask the endpoint that the operator named whether what a session was just given is good."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from valetkey.audit import kept
from valetkey.connections.session import SESSION
from valetkey.entrypoints.chat.verified import GENERIC, display_name, failed, judge
from valetkey.errors import AuthenticationError, ExchangeFailed, ProviderUnavailable, ValetkeyError
from valetkey.logs import speaking
from valetkey.model.audit import Action, Entry
from valetkey.model.calls import Loan
from valetkey.model.connections import Connection
from valetkey.model.needs import Need
from valetkey.ports.world import VISIT, Fetcher, Request, Response, Trust
from valetkey.scrub import Scrubber
from valetkey.wiring.chat import app_fetcher

if TYPE_CHECKING:
    from valetkey.entrypoints.chat.rooms import Chat
    from valetkey.entrypoints.chat.session import ChatSession

MOST = 10.0
"""Seconds that a person waits for it, where ``timeout`` is longer."""

LARGEST = 65_536
"""Bytes of its answer."""

TOOL = "auth_verification_endpoint"
"""What stands for the tool in the audit log."""

_log = logging.getLogger("valetkey")


async def verify(chat: Chat, session: ChatSession, *, inside: Fetcher | None = None) -> str | None:
    """The name of the person whose credentials they are; None: the endpoint told none, or there is no endpoint.

    Args:
        chat: whose settings name the endpoint: a path of its own app, or a URL.
        session: which was given credentials.
        inside: the way into the app; by default in this process.

    Raises:
        AuthenticationError: they are not good, or it cannot be told: they are forgotten. The text is for the person.
    """
    endpoint = chat.config.auth_verification_endpoint
    if not endpoint:
        return None
    try:
        return await _verified(chat, session, endpoint, inside)
    except AuthenticationError:
        chat.system.sessions.forget(session.id)
        raise
    except Exception as error:  # noqa: BLE001 - whatever broke, and whatever it holds: nothing is kept
        chat.system.sessions.forget(session.id)
        _log.warning("credentials could not be verified: %s", type(error).__name__)
        raise AuthenticationError(GENERIC) from None


async def _verified(chat: Chat, session: ChatSession, endpoint: str, inside: Fetcher | None) -> str | None:
    system = chat.system
    try:
        connection = await system.sessions.meet(session.id, session.owner, Need(provider=SESSION), to_verify=True)
    except ProviderUnavailable as error:
        raise AuthenticationError(error.message) from None
    if connection is None:
        raise AuthenticationError(GENERIC)
    await _note(chat, session, connection)
    handler = system.handling.find(connection.handler, SESSION)
    loan = handler.loan(system.sealer.open_credential(connection))
    secrets = system.sessions.secrets(session.id)
    with speaking(Scrubber(secrets)):
        answer = await _asked(chat, session, endpoint, loan, inside)
    good, text, user = judge(answer, secrets)
    if not good:
        raise AuthenticationError(text)
    return display_name(user, secrets)


async def _asked(chat: Chat, session: ChatSession, endpoint: str, loan: Loan, inside: Fetcher | None) -> Response:
    """The endpoint's answer; it sees the credentials as a tool's operation would."""
    fetcher, url, visit = chat.system.fetcher, endpoint, session.visit
    if endpoint.startswith("/"):
        fetcher, url = inside or _inside(chat), f"{visit.scheme}://{visit.host}{endpoint}"
    request = Request(
        method="GET",
        url=url,
        trust=Trust.OPERATOR,
        headers={"accept": "application/json", **{name: value.reveal() for name, value in loan.headers.items()}},
        deadline=min(float(chat.config.timeout), MOST),
        cap=LARGEST,
    )
    on_behalf = VISIT.set(visit)
    try:
        return await fetcher.fetch(request)
    except ExchangeFailed as error:
        _log.warning("the endpoint that verifies credentials cannot be asked: %s", error)
        raise AuthenticationError(failed(error)) from None
    except ValetkeyError as error:
        _log.warning("the endpoint that verifies credentials cannot be used: %s", error)
        raise AuthenticationError(GENERIC) from None
    finally:
        VISIT.reset(on_behalf)


def _inside(chat: Chat) -> Fetcher:
    if chat.app is None:
        raise AuthenticationError(GENERIC)
    return app_fetcher(chat.app)


async def _note(chat: Chat, session: ChatSession, connection: Connection) -> None:
    """As each loan, this one is in the audit log before."""
    audit = kept(chat.system.audit)
    if audit is None:
        return
    await audit.note(
        Entry(
            action=Action.LEND,
            issuer=session.owner.issuer,
            subject=session.owner.subject,
            workspace=session.owner.workspace,
            what=connection.id,
            details={"tool": TOOL, "provider": SESSION, "handler": connection.handler, "entrance": "chat"},
        )
    )
