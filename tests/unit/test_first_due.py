"""When the first of what results leave behind falls due, so that nobody waits for the next look."""

from __future__ import annotations

from typing import Final

import msgspec
import pytest

from marketbell.delivery.recorder import first_due
from marketbell.model import DeliveryState, Instant, Trigger, Verdict
from marketbell.store.base import Result
from support.lanes import NOW, make_claim
from support.values import a_refusal

DELIVERED: Final = Verdict(state=DeliveryState.DELIVERED)
FAILED: Final = Verdict(state=DeliveryState.FAILED)


def result(
    verdict: Verdict | None,
    *,
    order_key: bytes | None = None,
    trigger: Trigger = Trigger.SCHEDULED,
    at: Instant = NOW,
) -> Result:
    claim = msgspec.structs.replace(make_claim(1), order_key=order_key, trigger=trigger)
    return Result(claim=claim, attempt=a_refusal(claim, at), verdict=verdict)


def again(due_at: Instant) -> Verdict:
    return Verdict(state=DeliveryState.PENDING, due_at=due_at)


@pytest.mark.parametrize("verdict", [None, DELIVERED, FAILED])
def test_what_has_ended_outside_of_any_order_leaves_nothing(verdict: Verdict | None) -> None:
    assert first_due([result(verdict)]) is None
    assert first_due([]) is None


def test_a_retry_is_due_when_it_is_due_and_the_first_counts() -> None:
    assert first_due([result(again(NOW + 9)), result(DELIVERED), result(again(NOW + 7))]) == NOW + 7


@pytest.mark.parametrize("verdict", [DELIVERED, FAILED])
def test_the_next_of_a_key_is_due_as_soon_as_one_has_ended(verdict: Verdict) -> None:
    assert first_due([result(verdict, order_key=b"k", at=NOW + 3)]) == NOW + 3


def test_a_resend_lets_a_key_go_on_though_it_stands_outside_of_the_order() -> None:
    assert first_due([result(DELIVERED, trigger=Trigger.MANUAL, at=NOW + 3)]) == NOW + 3


def test_an_attempt_that_leaves_its_delivery_as_it_was_says_nothing() -> None:
    assert first_due([result(None, order_key=b"k", trigger=Trigger.MANUAL)]) is None
