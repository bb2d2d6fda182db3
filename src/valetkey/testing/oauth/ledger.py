"""Codes, tokens and the families they belong to: what was granted, and what of it is still good."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import Literal

from valetkey.testing.oauth.options import Options

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}\Z")


class OAuthError(Exception):
    """A request that the protocol refuses.

    Attributes:
        code: the error code of RFC 6749 §4.1.2.1 or §5.2.
        about: what was wrong, more closely: ``code``, ``refresh_token``, ``redirect_uri``, or nothing.
    """

    def __init__(self, code: str, description: str, *, about: str = "") -> None:
        super().__init__(description)
        self.code = code
        self.about = about
        self.description = description


@dataclass(slots=True, kw_only=True)
class Family:
    """All that one consent led to. A family that is not alive takes every token in it along."""

    client: str
    subject: str
    scopes: tuple[str, ...]
    alive: bool = True


@dataclass(slots=True, kw_only=True)
class Code:
    """An authorization code (RFC 6749 §4.1.2), good for one exchange."""

    value: str = field(repr=False)
    family: Family
    redirect_uri: str
    challenge: str | None
    refreshable: bool
    expires_at: float
    used: bool = False


@dataclass(slots=True, kw_only=True)
class Token:
    """An access or refresh token; ``used_at`` is when a refresh token was first exchanged for the next."""

    value: str = field(repr=False)
    kind: Literal["access", "refresh"]
    family: Family
    scopes: tuple[str, ...]
    issued_at: float
    expires_at: float | None
    revoked: bool = False
    used_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a token request brought: an access token, and the refresh token that its answer names, if any."""

    access: Token
    refresh: Token | None


