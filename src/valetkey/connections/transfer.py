"""Import and export, encrypted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from valetkey.connections import passphrase as sealing
from valetkey.connections.accounts import checked_profile
from valetkey.errors import InvalidArguments, ValetkeyError
from valetkey.model.caller import Owner
from valetkey.model.connections import Cause, Connection, Credential, Health, Sealed, Subject
from valetkey.ports.messages import Wakeups
from valetkey.ports.stores import ConnectionStore
from valetkey.ports.world import Clock, Entropy
from valetkey.secret import Secret
from valetkey.vault.seal import Sealer

VERSION = 1
"""Of the document in the file."""

ATTEMPTS = 8

_LATEST = 1e12  # seconds since the epoch
_PROVIDER = re.compile(r"[a-z][a-z0-9_-]{0,99}")


class Became(StrEnum):
    """What became of one account of a file."""

    IMPORTED = "imported"
    REPLACED = "replaced"
    KEPT = "kept"
    """There was one of that name: it is as it was."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One account of a file, and what became of it.

    Attributes:
        name: ``provider:profile``, as far as the file tells.
        reason: where it was not imported: why.
        refreshable: whether its token is renewed, and so may be used in one place only.
    """

    name: str
    owner: Owner | None
    became: Became
    reason: str = ""
    refreshable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """An exported file.

    Attributes:
        file: what to write.
        packed: the accounts in it.
        left_out: those whose secret cannot be opened here, each with the reason.
    """

    file: bytes
    packed: tuple[Connection, ...]
    left_out: tuple[tuple[Connection, str], ...]


class Transfer:
    """Takes accounts from one vault to another."""

    def __init__(
        self, *, store: ConnectionStore, sealer: Sealer, clock: Clock, entropy: Entropy, wakeups: Wakeups
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._entropy = entropy
        self._wakeups = wakeups

    def pack(self, connections: Sequence[Connection], passphrase: Secret, *, cost: int = sealing.COST) -> Packed:
        """These accounts with their secrets, sealed under the passphrase.

        Raises:
            InvalidArguments: the passphrase is too short.
        """
        entries: list[dict[str, object]] = []
        packed: list[Connection] = []
        left_out: list[tuple[Connection, str]] = []
        for connection in connections:
            try:
                credential = self._sealer.open_credential(connection)
            except ValetkeyError as error:
                left_out.append((connection, error.message))
                continue
            entries.append(_entry(connection, credential))
            packed.append(connection)
        document = {"version": VERSION, "exported_at": self._clock.now(), "accounts": entries}
        file = sealing.seal(Secret(json.dumps(document)), passphrase, self._entropy, cost=cost)
        return Packed(file=file, packed=tuple(packed), left_out=tuple(left_out))

    async def unpack(
        self, file: bytes, passphrase: Secret, *, owner: Owner | None = None, instead: bool = False
    ) -> list[Outcome]:
        """Keep the accounts of a file, each sealed anew; all of one account is written, or nothing.

        Args:
            file: what :meth:`pack` gave.
            passphrase: that it was sealed under.
            owner: whose they become; None: whose they were.
            instead: whether they replace accounts of the same name; else those are kept as they are.

        Raises:
            InvalidArguments: it is no such file, or of a newer version; nothing is written.
            VaultError: the passphrase is another one, or the file was changed; nothing is written.
        """
        entries = _entries(sealing.unseal(file, passphrase))
        written: set[str] = set()
        return [await self._take(entry, owner, written, instead=instead) for entry in entries]

    async def _take(self, entry: Any, owner: Owner | None, written: set[str], *, instead: bool) -> Outcome:
        name = _name(entry)
        try:
            connection, credential = _read(entry, owner)
        except (InvalidArguments, KeyError, TypeError, ValueError) as error:
            reason = error.message if isinstance(error, InvalidArguments) else "The file does not describe it in full."
            return Outcome(name=name, owner=owner, became=Became.REFUSED, reason=reason)
        outcome = Outcome(name=name, owner=connection.owner, became=Became.KEPT, refreshable=connection.refreshable)
        try:
            became, reason = await self._write(connection, credential, written, instead=instead)
        except ValetkeyError as error:
            became, reason = Became.REFUSED, error.message
        return replace(outcome, became=became, reason=reason)

    async def _write(
        self, connection: Connection, credential: Credential, written: set[str], *, instead: bool
    ) -> tuple[Became, str]:
        for _ in range(ATTEMPTS):
            held = await self._store.get(connection.owner, connection.provider, connection.profile)
            if held is None:
                made = self._sealed(replace(connection, id=self._entropy.bytes(16).hex()), credential)
                if await self._store.insert(made):
                    written.add(made.id)
                    return Became.IMPORTED, ""
            elif held.id in written:
                return Became.REFUSED, "Another account of this file took that name: there they are several threads'."
            elif not instead:
                return Became.KEPT, "There is one of that name already."
            elif await self._store.save(self._following(held, connection, credential), generation=held.generation):
                written.add(held.id)
                self._wakeups.wake(held.id)
                return Became.REPLACED, ""
        return Became.REFUSED, "Its row changes all the time. Import it again."

    def _following(self, held: Connection, connection: Connection, credential: Credential) -> Connection:
        """The next generation of what is held, with what the file holds."""
        taken = replace(connection, id=held.id, generation=held.generation + 1, created_at=held.created_at)
        return self._sealed(taken, credential)

    def _sealed(self, connection: Connection, credential: Credential) -> Connection:
        sealed = self._sealer.seal_credential(
            credential,
            connection_id=connection.id,
            owner=connection.owner,
            provider=connection.provider,
            generation=connection.generation,
        )
        return replace(connection, sealed=sealed, updated_at=self._clock.now())


def _entry(connection: Connection, credential: Credential) -> dict[str, object]:
    refresh, context = credential.refresh_token, credential.context
    owner = connection.owner
    return {
        "owner": {"workspace": owner.workspace, "issuer": owner.issuer, "subject": owner.subject},
        "provider": connection.provider,
        "handler": connection.handler,
        "profile": connection.profile,
        "scopes": sorted(connection.scopes),
        "account": connection.account,
        "issued_at": connection.issued_at,
        "expires_at": connection.expires_at,
        "refresh_at": connection.refresh_at,
        "refreshable": connection.refreshable,
        "created_at": connection.created_at,
        "health": connection.health,
        "cause": connection.cause,
        "reason": connection.reason,
        "credential": {
            "access_token": credential.access_token.reveal(),
            "refresh_token": None if refresh is None else refresh.reveal(),
            "fields": {name: value.reveal() for name, value in credential.fields.items()},
            "token_type": credential.token_type,
            "client_id": credential.client_id,
            "subject": _told(credential.subject),
            "dpop_key": None if credential.dpop_key is None else credential.dpop_key.reveal(),
            "context_class": credential.context_class,
            "context": None if context is None else context.reveal(),
        },
    }


def _entries(document: Secret) -> list[Any]:
    values = json.loads(document.reveal())
    if not isinstance(values, dict) or values.get("version") != VERSION or not isinstance(values.get("accounts"), list):
        raise InvalidArguments("This file is of another version of valetkey. Import it with that, or upgrade.")
    entries: list[Any] = values["accounts"]
    return entries


def _read(entry: Any, owner: Owner | None) -> tuple[Connection, Credential]:
    """What one entry describes; whatever is no such description raises."""
    told, held = _Table(entry), _Table({"client_id": "", "subject": None, "dpop_key": None, **entry["credential"]})
    whose = _Table(entry["owner"])
    provider, refresh, context = told.text("provider"), held.maybe("refresh_token"), held.maybe("context")
    bound = held.maybe("dpop_key")
    if not _PROVIDER.fullmatch(provider):
        raise InvalidArguments("Its provider's name is none.")
    # What a failed refresh left behind belongs to the other place; that a person is needed does not.
    over = told.text("health") == Health.NEEDS_REAUTH
    credential = Credential(
        access_token=Secret(held.text("access_token")),
        refresh_token=None if refresh is None else Secret(refresh),
        fields={name: Secret(value) for name, value in held.texts("fields").items()},
        token_type=held.text("token_type"),
        client_id=held.text("client_id"),
        subject=_subject(held.any("subject")),
        dpop_key=None if bound is None else Secret(bound),
        context_class=held.maybe("context_class"),
        context=None if context is None else Secret(context),
    )
    connection = Connection(
        id="",
        owner=owner
        or Owner(workspace=whose.text("workspace"), issuer=whose.text("issuer"), subject=whose.text("subject")),
        provider=provider,
        handler=told.text("handler"),
        profile=checked_profile(told.text("profile")),
        scopes=told.set("scopes"),
        sealed=Sealed(b""),
        issued_at=told.time("issued_at"),
        expires_at=told.time("expires_at"),
        refresh_at=told.time("refresh_at"),
        refreshable=entry["refreshable"] is True,
        account=told.maybe("account"),
        health=Health.NEEDS_REAUTH if over else Health.OK,
        cause=Cause(told.text("cause")) if over else Cause.NONE,
        reason=told.text("reason") if over else "",
        created_at=told.time("created_at") or 0.0,
    )
    return connection, credential


def _told(subject: Subject | None) -> dict[str, object] | None:
    if subject is None:
        return None
    return {"issuer": subject.issuer, "subject": subject.subject, "audience": sorted(subject.audience)}


def _subject(entry: Any) -> Subject | None:
    if entry is None:
        return None
    told = _Table(entry)
    return Subject(issuer=told.text("issuer"), subject=told.text("subject"), audience=told.set("audience"))


class _Table:
    """One object of a file, whose values have to be of their types."""

    def __init__(self, values: Any) -> None:
        if not isinstance(values, Mapping):
            raise TypeError
        self._values = values

    def any(self, key: str) -> Any:
        return self._values[key]

    def text(self, key: str) -> str:
        value = self._values[key]
        if not isinstance(value, str):
            raise TypeError
        return value

    def maybe(self, key: str) -> str | None:
        return None if self._values[key] is None else self.text(key)

    def time(self, key: str) -> float | None:
        value = self._values[key]
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LATEST:
            raise TypeError
        return float(value)

    def set(self, key: str) -> frozenset[str]:
        values = self._values[key]
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise TypeError
        return frozenset(values)

    def texts(self, key: str) -> dict[str, str]:
        values = self._values[key]
        if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
            raise TypeError
        return dict(values)


def _name(entry: Any) -> str:
    """``provider:profile``, for the report."""
    if not isinstance(entry, dict):
        return "?"
    return f"{entry.get('provider', '?')!s:.100}:{entry.get('profile', '?')!s:.100}"
