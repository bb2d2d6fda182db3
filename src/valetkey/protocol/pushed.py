"""RFC 9126: push an authorization request from here to there, and open it by its name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from valetkey.errors import InvalidSetting
from valetkey.protocol.authorize import endpoint_fault
from valetkey.protocol.client_auth import Proof
from valetkey.protocol.token import (
    Expected,
    Extras,
    HttpAnswer,
    Refusal,
    TokenRequest,
    Verdict,
    judge_members,
    token_request,
)
from valetkey.secret import Secret

LONGEST_NAME = 2048

# RFC 3986 §4.3: an absolute URI, such as urn:ietf:params:oauth:request_uri:…; a browser is sent on with it as a value.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """A request that the provider keeps (RFC 9126 §2.2). ``request_uri`` is its name there, for one use."""

    request_uri: str


def pushed_request(parameters: Mapping[str, str], *, proof: Proof) -> TokenRequest:
    """Push these parameters of an authorization request (RFC 9126 §2.1).

    Raises:
        InvalidSetting: one contradicts who we are.
    """
    return token_request(proof.parameters, proof, Extras(parameters=parameters))


def judge_pushed(
    answer: HttpAnswer, *, expected: Expected, now: float, secrets: Sequence[Secret] = ()
) -> Pushed | Refusal:
    """What the answer to a pushed request means (RFC 9126 §2.2, §2.3)."""
    members = judge_members(answer, expected=expected, now=now, secrets=secrets)
    if isinstance(members, Refusal):
        return members
    name = members.get("request_uri")
    if not isinstance(name, str) or len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
        return Refusal(verdict=Verdict.LATER, text="an answer without a request_uri")
    return Pushed(request_uri=name)


def pushed_url(endpoint: str, *, operator: bool, client_id: str, pushed: Pushed) -> str:
    """The link of a request that was pushed (RFC 9126 §4). Nothing of the request itself is in it.

    Raises:
        InvalidSetting: the authorization endpoint must not be opened.
    """
    fault = endpoint_fault(endpoint, operator=operator)
    if fault is not None:
        raise InvalidSetting(
            f"The authorization endpoint cannot be used: {fault}. Expected https://host/path; correct the "
            "authorize_url of this provider."
        )
    parameters = {"client_id": client_id, "request_uri": pushed.request_uri}
    given = dict(parse_qsl(urlsplit(endpoint).query, keep_blank_values=True))
    parameters = {name: value for name, value in parameters.items() if given.get(name) != value}
    joint = "&" if given else "?"
    return f"{endpoint.rstrip('?&')}{joint}{urlencode(parameters, quote_via=quote)}"
