"""The back channel: token, revocation, introspection, metadata, and a mailbox that needs a token."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote_plus, urlencode

from starlette.responses import JSONResponse, Response

from valetkey.testing.oauth.ledger import Grant, Ledger, OAuthError, Token
from valetkey.testing.oauth.options import Client, Options
from valetkey.testing.oauth.received import Received
from valetkey.testing.oauth.unattended import ACCESS_TOKEN, ASSERTION, EXCHANGE, GRANTS, JWT_BEARER, Unattended

PATHS = {
    "authorize": "/authorize",
    "token": "/token",
    "revoke": "/revoke",
    "introspect": "/introspect",
    "userinfo": "/userinfo",
    "mail": "/api/mail",
    "metadata": "/.well-known/oauth-authorization-server",
}

MAIL = (
    {"id": "1", "from": "billing@shop.example", "subject": "Your invoice for March", "unread": True},
    {"id": "2", "from": "team@project.example", "subject": "The meeting moved to Thursday", "unread": True},
    {"id": "3", "from": "news@museum.example", "subject": "Open late this weekend", "unread": False},
)

_NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}
# What HTTP libraries send when nobody chose a User-Agent.
_ANONYMOUS = ("python-", "httpx", "curl/", "java/", "go-http")


@dataclass(slots=True)
class Counts:
    """How often each thing was asked of the server, granted or not."""

    exchanges: int = 0
    refreshes: int = 0
    revocations: int = 0


class Endpoints:
    """Everything that a client calls by itself. Each method takes what was received and gives the answer."""

    def __init__(self, options: Options, ledger: Ledger, issuer: Callable[[], str]) -> None:
        self.counts = Counts()
        self._options = options
        self._ledger = ledger
        self._issuer = issuer
        self._unattended = Unattended(options, ledger, lambda: frozenset({issuer(), issuer() + PATHS["token"]}))

    def token(self, received: Received) -> Response:
        """Exchange a code or a refresh token (RFC 6749 §4.1.3, §6), in the server's dialect."""
        grant = received.form.get("grant_type") or ("authorization_code" if "code" in received.form else "")
        if grant == "authorization_code":
            self.counts.exchanges += 1
        elif grant == "refresh_token":
            self.counts.refreshes += 1
        dialect = self._options.dialect
        try:
            fields = received.fields(dialect.request)
            if dialect.user_agent and _is_anonymous(received.headers.get("user-agent", "")):
                return self._coded(received, {"message": "Too Many Requests", "error": 429}, 429)
            given = self._granted(grant, received, fields)
        except OAuthError as error:
            return self._refused(received, error)
        answer = dialect.token_fields(
            access=given.access.value,
            refresh=given.refresh.value if given.refresh else None,
            lifetime=self._options.access_lifetime,
            scopes=given.access.scopes,
            subject=given.access.family.subject,
        )
        if grant == EXCHANGE:
            answer["issued_token_type"] = ACCESS_TOKEN
        return self._coded(received, dialect.place(answer, refreshed=grant == "refresh_token"), 200)

    def revoke(self, received: Received) -> Response:
        """Revoke a token (RFC 7009 §2)."""
        self.counts.revocations += 1
        try:
            fields = received.fields("form")
            client = self._client(received, fields)
            self._ledger.revoke(_required(fields, "token"), client=client.id)
        except OAuthError as error:
            return _plain_refusal(error)
        return Response(status_code=200, headers=_NO_STORE)

    def introspect(self, received: Received) -> Response:
        """Explain a token to any registered client (RFC 7662 §2)."""
        try:
            fields = received.fields("form")
            self._client(received, fields)
        except OAuthError as error:
            return _plain_refusal(error)
        token = self._ledger.live(fields.get("token", ""))
        if token is None:
            return JSONResponse({"active": False}, headers=_NO_STORE)
        answer = {
            "active": True,
            "iss": self._issuer(),
            "sub": token.family.subject,
            "client_id": token.family.client,
            "scope": " ".join(token.scopes),
            "iat": int(token.issued_at),
        }
        if token.expires_at is not None:
            answer["exp"] = int(token.expires_at)
        return JSONResponse(answer, headers=_NO_STORE)

    def userinfo(self, received: Received) -> Response:
        """Who the token's user is."""
        token = self.bearer(received.headers.get("authorization", ""))
        if isinstance(token, Response):
            return token
        subject = token.family.subject
        return JSONResponse({"sub": subject, "name": self._options.users.get(subject, subject)}, headers=_NO_STORE)

    def mail(self, received: Received) -> Response:
        """The user's newest messages, at most ``limit`` of them."""
        token = self.bearer(received.headers.get("authorization", ""), self._options.mail_scope)
        if isinstance(token, Response):
            return token
        limit = received.query.get("limit", "")
        messages = MAIL[: int(limit)] if limit.isascii() and limit.isdigit() else MAIL
        return JSONResponse({"messages": messages}, headers=_NO_STORE)

    def metadata(self, received: Received) -> Response:
        """Authorization server metadata (RFC 8414 §2, RFC 9207 §3)."""
        issuer = self._issuer()
        known: dict[str, object] = {
            "issuer": issuer,
            "authorization_endpoint": issuer + PATHS["authorize"],
            "token_endpoint": issuer + PATHS["token"],
            "revocation_endpoint": issuer + PATHS["revoke"],
            "introspection_endpoint": issuer + PATHS["introspect"],
            "userinfo_endpoint": issuer + PATHS["userinfo"],
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token", *GRANTS],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": [
                "client_secret_basic",
                "client_secret_post",
                "private_key_jwt",
                "none",
            ],
            "authorization_response_iss_parameter_supported": self._options.iss,
        }
        if self._options.scopes is not None:
            known["scopes_supported"] = list(self._options.scopes)
        return JSONResponse(known)

    def bearer(self, authorization: str, scope: str | None = None) -> Token | Response:
        """The live access token in an Authorization header, or the refusal to answer with (RFC 6750 §3)."""
        scheme, _, value = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return _challenge(401, {})
        token = self._ledger.live(value.strip(), "access")
        if token is None:
            return _challenge(401, {"error": "invalid_token", "error_description": "The token is not good."})
        if scope is not None and scope not in token.scopes:
            return _challenge(403, {"error": "insufficient_scope", "scope": scope})
        return token

    def _granted(self, kind: str, received: Received, fields: dict[str, str]) -> Grant:
        # RFC 7521 §4.1: who signed an assertion is known by it; it need not be a client.
        proves = "authorization" in received.headers or "client_id" in fields or "client_assertion" in fields
        client = None if kind == JWT_BEARER and not proves else self._client(received, fields)
        if kind in GRANTS:
            return self._unattended.grant(kind, client, fields)
        if client is None:
            raise OAuthError("invalid_client", "The client or its secret is not known.")
        return self._grant(kind, client, fields)

    def _grant(self, kind: str, client: Client, fields: dict[str, str]) -> Grant:
        if kind == "authorization_code":
            return self._ledger.redeem(
                _required(fields, "code"),
                client=client.id,
                redirect_uri=_required(fields, "redirect_uri"),
                verifier=fields.get("code_verifier"),
            )
        if kind == "refresh_token":
            scope = fields.get("scope")
            return self._ledger.refresh(
                _required(fields, "refresh_token"),
                client=client.id,
                scopes=None if scope is None else self._options.dialect.split_scopes(scope),
            )
        raise OAuthError("unsupported_grant_type", "grant_type must be one of those in the metadata.")

    def _client(self, received: Received, fields: dict[str, str]) -> Client:
        """Who asks (RFC 6749 §2.3), by the one method that client and dialect leave.

        Raises:
            OAuthError: ``invalid_client``, or ``invalid_request`` for two methods at once.
        """
        header = received.headers.get("authorization")
        if fields.get("client_assertion_type") == ASSERTION:
            if header is not None or "client_secret" in fields:
                raise OAuthError("invalid_request", "The client proved itself twice.")
            return self._unattended.client(fields)
        if header is not None:
            if "client_secret" in fields:
                raise OAuthError("invalid_request", "The client proved itself twice.")
            name, secret = _basic(header)
            method = "basic"
        else:
            name, secret = fields.get("client_id", ""), fields.get("client_secret", "")
            method = "post" if secret else "none"
        client = self._options.clients.get(name)
        if client is None or not client.knows(secret):
            raise OAuthError("invalid_client", "The client or its secret is not known.")
        allowed = {"basic", "post"} if client.auth == "any" else {client.auth}
        only = self._options.dialect.client_auth
        if method not in allowed or (only is not None and method not in only):
            raise OAuthError("invalid_client", "The client may not prove itself in this way.")
        return client

    def _refused(self, received: Received, error: OAuthError) -> Response:
        dialect = self._options.dialect
        status = dialect.error_status or _status(error)
        answer = {
            **dialect.error_beside,
            "error": dialect.error_code(error.code, error.about),
            "error_description": error.description,
        }
        response = self._coded(received, answer, status)
        if status == 401:  # noqa: PLR2004  # RFC 6749 §5.2
            response.headers["www-authenticate"] = 'Basic realm="token"'
        return response

    def _coded(self, received: Received, answer: dict[str, object], status: int) -> Response:
        wants_json = "json" in received.headers.get("accept", "")
        if self._options.dialect.answer == "form" and not wants_json:
            text = urlencode({name: str(value) for name, value in answer.items()})
            return Response(text, status, _NO_STORE, media_type="application/x-www-form-urlencoded")
        return JSONResponse(answer, status, _NO_STORE)


def _required(fields: dict[str, str], name: str) -> str:
    if not fields.get(name):
        raise OAuthError("invalid_request", f"{name} is required.")
    return fields[name]


def _basic(header: str) -> tuple[str, str]:
    """Id and secret of a Basic header, each form-decoded (RFC 6749 §2.3.1); empty when it is none."""
    scheme, _, coded = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        name, _, secret = base64.b64decode(coded.strip(), validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return unquote_plus(name), unquote_plus(secret)


def _status(error: OAuthError) -> int:
    return 401 if error.code == "invalid_client" else 400


def _plain_refusal(error: OAuthError) -> Response:
    return JSONResponse({"error": error.code, "error_description": error.description}, _status(error), _NO_STORE)


def _challenge(status: int, fields: dict[str, str]) -> Response:
    parts = ['realm="mail"', *(f'{name}="{value}"' for name, value in fields.items())]
    answer = {"error": fields.get("error", "unauthorized")}
    return JSONResponse(answer, status, {**_NO_STORE, "www-authenticate": f"Bearer {', '.join(parts)}"})


def _is_anonymous(agent: str) -> bool:
    return not agent or agent.lower().startswith(_ANONYMOUS)
