"""Retention: what goes when, what stays because something needs it, and what a step costs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import apsw
import pytest

from marketbell.errors import NotFoundError
from marketbell.model import Application, DeliveryState, Endpoint, SigningKey, Verdict
from marketbell.store.base import (
    Ages,
    ApplicationDraft,
    Birth,
    EndpointDraft,
    Idempotency,
    MessageFilter,
    Once,
    Page,
    Pruned,
    Publication,
    Published,
    Result,
    Store,
)
from marketbell.store.walk import ROUND_MS, Walk
from marketbell.testing.clock import START
from marketbell.testing.stores import ORGANIZATION, Scene

MINUTE = 60_000
HOUR = 3_600_000
DAY = 86_400_000
KEY = b"order-1"
AGES = Ages(payloads=10 * DAY, attempts=20 * DAY, messages=30 * DAY)


async def seller(scene: Scene) -> tuple[Application, Endpoint]:
    """An application with one endpoint."""
    application = await scene.application()
    return application, await scene.endpoint(application)


async def prune(scene: Scene, ages: Ages = AGES, *, limit: int = 100) -> Pruned:
    """Prune in steps until no more work is at hand; what went in all."""
    steps: list[Pruned] = []
    while not steps or steps[-1].more:
        steps.append(await scene.store.prune(ages, now=scene.now, limit=limit))
    return Pruned(
        payloads=sum(step.payloads for step in steps),
        attempts=sum(step.attempts for step in steps),
        messages=sum(step.messages for step in steps),
        cancelled=sum(step.cancelled for step in steps),
    )


async def last_message(scene: Scene) -> None:
    """A message of now, so that the ones before it are not the last."""
    await scene.publish(await scene.application())


def count(file: Path, table: str, condition: str = "true") -> int:
    """How many rows a table of the file has."""
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    found: Any = connection.execute(f"select count(*) from {table} where {condition}")
    return int(found.fetchall()[0][0])


async def test_each_kind_goes_at_its_own_age(store: Store, scene: Scene) -> None:
    application, endpoint = await seller(scene)
    message = await scene.deliver(application, endpoint)
    for passed, expected in (
        (10 * DAY - 1, Pruned()),
        (1, Pruned(payloads=1)),
        (10 * DAY - 1, Pruned()),
        (1, Pruned(attempts=1)),
        (10 * DAY - 1, Pruned()),
    ):
        scene.pass_time(passed)
        assert await prune(scene) == expected
        assert (await store.message(application.id, message.public_id)).id == message.id
    await last_message(scene)
    scene.pass_time(1)
    assert await prune(scene) == Pruned(messages=1)
    with pytest.raises(NotFoundError):
        await store.message(application.id, message.public_id)


async def test_a_message_takes_with_it_all_that_is_left(scene: Scene, database_file: Path) -> None:
    application, endpoint = await seller(scene)
    for _ in range(30):
        await scene.deliver(application, endpoint, kept_for=25 * DAY)
    scene.pass_time(30 * DAY)
    await last_message(scene)
    gone = await prune(scene, Ages(payloads=30 * DAY, attempts=40 * DAY, messages=30 * DAY))
    assert gone == Pruned(payloads=30, attempts=30, messages=30)
    for table, left in (
        ("message", 1),
        ("payload", 1),
        ("payload_expiry", 0),
        ("attempt", 0),
        ("finished_delivery", 0),
    ):
        assert count(database_file, table) == left, table


async def test_message_keys_are_never_used_twice(store: Store, scene: Scene) -> None:
    """The last message stays, else a restart would give its key to another."""
    application = await scene.application()
    last = [(await scene.publish(application)).message for _ in range(3)][-1]
    scene.pass_time(40 * DAY)
    assert (await prune(scene)).messages == 2
    kept = await store.message(application.id, last.public_id)
    assert (kept.id, kept.payload) == (last.id, b"")


async def test_a_step_is_bounded_and_says_whether_there_is_more(store: Store, scene: Scene) -> None:
    application, endpoint = await seller(scene)
    for _ in range(25):
        await scene.deliver(application, endpoint)
    scene.pass_time(30 * DAY)
    await last_message(scene)
    steps: list[Pruned] = []
    while not steps or steps[-1].more:
        steps.append(await store.prune(AGES, now=scene.now, limit=10))
    assert max(step.payloads for step in steps) <= 10
    assert max(step.attempts for step in steps) <= 10
    assert max(step.messages for step in steps) <= 10
    assert sum(step.payloads for step in steps) == 25
    assert sum(step.messages for step in steps) == 25
    assert len(steps) == 3


async def test_a_step_is_bounded_when_one_message_has_many_attempts(
    store: Store, scene: Scene
) -> None:
    application, endpoint = await seller(scene)
    (claim,) = (await scene.publish(application, endpoint, lease=HOUR)).claims
    await store.record(
        [Result(claim=claim, attempt=scene.attempt(claim, 500), verdict=None) for _ in range(300)]
    )
    await scene.record(claim)
    scene.pass_time(30 * DAY)
    await last_message(scene)
    late = Ages(payloads=30 * DAY, attempts=90 * DAY, messages=30 * DAY)
    steps: list[Pruned] = []
    while not steps or steps[-1].more:
        steps.append(await store.prune(late, now=scene.now, limit=10))
    assert sum(step.attempts for step in steps) == 301
    assert max(step.attempts for step in steps) <= 40
    assert sum(step.messages for step in steps) == 1


async def test_payloads_of_many_bytes_go_in_several_steps(store: Store, scene: Scene) -> None:
    application = await scene.application()
    payload = b'"' + b"x" * 6_000_000 + b'"'
    for _ in range(5):
        await scene.publish(application, payload=payload)
    scene.pass_time(11 * DAY)
    first = await store.prune(AGES, now=scene.now, limit=100)
    assert (first.payloads, first.more) == (3, True)
    assert (await prune(scene)).payloads == 2


# -- what stays ---------------------------------------------------------------------------


async def test_what_an_unfinished_delivery_needs_stays(store: Store, scene: Scene) -> None:
    application, endpoint = await seller(scene)
    published = await scene.publish(application, endpoint, lease=MINUTE)
    await scene.deliver(application, endpoint)
    message = published.message
    scene.pass_time(60 * DAY)
    await last_message(scene)
    assert await prune(scene) == Pruned(payloads=1, attempts=1, messages=1)
    assert (await store.message(application.id, message.public_id)).payload == message.payload
    (claim,) = await scene.claim()
    await scene.record(claim)
    scene.pass_time(ROUND_MS)
    after = await prune(scene)
    assert (after.payloads, after.messages) == (1, 1)
    with pytest.raises(NotFoundError):
        await store.message(application.id, message.public_id)


async def test_what_a_paused_endpoint_waits_for_stays(store: Store, scene: Scene) -> None:
    application = await scene.application()
    endpoint = await scene.endpoint(application, paused=True)
    message = (await scene.publish(application, endpoint)).message
    scene.pass_time(60 * DAY)
    await last_message(scene)
    assert await prune(scene) == Pruned()
    assert (await store.message(application.id, message.public_id)).payload


async def test_what_a_disabled_endpoint_waits_for_is_cancelled_with_its_payload(
    store: Store, scene: Scene
) -> None:
    application, endpoint = await seller(scene)
    other = await scene.endpoint(application)
    alone = (await scene.publish(application, endpoint)).message
    both = (await scene.publish(application, endpoint, other)).message
    young_at = START + 5 * DAY
    await store.disable_endpoint(endpoint.id, now=START)
    scene.now = young_at
    young = (await scene.publish(application, endpoint)).message
    scene.now = START + 10 * DAY
    assert await prune(scene) == Pruned(payloads=1, cancelled=2)
    states = {
        message.id: await store.delivery_states(message.id) for message in (alone, both, young)
    }
    assert states[alone.id] == {endpoint.public_id: DeliveryState.CANCELLED}
    assert states[both.id] == {
        endpoint.public_id: DeliveryState.CANCELLED,
        other.public_id: DeliveryState.PENDING,
    }
    assert states[young.id] == {endpoint.public_id: DeliveryState.PENDING}
    assert (await store.message(application.id, both.public_id)).payload
    assert (await store.message(application.id, young.public_id)).payload


async def test_an_attempt_in_flight_at_a_disabled_endpoint_keeps_its_payload(
    store: Store, scene: Scene
) -> None:
    application, endpoint = await seller(scene)
    await scene.publish(application, endpoint, lease=90 * DAY)
    await store.disable_endpoint(endpoint.id, now=START)
    scene.pass_time(20 * DAY)
    assert await prune(scene) == Pruned()


async def test_a_held_key_keeps_the_payload_that_resolves_it(store: Store, scene: Scene) -> None:
    application, endpoint = await seller(scene)
    first = (await scene.publish(application, endpoint, order_key=KEY)).message
    second = (await scene.publish(application, endpoint, order_key=KEY)).message
    (claim,) = await scene.claim()
    await scene.record(claim, 500, hold_key=True)
    scene.pass_time(60 * DAY)
    await last_message(scene)
    assert await prune(scene) == Pruned(attempts=1)
    await store.resend(application.id, first.public_id, endpoint.public_id, now=scene.now)
    (claim,) = await scene.claim()
    await scene.record(claim)
    (claim,) = await scene.claim()
    assert claim.message.id == second.id


async def test_an_order_goes_on_behind_what_was_cancelled(store: Store, scene: Scene) -> None:
    """The first of a key is cancelled for its age; the second is young, and its turn has come."""
    application, endpoint = await seller(scene)
    await scene.publish(application, endpoint, order_key=KEY)
    scene.pass_time(9 * DAY)
    second = (await scene.publish(application, endpoint, order_key=KEY)).message
    await store.disable_endpoint(endpoint.id, now=scene.now)
    scene.pass_time(DAY)
    assert await prune(scene) == Pruned(payloads=1, cancelled=1)
    await store.update_endpoint(
        application.id, endpoint.public_id, EndpointDraft(url=endpoint.url), now=scene.now
    )
    (claim,) = await scene.claim()
    assert claim.message.id == second.id


async def test_a_payload_may_be_kept_for_its_own_time(store: Store, scene: Scene) -> None:
    application, endpoint = await seller(scene)
    short = await scene.deliver(application, endpoint, kept_for=HOUR)
    common = await scene.deliver(application, endpoint)
    long = await scene.deliver(application, endpoint, kept_for=50 * DAY)
    needed = (await scene.publish(application, endpoint, kept_for=HOUR)).message

    async def kept() -> list[int]:
        found = await store.messages(application.id, MessageFilter(), Page())
        return [message.id for message in found.data if message.payload]

    scene.pass_time(HOUR - 1)
    assert await prune(scene) == Pruned()
    scene.pass_time(1)
    assert await prune(scene) == Pruned(payloads=1)
    assert await kept() == [needed.id, long.id, common.id]
    (claim,) = await scene.claim()
    await scene.record(claim)
    scene.pass_time(ROUND_MS)
    assert await prune(scene) == Pruned(payloads=1)
    scene.now = START + 10 * DAY
    assert await prune(scene) == Pruned(payloads=1)
    assert await kept() == [long.id]
    # The message stays as long as the payload was promised.
    scene.now = START + 49 * DAY
    await last_message(scene)
    gone = await prune(scene)
    assert (gone.messages, gone.payloads) == (3, 0)
    assert await kept() == [long.id]
    scene.now = START + 50 * DAY + ROUND_MS
    gone = await prune(scene)
    assert (gone.messages, gone.payloads) == (1, 1)
    assert short.id < common.id


async def test_a_shorter_age_holds_for_what_was_kept_before(store: Store, scene: Scene) -> None:
    """The age is the setting's, whatever it was when the message came."""
    application = await scene.application()
    await scene.publish(application)
    scene.pass_time(2 * DAY)
    shorter = Ages(payloads=DAY, attempts=20 * DAY, messages=30 * DAY)
    assert await prune(scene, shorter) == Pruned(payloads=1)


