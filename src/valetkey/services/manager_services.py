"""The workspace manager's functions for services: registered, found, described, listed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from valetkey.errors import Denied, InvalidArguments, NotFound
from valetkey.model.services import BUILT_IN, Registered
from valetkey.model.users import UserPermission
from valetkey.services.asking import mapping, need, number
from valetkey.services.casing import respelled
from valetkey.services.finding import Finder, Found
from valetkey.services.references import described
from valetkey.services.registering import Shares, is_local, own_id, service_of
from valetkey.services.search import Index
from valetkey.services.sight import Sight, Who
from valetkey.services.table import Service
from valetkey.services.turns import Turns

if TYPE_CHECKING:
    from valetkey.services.directory import Directory
    from valetkey.services.relay import Link, Relay

MOST_SERVICES = 100
"""Services that one client may register, where nobody says otherwise."""

LONGEST_WAIT = 60.0
"""Seconds that a client has to say what its service offers, at most."""

_WAIT = 10.0

_log = logging.getLogger("valetkey.services")


class Asks(Protocol):
    """Calls of clients' services, as far as the manager makes them (``services/calls.py``)."""

    async def call(
        self,
        service: Registered,
        path: Sequence[str],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        who: Who,
        *,
        deadline: float,
    ) -> Any:
        """Call a function of a client's service."""
        ...

    async def call_raw(
        self, peer: str, method: str, args: Sequence[Any], *, as_manager: bool = True, deadline: float = 10
    ) -> Any:
        """Call any method of a client."""
        ...


