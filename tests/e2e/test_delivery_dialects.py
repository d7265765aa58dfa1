"""A dialect from outside of the package: its own wire, and its own mistakes, which stay its own."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from marketbell.dialects.base import AttemptStart, Form, Request, Schedule, Signal
from marketbell.dialects.catalogue import Catalogue
from marketbell.model import DeliveryState, Endpoint, Instant, Message, Outcome, Policy
from marketbell.testing import OK, Answer, FakeClock, TestReceiver
from support.plane import Diary, Knobs, Plane


class Bazaar:
    """A marketplace that posts plain text and takes 418 for a yes."""

    name = "bazaar"
    catalogue = Catalogue(())
    schedule = Schedule(waits=(2_000, 4_000))
    honours: frozenset[Signal] = frozenset()
    https_only = False

    def render(self, message: Message, endpoint: Endpoint, start: AttemptStart) -> Request:
        """One line, with the number of the attempt."""
        body = f"{message.event_type} {start.number}".encode()
        return Request((("content-type", "text/plain"), ("X-Bazaar", endpoint.public_id)), body)

    def accepted(self, status: int) -> bool:
        """The one answer that counts."""
        return status == 418


class BadWire(Bazaar):
    """It cannot render."""

    name = "bad-wire"

    def render(self, message: Message, endpoint: Endpoint, start: AttemptStart) -> Request:
        """Raise."""
        raise KeyError(message.event_type)


class BadForm(BadWire):
    """Its form is of no use either."""

    name = "bad-form"

    def request_form(self, endpoint: Endpoint) -> Form:
        """One whose values cannot be had."""

        def fill(message: Message, at: Instant) -> tuple[str, ...]:
            raise ValueError(message.event_type, at, endpoint)

        return Form((("x-at", None),), fill)


class BadHeader(Bazaar):
    """It would write a header that begins another request."""

    name = "bad-header"

    def render(self, message: Message, endpoint: Endpoint, start: AttemptStart) -> Request:
        """A line end in a value."""
        return Request((("x-note", "a\r\nHost: elsewhere"),), b"{}")


class BadRule(Bazaar):
    """It cannot tell whether an answer is good."""

    name = "bad-rule"

    def accepted(self, status: int) -> bool:
        """Raise."""
        raise ZeroDivisionError


async def test_it_is_used_like_any_other(tmp_path: Path) -> None:
    clock = FakeClock()
    diary = Diary(clock, [OK, OK, Answer(status=418)])
    async with TestReceiver(diary) as shop, Plane(tmp_path, clock) as plane:
        plane.registry.register(Bazaar())
        application = await plane.application(Policy(dialect="bazaar"))
        endpoint = await plane.endpoint(application, shop.url)
        message = await plane.publish(application, event_type="rug.sold")
        await plane.pass_time(60_000)
        assert diary.times == [0, 2_000, 6_000]
        assert [one.body for one in shop.requests] == [b"rug.sold 1", b"rug.sold 2", b"rug.sold 3"]
        assert shop.requests[0].header("X-Bazaar") == endpoint.public_id
        assert await plane.state(message, endpoint) is DeliveryState.DELIVERED


class Stall(Bazaar):
    """It sends payloads as they are, and says once what all requests to an endpoint have in common."""

    name = "stall"
    asked = 0

    def render(self, message: Message, endpoint: Endpoint, start: AttemptStart) -> Request:
        """The payload, and when it was sent."""
        headers = (("x-to", endpoint.public_id), ("x-at", str(start.at)), *message.headers)
        return Request(headers, message.payload)

    def request_form(self, endpoint: Endpoint) -> Form:
        """The same, but for the message's own headers."""
        self.asked += 1
        headers = (("x-to", endpoint.public_id), ("x-at", None))
        return Form(headers, lambda _message, at: (str(at),))


