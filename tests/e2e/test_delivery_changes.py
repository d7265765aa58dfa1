"""A change of an endpoint is in force from the next attempt, and what is pending goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable
from pathlib import Path
from typing import Final

import pytest

from marketbell import signing
from marketbell.clock import SystemClock
from marketbell.model import DeliveryState, Outcome, Policy, SigningKey
from marketbell.store.base import EndpointDraft
from marketbell.testing import HANG, OK, Answer, FakeClock, Received, TestReceiver
from support.eventually import PATIENCE_S, eventually
from support.plane import DAY, ORGANIZATION, Diary, Knobs, Plane

ERROR: Final = Answer(status=500)
EVERY_MINUTE: Final = Policy(retry_schedule=(60_000,) * 20)


def signed_by(request: Received, key: SigningKey) -> bool:
    message_id = request.header("webhook-id") or ""
    seconds = int(request.header("webhook-timestamp") or 0)
    signature = signing.sign([key], message_id, seconds, request.body)
    return signature in (request.header("webhook-signature") or "").split()


class TestChanged:
    """The next attempt uses the new; what is pending goes on."""

    async def test_url(self, tmp_path: Path) -> None:
        clock = FakeClock()
        async with (
            TestReceiver([ERROR]) as old,
            TestReceiver() as new,
            Plane(tmp_path, clock) as plane,
        ):
            application = await plane.application(EVERY_MINUTE)
            endpoint = await plane.endpoint(application, old.url)
            messages = [await plane.publish(application) for _ in range(3)]
            await plane.pass_time(1_000)
            await plane.change(endpoint, url=new.url)
            await plane.pass_time(120_000)
            assert (len(old.requests), len(new.requests)) == (3, 3)
            assert await plane.states(messages, endpoint) == {DeliveryState.DELIVERED}
            urls = [one.url for one in await plane.attempts(endpoint)]
            assert urls == [old.url] * 3 + [new.url] * 3

    async def test_url_while_others_wait_behind_a_request_that_hangs(self, tmp_path: Path) -> None:
        knobs = Knobs(timeout=3_000)
        async with (
            TestReceiver([HANG]) as old,
            TestReceiver() as new,
            Plane(tmp_path, SystemClock(), knobs) as plane,
        ):
            application = await plane.application(Policy(retry_schedule=(1,), max_in_flight=1))
            # What waits has been claimed already, with the URL that was good then.
            endpoint = await plane.endpoint(application, old.url, policy=Policy(order_by=None))
            messages = [await plane.publish(application) for _ in range(5)]
            await old.wait_for(1)
            await plane.change(endpoint, url=new.url)
            await new.wait_for(5)
            await plane.settled()
            assert len(old.requests) == 1
            assert await plane.states(messages, endpoint) == {DeliveryState.DELIVERED}

    async def test_secret(self, tmp_path: Path) -> None:
        clock = FakeClock()
        async with TestReceiver([ERROR]) as shop, Plane(tmp_path, clock) as plane:
            application = await plane.application(EVERY_MINUTE)
            endpoint = await plane.endpoint(application, shop.url)
            await plane.publish(application)
            await plane.pass_time(1_000)
            new = signing.new_secret()
            await plane.store.rotate_secret(
                application.id,
                endpoint.public_id,
                new,
                overlap_until=clock.now(),
                secrets_max=10,
                now=clock.now(),
            )
            await plane.pass_time(60_000)
            first, second = shop.requests
            assert signed_by(first, endpoint.secrets[0])
            assert not signed_by(second, endpoint.secrets[0])
            assert signed_by(second, new)

    async def test_headers_and_policy(self, tmp_path: Path) -> None:
        clock = FakeClock()
        diary = Diary(clock, [ERROR])
        async with TestReceiver(diary) as shop, Plane(tmp_path, clock) as plane:
            application = await plane.application(EVERY_MINUTE)
            endpoint = await plane.endpoint(application, shop.url, headers=(("X-Key", "old"),))
            await plane.publish(application)
            await plane.pass_time(1_000)
            await plane.change(
                endpoint,
                headers=(("X-Key", "new"),),
                policy=Policy(retry_schedule=(5_000, 500, 250)),
            )
            await plane.pass_time(DAY)
            assert [one.header("X-Key") for one in shop.requests] == ["old"] + ["new"] * 3
            # The second wait began under the old schedule; step two and three are the new one's.
            assert diary.times == [0, 60_000, 60_500, 60_750]

    async def test_filter_changes_what_is_new_and_not_what_is_pending(self, tmp_path: Path) -> None:
        clock = FakeClock()
        async with TestReceiver([ERROR, OK]) as shop, Plane(tmp_path, clock) as plane:
            application = await plane.application(EVERY_MINUTE)
            endpoint = await plane.endpoint(application, shop.url)
            pending = await plane.publish(application, event_type="part.changed")
            await plane.pass_time(1_000)
            await plane.change(endpoint, event_types=frozenset({"order.created"}))
            passed_by = await plane.publish(application, event_type="part.changed")
            taken = await plane.publish(application, event_type="order.created")
            await plane.pass_time(60_000)
            assert await plane.state(pending, endpoint) is DeliveryState.DELIVERED
            assert await plane.state(passed_by, endpoint) is None
            assert await plane.state(taken, endpoint) is DeliveryState.DELIVERED
            assert len(shop.requests) == 3

    async def test_policy_of_the_application(self, tmp_path: Path) -> None:
        clock = FakeClock()
        diary = Diary(clock, [ERROR])
        async with TestReceiver(diary) as shop, Plane(tmp_path, clock) as plane:
            application = await plane.application(EVERY_MINUTE)
            await plane.endpoint(application, shop.url)
            await plane.publish(application)
            await plane.pass_time(1_000)
            await plane.change_application(application, policy=Policy(retry_schedule=(1, 2)))
            await plane.pass_time(DAY)
            assert diary.times == [0, 60_000, 60_002]


@pytest.mark.parametrize("change", ["paused", "disabled", "deleted", "url"])
@pytest.mark.parametrize("way", ["born", "claimed"])
async def test_a_change_counts_for_what_is_claimed_in_the_same_moment(
    tmp_path: Path, change: str, way: str
) -> None:
    """The writer has both before it at once, so the claim is older than the change by nothing."""
    async with (
        TestReceiver() as shop,
        TestReceiver() as elsewhere,
        Plane(tmp_path, SystemClock()) as plane,
    ):
        application = await plane.application()
        endpoint = await plane.endpoint(application, shop.url)
        await plane.publish(application)
        await plane.settled()
        subscribers = await plane.store.subscribers(ORGANIZATION, application.public_id)
        waits = 1_500 if way == "claimed" else 0
        accept = plane.dispatcher.accept([plane.acceptance(subscribers, b"{}", after=waits)])
        if way == "claimed":
            await accept
        # While the writer is busy all that follows comes before it at once.
        free = threading.Event()
        busy = plane.store._writer.run(lambda _transaction: free.wait(PATIENCE_S))
        under_way: list[Awaitable[object]] = [busy]
        if way == "claimed":
            await eventually(lambda: plane.dispatcher.claims.busy)
        else:
            under_way.append(asyncio.ensure_future(accept))
            await asyncio.sleep(0)
        if change == "deleted":
            under_way.append(asyncio.ensure_future(plane.delete(endpoint)))
        else:
            draft = EndpointDraft(
                url=elsewhere.url if change == "url" else shop.url,
                paused=change == "paused",
                disabled=change == "disabled",
            )
            update = plane.store.update_endpoint(
                application.id, endpoint.public_id, draft, now=plane.clock.now()
            )
            under_way.append(asyncio.ensure_future(update))
        asyncio.get_running_loop().call_later(0.1, free.set)
        await asyncio.gather(*under_way)
        await plane.settled()
        if change == "url":
            await elsewhere.wait_for(1)
        assert len(shop.requests) == 1
        assert Outcome.UNKNOWN not in {one.outcome for one in await plane.attempts(endpoint)}
