"""What a person gives a chat session for its tools: five kinds, kept as connections that end with the session."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from valetkey.model.connections import Credential
from valetkey.secret import Secret

SESSION = "session"
"""The provider of what a chat session was given."""

API_KEY_HEADER = "X-API-Key"
"""Where an API key goes that names no header."""


class SessionKind(StrEnum):
    """The five kinds, as seed 003 names them."""

    BEARER_TOKEN = "bearer_token"
    BASIC_AUTH = "basic_auth"
    API_KEY = "api_key"
    OAUTH2 = "oauth2"
    CUSTOM = "custom"


def handler_name(kind: SessionKind) -> str:
    """The auth handler that lends a session's credential of that kind."""
    return f"{SESSION}-{kind.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCredential:
    """What was given, checked.

    Attributes:
        fields: ``token``; ``username`` and ``password``; ``api_key``; ``client_id`` and ``client_secret``.
        headers: of kind custom: what is sent, by name.
        header: of kind api_key: its header.
        token_url: of kind oauth2: the token endpoint.
        scope: of kind oauth2: what is asked for; empty: what the operation declares.
    """

    kind: SessionKind
    fields: Mapping[str, Secret] = field(default_factory=dict)
    headers: Mapping[str, Secret] = field(default_factory=dict)
    header: str = API_KEY_HEADER
    token_url: str = ""
    scope: str = ""


def credential_of(given: SessionCredential) -> Credential:
    """The same as a connection holds it: what is a secret, and nothing else, is a secret value of it.

    Of kind api_key and custom the fields are the headers that are sent. A user name and a client id are no secrets
    (RFC 6749 §2.2): starred, they would be missing from every answer that names the person.
    """
    fields = given.fields
    match given.kind:
        case SessionKind.BEARER_TOKEN:
            return Credential(access_token=fields["token"])
        case SessionKind.BASIC_AUTH:
            username, password = fields["username"], fields["password"]
            pair = f"{username.reveal()}:{password.reveal()}".encode()  # RFC 7617 §2.1
            basic = Secret(base64.b64encode(pair).decode())
            return Credential(access_token=Secret(""), fields={"password": password, "basic": basic})
        case SessionKind.API_KEY:
            return Credential(access_token=fields["api_key"], fields={given.header: fields["api_key"]})
        case SessionKind.OAUTH2:
            return Credential(
                access_token=Secret(""),
                fields={"client_secret": fields["client_secret"]},
                client_id=fields["client_id"].reveal(),
            )
        case SessionKind.CUSTOM:
            return Credential(access_token=Secret(""), fields=given.headers)


def held(credential: Credential) -> tuple[Secret, ...]:
    """All that an answer may repeat: the values, and the password in a header of Basic."""
    values = [value for value in (credential.access_token, *credential.fields.values()) if value]
    return (*values, *filter(None, map(_password, values)))


def _password(value: Secret) -> Secret | None:
    scheme, _, coded = value.reveal().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        pair = base64.b64decode(coded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return Secret(pair.partition(":")[2])
