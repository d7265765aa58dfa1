"""
A zoo of receivers as found in the wild, each with the attempts that the documents promise it.

Real requests over real sockets, on a FakeClock over all of Seller Center's thirty days. What is
sent is what happened: a sale at Ovoko, an order at Seller Center. On both databases; that a
redirect is not followed knows neither, and is tried on one.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
import pytest

from marketbell.delivery.reasons import CONNECT_TIMED_OUT, SEND_TIMED_OUT
from marketbell.model import DeliveryState, Endpoint, Millis, Policy
from marketbell.sandbox import ovoko, sellercenter
from marketbell.sandbox.act import do
from marketbell.store.base import MessageFilter, Page
from marketbell.testing import HANG, Answer, FakeClock, Received, TestReceiver, Then
from support.knobs import AS_A_SERVER, DAY
from support.nodes import OpenPlane
from support.staging import staged

MINUTE: Final[Millis] = 60_000
OVOKO: Final = "ovoko"
SELLER_CENTER: Final = "sellercenter"


def _thirty_days() -> list[Millis]:
    times = [0]
    for minutes in (1, 5, 10, 30, 60, 120, 300, 600, *[1440] * 29):
        times.append(times[-1] + minutes * MINUTE)
    return times


WHOLE: Final[dict[str, list[Millis]]] = {
    OVOKO: [0, 7_000, 42_000, 217_000],
    SELLER_CENTER: _thirty_days(),
}
"""When each attempt of a delivery that never succeeds starts, if every answer takes no time."""

ONCE: Final = [0]
SILENT: Final = "never answering"
UNSENT: Final = frozenset({CONNECT_TIMED_OUT, SEND_TIMED_OUT})
Creature: TypeAlias = Sequence[Answer] | Callable[[Received], Answer]


def strict(request: Received) -> Answer:
    """Takes only what the documents promise; a 400 for anything else."""
    body: dict[str, Any] = json.loads(request.body)
    known = request.method == "POST" and request.header("content-type") == "application/json"
    if "event_type" in body:
        known &= list(body) == ["event_id", "event_type", "timestamp", "event_data"]
        known &= isinstance(body["event_data"]["order_id"], str)
    else:
        known &= list(body) == ["event", "payload"]
        known &= isinstance(body["payload"]["OrderId"], int)
    return Answer(status=200 if known else 400)


ZOO: Final[dict[str, tuple[Creature, dict[str, list[Millis]]]]] = {
    "strict": (strict, {OVOKO: ONCE, SELLER_CENTER: ONCE}),
    "slow, but in time": ([Answer(delay_s=0.1)], {OVOKO: ONCE, SELLER_CENTER: ONCE}),
    "always 500": ([Answer(status=500)], WHOLE),
    "always 404": ([Answer(status=404)], WHOLE),
    SILENT: ([HANG], WHOLE),
    "gone": ([Answer(status=410)], WHOLE),
    "busy, asking for a day": (
        [Answer(status=429, headers=(("Retry-After", "86400"),))],
        WHOLE,
    ),
    "204": ([Answer(status=204)], {OVOKO: ONCE, SELLER_CENTER: WHOLE[SELLER_CENTER]}),
    "202": ([Answer(status=202)], {OVOKO: ONCE, SELLER_CENTER: WHOLE[SELLER_CENTER]}),
    "closing without an answer": ([Answer(raw=b"", then=Then.CLOSE)], WHOLE),
    "resetting": ([Answer(raw=b"", then=Then.RESET)], WHOLE),
    "answering before reading": (
        [Answer(early=True, then=Then.CLOSE)],
        {OVOKO: ONCE, SELLER_CENTER: ONCE},
    ),
    "closing within its answer": (
        [Answer(body=b"thank you", cut=20, then=Then.CLOSE)],
        WHOLE,
    ),
    "speaking no HTTP": ([Answer(raw=b"OK\r\n\r\n", then=Then.CLOSE)], WHOLE),
    "well at the third time": (
        [Answer(status=500), Answer(status=503), Answer()],
        {name: times[:3] for name, times in WHOLE.items()},
    ),
}
"""Each creature, and when its attempts start."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What one creature got of one event."""

    times: list[Millis]
    """When each attempt started, from the first."""
    state: DeliveryState | None
    requests: int
    unsent: int
    """Attempts that ran out of time before their request was out, as a busy machine brings about."""
    bodies: int
    """How many different ones it got."""
    disabled: bool


