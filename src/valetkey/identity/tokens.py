"""Every credential that we issue, one row each: made, narrowed, opened, spent."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace

from valetkey.audit import Audit
from valetkey.errors import CouldNotTell, Denied, InvalidArguments, KeyUnavailable, StoreUnavailable, Unauthenticated
from valetkey.identity.access import AccessTokens
from valetkey.identity.narrowing import email_of, narrowed
from valetkey.identity.powers import current_workspace, is_admin
from valetkey.identity.revocation import NOT_GOOD, Issued, entry_of, octets
from valetkey.model.audit import Action
from valetkey.model.caller import Caller, Owner
from valetkey.model.tokens import Token, TokenKind
from valetkey.model.users import TokenConfig, UserInfo, UserPermission
from valetkey.ports.stores import TokenStore
from valetkey.ports.world import Clock, Entropy
from valetkey.protocol import apikey, jwt
from valetkey.protocol.apikey import ApiKey, Prefix
from valetkey.secret import Secret
from valetkey.stops import Stops
from valetkey.vault.keyring import Keyring
from valetkey.vault.signing import Signer

DAY = 86_400.0

TICKET_LIFETIME = 60.0
"""Seconds that a ticket lives; at most five times as long."""

RECONNECTION_LIFETIME = 2 * DAY

LONGEST_NAME = 100

NOTED_EVERY = 60.0
"""Seconds after which a further use is noted."""

_LONGEST_LIFE = 100 * 365 * DAY
_NOBODY = (
    '{"id":"local|nobody","roles":[],"is_anonymous":false,"email":"nobody@example.org","scope":{"current_workspace":'
    '"ws-user-local|nobody","workspaces":{"ws-user-local|nobody":"a"},"client_id":null,"extra_scopes":[]}}'
)
_PREFIXES = {
    TokenKind.API_KEY: Prefix.KEY,
    TokenKind.SESSION: Prefix.SESSION,
    TokenKind.TICKET: Prefix.TICKET,
    TokenKind.RECONNECTION: Prefix.RECONNECTION,
}

Permission = UserPermission | None
PermissionOf = Callable[[UserInfo, str], Permission | Awaitable[Permission]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A token that may be made, before it is.

    Attributes:
        expires_in: seconds.
        parent: the id of the token with which it ends; empty: that one has none.
    """

    user: UserInfo
    owner: Owner
    expires_in: float
    parent: str


