"""AuthHandlerInterface, AuthenticateRequest, AuthContext (seed 002); and Handler, what the road asks of each."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from valetkey.errors import RefreshFailed
from valetkey.model.caller import Caller, Owner
from valetkey.model.calls import Loan
from valetkey.model.connections import Connection, Credential, Grant
from valetkey.providers.base import BEARER, PastedField, Placement, Provider, Userinfo
from valetkey.providers.names import AuthProvider
from valetkey.secret import Secret


class AuthContext(BaseModel):
    """What a tool sees of a connection. Its repr does not show the access token.

    A subclass may override :meth:`to_dict`; by default it is ``{<PROVIDER>_TOKEN: access_token}``, with the provider of
    the handler that made it.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True)

    access_token: str = Field(description="user's access token", repr=False)
    description: str = Field(default="", description="description of this authentication context")
    expires_at: datetime | None = Field(default=None, description="expiration datetime")
    detail: Any | None = Field(default=None, description="detailed information", repr=False)

    registry: ClassVar[dict[str, type[AuthContext]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        AuthContext.registry[f"{cls.__module__}:{cls.__qualname__}"] = cls

    def __repr_args__(self) -> Iterable[tuple[str, object]]:
        # Fields of a subclass may be secrets, too.
        return (("description", self.description), ("expires_at", self.expires_at))

    def to_dict(self) -> dict[str, str]:
        """The variables that a tool reads, by name."""
        return {}

    def to_profiled_dict(self, profile: str) -> dict[str, str]:
        """The same, each name with the profile's in front."""
        return {f"{profile.upper()}_{name}": value for name, value in self.to_dict().items()}


class AuthenticateRequest(BaseModel):
    """What a handler needs to know to authenticate; its repr shows the scopes only."""

    model_config = ConfigDict(hide_input_in_errors=True)

    auth_scopes: list[str] | None = Field(
        default_factory=list,
        description="authentication scopes; not needed where the handler is not scoped",
    )

    def __repr_args__(self) -> Iterable[tuple[str, object]]:
        return (("auth_scopes", self.auth_scopes),)


class AuthenticateResponse(BaseModel):
    """What a provider answered; optional, for handlers that like to have a type for it."""

    model_config = ConfigDict(hide_input_in_errors=True)

    def __repr_args__(self) -> Iterable[tuple[str, object]]:
        return ()


class AuthHandlerInterface(ABC):
    """How a connection is obtained, as seed 002 has it: the interface for handlers of your own.

    Only :meth:`authenticate` must be there. A class attribute ``router`` (a ``fastapi.APIRouter``) is mounted under
    ``/auth`` when the callback server starts.
    """

    name: str = ""
    description: str = ""
    scoped: bool = False

    @staticmethod
    def provider() -> AuthProvider:
        """The provider that this handler serves."""
        raise NotImplementedError(_MISSING.format(name="provider", gives="an AuthProvider, e.g. AuthProvider.SLACK"))

    @staticmethod
    def provider_default() -> bool:
        """Whether it serves the provider when no handler is named."""
        return False

    @staticmethod
    def recommended_scopes() -> set[str]:
        """Scopes to ask for besides the tool's own."""
        return set()

    def make_request(self, auth_scopes: list[str] | None = None, **kwargs: Any) -> AuthenticateRequest:
        """A request object with the scopes and whatever else authenticating needs, such as a client id."""
        raise NotImplementedError(_MISSING.format(name="make_request", gives="an AuthenticateRequest"))

    def prepare(
        self, auth_req: AuthenticateRequest, thread_id: str, profile: str, future_uid: str, *args: Any, **kwargs: Any
    ) -> str:
        """Begin: create a future under ``future_uid`` and give the link that the person opens."""
        raise NotImplementedError(_MISSING.format(name="prepare", gives="the link that the person opens"))

    @abstractmethod
    async def authenticate(
        self, auth_req: AuthenticateRequest, future_uid: str, *args: Any, **kwargs: Any
    ) -> AuthContext:
        """Finish: the future of ``future_uid`` holds what the person brought back; obtain the credential with it."""

    async def refresh(
        self, auth_req: AuthenticateRequest, context: AuthContext, *args: Any, **kwargs: Any
    ) -> AuthContext:
        """Renew the credential.

        Raises:
            RefreshFailed: always, unless overridden: the person has to sign in again.
        """
        raise RefreshFailed(
            f"The handler {self.name or type(self).__name__} cannot refresh; the person has to sign in again."
        )


_MISSING = "An auth handler has to override {name}() to be used here; it gives {gives}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """One connect flow, as a handler sees it.

    Attributes:
        state: 32 random bytes, base64url; also the ``future_uid`` of seed 002. Does not print.
        scopes: all that are asked for.
        redirect_uri: where the provider sends the browser back.
        pages: base URL of our own pages, without a slash at the end.
        request: the request object that the host program made with a seed 002 handler, if it did.
        caller: who calls, where it is for a call under way.
    """

    state: str = field(repr=False)
    owner: Owner
    profile: str
    scopes: frozenset[str]
    redirect_uri: str
    pages: str
    request: AuthenticateRequest | None = None
    caller: Caller | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A flow that has begun.

    Attributes:
        url: the link that the person opens.
        private: what :meth:`Handler.judge` and :meth:`Handler.finish` will need; kept sealed.
        shown: what the person must be told besides the link: ``user_code``, ``verification_uri`` and, where there is
            one, ``verification_uri_complete`` (RFC 8628 §3.2).
    """

    url: str
    private: Mapping[str, str] = field(default_factory=dict, repr=False)
    shown: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What a look at the provider brought, where no browser brings the answer (RFC 8628 §3.5).

    Attributes:
        answer: the answer to keep, for :meth:`Handler.finish`; None: there is none yet.
        expired: why the flow is over, where nobody answered in time.
        private: what changed of the flow's own, such as its interval.
        pause: seconds until the next look.
    """

    answer: Mapping[str, str] | None = field(default=None, repr=False)
    expired: str = ""
    private: Mapping[str, str] = field(default_factory=dict, repr=False)
    pause: float = 0.0


class Handler(ABC):
    """What the road asks of a way to connect: ours implement it, a seed 002 handler is driven through it.

    Attributes:
        name: unique, such as ``slack-oauth2``.
        provider: whose accounts it connects.
        scoped: whether scopes limit what it grants.
        at_home: whether its coroutines may run on the home loop (ours) or belong on the caller's (a user's own).
        revocation_ends_all: whether :meth:`revoke` ends all that the person granted there, newer accounts too.
        fields: what a person pastes on our form; empty where there is none.
        interactive: whether a person must do something; otherwise ``finish`` is called at once, with no answer.
        polls: whether the answer is fetched by :meth:`look`, as no browser brings it.
    """

    name: str
    provider: Provider
    scoped: bool
    default: bool = False
    at_home: bool = True
    interactive: bool = True
    polls: bool = False
    revocation_ends_all: bool = False
    fields: tuple[PastedField, ...] = ()

    @property
    def recommended_scopes(self) -> frozenset[str]:
        """Scopes to ask for besides the tool's own."""
        return frozenset()

    @property
    def origins(self) -> frozenset[str]:
        """Where its credentials may be sent."""
        return self.provider.origins

    @abstractmethod
    async def begin(self, flow: Flow) -> Begun:
        """Make the link.

        Raises:
            MissingSetting: this provider has no client id in settings.
        """

    async def reopen(self, flow: Flow, private: Mapping[str, str]) -> Begun | None:
        """A pending flow is asked for more scopes: the same state, a new link. None: begin anew with the same state."""
        return None

    async def start(self, flow: Flow, private: Mapping[str, str]) -> str:
        """Where the browser of a flow goes that has just been opened: the link of this one time (RFC 9126 §4).

        Raises:
            ValetkeyError: the provider did not take the request; the flow stays open.
        """
        raise NotImplementedError(f"{self.name} has a link that may be opened as it is.")

    @abstractmethod
    def judge(self, private: Mapping[str, str], parameters: Sequence[tuple[str, str]]) -> Mapping[str, str]:
        """What a callback or form brought, checked: the answer to keep. The state was checked already.

        Raises:
            AuthRefused: the person or the provider said no; the flow ends.
            InvalidAnswer: it does not fit the question; the flow stays open.
        """

    async def look(self, private: Mapping[str, str]) -> Looked:
        """Ask the provider once for the answer; never raises for what the provider says."""
        raise NotImplementedError(f"{self.name} is answered in a browser.")

    async def drop(self, answer: Mapping[str, str]) -> None:  # noqa: B027 - most answers need no end
        """An answer that came too late for its flow should not live on at the provider."""

    async def tried(self, answer: Mapping[str, str]) -> Mapping[str, str]:
        """What :meth:`judge` gave, tried at the provider before it is accepted: the answer to keep.

        Raises:
            InvalidAnswer: the provider does not take it; the flow stays open.
        """
        return answer

    async def asks(self) -> Userinfo | None:
        """The request that tells whose a credential is; None where there is none.

        Raises:
            ValetkeyError: it cannot be known now.
        """
        return None

    @abstractmethod
    async def finish(self, flow: Flow, private: Mapping[str, str], answer: Mapping[str, str]) -> Grant:
        """Turn the answer into a credential. Called once for each answer.

        Raises:
            AuthRefused: the provider refused the answer for good.
            InvalidSetting: the provider refused us, the client.
            ExchangeFailed: no answer; ``sent`` False means that it may be tried again.
            ProviderUnavailable: an answer that makes no sense.
        """

    @abstractmethod
    async def refresh(self, credential: Credential, scopes: frozenset[str]) -> Grant:
        """Renew.

        Raises:
            RefreshFailed: final; the person has to sign in again.
            InvalidSetting: the provider refused us, the client.
            ProviderUnavailable: for now; the old credential may still be good.
        """

    def kept_as(self, flow: Flow) -> tuple[str, ...] | None:
        """What a credential for which nobody was asked is kept by in memory, besides workspace and handler.

        Whoever asks for the same again is given the same. None: it is not kept.
        """
        return None

    def check_refresh(self, credential: Credential) -> None:  # noqa: B027 - most have nothing to refuse
        """Refuse to refresh what was issued to somebody else; nothing is sent, and the row stays as it is.

        Raises:
            RefreshFailed: this program cannot renew it, another one can.
        """

    def can_refresh(self, credential: Credential) -> bool:
        """Whether :meth:`refresh` has anything to work with."""
        return credential.refresh_token is not None

    async def revoke(self, credential: Credential) -> bool:
        """Revoke upstream (RFC 7009). True: the provider said it is revoked; False: it has no such endpoint.

        Raises:
            ProviderUnavailable: it could not be told.
        """
        return False

    @abstractmethod
    def variables(self, credential: Credential) -> Mapping[str, Secret]:
        """What a tool reads, by name."""

    def variable_names(self) -> frozenset[str]:
        """The names of :meth:`variables`, known before there is a credential."""
        return frozenset()

    def loan(self, credential: Credential) -> Loan:
        """What it lends to an HTTP request: a bearer token (RFC 6750 §2.1); nothing where there is no token."""
        token = credential.access_token
        return bearer(self.name, token) if token else Loan(handler=self.name)

    def context(self, credential: Credential, connection: Connection) -> AuthContext:
        """The connection as seed 002's AuthContext."""
        return LentContext(
            access_token=credential.access_token.reveal(),
            description=f"{self.provider.title} account connected by {self.name}",
            expires_at=None if connection.expires_at is None else datetime.fromtimestamp(connection.expires_at, UTC),
            detail=None,
            variables={name: value.reveal() for name, value in self.variables(credential).items()},
        )


def bearer(handler: str, token: Secret) -> Loan:
    """A token in the header that RFC 6750 §2.1 has for it."""
    return placed(handler, token, BEARER)


def placed(handler: str, token: Secret, placement: Placement) -> Loan:
    """A token where its provider takes it."""
    if placement.query:
        return Loan(handler=handler, query={placement.query: token}, token=token)
    value = token.reveal()
    if placement.pair:
        value = base64.b64encode(placement.pair.replace("{token}", value).encode()).decode()
    return Loan(handler=handler, headers={placement.header: Secret(f"{placement.prefix}{value}")}, token=token)


def basic(handler: str, pair: Secret) -> Loan:
    """A user name and password, in base64 already, in the header that RFC 7617 §2 has for them."""
    return Loan(handler=handler, headers={"Authorization": Secret(f"Basic {pair.reveal()}")})


class LentContext(AuthContext):
    """The AuthContext of the handlers that we ship."""

    variables: dict[str, str] = Field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, str]:
        """The variables of the provider's catalogue entry."""
        return dict(self.variables)
