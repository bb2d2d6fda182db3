"""Services by text: all words, in names before descriptions before docs; ranked."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from valetkey.errors import InvalidArguments

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
_BREATH = 200  # services after which others may go on

Words = Mapping[str, int]
"""The words of a service, each with the weight of where it stands."""


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
        words = list(dict.fromkeys(_split(query or "")))[:MOST_WORDS]
        ranked: list[tuple[int, str, Found]] = []
        for number, service in enumerate(services):
            score = _score(self._read(service), words)
            if score is not None and _fits(service, filters):
                place = "" if order_by is None else str(service.info().get(order_by, ""))
                ranked.append((0 if order_by is not None else -score, place, service))
            if number % _BREATH == _BREATH - 1:
                await asyncio.sleep(0)
        return [each[2] for each in sorted(ranked, key=lambda each: (each[0], each[1], each[2].full_id))]

    def _read(self, service: Found) -> Words:
        held = self._words.get(service.full_id)
        if held is not None and held[0] is service:
            return held[1]
        facts, found = service.info(), dict[str, int]()
        for name, weight in _WEIGHTS.items():
            value = facts.get(name) or ""
            for word in _split((value if isinstance(value, str) else " ".join(map(str, value)))[:_READ]):
                found[word] = max(weight, found.get(word, 0))
        self._words[service.full_id] = service, found
        if len(self._words) > REMEMBERED:
            self._words.popitem(last=False)
        return found


def _score(there: Words, words: Sequence[str]) -> int | None:
    """How well it fits; None: a word is not there."""
    total = 0
    for word in words:
        whole = 2 * there.get(word, 0)
        best = whole or max((weight for each, weight in there.items() if each.startswith(word)), default=0)
        if not best:
            return None
        total += best
    return total


def _fits(service: Found, filters: Mapping[str, Any]) -> bool:
    if not filters:
        return True
    facts = service.info()
    return all(wanted in (facts.get(name), facts["config"].get(name)) for name, wanted in filters.items())


def _split(text: str) -> list[str]:
    """Its words in lower case; those that a low line joins one by one, too."""
    found = _WORD.findall(text.lower())
    return [part for word in found for part in dict.fromkeys((word, *word.split("_"))) if part]