class Tokens(Issued):
    """What we issue; for use on the home loop.

    Args:
        lifetime, max_lifetime: seconds that an access token lives by default, and at most.
        session_idle, session_lifetime: seconds that a session lives without use, and at most.
    """

    def __init__(
        self,
        *,
        store: TokenStore,
        signer: Signer,
        keyring: Keyring,
        stops: Stops,
        audit: Audit,
        clock: Clock,
        entropy: Entropy,
        lifetime: float,
        max_lifetime: float,
        session_idle: float = DAY / 3,
        session_lifetime: float = 14 * DAY,
    ) -> None:
        super().__init__(
            store=store,
            access=AccessTokens(signer, clock=clock, max_lifetime=max(max_lifetime, jwt.MAX_LIFETIME)),
            keyring=keyring,
            stops=stops,
            audit=audit,
            clock=clock,
            session_idle=session_idle,
            max_lifetime=max_lifetime,
        )
        self._entropy = entropy
        self._noted_every = min(NOTED_EVERY, session_idle / 4)
        # By kind: seconds by default, and at most; None: without end.
        self._lives: dict[TokenKind, tuple[float | None, float]] = {
            TokenKind.ACCESS: (min(lifetime, max_lifetime), max_lifetime),
            TokenKind.API_KEY: (None, _LONGEST_LIFE),
            TokenKind.SESSION: (session_lifetime, session_lifetime),
            TokenKind.TICKET: (TICKET_LIFETIME, 5 * TICKET_LIFETIME),
            TokenKind.RECONNECTION: (RECONNECTION_LIFETIME, RECONNECTION_LIFETIME),
            TokenKind.CONSENT: (30 * DAY, 366 * DAY),
            TokenKind.CUSTOM: (lifetime, _LONGEST_LIFE),
        }

    async def issue(
        self,
        kind: TokenKind,
        user: UserInfo,
        owner: Owner,
        *,
        expires_in: float | None = None,
        name: str = "",
        parent: str = "",
        address: str = "",
        agent: str = "",
        by: str = "",
    ) -> tuple[Secret, Token]:
        """Make one for a user with the scope that ``user`` has. The text is given this once.

        Args:
            kind: an access token is signed, the others are opaque.
            user: who the bearer is, and with which scope.
            owner: whose it is.
            expires_in: seconds; more than the kind may live is cut; None: what is usual for the kind.
            name: for people, at most 100 characters.
            parent: the token with which this one ends.
            address: from where it is asked for.
            agent: what the browser or program calls itself.
            by: the token of whoever asks, where this one outlives it: it must still be good when this one is there.

        Raises:
            InvalidArguments: the name, the time or the scope can be none.
            Unauthenticated: the token with which it is asked for has ended.
            StoreUnavailable: neither it nor its record in the audit log can be kept.
        """
        now = self._clock.now()
        token_id = self._entropy.token(16)
        if token_id.startswith("-"):  # on a command line it would be an option
            token_id = f"A{token_id[1:]}"
        ends = self._end(kind, expires_in, now)
        bearer = user.model_copy(deep=True, update={"expires_at": ends})
        if kind is TokenKind.ACCESS:
            ends = float(int(ends or now))
            secret, key_id = self.access.sign(bearer, owner, token_id=token_id, created_at=now, expires_at=ends)
            digest = ""
        elif kind in _PREFIXES:
            key = ApiKey(prefix=_PREFIXES[kind], id=token_id, secret=self._entropy.token(32))
            text = apikey.write(key)
            key_id = self._keyring.newest
            secret, digest = Secret(text), self._digest(text, key_id)
        else:
            raise InvalidArguments("A token of that kind is made by the host program's own generator.")
        token = Token(
            id=token_id,
            kind=kind,
            owner=owner,
            user=bearer,
            name=_checked_name(name),
            parent=parent,
            digest=digest,
            key_id=key_id,
            created_at=now,
            expires_at=ends,
            address=address,
            agent=agent[:256],
        )
        await self._keep(token, by=by)
        return secret, token

    async def note_custom(
        self, text: str, user: UserInfo, owner: Owner, *, expires_in: float, name: str = "", parent: str = ""
    ) -> Token:
        """Keep a row for what a host program's generator made: its id is the SHA-256 by which it is stopped.

        Raises:
            InvalidArguments: the name or the time can be none.
            Unauthenticated: the token with which it was asked for has ended.
            StoreUnavailable: it cannot be kept.
        """
        now = self._clock.now()
        token = self._stand_in(hashlib.sha256(octets(text)).hexdigest(), user, owner, now=now)
        token = replace(
            token, name=_checked_name(name), parent=parent, expires_at=self._end(TokenKind.CUSTOM, expires_in, now)
        )
        known = await self._store.get(token.id)
        if known is not None:
            return known  # the generator gave the same text again
        await self._keep(token)
        return token

    async def note_consent(self, user: UserInfo, owner: Owner, *, expires_in: float, name: str = "") -> Token:
        """Keep a row for what a person said yes to, once and for later: tickets are made with it.

        Raises:
            InvalidArguments: the name or the time can be none.
            StoreUnavailable: it cannot be kept.
        """
        now = self._clock.now()
        held = self._stand_in(self._entropy.token(16), user, owner, now=now)
        ends = self._end(TokenKind.CONSENT, expires_in, now)
        token = replace(held, kind=TokenKind.CONSENT, name=_checked_name(name), expires_at=ends)
        await self._keep(token)
        return token

    async def narrow(self, caller: Caller, config: TokenConfig, *, permission_of: PermissionOf | None = None) -> Child:
        """What a token would be that a caller asks for: never wider and never longer than what the caller has.

        Args:
            caller: who asks.
            config: what for.
            permission_of: the caller's permission in a workspace; by default what the caller's scope says.

        Raises:
            Denied: the caller is no admin there, or asks for more than it has.
            InvalidArguments: a scope, a workspace or a client can be none.
            Unauthenticated: the caller's own token has ended.
        """
        user, now = caller.user, self._clock.now()
        if user is None:
            raise Denied("Only admin can generate token.")
        workspace = config.workspace or current_workspace(caller)
        asked = user.get_permission(workspace) if permission_of is None else permission_of(user, workspace)
        held = await asked if isinstance(asked, Awaitable) else asked
        scope = narrowed(user, config, workspace=workspace, held=held, admin=is_admin(caller))
        seconds = min(config.expires_in, self.max_lifetime)
        if caller.until is not None:
            seconds = min(seconds, caller.until - now)
        if seconds <= 0:
            raise Unauthenticated(jwt.EXPIRED)
        made = UserInfo(
            id=self._entropy.token(16),
            roles=list(user.roles),
            is_anonymous=user.is_anonymous,
            scope=scope,
            email=email_of(user, config, admin=is_admin(caller)),
            parent=user.parent or user.id,
            expires_at=now + seconds,
            current_workspace=workspace,
        )
        owner = replace(caller.owner, workspace=workspace)
        made._principal = caller.principal  # noqa: SLF001 - the note for verifiers of whom they vouched for
        return Child(user=made, owner=owner, expires_in=seconds, parent=await self.parent(caller))

    async def child(
        self, caller: Caller, config: TokenConfig, *, permission_of: PermissionOf | None = None, name: str = ""
    ) -> tuple[Secret, Token]:
        """An access token for a program of the caller's; it ends with the caller's own.

        Raises:
            Denied, InvalidArguments, Unauthenticated: as `narrow` and `issue` do.
        """
        asked = await self.narrow(caller, config, permission_of=permission_of)
        return await self.issue(
            TokenKind.ACCESS, asked.user, asked.owner, expires_in=asked.expires_in, parent=asked.parent, name=name
        )

    async def parent(self, caller: Caller) -> str:
        """The id of the caller's own token, with which a child ends; empty where it has none.

        A token of somebody else's is given a row, so that its children can end with it, and for good.
        """
        if not caller.token or caller.user is None:
            return ""
        row = await self._store.get(caller.token)
        if row is None:
            held = self._stand_in(caller.token, caller.user, caller.owner, now=self._clock.now())
            await self._store.insert(replace(held, expires_at=caller.until))
            return caller.token
        return row.id if (row.owner.issuer, row.owner.subject) == caller.principal else ""

    async def open(self, text: str, kinds: Collection[TokenKind]) -> Token | None:
        """The row of an opaque token; None: the text is none of ours, by its beginning.

        Raises:
            Unauthenticated: mistyped (then the database is not asked), of another kind, unknown, revoked or over.
            CouldNotTell: the key under which it was hashed is not here.
        """
        prefix = apikey.claims_to_be(text)
        if prefix is None:
            return None
        key = apikey.read(text)
        if key is None or not any(_PREFIXES.get(kind) is prefix for kind in kinds):
            raise Unauthenticated(NOT_GOOD)
        now = self._clock.now()
        row = await self._store.get(key.id)
        if row is None:
            UserInfo.model_validate_json(_NOBODY)  # what a row costs to read: a missing one is no faster
        try:
            same = hmac.compare_digest(
                self._digest(text, self._keyring.newest if row is None else row.key_id),
                row.digest if row is not None and row.digest else "0" * 64,
            )
        except KeyUnavailable:
            raise CouldNotTell("Whether this token is good cannot be told now: its key is not here.") from None
        if not same or row is None or self._is_over(row, now):
            raise Unauthenticated(NOT_GOOD)
        await self._note_use(row, text, now)
        return row

    async def spend(self, text: str) -> Token:
        """The row of a ticket, which was good for this once.

        Raises:
            Unauthenticated: it is no ticket, or no good one.
        """
        token = await self.open(text, {TokenKind.TICKET})
        if token is None or not await self._store.spend(token.id, now=self._clock.now()):
            raise Unauthenticated(NOT_GOOD)
        return token

    async def put_away(self, token_id: str) -> None:
        """End one that its bearer does not need any more, without a word about it."""
        await self._store.spend(token_id, now=self._clock.now())

    async def _keep(self, token: Token, *, by: str = "") -> None:
        if not await self._store.insert(token):
            raise Unauthenticated(NOT_GOOD)
        facts = {"kind": token.kind.value, **({"parent": token.parent} if token.parent else {})}
        try:
            await self._audit.note(entry_of(Action.TOKEN_ISSUE, token.owner, token.id, token.user.id, facts))
        except StoreUnavailable:
            await self.end(token, by=token.user.id, reason="not recorded")
            raise
        asker = await self._store.get(by) if by else None
        if by and (asker is None or self._is_over(asker, self._clock.now())):
            # It ended while this one was being made: elsewhere that is known only seconds later.
            await self.end(token, by=token.user.id, reason="made with a token that has ended")
            raise Unauthenticated(NOT_GOOD)

    def _end(self, kind: TokenKind, expires_in: float | None, now: float) -> float | None:
        usual, most = self._lives[kind]
        if expires_in is None:
            return None if usual is None else now + usual
        if not expires_in > 0:
            raise InvalidArguments("A token lives for more than 0 seconds: give expires_in a positive number.")
        return now + min(expires_in, most)

    async def _note_use(self, token: Token, text: str, now: float) -> None:
        with contextlib.suppress(StoreUnavailable):  # it is good all the same
            if token.last_used_at is None or now - token.last_used_at >= self._noted_every:
                await self._store.used(token.id, at=now)
            newest = self._keyring.newest
            if token.key_id != newest:
                await self._store.rehash(
                    token.id, before=token.digest, digest=self._digest(text, newest), key_id=newest
                )

    def _stand_in(self, token_id: str, user: UserInfo, owner: Owner, *, now: float) -> Token:
        """The row of a token whose text others made."""
        key_id = self._keyring.newest
        return Token(
            id=token_id,
            kind=TokenKind.CUSTOM,
            owner=owner,
            user=user.model_copy(deep=True),
            digest=self._digest(token_id, key_id),
            key_id=key_id,
            created_at=now,
        )


def _checked_name(name: str) -> str:
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise InvalidArguments(f"The name of a token is one line of at most {LONGEST_NAME} characters.")
    return name
