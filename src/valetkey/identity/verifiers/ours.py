"""A token that we issued: access token, API key, session; and the root token."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection

from valetkey.errors import InvalidSetting, Unauthenticated
from valetkey.identity.chain import Vouch
from valetkey.identity.powers import ROOT
from valetkey.identity.tokens import Tokens
from valetkey.model.caller import OURS, Owner
from valetkey.model.calls import BEARER, SESSION, Presented
from valetkey.model.tokens import Token, TokenKind
from valetkey.model.users import ADMIN_ROLE, ScopeInfo, UserInfo, UserPermission
from valetkey.ports.world import Clock
from valetkey.protocol import jwt
from valetkey.secret import Secret
from valetkey.vault.signing import Signer

KEEP_SIGNED = 300.0
"""Seconds that the verdict on a signed token may be remembered; its end and its revocation are looked at each time."""

KEEP_OPAQUE = 60.0

SHORTEST_ROOT = 32
"""Characters of the root token."""

_ROOT_WORKSPACE = "ws-user-root"


class Ours:
    """Vouches for those who present what we issued.

    Args:
        signer: whose issuer we are.
        tokens: what we issued.
        clock: by it tokens end.
        root_token: who presents it may do everything.
        others: further issuers that are trusted; one of them may have our name, as ``AUTH0_ISSUER`` is both, and signs
            with other algorithms.

    Raises:
        InvalidSetting: the root token is too short.
    """

    def __init__(
        self,
        signer: Signer,
        tokens: Tokens,
        *,
        clock: Clock,
        root_token: Secret | None = None,
        others: Collection[str] = (),
    ) -> None:
        if root_token is not None and len(root_token.reveal()) < SHORTEST_ROOT:
            raise InvalidSetting(
                f"The root token has fewer than {SHORTEST_ROOT} characters. Make one with: openssl rand -base64 48"
            )
        self._signer = signer
        self._tokens = tokens
        self._clock = clock
        self._root = None if root_token is None else _hash(root_token.reveal())
        self._others = frozenset(others)

    async def verify(self, presented: Presented) -> Vouch | None:
        """None: we did not issue it, and it does not say that we did.

        Raises:
            Unauthenticated: it says so, and is not good: mistyped, forged, unknown, revoked, or over.
            CouldNotTell: our keys cannot be read now.
        """
        if presented.scheme not in {BEARER, SESSION}:
            return None
        text = presented.value.reveal() if isinstance(presented.value, Secret) else presented.value
        return await (self._session(text) if presented.scheme == SESSION else self._bearer(text))

    async def _session(self, text: str) -> Vouch:
        token = await self._tokens.open(text, {TokenKind.SESSION})
        if token is None:
            raise Unauthenticated("This session is not good: sign in again.")
        return _vouch(token)

    async def _bearer(self, text: str) -> Vouch | None:
        if self._root is not None and hmac.compare_digest(self._root, _hash(text)):
            return _root()
        token = await self._tokens.open(text, {TokenKind.API_KEY})
        return await self._signed(text) if token is None else _vouch(token)

    async def _signed(self, text: str) -> Vouch | None:
        if text.count(".") != 2:  # noqa: PLR2004 - header, payload, signature
            return None
        try:
            parsed = jwt.parse(text)
        except Unauthenticated:
            if jwt.claimed_issuer(text) == self._signer.issuer and self._signer.issuer not in self._others:
                raise
            return None
        if parsed.claims.get("iss") != self._signer.issuer:
            return None
        if self._signer.issuer in self._others and parsed.header.algorithm != self._signer.algorithm:
            return None
        bearer = await self._tokens.access.verify(parsed)
        return Vouch(
            owner=bearer.owner,
            how=TokenKind.ACCESS.value,
            until=bearer.expires_at,
            user=bearer.user,
            token=bearer.token_id or jwt.fingerprint(text),
            keep=KEEP_SIGNED,
        )


def _vouch(token: Token) -> Vouch:
    user = token.user
    user._principal = token.owner.issuer, token.owner.subject  # noqa: SLF001 - the note of whom was vouched for
    return Vouch(
        owner=token.owner, how=token.kind.value, until=token.expires_at, user=user, token=token.id, keep=KEEP_OPAQUE
    )


def _root() -> Vouch:
    user = UserInfo(
        id=ROOT,
        roles=[ADMIN_ROLE],
        scope=ScopeInfo(
            current_workspace=_ROOT_WORKSPACE,
            workspaces={"*": UserPermission.admin, _ROOT_WORKSPACE: UserPermission.admin},
        ),
        current_workspace=_ROOT_WORKSPACE,
    )
    user._principal = OURS, ROOT  # noqa: SLF001 - as above
    return Vouch(owner=Owner(workspace=_ROOT_WORKSPACE, issuer=OURS, subject=ROOT), how=ROOT, user=user)


def mark_of(root_token: Secret | None) -> str:
    """What stands for the root token where something has to end with it; empty: there is none."""
    if root_token is None:
        return ""
    return f"root token {hashlib.sha256(b'valetkey root 1' + _hash(root_token.reveal())).hexdigest()[:32]}"


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
