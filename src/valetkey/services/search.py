"""Services by text: all words, in names before descriptions before docs; ranked."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from valetkey.errors import InvalidArguments
from valetkey.services.turns import Breath

if TYPE_CHECKING:
    from valetkey.services.finding import Found

LONGEST = 1000
"""Characters of a query."""

MOST_WORDS = 32
"""Words of one."""

REMEMBERED = 20_000
"""Services whose words are remembered."""

_WORD = re.compile(r"\w+")
_WEIGHTS = {"id": 8, "name": 8, "functions": 4, "type": 4, "description": 2, "docs": 1}
_READ = 8000  # characters of each fact
_READING, _LOOKING = 4, 20  # steps for a character that is read, and a word that is looked for


class Words:
    """The words of one service, each with the weight of where it stands.

    Args:
        weights: by word.
    """

    def __init__(self, weights: Mapping[str, int]) -> None:
        self._weights = weights
        by_weight: dict[int, list[str]] = {}
        for word in sorted(weights):
            by_weight.setdefault(weights[word], []).append(word)
        self._sorted = sorted(by_weight.items(), reverse=True)

    def score(self, words: Sequence[str]) -> int | None:
        """How well it fits; None: a word is not there."""
        total = 0
        for word in words:
            best = 2 * self._weights.get(word, 0) or self._begun(word)
            if not best:
                return None
            total += best
        return total

    def _begun(self, start: str) -> int:
        """The weight of the best word that begins so."""
        for weight, words in self._sorted:
            at = bisect_left(words, start)
            if at < len(words) and words[at].startswith(start):
                return weight
        return 0


class Index:
    """The words of services; read again where one was registered anew. For use on the home loop."""

    def __init__(self) -> None:
        self._words: OrderedDict[str, tuple[Found, Words]] = OrderedDict()

    async def find(
        self, services: Sequence[Found], query: object, *, filters: Mapping[str, Any], order_by: object = None
    ) -> list[Found]:
        """Those that fit, the best first; of equal ones, by id.

        Args:
            services: among which.
            query: words, of which each has to be there, or begin a word that is; None: no text is looked for.
            filters: facts that have to be just so, of the config too.
            order_by: a fact, instead of how well they fit.

        Raises:
            InvalidArguments: the query or order_by can be none.
        """
        if query is not None and (not isinstance(query, str) or len(query) > LONGEST):
            raise InvalidArguments(f"query is a text of at most {LONGEST} characters: services are searched by words.")
        if order_by is not None and not isinstance(order_by, str):
            raise InvalidArguments("order_by is the name of a fact, such as name.")
        words = list(dict.fromkeys(_split(query or "")))
        if len(words) > MOST_WORDS:
            raise InvalidArguments(f"A query has at most {MOST_WORDS} words.")
        ranked: list[tuple[int, str, Found]] = []
        breath = Breath()
        for service in services:
            score: int | None = 0
            if words:
                score = (await self._read(service, breath)).score(words)
                await breath.after(_LOOKING * len(words))
            if score is not None and (filters or order_by is not None):
                facts = service.info()
                await breath.after(_LOOKING * (10 + len(facts["functions"])))
                if not _fits(facts, filters):
                    continue
                place = "" if order_by is None else str(facts.get(order_by, ""))[:_READ]
                ranked.append((0 if order_by is not None else -score, place, service))
            elif score is not None:
                ranked.append((-score, "", service))
        return [each[2] for each in sorted(ranked, key=lambda each: (each[0], each[1], each[2].full_id))]

    async def _read(self, service: Found, breath: Breath) -> Words:
        held = self._words.get(service.full_id)
        if held is not None and held[0] is service:
            return held[1]
        facts, found = service.info(), dict[str, int]()
        for name, weight in _WEIGHTS.items():
            value = facts.get(name) or ""
            text = (value if isinstance(value, str) else " ".join(map(str, value)))[:_READ]
            for word in _split(text):
                found[word] = max(weight, found.get(word, 0))
            await breath.after(_READING * len(text))
        words = Words(found)
        self._words[service.full_id] = service, words
        if len(self._words) > REMEMBERED:
            self._words.popitem(last=False)
        return words


def _fits(facts: Mapping[str, Any], filters: Mapping[str, Any]) -> bool:
    return all(wanted in (facts.get(name), facts["config"].get(name)) for name, wanted in filters.items())


def _split(text: str) -> list[str]:
    """Its words in lower case; those that a low line joins one by one, too."""
    found = _WORD.findall(text.lower())
    return [part for word in found for part in dict.fromkeys((word, *word.split("_"))) if part]
