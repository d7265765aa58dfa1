"""The index over idempotency keys on SQLite: what is found, what takes whose place, what goes when."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketbell.errors import MarketbellError
from marketbell.model import Instant
from marketbell.store.base import Idempotency, Publication, Published, Store
from marketbell.store.marks import IndexedMarks, Mark, bucket, oldest_bucket
from marketbell.store.migrate import migrate
from marketbell.store.sqlite import SqliteTransaction
from marketbell.testing import FakeClock
from marketbell.testing.clock import START
from marketbell.testing.stores import Scene
from support.opened import opened

MINUTE, HOUR = 60_000, 3_600_000
KINDS = pytest.mark.parametrize("auto", [False, True])

SAME = bytes(range(1, 9))
"""The last eight bytes of keys that meet in one place of the index."""
A, B = b"A" * 8 + SAME, b"B" * 8 + SAME


class Index:
    """A database in memory, with its marks and what they have been asked."""

    def __init__(self) -> None:
        self.connection = apsw.Connection(":memory:")
        migrate(self.connection)
        self.transaction = SqliteTransaction(self.connection)
        self.marks = IndexedMarks(self.transaction, START)

    def put(self, *keys: bytes, auto: bool = False, now: Instant = START, body: int = 0) -> None:
        """Keep a mark of each, in one call."""
        self.marks.put(
            self.transaction,
            [(Idempotency(key, bytes(16), auto), now, mark_of(key, body)) for key in keys],
        )

    def find(
        self, *keys: bytes, auto: bool = False, now: Instant = START
    ) -> dict[bytes, int | None]:
        """The messages of those that are found."""
        found = self.marks.find(self.transaction, keys, auto, now)
        return {key: message_id for key, (_body, message_id, _answer) in found.items()}

    def reopen(self, now: Instant) -> None:
        """Let go of the index and make it anew, as when the program starts."""
        self.connection.execute("drop table temp.mark")
        self.marks = IndexedMarks(self.transaction, now)

    def indexed(self) -> dict[int, int]:
        """How many marks of each bucket are in the index."""
        rows: Any = self.connection.execute(
            "select bucket, count(*) from temp.mark group by bucket"
        ).fetchall()
        return dict(rows)

    def drop(self, now: Instant, limit: int = 1_000) -> list[int]:
        """Drop until there is no more to do; what each step has looked at."""
        looked = [self.marks.drop(self.transaction, now, limit)]
        while looked[-1] >= limit:
            looked.append(self.marks.drop(self.transaction, now, limit))
        return looked

    def statements(self, work: Callable[[], object]) -> list[str]:
        """What a piece of work asks the database."""
        asked: list[str] = []

        def note(_cursor: object, text: str, _values: object) -> bool:
            asked.append(text)
            return True

        self.connection.exec_trace = note
        work()
        self.connection.exec_trace = None
        return asked


def mark_of(key: bytes, number: int = 0) -> Mark:
    """A mark that tells by its message whose it is."""
    return (bytes(16), number or key[0], None)


def key_of(number: int) -> bytes:
    """The key of a number; no two meet."""
    return number.to_bytes(8, "big") + (number * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8, "big")


@pytest.fixture
def index() -> Index:
    """A new database."""
    return Index()


# -- keys that meet -----------------------------------------------------------------------


@KINDS
def test_a_key_is_not_answered_with_what_stands_in_its_place(index: Index, auto: bool) -> None:
    index.put(A, auto=auto)
    assert index.find(B, auto=auto) == {}
    assert index.find(A, auto=auto) == {A: A[0]}
    assert index.find(A, B, auto=auto) == {A: A[0]}


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("restart", [False, True])
def test_the_newer_of_two_keys_that_meet_takes_the_place(
    index: Index, together: bool, restart: bool
) -> None:
    if together:
        index.put(A, B)
    else:
        index.put(A)
        index.put(B, now=START + 6 * HOUR)
    if restart:
        index.reopen(START + 6 * HOUR)
    assert index.find(A, B, now=START + 6 * HOUR) == {B: B[0]}


async def test_requests_whose_keys_meet_are_all_kept(scene: Scene, database_file: Path) -> None:
    application = await scene.application()

    async def send(store: Store, *keys: bytes) -> list[Published | MarketbellError]:
        return await store.publish(
            [
                Publication(
                    message=Scene(store).message(application),
                    revision=application.revision,
                    births=(),
                    idempotency=Idempotency(key, bytes(16), False),
                )
                for key in keys
            ]
        )

    store = scene.store
    first = [*await send(store, A), *await send(store, B, b"C" * 8 + SAME)]
    assert [one.repeated for one in first if isinstance(one, Published)] == [False] * 3
    (again,) = await send(store, b"C" * 8 + SAME)
    assert isinstance(again, Published)
    assert again.repeated
    await store.aclose()
    async with opened(database_file, FakeClock(scene.now)) as reopened:
        verdicts = await send(reopened, b"D" * 8 + SAME, b"C" * 8 + SAME)
        assert [one.repeated for one in verdicts if isinstance(one, Published)] == [False, True]


@pytest.mark.parametrize("tail", [bytes(8), b"\xff" * 8, b"\x7f" * 8, b"\x80" + bytes(7), SAME])
@pytest.mark.parametrize("restart", [False, True])
def test_the_kinds_of_keys_do_not_meet(index: Index, tail: bytes, restart: bool) -> None:
    key = b"k" * 8 + tail
    index.put(key, auto=True, body=1)
    assert index.find(key, auto=False) == {}
    index.put(key, auto=False, body=2)
    if restart:
        index.reopen(START)
    assert index.find(key, auto=True) == {key: 1}
    assert index.find(key, auto=False) == {key: 2}
    index.put(key, auto=True, body=3)
    assert index.find(key, auto=False) == {key: 2}


# -- how long -----------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("dropped", [False, True])
def test_a_key_that_is_over_can_be_used_again(index: Index, auto: bool, dropped: bool) -> None:
    later = START + (20 * MINUTE if auto else 30 * HOUR)
    index.put(A, auto=auto, body=1)
    if dropped:
        index.drop(later)
    assert index.find(A, auto=auto, now=later) == {}
    index.put(A, auto=auto, now=later, body=2)
    assert index.find(A, auto=auto, now=later) == {A: 2}
    index.drop(later)
    assert index.find(A, auto=auto, now=later) == {A: 2}
    index.reopen(later)
    assert index.find(A, auto=auto, now=later) == {A: 2}


@given(data=st.data())
def test_what_is_found_is_what_a_list_of_all_marks_says(data: st.DataObject) -> None:
    """Any order of marks, time, steps, undone transactions and restarts; the clock may be set back."""
    index, now, latest = Index(), START, START
    kept: dict[tuple[bool, bytes], tuple[int, int]] = {}
    keys = [key_of(number) for number in range(6)]
    for number in range(1, data.draw(st.integers(1, 25)) + 1):
        auto = data.draw(st.booleans())
        key = data.draw(st.sampled_from(keys))
        match data.draw(st.sampled_from(["put", "pass", "drop", "undone", "reopen"])):
            case "put":
                if not index.find(key, auto=auto, now=now):
                    index.put(key, auto=auto, now=now, body=number)
                    kept[auto, key] = (bucket(auto, now), number)
            case "pass":
                now += data.draw(st.sampled_from([-8 * HOUR, -6 * MINUTE, 6 * MINUTE, 8 * HOUR]))
            case "drop":
                index.marks.drop(index.transaction, now, data.draw(st.integers(1, 4)))
            case "undone":
                index.connection.execute("begin")
                index.put(key, auto=auto, now=now, body=number)
                index.marks.drop(index.transaction, now, 2)
                index.connection.execute("rollback")
                index.marks.undone(index.transaction)
            case _:
                index.reopen(now)
        latest = max(latest, now)
        for kind in (True, False):
            found = index.find(*keys, auto=kind, now=now)
            for one in keys:
                place, told = kept.get((kind, one), (-1, 0))
                if one in found or place >= oldest_bucket(kind, latest):
                    assert found[one] == told
                    assert place >= oldest_bucket(kind, now)
    index.drop(latest)
    index.drop(latest)
    for place in index.indexed():
        assert place >= oldest_bucket(place % 2 == 0, latest)


# -- what goes ----------------------------------------------------------------------------


def test_nothing_is_asked_while_nothing_is_over(index: Index) -> None:
    index.put(*map(key_of, range(50)))
    index.put(*map(key_of, range(50)), auto=True)
    later = START + 15 * MINUTE
    assert index.statements(lambda: index.drop(later, 10)) == []
    assert index.drop(later, 10) == [0]


def test_all_that_is_over_and_nothing_else_goes_in_steps(index: Index) -> None:
    old, young = bucket(True, START), bucket(True, START + 10 * MINUTE)
    named = bucket(False, START)
    index.put(*map(key_of, range(30)), auto=True)
    index.put(*map(key_of, range(30, 70)), auto=True, now=START + 10 * MINUTE)
    index.put(*map(key_of, range(25)))
    later = START + 20 * MINUTE
    before = index.indexed()
    looked: list[int] = []
    while not looked or looked[-1] == 7:
        looked.append(index.marks.drop(index.transaction, later, 7))
        after = index.indexed()
        assert before.get(old, 0) - after.get(old, 0) <= 7
        before = after
    assert looked == [7] * 10 + [0]  # the 70 of that kind, and none of the other
    assert before == {young: 40, named: 25}
    assert index.statements(lambda: index.drop(later, 7)) == []
    assert len(index.find(*map(key_of, range(70)), auto=True, now=later)) == 40
    assert index.drop(START + 31 * HOUR, 7) == [7] * 9 + [2]
    assert index.indexed() == {}


@KINDS
@pytest.mark.parametrize("limit", [1, 2, 8, 9])
def test_every_place_is_walked_through(index: Index, auto: bool, limit: int) -> None:
    tails = [0, 1, 2, (1 << 63) - 1, (1 << 63) - 2, 1 << 63, (1 << 63) + 1, (1 << 64) - 1]
    tails += [1 << 62, (1 << 62) + 1, (1 << 62) + 2]
    for tail in tails:  # two at a time differ in the one bit that the index does not hold
        index.put(bytes(8) + tail.to_bytes(8, "big"), auto=auto)
    assert sum(index.indexed().values()) == 8
    index.drop(START + 31 * HOUR, limit)
    assert index.indexed() == {}


def test_what_comes_to_a_bucket_behind_a_walk_goes_with_the_next_one(index: Index) -> None:
    later = START + 20 * MINUTE
    index.put(*map(key_of, range(20)), auto=True)
    index.marks.drop(index.transaction, later, 10)
    index.put(*map(key_of, range(20, 60)), auto=True)  # the clock was set back for a moment
    index.drop(later, 10)
    index.drop(later, 10)
    assert index.indexed() == {}


def test_a_bucket_that_a_clock_set_back_takes_up_again_stays(index: Index) -> None:
    later = START + 20 * MINUTE
    index.put(*map(key_of, range(20)), auto=True)
    index.marks.drop(index.transaction, later, 10)
    (left,) = index.indexed().values()
    assert left == 10
    index.drop(START, 10)
    assert list(index.indexed().values()) == [10]
    index.drop(later, 10)
    assert index.indexed() == {}
