"""Slices of messages and attempts: no row twice and none missed, while the lists grow and shrink."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketbell.errors import InvalidError
from marketbell.store.base import Ages, AttemptFilter, MessageFilter, Page, Store
from marketbell.testing.stores import Scene

SECOND = 1_000
MINUTE = 60_000
HOUR = 3_600_000
DAY = 86_400_000
KEY = b"order-1"

ALL = MessageFilter()


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    before=st.integers(0, 12),
    limit=st.integers(1, 5),
    added=st.lists(st.integers(0, 3), max_size=6),
)
async def test_no_message_comes_twice_and_none_is_missed_while_others_are_added(
    scene: Scene, before: int, limit: int, added: list[int]
) -> None:
    application, other = await scene.application(), await scene.application()
    made = [(await scene.publish(application)).message.public_id for _ in range(before)]
    growth = iter(added)
    seen: list[str] = []
    after: str | None = None
    firsts: list[str] = []
    while True:
        page = Page(limit=limit, after=after)
        found = await scene.store.messages(application.id, ALL, page)
        seen += [message.public_id for message in found.data]
        for _ in range(next(growth, 0)):
            made.append((await scene.publish(application)).message.public_id)
            await scene.publish(other)
            scene.pass_time(1)
        if found.done:
            break
        after = seen[-1]
        firsts.append(seen[-len(found.data)])
    assert seen == made[:before][::-1]
    # And back again, from the oldest up to those that have come meanwhile.
    back: list[str] = []
    while made:
        page = Page(limit=limit, before=back[0] if back else made[0])
        found = await scene.store.messages(application.id, ALL, page)
        back = [message.public_id for message in found.data] + back
        if found.done:
            break
    assert back == made[:0:-1]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    counts=st.lists(st.integers(1, 3), min_size=1, max_size=5),
    limit=st.integers(1, 4),
    by_message=st.booleans(),
)
async def test_no_attempt_comes_twice_and_none_is_missed_while_others_are_added(
    scene: Scene, counts: list[int], limit: int, by_message: bool
) -> None:
    application, endpoint = await scene.seller()
    (claim,) = (await scene.publish(application, endpoint, lease=MINUTE)).claims
    made: list[str] = []

    async def fail(times: int) -> None:
        for _ in range(times):
            attempt = await scene.record(claim, 500, again_at=scene.now)
            made.append(attempt.public_id)

    await fail(counts[0])
    first = len(made)
    which = AttemptFilter(
        message_id=claim.message.id if by_message else None,
        endpoint_id=None if by_message else endpoint.id,
    )
    growth = iter(counts[1:])
    seen: list[str] = []
    while True:
        page = Page(limit=limit, after=seen[-1] if seen else None)
        found = await scene.store.attempts(application.id, which, page)
        seen += [row.attempt.public_id for row in found.data]
        await fail(next(growth, 0))
        if found.done:
            break
    assert seen == made[:first][::-1]


async def test_a_list_goes_on_where_its_last_message_was_removed(
    store: Store, scene: Scene
) -> None:
    application = await scene.application()
    made = []
    for _ in range(4):
        made.append((await scene.publish(application)).message.public_id)
        scene.pass_time(DAY)
    ages = Ages(payloads=2 * DAY + 1, attempts=DAY, messages=2 * DAY + 1)
    await store.prune(ages, now=scene.now, limit=100)
    left = await store.messages(application.id, ALL, Page())
    assert [message.public_id for message in left.data] == made[:1:-1]
    older = await store.messages(application.id, ALL, Page(after=made[1]))
    assert (older.data, older.done) == ((), True)
    newer = await store.messages(application.id, ALL, Page(limit=1, before=made[1]))
    assert ([message.public_id for message in newer.data], newer.done) == ([made[2]], False)


async def test_an_iterator_of_another_kind_is_refused(store: Store, scene: Scene) -> None:
    application = await scene.application()
    with pytest.raises(InvalidError, match="msg_"):
        await store.messages(application.id, ALL, Page(after="atmpt_x"))
