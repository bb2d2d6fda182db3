"""AES-256-GCM, each ciphertext bound to its row."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from valetkey.errors import VaultError
from valetkey.model.caller import Owner
from valetkey.model.connections import Connection, Credential, Sealed, Subject
from valetkey.model.interactions import Interaction
from valetkey.model.revocations import Revocation
from valetkey.ports.world import Entropy
from valetkey.secret import Secret
from valetkey.vault.keyring import Keyring

Bound = tuple[str | int, ...]
"""What a ciphertext belongs to: it opens only where the very same parts are given."""

Part = Literal["payload", "answer"]

_VERSION = 1
_NONCE = 12
_PREFIX = 2  # the version, and the length of the key id
_decode = json.JSONDecoder().decode  # what json.loads does, without asking how
_KEY_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")


class Sealer:
    """Seals with the newest key; opens with whichever key sealed (NIST SP 800-38D, 96-bit random nonces).

    A sealed value is: one byte of version, one byte with the length of the key id, the key id, 12 bytes of
    nonce, ciphertext and tag. Version and key id are authenticated along with what the value is bound to.
    """

    def __init__(self, keyring: Keyring, entropy: Entropy) -> None:
        self.keyring = keyring
        self._entropy = entropy

    def seal(self, secret: Secret, *, bound: Bound, kept: bool = True) -> Sealed:
        """Seal one value for one place; one that is not ``kept`` in a store can be opened by this process only.

        Raises:
            KeyUnavailable: there is no key that can be used.
            VaultError: the newest key has an id that the format does not hold.
        """
        key_id = self.keyring.newest if kept else self.keyring.process(self._entropy.bytes)
        name = key_id.encode("ascii", "replace")
        if not _KEY_ID.fullmatch(name):
            raise VaultError("A vault key's id is 1 to 64 letters, digits, '-' or '_'. Rename the newest key.")
        head = bytes((_VERSION, len(name))) + name
        nonce = self._entropy.bytes(_NONCE)
        self.keyring.count(key_id)
        # Any str may be a secret, one with lone surrogates too: it comes back as it was.
        plain = secret.reveal().encode("utf-8", "surrogatepass")
        ciphertext = self.keyring.cipher(key_id, _workspace(bound)).encrypt(nonce, plain, _associated(head, bound))
        return Sealed(head + nonce + ciphertext)

    def open(self, sealed: Sealed, bound: Bound) -> Secret:
        """Open what was sealed for this place.

        Raises:
            KeyUnavailable: the key that sealed it is not here.
            VaultError: it was changed, or sealed for another place.
        """
        return Secret(self._plain(sealed, bound).decode("utf-8", "surrogatepass"))

    def seal_credential(
        self,
        credential: Credential,
        *,
        connection_id: str,
        owner: Owner,
        provider: str,
        generation: int,
        kept: bool = True,
    ) -> Sealed:
        """Seal a credential for one generation of one connection's row.

        Raises:
            KeyUnavailable: there is no key that can be used.
        """
        return self.seal(_held(credential), bound=_connection(connection_id, owner, provider, generation), kept=kept)

    def open_credential(self, connection: Connection) -> Credential:
        """The credential that a connection holds, in the clear.

        Raises:
            KeyUnavailable: the key that sealed it is not here.
            VaultError: the row was changed outside Valetkey, or its ciphertext was sealed for another one.
        """
        bound = _connection(connection.id, connection.owner, connection.provider, connection.generation)
        return _credential(self._plain(connection.sealed, bound))

    def seal_revocation(self, credential: Credential, *, revocation_id: str, owner: Owner, provider: str) -> Sealed:
        """Seal a credential that has to end at its provider, for one revocation.

        Raises:
            KeyUnavailable: there is no key that can be used.
        """
        return self.seal(_held(credential), bound=_revocation(revocation_id, owner, provider))

    def open_revocation(self, revocation: Revocation) -> Credential:
        """The credential that a revocation is to end, in the clear.

        Raises:
            KeyUnavailable: the key that sealed it is not here.
            VaultError: the row was changed outside Valetkey, or its ciphertext was sealed for another one.
        """
        bound = _revocation(revocation.id, revocation.owner, revocation.provider)
        return _credential(self._plain(revocation.sealed, bound))

    def seal_private(self, values: Mapping[str, object], *, interaction_id: str, owner: Owner, part: Part) -> Sealed:
        """Seal one private part of an interaction: JSON values by name.

        Raises:
            KeyUnavailable: there is no key that can be used.
            TypeError: a value that JSON does not have.
        """
        return self.seal(_json(values), bound=_interaction(interaction_id, owner, part))

    def open_private(self, interaction: Interaction, part: Part) -> dict[str, Any]:
        """One private part of an interaction.

        Raises:
            KeyUnavailable: the key that sealed it is not here.
            VaultError: there is no such part, it was changed, or it was sealed for another interaction.
        """
        sealed = interaction.payload if part == "payload" else interaction.answer
        if sealed is None:
            raise VaultError(f"This question has no {part} yet. Wait until the person has answered.")
        return _parsed(self._plain(sealed, _interaction(interaction.id, interaction.owner, part)))

    def reseal_connection(self, connection: Connection) -> Sealed:
        """What a connection's row holds, sealed anew with the newest key for the very same place.

        The bytes go over as they are: what a newer version wrote into them stays.

        Raises:
            KeyUnavailable: the key that sealed it is not here.
            VaultError: it was changed, or sealed for another place.
        """
        owner, generation = connection.owner, connection.generation
        return self.reseal(connection.sealed, _connection(connection.id, owner, connection.provider, generation))

    def reseal_private(self, interaction: Interaction, part: Part) -> Sealed:
        """As ``reseal_connection``, for one private part of an interaction."""
        sealed = interaction.payload if part == "payload" else interaction.answer
        return self.reseal(sealed or Sealed(b""), _interaction(interaction.id, interaction.owner, part))

    def reseal_revocation(self, revocation: Revocation) -> Sealed:
        """As ``reseal_connection``, for a revocation."""
        return self.reseal(revocation.sealed, _revocation(revocation.id, revocation.owner, revocation.provider))

    def reseal(self, sealed: Sealed, bound: Bound) -> Sealed:
        """As ``reseal_connection``, for any value and its place."""
        return self.seal(self.open(sealed, bound), bound=bound)

    def _plain(self, sealed: Sealed, bound: Bound) -> bytes:
        if len(sealed) < _PREFIX or sealed[0] != _VERSION:
            raise _closed()
        nonce_at = _PREFIX + sealed[1]
        name, data_at = sealed[_PREFIX:nonce_at], nonce_at + _NONCE
        # An id that no key can have is damage, and must not get into a message.
        if len(sealed) < data_at or not _KEY_ID.fullmatch(name):
            raise _closed()
        cipher = self.keyring.cipher(name.decode("ascii"), _workspace(bound))
        associated = _associated(sealed[:nonce_at], bound)
        try:
            return cipher.decrypt(sealed[nonce_at:data_at], sealed[data_at:], associated)
        except _invalid_tag() as error:
            raise _closed() from error


def _invalid_tag() -> type[Exception]:
    # Python asks for it only when there is an exception to compare with.
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - Pocket loads without it

    return InvalidTag


def _workspace(bound: Bound) -> str:
    """What a row is bound to begins with its table and its workspace, which has a key of its own."""
    return str(bound[1]) if len(bound) > 1 else ""


def _associated(head: bytes, bound: Bound) -> bytes:
    # A text goes with its length, a number with its end: no two lists of parts have the same encoding.
    parts = [f"s{len(part)}:{part}" if isinstance(part, str) else f"i{part:d};" for part in bound]
    return head + "".join(parts).encode("utf-8", "surrogatepass")


def _connection(connection_id: str, owner: Owner, provider: str, generation: int) -> Bound:
    return ("connection", owner.workspace, owner.issuer, owner.subject, connection_id, generation, provider)


def _interaction(interaction_id: str, owner: Owner, part: Part) -> Bound:
    return ("interaction", owner.workspace, owner.issuer, owner.subject, interaction_id, part)


def _revocation(revocation_id: str, owner: Owner, provider: str) -> Bound:
    return ("revocation", owner.workspace, owner.issuer, owner.subject, revocation_id, provider)


def registered_at(registration_id: str) -> Bound:
    """The place of a client that we registered: nobody's workspace."""
    return ("client", "", registration_id)


