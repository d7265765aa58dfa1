"""The group commit on PostgreSQL: a batch in one round trip where it is plain, run again where others were in the way."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

import asyncpg

from marketbell.errors import OutcomeUnknownError, StoreError, UnavailableError
from marketbell.model import Instant
from marketbell.store import keys
from marketbell.store.base import Announced, Publication, Result
from marketbell.store.batch import DataFault, Effect, RefusedError, Work
from marketbell.store.keys import TimedKeys
from marketbell.store.postgresql import Connection, PostgresOptions
from marketbell.store.postgresql_claiming import ClaimWork
from marketbell.store.postgresql_errors import (
    AGAIN,
    DATA_FAULTS,
    LOST,
    ONCE,
    refused,
    said,
    store_error,
)
from marketbell.store.postgresql_publishing import Publishing, Verdict, left_of, repetition, rounds
from marketbell.store.postgresql_recording import AttemptKeys, Recording
from marketbell.store.postgresql_transaction import PostgresTransaction
from marketbell.store.publishing import Publisher, PublishWork
from marketbell.store.recording import RecordWork, follow_up
from marketbell.store.shared_marks import SharedMarks
from marketbell.store.statements import Statement, statements
from marketbell.store.transaction import Row, Transaction

T = TypeVar("T")

_SQL = statements("queue")
_HOT = statements("hot")

_TRIES: Final = 8
"""How often a transaction is run before others are taken to be in its way for good."""
_KEY: Final = re.compile(r"= \((\d+)\)")


class PostgresExecutor:
    """
    Runs a group commit on a connection of its own, opened anew after it was lost.

    Changes of the control plane are made one transaction at a time over all nodes (`alone`): their
    logic was written for one writer.
    """

    def __init__(
        self, options: PostgresOptions, timed_keys: TimedKeys, *, name: str, alone: bool
    ) -> None:
        self.connection = Connection(options, name=name)
        self._alone = alone
        self._schema = options.schema
        self._payload_retention = options.payload_retention
        self._keys = timed_keys
        self._attempt_keys = AttemptKeys(self._keys)
        self._marks = SharedMarks()
        self._publisher = Publisher(self._keys, options.payload_retention)
        self._told: list[Announced] = []
        """What transactions beside the shared one have changed."""

    def commit(self, works: Sequence[Work]) -> list[Announced]:
        """
        Results first, then publications, then everything else in order of arrival.

        Changes of lanes alone come after, in a transaction of their own, and claims at last: what
        goes wrong with those is told to their callers.
        """
        changes: list[Announced] = []
        sharing: list[Work] = []
        moves: list[Effect[Any]] = []
        claims: list[ClaimWork] = []
        for work in works:
            if isinstance(work, ClaimWork):
                claims.append(work)
            elif isinstance(work, Effect) and work.lanes:
                moves.append(work)
            else:
                sharing.append(work)
        if sharing:
            changes = self._commit(sharing)
        if moves:
            self._move(moves)
        for claim in claims:
            claim.run(self)
        told, self._told = self._told, []
        return changes + told

    def close(self) -> None:
        """Close the connection, after the writer has ended."""
        self.connection.close()

    # -- one transaction ----------------------------------------------------------------

    def query(self, statement: Statement, values: dict[str, Any]) -> list[Row]:
        """The rows of a statement that is a transaction of its own: one round trip to a server that was there just now."""
        own = statement.postgresql
        given = own.values(values)

        def ask() -> list[Row]:
            if self.connection.warm:
                return self._ask(own.text, given)
            return self._transact(lambda transaction: transaction.rows(statement, values))

        return self._again(ask)

    def transact(self, run: Callable[[Transaction], T]) -> T:
        """Run a function in a transaction of its own."""

        def whole(transaction: Transaction) -> tuple[T, list[Announced]]:
            value = run(transaction)
            _keep_tally(transaction)
            return value, transaction.changes

        value, changes = self._again(lambda: self._transact(whole))
        self._told += changes
        return value

    def next_key(self, at: Instant) -> int:
        """A new key of an attempt."""
        return self._keys.next(at)

    def _again(self, run: Callable[[], T]) -> T:
        """Run it until nobody is in its way. It must have left nothing when it is run again."""
        failed: asyncpg.PostgresError | None = None
        for _ in range(_TRIES):
            try:
                return run()
            except AGAIN as error:
                if isinstance(error, ONCE) and isinstance(failed, type(error)):
                    raise DataFault(str(error)) from error
                failed = error
            except asyncpg.CheckViolationError as error:
                if not self._add_partitions(error):
                    raise DataFault(str(error)) from error
                failed = error
            except DATA_FAULTS as error:
                raise DataFault(str(error)) from error
        raise store_error(failed or TimeoutError()) from failed

    def _ask(self, text: str, values: Sequence[Any]) -> list[Row]:
        try:
            return [tuple(row) for row in self.connection.alone(text, values)]
        except asyncpg.PostgresError as error:
            if not refused(error):
                raise OutcomeUnknownError("The commit's answer was lost.", said(error)) from error
            if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                self.connection.drop()  # another server may have taken this one's place
            if isinstance(error, (*AGAIN, *DATA_FAULTS)):
                raise
            raise store_error(error) from error
        except (TypeError, ValueError, OverflowError):
            raise
        except Exception as error:
            self.connection.drop()
            raise OutcomeUnknownError("The commit's answer was lost.", said(error)) from error

    def _transact(self, run: Callable[[PostgresTransaction], T]) -> T:
        connection = self.connection
        try:
            connection.begin()
            transaction = PostgresTransaction(connection, self._marks, self._publisher)
            if self._alone:
                transaction.rows(_SQL["control_lock"], {"schema": self._schema})
            value = run(transaction)
        except BaseException as error:
            connection.roll_back()
            if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                connection.drop()  # another server may have taken this one's place
            if isinstance(error, (*AGAIN, *DATA_FAULTS)):
                raise
            if isinstance(error, (asyncpg.PostgresError, *LOST)):
                raise store_error(error) from error
            raise
        try:
            connection.commit()
        except asyncpg.PostgresError as error:
            if not refused(error):
                raise OutcomeUnknownError("The commit's answer was lost.", said(error)) from error
            connection.roll_back()
            if isinstance(error, (*AGAIN, *DATA_FAULTS)):
                raise
            raise store_error(error) from error
        except Exception as error:
            connection.drop()
            raise OutcomeUnknownError("The commit's answer was lost.", said(error)) from error
        return value

    def _add_partitions(self, error: asyncpg.CheckViolationError) -> bool:
        """Make the partitions of a row that had none; whether that was what was missing."""
        found = _KEY.search(error.detail or "")
        if error.constraint_name is not None or found is None:
            return False
        try:
            self.connection.begin()
            self.connection.fetch(
                _SQL["partitions_add"].postgresql.text, (keys.day(int(found[1])),)
            )
            self.connection.commit()
        except (asyncpg.PostgresError, *LOST) as wrong:
            self.connection.roll_back()
            raise store_error(wrong) from wrong
        return True

    # -- a batch ------------------------------------------------------------------------

    def _move(self, moves: Sequence[Effect[Any]]) -> None:
        """Change lanes, all of which are locked first; where one is refused, each on its own."""

        def move(transaction: Transaction) -> None:
            transaction.lock_lanes({lane for one in moves for lane in one.lanes})
            for one in moves:
                one.run(transaction)

        try:
            self.transact(move)
        except StoreError as error:
            for one in moves:
                one.error = error
        except DataFault as fault:
            if len(moves) == 1:
                moves[0].error = RefusedError(f"The store refused it: {fault}")
                return
            for one in moves:
                self._move([one])
        except Exception as error:
            for one in moves:
                one.error = UnavailableError(f"The store failed: {error!r}")

    def _commit(self, works: Sequence[Work]) -> list[Announced]:
        results = [
            result for work in works if isinstance(work, RecordWork) for result in work.results
        ]
        published = [work for work in works if isinstance(work, PublishWork)]
        publications = [one for work in published for one in work.publications]
        effects = [work for work in works if isinstance(work, Effect)]
        turns = rounds(publications) if publications else []
        try:
            verdicts, changes = self._again(
                lambda: self._keep(results, publications, turns, effects)
            )
        except (DataFault, asyncpg.PostgresError):
            self._attempt_keys.settle(results)
            raise
        self._attempt_keys.settle(results)
        following = iter(verdicts)
        for work in published:
            work.verdicts = list(islice(following, len(work.publications)))
        return changes

    def _keep(
        self,
        results: Sequence[Result],
        publications: Sequence[Publication],
        turns: Sequence[Sequence[int]],
        effects: Sequence[Effect[Any]],
    ) -> tuple[list[Verdict], list[Announced]]:
        recording = Recording(results, self._attempt_keys) if results else None
        special = recording is not None and bool(recording.special)
        plain = not (self._alone or effects or special or len(turns) > 1)
        try:
            if plain and self.connection.warm:
                return self._keep_at_once(recording, publications), []
            return self._transact(
                lambda transaction: (
                    self._keep_in(transaction, recording, publications, turns, effects),
                    transaction.changes,
                )
            )
        except asyncpg.UniqueViolationError:
            self._attempt_keys.settle(results)
            raise

    def _keep_at_once(
        self, recording: Recording | None, publications: Sequence[Publication]
    ) -> list[Verdict]:
        """All of it in one round trip."""
        name, values = "publish", dict[str, Any]()
        if recording is not None:
            name = "record_and_publish" if publications else "record"
            values = recording.values()
        if not publications and recording is None:
            return []
        if not publications:
            own = _HOT[name].postgresql
            self._ask(own.text, own.values(values))
            return []
        publishing = Publishing(publications, self._keys.next, self._payload_retention)
        own = _HOT[name].postgresql
        (row,) = self._ask(own.text, own.values({**values, **publishing.values()}))
        return publishing.verdicts(row[-1], self._look_up)  # type: ignore[arg-type]

    def _look_up(self, publication: Publication) -> Verdict:
        """The answer to a repetition, found after the others were kept."""
        try:
            return self._transact(lambda transaction: repetition(transaction, publication))
        except StoreError as error:
            return error
        except AGAIN as error:
            return store_error(error)

    def _keep_in(
        self,
        transaction: PostgresTransaction,
        recording: Recording | None,
        publications: Sequence[Publication],
        turns: Sequence[Sequence[int]],
        effects: Sequence[Effect[Any]],
    ) -> list[Verdict]:
        """The same within a transaction, and what else is to be done."""
        if recording is not None:
            transaction.lock_keys(recording.ordered())
            row: Any = transaction.row(_HOT["record"], recording.values())
            special = recording.special_but(row[0])
            if special:
                follow_up(transaction, special)
        verdicts: dict[int, Verdict] = {}
        for turn in turns:
            places = left_of(turn, publications, verdicts)
            publishing = Publishing(
                [publications[place] for place in places], self._keys.next, self._payload_retention
            )
            answer: Any = transaction.row(_HOT["publish"], publishing.values())
            found = publishing.verdicts(
                answer[0], lambda publication: repetition(transaction, publication)
            )
            verdicts.update(zip(places, found, strict=True))
        for effect in effects:
            effect.run(transaction)
        _keep_tally(transaction)
        return [verdicts[place] for place in range(len(publications))]


def _keep_tally(transaction: Transaction) -> None:
    if transaction.tally:
        transaction.change(_SQL["tally_insert"], (transaction.tally.text(),))
