"""Metrics through OpenTelemetry: the host program's SDK decides where they go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter

from valetkey.adapters.telemetry import BUCKETS, Labels, Observer, Paused
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

PROVIDER, OUTCOME = "valetkey.provider", "valetkey.outcome"


class OpenTelemetryRecorder:
    """Counts events on the meter ``valetkey``.

    Args:
        provider: whose meter; None: the one that the host program set, now or later.
    """

    def __init__(self, *, labels: Labels, observer: Observer, provider: MeterProvider | None = None) -> None:
        self._labels = labels
        self._paused = Paused(labels)
        self._observer = observer
        meter = get_meter("valetkey", meter_provider=provider)
        self._refreshes = meter.create_counter(
            "valetkey.refreshes", unit="{refresh}", description="Refreshes that ended."
        )
        self._durations = meter.create_histogram(
            "valetkey.refresh.duration",
            unit="s",
            description="From taking the lease to the saved row.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self._breakers = meter.create_gauge(
            "valetkey.breaker.open", unit="{provider}", description="Providers at which refreshes are paused."
        )
        self._revocations = meter.create_counter(
            "valetkey.revocations", unit="{revocation}", description="Revocations that were tried upstream."
        )
        self._resealed = meter.create_counter(
            "valetkey.vault.resealed", unit="{row}", description="Rows that were sealed anew with the newest key."
        )
        self._unsealed = meter.create_counter(
            "valetkey.vault.failures", unit="{row}", description="Rows that could not be opened to be sealed anew."
        )
        self._swept = meter.create_counter(
            "valetkey.swept", unit="{row}", description="Rows that had ended and were removed."
        )
        self._unreadable = meter.create_counter(
            "valetkey.unreadable", unit="{row}", description="Rows, or what they seal, that could not be read."
        )
        self._audited = meter.create_counter(
            "valetkey.audit.records", unit="{record}", description="Records of the audit log."
        )
        self._suspicious = meter.create_counter(
            "valetkey.suspicious", unit="{event}", description="Subjects and addresses with too many failures."
        )
        meter.create_observable_gauge(
            "valetkey.connections",
            callbacks=[self._connections],
            unit="{connection}",
            description="Connections by provider and health.",
        )
        meter.create_observable_gauge(
            "valetkey.journal.entries",
            callbacks=[self._journal],
            unit="{entry}",
            description="Renewed credentials that wait for the database.",
        )

    def record(self, event: Event) -> None:
        """Count one."""
        match event:
            case Refreshed():
                about: dict[str, str | bool] = {PROVIDER: self._labels.provider(event.provider)}
                self._refreshes.add(1, {**about, OUTCOME: Outcome(event.outcome).value})
                self._durations.record(max(0.0, event.seconds), {**about, "valetkey.ahead": bool(event.ahead)})
            case Revoked():
                provider = self._labels.provider(event.provider)
                self._revocations.add(1, {PROVIDER: provider, OUTCOME: Outcome(event.outcome).value})
            case BreakerMoved():
                provider, count = self._paused.move(event)
                self._breakers.set(count, {PROVIDER: provider})
            case Resealed():
                self._resealed.add(event.rows)
                self._unsealed.add(event.failed)
            case Swept():
                self._swept.add(event.rows)
            case Unreadable():
                self._unreadable.add(1, {"valetkey.part": self._labels.part(event.what)})
            case Audited():
                about = {"valetkey.action": self._labels.action(event.action)}
                self._audited.add(1, {**about, OUTCOME: self._labels.outcome(event.outcome)})
            case Suspicious():
                self._suspicious.add(1, {"valetkey.kind": self._labels.suspect(event.kind)})

    def _connections(self, options: CallbackOptions) -> Iterable[Observation]:
        for (provider, health), count in (self._observer.glance().connections or {}).items():
            yield Observation(count, {PROVIDER: provider, "valetkey.health": health})

    def _journal(self, options: CallbackOptions) -> Iterator[Observation]:
        waiting = self._observer.glance().journal
        if waiting is not None:
            yield Observation(waiting)