class ServiceFunctions:
    """What callers do with services.

    Args:
        directory, relay, calls: of connected clients; None: none can connect.
        base_url: where browsers find us, with the prefix of our paths.
        most_services: that one client may register.
        provided: refuses a provider of which there is none here.
    """

    def __init__(
        self,
        *,
        finder: Finder,
        sight: Sight,
        base_url: Callable[[], str],
        directory: Directory | None,
        relay: Relay | None,
        calls: Asks | None,
        most_services: int,
        provided: Callable[[str], object],
    ) -> None:
        self._finder = finder
        self._sight = sight
        self._base_url = base_url
        self._directory = directory
        self._relay = relay
        self._calls = calls
        self._most_services = most_services
        self._provided = provided
        self._index = Index()
        self._turns = Turns()
        self._shares = None if directory is None else Shares(directory)

    def functions(self) -> dict[str, Callable[..., Any]]:
        """By name."""
        return {
            "register_service": self.register_service,
            "unregister_service": self.unregister_service,
            "get_service": self.get_service,
            "get_service_info": self.get_service_info,
            "list_services": self.list_services,
            "search_services": self.search_services,
        }

    # Registering

    async def register_service(
        self, service: Mapping[str, Any], config: Mapping[str, Any] | None = None, *, who: Who
    ) -> None:
        """Register a service of the calling client: id, name, type, description, docs, app_id, config, service_schema.

        One of that id that it registered before is replaced.

        Raises:
            Denied: the caller is no connected client, may not write in its workspace, or names another client.
            InvalidArguments: it can be none; another one is a singleton; the client has too many.
        """
        mapping(config, "config")
        given = mapping(service, "service")
        link, directory = self._client(who)
        member = link.member
        service_id = own_id(given.get("id"), member)
        if is_local(service_id, mapping(given.get("config"), "config")):
            _log.info("a service that %s keeps to itself was not registered", member.peer)
            return
        if service_id != BUILT_IN:
            await need(self._sight, who, member.workspace, UserPermission.read_write)
        made = service_of(given, member)
        for asked in (each for alternative in made.needs.alternatives for each in alternative):
            self._provided(asked.provider)
        if self._finder.mesh is not None and made.singleton:
            await self._finder.mesh.settle()
        for other in directory.named(made.workspace, made.id):
            if other.peer != made.peer and made.id != BUILT_IN and (made.singleton or other.singleton):
                raise InvalidArguments(
                    f"A singleton service with the same name ({made.id}) already exists in the workspace"
                    f" ({made.workspace}), please remove it first or use a different name."
                )
        count = directory.count_of(made.peer) - (directory.service(made.peer, BUILT_IN) is not None)
        is_new = directory.service(made.peer, made.id) is None and made.id != BUILT_IN
        if is_new and count >= self._most_services:
            raise InvalidArguments(
                f"Service quota exceeded: client {made.peer} already has {count} services (max {self._most_services})."
                " Remove unused services before registering new ones."
            )
        if self._link(who) is not link:  # it went meanwhile
            raise Denied("Only a connected client has services: connect with connect_to_server.")
        if self._shares is not None:
            self._shares.take(made)
        directory.register(made)

    async def unregister_service(self, service_id: str, *, who: Who) -> None:
        """Take a service of the calling client off the list.

        Raises:
            Denied: the caller is no connected client, may not write in its workspace, or names another client.
            NotFound: there is none.
        """
        link, directory = self._client(who)
        name = own_id(service_id, link.member)
        await need(self._sight, who, link.member.workspace, UserPermission.read_write)
        if name == BUILT_IN or directory.unregister(link.member.peer, name) is None:
            raise NotFound(f"Service not found: {link.member.peer}:{name}")

    def forget_workspace(self, workspace: str) -> None:
        """A workspace is gone: whoever makes one of that name later is let in by no service of this instance."""
        there = [] if self._directory is None else list(self._directory.services())
        for service in there:
            if self._directory is None or self._relay is None or self._relay.link(service.peer) is None:
                continue
            if workspace in service.authorized_workspaces:
                kept = service.authorized_workspaces - {workspace}
                config = {**service.config, "authorized_workspaces": sorted(kept)}
                self._directory.register(replace(service, authorized_workspaces=kept, config=config))

    # Finding

    async def get_service(
        self, service_id: str, config: Mapping[str, Any] | None = None, *, who: Who
    ) -> dict[str, Any]:
        """A service with its functions, to be called.

        Args:
            service_id: ``id``, ``workspace/id``, ``workspace/client:id``, each with ``@app``; ``~``: the manager.
            config: ``mode``, as `resolve` takes it; ``timeout`` in seconds; ``case_conversion``, camel or snake.
            who: the caller.

        Raises:
            NotFound, Denied, InvalidArguments: as `resolve`.
            TimeoutError: its client did not answer in time.
        """
        options = mapping(config, "config")
        wait = options.get("timeout")
        deadline = _WAIT if wait is None else number(wait, "timeout", least=0.001, most=3600)
        if _is_manager(service_id):
            if self._relay is None:
                raise NotFound("Service not found: ~")
            return self.described(self._relay.manager)
        found = await self._finder.resolve(service_id, who, mode=options.get("mode"))
        (facts,) = await self._finder.told([found], who)
        if isinstance(found, Service):
            given = described(found)
        else:
            given = await self._asked(found, min(deadline, LONGEST_WAIT))
            link = self._link(who)
            if link is not None:
                link.knows(found.peer)
        return {**respelled(given, options.get("case_conversion")), **_facts(facts, self._url(found))}

    async def get_service_info(
        self, service_id: str, config: Mapping[str, Any] | None = None, *, who: Who
    ) -> dict[str, Any]:
        """What may be told of a service.

        Raises:
            NotFound, Denied, InvalidArguments: as `resolve`.
        """
        options = mapping(config, "config")
        if _is_manager(service_id):
            return self.described(None)
        found = await self._finder.resolve(service_id, who, mode=options.get("mode"))
        return (await self._finder.told([found], who))[0]

    async def list_services(
        self,
        query: Mapping[str, Any] | str | None = None,
        include_unlisted: bool = False,  # noqa: FBT001, FBT002 - by place, as callers may give it
        include_app_services: bool = False,  # noqa: FBT001, FBT002
        prioritize_running_services: bool = False,  # noqa: FBT001, FBT002
        *,
        who: Who,
    ) -> list[dict[str, Any]]:
        """Services that the caller may know of.

        Args:
            query: of which; by default all of the caller's workspace. A dict of visibility, workspace, client_id,
                service_id, type and app_id, each with ``*``; or ``workspace``, ``workspace/id``, ``client:id``.
            include_unlisted: the caller's own workspace's unlisted ones, too.
            include_app_services: there are none that do not run.
            prioritize_running_services: there are no others.
            who: the caller.

        Raises:
            Denied: unlisted ones of another workspace were asked for.
            InvalidArguments: the query can be none, or the answer is too long.
            RateLimited: too many such questions of the caller wait.
        """
        async with self._turns.of(who):
            found = await self._finder.matching(query, who, include_unlisted=include_unlisted is True)
            return await self._finder.told(found, who)

    def described(self, address: str | None) -> dict[str, Any]:
        """The manager itself: to be called at that address; without one, to be read of.

        Raises:
            NotFound: this is none.
        """
        raise NotFound("Service not found: ~")

    async def search_services(
        self,
        query: str | None = None,
        filters: Mapping[str, Any] | None = None,
        limit: int = 5,
        offset: int = 0,
        return_fields: Sequence[str] | None = None,
        order_by: str | None = None,
        pagination: bool = False,  # noqa: FBT001, FBT002 - by place, as callers may give it
        include_unlisted: bool = False,  # noqa: FBT001, FBT002
        *,
        who: Who,
    ) -> list[dict[str, Any]] | dict[str, Any]:
        """Services by text: public ones, and those of the caller's workspace that the caller may know of.

        Args:
            query: words; each has to be in the id, the name, the description, the type, the docs or a function's name.
            filters: facts that have to be just so, such as ``{"type": "generic"}``; of the config, too.
            limit: how many at most.
            offset: after so many.
            return_fields: only these facts; the id is always there.
            order_by: a fact, instead of how well they fit.
            pagination: ``{"items": [...], "total": n, "offset": …, "limit": …}`` instead of the list alone.
            include_unlisted: the caller's own workspace's unlisted ones, too.
            who: the caller.

        Raises:
            InvalidArguments: one of them can be none, or the answer is too long.
            RateLimited: too many such questions of the caller wait.
        """
        first = int(number(offset, "offset", least=0, most=1_000_000))
        most = int(number(limit, "limit", least=1, most=1000))
        async with self._turns.of(who):
            there = await self._finder.matching({"workspace": "*"}, who)
            if include_unlisted is True:
                there += await self._finder.matching({"visibility": "unlisted"}, who, include_unlisted=True)
            found = await self._index.find(there, query, filters=mapping(filters, "filters"), order_by=order_by)
            page = found[first : first + most]
            items = await self._finder.told(page, who, pick=lambda facts: _only(facts, return_fields))
        return {"items": items, "total": len(found), "offset": first, "limit": most} if pagination is True else items

    def _client(self, who: Who) -> tuple[Link, Directory]:
        link = self._link(who)
        if link is None or self._directory is None:
            raise Denied("Only a connected client has services: connect with connect_to_server.")
        return link, self._directory

    def _link(self, who: Who) -> Link | None:
        return None if self._relay is None or not who.peer else self._relay.link(who.peer)

    def _url(self, service: Found) -> str:
        return f"{self._base_url().rstrip('/')}/{service.workspace}/services/{service.full_id.partition('/')[2]}"

    async def _asked(self, service: Registered, deadline: float) -> dict[str, Any]:
        """What a client says that its service offers: functions of that service, and of nobody else's."""
        if self._calls is None:
            raise NotFound(f"Service not found: {service.full_id}")
        given = await self._calls.call_raw(
            service.peer, "services.built-in.get_service", [service.id], deadline=deadline
        )
        if not isinstance(given, dict) or not _is_faithful(given, service):
            _log.warning("%s described a service %s with functions that are not its own", service.peer, service.id)
            raise NotFound(f"Service not found: {service.full_id} does not say what it offers.")
        return given


