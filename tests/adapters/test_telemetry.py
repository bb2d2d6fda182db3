"""Metrics: every event moves its own, no recorder harms another or the caller, and labels are only so many."""

import asyncio
import json
import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client.parser import text_string_to_metric_families

from valetkey.adapters.home import HomeLoop
from valetkey.adapters.kept import Kept
from valetkey.adapters.opentelemetry import OpenTelemetryRecorder
from valetkey.adapters.prometheus import PrometheusRecorder
from valetkey.adapters.telemetry import OTHER, Labels, Observer, Recorders
from valetkey.errors import InvalidSetting, MissingSetting, StoreUnavailable
from valetkey.model.connections import Health
from valetkey.model.events import (
    Audited,
    BreakerMoved,
    Event,
    Outcome,
    Refreshed,
    Resealed,
    Revoked,
    Suspicious,
    Swept,
    Unreadable,
)
from valetkey.providers.registry import Registry
from valetkey.settings.pocket import Config
from valetkey.testing.clock import ManualClock
from valetkey.testing.recorder import KeepingRecorder
from valetkey.wiring.recorders import open_recorder

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "monitoring.md"
CENSUS = {("slack", Health.OK): 3, ("slack", Health.NEEDS_REAUTH): 1, ("mine", Health.OK): 2, ("yours", Health.OK): 5}
REFRESHED = Refreshed(provider="slack", outcome=Outcome.OK, seconds=0.3, ahead=True)
EVENTS: list[tuple[Event, dict[tuple[str, str], float]]] = [
    (
        REFRESHED,
        {
            ("valetkey_refreshes_total", "outcome=ok,provider=slack"): 1,
            ("valetkey_refresh_duration_seconds_count", "ahead=true,provider=slack"): 1,
            ("valetkey_refresh_duration_seconds_sum", "ahead=true,provider=slack"): 0.3,
        },
    ),
    (
        Refreshed(provider="mine", outcome=Outcome.LOST_ROTATION, seconds=-1.0, ahead=False),
        {
            ("valetkey_refreshes_total", "outcome=lost_rotation,provider=other"): 1,
            ("valetkey_refresh_duration_seconds_sum", "ahead=false,provider=other"): 0,
        },
    ),
    (
        Revoked(provider="github", outcome=Outcome.TRANSIENT),
        {("valetkey_revocations_total", "outcome=transient,provider=github"): 1},
    ),
    (BreakerMoved(provider="slack", open=True), {("valetkey_breaker_open", "provider=slack"): 1}),
    (
        Resealed(rows=5, failed=2),
        {("valetkey_resealed_rows_total", ""): 5, ("valetkey_reseal_failures_total", ""): 2},
    ),
    (Swept(rows=7), {("valetkey_swept_rows_total", ""): 7}),
    (Unreadable(what="connection"), {("valetkey_unreadable_total", "what=connection"): 1}),
    (Unreadable(what="a row named eve"), {("valetkey_unreadable_total", "what=other"): 1}),
    (Audited(action="call", outcome="denied"), {("valetkey_audit_records_total", "action=call,outcome=denied"): 1}),
    (Audited(action="eve", outcome="eve"), {("valetkey_audit_records_total", "action=other,outcome=other"): 1}),
    (Suspicious(kind="address"), {("valetkey_suspicious_total", "kind=address"): 1}),
    (Suspicious(kind="eve"), {("valetkey_suspicious_total", "kind=other"): 1}),
]


class Counted:
    """What an observer asks; each may be down, or hang."""

    def __init__(self) -> None:
        self.rows: Mapping[tuple[str, Health], int] = CENSUS
        self.asked = 0
        self.error: Exception | None = None
        self.hanging = False
        self.journal = 4

    async def census(self) -> Mapping[tuple[str, Health], int]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        if self.hanging:
            await asyncio.get_running_loop().create_future()
        return self.rows

    async def waiting(self) -> int:
        return self.journal


@pytest.fixture
def home() -> Iterator[HomeLoop]:
    home = HomeLoop()
    yield home
    home.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
def labels() -> Labels:
    return Labels(frozenset({"slack", "github"}))


