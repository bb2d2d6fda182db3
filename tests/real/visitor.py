"""A person's browser reduced to what a sign-in needs: cookies, redirects and forms, over plain HTTP."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from urllib.parse import urlencode, urljoin, urlsplit

REDIRECTS = {301, 302, 303, 307, 308}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0]


@dataclass
class Form:
    action: str = ""
    fields: dict[str, str] = field(default_factory=dict)


@dataclass
class Page:
    """Where the visitor stands: the page's URL and answer, or the address outside that they were sent to."""

    url: str
    answer: Answer | None

    @property
    def form(self) -> Form:
        assert self.answer is not None, f"the visitor left for {urlsplit(self.url)._replace(query='').geturl()}"
        found = _FirstForm()
        found.feed(self.answer.text)
        assert found.form is not None, f"no form on the page, status {self.answer.status}"
        return found.form


def call(url: str, *, method: str = "GET", body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
    """One HTTP exchange; redirects are answers."""
    parts = urlsplit(url)
    assert parts.scheme == "http", url
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        connection.request(method, target, body or None, dict(headers or {}))
        response = connection.getresponse()
        named: dict[str, str] = {}
        for name, value in response.getheaders():
            key = name.lower()
            named[key] = f"{named[key]}\n{value}" if key in named else value
        return Answer(response.status, named, response.read())
    finally:
        connection.close()


def post(url: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Answer:
    coded = {"content-type": "application/x-www-form-urlencoded", **(headers or {})}
    return call(url, method="POST", body=urlencode(form).encode(), headers=coded)


class Visitor:
    """Follows redirects within one origin and keeps its cookies; stops where it is sent away."""

    def __init__(self) -> None:
        self._cookies: dict[str, tuple[str, str]] = {}

    def visit(self, url: str) -> Page:
        return self._go(url, "GET", b"")

    def submit(self, page: Page, **answers: str) -> Page:
        """Send the page's form with its own hidden fields and these answers."""
        form = page.form
        url = urljoin(page.url, form.action)
        return self._go(url, "POST", urlencode({**form.fields, **answers}).encode())

    def _go(self, url: str, method: str, body: bytes) -> Page:
        origin = urlsplit(url)[:2]
        for _ in range(10):
            headers = {"accept": "text/html"}
            path = urlsplit(url).path
            sent = [f"{name}={value}" for name, (value, under) in self._cookies.items() if path.startswith(under)]
            if sent:
                headers["cookie"] = "; ".join(sent)
            if method == "POST":
                headers["content-type"] = "application/x-www-form-urlencoded"
            answer = call(url, method=method, body=body, headers=headers)
            self._keep(answer)
            if answer.status not in REDIRECTS:
                return Page(url, answer)
            url, method, body = urljoin(url, answer.headers["location"]), "GET", b""
            if urlsplit(url)[:2] != origin:
                return Page(url, None)
        raise AssertionError("more than ten redirects")

    def _keep(self, answer: Answer) -> None:
        for line in answer.headers.get("set-cookie", "").splitlines():
            for name, morsel in SimpleCookie(line).items():
                if morsel.value and "1970" not in morsel["expires"]:
                    self._cookies[name] = (morsel.value, morsel["path"] or "/")
                else:
                    self._cookies.pop(name, None)


class _FirstForm(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.form: Form | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        if tag == "form" and self.form is None:
            self.form = Form(action=named.get("action", ""))
        chosen = named.get("type") != "radio" or "checked" in named
        if tag == "input" and self.form is not None and named.get("name") and chosen:
            self.form.fields[named["name"]] = named.get("value", "")
