"""Group commit: what is one transaction, who fails with whom, how much may wait and how long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest

from marketbell import ids
from marketbell.errors import (
    ConflictError,
    MarketbellError,
    OutcomeUnknownError,
    OverloadedError,
    UnavailableError,
)
from marketbell.model import Application, Message
from marketbell.store import applications
from marketbell.store.base import Announced, ApplicationDraft, Change, Publication, Published
from marketbell.store.batch import Work, Writer
from marketbell.store.migrate import migrate
from marketbell.store.publishing import PublishWork
from marketbell.store.sqlite import SqliteExecutor, SqliteOptions, open_writer
from marketbell.store.statements import Numbered, Statement
from marketbell.store.transaction import Transaction

_INSERT = Statement("note", "insert into note values (?)", Numbered("", ()))

NOW = 1_767_225_600_000


class Gated:
    """The real executor behind a gate: a test decides when a commit may begin."""

    def __init__(self, path: Path) -> None:
        options = SqliteOptions(path=path, busy_ms=10)
        self.connection = open_writer(options)
        migrate(self.connection)
        self.connection.execute("create table note (text text unique) strict")
        self._inner = SqliteExecutor(self.connection, options, NOW)
        self.gate = threading.Event()
        self.gate.set()
        self.waits = threading.Event()
        """Set while a commit stands before the closed gate."""
        self.batches: list[int] = []

    def commit(self, works: Sequence[Work]) -> list[Announced]:
        """See Executor.commit."""
        self.batches.append(len(works))
        if not self.gate.is_set():
            self.waits.set()
            self.gate.wait()
            self.waits.clear()
        return self._inner.commit(works)


class Desk:
    """A writer with its gate, and short ways to use both."""

    def __init__(self, path: Path, executor: Gated, writer: Writer, told: list[Announced]) -> None:
        self.executor = executor
        self.writer = writer
        self.told = told
        self._reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)

    def note(self, text: str, *, bounded: bool = True) -> asyncio.Future[int]:
        """Write a note; its row id. A text that stands there already is refused by the database."""
        return self.writer.run(
            lambda transaction: transaction.insert(_INSERT, (text,)),
            bounded=bounded,
        )

    def notes(self) -> list[str]:
        """The notes that are on disk, in the order of their keeping."""
        return [row[0] for row in self._reader.execute("select text from note order by rowid")]

    async def busy(self) -> asyncio.Future[int]:
        """Close the gate, with a first note in the transaction that stands before it."""
        self.executor.gate.clear()
        first = self.note("first")
        await asyncio.to_thread(self.executor.waits.wait)
        return first

    def publish(
        self, publications: Sequence[Publication]
    ) -> asyncio.Future[list[Published | MarketbellError]]:
        """Hand in publications as one caller."""
        future: asyncio.Future[list[Published | MarketbellError]] = (
            asyncio.get_running_loop().create_future()
        )
        self.writer.submit(PublishWork(publications, future))
        return future

    async def application(self) -> Application:
        """A new application."""
        made = await self.writer.run(
            lambda transaction: applications.create_application(
                transaction, "org_1", ApplicationDraft(name="seller"), now=NOW
            )
        )
        assert isinstance(made, Application)
        return made

    def close(self) -> None:
        """Let go of the reader."""
        self._reader.close()


@asynccontextmanager
async def open_desk(
    folder: Path,
    *,
    rows_max: int = 1_000,
    waiting_rows_max: int = 1_000,
    waiting_bytes_max: int = 1_000_000,
    wait_s: float = 30.0,
) -> AsyncIterator[Desk]:
    path = folder / "batch.db"
    executor = Gated(path)
    told: list[Announced] = []
    writer = Writer(
        executor,
        rows_max=rows_max,
        waiting_rows_max=waiting_rows_max,
        waiting_bytes_max=waiting_bytes_max,
        wait_s=wait_s,
        on_changes=told.extend,
    )
    desk = Desk(path, executor, writer, told)
    try:
        yield desk
    finally:
        executor.gate.set()
        await writer.aclose()
        desk.close()
        executor.connection.close()


def message(application: Application, payload: bytes = b"{}", event_type: str = "a") -> Publication:
    return Publication(
        message=Message(
            id=0,
            public_id=ids.new_id(ids.MESSAGE, NOW),
            application_id=application.id,
            event_type=event_type,
            event_id=None,
            payload=payload,
            occurred_at=NOW,
            created_at=NOW,
            payload_expires_at=NOW,
        ),
        revision=application.revision,
        births=(),
    )


# -- what is one transaction --------------------------------------------------------------


async def test_what_comes_while_the_writer_is_busy_is_the_next_transaction(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        first = await desk.busy()
        others = [desk.note(str(number)) for number in range(50)]
        assert desk.writer.waiting_rows == 50
        desk.executor.gate.set()
        await asyncio.gather(first, *others)
        assert desk.executor.batches == [1, 50]
        assert desk.notes() == ["first", *map(str, range(50))]
        assert desk.writer.waiting_rows == 0
        assert (desk.writer.statistics.batches, desk.writer.statistics.rows) == (2, 51)


async def test_what_is_ready_in_one_turn_of_the_loop_shares_a_transaction(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await asyncio.gather(*(desk.note(str(number)) for number in range(20)))
        assert desk.executor.batches == [20]


async def test_what_the_next_turn_brings_shares_it_too(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        for attempt in range(50):  # a machine that stands still for 5 ms in between parts them
            first = desk.note(f"first {attempt}")
            await asyncio.sleep(0)
            await asyncio.gather(first, desk.note(f"second {attempt}"))
            if desk.executor.batches[-1] == 2:
                return
        pytest.fail("each had a transaction of its own")


async def test_a_loop_that_always_brings_more_does_not_hold_the_first_up(tmp_path: Path) -> None:
    rows = 200_000
    async with open_desk(tmp_path, rows_max=rows, waiting_rows_max=rows) as desk:
        first = desk.note("first")
        more = 0
        while not first.done():
            more += 1
            assert more < rows // 2
            desk.note(f"more {more}")
            await asyncio.sleep(0)


async def test_a_transaction_holds_no_more_rows_than_it_may(tmp_path: Path) -> None:
    async with open_desk(tmp_path, rows_max=4) as desk:
        first = await desk.busy()
        others = [desk.note(str(number)) for number in range(10)]
        desk.executor.gate.set()
        await asyncio.gather(first, *others)
        assert desk.executor.batches == [1, 4, 4, 2]


async def test_a_caller_with_more_rows_than_a_transaction_may_hold_has_one_alone(
    tmp_path: Path,
) -> None:
    async with open_desk(tmp_path, rows_max=4) as desk:
        application = await desk.application()
        first = await desk.busy()
        before, great, after = (
            desk.note("before"),
            desk.publish([message(application) for _ in range(9)]),
            desk.note("after"),
        )
        desk.executor.gate.set()
        await asyncio.gather(first, before, great, after)
        assert desk.executor.batches == [1, 1, 1, 1, 1]


# -- who fails with whom ------------------------------------------------------------------


async def test_a_row_that_the_database_refuses_fails_alone(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.note("taken")
        first = await desk.busy()
        texts = ["a", "b", "taken", "c", "taken", "d", "e"]
        futures = [desk.note(text) for text in texts]
        desk.executor.gate.set()
        outcomes = await asyncio.gather(first, *futures, return_exceptions=True)
        for text, outcome in zip(texts, outcomes[1:], strict=True):
            assert isinstance(outcome, UnavailableError) == (text == "taken")
        assert desk.notes() == ["taken", "first", "a", "b", "c", "d", "e"]


async def test_a_value_that_cannot_be_written_fails_alone(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        application = await desk.application()
        first = await desk.busy()
        good = [desk.publish([message(application)]) for _ in range(5)]
        bad = desk.publish([message(application, event_type="half a pair: \ud800")])
        desk.executor.gate.set()
        await first
        with pytest.raises(UnavailableError):
            await bad
        kept = [verdicts[0] for verdicts in await asyncio.gather(*good)]
        assert all(isinstance(verdict, Published) for verdict in kept)
        numbers = [verdict.message.id for verdict in kept if isinstance(verdict, Published)]
        assert len(set(numbers)) == 5


async def test_a_users_error_is_that_callers_answer_and_the_rest_is_kept(tmp_path: Path) -> None:
    def refuse(_transaction: Transaction) -> None:
        raise ConflictError("The uid is taken.")

    async with open_desk(tmp_path) as desk:
        one, refused, other = desk.note("one"), desk.writer.run(refuse), desk.note("other")
        with pytest.raises(ConflictError):
            await refused
        await asyncio.gather(one, other)
        assert desk.executor.batches == [3]
        assert desk.notes() == ["one", "other"]


async def test_a_lock_of_another_program_fails_the_batch_whole_and_passes(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        other = apsw.Connection(str(tmp_path / "batch.db"))
        other.execute("begin immediate")
        futures = [desk.note(str(number)) for number in range(3)]
        for outcome in await asyncio.gather(*futures, return_exceptions=True):
            assert isinstance(outcome, UnavailableError)
        assert desk.executor.batches == [3]
        other.execute("rollback")
        other.close()
        await desk.note("again")
        assert desk.notes() == ["again"]


async def test_an_error_that_nobody_foresaw_is_answered_and_the_writer_goes_on(
    tmp_path: Path,
) -> None:
    def fail(_transaction: Transaction) -> None:
        raise RuntimeError("a mistake of ours")

    async with open_desk(tmp_path) as desk:
        with pytest.raises(UnavailableError, match="a mistake of ours"):
            await desk.writer.run(fail)
        await desk.note("again")
        assert desk.notes() == ["again"]


# -- how much may wait --------------------------------------------------------------------


async def test_rows_that_wait_are_bounded(tmp_path: Path) -> None:
    async with open_desk(tmp_path, waiting_rows_max=5) as desk:
        first = await desk.busy()
        waiting = [desk.note(str(number)) for number in range(5)]
        with pytest.raises(OverloadedError):
            desk.note("too many")
        desk.executor.gate.set()
        await asyncio.gather(first, *waiting)
        await desk.note("now")
        assert desk.notes()[-1] == "now"
        assert "too many" not in desk.notes()


async def test_bytes_that_wait_are_bounded(tmp_path: Path) -> None:
    async with open_desk(tmp_path, waiting_bytes_max=10_000) as desk:
        application = await desk.application()
        first = await desk.busy()
        waiting = desk.publish([message(application, b"x" * 6_000)])
        with pytest.raises(OverloadedError):
            desk.publish([message(application, b"x" * 6_000)])
        desk.executor.gate.set()
        await asyncio.gather(first, waiting)
        await desk.publish([message(application, b"x" * 6_000)])


async def test_what_must_not_be_refused_is_taken_above_the_bound(tmp_path: Path) -> None:
    async with open_desk(tmp_path, waiting_rows_max=2) as desk:
        first = await desk.busy()
        kept = [desk.note(str(number), bounded=False) for number in range(20)]
        with pytest.raises(OverloadedError):
            desk.note("bounded")
        desk.executor.gate.set()
        await asyncio.gather(first, *kept)


async def test_one_that_is_larger_than_the_bound_is_taken_when_nothing_waits(
    tmp_path: Path,
) -> None:
    async with open_desk(tmp_path, waiting_rows_max=5) as desk:
        application = await desk.application()
        verdicts = await desk.publish([message(application) for _ in range(30)])
        assert all(isinstance(verdict, Published) for verdict in verdicts)


# -- how long may it wait -----------------------------------------------------------------


async def test_what_has_waited_too_long_is_withdrawn_and_never_written(tmp_path: Path) -> None:
    async with open_desk(tmp_path, wait_s=0.05) as desk:
        await desk.busy()
        late = desk.note("late")
        record = desk.note("never withdrawn", bounded=False)
        with pytest.raises(UnavailableError):
            await late
        assert desk.writer.waiting_rows == 1
        desk.executor.gate.set()
        await record
        assert desk.notes() == ["first", "never withdrawn"]


async def test_a_commit_that_does_not_end_is_answered_as_unknown_and_may_be_kept(
    tmp_path: Path,
) -> None:
    async with open_desk(tmp_path, wait_s=0.05) as desk:
        first = await desk.busy()
        with pytest.raises(OutcomeUnknownError):
            await first
        desk.executor.gate.set()
        await desk.note("after", bounded=False)
        assert desk.notes() == ["first", "after"]


async def test_a_caller_that_goes_away_does_not_withdraw_its_row(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        first = await desk.busy()

        async def write(text: str) -> int:
            return await desk.note(text)

        tasks = [asyncio.create_task(write(text)) for text in ("left", "stayed")]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.gather(tasks[0], return_exceptions=True)
        desk.executor.gate.set()
        await asyncio.gather(first, tasks[1])
        assert tasks[0].cancelled()
        assert desk.notes() == ["first", "left", "stayed"]


# -- the end ------------------------------------------------------------------------------


async def test_closing_writes_what_was_accepted_and_takes_nothing_new(tmp_path: Path) -> None:
    async with open_desk(tmp_path, rows_max=3) as desk:
        first = await desk.busy()
        accepted = [desk.note(str(number)) for number in range(8)]
        closing = asyncio.create_task(desk.writer.aclose())
        await asyncio.sleep(0)
        with pytest.raises(UnavailableError):
            desk.note("too late")
        desk.executor.gate.set()
        await closing
        assert all(future.done() for future in (first, *accepted))
        assert desk.notes() == ["first", *map(str, range(8))]


async def test_listeners_hear_of_a_change_before_its_maker_is_answered(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        application = await desk.application()
        assert desk.told == [Change(application.id, None)]
