"""The rules of the run, over its merged history. Pure: events in, findings out."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from tests.chaos.history import Event, History, Presentation

EXPECTED = {"AuthRequired", "ProviderUnavailable", "ExchangeFailed", "StoreUnavailable"}
"""What a caller may meet; the last one only around a fault of the database."""

DAMAGED = "damaged/default"
"""The key of the connection whose row is damaged on purpose: it fails alone, and says so."""

PARKED = "parked/default"
"""The key of a connection that nothing renews: only the walk with a new key changes its row."""

KEEPS = 1.0
"""Seconds after its answer within which a refresh that nothing holds up is kept, in the journal at the latest."""

AROUND = 1.5
"""Seconds before and after a fault of the database in which a caller may hear of it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that did not hold: which, what happened, when, and whom the history of that concerns."""

    rule: str
    text: str
    t: float
    about: tuple[str, ...] = ()


Rule = Callable[[History], Iterator[Finding]]


def check(history: History) -> list[Finding]:
    """All that is wrong, by its time."""
    found = [finding for rule in RULES for finding in rule(history)]
    return sorted(found, key=lambda finding: finding.t)


def excuse(history: History, first: Presentation, second: Presentation) -> str:
    """Which fault explains that a refresh token, exchanged for another one, was presented again; empty: none does."""
    assert first.issued is not None
    kept = history.kept.get(first.issued["access"])
    if kept is not None and kept < second.sent:
        # Only somebody who took the lease before, and stood still since then, may not have known.
        late = history.stood_still(second.w, history.since_lease(second), second.sent)
        return "the second one stood still between its lease and its request" if late else ""
    killed = history.killed.get(first.w)
    if killed is not None and killed >= first.sent:
        return "the first one was killed before it could save"
    if not first.answered:
        return f"the first one got no answer ({first.fault or 'given up'})"
    waited = history.stood_still(first.w, history.since_lease(first), (first.got or first.sent) + KEEPS)
    if waited or history.stood_still(second.w, history.since_lease(second), second.sent):
        return "one of the two stood still"
    return ""


def used_twice(history: History) -> Iterator[Finding]:
    """1: no refresh token is presented again after its success was acknowledged as kept, nor without a fault at all."""
    for token, shown in history.presentations.items():
        for place, second in enumerate(shown):
            for first in shown[:place]:
                if first.issued is None or first.issued["t"] > (second.got or second.sent) or first.n == second.n:
                    continue
                if not excuse(history, first, second):
                    kept = history.kept.get(first.issued["access"])
                    after = "" if kept is None else f", {second.sent - kept:+.3f} s after it was acknowledged as kept"
                    yield Finding(
                        "used twice",
                        f"{second.n} presented refresh token {token}, which {first.n} had exchanged{after}",
                        second.sent,
                        (token, first.n, second.n, history.connection_of.get(token, "")),
                    )
                    break


def two_in_flight(history: History) -> Iterator[Finding]:
    """1: never two in flight for one refresh token, unless one of the two stood still."""
    for token, shown in history.presentations.items():
        for first, second in pairwise(shown):
            end = first.got if first.got is not None else history.killed.get(first.w, first.sent)
            if first.w == second.w and first.got is None:
                continue
            if second.sent >= end:
                continue
            still = any(
                history.stood_still(each.w, history.since_lease(each), max(end, second.sent))
                for each in (first, second)
            )
            if not still:
                yield Finding(
                    "two in flight",
                    f"{second.n} was sent {end - second.sent:.3f} s before {first.n} had ended, with the same token",
                    second.sent,
                    (token, first.n, second.n, history.connection_of.get(token, "")),
                )


def lease_held_twice(history: History) -> Iterator[Finding]:
    """1: no lease is granted while another one's time is not over."""
    freed: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for kind in ("freeing", "saved"):
        for event in history.of(kind):
            gen = event["gen"] if kind == "freeing" else event["gen"] - 1
            freed[event["w"], event["conn"], gen].append(float(event["t0"] if "t0" in event else event["t"]))
    last: dict[tuple[str, int], Event] = {}
    for event in history.of("lease"):
        row = event["conn"], event["gen"]
        before = last.get(row)
        last[row] = event
        if before is None or event["t"] >= before["t0"] + before["ttl"]:
            continue
        # Whose answer came first need not have been granted first.
        in_order = any(before["t0"] <= t <= event["t"] for t in freed[(before["w"], *row)])
        in_turn = any(event["t0"] <= t <= before["t"] for t in freed[(event["w"], *row)])
        if not in_order and not in_turn:
            yield Finding(
                "lease held twice",
                f"{event['w']} got the lease of {event['conn']}, generation {event['gen']}, which {before['w']} held",
                event["t"],
                (event["conn"],),
            )


