"""Who takes the metrics, as settings say: Prometheus, OpenTelemetry, or nobody."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from valetkey.adapters.telemetry import Labels, Observer, Recorders
from valetkey.errors import MissingSetting
from valetkey.model.connections import Health
from valetkey.ports.messages import Recorder
from valetkey.ports.world import Clock, Home, Journal
from valetkey.providers.registry import Registry
from valetkey.settings.pocket import Config
from valetkey.tools.threads import Threads


def open_recorder(
    config: Config,
    registry: Registry,
    *,
    census: Callable[[], Awaitable[Mapping[tuple[str, Health], int]]],
    journal: Journal | None,
    home: Home,
    clock: Clock,
) -> Recorders:
    """The recorders of these settings; none by default, and then nothing is loaded, started or counted.

    Args:
        config: its ``metrics`` says which.
        registry: its providers, as they are now, get labels of their own; all others share one.
        census: as ``ConnectionStore.census``.
        journal: whose entries are counted; None: there is none.
        home: where it is counted.
        clock: by which a count grows old.

    Raises:
        MissingSetting: the library of one that is set is not installed; the text names the extra.
        InvalidSetting: a file of the project has a name that cannot be used.
    """
    recorders = Recorders()
    chosen = config.general.metrics
    if not chosen:
        return recorders
    labels = Labels(frozenset(registry.names()))
    threads = Threads(1)
    waiting = None if journal is None else (lambda: threads.run(lambda: len(journal.entries())))
    observer = Observer(census=census, waiting=waiting, labels=labels, home=home, clock=clock)
    if "prometheus" in chosen:
        _add_prometheus(recorders, labels, observer)
    if "opentelemetry" in chosen:
        recorders.add("opentelemetry", _opentelemetry(labels, observer), close=observer.close)
    return recorders


def _add_prometheus(recorders: Recorders, labels: Labels, observer: Observer) -> None:
    try:
        from valetkey.adapters.prometheus import PrometheusRecorder
    except ModuleNotFoundError as error:
        raise _missing(error, "prometheus", "prometheus-client") from error
    recorder = PrometheusRecorder(labels=labels, observer=observer, dropped=recorders.dropped)
    recorders.add("prometheus", recorder, close=observer.close)
    recorders.exposition = recorder.exposition


def _opentelemetry(labels: Labels, observer: Observer) -> Recorder:
    try:
        from valetkey.adapters.opentelemetry import OpenTelemetryRecorder
    except ModuleNotFoundError as error:
        raise _missing(error, "opentelemetry", "opentelemetry-api") from error
    return OpenTelemetryRecorder(labels=labels, observer=observer)


def _missing(error: ModuleNotFoundError, name: str, package: str) -> Exception:
    if (error.name or "").startswith("valetkey"):
        return error  # a file of ours: nothing that an installation of the extra would mend
    return MissingSetting(
        f'The setting metrics names {name}, and {package} is not installed. Install "valetkey[metrics]", or take'
        f" {name} out of metrics."
    )
