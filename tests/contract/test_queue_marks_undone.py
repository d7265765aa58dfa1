"""The index over idempotency keys is a part of the writer's transactions: what is undone, and what not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from marketbell.model import Instant
from marketbell.store.base import Idempotency
from marketbell.store.batch import DataFault, Effect
from marketbell.store.migrate import migrate
from marketbell.store.sqlite import SqliteExecutor, SqliteOptions, open_writer
from marketbell.store.transaction import Transaction
from marketbell.testing.clock import START

MINUTE = 60_000
KEYS = [bytes(8) + number.to_bytes(8, "big") for number in range(10)]
"""Keys in order of their places in the index."""
MEETS = b"x" * 8 + KEYS[1][8:]
"""Another key in the place of one of them."""


class Committed:
    """A file whose transactions are the writer's."""

    def __init__(self, path: Path) -> None:
        options = SqliteOptions(path=path)
        self.connection = open_writer(options)
        migrate(self.connection)
        self._executor = SqliteExecutor(self.connection, options, START)

    def run(self, *applies: Callable[[Transaction], object]) -> None:
        """Commit them together."""
        loop = asyncio.get_running_loop()
        self._executor.commit([Effect(one, loop.create_future(), bounded=False) for one in applies])

    def places(self) -> list[Any]:
        """What the index holds."""
        return self.connection.execute("select place, sequence from temp.mark").fetchall()


@pytest.fixture
def committed(tmp_path: Path) -> Iterator[Committed]:
    """A new file."""
    made = Committed(tmp_path / "marketbell.db")
    yield made
    made.connection.close()


def put(transaction: Transaction, *keys: bytes, now: Instant = START) -> None:
    made = [(Idempotency(key, bytes(16), True), now, (bytes(16), 1, None)) for key in keys]
    transaction.marks.put(transaction, made)


def drop(transaction: Transaction, limit: int = 100) -> None:
    transaction.marks.drop(transaction, START + 20 * MINUTE, limit)


def refused(transaction: Transaction) -> None:
    raise apsw.ConstraintError("refused")


async def test_a_transaction_that_is_undone_leaves_the_index_as_it_was(
    committed: Committed,
) -> None:
    run, places = committed.run, committed.places
    run(lambda transaction: put(transaction, *KEYS[:3]))
    before = places()
    assert len(before) == 3
    with pytest.raises(DataFault):
        run(lambda transaction: put(transaction, KEYS[0], MEETS, KEYS[3]), refused)
    assert places() == before
    with pytest.raises(DataFault):
        run(drop, refused)
    assert places() == before
    run(drop)
    assert places() == []
    run(lambda transaction: put(transaction, KEYS[0]))
    run(drop)
    assert places() == []


async def test_a_walk_goes_on_though_others_are_undone(committed: Committed) -> None:
    run = committed.run
    run(lambda transaction: put(transaction, *KEYS[:9], now=START + 10 * MINUTE))
    run(lambda transaction: put(transaction, KEYS[9]))
    for _ in range(10):
        run(lambda transaction: drop(transaction, 1))
        with pytest.raises(DataFault):
            run(refused)
    assert sorted(place for place, _sequence in committed.places()) == list(range(9))