def stale(history: History) -> Iterator[Finding]:
    """2: once a generation was acknowledged, or read, every call that begins later is lent that one or a newer one."""
    known: dict[str, list[tuple[float, int]]] = defaultdict(list)
    events = [*history.of("saved"), *history.of("read")]
    for event in sorted(events, key=lambda event: float(event["t"])):
        seen = known[event["conn"]]
        if not seen or event["gen"] > seen[-1][1]:
            seen.append((event["t"], event["gen"]))
    for event in history.of("call"):
        for conn, gen, _ in event["lends"]:
            seen = known[conn]
            at = bisect_left(seen, (event["t0"], 0))
            if at and gen < seen[at - 1][1]:
                t, newer = seen[at - 1]
                yield Finding(
                    "stale read",
                    f"a call of {event['w']} was lent generation {gen} of {conn}, {event['t0'] - t:.3f} s after"
                    f" generation {newer} was acknowledged",
                    event["t"],
                    (conn, event["key"]),
                )


def wrong_owner(history: History) -> Iterator[Finding]:
    """3: what a call was lent was issued for its owner's own account."""
    for event in history.of("call"):
        for conn, _, token in event["lends"]:
            issue = history.issue_of.get(token)
            if issue is None or issue["subject"] != event["key"]:
                whose = "nobody's token" if issue is None else f"a token of {issue['subject']}"
                yield Finding("wrong owner", f"{event['key']} was lent {whose}", event["t"], (conn, event["key"]))


def after_its_end(history: History) -> Iterator[Finding]:
    """4: nothing of a connection is lent, leased or saved after its end was acknowledged, and none of it lives on."""
    ended = {event["conn"]: event["t"] for event in history.of("deleted")}
    for event in history.of("call"):
        for conn, _, _ in event["lends"]:
            if conn in ended and event["t0"] > ended[conn]:
                yield Finding(
                    "lent after its end",
                    f"a call of {event['key']} began {event['t0'] - ended[conn]:.3f} s after {conn} was disconnected"
                    " and was lent its token",
                    event["t"],
                    (conn, event["key"]),
                )
    for kind in ("saved", "lease"):
        for event in history.of(kind):
            if event["conn"] in ended and event["t0"] > ended[event["conn"]]:
                yield Finding(
                    "revived", f"{event['w']}: {kind} of {event['conn']} after its end", event["t"], (event["conn"],)
                )
    untold = {event["conn"] for event in history.of("disconnect") if event.get("told")}
    alive = {family for event in history.of("alive") for family in event["families"]}
    for conn, t in ended.items():
        for family in history.families.get(conn, ()):
            if family in alive and conn not in untold:
                yield Finding(
                    "lives on", f"{family} of {conn}, which was disconnected, is alive at the provider", t, (conn,)
                )


def lost(history: History) -> Iterator[Finding]:
    """1, 5: a connection needs a person only where its family is dead; with a grace none ever dies by our own doing."""
    for event in history.of("noting"):
        death = history.death_of.get(history.family_at(event["conn"], event["gen"]) or "")
        about = (event["conn"], event["key"])
        if death is None or death["t"] > event["t"]:
            if event["cause"] == "rejected" and _misjudged(history, event):
                continue
            yield Finding(
                "needs a person, unexplained",
                f"{event['w']} marked {event['key']} ({event['cause']}) while its family was alive",
                event["t"],
                about,
            )
        elif death["why"] == "reuse" and not history.strict:
            yield Finding("lost within the grace", f"{event['key']} was lost by reuse", event["t"], about)
        elif death["why"] == "reuse" and event["cause"] != "lost_rotation" and _met(history, death, event):
            yield Finding(
                "cause not told", f"{event['w']} called a lost rotation {event['cause']!r}", event["t"], about
            )


def _misjudged(history: History, noting: Event) -> bool:
    """Whether a wall clock that was off let a token that had ended pass for a good one: its 401 is no lie then."""
    issue = history.issue_at(noting["conn"], noting["gen"])
    got = issue is not None and history.clock_off(issue["n"].partition("#")[0], issue["t"])
    return got or history.clock_off(noting["w"], noting["t"])


def _met(history: History, death: Event, noting: Event) -> bool:
    """Whether the refresh that is noted is the one that ended the family, and not one that came after."""
    ended = next(history.of("refused", n=death["n"]), None)
    held = history.refresh_at(noting["conn"], noting["gen"])
    return ended is not None and ended["token"] == held and death["n"].startswith(f"{noting['w']}#")


