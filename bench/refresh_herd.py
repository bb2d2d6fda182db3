"""refresh-herd: however many ask at once, in however many processes, the provider is asked once, and soon."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qsl, urlencode, urlsplit

import herd
import place
import plots
from results import ROUNDS, Part, Row

from tests.real.node import find_node, install
from tests.real.oidc import Oidc
from tests.real.visitor import post
from valetkey.identity.verifiers.vouched import owner_of
from valetkey.model.connections import Credential, Grant
from valetkey.protocol.authorize import challenge_of
from valetkey.secret import Secret
from valetkey.wiring.system import System

OK = 200
DELAY, MARGIN = 0.3, 0.15
PROCESSES, CALLERS = 64, 50
KINDS = ("sqlite", "sqlite + valkey", "postgresql", "postgresql + valkey")
REDIRECT_URI = "https://localhost/callback"
VERIFIER = "a-verifier-that-is-long-enough-for-RFC-7636"
AHEAD = 0.3  # seconds between telling and the moment, so that all have heard of it


@dataclass(frozen=True)
class Round:
    """What one herd met: seconds of its callers, and what its provider saw."""

    median: float
    p99: float
    longest: float
    refreshes: int
    invalid_grants: int
    alive: bool
    errors: int
    tokens: int


def measure(*, small: bool) -> Part:
    """64 processes with 50 callers each need one expired account; its provider rotates and answers in 300 ms."""
    node = find_node()
    install(node, os.environ)
    sizes = [2**power for power in range(PROCESSES.bit_length())]
    rounds = 1 if small else ROUNDS
    if small:
        sizes = [1, 4]
    told = place.calm(patience=0 if small else 240)
    found: dict[tuple[str, int], list[Round]] = {}
    bare: list[float] = []
    with TemporaryDirectory() as folder:
        oidc = Oidc(node.node, Path(folder) / "provider.log")
        try:
            oidc.allow(REDIRECT_URI)
            for kind in KINDS:
                print(f"  {kind} …", flush=True)
                like = {"issuer": oidc.issuer, "client": oidc.post.id, "secret": oidc.post.secret or ""}
                with place.a_place(kind, **like) as where:
                    for size, met, alone in _of(where, oidc, sizes, rounds):
                        found.setdefault((kind, size), []).append(met)
                        bare.append(alone)
        finally:
            oidc.stop()
    return _part(found, statistics.median(bare), sizes, [told] if told else [])


def _of(where: place.Place, oidc: Oidc, sizes: list[int], rounds: int) -> Iterator[tuple[int, Round, float]]:
    system = where.system()
    with workers(where, sizes[-1]) as channels:
        for size in sizes:
            for number in range(rounds + 1):
                alone = _alone(oidc)
                met = _round(system, oidc, channels[:size], f"ann-{size}-{number}")
                if number:
                    print(f"    {size} processes: p99 {met.p99 * 1000:.0f} ms, {met.refreshes} refresh", flush=True)
                    yield size, met, alone
    system.close()


@contextmanager
def workers(where: place.Place, count: int) -> Iterator[list[herd.Channel]]:
    """Processes forked from one that has imported everything; each has said that it is ready."""
    os.environ["PYTHONPATH"] = f"{Path(__file__).parent}{os.pathsep}{place.ROOT}"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["herd"])
    started = []
    for _ in range(count):
        ours, theirs = context.Pipe()
        process = context.Process(target=herd.work, args=(where, theirs))
        process.start()
        theirs.close()
        assert ours.recv() == "ready"
        started.append((process, ours))
    try:
        yield [channel for _, channel in started]
    finally:
        for _, channel in started:
            channel.send(None)
        for process, _ in started:
            process.join(20)
            process.kill()


def _round(system: System, oidc: Oidc, channels: list[herd.Channel], owner: str) -> Round:
    refresh_token = _connected(system, oidc, owner)
    oidc.delay(refresh_token, DELAY, times=1000)
    at = time.monotonic() + AHEAD
    for channel in channels:
        channel.send((owner, at, CALLERS))
    outcomes = [outcome for channel in channels for outcome in channel.recv()]
    family = oidc.family(refresh_token)
    waits = sorted(seconds for seconds, _ in outcomes)
    tokens = {token for _, token in outcomes if not token.startswith("!")}
    errors = [token for _, token in outcomes if token.startswith("!")]
    if errors:
        print(f"    {len(errors)} errors, such as {errors[0]}", flush=True)
    return Round(
        median=statistics.median(waits),
        p99=waits[int(len(waits) * 0.99)],
        longest=waits[-1],
        refreshes=family.refreshes,
        invalid_grants=family.invalid_grants,
        alive=family.alive,
        errors=len(errors),
        tokens=len(tokens),
    )


def _granted(oidc: Oidc, owner: str) -> dict[str, str]:
    asked = {
        "client_id": oidc.post.id,
        "response_type": "code",
        "redirect_uri": REDIRECT_URI,
        "scope": " ".join(place.SCOPES),
        "prompt": "consent",
        "code_challenge": challenge_of(VERIFIER),
        "code_challenge_method": "S256",
    }
    callback = oidc.consent(f"{oidc.authorize_url}?{urlencode(asked)}", login=owner)
    code = dict(parse_qsl(urlsplit(callback).query))["code"]
    return _token(oidc, grant_type="authorization_code", code=code, redirect_uri=REDIRECT_URI, code_verifier=VERIFIER)


def _token(oidc: Oidc, **fields: str) -> dict[str, str]:
    answer = post(oidc.token_url, {**fields, "client_id": oidc.post.id, "client_secret": oidc.post.secret or ""})
    assert answer.status == OK, answer.text
    told: dict[str, str] = json.loads(answer.body)
    return told


def _alone(oidc: Oidc) -> float:
    """Seconds of a refresh without us: the provider's own time."""
    held = _granted(oidc, "nobody")["refresh_token"]
    oidc.delay(held, DELAY)
    began = time.monotonic()
    _token(oidc, grant_type="refresh_token", refresh_token=held)
    return time.monotonic() - began


