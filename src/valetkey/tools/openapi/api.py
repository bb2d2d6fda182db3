"""The operations of one OpenAPI document as tools, made anew when the document changes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from valetkey.ports.world import Fetcher
from valetkey.providers.endpoints import origin_of
from valetkey.tools.openapi import names
from valetkey.tools.openapi.nearby import Nearby
from valetkey.tools.openapi.parameters import shape_of
from valetkey.tools.openapi.paths import Template
from valetkey.tools.openapi.schemas import Definitions
from valetkey.tools.openapi.security import reserved, security_of
from valetkey.tools.openapi.servers import checked_base
from valetkey.tools.openapi.spec import Document, Unusable, resolve
from valetkey.tools.openapi.tool import OpenApiTool, Target

METHODS = ("get", "put", "post", "delete", "options", "head", "patch")
IN_PROCESS = "http://app.invalid"
"""The base of requests that go into the app itself: no name that any network has (RFC 6761 §6.4)."""

_log = logging.getLogger("valetkey")


class OpenApi:
    """Tools of one document.

    Args:
        document: gives it; the same object as long as nothing has changed.
        exchange: sends requests: the one way out, or into the app.
        base_url: where the API is; empty for an app in process.
        in_process: whether the exchange is an app's.
        allowed: patterns of paths, see ``Paths``; none: all.
        excluded: patterns that go before.
        scheme_providers: security scheme names to providers whose accounts they take.
        deadline: seconds for a call.
        cap: bytes of an answer that are read.

    Raises:
        ToolsGenerationError: ``base_url`` is no http or https URL.
    """

    def __init__(
        self,
        *,
        document: Callable[[], Document],
        exchange: Fetcher,
        base_url: str,
        in_process: bool,
        allowed: Sequence[str] = (),
        excluded: Sequence[str] = (),
        scheme_providers: Mapping[str, str] | None = None,
        deadline: float = 30.0,
        cap: int = 1_048_576,
    ) -> None:
        self._document = document
        base = IN_PROCESS if in_process else checked_base(base_url)
        self.target = Target(
            exchange=exchange,
            base_url=base,
            origin=None if in_process else origin_of(base),
            deadline=deadline,
            cap=cap,
        )
        self._paths = names.Paths(allowed, excluded)
        self._providers = dict(scheme_providers or {})
        self._made: tuple[Document, dict[str, OpenApiTool], frozenset[str]] | None = None

    def tools(self) -> Mapping[str, OpenApiTool]:
        """By name, as the document is now.

        Raises:
            ToolsGenerationError: there is no document, or it is none.
        """
        return self._now()[1]

    @property
    def marked(self) -> Collection[str]:
        """The names of those of which each call has to be approved."""
        return self._now()[2]

    def _now(self) -> tuple[Document, dict[str, OpenApiTool], frozenset[str]]:
        document = self._document()
        if self._made is None or self._made[0] is not document:
            tools = self._read(document)
            marked = frozenset(name for name, tool in tools.items() if tool.requires_approval)
            self._made = document, tools, marked
        return self._made

    def _read(self, document: Document) -> dict[str, OpenApiTool]:
        paths = document.get("paths")
        if not isinstance(paths, Mapping):
            return {}
        filled, definitions = reserved(document), Definitions(document)
        tools: dict[str, OpenApiTool] = {}
        every = Nearby()
        for path, method, item, operation in _operations(document, paths):
            about = f"{method.upper()} {path}"
            try:
                template = Template(path)
                every.add(method, template)
                if not self._paths.offers(path):
                    continue
                shared = item.get("parameters")
                shape = shape_of(
                    definitions,
                    shared if isinstance(shared, list) else (),
                    operation,
                    template=template.names,
                    reserved=filled,
                )
                security = security_of(document, operation, self._providers)
            except Unusable as error:
                _log.warning("the operation %s is left out: %s", names.one_line(about, 200), error)
                continue
            except RecursionError:
                _log.warning("the operation %s is left out: it is nested too deep", names.one_line(about, 200))
                continue
            except ValueError:
                _log.warning("the operation %s is left out: no request has such a path", names.one_line(about, 200))
                continue
            name = names.tool_name(operation.get("operationId"), method, path)
            name = names.distinct(name, about, tools)
            summary, description = operation.get("summary"), operation.get("description")
            tools[name] = OpenApiTool(
                name=name,
                description=names.tool_description(description, summary, method.upper(), path),
                method=method.upper(),
                path=path,
                operation=operation,
                requires_approval=operation.get("x-requires-approval") is True,
                shape=shape,
                security=security,
                needs=security.needs,
                target=self.target,
                template=template,
                paths=self._paths,
            )
        return {name: _among(tool, every) for name, tool in tools.items()}


def _operations(
    document: Document, paths: Mapping[str, Any]
) -> Iterator[tuple[str, str, Mapping[str, Any], Mapping[str, Any]]]:
    for path, given in paths.items():
        try:
            item = resolve(document, given)
        except Unusable as error:
            _log.warning("the path %s is left out: %s", names.one_line(path, 200), error)
            continue
        for method in METHODS:
            operation = item.get(method)
            if isinstance(path, str) and isinstance(operation, Mapping):
                yield path, method, item, operation


def _among(tool: OpenApiTool, every: Nearby) -> OpenApiTool:
    """The tool, told which more special paths of its method its values could spell."""
    others = every.special(tool.method.lower(), tool.template)
    return replace(tool, nearby=others) if others else tool
