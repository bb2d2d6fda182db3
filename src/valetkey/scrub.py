r"""Star given secrets out of text, values and streams, in every coding in which they may come back.

A secret is found as it is, and
- character by character: percent-encoded, backslash-escaped (JSON, Python, JavaScript) or as an HTML entity,
  any character or none of them, mixed and several levels deep (JSON in JSON, JSON in a URL);
- octet by octet: in hexadecimal, and in base64 of either alphabet, padded or not, at each of the three
  alignments that a longer string gives it (`user:secret`), broken into lines, itself percent-encoded or escaped.

White space around a secret and the name of a scheme before it (`Bearer`) are not part of it. What is left must have
four characters: a shorter one is in most texts by chance, and stars in its place would spoil the text and tell the
secret. What no encoder does (reversed, spelled out, encrypted) is not found.

Most texts hold no secret. So each form has cheap signs, pieces of which one must be there literally, and only where
one shows is the form followed. Nothing made from a secret outlives its Scrubber: patterns are compiled for single
characters, never for a secret, as `re` keeps what it compiles.
"""

from __future__ import annotations

import codecs
import dataclasses
import json
import re
from binascii import b2a_base64
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from html.entities import html5
from typing import Any, NoReturn
from urllib.parse import quote, quote_plus

from valetkey.secret import MASK, Secret

_SHORTEST = 4
_DEEPEST = 100
_SIGN = 10  # characters of a sign: a line of base64 is longer than two
_STRIDE = 16  # characters compared at once
_WIDEST = 40  # how far to look back from a sign: for each character that may be coded,
_BREAK = 100  # and for a broken line

_SCHEME = re.compile(r"(?:bearer|basic|token)\s+", re.IGNORECASE)
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]*")
_RUN = re.compile(r"[A-Za-z0-9]+")
_SAFE = re.compile(r"[^%\\&\r]*")

# How the coding of one character begins; "\r" because forms and mail make "\r\n" of "\n".
_OPENERS = "%\\&\r"
_PERCENT = "%(?:25){0,3}+"
_SLASH = r"\\\\{0,15}+"
_CODED_SLASH = rf"{_PERCENT}5[cC](?:{_PERCENT}5[cC])*+"
_ANY_SLASH = rf"(?:{_SLASH}|{_CODED_SLASH})"
_AMPERSAND = "&(?:amp;){0,3}+"
_LETTERS = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f", "\v": "v", "\a": "a", "\0": "0"}

# No encoder touches ASCII letters and digits: where none of these is found, a secret's own are there as they are.
_ALNUM = "(?:3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa])"
_ALNUM_DECIMAL = "(?:4[89]|5[0-7]|6[5-9]|[78][0-9]|9[07-9]|1[01][0-9]|12[0-2])"
_CODED_ALNUM = {
    "%": re.compile(rf"{_PERCENT}(?:{_ALNUM}|5[cC](?:x|u00|U000000|u\{{0{{0,8}}){_ALNUM})"),
    "\\x": re.compile(rf"\\x{_ALNUM}"),
    "\\u": re.compile(rf"\\u(?:00|\{{0{{0,8}}){_ALNUM}"),
    "\\U": re.compile(rf"\\U000000{_ALNUM}"),
    "&": re.compile(rf"{_AMPERSAND}#(?:0{{0,8}}{_ALNUM_DECIMAL}|[xX]0{{0,8}}{_ALNUM});"),
}
# A coding that the end of the text cuts short; a character outside ASCII may take several.
_HEX = "[0-9A-Fa-f]"
_CUT = (
    rf"(?:\r|{_PERCENT}0[dD](?:{_PERCENT}{_HEX}?)?|{_ANY_SLASH}?(?:{_PERCENT}{_HEX}?|{_AMPERSAND}#?\w{{0,31}})"
    rf"|{_ANY_SLASH}(?:u{_HEX}{{0,3}}|U{_HEX}{{0,7}}|u\{{{_HEX}{{0,14}}|x{_HEX}?|r{_ANY_SLASH}?)?)\Z"
)
_WHOLE = rf"(?:{_PERCENT}{_HEX}{{2}}|{_ANY_SLASH}(?:x{_HEX}{{2}}|u{_HEX}{{4}}))"
_CUT_ASCII, _CUT_WIDE = re.compile(_CUT), re.compile(rf"{_WHOLE}{{0,3}}(?:{_CUT}|\Z)")
_GAP = re.compile(rf"(?:[\r\n]|{_SLASH}[rn]|{_PERCENT}0[aAdD]){{1,4}}[ \t]{{0,16}}")

