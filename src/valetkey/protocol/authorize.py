"""RFC 6749 §4.1 with 7636 and 9207: build the authorization URL, judge its callback."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from valetkey.errors import AuthRefused, InvalidAnswer, InvalidSetting
from valetkey.model.hosts import is_loopback
from valetkey.protocol.foreign import shown

LONGEST_CODE = 8192

# RFC 3986 §2: what a URL may be written with. Braces, backslashes, spaces and backticks are not among it.
_URL = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
# RFC 6749 §3.1: given more than once, a parameter says nothing.
_SINGLE = ("state", "code", "iss", "error", "error_description")
# RFC 9700 §2.1.2, §4.6: we never ask for a token in the front channel, so one there came from somebody else.
_NEVER = ("access_token", "id_token", "refresh_token", "token")


def endpoint_fault(url: str, *, operator: bool) -> str | None:
    """Why a URL cannot be an endpoint (RFC 6749 §3.1); None where it can.

    Args:
        url: the endpoint, its placeholders filled.
        operator: whether the operator named it; then plain http on loopback is allowed.
    """
    if not _URL.fullmatch(url) or "$(" in url:
        return "it holds characters that no URL may"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port == 0 or "%" in parts.netloc:
        return "its host or port cannot be read"
    if "#" in url or "@" in parts.netloc:
        return "it has a fragment, or a user before its host"
    if parts.scheme == "https" or (parts.scheme == "http" and operator and is_loopback(host)):
        return None
    return "it is not https" + (", and plain http is for loopback only" if operator else "")


def challenge_of(verifier: str) -> str:
    """The S256 code challenge of a verifier (RFC 7636 §4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode("ascii")).digest()).decode().rstrip("=")


def authorization_url(
    endpoint: str,
    *,
    operator: bool,
    client_id: str,
    redirect_uri: str,
    state: str,
    verifier: str | None,
    scopes: AbstractSet[str] = frozenset(),
    scope_parameter: str = "scope",
    scope_separator: str = " ",
    extra: Mapping[str, str] | None = None,
) -> str:
    """The link that the person opens (RFC 6749 §4.1.1, RFC 7636 §4.3); the same input gives the same link.

    Args:
        endpoint: the authorization endpoint; parameters that it has already are kept (RFC 6749 §3.1).
        operator: whether the operator named the endpoint.
        client_id: who we are there.
        redirect_uri: where the browser is sent back.
        state: what the callback brings back.
        verifier: the PKCE verifier; only its S256 challenge is in the link. None where the provider is known
            to refuse one.
        scopes: what is asked for, written in alphabetical order.
        scope_parameter: the parameter for the scopes; empty: none are sent.
        scope_separator: what joins them.
        extra: further parameters.

    Raises:
        InvalidSetting: the endpoint must not be opened, or an extra parameter contradicts a standard one.
    """
    fault = endpoint_fault(endpoint, operator=operator)
    if fault is not None:
        raise InvalidSetting(
            f"The authorization endpoint cannot be used: {fault}. Expected https://host/path; correct the "
            "authorize_url of this provider."
        )
    parameters = authorization_parameters(
        client_id=client_id,
        redirect_uri=redirect_uri,
        state=state,
        verifier=verifier,
        scopes=scopes,
        scope_parameter=scope_parameter,
        scope_separator=scope_separator,
    )
    parameters_of_endpoint = parse_qsl(urlsplit(endpoint).query, keep_blank_values=True)
    _check(parameters, parameters_of_endpoint)
    parameters = _with_extra(parameters, extra)
    for name, _ in parameters_of_endpoint:
        parameters.pop(name, None)
    joint = "&" if parameters_of_endpoint else "?"
    return f"{endpoint.rstrip('?&')}{joint}{urlencode(parameters, quote_via=quote)}"


def authorization_parameters(
    *,
    client_id: str,
    redirect_uri: str,
    state: str,
    verifier: str | None,
    scopes: AbstractSet[str],
    scope_parameter: str,
    scope_separator: str,
    extra: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """What an authorization request says, wherever it is put; the arguments are those of :func:`authorization_url`.

    Raises:
        InvalidSetting: an extra parameter contradicts a standard one.
    """
    parameters = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "state": state,
    }
    if verifier is not None:
        parameters |= {"code_challenge": challenge_of(verifier), "code_challenge_method": "S256"}
    if scopes and scope_parameter:
        parameters[scope_parameter] = scope_separator.join(sorted(scopes))
    return _with_extra(parameters, extra)


def _with_extra(parameters: dict[str, str], extra: Mapping[str, str] | None) -> dict[str, str]:
    _check(parameters, (extra or {}).items())
    return {**parameters, **(extra or {})}


def _check(parameters: Mapping[str, str], given: Iterable[tuple[str, str]]) -> None:
    clashing = sorted({name for name, value in given if parameters.get(name, value) != value})
    if clashing:
        raise InvalidSetting(
            f"The authorization request sets {', '.join(clashing)} itself: leave it out of the endpoint and "
            "of authorize_parameters."
        )


def judge_callback(parameters: Sequence[tuple[str, str]], *, issuer: str, iss_promised: bool) -> str:
    """The authorization code that a callback brought (RFC 6749 §4.1.2).

    Args:
        parameters: all that came, in order, repeated names included; ``state`` was compared by the caller.
        issuer: who should have answered; empty where the provider has no issuer identifier.
        iss_promised: whether that provider says who it is in each callback (RFC 9207 §3).

    Raises:
        AuthRefused: the person, or the provider, said no.
        InvalidAnswer: it is no answer to our question.
    """
    names = [name for name, _ in parameters]
    if any(names.count(name) > 1 for name in _SINGLE):
        raise InvalidAnswer("The provider's answer gives a parameter twice. Open the link again.")
    if any(name in _NEVER for name in names):
        raise InvalidAnswer("The provider's answer holds a token, and only a code was asked for. Open the link again.")
    answer = dict(parameters)
    # RFC 9207 §2.4: before anything else is believed, an error included; compared as it is, never normalised.
    iss = answer.get("iss")
    if (iss is None and iss_promised) or (iss is not None and (issuer or iss_promised) and iss != issuer):
        raise InvalidAnswer("The answer does not come from the provider that was asked. Open the link again.")
    code, error = answer.get("code", ""), answer.get("error", "")
    if bool(code) == bool(error) or len(code) > LONGEST_CODE:
        raise InvalidAnswer("The provider's answer holds neither a code nor an error, or both. Open the link again.")
    if error == "access_denied":
        raise AuthRefused("Access was denied at the provider. Ask for a new link to try again.")
    if error:
        said = shown(": ".join(filter(None, (error, answer.get("error_description", "")))))
        raise AuthRefused(f"The provider refused: {said}")
    return code
