"""Provider: endpoints, scopes, quirks, origins, where the token goes, as one frozen descriptor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum


class HandlerKind(StrEnum):
    """How a connection is obtained."""

    OAUTH2 = "oauth2"
    """Authorization code (RFC 6749 §4.1)."""
    DEVICE = "device"
    """Device authorization (RFC 8628)."""
    CLIENT_CREDENTIALS = "client_credentials"
    """The program's own account (RFC 6749 §4.4)."""
    TOKEN_EXCHANGE = "token_exchange"
    """On behalf of whoever signed in here (RFC 8693, RFC 7523 §2.1)."""
    SERVICE_ACCOUNT = "service_account"
    """A signed assertion instead of a person (RFC 7523 §2.1)."""
    TOKEN = "token"
    BASIC = "basic"
    KEY_PAIR = "key_pair"
    ENVIRONMENT = "environment"
    CUSTOM = "custom"


class ClientAuth(StrEnum):
    """How a client proves itself at the token endpoint, by its registered name (RFC 7591 §2)."""

    BASIC = "client_secret_basic"
    POST = "client_secret_post"
    PRIVATE_KEY_JWT = "private_key_jwt"
    NONE = "none"


class TokenFormat(StrEnum):
    """How a token request is written."""

    FORM = "form"
    JSON = "json"


class ExchangeDialect(StrEnum):
    """How a token of the caller's is exchanged for one of the provider's."""

    TOKEN_EXCHANGE = "token-exchange"
    """RFC 8693."""
    JWT_BEARER = "jwt-bearer"
    """RFC 7523 §2.1 with ``requested_token_use=on_behalf_of``, as Microsoft Entra has it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A URL, and whether the operator named it in settings or code: that is the permission for its host."""

    url: str
    operator: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth2:
    """An OAuth 2 provider's endpoints and its dialect.

    A URL may hold ``{name}`` where a setting ``auth.<provider>.<name>`` is to be put, such as Salesforce's
    domain.

    Attributes:
        client_auth: how the client proves itself.
        revoke_client_auth: how it does at the revocation endpoint; None: in the same way.
        revocation_ends_all: whether revoking one token ends all that the person granted to this client, newer
            ones too, rather than that token and what came from it (RFC 7009 §2.1).
        pkce: whether PKCE is sent (RFC 7636). False only where the provider refuses a verifier beside a
            client secret.
        scope_parameter: the authorization request's name for the scopes; empty: none are sent.
        scope_separator: what joins them there.
        refresh_scopes: sent besides whenever scopes are sent, as there is no refresh token without them.
        granted_parameter: the token answer's name for the scopes: a string, or an array of strings.
        granted_separators: characters that part the scopes in the token answer.
        unasked_scopes: what the provider grants unasked: no reason to refuse an answer as wider than the
            request.
        scope_implies: what a granted scope grants besides, because it holds others or is another name for
            one.
        authorize_parameters, token_parameters, refresh_parameters: what is sent besides the standard's own. The value
            ``{client_id}`` stands for our client id, where a provider has a name of its own for it.
        token_format: form or JSON.
        token_headers: headers of the token request besides the standard's own.
        answer_path: keys that lead to the token object in the answer to a code; empty: the answer itself. The
            answer to a refresh may hold it at the top all the same (Slack's does).
        success_field: a boolean member of the answer that must be true (Slack's ``ok``); empty: none.
        token_types: ``token_type`` values that mean a bearer token here, lower case (RFC 6749 §7.1); an empty
            one: the answer may leave it out.
        error_codes: the provider's own error codes, each with the standard's code that it stands for
            (RFC 6749 §5.2), such as GitHub's ``bad_refresh_token`` with ``invalid_grant``; or what it writes in the
            place of a code: the resource of the first of ``errors``, a message.
        scopes_may_widen: whether its documentation says that it grants scopes that were not asked for;
            otherwise such an answer is refused.
        lifetime: seconds an access token lives where the answer does not say; None: unknown.
        issuer: the issuer identifier (RFC 9207, RFC 8414), where the provider has one.
        iss_in_callback: whether the provider promises ``iss`` in the callback (RFC 9207 §3).
        refresh: where a refresh token is used, if not at the token endpoint (RFC 6749 §6 knows no other; Clover has).
        device: the device authorization endpoint (RFC 8628 §3.1).
        par: the pushed authorization request endpoint (RFC 9126); where there is one, it is used.
        registration: the client registration endpoint (RFC 7591); used where settings name no client id.
        dpop: whether tokens are bound to a key of ours (RFC 9449).
        exchange: how a caller's token is exchanged.
        assertion_audience: whom the assertion of a service account is for (RFC 7523 §3); empty: the token endpoint.
        discovered: whether the issuer's metadata (RFC 8414) names what is empty here.
    """

    authorize: Endpoint
    token: Endpoint
    revoke: Endpoint | None = None
    client_auth: ClientAuth = ClientAuth.POST
    revoke_client_auth: ClientAuth | None = None
    revocation_ends_all: bool = False
    pkce: bool = True
    scope_parameter: str = "scope"
    scope_separator: str = " "
    refresh_scopes: frozenset[str] = frozenset()
    granted_parameter: str = "scope"
    granted_separators: str = " ,"
    unasked_scopes: frozenset[str] = frozenset()
    scope_implies: Mapping[str, frozenset[str]] = field(default_factory=dict)
    authorize_parameters: Mapping[str, str] = field(default_factory=dict)
    token_parameters: Mapping[str, str] = field(default_factory=dict)
    refresh_parameters: Mapping[str, str] = field(default_factory=dict)
    token_format: TokenFormat = TokenFormat.FORM
    token_headers: Mapping[str, str] = field(default_factory=dict)
    answer_path: tuple[str, ...] = ()
    success_field: str = ""
    token_types: tuple[str, ...] = ("bearer",)
    error_codes: Mapping[str, str] = field(default_factory=dict)
    scopes_may_widen: bool = False
    lifetime: float | None = None
    issuer: str = ""
    iss_in_callback: bool = False
    refresh: Endpoint | None = None
    device: Endpoint | None = None
    par: Endpoint | None = None
    registration: Endpoint | None = None
    dpop: bool = False
    exchange: ExchangeDialect = ExchangeDialect.TOKEN_EXCHANGE
    assertion_audience: str = ""
    discovered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PastedField:
    """One value that a person pastes. ``secret`` ones are masked on the form."""

    name: str
    label: str
    secret: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a token goes in a request.

    Attributes:
        header: the header's name; empty where it goes into the query.
        prefix: what stands before the token there, with its space, such as ``Bearer ``.
        query: the query parameter's name; empty where it goes into a header.
        pair: a user name and password with ``{token}`` as one of them, such as ``{token}:``; the header then holds
            their base64 (RFC 7617 §2). Empty: the token as it is.
    """

    header: str = "Authorization"
    prefix: str = "Bearer "
    query: str = ""
    pair: str = ""


BEARER = Placement()
"""RFC 6750 §2.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Userinfo:
    """A request that tells whose a credential is, and whether it is any good.

    Attributes:
        url: it is sent with the credential in its usual place.
        method: GET or POST.
        headers: further headers, such as the API's version.
        body: the body of a POST, JSON.
        account: paths of keys, parted by dots, to what people call the account; the first that is there counts. A
            number in a path is a place in a list.
        subject: the path to what the provider itself knows the account by, which never changes.
        success_field: a boolean member that must be true; empty: the status says it.
        header_account: a response header that names the account, where the body does not.
    """

    url: Endpoint
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    account: tuple[str, ...] = ()
    subject: str = ""
    success_field: str = ""
    header_account: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnClass:
    """An auth handler of the project's own: a class in a module in its ``valetkey_providers``.

    Attributes:
        folder: that folder, an absolute path.
        module: the module's name below it, with dots.
        name: the class.
    """

    folder: str
    module: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerEntry:
    """One way to connect an account at a provider.

    Attributes:
        name: unique over all providers, such as ``slack-oauth2``.
        default: whether it serves the provider when no handler is named; exactly one of a provider's does.
        scoped: whether scopes limit what it grants.
        recommended_scopes: asked for besides the tool's own, unless settings turn that off.
        variables: what a tool reads, mapped to what it holds: ``access_token``, a pasted field's name, or
            ``basic`` (base64 of ``username:password``, RFC 7617 §2).
        fields: what is pasted, for the kinds token, basic and key_pair.
        placement: where its token goes in a request.
        userinfo: the request that tells whose it is; None: the provider has none that any of its credentials may make.
        handler: the class that does it, for the kind custom; None: the host program hands it in.
    """

    name: str
    kind: HandlerKind
    default: bool = False
    scoped: bool = False
    description: str = ""
    recommended_scopes: frozenset[str] = frozenset()
    variables: Mapping[str, str] = field(default_factory=dict)
    oauth2: OAuth2 | None = None
    fields: tuple[PastedField, ...] = ()
    placement: Placement = BEARER
    userinfo: Userinfo | None = None
    handler: OwnClass | None = None


