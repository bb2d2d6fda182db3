"""A service as a client describes it, checked, and as others may be told of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from valetkey.errors import Denied, InvalidArguments
from valetkey.model.needs import PUBLIC, Need, Needs
from valetkey.model.services import BUILT_IN, NAME, VISIBILITIES, Member, Registered, Visibility
from valetkey.services.asking import mapping, plain

if TYPE_CHECKING:
    from valetkey.services.directory import Directory

LARGEST = 65_536
"""Bytes that a service's description, config and schema may have as JSON, all in all."""

MOST_AUTHORIZED = 1000
"""Workspaces that one service may name."""

MOST_NEEDS = 16
"""Accounts of its caller that one service may ask for."""

MOST_BYTES = 1_048_576
"""Bytes that all services of one client may say of themselves, as JSON."""

_LONGEST_FACT = 1024
_OWN_KEYS = frozenset({"created_by", "service_embedding", "workspace", "url"})
_LOCAL = "_rintf_"


class Shares:
    """How much each client's services say of themselves; a `Watcher` of the directory."""

    def __init__(self, directory: Directory) -> None:
        self._sizes: dict[str, dict[str, int]] = {}
        directory.watch(self)

    def take(self, service: Registered) -> None:
        """Count one that is to be registered, in place of one of that id.

        Raises:
            InvalidArguments: it is too much, with the client's others.
        """
        there = self._sizes.setdefault(service.peer, {})
        size = len(json.dumps(service.info()))
        others = sum(each for name, each in there.items() if name != service.id)
        if others + size > MOST_BYTES:
            raise InvalidArguments(
                f"The services of {service.peer} say {others + size} bytes of themselves, and may say {MOST_BYTES}."
            )
        there[service.id] = size

    def joined(self, member: Member) -> None:
        """See `Watcher`: nothing is to be done."""

    def registered(self, service: Registered) -> None:
        """See `Watcher`: nothing is to be done."""

    def unregistered(self, service: Registered) -> None:
        """It counts no more."""
        self._sizes.get(service.peer, {}).pop(service.id, None)

    def left(self, member: Member, services: tuple[Registered, ...]) -> None:
        """None of its services counts any more."""
        self._sizes.pop(member.peer, None)


def is_local(service_id: str, config: Mapping[str, Any]) -> bool:
    """Whether a client's library keeps it to itself: a proxy for callbacks, which nobody is told of."""
    return service_id.startswith(_LOCAL) or config.get("_local_only") is True


def service_of(given: Mapping[str, Any], member: Member) -> Registered:
    """The service that a client registers.

    Args:
        given: what it says of it: id, name, type, description, docs, app_id, config, service_schema.
        member: the client.

    Raises:
        InvalidArguments: that can be none.
        Denied: it would be another client's.
    """
    service_id = own_id(given.get("id"), member)
    config = mapping(given.get("config"), "config")
    schema = mapping(given.get("service_schema"), "service_schema")
    facts = {name: _fact(given, name) for name in ("name", "description", "docs", "app_id", "type")}
    kept = {key: value for key, value in config.items() if key not in _OWN_KEYS}
    plain({**facts, "config": kept, "schema": schema}, f"The service {service_id}", most=LARGEST)
    kept["created_by"] = {"id": member.user.get("id", member.principal[1])}
    visibility = config.get("visibility", "protected")
    if visibility not in VISIBILITIES:
        raise InvalidArguments(f"visibility is one of {', '.join(VISIBILITIES)}, and not {str(visibility)[:40]!r}.")
    app_id = facts["app_id"] or "*"
    if app_id != "*" and not NAME.fullmatch(app_id):
        raise InvalidArguments("app_id is of letters, digits, dot, hyphen, low line, tilde; at most 128 of them.")
    return Registered(
        workspace=member.workspace,
        client=member.client,
        id=service_id,
        type=BUILT_IN if service_id == BUILT_IN else facts["type"] or "generic",
        name=facts["name"] or service_id,
        description=facts["description"],
        docs=facts["docs"],
        app_id=app_id,
        # What a client's library offers is for its workspace, and for those who have to do with it: see the relay.
        visibility="protected" if service_id == BUILT_IN else cast("Visibility", visibility),
        require_context=_require_context(config.get("require_context", False)),
        singleton=_flag(config, "singleton"),
        authorized_workspaces=_authorized(config.get("authorized_workspaces"), visibility),
        config=kept,
        schema=schema,
        registrant=member.principal,
        delegated=bool(member.user.get("parent")),
        needs=_needs(config.get("needs")),
    )