async def visits(open_plane: OpenPlane, marketplace: str) -> dict[str, Seen]:
    """One sale, and every creature a webhook of the one seller; then forty days."""
    async with contextlib.AsyncExitStack() as stack:
        opened = open_plane(FakeClock(), AS_A_SERVER)
        bazaar, stage = await stack.enter_async_context(staged(opened))
        plane, seller = bazaar.plane, stage.sellers[marketplace]
        event_types = frozenset({"order.created" if marketplace == OVOKO else "onOrderCreated"})
        homes: dict[str, tuple[TestReceiver, Endpoint]] = {}
        for name, (script, _) in ZOO.items():
            shop = await stack.enter_async_context(TestReceiver(script))
            policy = Policy(timeout=50 if name == SILENT else 10_000)
            endpoint = await plane.endpoint(
                seller, shop.url, event_types=event_types, policy=policy
            )
            homes[name] = (shop, endpoint)
        await do(stage, ovoko.Buy() if marketplace == OVOKO else sellercenter.Buy())
        await plane.pass_time(40 * DAY)
        which = MessageFilter(event_types=event_types)
        (message,) = (await plane.store.messages(seller.id, which, Page(limit=2))).data
        states = await plane.store.delivery_states(message.id)
        seen = {}
        for name, (shop, endpoint) in homes.items():
            attempts = await plane.attempts(endpoint)
            starts = [one.started_at for one in attempts]
            kept = await plane.store.endpoint(endpoint.application_id, endpoint.public_id)
            seen[name] = Seen(
                times=[start - starts[0] for start in starts],
                state=states.get(endpoint.public_id),
                requests=len(shop.requests),
                unsent=sum(one.reason in UNSENT for one in attempts),
                bodies=len({request.body for request in shop.requests}),
                disabled=kept.disabled,
            )
        return seen


@pytest.mark.parametrize("marketplace", [OVOKO, SELLER_CENTER])
async def test_each_creature_gets_exactly_its_attempts(
    open_plane: OpenPlane, marketplace: str
) -> None:
    seen = await visits(open_plane, marketplace)
    for name, (_, expected) in ZOO.items():
        times = expected[marketplace]
        one = seen[name]
        assert one.times == times, name
        failed = times == WHOLE[marketplace]
        assert one.state is (DeliveryState.FAILED if failed else DeliveryState.DELIVERED), name
        assert one.requests == len(times) - one.unsent, name
        assert not one.unsent or name == SILENT, name
        assert one.bodies == 1, f"{name}: a resend is the same to the byte"
        assert not one.disabled, f"{name}: neither marketplace disables a webhook"


@pytest.mark.parametrize("marketplace", [OVOKO, SELLER_CENTER])
async def test_a_redirecting_one_is_never_followed(tmp_path: Path, marketplace: str) -> None:
    async with TestReceiver() as elsewhere, staged(tmp_path) as (bazaar, stage):
        away = Answer(status=302, headers=(("Location", elsewhere.url + "trap"),))
        async with TestReceiver([away]) as shop:
            await bazaar.plane.endpoint(stage.sellers[marketplace], shop.url)
            await do(stage, ovoko.Import())
            await do(stage, ovoko.MovePart(move="reserve"))
            await do(stage, sellercenter.Metrics())
            await bazaar.plane.pass_time(40 * DAY)
            assert len(shop.requests) == len(WHOLE[marketplace])
        assert elsewhere.connections == 0


def test_the_tables_are_those_of_the_documents() -> None:
    assert len(WHOLE[OVOKO]) == 4
    assert len(WHOLE[SELLER_CENTER]) == 38
    assert WHOLE[SELLER_CENTER][-1] == (29 * 24 + 18) * 60 * MINUTE + 46 * MINUTE
    assert WHOLE[SELLER_CENTER][-1] + DAY > 30 * DAY
