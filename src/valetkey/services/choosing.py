"""Take one of several services of the same name: by chance, by order, by load, or by what a function of theirs says."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from valetkey.errors import InvalidArguments
from valetkey.services.sight import Who

if TYPE_CHECKING:
    from valetkey.model.services import Registered
    from valetkey.ports.world import Entropy

Measure = Callable[["Registered", str, Who], Awaitable[Any]]
"""What a function of a service gives; None: it did not answer."""

MOST_ASKED = 20
"""Services that are asked for their measure at one choice."""

_MODES = (
    "Mode must be 'random', 'first', 'last', 'exact', 'min_load', 'native:random', or 'select:criteria:function'"
    " format (e.g., 'select:min:get_load')"
)


class Chooser:
    """For use on the home loop.

    Args:
        load: how many calls wait at a peer.
        is_here: whether a peer's socket is on this instance.
        measure: calls a function of a service.
    """

    def __init__(
        self, *, entropy: Entropy, load: Callable[[str], int], is_here: Callable[[str], bool], measure: Measure
    ) -> None:
        self._entropy = entropy
        self._load = load
        self._is_here = is_here
        self._measure = measure

    async def choose(self, there: Sequence[Registered], mode: object, who: Who) -> Registered:
        """One of these; there is at least one.

        Args:
            there: those that the caller may use, the one registered first first.
            mode: exact, random, first, last, min_load, native:random, or select:min|max|first_success:function.
            who: the caller; functions are asked on their behalf.

        Raises:
            InvalidArguments: there is no such mode; or it is exact, and there are several.
        """
        if mode == "exact":
            return _only(there)
        if mode in ("first", "last"):
            return there[0 if mode == "first" else -1]
        if mode in ("random", "native:random"):
            near = [each for each in there if mode != "random" and self._is_here(each.peer)]
            return self._random(near or there)
        if mode == "min_load":
            return min(there, key=lambda each: self._load(each.peer))
        kind, *parts = mode.split(":") if isinstance(mode, str) else [""]
        if kind != "select":
            raise InvalidArguments(f"Invalid mode: {str(mode)[:80]}. {_MODES}")
        if len(parts) != 2 or not parts[1]:  # noqa: PLR2004
            raise InvalidArguments(f"Invalid select mode format: {str(mode)[:80]}. Expected 'select:criteria:function'")
        if parts[0] not in ("min", "max", "first_success"):
            raise InvalidArguments(f"Unknown selection criteria: {parts[0][:80]}. It is min, max or first_success.")
        return await self._selected(there, parts[0], parts[1], who)

    async def _selected(self, there: Sequence[Registered], criteria: str, function: str, who: Who) -> Registered:
        if len(there) == 1:
            return there[0]
        asked = there[:MOST_ASKED]
        values = await asyncio.gather(*(self._measure(service, function, who) for service in asked))
        answered = [(value, service) for value, service in zip(values, asked, strict=True) if value is not None]
        if criteria == "first_success":
            return answered[0][1] if answered else self._random(there)
        numbers = [each for each in answered if isinstance(each[0], int | float) and math.isfinite(each[0])]
        if not numbers:
            return self._random(there)
        return (min if criteria == "min" else max)(numbers, key=lambda each: each[0])[1]

    def _random(self, there: Sequence[Registered]) -> Registered:
        return there[int.from_bytes(self._entropy.bytes(4)) % len(there)]


def _only(there: Sequence[Registered]) -> Registered:
    if len(there) > 1:
        some = ", ".join(each.full_id for each in there[:5])
        raise InvalidArguments(
            f"Multiple services found for {there[0].workspace}/*:{there[0].id}, e.g. {some}. You can either specify the"
            " mode as 'random', 'first', 'last', 'native:random', or use 'select:criteria:function' format."
        )
    return there[0]
