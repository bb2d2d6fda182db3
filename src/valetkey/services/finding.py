"""Find a service: by its id in a workspace, of the server's own and of clients', for whoever may see it."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from valetkey.errors import Denied, InvalidArguments, NotFound
from valetkey.identity.powers import check_general
from valetkey.model.services import BUILT_IN, Registered
from valetkey.model.users import UserPermission
from valetkey.model.workspaces import PUBLIC
from valetkey.services.asking import mapping, need
from valetkey.services.choosing import Chooser
from valetkey.services.sight import Sight, Who
from valetkey.services.table import Service, ServiceTable
from valetkey.services.turns import Breath

if TYPE_CHECKING:
    from valetkey.services.directory import Directory

Found = Service | Registered

LONGEST = 700
"""Characters of a query."""

MOST_TOLD = 4_194_304
"""Bytes that one answer tells of services, as JSON."""

_ANY = "*"
_LOOK = 40  # steps for one service that is looked at
_KEYS = frozenset({"visibility", "workspace", "client_id", "service_id", "type", "app_id"})


class Settles(Protocol):
    """The way to other instances, as far as it is asked here."""

    async def settle(self) -> None:
        """Return once what the others have announced is known here."""
        ...


@dataclass(frozen=True, slots=True)
class Query:
    """Which service is meant; ``*`` stands for any."""

    workspace: str
    client: str
    service: str
    app: str = _ANY

    @property
    def text(self) -> str:
        """As it may be repeated."""
        return f"{self.workspace}/{self.client}:{self.service}@{self.app}"


def parse(query: object, workspace: str) -> Query:
    """``id``, ``workspace/id``, ``client:id``, ``workspace/client:id``, each with ``@app``.

    Raises:
        InvalidArguments: it is none of these, or names no service or all workspaces.
    """
    if not isinstance(query, str) or not 0 < len(query) <= LONGEST:
        raise InvalidArguments("Service ID must be a string, such as my-service or workspace/client:my-service.")
    for mark in "/:@":
        if query.count(mark) > 1:
            raise InvalidArguments(f"Service id must contain at most one '{mark}'")
    place, slash, rest = query.rpartition("/")
    name, _, app = rest.partition("@")
    client, colon, service = name.rpartition(":")
    if slash and place in ("", _ANY):
        raise InvalidArguments(
            "You must specify a workspace for the service query, otherwise please call list_services to find the"
            " service."
        )
    if service in ("", _ANY):
        raise InvalidArguments(f"Invalid service id: {query}, it cannot be a wildcard.")
    return Query(place if slash else workspace, client if colon else _ANY, service, app or _ANY)


class Finder:
    """For use on the home loop.

    Args:
        table: the server's own services.
        chooser: takes one of several.
        mesh: the way to other instances; None: there are none.
    """

    def __init__(
        self,
        *,
        table: ServiceTable,
        directory: Directory | None,
        sight: Sight,
        chooser: Chooser,
        mesh: Settles | None = None,
    ) -> None:
        self._table = table
        self._directory = directory
        self._sight = sight
        self._chooser = chooser
        self.mesh = mesh

    async def resolve(self, query: object, who: Who, *, mode: str | None = None) -> Found:
        """The one service that is meant, of those that this caller may use.

        Args:
            query: as `parse` reads it.
            who: who asks; an id alone is one of their workspace.
            mode: how one of several is chosen: random, first, last, exact, min_load, native:random, or
                select:criteria:function. By default random in the workspace public, and exact elsewhere.

        Raises:
            NotFound: there is none.
            Denied: there is, and not for this caller.
            InvalidArguments: the query or the mode can be none, or several fit.
        """
        wanted = parse(query, who.workspace)
        if wanted.client in (_ANY, self._table.client) and self._table.has(wanted.workspace, wanted.service):
            return await self._table.get(wanted.service, who, workspace=wanted.workspace)
        there = self._candidates(wanted)
        if not there and self.mesh is not None:
            await self.mesh.settle()
            there = self._candidates(wanted)
        seen = View(self._sight, who)
        visible = [service for service in there if await seen.may_use(service)]
        if there and not visible:
            check_general(who.caller)
            raise Denied(f"Permission denied for non-public service in workspace {wanted.workspace}")
        if not visible:
            raise NotFound(f"Service not found: {wanted.text}")
        return await self._chooser.choose(visible, mode or ("random" if wanted.workspace == PUBLIC else "exact"), who)

    async def matching(self, query: object, who: Who, *, include_unlisted: bool = False) -> list[Found]:
        """Services of a workspace, or of all, that this caller may know of.

        Args:
            query: a dict of visibility, workspace, client_id, service_id (or id), type, app_id, each a pattern with
                ``*``; or a text such as ``workspace``, ``workspace/id``, ``workspace/client:id``.
            who: who asks.
            include_unlisted: their own workspace's unlisted ones, too.

        Raises:
            Denied: unlisted ones of another workspace were asked for.
            InvalidArguments: the query can be none.
        """
        wanted = _filter(query, who.workspace)
        workspace, visibility = wanted["workspace"], wanted["visibility"]
        if workspace == _ANY and visibility in ("protected", "unlisted"):
            raise InvalidArguments("Cannot list protected or unlisted services in all workspaces.")
        hidden = include_unlisted or visibility == "unlisted"
        if hidden and workspace != who.workspace:
            raise Denied(
                f"Cannot include unlisted services from workspace {workspace}. Only services from your current"
                f" workspace ({who.workspace}) can include unlisted services."
            )
        if hidden:
            await need(self._sight, who, workspace, UserPermission.read)
        seen, breath = View(self._sight, who), Breath()
        found: list[Found] = []
        for service in self._all(workspace, built_in=BUILT_IN in (wanted["service_id"], wanted["type"])):
            await breath.after(_LOOK)
            everywhere = workspace == _ANY and service.workspace != who.workspace
            if (service.visibility == "unlisted" and not hidden) or (everywhere and service.visibility != "public"):
                continue
            if _fits(service, wanted) and await seen.may_use(service):
                found.append(service)
        return found

    async def told(
        self, services: Iterable[Found], who: Who, *, pick: Callable[[dict[str, Any]], dict[str, Any]] = dict
    ) -> list[dict[str, Any]]:
        """What this caller may be told of each of these.

        Args:
            services: of which.
            who: who asks.
            pick: takes of the facts what is asked for.

        Raises:
            InvalidArguments: that is more than fits in one answer.
        """
        seen, breath = View(self._sight, who), Breath()
        found: list[dict[str, Any]] = []
        size = 0
        for service in services:
            facts = await seen.told(service)
            found.append(pick(facts))
            more = len(json.dumps(found[-1], default=str))
            size += more
            if size > MOST_TOLD:
                raise InvalidArguments(
                    f"What may be told of these services is more than {MOST_TOLD} bytes. Narrow the query, by"
                    " workspace, type or service_id; or search_services with limit, offset and return_fields."
                )
            await breath.after(_LOOK + more)
        return found

    def _all(self, workspace: str, *, built_in: bool) -> list[Found]:
        own: list[Found] = [service for service in self._table.every() if workspace in (_ANY, service.workspace)]
        if self._directory is None:
            return own
        place = None if workspace == _ANY else workspace
        return [*own, *self._directory.services(place, built_in=built_in)]

    def _candidates(self, wanted: Query) -> list[Registered]:
        if self._directory is None:
            return []
        if wanted.client == _ANY:
            there = self._directory.named(wanted.workspace, wanted.service)
        else:
            one = self._directory.service(f"{wanted.workspace}/{wanted.client}", wanted.service)
            there = [] if one is None else [one]
        return [each for each in there if wanted.app in (_ANY, each.app_id)]


class View:
    """What one caller may see, each workspace asked about once."""

    def __init__(self, sight: Sight, who: Who) -> None:
        self._sight = sight
        self._who = who
        self._reads: dict[str, bool] = {}
        self._uses: dict[tuple[str, frozenset[str]], bool] = {}

    async def may_use(self, service: Found) -> bool:
        """Whether it is there for them."""
        if service.visibility != "protected":
            return True
        key = service.workspace, service.authorized_workspaces
        if key not in self._uses:
            self._uses[key] = await self._sight.may_use(
                self._who,
                workspace=service.workspace,
                visibility=service.visibility,
                authorized_workspaces=service.authorized_workspaces,
            )
        return self._uses[key]

    async def told(self, service: Found) -> dict[str, Any]:
        """Its facts; whom else it lets in only for those who may read where it is."""
        facts = service.info()
        if "authorized_workspaces" in facts["config"]:
            if service.workspace not in self._reads:
                self._reads[service.workspace] = await self._sight.may(
                    self._who, service.workspace, UserPermission.read
                )
            if not self._reads[service.workspace]:
                del facts["config"]["authorized_workspaces"]
        return facts


def _filter(query: object, workspace: str) -> dict[str, str]:
    wanted = dict.fromkeys(_KEYS, _ANY) | {"workspace": workspace}
    if isinstance(query, str):
        return wanted | _of_text(query)
    given = mapping(query, "query")
    if "id" in given:
        if "service_id" in given:
            raise InvalidArguments("Cannot specify both 'id' and 'service_id' in the query.")
        given["service_id"] = given.pop("id")
    if given.keys() - _KEYS:
        strange = ", ".join(sorted(given.keys() - _KEYS))[:200]
        raise InvalidArguments(f"Invalid query keys: {strange}. There are: {', '.join(sorted(_KEYS))}.")
    if not all(isinstance(each, str) and 0 < len(each) <= LONGEST for each in given.values()):
        raise InvalidArguments(f"Each value of a query is a text of at most {LONGEST} characters.")
    name, mark, app = given.get("service_id", _ANY).partition("@")
    if mark:
        if given.get("app_id", app) != app:
            raise InvalidArguments(f"App id mismatch: {given['app_id']} != {app}")
        given |= {"service_id": name, "app_id": app}
    return wanted | given


def _of_text(query: str) -> dict[str, str]:
    if not 0 < len(query) <= LONGEST or query.count("/") > 1 or query.count(":") > 1:
        raise InvalidArguments("A query is such as workspace, workspace/id, client:id, or workspace/client:id.")
    place, slash, rest = query.rpartition("/")
    client, colon, service = rest.rpartition(":")
    if not slash and not colon:
        return {"workspace": query}
    found = {"service_id": service or _ANY, "client_id": client if colon else _ANY}
    if slash:
        found |= {"workspace": place}
    return found


def _fits(service: Found, wanted: Mapping[str, str]) -> bool:
    facts = {
        "visibility": service.visibility,
        "client_id": service.client,
        "service_id": service.id,
        "type": service.type,
        "app_id": service.app_id if isinstance(service, Registered) else _ANY,
    }
    return all(
        wanted[name] == _ANY or fact == wanted[name] or fnmatch.fnmatchcase(fact, wanted[name])
        for name, fact in facts.items()
    )
