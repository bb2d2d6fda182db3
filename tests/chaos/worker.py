"""One process of a run: a real system over the shared database, callers, a person, and a witness around its edges.

Commands are lines appended to a file of its own: ``clock SECONDS`` (set the wall clock so much off), ``calm`` (the
person goes home), ``stop``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.chaos import scale
from tests.chaos.checker import DAMAGED, PARKED
from tests.chaos.history import Teller, fingerprint
from tests.chaos.witness import STILL, Witness, key_of
from valetkey.connections.handler import Flow
from valetkey.connections.handlers.oauth2 import OAuth2Handler
from valetkey.errors import StoreUnavailable, ValetkeyError, VaultError
from valetkey.identity.verifiers.vouched import HOST, owner_of
from valetkey.model.calls import Call, Lent, Presented
from valetkey.model.connections import Health, key_id_of
from valetkey.model.needs import Need, Needs
from valetkey.ports.world import Request, Trust
from valetkey.settings.pocket import Config
from valetkey.wiring import build
from valetkey.wiring.system import System

CALLERS = 4
PROVIDER, HANDLER = "google", "google-oauth2"
SCOPES = frozenset({"mail.read"})
NEEDS = Needs(((Need(provider=PROVIDER, scopes=SCOPES),),))


class NotTakenError(Exception):
    """The provider's API said 401; status and address are where HTTP clients have them."""

    status_code = 401

    def __init__(self, url: str) -> None:
        super().__init__("401")
        self.url = url