DERIVED: Mapping[str, HandlerKind] = {
    "device": HandlerKind.DEVICE,
    "client-credentials": HandlerKind.CLIENT_CREDENTIALS,
    "token-exchange": HandlerKind.TOKEN_EXCHANGE,
    "service-account": HandlerKind.SERVICE_ACCOUNT,
}
"""The other grants of a provider with OAuth 2, by how the names of their handlers end: ``github-device``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """What holds accounts.

    Attributes:
        name: lower case, unique.
        title: as people write it.
        origins: ``scheme://host[:port]`` of its API, where its credentials may be sent. ``https://*.host``
            stands for every host below it, where the provider gives each account one of its own; match by
            ``endpoints.permits``.
        docs: where a person reads how to get a client id or a token.
        source: where each group of facts can be read, for those that were seen somewhere.
    """

    name: str
    title: str
    handlers: tuple[HandlerEntry, ...]
    origins: frozenset[str] = frozenset()
    docs: str = ""
    source: Mapping[str, str] = field(default_factory=dict)

    @property
    def default_handler(self) -> HandlerEntry:
        """The handler that serves when none is named."""
        return next((entry for entry in self.handlers if entry.default), self.handlers[0])

    def handler(self, name: str) -> HandlerEntry | None:
        """The handler of that name: one of the entry's, or another grant of its OAuth 2 one (``DERIVED``)."""
        entry = next((entry for entry in self.handlers if entry.name == name), None)
        return self._derived(name) if entry is None else entry

    def _derived(self, name: str) -> HandlerEntry | None:
        stem = f"{self.name.replace('_', '-')}-"
        kind = DERIVED.get(name.removeprefix(stem)) if name.startswith(stem) else None
        own = next((entry for entry in self.handlers if entry.oauth2), None)
        if kind is None or own is None or own.oauth2 is None:
            return None
        if kind is HandlerKind.DEVICE and own.oauth2.device is None and not own.oauth2.discovered:
            return None
        recommended = own.recommended_scopes if kind is HandlerKind.DEVICE else frozenset[str]()
        return replace(own, name=name, kind=kind, default=False, description="", recommended_scopes=recommended)
