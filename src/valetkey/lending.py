"""A credential for one call: unsealed late, bound to its origins, placed, scrubbed, gone."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict

from valetkey.audit import Audit, kept
from valetkey.connections.finder import Finder
from valetkey.connections.session import SESSION, SessionPlaces
from valetkey.errors import ValetkeyError
from valetkey.model.audit import Action, Entry
from valetkey.model.calls import Allowed, Connected, Lent, Loan
from valetkey.model.connections import DEFAULT_PROFILE, Connection, Credential
from valetkey.ports.stores import ConnectionStore
from valetkey.secret import Secret
from valetkey.vault.seal import Sealer

CONVERSATIONS = 10_000
"""How many conversations are remembered; the one not heard of for longest is forgotten first."""


class Lender:
    """Lends credentials, and remembers which connections a conversation was lent: never their values."""

    def __init__(
        self,
        *,
        sealer: Sealer,
        finder: Finder,
        store: ConnectionStore,
        sessions: SessionPlaces,
        audit: Audit | None = None,
    ) -> None:
        self._audit = audit
        self._sessions = sessions
        self._sealer = sealer
        self._finder = finder
        self._store = store
        self._lock = threading.Lock()
        self._conversations: OrderedDict[str, frozenset[str]] = OrderedDict()

    async def lend(self, connected: Connected) -> Lent:
        """Unseal what the connections hold, for this one call; each loan is in the audit log before.

        Raises:
            StoreUnavailable: the audit log cannot be written: nothing is lent without it.
            VaultError: a credential cannot be opened.
            Unauthenticated: the session's credential was forgotten meanwhile.
        """
        call = connected.allowed.call
        audit = kept(self._audit)
        if audit is not None and connected.connections:
            await self._note(audit, connected)
        variables: dict[str, Secret] = {}
        secrets: list[Secret] = []
        loans: list[Loan] = []
        opened: list[tuple[Connection, Credential]] = []
        origins: frozenset[str] = frozenset()
        for connection in connected.connections:
            if connection.provider == SESSION:
                self._sessions.check(call.conversation, connection)
            credential = self._sealer.open_credential(connection)
            handler = self._finder.find(connection.handler, connection.provider)
            given = handler.variables(credential)
            variables.update(given)
            loans.append(handler.loan(credential))
            secrets.extend((*_values(credential), *given.values()))
            opened.append((connection, credential))
            origins |= handler.origins
        earlier = self._remember(call.conversation, connected.connections)
        if earlier:
            secrets.extend(await self._unseal(earlier))
        secrets.extend(self._sessions.secrets(call.conversation, opened=opened))
        return Lent(
            connected=connected,
            variables=variables,
            context={"thread_id": connected.allowed.caller.owner.subject, "profile": _profile(connected)},
            secrets=tuple(secrets),
            origins=origins,
            loans=tuple(loans),
        )

    async def secrets_of(self, conversation: str) -> tuple[Secret, ...]:
        """All that a conversation may have seen: what its session was given, and every account lent to it."""
        with self._lock:
            lent = self._conversations.get(conversation, frozenset())
        return (*self._sessions.secrets(conversation), *await self._unseal(lent))

    def forget(self, conversation: str) -> None:
        """The conversation has ended: which accounts were lent to it need not be known any more."""
        with self._lock:
            self._conversations.pop(conversation, None)

    @staticmethod
    async def _note(audit: Audit, connected: Connected) -> None:
        entries = [_loan(connected.allowed, connection) for connection in connected.connections]
        if len(entries) == 1:
            await audit.note(entries[0])
        else:
            await asyncio.gather(*(audit.note(entry) for entry in entries))

    def _remember(self, conversation: str, connections: tuple[Connection, ...]) -> frozenset[str]:
        """Note what is lent now; what was lent before, besides."""
        lent = frozenset([connection.id for connection in connections if connection.kept])
        if not lent and conversation not in self._conversations:
            return lent
        with self._lock:
            before = self._conversations.get(conversation, frozenset())
            if lent - before:
                self._conversations[conversation] = before | lent
            if conversation in self._conversations:
                self._conversations.move_to_end(conversation)
            if len(self._conversations) > CONVERSATIONS:
                self._conversations.popitem(last=False)
        return before - lent

    async def _unseal(self, connection_ids: frozenset[str]) -> list[Secret]:
        secrets: list[Secret] = []
        for connection_id in connection_ids:
            connection = await self._store.by_id(connection_id)
            if connection is None:
                continue
            try:
                credential = self._sealer.open_credential(connection)
                handler = self._finder.find(connection.handler, connection.provider)
            except ValetkeyError:
                # A row that cannot be opened here cannot have been lent from here since.
                continue
            secrets.extend((*_values(credential), *handler.variables(credential).values()))
        return secrets


def _loan(allowed: Allowed, connection: Connection) -> Entry:
    return Entry(
        action=Action.LEND,
        workspace=allowed.caller.owner.workspace,
        what=connection.id,
        rule=allowed.rule,
        details={
            "tool": allowed.call.tool,
            "provider": connection.provider,
            "handler": connection.handler,
            "entrance": allowed.call.entrance,
        },
    ).by(allowed.caller)


def _profile(connected: Connected) -> str:
    """Which account is lent: the one named, else the one that was found."""
    found = {connection.profile for connection in connected.connections}
    return connected.allowed.call.profile or (found.pop() if len(found) == 1 else DEFAULT_PROFILE)


def _values(credential: Credential) -> tuple[Secret, ...]:
    held = [credential.access_token, *credential.fields.values()]
    held += [each for each in (credential.refresh_token, credential.dpop_key) if each is not None]
    return tuple(value for value in held if value)
