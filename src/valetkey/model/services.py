"""Registered: a service that a program registered, as others may be told of it. Peers: who takes part in RPC."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from valetkey.model.needs import PUBLIC, Needs

Visibility = Literal["public", "protected", "unlisted"]

VISIBILITIES: tuple[Visibility, ...] = ("public", "protected", "unlisted")

BUILT_IN = "built-in"
"""The service that each client's own library registers for itself."""

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.~|-]{0,127}")
"""What a client or a service may be called: nothing that parts an address in two."""


RESERVED = ("manager-", "http-", "server-")
"""What ids of clients do not begin with: those are the server's own, of whichever instance."""


def peer_of(workspace: str, client: str) -> str:
    """The address of a client: ``workspace/client``."""
    return f"{workspace}/{client}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One client that is connected, on whichever instance.

    Attributes:
        instance: the process that has its socket.
        principal: (issuer, subject) of whoever presented its token.
        user: who that is, as seed 004 spells it.
        since: seconds since the epoch.
        name: what the program calls itself.
    """

    workspace: str
    client: str
    instance: str
    principal: tuple[str, str]
    user: Mapping[str, Any] = field(default_factory=dict)
    since: float = 0.0
    name: str = ""

    @property
    def peer(self) -> str:
        """Its address."""
        return peer_of(self.workspace, self.client)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """One service of one client.

    Attributes:
        id: its name among the client's services.
        require_context: whether functions are told who calls, as ``context``; or those of them that are.
        singleton: whether no other client of the workspace may register one of that name.
        authorized_workspaces: whose callers see a protected one, too.
        config: as it was given, JSON values only.
        schema: what it offers, by name, nested (``service_schema``).
        registrant: (issuer, subject) of the program that answers.
        delegated: whether that program has a token that somebody made for it, and not their own: it is then nobody's
            own.
        needs: the accounts of its caller that it asks for (``config["needs"]``).
    """

    workspace: str
    client: str
    id: str
    type: str = "generic"
    name: str = ""
    description: str = ""
    docs: str = ""
    app_id: str = "*"
    visibility: Visibility = "protected"
    require_context: bool | tuple[str, ...] = False
    singleton: bool = False
    authorized_workspaces: frozenset[str] = frozenset()
    config: Mapping[str, Any] = field(default_factory=dict)
    schema: Mapping[str, Any] = field(default_factory=dict)
    registrant: tuple[str, str] = ("", "")
    delegated: bool = False
    needs: Needs = PUBLIC

    @property
    def peer(self) -> str:
        """The address of its client."""
        return peer_of(self.workspace, self.client)

    @property
    def full_id(self) -> str:
        """``workspace/client:id``."""
        return f"{self.peer}:{self.id}"

    def info(self) -> dict[str, Any]:
        """What may be told of it."""
        return {
            "id": self.full_id,
            "name": self.name or self.id,
            "type": self.type,
            "description": self.description,
            "docs": self.docs,
            "app_id": self.app_id,
            "config": {
                **self.config,
                "visibility": self.visibility,
                "require_context": list(self.require_context)
                if isinstance(self.require_context, tuple)
                else self.require_context,
                "workspace": self.workspace,
            },
            "service_schema": dict(self.schema),
            "functions": [".".join(path) for path, _ in functions_of(self.schema)],
        }


def functions_of(schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """The functions of a ``service_schema``: path and JSON schema ``{name, description, parameters}``, by name."""
    for name in sorted(schema):
        each = schema[name]
        if not isinstance(each, Mapping):
            continue
        if each.get("type") == "function" and isinstance(each.get("function", {}), Mapping):
            yield (name,), each.get("function", {})
        elif "type" not in each:
            yield from (((name, *path), found) for path, found in functions_of(each))


def schema_at(schema: Mapping[str, Any], path: Sequence[str]) -> Mapping[str, Any] | None:
    """The schema of one function; None: there is none of that name."""
    return next((found for each, found in functions_of(schema) if list(each) == list(path)), None)