def _held(credential: Credential) -> Secret:
    held: dict[str, object] = {"access_token": credential.access_token.reveal()}
    if credential.refresh_token is not None:
        held["refresh_token"] = credential.refresh_token.reveal()
    if credential.fields:
        held["fields"] = {name: value.reveal() for name, value in credential.fields.items()}
    held["token_type"] = credential.token_type
    if credential.client_id:
        held["client_id"] = credential.client_id
    if credential.dpop_key is not None:
        held["dpop_key"] = credential.dpop_key.reveal()
    if credential.subject is not None:
        whose = credential.subject
        held["subject"] = {"iss": whose.issuer, "sub": whose.subject, "aud": sorted(whose.audience)}
    if credential.context_class is not None:
        held["context_class"] = credential.context_class
    if credential.context is not None:
        held["context"] = credential.context.reveal()
    return _json(held)


def _credential(plain: bytes) -> Credential:
    held = _parsed(plain)
    try:
        refresh, context, bound = held.get("refresh_token"), held.get("context"), held.get("dpop_key")
        return Credential(
            access_token=Secret(held["access_token"]),
            refresh_token=None if refresh is None else Secret(refresh),
            fields={name: Secret(value) for name, value in held.get("fields", {}).items()},
            token_type=held["token_type"],
            client_id=held.get("client_id", ""),
            subject=_subject(held.get("subject")),
            dpop_key=None if bound is None else Secret(bound),
            context_class=held.get("context_class"),
            context=None if context is None else Secret(context),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise _unreadable() from error


def _subject(held: dict[str, Any] | None) -> Subject | None:
    if held is None:
        return None
    return Subject(issuer=held["iss"], subject=held["sub"], audience=frozenset(held["aud"]))


def _json(values: Mapping[str, object]) -> Secret:
    return Secret(json.dumps(values, separators=(",", ":")))


def _parsed(plain: bytes) -> dict[str, Any]:
    try:
        values = _decode(plain.decode())
    except ValueError as error:
        raise _unreadable() from error
    if not isinstance(values, dict):
        raise _unreadable()
    return values


def _closed() -> VaultError:
    return VaultError(
        "The secret in this row cannot be opened: the row was changed outside Valetkey, or its secret was"
        " sealed for another row. Connect the account again; if many rows say so, restore the database."
    )


def _unreadable() -> VaultError:
    return VaultError(
        "The secret in this row was opened and is in a form that this version does not read. Upgrade"
        " valetkey, or connect the account again."
    )
