"""Kept connections that die, and addresses that are not called at all."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from marketbell.clock import SystemClock
from marketbell.delivery import reasons
from marketbell.model import DeliveryState, Outcome, Policy
from marketbell.testing import CLOSE, HANG, OK, Answer, FakeClock, Received, TestReceiver, Then
from support.plane import Diary, Knobs, Plane

ERROR: Final = Answer(status=500)
KEPT: Final = Knobs(idle_s=60.0)
"""Where a connection is used again, whatever the machine does meanwhile."""


class TestKeptConnections:
    """A connection is used again, and what happens if it has died."""

    async def test_one_that_dies_is_an_attempt_of_its_own_followed_at_once_by_another(
        self, tmp_path: Path
    ) -> None:
        clock = FakeClock()
        diary = Diary(clock, [OK, CLOSE, OK])
        async with TestReceiver(diary) as shop, Plane(tmp_path, clock, KEPT) as plane:
            application = await plane.application(Policy(retry_schedule=(60_000,)))
            endpoint = await plane.endpoint(application, shop.url)
            await plane.publish(application)
            await plane.settled()
            message = await plane.publish(application)
            await plane.settled()

            assert diary.times == [0, 0, 0]
            assert [one.connection for one in shop.requests] == [1, 1, 2]
            dead, good = await plane.attempts(message)
            assert (dead.outcome, dead.number, dead.status_code) == (Outcome.CLOSED, 0, 0)
            assert dead.reason == reasons.REUSED_CLOSED
            assert (good.outcome, good.number) == (Outcome.ACCEPTED, 1)
            assert dead.claim_number == good.claim_number
            assert await plane.state(message, endpoint) is DeliveryState.DELIVERED

    async def test_it_uses_no_step_of_the_schedule(self, tmp_path: Path) -> None:
        clock = FakeClock()
        diary = Diary(clock, [OK, CLOSE, ERROR, ERROR, OK])
        async with TestReceiver(diary) as shop, Plane(tmp_path, clock, KEPT) as plane:
            application = await plane.application(Policy(retry_schedule=(7_000, 35_000)))
            await plane.endpoint(application, shop.url)
            await plane.publish(application)
            await plane.settled()
            message = await plane.publish(application)
            await plane.pass_time(100_000)
            assert diary.times == [0, 0, 0, 7_000, 42_000]
            numbers = [one.number for one in await plane.attempts(message)]
            assert numbers == [0, 1, 2, 3]

    async def test_a_new_connection_that_dies_is_a_failure_like_any(self, tmp_path: Path) -> None:
        clock = FakeClock()
        diary = Diary(clock, [CLOSE])
        async with TestReceiver(diary) as shop, Plane(tmp_path, clock) as plane:
            application = await plane.application(Policy(retry_schedule=(7_000,)))
            endpoint = await plane.endpoint(application, shop.url)
            message = await plane.publish(application)
            await plane.pass_time(100_000)
            assert diary.times == [0, 7_000]
            attempts = await plane.attempts(message)
            assert [(one.outcome, one.number) for one in attempts] == [
                (Outcome.NO_ANSWER, 1),
                (Outcome.NO_ANSWER, 2),
            ]
            assert await plane.state(message, endpoint) is DeliveryState.FAILED

    async def test_every_request_that_came_is_on_record_however_connections_die(
        self, tmp_path: Path
    ) -> None:
        """Closed before, inside and after the answer, a hundred times over."""
        answers = [
            OK,
            CLOSE,
            Answer(then=Then.CLOSE),
            OK,
            Answer(body=b"half of it", cut=40),
            Answer(then=Then.RESET),
            Answer(status=500, then=Then.CLOSE),
            OK,
            Answer(raw=b"", then=Then.RESET),
        ]
        count = 0

        def answer(request: Received) -> Answer:
            nonlocal count
            count += 1
            return answers[count % len(answers)]

        knobs = Knobs(breaker_failures=100_000, timeout=300)
        async with TestReceiver(answer) as shop, Plane(tmp_path, SystemClock(), knobs) as plane:
            application = await plane.application(Policy(retry_schedule=(1,) * 30))
            endpoint = await plane.endpoint(application, shop.url)
            messages = [
                await plane.publish(application, b'{"n":%d}' % number) for number in range(100)
            ]
            await plane.until(
                lambda: sum(one.outcome is Outcome.ACCEPTED for one in plane.told.attempts) == 100,
            )
            await plane.settled()
            for message in messages:
                came = [one for one in shop.requests if one.body == message.payload]
                attempts = await plane.attempts(message)
                sent = [one for one in attempts if one.address]
                assert len(came) <= len(sent)
                assert len(attempts) - len(came) <= sum(not one.status_code for one in attempts)
                assert await plane.state(message, endpoint) is DeliveryState.DELIVERED


class TestAddresses:
    """The guard stands before every attempt."""

    async def test_a_name_that_turns_to_a_private_address_between_two_attempts_is_refused(
        self, tmp_path: Path
    ) -> None:
        clock = FakeClock()
        names = {"shop.example": ["127.0.0.1"]}
        knobs = Knobs(networks=("127.0.0.1/32",), names=names, names_ttl_s=1.0)
        async with TestReceiver([ERROR]) as shop, Plane(tmp_path, clock, knobs) as plane:
            application = await plane.application(Policy(retry_schedule=(60_000, 60_000)))
            url = f"http://shop.example:{shop.port}/"
            endpoint = await plane.endpoint(application, url)
            message = await plane.publish(application)
            await plane.settled()
            names["shop.example"] = ["127.0.0.2"]
            await plane.pass_time(60_000)
            names["shop.example"] = ["127.0.0.1", "10.0.0.7"]
            await plane.pass_time(60_000)

            assert len(shop.requests) == 1
            first, second, third = await plane.attempts(message)
            assert first.status_code == 500
            assert second.reason == "refused address: loopback 127.0.0.2"
            assert third.reason == "refused address: private 10.0.0.7"
            assert {second.address, third.address} == {""}
            assert await plane.state(message, endpoint) is DeliveryState.FAILED

    async def test_a_kept_connection_is_not_used_past_the_answer_that_allowed_it(
        self, tmp_path: Path
    ) -> None:
        clock = FakeClock()
        names = {"shop.example": ["127.0.0.1"]}
        knobs = Knobs(networks=("127.0.0.1/32",), names=names, names_ttl_s=1.0, idle_s=600.0)
        async with TestReceiver() as shop, Plane(tmp_path, clock, knobs) as plane:
            application = await plane.application(Policy(retry_schedule=()))
            await plane.endpoint(application, f"http://shop.example:{shop.port}/")
            await plane.publish(application)
            await plane.settled()
            names["shop.example"] = ["127.0.0.2"]
            await plane.pass_time(2_000)
            message = await plane.publish(application)
            await plane.settled()
            assert len(shop.requests) == 1
            (attempt,) = await plane.attempts(message)
            assert attempt.reason == "refused address: loopback 127.0.0.2"

    async def test_a_url_that_the_present_settings_refuse_fails_without_a_connection(
        self, tmp_path: Path
    ) -> None:
        async with TestReceiver() as shop:
            async with Plane(tmp_path, SystemClock()) as plane:
                application = await plane.application(Policy(retry_schedule=()))
                endpoint = await plane.endpoint(application, shop.url)
            async with Plane(tmp_path, SystemClock(), Knobs(networks=())) as plane:
                message = await plane.publish(application)
                await plane.settled()
                (attempt,) = await plane.attempts(message)
                assert attempt.reason.startswith("refused address: ")
                assert await plane.state(message, endpoint) is DeliveryState.FAILED
            assert shop.connections == 0


class TestTheEnd:
    """A node that stops while a receiver hangs."""

    async def test_what_outlasts_the_drain_is_broken_off(self, tmp_path: Path) -> None:
        async with TestReceiver([HANG]) as shop, Plane(tmp_path, SystemClock()) as plane:
            application = await plane.application()
            await plane.endpoint(application, shop.url)
            message = await plane.publish(application)
            await shop.wait_for(1)
            assert plane.client.connections == 1
            assert await plane.dispatcher.drain(0.05) == 1
            await plane.until(lambda: plane.client.connections == 0)
            assert await plane.attempts(message) == []
