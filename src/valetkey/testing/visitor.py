"""A browser without a screen: pages, redirects, cookies and forms, on this machine only."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from urllib.parse import urldefrag, urlencode, urljoin, urlsplit

from valetkey.errors import InvalidAnswer, InvalidArguments, ProviderUnavailable

_REDIRECTS = {301, 302, 303, 307, 308}
_MOST_REDIRECTS = 10
_MOST_BYTES = 1_048_576
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page that was reached.

    Attributes:
        url: where it is, after all redirects; may hold a code, so it does not print.
        heading: the text of its first ``h1``, or its title.
        action: where its form goes; empty when it has none.
        fields: what the form sends by itself: hidden fields, and choices that are made already.
    """

    url: str = field(repr=False)
    status: int
    heading: str
    text: str = field(repr=False)
    action: str = field(default="", repr=False)
    fields: Mapping[str, str] = field(default_factory=dict, repr=False)


class Visitor:
    """Follows links as a person's browser does; cookies are kept by host and path, as browsers do.

    Args:
        timeout: seconds for each answer.
    """

    def __init__(self, *, timeout: float = 5.0) -> None:
        self._timeout = timeout
        self._cookies: dict[tuple[str, str], tuple[str, str]] = {}

    def open(self, url: str) -> Page:
        """Open a link, and go where it leads.

        Raises:
            InvalidArguments: it leads away from this machine, or is not plain http.
            ProviderUnavailable: nobody answers there, or redirects have no end.
        """
        return self._go("GET", url, b"")

    def submit(self, page: Page, **answers: str) -> Page:
        """Send the page's form with these answers, a pressed button's among them.

        Raises:
            InvalidAnswer: the page has no form.
        """
        if not page.action:
            raise InvalidAnswer(f'The page "{page.heading}" has no form to send (HTTP status {page.status}).')
        return self._go("POST", page.action, urlencode({**page.fields, **answers}).encode())

    def cookies(self, url: str) -> str:
        """The Cookie header that goes there; for a WebSocket that the same browser opens, too."""
        parts = urlsplit(url)
        return "; ".join(
            f"{name}={value}"
            for (host, name), (value, under) in self._cookies.items()
            if host == parts.hostname and (parts.path or "/").startswith(under)
        )

    def _go(self, method: str, url: str, body: bytes) -> Page:
        for _ in range(_MOST_REDIRECTS):
            status, headers, text = self._exchange(method, url, body)
            location = headers.get("location")
            if status not in _REDIRECTS or location is None:
                return _page(url, status, text)
            url = urljoin(url, location)
            if status not in (307, 308):
                method, body = "GET", b""
        raise ProviderUnavailable(f"The link leads in a circle: {_MOST_REDIRECTS} redirects without an end.")

    def _exchange(self, method: str, url: str, body: bytes) -> tuple[int, Mapping[str, str], str]:
        parts = urlsplit(urldefrag(url).url)
        host = parts.hostname or ""
        if parts.scheme != "http" or host not in _LOOPBACK:
            raise InvalidArguments(f"This visitor opens http pages of this machine only, and was sent to {host!r}.")
        headers = {"Accept": "text/html", "User-Agent": "valetkey-visitor"}
        sent = self.cookies(url)
        if sent:
            headers["Cookie"] = sent
        if method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            headers["Origin"] = f"{parts.scheme}://{parts.netloc}"
        connection = http.client.HTTPConnection(host, parts.port, timeout=self._timeout)
        try:
            target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
            connection.request(method, target, body or None, headers)
            response = connection.getresponse()
            for line in response.headers.get_all("set-cookie") or ():
                self._keep(host, line)
            text = response.read(_MOST_BYTES).decode("utf-8", "replace")
            return response.status, {name.lower(): value for name, value in response.getheaders()}, text
        except (OSError, http.client.HTTPException) as error:
            raise ProviderUnavailable(
                f"{parts.scheme}://{parts.netloc} does not answer: {type(error).__name__}. Is its server still running?"
            ) from error
        finally:
            connection.close()

    def _keep(self, host: str, line: str) -> None:
        for name, morsel in SimpleCookie(line).items():
            if morsel.value and morsel["max-age"] != "0":
                self._cookies[host, name] = (morsel.value, morsel["path"] or "/")
            else:
                self._cookies.pop((host, name), None)


class _Reader(HTMLParser):
    """The heading and the first form of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.title = self.heading = ""
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self._within: set[str] = set()
        self._in_form = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        if tag in ("title", "h1"):
            self._within.add(tag)
        elif tag == "form" and self.action is None:
            self.action, self._in_form = named.get("action", ""), True
        elif tag == "input" and self._in_form and named.get("name") and _is_sent(named):
            self.fields[named["name"]] = named.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        self._within.discard(tag)
        if tag == "form":
            self._in_form = False

    def handle_data(self, data: str) -> None:
        if "title" in self._within:
            self.title += data
        if "h1" in self._within:
            self.heading += data


def _is_sent(field: Mapping[str, str]) -> bool:
    return field.get("type") not in ("radio", "checkbox") or "checked" in field


def _page(url: str, status: int, text: str) -> Page:
    reader = _Reader()
    reader.feed(text)
    return Page(
        url=url,
        status=status,
        heading=" ".join((reader.heading or reader.title).split()),
        text=text,
        action="" if reader.action is None else urljoin(url, reader.action),
        fields=reader.fields,
    )
