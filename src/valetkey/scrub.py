r"""Star given secrets out of text, values and streams, in every coding in which they may come back.

A secret is found as it is, and
- character by character: percent-encoded, backslash-escaped (JSON, Python, JavaScript) or as an HTML entity,
  any character or none of them, mixed and several levels deep (JSON in JSON, JSON in a URL);
- octet by octet: in hexadecimal, and in base64 of either alphabet, padded or not, at each of the three
  alignments that a longer string gives it (`user:secret`), broken into lines, itself percent-encoded or escaped.
What no encoder does (reversed, spelled out, encrypted) is not found. White space around a secret and the name of a
scheme before it (`Bearer`) are not part of it. What is left must have four characters: a shorter one is in most
texts by chance, and stars in its place would spoil the text and tell the secret.

Most texts hold no secret: each form has cheap signs, of which one must be there literally, and only where one shows
is the form followed. Nothing made from a secret outlives its Scrubber: patterns are compiled for single characters
alone, as `re` keeps what it compiles.
"""

from __future__ import annotations

import codecs
import copy
import dataclasses
import json
import re
from binascii import b2a_base64
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, NoReturn
from urllib.parse import quote, quote_plus

from valetkey.scrub_forms import AMPERSAND, PERCENT, Form, patience
from valetkey.secret import MASK, Secret

_SHORTEST, _DEEPEST = 4, 100
_LONG = 500  # characters of a stream that are held
_HEAD = 18  # octets that are looked for at first: a line of base64 is longer

_BARE = re.compile(r"\s*(?:(?:bearer|basic|token)\s+)?(.*\S)", re.IGNORECASE | re.DOTALL)
_PLAIN, _RUN = re.compile(r"[A-Za-z0-9_.~-]*"), re.compile(r"[A-Za-z0-9]+")


# No encoder touches ASCII letters and digits: where none of these is found, a secret's own are there as they are.
_ALNUM = "(?:3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa])"
_ALNUM_DECIMAL = "(?:4[89]|5[0-7]|6[5-9]|[78][0-9]|9[07-9]|1[01][0-9]|12[0-2])"
_ALNUM_ESCAPE = rf"(?:x|u00|U000000|u\{{0{{0,8}}){_ALNUM}"
_CODED_ALNUM = (
    ("\\", re.compile(rf"\\{_ALNUM_ESCAPE}")),
    ("%", re.compile(rf"{PERCENT}(?:{_ALNUM}|5[cC]{_ALNUM_ESCAPE})")),
    ("&", re.compile(rf"{AMPERSAND}#(?:0{{0,8}}{_ALNUM_DECIMAL}|[xX]0{{0,8}}{_ALNUM});")),
)

_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_ALIGNMENTS = (0, 0), (1, 2), (2, 3)  # octets before, characters that those have a part in
_BASE64_ALIKE = {"+": "+-", "/": "/_"}
_HEX_ALIKE = {digit: digit + digit.upper() for digit in "abcdef"}


def _base64(octets: bytes, others: int, first: int) -> tuple[str, str]:
    """What octets after others decide alone (RFC 4648 §4), and what the next character may be."""
    code = b2a_base64(bytes(others) + octets, newline=False).decode()
    last, bits = divmod(8 * (others + len(octets)), 6)
    at = _BASE64.index(code[last]) if bits else 0
    return code[first:last], _BASE64[at : at + (1 << (6 - bits))].replace("/", "/-_") if bits else ""


def _sign(piece: str) -> str:
    """The longest run of letters and digits."""
    return piece if piece.isalnum() else max(_RUN.findall(piece), key=len, default="")


