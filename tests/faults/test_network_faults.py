"""A faulty network between node and receiver: each fault has its reason, and nothing is lost by it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import pytest

from marketbell.clock import SystemClock
from marketbell.delivery import reasons
from marketbell.model import Application, Attempt, DeliveryState, Endpoint, Millis, Outcome, Policy
from marketbell.testing import OK, Answer, Authority, Received, TestReceiver
from support.eventually import PATIENCE_S
from support.knobs import Knobs
from support.nodes import OpenPlane
from support.plane import Plane
from support.proxy import Act, Line, TcpProxy

TIMEOUT: Final[Millis] = 3_000
SOON: Final = Policy(retry_schedule=(100,) * 60)
LONG: Final = Answer(body=b"thank you " * 1_000)


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the network does to one delivery, and what its first attempt says of it."""

    happen: Callable[[TcpProxy], object]
    """Before the request is made."""
    reason: str
    heard: bool = False
    """Whether the receiver gets that request all the same."""
    tls: bool = False
    kept: bool = False
    """Whether the connection stands already, from a message before."""
    uncounted: bool = False
    """Whether it may come to nothing but a further try at once, over a new connection."""
    body: bytes = b"{}"


def reset_when_asked(proxy: TcpProxy) -> None:
    """The next request resets the connection before it arrives; those after it pass."""

    def once(_: bytes) -> Act:
        proxy.watch(None)
        return Act.RESET

    proxy.watch(once)


def lose_the_answer(proxy: TcpProxy) -> None:
    """The next request arrives; its answer does not, and then the connection is reset."""

    def once(_: bytes) -> Act:
        proxy.watch(None)
        return Act.LOSE_ANSWER

    proxy.watch(once, lambda answer: answer.endswith(LONG.body))


FAULTS: Final[Mapping[str, Fault]] = {
    "nobody listens": Fault(happen=TcpProxy.refuse, reason=reasons.CONNECT_REFUSED),
    "cut as the request goes out": Fault(happen=reset_when_asked, reason=reasons.CLOSED_BEFORE),
    "cut before the answer comes": Fault(
        happen=lose_the_answer, reason=reasons.CLOSED_BEFORE, heard=True
    ),
    "reset within the head of the answer": Fault(
        happen=lambda proxy: proxy.put(Line(reset_after=20)),
        reason=reasons.CLOSED_INSIDE,
        heard=True,
    ),
    "reset within the body of the answer": Fault(
        happen=lambda proxy: proxy.put(Line(reset_after=300)),
        reason=reasons.CLOSED_INSIDE,
        heard=True,
    ),
    "stalled from the start": Fault(
        happen=lambda proxy: proxy.put(Line(stalled=True)), reason=reasons.ANSWER_TIMED_OUT
    ),
    "stalled in TLS": Fault(
        happen=lambda proxy: proxy.put(Line(stalled=True)),
        reason=reasons.TLS_TIMED_OUT,
        tls=True,
    ),
    "reset in TLS": Fault(
        happen=lambda proxy: proxy.put(Line(reset_after=100)),
        reason=reasons.TLS_CLOSED,
        tls=True,
    ),
    "half-open: what is sent vanishes": Fault(
        happen=lambda proxy: proxy.put(Line(swallowed="up")), reason=reasons.ANSWER_TIMED_OUT
    ),
    "half-open: what is answered vanishes": Fault(
        happen=lambda proxy: proxy.put(Line(swallowed="down")),
        reason=reasons.ANSWER_TIMED_OUT,
        heard=True,
    ),
    "half-open: the receiver is gone from a kept connection": Fault(
        happen=lambda proxy: proxy.cut("server"), reason=reasons.ANSWER_TIMED_OUT, kept=True
    ),
    "cut while a connection is kept": Fault(
        happen=lambda proxy: proxy.cut(), reason=reasons.REUSED_CLOSED, kept=True, uncounted=True
    ),
    "slow bytes of an answer": Fault(
        happen=lambda proxy: proxy.put(Line(bytes_per_s=1_000)),
        reason=reasons.READ_TIMED_OUT,
        heard=True,
    ),
    "slow bytes of a request": Fault(
        happen=lambda proxy: proxy.put(Line(bytes_per_s=10_000)),
        reason=reasons.ANSWER_TIMED_OUT,
        body=b'"%s"' % (b"x" * 100_000),
    ),
}