async def test_a_message_from_the_future_holds_up_nothing(store: Store, scene: Scene) -> None:
    """A clock that ran a year ahead for a while leaves rows that are due late, and no others."""
    application, endpoint = await seller(scene)
    first = await scene.deliver(application, endpoint)
    scene.now = START + 365 * DAY
    ahead = [await scene.deliver(application, endpoint) for _ in range(25)]
    scene.now = START
    last = await scene.deliver(application, endpoint)
    scene.pass_time(30 * DAY)
    await last_message(scene)
    gone = await prune(scene, limit=10)
    assert gone == Pruned(payloads=2, attempts=2, messages=2)
    for message in ahead:
        assert (await store.message(application.id, message.public_id)).payload
    for message in (first, last):
        with pytest.raises(NotFoundError):
            await store.message(application.id, message.public_id)
    scene.now = START + 400 * DAY
    assert (await prune(scene, limit=10)).messages == 25


# -- deleted things -----------------------------------------------------------------------


async def test_what_a_deleted_endpoint_has_pending_is_cancelled_in_steps(
    store: Store, scene: Scene, database_file: Path
) -> None:
    application, endpoint = await seller(scene)
    messages = [
        (await scene.publish(application, endpoint, order_key=KEY)).message for _ in range(25)
    ]
    await store.delete_endpoint(application.id, endpoint.public_id, now=START)
    first = await store.prune(AGES, now=START, limit=10)
    assert (first.cancelled, first.more) == (10, True)
    assert (await prune(scene, limit=10)).cancelled == 15
    assert count(database_file, "delivery") == 0
    for message in messages:
        assert await store.delivery_states(message.id) == {
            endpoint.public_id: DeliveryState.CANCELLED
        }


