"""Templates, CSP, CSRF, headers."""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Scope

from valetkey.entrypoints.render import http_status
from valetkey.entrypoints.web.forms import FormToken
from valetkey.errors import AuthExpired, AuthRefused, RateLimited, Unauthenticated, ValetkeyError
from valetkey.providers.base import PastedField

REFERENCE = "valetkey.reference"
"""The key under which a request's scope holds its correlation id; ``guard.Guard`` puts it there."""

_FOREIGN = 200  # characters of somebody else's text on a page
_OURS = 1000
_SCOPES = 12
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?(?:\?[A-Za-z0-9._~&=%+:/-]*)?")


def plain(text: str, limit: int = _FOREIGN) -> str:
    """Text fit to be shown: one line, no terminal codes, no marks that turn the reading order, at most ``limit`` long.

    Zero-width joiners stay: some scripts need them. Escaping is the template's part.
    """
    kept = []
    for character in _ANSI.sub("", text[: limit * 20]):
        kind = unicodedata.category(character)
        if kind in {"Zl", "Zp", "Zs"} or character in "\t\r\n":
            kept.append(" ")
        elif kind not in {"Cc", "Cf", "Cs", "Co", "Cn"} or character in "\u200c\u200d":
            kept.append(character)
    line = " ".join("".join(kept).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _shown(value: Any) -> Any:
    """Whatever a template prints passes here, then through its escaping; only what it made itself is left alone."""
    return plain(value, _OURS) if isinstance(value, str) and not isinstance(value, Markup) else value


_TEMPLATES = Environment(
    loader=PackageLoader("valetkey.entrypoints.web"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_shown,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_STYLE = _TEMPLATES.get_template("style.css").render()
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

_NOTHING = "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

HEADERS: Mapping[str, str] = {
    "content-security-policy": _NOTHING,
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), clipboard-read=(), geolocation=(), microphone=(), payment=(), usb=()",
}
"""What every answer carries (OWASP ASVS 5.0 V3.4); a page adds the hash of its one style sheet."""

_PAGE_HEADERS = {**HEADERS, "content-security-policy": f"{_NOTHING}; style-src 'sha256-{_STYLE_HASH}'"}


def _page(template: str, status: int, **values: Any) -> HTMLResponse:
    text = _TEMPLATES.get_template(template).render(values)
    return HTMLResponse(text, status_code=status, headers=_PAGE_HEADERS)


def show(template: str, *, status: int = 200, token: FormToken | None = None, **values: Any) -> Response:
    """A page from a template of ours. With a form's token, ``csrf`` is its value, and its cookie goes out along."""
    response = _page(template, status, **{"reference": "", "csrf": token.value if token else "", **values})
    if token is not None:
        token.set_cookie(response)
    return response


def _chips(scopes: Iterable[str]) -> dict[str, object]:
    named = sorted(plain(scope) for scope in scopes)
    return {"scopes": named[:_SCOPES], "left_out": len(named[_SCOPES:])}


def connected(
    *,
    provider: str,
    account: str | None = None,
    profile: str = "",
    scopes: Iterable[str] = (),
    program: str = "",
    note: str = "",
) -> Response:
    """200: the account is connected. ``provider`` is its title, ``account`` the provider's own name for it.

    ``note``: what the person has to know of it besides.
    """
    return _page(
        "connected.html",
        200,
        provider=plain(provider),
        account=plain(account or ""),
        note=plain(note),
        profile="" if profile == "default" else plain(profile),
        program=plain(program),
        reference="",
        **_chips(scopes),
    )


def refused(*, provider: str, reason: str = "") -> Response:
    """403: the person or the provider said no. ``reason`` is the provider's own text, shown as such."""
    status = http_status(AuthRefused)
    return _page("refused.html", status, provider=plain(provider), reason=plain(reason), reference="")


def expired(*, provider: str = "") -> Response:
    """410: the link is too old, or was used before."""
    return _page("expired.html", http_status(AuthExpired), provider=plain(provider), reference="")


def failed(*, title: str, what: str, next_step: str, status: int = 400, reference: str = "") -> Response:
    """Something did not work: what, what to do next, and a reference to look for in the log."""
    return _page("failed.html", status, headline=title, what=what, next_step=next_step, reference=reference)


def not_found() -> Response:
    """404: no such page."""
    return from_status(404)


def paste_form(
    *,
    provider: str,
    fields: Sequence[PastedField],
    action: str,
    token: FormToken,
    error: str | None = None,
    docs: str = "",
    scopes: Iterable[str] = (),
    program: str = "",
    owner: str = "",
) -> Response:
    """The form on which a person pastes a token, a name and password, or a key pair; 400 with an ``error``, else 200.

    Args:
        provider: its title.
        fields: what is asked for; those that are secret are masked.
        action: where it is posted: a path of ours.
        token: what binds the form to this browser; its cookie goes out with the page.
        error: why the last try did not do; says nothing of what was entered.
        docs: where the person finds the value; no link unless it is http or https.
        scopes: what the account will be used for.
        program: who asks.
        owner: for whom the account is connected, in words.
    """
    return show(
        "paste.html",
        status=400 if error else 200,
        token=token,
        provider=plain(provider),
        fields=fields,
        action=action,
        error=plain(error or ""),
        docs=docs if _is_web_link(docs) else "",
        program=plain(program),
        owner=plain(owner),
        **_chips(scopes),
    )


def _is_web_link(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def own_path(target: str) -> str:
    """The target where it is a plain path of ours, with or without a query; otherwise ``/``."""
    path = target.partition("?")[0]
    if target.startswith("/") and _PATH.fullmatch(target) and not {".", ".."} & set(path.split("/")):
        return target
    return "/"


def see_other(target: str) -> Response:
    """303 to a path of ours (RFC 9110 §15.4.4; RFC 9700 §4.12: after a POST never 307 or 308)."""
    return Response(status_code=303, headers={**HEADERS, "location": own_path(target)})


_STATUSES: Mapping[int, tuple[str, str, str]] = {
    400: (
        "This request cannot be read",
        "It is not one that a page of ours or a provider sends.",
        "Open the link from your program again.",
    ),
    401: (
        "You have to sign in for this",
        "Nobody is signed in here in this browser, or the session has ended.",
        "Sign in, then open the page again.",
    ),
    403: (
        "This is not allowed",
        "The request was understood, and is not allowed from here.",
        "Open the link from your program again, in this browser.",
    ),
    404: (
        "There is no page here",
        "The address may be incomplete, or the link may be from a program that has ended.",
        "Open the whole link from your program again.",
    ),
    405: (
        "This page cannot be used like that",
        "The address is right, and the way it was called is not.",
        "Open the link from your program again.",
    ),
    408: (
        "The request took too long",
        "It did not arrive whole within the time that we wait.",
        "Check your connection, then send it again.",
    ),
    409: (
        "This step comes too late or too early",
        "The sign-in that it belongs to has moved on.",
        "Go back to your program and ask for a new link.",
    ),
    413: (
        "This is too much",
        "What was sent is larger than any token, password or key.",
        "Go back, check what you pasted, and send it again.",
    ),
    421: (
        "This is not the right address",
        "A request arrived here under a host name that is not ours.",
        "Open the link from your program, as it stands there.",
    ),
    429: (
        "This was tried too often",
        "There is a limit to how often this may be done, and it is reached.",
        "Wait a few minutes, then try again.",
    ),
    502: (
        "This step went wrong in your program",
        "Your program brings its own code for this sign-in, and that code ended with an error.",
        "Look in your program's log for the reference below, then ask for a new link.",
    ),
    504: (
        "This step took too long in your program",
        "Your program brings its own code for this sign-in, and that code did not end in time.",
        "Look in your program's log for the reference below, then ask for a new link.",
    ),
}
_OTHERWISE = (
    "This did not work",
    "Something went wrong on our side, not on yours. What you connected before is untouched.",
    "Wait a moment, then open the link from your program again.",
)


def _story(status: int) -> tuple[str, str, str]:
    return _STATUSES.get(status) or (_STATUSES[400] if status < http_status(ValetkeyError) else _OTHERWISE)


def from_status(status: int, *, reference: str = "", headers: Mapping[str, str] | None = None) -> Response:
    """The page for an HTTP status that has no story of its own; 500 becomes 503: what went wrong is ours to mend."""
    title, what, next_step = _story(status)
    response = failed(
        title=title,
        what=what,
        next_step=next_step,
        status=503 if status == http_status(ValetkeyError) else status,
        reference=reference,
    )
    response.headers.update(headers or {})
    return response


def from_error(error: ValetkeyError, *, provider: str = "", reference: str = "") -> Response:
    """The page for an error of ours; its status is the one of ``errors.RENDERINGS``, its text is the error's own."""
    if isinstance(error, AuthRefused) and provider:
        return refused(provider=provider, reason=error.message)
    if isinstance(error, AuthExpired):
        return expired(provider=provider)
    status = http_status(error)
    if status == http_status(ValetkeyError):
        return from_status(status, reference=reference)
    title, _, next_step = _story(status)
    response = failed(title=title, what=error.message, next_step=next_step, status=status, reference=reference)
    if isinstance(error, RateLimited):
        response.headers["retry-after"] = str(error.retry_after)
    if isinstance(error, Unauthenticated):
        response.headers["www-authenticate"] = "Bearer"
    return response


def reference_of(scope: Scope) -> str:
    """The request's correlation id; empty where no guard stands in front."""
    reference = scope.get(REFERENCE, "")
    return reference if isinstance(reference, str) else ""


async def _on_status(request: Request, error: Exception) -> Response:
    status, headers = (error.status_code, error.headers) if isinstance(error, HTTPException) else (500, None)
    return from_status(status, reference=reference_of(request.scope), headers=headers)


async def _on_error(request: Request, error: Exception) -> Response:
    known = error if isinstance(error, ValetkeyError) else ValetkeyError("")
    return from_error(known, reference=reference_of(request.scope))


def exception_handlers() -> dict[Any, Callable[[Request, Exception], Awaitable[Response]]]:
    """For ``Starlette(exception_handlers=…)`` and ``FastAPI(exception_handlers=…)``: every error becomes a page."""
    return {HTTPException: _on_status, ValetkeyError: _on_error, Exception: _on_error}
