"""The pages of links: claim one, what to do where it is not yours; approve a call."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from urllib.parse import urlsplit

from markupsafe import escape
from starlette.responses import Response

from valetkey.entrypoints.render import http_status
from valetkey.entrypoints.web import page, words
from valetkey.entrypoints.web.forms import FormToken
from valetkey.errors import AuthExpired, Denied
from valetkey.policy.consents import ConsentRequest

_FORBIDDEN = http_status(Denied)
_CLOSE = "You can close this window and go back to your program."


def claim(
    *,
    provider: str,
    url: str,
    ours: bool,
    tool: str,
    program: str,
    user: str,
    workspace: str,
    profile: str,
    scopes: Iterable[str],
    action: str,
    shown: str,
    changed: bool,
    token: FormToken,
) -> Response:
    """Who asks for what, where it leads, and a button to go there; 409 where it ``changed`` since it was shown.

    ``url`` is where the button leads: its host is named, unless it is a form of ours. All ``scopes`` are listed.
    ``tool`` is empty where it is for several. ``profile`` is the name under which the account is kept; ``user`` and
    ``workspace`` are those for whom it is. ``shown`` comes back with the form, and tells this page from others.
    """
    response = page.show(
        "connect_claim.html",
        status=409 if changed else 200,
        token=token,
        provider=page.plain(provider),
        host="" if ours else host_of(url),
        tool=page.plain(tool),
        program=page.plain(program),
        user=page.plain(user),
        workspace=page.plain(workspace),
        profile=page.plain(profile),
        scopes=sorted(page.plain(scope) for scope in scopes),
        action=action,
        shown=shown,
        changed=changed,
    )
    # Chromium holds every redirect that follows a form's POST against form-action: those of the provider, too.
    parts = urlsplit(url)
    plain_http = f" {parts.scheme}://{parts.netloc}" if parts.scheme == "http" else ""
    policy = response.headers["content-security-policy"]
    response.headers["content-security-policy"] = policy.replace(
        "form-action 'self'", f"form-action 'self' https:{plain_http}"
    )
    return response


def host_of(url: str) -> str:
    """The host that an address leads to, as DNS knows it (RFC 5890 §2.3.2.1), with its port."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        host = host.encode("idna").decode("ascii")
    except UnicodeError:
        host = page.plain(host)
    return host if parts.port is None else f"{host}:{parts.port}"


def sign_in_to_finish(sign_in: str) -> Response:
    """403: nobody is signed in, in the browser that brought an answer."""
    return _told(
        status=_FORBIDDEN,
        kind="wait",
        headline="Sign in to finish",
        what="This was begun by somebody who is signed in, and nobody is signed in here in this browser. Nothing was "
        "connected, and nothing is lost.",
        next_step="You did not begin this yourself? Close this window, and nothing happens.",
        link=sign_in,
        label="Sign in and go on",
    )


def go_on_here(link: str) -> Response:
    """403: the owner, in another browser or session than the one that claimed it."""
    return _told(
        status=_FORBIDDEN,
        kind="wait",
        headline="Go on in this browser",
        what="You began this in another browser, or signed in anew since. What came back from the provider was not "
        "used, and nothing was connected yet.",
        next_step="Finish where you began, or",
        link=link,
        label="begin again here",
    )


def not_yours(user: str) -> Response:
    """403: somebody else than the owner is signed in."""
    return page.failed(
        title="This is not your request",
        what=f"You are signed in as {page.plain(user)}, and this link was made for somebody else. Links to connect an "
        "account are personal. Nothing was connected.",
        next_step="If somebody sent you this link, do not go on: tell them that it is only for themselves. If it is "
        "yours, sign in as the user for whom your program asked, and open it again.",
        status=_FORBIDDEN,
    )


def in_your_program() -> Response:
    """403: a link of a program that signs its users in itself, in a browser for which it did not confirm it."""
    return page.failed(
        title="Open this link in your program",
        what="This link is personal, and the program that made it did not confirm that it is yours. Nothing was "
        "connected.",
        next_step="Go back to the program, sign in there, and follow the link from its own page in this browser.",
        status=_FORBIDDEN,
    )


