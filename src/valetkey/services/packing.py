"""What instances tell each other of clients, services and messages, as plain values and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack

from valetkey.model.needs import Need, Needs
from valetkey.model.services import Member, Registered
from valetkey.services.frames import Message
from valetkey.services.relay import Stamp

_MESSAGE = (
    "method",
    "to",
    "sender",
    "session",
    "parent",
    "args",
    "with_kwargs",
    "promised",
    "star",
    "interval",
)
_SERVICE = (
    "workspace",
    "client",
    "id",
    "type",
    "name",
    "description",
    "docs",
    "app_id",
    "visibility",
    "require_context",
    "singleton",
    "authorized_workspaces",
    "config",
    "schema",
    "registrant",
    "delegated",
)


def pack(value: Any) -> bytes:
    """Plain values as bytes.

    Raises:
        TypeError, ValueError, OverflowError: there is one that msgpack does not have.
    """
    return bytes(msgpack.packb(value, default=_plain, unicode_errors="surrogatepass"))


def unpack(data: bytes) -> Any:
    """And back; sequences come as lists.

    Raises:
        ValueError: it cannot be read.
    """
    return msgpack.unpackb(data, strict_map_key=False, unicode_errors="surrogatepass")


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is no plain value")


def of_member(member: Member) -> list[Any]:
    """A client, but for its instance: that is who says so."""
    return [member.workspace, member.client, member.principal, member.user, member.since, member.name]


def member(packed: list[Any], *, instance: str) -> Member:
    """And back, as one of that instance's."""
    workspace, client, (issuer, subject), user, since, name = packed
    return Member(
        workspace=workspace,
        client=client,
        instance=instance,
        principal=(issuer, subject),
        user=user,
        since=since,
        name=name,
    )


def of_service(service: Registered) -> list[Any]:
    """A service."""
    needs = [
        [[each.provider, sorted(each.scopes), each.handler] for each in alternative]
        for alternative in service.needs.alternatives
    ]
    return [*(getattr(service, name) for name in _SERVICE), needs]


def service(packed: list[Any]) -> Registered:
    """And back."""
    *values, needs = packed
    about = dict(zip(_SERVICE, values, strict=True))
    require = about["require_context"]
    issuer, subject = about["registrant"]
    about |= {
        "require_context": tuple(require) if isinstance(require, list) else require,
        "authorized_workspaces": frozenset(about["authorized_workspaces"]),
        "registrant": (issuer, subject),
        "needs": Needs(
            tuple(
                tuple(
                    Need(provider=provider, scopes=frozenset(scopes), handler=handler)
                    for provider, scopes, handler in each
                )
                for each in needs
            )
        ),
    }
    return Registered(**about)


def of_message(message: Message, stamp: Stamp) -> list[Any]:
    """A message, and what is said of its sender."""
    values = [getattr(message, name) for name in _MESSAGE]
    return [values, sorted(message.references), stamp.workspace, stamp.user, stamp.more]


def message(packed: list[Any]) -> tuple[Message, Stamp]:
    """And back; who it is, another instance has found out."""
    values, references, workspace, user, more = packed
    about = dict(zip(_MESSAGE, values, strict=True))
    made = Message(**about, references=frozenset((target, method) for target, method in references))
    return made, Stamp(workspace=workspace, user=user, more=more)