class _Needle:
    """One secret. What it takes to find it is made when it is first needed."""

    def __init__(self, value: str) -> None:
        self.value = value
        self._plain = value.isascii() and value.isalnum()

    def _octets(self) -> list[bytes]:
        """The secret as it is, and as it may be coded before it is put into base64."""
        octets = self.value.encode("utf-8", "surrogatepass")
        if _PLAIN.fullmatch(self.value):
            return [octets]
        texts = [json.dumps(self.value)[1:-1], json.dumps(self.value, ensure_ascii=False)[1:-1]]
        texts += [quote(octets), quote(octets, safe=""), quote_plus(octets)]  # RFC 6749 §2.3.1 has the last
        return list(dict.fromkeys([octets, *(text.encode("utf-8", "surrogatepass") for text in texts)]))

    @cached_property
    def _signs(self) -> list[tuple[str, ...]]:
        """For all forms but the last, pieces of which each text with the form has one: a line ends in one."""
        spellings = self._octets()
        signs: list[tuple[str, ...]] = []
        for head in (octets[:_HEAD] for octets in spellings):
            for others, first in _ALIGNMENTS:
                code = b2a_base64(b"\0\0"[:others] + head, newline=False).decode()
                half = (8 * (others + len(head)) // 6 - first) // 2
                signs.append((_sign(code[first : first + half]), _sign(code[first + half : first + 2 * half])))
        low, high = (head := spellings[0][:_HEAD])[: len(head) // 2].hex(), head[len(head) // 2 :].hex()
        return [*signs, (low, high, low.upper(), high.upper())]

    @cached_property
    def forms(self) -> list[Form]:
        """Octet by octet, in base64 and in hexadecimal; at last character by character."""
        spellings = self._octets()
        codes = [_base64(octets, others, first) for octets in spellings for others, first in _ALIGNMENTS]
        forms = [Form(chars, _BASE64_ALIKE, "+/", tail, broken=True) for chars, tail in codes]
        forms.append(Form(spellings[0].hex(), _HEX_ALIKE, "", "", broken=True))
        return [*forms, Form(self.value, {" ": " +"}, self.value, "", broken=False)]

    def find(self, text: str, coded: int) -> Iterator[tuple[int, int]]:
        """Every place of the secret. ``coded``: what may be coded in the text, of 0 nothing, 1 marks, 2 all."""
        value, at = self.value, text.find(self.value)
        rest = text.replace(value, "\0") if at >= 0 else text
        while at >= 0:
            yield at, at + len(value)
            at = text.find(value, at + len(value))
        if coded > 1:
            yield from self.forms[-1].find(text, [""], 0)
        elif not self._plain and (coded or (" " in value and "+" in text)):
            runs = _RUN.findall(value)
            if all(run in rest for run in runs):
                yield from self.forms[-1].find(text, [max(runs, key=len, default="")], len(value))
        for index, signs in enumerate(self._signs):
            for sign in signs:
                if sign in rest:
                    yield from self.forms[index].find(text, signs, 2 * _HEAD)
                    break


class Scrubber:
    """Puts stars in place of those secrets that have four characters. Cheap to make: for one call or conversation."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        values = {bare[1] for secret in secrets if (bare := _BARE.match(secret.reveal()))}
        self.needles = [_Needle(value) for value in values if len(value) >= _SHORTEST]

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Scrubber holds secrets and cannot be pickled or copied")

    def text(self, text: str) -> str:
        """The text with stars for each secret in each form; the same object when it has none."""
        while spans := self.spans(text):
            text = _star(text, spans, len(text))
            if not any("*" in needle.value for needle in self.needles):
                break  # else the stars may have made one
        return text

    def data(self, data: bytes) -> bytes:
        """Octets, read as UTF-8; those that are not stay as they are."""
        text = data.decode("utf-8", "surrogateescape")
        clean = self.text(text)
        return data if clean is text else clean.encode("utf-8", "surrogateescape")

    def value(self, value: object) -> object:
        """A copy of the value with every text in it scrubbed; the same object when there is nothing to scrub.

        Looks into mappings (keys too), lists, tuples, sets, dataclasses and pydantic models, 100 levels deep: what
        lies deeper becomes stars. All else, exceptions included, is left alone: scrub what it is rendered to.
        """
        if not self.needles or self._clean(value, {}, 0, None) is value:
            return value
        return self._clean(value, {}, 0, MASK)

    def stream(self) -> Stream:
        """For a text that comes in pieces."""
        return Stream(self)

    def byte_stream(self) -> ByteStream:
        """For octets that come in pieces."""
        return ByteStream(self)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where secrets are: in order, none overlapping another."""
        coded = int("\r" in text)
        for sign, pattern in _CODED_ALNUM:
            if sign in text:
                coded = max(coded, 2 if pattern.search(text) else 1)
        spans: list[tuple[int, int]] = []
        needles = [needle for needle in self.needles if len(text) >= len(needle.value)]  # no form is shorter
        for start, end in sorted(span for needle in needles for span in needle.find(text, coded)):
            if spans and start < spans[-1][1]:
                spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
            else:
                spans.append((start, end))
        return spans

    def _clean(self, value: Any, made: dict[int, tuple[object, object]], depth: int, back: object) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes):
            return self.data(value)
        if type(value) is int:
            return MASK if 0 < value < 10**100 and self.text(str(value)) == MASK else value
        if id(value) not in made:
            parts, rebuild = _parts(value)
            # They may lead back here: to the same while nothing is found, else to stars.
            made[id(value)] = value, back if back and parts else value
            if parts and depth == _DEEPEST:
                return MASK
            clean = [self._clean(part, made, depth + 1, back) for part in parts]
            same = all(new is old for new, old in zip(clean, parts, strict=True))
            made[id(value)] = value, value if same else rebuild(clean)
        return made[id(value)][1]


class Stream:
    """A text that comes in pieces, given on without the secrets, however they are split."""

    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber
        self._held = ""
        self._enough = 0
        self._forms: dict[str, list[Form]] = defaultdict(list)
        self._all = [form for needle in scrubber.needles for form in needle.forms]
        self._reach = max((form.reach(len(form.chars)) for form in self._all), default=0)
        for form in self._all:
            for char in form.begin:
                self._forms[char].append(form)

    def feed(self, chunk: str) -> str:
        """Take a piece; give all but the tail that may be the beginning of a secret."""
        text = self._held + chunk
        if len(text) < self._enough:
            self._held = text
            return ""
        spans = self._scrubber.spans(text)
        keep = self._cut(text)
        # Another secret may begin within one that is found: stars for both, once it is known.
        keep = next((start for start, end in spans if start < keep < end), keep)
        self._held = text[keep:]
        # What is held for long is looked at again once it has grown by a part, or looking took ever longer.
        self._enough = len(self._held) * 3 // 2 if len(self._held) > _LONG else 0
        return _star(text, [span for span in spans if span[1] <= keep], keep)

    def _cut(self, text: str) -> int:
        """From where on it may be the beginning of a secret."""
        low = max(0, len(text) - self._reach)
        left = patience(len(text) - low)
        for at in range(low, len(text)):
            for form in self._forms.get(text[at], ()):
                _, cut, steps = form.match(text, at)
                if cut:
                    return at
                left -= steps
            if left < 0:
                starts = (start for form in self._all for start in form.sweep(text, at, cut=True))
                return min(starts, default=len(text))
        return len(text)

    def close(self) -> str:
        """The tail, scrubbed."""
        text, self._held, self._enough = self._held, "", 0
        return self._scrubber.text(text)


class ByteStream:
    """As Stream, for octets."""

    def __init__(self, scrubber: Scrubber) -> None:
        self._stream = Stream(scrubber)
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def feed(self, chunk: bytes) -> bytes:
        """Take a piece; give all but the tail that may be the beginning of a secret, or of a character."""
        return self._stream.feed(self._decoder.decode(chunk)).encode("utf-8", "surrogateescape")

    def close(self) -> bytes:
        """The tail, scrubbed."""
        text = self._stream.feed(self._decoder.decode(b"", final=True)) + self._stream.close()
        return text.encode("utf-8", "surrogateescape")


def _star(text: str, spans: list[tuple[int, int]], end: int) -> str:
    """The text up to an end, each span as stars."""
    pieces, at = [], 0
    for low, high in spans:
        pieces += [text[at:low], MASK]
        at = high
    return "".join([*pieces, text[at:end]])


def _parts(value: Any) -> tuple[list[Any], Callable[[list[Any]], object]]:
    """What a container holds, and what makes one of the same kind of other parts."""
    if isinstance(value, Mapping):
        flat = [part for item in value.items() for part in item]
        return flat, lambda new: dict(zip(new[::2], new[1::2], strict=True))
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return list(value), value._make
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            return list(value), kind
    names: set[str] = set()
    if dataclasses.is_dataclass(value) and not isinstance(value, (type, BaseException)):
        names = {field.name for field in dataclasses.fields(value)} | set(getattr(value, "__dict__", ()))
    elif hasattr(type(value), "__pydantic_fields__"):
        names = {*vars(value), "__pydantic_extra__"}
    held = {name: getattr(value, name) for name in names if hasattr(value, name)}

    def rebuild(new: list[Any]) -> object:
        clone = copy.copy(value)
        for name, part in zip(held, new, strict=True):
            object.__setattr__(clone, name, part)
        return clone

    return list(held.values()), rebuild
