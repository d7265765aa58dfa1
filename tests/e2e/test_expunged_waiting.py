"""A payload that was removed for good is not sent, though its delivery's claim waited in memory."""

from __future__ import annotations

from pathlib import Path

from marketbell.model import DeliveryState
from marketbell.testing import OK, Answer, FakeClock, Received, TestReceiver
from support.plane import Plane

CANCELLED, DELIVERED = DeliveryState.CANCELLED, DeliveryState.DELIVERED


async def test_what_waits_in_memory_is_cancelled_when_its_payload_is_removed(
    tmp_path: Path,
) -> None:
    sent: list[bytes] = []

    def script(request: Received) -> Answer:
        sent.append(request.body)
        return OK

    async with TestReceiver(script) as shop, Plane(tmp_path, FakeClock()) as plane:
        cancelled: list[int] = []
        plane.store.on_cancelled = cancelled.append
        application = await plane.application()
        endpoint = await plane.endpoint(application, shop.url, throttle_rate=1)
        messages = [await plane.publish(application, b"%d" % number) for number in range(30)]
        await plane.pass_time(3_000)
        (lane,) = plane.lanes.by_endpoint.values()
        waiting = [claim.message.public_id for claim in lane.waiting()]
        assert len(waiting) > 3
        before = len(sent)
        removed = messages[before + 2 :]
        assert not {message.public_id for message in removed}.isdisjoint(waiting)
        for message in removed:
            await plane.store.expunge_payload(
                application.id, message.public_id, now=plane.clock.now()
            )
        await plane.pass_time(60_000)
        assert sent == [b"%d" % number for number in range(before + 2)]
        assert await plane.states(removed, endpoint) == {CANCELLED}
        assert await plane.states(messages[: before + 2], endpoint) == {DELIVERED}
        assert sum(cancelled) == len(removed)