def own_id(given: object, member: Member) -> str:
    """The id of a service among those of its client; ``ws/client:id``, ``client:id``, or the id alone.

    Raises:
        InvalidArguments: it can be none.
        Denied: it is another client's.
    """
    if not isinstance(given, str) or len(given) > 3 * 128 + 8:
        raise InvalidArguments("A service has an id, a text such as my-service.")
    place, colon, service_id = given.partition(":")
    workspace, slash, client = (place if colon else given).rpartition("/")
    service_id = service_id if colon else client
    service_id = service_id.partition("@")[0]
    if slash and workspace != member.workspace:
        raise Denied(
            f"Service ID workspace prefix '{workspace}' does not match the current workspace '{member.workspace}'."
            " Cannot register services in other workspaces."
        )
    if colon and client != member.client:
        raise Denied(f"The client {member.client} cannot register services of another one.")
    if not NAME.fullmatch(service_id) or "." in service_id:
        # Calls name services.<id>.<function>, and clients' libraries part that at each dot.
        raise InvalidArguments(
            "A service's id is of letters and signs (A-Z, a-z, 0-9, low line, hyphen, tilde, |), at most 128 of them."
            " It has no dot, for services.<id>.<function> is parted there, and no slash."
        )
    return service_id


def _fact(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or (name != "docs" and len(value) > _LONGEST_FACT):
        raise InvalidArguments(f"The {name} of a service is a text of at most {_LONGEST_FACT} characters.")
    return value


def _flag(config: Mapping[str, Any], name: str) -> bool:
    value = config.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidArguments(f"{name} is true or false.")
    return bool(value)


def _require_context(value: object) -> bool | tuple[str, ...]:
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return tuple(value)
    raise InvalidArguments("require_context is true, false, or a list of functions.")


def _authorized(value: object, visibility: str) -> frozenset[str]:
    if value is None:
        return frozenset()
    if visibility != "protected":
        raise InvalidArguments(
            f"authorized_workspaces can only be set when visibility is 'protected', got visibility='{visibility}'"
        )
    if (
        not isinstance(value, list | tuple)
        or len(value) > MOST_AUTHORIZED
        or not all(isinstance(each, str) and 0 < len(each) <= 256 for each in value)  # noqa: PLR2004
    ):
        raise InvalidArguments(f"authorized_workspaces is a list of at most {MOST_AUTHORIZED} names of workspaces.")
    return frozenset(value)


def _needs(value: object) -> Needs:
    if value is None or value == []:
        return PUBLIC
    if not isinstance(value, list | tuple) or len(value) > MOST_NEEDS:
        raise InvalidArguments(f"needs is a list of at most {MOST_NEEDS}, each {{'provider': …, 'scopes': […]}}.")
    return Needs((tuple(_need(each) for each in value),))


def _need(value: object) -> Need:
    given = mapping(value, "Each of needs")
    provider, scopes = given.get("provider"), given.get("scopes") or []
    known = given.keys() <= {"provider", "scopes"}
    named = isinstance(provider, str) and NAME.fullmatch(provider) is not None
    listed = isinstance(scopes, list | tuple) and all(isinstance(each, str) and each for each in scopes)
    if not (known and named and listed):
        raise InvalidArguments("Each of needs has a provider, and scopes, a list of texts: nothing else.")
    return Need(provider=cast("str", provider), scopes=frozenset(scopes))
