"""What is registered in this process: who may see it, and how it is called."""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from valetkey.errors import Denied, InvalidArguments, NotFound
from valetkey.identity.handlers import is_async, outcome
from valetkey.identity.powers import check_general
from valetkey.services.sight import PermissionOf, Sight, Who
from valetkey.tools.threads import THREADS

CLIENT = "server"
"""The client that services of this process belong to, in their full ids."""

FACTS = frozenset({"id", "name", "type", "description", "docs", "config", "app_id", "service_schema", "overwrite"})
"""What a service says of itself; all else is what it offers."""

Kind = Literal["functions", "asgi", "generic"]

_KINDS: tuple[Kind, ...] = ("functions", "asgi", "generic")
_VISIBILITIES = ("public", "protected", "unlisted")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One registered service.

    Attributes:
        functions: what it offers, by name; nested.
        ours: functions of our own: they are told the `Who` that calls, as ``who``.
        require_context: whether functions are told who calls, as ``context``; or those of them that are.
        authorized_workspaces: whose callers see a protected one, too.
    """

    id: str
    workspace: str
    type: Kind
    functions: Mapping[str, Any]
    name: str = ""
    description: str = ""
    visibility: str = "protected"
    require_context: bool | tuple[str, ...] = False
    authorized_workspaces: frozenset[str] = frozenset()
    config: Mapping[str, Any] = field(default_factory=dict)
    ours: frozenset[str] = frozenset()
    client: str = CLIENT

    @property
    def full_id(self) -> str:
        """``workspace/client:id``."""
        return f"{self.workspace}/{self.client}:{self.id}"

    def context(self, who: Who) -> dict[str, Any]:
        """What a function with ``require_context`` is told of its caller (seed 004)."""
        sender = who.peer or f"{who.workspace}/{who.user.get('id', '')}"
        return {"ws": who.workspace, "from": sender, "to": self.full_id, "user": who.user}

    def tells(self, path: Sequence[str]) -> bool:
        """Whether that function is told who calls."""
        told = self.require_context
        return ".".join(path) in told if isinstance(told, tuple) else told

    def find(self, path: Sequence[str]) -> Any:
        """What is offered under a name, or nested names.

        Raises:
            NotFound: nothing.
        """
        found: Any = self.functions
        for name in path:
            if not isinstance(found, Mapping) or name not in found:
                raise NotFound(f"Function not found: {'.'.join(path)} of the service {self.id}")
            found = found[name]
        return found

    def info(self) -> dict[str, Any]:
        """What may be told of it."""
        shared = {key: value for key, value in self.config.items() if isinstance(value, str | int | float | bool)}
        return {
            "id": self.full_id,
            "name": self.name or self.id,
            "type": self.type,
            "description": self.description,
            "config": {
                **shared,
                "visibility": self.visibility,
                "require_context": list(told) if isinstance(told := self.require_context, tuple) else told,
                "workspace": self.workspace,
            },
            "functions": sorted(name for name, each in self.functions.items() if callable(each)),
        }


class ServiceTable:
    """All services of this process. For use on the home loop.

    Args:
        permission_of: what a caller may do in a workspace.
        client: that the services belong to, in their full ids; no other instance has it.
    """

    def __init__(self, *, permission_of: PermissionOf, client: str = CLIENT) -> None:
        self.client = client
        self._sight = Sight(permission_of)
        self._services: dict[tuple[str, str], Service] = {}

    def register(
        self,
        given: Mapping[str, Any],
        *,
        workspace: str,
        overwrite: bool = False,
        ours: frozenset[str] = frozenset(),
    ) -> Service:
        """Take a service as seed 004 writes one.

        Raises:
            InvalidArguments: it is none, or one of that id is there.
        """
        service = _service(given, workspace, ours, self.client)
        key = service.workspace, service.id
        if key in self._services and not overwrite:
            raise InvalidArguments(f"Service already exists: {service.full_id}. Say overwrite=True to replace it.")
        self._services[key] = service
        return service

    def unregister(self, query: str, *, workspace: str) -> None:
        """Forget one.

        Raises:
            NotFound: there is none.
        """
        place, name = _split(query, workspace)
        if self._services.pop((place, name), None) is None:
            raise NotFound(f"Service not found: {name}")

    def clear(self) -> None:
        """Forget all."""
        self._services.clear()

    def has(self, workspace: str, service_id: str) -> bool:
        """Whether one of that id is there."""
        return (workspace, service_id) in self._services

    def at(self, workspace: str, service_id: str) -> Service:
        """One that is there, whoever asks.

        Raises:
            NotFound: it is not.
        """
        service = self._services.get((workspace, service_id))
        if service is None:
            raise NotFound(f"Service not found: {service_id}")
        return service

    async def get(self, query: str, who: Who, *, workspace: str) -> Service:
        """One by ``id``, ``workspace/id`` or its full id.

        Raises:
            NotFound: there is none.
            Denied: there is, and not for this caller; a token for one purpose only opens public ones alone.
        """
        place, name = _split(query, workspace)
        service = self.at(place, name)
        if service.visibility == "protected":
            check_general(who.caller)
        if not await self._may_use(service, who):
            raise Denied(f"Permission denied for non-public service in workspace {place}")
        return service

    def every(self) -> Sequence[Service]:
        """All, by workspace and id, whoever asks."""
        return [service for _, service in sorted(self._services.items())]

    async def list(self, who: Who, *, workspace: str) -> list[Service]:
        """Those of a workspace that this caller may know of, by id."""
        there = [service for (place, _), service in sorted(self._services.items()) if place == workspace]
        return [each for each in there if each.visibility != "unlisted" and await self._may_use(each, who)]

    async def call(
        self,
        service: Service,
        path: Sequence[str],
        arguments: Mapping[str, Any],
        who: Who,
        *,
        positional: Sequence[Any] = (),
    ) -> Any:
        """Call a function; what is no function is given as it is. A generator comes back as one.

        Functions of our own get ``who``, others ``context`` where they require it; a caller can give neither.

        Raises:
            NotFound: it offers no such thing.
            InvalidArguments: one of the arguments by place is where the caller is told.
            Exception: whatever the function raises.
        """
        target = service.find(path)
        if not callable(target):
            return target
        told = {name: value for name, value in arguments.items() if name != "context"}
        if positional:
            _check_places(target, len(positional))
        if path[0] in service.ours:
            told["who"] = who
            _check_fits(target, positional, told)
        elif service.tells(path):
            told["context"] = service.context(who)
        return await run(functools.partial(target, *positional, **told), asynchronous=is_async(target))

    async def _may_use(self, service: Service, who: Who) -> bool:
        return await self._sight.may_use(
            who,
            workspace=service.workspace,
            visibility=service.visibility,
            authorized_workspaces=service.authorized_workspaces,
        )


def _check_fits(target: Callable[..., Any], positional: Sequence[Any], told: Mapping[str, Any]) -> None:
    """Refuse what a function of our own does not take; Python's own text would name its class."""
    try:
        inspect.signature(target).bind(*positional, **told)
    except TypeError as error:
        raise InvalidArguments(f"{getattr(target, '__name__', 'It')}: {error}") from None