def approve(
    *,
    tool: str,
    arguments: str,
    profile: str,
    reason: str,
    user: str,
    workspace: str,
    since: str,
    until: str,
    action: str,
    token: FormToken,
) -> Response:
    """Who wants to call which tool with which ``arguments``: all of them, as they are; yes or no.

    ``arguments`` are indented JSON in ASCII; ``profile`` is the account that was named, ``reason`` why a person is
    asked, ``since`` and ``until`` are in words.
    """
    return page.show(
        "approve.html",
        token=token,
        tool=page.plain(tool),
        # Escaped here, so that the shell's own cut at so many characters passes it by.
        arguments=escape(arguments),
        profile=page.plain(profile),
        reason=page.plain(reason),
        user=page.plain(user),
        workspace=page.plain(workspace),
        since=since,
        until=until,
        action=action,
    )


def lend(*, asked: ConsentRequest, now: float, action: str, token: FormToken) -> Response:
    """Which service, run by whom, wants to use which accounts of the person's, for what and until when; yes or no."""
    terms = asked.terms
    return page.show(
        "lend.html",
        token=token,
        title=page.plain(terms.title),
        service=page.plain(asked.lending.service),
        runs=page.plain(terms.runs),
        user=page.plain(asked.user),
        workspace=page.plain(asked.workspace),
        holds=f"{words.length(terms.lifetime)}, or until you end it",
        since=words.moment(asked.created_at, now=now),
        until=words.moment(asked.expires_at, now=now),
        accounts=[
            {
                "title": page.plain(title),
                "account": page.plain(account),
                "asked": [page.plain(scope) for scope in wanted],
                "besides": [page.plain(scope) for scope in besides],
            }
            for title, account, wanted, besides in terms.accounts
        ],
        action=action,
    )


def lent(service: str) -> Response:
    """The person said yes."""
    return _told(
        kind="good",
        headline="The service may use your account",
        what=f"{page.plain(service)} may use it while calls of yours last. You can end this on your account page.",
        next_step="Call the service again. You can close this window.",
    )


def not_lent(service: str) -> Response:
    """The person said no."""
    return _told(
        kind="bad",
        headline="Your account was not lent",
        what=f"{page.plain(service)} may not use it. Nothing was done.",
        next_step=_CLOSE,
    )


def lending_over(service: str, *, used: bool) -> Response:
    """410: the question can be answered no more."""
    return _told(
        status=http_status(AuthExpired),
        kind="wait",
        headline="This question has been answered" if used else "This question has ended",
        what=f"Whether {page.plain(service)} may use your account was answered before."
        if used
        else f"Nobody said in time whether {page.plain(service)} may use your account, so it may not.",
        next_step="Call the service again; it asks once more where it has to.",
    )


def approved(tool: str) -> Response:
    """The person said yes."""
    return _told(
        kind="good",
        headline="The call may go on",
        what=f"{page.plain(tool)} may run once, with exactly the arguments that you saw.",
        next_step=_CLOSE,
    )


def turned_down(tool: str) -> Response:
    """The person said no."""
    return _told(
        kind="bad",
        headline="The call was turned down",
        what=f"{page.plain(tool)} does not run with these arguments. Nothing was done.",
        next_step=_CLOSE,
    )


def over(tool: str, *, used: bool) -> Response:
    """410: the question can be answered no more."""
    return _told(
        status=http_status(AuthExpired),
        kind="wait",
        headline="This question has been answered" if used else "This question has ended",
        what=f"Whether {page.plain(tool)} may run was answered before; an answer holds for one call."
        if used
        else f"Nobody said in time whether {page.plain(tool)} may run, so it does not.",
        next_step="Let your program call again, if you want it to: it gives you a new link.",
    )


def digest(value: object) -> str:
    """What tells a page's contents from others."""
    text = json.dumps(value, sort_keys=True, default=str)
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:16]).decode().rstrip("=")


def _told(
    *, kind: str, headline: str, what: str, next_step: str, status: int = 200, link: str = "", label: str = ""
) -> Response:
    return page.show(
        "told.html",
        status=status,
        kind=kind,
        headline=headline,
        what=what,
        next_step=next_step,
        link=link,
        label=label,
    )
