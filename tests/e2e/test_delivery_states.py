"""What a change of an endpoint means for what is new and for what is pending."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Final

import pytest

from marketbell import signing
from marketbell.clock import SystemClock
from marketbell.model import DeliveryState, Endpoint, Message, Outcome, Policy, SigningKey
from marketbell.store.base import Ages, EndpointDraft
from marketbell.testing import HANG, OK, Answer, FakeClock, Received, TestReceiver
from support.plane import DAY, ORGANIZATION, Diary, Knobs, Plane

ERROR: Final = Answer(status=500)
EVERY_MINUTE: Final = Policy(retry_schedule=(60_000,) * 20)


async def states(plane: Plane, messages: list[Message], endpoint: Endpoint) -> set[object]:
    return {await plane.state(message, endpoint) for message in messages}


def signed_by(request: Received, key: SigningKey) -> bool:
    message_id = request.header("webhook-id") or ""
    seconds = int(request.header("webhook-timestamp") or 0)
    signature = signing.sign([key], message_id, seconds, request.body)
    return signature in (request.header("webhook-signature") or "").split()


class TestPaused:
    """New messages are created and held, pending ones are held."""

    async def test_nothing_is_sent_and_all_of_it_goes_on_when_it_is_resumed(
        self, tmp_path: Path
    ) -> None:
        clock = FakeClock()
        diary = Diary(clock, [ERROR, OK])
        async with TestReceiver(diary) as shop, Plane(tmp_path, clock) as plane:
            application = await plane.application(EVERY_MINUTE)
            endpoint = await plane.endpoint(application, shop.url)
            before = [await plane.publish(application)]
            await plane.pass_time(1_000)
            await plane.change(endpoint, paused=True)
            during = [await plane.publish(application) for _ in range(3)]
            await plane.pass_time(20 * DAY)
            assert diary.times == [0]
            assert await states(plane, before + during, endpoint) == {DeliveryState.PENDING}

            await plane.change(endpoint, paused=False)
            await plane.settled()
            assert len(diary.times) == 5
            assert await states(plane, before + during, endpoint) == {DeliveryState.DELIVERED}

    async def test_a_late_answer_that_asks_for_rest_does_not_end_the_pause(
        self, tmp_path: Path
    ) -> None:
        clock = FakeClock()
        busy = Answer(status=429, headers=(("Retry-After", "10"),), delay_s=0.2)
        async with TestReceiver([busy, OK]) as shop, Plane(tmp_path, clock) as plane:
            application = await plane.application()
            endpoint = await plane.endpoint(application, shop.url)
            await plane.publish(application)
            await shop.wait_for(1)
            await plane.change(endpoint, paused=True)
            await plane.settled()
            await plane.publish(application)
            await plane.pass_time(DAY)
            assert len(shop.requests) == 1
            await plane.change(endpoint, paused=False)
            await plane.pass_time(DAY)
            assert len(shop.requests) == 3


class TestDisabled:
    """No new ones are created; pending ones are held, and cancelled once their payload is old."""

    async def test_new_messages_pass_it_by_and_pending_ones_wait_until_it_is_enabled(
        self, tmp_path: Path
    ) -> None:
        clock = FakeClock()
        diary = Diary(clock, [ERROR, OK])
        async with TestReceiver(diary) as shop, Plane(tmp_path, clock) as plane:
            application = await plane.application(EVERY_MINUTE)
            endpoint = await plane.endpoint(application, shop.url)
            before = await plane.publish(application)
            await plane.pass_time(1_000)
            await plane.change(endpoint, disabled=True)
            during = await plane.publish(application)
            await plane.pass_time(20 * DAY)
            assert diary.times == [0]
            assert await plane.state(before, endpoint) is DeliveryState.PENDING
            assert await plane.state(during, endpoint) is None

            await plane.change(endpoint, disabled=False)
            await plane.settled()
            assert len(diary.times) == 2
            assert await plane.state(before, endpoint) is DeliveryState.DELIVERED
            assert await plane.state(during, endpoint) is None

    async def test_what_waits_longer_than_payloads_are_kept_is_cancelled(
        self, tmp_path: Path
    ) -> None:
        clock = FakeClock()
        knobs = Knobs(ages=Ages(payloads=DAY, attempts=30 * DAY, messages=30 * DAY))
        async with TestReceiver([ERROR]) as shop, Plane(tmp_path, clock, knobs) as plane:
            application = await plane.application(EVERY_MINUTE)
            endpoint = await plane.endpoint(application, shop.url)
            message = await plane.publish(application)
            await plane.pass_time(1_000)
            await plane.change(endpoint, disabled=True)
            await plane.pass_time(DAY - 2_000)
            await plane.janitor.look()
            assert await plane.state(message, endpoint) is DeliveryState.PENDING
            await plane.pass_time(2_000)
            await plane.janitor.look()
            assert await plane.state(message, endpoint) is DeliveryState.CANCELLED
            assert len(shop.requests) == 1


async def test_deleting_cancels_what_is_pending_and_sends_nothing_more(tmp_path: Path) -> None:
    clock = FakeClock()
    diary = Diary(clock, [ERROR])
    async with TestReceiver(diary) as shop, Plane(tmp_path, clock) as plane:
        application = await plane.application(EVERY_MINUTE)
        endpoint = await plane.endpoint(application, shop.url)
        other = await plane.endpoint(application, shop.url)
        message = await plane.publish(application)
        await plane.pass_time(1_000)
        await plane.delete(endpoint)
        assert await plane.state(message, endpoint) is DeliveryState.CANCELLED
        await plane.janitor.look()
        await plane.pass_time(3 * 60_000)
        assert await plane.state(message, endpoint) is DeliveryState.CANCELLED
        assert await plane.state(message, other) is DeliveryState.PENDING
        assert len(await plane.attempts(message, endpoint=endpoint)) == 1
        assert len(await plane.attempts(message, endpoint=other)) == 4


async def test_deleting_an_application_stops_all_that_is_pending(tmp_path: Path) -> None:
    clock = FakeClock()
    async with TestReceiver([ERROR]) as shop, Plane(tmp_path, clock) as plane:
        application = await plane.application(EVERY_MINUTE)
        await plane.endpoint(application, shop.url)
        await plane.publish(application)
        await plane.pass_time(1_000)
        await plane.store.delete_application(
            application.organization, application.public_id, now=clock.now()
        )
        await plane.pass_time(DAY)
        assert len(shop.requests) == 1


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
            assert await states(plane, messages, endpoint) == {DeliveryState.DELIVERED}
            urls = [one.url for one in await plane.attempts(endpoint)]
            assert urls == [old.url] * 3 + [new.url] * 3

    async def test_url_while_others_wait_behind_a_request_that_hangs(self, tmp_path: Path) -> None:
        knobs = Knobs(timeout=1_000)
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
            assert await states(plane, messages, endpoint) == {DeliveryState.DELIVERED}

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


@pytest.mark.parametrize("change", ["paused", "disabled", "deleted"])
async def test_claims_that_wait_in_memory_are_not_sent_after_the_change(
    tmp_path: Path, change: str
) -> None:
    knobs = Knobs(timeout=400)
    async with (
        TestReceiver([OK, HANG]) as shop,
        Plane(tmp_path, SystemClock(), knobs) as plane,
    ):
        application = await plane.application(Policy(retry_schedule=(1,) * 9, max_in_flight=2))
        endpoint = await plane.endpoint(application, shop.url)
        await plane.publish(application)
        await plane.settled()
        for _ in range(6):
            await plane.publish(application)
        await shop.wait_for(3)
        assert plane.lanes.by_endpoint[endpoint.id].stock > 0
        if change == "deleted":
            await plane.delete(endpoint)
        else:
            await plane.change(endpoint, **{change: True})
        await plane.settled()
        assert len(shop.requests) == 3
        outcomes = [one.outcome for one in await plane.attempts(endpoint)]
        assert outcomes == [Outcome.ACCEPTED, Outcome.NO_ANSWER, Outcome.NO_ANSWER]


async def test_an_endpoint_whose_dialect_is_gone_fails_alone(tmp_path: Path) -> None:
    clock = FakeClock()
    async with TestReceiver() as shop, Plane(tmp_path, clock) as plane:
        application = await plane.application()
        lost = await plane.endpoint(application, shop.url + "lost", policy=Policy(dialect="gone"))
        well = await plane.endpoint(application, shop.url + "well")
        messages = [await plane.publish(application) for _ in range(3)]
        await plane.pass_time(20_000)
        assert {request.target for request in shop.requests} == {"/well"}
        assert await states(plane, messages, well) == {DeliveryState.DELIVERED}
        assert await states(plane, messages, lost) == {DeliveryState.PENDING}
        reasons = {one.reason for one in await plane.attempts(lost)}
        assert len(reasons) == 1
        assert "gone" in reasons.pop()


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
        waits = 200 if way == "claimed" else 0
        accept = plane.dispatcher.accept([plane.acceptance(subscribers, b"{}", after=waits)])
        if way == "claimed":
            await accept
        # While the writer is busy all that follows comes before it at once.
        busy = plane.store._writer.run(lambda _transaction: time.sleep(0.4))
        over = asyncio.Event()
        asyncio.get_running_loop().call_later(0.3, over.set)
        await over.wait()
        under_way: list[Awaitable[object]] = [busy]
        if way == "claimed":
            assert plane.dispatcher.claims.busy
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
        await asyncio.gather(*under_way)
        await plane.settled()
        if change == "url":
            await elsewhere.wait_for(1)
        assert len(shop.requests) == 1
        assert Outcome.UNKNOWN not in {one.outcome for one in await plane.attempts(endpoint)}
