"""Registered services for tools: found and called as whoever calls the tool, from whichever loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from valetkey.identity.handlers import presentable
from valetkey.identity.powers import ROOT
from valetkey.model.caller import OURS, Caller
from valetkey.model.services import Registered
from valetkey.model.users import UserPermission
from valetkey.model.workspaces import ANONYMOUS_WORKSPACE
from valetkey.services.answering import stepped
from valetkey.services.arrays import plain
from valetkey.services.failures import RemoteFailure
from valetkey.services.references import schema_of
from valetkey.services.sight import Who
from valetkey.services.table import Service

if TYPE_CHECKING:
    from valetkey.ports.world import Home
    from valetkey.wiring.service_rooms import Services

T = TypeVar("T")

MOST_VALUES = 10_000
"""Values of a generator that a tool takes; then it is closed."""

AGENT = "tool"
"""What a service's log may call whoever calls it."""


class ToolCalls:
    """See ``ServiceCalls``.

    Args:
        services: the rooms of RPC.
        home: their loop.
    """

    def __init__(self, services: Services, home: Home) -> None:
        self._services = services
        self._home = home

    async def find(self, query: str, caller: Caller) -> Registered:
        """A service that this caller may see; of several of that name one by chance, on this instance if there is one.

        Raises:
            NotFound: there is none.
            Denied: there is, and not for this caller.
            InvalidArguments: the query can be none.
        """

        async def find() -> Registered:
            found = await self._found(query, await self._who(caller))
            return found if isinstance(found, Registered) else _registered(found)

        return await self._at_home(find())

    async def call(
        self,
        query: str,
        path: Sequence[str],
        arguments: Mapping[str, Any],
        caller: Caller,
        *,
        deadline: float,
    ) -> object:
        """Call one of its functions; giving up the wait gives up the call.

        Raises:
            NotFound, Denied, InvalidArguments: as ``find`` does, or it has no such function.
            RemoteFailure: the function raised.
            TimeoutError: it did not end in time.
            AuthRequired, ApprovalRequired: it asks for an account of the caller's, and a person has to answer first.
        """

        async def call() -> object:
            async with asyncio.timeout(deadline):
                who = await self._who(caller)
                found = await self._found(query, who)
                if isinstance(found, Registered):
                    value = await self._services.calls.call(found, path, (), arguments, who, deadline=deadline)
                    return plain(await _gathered(value))
                found.find(path)
                return await self._own(found, path, arguments, who)

        return await self._at_home(call())

    async def _own(self, service: Service, path: Sequence[str], arguments: Mapping[str, Any], who: Who) -> object:
        """A function of this process; whatever it raises is its own."""
        try:
            return await _gathered(await self._services.table.call(service, path, arguments, who))
        except TimeoutError:
            raise
        except Exception as error:  # noqa: BLE001 - a host program's function may raise anything
            raise RemoteFailure(type(error).__name__, presentable(error)) from None

    async def _found(self, query: str, who: Who) -> Service | Registered:
        return await self._services.manager.resolve(query, who, mode="native:random")

    async def _who(self, caller: Caller) -> Who:
        """In their token's workspace, or their own; who may read in none acts where everybody does."""
        user = caller.user
        if user is not None and not user.is_anonymous:
            bound = None if user.scope is None else user.scope.current_workspace
            name = bound or user.get_workspace()
            who = Who(caller=caller, workspace=name, agent=AGENT)
            if await self._services.sight.may(who, name, UserPermission.read):
                return who
        return Who(caller=caller, workspace=ANONYMOUS_WORKSPACE, agent=AGENT)

    async def _at_home(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it where the relay is; cancelled here, it is cancelled there."""
        begun: list[asyncio.Task[Any]] = []

        async def run() -> T:
            task = asyncio.current_task()
            if task is not None:
                begun.append(task)
            return await work

        async def end() -> None:
            for task in begun:
                task.cancel()

        try:
            return await self._home.run(run)
        except asyncio.CancelledError:
            self._home.spawn(end)
            raise


def _registered(service: Service) -> Registered:
    """A service of this process as one of a client is told of."""
    return Registered(
        workspace=service.workspace,
        client=service.client,
        id=service.id,
        type=service.type,
        name=service.name,
        description=service.description,
        visibility=service.visibility,  # type: ignore[arg-type]
        require_context=service.require_context,
        authorized_workspaces=service.authorized_workspaces,
        schema=schema_of(service.functions),
        registrant=(OURS, ROOT),
    )


async def _gathered(value: Any) -> Any:
    """What a generator gives, as a list."""
    if hasattr(value, "__next__"):
        value = stepped(value)
    if not isinstance(value, AsyncIterator):
        return value
    found: list[Any] = []
    try:
        async for each in value:
            found.append(each)
            if len(found) >= MOST_VALUES:
                break
    finally:
        closing = getattr(value, "aclose", None)
        if closing is not None:
            await closing()
    return found
