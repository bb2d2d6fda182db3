"""Grants without a person, and clients that prove themselves by a signature (RFC 6749 §4.4, RFC 7523, RFC 8693)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from valetkey.testing.oauth.ledger import Grant, Ledger, OAuthError
from valetkey.testing.oauth.options import Client, Options

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"

GRANTS = ("client_credentials", JWT_BEARER, EXCHANGE)

LONGEST = 3600.0
"""Seconds that an assertion may be good for, at most."""

_ALGORITHMS = ["ES256", "RS256", "PS256", "EdDSA", "Ed25519"]
_KINDS: tuple[type[RSAKey | ECKey | OKPKey], ...] = (RSAKey, ECKey, OKPKey)


class Unattended:
    """Judges assertions and subject tokens, and issues what they are good for."""

    def __init__(self, options: Options, ledger: Ledger, audiences: Callable[[], frozenset[str]]) -> None:
        self._options = options
        self._ledger = ledger
        self._audiences = audiences
        self._used: set[tuple[str, str]] = set()

    def client(self, fields: Mapping[str, str]) -> Client:
        """Whoever signed the client assertion (RFC 7523 §3).

        Raises:
            OAuthError: ``invalid_client``.
        """
        try:
            claims = self._judged(fields.get("client_assertion", ""))
        except OAuthError as error:
            raise OAuthError("invalid_client", error.description) from None
        client = self._options.clients.get(claims["iss"])
        named = fields.get("client_id", claims["iss"])
        if client is None or client.auth != "private_key" or claims.get("sub") != client.id or named != client.id:
            raise OAuthError("invalid_client", "No client signs so.")
        return client

    def grant(self, kind: str, client: Client | None, fields: Mapping[str, str]) -> Grant:
        """What is issued without a person.

        Raises:
            OAuthError: the request or what it brings is no good.
        """
        scopes = self._scopes(fields.get("scope", ""))
        if kind == "client_credentials":
            if client is None or client.auth == "none":
                raise OAuthError("unauthorized_client", "A client that proves nothing has no account of its own.")
            return self._ledger.issue(client=client.id, subject=client.id, scopes=scopes)
        if kind == EXCHANGE:
            if fields.get("subject_token_type") != ACCESS_TOKEN:
                raise OAuthError("invalid_request", f"subject_token_type must be {ACCESS_TOKEN}.")
            return self._for_subject(client, fields.get("subject_token", ""), scopes)
        if fields.get("requested_token_use") == "on_behalf_of":
            return self._for_subject(client, fields.get("assertion", ""), scopes)
        claims = self._judged(fields.get("assertion", ""))
        asked = self._scopes(str(claims.get("scope", ""))) or scopes
        subject = str(claims.get("sub", claims["iss"]))
        return self._ledger.issue(client=client.id if client else claims["iss"], subject=subject, scopes=asked)

    def _for_subject(self, client: Client | None, token: str, scopes: tuple[str, ...]) -> Grant:
        if client is None or client.auth == "none":
            raise OAuthError("unauthorized_client", "A client that proves nothing exchanges nothing.")
        whose = self._options.subject_of(token) if self._options.subject_of is not None else None
        if whose is None:
            raise OAuthError("invalid_grant", "The token of the user is not good here.")
        return self._ledger.issue(client=client.id, subject=whose, scopes=scopes)

    def _judged(self, assertion: str) -> dict[str, Any]:
        """The claims of an assertion by a key that is registered, for this server, good now and never seen before."""
        bad = OAuthError("invalid_grant", "The assertion is not good.")
        try:
            claims = json.loads(jws.extract_compact(assertion.encode()).payload)
            issuer, jti, ends = claims["iss"], claims.get("jti", ""), float(claims["exp"])
            signed = jws.deserialize_compact(assertion, _key(self._options.keys[issuer]), algorithms=_ALGORITHMS)
            claims = json.loads(signed.payload)
        except (KeyError, ValueError, TypeError, JoseError):
            raise bad from None
        now = self._options.clock.now()
        mine = claims.get("aud") in self._audiences() if isinstance(claims.get("aud"), str) else False
        if not mine or not now < ends <= now + LONGEST or (issuer, jti) in self._used:
            raise bad
        if jti:
            self._used.add((issuer, jti))
        return dict(claims)

    def _scopes(self, text: str) -> tuple[str, ...]:
        return tuple(filter(None, self._options.dialect.split_scopes(text)))


def _key(text: str) -> RSAKey | ECKey | OKPKey:
    for kind in _KINDS:
        try:
            return kind.import_key(json.loads(text) if text.startswith("{") else text)
        except (ValueError, JoseError):
            continue
    raise ValueError("no public key")
