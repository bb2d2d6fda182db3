"""RFC 6749 §4.1.3, §4.4, §5, §6 and 7009: build a token or revocation request, judge the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeGuard
from urllib.parse import urlencode

from valetkey.errors import InvalidSetting
from valetkey.model.connections import Subject
from valetkey.protocol.client_auth import Proof
from valetkey.protocol.dates import http_date, retry_after
from valetkey.protocol.foreign import FORM, JSON, read_object, shown
from valetkey.protocol.id_token import read_subject
from valetkey.secret import Secret

LONGEST_LIFE = 10 * 366 * 86_400.0
"""Seconds that an access token is believed to live; nothing is for ever."""

UNTOLD_PAUSE = 1.0
"""Seconds to wait at least after a 429 that does not say how long."""

LONGEST_TOKEN = 65_536

# RFC 6749 §A.12, §A.17: what may go into a header as it is.
_TOKEN = re.compile(r"[\x21-\x7e]+")
_SECONDS = re.compile(r"[0-9]{1,15}")
# RFC 9110 §15. Timed out, too early, too many: nothing was decided.
_SUCCESS, _REDIRECT, _REFUSED, _BROKEN = 200, 300, 400, 500
_TOO_MANY = 429
_AGAIN_LATER = frozenset({408, 425, _TOO_MANY})


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """What is posted to a token or revocation endpoint; neither part prints."""

    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What a provider wants in its token requests besides the standard's own."""

    parameters: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    as_json: bool = False


class Verdict(StrEnum):
    """What an answer that brings no token means."""

    LATER = "later"
    """Nothing was decided: ask again."""

    FINAL = "final"
    """The code or refresh token is dead."""

    CONFIGURATION = "configuration"
    """We, the client, are not set up as the provider expects; the person can do nothing."""

    UNCLEAR = "unclear"
    """Refused for a reason that is none of these."""


