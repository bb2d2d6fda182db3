"""What a chat offers its model: the operations of the app, or of another API, and tools of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass, replace
from operator import is_
from typing import Any

from fastapi import FastAPI

from valetkey.entrypoints.fastapi import Mounted
from valetkey.entrypoints.pocket.decorators import from_func
from valetkey.errors import ToolsGenerationError
from valetkey.ports.world import Fetcher, Request, Response
from valetkey.settings.bedrock import ChatConfig
from valetkey.tools.function import FunctionTool
from valetkey.tools.openapi import names
from valetkey.tools.openapi.api import OpenApi
from valetkey.tools.openapi.servers import prefix_of, server_of
from valetkey.tools.openapi.spec import Document
from valetkey.tools.tool import Tool
from valetkey.wiring.chat import app_fetcher, spec_from_file, spec_from_url
from valetkey.wiring.system import System

_log = logging.getLogger("valetkey")


class ChatOffer:
    """The tools of one chat.

    Args:
        app: whose operations they are, where the settings name no other document.
        config: the chat's settings.
        mounted: Valetkey in that app.

    Raises:
        ToolsGenerationError: the document that the settings name cannot be used.
        InvalidArguments: something of ``tools`` is no tool and no function.
    """

    def __init__(self, app: FastAPI, config: ChatConfig, *, mounted: Mounted) -> None:
        self._mounted = mounted
        self._own = [each if isinstance(each, Tool) else from_func(each) for each in config.tools]
        self._inline: System | None = None
        self._made: tuple[Mapping[str, Tool], dict[str, Tool]] | None = None
        self.api = api_of(app, config, system=lambda: mounted.system)
        self.marked = _Marked(self.api)

    def tools(self) -> Mapping[str, Tool]:
        """By name, as they are now: a route that was added later is among them.

        Raises:
            ToolsGenerationError: the app's document cannot be made.
        """
        operations = self.api.tools()
        if self._own:
            self._bring_providers()
        if self._made is None or self._made[0] is not operations:
            tools: dict[str, Tool] = dict(operations)
            for tool in self._own:
                named = _named(tool, names.distinct(tool.name, f"tool {tool.name}", tools))
                if isinstance(named, FunctionTool):
                    named = named.configured(self._mounted.system.config.general.tool_vars)
                tools[named.name] = named
            self._made = operations, tools
        return self._made[1]

    def _bring_providers(self) -> None:
        """The providers that tools bring along, for a system that does not know them yet."""
        system = self._mounted.system
        if self._inline is not system:
            self._inline = system
            for tool in self._own:
                if isinstance(tool, FunctionTool) and tool.inline is not None:
                    system.add_inline(tool.inline)


class _Marked:
    """The names of the operations of which each call has to be approved, at the moment of the question."""

    def __init__(self, api: OpenApi) -> None:
        self._api = api

    def __contains__(self, name: object) -> bool:
        return name in self._api.marked


def _named(tool: Tool, name: str) -> Tool:
    if tool.name == name:
        return tool
    if not is_dataclass(tool) or isinstance(tool, type):
        raise ToolsGenerationError(f"There is an operation named {tool.name} already. Give the tool another name.")
    renamed: Tool = replace(tool, name=name)
    return renamed


def api_of(
    app: FastAPI | None, config: ChatConfig, *, system: Callable[[], System] | None, document: Document | None = None
) -> OpenApi:
    """The operations that the settings name: of a file, of a URL, else of the app.

    Args:
        app: whose operations are meant where no document is named.
        config: the chat's settings.
        system: through whose one way out other APIs are called; None: they are only described.
        document: read already.

    Raises:
        ToolsGenerationError: there is no document, or it cannot be used.
    """
    base = config.api_base_url or ""
    if document is None and config.openapi_spec_file:
        document = spec_from_file(config.openapi_spec_file)
    if document is not None:
        base = base or server_of(document)
    elif config.openapi_spec_url:
        if system is None:
            raise ToolsGenerationError("A document of openapi_spec_url is read by add_bedrock_chat. Name a file here.")
        document = spec_from_url(system(), config.openapi_spec_url)
        base = base or server_of(document, spec_url=config.openapi_spec_url)
    elif app is None:
        raise ToolsGenerationError(
            "Either FastAPI app, openapi_spec parameter, or config.openapi_spec_file must be provided"
        )
    exchange: Fetcher = _Out(system)
    if not base and app is not None:
        exchange = app_fetcher(app)
    prefix = ""
    if document is not None and app is not None and not base:
        prefix = prefix_of(document, root=app.root_path)
    fixed = document
    return OpenApi(
        document=AppDocument(app) if fixed is None and app is not None else lambda: fixed or {},
        exchange=exchange,
        base_url=base,
        in_process=not base,
        limits=lambda: (config.allowed_paths, [*config.excluded_paths, *_own_paths(config)]),
        scheme_providers=config.scheme_providers,
        deadline=float(config.timeout),
        prefix=prefix,
    )


def _own_paths(config: ChatConfig) -> list[str]:
    ends = (config.chat_endpoint, config.websocket_endpoint, config.ui_endpoint)
    return [path for path in ends if path.strip("/")]


class _Out:
    """The one way out of the system that there is when it is asked."""

    def __init__(self, system: Callable[[], System] | None) -> None:
        self._system = system

    async def fetch(self, request: Request) -> Response:
        """Send a request; see ``Fetcher``."""
        if self._system is None:
            raise ToolsGenerationError("These tools are described only. Put them into a chat by add_bedrock_chat.")
        return await self._system().fetcher.fetch(request)


class AppDocument:
    """An app's OpenAPI document; asked for anew when its routes have changed, so that late ones are in it.

    What ``app.openapi`` makes is taken, an override of the app's own as well.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._seen: tuple[_Routes, object, object] | None = None
        self._document: Document = {}

    def __call__(self) -> Document:
        """The same object as long as nothing has changed.

        Raises:
            ToolsGenerationError: the app cannot make it.
        """
        app = self._app
        maker = getattr(app.openapi, "__func__", app.openapi)
        if self._seen is not None:
            routes, by, kept = self._seen
            same = routes.same_as(app.router.routes)
            if same and by is maker and kept is app.openapi_schema:
                return self._document
            if not same:
                app.openapi_schema = None  # what FastAPI keeps, and overrides are told to keep
        routes = _Routes(app.router.routes)
        try:
            document: Any = app.openapi()
        except Exception as error:  # noqa: BLE001  # an override is the app's own code
            _log.warning("the app's OpenAPI document cannot be made: %s", type(error).__name__, exc_info=True)
            raise ToolsGenerationError(
                f"The app's OpenAPI document cannot be made ({type(error).__name__}). "
                "Open its /openapi.json, and correct what is told there."
            ) from None
        if not isinstance(document, Mapping):
            raise ToolsGenerationError("app.openapi() gave no OpenAPI document. Let it give one as a dict.")
        self._seen = routes, maker, app.openapi_schema
        self._document = document if document is not self._document else dict(document)
        return self._document


class _Routes:
    """The routes of an app as they were, with those of routers that are included by reference."""

    def __init__(self, routes: list[Any]) -> None:
        self._lists: list[tuple[list[Any], list[Any]]] = []
        self._note(routes)

    def _note(self, routes: list[Any]) -> None:
        if any(routes is known for known, _ in self._lists):
            return
        self._lists.append((routes, list(routes)))
        for route in routes:
            included = getattr(route, "original_router", None)
            if included is not None:
                self._note(included.routes)

    def same_as(self, routes: list[Any]) -> bool:
        """Whether they are these now. It is asked at each call, so it looks at no route's inside."""
        return routes is self._lists[0][0] and all(
            len(now) == len(before) and all(map(is_, now, before)) for now, before in self._lists
        )
