"""RFC 8628: build a device authorization request, judge its answer, and keep the pace of the polls."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlencode

from valetkey.errors import InvalidSetting
from valetkey.protocol.authorize import endpoint_fault
from valetkey.protocol.client_auth import Proof
from valetkey.protocol.dates import http_date, retry_after
from valetkey.protocol.foreign import FORM, JSON, read_object, shown
from valetkey.protocol.token import VERDICTS, HttpAnswer, Refusal, TokenRequest, Verdict
from valetkey.secret import Secret

GRANT = "urn:ietf:params:oauth:grant-type:device_code"

SHORTEST, USUAL, LONGEST = 1.0, 5.0, 60.0
"""Seconds between two polls, whatever the provider says (§3.5: 5 where it says nothing)."""

SLOWER = 5.0
"""Seconds that ``slow_down`` adds to the interval, for all later polls (§3.5)."""

UNTOLD_LIFE, LONGEST_LIFE = 300.0, 1800.0
"""Seconds that a code lives where the provider does not say, and at most."""

_DOUBLINGS = 6
_LONGEST_URI = 2048
_LONGEST_CODE = 4096
# §6.1: what a person reads from one screen and types at another. Anything else could be made to read as something else.
_USER_CODE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 -]{0,38}[A-Za-z0-9])?")
_DEVICE_CODE = re.compile(r"[\x21-\x7e]+")
_SECONDS = re.compile(r"[0-9]{1,10}")
_SUCCESS, _REDIRECT, _REFUSED, _BROKEN = 200, 300, 400, 500
_AGAIN_LATER = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCodes:
    """An answer of the device authorization endpoint (§3.2), its numbers within bounds.

    Attributes:
        device_code: what is polled with; nobody but the token endpoint ever sees it.
        user_code: what the person types there, fit to show.
        uri: the page to type it on.
        complete_uri: the same with the code in it (§3.3.1); empty: there is none.
        life: seconds that both codes live.
        interval: seconds between two polls at least.
    """

    device_code: Secret
    user_code: str
    uri: str
    complete_uri: str = ""
    life: float = UNTOLD_LIFE
    interval: float = USUAL


class Poll(StrEnum):
    """What an answer without a token means for the next poll (§3.5)."""

    PENDING = "pending"
    """The person has not answered yet."""
    SLOWER = "slower"
    """They have not, and we are too fast."""
    LATER = "later"
    """Nothing was said: ask again, less often."""
    DENIED = "denied"
    """The person said no."""
    EXPIRED = "expired"
    """Nobody answered in time."""
    CONFIGURATION = "configuration"
    """We, the client, are not set up as the provider expects."""
    REFUSED = "refused"
    """The code is not taken, for whatever reason."""


OVER = frozenset({Poll.DENIED, Poll.EXPIRED, Poll.CONFIGURATION, Poll.REFUSED})
"""After these nobody polls any more."""

_MEANT: Mapping[str, Poll] = {
    "authorization_pending": Poll.PENDING,
    "slow_down": Poll.SLOWER,
    "access_denied": Poll.DENIED,
    "authorization_declined": Poll.DENIED,  # as Microsoft Entra has it
    "expired_token": Poll.EXPIRED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast is polled.

    Attributes:
        interval: seconds between two polls; never less than the provider asked for.
        failures: polls in a row that brought no answer.
    """

    interval: float = USUAL
    failures: int = 0

    def after(self, poll: Poll, *, asked: float | None = None) -> tuple[Pace, float]:
        """The pace from now on, and the seconds until the next poll.

        Args:
            poll: what the last one brought.
            asked: seconds that the provider asked to be left alone (``Retry-After``).
        """
        if poll is Poll.LATER:
            failures = self.failures + 1
            pace = Pace(interval=self.interval, failures=failures)
            # §3.5: exponential back-off; the interval stays the least.
            pause = max(self.interval, min(self.interval * 2.0 ** min(failures, _DOUBLINGS), LONGEST * SLOWER))
        else:
            pace = Pace(interval=self.interval + (SLOWER if poll is Poll.SLOWER else 0.0))
            pause = pace.interval
        return pace, pause if asked is None else max(pause, asked)


def device_request(
    *,
    client_id: str,
    proof: Proof,
    scopes: Sequence[str] = (),
    scope_parameter: str = "scope",
    scope_separator: str = " ",
    extra: Mapping[str, str] | None = None,
) -> TokenRequest:
    """Ask for a device code and a user code (§3.1).

    Args:
        client_id: who we are; sent by every client, as a public one has nothing else to say.
        proof: how the client proves itself.
        scopes: what is asked for, in this order.
        scope_parameter: the parameter for them; empty: none are sent.
        scope_separator: what joins them.
        extra: further parameters, such as ``resource`` (RFC 8707 §2).

    Raises:
        InvalidSetting: an extra parameter contradicts one of the standard's.
    """
    parameters = {"client_id": client_id, **proof.parameters}
    if scopes and scope_parameter:
        parameters[scope_parameter] = scope_separator.join(scopes)
    return _form(parameters, proof, extra or {})