async def test_what_comes_back_to_a_deleted_endpoint_is_cancelled_later(
    store: Store, scene: Scene, database_file: Path
) -> None:
    application, endpoint = await seller(scene)
    (claim,) = (await scene.publish(application, endpoint, lease=MINUTE)).claims
    await store.delete_endpoint(application.id, endpoint.public_id, now=START)
    assert (await prune(scene)).cancelled == 0
    await scene.record(claim, 500, again_at=START + DAY)
    scene.pass_time(ROUND_MS)
    assert (await prune(scene)).cancelled == 1
    assert count(database_file, "delivery") == 0


async def test_deleted_rows_go_when_nothing_points_to_them(
    store: Store, scene: Scene, database_file: Path
) -> None:
    application, endpoint = await seller(scene)
    await scene.deliver(application, endpoint)
    live, _own = await seller(scene)
    await store.delete_application(ORGANIZATION, application.public_id, now=START)
    scene.pass_time(29 * DAY)
    await prune(scene)
    assert count(database_file, "endpoint") == 2
    scene.pass_time(DAY)
    await last_message(scene)
    for _ in range(3):
        await prune(scene)
        scene.pass_time(ROUND_MS)
    assert count(database_file, "endpoint", f"id = {endpoint.id}") == 0
    assert count(database_file, "application", f"id = {application.id}") == 0
    assert count(database_file, "secret", f"endpoint_id = {endpoint.id}") == 0
    assert (await store.application(ORGANIZATION, live.public_id)).id == live.id


