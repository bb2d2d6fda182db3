"""Where the API of a document is, and where it may be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from valetkey.errors import ToolsGenerationError
from valetkey.providers.endpoints import origin_of
from valetkey.tools.openapi.names import one_line
from valetkey.tools.openapi.spec import Document, Unusable

_URL = re.compile(r"[!#-;=?-\[\]_a-zA-Z~]+")  # RFC 3986 §2: no space, quote, backslash, brace


def checked_base(url: str) -> str:
    """A base URL without the slash at its end.

    Raises:
        ToolsGenerationError: it is none; the text does not repeat it.
    """
    try:
        parts = urlsplit(url)
        is_usable = bool(parts.hostname) and parts.scheme in {"http", "https"} and (parts.port or 1) > 0
    except ValueError:
        is_usable = False
    if not is_usable or "@" in parts.netloc or parts.query or parts.fragment or not _URL.fullmatch(url):
        raise ToolsGenerationError(
            "The base URL of the API is no http:// or https:// URL of one host, or has a user, a query or a fragment. "
            "Set api_base_url to one such as https://api.example.com/v1."
        )
    return url.rstrip("/")


def server_of(document: Document, *, spec_url: str = "") -> str:
    """The base URL that a document names for itself, by its first server's default values; empty: none.

    Args:
        document: the document.
        spec_url: where it is from; then only a server of the same origin will do, and the origin itself is the default.

    Raises:
        ToolsGenerationError: all its servers are elsewhere than ``spec_url``; the text says what to set.
    """
    listed = document.get("servers")
    urls = [_server_url(each) for each in listed] if isinstance(listed, list) else []
    if not spec_url:
        first = urls[0] if urls else ""
        return first if first.startswith(("http://", "https://")) else ""
    own = origin_of(spec_url)
    absolute = [urljoin(spec_url, url) for url in urls if url] or [own]
    for url in absolute:
        if origin_of(url) == own:
            return url
    raise ToolsGenerationError(
        f"The OpenAPI document at {own} says that its API is elsewhere, at {origin_of(absolute[0])}. Credentials go "
        f"to the document's own origin only: set api_base_url if that address is meant."
    )


def prefix_of(document: Document, *, root: str = "") -> str:
    """The path below which an app itself has the operations of a document that is not its own; empty: none.

    Args:
        document: its first server says so by a relative URL.
        root: the app's ``root_path``, which every request to it has anyway.
    """
    listed = document.get("servers")
    first = _server_url(listed[0]) if isinstance(listed, list) and listed else ""
    try:
        parts = urlsplit(first)
        path = urlsplit(urljoin("http://app.invalid/", parts.path)).path.rstrip("/")
    except ValueError:
        return ""
    if parts.scheme or parts.netloc or not path.startswith("/"):
        return ""
    outer = root.rstrip("/")
    return path.removeprefix(outer) if path == outer or path.startswith(f"{outer}/") else path


def check_servers(document: Document, item: Mapping[str, Any], operation: Mapping[str, Any], *, base: str) -> None:
    """Let an operation pass that is where the others are (OpenAPI 3.1, "Path Item Object", "Operation Object").

    Args:
        document: the document.
        item: the path's item; what the operation says goes before.
        operation: the Operation Object.
        base: where the operations of the document are called; it stands for the document's first server.

    Raises:
        Unusable: it says that it is elsewhere.
    """
    listed = operation.get("servers") or item.get("servers")
    if not isinstance(listed, list) or not listed:
        return
    own = [_at(each, base) for each in listed]
    servers = document.get("servers")
    usual = [_at(each, base) for each in servers] if isinstance(servers, list) else []
    if base in own or (usual and base not in usual and usual[0] in own):
        return
    shown = next(filter(None, own), "nowhere")
    raise Unusable(f"its own servers are elsewhere, at {one_line(shown, 200)}, and calls go to one place only")


def _at(server: Any, base: str) -> str:
    """The address of a server; a relative one is meant beside the base."""
    try:
        return urljoin(f"{base}/", _server_url(server)).rstrip("/")
    except ValueError:
        return ""


def _server_url(server: Any) -> str:
    url = server.get("url") if isinstance(server, Mapping) else None
    if not isinstance(url, str):
        return ""
    variables = server.get("variables")
    for name, about in (variables if isinstance(variables, Mapping) else {}).items():
        default = about.get("default") if isinstance(about, Mapping) else None
        url = url.replace(f"{{{name}}}", str(default) if isinstance(default, str | int) else "")
    return "" if "{" in url else url
