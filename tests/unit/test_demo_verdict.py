"""The demo's verdict: everything that differs from the documents is found, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from marketbell.demo.client import Recorded
from marketbell.demo.heartbeat import Heartbeat
from marketbell.demo.receiver import TARGET
from marketbell.demo.script import OVOKO, SCRIPT, SELLERCENTER, TIMEOUT, Errand, Seller, errands
from marketbell.demo.verdict import (
    EARLY_MAX,
    LATE_MAX,
    LATE_SHARE,
    Finding,
    Progress,
    judge,
    late_allowed,
    waits_of,
)
from marketbell.model import Millis
from marketbell.testing.receiver import Received

SPEED = 40.0
ERRANDS = {errand.event_type: errand for errand in errands()}


def recorded(seller: Seller, late: Sequence[float] = (0, 0, 0)) -> tuple[Recorded, ...]:
    """Attempts as the document asks for them, each late by so many scaled milliseconds."""
    answers = (
        (500, "", 3),
        (0, "timed out waiting for the answer", TIMEOUT),
        (0, "connect: refused", 1),
    )
    attempts: list[Recorded] = []
    at: float = 1_800_000_000_000
    for number, (status, response, duration) in enumerate((*answers, (seller.good_status, "", 2))):
        attempts.append(
            Recorded(
                id=f"atmpt_{number}",
                endpoint="ep_1",
                succeeded=status == seller.good_status,
                status_code=status,
                response=response,
                started_at=round(at),
                duration=duration,
            )
        )
        if number < len(seller.waits):
            at += duration * SPEED + seller.waits[number] + late[number]
    return tuple(attempts)


def request(errand: Errand, number: int, **changes: object) -> Received:
    """The request of attempt 1, 2 or 4, which came 3 ms after the attempt began."""
    attempts = recorded(errand.seller)
    sent = attempts[(0, 1, 3)[number - 1]] if 1 <= number <= 3 else attempts[3]
    received = Received(
        method="POST",
        target=TARGET,
        headers=(("content-type", "application/json"), *errand.seller.headers.items()),
        head=b"",
        body=errand.body,
        connection=number,
        at=100.003 + (sent.started_at - attempts[0].started_at) / 1000 / SPEED,
    )
    return msgspec.structs.replace(received, **changes)


def arrived(errand: Errand, attempts: Sequence[Recorded]) -> list[Received]:
    """The requests of these attempts, each when it is on record."""
    requests = [request(errand, number) for number in (1, 2, 3)]
    starts = [attempts[at].started_at for at in (0, 1, 3) if at < len(attempts)]
    return [
        msgspec.structs.replace(one, at=100 + (start - starts[0]) / 1000 / SPEED)
        for one, start in zip(requests, starts, strict=False)
    ] + requests[len(starts) :]


def find(
    errand: Errand,
    attempts: Sequence[Recorded] | None = None,
    received: Sequence[Received] | None = None,
    message: str | None = "msg_1",
    lateness: Millis = 0,
) -> Finding:
    listed = recorded(errand.seller) if attempts is None else tuple(attempts)
    progress = Progress(
        errand=errand,
        speed=SPEED,
        endpoint="ep_1",
        message=message,
        attempts=listed,
        at_endpoint=listed,
    )
    got = arrived(errand, listed) if received is None else received
    return judge(progress, got, lateness)


@pytest.mark.parametrize("errand", list(ERRANDS.values()), ids=list(ERRANDS))
def test_what_is_as_documented_has_no_fault(errand: Errand) -> None:
    finding = find(errand)
    assert finding.faults == ()
    assert finding.accepted
    assert finding.delivered
    assert finding.attempts == len(SCRIPT) == 4
    assert finding.waits == errand.seller.waits


def test_both_documents_are_there_whole() -> None:
    for seller in (OVOKO, SELLERCENTER):
        assert sum(one.seller is seller for one in ERRANDS.values()) == seller.event_types
    assert len(ERRANDS) == 14


def test_the_bodies_are_the_documents_envelopes() -> None:
    assert ERRANDS["order.created"].body == (
        b'{"event_id":"00000000-0000-4000-8000-000000000002","event_type":"order.created",'
        b'"timestamp":"2023-01-12T14:17:20+02:00","event_data":{"order_id":"4555"}}'
    )
    assert ERRANDS["onOrderCreated"].body == b'{"event":"onOrderCreated","payload":{"OrderId":190}}'
    assert ERRANDS["onStatisticsUpdated"].body == b'{"event":"onStatisticsUpdated","payload":{}}'


ORDER = ERRANDS["order.created"]
GOOD = recorded(OVOKO)


def test_an_event_that_was_never_accepted_is_told() -> None:
    finding = find(ORDER, attempts=(), received=(), message=None)
    assert not finding.accepted
    assert not finding.delivered
    assert finding.faults[0] == "was not accepted"
    assert "0 attempts are on record and not 4" in finding.faults


@pytest.mark.parametrize(("step", "wait"), list(enumerate(OVOKO.waits)))
@pytest.mark.parametrize(
    ("off", "fault"),
    [
        (-EARLY_MAX * SPEED, ""),
        (-EARLY_MAX * SPEED - 1, "too early"),
        (LATE_MAX * SPEED, ""),
        (LATE_MAX * SPEED + 1, "too late"),
    ],
)
def test_a_wait_outside_of_the_tolerance_is_told(
    step: int, wait: Millis, off: float, fault: str
) -> None:
    late = [0.0, 0.0, 0.0]
    late[step] = off
    finding = find(ORDER, recorded(OVOKO, late))
    assert finding.waits[step] == wait + off
    assert len(finding.faults) == bool(fault)
    if fault:
        assert finding.faults[0].startswith(f"attempt {step + 2} came ")
        assert finding.faults[0].endswith(fault)


def changed(number: int, **changes: object) -> list[Recorded]:
    attempts = list(GOOD)
    attempts[number - 1] = msgspec.structs.replace(attempts[number - 1], **changes)
    return attempts


@pytest.mark.parametrize(
    ("attempts", "fault"),
    [
        (GOOD[:3], "3 attempts are on record and not 4"),
        ((*GOOD, GOOD[3]), "5 attempts are on record and not 4"),
        (changed(1, status_code=200), "attempt 1 has the status 200 and not 500"),
        (changed(2, status_code=500), "attempt 2 has the status 500 and not 0"),
        (changed(1, succeeded=True), "attempt 1 (500) is on record as a success"),
        (changed(4, succeeded=False), "attempt 4 (good) is on record as a failure"),
        (changed(4, endpoint="ep_2"), "attempt 4 went to another endpoint"),
        (changed(2, response="connect: refused"), "attempt 2 (time-out) says 'connect: refused'"),
        (changed(3, response="tls: x"), "attempt 3 (refused) says 'tls: x'"),
    ],
)
def test_a_wrong_attempt_is_told(attempts: Sequence[Recorded], fault: str) -> None:
    assert fault in find(ORDER, attempts).faults


def test_lists_that_differ_are_told() -> None:
    progress = Progress(
        errand=ORDER,
        speed=SPEED,
        endpoint="ep_1",
        message="msg_1",
        attempts=GOOD,
        at_endpoint=GOOD[:3],
    )
    finding = judge(progress, [request(ORDER, number) for number in (1, 2, 3)])
    assert finding.faults == ("the lists by message and by endpoint differ",)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"body": b"{}"}, "request 3 had the body b'{}' and not "),
        ({"target": "/hooks"}, "request 3 went to /hooks and not /hooks?"),
        ({"headers": (("Content-Type", "application/json"),)}, "request 3 lacked the header"),
        (
            {"headers": (*OVOKO.headers.items(), ("content-type", "text/plain"))},
            "request 3 was not sent as application/json",
        ),
    ],
)
def test_a_wrong_request_is_told(changes: dict[str, object], fault: str) -> None:
    received = [request(ORDER, 1), request(ORDER, 2), request(ORDER, 3, **changes)]
    (found,) = find(ORDER, received=received).faults
    assert found.startswith(fault)


def test_a_missing_or_repeated_request_is_told() -> None:
    for count in (2, 4):
        received = [request(ORDER, number) for number in range(1, count + 1)]
        assert find(ORDER, received=received).faults == (
            f"the receiver got {count} requests and not 3",
        )


def test_waits_run_from_the_end_of_an_attempt_in_scaled_time() -> None:
    first = msgspec.structs.replace(GOOD[0], started_at=1_000, duration=10)
    second = msgspec.structs.replace(GOOD[1], started_at=8_400)
    assert waits_of((first, second), SPEED) == (7_000,)


def test_a_machine_that_is_late_itself_is_allowed_for_and_no_more() -> None:
    """By a 35 s wait, half of which is more than what is allowed for here."""
    assert late_allowed(0) == LATE_MAX
    off = late_allowed(40) * SPEED
    assert LATE_MAX * SPEED < off < LATE_SHARE * OVOKO.waits[1]
    assert find(ORDER, recorded(OVOKO, (0, off, 0)), lateness=40).faults == ()
    assert len(find(ORDER, recorded(OVOKO, (0, off + 1, 0)), lateness=40).faults) == 1
    assert len(find(ORDER, recorded(OVOKO, (0, off, 0)), lateness=20).faults) == 1
    early = -EARLY_MAX * SPEED - 1
    assert len(find(ORDER, recorded(OVOKO, (0, early, 0)), lateness=40).faults) == 1


def test_a_wait_that_is_half_as_long_again_is_never_as_documented() -> None:
    late = [LATE_SHARE * wait + 1 for wait in OVOKO.waits]
    late[0] = max(late[0], LATE_MAX * SPEED + 1)
    faults = find(ORDER, recorded(OVOKO, late), lateness=5_000).faults
    assert len(faults) == 3
    assert all("up to 5000 ms late, so it is too busy to judge" in fault for fault in faults)


@pytest.mark.parametrize("speed", [25, 40, 60])
def test_each_sellers_clock_leaves_room_for_a_verdict(speed: float) -> None:
    for seller in (OVOKO, SELLERCENTER):
        own = seller.speed(speed)
        assert own <= speed
        assert sum(seller.waits) / own == pytest.approx(sum(SELLERCENTER.waits) / speed)
        for wait in seller.waits:
            assert LATE_MAX * own < LATE_SHARE / 2 * wait


def test_requests_that_came_at_other_times_than_on_record_are_told() -> None:
    received = [request(ORDER, number) for number in (1, 2, 3)]
    assert find(ORDER, received=received).faults == ()
    late = msgspec.structs.replace(received[2], at=received[2].at + 2 * LATE_MAX / 1000 + 0.001)
    assert find(ORDER, received=[*received[:2], late]).faults == (
        "request 3 came 8040ms apart from what is on record",
    )
    assert find(ORDER, received=[*received[:2], late], lateness=10).faults == ()


def test_the_heartbeat_tells_how_late_the_machine_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped, go_on = threading.Event(), threading.Event()

    def stop(_file: int) -> None:
        stopped.set()
        go_on.wait(60)

    with Heartbeat(tmp_path) as heartbeat:
        assert heartbeat.late < 60_000
        monkeypatch.setattr("marketbell.demo.heartbeat.os.fsync", stop)
        assert stopped.wait(60)
        before = heartbeat.late
        while heartbeat.late <= max(before, 300):
            go_on.wait(0.01)
        monkeypatch.undo()
        go_on.set()
    assert heartbeat.late > 300
