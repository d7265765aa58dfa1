"""Searches by label, state, code and words; what is expunged; how far a search came."""

from __future__ import annotations

from pathlib import Path

import pytest

from marketbell.errors import ConflictError, GoneError, NotFoundError
from marketbell.model import Application, DeliveryState, Endpoint, Message
from marketbell.store.base import (
    Ages,
    AttemptFilter,
    Idempotency,
    MessageFilter,
    Once,
    Page,
    Repeated,
    Store,
)
from marketbell.testing.stores import Scene
from support.history import publish_all
from support.opened import opened

DAY = 86_400_000
ALL = MessageFilter()
PENDING, SENDING = DeliveryState.PENDING, DeliveryState.SENDING
DELIVERED, FAILED = DeliveryState.DELIVERED, DeliveryState.FAILED
CANCELLED = DeliveryState.CANCELLED


async def found(scene: Scene, application: Application, **which: object) -> list[str]:
    part = await scene.store.messages(
        application.id,
        MessageFilter(**which),  # type: ignore[arg-type]
        Page(limit=250),
    )
    assert part.done
    return [message.public_id for message in part.data]


async def states(
    scene: Scene, endpoint: Endpoint, *asked: DeliveryState
) -> list[tuple[int, DeliveryState]]:
    part = await scene.store.deliveries(
        endpoint.application_id,
        endpoint.id,
        ALL,
        Page(limit=250),
        states=frozenset(asked) or None,
    )
    assert part.done
    return [(row.message.id, row.state) for row in part.data]


@pytest.mark.parametrize("steps", [0, 1, 3])
async def test_labels_change_nothing_of_what_is_found(
    store: Store, scene: Scene, steps: int
) -> None:
    application, other = await scene.application(), await scene.application()
    made: list[Message] = []
    for number in range(12):
        for owner in (application, other):
            published = await scene.publish(
                owner,
                event_type=f"type.{number % 3}",
                channels=("c1", "c2")[: number % 3],
                tags=("x",) if number % 4 == 0 else (),
            )
        made.append(published.message)
    for _ in range(steps):
        await store.follow_labels(messages_max=9)

    def expected(check: object) -> list[str]:
        return [one.public_id for one in made[::-1] if check(one)]  # type: ignore[operator]

    one, two = frozenset({"type.1"}), frozenset({"type.1", "type.2"})
    assert await found(scene, other, event_types=one) == expected(
        lambda m: m.event_type == "type.1"
    )
    assert await found(scene, other, event_types=two) == expected(
        lambda m: m.event_type != "type.0"
    )
    assert await found(scene, other, channel="c2") == expected(lambda m: "c2" in m.channels)
    assert await found(scene, other, tag="x", event_types=one) == expected(
        lambda m: m.tags and m.event_type == "type.1"
    )
    assert await found(scene, other, tag="type.1") == []
    many = frozenset(f"type.{number}" for number in range(1, 40))
    assert await found(scene, other, event_types=many) == expected(
        lambda m: m.event_type != "type.0"
    )


async def test_labels_go_with_their_message(store: Store, scene: Scene) -> None:
    application = await scene.application()
    await scene.publish(application, channels=("c",), tags=("t",))
    last = await scene.publish(application, channels=("c",))
    assert not await store.follow_labels(messages_max=100)
    ages = Ages(payloads=DAY, attempts=DAY, messages=DAY)
    scene.pass_time(2 * DAY)
    await scene.prune(ages)
    assert await found(scene, application, channel="c") == [last.message.public_id]
    assert await found(scene, application, tag="t") == []


