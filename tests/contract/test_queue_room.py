"""Claiming fairly: room, turns, rest, and when to ask again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from marketbell.store.base import Store
from marketbell.testing.stores import Scene
from support.claims import LEASE, ask, attempts, numbers, put, shop

# -- room ---------------------------------------------------------------------------------


async def test_no_more_are_claimed_than_were_asked_for(scene: Scene) -> None:
    application, endpoints = await shop(scene, 3)
    for endpoint in endpoints:
        await put(scene, application, endpoint, [scene.now] * 5)
    assert len((await ask(scene, limit=7)).claims) == 7
    assert len((await ask(scene, limit=7, lanes=[e.id for e in endpoints])).claims) == 7
    assert len((await ask(scene, limit=7, lanes=[e.id for e in endpoints])).claims) == 1


async def test_a_lane_has_no_more_than_its_room_and_says_that_there_is_more(scene: Scene) -> None:
    application, endpoints = await shop(scene, 4)
    for endpoint in endpoints:
        await put(scene, application, endpoint, [scene.now] * 5)
    full, two, five, new = (endpoint.id for endpoint in endpoints)
    claimed = await ask(scene, rooms={full: 0, two: 2, five: 5}, new_room=1)
    found = [claim.endpoint_id for claim in claimed.claims]
    assert {lane: found.count(lane) for lane in (full, two, five, new)} == {
        full: 0,
        two: 2,
        five: 5,
        new: 1,
    }
    assert claimed.backlog == {full, two, new}


async def test_a_known_backlog_that_nothing_is_left_for_is_one_still(scene: Scene) -> None:
    application, endpoints = await shop(scene, 3)
    for endpoint in endpoints:
        await put(scene, application, endpoint, [scene.now] * 2)
    one, two, three = (endpoint.id for endpoint in endpoints)
    claimed = await ask(scene, lanes=[two, one, three], limit=2, rooms={two: 1, one: 1, three: 1})
    assert [claim.endpoint_id for claim in claimed.claims] == [two, one]
    assert claimed.backlog == {one, two, three}


async def test_rooms_may_be_told_in_any_order_and_for_lanes_that_are_not_due(scene: Scene) -> None:
    application, endpoints = await shop(scene, 9)
    ids = [endpoint.id for endpoint in endpoints]
    for endpoint in endpoints[1:-1:2]:
        await put(scene, application, endpoint, [scene.now] * 5)
    rooms = dict(zip(reversed(ids), [1, 2, 3, 4, 0, 2, 1, 5, 3], strict=True))
    del rooms[ids[3]]
    named = [ids[5], ids[0]]
    claimed = await ask(scene, rooms=rooms, new_room=3, lanes=named)
    found = [claim.endpoint_id for claim in claimed.claims]
    assert found[: rooms[ids[5]]] == [ids[5]] * rooms[ids[5]]
    wanted = {ids[1]: rooms[ids[1]], ids[3]: 3, ids[5]: rooms[ids[5]], ids[7]: rooms[ids[7]]}
    assert {lane: found.count(lane) for lane in set(found)} == wanted
    assert claimed.backlog == {lane for lane, room in wanted.items() if room < 5}


@pytest.mark.parametrize(("bytes_max", "count"), [(0, 1), (1, 1), (100, 1), (101, 2), (250, 3)])
async def test_no_more_bytes_are_claimed_than_there_is_room_for_but_always_one_delivery(
    scene: Scene, bytes_max: int, count: int
) -> None:
    application, endpoints = await shop(scene, 2)
    for endpoint in endpoints:
        await put(scene, application, endpoint, [scene.now] * 2, payload=b"x" * 100)
    claimed = await ask(scene, bytes_max=bytes_max)
    assert len(claimed.claims) == count
    rest = await ask(scene, lanes=[endpoint.id for endpoint in endpoints])
    assert len(rest.claims) == 4 - count


async def test_known_backlogs_are_visited_first_and_in_their_order(scene: Scene) -> None:
    application, endpoints = await shop(scene, 4)
    for endpoint in endpoints:
        await put(scene, application, endpoint, [scene.now] * 3)
    one, two, three, four = (endpoint.id for endpoint in endpoints)
    await ask(scene, new_room=1)
    claimed = await ask(scene, lanes=[three, one], rooms={three: 1, one: 1}, limit=2)
    assert [claim.endpoint_id for claim in claimed.claims] == [three, one]
    assert numbers(await ask(scene)) == []  # by their time they are looked at in a second
    claimed = await ask(scene, lanes=[four, two, four])
    assert [claim.endpoint_id for claim in claimed.claims] == [four, four, two, two]


class Reticent(dict[int, int]):
    """Rooms that know more lanes than they name."""

    def __iter__(self) -> Iterator[int]:
        return iter(())


async def test_rooms_are_asked_for_lanes_that_are_named(scene: Scene) -> None:
    application, endpoints = await shop(scene, 3)
    for endpoint in endpoints:
        await put(scene, application, endpoint, [scene.now] * 5)
    ids = [endpoint.id for endpoint in endpoints]
    claimed = await ask(scene, rooms=Reticent(dict.fromkeys(ids, 4)), lanes=ids[:2], new_room=1)
    found = [claim.endpoint_id for claim in claimed.claims]
    assert found[:8] == [ids[0]] * 4 + [ids[1]] * 4
    assert set(ids[:2]) <= claimed.backlog


async def test_a_lane_that_is_named_and_due_has_one_turn(scene: Scene) -> None:
    application, endpoints = await shop(scene, 2)
    for endpoint in endpoints:
        await put(scene, application, endpoint, [scene.now] * 3)
    one, two = (endpoint.id for endpoint in endpoints)
    claimed = await ask(scene, lanes=[one, one], limit=6)
    assert [claim.endpoint_id for claim in claimed.claims] == [one] * 3 + [two] * 3
    assert claimed.backlog == set()


async def test_a_backlog_that_nobody_asks_for_is_looked_at_again_in_a_second(scene: Scene) -> None:
    application, (endpoint,) = await shop(scene)
    await put(scene, application, endpoint, [scene.now] * 3)
    claimed = await ask(scene, new_room=1)
    assert claimed.next_at == scene.now + 1_000
    scene.pass_time(1_000)
    assert len((await ask(scene)).claims) == 2


# -- turns --------------------------------------------------------------------------------


async def test_a_lanes_deliveries_are_claimed_in_the_order_in_which_they_fell_due(
    scene: Scene,
) -> None:
    application, (endpoint,) = await shop(scene)
    offsets = [500, 100, 900, 300, 700]
    found = await put(scene, application, endpoint, [scene.now + offset for offset in offsets])
    scene.pass_time(800)
    in_order = [found[place] for place in sorted(range(5), key=lambda place: offsets[place])]
    assert numbers(await ask(scene)) == in_order[:4]


async def test_lanes_are_served_in_the_order_in_which_they_fell_due(scene: Scene) -> None:
    application, endpoints = await shop(scene, 4)
    offsets = [400, 100, 300, 200]
    for endpoint, offset in zip(endpoints, offsets, strict=True):
        await put(scene, application, endpoint, [scene.now + offset])
    scene.pass_time(1_000)
    served = []
    for _ in endpoints:
        (claim,) = (await ask(scene, limit=1)).claims
        served.append(claim.endpoint_id)
    in_order = sorted(zip(offsets, endpoints, strict=True), key=lambda pair: pair[0])
    assert served == [endpoint.id for _offset, endpoint in in_order]


async def test_one_lane_without_room_does_not_keep_the_others_back(scene: Scene) -> None:
    application, endpoints = await shop(scene, 210)
    for endpoint in endpoints[:205]:
        await put(scene, application, endpoint, [scene.now - 5_000])
    for endpoint in endpoints[205:]:
        await put(scene, application, endpoint, [scene.now])
    stuck = {endpoint.id: 0 for endpoint in endpoints[:205]}
    found: set[int] = set()
    for _ in range(3):
        claimed = await ask(scene, rooms=stuck)
        found.update(claim.endpoint_id for claim in claimed.claims)
    assert found == {endpoint.id for endpoint in endpoints[205:]}


# -- when next ----------------------------------------------------------------------------


async def test_next_at_is_when_the_next_lane_falls_due(scene: Scene) -> None:
    application, endpoints = await shop(scene, 2)
    await put(scene, application, endpoints[0], [scene.now + 9_000, scene.now])
    await put(scene, application, endpoints[1], [scene.now + 4_000])
    claimed = await ask(scene)
    assert len(claimed.claims) == 1
    assert claimed.next_at == scene.now + 4_000
    scene.pass_time(4_000)
    assert (await ask(scene)).next_at == scene.now + 5_000


async def test_once_all_is_claimed_there_is_no_next_time(scene: Scene) -> None:
    application, (endpoint,) = await shop(scene)
    await put(scene, application, endpoint, [scene.now, scene.now])
    claimed = await ask(scene)
    assert len(claimed.claims) == 2
    assert claimed.next_at is None


# -- release, hold ------------------------------------------------------------------------


async def test_a_released_claim_is_due_as_before_and_leaves_no_trace(
    store: Store, scene: Scene
) -> None:
    application, (endpoint,) = await shop(scene)
    await scene.publish(application, endpoint)
    due_at = scene.now
    scene.pass_time(50)
    (claim,) = (await ask(scene)).claims
    await store.release([claim])
    claimed = await ask(scene)
    (again,) = claimed.claims
    assert (again.due_at, again.attempt_count, claimed.lost) == (due_at, 0, 0)
    assert again.claim_number > claim.claim_number
    assert await attempts(store, endpoint) == []


async def test_a_birth_that_was_not_sent_can_be_released(store: Store, scene: Scene) -> None:
    application, (endpoint,) = await shop(scene)
    published = await scene.publish(application, endpoint, lease=LEASE)
    await store.release(published.claims)
    (claim,) = (await ask(scene)).claims
    assert (claim.claim_number, claim.due_at) == (2, scene.now)


async def test_a_claim_that_is_not_the_latest_releases_nothing(store: Store, scene: Scene) -> None:
    application, (endpoint,) = await shop(scene)
    await scene.publish(application, endpoint)
    (old,) = (await ask(scene)).claims
    scene.pass_time(LEASE)
    (new,) = (await ask(scene)).claims
    await store.release([old])
    assert numbers(await ask(scene, lanes=[endpoint.id])) == []
    await store.release([new, new])
    assert len((await ask(scene)).claims) == 1


async def test_a_release_after_the_end_changes_nothing(store: Store, scene: Scene) -> None:
    application, (endpoint,) = await shop(scene)
    await scene.publish(application, endpoint)
    (claim,) = (await ask(scene)).claims
    await scene.record(claim)
    await store.release([claim])
    assert numbers(await ask(scene, lanes=[endpoint.id])) == []


async def test_a_held_lane_rests_and_the_others_go_on(store: Store, scene: Scene) -> None:
    application, (held, free) = await shop(scene, 2)
    for endpoint in (held, free):
        await put(scene, application, endpoint, [scene.now] * 2)
    await store.hold(held.id, scene.now + 5_000)
    claimed = await ask(scene, lanes=[held.id])
    assert {claim.endpoint_id for claim in claimed.claims} == {free.id}
    assert claimed.next_at == scene.now + 5_000
    scene.pass_time(4_999)
    assert numbers(await ask(scene)) == []
    scene.pass_time(1)
    assert len((await ask(scene)).claims) == 2


async def test_what_comes_into_a_held_lane_waits_with_it(store: Store, scene: Scene) -> None:
    application, (endpoint,) = await shop(scene)
    await store.hold(endpoint.id, scene.now + 5_000)
    await put(scene, application, endpoint, [scene.now])
    claimed = await ask(scene)
    assert (claimed.claims, claimed.next_at) == ((), scene.now + 5_000)


async def test_a_shorter_hold_does_not_end_a_longer_one(store: Store, scene: Scene) -> None:
    application, (endpoint,) = await shop(scene)
    await put(scene, application, endpoint, [scene.now])
    await store.hold(endpoint.id, scene.now + 60_000)
    await store.hold(endpoint.id, scene.now + 1_000)
    scene.pass_time(59_999)
    assert numbers(await ask(scene)) == []
    scene.pass_time(1)
    assert len((await ask(scene)).claims) == 1


async def test_nothing_of_a_deleted_endpoint_is_claimed(store: Store, scene: Scene) -> None:
    application, (gone, left) = await shop(scene, 2)
    for endpoint in (gone, left):
        await put(scene, application, endpoint, [scene.now])
    await store.delete_endpoint(application.id, gone.public_id, now=scene.now)
    claimed = await ask(scene, lanes=[gone.id])
    assert [claim.endpoint_id for claim in claimed.claims] == [left.id]
    assert claimed.next_at is None
