from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from marketbell.delivery.exchange import Exchange, Kind
from marketbell.errors import SettingsError
from marketbell.logs import Log
from marketbell.model import (
    NEVER,
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
from marketbell.observe import AttemptLine, Observed, Observer, open_spans
from support.values import an_endpoint

NOW = 1_795_298_400_000  # 2026-11-21T22:00:00Z

APPLICATION = Application(
    id=1, public_id="app_1", organization="org_1", uid=None, name="a seller", metadata={},
    policy=Policy(), throttle_rate=None, revision=1, created_at=0, updated_at=0,
)  # fmt: skip
ENDPOINT = an_endpoint(url="https://seller.example:8443/hooks/s3cr3t?token=t0k3n", slot=1)  # fmt: skip
MESSAGE = Message(
    id=1, public_id="msg_1", application_id=1, event_type="order.created", event_id=None,
    payload=b"{}", occurred_at=NOW, created_at=NOW, payload_expires_at=NOW,
)  # fmt: skip
DELIVERED = Verdict(state=DeliveryState.DELIVERED)


def a_claim(*, attempt_count: int = 0, due_at: int = NOW) -> Claim:
    return Claim(
        message=MESSAGE, endpoint_id=1, endpoint_revision=1, claim_number=3, born_at=NOW,
        attempt_count=attempt_count, due_at=due_at, lease_until=NOW + 60_000,
    )  # fmt: skip


def an_attempt(outcome: Outcome = Outcome.ACCEPTED, status: int = 200, reason: str = "") -> Attempt:
    return Attempt(
        public_id="atmpt_1", message_id=1, endpoint_id=1, claim_number=3, number=1,
        trigger=Trigger.SCHEDULED, outcome=outcome, status_code=status, reason=reason,
        response=b"", url=ENDPOINT.url, address="192.0.2.7:8443", started_at=NOW + 40, duration=12,
    )  # fmt: skip


def report(
    observer: Observer,
    attempt: Attempt,
    verdict: Verdict | None = DELIVERED,
    claim: Claim | None = None,
) -> None:
    observer.attempted([observed(attempt, verdict, claim)])


def observed(
    attempt: Attempt, verdict: Verdict | None = DELIVERED, claim: Claim | None = None
) -> Observed:
    went = Exchange(
        Kind.ANSWERED,
        "",
        connect=3,
        first_byte=9,
        truncated=True,
        location="https://b.example/x?token=t0k3n",
    )
    return claim or a_claim(), attempt, verdict, APPLICATION, ENDPOINT, "standard", 345, went


def a_log(stream: io.StringIO, *, console: bool = False, level: int = 20) -> Log:
    return Log(console=console, level=level, stream=stream)


def values(observer: Observer) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = observer.metrics()[1].decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(observer: Observer, name: str, **labels: str) -> float:
    return values(observer)[name, frozenset(labels.items())]


def test_an_accepted_attempt_is_one_json_line_with_every_fact() -> None:
    stream = io.StringIO()
    observer = Observer(log=a_log(stream))
    report(observer, an_attempt())
    observer.close()
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == [
        {
            "time": "2026-11-21T22:00:00.040Z", "level": "info", "event": "attempt",
            "outcome": "accepted", "status": 200, "reason": "", "event_type": "order.created",
            "host": "seller.example", "address": "192.0.2.7:8443", "duration_ms": 12, "connect_ms": 3,
            "first_byte_ms": 9, "reused": False, "truncated": True,
            "location": "https://b.example", "late_ms": 40,
            "number": 1, "claim": 3, "trigger": "scheduled", "state": "delivered", "due": None,
            "hold": None, "disabled": False, "sent_bytes": 345, "dialect": "standard",
            "organization": "org_1", "application": "app_1", "endpoint": "ep_1",
            "message": "msg_1", "attempt": "atmpt_1",
        }
    ]  # fmt: skip


def test_a_run_tells_the_same_as_its_attempts_one_by_one() -> None:
    run = [
        observed(an_attempt()),
        observed(
            an_attempt(Outcome.REJECTED, 500, "answered 500"),
            Verdict(state=DeliveryState.PENDING, due_at=7),
        ),
        observed(an_attempt(Outcome.CLOSED, 0, "closed"), None),
        observed(an_attempt(), claim=a_claim(attempt_count=1, due_at=NOW + 10)),
        observed(
            an_attempt(Outcome.NO_ANSWER, 0, "no answer"), Verdict(state=DeliveryState.FAILED)
        ),
    ]
    told: list[tuple[str, dict[tuple[str, frozenset[tuple[str, str]]], float]]] = []
    for runs in ([run], [[one] for one in run]):
        stream = io.StringIO()
        observer = Observer(log=a_log(stream))
        for some in runs:
            observer.attempted(some)
        figures = {
            name: value for name, value in values(observer).items() if "marketbell" in name[0]
        }
        observer.close()
        told.append((stream.getvalue(), figures))
    assert told[0] == told[1]
    assert told[0][0].count("\n") == len(run)
    assert told[0][1]["marketbell_lateness_seconds_count", frozenset()] == len(run)


def test_a_failed_attempt_is_a_warning_that_says_what_follows() -> None:
    stream = io.StringIO()
    observer = Observer(log=a_log(stream))
    verdict = Verdict(
        state=DeliveryState.PENDING,
        due_at=NOW + 7_000,
        hold_until=NOW + 9_000,
        disable_endpoint=True,
    )
    report(observer, an_attempt(Outcome.REJECTED, 410, "HTTP 410"), verdict)
    observer.close()
    line = json.loads(stream.getvalue())
    assert line["level"] == "warning"
    assert (line["status"], line["reason"], line["state"]) == (410, "HTTP 410", "pending")
    assert line["due"] == "2026-11-21T22:00:07.000Z"
    assert line["hold"] == "2026-11-21T22:00:09.000Z"
    assert line["disabled"] is True


def test_an_attempt_without_a_verdict_leaves_the_delivery_as_it_was() -> None:
    stream = io.StringIO()
    observer = Observer(log=a_log(stream))
    report(observer, an_attempt(Outcome.CLOSED, 0, "connection reused, closed"), None)
    observer.close()
    line = json.loads(stream.getvalue())
    assert (line["level"], line["state"], line["due"]) == ("info", None, None)


def test_a_delivery_that_is_due_never_has_no_due_time_in_its_line() -> None:
    stream = io.StringIO()
    observer = Observer(log=a_log(stream))
    verdict = Verdict(state=DeliveryState.PENDING, due_at=NEVER)
    report(observer, an_attempt(Outcome.NO_ANSWER, 0, "refused"), verdict)
    observer.close()
    assert json.loads(stream.getvalue())["due"] is None


@pytest.mark.parametrize("console", [False, True])
def test_a_line_shows_the_host_and_nothing_else_of_the_url(*, console: bool) -> None:
    stream = io.StringIO()
    observer = Observer(log=a_log(stream, console=console))
    report(observer, an_attempt())
    observer.close()
    assert "seller.example" in stream.getvalue()
    assert "s3cr3t" not in stream.getvalue()
    assert "t0k3n" not in stream.getvalue()


def test_a_console_line_names_every_fact_that_has_a_value() -> None:
    stream = io.StringIO()
    observer = Observer(log=a_log(stream, console=True))
    report(observer, an_attempt(Outcome.NO_ANSWER, 0, "timed out while connecting"))
    observer.close()
    (line,) = stream.getvalue().splitlines()
    for field in set(AttemptLine.__struct_fields__) - {"time", "level", "event", "due", "hold"}:
        assert f" {field}=" in line
    assert 'reason="timed out while connecting"' in line
    assert "\x1b" not in line


def test_above_its_level_the_log_keeps_only_attempts_that_failed() -> None:
    stream = io.StringIO()
    observer = Observer(log=a_log(stream, level=30))
    report(observer, an_attempt())
    report(observer, an_attempt(Outcome.REJECTED, 500, "HTTP 500"))
    observer.close()
    assert [json.loads(line)["status"] for line in stream.getvalue().splitlines()] == [500]


def test_attempts_are_counted_by_outcome_and_dialect_and_deliveries_by_their_end() -> None:
    observer = Observer()
    report(observer, an_attempt())
    report(observer, an_attempt())
    pending = Verdict(state=DeliveryState.PENDING, due_at=NOW + 1)
    report(observer, an_attempt(Outcome.REJECTED, 500, "HTTP 500"), pending)
    report(observer, an_attempt(Outcome.CLOSED, 0, "closed"), None)
    failed = Verdict(state=DeliveryState.FAILED)
    report(observer, an_attempt(Outcome.NO_ANSWER, 0, "refused"), failed)
    name = "marketbell_attempts_total"
    assert value(observer, name, outcome="accepted", dialect="standard") == 2
    assert value(observer, name, outcome="rejected", dialect="standard") == 1
    assert value(observer, name, outcome="closed", dialect="standard") == 1
    assert value(observer, name, outcome="no_answer", dialect="standard") == 1
    assert value(observer, "marketbell_deliveries_total", state="delivered") == 2
    assert value(observer, "marketbell_deliveries_total", state="failed") == 1
    assert value(observer, "marketbell_deliveries_total", state="pending") == 0


def test_duration_and_lateness_are_measured_in_seconds() -> None:
    observer = Observer()
    report(observer, an_attempt(), claim=a_claim(due_at=NOW - 1_960))
    assert value(observer, "marketbell_attempt_duration_seconds_sum") == pytest.approx(0.012)
    assert value(observer, "marketbell_attempt_duration_seconds_bucket", le="0.01") == 0
    assert value(observer, "marketbell_attempt_duration_seconds_bucket", le="0.025") == 1
    assert value(observer, "marketbell_lateness_seconds_sum") == pytest.approx(2.0)
    assert value(observer, "marketbell_lateness_seconds_count") == 1


def test_a_clock_that_stepped_back_makes_no_negative_lateness() -> None:
    observer = Observer()
    report(observer, an_attempt(), claim=a_claim(due_at=NOW + 60_000))
    assert value(observer, "marketbell_lateness_seconds_sum") == 0


def test_only_first_attempts_that_were_due_at_once_measure_the_way_from_acceptance() -> None:
    observer = Observer()
    name = "marketbell_accept_to_first_attempt_seconds"
    report(observer, an_attempt(), claim=a_claim(due_at=NOW + 30))
    report(observer, an_attempt(), claim=a_claim(attempt_count=1))
    report(observer, an_attempt(), claim=msgspec.structs.replace(a_claim(), trigger=Trigger.MANUAL))
    assert value(observer, f"{name}_count") == 0
    report(observer, an_attempt())
    assert value(observer, f"{name}_count") == 1
    assert value(observer, f"{name}_sum") == pytest.approx(0.040)


def test_messages_are_counted_by_verdict_with_the_deliveries_they_made() -> None:
    observer = Observer()
    observer.accepted(MESSAGE, application=APPLICATION, deliveries=3, now=NOW)
    observer.not_accepted("conflict")
    observer.not_accepted("unavailable", 4)
    name = "marketbell_messages_total"
    assert value(observer, name, result="accepted") == 1
    assert value(observer, name, result="conflict") == 1
    assert value(observer, name, result="unavailable") == 4
    assert value(observer, name, result="refused") == 0
    assert value(observer, "marketbell_deliveries_total", state="pending") == 3


def test_the_store_and_retention_are_counted() -> None:
    observer = Observer()
    observer.committed(100, 0.004)
    observer.committed(1, 0.001)
    observer.lost_claims(2)
    observer.pruned(payloads=5, attempts=6, messages=7, cancelled=8)
    assert value(observer, "marketbell_store_batch_rows_sum") == 101
    assert value(observer, "marketbell_store_batch_rows_bucket", le="1.0") == 1
    assert value(observer, "marketbell_store_commit_seconds_sum") == pytest.approx(0.005)
    assert value(observer, "marketbell_lost_claims_total") == 2
    assert value(observer, "marketbell_pruned_total", kind="message") == 7
    assert value(observer, "marketbell_deliveries_total", state="cancelled") == 8


def test_a_gauge_is_read_when_it_is_asked_for() -> None:
    observer = Observer()
    sockets = {"busy": 1, "idle": 2}
    observer.gauge("marketbell_sockets", lambda: sockets["busy"], state="busy")
    observer.gauge("marketbell_sockets", lambda: sockets["idle"], state="idle")
    sockets["busy"] = 7
    assert value(observer, "marketbell_sockets", state="busy") == 7
    assert value(observer, "marketbell_sockets", state="idle") == 2


def test_a_gauge_that_fails_is_left_out_and_the_others_stay() -> None:
    observer = Observer()
    observer.gauge("marketbell_in_flight", lambda: 1 // 0)
    observer.gauge("marketbell_waiting_rows", lambda: 5)
    names = {name for name, _labels in values(observer)}
    assert "marketbell_in_flight" not in names
    assert value(observer, "marketbell_waiting_rows") == 5


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("marketbell_messages_total", {"result": "accepted"}),
        ("marketbell_nonsense", {}),
        ("marketbell_in_flight", {"state": "busy"}),
        ("marketbell_sockets", {}),
    ],
)
def test_only_gauges_of_the_table_are_taken(name: str, labels: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=name):
        Observer().gauge(name, lambda: 1, **labels)


def test_lost_log_lines_are_a_metric() -> None:
    log = a_log(io.StringIO())
    observer = Observer(log=log)
    observer.close()
    report(observer, an_attempt())
    assert value(observer, "marketbell_log_dropped_total") == 1


def test_spans_are_off_unless_they_are_asked_for() -> None:
    assert open_spans("", {}) is None
    assert open_spans("http://127.0.0.1:4318", {"OTEL_SDK_DISABLED": "true"}) is None


@pytest.mark.parametrize(
    ("endpoint", "environ", "asked"),
    [
        ("http://127.0.0.1:4318", {}, "otel_endpoint"),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ],
)
def test_asking_for_spans_without_opentelemetry_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, environ: dict[str, str], asked: str
) -> None:
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "marketbell.spans", raising=False)
    with pytest.raises(SettingsError) as caught:
        open_spans(endpoint, environ)
    (fault,) = caught.value.faults
    assert asked in fault
    assert "marketbell[otel]" in fault


def test_importing_observe_does_not_import_opentelemetry() -> None:
    import subprocess

    code = "import sys, marketbell.observe; sys.exit(any(m.startswith('opentelemetry') for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path("/"))
    assert done.returncode == 0