async def test_configuration_keys_are_never_used_twice(
    store: Store, scene: Scene, database_file: Path
) -> None:
    """A cache or a late record may still know the key of what was deleted."""
    application, endpoint = await seller(scene)
    await store.delete_application(ORGANIZATION, application.public_id, now=START)
    for _ in range(3):
        scene.pass_time(40 * DAY)
        await prune(scene)
    again, own = await seller(scene)
    assert again.id > application.id
    assert own.id > endpoint.id


async def test_secrets_go_when_their_overlap_has_ended(
    store: Store, scene: Scene, database_file: Path
) -> None:
    application, endpoint = await seller(scene)
    await store.rotate_secret(
        application.id,
        endpoint.public_id,
        SigningKey(kind="v1", secret=b"n" * 32),
        overlap_until=START + HOUR,
        secrets_max=5,
        now=START,
    )
    scene.pass_time(HOUR - 1)
    await prune(scene)
    assert count(database_file, "secret") == 2
    scene.pass_time(1)
    await prune(scene)
    assert count(database_file, "secret") == 1
    found = await store.endpoint(application.id, endpoint.public_id)
    assert [key.secret for key in found.secrets] == [b"n" * 32]


async def test_idempotency_marks_go_with_their_bucket(
    store: Store, scene: Scene, database_file: Path
) -> None:
    async def post(kind: str, number: int) -> None:
        key = hashlib.blake2b(f"{kind}{number}{scene.now}".encode(), digest_size=16).digest()
        mark = Once(Idempotency(key=key, body=key, auto=kind == "auto"), lambda _made: b"{}")
        draft = ApplicationDraft(name="x")
        await store.create_application(ORGANIZATION, draft, now=scene.now, once=mark)

    for number in range(15):
        await post("auto", number)
        await post("named", number)
    scene.pass_time(15 * MINUTE)
    await prune(scene)
    assert count(database_file, "idempotency") == 30
    scene.pass_time(5 * MINUTE)
    step = await store.prune(AGES, now=scene.now, limit=10)
    assert step.more
    await prune(scene, limit=10)
    assert count(database_file, "idempotency", "bucket % 2 = 0") == 0
    assert count(database_file, "idempotency", "bucket % 2 = 1") == 15
    scene.pass_time(30 * HOUR)
    await post("auto", 0)
    await prune(scene)
    assert count(database_file, "idempotency") == 1


