"""Whose an account is, and whether its credential is any good: asked of the provider, where an entry says how."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlencode

from valetkey.connections.handler import Handler
from valetkey.errors import AuthRefused, InvalidAnswer, ValetkeyError
from valetkey.model.calls import Loan
from valetkey.model.connections import Credential, Grant, Subject
from valetkey.ports.world import Fetcher, Request, Response, Trust
from valetkey.protocol.foreign import read_object
from valetkey.providers.base import Userinfo
from valetkey.providers.endpoints import origin_of, permits
from valetkey.scrub import Scrubber
from valetkey.secret import Secret

DEADLINE = 5.0
"""Seconds that the request may take: a person waits for it."""

CAP = 262_144
"""Bytes of the answer that are read."""

LONGEST_SUBJECT = 255
"""Characters of a subject (OpenID Connect Core §2); a longer one is none."""

LONGEST = 200
"""Characters of an account's name."""

UNCHECKED = "It could not be checked: {why} It is kept as it was given."

UNAUTHORIZED, FORBIDDEN = 401, 403  # RFC 9110 §15.5

SUB = "sub"
"""The claim of a userinfo answer that is an ID token's, too (OpenID Connect Core §5.3.2)."""

_SUCCESS = 2
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_CODES = ("error", "code", "error_code", "error.code", "error.type", "errors.0.code", "errors.0.errorType", "errcode")
# A refusal that says nothing of the credential: the same one may do a minute later.
_LATER = frozenset({"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "timeout"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What the provider told: the credential is good.

    Attributes:
        name: what people call the account; empty where it did not say.
        subject: what the provider itself knows it by; empty where it did not say.
    """

    name: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The provider does not take the credential. ``code``: why, in its own words; fit to show."""

    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Nothing can be said of the credential. ``why``: a sentence."""

    why: str


class Whose:
    """Asks providers whose a credential is.

    Args:
        fetcher: the one way out.
    """

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    async def ask(self, handler: Handler, credential: Credential) -> Account | Refused | Unknown | None:
        """What the provider says of that credential; None where its entry does not say how to ask, or not whom."""
        try:
            asked = await handler.asks()
        except ValetkeyError as error:
            return Unknown(why=error.message)
        loan = handler.loan(credential)
        if asked is None or not (loan.headers or loan.query):
            return None
        # Where the operator did not name the address, a credential goes to the provider's own origins only.
        if not asked.url.operator and not permits(handler.origins, origin_of(asked.url.url)):
            return None
        title = handler.provider.title
        try:
            answer = await self._fetcher.fetch(_request(asked, loan))
            nonce = answer.header("dpop-nonce")
            if answer.status == UNAUTHORIZED and loan.prover and loan.prover.hear(asked.url.url, nonce):
                answer = await self._fetcher.fetch(_request(asked, loan))  # RFC 9449 §9; once
        except ValetkeyError:
            return Unknown(why=f"{title} could not be asked.")
        secrets = [*_secrets(handler, credential), *loan.headers.values(), *loan.query.values()]
        return _judged(asked, answer, title, secrets)

    async def tried(self, handler: Handler, credential: Credential) -> tuple[Account, str]:
        """Try what a person pasted, before it is kept.

        Returns:
            The account, and a note for the person where it could not be checked.

        Raises:
            InvalidAnswer: the provider does not take it.
        """
        told = await self.ask(handler, credential)
        if isinstance(told, Refused):
            what = "this token" if credential.access_token else "these values"
            raise InvalidAnswer(
                f"{handler.provider.title} does not accept {what} ({told.code}). Copy "
                f"{'it' if credential.access_token else 'them'} again."
            )
        if isinstance(told, Unknown):
            return Account(), UNCHECKED.format(why=told.why)
        return told or Account(), ""

    async def told(self, grant: Grant, handler: Handler) -> Grant:
        """The grant with its account and subject, where the provider tells; at best: an outage changes nothing.

        Raises:
            AuthRefused: it names another account than its ID token did (OpenID Connect Core §5.3.2).
        """
        if grant.account is not None:
            return grant
        credential = grant.credential
        told = await self.ask(handler, credential)
        if not isinstance(told, Account):
            return grant
        asked = await handler.asks()
        known = credential.subject
        if known is None:
            credential = replace(credential, subject=subject_of(asked, told.subject))
        elif asked is not None and asked.subject == SUB and told.subject and told.subject != known.subject:
            await _given_back(handler, credential)
            raise AuthRefused(
                f"{handler.provider.title} named one account when it signed you in and another one when it was asked "
                "whose it is, so nothing was kept. Try again; if it stays so, tell whoever runs this program."
            )
        return replace(grant, account=told.name or None, credential=credential)


def subject_of(asked: Userinfo | None, subject: str) -> Subject | None:
    """Whose it is, told by a userinfo request: the origin that was asked stands for the issuer."""
    if asked is None or not subject:
        return None
    return Subject(issuer=origin_of(asked.url.url), subject=subject, audience=frozenset())


async def _given_back(handler: Handler, credential: Credential) -> None:
    """A token that is not wanted should not live on; where revoking it ends other accounts too, it may."""
    if handler.revocation_ends_all:
        return
    try:
        await handler.revoke(credential)
    except ValetkeyError:
        return


def _request(asked: Userinfo, loan: Loan) -> Request:
    url = asked.url.url
    if loan.query:
        given = urlencode({name: value.reveal() for name, value in loan.query.items()}, quote_via=quote)
        url = f"{url}{'&' if '?' in url else '?'}{given}"
    body = asked.body.encode()
    sent = {"accept": "application/json", **({"content-type": "application/json"} if body else {})}
    sent |= {name.lower(): value for name, value in asked.headers.items()}
    sent |= {name.lower(): value.reveal() for name, value in loan.headers.items()}
    sent |= {} if loan.prover is None else loan.prover.headers(asked.method, url)
    return Request(
        method=asked.method,
        url=url,
        trust=Trust.OPERATOR if asked.url.operator else Trust.CATALOGUE,
        headers=sent,
        body=body,
        deadline=DEADLINE,
        cap=CAP,
        whole=False,
    )


def _judged(asked: Userinfo, answer: Response, title: str, secrets: list[Secret]) -> Account | Refused | Unknown:
    body = _read(answer)
    if answer.status in (UNAUTHORIZED, FORBIDDEN):
        if _about_something_else(answer):
            return Unknown(why=f"{title} did not say whose it is ({answer.status}).")
        return Refused(code=_code(body, secrets) or str(answer.status))
    if answer.status // 100 != _SUCCESS:
        return Unknown(why=f"{title} answered with {answer.status}.")
    if asked.success_field and _at(body, asked.success_field) is not True:
        code = _code(body, secrets) if _at(body, asked.success_field) is False else ""
        if code and code not in _LATER:
            return Refused(code=code)
        return Unknown(why=f"{title} gave no clear answer.")
    names = (_text(_at(body, path), secrets) for path in asked.account)
    name = next(filter(None, names), "")
    if not name and asked.header_account:
        name = _text(answer.header(asked.header_account.lower()), secrets)
    subject = _subject(_at(body, asked.subject), secrets) if asked.subject else ""
    return Account(name=name, subject=subject)


def _about_something_else(answer: Response) -> bool:
    """A refusal for want of a scope (RFC 6750 §3.1), or for too many requests: it says nothing of the credential."""
    if answer.status != FORBIDDEN:
        return False
    wanting = "insufficient_scope" in (answer.header("www-authenticate") or "")
    return wanting or answer.header("retry-after") is not None or answer.header("x-ratelimit-remaining") == "0"


def _read(answer: Response) -> object:
    try:
        # Some answer with a list; nothing of it is looked at but the paths of the entry.
        return read_object(b'{"":' + answer.body + b"}", None)[""] if answer.body else None
    except ValueError:
        return None


def _at(value: Any, path: str) -> object:
    for key in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def _code(body: object, secrets: list[Secret]) -> str:
    for path in _CODES:
        found = _text(_at(body, path), secrets)
        if _CODE.fullmatch(found):
            return found
    return ""


def _subject(value: object, secrets: list[Secret]) -> str:
    """What the provider knows the account by: never cut, since two that are cut may be one."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not 0 < len(text) <= LONGEST_SUBJECT or not text.isprintable():
        return ""
    return "" if _shows(text, secrets) else text


def _text(value: object, secrets: list[Secret]) -> str:
    """A name that may be shown and kept: one line, no control, nothing that holds the credential."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    text = " ".join("".join(char if char.isprintable() else " " for char in str(value)).split())
    if not text or _shows(text, secrets):
        return ""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _shows(text: str, secrets: list[Secret]) -> bool:
    """Whether it holds the credential."""
    return Scrubber(secrets).text(text) is not text or any(secret.matches(text) for secret in secrets)


def _secrets(handler: Handler, credential: Credential) -> list[Secret]:
    plain = {field.name for field in handler.fields if not field.secret}
    fields = [value for name, value in credential.fields.items() if name not in plain]
    refresh = [credential.refresh_token] if credential.refresh_token else []
    return [each for each in (credential.access_token, *refresh, *fields) if each]
