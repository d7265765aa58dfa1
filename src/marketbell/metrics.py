"""What is counted and measured: plain numbers on the hot path, Prometheus's text when it is asked for."""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, Protocol, TypeAlias

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import (
    Metric as Family,
)
from prometheus_client.registry import Collector

import marketbell

Labels: TypeAlias = tuple[str, ...]
Number: TypeAlias = int | float

_SECONDS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
)
_LATE: Final = (*_SECONDS, 60.0, 300.0, 3600.0)
_ROWS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0)
_COMMIT: Final = (0.0005, *_SECONDS[:12])


class Metric(msgspec.Struct, frozen=True):
    """One row of the table of metrics."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: Labels
    help: str
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets, without infinity."""
    known: Labels = ()
    """All values of the only label; a counter has them from the start, at 0."""


METRICS: Final[Mapping[str, Metric]] = {
    metric.name: metric
    for metric in (
        Metric(
            "marketbell_messages_total", "counter", ("result",),
            "Messages that publishers sent, by verdict.",
            known=("accepted", "repeated", "conflict", "refused", "unavailable"),
        ),
        Metric(
            "marketbell_attempts_total", "counter", ("outcome", "dialect"),
            "Attempts made; accepted, rejected and no_answer use up a step of the schedule, closed does not.",
        ),
        Metric(
            "marketbell_deliveries_total", "counter", ("state",),
            "Deliveries that were made (pending), and that ended (the others).",
            known=("pending", "delivered", "failed", "cancelled"),
        ),
        Metric(
            "marketbell_attempt_duration_seconds", "histogram", (),
            "From the start of an attempt to its end, resolving and connecting included.", _SECONDS,
        ),
        Metric(
            "marketbell_lateness_seconds", "histogram", (),
            "How long after its due time an attempt began.", _LATE,
        ),
        Metric(
            "marketbell_accept_to_first_attempt_seconds", "histogram", (),
            "From a message's acceptance to the start of a delivery's first attempt, where it was due at once.",
            _LATE,
        ),
        Metric(
            "marketbell_oldest_due_seconds", "gauge", (),
            "How long the delivery has been due that has waited longest for its attempt; 0 if none waits.",
        ),
        Metric("marketbell_in_flight", "gauge", (), "Attempts in flight."),
        Metric(
            "marketbell_unrecorded_attempts", "gauge", (),
            "Attempts that have ended and are not on disk yet.",
        ),
        Metric(
            "marketbell_sockets", "gauge", ("state",),
            "Connections to receivers: busy with a request, or idle and kept.",
            known=("busy", "idle"),
        ),
        Metric("marketbell_waiting_rows", "gauge", (), "Rows that wait to be written to the store."),
        Metric(
            "marketbell_store_batch_rows", "histogram", (), "Rows written in one transaction.", _ROWS
        ),
        Metric(
            "marketbell_store_commit_seconds", "histogram", (),
            "One transaction from its first statement until it is on disk.", _COMMIT,
        ),
        Metric(
            "marketbell_lost_claims_total", "counter", (),
            "Leases that ran out with no attempt recorded; each left one with outcome unknown.",
        ),
        Metric(
            "marketbell_parked_deliveries", "gauge", (),
            "Deliveries set aside after too many lost claims in a row.",
        ),
        Metric(
            "marketbell_payload_search_lag_seconds", "gauge", (),
            "How far the search of payloads is behind; 0 if it is not, or is not asked for.",
        ),
        Metric(
            "marketbell_outbox_waiting", "gauge", (),
            "Messages in the outbox, up to 10,000; a few, for moments, unless they cannot be published.",
        ),
        Metric(
            "marketbell_outbox_lag_seconds", "gauge", (),
            "How long ago the first of them was put there; 0 if there is none.",
        ),
        Metric(
            "marketbell_outbox_rejected", "gauge", (),
            "Messages of the outbox that were refused and wait for a person, up to 10,000.",
        ),
        Metric("marketbell_tasks_running", "gauge", (), "Background tasks that run."),
        Metric("marketbell_nodes", "gauge", (), "Nodes that live, as this one saw it last."),
        Metric(
            "marketbell_slots_owned", "gauge", (),
            "Slots that this node serves; of all nodes together 1024.",
        ),
        Metric(
            "marketbell_node_unfit", "gauge", (),
            "1 while what this node asks of the database for its slots gets no answer.",
        ),
        Metric(
            "marketbell_clock_skew_seconds", "gauge", (),
            "By how much this machine's clock is ahead of the database's; nodes go by the latter.",
        ),
        Metric("marketbell_database_bytes", "gauge", (), "Size of the database, its log included."),
        Metric(
            "marketbell_pruned_total", "counter", ("kind",),
            "Payloads, attempts and messages that retention removed, and deliveries that it cancelled.",
            known=("payload", "attempt", "message", "cancelled"),
        ),
        Metric(
            "marketbell_log_dropped_total", "counter", (),
            "Log lines lost because the log's reader was too slow or gone.",
        ),
        Metric("marketbell_build_info", "gauge", ("version", "python"), "Always 1."),
    )
}  # fmt: skip
"""Every metric of our own, by name. Those named process_* come from prometheus-client."""


