"""Receivers as they are found in the wild: each gets just the attempts that Ovoko's document promises."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from marketbell.dialects.ovoko import PartStatus
from marketbell.model import DeliveryState, Policy
from marketbell.testing import CLOSE, HANG, RESET, Answer, FakeClock, TestReceiver, Then
from support.bazaar import Bazaar, a_part
from support.plane import DAY, Diary, Knobs

FOUR = [0, 7_000, 42_000, 217_000]
"""When the attempts of a delivery that never succeeds are made, if no attempt takes time."""

RECEIVERS: dict[str, tuple[Sequence[Answer], list[int], DeliveryState]] = {
    "strict": ((Answer(),), [0], DeliveryState.DELIVERED),
    "answers 204": ((Answer(status=204),), [0], DeliveryState.DELIVERED),
    "always 500": ((Answer(status=500),), FOUR, DeliveryState.FAILED),
    "redirects": (
        (Answer(status=302, headers=(("location", "/elsewhere"),)),),
        FOUR,
        DeliveryState.FAILED,
    ),
    "gone": ((Answer(status=410),), FOUR, DeliveryState.FAILED),
    "asks to wait": (
        (Answer(status=429, headers=(("retry-after", "3600"),)),),
        FOUR,
        DeliveryState.FAILED,
    ),
    "well again at the third": (
        (Answer(status=500), Answer(status=503), Answer(status=201)),
        FOUR[:3],
        DeliveryState.DELIVERED,
    ),
    "slow, but in time": ((Answer(delay_s=0.03),), [0], DeliveryState.DELIVERED),
    "never answers": ((HANG,), FOUR, DeliveryState.FAILED),
    "never ends its answer": (
        (Answer(body=b"received", cut=20, then=Then.HANG),),
        FOUR,
        DeliveryState.FAILED,
    ),
    "answers before reading": ((Answer(early=True),), [0], DeliveryState.DELIVERED),
    "answers before reading and closes": (
        (Answer(early=True, then=Then.CLOSE),),
        [0],
        DeliveryState.DELIVERED,
    ),
    "refuses before reading and closes": (
        (Answer(status=500, early=True, then=Then.CLOSE),),
        FOUR,
        DeliveryState.FAILED,
    ),
    "closes without an answer": ((CLOSE,), FOUR, DeliveryState.FAILED),
    "resets": ((RESET, RESET, Answer()), FOUR[:3], DeliveryState.DELIVERED),
    "closes within its answer's head": (
        (Answer(cut=12, then=Then.CLOSE),),
        FOUR,
        DeliveryState.FAILED,
    ),
    "well again too late": ((*[Answer(status=500)] * 4, Answer()), FOUR, DeliveryState.FAILED),
}


@pytest.mark.parametrize("name", RECEIVERS)
async def test_attempts_are_as_promised_over_thirty_days(tmp_path: Path, name: str) -> None:
    """Traps 5, 6 and 7: 7, 35 and 175 s, any 2xx, the same bytes each time."""
    answers, times, state = RECEIVERS[name]
    clock = FakeClock()
    knobs = Knobs(
        breaker_failures=100,
        auto_disable_after=90 * DAY,
        timeout=1_200 if name.startswith("never") else 3_000,
    )
    async with Bazaar(tmp_path, clock, knobs) as bazaar:
        seller = await bazaar.seller()
        assert seller.policy == Policy(dialect="ovoko")
        part = await bazaar.market.import_part(seller, a_part(), PartStatus.IN_WAREHOUSE)
        diary = Diary(clock, answers)
        async with TestReceiver(diary) as receiver:
            endpoint = await bazaar.plane.endpoint(seller, receiver.url, secret=None)
            await bazaar.market.change_part_status(seller, part, PartStatus.SOLD)
            await bazaar.plane.settled()
            await bazaar.plane.pass_time(30 * DAY)
            assert diary.times == times
            bodies = [request.body for request in receiver.requests]
            heads = {request.head for request in receiver.requests}
        assert len(heads) == len(set(bodies)) == 1
        if bodies[0]:
            assert json.loads(bodies[0])["timestamp"] == "2026-01-01T02:00:00+02:00"
        else:
            assert answers[0].early
        attempts = await bazaar.plane.attempts(endpoint)
        assert [attempt.number for attempt in attempts] == list(range(1, len(times) + 1))
        store = bazaar.plane.store
        assert await store.delivery_states(attempts[0].message_id) == {endpoint.public_id: state}
