"""Tell from a tool's own exception whether the provider refused the credential (HTTP 401)."""

from __future__ import annotations

from enum import Enum
from urllib.parse import urlsplit

from valetkey.providers.endpoints import origin_of, permits

UNAUTHORIZED = 401

DEPTH = 5
"""How many causes of an exception are looked at."""


class Rejection(Enum):
    """What a tool's exception says of the credential."""

    NONE = "none"
    """Nothing: it is no 401, or one of a host that the credential is not for."""
    LIKELY = "likely"
    """A 401, of nobody knows whom."""
    CERTAIN = "certain"
    """A 401 of the provider's own API."""


def rejection(failure: BaseException, origins: frozenset[str]) -> Rejection:
    """Whether the cause is an HTTP client's error for a 401 of one of these origins.

    The clients in use (httpx, requests, aiohttp, slack_sdk, googleapiclient, …) hang the status on the exception or on
    its response.
    """
    cause = failure.__cause__
    for _ in range(DEPTH):
        if cause is None:
            break
        if _status(cause) == UNAUTHORIZED:
            url = _url(cause)
            if url is None or not origins:
                return Rejection.LIKELY
            return Rejection.CERTAIN if permits(origins, origin_of(url)) else Rejection.NONE
        cause = cause.__cause__ or cause.__context__
    return Rejection.NONE


def _status(error: BaseException) -> int | None:
    for holder in (error, getattr(error, "response", None), getattr(error, "resp", None)):
        for name in ("status_code", "status", "code"):
            found = getattr(holder, name, None)
            if isinstance(found, int) and not isinstance(found, bool):
                return found
    return None


def _url(error: BaseException) -> str | None:
    for holder in (getattr(error, "response", None), getattr(error, "request_info", None), error):
        url = getattr(holder, "url", None) or getattr(holder, "api_url", None)
        if url is not None and urlsplit(str(url)).netloc:
            return str(url)
    return None
