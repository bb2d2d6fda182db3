"""Provider: endpoints, scopes, quirks, origins, where the token goes, as one frozen descriptor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class HandlerKind(StrEnum):
    """How a connection is obtained."""

    OAUTH2 = "oauth2"
    TOKEN = "token"
    BASIC = "basic"
    KEY_PAIR = "key_pair"
    ENVIRONMENT = "environment"
    CUSTOM = "custom"


class ClientAuth(StrEnum):
    """How a client proves itself at the token endpoint, by its registered name (RFC 7591 §2)."""

    BASIC = "client_secret_basic"
    POST = "client_secret_post"
    NONE = "none"


class TokenFormat(StrEnum):
    """How a token request is written."""

    FORM = "form"
    JSON = "json"


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
        authorize_parameters, token_parameters, refresh_parameters: what is sent besides the standard's own.
        token_format: form or JSON.
        token_headers: headers of the token request besides the standard's own.
        answer_path: keys that lead to the token object in the answer to a code; empty: the answer itself. The
            answer to a refresh may hold it at the top all the same (Slack's does).
        success_field: a boolean member of the answer that must be true (Slack's ``ok``); empty: none.
        token_types: ``token_type`` values that mean a bearer token here, lower case (RFC 6749 §7.1); an empty
            one: the answer may leave it out.
        error_codes: the provider's own error codes, each with the standard's code that it stands for
            (RFC 6749 §5.2), such as GitHub's ``bad_refresh_token`` with ``invalid_grant``.
        scopes_may_widen: whether its documentation says that it grants scopes that were not asked for;
            otherwise such an answer is refused.
        lifetime: seconds an access token lives where the answer does not say; None: unknown.
        issuer: the issuer identifier (RFC 9207, RFC 8414), where the provider has one.
        iss_in_callback: whether the provider promises ``iss`` in the callback (RFC 9207 §3).
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PastedField:
    """One value that a person pastes. ``secret`` ones are masked on the form."""

    name: str
    label: str
    secret: bool = True


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
        source: where each group of facts was read.
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
        """The handler of that name."""
        return next((entry for entry in self.handlers if entry.name == name), None)