class ChaosClock:
    """The machine's clock, so many seconds off."""

    def __init__(self) -> None:
        self.off = 0.0

    def now(self) -> float:
        return time.time() + self.off

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A tool that notes what it is lent, and now and then asks the provider whether that is good."""

    system: System
    url: str
    asks: bool
    lends: list[tuple[str, int, str]]
    name: str = "probe"
    description: str = "Notes what it is lent."
    schema: Mapping[str, Any]
    needs: Needs = NEEDS
    deadline: float = 30.0

    def bind(self, arguments: Mapping[str, object]) -> Mapping[str, object]:
        return arguments

    async def run(self, lent: Lent, arguments: Mapping[str, object]) -> object:
        (connection,) = lent.connected.connections
        (token,) = lent.variables.values()
        self.lends.append((connection.id, connection.generation, fingerprint(token.reveal())))
        if self.asks:
            headers = {"authorization": f"Bearer {token.reveal()}"}
            asked = Request(method="GET", url=self.url, trust=Trust.OPERATOR, headers=headers)
            answer = await self.system.fetcher.fetch(asked)
            if answer.status == 401:
                raise NotTakenError(self.url)
        return "done"


class Worker:
    """Its callers and its person."""

    def __init__(self, config: dict[str, Any], name: str) -> None:
        number = int(name.partition(".")[0])
        self.dice = random.Random(f"{config['seed']}/{name}")  # noqa: S311 - a plan, no secret
        self.teller = Teller(Path(config["histories"]) / f"worker-{name}.jsonl", w=name)
        self.tell = self.teller.tell
        self.keys = [key.split("/") for key in config["keys"]]
        self.mine = self.keys[number :: config["workers"]]
        self.mail_url = config["mail_url"]
        self.consent_url = config["consent_url"]
        self.clock = ChaosClock()
        self.stopping = False
        self.calm = False
        self.commands = commands_of(config, name)
        self.witness = Witness(self.teller, name)
        self.witness.install()
        home = Path(config["home"])
        self.system = build.build(
            Config.load(home, {}, **config["settings"]), folder=home, environ={}, clock=self.clock, upkeep=True
        )
        self.witness.system = self.system

    async def main(self) -> None:
        self.tell("start")
        threading.Thread(target=self.obey, daemon=True).start()
        self.system.home.spawn(partial(self.heart, "home loop"))
        await self.connect_all()
        self.tell("ready")
        async with asyncio.TaskGroup() as group:
            group.create_task(self.heart("loop"))
            group.create_task(self.person())
            group.create_task(self.look())
            for _ in range(CALLERS):
                group.create_task(self.caller())

    def obey(self) -> None:
        parent, done = os.getppid(), 0
        while not self.stopping:
            time.sleep(0.03)
            lines = self.commands.read_text().splitlines(keepends=True) if self.commands.exists() else []
            for line in lines[done:]:
                if line.endswith("\n"):
                    self.command(line)
                    done += 1
            if os.getppid() != parent:
                os._exit(71)  # nobody is left who would end us

    def command(self, line: str) -> None:
        word, _, rest = line.strip().partition(" ")
        if word == "clock":
            self.clock.off = float(rest)
        elif word == "calm":
            self.calm = True
        elif word == "stop":
            self.stopping = True

    async def heart(self, which: str) -> None:
        """Tell when this process stood still."""
        while not self.stopping:
            t0 = time.monotonic()
            await asyncio.sleep(0.05)
            if time.monotonic() - t0 > 0.05 + STILL:
                self.tell("stall", t0=t0, why=which)

    async def caller(self) -> None:
        while not self.stopping:
            await self.call(self.dice.choice(self.keys))
            await asyncio.sleep(self.dice.uniform(0.01, 0.12))

    async def call(self, key: list[str]) -> None:
        subject, profile = key
        lends: list[tuple[str, int, str]] = []
        asks = self.dice.random() < 0.3 and "/".join(key) != PARKED  # its token has long ended there
        probe = Probe(system=self.system, url=self.mail_url, asks=asks, lends=lends, schema={})
        call = Call(tool="probe", needs=NEEDS, profile=profile, entrance="pocket", deadline=30.0)
        presented = Presented(scheme=HOST, value=subject)
        t0 = time.monotonic()
        result, error, text = None, None, ""
        try:
            result = await self.system.road.travel(presented, probe, call)
        except Exception as raised:  # noqa: BLE001 - which one, the checker judges
            error, text = type(raised).__name__, str(raised)[:120]
        failed = result is not None and result.failed
        known = {} if error in (None, "AuthRequired") else {"text": text}  # its text holds a link
        self.tell("call", key="/".join(key), t0=t0, lends=lends, error=error, failed=failed, **known)

    async def connect_all(self) -> None:
        for subject, profile in self.mine:
            try:
                held = await self.system.stores.connections.get(owner_of(subject), PROVIDER, profile)
            except StoreUnavailable:
                continue  # a later incarnation: it is there, or its person will see to it
            if held is None:
                await self.connect(subject, profile)

    async def person(self) -> None:
        """Reconnects what needs it after a while, and disconnects now and then."""
        while not self.stopping:
            await asyncio.sleep(self.dice.uniform(0.2, 0.6))
            if self.calm:
                continue
            subject, profile = self.dice.choice(self.mine)
            if f"{subject}/{profile}" in (DAMAGED, PARKED):
                continue
            try:
                row = await self.system.stores.connections.get(owner_of(subject), PROVIDER, profile)
            except StoreUnavailable:
                continue
            if row is None or row.health is Health.NEEDS_REAUTH:
                await self.connect(subject, profile)
            elif self.dice.random() < 0.15:
                await self.disconnect(subject, profile, row.id)

    async def connect(self, subject: str, profile: str) -> None:
        """As the callback's end does it: a link, a yes, the code's exchange, and the keeper."""
        t0 = time.monotonic()
        handler = self.system.handling.find(HANDLER, None)
        owner = owner_of(subject)
        flow = Flow(
            state=self.system.entropy.token(32),
            owner=owner,
            profile=profile,
            scopes=SCOPES,
            redirect_uri="http://localhost:8000/callback",
            pages="",
        )
        error = None
        try:
            begun = await handler.begin(flow)
            asked = json.dumps({"url": begun.url, "account": f"{subject}/{profile}"}).encode()
            said = await self.system.fetcher.fetch(
                Request(method="POST", url=self.consent_url, trust=Trust.OPERATOR, body=asked)
            )
            parameters = parse_qsl(urlsplit(json.loads(said.body)["url"]).query)
            grant = await handler.finish(flow, begun.private, handler.judge(begun.private, parameters))
            if f"{subject}/{profile}" == PARKED:
                grant = replace(grant, credential=replace(grant.credential, refresh_token=None), expires_at=None)
            await self.system.keeper.keep(grant, handler, owner, profile=profile, asked=SCOPES)
        except ValetkeyError as raised:
            error = type(raised).__name__
        self.tell("connect", key=f"{subject}/{profile}", t0=t0, error=error)

    async def disconnect(self, subject: str, profile: str, conn: str) -> None:
        key, t0 = f"{subject}/{profile}", time.monotonic()
        self.tell("ending", key=key)
        error = None
        told = {}
        try:
            report = await self.system.disconnector.disconnect(owner_of(subject), PROVIDER, profile)
            lives = report.deleted and not report.revoked and not report.queued
            told = {"revoked": report.revoked, "queued": report.queued, "told": lives}
        except ValetkeyError as raised:
            error = type(raised).__name__
        self.tell("disconnect", key=key, conn=conn, t0=t0, error=error, **told)

    async def look(self) -> None:
        """Tell now and then how all rows are."""
        while not self.stopping:
            await asyncio.sleep(0.5)
            try:
                await self.state()
            except (StoreUnavailable, VaultError):
                continue

    async def state(self) -> None:
        stores = self.system.stores
        t0 = time.monotonic()
        rows = [
            {
                "key": key_of(row),
                "conn": row.id,
                "gen": row.generation,
                "health": str(row.health),
                "cause": str(row.cause),
                "lease": row.lease_owner,
                "sealed_by": key_id_of(row.sealed),
            }
            for row in await stores.connections.page()
        ]
        self.tell(
            "state",
            t0=t0,
            rows=rows,
            journal=len(self.system.journal.entries()),
            revocations=len(await stores.revocations.page()),
            newest=self.system.sealer.keyring.newest,
        )


def commands_of(config: Mapping[str, Any], name: str) -> Path:
    """Where a worker is told what to do."""
    return Path(config["home"]).parent / f"commands-{name}"


def load(path: Path) -> None:
    """Import what a worker needs, before it is forked."""
    import alembic.command  # noqa: F401
    import uvicorn  # noqa: F401

    from valetkey.adapters import journal, keys_file, system  # noqa: F401
    from valetkey.adapters.sql import connections, interactions, queues, sqlite  # noqa: F401
    from valetkey.wiring import upkeep  # noqa: F401

    settings = json.loads(path.read_text())["settings"]
    if "database_url" in settings:
        scale.apply_to_postgres()
    if "redis_url" in settings:
        from valetkey.adapters import redis_messages  # noqa: F401
    scale.apply()


def ends_one(make: Any) -> Any:
    def made(handler: OAuth2Handler, **parts: Any) -> None:
        make(handler, **parts)
        handler.revocation_ends_all = False

    return made


def run(path: Path, name: str) -> None:
    """Work until told to stop."""
    logging.basicConfig(
        level=logging.DEBUG, stream=sys.stderr, format="%(created).3f %(name)s %(levelname)s %(message)s"
    )
    # The provider of this run ends one family at a time, which Google, whose entry is borrowed, does not.
    OAuth2Handler.__init__ = ends_one(OAuth2Handler.__init__)  # type: ignore[method-assign]
    worker = Worker(json.loads(path.read_text()), name)
    try:
        asyncio.run(worker.main())
    finally:
        worker.system.close()
        worker.tell("closed")
