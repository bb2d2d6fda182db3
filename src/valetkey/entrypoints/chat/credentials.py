"""AuthType, Credentials, AuthenticationHandler, as programs of seed 003 have them; and how ``auth`` is read."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from valetkey.connections.handlers.session import session_handler
from valetkey.connections.session import SessionCredential, SessionKind, handler_name
from valetkey.connections.session_credential import API_KEY_HEADER, credential_of
from valetkey.connections.session_tokens import ClientTokens, TokenClient
from valetkey.entrypoints.chat.auth_frames import KINDS, read_auth
from valetkey.entrypoints.chat.headers import check_name, is_value
from valetkey.entrypoints.chat.verified import GENERIC, NO_CONNECTION, TIMED_OUT, failed, judge
from valetkey.errors import AuthenticationError, ExchangeFailed, ValetkeyError
from valetkey.ports.world import Fetcher, Request, Response, Trust
from valetkey.secret import Secret
from valetkey.wiring import build

__all__ = ["AuthType", "AuthenticationHandler", "Credentials", "read_auth"]

_OF_CLIENTS = {"TimeoutException": TIMED_OUT, "TimeoutError": TIMED_OUT, "ConnectError": NO_CONNECTION}  # of httpx
_EARLY = 0.9
_UNTOLD = 3600.0
_log = logging.getLogger("valetkey")


class AuthType(StrEnum):
    """How a session signs in to the API behind its tools."""

    NONE = "none"
    BEARER_TOKEN = "bearer_token"
    BASIC_AUTH = "basic_auth"
    OAUTH2_CLIENT_CREDENTIALS = "oauth2_client_credentials"
    API_KEY = "api_key"
    CUSTOM = "custom"

    @classmethod
    def _missing_(cls, value: object) -> AuthType | None:
        spelt = value.lower() if isinstance(value, str) else ""
        if spelt == SessionKind.OAUTH2.value:
            return cls.OAUTH2_CLIENT_CREDENTIALS
        return next((each for each in cls if each.value == spelt and value != spelt), None)


@dataclass
class Credentials:
    """Credentials as a program of seed 003 holds them. The values do not print.

    Attributes:
        metadata: whatever the program wants to keep beside them.
    """

    auth_type: AuthType = AuthType.NONE
    bearer_token: str | None = field(default=None, repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    client_id: str | None = field(default=None, repr=False)
    client_secret: str | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)
    api_key_header: str = API_KEY_HEADER
    token_url: str | None = field(default=None, repr=False)
    scope: str | None = None
    custom_headers: dict[str, str] = field(default_factory=dict, repr=False)
    metadata: dict[str, Any] = field(default_factory=dict, repr=False)

    def get_auth_type_string(self) -> str:
        """The type's name, be it given as a text."""
        return self.auth_type.value if isinstance(self.auth_type, AuthType) else str(self.auth_type)

    def to_dict(self) -> dict[str, Any]:
        """What is there, by name, and no value."""
        return {
            "auth_type": self.get_auth_type_string(),
            "has_bearer_token": self.bearer_token is not None,
            "has_credentials": self.username is not None or self.password is not None,
            "has_oauth2": self.client_id is not None,
            "has_api_key": self.api_key is not None,
            "has_custom_headers": bool(self.custom_headers),
            "metadata": self.metadata,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Credentials:
        """The credentials that a mapping holds by the names of the fields.

        Raises:
            ValueError: there is no such ``auth_type``.
        """
        known = {name: data[name] for name in cls.__dataclass_fields__ if data.get(name) is not None}
        return cls(**{**known, "auth_type": AuthType(data.get("auth_type", AuthType.NONE))})


class AuthenticationHandler:
    """Puts credentials on the headers of requests.

    A chat does not use it: its sessions' credentials travel the road. It is for programs that sign in requests of
    their own.
    """

    def __init__(self, credentials: Credentials | None = None) -> None:
        self.credentials = credentials or Credentials()
        self.http_client: Any = None
        self._token: tuple[str, float, Secret] | None = None
        self._fetching = asyncio.Lock()

    def set_http_client(self, client: Any) -> None:
        """Fetch tokens with an ``httpx.AsyncClient`` of the program's own; by default with ours."""
        self.http_client = client

    def validate_credentials(self) -> bool:
        """Whether all is there that the type needs."""
        given = self.credentials
        match self._kind:
            case SessionKind.BEARER_TOKEN:
                return bool(given.bearer_token)
            case SessionKind.BASIC_AUTH:
                return bool(given.username and given.password)
            case SessionKind.API_KEY:
                return bool(given.api_key)
            case SessionKind.OAUTH2:
                return bool(given.client_id and given.client_secret)
            case _:
                return True

    async def apply_auth_to_headers(
        self, headers: MutableMapping[str, str], tool_auth_config: Mapping[str, Any] | None = None
    ) -> MutableMapping[str, str]:
        """Put the credentials on the headers given, and give them back; where a part is missing they stay as they are.

        Args:
            headers: changed in place.
            tool_auth_config: what one operation says: ``token_url``, ``custom_headers``.

        Raises:
            ValueError: OAuth 2 without a token URL.
            ProviderUnavailable: the token endpoint gave no token.
            AuthenticationError: a header is none that credentials may set, or cannot have that value.
        """
        kind, config = self._kind, tool_auth_config or {}
        if kind is None:
            return headers
        if not self.validate_credentials():
            _log.warning("credentials of type %s are not complete: a request goes without", kind.value)
            return headers
        token_url = str(config.get("token_url") or self.credentials.token_url or "")
        given = self._given(kind, token_url)
        credential = credential_of(given)
        if kind is SessionKind.OAUTH2:
            if not token_url:
                raise ValueError("OAuth2 token URL is required for client credentials flow")
            bearer = SessionCredential(
                kind=SessionKind.BEARER_TOKEN, fields={"token": await self._obtained(given, token_url)}
            )
            kind, credential = bearer.kind, credential_of(bearer)
        loan = session_handler(handler_name(kind)).loan(credential)
        headers.update({name: value.reveal() for name, value in loan.headers.items()})
        if kind is SessionKind.CUSTOM:
            further = config.get("custom_headers") or {}
            _check_values(further)
            headers.update(further)
        return headers

    async def verify_credentials_remote(
        self, verification_endpoint: str, http_client: Any = None
    ) -> tuple[bool, str, dict[str, Any]]:
        """Ask an endpoint of the program's choice whether they are good.

        Returns:
            Whether they are, what it said, and what it told of the user.
        """
        headers: dict[str, str] = {"accept": "application/json"}
        try:
            await self.apply_auth_to_headers(headers)
            fetcher: Fetcher = _Lent(http_client) if http_client is not None else build.default().fetcher
            answer = await fetcher.fetch(
                Request(method="GET", url=verification_endpoint, trust=Trust.OPERATOR, headers=headers)
            )
        except ExchangeFailed as error:
            return False, failed(error), {}
        except Exception as error:  # noqa: BLE001 - the program's own client may raise anything, with values in it
            _log.warning("credentials could not be verified: %s", type(error).__name__)
            said = next(
                (_OF_CLIENTS[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in _OF_CLIENTS), ""
            )
            return False, said or (error.message if isinstance(error, ValetkeyError) else GENERIC), {}
        return judge(answer, [Secret(value) for value in headers.values()])

    @property
    def _kind(self) -> SessionKind | None:
        return KINDS.get(self.credentials.get_auth_type_string().lower())

    def _given(self, kind: SessionKind, token_url: str) -> SessionCredential:
        given = self.credentials
        values = {
            "token": given.bearer_token,
            "username": given.username,
            "password": given.password,
            "api_key": given.api_key,
            "client_id": given.client_id,
            "client_secret": given.client_secret,
        }
        for name in given.custom_headers if kind is SessionKind.CUSTOM else ():
            check_name(name, "custom_headers")
        check_name(given.api_key_header, "api_key_header")
        placed = {"bearer_token": given.bearer_token, "api_key": given.api_key, **given.custom_headers}
        _check_values({name: value for name, value in placed.items() if value is not None})
        return SessionCredential(
            kind=kind,
            fields={name: Secret(value) for name, value in values.items() if value is not None},
            headers={name: Secret(value) for name, value in given.custom_headers.items()},
            header=given.api_key_header,
            token_url=token_url,
            scope=given.scope or "",
        )

    async def _obtained(self, given: SessionCredential, token_url: str) -> Secret:
        """The token of now; however many ask, one is fetched."""
        async with self._fetching:
            system = build.default()
            now = system.clock.monotonic()
            if self._token is not None and self._token[0] == token_url and now < self._token[1]:
                return self._token[2]
            fetcher: Fetcher = _Lent(self.http_client) if self.http_client is not None else system.fetcher
            answer = await ClientTokens(fetcher=fetcher, clock=system.clock).fetch(
                TokenClient(url=token_url, operator=self.http_client is not None, scope=given.scope),
                client_id=given.fields["client_id"].reveal(),
                secret=given.fields["client_secret"],
            )
            lifetime = _UNTOLD if answer.lifetime is None else answer.lifetime
            self._token = token_url, now + _EARLY * lifetime, answer.access_token
            return answer.access_token


def _check_values(values: Mapping[str, str]) -> None:
    for name, value in values.items():
        if not isinstance(value, str) or not is_value(value):
            raise AuthenticationError(f"The value of {name} must be ASCII text without line breaks")


class _Lent:
    """An ``httpx.AsyncClient`` of the program's own, as the way out; its errors are its own."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def fetch(self, request: Request) -> Response:
        """Send it by the program's client."""
        if request.method == "GET":
            answer = await self._client.get(request.url, headers=dict(request.headers))
        else:
            answer = await self._client.post(request.url, content=request.body, headers=dict(request.headers))
        return Response(
            status=int(answer.status_code),
            headers=(("content-type", "application/json"),),
            body=json.dumps(answer.json()).encode(),
        )
