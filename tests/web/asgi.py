"""Drive an ASGI app without a server, and read the HTML that it answers."""

from collections.abc import Iterable
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

from starlette.requests import Request
from starlette.responses import Response


class Draws:
    """Entropy that counts up: every draw differs, and each run draws the same."""

    def __init__(self) -> None:
        self._count = 0

    def token(self, size: int = 32) -> str:
        self._count += 1
        return f"{self._count:0{-(-size * 4 // 3)}d}"

    def bytes(self, size: int) -> bytes:
        self._count += 1
        return self._count.to_bytes(size)


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key == name]
        assert len(found) < 2, f"{name} is sent {len(found)} times"
        return found[0] if found else None


def scope_of(
    method: str = "GET",
    path: str = "/",
    *,
    query: str = "",
    headers: Iterable[tuple[str, str]] = (("host", "localhost:8000"),),
    scheme: str = "http",
) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": scheme,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
    }


async def drive(app: Any, scope: dict[str, Any], *body: bytes) -> Answer:
    """Send one request, its body in as many parts as given, and collect the answer."""
    parts = list(body or (b"",))
    messages: list[Any] = []

    async def receive() -> Any:
        if parts:
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        messages.append(message)

    await app(scope, receive, send)
    assert [message["type"] for message in messages[:1]] == ["http.response.start"], messages
    return Answer(
        messages[0]["status"],
        [(name.decode(), value.decode()) for name, value in messages[0]["headers"]],
        b"".join(message.get("body", b"") for message in messages[1:]),
    )


def request_of(body: bytes = b"", **about: Any) -> Request:
    """A request as an endpoint gets it."""
    parts = [body]

    async def receive() -> Any:
        return {"type": "http.request", "body": parts.pop(), "more_body": False}

    return Request(scope_of(**about), receive)


class Reading(HTMLParser):
    """What a browser would make of a page: its tags, their attributes, and its text."""

    def __init__(self, response: Response) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.style = ""
        self._texts: list[str] = []
        self._inside = ""
        self.feed(bytes(response.body).decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.style += data
        else:
            self._texts.append(data)

    @property
    def text(self) -> str:
        """All that is read, with its white space as one."""
        return " ".join("".join(self._texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]
