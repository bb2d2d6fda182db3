"""The five kinds that a chat session may be given: how each goes on a request. Nobody is asked for one here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

from valetkey.connections.handler import Flow, Handler, basic, bearer
from valetkey.connections.session_credential import SESSION, SessionKind, handler_name
from valetkey.errors import InvalidAnswer, RefreshFailed, Unauthenticated, UnknownProvider
from valetkey.model.calls import Loan
from valetkey.model.connections import Credential, Grant
from valetkey.providers.base import HandlerEntry, HandlerKind, Provider
from valetkey.secret import Secret

NOTHING_GIVEN = (
    "This tool uses the credentials of a chat session, and this session has none that fit. Authenticate in the chat "
    "first."
)


class SessionHandler(Handler):
    """Lends what a session was given. It is put in by the chat and met in the session's place, nowhere else.

    Attributes:
        kind: which of the five.
    """

    interactive = False
    scoped = False

    def __init__(self, kind: SessionKind) -> None:
        self.kind = kind
        self.name = handler_name(kind)
        self.provider = PROVIDER
        self.default = kind is SessionKind.BEARER_TOKEN

    async def begin(self, flow: Flow) -> NoReturn:
        """No link leads to it.

        Raises:
            Unauthenticated: always.
        """
        raise Unauthenticated(NOTHING_GIVEN)

    def judge(self, private: Mapping[str, str], parameters: Sequence[tuple[str, str]]) -> NoReturn:
        """No callback is ever an answer."""
        raise InvalidAnswer("A chat session's credentials come through the chat, not by a page.")

    async def finish(self, flow: Flow, private: Mapping[str, str], answer: Mapping[str, str]) -> Grant:
        """There is nothing to finish.

        Raises:
            Unauthenticated: always.
        """
        raise Unauthenticated(NOTHING_GIVEN)

    async def refresh(self, credential: Credential, scopes: frozenset[str]) -> Grant:
        """Tokens are fetched anew by the session's place alone."""
        raise RefreshFailed(
            "A chat session's credentials are renewed in its own place. Authenticate in the chat again."
        )

    def variables(self, credential: Credential) -> Mapping[str, Secret]:
        """None: it is for requests of the chat's operations."""
        return {}

    def loan(self, credential: Credential) -> Loan:
        """The headers that carry it, and the bare value where there is one."""
        match self.kind:
            case SessionKind.BEARER_TOKEN | SessionKind.OAUTH2:
                return bearer(self.name, credential.access_token)
            case SessionKind.BASIC_AUTH:
                return basic(self.name, credential.fields["basic"])
            case SessionKind.API_KEY:
                return Loan(handler=self.name, headers=dict(credential.fields), token=credential.access_token)
            case SessionKind.CUSTOM:
                return Loan(handler=self.name, headers=dict(credential.fields))


PROVIDER = Provider(
    name=SESSION,
    title="this chat session",
    handlers=tuple(
        HandlerEntry(name=handler_name(kind), kind=HandlerKind.CUSTOM, default=kind is SessionKind.BEARER_TOKEN)
        for kind in SessionKind
    ),
)

SESSION_HANDLERS: Mapping[str, SessionHandler] = {
    handler_name(kind).replace("_", "-"): SessionHandler(kind) for kind in SessionKind
}
"""By name, in which ``_`` is written ``-``."""


def session_handler(name: str | None) -> SessionHandler:
    """The handler of that name; without one, that of a bearer token.

    Raises:
        UnknownProvider: there is none.
    """
    found = SESSION_HANDLERS.get((name or handler_name(SessionKind.BEARER_TOKEN)).replace("_", "-"))
    if found is None:
        known = ", ".join(handler_name(kind) for kind in SessionKind)
        raise UnknownProvider(f"A chat session has no auth handler {name!r}. It has: {known}.")
    return found
