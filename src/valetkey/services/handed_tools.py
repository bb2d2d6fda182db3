"""The ``server`` of a startup function makes tools of registered services."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from valetkey.errors import MissingSetting

if TYPE_CHECKING:
    from valetkey.ports.agents import ServiceCalls
    from valetkey.services.sight import Who
    from valetkey.tools.service import ServiceTool

CallsNow = Callable[[], "ServiceCalls | None"]
"""The way to services, at the moment; None: there is none."""


class HandsTools:
    """The part of a ``server`` that does so."""

    _calls_now: CallsNow

    async def _who(self) -> Who:
        raise NotImplementedError

    async def tools(self, service: str, only: Sequence[str] | None = None) -> list[ServiceTool]:
        """The functions of a service as tools, for a Pocket: ``Pocket(tools=await server.tools("my-service"))``.

        The server itself finds the service; each call is made as whoever the tool is called for, and refused where
        they may not. A function that changes is refused until it is taken anew.

        Args:
            service: ``id`` in the workspace ``public``, ``workspace/id``, or its full id.
            only: the names of these functions, nested ones with dots; None: all.

        Raises:
            NotFound: there is no such service.
            InvalidArguments: it has no function of a name in ``only``, or none that could be called.
            MissingSetting: this process serves no services any more.
        """
        from valetkey.tools.service import tools_of  # noqa: PLC0415 - loads with the first tool

        def now() -> ServiceCalls:
            calls = self._calls_now()
            if calls is None:
                raise MissingSetting("This process serves no services. Ask while the server runs.")
            return calls

        who = await self._who()
        query = service if "/" in service else f"{who.workspace}/{service}"
        found = await now().find(query, who.caller)
        return tools_of(found, service=query, services=now, only=only)
