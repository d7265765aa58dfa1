"""Figures of endpoints: exact through every way a delivery can go, through crashes and adding up."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from marketbell.model import DeliveryState, Endpoint, Instant, Outcome, Verdict
from marketbell.store.base import (
    Ages,
    AttemptFigures,
    EndpointFigures,
    MessageFilter,
    Page,
    Result,
    Store,
)
from marketbell.store.operational_plane import HIDDEN, HIDDEN_UID
from marketbell.testing.clock import START
from marketbell.testing.stores import ORGANIZATION, Scene
from support.history import publish_all, record_all
from support.opened import after_a_crash, opened

HOUR = 3_600_000
DAY = 24 * HOUR


async def figures(
    store: Store, endpoint: Endpoint, since: Instant = START - DAY, until: Instant = START + DAY
) -> EndpointFigures:
    return await store.endpoint_figures(endpoint.id, since=since, until=until)


async def counted(store: Store, endpoint: Endpoint) -> EndpointFigures:
    """The same from the deliveries themselves."""
    part = await store.deliveries(
        endpoint.application_id, endpoint.id, MessageFilter(), Page(limit=10_000)
    )
    assert part.done
    count = Counter(row.state for row in part.data)
    return EndpointFigures(
        delivered=count[DeliveryState.DELIVERED],
        pending=count[DeliveryState.PENDING],
        sending=count[DeliveryState.SENDING],
        failed=count[DeliveryState.FAILED],
        cancelled=count[DeliveryState.CANCELLED],
    )


async def add_up(store: Store) -> None:
    """What the follower does."""
    while await store.follow_figures(now=START, age=90 * DAY, bytes_max=200):
        pass


async def live_through_all(scene: Scene) -> Endpoint:
    """Deliveries that took every way there is, at one endpoint."""
    store = scene.store
    application, endpoint = await scene.seller()
    late = await scene.endpoint(application)
    await scene.deliver(application, endpoint)
    failed = (await scene.publish(application, endpoint, lease=60_000)).claims[0]
    await scene.record(failed, 500)
    twice = (await scene.publish(application, endpoint, lease=60_000)).claims[0]
    attempt = await scene.record(twice)
    await scene.record(twice, public_id=attempt.public_id)  # the same once more
    again = (await scene.publish(application, endpoint, lease=60_000)).claims[0]
    await scene.record(again, 500, again_at=scene.now + DAY)
    await scene.record(again, 0, outcome=Outcome.NO_ANSWER)  # of an older claim: changes nothing
    # Delivered, made due again, and failed: it stays delivered.
    revived = await scene.deliver(application, endpoint)
    await store.resend(application.id, revived.public_id, endpoint.public_id, now=scene.now)
    (claim,) = await scene.claim()
    await scene.record(claim, 500)
    # Failed, made due again, and waiting.
    await store.resend(application.id, failed.message.public_id, endpoint.public_id, now=scene.now)
    # For another endpoint, and sent to this one by hand.
    elsewhere = await scene.deliver(application, late)
    await store.resend(application.id, elsewhere.public_id, endpoint.public_id, now=scene.now)
    expunged = (await scene.publish(application, endpoint)).message
    await store.expunge_payload(application.id, expunged.public_id, now=scene.now)
    await scene.publish(application, endpoint, lease=60_000)
    return endpoint


async def test_last_failures_in_one_batch_are_each_counted_and_told_of_once(
    store: Store, scene: Scene
) -> None:
    hidden = await scene.application(HIDDEN + ORGANIZATION, uid=HIDDEN_UID)
    await scene.endpoint(hidden)
    application, endpoint = await scene.seller()
    other = await scene.endpoint(application)
    await store.drop_notices(await store.notices(100))
    claims = [
        *(await scene.publish(application, endpoint, other, lease=60_000)).claims,
        *(await scene.publish(application, endpoint, lease=60_000)).claims,
    ]
    revived = await scene.deliver(application, endpoint)
    await store.resend(application.id, revived.public_id, endpoint.public_id, now=scene.now)
    claims += await scene.claim()
    stale = (await scene.publish(application, other, lease=1_000)).claims[0]
    scene.pass_time(2_000)
    assert len(await scene.claim()) == 1  # the stale one is another's now
    verdict = Verdict(state=DeliveryState.FAILED)
    results = [
        Result(claim=claim, attempt=scene.attempt(claim, 500), verdict=verdict)
        for claim in (*claims, stale, claims[0])
    ]
    await store.record([*results, results[1]])
    for one in (endpoint, other):
        assert await figures(store, one) == await counted(store, one)
    assert await figures(store, endpoint) == EndpointFigures(
        delivered=1, pending=0, sending=0, failed=2, cancelled=0
    )
    assert await figures(store, other) == EndpointFigures(
        delivered=0, pending=0, sending=1, failed=1, cancelled=0
    )
    told = [one.notice.attempt for one in await store.notices(100)]
    assert told == [one.attempt.public_id for one in results[: len(claims)]]


async def test_the_figures_are_those_of_the_deliveries(store: Store, scene: Scene) -> None:
    endpoint = await live_through_all(scene)
    expected = await counted(store, endpoint)
    assert expected == EndpointFigures(delivered=3, pending=3, sending=1, failed=0, cancelled=1)
    assert await figures(store, endpoint) == expected
    await add_up(store)
    assert await figures(store, endpoint) == expected
    attempts = await store.attempt_figures(endpoint.id, since=START, until=START + 1)
    assert attempts == AttemptFigures(accepted=3, refused=4)


async def test_a_crash_loses_no_figure_and_counts_none_twice(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db") as store:
        endpoint = await live_through_all(Scene(store))
        expected = await counted(store, endpoint)
        crashed = [after_a_crash(tmp_path / "a.db", tmp_path / "first")]
        await store.follow_figures(now=START, age=90 * DAY, bytes_max=200)
        crashed.append(after_a_crash(tmp_path / "a.db", tmp_path / "second"))
    for path in crashed:
        async with opened(path) as store:
            found = await figures(store, endpoint)
            # What was being sent is nobody's any more.
            assert found.pending == expected.pending + expected.sending
            assert (found.delivered, found.cancelled) == (expected.delivered, expected.cancelled)
            await add_up(store)
            assert await figures(store, endpoint) == found


async def test_figures_are_of_whole_hours(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    begin = START // HOUR * HOUR
    for hour in range(4):
        scene.now = begin + hour * HOUR + 1
        await scene.deliver(application, endpoint)
    for since, until, expected in (
        (begin, begin + 4 * HOUR, 4),
        (begin, begin + HOUR, 1),
        (begin + HOUR - 1, begin + HOUR + 1, 2),
        (begin + 2 * HOUR, begin + 2 * HOUR, 1),
        (begin + 4 * HOUR, begin + 5 * HOUR, 0),
    ):
        found = await figures(store, endpoint, since, until)
        assert (found.delivered, found.pending) == (expected, 0)
    other = await scene.endpoint(application)
    assert await figures(store, other, begin, begin + 9 * HOUR) == EndpointFigures(
        delivered=0, pending=0, sending=0, failed=0, cancelled=0
    )


async def test_figures_of_many_at_once(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    published = await publish_all(scene, application, [{}] * 300, endpoint)
    claims = [claim for one in published for claim in one.claims]
    assert (await figures(store, endpoint)).sending == 300
    await record_all(scene, claims[:200], [200, 500] * 100)
    expected = EndpointFigures(delivered=100, pending=0, sending=100, failed=100, cancelled=0)
    assert await figures(store, endpoint) == expected
    await add_up(store)
    assert await figures(store, endpoint) == expected


async def test_a_batch_that_is_refused_counts_nothing(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    await scene.publish(application, endpoint, event_id="taken")
    with pytest.raises(Exception, match="taken"):
        await scene.publish(application, endpoint, event_id="taken")
    assert (await figures(store, endpoint)).pending == 1


async def test_old_figures_go(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    await scene.deliver(application, endpoint)
    await add_up(store)
    scene.pass_time(10 * DAY)
    await scene.deliver(application, endpoint)
    assert not await store.follow_figures(now=scene.now, age=DAY, bytes_max=1_000)
    assert (await figures(store, endpoint)).delivered == 0
    assert (await figures(store, endpoint, scene.now - HOUR, scene.now + 1)).delivered == 1


async def test_messages_that_retention_cancels_count_as_cancelled(
    store: Store, scene: Scene
) -> None:
    application, endpoint = await scene.seller()
    await scene.publish(application, endpoint)
    await scene.update(endpoint, disabled=True)
    scene.pass_time(2 * DAY)
    await scene.prune(Ages(payloads=DAY, attempts=DAY, messages=DAY))
    found = await figures(store, endpoint)
    assert (found.pending, found.cancelled) == (0, 1)