def _check_places(target: Callable[..., Any], given: int) -> None:
    """Refuse arguments by place where one of them would be taken for what the server says of the caller."""
    try:
        parameters = tuple(inspect.signature(target).parameters.values())[:given]
    except (TypeError, ValueError):
        return  # a built-in one that does not say
    if any(each.name == "context" and each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters):
        raise InvalidArguments("context is not given by callers: the server says who they are.")


async def run(work: Callable[[], Any], *, asynchronous: bool) -> Any:
    """Run a host program's function: on the loop, or in a thread where it is synchronous.

    Raises:
        RuntimeError: it wanted to end the process, or the task that runs it.
        Exception: whatever it raises.
    """
    task = asyncio.current_task()
    try:
        value = work() if asynchronous else await _in_thread(work)
        return await value if inspect.isawaitable(value) else value
    except BaseException as error:
        if isinstance(error, Exception) or is_ending(error, task):
            raise
        raise RuntimeError(f"the function raised {type(error).__name__}") from None


async def _in_thread(work: Callable[[], Any]) -> Any:
    value, error = await THREADS.run(lambda: outcome(work, ()))
    if error is not None:
        raise error
    return value


def is_ending(error: BaseException, task: asyncio.Task[Any] | None) -> bool:
    """Whether the task that runs a host program's function is itself being ended, and not just something in it."""
    if isinstance(error, GeneratorExit):
        try:
            return asyncio.current_task() is not task  # somebody closes the coroutine
        except RuntimeError:
            return True
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _split(query: str, workspace: str) -> tuple[str, str]:
    """Workspace and id of a query such as ``workspace/client:id@app``."""
    place, slash, rest = query.rpartition("/")
    name = rest.rpartition(":")[2].partition("@")[0]
    return (place if slash else workspace), name


def _service(given: Mapping[str, Any], workspace: str, ours: frozenset[str], client: str) -> Service:
    if not isinstance(given, Mapping) or not isinstance(given.get("id"), str):
        raise InvalidArguments("A service is a dict with an id, such as {'id': 'my-service', 'hello': hello}.")
    name = _split(given["id"], workspace)[1]
    if not _ID.fullmatch(name):
        raise InvalidArguments("A service's id is of letters, digits, dot, hyphen, low line; at most 128 of them.")
    config = given.get("config") or {}
    if not isinstance(config, Mapping):
        raise InvalidArguments(f"The config of {name} has to be a dict, and is {type(config).__name__}.")
    kind = next((each for each in _KINDS if each == given.get("type", "generic")), None)
    visibility = config.get("visibility", given.get("visibility", "protected"))
    if kind is None or visibility not in _VISIBILITIES:
        raise InvalidArguments(
            f"The service {name}: type is one of {', '.join(_KINDS)}, visibility one of {', '.join(_VISIBILITIES)}."
        )
    functions = {key: value for key, value in given.items() if key not in FACTS}
    if kind == "asgi" and not callable(functions.get("serve")):
        raise InvalidArguments(f"The service {name} of type asgi needs a function serve(args).")
    return Service(
        id=name,
        workspace=workspace,
        type=kind,
        functions=functions,
        name=str(given.get("name") or ""),
        description=str(given.get("description") or ""),
        visibility=visibility,
        require_context=_names(config.get("require_context", False)),
        authorized_workspaces=frozenset(config.get("authorized_workspaces") or ()),
        config=config,
        ours=ours,
        client=client,
    )


def _names(given: object) -> bool | tuple[str, ...]:
    return tuple(map(str, given)) if isinstance(given, list | tuple) else bool(given)
