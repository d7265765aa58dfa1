"""What goes with age and what the lists stand on, written behind: neither outlives the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest

from marketbell.store import following
from marketbell.store.base import Ages, AttemptFilter, MessageFilter, Page, Store
from marketbell.store.migrate import migrate
from marketbell.store.positions import lower, position
from marketbell.store.sqlite import SqliteTransaction
from marketbell.store.statements import statements
from marketbell.store.walk import ROUND_MS
from marketbell.testing import FakeClock
from marketbell.testing.stores import ORGANIZATION, Scene
from support.grounds import Ground

MINUTE = 60_000
DAY = 86_400_000
MONTH = Ages(payloads=DAY, attempts=DAY, messages=30 * DAY)


def rows(file: Path, table: str, condition: str = "true") -> int:
    """How many rows a table of the file has."""
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    found: Any = connection.execute(f"select count(*) from {table} where {condition}")
    return int(found.fetchall()[0][0])


@pytest.mark.parametrize("noted", [False, True])
async def test_keys_that_are_given_again_are_noted_again(
    store: Store, scene: Scene, database_file: Path, noted: bool
) -> None:
    """When the last attempts of all are deleted, the database gives their keys to the next ones."""
    application, endpoint = await scene.seller()
    other = await scene.endpoint(application)
    for _ in range(5):
        await scene.deliver(application, endpoint)
    if noted:
        await store.follow_labels(messages_max=100)
    scene.pass_time(2 * DAY)
    await scene.prune(MONTH)
    assert rows(database_file, "attempt") == rows(database_file, "endpoint_attempt") == 0
    made = [(await scene.deliver(application, other)).id for _ in range(3)]
    assert rows(database_file, "attempt", "id <= 5") == 3
    for _ in range(2):
        for which in (AttemptFilter(), AttemptFilter(endpoint_id=other.id)):
            part = await store.attempts(application.id, which, Page())
            assert [row.message.id for row in part.data] == made[::-1]
        part = await store.attempts(application.id, AttemptFilter(endpoint_id=endpoint.id), Page())
        assert part.data == ()
        assert not await store.follow_labels(messages_max=100)
    assert rows(database_file, "endpoint_attempt", f"endpoint_id = {other.id}") == 3


async def test_what_goes_before_it_is_noted_is_never_noted(
    store: Store, scene: Scene, database_file: Path
) -> None:
    application, endpoint = await scene.seller()
    for _ in range(4):
        await scene.deliver(application, endpoint, channels=("c",))
    await store.follow_labels(messages_max=2)
    scene.pass_time(40 * DAY)
    last = await scene.deliver(application, endpoint)
    await scene.prune(MONTH)
    assert rows(database_file, "message") == rows(database_file, "attempt") == 1
    assert not await store.follow_labels(messages_max=100)
    assert rows(database_file, "message_label", f"message_id = {last.id}") == 2
    assert rows(database_file, "message_label") == 2
    assert rows(database_file, "endpoint_attempt") == 1


async def test_nothing_is_noted_twice_after_a_crash(ground: Ground, database_file: Path) -> None:
    async with ground.opened(FakeClock()) as store:
        scene = Scene(store)
        application, endpoint = await scene.seller()
        made = [
            (await scene.deliver(application, endpoint, channels=("c", "d"))).id for _ in range(9)
        ]
        assert await store.follow_labels(messages_max=4)
        crashed = ground.after_a_crash()
    async with crashed.opened(FakeClock()) as store:
        for _ in range(2):
            messages = await store.messages(application.id, MessageFilter(), Page())
            assert [one.id for one in messages.data] == made[::-1]
            attempts = await store.attempts(application.id, AttemptFilter(), Page())
            assert [row.message.id for row in attempts.data] == made[::-1]
            while await store.follow_labels(messages_max=2):
                pass
    file = crashed.path  # type: ignore[attr-defined]
    assert rows(file, "message_label") == 9 * 4
    assert rows(file, "endpoint_attempt") == 9


def test_a_step_that_is_rolled_back_leaves_its_place() -> None:
    connection = apsw.Connection(":memory:")
    migrate(connection)
    transaction = SqliteTransaction(connection)
    connection.executemany(
        "insert into message (id, public_id, application_id, event_type, occurred_at, created_at,"
        " payload_expires_at) values (?1, 'msg_' || ?1, 1, 'a', 0, 0, 0)",
        [(key,) for key in range(11, 21)],
    )
    connection.execute("begin")
    assert following.note_rows(transaction, 4)
    assert position(transaction, "labels") == 14
    connection.execute("rollback")
    assert position(transaction, "labels") == 0
    assert following.note_rows(transaction, 4)
    assert following.note_rows(transaction, 4)
    assert not following.note_rows(transaction, 4)
    assert not following.has_rows(transaction)
    # Whatever stands above the last row of its table is brought down to it, and nothing else.
    position_set = statements("search")["position_set"]
    transaction.change(position_set, {"name": "attempts", "position": 7})
    transaction.change(position_set, {"name": "texts", "position": 70})
    connection.execute("delete from message where id > 15")
    lower(transaction)
    places = {name: position(transaction, name) for name in ("labels", "attempts", "texts")}
    assert places == {"labels": 15, "attempts": 0, "texts": 70}


async def passed(scene: Scene, days: int) -> None:
    """That many days, and as many steps of retention as any walk takes, without the follower."""
    scene.pass_time(days * DAY)
    for _ in range(3):
        await scene.prune(MONTH)
        scene.pass_time(ROUND_MS)


async def test_a_deleted_application_waits_until_all_of_its_messages_are_noted(
    store: Store, scene: Scene, database_file: Path
) -> None:
    application = await scene.application()
    await scene.application()
    await store.follow_labels(messages_max=100)
    await scene.publish(application)
    await store.delete_application(ORGANIZATION, application.public_id, now=scene.now)
    gone = f"id = {application.id}"
    await passed(scene, 3)
    assert rows(database_file, "application", gone) == 1
    await store.follow_labels(messages_max=100)
    await passed(scene, 3)
    assert rows(database_file, "application", gone) == 1
    scene.pass_time(40 * DAY)
    await scene.publish(await scene.application())
    await passed(scene, 0)
    assert rows(database_file, "application", gone) == 0


async def test_a_deleted_endpoint_waits_until_all_of_its_attempts_are_noted(
    store: Store, scene: Scene, database_file: Path
) -> None:
    """The attempt stays longer than messages do, for another endpoint has yet to get its message."""
    ages = Ages(payloads=DAY, attempts=90 * DAY, messages=30 * DAY)
    application, endpoint = await scene.seller()
    slow = await scene.endpoint(application)
    published = await scene.publish(application, endpoint, slow, lease=MINUTE)
    for claim in published.claims:
        again_at = None if claim.endpoint_id == endpoint.id else scene.now + 80 * DAY
        await scene.record(claim, 200 if again_at is None else 500, again_at=again_at)
    await store.delete_endpoint(application.id, endpoint.public_id, now=scene.now)
    gone = f"id = {endpoint.id}"
    for noted in (False, True):
        if noted:
            await store.follow_labels(messages_max=100)
        scene.pass_time(40 * DAY)
        await scene.prune(ages)
        assert rows(database_file, "endpoint", gone) == 1
    scene.pass_time(20 * DAY)
    await scene.prune(ages)
    scene.pass_time(ROUND_MS)
    await scene.prune(ages)
    assert rows(database_file, "endpoint", gone) == 0


async def test_what_was_never_followed_goes_all_the_same(
    store: Store, scene: Scene, database_file: Path
) -> None:
    application, endpoint = await scene.seller()
    for _ in range(3):
        await scene.deliver(application, endpoint)
    await store.delete_application(ORGANIZATION, application.public_id, now=scene.now)
    scene.pass_time(40 * DAY)
    live = await scene.seller()
    await scene.deliver(*live)
    await passed(scene, 0)
    assert rows(database_file, "message") == rows(database_file, "attempt") == 1
    assert rows(database_file, "application", f"id = {application.id}") == 0
    assert rows(database_file, "endpoint", f"id = {endpoint.id}") == 0
