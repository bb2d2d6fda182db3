"""Rows that cannot be read: told, left out, and hiding none of those behind them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Executable

from valetkey.adapters.sql.database import Database, Values
from valetkey.adapters.sql.rows import Row
from valetkey.errors import StoreUnavailable

T = TypeVar("T")
Parse = Callable[[Row], T]
"""A row's value; raises ``StoreUnavailable`` where it is damaged."""

_log = logging.getLogger("valetkey")


def readable(rows: Sequence[Row], parse: Parse[T]) -> list[T]:
    """The values of the rows that can be read; the others are logged."""
    found = []
    for row in rows:
        try:
            found.append(parse(row))
        except StoreUnavailable as error:
            _log.error("%s", error)
    return found


async def first(
    database: Database, statement: Executable, values: Values, parse: Parse[T], *, limit: int, aside: bool = False
) -> list[T]:
    """The first rows of a query in its own order, up to ``limit``."""
    while True:
        rows = await database.read(statement, {**values, "limit": limit}, aside=aside)
        found = readable(rows, parse)
        if found or len(rows) < limit:
            return found
        limit *= 2  # they are all damaged: behind them may be others


async def page(
    database: Database, statement: Executable, values: Values, parse: Parse[T], *, after: str, limit: int
) -> list[T]:
    """The rows by id that follow ``after``; who walks gets to those behind any number of damaged ones."""
    while True:
        rows = await database.read(statement, {**values, "after": after, "limit": limit})
        found = readable(rows, parse)
        if found or not rows:
            return found
        after = rows[-1][0]
