"""Messages, deliveries and attempts as they are and were; slices of them; resends in each state."""

from __future__ import annotations

import msgspec
import pytest

from marketbell import ids
from marketbell.errors import NotFoundError
from marketbell.model import Application, DeliveryState, Message, Outcome, Policy
from marketbell.store.base import AttemptFilter, AttemptRow, MessageFilter, Owner, Page, Store
from marketbell.testing.clock import START
from marketbell.testing.stores import ORGANIZATION, Scene

SECOND = 1_000
MINUTE = 60_000
HOUR = 3_600_000
DAY = 86_400_000
KEY = b"order-1"

ALL = MessageFilter()


async def listed(scene: Scene, application: Application, which: MessageFilter = ALL) -> list[str]:
    """The public ids of all messages that pass a filter, as listed."""
    found = await scene.store.messages(application.id, which, Page(limit=250))
    assert found.done
    return [message.public_id for message in found.data]


async def test_everything_tells_whose_it_is_by_its_id_alone(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    (claim,) = (await scene.publish(application, endpoint, lease=MINUTE)).claims
    attempt = await scene.record(claim)
    message = claim.message.public_id
    whose = Owner(
        organization=ORGANIZATION,
        application=application.public_id,
        message=None,
        deleted_at=None,
    )
    assert await store.owner(endpoint.public_id) == whose
    assert await store.owner(message) == whose
    assert await store.owner(attempt.public_id) == msgspec.structs.replace(whose, message=message)
    await store.delete_endpoint(application.id, endpoint.public_id, now=START + 1)
    deleted = await store.owner(endpoint.public_id)
    assert deleted == msgspec.structs.replace(whose, deleted_at=START + 1)
    assert (await store.owner(message)).deleted_at is None
    await store.delete_application(ORGANIZATION, application.public_id, now=START + 2)
    assert (await store.owner(message)).deleted_at == START + 2
    for prefix in (ids.ENDPOINT, ids.MESSAGE, ids.ATTEMPT, ids.APPLICATION):
        with pytest.raises(NotFoundError):
            await store.owner(ids.new_id(prefix, START))
    with pytest.raises(NotFoundError):
        await store.owner("ep_\0")


# -- messages -----------------------------------------------------------------------------


async def test_a_message_is_read_back_as_it_was_published(store: Store, scene: Scene) -> None:
    application = await scene.application()
    payload = '{"b": 1.0,  "a":null, "ż":"\\u0105"}'.encode()
    published = await scene.publish(
        application,
        payload=payload,
        event_id="event-7",
        channels=("pl", "lt"),
        tags=("t",),
        occurred_at=START - DAY,
    )
    kept = await store.message(application.id, published.message.public_id)
    assert kept == published.message
    assert kept.payload == payload
    assert await store.message(application.id, "event-7") == kept
    assert (await store.messages(application.id, ALL, Page())).data == (kept,)


async def test_another_application_sees_nothing(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    message = await scene.deliver(application, endpoint, event_id="event-7")
    other, own = await scene.seller()
    for ref in (message.public_id, "event-7", "msg_nonsense"):
        with pytest.raises(NotFoundError):
            await store.message(other.id, ref)
        with pytest.raises(NotFoundError):
            await store.resend(other.id, ref, own.public_id, now=START)
    with pytest.raises(NotFoundError):
        await store.resend(application.id, message.public_id, own.public_id, now=START)
    for which in (
        AttemptFilter(endpoint_id=endpoint.id),
        AttemptFilter(message_id=message.id),
    ):
        assert (await store.attempts(other.id, which, Page())).data == ()
        assert len((await store.attempts(application.id, which, Page())).data) == 1
    assert await listed(scene, other) == []


async def test_messages_come_newest_first_whatever_the_page_says(
    store: Store, scene: Scene
) -> None:
    application = await scene.application()
    made = [(await scene.publish(application)).message for _ in range(3)]
    for descending in (False, True):
        page = Page(descending=descending)
        assert (await store.messages(application.id, ALL, page)).data == tuple(made[::-1])


async def test_a_list_without_content_has_no_payloads(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    await scene.deliver(application, endpoint)
    bare = MessageFilter(with_content=False)
    assert (await store.messages(application.id, bare, Page())).data[0].payload == b""
    for with_content in (True, False):
        which = AttemptFilter(endpoint_id=endpoint.id, with_content=with_content)
        (row,) = (await store.attempts(application.id, which, Page())).data
        assert row.message.payload == b""
        assert bool(row.attempt.response) is with_content


async def test_messages_are_filtered_by_type_channel_and_tag(scene: Scene) -> None:
    application = await scene.application()

    async def publish(event_type: str, channels: tuple[str, ...], tags: tuple[str, ...]) -> str:
        published = await scene.publish(
            application, event_type=event_type, channels=channels, tags=tags
        )
        return published.message.public_id

    a = await publish("part.updated", ("pl", "lt"), ())
    b = await publish("part.updated", ("p",), ('say "pl"', "pl"))
    c = await publish("part.created", (), ("%", "_"))

    async def only(**which: object) -> list[str]:
        return await listed(scene, application, MessageFilter(**which))  # type: ignore[arg-type]

    assert await only(event_types=frozenset({"part.updated"})) == [b, a]
    assert await only(event_types=frozenset({"part.created", "part.updated"})) == [c, b, a]
    assert await only(event_types=frozenset()) == []
    assert await only(channel="pl") == [a]
    assert await only(channel="p") == [b]
    assert await only(channel='","') == []
    assert await only(tag='say "pl"') == [b]
    assert await only(tag="pl") == [b]
    assert await only(tag="%") == [c]
    assert await only(tag="l") == []
    assert await only(tag="pl", channel="pl") == []


async def test_messages_are_filtered_by_time(scene: Scene) -> None:
    application = await scene.application()
    made: list[Message] = []
    for _ in range(50):
        made.append((await scene.publish(application)).message)
        scene.pass_time(7 * SECOND)

    def expected(since: int | None, until: int | None) -> list[str]:
        return [
            message.public_id
            for message in reversed(made)
            if (since is None or message.created_at >= since)
            and (until is None or message.created_at < until)
        ]

    some = made[20].created_at
    for since, until in (
        (some, None),
        (None, some),
        (some, some + 70 * SECOND),
        (some + 1, some + 7 * SECOND),
        (START - DAY, START + DAY),
        (START + DAY, None),
        (None, START),
    ):
        which = MessageFilter(since=since, until=until)
        assert await listed(scene, application, which) == expected(since, until)


async def test_a_message_made_before_another_and_kept_after_it_is_found_by_its_time(
    store: Store, scene: Scene
) -> None:
    """Two publishers overtake one another by less than the bound on waiting."""
    application = await scene.application()
    slow = scene.message(application)
    scene.pass_time(2 * SECOND)
    quick = (await scene.publish(application)).message
    late = (
        await scene.publish(application, public_id=slow.public_id, created_at=slow.created_at)
    ).message
    found = await listed(scene, application, MessageFilter(since=START, until=START + 1))
    assert found == [late.public_id]
    assert await listed(scene, application, MessageFilter(since=START + 1)) == [quick.public_id]


# -- attempts -----------------------------------------------------------------------------


async def attempts(
    scene: Scene, application: Application, **which: object
) -> tuple[AttemptRow, ...]:
    """All attempts that pass a filter, as listed."""
    found = await scene.store.attempts(
        application.id,
        AttemptFilter(**which),  # type: ignore[arg-type]
        Page(limit=250),
    )
    assert found.done
    return found.data


async def test_an_attempt_is_read_back_as_it_was_recorded(scene: Scene) -> None:
    application, endpoint = await scene.seller()
    (claim,) = (await scene.publish(application, endpoint, lease=MINUTE)).claims
    attempt = await scene.record(
        claim,
        0,
        again_at=scene.now + HOUR,
        outcome=Outcome.NO_ANSWER,
        reason="timed out after 10 s",
        response=b"\x00\xff",
        duration=10_000,
    )
    (row,) = await attempts(scene, application, message_id=claim.message.id)
    assert row == AttemptRow(
        attempt=attempt,
        message=msgspec.structs.replace(claim.message, payload=b""),
        endpoint_public_id=endpoint.public_id,
        next_at=scene.now + HOUR,
        dialect=None,
        retry_schedule=None,
    )


async def test_attempts_tell_how_their_delivery_is_retried(store: Store, scene: Scene) -> None:
    wider = Policy(dialect="ovoko", retry_schedule=(1_000, 2_000))
    application = await scene.application(policy=wider)
    as_it_says = await scene.endpoint(application)
    own = await scene.endpoint(application, policy=Policy(retry_schedule=(5_000,)))
    other = await scene.endpoint(application, policy=Policy(dialect="cloudevents"))
    await scene.deliver(application, as_it_says, own, other)
    await store.delete_endpoint(application.id, other.public_id, now=scene.now)
    rows = await attempts(scene, application)
    assert {row.endpoint_public_id: (row.dialect, row.retry_schedule) for row in rows} == {
        as_it_says.public_id: ("ovoko", (1_000, 2_000)),
        own.public_id: ("ovoko", (5_000,)),
        other.public_id: ("cloudevents", (1_000, 2_000)),
    }


async def test_attempts_tell_where_their_delivery_stands_now(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()

    async def stands() -> tuple[str, int | None, dict[str, DeliveryState]]:
        row = (await attempts(scene, application, endpoint_id=endpoint.id))[0]
        states = await store.delivery_states(row.message.id)
        return states[endpoint.public_id], row.next_at, states

    (claim,) = (await scene.publish(application, endpoint, lease=MINUTE)).claims
    await scene.record(claim, 500, again_at=START + HOUR)
    assert (await stands())[:2] == ("pending", START + HOUR)
    await store.hold(endpoint.id, START + 2 * HOUR)
    assert (await stands())[:2] == ("pending", START + 2 * HOUR)
    await scene.update(endpoint, paused=True)
    assert (await stands())[:2] == ("pending", None)
    await scene.update(endpoint, paused=False)
    scene.pass_time(HOUR)
    (claim,) = await scene.claim()
    assert (await stands())[:2] == ("sending", None)
    await scene.record(claim, 500)
    assert (await stands())[:2] == ("failed", None)
    await store.resend(application.id, claim.message.public_id, endpoint.public_id, now=scene.now)
    assert (await stands())[:2] == ("pending", scene.now)
    (claim,) = await scene.claim()
    await scene.record(claim)
    assert (await stands())[:2] == ("delivered", None)


async def test_delivery_states_name_every_endpoint(store: Store, scene: Scene) -> None:
    application, one = await scene.seller()
    two, three = await scene.endpoint(application), await scene.endpoint(application)
    published = await scene.publish(application, one, two, three, lease=MINUTE)
    await scene.record(published.claims[0])
    await scene.record(published.claims[1], 410)
    assert await store.delivery_states(published.message.id) == {
        one.public_id: DeliveryState.DELIVERED,
        two.public_id: DeliveryState.FAILED,
        three.public_id: DeliveryState.SENDING,
    }


async def test_attempts_are_filtered(scene: Scene) -> None:
    application, one = await scene.seller()
    two = await scene.endpoint(application)
    outcomes: dict[str, str] = {}
    for status, fields in (
        (200, {"event_type": "a", "channels": ("x",)}),
        (204, {"event_type": "a", "tags": ("t",)}),
        (404, {"event_type": "b"}),
        (503, {"event_type": "b", "channels": ("y",)}),
        (0, {"event_type": "b"}),
    ):
        published = await scene.publish(application, one, two, lease=MINUTE, **fields)
        attempt = await scene.record(published.claims[0], status)
        await scene.record(published.claims[1], status)
        outcomes[attempt.public_id] = str(status)
        scene.pass_time(SECOND)

    async def only(**which: object) -> list[str]:
        rows = await attempts(scene, application, endpoint_id=one.id, **which)
        return [outcomes[row.attempt.public_id] for row in rows]

    assert await only() == ["0", "503", "404", "204", "200"]
    assert await only(succeeded=True) == ["204", "200"]
    assert await only(succeeded=False) == ["0", "503", "404"]
    assert await only(status_code_class=200) == ["204", "200"]
    assert await only(status_code_class=400) == ["404"]
    assert await only(status_code_class=0) == ["0"]
    assert await only(event_types=frozenset({"a"})) == ["204", "200"]
    assert await only(channel="y") == ["503"]
    assert await only(tag="t") == ["204"]
    assert await only(since=START + SECOND, until=START + 3 * SECOND) == ["404", "204"]
    message_id = published.message.id
    assert await only(message_id=message_id) == ["0"]
    assert len(await attempts(scene, application, message_id=message_id)) == 2


async def test_a_slow_attempt_is_found_by_its_time_among_quick_ones(scene: Scene) -> None:
    """Attempts are kept when they end: one that began before others may be kept after them."""
    application, endpoint = await scene.seller()
    slow, *quick = [
        (await scene.publish(application, endpoint, lease=10 * MINUTE)).claims[0] for _ in range(4)
    ]
    begun = ids.new_id(ids.ATTEMPT, scene.now)
    for claim in quick:
        scene.pass_time(10 * SECOND)
        await scene.record(claim)
    scene.pass_time(4 * MINUTE)
    await scene.record(slow, public_id=begun, started_at=START)
    first = await attempts(scene, application, endpoint_id=endpoint.id, until=START + SECOND)
    assert [row.attempt.public_id for row in first] == [begun]
    since = await attempts(scene, application, endpoint_id=endpoint.id, since=START + 10 * SECOND)
    assert len(since) == 3


async def test_the_attempts_of_an_application_are_those_of_all_its_endpoints(scene: Scene) -> None:
    application, first = await scene.seller()
    second, deleted = await scene.endpoint(application), await scene.endpoint(application)
    other, own = await scene.seller()
    await scene.deliver(other, own)
    assert await attempts(scene, await scene.application()) == ()
    made = []
    for _ in range(40):
        published = await scene.publish(application, first, second, deleted, lease=60_000)
        made += [
            await scene.record(claim, 200 + 100 * number)
            for number, claim in enumerate(published.claims)
        ]
    await scene.store.delete_endpoint(application.id, deleted.public_id, now=scene.now)
    listed = [row.attempt for row in await attempts(scene, application)]
    assert listed == made[::-1]
    refused = [row.attempt for row in await attempts(scene, application, succeeded=False)]
    assert refused == [one for one in made[::-1] if one.status_code != 200]
