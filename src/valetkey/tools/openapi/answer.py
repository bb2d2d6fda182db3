"""An API's answer as a value for a model: JSON as JSON, text as text, the rest described; or its failure."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from valetkey.ports.world import Response
from valetkey.scrub import Scrubber
from valetkey.secret import Secret
from valetkey.tools.openapi.names import one_line

LONGEST_DETAIL = 300
DEEPEST = 100
_MOST_PROBLEMS = 8

_TEXTS = re.compile(
    r"text/.*|application/(?:.*\+)?(?:xml|yaml|x-yaml|javascript|ecmascript|x-www-form-urlencoded|graphql|x-ndjson"
    r"|ndjson|jsonl|json-seq|toml|sql|rtf)"
)
_decode = json.JSONDecoder(parse_constant=lambda _: None).decode
_CHARSET = re.compile(r"charset=\"?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)


class OperationFailed(RuntimeError):
    """An operation was refused, or could not be done: ``HTTP 401 Unauthorized: <detail>``.

    Attributes:
        status_code: the answer's; None: there was none.
        url: where it was sent, without its query; empty: into the app itself.
    """

    def __init__(self, message: str, *, status_code: int | None = None, url: str = "") -> None:
        super().__init__(message)
        self.status_code = status_code
        self.url = url


def value_of(response: Response, *, url: str = "", secrets: Iterable[Secret] = ()) -> object:
    """What an answer says.

    Args:
        response: the answer.
        url: where it came from, without query; empty for the app itself.
        secrets: are starred out of what is cut short, before it is cut: of half a secret nobody knows it as one.

    Raises:
        OperationFailed: its status says so.
    """
    status = response.status
    if status == HTTPStatus.OK and response.body:
        return _content(response, secrets)
    phrase = named(status)
    if status >= HTTPStatus.BAD_REQUEST:
        detail = _detail(response, secrets)
        told = f": {detail}" if detail and detail.casefold() not in phrase.casefold() else ""
        raise OperationFailed(phrase + told, status_code=status, url=url)
    location = response.header("location")
    if status >= HTTPStatus.MULTIPLE_CHOICES:
        return (
            f"{phrase}: it points to {_place(Scrubber(secrets).text(location))}, and was not followed."
            if location
            else phrase
        )
    if not response.body:
        return f"Done: {phrase}, without content." if not response.cut else f"{phrase}: nothing came in time."
    return _content(response, secrets)


def named(status: int) -> str:
    """``HTTP 404 Not Found``."""
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


def _content(response: Response, secrets: Iterable[Secret]) -> object:
    body, media = response.body, _media(response)
    if media == "application/json" or media.endswith("+json"):
        if not response.cut:
            is_json, found = _json(body)
            if is_json:
                return found
        return _marked(_text(response), response, secrets)
    if _TEXTS.fullmatch(media) or (not media and _is_text(body)):
        text = _text(response)
        if "\0" not in text:  # else of another width than it says: no text that anybody can read, or scrub
            return _marked(text, response, secrets)
    least = "at least " if response.cut else ""
    return f"Binary content, not shown: {media or 'of no known type'}, {least}{len(body)} bytes."


def _json(body: bytes) -> tuple[bool, Any]:
    """Whether it is JSON of a depth that a model can be given, and what it says."""
    try:
        found = _decode(body.decode(json.detect_encoding(body), "surrogatepass"))  # as json.loads does
    except (ValueError, RecursionError):
        return False, None
    level = [found]
    for _ in range(DEEPEST):
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below += each.values()
            elif isinstance(each, list):
                below += each
        if not below:
            return True, found
        level = below
    return False, None


def _media(response: Response) -> str:
    return (response.header("content-type") or "").partition(";")[0].strip().lower()


def _text(response: Response) -> str:
    found = _CHARSET.search(response.header("content-type") or "")
    charset = found[1] if found else "utf-8"
    try:
        name = codecs.lookup(charset).name
    except LookupError:
        name = "utf-8"
    # Codecs that make bytes of bytes, or that run code of their own, are no charset.
    if name not in {"utf-8", "ascii", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"} and not name.startswith(
        ("iso8859", "cp125", "koi8", "shift_jis", "euc_", "gb", "big5")
    ):
        name = "utf-8"
    return response.body.decode(name, "replace").removeprefix("\ufeff")


def _is_text(body: bytes) -> bool:
    try:
        return "\0" not in body.decode("utf-8")
    except UnicodeDecodeError:
        return False


def _marked(text: str, response: Response, secrets: Iterable[Secret]) -> str:
    if not response.cut:
        return text
    whole = Scrubber(secrets).stream().feed(text.rstrip("\ufffd"))  # without an end that may begin a secret
    return f"{whole}\n[Partial result: cut after {len(response.body)} bytes. The answer was larger, or took too long.]"


def _place(location: str) -> str:
    """Where a redirect points, without what may be a credential: user, query, fragment."""
    try:
        parts = urlsplit(location)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "somewhere that is no URL"
    return one_line((f"{parts.scheme}://{host}" if host else "") + parts.path, 200) or "/"


def _detail(response: Response, secrets: Iterable[Secret]) -> str:
    media, scrubber = _media(response), Scrubber(secrets)
    if media == "application/json" or media.endswith("+json"):
        is_json, found = _json(response.body)
        if is_json:
            return one_line(scrubber.text(_said(found) or _shown(found, response.status)), LONGEST_DETAIL)
    # What a server writes by itself of its own failure is for its operator: a page, a stack trace.
    if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR or not media.startswith("text/plain"):
        return ""
    text = _text(response)
    if "\0" in text:
        return ""
    stream = scrubber.stream()
    return one_line(stream.feed(text) + ("" if response.cut else stream.close()), LONGEST_DETAIL)


def _said(found: Any, depth: int = 0) -> str:
    if isinstance(found, str):
        return found
    if isinstance(found, list):
        return "; ".join(filter(None, (_problem(each) for each in found[:_MOST_PROBLEMS])))
    if not isinstance(found, Mapping) or depth > 2:  # noqa: PLR2004  # {"error": {"detail": {…}}}
        return ""
    for key in ("detail", "message", "error_description", "error", "title", "errors", "msg", "reason"):
        if key in found and (said := _said(found[key], depth + 1)):
            return said
    return ""


def _shown(found: Any, status: int) -> str:
    """An object that says why by fields of the API's own; of the server's own failure it is for its operator."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or not isinstance(found, Mapping):
        return ""
    why = found.get("detail", found)
    return json.dumps(why, ensure_ascii=False) if isinstance(why, Mapping) and why else ""


def _problem(each: Any) -> str:
    """One problem of FastAPI's list: where and what, and never what was sent."""
    if isinstance(each, str):
        return each
    if not isinstance(each, Mapping):
        return ""
    text = next((each[key] for key in ("msg", "message", "detail") if isinstance(each.get(key), str)), "")
    where = each.get("loc")
    place = ".".join(str(part) for part in where) if isinstance(where, list | tuple) else ""
    return f"{place}: {text}" if place and text else text
