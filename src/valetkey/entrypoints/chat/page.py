"""The chat's page and its files: from a fixed table, under a strict content security policy."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlencode, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from valetkey.entrypoints.chat.handshake import Refused, Threshold, browser_cookie
from valetkey.entrypoints.chat.rooms import Chat
from valetkey.entrypoints.web import page as pages
from valetkey.entrypoints.web.guard import strictly
from valetkey.settings.bedrock import ChatConfig

MODULES = (
    "chat.js",
    "cards.js",
    "dom.js",
    "log.js",
    "markdown.js",
    "presets.js",
    "signin.js",
    "socket.js",
    "words.js",
    "vendor/marked.esm.js",
)
TYPES = ("bearer_token", "basic_auth", "api_key", "oauth2", "custom")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; form-action 'none'; "
    "frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Content Security Policy Level 3. No markup is ever made from text here, so no Trusted Types policy is allowed."""

_HEADERS: Mapping[str, str] = {**pages.HEADERS, "content-security-policy": POLICY}
_FILE_HEADERS = {**pages.HEADERS, "cache-control": "no-cache"}
_TITLE = 200  # characters

_TEMPLATES = Environment(
    loader=PackageLoader("valetkey.entrypoints.chat"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    body: bytes
    kind: str
    tag: str


@cache
def _files() -> Mapping[str, _File]:
    """Everything that is served, by its name under ``static/``; nothing else is."""
    static = PackageLoader("valetkey.entrypoints.chat", "static")
    palette = PackageLoader("valetkey.entrypoints.web").get_source(_TEMPLATES, "palette.css")[0]
    texts = {name: static.get_source(_TEMPLATES, name)[0] for name in MODULES}
    kinds = dict.fromkeys(MODULES, "text/javascript; charset=utf-8") | {"chat.css": "text/css; charset=utf-8"}
    texts["chat.css"] = palette + static.get_source(_TEMPLATES, "chat.css")[0]
    return {name: _file(text, kinds[name]) for name, text in texts.items()}


def _file(text: str, kind: str) -> _File:
    body = text.encode()
    return _File(body=body, kind=kind, tag=f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def auth_types(supported: Sequence[str]) -> list[str]:
    """Those that the page has a form for, once each; both spellings of OAuth2 are ``oauth2``."""
    named = ("oauth2" if str(each) == "oauth2_client_credentials" else str(each) for each in supported)
    return [each for each in dict.fromkeys(named) if each in TYPES]


def ui_routes(chat: Chat) -> list[BaseRoute]:
    """The routes of the page: itself, its files, and the way to it from ``chat_endpoint``. None without ``enable_ui``.

    Starlette's own: none of them is in the app's OpenAPI document.
    """
    config = chat.config
    if not config.enable_ui:
        return []
    base, ui = config.chat_endpoint.rstrip("/"), config.ui_endpoint
    threshold = Threshold(chat)

    async def show(request: Request) -> Response:
        try:
            threshold.check_host(request)
        except Refused as refusal:
            return pages.from_status(refusal.status)
        chat.mounted.learn(request.scope)
        response = _page(chat)
        browser_cookie(response, request, chat)
        return response

    async def static(request: Request) -> Response:
        return _static(request)

    async def lead(request: Request) -> Response:
        return pages.see_other(f"{request.scope.get('root_path', '')}{ui}")

    ends = {ui: show, f"{base}/static/{{name:path}}": static} | ({base: lead} if base and base != ui else {})
    return [Route(path, strictly(end, lambda: chat.mounted.base_url)) for path, end in ends.items()]


def _page(chat: Chat) -> Response:
    config = chat.config
    html = _TEMPLATES.get_template("chat.html").render(
        title=pages.plain(config.ui_title, _TITLE) or "Chat",
        welcome=config.ui_welcome_message,
        static=_towards(f"{config.chat_endpoint.rstrip('/')}/static", config),
        modules=[name for name in MODULES if name != "chat.js"],
        config=_for_the_page(config) | {"signIn": _sign_in(chat)},
        account=_towards(posixpath.join("/", chat.mounted.prefix, "account"), config) if config.sso_enabled else "",
    )
    return HTMLResponse(html, headers=_HEADERS)


def _towards(path: str, config: ChatConfig) -> str:
    """That path as the page's browser finds it: relative, so that a proxy may put the app wherever it likes."""
    return posixpath.relpath(path, posixpath.dirname(config.ui_endpoint) or "/")


def _sign_in(chat: Chat) -> str:
    """Where users of ours sign in, and come back from; empty: the app signs its users in itself."""
    if chat.config.auth_dependency is not None:
        return ""
    prefix = chat.mounted.prefix
    before = urlsplit(chat.mounted.base_url).path.removesuffix(prefix).rstrip("/")
    query = urlencode({"next": f"{before}{chat.config.ui_endpoint}"})
    return f"{_towards(posixpath.join('/', prefix, 'sign-in'), chat.config)}?{query}"


def _for_the_page(config: ChatConfig) -> dict[str, Any]:
    """What the script knows: nothing that the person may not."""
    types = auth_types(config.supported_auth_types) if config.enable_tool_auth else []
    first = auth_types([config.default_auth_type or ""])
    return {
        "socket": _towards(config.websocket_endpoint, config),
        "longest": config.max_frame_size,
        "auth": {
            "types": types,
            "required": bool(types) and config.require_tool_auth,
            "first": first[0] if first and first[0] in types else "",
        },
        "presets": list(config.preset_prompts),
        "variables": list(config.preset_variables),
    }


def _static(request: Request) -> Response:
    """One file of the table; asked for again with its tag, 304 (RFC 9110 §13.1.2)."""
    found = _files().get(request.path_params["name"])
    if found is None or b"%" in request.scope.get("raw_path", b""):
        return pages.not_found()
    headers = {**_FILE_HEADERS, "etag": found.tag}
    given = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    if found.tag in given or given == ["*"]:
        return Response(status_code=304, headers=headers)
    return Response(found.body, media_type=found.kind, headers=headers)
