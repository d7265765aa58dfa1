"""Hints between nodes: gathered, bounded, told once, and harmless when they are lost."""

from __future__ import annotations

import asyncio

from marketbell.delivery.hints import Hint, Hints, read
from marketbell.delivery.lookout import Lookout
from marketbell.errors import UnavailableError
from marketbell.store.base import Change


class Told:
    """What was told, and a database that can be away."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.away = False
        self.came = asyncio.Event()

    async def __call__(self, text: str) -> None:
        if self.away:
            raise UnavailableError("away")
        self.texts.append(text)
        self.came.set()


async def test_what_comes_together_is_told_once() -> None:
    told = Told()
    hints = Hints(told, lambda: 7)
    hints.start()
    hints.due([3, 1])
    hints.due({2})
    hints.changed(Change(5, None))
    hints.changed(Change(5, 6))
    hints.access("org_a")
    await told.came.wait()
    (text,) = told.texts
    hint = read(text)
    assert hint is not None
    assert (hint.node, hint.due, hint.access) == (7, [1, 2, 3], ["org_a"])
    assert sorted(hint.changed, key=str) == [(5, 6), (5, None)]
    assert not hint.any_due
    assert not hint.nodes
    hints.nodes()
    hints.due([1])
    hints.due(None)
    await hints.stop()
    last = read(told.texts[-1])
    assert last is not None
    assert (last.nodes, last.any_due, last.due) == (True, True, [])


async def test_what_comes_while_something_is_told_is_told_before_the_end() -> None:
    told, going = Told(), asyncio.Event()

    async def tell(text: str) -> None:
        await going.wait()
        await told(text)

    hints = Hints(tell, lambda: 1)
    hints.start()
    hints.due([1])
    await asyncio.sleep(0)
    hints.due([2])
    ending = asyncio.create_task(hints.stop())
    await asyncio.sleep(0)
    hints.due([3])
    going.set()
    await ending
    said = [hint.due for hint in map(read, told.texts) if hint is not None]
    assert said == [[1], [2, 3]]


async def test_nothing_to_tell_is_not_told_and_a_lost_hint_is_lost() -> None:
    told = Told()
    hints = Hints(told, lambda: 1)
    hints.start()
    told.away = True
    hints.due([1])
    for _ in range(3):
        await asyncio.sleep(0.004)
    told.away = False
    await hints.stop()
    assert told.texts == []


async def test_a_hint_is_never_longer_than_the_database_takes() -> None:
    hints = Hints(Told(), lambda: 1)
    hints.due(range(1024))
    for key in range(5_000):
        hints.changed(Change(1 << 40 | key, 1 << 41 | key))
        hints.access(f"org_{key:020}")
    text = hints.text()
    assert len(text) <= 7_900
    hint = read(text)
    assert hint is not None
    assert len(hint.due) == 1024
    assert hint.changed
    assert read(hints.text()) == Hint(node=1)


def test_what_cannot_be_read_is_nothing() -> None:
    for text in ("", "x", "[]", '{"node": "a"}', '{"due": [1]}'):
        assert read(text) is None
    assert read('{"node": 3, "of_a_later_version": 1}') == Hint(node=3)


async def test_the_lookout_looks_often_only_where_nobody_tells() -> None:
    told = False
    looks: list[bool] = []
    came = asyncio.Event()

    def look() -> None:
        looks.append(told)
        came.set()

    lookout = Lookout(poll=5, told=lambda: told, look=look)
    lookout.start()
    for _ in range(3):
        await came.wait()
        came.clear()
    told = True
    await came.wait()
    count = len(looks)
    await asyncio.sleep(0.05)
    assert len(looks) == count
    await lookout.stop()
