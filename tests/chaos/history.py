"""What happened in a run, told by everybody who took part: one JSON object a line, on the machine's one steady clock.

Times (``t``, ``t0``) are CLOCK_MONOTONIC in seconds, which all processes of a machine share. No secret is ever told:
a token goes by its fingerprint.

Told by a worker (each has ``w``: its number and its incarnation, as in "2.0"):
    call        key, t0, t, lends [[connection, generation, token]], error (a class), failed (the tool itself)
    lease       conn, gen, t0, t, ttl: the lease of that row was granted
    freeing     conn, gen, t: a lease of ours is about to be given back
    saved       conn, gen, access, refresh, t0, t, key: a row was written, and the database said so
    journaled   conn, gen, access, refresh, t: the same, to the journal
    read        conn, gen, t0, t: a row was seen with a generation that this worker had not seen yet
    noting      conn, gen, cause, key, t: a connection is about to be marked as one that needs a person
    deleted     conn, gen, key, t0, t
    sent        n, what (refresh, revoke, api), token, t: a request goes out
    got         n, t, status or error: it was answered, or given up
    ending      key, t: a disconnect begins
    disconnect  key, conn, t0, t, revoked, queued, told, error
    connect     key, t0, t, error
    stall       t0, t, why: the process stood still without our doing
    slow        t0, t: the database took its time for one answer
    state       t, rows [{key, conn, gen, health, cause, lease, sealed_by}], journal, revocations, newest
Told by the provider:
    arrived     n, what, token, family, fault, t
    issued      n, parent (None: a consent), access, refresh, family, subject, t
    refused     n, token, family, status, t
    dead        family, why (reuse, revoked, withdrawn), n, t
    alive       families [..], t: at the very end
Told by the runner:
    fault       what, w or None, t0, t
    phase       name (chaos, heal, end), t
    exit        w, code, t
    leak        where, what
    noise       where, line: what no log should have
"""

from __future__ import annotations

import json
import os
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

Event = dict[str, Any]


def fingerprint(token: str) -> str:
    """A token's name in a history."""
    return sha256(token.encode()).hexdigest()[:12]


class Teller:
    """Appends to a file. Each line is in the hands of the system when ``tell`` returns: a killed process loses none."""

    def __init__(self, path: Path, **always: Any) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._always = always

    def tell(self, kind: str, **values: Any) -> None:
        """One event; its time is now unless given."""
        values.setdefault("t", time.monotonic())
        os.write(self._file, (json.dumps({"kind": kind, **self._always, **values}) + "\n").encode())

    def close(self) -> None:
        os.close(self._file)


