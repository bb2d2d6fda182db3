"""A reader who tries what the pages say: opens every link that a program prints, agrees, and fills in forms."""

import os
import re
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode, urljoin, urlsplit
from urllib.request import HTTPCookieProcessor, HTTPSHandler, OpenerDirector, build_opener

LINK = re.compile(r"following URL: (https?://\S+)")


class Reader:
    """Follows links in threads of their own, as a browser beside the program does; ``pages`` holds where each ended."""

    def __init__(self) -> None:
        self.pages: list[tuple[int, str]] = []
        self._threads: list[threading.Thread] = []

    def read(self, text: str) -> None:
        """Follow every link that the text invites to."""
        for found in LINK.finditer(text):
            self.follow(found[1])

    def follow(self, url: str) -> None:
        """Open the link, agree where one is asked, paste where something is to be pasted."""
        assert urlsplit(url).hostname in {"localhost", "127.0.0.1"}, url
        thread = threading.Thread(target=self._follow, args=(url,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def done(self) -> None:
        """Wait until every link has led to its page."""
        for thread in self._threads:
            thread.join(timeout=20)

    def _follow(self, url: str) -> None:
        made = Path(os.environ["VALETKEY_HOME"], "tls", "loopback.crt")
        trusted = ssl.create_default_context(cafile=made if made.is_file() else None)
        browser = build_opener(HTTPCookieProcessor(CookieJar()), HTTPSHandler(context=trusted))
        status, where, text = _open(browser, url)
        form = _Form()
        form.feed(text)
        if form.action is not None:
            answer = {"answer": "approve"} if "ticket" in form.fields else {}
            values = {name: value or f"pasted-{name}-0123456789" for name, value in form.fields.items()}
            status, where, text = _open(browser, urljoin(where, form.action), urlencode({**values, **answer}))
        self.pages.append((status, text))


class _Form(HTMLParser):
    """The first form of a page, with what it sends by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs) -> None:
        named = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = named.get("action", "")
        elif tag == "input" and (named.get("type") != "radio" or "checked" in named):
            self.fields[named["name"]] = named.get("value", "")


def _open(browser: OpenerDirector, url: str, body: str | None = None) -> tuple[int, str, str]:
    try:
        answer = browser.open(url, None if body is None else body.encode(), timeout=15)
    except HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.url, answer.read().decode()


class _Shown:
    """A stream that is read along."""

    def __init__(self, stream, reader: Reader) -> None:
        self._stream = stream
        self._reader = reader
        self._line = ""

    def write(self, text: str) -> None:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._reader.read(line)
        self._stream.write(text)

    def __getattr__(self, name: str):
        return getattr(self._stream, name)


@contextmanager
def read_along(reader: Reader) -> Iterator[None]:
    """Let the reader read what this process prints."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_Shown(stream, reader) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