class Histogram:
    """Counts of measured values in buckets; adding one is a bisection of a list."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Iterable[Number]) -> None:
        self._bounds = list(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum: Number = 0

    def add(self, value: Number) -> None:
        """Count one value, given in the unit of the bounds."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_each(self, values: Sequence[Number]) -> None:
        """Count many values."""
        bounds, counts = self._bounds, self._counts
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self._sum += sum(values)

    def cumulated(self, unit: float = 1.0) -> tuple[list[tuple[str, float]], float]:
        """Buckets as Prometheus wants them, and the sum; `unit` is what one of ours is in its unit."""
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip([*self._bounds, float("inf")], self._counts, strict=True):
            total += count
            label = "+Inf" if bound == float("inf") else repr(round(float(bound * unit), 9))
            buckets.append((label, total))
        return buckets, self._sum * unit


class Counters:
    """Counters by name and label values, as plain numbers."""

    def __init__(self) -> None:
        self._values: dict[str, dict[Labels, int]] = {
            metric.name: {(value,): 0 for value in metric.known} if metric.labels else {(): 0}
            for metric in METRICS.values()
            if metric.kind == "counter"
        }

    def add(self, name: str, count: int = 1, labels: Labels = ()) -> None:
        """Raise one counter. KeyError for a name that is not in METRICS."""
        values = self._values[name]
        values[labels] = values.get(labels, 0) + count

    def add_each(self, name: str, labels: Iterable[Labels]) -> None:
        """Raise one counter by 1 for each of these label values."""
        values = self._values[name]
        for each in labels:
            values[each] = values.get(each, 0) + 1

    def copy(self, name: str, count: int) -> None:
        """Take over a count without labels that is kept elsewhere."""
        self._values[name][()] = count

    def values(self, name: str) -> Mapping[Labels, int]:
        """A counter's values by label values, in the order of the metric's labels."""
        return self._values[name]


class Gauges:
    """Where the present figures are read from when they are asked for."""

    def __init__(self) -> None:
        self._readers: dict[str, dict[Labels, Callable[[], Number]]] = {}

    def register(self, name: str, read: Callable[[], Number], labels: Labels = ()) -> None:
        """
        Let `read` say one gauge's value from now on, in the unit of its name.

        ValueError if METRICS has no such gauge or its labels are others.
        """
        metric = METRICS.get(name)
        if metric is None or metric.kind != "gauge":
            raise ValueError(f"{name} is not a gauge; the gauges are in METRICS")
        if len(labels) != len(metric.labels):
            raise ValueError(f"{name} has the labels {metric.labels}, not {labels}")
        self._readers.setdefault(name, {})[labels] = read

    def values(self, name: str) -> Mapping[Labels, Number]:
        """One gauge's values; a reader that fails leaves its own out and nothing else."""
        values: dict[Labels, Number] = {}
        for labels, read in self._readers.get(name, {}).items():
            try:
                values[labels] = read()
            except Exception:  # noqa: S112 - one broken reader must not take /metrics away
                continue
        return values


class Others(Protocol):
    """The processes that serve with this one."""

    def whole(self, own: Iterable[Family]) -> list[Family]:
        """The families of this process and theirs together."""


class _Given(Collector):
    """Families that were worked out before."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        return self._families


class Exposition(Collector):
    """All of METRICS as Prometheus reads it, from plain numbers."""

    def __init__(
        self,
        counters: Counters,
        gauges: Gauges,
        histograms: Mapping[str, tuple[Histogram, float]],
    ) -> None:
        self._counters = counters
        self._gauges = gauges
        self._histograms = histograms
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        gauges.register(
            "marketbell_build_info", lambda: 1, (marketbell.__version__, platform.python_version())
        )

    def families(self) -> list[Family]:
        """All of this process, prometheus-client's own among them."""
        return list(self._registry.collect())

    def text(self, accept: str = "", others: Others | None = None) -> tuple[str, bytes]:
        """The content type that suits the Accept header, and the body; of all processes if there are others."""
        encode, content_type = choose_encoder(accept)
        if others is None:
            return content_type, encode(self._registry)
        whole = CollectorRegistry(auto_describe=False)
        whole.register(_Given(others.whole(self.families())))
        return content_type, encode(whole)

    def collect(self) -> Iterable[Family]:
        """One family for each metric, in the order of METRICS."""
        for metric in METRICS.values():
            if metric.kind == "counter":
                yield self._counter(metric)
            elif metric.kind == "gauge":
                yield self._gauge(metric)
            else:
                yield self._histogram(metric)

    def _counter(self, metric: Metric) -> Family:
        family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, value in sorted(self._counters.values(metric.name).items()):
            family.add_metric(labels, value)
        return family

    def _gauge(self, metric: Metric) -> Family:
        family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, value in sorted(self._gauges.values(metric.name).items()):
            family.add_metric(labels, value)
        return family

    def _histogram(self, metric: Metric) -> Family:
        family = HistogramMetricFamily(metric.name, metric.help)
        histogram, unit = self._histograms[metric.name]
        buckets, total = histogram.cumulated(unit)
        family.add_metric((), buckets, sum_value=total)
        return family
