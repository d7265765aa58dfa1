"""Batches once only: a key that came before with another batch keeps nothing; and what came before is found by asking."""

from __future__ import annotations

import asyncio

import pytest

from marketbell.control.idempotency import marks_of_batch
from marketbell.errors import MarketbellError, StaleError
from marketbell.model import Application
from marketbell.store.base import (
    Idempotency,
    MessageFilter,
    Page,
    Publication,
    Published,
    Store,
)
from marketbell.testing import FakeClock
from marketbell.testing.stores import ORGANIZATION, Scene
from support.grounds import PostgresGround

DAY = 86_400_000


def marks(body: str, count: int, *, key: str = "k") -> list[Idempotency]:
    path = "/api/v1/app/s/msg/batch"
    return marks_of_batch(ORGANIZATION, path, key.encode(), body.encode(), count)


class Batcher:
    """A publisher of one application that sends batches."""

    def __init__(self, scene: Scene, application: Application) -> None:
        self.scene = scene
        self.application = application

    def batch(
        self, body: str, count: int, *, first: int = 0, key: str = "k", event_id: str | None = None
    ) -> list[Publication]:
        """The messages of a batch from this place on, all with one eventId if told."""
        return [
            Publication(
                message=self.scene.message(self.application, event_id=event_id),
                revision=self.application.revision,
                births=(),
                idempotency=mark,
            )
            for mark in marks(body, count, key=key)[first:]
        ]

    async def send(self, *batches: list[Publication]) -> list[str]:
        """What becomes of them in one transaction, a word for each message."""
        verdicts = await asyncio.gather(*map(self.scene.store.publish, batches))
        return [word(verdict) for found in verdicts for verdict in found]

    async def count(self) -> int:
        part = await self.scene.store.messages(
            self.application.id, MessageFilter(), Page(limit=1_000)
        )
        return len(part.data)


def word(verdict: Published | MarketbellError | None) -> str:
    if isinstance(verdict, Published):
        return "repeated" if verdict.repeated else "kept"
    return type(verdict).__name__


@pytest.fixture
async def batcher(scene: Scene) -> Batcher:
    """The publisher of a new application."""
    return Batcher(scene, await scene.application())


async def test_another_batch_with_the_same_key_keeps_nothing(batcher: Batcher) -> None:
    assert await batcher.send(batcher.batch("one", 1)) == ["kept"]
    other = batcher.batch("other", 3)
    assert await batcher.send(other) == ["ReusedKeyError"] * 3
    assert await batcher.send(batcher.batch("one", 1)) == ["repeated"]
    assert await batcher.send(other) == ["ReusedKeyError"] * 3
    assert await batcher.count() == 1


async def test_any_place_that_both_have_tells_them_apart(batcher: Batcher) -> None:
    assert await batcher.send(batcher.batch("one", 3, first=2)) == ["kept"]
    assert await batcher.send(batcher.batch("other", 3)) == ["ReusedKeyError"] * 3
    # The first was kept in part, and is done to its end.
    assert await batcher.send(batcher.batch("one", 3)) == ["kept", "kept", "repeated"]


async def test_the_others_of_its_transaction_are_not_harmed(batcher: Batcher) -> None:
    await batcher.send(batcher.batch("one", 2))
    found = await batcher.send(
        batcher.batch("new", 2, key="x"), batcher.batch("other", 3), batcher.batch("one", 2)
    )
    assert found == ["kept", "kept", *["ReusedKeyError"] * 3, "repeated", "repeated"]
    assert await batcher.count() == 4


async def test_two_with_a_new_key_that_come_together_are_told_apart(batcher: Batcher) -> None:
    found = await batcher.send(batcher.batch("one", 2), batcher.batch("other", 4))
    assert sorted(found) == [*["ReusedKeyError"] * 4, "kept", "kept"]
    assert await batcher.count() == 2


async def test_messages_with_one_event_id_do_not_hide_it(batcher: Batcher) -> None:
    """PostgreSQL keeps those of one eventId one after the other."""
    await batcher.send(batcher.batch("one", 1))
    assert await batcher.send(batcher.batch("other", 3, event_id="e")) == ["ReusedKeyError"] * 3
    found = await batcher.send(batcher.batch("new", 2, key="x", event_id="e"))
    assert found == ["kept", "ConflictError"]


async def test_it_is_told_before_what_has_changed_since(batcher: Batcher) -> None:
    await batcher.send(batcher.batch("one", 1))
    await batcher.scene.endpoint(batcher.application)
    assert await batcher.send(batcher.batch("other", 2)) == ["ReusedKeyError"] * 2
    assert await batcher.send(batcher.batch("new", 2, key="x")) == [StaleError.__name__] * 2


async def test_single_messages_with_one_body_stand_alone(batcher: Batcher) -> None:
    """Only what is of one batch stands together."""

    def single(key: bytes, body: bytes) -> list[Publication]:
        (one,) = batcher.batch("", 1)
        mark = Idempotency(key * 16, body * 16, False)
        return [
            Publication(message=one.message, revision=one.revision, births=(), idempotency=mark)
        ]

    await batcher.send(single(b"a", b"1"))
    found = await batcher.send(single(b"a", b"2"), single(b"b", b"2"))
    assert found == ["ReusedKeyError", "kept"]


# -- asking -----------------------------------------------------------------------------------


async def test_what_came_before_is_found_by_its_mark(batcher: Batcher, store: Store) -> None:
    (kept,) = await store.publish(batcher.batch("one", 1))
    assert isinstance(kept, Published)
    asked = [*marks("one", 2), *marks("other", 1), *marks("one", 1, key="auto_k")]
    now = batcher.scene.now
    first, *others = await store.first_answers(asked, now=now)
    assert first == Published(message=kept.message, repeated=True)
    assert [word(one) for one in others] == ["NoneType", "ReusedKeyError", "NoneType"]
    assert await store.first_answers([], now=now) == []
    assert await store.first_answers(marks("one", 1), now=now + 2 * DAY) == [None]
    assert await batcher.count() == 1


async def test_what_another_node_kept_is_found_too(many: PostgresGround, batcher: Batcher) -> None:
    await batcher.send(batcher.batch("one", 1))
    async with many.opened(FakeClock(), node=2) as there:
        (found,) = await there.first_answers(marks("one", 1), now=batcher.scene.now)
        assert word(found) == "repeated"
        assert [word(one) for one in await there.publish(batcher.batch("other", 3))] == [
            "ReusedKeyError"
        ] * 3
