"""Entities and credentials: one transaction with the messages, found by what they are asked for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from marketbell.errors import ConflictError, LimitReachedError, NotFoundError, StaleError
from marketbell.model import Application
from marketbell.store.base import (
    CREDENTIALS_MAX,
    Ages,
    Birth,
    Credential,
    Entity,
    EntityFilter,
    Idempotency,
    MessageFilter,
    Once,
    Page,
    Publication,
    Repeated,
    Store,
)
from marketbell.store.statements import texts
from marketbell.testing.stores import ORGANIZATION, Scene

DAY = 86_400_000


def part(application: Application, number: int, **fields: Any) -> Entity:
    """A part that is not kept yet."""
    return Entity(
        **{
            "application_id": application.id,
            "kind": "part",
            "number": number,
            "key": f"shelf-{number}",
            "state": "in_warehouse",
            "body": b'{"price":10}',
            "created_at": 1_000 + number,
            "updated_at": 0,
            **fields,
        }
    )


async def keep(scene: Scene, *entities: Entity) -> None:
    await scene.store.change_entities(entities[0].application_id, entities, (), now=scene.now)


async def event(scene: Scene, application: Application, **fields: Any) -> Publication:
    current = await scene.store.application(ORGANIZATION, application.public_id)
    return Publication(
        message=scene.message(application, **fields), revision=current.revision, births=()
    )


async def messages(store: Store, application: Application) -> int:
    found = await store.messages(application.id, MessageFilter(), Page(limit=100))
    return len(found.data)


async def numbers(store: Store, application: Application, **asked: Any) -> list[int]:
    page = {name: asked.pop(name) for name in ("offset", "limit", "descending") if name in asked}
    found = await store.entities(application.id, EntityFilter(**{"kind": "part", **asked}), **page)
    return [entity.number for entity in found]


async def test_a_new_entity_is_kept_with_its_message(store: Store, scene: Scene) -> None:
    seller, endpoint = await scene.seller()
    publication = msgspec.structs.replace(
        await event(scene, seller),
        revision=(await store.application(ORGANIZATION, seller.public_id)).revision,
        births=(Birth(endpoint_id=endpoint.id, due_at=scene.now, lease_until=scene.now + 60_000),),
    )
    (published,) = await store.change_entities(
        seller.id, (part(seller, 7),), (publication,), now=scene.now
    )
    assert [claim.endpoint_id for claim in published.claims] == [endpoint.id]
    kept = await store.entity(seller.id, "part", 7)
    assert kept == part(seller, 7, revision=1, updated_at=scene.now)
    assert await messages(store, seller) == 1


async def test_a_change_raises_the_revision_and_keeps_the_creation(
    store: Store, scene: Scene
) -> None:
    seller = await scene.application()
    await keep(scene, part(seller, 7))
    read = await store.entity(seller.id, "part", 7)
    scene.pass_time(5)
    await keep(
        scene,
        msgspec.structs.replace(read, state="sold", key="", body=b"{}", parent=3, created_at=1),
    )
    assert await store.entity(seller.id, "part", 7) == part(
        seller, 7, state="sold", key="", body=b"{}", parent=3, revision=2, updated_at=scene.now
    )


@pytest.mark.parametrize("revision", [0, 2])
async def test_another_revision_is_stale_and_writes_nothing(
    store: Store, scene: Scene, revision: int
) -> None:
    seller = await scene.application()
    await keep(scene, part(seller, 7))
    changed = part(seller, 7, revision=revision, state="sold")
    with pytest.raises(StaleError):
        await store.change_entities(
            seller.id, (part(seller, 8), changed), (await event(scene, seller),), now=scene.now
        )
    assert await numbers(store, seller) == [7]
    assert (await store.entity(seller.id, "part", 7)).state == "in_warehouse"
    assert await messages(store, seller) == 0


async def test_of_two_changes_made_at_once_one_is_stale(store: Store, scene: Scene) -> None:
    seller = await scene.application()
    await keep(scene, part(seller, 7))
    read = await store.entity(seller.id, "part", 7)
    first = store.change_entities(
        seller.id, (msgspec.structs.replace(read, state="sold"),), (), now=scene.now
    )
    second = store.change_entities(
        seller.id, (msgspec.structs.replace(read, state="reserved"),), (), now=scene.now
    )
    await first
    with pytest.raises(StaleError):
        await second


async def test_a_stale_fan_out_takes_the_entities_with_it(store: Store, scene: Scene) -> None:
    seller = await scene.application()
    publication = await event(scene, seller)
    await scene.endpoint(seller)
    with pytest.raises(StaleError):
        await store.change_entities(seller.id, (part(seller, 7),), (publication,), now=scene.now)
    assert await numbers(store, seller) == []


async def test_a_refused_message_takes_entities_and_other_messages_with_it(
    store: Store, scene: Scene
) -> None:
    seller = await scene.application()
    await scene.publish(seller, event_id="once")
    good, taken = await event(scene, seller), await event(scene, seller, event_id="once")
    with pytest.raises(ConflictError, match="eventId 'once'"):
        await store.change_entities(seller.id, (part(seller, 7),), (good, taken), now=scene.now)
    assert await numbers(store, seller) == []
    assert await messages(store, seller) == 1
    await scene.publish(seller)  # message ids go on without a clash
    assert await messages(store, seller) == 2


async def test_a_deleted_application_keeps_nothing_new(store: Store, scene: Scene) -> None:
    seller = await scene.application()
    await store.delete_application(ORGANIZATION, seller.public_id, now=scene.now)
    with pytest.raises(NotFoundError):
        await keep(scene, part(seller, 7))


async def test_another_sellers_number_is_not_found_and_not_changed(
    store: Store, scene: Scene
) -> None:
    mine, other = await scene.application(), await scene.application()
    await keep(scene, part(mine, 7))
    with pytest.raises(NotFoundError):
        await store.entity(other.id, "part", 7)
    with pytest.raises(StaleError):
        await keep(scene, part(other, 7, revision=1))
    assert await numbers(store, other, numbers=[7]) == []


async def test_a_callers_slip_is_told_at_once(store: Store, scene: Scene) -> None:
    mine, other = await scene.application(), await scene.application()
    with pytest.raises(ValueError, match="twice"):
        await keep(scene, part(mine, 7), part(mine, 7))
    with pytest.raises(ValueError, match="another application"):
        await store.change_entities(mine.id, (part(other, 7),), (), now=scene.now)


async def test_numbers_rise_from_one_for_each_kind(store: Store) -> None:
    assert await store.next_numbers("part", 2) == range(1, 3)
    assert await store.next_numbers("order", 1) == range(1, 2)
    assert await store.next_numbers("part", 3) == range(3, 6)
    assert await store.next_numbers("part", 0) == range(0)


async def fill(scene: Scene) -> Application:
    """Six parts: created in the order 6…1, changed at later and later moments."""
    seller = await scene.application()
    for number in range(1, 7):
        scene.now = 10_000 + number
        await keep(
            scene,
            part(
                seller,
                number,
                state="sold" if number % 2 else "in_warehouse",
                parent=90 if number > 3 else 0,
                created_at=1_000 - number,
            ),
        )
    return seller


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, [6, 5, 4, 3, 2, 1]),
        ({"descending": True}, [1, 2, 3, 4, 5, 6]),
        ({"offset": 1, "limit": 2}, [5, 4]),
        ({"numbers": [1, 3, 99]}, [3, 1]),
        ({"numbers": [1, 3], "descending": True}, [1, 3]),
        ({"numbers": [1, 2], "keys": ["shelf-2"]}, [2]),
        ({"numbers": []}, []),
        ({"keys": ["shelf-4", "shelf-1", "no"]}, [4, 1]),
        ({"keys": ["shelf-4"], "parent": 90, "states": ["in_warehouse"]}, [4]),
        ({"keys": ["shelf-4"], "parent": 91}, []),
        ({"keys": ["shelf-4"], "states": ["sold"]}, []),
        ({"parent": 90}, [6, 5, 4]),
        ({"parent": 90, "descending": True, "limit": 1}, [4]),
        ({"states": ["sold"]}, [5, 3, 1]),
        ({"states": ["sold"], "descending": True}, [1, 3, 5]),
        ({"states": ["sold", "in_warehouse"], "limit": 2}, [6, 5]),
        ({"states": []}, []),
        ({"created_since": 996, "created_until": 998}, [4, 3]),
        ({"created_since": 996, "updated_until": 10_002}, [1]),
        ({"updated_since": 10_002, "updated_until": 10_005}, [2, 3, 4]),
        ({"updated_since": 10_002, "descending": True, "limit": 2}, [6, 5]),
        ({"updated_since": 10_002, "states": ["sold"]}, [3, 5]),
        ({"kind": "order"}, []),
    ],
)
async def test_lists(store: Store, scene: Scene, asked: dict[str, Any], found: list[int]) -> None:
    seller = await fill(scene)
    await keep(scene, part(await scene.application(), 50, created_at=997, parent=90))
    assert await numbers(store, seller, **asked) == found
    asked = {name: value for name, value in asked.items() if name in EntityFilter.__struct_fields__}
    counted = await store.count_entities(seller.id, EntityFilter(**{"kind": "part", **asked}))
    assert sum(counted.values()) == len(await numbers(store, seller, **asked))
    assert set(counted) <= {"sold", "in_warehouse"}


async def test_a_credential_opens_for_its_user_only(store: Store, scene: Scene) -> None:
    seller = await scene.application()
    made = await store.create_credential(seller.id, "ovoko", "anna", b"secret", now=scene.now)
    found = await store.credential("ovoko", "anna")
    assert found == made
    assert (found.application.public_id, found.secret) == (seller.public_id, b"secret")
    assert "secret" not in repr(found)
    assert await store.credentials(seller.id) == (made,)
    with pytest.raises(NotFoundError):
        await store.credential("sellercenter", "anna")


async def test_user_names_are_taken_until_deleted(store: Store, scene: Scene) -> None:
    seller, other = await scene.application(), await scene.application()
    made = await store.create_credential(seller.id, "ovoko", "anna", b"a", now=scene.now)
    assert isinstance(made, Credential)
    with pytest.raises(ConflictError, match="'anna' is taken"):
        await store.create_credential(other.id, "ovoko", "anna", b"b", now=scene.now)
    assert await store.credential_of(seller.id, made.public_id) == made
    for of_another in (store.delete_credential, store.credential_of):
        with pytest.raises(NotFoundError):
            await of_another(other.id, made.public_id)
    await store.delete_credential(seller.id, made.public_id)
    with pytest.raises(NotFoundError):
        await store.delete_credential(seller.id, made.public_id)
    await store.create_credential(other.id, "ovoko", "anna", b"b", now=scene.now)


async def test_a_deleted_application_logs_in_no_more_and_frees_its_name(
    store: Store, scene: Scene
) -> None:
    seller, other = await scene.application(), await scene.application()
    await store.create_credential(seller.id, "ovoko", "anna", b"a", now=scene.now)
    await store.delete_application(ORGANIZATION, seller.public_id, now=scene.now)
    with pytest.raises(NotFoundError):
        await store.credential("ovoko", "anna")
    with pytest.raises(NotFoundError):
        await store.create_credential(seller.id, "ovoko", "bob", b"a", now=scene.now)
    await store.create_credential(other.id, "ovoko", "anna", b"b", now=scene.now)
    assert (await store.credential("ovoko", "anna")).secret == b"b"


async def test_secrets_do_not_stand_in_the_file(
    store: Store, scene: Scene, database_file: Path
) -> None:
    seller = await scene.application()
    secret = b"hunter2-hunter2-hunter2"
    await store.create_credential(seller.id, "ovoko", "anna", secret, now=scene.now)
    files = [database_file, database_file.with_name(database_file.name + "-wal")]
    assert all(secret not in file.read_bytes() for file in files)


async def test_an_applications_users_are_bounded(store: Store, scene: Scene) -> None:
    seller, other = await scene.application(), await scene.application()
    for number in range(CREDENTIALS_MAX):
        await store.create_credential(seller.id, "ovoko", f"u{number}", b"a", now=scene.now)
    with pytest.raises(LimitReachedError, match="delete one"):
        await store.create_credential(seller.id, "ovoko", "more", b"a", now=scene.now)
    await store.create_credential(other.id, "ovoko", "more", b"a", now=scene.now)
    assert len(await store.credentials(seller.id)) == CREDENTIALS_MAX


async def test_a_repeated_request_gets_the_first_ones_secret_which_is_kept_sealed(
    store: Store, scene: Scene, database_file: Path
) -> None:
    seller = await scene.application()
    answer = b"hunter3-hunter3-hunter3"

    def once(body: bytes) -> Once:
        return Once(Idempotency(key=b"k" * 16, body=body, auto=False), lambda _made: answer)

    async def make(user: str, body: bytes = b"b" * 16) -> Credential | Repeated:
        return await store.create_credential(
            seller.id, "ovoko", user, b"a", now=scene.now, once=once(body)
        )

    assert isinstance(await make("anna"), Credential)
    repeated = await make("bob")
    assert isinstance(repeated, Repeated)
    assert repeated.answer == answer
    assert [one.user for one in await store.credentials(seller.id)] == ["anna"]
    with pytest.raises(ConflictError):
        await make("bob", b"c" * 16)
    files = [database_file, database_file.with_name(database_file.name + "-wal")]
    assert all(answer not in file.read_bytes() for file in files)


def test_every_list_walks_its_index(store: Store, database_file: Path) -> None:
    connection = apsw.Connection(str(database_file), flags=apsw.SQLITE_OPEN_READONLY)
    for name, statement in texts("sqlite", "marketplace").items():
        if not name.startswith("entities_"):
            continue
        names = re.findall(r":(\w+)", statement)
        plan = connection.execute(
            f"explain query plan {statement}", dict.fromkeys(names, None)
        ).fetchall()
        steps = " / ".join(str(row[3]) for row in plan)
        assert "SCAN entity" not in steps, (name, steps)
        assert ("TEMP B-TREE" in steps) == name.startswith("entities_by_"), (name, steps)
    connection.close()


async def test_a_deleted_applications_things_go_in_small_steps(
    store: Store, scene: Scene, database_file: Path
) -> None:
    gone, other = await scene.application(), await scene.application()
    await keep(scene, *(part(gone, number) for number in range(1, 26)))
    await keep(scene, part(other, 99))
    await store.create_credential(gone.id, "ovoko", "anna", b"a", now=scene.now)
    await store.delete_application(ORGANIZATION, gone.public_id, now=scene.now)
    await scene.prune(Ages(payloads=1, attempts=1, messages=1), limit=10)
    connection = apsw.Connection(str(database_file), flags=apsw.SQLITE_OPEN_READONLY)
    left = connection.execute("select application_id from entity").fetchall()
    users = connection.execute("select count(*) from credential").fetchall()
    connection.close()
    assert (left, users) == ([(other.id,)], [(0,)])


async def test_a_key_may_belong_to_one_alone(store: Store, scene: Scene) -> None:
    seller, other = await scene.application(), await scene.application()
    await keep(scene, part(seller, 1, key="A", sole=True))
    with pytest.raises(StaleError, match="There is a part 'A' already"):
        await keep(scene, part(seller, 2, key="A", sole=True))
    assert await numbers(store, seller) == [1]
    await keep(scene, part(seller, 3, key="A"))
    await keep(scene, part(seller, 4, key="A", sole=True, kind="product"))
    await keep(scene, part(other, 5, key="A", sole=True))
    kept = await store.entity(seller.id, "part", 1)
    assert kept.sole
    await keep(scene, msgspec.structs.replace(kept, state="sold"))
    await keep(scene, part(seller, 6, key="B", sole=True))
    late = msgspec.structs.replace(await store.entity(seller.id, "part", 6), key="A")
    with pytest.raises(StaleError):
        await keep(scene, late)
    with pytest.raises(ValueError, match="two of the changes"):
        await keep(scene, part(seller, 8, key="C", sole=True), part(seller, 9, key="C", sole=True))


def test_the_database_itself_lets_no_key_be_there_twice(store: Store, database_file: Path) -> None:
    del store
    connection = apsw.Connection(str(database_file), flags=apsw.SQLITE_OPEN_READONLY)
    plan = connection.execute(
        "select \"unique\" from pragma_index_list('entity') where name = ?", ("entity_sole",)
    )
    assert plan.fetchall() == [(1,)]
    connection.close()


ENDED = {"order": 10 * DAY, "log": 20 * DAY}


async def kept_numbers(store: Store, application: Application) -> list[int]:
    return [
        number
        for kind in ("order", "item", "return", "log", "part")
        for number in await numbers(store, application, kind=kind)
    ]


async def test_what_ended_goes_at_its_age_with_what_belongs_to_it(
    store: Store, scene: Scene
) -> None:
    seller = await scene.application()
    await keep(
        scene,
        part(seller, 1, kind="order", over=True),
        part(seller, 2, kind="item", parent=1, over=True),
        part(seller, 3, kind="order"),
        part(seller, 4, kind="item", parent=3, over=True),
        part(seller, 5, kind="order", over=True),
        part(seller, 6, kind="return", parent=5),
        part(seller, 7, kind="order", over=True),
        part(seller, 8, kind="return", parent=7, over=True),
        part(seller, 9, kind="log", over=True),
        part(seller, 10, over=True),
    )
    ages = Ages(payloads=90 * DAY, attempts=90 * DAY, messages=90 * DAY, ended=ENDED)
    scene.pass_time(5 * DAY)
    await keep(scene, await store.entity(seller.id, "return", 8))
    scene.pass_time(5 * DAY - 1)
    await scene.prune(ages)
    assert await kept_numbers(store, seller) == [1, 3, 5, 7, 2, 4, 6, 8, 9, 10]
    scene.pass_time(1)
    await scene.prune(ages)
    assert await kept_numbers(store, seller) == [3, 5, 7, 4, 6, 8, 9, 10]
    scene.pass_time(5 * DAY)
    await scene.prune(ages)
    assert await kept_numbers(store, seller) == [3, 5, 4, 6, 9, 10]
    scene.pass_time(5 * DAY)
    await scene.prune(ages)
    assert await kept_numbers(store, seller) == [3, 5, 4, 6, 10]


async def test_what_is_needed_still_does_not_stand_in_the_way(store: Store, scene: Scene) -> None:
    seller = await scene.application()
    needed = [
        one
        for number in range(1, 41, 2)
        for one in (
            part(seller, number, kind="order", over=True),
            part(seller, number + 1, kind="return", parent=number),
        )
    ]
    await keep(scene, *needed)
    await keep(scene, *(part(seller, number, kind="order", over=True) for number in range(50, 75)))
    scene.pass_time(11 * DAY)
    ages = Ages(payloads=90 * DAY, attempts=90 * DAY, messages=90 * DAY, ended=ENDED)
    steps = 1
    while (await store.prune(ages, now=scene.now, limit=10)).more:
        steps += 1
    assert 4 <= steps < 15
    assert await numbers(store, seller, kind="order") == list(range(1, 41, 2))
