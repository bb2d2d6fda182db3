"""The front channel: judge an authorization request, ask the person, send the browser back."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from starlette.responses import RedirectResponse, Response

from valetkey.testing.oauth import pages
from valetkey.testing.oauth.ledger import Ledger, OAuthError
from valetkey.testing.oauth.options import Client, Options
from valetkey.testing.oauth.received import Pairs, Received, single

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_ORIGIN = re.compile(r"https?://(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?\Z")


class Unanswerable(Exception):  # no error of the protocol: it is told to the person, not to the client
    """A request whose client or redirect URI is unknown: nobody may be sent back (RFC 6749 §4.1.2.1)."""


class SentBack(Exception):  # as Unanswerable
    """A request that is refused by sending the browser back with an error; ``url`` is where."""

    def __init__(self, url: str) -> None:
        super().__init__("The authorization request was refused.")
        self.url = url


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A valid authorization request."""

    client: Client
    redirect_uri: str
    state: str | None
    scopes: tuple[str, ...]
    challenge: str | None
    refreshable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """An authorization request shown to a browser, waiting for its answer."""

    asked: Asked
    browser: str = field(repr=False)
    csrf: str = field(repr=False)


class Authorize:
    """Everything behind ``/authorize``.

    Args:
        options: how the server is set up.
        ledger: where codes are issued.
        issuer: the issuer identifier, asked for when needed because the port is not known before the start.
        path: the path that shows the page and takes its answer.
    """

    def __init__(self, options: Options, ledger: Ledger, issuer: Callable[[], str], path: str) -> None:
        self._options = options
        self._ledger = ledger
        self._issuer = issuer
        self._path = path
        self._questions: dict[str, _Question] = {}
        # Cookies do not tell ports apart: two servers on one host must not share a name.
        self._cookie = f"oauth_browser_{options.dice.token(6)}"

    def show(self, received: Received) -> Response:
        """GET: the consent page, or straight back to the client with an error or, when set so, a code."""
        try:
            asked = self.judge(received.pairs)
        except Unanswerable as problem:
            return self._problem("This link cannot be used", str(problem))
        except SentBack as sent:
            return _redirect(sent.url)
        if self._options.auto_approve:
            return _redirect(self.approve(asked))
        dice = self._options.dice
        browser = received.cookies.get(self._cookie) or dice.token(24)
        ticket, question = dice.token(16), _Question(asked=asked, browser=browser, csrf=dice.token(24))
        self._questions[ticket] = question
        described = self._options.scopes or {}
        page = pages.consent(
            title=self._options.title,
            client=asked.client.title or asked.client.id,
            back_to=_source(asked.redirect_uri),
            users=self._options.users,
            scopes={scope: described.get(scope, "") for scope in asked.scopes},
            action=self._path,
            ticket=ticket,
            csrf=question.csrf,
        )
        page.set_cookie(self._cookie, browser, path=self._path, httponly=True, samesite="lax")
        return page

    def settle(self, received: Received) -> Response:
        """POST: the person's answer, once, from the browser that was asked."""
        form = received.form
        ticket = form.get("ticket", "")
        question = self._questions.get(ticket)
        if question is None:
            return self._problem("Already answered", "This question was answered, or never asked. Begin again.")
        cookie = received.cookies.get(self._cookie, "")
        same_browser = hmac.compare_digest(question.browser.encode(), cookie.encode())
        if not same_browser or not hmac.compare_digest(question.csrf.encode(), form.get("csrf", "").encode()):
            return self._problem("Not from this page", "The answer did not come from the page that asked.", 403)
        subject, answer = form.get("user", ""), form.get("answer", "")
        if answer == "approve" and subject not in self._options.users:
            return self._problem("Unknown account", "Choose one of the accounts on the page.")
        del self._questions[ticket]
        if answer == "approve":
            return _redirect(self.approve(question.asked, subject=subject))
        return _redirect(self.deny(question.asked))

    def judge(self, pairs: Pairs) -> Asked:
        """Check an authorization request (RFC 6749 §4.1.1, RFC 7636 §4.3).

        Raises:
            Unanswerable: client or redirect URI are not known.
            SentBack: anything else is wrong; has the URL that tells the client.
        """
        fields = dict(pairs)
        client = self._options.clients.get(fields.get("client_id", ""))
        if client is None:
            raise Unanswerable("It names no client that this server knows.")
        redirect_uri = fields.get("redirect_uri", "")
        if not _may_return(client, redirect_uri):
            raise Unanswerable("Its redirect_uri is missing, or not one of this client's.")
        state = fields.get("state")
        try:
            single(pairs)
            return self._judge_fields(client, redirect_uri, state, fields)
        except OAuthError as error:
            raise SentBack(self._failure(redirect_uri, state, error)) from error

    def approve(self, asked: Asked, *, subject: str | None = None, scopes: tuple[str, ...] | None = None) -> str:
        """The callback URL with a code, for the first account and the asked scopes unless told otherwise."""
        code = self._ledger.open_code(
            client=asked.client.id,
            subject=next(iter(self._options.users)) if subject is None else subject,
            scopes=asked.scopes if scopes is None else scopes,
            redirect_uri=asked.redirect_uri,
            challenge=asked.challenge,
            refreshable=asked.refreshable,
        )
        return self._back(asked.redirect_uri, asked.state, {"code": code.value})

    def deny(self, asked: Asked) -> str:
        """The callback URL that says no (RFC 6749 §4.1.2.1)."""
        return self._failure(asked.redirect_uri, asked.state, OAuthError("access_denied", "The person said no."))

    def _judge_fields(self, client: Client, redirect_uri: str, state: str | None, fields: dict[str, str]) -> Asked:
        options, dialect = self._options, self._options.dialect
        if fields.get("response_type") != "code":
            raise OAuthError("unsupported_response_type", "response_type must be code.")
        challenge = fields.get("code_challenge")
        if challenge is None and options.require_pkce:
            raise OAuthError("invalid_request", "code_challenge is required.")
        if challenge is not None and (fields.get("code_challenge_method") != "S256" or not _CHALLENGE.match(challenge)):
            raise OAuthError("invalid_request", "code_challenge must be a SHA-256 one, with method S256.")
        scopes = dialect.split_scopes(fields.get(dialect.scope_parameter, ""))
        unknown = [scope for scope in scopes if options.scopes is not None and scope not in options.scopes]
        if unknown:
            raise OAuthError("invalid_scope", "A scope is not known here.")
        by = dialect.refresh_by
        return Asked(
            client=client,
            redirect_uri=redirect_uri,
            state=state,
            scopes=scopes,
            challenge=challenge,
            refreshable=by is None or fields.get(by[0]) == by[1],
        )

    def _failure(self, redirect_uri: str, state: str | None, error: OAuthError) -> str:
        return self._back(redirect_uri, state, {"error": error.code, "error_description": error.description})

    def _back(self, redirect_uri: str, state: str | None, fields: dict[str, str]) -> str:
        if state is not None:
            fields["state"] = state
        if self._options.iss:
            fields["iss"] = self._issuer()  # RFC 9207 §2
        return f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{urlencode(fields)}"

    def _problem(self, heading: str, text: str, status: int = 400) -> Response:
        return pages.problem(title=self._options.title, heading=heading, text=text, status=status)


def _may_return(client: Client, redirect_uri: str) -> bool:
    if client.redirect_uris:
        return redirect_uri in client.redirect_uris
    return "#" not in redirect_uri and _source(redirect_uri).startswith("http")


def _source(redirect_uri: str) -> str:
    """Its origin, or the scheme of an app's own; nothing when neither could stand in a header."""
    try:
        parts = urlsplit(redirect_uri)
    except ValueError:
        return ""
    origin = f"{parts.scheme}://{parts.netloc}"
    if _ORIGIN.match(origin):
        return origin
    return f"{parts.scheme}:" if parts.scheme not in {"", "http", "https"} else ""


def _redirect(url: str) -> Response:
    # 303: the POST of the form must not be repeated at the client (RFC 9700 §4.12).
    return RedirectResponse(url, 303, {"cache-control": "no-store", "referrer-policy": "no-referrer"})
