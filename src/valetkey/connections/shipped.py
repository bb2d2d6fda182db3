"""One of our handlers, seen as seed 002's interface."""

from __future__ import annotations

from typing import Any, NoReturn

from valetkey.connections.handler import AuthenticateRequest, AuthHandlerInterface, Handler
from valetkey.errors import InvalidAuthState
from valetkey.providers.names import AuthProvider

_DRIVEN = "{name} keeps its flows itself: call PocketAuth's {call} with a request of make_request."


class Shipped(AuthHandlerInterface):
    """What a program may ask of a handler that comes with Valetkey. Flows are driven by ``PocketAuth``."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.name = handler.name
        self.description = f"{handler.provider.title} accounts"
        self.scoped = handler.scoped

    def provider(self) -> AuthProvider:  # type: ignore[override]  # the seed's is static; this one is of an instance
        """Whose accounts it connects."""
        return AuthProvider(self._handler.provider.name)

    def provider_default(self) -> bool:  # type: ignore[override]
        """Whether it serves the provider when no handler is named."""
        return self._handler.default

    def recommended_scopes(self) -> set[str]:  # type: ignore[override]
        """Scopes asked for besides the tool's own, as settings say."""
        return set(self._handler.recommended_scopes)

    def make_request(self, auth_scopes: list[str] | None = None, **kwargs: Any) -> AuthenticateRequest:
        """A request for these scopes."""
        return AuthenticateRequest(auth_scopes=auth_scopes or [])

    def prepare(self, auth_req: AuthenticateRequest, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: ``PocketAuth.prepare`` does this."""
        raise InvalidAuthState(_DRIVEN.format(name=self.name, call="prepare"))

    async def authenticate(self, auth_req: AuthenticateRequest, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: ``PocketAuth.authenticate_async`` does this."""
        raise InvalidAuthState(_DRIVEN.format(name=self.name, call="authenticate_async"))
