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
from valetkey.tools.openapi.security import is_readable, reserved, schemes_of, security_of
from valetkey.tools.openapi.servers import check_servers, checked_base
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
        prefix: what goes before each path of the document.
        limits: patterns of paths that are allowed and excluded, asked at each look; they take the place of both.

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
        prefix: str = "",
        limits: Callable[[], tuple[Sequence[str], Sequence[str]]] | None = None,
    ) -> None:
        self._document = document
        self._prefix = prefix
        base = IN_PROCESS if in_process else checked_base(base_url)
        self.target = Target(
            exchange=exchange,
            base_url=base,
            origin=None if in_process else origin_of(base),
            deadline=deadline,
            cap=cap,
        )
        self._limits = limits or (lambda: (allowed, excluded))
        self._limited: tuple[list[str], list[str]] | None = None
        self._paths = names.Paths((), ())
        self._providers = dict(scheme_providers or {})
        self._missed: set[str] = set()
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
        document, (allowed, excluded) = self._document(), self._limits()
        limited = [*allowed], [*excluded]
        if self._made is None or self._made[0] is not document or self._limited != limited:
            self._paths = names.Paths(*limited)
            tools = self._read(document)
            self._limited = limited
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
        if not is_readable(document):
            _log.warning("the document's security is no list: what goes by it gets no credential")
        self._miss(document)
        for path, method, item, operation in _operations(document, paths, self._prefix):
            about = f"{method.upper()} {path}"
            try:
                template = Template(path)
                every.add(method, template)
                if not self._paths.offers(path):
                    continue
                check_servers(document, item, operation, base=self.target.base_url + self._prefix)
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
            if not is_readable(operation):
                _log.warning("the security of %s is no list: it gets no credential", names.one_line(about, 200))
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

    def _miss(self, document: Document) -> None:
        """Tell, once, of schemes that settings name and the document does not have."""
        for name in sorted(self._providers.keys() - schemes_of(document).keys() - self._missed):
            self._missed.add(name)
            _log.warning(
                "scheme_providers names the security scheme %s, and the OpenAPI document has none of that name",
                names.one_line(name, 80),
            )


def _operations(
    document: Document, paths: Mapping[str, Any], prefix: str
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
                yield prefix + path if path.startswith("/") else path, method, item, operation


def _among(tool: OpenApiTool, every: Nearby) -> OpenApiTool:
    """The tool, told which more special paths of its method its values could spell."""
    others = every.special(tool.method.lower(), tool.template)
    return replace(tool, nearby=others) if others else tool