async def test_one_that_has_a_form_is_asked_for_it_once_when_it_pays(tmp_path: Path) -> None:
    clock = FakeClock()
    diary = Diary(clock, [OK, Answer(status=418)])
    stall = Stall()
    async with TestReceiver(diary) as shop, Plane(tmp_path, clock) as plane:
        plane.registry.register(stall)
        application = await plane.application(Policy(dialect="stall"))
        endpoint = await plane.endpoint(application, shop.url)
        began, asked = clock.now(), []
        for number in range(12):
            payload = b'{"rug": %d}' % number
            message = await plane.publish(application, payload=payload)
            await plane.pass_time(60_000)
            asked.append(stall.asked)
            assert shop.requests[-1].body == payload
            assert await plane.state(message, endpoint) is DeliveryState.DELIVERED
        assert len(shop.requests) == 13
        assert {one.header("x-to") for one in shop.requests} == {endpoint.public_id}
        sent = [began, began + 2_000, *(began + 60_000 * number for number in range(1, 12))]
        assert [one.header("x-at") for one in shop.requests] == list(map(str, sent))
        assert asked[0] == 0  # one request is not worth a form
        assert asked[-1] == 1


MISTAKES: Final = [
    (BadWire, "dialect: KeyError('thing.happened')", 0),
    (BadForm, "dialect: KeyError('thing.happened')", 0),
    (BadHeader, "request header 'x-note' cannot be sent", 0),
    (BadRule, "dialect: ZeroDivisionError()", 3),
]


@pytest.mark.parametrize(("kind", "reason", "sent"), MISTAKES)
async def test_its_mistakes_are_attempts_with_a_reason_and_hold_up_nobody(
    tmp_path: Path, kind: type[Bazaar], reason: str, sent: int
) -> None:
    clock = FakeClock()
    knobs = Knobs(max_in_flight=1)
    async with TestReceiver() as shop, Plane(tmp_path, clock, knobs) as plane:
        plane.registry.register(kind())
        application = await plane.application()
        bad = await plane.endpoint(application, shop.url + "bad", policy=Policy(dialect=kind.name))
        good = await plane.endpoint(application, shop.url + "good")
        message = await plane.publish(application)
        await plane.pass_time(60_000)
        assert [one.target for one in shop.requests].count("/bad") == sent
        assert await plane.state(message, good) is DeliveryState.DELIVERED
        assert await plane.state(message, bad) is DeliveryState.FAILED
        attempts = await plane.attempts(message, endpoint=bad)
        assert [one.reason for one in attempts] == [reason] * 3
        assert Outcome.ACCEPTED not in {one.outcome for one in attempts}
        assert plane.dispatcher.in_flight == 0
        assert not plane.lanes.stock


async def test_what_is_for_a_dialect_that_is_not_installed_waits_until_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No attempt is made in another's wire, no step is used up, nobody is held up, no log flooded."""
    clock = FakeClock()
    async with TestReceiver() as shop:
        async with Plane(tmp_path, clock) as plane:
            application = await plane.application()
            absent = await plane.endpoint(
                application, shop.url + "absent", policy=Policy(dialect="bazaar")
            )
            well = await plane.endpoint(application, shop.url + "well")
            messages = [await plane.publish(application) for _ in range(3)]
            await plane.pass_time(3_600_000)
            assert [one.target for one in shop.requests] == ["/well"] * 3
            for message in messages:
                assert await plane.state(message, well) is DeliveryState.DELIVERED
                assert await plane.state(message, absent) is DeliveryState.PENDING
                assert await plane.attempts(message, endpoint=absent) == []
            told = [one for one in caplog.records if "dialect is not installed" in one.message]
            assert 1 <= len(told) <= 61
        shop.requests.clear()
        shop.script = (Answer(status=418),)
        async with Plane(tmp_path, clock) as plane:
            plane.registry.register(Bazaar())
            await plane.pass_time(120_000)
            assert [one.body for one in shop.requests] == [b"thing.happened 1"] * 3
            for message in messages:
                assert await plane.state(message, absent) is DeliveryState.DELIVERED