class Reader:
    """Reads a folder of histories while they are written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}
        self._lock = Lock()
        self.events: list[Event] = []

    def more(self) -> list[Event]:
        """What was told since the last time; a line that is not whole yet is left for the next one."""
        found: list[Event] = []
        with self._lock:
            for path in sorted(self._folder.glob("*.jsonl")):
                with path.open("rb") as file:
                    file.seek(self._read.get(path, 0))
                    content = file.read()
                whole = content[: content.rfind(b"\n") + 1]
                self._read[path] = self._read.get(path, 0) + len(whole)
                found += [json.loads(line) for line in whole.splitlines()]
            self.events += found
        return found


@dataclass(frozen=True, slots=True)
class Span:
    """Something that lasted, and what it was."""

    t0: float
    t: float
    what: str

    def meets(self, t0: float, t: float) -> bool:
        """Whether the two overlap."""
        return self.t0 <= t and t0 <= self.t


@dataclass(frozen=True, slots=True, kw_only=True)
class Presentation:
    """One refresh token, presented once: what the client, and what the provider knows of it."""

    n: str
    w: str
    token: str
    sent: float
    got: float | None
    answered: bool
    issued: Event | None
    fault: str


class History:
    """All events of a run, by their time, and what the rules ask of them.

    Args:
        strict: whether the provider ends a family whose refresh token is used twice; else it has a grace.
        bound: seconds in which everything has to serve again once the faults are over.
        longest: seconds that a call may take.
    """

    def __init__(self, events: Iterable[Event], *, strict: bool, bound: float, longest: float) -> None:
        self.events = sorted(events, key=lambda event: float(event["t"]))
        self.strict = strict
        self.bound = bound
        self.longest = longest
        self._kinds: dict[str, list[Event]] = defaultdict(list)
        for event in self.events:
            self._kinds[event["kind"]].append(event)

    def of(self, kind: str, **where: Any) -> Iterator[Event]:
        """The events of a kind, in order."""
        for event in self._kinds[kind]:
            if all(event.get(name) == value for name, value in where.items()):
                yield event

    @cached_property
    def standstills(self) -> dict[str, list[Span]]:
        """When each worker stood still: paused by us, or by the machine."""
        found: dict[str, list[Span]] = defaultdict(list)
        for event in self.of("stall"):
            found[event["w"]].append(Span(event["t0"], event["t"], event["why"]))
        for event in self.of("slow"):
            # Where we did nothing to the database, it is the machine's disk or its other programs.
            if not self.database_fault(event["t0"], event["t"]):
                found[event["w"]].append(Span(event["t0"], event["t"], "slow database"))
        for event in self.of("fault", what="pause"):
            found[event["w"]].append(Span(event["t0"], event["t"], "pause"))
        return found

    @cached_property
    def killed(self) -> dict[str, float]:
        """When each incarnation was killed."""
        return {event["w"]: event["t0"] for event in self.of("fault", what="kill")}

    def stood_still(self, worker: str, t0: float, t: float) -> bool:
        """Whether that worker did within that time."""
        return any(span.meets(t0, t) for span in self.standstills.get(worker, ()))

    def clock_off(self, worker: str, t: float) -> bool:
        """Whether that worker's wall clock was off then."""
        return any(event["t0"] <= t <= event["t"] + 0.1 for event in self.of("fault", what="clock", w=worker))

    def anybody_stood_still(self, t0: float, t: float) -> bool:
        """Whether any worker did within that time, or was killed then."""
        killed = any(t0 <= each <= t for each in self.killed.values())
        return killed or any(self.stood_still(worker, t0, t) for worker in list(self.standstills))

    def database_fault(self, t0: float, t: float) -> bool:
        """Whether we did something to the database within that time."""
        kinds = {"lock", "cut", "stop"}
        return any(event["what"] in kinds and event["t0"] <= t and t0 <= event["t"] for event in self._kinds["fault"])

    @cached_property
    def saves(self) -> list[Event]:
        """Everything that was acknowledged as kept."""
        return [*self._kinds["saved"], *self._kinds["journaled"]]

    @cached_property
    def kept(self) -> dict[str, float]:
        """Since when an access token is acknowledged as kept, by its fingerprint."""
        found: dict[str, float] = {}
        for event in self.saves:
            found[event["access"]] = min(event["t"], found.get(event["access"], event["t"]))
        return found

    @cached_property
    def connection_of(self) -> dict[str, str]:
        """Which connection holds a refresh token."""
        return {event["refresh"]: event["conn"] for event in self.saves}

    @cached_property
    def issue_of(self) -> dict[str, Event]:
        """How an access token came to be."""
        return {event["access"]: event for event in self.of("issued")}

    @cached_property
    def families(self) -> dict[str, list[str]]:
        """The families whose tokens a connection held, the newest last."""
        found: dict[str, list[str]] = defaultdict(list)
        for event in sorted(self.saves, key=lambda event: float(event["t"])):
            issue = self.issue_of.get(event["access"])
            if issue is not None and issue["family"] not in found[event["conn"]]:
                found[event["conn"]].append(issue["family"])
        return found

    def family_at(self, conn: str, gen: int) -> str | None:
        """The family whose tokens a generation of a connection holds."""
        issue = self.issue_at(conn, gen)
        return None if issue is None else str(issue["family"])

    def issue_at(self, conn: str, gen: int) -> Event | None:
        """How the tokens of a generation of a connection came to be."""
        return self.issue_of.get(self._access_at.get((conn, gen), ""))

    def refresh_at(self, conn: str, gen: int) -> str | None:
        """The refresh token that a generation of a connection holds."""
        return self._refresh_at.get((conn, gen))

    @cached_property
    def _access_at(self) -> dict[tuple[str, int], str]:
        return {(event["conn"], event["gen"]): event["access"] for event in self.saves}

    @cached_property
    def _refresh_at(self) -> dict[tuple[str, int], str]:
        return {(event["conn"], event["gen"]): event["refresh"] for event in self.saves}

    @cached_property
    def death_of(self) -> dict[str, Event]:
        """How a family ended."""
        return {event["family"]: event for event in reversed(list(self.of("dead")))}

    @cached_property
    def presentations(self) -> dict[str, list[Presentation]]:
        """How often each refresh token was presented, in order."""
        got = {event["n"]: event for event in self.of("got")}
        issued = {event["n"]: event for event in self.of("issued")}
        faults = {event["n"]: event["fault"] for event in self.of("arrived")}
        found: dict[str, list[Presentation]] = defaultdict(list)
        for event in self.of("sent", what="refresh"):
            end = got.get(event["n"])
            found[event["token"]].append(
                Presentation(
                    n=event["n"],
                    w=event["w"],
                    token=event["token"],
                    sent=event["t"],
                    got=None if end is None else end["t"],
                    answered=end is not None and end.get("status") == 200,
                    issued=issued.get(event["n"]),
                    fault=faults.get(event["n"], ""),
                )
            )
        return found

    def since_lease(self, presentation: Presentation) -> float:
        """When its worker asked for the lease under which it was sent."""
        conn = self.connection_of.get(presentation.token)
        asked = self._leases_of.get((presentation.w, conn or ""), [])
        at = bisect_left(asked, presentation.sent)
        return asked[at - 1] if at else presentation.sent

    @cached_property
    def _leases_of(self) -> dict[tuple[str, str], list[float]]:
        found: dict[tuple[str, str], list[float]] = defaultdict(list)
        for event in self.of("lease"):
            found[event["w"], event["conn"]].append(event["t0"])
        return found

    @cached_property
    def healed(self) -> float:
        """When the faults were over."""
        return float(next((event["t"] for event in self.of("phase", name="heal")), self.events[-1]["t"]))

    @cached_property
    def last_state(self) -> Event | None:
        """The last look at all rows."""
        states = self._kinds["state"]
        return states[-1] if states else None