# RFC 6749 §5.2. Only these are believed for good, by code and never by description: a token thrown away on a
# misunderstanding costs a person a sign-in.
VERDICTS: Mapping[str, Verdict] = {
    "invalid_grant": Verdict.FINAL,
    "invalid_client": Verdict.CONFIGURATION,
    "unauthorized_client": Verdict.CONFIGURATION,
    "invalid_target": Verdict.CONFIGURATION,  # RFC 8707 §2: the resource in settings is none that it knows
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer that brings no token.

    Attributes:
        text: what the provider said, fit to show: its code, then its description.
        retry_after: seconds to wait, where it asked for time; at most an hour.
        code: its error code in the standard's words (RFC 6749 §5.2); empty where it gave none.
    """

    verdict: Verdict
    text: str
    retry_after: float | None = None
    code: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAnswer:
    """A successful answer (RFC 6749 §5.1).

    Attributes:
        token_type: lower case.
        lifetime: seconds that the access token lives; None: unknown.
        scopes: those granted; None: as asked.
        subject: whose account it is, by the ID token that came along; None: none did, or it cannot be read.
        subject_fault: why the ID token cannot be read; empty: it can, or there is none.
    """

    access_token: Secret
    refresh_token: Secret | None = None
    token_type: str = "bearer"
    lifetime: float | None = None
    scopes: frozenset[str] | None = None
    subject: Subject | None = None
    subject_fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """How a provider writes its answers.

    Attributes:
        paths: where the token object may be, by the keys that lead there; the first with a token is taken.
        success_field: a member that must be true; empty: none.
        token_types: what is usable as a bearer token, lower case; an empty one: the answer may leave it out.
        error_codes: the provider's own codes, each with the standard's. Where an answer has none, the resource of the
            first of its ``errors`` is one (Strava), and else its message.
        scope_field: the name of the granted scopes.
        separators: characters that part them.
        lifetime: seconds, where the answer does not say.
    """

    paths: tuple[tuple[str, ...], ...] = ((),)
    success_field: str = ""
    token_types: tuple[str, ...] = ("bearer",)
    error_codes: Mapping[str, str] = field(default_factory=dict)
    scope_field: str = "scope"
    separators: str = " "
    lifetime: float | None = None


class HttpAnswer(Protocol):
    """What is judged: ``ports.world.Response``, of which this room knows nothing."""

    @property
    def status(self) -> int:
        """The status code."""
        ...

    @property
    def body(self) -> bytes:
        """The whole body."""
        ...

    def header(self, name: str) -> str | None:
        """The first header of that lower-case name."""
        ...


def code_request(
    *, code: Secret, redirect_uri: str, verifier: Secret | None, proof: Proof, extras: Extras | None = None
) -> TokenRequest:
    """Ask for tokens with a code (RFC 6749 §4.1.3, RFC 7636 §4.5).

    Raises:
        InvalidSetting: an extra parameter contradicts one of the standard's.
    """
    standard = {"grant_type": "authorization_code", "code": code.reveal(), "redirect_uri": redirect_uri}
    if verifier is not None:
        standard["code_verifier"] = verifier.reveal()
    return token_request(standard, proof, extras or Extras())


def refresh_request(*, refresh_token: Secret, proof: Proof, extras: Extras | None = None) -> TokenRequest:
    """Ask for new tokens with a refresh token, for the scopes that it has (RFC 6749 §6).

    Raises:
        InvalidSetting: an extra parameter contradicts one of the standard's.
    """
    return token_request(
        {"grant_type": "refresh_token", "refresh_token": refresh_token.reveal()}, proof, extras or Extras()
    )


def client_credentials_request(*, scope: str, proof: Proof, extras: Extras | None = None) -> TokenRequest:
    """Ask for a token for the client itself (RFC 6749 §4.4.2); an empty scope is not sent (§3.3)."""
    scopes = {"scope": scope} if scope else {}
    return token_request({"grant_type": "client_credentials", **scopes}, proof, extras or Extras())


def revocation_request(*, token: Secret, hint: str, proof: Proof) -> TokenRequest:
    """Ask to revoke a token; ``hint`` is ``access_token`` or ``refresh_token`` (RFC 7009 §2.1)."""
    return token_request({"token": token.reveal(), "token_type_hint": hint}, proof, Extras())


def token_request(standard: Mapping[str, str], proof: Proof, extras: Extras) -> TokenRequest:
    """A request to a token or revocation endpoint.

    Raises:
        InvalidSetting: an extra parameter contradicts one of the standard's.
    """
    parameters = {**standard, **proof.parameters}
    clashing = sorted(name for name, value in extras.parameters.items() if parameters.get(name, value) != value)
    if clashing:
        raise InvalidSetting(f"The token request sets {', '.join(clashing)} itself: leave it out of the extra ones.")
    parameters |= extras.parameters
    headers = {name.lower(): value for name, value in extras.headers.items()}
    headers |= {"accept": JSON, "content-type": JSON if extras.as_json else FORM, **proof.headers}
    body = json.dumps(parameters) if extras.as_json else urlencode(parameters)
    return TokenRequest(headers=headers, body=body.encode())


def judge_token(
    answer: HttpAnswer, *, expected: Expected, now: float, secrets: Sequence[Secret] = ()
) -> TokenAnswer | Refusal:
    """What a token endpoint's answer means (RFC 6749 §5.1, §5.2).

    Args:
        answer: as it came.
        expected: the provider's dialect.
        now: seconds since the epoch, for a Retry-After that is a date.
        secrets: what the request held; it is never shown, should the answer repeat it.
    """
    members = _read(answer, now)
    if isinstance(members, Refusal):
        return members
    refusal = _refused(answer.status, members, expected, secrets)
    if refusal is not None:
        return refusal
    token = next((found for path in expected.paths if (found := _at(members, path)) is not None), None)
    if token is None:
        return Refusal(verdict=Verdict.LATER, text="an answer without a usable access token")
    token_type = token.get("token_type")
    kind = token_type.lower() if isinstance(token_type, str) else ""
    if kind not in expected.token_types:
        # RFC 6749 §7.1: a token whose type is not understood must not be used.
        wanted = " or ".join(filter(None, expected.token_types))
        type_shown = shown(token_type, secrets=[*secrets, *_tokens(members)]) if isinstance(token_type, str) else ""
        said = f"a token of type {type_shown!r}" if kind else "a token without token_type"
        return Refusal(verdict=Verdict.CONFIGURATION, text=f"{said}; expected {wanted}")
    refresh = token.get("refresh_token")
    lifetime = _lifetime(token.get("expires_in"))
    subject, fault = _subject(token.get("id_token", members.get("id_token")))
    return TokenAnswer(
        access_token=Secret(token["access_token"]),
        refresh_token=Secret(refresh) if _is_token(refresh) else None,
        token_type=kind or "bearer",
        lifetime=expected.lifetime if lifetime is None else lifetime,
        scopes=_scopes(token.get(expected.scope_field), expected.separators),
        subject=subject,
        subject_fault=fault,
    )


def judge_revocation(
    answer: HttpAnswer, *, expected: Expected, now: float, secrets: Sequence[Secret] = ()
) -> Refusal | None:
    """What a revocation endpoint's answer means; None: the token is dead (RFC 7009 §2.2)."""
    if _SUCCESS <= answer.status < _REDIRECT and not expected.success_field:
        return None
    members = _read(answer, now)
    if isinstance(members, Refusal):
        return members
    if members.get("error") in ("invalid_token", "token_revoked"):
        return None
    return _refused(answer.status, members, expected, secrets)


def judge_members(
    answer: HttpAnswer, *, expected: Expected, now: float, secrets: Sequence[Secret] = ()
) -> Mapping[str, Any] | Refusal:
    """The members of a successful answer of another endpoint that clients prove themselves at."""
    members = _read(answer, now)
    return members if isinstance(members, Refusal) else _refused(answer.status, members, expected, secrets) or members


def included(scopes: AbstractSet[str], implies: Mapping[str, Collection[str]]) -> frozenset[str]:
    """These scopes, with all that they include."""
    found: set[str] = set()
    waiting = list(scopes)
    while waiting:
        scope = waiting.pop()
        if scope not in found:
            found.add(scope)
            waiting.extend(implies.get(scope, ()))
    return frozenset(found)


def _read(answer: HttpAnswer, now: float) -> dict[str, Any] | Refusal:
    """The members, where the status leaves anything to read."""
    # A date is one of the server's own clock.
    there = http_date(answer.header("date"))
    pause = retry_after(answer.header("retry-after"), now if there is None else there)
    status = answer.status
    if status == _TOO_MANY and pause is None:
        pause = UNTOLD_PAUSE  # it asks for time all the same
    if _REDIRECT <= status < _REFUSED:
        return Refusal(verdict=Verdict.LATER, text=f"a redirect ({status}), which is not followed")
    if status in _AGAIN_LATER or status >= _BROKEN:
        return Refusal(verdict=Verdict.LATER, text=f"status {status}", retry_after=pause)
    try:
        return read_object(answer.body, answer.header("content-type"))
    except ValueError:
        return Refusal(verdict=Verdict.LATER, text=f"status {status} and an unreadable answer", retry_after=pause)


def _refused(status: int, members: Mapping[str, Any], expected: Expected, secrets: Sequence[Secret]) -> Refusal | None:
    code, description = _error(members)
    failed = bool(expected.success_field) and members.get(expected.success_field) is not True
    if not code and not failed and status < _REFUSED:
        return None
    if not code:
        code, description = _first(members, "status", "code") or _resource(members), _first(members, "message")
    # Where there is no code at all, the message may stand for one (Twitch).
    standard = expected.error_codes.get(code or description, code)
    said = ": ".join(filter(None, (code or f"status {status}", description)))
    return Refusal(
        verdict=VERDICTS.get(standard, Verdict.UNCLEAR),
        text=shown(said, secrets=[*secrets, *_tokens(members)]),
        code=standard,
    )


def _error(members: Mapping[str, Any]) -> tuple[str, str]:
    """Code and description; some providers answer with an object instead of a code."""
    error = members.get("error")
    if isinstance(error, dict):
        return _first(error, "type", "status", "code") or "error", _first(error, "message")
    if isinstance(error, bool | int | float):
        error = str(error) if error else ""
    return error if isinstance(error, str) else "", _first(members, "error_description", "message")


def _resource(members: Mapping[str, Any]) -> str:
    """What the first of several errors is about."""
    errors = members.get("errors")
    return _first(errors[0], "resource") if isinstance(errors, list) and errors and isinstance(errors[0], dict) else ""


def _first(members: Mapping[str, Any], *names: str) -> str:
    return next((value for name in names if isinstance(value := members.get(name), str) and value), "")


def _tokens(members: Mapping[str, Any]) -> list[Secret]:
    """What the answer itself calls a token, on top or one level down."""
    levels = [members, *(inner for inner in members.values() if isinstance(inner, dict))]
    found = [value for level in levels for name, value in level.items() if name.endswith("token")]
    return [Secret(value) for value in found if isinstance(value, str)]


def _at(members: Mapping[str, Any], path: Sequence[str]) -> Mapping[str, Any] | None:
    """The token object at a path, where it holds an access token."""
    inner: Any = members
    for name in path:
        inner = inner.get(name) if isinstance(inner, dict) else None
    return inner if isinstance(inner, dict) and _is_token(inner.get("access_token")) else None


def _is_token(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= LONGEST_TOKEN and _TOKEN.fullmatch(value) is not None


def _lifetime(value: object) -> float | None:
    """Seconds of ``expires_in``. What is no positive number says nothing, and no number is for ever."""
    if isinstance(value, str) and _SECONDS.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # NaN is not greater than zero either.
    return float(min(value, LONGEST_LIFE)) if value > 0 else None


def _subject(value: object) -> tuple[Subject | None, str]:
    """Whose account an ID token names, or why it cannot be read."""
    if value is None:
        return None, ""
    try:
        return read_subject(value if isinstance(value, str) else ""), ""
    except ValueError as error:
        return None, str(error)


def _scopes(value: object, separators: str) -> frozenset[str] | None:
    """The granted scopes; None: as asked (RFC 6749 §5.1). There is no empty scope (§3.3): that says nothing either."""
    parts: list[Any] = []
    if isinstance(value, str):
        parts = re.split(f"[{re.escape(separators)}]+", value) if separators else [value]
    elif isinstance(value, list) and all(isinstance(part, str) for part in value):
        parts = value
    return frozenset(filter(None, parts)) or None
