"""One process of a herd: it has a system of its own, and its callers all ask at the moment that it is told."""

from __future__ import annotations

import asyncio
import time
from multiprocessing.connection import Connection as Channel
from typing import Any

import alembic.command  # noqa: F401 - before the fork, so that workers begin at once
import asyncpg  # noqa: F401 - as above
import place

import valetkey.adapters.http
import valetkey.adapters.journal
import valetkey.adapters.redis_messages
import valetkey.adapters.sql.postgres
import valetkey.adapters.sql.sqlite  # noqa: F401 - as above
from valetkey.errors import ValetkeyError
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.model.caller import Caller
from valetkey.model.calls import Allowed, Call
from valetkey.model.needs import Need, Needs

OPEN = 10
"""Reads at once beforehand: as many connections to its database as a process that is at work has open."""


def work(where: place.Place, channel: Channel) -> None:
    """Say ready; then, told (owner, when, callers), let them all ask at that moment; until told nothing."""
    system = where.system()

    async def rounds() -> None:
        await asyncio.gather(*(system.stores.connections.by_id("nobody's") for _ in range(OPEN)))
        channel.send("ready")
        while (told := channel.recv()) is not None:
            owner, at, callers = told
            channel.send(await asyncio.gather(*(_caller(system, owner, at) for _ in range(callers))))

    asyncio.run(rounds())
    system.close()


async def _caller(system: Any, owner: str, at: float) -> tuple[float, str]:
    """Seconds from that moment until it has a token, and the token; or its error after ``!``."""
    needs = Needs(((Need(provider=place.PROVIDER),),))
    allowed = Allowed(caller=Caller(owner=owner_of(owner), how="bench"), call=Call(tool="t", needs=needs), rule="")
    await asyncio.sleep(at - time.monotonic())
    try:
        (connection,) = (await system.connector.connect(allowed)).connections
        told = system.sealer.open_credential(connection).access_token.reveal()
    except ValetkeyError as error:
        told = f"!{type(error).__name__}: {error}"
    return time.monotonic() - at, told
