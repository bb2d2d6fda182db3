"""Metadata of an issuer, asked for where the standards say that it is."""

from __future__ import annotations

import re
from collections.abc import Callable

from valetkey.errors import ProviderUnavailable
from valetkey.ports.world import Fetcher, Request, Response, Trust
from valetkey.protocol.foreign import JSON, read_object, shown
from valetkey.protocol.metadata import Metadata, metadata_urls, read_metadata, same_origin

CAP = 1_048_576
"""Bytes of an answer that are read."""

_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=\"?(\d{1,10})\"?(?:$|[\s,])", re.IGNORECASE)
_NOT_KEPT = re.compile(r"(?:^|[\s,])no-(?:cache|store)(?:$|[\s,=])", re.IGNORECASE)
_MISSING = range(400, 500)
_OK = 200


async def discover(fetcher: Fetcher, *, issuer: str, trust: Trust, left: Callable[[], float]) -> Metadata:
    """The metadata of an issuer (RFC 8414, OpenID Connect Discovery 1.0).

    Args:
        fetcher: the way out.
        issuer: its URL, as its tokens have it.
        trust: who named it.
        left: seconds that it may take still.

    Raises:
        ProviderUnavailable: it gave no usable answer; the text says what was wrong.
        ExchangeFailed: no whole answer in time.
        BlockedAddress: it may not be called.
    """
    return (await discover_whole(fetcher, issuer=issuer, trust=trust, left=left))[0]


async def discover_whole(
    fetcher: Fetcher, *, issuer: str, trust: Trust, left: Callable[[], float]
) -> tuple[Metadata, Response]:
    """The same, and the answer that it was in: its headers say how long to believe it."""
    answers = []
    for url in metadata_urls(issuer):
        answer = await fetcher.fetch(_request(url, trust, left()))
        if answer.status == _OK:
            return _read(answer, issuer=issuer, trust=trust), answer
        answers.append(answer.status)
        if answer.status not in _MISSING:
            break
    raise ProviderUnavailable(
        f"{shown(issuer)} has no metadata where the standards put it: it answered {answers}. "
        "Name its keys (jwks_url) in the settings, or try again later."
    )


def trust_of(url: str, *, issuer: str, trust: Trust) -> Trust:
    """Under which rules an endpoint may be called that metadata named.

    The operator's word for an issuer goes for its origin; where its metadata leads elsewhere, that is nobody's word.
    """
    return trust if same_origin(url, issuer) else Trust.CATALOGUE


def believed(answer: Response, *, least: float, most: float) -> float:
    """Seconds for which an answer is believed (RFC 9111 §5.2.2), within these bounds."""
    control = answer.header("cache-control") or ""
    told = _MAX_AGE.search(control)
    seconds = 0.0 if _NOT_KEPT.search(control) else float(told[1]) if told else most
    return min(max(seconds, least), most)


async def read_from(fetcher: Fetcher, url: str, *, trust: Trust, left: Callable[[], float]) -> Response:
    """A public document, read whole.

    Raises:
        ProviderUnavailable: the answer is another one than 200; a redirect is not followed.
        ExchangeFailed: no whole answer in time, or one that is too large.
        BlockedAddress: it may not be called.
    """
    answer = await fetcher.fetch(_request(url, trust, left()))
    if answer.status != _OK:
        raise ProviderUnavailable(f"{shown(url)} answered {answer.status}, where 200 was expected. Try again later.")
    return answer


def _request(url: str, trust: Trust, seconds: float) -> Request:
    return Request(method="GET", url=url, trust=trust, headers={"accept": JSON}, deadline=max(seconds, 0.01), cap=CAP)


def _read(answer: Response, *, issuer: str, trust: Trust) -> Metadata:
    try:
        members = read_object(answer.body, JSON)
        return read_metadata(members, issuer=issuer, operator=trust is Trust.OPERATOR)
    except ValueError as error:
        raise ProviderUnavailable(
            f"The metadata of {shown(issuer)} cannot be relied on: {error}. Compare its issuer with the settings."
        ) from None
