"""What the program tells of itself: one line and one span per attempt, and its metrics."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from marketbell.attempt_line import AttemptLine, Observed, line_of
from marketbell.errors import SettingsError
from marketbell.logs import LineWriter, Log, Renderer, configure_logging
from marketbell.metrics import METRICS, Counters, Exposition, Gauges, Histogram, Labels, Number
from marketbell.model import (
    Application,
    DeliveryState,
    Instant,
    Message,
    Millis,
    Outcome,
    Trigger,
)

if TYPE_CHECKING:
    from marketbell.shared_metrics import SharedMetrics
    from marketbell.spans import Spans

NotAccepted: TypeAlias = Literal["repeated", "conflict", "refused", "unavailable"]
"""Why a message was not kept: its idempotency key or its eventId was known, it broke a rule, the store could not."""

_ACCEPTED: Final = Outcome.ACCEPTED
_CLOSED: Final = Outcome.CLOSED
_PENDING: Final = DeliveryState.PENDING
_MANUAL: Final = Trigger.MANUAL
_INFO: Final = logging.INFO
_WARNING: Final = logging.WARNING
_MILLI: Final = 0.001
_OTLP: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class Observer:
    """
    The one place that the data plane and the API report to.

    Reporting costs a few microseconds, never waits and never raises. With `log` None there are
    no lines, with `spans` None no spans; metrics are always counted.
    """

    def __init__(
        self,
        *,
        log: Log | None = None,
        spans: Spans | None = None,
        shared: SharedMetrics | None = None,
    ) -> None:
        self._shared = shared
        self._log = log
        self._spans = spans
        self._writer: LineWriter | None = log.writer if log is not None else None
        self._least = log.level if log is not None else logging.CRITICAL
        self._encode: Callable[[AttemptLine], bytes] = msgspec.json.Encoder().encode
        if log is not None and log.console:
            self._encode = functools.partial(_encode_for_people, log.renderer)
        self._counters = Counters()
        self._gauges = Gauges()
        self._duration = _millis("marketbell_attempt_duration_seconds")
        self._lateness = _millis("marketbell_lateness_seconds")
        self._first = _millis("marketbell_accept_to_first_attempt_seconds")
        self._rows = Histogram(METRICS["marketbell_store_batch_rows"].buckets)
        self._commit = Histogram(METRICS["marketbell_store_commit_seconds"].buckets)
        self._exposition = Exposition(
            self._counters,
            self._gauges,
            {
                "marketbell_attempt_duration_seconds": (self._duration, _MILLI),
                "marketbell_lateness_seconds": (self._lateness, _MILLI),
                "marketbell_accept_to_first_attempt_seconds": (self._first, _MILLI),
                "marketbell_store_batch_rows": (self._rows, 1.0),
                "marketbell_store_commit_seconds": (self._commit, 1.0),
            },
        )

    def attempted(self, run: Iterable[Observed]) -> None:
        """
        Attempts, in the order in which they ended, as they are handed to the store.

        Each of a long run costs three fifths of what one alone costs.
        """
        outcomes: list[Labels] = []
        ended: list[Labels] = []
        durations: list[Millis] = []
        lates: list[Millis] = []
        firsts: list[Millis] = []
        lines: list[bytes] = []
        spans, encode, least = self._spans, self._encode, self._least
        for claim, attempt, verdict, application, endpoint, dialect, sent_bytes, passage in run:
            outcome, started, due_at = attempt.outcome, attempt.started_at, claim.due_at
            late = started - due_at if started > due_at else 0
            outcomes.append((outcome._value_, dialect))
            durations.append(attempt.duration)
            lates.append(late)
            if (
                claim.attempt_count == 0
                and due_at <= claim.born_at
                and claim.trigger is not _MANUAL
            ):
                firsts.append(max(started - claim.message.created_at, 0))
            if verdict is not None and verdict.state is not _PENDING:
                ended.append((verdict.state._value_,))
            level = _INFO if outcome is _ACCEPTED or outcome is _CLOSED else _WARNING
            if level >= least:
                line = line_of(
                    claim, attempt, verdict, application, endpoint, dialect, level, late,
                    sent_bytes, passage,
                )  # fmt: skip
                lines.append(encode(line))
            if spans is not None:
                spans.attempt(
                    claim, attempt, application=application, endpoint=endpoint, dialect=dialect
                )
        self._counters.add_each("marketbell_attempts_total", outcomes)
        self._counters.add_each("marketbell_deliveries_total", ended)
        self._duration.add_each(durations)
        self._lateness.add_each(lates)
        self._first.add_each(firsts)
        if lines and self._writer is not None:
            self._writer.write_each(lines)

    def accepted(
        self, message: Message, *, application: Application, deliveries: int, now: Instant
    ) -> None:
        """A message that is on disk, with so many deliveries; `now` is when it was."""
        self.accepted_all([(message, application)], deliveries=deliveries, now=now)

    def accepted_all(
        self, run: Sequence[tuple[Message, Application]], *, deliveries: int, now: Instant
    ) -> None:
        """Messages that are on disk, with so many deliveries in all; `now` is when they were."""
        if run:
            self._counters.add("marketbell_messages_total", len(run), ("accepted",))
        if deliveries:
            self._counters.add("marketbell_deliveries_total", deliveries, ("pending",))
        if self._spans is not None:
            for message, application in run:
                self._spans.message(message, application=application, end=now)

    def not_accepted(self, result: NotAccepted, count: int = 1) -> None:
        """Messages that were not kept, and why: `unavailable` is the store's doing, the rest the caller's."""
        self._counters.add("marketbell_messages_total", count, (result,))

    def cancelled(self, deliveries: int) -> None:
        """Deliveries that ended without being sent: their endpoint was deleted or disabled."""
        self._counters.add("marketbell_deliveries_total", deliveries, ("cancelled",))

    def lost_claims(self, count: int) -> None:
        """Leases that had run out when the store looked."""
        self._counters.add("marketbell_lost_claims_total", count)

    def pruned(self, *, payloads: int, attempts: int, messages: int, cancelled: int) -> None:
        """What one step of retention removed."""
        for kind, count in (
            ("payload", payloads),
            ("attempt", attempts),
            ("message", messages),
            ("cancelled", cancelled),
        ):
            self._counters.add("marketbell_pruned_total", count, (kind,))
        self.cancelled(cancelled)

    def committed(self, rows: int, seconds: float) -> None:
        """One transaction of the store; fits `BatchStatistics.observe`."""
        self._rows.add(rows)
        self._commit.add(seconds)

    def gauge(self, name: str, read: Callable[[], Number], **labels: str) -> None:
        """
        Let `read` say one gauge's value from now on, in the unit of its name.

        `marketbell_sockets` takes `state="busy"` and `state="idle"`. ValueError for a name that is
        no gauge of METRICS, or other labels than it has.
        """
        metric = METRICS.get(name)
        wanted = metric.labels if metric is not None else ()
        if set(labels) != set(wanted):
            raise ValueError(f"{name} has the labels {wanted}, not {tuple(labels)}")
        self._gauges.register(name, read, tuple(labels[label] for label in wanted))

    def metrics(self, accept: str = "") -> tuple[str, bytes]:
        """The content type that suits the Accept header, and all metrics, as Prometheus reads them."""
        if self._writer is not None:
            self._counters.copy("marketbell_log_dropped_total", self._writer.dropped)
        return self._exposition.text(accept, self._shared)

    def keep_metrics(self) -> None:
        """Let the processes that serve with this one see its metrics, if there are any."""
        if self._shared is not None:
            self._shared.keep(self._exposition.families())

    def close(self) -> None:
        """Write and send what waits, each for at most a few seconds; lines that come later are lost."""
        if self._spans is not None:
            self._spans.close()
        if self._writer is not None:
            self._writer.close()


def open_spans(endpoint: str, environ: Mapping[str, str]) -> Spans | None:
    """
    Spans sent by OTLP over HTTP to `endpoint`, or as OTEL_EXPORTER_OTLP_ENDPOINT says; None if neither is set.

    The SDK's own variables hold: OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS
    and the rest; OTEL_SDK_DISABLED=true means no spans at all. SettingsError if spans are asked
    for and OpenTelemetry is not installed.
    """
    asked = (
        "otel_endpoint" if endpoint else next((name for name in _OTLP if environ.get(name)), None)
    )
    if asked is None or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        from marketbell.spans import Spans, otlp_exporter
    except ImportError as error:
        fault = (
            f"{asked} asks for OpenTelemetry spans, but OpenTelemetry is not installed"
            f" ({error.name}): run `pip install 'marketbell[otel]'`, or unset {asked}."
        )
        raise SettingsError([fault]) from error
    return Spans(otlp_exporter(endpoint))


def _millis(name: str) -> Histogram:
    """A histogram that is fed with milliseconds."""
    return Histogram(
        round(bound * 1000) if bound >= 0.01 else bound * 1000 for bound in METRICS[name].buckets
    )


def _encode_for_people(renderer: Renderer, line: AttemptLine) -> bytes:
    return renderer.render(msgspec.structs.asdict(line))


__all__ = [
    "AttemptLine", "Log", "NotAccepted", "Observed", "Observer", "configure_logging", "open_spans",
]  # fmt: skip
