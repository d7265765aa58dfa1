"""Corners of searches: words of rare scripts, lists of many endpoints, sums that two steps add up."""

from __future__ import annotations

from pathlib import Path

import pytest

from marketbell.store import statistics
from marketbell.store.base import AttemptFilter, MessageFilter, Page, Store
from marketbell.store.migrate import migrate
from marketbell.store.searching import Searcher
from marketbell.store.sqlite import SqliteOptions, SqliteTransaction, open_writer
from marketbell.store.statements import Statement, statements
from marketbell.store.tally import DELIVERED, Tally
from marketbell.store.texts import words_of
from marketbell.store.transaction import Row, Values
from marketbell.testing.clock import START
from marketbell.testing.stores import Scene
from support.history import publish_all, record_all


@pytest.mark.parametrize(
    "letter", ["\u19b0", "\u19c9", "\u1cf2", "\u1cf3", "\u0939\u093f", "\U0001e900"]
)
async def test_a_word_is_found_whatever_its_letters(
    store: Store, scene: Scene, letter: str
) -> None:
    """FTS5 takes some letters for marks and would part a word there, which it refuses in a question."""
    application = await scene.application()
    payload = f'{{"a":"before{letter}behind"}}'.encode()
    message = (await scene.publish(application, payload=payload)).message
    assert not await store.follow_texts(messages_max=9, bytes_max=1_000)
    words = words_of(f"before{letter}behind")
    part = await store.messages_worded(application.id, words, MessageFilter(), Page())
    assert [one.id for one in part.data] == [message.id]


class Counting(SqliteTransaction):
    """A reader that counts the rows it was given."""

    given = 0

    def rows(self, statement: Statement, values: Values = ()) -> list[Row]:
        found = super().rows(statement, values)
        self.given += len(found)
        return found


async def test_a_page_of_an_applications_attempts_reads_a_few_of_each_endpoint(
    store: Store, scene: Scene, database_file: Path
) -> None:
    application = await scene.application()
    endpoints = [await scene.endpoint(application) for _ in range(20)]
    for _ in range(40):
        (published,) = await publish_all(scene, application, [{}], *endpoints)
        await record_all(scene, published.claims, [200] * len(endpoints))
    with open_writer(SqliteOptions(path=database_file)) as connection:
        transaction = Counting(connection)
        search = Searcher(transaction, 60.0)
        part = search.attempts(application.id, AttemptFilter(), Page(limit=10))
        assert len(part.data) == 10
    # The endpoints themselves, one row of each, and a few more of the first.
    assert transaction.given < 100


def test_sums_that_another_step_has_kept_are_not_kept_again(tmp_path: Path) -> None:
    """Also when the keys of what was added up are given anew."""
    with open_writer(SqliteOptions(path=tmp_path / "m.db")) as connection:
        migrate(connection)
        transaction = SqliteTransaction(connection)

        def delivered() -> int:
            return statistics.endpoint_figures(
                transaction, 7, since=START, until=START + 1
            ).delivered

        def deliver() -> None:
            tally = Tally()
            tally.add(7, START, DELIVERED)
            transaction.change(statements("queue")["tally_insert"], (tally.text(),))

        deliver()
        early, late = [statistics.read_sums(transaction, 0, 1_000_000) for _ in range(2)]
        assert not statistics.keep_sums(transaction, early, 0)
        deliver()
        assert statistics.keep_sums(transaction, late, 0)
        assert delivered() == 2
        last = statistics.read_sums(transaction, 0, 1_000_000)
        assert not statistics.keep_sums(transaction, last, 0)
        assert delivered() == 2