def poll_request(
    *, device_code: Secret, client_id: str, proof: Proof, extra: Mapping[str, str] | None = None
) -> TokenRequest:
    """Ask whether the person has answered (§3.4).

    Raises:
        InvalidSetting: an extra parameter contradicts one of the standard's.
    """
    parameters = {"grant_type": GRANT, "device_code": device_code.reveal(), "client_id": client_id}
    return _form({**parameters, **proof.parameters}, proof, extra or {})


def judge_codes(
    answer: HttpAnswer, *, operator: bool, now: float, secrets: Sequence[Secret] = ()
) -> DeviceCodes | Refusal:
    """What a device authorization endpoint's answer means (§3.2).

    Args:
        answer: as it came.
        operator: whether the operator named the endpoint: then the page may be plain http on loopback.
        now: seconds since the epoch, for a Retry-After that is a date.
        secrets: what the request held, which no text may show.
    """
    status = answer.status
    there = http_date(answer.header("date"))
    pause = retry_after(answer.header("retry-after"), now if there is None else there)
    if _REDIRECT <= status < _REFUSED or status >= _BROKEN or status in _AGAIN_LATER:
        return Refusal(verdict=Verdict.LATER, text=f"status {status}", retry_after=pause)
    try:
        members = read_object(answer.body, answer.header("content-type"))
    except ValueError:
        return Refusal(verdict=Verdict.LATER, text=f"status {status} and an unreadable answer", retry_after=pause)
    device_code = members.get("device_code")
    hidden = [*secrets, *([Secret(device_code)] if isinstance(device_code, str) and device_code else [])]
    error = members.get("error")
    if status >= _REFUSED or (isinstance(error, str) and error):
        code = error if isinstance(error, str) else ""
        told = members.get("error_description")
        said = ": ".join(filter(None, (code or f"status {status}", told if isinstance(told, str) else "")))
        return Refusal(verdict=VERDICTS.get(code, Verdict.UNCLEAR), text=shown(said, secrets=hidden), code=code)
    user_code = members.get("user_code")
    # Google wrote its dialect before the standard was one.
    uri = members.get("verification_uri", members.get("verification_url"))
    complete = members.get("verification_uri_complete", members.get("verification_url_complete"))
    fault = _code_fault(device_code, user_code) or _uri_fault(uri, operator=operator)
    if not fault and complete not in (None, ""):
        fault = _uri_fault(complete, operator=operator)
    if fault or not (isinstance(device_code, str) and isinstance(user_code, str) and isinstance(uri, str)):
        return Refusal(verdict=Verdict.UNCLEAR, text=fault)
    return DeviceCodes(
        device_code=Secret(device_code),
        user_code=user_code,
        uri=uri,
        complete_uri=complete if isinstance(complete, str) else "",
        life=_within(members.get("expires_in"), SHORTEST, LONGEST_LIFE, UNTOLD_LIFE),
        interval=_within(members.get("interval"), SHORTEST, LONGEST, USUAL),
    )


def judge_poll(refusal: Refusal) -> Poll:
    """What a token endpoint's answer without a token means (§3.5)."""
    meant = _MEANT.get(refusal.code)
    if meant is not None:
        return meant
    if refusal.verdict is Verdict.LATER:
        return Poll.LATER
    return Poll.CONFIGURATION if refusal.verdict is Verdict.CONFIGURATION else Poll.REFUSED


def _form(parameters: Mapping[str, str], proof: Proof, extra: Mapping[str, str]) -> TokenRequest:
    clashing = sorted(name for name, value in extra.items() if parameters.get(name, value) != value)
    if clashing:
        raise InvalidSetting(f"The device request sets {', '.join(clashing)} itself: leave it out of the extra ones.")
    headers = {"accept": JSON, "content-type": FORM, **proof.headers}
    return TokenRequest(headers=headers, body=urlencode({**parameters, **extra}).encode())


def _code_fault(device_code: object, user_code: object) -> str:
    if not isinstance(device_code, str) or len(device_code) > _LONGEST_CODE or not _DEVICE_CODE.fullmatch(device_code):
        return "an answer without a usable device_code"
    if not isinstance(user_code, str) or not _USER_CODE.fullmatch(user_code):
        return "an answer without a user_code of letters, digits and dashes"
    return ""


def _uri_fault(uri: object, *, operator: bool) -> str:
    if not isinstance(uri, str) or len(uri) > _LONGEST_URI:
        return "an answer without a usable verification_uri"
    fault = endpoint_fault(uri, operator=operator)
    return f"a verification_uri that nobody should open: {fault}" if fault else ""


def _within(value: object, least: float, most: float, usual: float) -> float:
    """Seconds within bounds; what is no number says nothing."""
    if isinstance(value, str) and _SECONDS.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124 - not NaN
        return usual
    return float(max(least, min(value, most)))
