"""Tells what passes between a worker's system and its database, its journal and the network."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.chaos import scale
from tests.chaos.history import Teller, fingerprint
from tests.chaos.provider import NUMBER
from valetkey.adapters.http import HttpClient
from valetkey.model.connections import Connection, Health
from valetkey.ports.world import Request, Response
from valetkey.wiring import build
from valetkey.wiring.system import System

STILL = 0.2
"""Seconds of a loop's delay, or of a database's answer, from which on this process counts as having stood still."""


def key_of(connection: Connection) -> str:
    """An account's name in a history; the provider knows it by the same one."""
    return f"{connection.owner.subject}/{connection.profile}"


class Witness:
    """Tells what passes between the system and its database, its journal and the network."""

    def __init__(self, teller: Teller, name: str) -> None:
        self.tell = teller.tell
        self.name = name
        self.system: System | None = None
        self._numbers = 0
        self._lock = threading.Lock()

    def number(self) -> str:
        with self._lock:
            self._numbers += 1
            return f"{self.name}#{self._numbers}"

    def names(self, connection: Connection) -> dict[str, Any]:
        """What a row holds, by fingerprints."""
        assert self.system is not None
        held = self.system.sealer.open_credential(connection)
        refresh = "" if held.refresh_token is None else fingerprint(held.refresh_token.reveal())
        return {
            "conn": connection.id,
            "gen": connection.generation,
            "access": fingerprint(held.access_token.reveal()),
            "refresh": refresh,
        }

    def install(self) -> None:
        """Stand around what ``build`` makes."""
        wiring: Any = build
        client_class: Any = HttpClient
        open_stores, open_journal, fetch = wiring.open_stores, wiring._journal, client_class.fetch

        def stores(*args: Any, **kwargs: Any) -> Any:
            made = open_stores(*args, **kwargs)
            return replace(made, connections=WitnessedStore(made.connections, self))

        def journal(*args: Any, **kwargs: Any) -> Any:
            return WitnessedJournal(open_journal(*args, **kwargs), self)

        async def witnessed_fetch(client: HttpClient, request: Request) -> Response:
            return await self.exchange(partial(fetch, client), request)

        wiring.open_stores = stores
        wiring._journal = journal
        client_class.fetch = witnessed_fetch

    async def exchange(self, fetch: Any, request: Request) -> Response:
        what = {"/token": "refresh", "/revoke": "revoke", "/api/mail": "api"}.get(urlsplit(request.url).path, "")
        form = dict(parse_qsl(request.body.decode()))
        value = form.get("refresh_token") or form.get("token") or ""
        if what == "refresh" and "code" in form:
            what = "exchange"
        n = self.number()
        headers = {**request.headers, NUMBER: n}
        self.tell("sent", n=n, what=what, token=fingerprint(value))
        try:
            deadline = min(request.deadline, scale.HTTP)
            answer: Response = await fetch(replace(request, headers=headers, deadline=deadline))
        except BaseException as error:
            self.tell("got", n=n, status=None, error=type(error).__name__)
            raise
        self.tell("got", n=n, status=answer.status)
        return answer


class WitnessedStore:
    """A connection store whose outcomes are told. What is not named here passes through."""

    def __init__(self, inner: Any, witness: Witness) -> None:
        self._inner = inner
        self._witness = witness
        self._seen: dict[str, int] = {}
        self._leased: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def by_id(self, connection_id: str) -> Connection | None:
        t0 = time.monotonic()
        return self._read(await self._timed(t0, self._inner.by_id(connection_id)), t0)

    async def get(self, *args: Any) -> Connection | None:
        t0 = time.monotonic()
        return self._read(await self._timed(t0, self._inner.get(*args)), t0)

    async def lease(self, connection_id: str, **how: Any) -> bool:
        t0 = time.monotonic()
        got: bool = await self._timed(t0, self._inner.lease(connection_id, **how))
        if got:
            self._leased[how["attempt"]] = how["generation"]
            self._witness.tell("lease", conn=connection_id, gen=how["generation"], t0=t0, ttl=how["ttl"])
        return got

    async def release(self, connection_id: str, **how: Any) -> None:
        self._witness.tell("freeing", conn=connection_id, gen=self._leased.get(how["attempt"], 0))
        await self._inner.release(connection_id, **how)

    async def note(self, connection_id: str, **how: Any) -> bool:
        standing = how["standing"]
        if how.get("attempt") is not None:
            self._witness.tell("freeing", conn=connection_id, gen=how["generation"])
        row = await self._inner.by_id(connection_id) if standing.health is Health.NEEDS_REAUTH else None
        if row is not None and row.generation == how["generation"]:
            told = {"conn": row.id, "gen": row.generation, "key": key_of(row)}
            self._witness.tell("noting", cause=str(standing.cause), **told)
        noted: bool = await self._inner.note(connection_id, **how)
        return noted

    async def save(self, connection: Connection, *, generation: int) -> bool:
        t0 = time.monotonic()
        saved: bool = await self._timed(t0, self._inner.save(connection, generation=generation))
        if saved:
            self._saved(connection, t0)
        return saved

    async def insert(self, connection: Connection) -> bool:
        t0 = time.monotonic()
        saved: bool = await self._timed(t0, self._inner.insert(connection))
        if saved:
            self._saved(connection, t0)
        return saved

    async def delete(self, connection_id: str, **how: Any) -> Connection | None:
        t0 = time.monotonic()
        gone: Connection | None = await self._inner.delete(connection_id, **how)
        if gone is not None:
            self._witness.tell("deleted", conn=gone.id, gen=gone.generation, key=key_of(gone), t0=t0)
        return gone

    def _saved(self, connection: Connection, t0: float) -> None:
        t = time.monotonic()
        self._witness.tell("saved", **self._witness.names(connection), key=key_of(connection), t0=t0, t=t)

    def _read(self, row: Connection | None, t0: float) -> Connection | None:
        if row is not None and row.generation > self._seen.get(row.id, 0):
            self._seen[row.id] = row.generation
            self._witness.tell("read", conn=row.id, gen=row.generation, t0=t0)
        return row

    async def _timed(self, t0: float, work: Any) -> Any:
        try:
            return await work
        finally:
            if time.monotonic() - t0 > STILL:
                self._witness.tell("slow", t0=t0)


class WitnessedJournal:
    """A journal whose entries are told."""

    def __init__(self, inner: Any, witness: Witness) -> None:
        self._inner = inner
        self._witness = witness

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def put(self, connection: Connection, *, generation: int) -> None:
        self._inner.put(connection, generation=generation)
        self._witness.tell("journaled", **self._witness.names(connection), key=key_of(connection))