# -- health and figures -------------------------------------------------------------------


async def test_endpoints_that_fail_for_long_are_named_longest_first(
    store: Store, scene: Scene
) -> None:
    application = await scene.application()
    made = [await scene.endpoint(application) for _ in range(5)]
    for endpoint, since in zip(made, (50, 10, 30, 20, 40), strict=True):
        await store.note_health(endpoint.id, START + since)
    await store.note_health(made[2].id, None)
    await store.disable_endpoint(made[3].id, now=START)
    await store.delete_endpoint(application.id, made[4].public_id, now=START)
    assert await store.failing_since(START + 50, 10) == (made[1].id,)
    assert await store.failing_since(START + 51, 10) == (made[1].id, made[0].id)
    assert await store.failing_since(START + 51, 1) == (made[1].id,)


async def test_figures_of_the_present(store: Store, scene: Scene, database_file: Path) -> None:
    empty = await store.gauges(now=scene.now)
    assert (empty.oldest_due, empty.parked) == (None, 0)
    assert empty.file_bytes + empty.log_bytes >= 4096
    application, endpoint = await seller(scene)
    paused = await scene.endpoint(application, paused=True)
    await scene.publish(application, paused)
    assert (await store.gauges(now=scene.now)).oldest_due is None
    scene.pass_time(DAY)
    await scene.publish(application, endpoint)
    assert (await store.gauges(now=scene.now - 1)).oldest_due is None
    assert (await store.gauges(now=scene.now + 9)).oldest_due == scene.now


# -- steady load --------------------------------------------------------------------------