_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BASE64_ALIKE = {"+": "+-", "/": "/_"}
_HEX_ALIKE = {digit: digit + digit.upper() for digit in "abcdef"}
_SPELLED_ALIKE = {" ": " +"}


def _hex(number: int, width: int) -> str:
    """A pattern for a number in hexadecimal, in either case."""
    digits = f"{number:0{width}x}"
    return "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in digits)


@lru_cache(maxsize=4096)
def _codings(char: str) -> tuple[re.Pattern[str], ...]:
    """What one character may come back as, besides itself; several patterns where several may fit at one place."""
    code, wide = ord(char), char.encode("utf-16-be", "surrogatepass")
    octets = [_hex(octet, 2) for octet in char.encode("utf-8", "surrogatepass")]
    units = [_hex(int.from_bytes(wide[at : at + 2], "big"), 4) for at in range(0, len(wide), 2)]
    names = [name for name, named in html5.items() if named == char != "&" and name.endswith(";")]
    entity = "|".join([*names, f"#0{{0,8}}{code};", f"#[xX]0{{0,8}}{_hex(code, 1)};"])
    bare = ["".join(_PERCENT + octet for octet in octets), f"{_AMPERSAND}(?:{entity})"]
    escapes = ["x" + f"{_ANY_SLASH}x".join(octets), "u" + f"{_ANY_SLASH}u".join(units), f"U{_hex(code, 8)}"]
    escapes += [rf"u\{{0{{0,8}}{_hex(code, 1)}\}}", _LETTERS.get(char, f"x{_hex(code, 2)}")]
    if not (char.isascii() and char.isalnum()) and char != "\\":
        escapes += [re.escape(char), *bare]  # \" and \/, and %5C%22 for \" in a URL
    if char == "\n":
        bare += [r"\r\n", f"{_PERCENT}0[dD]{_PERCENT}0[aA]"]
        escapes.append(f"r{_ANY_SLASH}n")
    escape = "(?:" + "|".join(escapes) + ")"
    sources = ["|".join([*bare, _SLASH + escape, _CODED_SLASH + escape])]
    if char == "%":
        sources += [f"%(?:25){{{times}}}" for times in (1, 2, 3)]
    elif char == "&":
        sources += [f"&(?:amp;){{{times}}}" for times in (1, 2, 3)]
    elif char == "\\":
        sources += [rf"\\{{{times}}}" for times in range(2, 17)]
        sources += [f"(?:{_PERCENT}5[cC]){{{times}}}" for times in (2, 3, 4)]
    return tuple(map(re.compile, sources))


@lru_cache(maxsize=4096)
def _beginning(alike: str, coded: str) -> re.Pattern[str]:
    """One of the characters, or a coding of the one that may be coded."""
    return re.compile("|".join([*map(re.escape, alike), *(way.pattern for char in coded for way in _codings(char))]))