async def test_deliveries_are_found_by_where_they_stand(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    other = await scene.endpoint(application)
    delivered = await scene.deliver(application, endpoint)
    await scene.deliver(application, other)
    failed = (await scene.publish(application, endpoint, lease=60_000)).claims[0]
    await scene.record(failed, 500)
    sending = (await scene.publish(application, endpoint, lease=60_000)).claims[0].message
    pending = (await scene.publish(application, endpoint, other)).message
    both = [(pending.id, PENDING), (sending.id, SENDING)]
    ended = [(failed.message.id, FAILED), (delivered.id, DELIVERED)]
    assert await states(scene, endpoint) == both + ended
    assert await states(scene, endpoint, PENDING, SENDING) == both
    assert await states(scene, endpoint, DELIVERED) == ended[1:]
    assert await states(scene, endpoint, FAILED) == ended[:1]
    assert await states(scene, endpoint, CANCELLED) == []
    # One that is made due again is unfinished, whatever it was.
    for message in (failed.message, delivered):
        await store.resend(application.id, message.public_id, endpoint.public_id, now=scene.now)
    assert await states(scene, endpoint, FAILED, CANCELLED) == []
    assert len(await states(scene, endpoint, PENDING)) == 3
    (row, *_) = (await store.deliveries(application.id, endpoint.id, ALL, Page())).data
    assert row.next_at == scene.now
    bare = MessageFilter(with_content=False)
    (row, *_) = (await store.deliveries(application.id, endpoint.id, bare, Page())).data
    assert row.message.payload == b""


async def test_a_revived_delivery_is_above_every_claim_that_was_given(
    store: Store, scene: Scene
) -> None:
    """Also when no attempt of it is kept any more."""
    application, endpoint = await scene.seller()
    published = await scene.publish(application, endpoint, lease=60_000)
    (first,) = published.claims
    scene.pass_time(120_000)
    (second,) = await scene.claim()
    assert second.claim_number == 2
    await scene.record(first)
    scene.pass_time(2 * DAY)
    await scene.prune(Ages(payloads=90 * DAY, attempts=DAY, messages=90 * DAY))
    message = published.message
    await store.resend(application.id, message.public_id, endpoint.public_id, now=scene.now)
    (third,) = await scene.claim()
    assert third.claim_number == 3
    await scene.record(second, 500)
    assert await store.delivery_states(message.id) == {endpoint.public_id: SENDING}


async def test_an_organization_sees_all_of_its_own_and_nothing_else(
    store: Store, scene: Scene
) -> None:
    made: dict[str, list[tuple[str, str]]] = {"org_a": [], "org_b": []}
    for number in range(6):
        organization = ("org_a", "org_b")[number % 2]
        application = await scene.application(organization)
        endpoint = await scene.endpoint(application)
        message = await scene.deliver(application, endpoint, event_type=f"t.{number % 3}")
        made[organization].append((application.public_id, message.public_id))
    for organization, expected in made.items():
        messages = await store.messages_anywhere(organization, ALL, Page())
        assert [(one.application, one.value.public_id) for one in messages.data] == expected[::-1]
        attempts = await store.attempts_anywhere(organization, AttemptFilter(), Page())
        assert [
            (one.application, one.value.message.public_id) for one in attempts.data
        ] == expected[::-1]
        refused = AttemptFilter(status_code_class=500)
        assert (await store.attempts_anywhere(organization, refused, Page())).data == ()
    assert (await store.messages_anywhere("org_c", ALL, Page())).data == ()


async def test_an_attempt_is_read_by_its_message_only(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    one, two = [await scene.deliver(application, endpoint) for _ in range(2)]
    which = AttemptFilter(message_id=one.id)
    (row,) = (await store.attempts(application.id, which, Page())).data
    assert await store.attempt(one.id, row.attempt.public_id) == row
    for refused in (store.attempt, store.expunge_response):
        with pytest.raises(NotFoundError):
            await refused(two.id, row.attempt.public_id)
    await store.expunge_response(one.id, row.attempt.public_id)
    kept = await store.attempt(one.id, row.attempt.public_id)
    assert kept.attempt.response == b"EXPUNGED"


async def test_destinations_stand_in_order_with_their_times(store: Store, scene: Scene) -> None:
    application = await scene.application()
    endpoints = [await scene.endpoint(application) for _ in range(3)]
    published = await scene.publish(application, *endpoints, lease=60_000)
    await scene.record(published.claims[1], 500, again_at=scene.now + 5_000)
    await scene.record(published.claims[2])
    made = await store.destinations(published.message.id)
    assert [one.endpoint_public_id for one in made] == [one.public_id for one in endpoints]
    assert [(one.state, one.next_at) for one in made] == [
        (SENDING, None),
        (PENDING, scene.now + 5_000),
        (DELIVERED, None),
    ]


# -- what goes ----------------------------------------------------------------------------


async def test_an_expunged_payload_is_gone_and_what_waits_for_it_is_cancelled(
    store: Store, scene: Scene
) -> None:
    application = await scene.application()
    waiting, busy, done = [await scene.endpoint(application) for _ in range(3)]
    published = await scene.publish(application, waiting, busy, done, event_id="n1")
    message = published.message
    claims = {claim.endpoint_id: claim for claim in await scene.claim()}
    await scene.record(claims[waiting.id], 500, again_at=scene.now + 5_000)
    await scene.record(claims[done.id])
    await store.expunge_payload(application.id, "n1", now=scene.now)
    await store.expunge_payload(application.id, message.public_id, now=scene.now)
    assert (await store.message(application.id, "n1")).payload == b""
    assert await store.delivery_states(message.id) == {
        waiting.public_id: CANCELLED,
        busy.public_id: SENDING,
        done.public_id: DELIVERED,
    }
    # What is under way may still succeed; it is not made again.
    await scene.record(claims[busy.id], 500, again_at=scene.now)
    assert await scene.claim() == ()
    assert (await store.delivery_states(message.id))[busy.public_id] is CANCELLED
    with pytest.raises(GoneError):
        await store.resend(application.id, "n1", done.public_id, now=scene.now)
    with pytest.raises(NotFoundError):
        await store.expunge_payload(application.id, "n2", now=scene.now)


async def test_keys_go_on_past_an_expunged_message(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    first = await scene.publish(application, endpoint, order_key=b"k")
    second = await scene.publish(application, endpoint, order_key=b"k")
    third = await scene.publish(application, endpoint, order_key=b"k")
    (claim,) = await scene.claim()
    await scene.record(claim, 500, hold_key=True)
    assert await scene.claim() == ()
    for published in (first, second):
        await store.expunge_payload(application.id, published.message.public_id, now=scene.now)
    assert [claim.message.id for claim in await scene.claim()] == [third.message.id]


async def test_many_are_expunged_at_once_and_once(store: Store, scene: Scene) -> None:
    application = await scene.application()
    made = [(await scene.publish(application)).message for _ in range(3)]
    refs = (made[0].public_id, "n7", made[2].public_id)
    once = Once(Idempotency(b"k" * 16, b"b" * 16, auto=False), lambda _made: b"answer")
    for expected in ({refs[0]: True, "n7": False, refs[2]: True}, Repeated(b"answer")):
        assert expected == await store.expunge_payloads(
            application.id, refs, now=scene.now, once=once
        )
    other = Once(Idempotency(b"k" * 16, b"c" * 16, auto=False), lambda _made: b"")
    with pytest.raises(ConflictError):
        await store.expunge_payloads(application.id, refs, now=scene.now, once=other)
    payloads = [(await store.message(application.id, one.public_id)).payload for one in made]
    assert payloads == [b"", made[1].payload, b""]


# -- words --------------------------------------------------------------------------------


async def worded(
    scene: Scene, application: Application, *words: str, since: int | None = None
) -> list[int]:
    part = await scene.store.messages_worded(
        application.id, words, MessageFilter(since=since), Page(limit=250)
    )
    assert part.done
    return [message.id for message in part.data]


async def test_payloads_are_found_by_all_of_their_words(store: Store, scene: Scene) -> None:
    application, other = await scene.application(), await scene.application()

    async def publish(payload: str, owner: Application = application) -> int:
        return (await scene.publish(owner, payload=payload.encode())).message.id

    one = await publish('{"order":{"id":"AB-1207","who":"Żółw Ninja"},"n":42}')
    two = await publish('{"lines":["ab", {"x":1207.5}],"who":"ninja"}')
    await publish('{"who":"ninja ab 1207"}', other)
    assert await worded(scene, application, "ninja") == []
    since = await store.texts_since()
    assert since == scene.now
    assert await store.follow_texts(messages_max=2, bytes_max=1_000_000)
    assert not await store.follow_texts(messages_max=2, bytes_max=1_000_000)
    assert await store.texts_since() is None
    assert await worded(scene, application, "ninja") == [two, one]
    assert await worded(scene, application, "ninja", "ab") == [two, one]
    assert await worded(scene, application, "ab", "1207") == [two, one]
    assert await worded(scene, application, "żółw") == [one]
    assert await worded(scene, application, "42") == [one]
    assert await worded(scene, application, "order") == []  # a key is no word of a payload
    assert await worded(scene, application, "scope") == []
    assert await worded(scene, application, "ninja", since=scene.now + 1) == []
    await store.expunge_payload(
        application.id, (await store.messages(application.id, ALL, Page())).data[1].public_id,
        now=scene.now,
    )  # fmt: skip
    assert await worded(scene, application, "ninja") == [two]


async def test_words_go_with_the_payload_by_age(store: Store, scene: Scene) -> None:
    application = await scene.application()
    await scene.publish(application, payload=b'{"a":"needle"}')
    assert not await store.follow_texts(messages_max=9, bytes_max=1_000)
    assert len(await worded(scene, application, "needle")) == 1
    scene.pass_time(2 * DAY)
    await scene.prune(Ages(payloads=DAY, attempts=DAY, messages=90 * DAY))
    assert await worded(scene, application, "needle") == []


async def test_a_payload_that_went_before_it_was_noted_is_not_noted(
    store: Store, scene: Scene
) -> None:
    application = await scene.application()
    message = (await scene.publish(application, payload=b'{"a":"needle"}')).message
    await store.expunge_payload(application.id, message.public_id, now=scene.now)
    assert not await store.follow_texts(messages_max=9, bytes_max=1_000)
    assert await worded(scene, application, "needle") == []


async def test_a_search_by_words_that_stops_goes_on_where_it_stopped(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db", text_search_s=0.0) as store:
        scene = Scene(store)
        application = await scene.application()
        needle = await scene.publish(application, payload=b'{"a":"needle"}')
        for _ in range(6):
            await publish_all(scene, application, [{}] * 1_500)
        while await store.follow_texts(messages_max=5_000, bytes_max=1_000_000):
            pass
        page, stops, ids = Page(limit=10), 0, []
        while True:
            part = await store.messages_worded(application.id, ("needle",), ALL, page)
            ids += [message.id for message in part.data]
            if part.done:
                break
            assert part.stopped is not None
            assert part.stopped.at == scene.now
            stops += 1
            page = Page(limit=10, after=part.stopped.place)
        assert (ids, stops) == ([needle.message.id], 2)
