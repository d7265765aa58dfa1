from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from marketbell.delivery.exchange import Exchange, Kind
from marketbell.model import (
    Application,
    Attempt,
    Claim,
    DeliveryState,
    Message,
    Outcome,
    Policy,
    Trigger,
    Verdict,
)
from marketbell.observe import Observer
from marketbell.spans import Spans, traceparent
from support.values import an_endpoint

NOW = 1_795_298_400_000

APPLICATION = Application(
    id=1, public_id="app_1", organization="org_1", uid=None, name="a seller", metadata={},
    policy=Policy(), throttle_rate=None, revision=1, created_at=0, updated_at=0,
)  # fmt: skip
ENDPOINT = an_endpoint(url="https://seller.example/hooks/s3cr3t?token=t0k3n", slot=1)  # fmt: skip
MESSAGE = Message(
    id=1, public_id="msg_1", application_id=1, event_type="order.created", event_id=None,
    payload=b'{"a":1}', occurred_at=NOW, created_at=NOW, payload_expires_at=NOW,
)  # fmt: skip
CLAIM = Claim(
    message=MESSAGE, endpoint_id=1, endpoint_revision=1, claim_number=1, attempt_count=0,
    born_at=NOW, due_at=NOW, lease_until=NOW + 60_000,
)  # fmt: skip
ATTEMPT = Attempt(
    public_id="atmpt_1", message_id=1, endpoint_id=1, claim_number=1, number=1,
    trigger=Trigger.SCHEDULED, outcome=Outcome.ACCEPTED, status_code=200, reason="", response=b"",
    url=ENDPOINT.url, address="192.0.2.7:443", started_at=NOW + 40, duration=12,
)  # fmt: skip


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Iterator[Spans]:
    spans = Spans(exporter)
    yield spans
    spans.close()


def finished(spans: Spans, exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    assert spans.flush()
    return list(exporter.get_finished_spans())


def report(observer: Observer, attempt: Attempt = ATTEMPT, claim: Claim = CLAIM) -> None:
    verdict = Verdict(state=DeliveryState.DELIVERED)
    went = Exchange(Kind.ANSWERED, "")
    observer.attempted([(claim, attempt, verdict, APPLICATION, ENDPOINT, "standard", 7, went)])


def test_a_messages_attempts_stand_below_its_own_span(
    spans: Spans, exporter: InMemorySpanExporter
) -> None:
    observer = Observer(spans=spans)
    observer.accepted(MESSAGE, application=APPLICATION, deliveries=1, now=NOW + 5)
    report(observer)
    report(observer)
    root, first, second = finished(spans, exporter)
    assert (root.name, root.kind, root.parent) == ("accept message", SpanKind.PRODUCER, None)
    assert (root.start_time, root.end_time) == (NOW * 10**6, (NOW + 5) * 10**6)
    for span in (first, second):
        assert (span.name, span.kind) == ("attempt delivery", SpanKind.CLIENT)
        assert span.parent is not None
        assert span.context.trace_id == root.context.trace_id
        assert span.parent.span_id == root.context.span_id
        assert (span.start_time, span.end_time) == ((NOW + 40) * 10**6, (NOW + 52) * 10**6)
    assert first.context.span_id != second.context.span_id


def test_a_later_process_finds_the_trace_by_the_messages_id_alone(
    spans: Spans, exporter: InMemorySpanExporter
) -> None:
    Observer(spans=spans).accepted(MESSAGE, application=APPLICATION, deliveries=1, now=NOW)
    (root,) = finished(spans, exporter)
    later = InMemorySpanExporter()
    restarted = Spans(later)
    report(Observer(spans=restarted))
    (span,) = finished(restarted, later)
    restarted.close()
    assert span.parent is not None
    assert span.context.trace_id == root.context.trace_id
    assert span.parent.span_id == root.context.span_id
    assert traceparent("msg_1") == f"00-{root.context.trace_id:032x}-{root.context.span_id:016x}-01"


def test_two_messages_have_two_traces() -> None:
    assert traceparent("msg_1")[:35] != traceparent("msg_2")[:35]


def test_an_attempts_span_tells_whom_and_what_but_no_path_or_query(
    spans: Spans, exporter: InMemorySpanExporter
) -> None:
    report(Observer(spans=spans))
    (span,) = finished(spans, exporter)
    assert span.attributes is not None
    assert span.attributes["server.address"] == "seller.example"
    assert span.attributes["server.port"] == 443
    assert span.attributes["http.response.status_code"] == 200
    assert span.attributes["marketbell.outcome"] == "accepted"
    assert span.attributes["marketbell.dialect"] == "standard"
    assert span.attributes["messaging.message.id"] == "msg_1"
    assert span.status.status_code is StatusCode.UNSET
    assert "s3cr3t" not in span.to_json()
    assert "t0k3n" not in span.to_json()


@pytest.mark.parametrize(
    ("outcome", "status", "error"),
    [(Outcome.REJECTED, 503, "503"), (Outcome.NO_ANSWER, 0, "no_answer")],
)
def test_a_failed_attempts_span_is_an_error_with_its_reason(
    spans: Spans, exporter: InMemorySpanExporter, outcome: Outcome, status: int, error: str
) -> None:
    report(
        Observer(spans=spans),
        msgspec.structs.replace(
            ATTEMPT, outcome=outcome, status_code=status, reason="what went wrong"
        ),
    )
    (span,) = finished(spans, exporter)
    assert span.attributes is not None
    assert span.attributes["error.type"] == error
    assert (span.status.status_code, span.status.description) == (
        StatusCode.ERROR,
        "what went wrong",
    )


def test_a_message_is_sampled_with_all_of_its_attempts_or_with_none(
    monkeypatch: pytest.MonkeyPatch, exporter: InMemorySpanExporter
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    spans = Spans(exporter)
    observer = Observer(spans=spans)
    for number in range(100):
        message = msgspec.structs.replace(MESSAGE, public_id=f"msg_{number}")
        observer.accepted(message, application=APPLICATION, deliveries=1, now=NOW)
        for _ in range(2):
            report(observer, claim=msgspec.structs.replace(CLAIM, message=message))
    counts: dict[int, int] = {}
    for span in finished(spans, exporter):
        counts[span.context.trace_id] = counts.get(span.context.trace_id, 0) + 1
    spans.close()
    assert 20 < len(counts) < 80
    assert set(counts.values()) == {3}


def test_the_service_is_named_after_us_unless_it_is_named_otherwise(
    monkeypatch: pytest.MonkeyPatch, spans: Spans, exporter: InMemorySpanExporter
) -> None:
    report(Observer(spans=spans))
    assert finished(spans, exporter)[0].resource.attributes["service.name"] == "marketbell"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "webhooks-eu")
    other = InMemorySpanExporter()
    named = Spans(other)
    report(Observer(spans=named))
    assert finished(named, other)[0].resource.attributes["service.name"] == "webhooks-eu"
    named.close()