def asked_for_nothing(history: History) -> Iterator[Finding]:
    """5: a person is asked only where a connection is not there, or needs one."""
    down: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for kind in ("ending", "noting"):
        for event in history.of(kind):
            down[event["key"]].append((event["t"], True))
    for event in history.of("connect", error=None):
        down[event["key"]].append((event["t"], False))
    for changes in down.values():
        changes.sort()
    for event in history.of("call", error="AuthRequired"):
        changes = down[event["key"]]
        before = [away for t, away in changes if t <= event["t0"]]
        within = any(away for t, away in changes if event["t0"] < t <= event["t"])
        if not (before[-1] if before else True) and not within:
            yield Finding(
                "a person asked for nothing",
                f"a call of {event['key']} was told to connect an account that is there",
                event["t"],
                (event["key"],),
            )


def does_not_serve(history: History) -> Iterator[Finding]:
    """5: after the faults everything serves again in time, nothing waits, no lease hangs, every row has the new key."""
    state = history.last_state
    end = next((event["t"] for event in history.of("phase", name="end")), None)
    if state is None or end is None:
        return
    served = {
        event["key"]
        for event in history.of("call", error=None)
        if history.healed < event["t0"] <= history.healed + history.bound and event["lends"]
    }
    for row in state["rows"]:
        key = row["key"]
        if key == DAMAGED:
            continue
        if row["sealed_by"] != state["newest"]:
            yield Finding("old key", f"{key} is sealed with {row['sealed_by']}", end, (row["conn"],))
        if row["health"] == "needs_reauth":
            continue
        if key not in served:
            yield Finding(
                "does not serve again",
                f"{key} ({row['health']}) served nobody within {history.bound:g} s after the faults",
                end,
                (key, row["conn"]),
            )
        held = _held(history, row)
        if held is not None:
            yield Finding("lease hangs", f"the lease of {key} is {held} and did not end", end, (row["conn"],))
    for what in ("journal", "revocations"):
        if state[what]:
            yield Finding(f"left in the {what}", f"{state[what]} entries are left at the end", end)


def _held(history: History, row: Event) -> str | None:
    """Who has a row's lease since before the end by more than a lease's time; None: nobody."""
    if not row["lease"]:
        return None
    granted = list(history.of("lease", conn=row["conn"], gen=row["gen"]))
    last = history.last_state
    if granted and last is not None and last["t"] - granted[-1]["t"] <= granted[-1]["ttl"] + 1:
        return None
    return f"held by {row['lease']}"


def unexpected(history: History) -> Iterator[Finding]:
    """6: callers meet expected errors only, and each in time."""
    for event in history.of("call"):
        error, key = event["error"], event["key"]
        wrong = error is not None and error not in EXPECTED
        if error == "VaultError" and key == DAMAGED:
            wrong = False
        if error == "StoreUnavailable":
            t0, t = event["t0"] - AROUND, event["t"] + AROUND
            # Whoever stands still may hold the one write lock of SQLite meanwhile.
            wrong = not (history.database_fault(t0, t) or history.anybody_stood_still(t0, t))
        if wrong:
            yield Finding(
                "unexpected error",
                f"a call of {key} met {error}: {event.get('text', '')}",
                event["t"],
                (key, *(lend[0] for lend in event["lends"])),
            )
        took = event["t"] - event["t0"]
        still = sum(
            min(span.t, event["t"]) - max(span.t0, event["t0"])
            for span in history.standstills.get(event["w"], ())
            if span.meets(event["t0"], event["t"])
        )
        if took - still > history.longest:
            yield Finding("too slow", f"a call of {key} took {took:.1f} s", event["t"], (key,))
    for event in history.of("call", error=None):
        if not event["lends"]:
            yield Finding("lent nothing", f"a call of {event['key']} ended well and was lent nothing", event["t"])


def told(history: History) -> Iterator[Finding]:
    """7: no token in any log; and no worker ends by itself, or says what no log should have."""
    for event in history.of("leak"):
        yield Finding("token in a log", f"{event['where']} holds {event['what']}", event["t"])
    for event in history.of("noise"):
        if any(f"failed with {error}" in event["line"] for error in EXPECTED):
            continue  # what runs by itself may meet what callers may
        yield Finding("noise", f"{event['where']}: {event['line']}", event["t"])
    for event in history.of("exit"):
        if event["code"] != 0:
            yield Finding("worker ended", f"{event['w']} ended by itself with {event['code']}", event["t"])


RULES: tuple[Rule, ...] = (
    used_twice,
    two_in_flight,
    lease_held_twice,
    stale,
    wrong_owner,
    after_its_end,
    lost,
    asked_for_nothing,
    does_not_serve,
    unexpected,
    told,
)