def _is_manager(query: object) -> bool:
    return isinstance(query, str) and (query == "~" or query.endswith("/~"))


def _only(facts: Mapping[str, Any], fields: object) -> dict[str, Any]:
    if fields is None:
        return dict(facts)
    if not isinstance(fields, list | tuple) or not all(isinstance(each, str) for each in fields):
        raise InvalidArguments("return_fields is a list of names of facts.")
    return {name: value for name, value in facts.items() if name == "id" or name in fields}


def _facts(facts: Mapping[str, Any], url: str) -> dict[str, Any]:
    """What the server says of a service, in place of what its client says."""
    kept = {name: facts[name] for name in ("id", "name", "type", "description", "docs", "app_id") if name in facts}
    return {**kept, "config": {**facts["config"], "url": url}}


def _is_faithful(given: dict[str, Any], service: Registered) -> bool:
    """Whether every function there is that service's; each then has the whole address."""
    level: list[Any] = [given]
    while level:
        each = level.pop()
        if isinstance(each, dict):
            if "_rtarget" in each or "_rmethod" in each:
                method = each.get("_rmethod")
                if (
                    each.get("_rtype") != "method"
                    or each.get("_rtarget") not in (service.peer, service.client)
                    or not isinstance(method, str)
                    or not method.startswith(f"services.{service.id}.")
                ):
                    return False
                each |= {"_rtarget": service.peer, "_rpromise": "*"}
            level += each.values()
        elif isinstance(each, list):
            level += each
    return True
