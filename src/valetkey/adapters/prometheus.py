"""Metrics for Prometheus, in a registry of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from valetkey.adapters.telemetry import BUCKETS, OTHER, PARTS, SUSPECTS, Labels, Observer, Paused, Seen
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


class PrometheusRecorder:
    """Counts events; writes them out when Prometheus asks.

    Args:
        dropped: how many events each recorder did not get, by its name.
    """

    def __init__(self, *, labels: Labels, observer: Observer, dropped: Callable[[], Mapping[str, int]]) -> None:
        self._labels = labels
        self._paused = Paused(labels)
        self._observer = observer
        self._dropped = dropped
        registry = self._registry = CollectorRegistry()
        self._refreshes = Counter(
            "valetkey_refreshes", "Refreshes that ended.", ["provider", "outcome"], registry=registry
        )
        self._durations = Histogram(
            "valetkey_refresh_duration_seconds",
            "From taking the lease to the saved row; ahead: the old token still served meanwhile.",
            ["provider", "ahead"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._breakers = Gauge(
            "valetkey_breaker_open", "Providers at which refreshes are paused.", ["provider"], registry=registry
        )
        self._revocations = Counter(
            "valetkey_revocations", "Revocations that were tried upstream.", ["provider", "outcome"], registry=registry
        )
        self._resealed = Counter(
            "valetkey_resealed_rows", "Rows that were sealed anew with the newest key.", registry=registry
        )
        self._unsealed = Counter(
            "valetkey_reseal_failures", "Rows that could not be opened to be sealed anew.", registry=registry
        )
        self._swept = Counter("valetkey_swept_rows", "Rows that had ended and were removed.", registry=registry)
        self._unreadable = Counter(
            "valetkey_unreadable", "Rows, or what they seal, that could not be read.", ["what"], registry=registry
        )
        for part in (*PARTS, OTHER):
            self._unreadable.labels(part)
        self._audited = Counter(
            "valetkey_audit_records", "Records of the audit log.", ["action", "outcome"], registry=registry
        )
        self._suspicious = Counter(
            "valetkey_suspicious", "Subjects and addresses with too many failures.", ["kind"], registry=registry
        )
        for kind in SUSPECTS:
            self._suspicious.labels(kind)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

    def record(self, event: Event) -> None:
        """Count one."""
        match event:
            case Refreshed():
                provider = self._labels.provider(event.provider)
                counters = {outcome: self._refreshes.labels(provider, outcome.value) for outcome in Outcome}
                counters[Outcome(event.outcome)].inc()  # the others begin at 0: their first event is seen as a rise
                self._durations.labels(provider, str(bool(event.ahead)).lower()).observe(max(0.0, event.seconds))
            case Revoked():
                provider = self._labels.provider(event.provider)
                self._revocations.labels(provider, Outcome(event.outcome).value).inc()
            case BreakerMoved():
                provider, count = self._paused.move(event)
                self._breakers.labels(provider).set(count)
            case Resealed():
                self._resealed.inc(event.rows)
                self._unsealed.inc(event.failed)
            case Swept():
                self._swept.inc(event.rows)
            case Unreadable():
                self._unreadable.labels(self._labels.part(event.what)).inc()
            case Audited():
                self._audited.labels(self._labels.action(event.action), self._labels.outcome(event.outcome)).inc()
            case Suspicious():
                self._suspicious.labels(self._labels.suspect(event.kind)).inc()

    async def exposition(self) -> bytes:
        """All of them in Prometheus's text format, version 0.0.4."""
        seen = await self._observer.look()
        return generate_latest(_Page(self._registry, [*_counted(seen), _drops(self._dropped())]))


class _Page(Collector):
    """What is written out: without the times at which series began, which would double their number."""

    def __init__(self, registry: CollectorRegistry, more: Iterable[Metric]) -> None:
        self._registry = registry
        self._more = more

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric
        yield from self._more


def _counted(seen: Seen) -> Iterator[Metric]:
    parts = GaugeMetricFamily("valetkey_part_up", "Whether the part answered when it was counted.", labels=["part"])
    parts.add_metric(["database"], float(seen.connections is not None))
    parts.add_metric(["journal"], float(seen.journal is not None))
    yield parts
    if seen.connections is not None:
        connections = GaugeMetricFamily(
            "valetkey_connections", "Connections by provider and health.", labels=["provider", "health"]
        )
        for (provider, health), count in sorted(seen.connections.items()):
            connections.add_metric([provider, health], count)
        yield connections
    if seen.journal is not None:
        yield GaugeMetricFamily(
            "valetkey_journal_entries", "Renewed credentials that wait for the database.", value=seen.journal
        )


def _drops(dropped: Mapping[str, int]) -> Metric:
    metric = CounterMetricFamily(
        "valetkey_events_dropped", "Events that a recorder of metrics did not get.", labels=["recorder"]
    )
    for name, count in sorted(dropped.items()):
        metric.add_metric([name], count)
    return metric
