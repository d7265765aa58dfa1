"""
OpenTelemetry spans: one for each message and each attempt, all of a message in one trace.

A message's trace id and the id of its own span are digests of its public id (W3C Trace
Context, section 3.2: 16 and 8 bytes, not all zero). So an attempt made days later, after a
restart or by another node finds its trace with nothing kept for it.

This module needs the extra `otel`; `observe.open_spans` says so where it is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Final
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

import marketbell
from marketbell.model import Application, Attempt, Claim, Endpoint, Instant, Message, Outcome

_CLOSE_MS: Final = 2_000
_NS: Final = 1_000_000
"""Nanoseconds in a millisecond."""


def otlp_exporter(endpoint: str) -> SpanExporter:
    """Sends spans by OTLP over HTTP to that address; an empty one leaves it to OTEL_EXPORTER_OTLP_*."""
    if endpoint and not urlsplit(endpoint).path.strip("/"):
        endpoint = endpoint.rstrip("/") + "/v1/traces"
    return OTLPSpanExporter(endpoint=endpoint or None)


class Spans:
    """
    Makes spans and hands them to an exporter, off the event loop and bounded in number.

    Whether a message is sampled hangs on its trace id alone, so that its attempts are all
    seen or none; OTEL_TRACES_SAMPLER says how many are.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        resource = Resource.create({SERVICE_VERSION: marketbell.__version__})
        if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: "marketbell"}))
        self._ids = _Ids()
        self._provider = TracerProvider(
            resource=resource, id_generator=self._ids, shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("marketbell", marketbell.__version__)

    def message(self, message: Message, *, application: Application, end: Instant) -> None:
        """The span of a message's acceptance, from when it came in until it was on disk at `end`."""
        trace_id, span_id = _ids_of(message.public_id)
        if not self._sampled(trace_id):
            return
        self._ids.next_are(trace_id, span_id)
        span = self._tracer.start_span(
            "accept message",
            context=Context(),
            kind=SpanKind.PRODUCER,
            attributes={
                "messaging.operation.type": "create",
                "messaging.message.id": message.public_id,
                "messaging.message.body.size": len(message.payload),
                "marketbell.organization": application.organization,
                "marketbell.application": application.public_id,
                "marketbell.event_type": message.event_type,
            },
            start_time=message.created_at * _NS,
        )
        span.end(max(end, message.created_at) * _NS)

    def attempt(
        self,
        claim: Claim,
        attempt: Attempt,
        *,
        application: Application,
        endpoint: Endpoint,
        dialect: str,
    ) -> None:
        """The span of one attempt, below that of its message."""
        message = claim.message
        trace_id, span_id = _ids_of(message.public_id)
        if not self._sampled(trace_id):
            return
        parent = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(1))
        span = self._tracer.start_span(
            "attempt delivery",
            context=set_span_in_context(NonRecordingSpan(parent), Context()),
            kind=SpanKind.CLIENT,
            attributes={
                **_where(attempt.url, attempt.address),
                "messaging.operation.type": "send",
                "messaging.message.id": message.public_id,
                "marketbell.organization": application.organization,
                "marketbell.application": application.public_id,
                "marketbell.endpoint": endpoint.public_id,
                "marketbell.event_type": message.event_type,
                "marketbell.dialect": dialect,
                "marketbell.attempt": attempt.public_id,
                "marketbell.attempt.number": attempt.number,
                "marketbell.claim": attempt.claim_number,
                "marketbell.trigger": attempt.trigger.value,
                "marketbell.outcome": attempt.outcome.value,
            },
            start_time=attempt.started_at * _NS,
        )
        if attempt.status_code:
            span.set_attribute("http.response.status_code", attempt.status_code)
        if attempt.outcome is not Outcome.ACCEPTED:
            span.set_attribute("error.type", str(attempt.status_code or attempt.outcome.value))
            span.set_status(StatusCode.ERROR, attempt.reason)
        span.end((attempt.started_at + attempt.duration) * _NS)

    def flush(self) -> bool:
        """Send what was made; False if the collector is too slow for that."""
        return self._provider.force_flush(_CLOSE_MS)

    def close(self) -> None:
        """Send what was made, as far as the collector lets us in 2 s, and end."""
        self._provider.force_flush(_CLOSE_MS)
        self._provider.shutdown()

    def _sampled(self, trace_id: int) -> bool:
        result = self._provider.sampler.should_sample(Context(), trace_id, "message")
        return result.decision is Decision.RECORD_AND_SAMPLE


def traceparent(message: str) -> str:
    """The W3C `traceparent` of a message's own span, by its public id."""
    trace_id, span_id = _ids_of(message)
    return f"00-{trace_id:032x}-{span_id:016x}-01"


class _Ids(RandomIdGenerator):
    """Random ids, save for the span that a message's own ids were set for."""

    def __init__(self) -> None:
        super().__init__()
        self._trace: int | None = None
        self._span: int | None = None

    def next_are(self, trace_id: int, span_id: int) -> None:
        self._trace, self._span = trace_id, span_id

    def generate_trace_id(self) -> int:
        given, self._trace = self._trace, None
        return given or super().generate_trace_id()

    def generate_span_id(self) -> int:
        given, self._span = self._span, None
        return given or super().generate_span_id()


def _ids_of(message: str) -> tuple[int, int]:
    digest = blake2b(message.encode(), digest_size=24, person=b"marketbell-trace").digest()
    return int.from_bytes(digest[:16], "big") or 1, int.from_bytes(digest[16:], "big") or 1


def _where(url: str, address: str) -> Mapping[str, AttributeValue]:
    """Whom the attempt went to, without the path and the query, where receivers keep tokens."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {
        "http.request.method": "POST",
        "url.scheme": parts.scheme,
        "server.address": parts.hostname or "",
        "server.port": port,
        "network.peer.address": address,
    }
