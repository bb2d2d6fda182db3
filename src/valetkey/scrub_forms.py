"""One coding of one secret, and where a text has it: in time that grows with the text, whatever the two are."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from html.entities import html5

_STRIDE, _LONGEST_CUT = 16, 200  # characters compared at once, characters of one that is cut short
_WIDEST, _BREAK = 40, 100  # how far to look back from a sign: for a character that may be coded, for a broken line
_FARTHEST = 1024  # no coding of a character is longer
_SAFE = re.compile(r"[^%\\&\r]*")

# How the coding of one character begins; "\r" because forms and mail make "\r\n" of "\n".
OPENERS = "%\\&\r"
PERCENT = "%(?:25){0,3}+"
_SLASH = r"\\\\{0,15}+"
_CODED_SLASH = rf"{PERCENT}5[cC](?:{PERCENT}5[cC]){{0,15}}+"
_ANY_SLASH = rf"(?:{_SLASH}|{_CODED_SLASH})"
AMPERSAND = "&(?:amp;){0,3}+"
_LETTERS = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f", "\v": "v", "\a": "a", "\0": "0"}

# A coding that the end of the text cuts short; a character outside ASCII may take several.
_HEX = "[0-9A-Fa-f]"
_CUT = (
    rf"(?:\r|{PERCENT}0[dD](?:{PERCENT}{_HEX}?)?|{_ANY_SLASH}?(?:{PERCENT}{_HEX}?|{AMPERSAND}#?\w{{0,31}})"
    rf"|{_ANY_SLASH}(?:u{_HEX}{{0,3}}|U{_HEX}{{0,7}}|u\{{{_HEX}{{0,14}}|x{_HEX}?|r{_ANY_SLASH}?)?)\Z"
)
_WHOLE = rf"(?:{PERCENT}{_HEX}{{2}}|{_ANY_SLASH}(?:x{_HEX}{{2}}|u{_HEX}{{4}}))"
_CUT_ASCII, _CUT_WIDE = re.compile(_CUT), re.compile(rf"{_WHOLE}{{0,3}}(?:{_CUT}|\Z)")
_GAP = re.compile(rf"(?:[\r\n]|{_SLASH}[rn]|{PERCENT}0[aAdD]){{1,4}}[ \t]{{0,16}}")
_PREFIX = re.compile(_ANY_SLASH)
_BODY = re.compile(
    rf"{PERCENT}(?P<octet>{_HEX}{{2}})|{AMPERSAND}(?:#(?P<decimal>[0-9]{{1,15}});|#[xX](?P<entity>{_HEX}{{1,14}});"
    rf"|(?P<name>\w{{1,31}};))|x(?P<x>{_HEX}{{2,6}})|u(?P<unit>{_HEX}{{4}})|U(?P<wide>{_HEX}{{8}})"
    rf"|u\{{(?P<point>{_HEX}{{1,14}})\}}"
)
_ALWAYS = frozenset("%\\&\r\n")  # characters of which runs may be read in several ways


@lru_cache(maxsize=4096)
def _codings(char: str) -> tuple[re.Pattern[str], ...]:
    """What one character may come back as, besides itself; several patterns where several may fit at one place."""
    code, utf16 = ord(char), char.encode("utf-16-be", "surrogatepass")
    octets = [f"(?i:{octet:02x})" for octet in char.encode("utf-8", "surrogatepass")]
    units = [f"(?i:{utf16[at : at + 2].hex()})" for at in range(0, len(utf16), 2)]
    names = [name for name, named in html5.items() if named == char != "&" and name.endswith(";")]
    entity = "|".join([*names, f"#0{{0,8}}{code};", f"#(?i:x0{{0,8}}{code:x});"])
    bare = ["".join(PERCENT + octet for octet in octets), f"{AMPERSAND}(?:{entity})"]
    escapes = ["x" + f"{_ANY_SLASH}x".join(octets), "u" + f"{_ANY_SLASH}u".join(units), f"U(?i:{code:08x})"]
    escapes += [rf"u\{{0{{0,8}}(?i:{code:x})\}}", _LETTERS.get(char, f"x(?i:{code:02x})")]
    if not (char.isascii() and char.isalnum()) and char != "\\":
        escapes += [re.escape(char), *bare]  # \" and \/, and %5C%22 for \" in a URL
    if char == "\n":
        bare += [r"\r\n", f"{PERCENT}0[dD]{PERCENT}0[aA]"]
        escapes.append(f"r{_ANY_SLASH}n")
    sources = ["|".join([*bare, *(f"{slash}(?:{'|'.join(escapes)})" for slash in (_SLASH, _CODED_SLASH))])]
    levels = {"%": ["%(?:25)"], "&": ["&(?:amp;)"], "\\": [r"\\\\", f"{PERCENT}5[cC](?:{PERCENT}5[cC])"]}
    sources += [f"{level}{{{times}}}" for level in levels.get(char, ()) for times in range(1, 16)]
    return tuple(map(re.compile, sources))


@lru_cache(maxsize=4096)
def _beginning(alike: str, coded: str) -> re.Pattern[str]:
    """One of the characters, or a coding of the one that may be coded."""
    return re.compile("|".join([*map(re.escape, alike), *(way.pattern for char in coded for way in _codings(char))]))


class Form:
    """One coding of one secret: characters that follow each other, and how each may be written."""

    def __init__(self, chars: str, alike: Mapping[str, str], coded: str, tail: str, *, broken: bool) -> None:
        self.chars = chars
        self.alike = alike  # what stands for a character just as well
        self.coded = coded  # those that may themselves be coded
        self.tail = tail  # what may follow, where it has the last bits of the secret only in part
        self.broken = broken  # whether a line may be broken anywhere within
        self.first = alike.get(chars[0], chars[0])
        self.begin = self.first + (OPENERS if chars[0] in coded else "")
        self.second = alike.get(chars[1], chars[1]) + "\n" + OPENERS

    def reach(self, count: int) -> int:
        """How long the first ``count`` characters may be when coded."""
        coded = sum(char in self.coded for char in self.chars[:count])
        return count + coded * _WIDEST + (_BREAK * (1 + count // 60) if self.broken else 0)

    def find(self, text: str, signs: Iterable[str], within: int) -> Iterator[tuple[int, int]]:
        """Every place of the form, of whose first characters one of the signs is part."""
        places = [place for sign in signs for place in (text.find(sign), text.rfind(sign)) if place >= 0]
        at, high = max(0, min(places) - self.reach(within)), max(places) + 1
        beginning = _beginning(self.first, self.chars[0] if self.chars[0] in self.coded else "")
        left = patience(high - at)
        while (begun := beginning.search(text, at)) and (at := begun.start()) < high:
            end, _, steps = self.match(text, at)
            left -= steps
            if end:
                yield at, end
            at = end or at + 1
            if left < 0:
                yield from self._swept(text, at, high)
                return

    def _swept(self, text: str, low: int, high: int) -> Iterator[tuple[int, int]]:
        """The same where both repeat themselves, and each place would be followed far in vain."""
        at = low
        for start in reversed([place for place in self.sweep(text, low, cut=False) if place < high]):
            if start >= at and (end := self.match(text, start)[0]):
                yield start, end
                at = end

    def match(self, text: str, start: int) -> tuple[int, bool, int]:
        """Where the form that starts there ends (0: it does not), whether the text ends within it, and steps taken."""
        places, cut, at, steps = [start], False, 0, 1
        if text[start] not in OPENERS and text[start + 1 : start + 2] not in self.second:
            return 0, False, steps  # most end here
        while at < len(self.chars):
            steps += 1
            near = self.chars[at : at + _STRIDE]
            near = near if text.startswith(near, places[0]) else near[0]
            # Without backslashes and the like there is one way only to read what is literally there.
            if len(places) == 1 and text.startswith(near, places[0]) and _SAFE.fullmatch(near):
                places, at = [places[0] + len(near)], at + len(near)
                continue
            taken = [self._step(text, place, self.chars[at]) for place in places]
            cut = cut or any(ended for _, ended in taken)
            steps += 4 * len(taken)  # each takes longer than a comparison
            places = sorted({end for ends, _ in taken for end in ends})
            if not places:
                return 0, cut, steps
            at += 1
        end = places[-1]
        if self.tail and end < len(text):
            return end + (text[end] in self.tail), cut, steps
        return end, cut or bool(self.tail), steps

    def _step(self, text: str, place: int, char: str) -> tuple[list[int], bool]:
        """Where one character that starts there may end, and whether the text ends within it."""
        if self.broken and text[place : place + 1] in "\r\n\\%" and (gap := _GAP.match(text, place)):
            place = gap.end()
        if place >= len(text):
            return [], True
        here = text[place]
        ends = [place + 1] if here in self.alike.get(char, char) else []
        if here not in OPENERS or not (self.broken or char in self.coded):
            return ends, False
        if char in self.coded:
            ends += [way.end() for coding in _codings(char) if (way := coding.match(text, place))]
        may_be_cut = len(text) - place < _LONGEST_CUT
        return ends, may_be_cut and bool((_CUT_ASCII if char.isascii() else _CUT_WIDE).match(text, place))

    def sweep(self, text: str, low: int, *, cut: bool) -> Iterator[int]:
        """Where the form starts; or, cut, where one starts that the end of the text cuts short. From the last on.

        Bit i of a row: whether the form, from its character i on, follows there. So one pass over the text looks for
        all beginnings at once (Shift-And, Baeza-Yates and Gonnet 1992), whatever repeats itself.
        """
        done, whole = 1 << len(self.chars), len(text)
        last, open_end = (0, done - 1 | (done if self.tail else 0)) if cut else (done, done)
        rows = deque([open_end], maxlen=_FARTHEST)
        for place in range(whole - 1, low - 1, -1):
            here = text[place]
            row = last | self._masks.get(here, 0) & rows[0] >> 1
            if self.broken and here in "\r\n\\%" and (gap := _GAP.match(text, place)):
                # Not even a second break after it: that is for ``match`` one too many.
                row |= 0 if _GAP.match(text, gap.end()) else rows[gap.end() - place - 1] & ~1
            if here in OPENERS:
                for char in self._coded_at(text, place):
                    for end in {way.end() for coding in _codings(char) if (way := coding.match(text, place))}:
                        row |= self._own[char] & rows[end - place - 1] >> 1
                if cut and whole - place < _LONGEST_CUT:
                    for pattern, mask in zip((_CUT_ASCII, _CUT_WIDE), self._cut_masks, strict=True):
                        row |= mask if pattern.match(text, place) else 0
            rows.appendleft(row)
            if row & 1:
                yield place

    @cached_property
    def _own(self) -> Mapping[str, int]:
        """For each character, where in the form it is, as bits."""
        own: dict[str, int] = defaultdict(int)
        for index, char in enumerate(self.chars):
            own[char] |= 1 << index
        return own

    @cached_property
    def _masks(self) -> Mapping[str, int]:
        """The same for each that stands for one just as well."""
        masks: dict[str, int] = defaultdict(int)
        for char, own in self._own.items():
            for alike in self.alike.get(char, char):
                masks[alike] |= own
        return masks

    @cached_property
    def _cut_masks(self) -> tuple[int, int]:
        """Where characters are of which the end of a text may cut a coding short: in ASCII, and others."""
        masks = [0, 0]
        for char, own in self._own.items():
            masks[not char.isascii()] |= own if self.broken or char in self.coded else 0
        inner = ~0 if self.chars[0] in self.coded else ~1
        return masks[0] & inner, masks[1] & inner

    @cached_property
    def _by_sign(self) -> Mapping[object, str]:
        """The characters that may be coded, by what each coding has after its slashes, percents or ampersands."""
        by_sign: dict[object, str] = defaultdict(str)
        for char in set(self.coded) & set(self.chars):
            first, unit = (char.encode(name, "surrogatepass").hex() for name in ("utf-8", "utf-16-be"))
            escaped = {"\\" + char, "\\" + _LETTERS.get(char, char)}
            for sign in {ord(char), first[:2], unit[:4], *escaped, *(["always"] if char in _ALWAYS else [])}:
                by_sign[sign] += char
        return dict(by_sign)

    def _coded_at(self, text: str, place: int) -> set[str]:
        """Which characters may have a coding that starts there: those and perhaps others."""
        signs: list[str | int] = ["always"]
        slash = _PREFIX.match(text, place)
        if slash:
            signs.append("\\" + text[slash.end() : slash.end() + 1])
        for at in (place, slash.end()) if slash else (place,):
            if body := _BODY.match(text, at):
                signs += _signs(body)
        return {char for sign in signs for char in self._by_sign.get(sign, "")}


def _signs(body: re.Match[str]) -> list[str | int]:
    kind, value = str(body.lastgroup), str(body[str(body.lastgroup)])
    if kind in {"octet", "unit"}:
        return [value.lower()]
    if kind == "name":
        return [ord(named)] if len(named := html5.get(value, "")) == 1 else []
    if kind == "x":
        return [value[:2].lower(), *(int(value[:end], 16) for end in range(2, len(value) + 1))]
    return [int(value, 10 if kind == "decimal" else 16)]


def patience(length: int) -> int:
    """How many steps over a text of that length may go before it is read another way."""
    return 2000 + length // 16
