"""CSRF: a form is taken only from the page that we showed to this browser."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from valetkey.entrypoints.web.hosts import by_https
from valetkey.errors import Denied, InvalidAnswer
from valetkey.ports.world import Entropy

_NONCE = re.compile(r"[A-Za-z0-9_-]{43}")
_LIFE = 86_400  # seconds: a page may stay open in a tab; what its form is for has an end of its own
_FIELDS = 32
_NEXT = "Open the link from your program again, and send the form from there."


@dataclass(frozen=True, slots=True, kw_only=True)
class FormToken:
    """What binds one form to the browser that it was shown to. Values do not print.

    Attributes:
        value: for the form's hidden field ``csrf``.
        cookie: the cookie's name; one for each form, so that two tabs do not disturb each other.
        nonce: the cookie's value.
        secure: whether the browser came by https.
    """

    value: str = field(repr=False)
    cookie: str
    nonce: str = field(repr=False)
    secure: bool

    def set_cookie(self, response: Response) -> None:
        """Send the cookie along."""
        response.set_cookie(
            self.cookie,
            self.nonce,
            max_age=_LIFE,
            path="/",
            secure=self.secure,
            httponly=True,
            samesite="strict",
        )


class Forms:
    """Issue tokens for forms, and read what comes back.

    A form's hidden field is an HMAC of the flow's state under a random cookie (a double submit bound to the
    state). Whoever would forge one needs both.
    """

    def __init__(self, *, base_url: str, entropy: Entropy) -> None:
        self._base_url = base_url
        self._public = urlsplit(base_url)
        self._entropy = entropy

    def issue(self, request: Request, state: str) -> FormToken:
        """A token for the form of that flow; the browser's own from before, where it has one."""
        secure = by_https(request, self._base_url)
        cookie = _cookie_name(state, secure=secure)
        nonce = request.cookies.get(cookie, "")
        if not _NONCE.fullmatch(nonce):
            nonce = self._entropy.token(32)
        return FormToken(value=_seal(nonce, state), cookie=cookie, nonce=nonce, secure=secure)

    async def read(self, request: Request, state: str) -> Mapping[str, str]:
        """The fields of a form that was posted for that flow, without the hidden one.

        Raises:
            Denied: it does not come from the page that we showed to this browser.
            InvalidAnswer: it cannot be read.
        """
        self.check_origin(request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise Denied(f"This form was sent in a way that our page does not send it. {_NEXT}")
        fields = _parse(await request.body())
        nonce = request.cookies.get(_cookie_name(state, secure=by_https(request, self._base_url)), "")
        given = fields.pop("csrf", "").encode()
        if not _NONCE.fullmatch(nonce) or not hmac.compare_digest(_seal(nonce, state).encode(), given):
            raise Denied(f"This form does not belong to a page that we showed to this browser. {_NEXT}")
        return fields

    def check_origin(self, request: Request) -> None:
        """Refuse another site's form (Fetch Metadata; RFC 6454 §7).

        Another port of this machine is another origin, though the same site. With ``Referrer-Policy:
        no-referrer`` a browser sends ``Origin: null`` even from our own page; then Sec-Fetch-Site alone
        tells. A client that sends neither header is no browser: it has no cookie that another page could use.
        """
        site = request.headers.get("sec-fetch-site")
        origin = request.headers.get("origin")
        own = {
            f"{request.url.scheme}://{request.headers.get('host', '')}",
            f"{self._public.scheme}://{self._public.netloc}",
        }
        if site not in {None, "same-origin", "none"} or (
            origin is not None and origin not in own and not (origin == "null" and site == "same-origin")
        ):
            raise Denied(f"This form was sent by another site. {_NEXT}")


def _seal(nonce: str, state: str) -> str:
    return hmac.new(nonce.encode(), b"valetkey form " + state.encode(), hashlib.sha256).hexdigest()


def _cookie_name(state: str, *, secure: bool) -> str:
    return f"{'__Host-' if secure else ''}valetkey-form-{hashlib.sha256(state.encode()).hexdigest()[:12]}"


def _parse(body: bytes) -> dict[str, str]:
    pairs = _pairs(body)
    fields = dict(pairs or ())
    if pairs is None or len(fields) != len(pairs):
        raise InvalidAnswer("This form cannot be read, or has a field twice: go back, and send it again.")
    return fields


def _pairs(body: bytes) -> list[tuple[str, str]] | None:
    try:
        return parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=_FIELDS,
        )
    except ValueError:  # its text may quote the body, so it goes no further
        return None