def _connected(system: System, oidc: Oidc, owner: str) -> str:
    """Let them have an account whose token has ended; its refresh token."""
    told = _granted(oidc, owner)
    credential = Credential(
        access_token=Secret(told["access_token"]),
        refresh_token=Secret(told["refresh_token"]),
        client_id=oidc.post.id,
    )
    grant = Grant(credential=credential, scopes=frozenset(place.SCOPES), expires_at=time.time() - 100)
    handler = system.handling.find(place.HANDLER, None)
    asyncio.run(system.keeper.keep(grant, handler, owner_of(owner), profile="default", asked=frozenset(place.SCOPES)))
    return told["refresh_token"]


def _part(found: dict[tuple[str, int], list[Round]], bare: float, sizes: list[int], notes: list[str]) -> Part:
    rows, lines = [], {}
    most = sizes[-1]
    other = f"provider alone {bare * 1000:.0f} ms"
    for kind in KINDS:
        met = found[kind, most]
        slowest = {size: statistics.median(each.p99 for each in found[kind, size]) for size in sizes}
        p99 = slowest[most]
        median = statistics.median(each.median for each in met)
        longest = max(each.longest for each in met)
        ours = f"p50 {median * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, longest of all {longest * 1000:.0f} ms"
        name = f"refresh-herd, {kind}, {most} processes with {CALLERS} callers"
        rows.append(Row(f"{name}: wait", ours, other, p99 / DELAY, (DELAY + MARGIN) / DELAY, more_is_better=False))
        every = [each for size in sizes for each in found[kind, size]]
        refreshes = max((each.refreshes for each in every), key=lambda count: abs(count - 1))
        refused = sum(each.invalid_grants for each in every)
        failed = sum(each.errors for each in every)
        torn = sum(not each.alive or each.tokens > 1 for each in every)
        ours = f"{refreshes} refresh, {refused} `invalid_grant`, {torn} torn herds, {failed} callers with an error"
        # Whatever must not be counts as a refresh too many.
        worst = float(max(refreshes, 1 + refused + torn) if refreshes else 0)
        rows.append(Row(f"{name}: refreshes", ours, "1 refresh", worst, 1.0, more_is_better=False))
        lines[kind] = [(size * CALLERS, slowest[size] * 1000) for size in sizes]
    plot = plots.draw(
        title="Wait of the slowest hundredth of a herd (p99)",
        x=f"callers at once, {CALLERS} in each process",
        y="ms from the moment that all ask",
        lines=lines,
        bars={"provider's own time": DELAY * 1000, "to reach": (DELAY + MARGIN) * 1000},
    )
    return Part(rows, beside="oidc-provider with rotation", notes=notes, plot=plot)