class _Form:
    """One coding of one secret: characters that follow each other, and how each may be written."""

    def __init__(self, chars: str, alike: Mapping[str, str], coded: str, tail: str, *, broken: bool) -> None:
        self.chars = chars
        self.alike = alike  # what stands for a character just as well
        self.coded = coded  # those that may themselves be coded
        self.tail = tail  # what may follow, where it has the last bits of the secret only in part
        self.broken = broken  # whether a line may be broken anywhere within

    def reach(self, count: int) -> int:
        """How long the first ``count`` characters may be when coded."""
        coded = sum(char in self.coded for char in self.chars[:count])
        return count + coded * _WIDEST + (_BREAK * (1 + count // 60) if self.broken else 0)

    def first(self) -> tuple[str, str]:
        """What the first character may be, and that character if it may be coded."""
        first = self.chars[0]
        return self.alike.get(first, first), first if first in self.coded else ""

    def signs(self) -> list[str]:
        """Pieces of which every text that holds the form holds one, as at most one has the end of a line in it."""
        half = min(len(self.chars) // 2, _SIGN)
        signs = [_sign(self.chars[:half]), _sign(self.chars[half : 2 * half])]
        return signs + [sign.upper() for sign in signs] if self.alike is _HEX_ALIKE else signs

    def find(self, text: str, low: int, high: int) -> Iterator[tuple[int, int]]:
        """Every place of the form that starts there."""
        beginning, at = _beginning(*self.first()), max(0, low)
        while (begun := beginning.search(text, at)) and (at := begun.start()) < high:
            if end := self.match(text, at)[0]:
                yield at, end
            at = end or at + 1

    def match(self, text: str, start: int) -> tuple[int, bool]:
        """Where the form that starts there ends (0: it does not), and whether the text ends within it."""
        places, cut, at = [start], False, 0
        while at < len(self.chars):
            stride = self.chars[at : at + _STRIDE]
            # Without backslashes and the like there is one way only to read what is literally there.
            if len(places) == 1 and text.startswith(stride, places[0]) and _SAFE.fullmatch(stride):
                places = [places[0] + len(stride)]
                at += _STRIDE
                continue
            steps = [self._step(text, place, self.chars[at]) for place in places]
            cut = cut or any(ended for _, ended in steps)
            places = sorted({end for ends, _ in steps for end in ends})
            if not places:
                return 0, cut
            at += 1
        end = places[-1]
        if self.tail and end < len(text):
            return end + (text[end] in self.tail), cut
        return end, cut or bool(self.tail)

    def _step(self, text: str, place: int, char: str) -> tuple[list[int], bool]:
        """Where one character that starts there may end, and whether the text ends within it."""
        if self.broken and text[place : place + 1] in "\r\n\\%" and (gap := _GAP.match(text, place)):
            place = gap.end()
        if place >= len(text):
            return [], True
        here = text[place]
        ends = [place + 1] if here in self.alike.get(char, char) else []
        if here not in _OPENERS or not (self.broken or char in self.coded):
            return ends, False
        if char in self.coded:
            ends += [way.end() for coding in _codings(char) if (way := coding.match(text, place))]
        return ends, bool((_CUT_ASCII if char.isascii() else _CUT_WIDE).match(text, place))


def _sign(piece: str) -> str:
    """The longest run of letters and digits."""
    return piece if piece.isalnum() else max(_RUN.findall(piece), key=len, default="")


def _base64(octets: bytes, others: int) -> _Form:
    """What octets after 0, 1 or 2 others alone decide (RFC 4648 §4)."""
    code = b2a_base64(bytes(others) + octets, newline=False).decode()
    last, bits = divmod(8 * (others + len(octets)), 6)
    tail = ""
    if bits:
        at = _BASE64.index(code[last])
        tail = _BASE64[at : at + (1 << (6 - bits))] + ("-_" if code[last] in "wxyz0123456789+/" else "")
    return _Form(code[others + (others > 0) : last], _BASE64_ALIKE, "+/", tail, broken=True)


class _Needle:
    """One secret. Its forms are made when they are first needed."""

    def __init__(self, value: str) -> None:
        self.value = value
        self.number = int(value) if value.isdecimal() and len(value) < 1000 else None
        self._plain = value.isascii() and value.isalnum()

    @cached_property
    def spelled(self) -> _Form:
        """The form character by character."""
        return _Form(self.value, _SPELLED_ALIKE, self.value, "", broken=False)

    @cached_property
    def forms(self) -> list[tuple[_Form, list[str]]]:
        """The forms octet by octet, and their signs."""
        octets = self.value.encode("utf-8", "surrogatepass")
        spellings = {octets: True}
        if not _PLAIN.fullmatch(self.value):
            # A value is often coded before it is put into base64: JSON, user and password (RFC 6749 §2.3.1).
            texts = [json.dumps(self.value)[1:-1], json.dumps(self.value, ensure_ascii=False)[1:-1]]
            texts += [quote(octets), quote(octets, safe=""), quote_plus(octets)]
            spellings |= {text.encode("utf-8", "surrogatepass"): True for text in texts}
        forms = [_base64(spelling, others) for spelling in spellings for others in (0, 1, 2)]
        forms.append(_Form(octets.hex(), _HEX_ALIKE, "", "", broken=True))
        return [(form, form.signs()) for form in forms]

    def find(self, text: str, coded: int | None) -> Iterator[tuple[int, int]]:
        """Every place of the secret. ``coded``: the first coded letter or digit; None: no character may be coded."""
        value, rest = self.value, text
        if (at := text.find(value)) >= 0:
            rest = text.replace(value, "\0")
            while at >= 0:
                yield at, at + len(value)
                at = text.find(value, at + len(value))
        if coded is not None and coded < len(text):
            yield from self.spelled.find(text, coded - self.spelled.reach(len(value)), len(text))
        elif not self._plain and (coded is not None or (" " in value and "+" in text)):
            runs = _RUN.findall(value)
            if all(run in rest for run in runs):
                yield from _near(self.spelled, text, [max(runs, key=len, default="")], len(value))
        for form, signs in self.forms:
            for sign in signs:
                if sign in rest:
                    yield from _near(form, text, signs, 2 * _SIGN)
                    break


def _near(form: _Form, text: str, signs: list[str], within: int) -> Iterator[tuple[int, int]]:
    """The places of a form that has one of the signs within its first characters."""
    places = [place for sign in signs for place in (text.find(sign), text.rfind(sign)) if place >= 0]
    return form.find(text, min(places) - form.reach(within), max(places) + 1)


class Scrubber:
    """Puts stars in place of the given secrets. Cheap to make: for one tool call, or for one conversation.

    Args:
        secrets: what is to be starred; one of fewer than four characters is left out.
    """

    def __init__(self, secrets: Iterable[Secret]) -> None:
        values = {_bare(secret.reveal()) for secret in secrets}
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
        coded: int | None = None
        if "\\" in text or "%" in text or "&" in text or "\r" in text:
            coded = len(text)
            for sign, pattern in _CODED_ALNUM.items():
                if sign in text and (first := pattern.search(text)):
                    coded = min(coded, first.start())
        spans: list[tuple[int, int]] = []
        # No form is shorter than its secret.
        needles = [needle for needle in self.needles if len(text) >= len(needle.value)]
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
            return MASK if any(value == needle.number for needle in self.needles) else value
        if id(value) not in made and (children := _children(value)):
            # What it leads to may lead back: to itself while nothing is found, else to stars.
            made[id(value)] = value, back or value
            if depth == _DEEPEST:
                return MASK
            clean = [self._clean(child, made, depth + 1, back) for child in children]
            same = all(new is old for new, old in zip(clean, children, strict=True))
            made[id(value)] = value, value if same else _rebuilt(value, clean)
        return made.get(id(value), (value, value))[1]


class Stream:
    """A text that comes in pieces, given on without the secrets, however they are split."""

    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber
        self._held = ""
        self._forms: dict[str, list[_Form]] = defaultdict(list)
        forms = [form for needle in scrubber.needles for form in (needle.spelled, *(form for form, _ in needle.forms))]
        self._reach = max((form.reach(len(form.chars)) for form in forms), default=0)
        for form in forms:
            alike, coded = form.first()
            for char in alike + (_OPENERS if coded else ""):
                self._forms[char].append(form)

    def feed(self, chunk: str) -> str:
        """Take a piece; give all but the tail that may be the beginning of a secret."""
        text = self._held + chunk
        spans = self._scrubber.spans(text)
        tail = range(max(0, len(text) - self._reach), len(text))
        keep = next((at for at in tail if self._may_begin(text, at)), len(text))
        # Another secret may begin within one that is found: stars for both, once it is known.
        keep = next((start for start, end in spans if start < keep < end), keep)
        self._held = text[keep:]
        return _star(text, [span for span in spans if span[1] <= keep], keep)

    def close(self) -> str:
        """The tail, scrubbed."""
        text, self._held = self._held, ""
        return self._scrubber.text(text)

    def _may_begin(self, text: str, at: int) -> bool:
        return text[at] in self._forms and any(form.match(text, at)[1] for form in self._forms[text[at]])


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


def _bare(value: str) -> str:
    """A credential without the white space and the scheme that it may have been given with."""
    value = value.strip()
    return value[scheme.end() :] if (scheme := _SCHEME.match(value)) else value


def _star(text: str, spans: list[tuple[int, int]], end: int) -> str:
    """The text up to an end, each span as stars."""
    pieces, at = [], 0
    for low, high in spans:
        pieces += [text[at:low], MASK]
        at = high
    return "".join([*pieces, text[at:end]])


def _children(value: Any) -> list[Any]:
    """What a container holds."""
    if isinstance(value, Mapping):
        return [part for item in value.items() for part in item]
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    return list(_attributes(value).values())


def _attributes(value: Any) -> dict[str, Any]:
    """The fields of a dataclass or a pydantic model."""
    if isinstance(value, (type, BaseException)):
        return {}
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if hasattr(value, field.name)]
        return {name: getattr(value, name) for name in names} | getattr(value, "__dict__", {})
    if hasattr(type(value), "model_fields") and hasattr(value, "model_copy"):
        return vars(value) | (getattr(value, "__pydantic_extra__", None) or {})
    return {}


def _rebuilt(value: Any, children: list[Any]) -> object:
    """A container of the same kind with other children."""
    if isinstance(value, Mapping):
        return dict(zip(children[::2], children[1::2], strict=True))
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(children)
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            return kind(children)
    attributes = _attributes(value)
    changed = {name: new for (name, old), new in zip(attributes.items(), children, strict=True) if new is not old}
    if hasattr(value, "model_copy"):
        return value.model_copy(update=changed)
    clone = object.__new__(type(value))
    for name, child in (attributes | changed).items():
        object.__setattr__(clone, name, child)
    return clone