class Ledger:
    """Every code and token of one server. Nothing is removed: a test can ask about the dead as well."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.codes: dict[str, Code] = {}
        self.tokens: dict[str, Token] = {}

    def open_code(
        self,
        *,
        client: str,
        subject: str,
        scopes: tuple[str, ...],
        redirect_uri: str,
        challenge: str | None,
        refreshable: bool,
    ) -> Code:
        """Found a family and issue its code (RFC 6749 §4.1.2)."""
        code = Code(
            value=self._options.dice.token(24),
            family=Family(client=client, subject=subject, scopes=scopes),
            redirect_uri=redirect_uri,
            challenge=challenge,
            refreshable=refreshable,
            expires_at=self._now() + self._options.code_lifetime,
        )
        self.codes[code.value] = code
        return code

    def redeem(self, value: str, *, client: str, redirect_uri: str, verifier: str | None) -> Grant:
        """Exchange a code (RFC 6749 §4.1.3, RFC 7636 §4.6). A second exchange revokes what the first brought.

        Raises:
            OAuthError: ``invalid_grant``, whatever is wrong with it.
        """
        code = self.codes.get(value)
        if code is None or code.family.client != client:
            raise OAuthError("invalid_grant", "The code is unknown to this client.", about="code")
        if code.used:
            code.family.alive = False
            raise OAuthError("invalid_grant", "The code was used before; its tokens are revoked.", about="code")
        # One attempt, good or bad: who guesses a verifier does not get to guess again.
        code.used = True
        if code.expires_at <= self._now():
            raise OAuthError("invalid_grant", "The code has expired.", about="code")
        if code.redirect_uri != redirect_uri:
            raise OAuthError(
                "invalid_grant",
                "redirect_uri is not that of the authorization request.",
                about="redirect_uri",
            )
        _check_verifier(code.challenge, verifier)
        access = self._issue("access", code.family, code.family.scopes)
        issues = self._options.dialect.issues_refresh and code.refreshable
        return Grant(access=access, refresh=self._issue("refresh", code.family, code.family.scopes) if issues else None)

    def refresh(self, value: str, *, client: str, scopes: tuple[str, ...] | None) -> Grant:
        """Exchange a refresh token (RFC 6749 §6), with rotation and reuse detection (RFC 9700 §4.14.2).

        Raises:
            OAuthError: ``invalid_grant``, or ``invalid_scope`` for scopes that were never granted.
        """
        options, now = self._options, self._now()
        token = self.tokens.get(value)
        if token is None or token.kind != "refresh" or token.family.client != client:
            raise OAuthError("invalid_grant", "The refresh token is unknown to this client.", about="refresh_token")
        if not self.is_live(token):
            raise OAuthError("invalid_grant", "The refresh token has expired or was revoked.", about="refresh_token")
        if token.used_at is not None and now - token.used_at >= options.reuse_grace:
            if options.reuse == "revoke_family":
                token.family.alive = False
            raise OAuthError("invalid_grant", "The refresh token was used before.", about="refresh_token")
        if scopes is not None and not set(scopes) <= set(token.scopes):
            raise OAuthError("invalid_scope", "A refresh may narrow the granted scopes, not widen them.")
        access = self._issue("access", token.family, scopes or token.scopes)
        if options.rotation and options.dialect.rotates:
            token.used_at = now if token.used_at is None else token.used_at
            return Grant(access=access, refresh=self._issue("refresh", token.family, token.scopes))
        return Grant(access=access, refresh=token if options.dialect.repeats_refresh else None)

    def issue(self, *, client: str, subject: str, scopes: tuple[str, ...]) -> Grant:
        """Found a family without a person's consent: an access token alone (RFC 6749 §4.4.3)."""
        family = Family(client=client, subject=subject, scopes=scopes)
        return Grant(access=self._issue("access", family, scopes), refresh=None)

    def revoke(self, value: str, *, client: str) -> None:
        """Revoke a token (RFC 7009 §2.1): a refresh token may take its family along, an unknown token is none.

        Raises:
            OAuthError: ``unauthorized_client``: the token is another client's.
        """
        token = self.tokens.get(value)
        if token is None:
            return
        if token.family.client != client:
            raise OAuthError("unauthorized_client", "The token was issued to another client.")
        token.revoked = True
        if token.kind == "refresh" and self._options.revocation == "family":
            token.family.alive = False

    def live(self, value: str, kind: Literal["access", "refresh"] | None = None) -> Token | None:
        """The token, if it is good now and of that kind."""
        token = self.tokens.get(value)
        if token is None or not self.is_live(token) or (kind is not None and token.kind != kind):
            return None
        return token

    def is_live(self, token: Token) -> bool:
        """Whether the token is neither revoked, nor expired, nor of a dead family."""
        expired = token.expires_at is not None and token.expires_at <= self._now()
        return token.family.alive and not token.revoked and not expired

    def _issue(self, kind: Literal["access", "refresh"], family: Family, scopes: tuple[str, ...]) -> Token:
        options, now = self._options, self._now()
        access = kind == "access"
        prefix = options.dialect.access_prefix if access else options.dialect.refresh_prefix
        lifetime = options.access_lifetime if access else options.refresh_lifetime
        token = Token(
            value=prefix + options.dice.token(32),
            kind=kind,
            family=family,
            scopes=scopes,
            issued_at=now,
            expires_at=None if lifetime is None else now + lifetime,
        )
        self.tokens[token.value] = token
        return token

    def _now(self) -> float:
        return self._options.clock.now()


def _check_verifier(challenge: str | None, verifier: str | None) -> None:
    """RFC 7636 §4.6 for S256; a verifier without a challenge is a downgrade (RFC 9700 §2.1.1)."""
    if challenge is None:
        if verifier is not None:
            raise OAuthError("invalid_grant", "The authorization request had no code_challenge.", about="code")
        return
    if verifier is None or not _VERIFIER.match(verifier):
        raise OAuthError(
            "invalid_grant", "code_verifier is missing, or not 43 to 128 unreserved characters.", about="code"
        )
    digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode("ascii")).digest()).rstrip(b"=")
    if not hmac.compare_digest(digest, challenge.encode()):
        raise OAuthError("invalid_grant", "code_verifier does not match code_challenge.", about="code")
