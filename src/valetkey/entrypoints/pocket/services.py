"""Functions of registered services as tools of a Pocket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from valetkey.errors import MissingSetting
from valetkey.identity.verifiers.vouched import HOST, named
from valetkey.model.calls import Presented

if TYPE_CHECKING:
    from valetkey.model.users import UserInfo
    from valetkey.ports.agents import ServiceCalls
    from valetkey.tools.tool import Tool
    from valetkey.wiring.system import System

NO_SERVICES = (
    "This process serves no services, so that none can be a tool here. Call this in a startup function of `valetkey"
    " serve`, or in an app with mount_valetkey(app, services=True) and pip install 'valetkey[services]'."
)


class TakesServices:
    """The part of a Pocket that takes services."""

    @property
    def system(self) -> System:
        """The parts that it works with."""
        raise NotImplementedError

    def load_tools(self, tools: Sequence[Tool]) -> list[Tool]:
        """Add tools, in their order; all or none."""
        raise NotImplementedError

    async def add_service(
        self, service: str, only: Sequence[str] | None = None, *, thread_id: str | UserInfo = "default"
    ) -> list[Tool]:
        """Add functions of a registered service as tools, each called ``<service>_<function>``.

        Each call is made as whoever it is for: a service with ``require_context`` is told their user, and what they
        may not see they cannot call. A function that changes after it was added is refused until it is added anew.

        Args:
            service: ``workspace/id``, or its full id.
            only: the names of these functions, nested ones with dots; None: all.
            thread_id: who looks for it; a protected one is found by who may see it: a ``UserInfo``.

        Returns:
            The tools.

        Raises:
            MissingSetting: this process serves no services.
            NotFound: there is no such service.
            Denied: there is, and not for them.
            InvalidArguments: it has no function of a name in ``only``, or none that could be called.
            DuplicateTool: a name is taken.
        """
        from valetkey.tools.service import tools_of  # loads with the first service

        calls = self._services()
        # A host program's word, as in each of the Pocket's calls.
        caller = await self.system.road.chain.identify(Presented(scheme=HOST, value=named(thread_id)))
        found = await calls.find(service, caller)
        return self.load_tools(tools_of(found, service=service, services=self._services, only=only))

    def _services(self) -> ServiceCalls:
        calls = self.system.services.calls
        if calls is None:
            raise MissingSetting(NO_SERVICES)
        return calls
