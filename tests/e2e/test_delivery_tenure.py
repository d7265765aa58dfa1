"""What a node has claimed and not sent stays unsent once its lease may be over."""

from __future__ import annotations

import asyncio
from pathlib import Path

from marketbell.clock import SystemClock
from marketbell.delivery.tenure import ALL, Tenure
from marketbell.model import DeliveryState, Policy
from marketbell.testing import OK, Answer, Received, TestReceiver
from support.plane import Plane


async def test_nothing_is_sent_after_the_lease_and_all_of_it_once_it_is_sure_again(
    tmp_path: Path,
) -> None:
    """The deliveries' own leases are far from over: the node's alone keeps them back."""
    now_s = 0.0
    tenure = Tenure(lambda: now_s)
    tenure.renew(ALL, 10.0)
    came = 0
    answers = asyncio.Event()
    answers.set()

    async def answer(_request: Received) -> Answer:
        nonlocal came
        came += 1
        plane.ring()
        await answers.wait()
        return OK

    async with TestReceiver(answer) as shop, Plane(tmp_path, SystemClock(), owned=tenure) as plane:
        application = await plane.application(Policy(max_in_flight=2))
        endpoint = await plane.endpoint(application, shop.url)
        messages = [await plane.publish(application)]
        await plane.settled()
        answers.clear()
        messages += [await plane.publish(application) for _ in range(6)]
        await plane.until(lambda: came == 3)
        assert plane.lanes.by_endpoint[endpoint.id].stock > 2  # two under way, and some that wait
        now_s = 10.0
        answers.set()
        await plane.until(lambda: not plane.dispatcher.in_flight)
        # What comes meanwhile is kept and claimed by nobody.
        messages.append(await plane.publish(application))
        assert await plane.state(messages[-1], endpoint) is DeliveryState.PENDING
        assert came == 3
        tenure.renew(ALL, 20.0)
        plane.dispatcher.wake()
        await plane.until(lambda: came == len(messages))
        await plane.settled()
        assert await plane.states(messages, endpoint) == {DeliveryState.DELIVERED}
