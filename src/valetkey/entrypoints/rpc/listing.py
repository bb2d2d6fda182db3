"""What a caller may know of a workspace over HTTP: its services, one of them, OpenAPI, and the workspace itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from valetkey.entrypoints.rpc.answers import answer, result
from valetkey.entrypoints.rpc.callers import Callers
from valetkey.entrypoints.rpc.openapi import document_of
from valetkey.model.services import Registered
from valetkey.services.manager import MANAGER, Manager
from valetkey.services.references import schema_of
from valetkey.services.table import Service

if TYPE_CHECKING:
    from valetkey.identity.workspaces import Workspaces


class Listing:
    """The pages of contract 3.1 that call nothing."""

    def __init__(self, manager: Manager, *, workspaces: Workspaces, callers: Callers, base_url: str) -> None:
        self._manager = manager
        self._workspaces = workspaces
        self._callers = callers
        self._base_url = base_url

    async def services(self, request: Request) -> Response:
        """Those of a workspace that the caller may know of."""
        _, who = await self._callers.of(request, calls=False)
        query = {"workspace": request.path_params["workspace"]}
        return result(await self._manager.list_services(query, who=who))

    async def service(self, request: Request) -> Response:
        """One that the caller may use."""
        _, who = await self._callers.of(request, calls=False)
        name = request.path_params["service"]
        if name in {MANAGER, "~"}:
            return result(self._manager.service(request.path_params["workspace"]).info())
        query = f"{request.path_params['workspace']}/{name}"
        return result(await self._manager.get_service_info(query, who=who))

    async def document(self, request: Request) -> Response:
        """OpenAPI of a workspace's services that the caller may know of, or of one that they may use."""
        _, who = await self._callers.of(request, calls=False)
        workspace, name = request.path_params["workspace"], request.path_params.get("service")
        found: list[Service | Registered]
        if name in {MANAGER, "~"}:
            found = [self._manager.service(workspace)]
        elif name is None:
            found = await self._manager.matching({"workspace": workspace}, who)
        else:
            found = [await self._manager.resolve(f"{workspace}/{name}", who)]
        services = [(each, schema_of(each.functions) if isinstance(each, Service) else each.schema) for each in found]
        text = json.dumps(document_of(workspace, services, base_url=self._base_url))
        return answer(text.encode())

    async def workspace(self, request: Request) -> Response:
        """The workspace itself, for those who may read in it."""
        _, who = await self._callers.of(request, calls=False)
        return result(await self._workspaces.get(who.caller, request.path_params["workspace"]))