@pytest.fixture
def observer(counted: Counted, labels: Labels, home: HomeLoop, clock: ManualClock) -> Observer:
    return Observer(census=counted.census, waiting=counted.waiting, labels=labels, home=home, clock=clock, deadline=0.2)


@pytest.fixture
def prometheus(labels: Labels, observer: Observer) -> PrometheusRecorder:
    return PrometheusRecorder(labels=labels, observer=observer, dropped=lambda: {"prometheus": 0})


def samples(text: bytes) -> dict[tuple[str, str], float]:
    """Every sample by its name and labels."""
    return {
        (sample.name, ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def reach(condition: Callable[[], bool], *, within: float = 5.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.002)


@pytest.mark.requirement("B6.prometheus")
@pytest.mark.parametrize(("event", "expected"), EVENTS)
async def test_an_event_moves_its_metrics_in_prometheus(
    prometheus: PrometheusRecorder, event: Event, expected: dict[tuple[str, str], float]
) -> None:
    before = samples(await prometheus.exposition())
    prometheus.record(event)
    after = samples(await prometheus.exposition())
    assert {name: after[name] for name in expected} == expected
    ours = {name for name in after if name[0].startswith("valetkey_") and after[name] != before.get(name)}
    assert {name[0].removesuffix("_count").removesuffix("_sum").removesuffix("_bucket") for name in ours} == {
        name[0].removesuffix("_count").removesuffix("_sum") for name in expected
    }


async def test_a_pause_ends_and_two_of_one_label_do_not_end_each_other(prometheus: PrometheusRecorder) -> None:
    async def paused(label: str) -> float:
        return samples(await prometheus.exposition())["valetkey_breaker_open", f"provider={label}"]

    for name in ("slack", "mine", "yours", "mine"):
        prometheus.record(BreakerMoved(provider=name, open=True))
    assert [await paused("slack"), await paused(OTHER)] == [1, 2]
    for name in ("slack", "mine"):
        prometheus.record(BreakerMoved(provider=name, open=False))
    assert [await paused("slack"), await paused(OTHER)] == [0, 1]


async def test_what_is_scraped_has_the_process_and_no_times_of_creation(prometheus: PrometheusRecorder) -> None:
    prometheus.record(REFRESHED)
    names = {name for name, _ in samples(await prometheus.exposition())}
    assert {"process_resident_memory_bytes", "process_open_fds", "python_info"} <= names
    assert not [name for name in names if name.endswith("_created")]


@pytest.mark.requirement("B6.prometheus")
async def test_connections_and_journal_are_counted_when_asked_for_and_every_15_seconds_at_most(
    prometheus: PrometheusRecorder, counted: Counted, clock: ManualClock
) -> None:
    found = samples(await prometheus.exposition())
    assert {name[1]: value for name, value in found.items() if name[0] == "valetkey_connections"} == {
        "health=ok,provider=slack": 3,
        "health=needs_reauth,provider=slack": 1,
        "health=ok,provider=other": 7,
    }
    assert found["valetkey_journal_entries", ""] == 4
    assert [found["valetkey_part_up", f"part={part}"] for part in ("database", "journal")] == [1, 1]

    counted.rows, counted.journal = {("slack", Health.OK): 9}, 0
    clock.advance(14.9)
    kept = samples(await prometheus.exposition())
    assert kept["valetkey_connections", "health=ok,provider=slack"] == 3
    assert kept["valetkey_journal_entries", ""] == 4
    assert counted.asked == 1
    clock.advance(0.2)
    later = samples(await prometheus.exposition())
    assert later["valetkey_connections", "health=ok,provider=slack"] == 9
    assert ("valetkey_connections", "health=ok,provider=other") not in later
    assert later["valetkey_journal_entries", ""] == 0


async def test_many_scrapes_at_once_count_once(prometheus: PrometheusRecorder, counted: Counted) -> None:
    await asyncio.gather(*(prometheus.exposition() for _ in range(50)))
    assert counted.asked == 1


class LateHome:
    """A home to which the way is long: who set out is let in by the test."""

    def __init__(self) -> None:
        self.gates: list[asyncio.Event] = []

    async def run(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        self.gates.append(asyncio.Event())
        await self.gates[-1].wait()
        return await work()

    def block(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        raise NotImplementedError

    def spawn(self, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        raise NotImplementedError

    def here(self) -> bool:
        return False

    def quiet(self) -> None:
        raise NotImplementedError


async def test_who_arrives_after_the_answer_does_not_ask_again(counted: Counted, clock: ManualClock) -> None:
    home = LateHome()
    kept = Kept(counted.census, home=home, clock=clock, seconds=15)
    visits = [asyncio.ensure_future(kept.get()) for _ in range(2)]
    await asyncio.sleep(0)  # both are on their way
    for gate, visit in zip(home.gates, visits, strict=True):
        gate.set()
        assert await visit == CENSUS
    assert counted.asked == 1


async def test_a_database_that_is_down_leaves_a_gap_and_no_old_figures(
    prometheus: PrometheusRecorder, counted: Counted, clock: ManualClock
) -> None:
    await prometheus.exposition()
    clock.advance(20)
    counted.error = StoreUnavailable("The database at 10.1.2.3 is gone.")
    found = samples(await prometheus.exposition())
    assert not [name for name in found if name[0] == "valetkey_connections"]
    assert found["valetkey_part_up", "part=database"] == 0
    assert found["valetkey_journal_entries", ""] == 4
    clock.advance(20)
    counted.error = None
    assert samples(await prometheus.exposition())["valetkey_part_up", "part=database"] == 1


async def test_a_database_that_hangs_holds_no_scrape_up(prometheus: PrometheusRecorder, counted: Counted) -> None:
    counted.hanging = True
    began = time.monotonic()
    found = samples(await prometheus.exposition())
    assert time.monotonic() - began < 2
    assert found["valetkey_part_up", "part=database"] == 0


@pytest.mark.requirement("B6.prometheus")
async def test_ten_thousand_names_of_providers_make_one_series(prometheus: PrometheusRecorder) -> None:
    lines = []
    for many in (1, 10_000):
        for number in range(many):
            name = f"p{number}\n{number}"
            prometheus.record(Refreshed(provider=name, outcome=Outcome.OK, seconds=0.1, ahead=False))
            prometheus.record(Revoked(provider=name, outcome=Outcome.OK))
            prometheus.record(BreakerMoved(provider=name, open=True))
            prometheus.record(Unreadable(what=name))
        lines.append(len((await prometheus.exposition()).splitlines()))
    assert lines[0] == lines[1]
    assert samples(await prometheus.exposition())["valetkey_refreshes_total", "outcome=ok,provider=other"] == 10_001


HOSTILE = 'slack"} 1\nvaletkey_forged_total{a="\\b\r\x1b[31m\u202e'


async def test_a_hostile_name_writes_no_line_of_its_own(observer: Observer) -> None:  # E-02
    # Even as a name of the catalogue, which none can be.
    prometheus = PrometheusRecorder(labels=Labels(frozenset({HOSTILE})), observer=observer, dropped=dict)
    prometheus.record(replace(REFRESHED, provider=HOSTILE))
    text = (await prometheus.exposition()).decode()
    assert "\nvaletkey_forged_total" not in text
    lines = [line for line in text.split("\n") if line.startswith("valetkey_refreshes_total")]
    assert len(lines) == len(Outcome)
    value = r'"(?:[^"\\\n]|\\["\\n])*"'
    assert all(re.fullmatch(rf"[a-z_]+\{{outcome={value},provider={value}\}} [01]\.0", line) for line in lines)


async def test_an_outcome_that_is_none_makes_no_series(prometheus: PrometheusRecorder) -> None:
    event: Any = Revoked(provider="slack", outcome="x" * 50)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is not a valid Outcome"):
        prometheus.record(event)
    assert not [name for name in samples(await prometheus.exposition()) if name[0] == "valetkey_revocations_total"]


class Collected:
    """An OpenTelemetry SDK that collects when it is asked to."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider(metric_readers=[self.reader])

    def points(self) -> dict[str, dict[str, float]]:
        """The values by the instrument's name and the attributes."""
        data = json.loads(self.reader.get_metrics_data().to_json())  # type: ignore[union-attr]
        [scope] = data["resource_metrics"][0]["scope_metrics"]
        assert scope["scope"]["name"] == "valetkey"
        return {
            metric["name"]: {
                ",".join(f"{name}={value}" for name, value in sorted(point["attributes"].items())): (
                    point["value"] if "value" in point else point["sum"]
                )
                for point in metric["data"]["data_points"]
            }
            for metric in scope["metrics"]
        }


@pytest.fixture
def otel() -> Iterator[Collected]:
    collected = Collected()
    yield collected
    collected.provider.shutdown()


@pytest.mark.requirement("B6.opentelemetry")
def test_every_event_moves_its_instrument_in_opentelemetry(otel: Collected, labels: Labels, observer: Observer) -> None:
    recorder = OpenTelemetryRecorder(labels=labels, observer=observer, provider=otel.provider)
    for event, _ in EVENTS:
        recorder.record(event)
    points = otel.points()
    slack, other = "valetkey.provider=slack", "valetkey.provider=other"
    assert points == {
        "valetkey.refreshes": {f"valetkey.outcome=ok,{slack}": 1, f"valetkey.outcome=lost_rotation,{other}": 1},
        "valetkey.refresh.duration": {f"valetkey.ahead=True,{slack}": 0.3, f"valetkey.ahead=False,{other}": 0.0},
        "valetkey.breaker.open": {slack: 1},
        "valetkey.revocations": {"valetkey.outcome=transient,valetkey.provider=github": 1},
        "valetkey.audit.records": {
            "valetkey.action=call,valetkey.outcome=denied": 1,
            "valetkey.action=other,valetkey.outcome=other": 1,
        },
        "valetkey.suspicious": {"valetkey.kind=address": 1, "valetkey.kind=other": 1},
        "valetkey.vault.resealed": {"": 5},
        "valetkey.vault.failures": {"": 2},
        "valetkey.swept": {"": 7},
        "valetkey.unreadable": {"valetkey.part=connection": 1, "valetkey.part=other": 1},
        "valetkey.connections": {
            f"valetkey.health=ok,{slack}": 3,
            f"valetkey.health=needs_reauth,{slack}": 1,
            f"valetkey.health=ok,{other}": 7,
        },
        "valetkey.journal.entries": {"": 4},
    }


@pytest.mark.requirement("B6.opentelemetry")
def test_opentelemetry_labels_are_only_so_many(otel: Collected, labels: Labels, observer: Observer) -> None:
    recorder = OpenTelemetryRecorder(labels=labels, observer=observer, provider=otel.provider)
    for number in range(10_000):
        recorder.record(Refreshed(provider=f"p{number}", outcome=Outcome.OK, seconds=0.1, ahead=False))
        recorder.record(BreakerMoved(provider=f"p{number}", open=True))
    points = otel.points()
    assert points["valetkey.refreshes"] == {"valetkey.outcome=ok,valetkey.provider=other": 10_000}
    assert points["valetkey.breaker.open"] == {"valetkey.provider=other": 1000}


@pytest.mark.requirement("B6.opentelemetry")
async def test_opentelemetry_that_collects_on_a_loop_gets_the_last_count_and_never_waits(
    otel: Collected, labels: Labels, observer: Observer, home: HomeLoop, counted: Counted
) -> None:
    OpenTelemetryRecorder(labels=labels, observer=observer, provider=otel.provider)

    async def collect() -> dict[str, dict[str, float]]:
        return otel.points()

    assert otel.reader.get_metrics_data() is None  # nothing was counted yet
    await observer.look()
    found = await home.run(collect)  # on the very loop that would have to count
    assert found["valetkey.journal.entries"] == {"": 4}
    assert counted.asked == 1


def test_what_is_closed_is_not_opened_again_by_a_collection(
    otel: Collected, labels: Labels, observer: Observer, counted: Counted, home: HomeLoop
) -> None:
    recorders = Recorders()
    recorder = OpenTelemetryRecorder(labels=labels, observer=observer, provider=otel.provider)
    recorders.add("opentelemetry", recorder, close=observer.close)
    recorders.close()
    otel.reader.collect()
    assert counted.asked == 0
    assert not home._alive()


class Broken:
    """A recorder that raises something else each time."""

    def __init__(self) -> None:
        self.calls = 0

    def record(self, event: Event) -> None:
        self.calls += 1
        raise [ValueError, KeyError, SystemExit][self.calls % 3](f"canary-3f2a\r\nforged line {event}")


class Blocked:
    """A recorder that stands still until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.calls = 0

    def record(self, event: Event) -> None:
        self.go.wait(20)
        self.calls += 1


@pytest.mark.requirement("R-34.metrics")
def test_a_recorder_that_raises_harms_neither_the_others_nor_the_caller(caplog: pytest.LogCaptureFixture) -> None:
    broken, good = Broken(), KeepingRecorder()
    recorders = Recorders()
    recorders.add("broken", broken)
    recorders.add("good", good)
    for _ in range(30):
        recorders.record(REFRESHED)
    recorders.close()
    assert broken.calls == 30
    assert good.of(Refreshed) == (REFRESHED,) * 30
    [told] = caplog.records
    assert told.levelno == logging.WARNING
    assert re.fullmatch(
        r"The recorder of metrics broken failed with [A-Za-z]+\. This is said once\.", told.getMessage()
    )


@pytest.mark.requirement("R-34.metrics")
def test_a_recorder_that_blocks_harms_neither_the_others_nor_the_caller(caplog: pytest.LogCaptureFixture) -> None:
    blocked, good = Blocked(), KeepingRecorder()
    recorders = Recorders(limit=50)
    recorders.add("blocked", blocked)
    recorders.add("good", good)
    longest = 0.0
    for count in range(1, 201):
        began = time.monotonic()
        recorders.record(REFRESHED)
        longest = max(longest, time.monotonic() - began)
        reach(lambda: len(good.events) == count)  # noqa: B023 - it is reached before the loop goes on
    assert longest < 1
    dropped = recorders.dropped()
    assert dropped["good"] == 0
    assert 149 <= dropped["blocked"] <= 150
    assert [record.getMessage() for record in caplog.records] == [
        "The recorder of metrics blocked does not keep up: events are dropped. This is said once."
    ]
    blocked.go.set()
    recorders.close()
    reach(lambda: blocked.calls + dropped["blocked"] == 200)


def test_closing_waits_for_what_is_on_its_way_and_not_for_ever() -> None:
    blocked, good = Blocked(), KeepingRecorder()
    recorders = Recorders()
    recorders.add("good", good)
    recorders.add("blocked", blocked)
    for _ in range(500):
        recorders.record(REFRESHED)
    began = time.monotonic()
    recorders.close(wait=0.1)
    assert time.monotonic() - began < 2
    reach(lambda: len(good.events) == 500)
    recorders.record(REFRESHED)
    blocked.go.set()
    reach(lambda: blocked.calls == 500)
    assert len(good.events) == 500


def test_a_thread_ends_even_if_its_queue_was_too_full_to_be_told() -> None:
    blocked = Blocked()
    recorders = Recorders(limit=10)
    recorders.add("full", blocked)
    for _ in range(20):
        recorders.record(REFRESHED)
    recorders.close(wait=0.05)
    blocked.go.set()
    reach(lambda: not [thread for thread in threading.enumerate() if thread.name == "valetkey-metrics-full"])
    assert blocked.calls + recorders.dropped()["full"] == 20


def test_events_come_from_any_thread_and_none_is_lost() -> None:
    good = KeepingRecorder()
    recorders = Recorders(limit=10_000)
    recorders.add("good", good)

    def record() -> None:
        for _ in range(500):
            recorders.record(REFRESHED)

    threads = [threading.Thread(target=record) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorders.close()
    assert len(good.events) == 4000
    assert recorders.dropped() == {"good": 0}


@pytest.mark.requirement("R-34.metrics")
async def test_what_a_recorder_did_not_get_is_a_metric(labels: Labels, observer: Observer) -> None:
    prometheus = PrometheusRecorder(labels=labels, observer=observer, dropped=lambda: {"opentelemetry": 12})
    found = samples(await prometheus.exposition())
    assert found["valetkey_events_dropped_total", "recorder=opentelemetry"] == 12


def opened(counted: Counted, home: HomeLoop, clock: ManualClock, **keywords: Any) -> Recorders:
    config = Config.load(Path.cwd(), {}, **keywords)
    return open_recorder(config, Registry(), census=counted.census, journal=None, home=home, clock=clock)


def test_without_the_setting_nothing_is_recorded_and_no_thread_begins(
    counted: Counted, home: HomeLoop, clock: ManualClock
) -> None:
    before = threading.active_count()
    recorders = opened(counted, home, clock)
    recorders.record(REFRESHED)
    assert recorders.exposition is None
    assert threading.active_count() == before
    recorders.close()


async def test_with_the_setting_a_provider_of_the_catalogue_has_its_label(
    counted: Counted, home: HomeLoop, clock: ManualClock
) -> None:
    recorders = opened(counted, home, clock, metrics="prometheus, opentelemetry")
    assert recorders.exposition is not None
    for name in ("notion", "mine"):
        recorders.record(replace(REFRESHED, provider=name))
    recorders.close()
    found = samples(await recorders.exposition())
    assert found["valetkey_refreshes_total", "outcome=ok,provider=notion"] == 1
    assert found["valetkey_refreshes_total", "outcome=ok,provider=other"] == 1
    assert found["valetkey_events_dropped_total", "recorder=opentelemetry"] == 0


@pytest.mark.parametrize(
    ("name", "library"), [("prometheus", "prometheus_client"), ("opentelemetry", "opentelemetry.metrics")]
)
def test_a_library_that_is_missing_is_named_with_its_extra(
    counted: Counted, home: HomeLoop, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, name: str, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"valetkey.adapters.{name}", raising=False)
    with pytest.raises(MissingSetting, match=rf'metrics names {name}, .* Install "valetkey\[metrics\]"'):
        opened(counted, home, clock, metrics=[name])


def test_a_metric_system_that_nobody_knows_is_refused(counted: Counted, home: HomeLoop, clock: ManualClock) -> None:
    with pytest.raises(InvalidSetting, match="metrics"):
        opened(counted, home, clock, metrics=["statsd"])


def test_without_the_setting_no_library_of_metrics_is_loaded() -> None:
    code = (
        "import sys; import valetkey.wiring.recorders, valetkey.wiring.readiness, valetkey.entrypoints.web.health;"
        "print([name for name in sys.modules if name.split('.')[0] in ('prometheus_client', 'opentelemetry')])"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30)
    assert ended.stdout.strip() == "[]"


@pytest.mark.requirement("B6.prometheus")
async def test_the_page_about_monitoring_names_every_metric_as_it_is(
    prometheus: PrometheusRecorder, otel: Collected, labels: Labels, observer: Observer
) -> None:
    recorder = OpenTelemetryRecorder(labels=labels, observer=observer, provider=otel.provider)
    for event, _ in EVENTS:
        prometheus.record(event)
        recorder.record(event)
    families = {
        (family.name + "_total" if family.type == "counter" else family.name): (
            family.type,
            {name for sample in family.samples for name in sample.labels} - {"le"},
        )
        for family in text_string_to_metric_families((await prometheus.exposition()).decode())
        if family.name.startswith("valetkey_")
    }
    page = PAGE.read_text("utf-8")
    rows = re.findall(r"^\| `(valetkey_[a-z_]+)` \| ([a-z]+) \|([^|]*)\| (?:`([a-z.]+)`|none) \|", page, re.MULTILINE)
    told = {name: (kind, set(re.findall(r"`([a-z]+)`", labels))) for name, kind, labels, _ in rows}
    if prometheus._dropped():
        assert families.pop("valetkey_events_dropped_total") == told.pop("valetkey_events_dropped_total")
    assert told == families
    assert {instrument for *_, instrument in rows if instrument} == set(await asyncio.to_thread(otel.points))
