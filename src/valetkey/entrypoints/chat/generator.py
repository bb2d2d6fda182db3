"""ToolsGenerator, create_tools_generator_from_spec: tools of a document, as seed 003's programs see them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import Any

from fastapi import FastAPI
from pydantic import ValidationError

from valetkey.connections.session_credential import SESSION
from valetkey.entrypoints.chat.offer import api_of
from valetkey.errors import ConfigurationError, InvalidArguments
from valetkey.settings.bedrock import ChatConfig
from valetkey.tools.openapi.api import OpenApi
from valetkey.tools.openapi.spec import Document, checked
from valetkey.tools.openapi.tool import OpenApiTool
from valetkey.wiring.chat import spec_from_file


class ToolsGenerator:
    """Describes the operations of an app, or of a document, as tools.

    Args:
        app: whose operations.
        config: paths that are allowed and excluded, a document's file, the API's base URL; defaults without.
        openapi_spec: a document, or its file; instead of the app's.
        api: the tools themselves, where a chat has made them.

    Raises:
        ToolsGenerationError: there is no document, or it cannot be used.
    """

    def __init__(
        self,
        app: FastAPI | None = None,
        config: ChatConfig | None = None,
        openapi_spec: Mapping[str, Any] | str | PathLike[str] | None = None,
        *,
        api: OpenApi | None = None,
    ) -> None:
        self.app = app
        self.config = config or ChatConfig()
        document: Document | None = None
        if isinstance(openapi_spec, Mapping):
            document = checked(openapi_spec, "openapi_spec")
        elif openapi_spec is not None:
            document = spec_from_file(fspath(openapi_spec))
        self.api = api or api_of(app, self.config, system=None, document=document)

    def generate_tools_desc(self) -> dict[str, Any]:
        """All tools: ``{"type": "function", "functions": [{name, description, parameters, _metadata}]}``."""
        return {"type": "function", "functions": [_described(tool) for tool in self.api.tools().values()]}

    def get_tool_metadata(self, tool_name: str) -> dict[str, Any] | None:
        """``{path, method, operation, function_desc}`` of one; None: there is none of that name."""
        tool = self.api.tools().get(tool_name)
        return None if tool is None else _metadata(tool)

    def get_all_tools_metadata(self) -> dict[str, dict[str, Any]]:
        """The same of all, by name."""
        return {name: _metadata(tool) for name, tool in self.api.tools().items()}

    def validate_tool_call(self, tool_name: str, arguments: Mapping[str, Any]) -> bool:
        """Whether there is such a tool, and the arguments fit it."""
        tool = self.api.tools().get(tool_name)
        if tool is None:
            return False
        try:
            tool.bind(arguments)
        except InvalidArguments:
            return False
        return True

    def get_tool_statistics(self) -> dict[str, Any]:
        """How many there are, by method and by first segment."""
        tools = list(self.api.tools().values())
        return {
            "total_tools": len(tools),
            "methods": dict(Counter(tool.method for tool in tools)),
            "path_prefixes": dict(Counter("/" + tool.path.strip("/").partition("/")[0] for tool in tools)),
            "requires_approval": sum(tool.requires_approval for tool in tools),
            "public": sum(not _asks(tool) for tool in tools),
        }

    def get_api_base_url(self) -> str:
        """Where calls go; empty: into the app itself, in process."""
        target = self.api.target
        return "" if target.origin is None else target.base_url


def create_tools_generator_from_spec(
    openapi_spec_file: str,
    allowed_paths: Sequence[str] | None = None,
    excluded_paths: Sequence[str] | None = None,
    api_base_url: str | None = None,
    **config_kwargs: Any,
) -> ToolsGenerator:
    """Tools of a document in a file, JSON or YAML by its suffix.

    Args:
        openapi_spec_file: the file.
        allowed_paths: the operations that are offered; none: all.
        excluded_paths: those that are not.
        api_base_url: where the API is; else the document's first server.
        config_kwargs: other fields of ``ChatConfig``.

    Raises:
        ToolsGenerationError: the file cannot be used.
        ConfigurationError: a field of ``ChatConfig`` cannot be used, or there is none of that name.
    """
    given = {
        "openapi_spec_file": fspath(openapi_spec_file),
        "allowed_paths": allowed_paths,
        "excluded_paths": excluded_paths,
        "api_base_url": api_base_url,
        **config_kwargs,
    }
    try:
        config = ChatConfig(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise ConfigurationError(f"Failed to load configuration: {told}") from None
    return ToolsGenerator(config=config)


def _described(tool: OpenApiTool) -> dict[str, Any]:
    return {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.schema,
        "_metadata": {
            "http_method": tool.method,
            "path": tool.path,
            "original_operation": tool.operation,
            "authentication": _authentication(tool),
        },
    }


def _metadata(tool: OpenApiTool) -> dict[str, Any]:
    return {
        "path": tool.path,
        "method": tool.method,
        "operation": tool.operation,
        "function_desc": _described(tool),
    }


def _asks(tool: OpenApiTool) -> bool:
    return any(tool.needs.alternatives)


def _authentication(tool: OpenApiTool) -> dict[str, Any] | None:
    """What it asks for: the schemes that it declares, and which credentials fit; None: it is public."""
    if not _asks(tool):
        return None
    needs = [need for needs in tool.needs.alternatives for need in needs]
    kinds = (need.handler or "" if need.provider == SESSION else need.provider for need in needs)
    return {
        "declared": list(tool.security.declared),
        "fitting": list(dict.fromkeys(kind.removeprefix(f"{SESSION}-") or "any" for kind in kinds)),
        "optional": tool.needs.public,
    }
