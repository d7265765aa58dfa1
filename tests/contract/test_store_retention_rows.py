"""Retention of configuration: deleted rows, old secrets, once-only marks; and figures of health."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import apsw

from marketbell.model import DeliveryState, SigningKey
from marketbell.store.base import Ages, ApplicationDraft, Idempotency, Once, Store
from marketbell.store.walk import ROUND_MS
from marketbell.testing.clock import START
from marketbell.testing.stores import ORGANIZATION, Scene

MINUTE = 60_000
HOUR = 3_600_000
DAY = 86_400_000
KEY = b"order-1"
AGES = Ages(payloads=10 * DAY, attempts=20 * DAY, messages=30 * DAY)


async def last_message(scene: Scene) -> None:
    """A message of now, so that the ones before it are not the last."""
    await scene.publish(await scene.application())


def count(file: Path, table: str, condition: str = "true") -> int:
    """How many rows a table of the file has."""
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    found: Any = connection.execute(f"select count(*) from {table} where {condition}")
    return int(found.fetchall()[0][0])


async def test_what_a_deleted_endpoint_has_pending_is_cancelled_in_steps(
    store: Store, scene: Scene, database_file: Path
) -> None:
    application, endpoint = await scene.seller()
    messages = [
        (await scene.publish(application, endpoint, order_key=KEY)).message for _ in range(25)
    ]
    await store.delete_endpoint(application.id, endpoint.public_id, now=START)
    first = await store.prune(AGES, now=START, limit=10)
    assert (first.cancelled, first.more) == (10, True)
    assert (await scene.prune(AGES, limit=10)).cancelled == 15
    assert count(database_file, "delivery") == 0
    for message in messages:
        assert await store.delivery_states(message.id) == {
            endpoint.public_id: DeliveryState.CANCELLED
        }


async def test_what_comes_back_to_a_deleted_endpoint_is_cancelled_later(
    store: Store, scene: Scene, database_file: Path
) -> None:
    application, endpoint = await scene.seller()
    (claim,) = (await scene.publish(application, endpoint, lease=MINUTE)).claims
    await store.delete_endpoint(application.id, endpoint.public_id, now=START)
    assert (await scene.prune(AGES)).cancelled == 0
    await scene.record(claim, 500, again_at=START + DAY)
    scene.pass_time(ROUND_MS)
    assert (await scene.prune(AGES)).cancelled == 1
    assert count(database_file, "delivery") == 0


async def test_deleted_rows_go_when_nothing_points_to_them(
    store: Store, scene: Scene, database_file: Path
) -> None:
    application, endpoint = await scene.seller()
    await scene.deliver(application, endpoint)
    live, _own = await scene.seller()
    await store.delete_application(ORGANIZATION, application.public_id, now=START)
    scene.pass_time(29 * DAY)
    await scene.prune(AGES)
    assert count(database_file, "endpoint") == 2
    scene.pass_time(DAY)
    await last_message(scene)
    for _ in range(3):
        await scene.prune(AGES)
        scene.pass_time(ROUND_MS)
    assert count(database_file, "endpoint", f"id = {endpoint.id}") == 0
    assert count(database_file, "application", f"id = {application.id}") == 0
    assert count(database_file, "secret", f"endpoint_id = {endpoint.id}") == 0
    assert (await store.application(ORGANIZATION, live.public_id)).id == live.id


async def test_configuration_keys_are_never_used_twice(
    store: Store, scene: Scene, database_file: Path
) -> None:
    """A cache or a late record may still know the key of what was deleted."""
    application, endpoint = await scene.seller()
    await store.delete_application(ORGANIZATION, application.public_id, now=START)
    for _ in range(3):
        scene.pass_time(40 * DAY)
        await scene.prune(AGES)
    again, own = await scene.seller()
    assert again.id > application.id
    assert own.id > endpoint.id


async def test_secrets_go_when_their_overlap_has_ended(
    store: Store, scene: Scene, database_file: Path
) -> None:
    application, endpoint = await scene.seller()
    await store.rotate_secret(
        application.id,
        endpoint.public_id,
        SigningKey(kind="v1", secret=b"n" * 32),
        overlap_until=START + HOUR,
        secrets_max=5,
        now=START,
    )
    scene.pass_time(HOUR - 1)
    await scene.prune(AGES)
    assert count(database_file, "secret") == 2
    scene.pass_time(1)
    await scene.prune(AGES)
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
    await scene.prune(AGES)
    assert count(database_file, "idempotency") == 30
    scene.pass_time(5 * MINUTE)
    step = await store.prune(AGES, now=scene.now, limit=10)
    assert step.more
    await scene.prune(AGES, limit=10)
    assert count(database_file, "idempotency", "bucket % 2 = 0") == 0
    assert count(database_file, "idempotency", "bucket % 2 = 1") == 15
    scene.pass_time(30 * HOUR)
    await post("auto", 0)
    await scene.prune(AGES)
    assert count(database_file, "idempotency") == 1


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
    application, endpoint = await scene.seller()
    paused = await scene.endpoint(application, paused=True)
    await scene.publish(application, paused)
    assert (await store.gauges(now=scene.now)).oldest_due is None
    scene.pass_time(DAY)
    await scene.publish(application, endpoint)
    assert (await store.gauges(now=scene.now - 1)).oldest_due is None
    assert (await store.gauges(now=scene.now + 9)).oldest_due == scene.now
