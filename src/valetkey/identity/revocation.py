"""What we issued, listed and ended: by its id, by its text, by its owner, with all that was made with it."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
from collections.abc import Collection, Mapping, Sequence

from valetkey.audit import Audit
from valetkey.errors import Denied, InvalidArguments, KeyUnavailable, NotFound, StoreUnavailable, Unauthenticated
from valetkey.identity.access import AccessTokens
from valetkey.identity.powers import check_general, current_workspace, is_admin, is_whole
from valetkey.model.audit import Action, Entry
from valetkey.model.caller import Caller, Owner
from valetkey.model.stops import Stop, StopKind
from valetkey.model.tokens import Token, TokenKind
from valetkey.model.users import UserPermission
from valetkey.ports.stores import TokenStore
from valetkey.ports.world import Clock
from valetkey.protocol import apikey, jwt
from valetkey.stops import Stops
from valetkey.vault.keyring import Keyring, Purpose

NOT_GOOD = "This token or key is not good here: it is unknown, revoked or over. Sign in again, or ask for a new one."
"""The one answer, whatever is wrong."""

_LATEST = 2**42  # seconds since the epoch that a foreign token may name
_SPARE = 3600.0  # seconds that clocks and leeways may differ by
_GENERATIONS = 32  # tokens made with tokens made with …, that are looked through
_SIGNED_OUT = frozenset({TokenKind.SESSION, TokenKind.ACCESS, TokenKind.TICKET, TokenKind.RECONNECTION})


class Issued:
    """The rows of what we issued; for use on the home loop.

    Args:
        session_idle: seconds that a session lives without use.
        max_lifetime: seconds that an access token lives at most.
    """

    def __init__(
        self,
        *,
        store: TokenStore,
        access: AccessTokens,
        keyring: Keyring,
        stops: Stops,
        audit: Audit,
        clock: Clock,
        session_idle: float,
        max_lifetime: float,
    ) -> None:
        self.access = access
        self.max_lifetime = max_lifetime
        self._store = store
        self._keyring = keyring
        self._stops = stops
        self._audit = audit
        self._clock = clock
        self._session_idle = session_idle

    async def find(self, token_id: str) -> Token | None:
        """One by its id, good still or not."""
        return await self._store.get(token_id)

    async def list(self, caller: Caller, *, kinds: Collection[TokenKind] | None = None) -> Sequence[Token]:
        """The caller's tokens that are good still, newest first; for a program's token, itself and its children."""
        now = self._clock.now()
        rows = [row for row in await self._store.of_principal(*caller.principal) if not self._is_over(row, now)]
        if not is_whole(caller):
            rows = [row for row in rows if await self._descends(row, caller.token)]
        return [row for row in rows if kinds is None or row.kind in kinds]

    async def of(self, issuer: str, subject: str, kind: TokenKind) -> Sequence[Token]:
        """A principal's of one kind that are good still, newest first."""
        now = self._clock.now()
        rows = await self._store.of_principal(issuer, subject)
        return [row for row in rows if row.kind is kind and not self._is_over(row, now)]

    async def every(self, *, kinds: Collection[TokenKind] | None = None) -> Sequence[Token]:
        """Everybody's that are good still, by id; for who runs this server."""
        now, found, after = self._clock.now(), list[Token](), ""
        while rows := await self._store.page(after=after):
            found += [row for row in rows if not self._is_over(row, now) and (kinds is None or row.kind in kinds)]
            after = rows[-1].id
        return found

    async def revoke(self, caller: Caller, token_id: str) -> int:
        """Revoke a token of the caller's own, or as an admin anybody's, and all that was made with it; how many.

        Raises:
            NotFound: there is none of that id, or none that the caller may see.
        """
        row = await self._store.get(token_id)
        if row is None or not await self._may(caller, row):
            raise NotFound("There is no token of that id among yours.")
        return await self.end(row, by=_name_of(caller))

    async def revoke_text(self, caller: Caller, text: str) -> int:
        """Revoke the token whose text the caller holds, whoever issued it; how many ended.

        A text that has no row here, and does not say when it ends, is stopped for as long as any token lives.

        Raises:
            Denied: the caller is no admin where it acts, and the token is not the one that it presents; that one alone
                is revoked by a token that is for one purpose only.
        """
        if not 0 < len(text) <= jwt.LONGEST:
            raise InvalidArguments("That is no token: give its whole text.")
        token_id, ends = await self._named(text)
        # What others issued is known by either: a parser's by all of its text, an issuer's without the signature.
        names = {token_id} if token_id else {jwt.fingerprint(text), hashlib.sha256(octets(text)).hexdigest()}
        user, own = caller.user, caller.token in names - {""}
        if user is None or not (own or user.check_permission(current_workspace(caller), UserPermission.admin)):
            raise Denied("Only admin can revoke token.")
        if not own:
            check_general(caller)
        now, by, count, stopped = self._clock.now(), _name_of(caller), 0, False
        for name in sorted(names):
            row = await self._store.get(name)
            if row is not None:
                count += await self._store.revoke(name, now=now, by=by, reason="revoked")
                await self._stop_for_good([row], by=by, reason="revoked")
            elif ends is None or ends > now:
                latest = now + self.max_lifetime + _SPARE
                until = latest if ends is None else min(ends, latest)
                known = self._stops.why(StopKind.TOKEN, name)
                if known is None or (known.ends_at is not None and known.ends_at < until):  # none is made shorter
                    await self._stops.put(
                        Stop(kind=StopKind.TOKEN, target=name, by=by, reason="revoked", created_at=now, ends_at=until)
                    )
                stopped = True
        count = count or int(stopped)
        await self._stops.changed()
        await self._noted(Action.TOKEN_REVOKE, caller.owner, user=by, what=min(names), ended=count)
        return count

    async def sign_out(self, session: Caller, *, everywhere: bool = False) -> int:
        """End the session; everywhere: all of the person's sessions, access tokens and tickets, and no API key."""
        now, by = self._clock.now(), _name_of(session)
        count = await self._store.revoke(session.token, now=now, by=by, reason="signed out") if session.token else 0
        if everywhere:
            count += await self._store.revoke_all(
                *session.principal, kinds=_SIGNED_OUT, keep="", now=now, by=by, reason="signed out everywhere"
            )
        await self._stops.changed()
        await self._noted(Action.SIGN_OUT, session.owner, user=by, what=session.token, ended=count)
        return count

    async def end(self, token: Token, *, by: str, reason: str = "revoked") -> int:
        """Revoke it and all that was made with it, whoever may; how many."""
        count = await self._store.revoke(token.id, now=self._clock.now(), by=by, reason=reason)
        await self._stop_for_good([token], by=by, reason=reason)
        await self._stops.changed()
        await self._noted(Action.TOKEN_REVOKE, token.owner, user=by, what=token.id, ended=count)
        return count

    async def end_all(self, issuer: str, subject: str, *, by: str, reason: str, keep: str = "") -> int:
        """Revoke all that a principal has, of every kind, but the one with the id ``keep``; how many."""
        rows = await self._store.of_principal(issuer, subject)
        count = await self._store.revoke_all(
            issuer, subject, kinds=frozenset(TokenKind), keep=keep, now=self._clock.now(), by=by, reason=reason
        )
        await self._stop_for_good([row for row in rows if row.id != keep], by=by, reason=reason)
        await self._stops.changed()
        return count

    async def _stop_for_good(self, rows: Sequence[Token], *, by: str, reason: str) -> None:
        """What others issued is good for as long as they say: where it has no end, its stop has none either."""
        for row in rows:
            known = self._stops.why(StopKind.TOKEN, row.id)
            if row.kind is not TokenKind.CUSTOM or row.expires_at is not None:
                continue
            if known is None or known.ends_at is not None:
                now = self._clock.now()
                await self._stops.put(Stop(kind=StopKind.TOKEN, target=row.id, by=by, reason=reason, created_at=now))

    async def _noted(self, action: Action, owner: Owner, *, user: str, what: str, ended: int) -> None:
        with contextlib.suppress(StoreUnavailable):  # it is done, and the log says that it lost a record
            await self._audit.note(entry_of(action, owner, what, user, {"ended": str(ended)}))

    def _is_over(self, token: Token, now: float) -> bool:
        if token.revoked_at is not None or (token.expires_at is not None and token.expires_at <= now):
            return True
        used = max(token.created_at, token.last_used_at or 0.0)
        return token.kind is TokenKind.SESSION and now - used >= self._session_idle

    def _digest(self, text: str, key_id: str) -> str:
        key = self._keyring.subkey(Purpose.HASH, key_id)
        return hmac.new(key, b"valetkey token 1\0" + octets(text), hashlib.sha256).hexdigest()

    async def _may(self, caller: Caller, row: Token) -> bool:
        if is_admin(caller):
            return True
        if (row.owner.issuer, row.owner.subject) != caller.principal:
            return False
        return is_whole(caller) or await self._descends(row, caller.token)

    async def _descends(self, row: Token, ancestor: str) -> bool:
        """Whether it is that token, or was made with it, or with one that was."""
        if not ancestor:
            return False
        for _ in range(_GENERATIONS):
            if ancestor in {row.id, row.parent}:
                return True
            above = await self._store.get(row.parent) if row.parent else None
            if above is None:
                return False
            row = above
        return False

    async def _named(self, text: str) -> tuple[str, float | None]:
        """The id of a token of ours, and when a token ends; without an id: it is not ours, or has none."""
        key = apikey.read(text)
        if key is not None:
            row = await self._store.get(key.id)
            with contextlib.suppress(KeyUnavailable):
                if row is not None and hmac.compare_digest(row.digest, self._digest(text, row.key_id)):
                    return row.id, row.expires_at
            raise Unauthenticated(NOT_GOOD)
        try:
            parsed = jwt.parse(text)
        except Unauthenticated:
            return "", None
        with contextlib.suppress(Unauthenticated):
            verified = await self.access.verify(parsed)
            return verified.token_id, verified.expires_at
        told = parsed.claims.get("exp")
        return "", float(told) + jwt.LEEWAY if isinstance(told, int | float) and 0 < told < _LATEST else None


def entry_of(action: Action, owner: Owner, what: str, user: str, details: Mapping[str, str]) -> Entry:
    """What the audit log is told of a token."""
    return Entry(
        action=action,
        issuer=owner.issuer,
        subject=owner.subject,
        user=user,
        workspace=owner.workspace,
        what=what,
        details=details,
    )


def _name_of(caller: Caller) -> str:
    return caller.owner.subject if caller.user is None else caller.user.id


def octets(text: str) -> bytes:
    """What of a text is hashed."""
    return text.encode("utf-8", "surrogatepass")