async def test_the_file_stays_flat_under_steady_load(
    store: Store, scene: Scene, database_file: Path
) -> None:
    application, endpoint = await seller(scene)
    revision = (await store.application(ORGANIZATION, application.public_id)).revision
    ages = Ages(payloads=10 * MINUTE, attempts=10 * MINUTE, messages=10 * MINUTE)

    async def minute(number: int) -> None:
        publications = [
            Publication(
                message=scene.message(application, payload=b'{"x":"%s"}' % (b"x" * 400)),
                revision=revision,
                births=(
                    Birth(
                        endpoint_id=endpoint.id,
                        due_at=scene.now,
                        lease_until=scene.now + MINUTE,
                    ),
                ),
                idempotency=Idempotency(
                    key=hashlib.blake2b(b"%d.%d" % (number, index), digest_size=16).digest(),
                    body=bytes(16),
                    auto=True,
                ),
            )
            for index in range(100)
        ]
        verdicts = await store.publish(publications)
        claims = [v.claims[0] for v in verdicts if isinstance(v, Published)]
        status, state = (
            (200, DeliveryState.DELIVERED) if number % 3 else (500, DeliveryState.FAILED)
        )
        await store.record(
            [
                Result(
                    claim=claim,
                    attempt=scene.attempt(claim, status),
                    verdict=Verdict(state=state),
                )
                for claim in claims
            ]
        )
        scene.pass_time(MINUTE)
        await prune(scene, ages, limit=200)

    pages = []
    for number in range(90):
        await minute(number)
        if number >= 30 and number % 10 == 0:
            pages.append(pages_of(database_file))
    assert count(database_file, "message") <= 1_100
    assert max(pages) <= min(pages) * 1.05


def pages_of(file: Path) -> int:
    """How many pages the database has, those of its log included."""
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    pages: Any = connection.pragma("page_count")
    return int(pages)


# -- the walk -----------------------------------------------------------------------------


class Shelf:
    """Rows in order of keys, which count how often they are read."""

    def __init__(self, rows: Iterable[tuple[int, int]]) -> None:
        self.rows = dict(rows)
        self.reads = 0

    def between(self, low: int, high: int, limit: int) -> list[tuple[Any, ...]]:
        found = [row for row in sorted(self.rows.items()) if low < row[0] <= high][:limit]
        self.reads += len(found)
        return [tuple(row) for row in found]

    def step(self, walk: Walk[int], now: int, limit: int = 10) -> list[int]:
        """One step that takes nothing away; the keys that it saw."""
        return [
            row[0] for row in walk.past(self.between, 1 << 40, cutoff=now, now=now, limit=limit)
        ]


def test_rows_that_stay_are_looked_at_once_an_hour() -> None:
    shelf = Shelf((key, key) for key in range(1, 1001))
    walk = Walk[int](0)
    now = 10_000
    while not walk.done:
        shelf.step(walk, now)
    assert shelf.reads == 2 * 1000
    for _ in range(500):
        now += 1
        shelf.step(walk, now)
        assert walk.done
    assert shelf.reads == 2 * 1000
    now += ROUND_MS
    steps = 0
    while not steps or not walk.done:
        before = shelf.reads
        shelf.step(walk, now)
        assert shelf.reads - before <= 10
        steps += 1
    assert shelf.reads == 3 * 1000


def test_a_step_that_stops_early_goes_on_with_the_next_row() -> None:
    shelf = Shelf((key, key) for key in range(1, 8))
    walk = Walk[int](0)
    for row in walk.past(shelf.between, 100, cutoff=100, now=100, limit=10):
        if row[0] == 3:
            break
    assert not walk.done
    assert shelf.step(walk, 100)[:4] == [4, 5, 6, 7]


def test_a_step_may_be_taken_back() -> None:
    shelf = Shelf((key, key) for key in range(1, 8))
    walk = Walk[int](0)
    first = shelf.step(walk, 100, limit=5)
    walk.back()
    assert not walk.done
    assert shelf.step(walk, 100, limit=5) == first == [1, 2, 3, 4, 5]
