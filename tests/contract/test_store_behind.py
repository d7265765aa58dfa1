"""What the lists stand on is written behind: wherever it ends, they are whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest

from marketbell.store.base import AttemptFilter, MessageFilter, Page, Slice, Store, TaskKind
from marketbell.testing.clock import START
from marketbell.testing.stores import Scene
from support.tasks import begin, manual, run

MINUTE = 60_000
ROWS = 24

Ask: TypeAlias = Callable[[Page], Awaitable[Slice[Any]]]


class Sellers:
    """Two applications in turns, each message with an attempt at one of the first one's endpoints."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.messages: list[tuple[int, str, int]] = []
        """Of the first application: when, which event type, to which endpoint."""

    async def open(self) -> None:
        """Make the first one."""
        self.application = await self.scene.application()
        self.endpoints = [await self.scene.endpoint(self.application) for _ in range(3)]

    async def add(self, count: int) -> None:
        """So many messages of each, one a minute."""
        stranger, endpoint = await self.scene.seller()
        for number in range(count):
            self.scene.pass_time(MINUTE)
            to = self.endpoints[number % 3]
            kind = "ab"[number % 2]
            published = await self.scene.publish(
                self.application, to, lease=MINUTE, event_type=kind,
                channels=("c",) if number % 4 == 0 else (),
            )  # fmt: skip
            await self.scene.record(published.claims[0], 500 if number % 5 == 0 else 200)
            await self.scene.deliver(stranger, endpoint, event_type="a")
            self.messages.append((self.scene.now, kind, to.id))

    def lists(self) -> dict[str, tuple[Ask, Callable[[Any], int]]]:
        """How each list is asked for, and what tells the instant of a row."""
        store, key = self.scene.store, self.application.id
        since, until = START + 5 * MINUTE, START + 15 * MINUTE
        at_second = AttemptFilter(endpoint_id=self.endpoints[1].id)

        def of_message(row: Any) -> int:
            return int(row.created_at)

        def of_attempt(row: Any) -> int:
            return int(row.attempt.started_at)

        return {
            "all": (lambda page: store.messages(key, MessageFilter(), page), of_message),
            "of some minutes": (
                lambda page: store.messages(key, MessageFilter(since=since, until=until), page), of_message
            ),
            "of a type": (
                lambda page: store.messages(
                    key, MessageFilter(event_types=frozenset("b")), page
                ), of_message,
            ),
            "in a channel": (
                lambda page: store.messages(key, MessageFilter(channel="c"), page), of_message
            ),
            "deliveries": (
                lambda page: store.deliveries(
                    key, self.endpoints[1].id, MessageFilter(), page, states=None
                ), lambda row: of_message(row.message),
            ),
            "at an endpoint": (lambda page: store.attempts(key, at_second, page), of_attempt),
            "of all": (lambda page: store.attempts(key, AttemptFilter(), page), of_attempt),
            "of all, some minutes": (
                lambda page: store.attempts(key, AttemptFilter(since=since, until=until), page), of_attempt
            ),
            "refused": (
                lambda page: store.attempts(key, AttemptFilter(succeeded=False), page), of_attempt
            ),
        }  # fmt: skip

    def expected(self, name: str) -> list[int]:
        """The instants of a list's rows, newest first."""
        second = self.endpoints[1].id
        early, late = START + 5 * MINUTE, START + 15 * MINUTE
        passes: dict[str, Callable[[int, int, str, int], bool]] = {
            "all": lambda *_: True,
            "of some minutes": lambda _n, at, *_: early <= at < late,
            "of a type": lambda _n, _at, kind, _to: kind == "b",
            "in a channel": lambda number, *_: number % 4 == 0,
            "deliveries": lambda _n, _at, _kind, to: to == second,
            "at an endpoint": lambda _n, _at, _kind, to: to == second,
            "of all": lambda *_: True,
            "of all, some minutes": lambda _n, at, *_: early <= at < late,
            "refused": lambda number, *_: number % 5 == 0,
        }
        return [row[0] for number, row in enumerate(self.messages) if passes[name](number, *row)][
            ::-1
        ]


async def down(ask: Ask, instant: Callable[[Any], int], limit: int) -> list[int]:
    """All rows of a list, newest first, in pages."""
    found: list[int] = []
    page = Page(limit=limit)
    for _ in range(200):
        part = await ask(page)
        found += [instant(row) for row in part.data]
        if part.done:
            return found
        page = Page(limit=limit, after=_place(part, last=True))
    raise AssertionError("the list does not end")


async def up(ask: Ask, instant: Callable[[Any], int], limit: int) -> list[int]:
    """The same from the oldest on, as one who goes back."""
    whole = await ask(Page(limit=250))
    found = [instant(whole.data[-1])]
    page = Page(limit=limit, before=_id(whole.data[-1]))
    for _ in range(200):
        part = await ask(page)
        found = [instant(row) for row in part.data] + found
        if part.done:
            return found
        page = Page(limit=limit, before=_place(part, last=False))
    raise AssertionError("the list does not end")


def _place(part: Slice[Any], *, last: bool) -> str:
    if part.stopped is not None:
        return part.stopped.place
    return _id(part.data[-1 if last else 0])


def _id(row: Any) -> str:
    for name in ("attempt", "message"):
        row = getattr(row, name, row)
    return str(row.public_id)


@pytest.mark.parametrize("noted", [0, 1, ROWS - 3, 2 * ROWS - 1, 2 * ROWS])
async def test_every_list_is_whole_wherever_its_table_ends(
    store: Store, scene: Scene, noted: int
) -> None:
    """None noted, one, up to the middle of a page, all but one, all."""
    sellers = Sellers(scene)
    await sellers.open()
    await sellers.add(ROWS)
    if noted:
        await store.follow_labels(messages_max=noted)
    for name, (ask, instant) in sellers.lists().items():
        assert await down(ask, instant, 5) == sellers.expected(name), name
        assert await up(ask, instant, 5) == sellers.expected(name), name
        assert await down(ask, instant, 250) == sellers.expected(name), name


async def test_a_task_sees_all_messages_wherever_the_table_ends(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    other, its_own = await scene.seller()
    missed: list[int] = []
    for number in range(10):
        missed.append((await scene.publish(application)).message.id)
        await scene.publish(other, its_own)
        if number == 4:
            await store.follow_labels(messages_max=7)
    await scene.claim()
    await begin(scene, endpoint, TaskKind.REPLAY_MISSING)
    await run(scene, rows=3, most=2)
    assert await manual(scene) == missed