@pytest.fixture(scope="module")
def authority() -> Authority:
    """The authority that the client trusts."""
    return Authority()


@pytest.fixture(scope="module")
def trusted(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its certificate in a file."""
    return authority.write(tmp_path_factory.mktemp("authority"))


async def taken(plane: Plane, messages: Collection[int]) -> None:
    """Return once each of these messages has been taken and that is on record."""

    def all_of_them() -> bool:
        told = plane.told.attempts
        return {one.message_id for one in told if one.outcome is Outcome.ACCEPTED} >= set(messages)

    await plane.until(all_of_them, limit_s=PATIENCE_S)
    await plane.settled()


def more_than(plane: Plane, attempts: int) -> Callable[[], bool]:
    """Whether there have been more attempts than so many."""
    return lambda: len(plane.told.attempts) > attempts


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One fault between the node and a receiver of its own."""

    name: str
    shop: TestReceiver
    proxy: TcpProxy
    application: Application
    endpoint: Endpoint


async def case(
    name: str, plane: Plane, authority: Authority, stack: contextlib.AsyncExitStack
) -> Case:
    """A receiver behind a proxy, and an endpoint for it."""
    tls = authority.server_context("127.0.0.1") if FAULTS[name].tls else None
    shop = await stack.enter_async_context(TestReceiver([LONG], tls=tls))
    proxy = stack.enter_context(TcpProxy.before(shop.url))
    application = await plane.application(SOON)
    endpoint = await plane.endpoint(application, proxy.url(shop.url))
    return Case(name=name, shop=shop, proxy=proxy, application=application, endpoint=endpoint)


async def test_each_fault_has_its_reason_and_the_delivery_goes_on_after_it(
    open_plane: OpenPlane, authority: Authority, trusted: Path
) -> None:
    """All of them at once, each before a receiver of its own."""
    knobs = Knobs(extra_ca=trusted, timeout=TIMEOUT, idle_s=60.0, breaker_failures=1_000)
    async with contextlib.AsyncExitStack() as stack:
        plane = await stack.enter_async_context(open_plane(SystemClock(), knobs))
        cases = [await case(name, plane, authority, stack) for name in FAULTS]
        kept = [one for one in cases if FAULTS[one.name].kept]
        await taken(plane, [(await plane.publish(one.application)).id for one in kept])
        messages = {}
        for one in cases:
            FAULTS[one.name].happen(one.proxy)
            messages[one.name] = await plane.publish(one.application, FAULTS[one.name].body)
        sent = {message.id for message in messages.values()}

        def each_has_met_it() -> bool:
            return {attempt.message_id for attempt in plane.told.attempts} >= sent

        await plane.until(each_has_met_it)
        for one in cases:
            one.proxy.put(Line())
            one.proxy.admit()
        await taken(plane, sent)
        for one in cases:
            message = messages[one.name]
            assert await plane.state(message, one.endpoint) is DeliveryState.DELIVERED, one.name
            requests = one.shop.requests[1 if FAULTS[one.name].kept else 0 :]
            judge(one.name, await plane.attempts(message), requests)


def judge(name: str, attempts: Sequence[Attempt], requests: Sequence[Received]) -> None:
    """Hold what is on record of one message, and what its receiver saw, against what must be."""
    fault = FAULTS[name]
    *failed, last = attempts
    assert (last.outcome, last.reason) == (Outcome.ACCEPTED, ""), name
    if fault.uncounted:
        # The cut was seen before the connection was used again, or by using it.
        assert [one.outcome for one in failed] in ([], [Outcome.CLOSED]), name
        assert len(requests) == 1, name
        return
    assert (failed[0].outcome, failed[0].reason) == (Outcome.NO_ANSWER, fault.reason), name
    assert failed[0].duration <= TIMEOUT + 10_000, name
    # Every request that arrived is on record; more than one only where one got no answer.
    assert 1 + fault.heard <= len(requests) <= len(attempts), name
    assert {one.body for one in requests} == {fault.body}, name


async def test_slow_bytes_within_the_limits_are_a_delivery_like_others(
    open_plane: OpenPlane,
) -> None:
    knobs = Knobs(timeout=30_000)
    async with TestReceiver([LONG]) as shop, open_plane(SystemClock(), knobs) as plane:
        with TcpProxy.before(shop.url) as proxy:
            application = await plane.application()
            await plane.endpoint(application, proxy.url(shop.url))
            proxy.put(Line(bytes_per_s=20_000, delay_ms=50))
            message = await plane.publish(application)
            await plane.settled()
            (attempt,) = await plane.attempts(message)
    assert attempt.outcome is Outcome.ACCEPTED
    assert attempt.duration >= 100
    assert attempt.response == LONG.body


STORM: Final[tuple[Callable[[TcpProxy], object], ...]] = (
    lambda proxy: proxy.cut(),
    lambda proxy: proxy.cut("server"),
    lambda proxy: proxy.put(Line(stalled=True)),
    lambda proxy: proxy.put(Line(swallowed="up")),
    lambda proxy: proxy.put(Line(swallowed="down")),
    lambda proxy: proxy.put(Line(reset_after=1_000)),
    lambda proxy: proxy.put(Line(bytes_per_s=500)),
    lambda proxy: proxy.put(Line(delay_ms=100)),
    TcpProxy.refuse,
)
"""What the network does in turn, with fair weather between."""


async def test_a_storm_of_faults_loses_nothing_and_all_that_is_sent_twice_is_accounted_for(
    open_plane: OpenPlane,
) -> None:
    chance = random.Random(1)
    answered: Counter[bytes] = Counter()
    seen: dict[bytes, int] = defaultdict(int)

    def answer(request: Received) -> Answer:
        seen[request.body] += 1
        answered[request.body] += 1
        return OK

    knobs = Knobs(timeout=500, breaker_failures=100_000)
    async with TestReceiver(answer) as shop, open_plane(SystemClock(), knobs) as plane:
        with TcpProxy.before(shop.url) as proxy:
            application = await plane.application(SOON)
            endpoint = await plane.endpoint(application, proxy.url(shop.url))
            bodies: dict[int, bytes] = {}
            numbers = itertools.count()
            for happen in chance.sample(STORM, len(STORM)):
                happen(proxy)
                for _ in range(10):
                    body = b'{"n":%d}' % next(numbers)
                    bodies[(await plane.publish(application, body)).id] = body
                # Some of it meets the fault, whatever the machine is busy with.
                told = len(plane.told.attempts)
                await plane.until(more_than(plane, told))
                proxy.put(Line())
                proxy.admit()
            await taken(plane, bodies.keys())
        attempts: dict[int, list[Attempt]] = defaultdict(list)
        for one in await plane.attempts(endpoint):
            attempts[one.message_id].append(one)
    assert attempts.keys() == bodies.keys()
    for message_id, body in bodies.items():
        outcomes = Counter(one.outcome for one in attempts[message_id])
        assert outcomes[Outcome.ACCEPTED] == 1
        # Once for the attempt that was taken, and once more for each that got no answer at most.
        assert 1 <= seen[body] <= 1 + outcomes[Outcome.NO_ANSWER] + outcomes[Outcome.CLOSED]
    said = {one.reason for many in attempts.values() for one in many}
    assert (
        len(said & {reasons.ANSWER_TIMED_OUT, reasons.CONNECT_REFUSED, reasons.CLOSED_INSIDE}) >= 2
    )
    assert len(asyncio.all_tasks()) == 1
