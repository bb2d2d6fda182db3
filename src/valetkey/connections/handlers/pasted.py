"""Token, basic, key pair: the fields that the catalogue names."""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote

from valetkey.connections.handler import Begun, Flow, Handler, basic, placed
from valetkey.connections.variables import ACCESS_TOKEN, filled, mapping_of
from valetkey.connections.whose import Whose, subject_of
from valetkey.errors import InvalidAnswer, RefreshFailed
from valetkey.model.calls import Loan
from valetkey.model.connections import Credential, Grant
from valetkey.providers.base import HandlerEntry, HandlerKind, PastedField, Provider, Userinfo
from valetkey.secret import Secret

LONGEST = 8192
"""Bytes of one pasted value."""

PATHS: Mapping[HandlerKind, str] = {
    HandlerKind.TOKEN: "token",
    HandlerKind.BASIC: "basicauth",
    HandlerKind.KEY_PAIR: "keypair",
}
"""The last part of the page's path, for each kind."""

# No field's name begins so: what the provider said of the values, kept beside them until they are saved.
_ACCOUNT, _SUBJECT, _NOTE = "=account", "=subject", "=note"

_FIELDS: Mapping[HandlerKind, tuple[PastedField, ...]] = {
    HandlerKind.TOKEN: (PastedField(name="user_token", label="Token"),),
    HandlerKind.BASIC: (
        PastedField(name="username", label="User name", secret=False),
        PastedField(name="password", label="Password"),
    ),
    HandlerKind.KEY_PAIR: (
        PastedField(name="api_key", label="API key", secret=False),
        PastedField(name="private_key", label="Private key"),
    ),
}


class PastedHandler(Handler):
    """An account connected by values that a person pastes into our page.

    Args:
        provider, entry: what the catalogue says, settled.
        whose: tries the values at the provider, where the entry says how; None: they are kept untried.

    Attributes:
        kind: which page asks for them.
        fields: what it asks for, in order: the entry's, else the usual ones of its kind.
    """

    def __init__(self, *, provider: Provider, entry: HandlerEntry, whose: Whose | None = None) -> None:
        self.name = entry.name
        self.provider = provider
        self.scoped = False
        self.default = entry.default
        self.kind = entry.kind
        self.fields = entry.fields or _FIELDS[entry.kind]
        self._entry = entry
        self._whose = whose

    async def begin(self, flow: Flow) -> Begun:
        """Make the link to our own page."""
        path = f"{quote(self.provider.name, safe='')}/{PATHS[self.kind]}"
        return Begun(url=f"{flow.pages}/auth/{path}?state={quote(flow.state, safe='')}")

    def judge(self, private: Mapping[str, str], parameters: Sequence[tuple[str, str]]) -> Mapping[str, str]:
        """The pasted values, checked; no message ever repeats one.

        Raises:
            InvalidAnswer: a field is missing, or holds what can be no such value; the text names it.
        """
        return {field.name: self._value(field, parameters) for field in self.fields}

    async def tried(self, answer: Mapping[str, str]) -> Mapping[str, str]:
        """The values, with what the provider says of them, where its entry has a way to ask."""
        if self._whose is None or self._entry.userinfo is None:
            return answer
        account, note = await self._whose.tried(self, self._credential(answer))
        return {**answer, _ACCOUNT: account.name, _SUBJECT: account.subject, _NOTE: note}

    async def asks(self) -> Userinfo | None:
        """The entry's request."""
        return self._entry.userinfo

    async def finish(self, flow: Flow, private: Mapping[str, str], answer: Mapping[str, str]) -> Grant:
        """Keep the values: a token as the access token, the others by their names.

        A user name and password are kept as the base64 of both, too (RFC 7617 §2).
        """
        subject = subject_of(self._entry.userinfo, answer.get(_SUBJECT, ""))
        return Grant(
            credential=replace(self._credential(answer), subject=subject),
            account=answer.get(_ACCOUNT) or None,
            note=answer.get(_NOTE, ""),
        )

    def _credential(self, answer: Mapping[str, str]) -> Credential:
        values = {field.name: Secret(answer[field.name]) for field in self.fields}
        token = Secret("")
        if self.kind is HandlerKind.TOKEN:
            token = values.pop(ACCESS_TOKEN) if ACCESS_TOKEN in values else values[self.fields[0].name]
        if self.kind is HandlerKind.BASIC:
            values["basic"] = _basic(values["username"], values["password"])
        return Credential(access_token=token, fields=values)

    async def refresh(self, credential: Credential, scopes: frozenset[str]) -> Grant:
        """Nothing renews a pasted value."""
        raise RefreshFailed(
            f"What was pasted for {self.provider.title} cannot be renewed. Get a new one there, and connect again."
        )

    def variables(self, credential: Credential) -> Mapping[str, Secret]:
        """The entry's variables."""
        return filled(mapping_of(self._entry, self.provider), credential)

    def variable_names(self) -> frozenset[str]:
        """Their names."""
        return frozenset(mapping_of(self._entry, self.provider))

    def loan(self, credential: Credential) -> Loan:
        """A token where the provider takes it, a user name and password as Basic; a key pair no header holds."""
        pair, token = credential.fields.get("basic"), credential.access_token
        if pair:
            return basic(self.name, pair)
        return placed(self.name, token, self._entry.placement) if token else Loan(handler=self.name)

    def _value(self, field: PastedField, parameters: Sequence[tuple[str, str]]) -> str:
        given = [value for name, value in parameters if name == field.name]
        if len(given) > 1:
            raise InvalidAnswer(f"{field.label} was sent twice. Fill in the form again.")
        value = "".join(given).strip()
        if not value:
            raise InvalidAnswer(f"{field.label} is empty. Paste it and send the form again.")
        if len(value.encode(errors="replace")) > LONGEST:
            raise InvalidAnswer(f"{field.label} is longer than {LONGEST} bytes. Paste the value only.")
        # RFC 7617 §2.1: a user name and password may be UTF-8, normalised; anything else goes into a header as it is.
        checked = _text(field, value) if self.kind is HandlerKind.BASIC else _ascii(field, value)
        if self.kind is HandlerKind.BASIC and field.name == "username" and ":" in checked:
            raise InvalidAnswer(f"{field.label} must not hold a colon (RFC 7617 §2).")
        return checked


def _basic(username: Secret, password: Secret) -> Secret:
    return Secret(base64.b64encode(f"{username.reveal()}:{password.reveal()}".encode()).decode())


def _ascii(field: PastedField, value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise InvalidAnswer(
            f"{field.label} holds a line break, a control character or a letter that is not ASCII. Copy it again, "
            "without anything around it."
        )
    if value.split(maxsplit=1)[0].lower() == "bearer":
        raise InvalidAnswer(f"{field.label} begins with the word Bearer. Paste what comes after it.")
    return value


def _text(field: PastedField, value: str) -> str:
    value = unicodedata.normalize("NFC", value)
    # Line breaks, controls, direction marks, lone surrogates; a space is printable.
    if any(unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for char in value):
        raise InvalidAnswer(f"{field.label} holds a line break or a character that cannot be seen. Copy it again.")
    return value
