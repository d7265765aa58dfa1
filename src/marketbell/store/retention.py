"""Retention: what is past its age goes, a bounded number of rows in each step."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, Final, Self

from marketbell.model import NEVER, DeliveryState, Instant, Millis
from marketbell.store.base import Ages, Pruned
from marketbell.store.ended import drop_ended
from marketbell.store.marks import oldest_bucket
from marketbell.store.positions import has_passed, lower
from marketbell.store.recording import finish, go_on
from marketbell.store.search_values import ATTEMPTS, MESSAGES, Kind
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction
from marketbell.store.walk import Rows, Walk

_SQL = statements("retention")
_MARKETPLACE = statements("marketplace")
_QUEUE = statements("queue")
_AUDIT = statements("audit")
_PORTAL = statements("portal")

BYTES_MAX: Final = 16_000_000
"""Payload bytes that one step removes at most; freeing a large payload reads all of its pages."""
_PER_MESSAGE: Final = 4
"""How many attempts, and finished deliveries, one step removes for each message of its limit."""


class Walks:
    """Where retention stands in each table; lives as long as its store is open."""

    def __init__(self) -> None:
        self.payloads = Walk[int](0)
        self.expiries = Walk[tuple[int, int]]((0, 0))
        self.attempts = Walk[int](0)
        self.messages = Walk[int](0)
        self.endpoints = Walk[tuple[int, int]]((0, 0))
        self.applications = Walk[tuple[int, int]]((0, 0))
        self.audit = Walk[int](0)
        self.ended: dict[str, Walk[tuple[int, int]]] = {}
        """By kind of the marketplaces' things."""

    def step(self) -> Self:
        """A copy that one step goes on with; it takes the place of this one once the step is on disk."""
        return copy.deepcopy(self)


def prune(
    transaction: Transaction, walks: Walks, ages: Ages, *, now: Instant, real: Instant, limit: int
) -> Pruned:
    """
    One step of Retention.prune.

    A payload goes at its own time if it has one, else `ages.payloads` after its message was
    accepted. A message takes with it all that is left of it: finished deliveries, attempts,
    payload. It stays while a delivery of it is unfinished, while a key waits for it, and while
    its payload has a time of its own that is yet to come.
    """
    step = Step(transaction, walks, ages, now, limit)
    step.take(real)
    lower(transaction)
    return step.pruned()


class Step:
    """One step: what it has removed so far, and whether there is more."""

    def __init__(
        self, transaction: Transaction, walks: Walks, ages: Ages, now: Instant, limit: int
    ) -> None:
        self._transaction = transaction
        self._walks = walks
        self._ages = ages
        self._now = now
        self._limit = limit
        self._payloads = self._attempts = self._messages = self._cancelled = 0
        self._cancels_left = 0
        self._more = False

    def pruned(self) -> Pruned:
        """What was done."""
        return Pruned(
            payloads=self._payloads,
            attempts=self._attempts,
            messages=self._messages,
            cancelled=self._cancelled,
            more=self._more,
        )

    def take(self, real: Instant) -> None:
        """Some of everything; `real` is what the clock of the wall shows."""
        self.end_deleted_endpoints()
        self.drop_expired_payloads()
        self.drop_aged_payloads()
        self.drop_attempts()
        self.drop_messages()
        self.drop_marks()
        self.drop_secrets()
        self.drop_deleted_applications()
        self.drop_ended()
        self.drop_audit()
        self.drop_portal(real)

    # -- payloads -------------------------------------------------------------------------

    def drop_expired_payloads(self) -> None:
        """Payloads whose own time has come."""
        walk = self._walks.expiries
        self._cancels_left = self._limit
        gone: list[tuple[int, int]] = []
        size = 0
        for key, _expires_at, message_id, wanted, payload_size in self._up_to_now(
            walk, "expiries_between"
        ):
            if wanted and not self._freed(message_id):
                if self._cancels_left <= 0:
                    break
                continue
            gone.append(key)
            size += payload_size or 0
            if size >= BYTES_MAX:
                break
        self._drop_payloads([message_id for _expires_at, message_id in gone])
        self._transaction.change_many(_SQL["expiry_delete"], gone)
        self._note(walk)

    def drop_aged_payloads(self) -> None:
        """Payloads past the common age."""
        walk = self._walks.payloads
        self._cancels_left = self._limit
        gone: list[int] = []
        size = 0
        for message_id, _at, own_time, wanted, payload_size in self._past(
            walk, "payloads_between", self._ages.payloads
        ):
            if own_time:
                continue
            if wanted and not self._freed(message_id):
                if self._cancels_left <= 0:
                    break
                continue
            gone.append(message_id)
            size += payload_size
            if size >= BYTES_MAX:
                break
        self._drop_payloads(gone)
        self._note(walk)

    def _drop_payloads(self, message_ids: Sequence[int]) -> None:
        self._transaction.change_many(_SQL["payload_delete"], [(key,) for key in message_ids])
        self._payloads += len(message_ids)

    def _freed(self, message_id: int) -> bool:
        """
        Whether a payload is needed no more, once what never will be sent is cancelled.

        That is what waits for an endpoint that is disabled or deleted.
        """
        of_it = {"message_id": message_id}
        free = True
        deliveries: Any = self._transaction.rows(_SQL["deliveries_of_message"], of_it)
        for endpoint_id, state, off, _application_id in deliveries:
            if off and state == DeliveryState.PENDING and self._cancels_left > 0:
                self._cancel(message_id, endpoint_id)
            else:
                free = False
        keys: Any = self._transaction.rows(_SQL["keys_held_by_message"], of_it)
        for endpoint_id, order_key, off in keys:
            if off:
                key = {"endpoint_id": endpoint_id, "order_key": order_key}
                self._transaction.change(_QUEUE["key_release"], key)
                go_on(self._transaction, endpoint_id, order_key)
            else:
                free = False
        return free

    def _cancel(self, message_id: int, endpoint_id: int) -> None:
        finish(self._transaction, message_id, endpoint_id, DeliveryState.CANCELLED.value, self._now)
        self._cancelled += 1
        self._cancels_left -= 1

    # -- history --------------------------------------------------------------------------

    def drop_attempts(self) -> None:
        """Attempts past their age."""
        walk = self._walks.attempts
        gone = [(row[0],) for row in self._past(walk, "attempts_between", self._ages.attempts)]
        self._transaction.change_many(_SQL["attempt_delete"], gone)
        self._attempts += len(gone)
        self._note(walk)

    def drop_messages(self) -> None:
        """Messages past their age with all that is left of them."""
        walk = self._walks.messages
        runs: list[list[int]] = []
        notes: list[tuple[int, int]] = []
        count = 0
        for message_id, _at, wanted, expires_at in self._past(
            walk, "messages_between", self._ages.messages
        ):
            if wanted or (expires_at is not None and expires_at > self._now):
                continue
            if expires_at is not None:
                notes.append((expires_at, message_id))
            if runs and message_id == runs[-1][1] + 1:
                runs[-1][1] = message_id
            else:
                runs.append([message_id, message_id])
            count += 1
        if not self._drop_what_belongs_to(runs):
            walk.back()
            self._more = True
            return
        for low, high in runs:
            run = {"low": low, "high": high}
            self._payloads += self._transaction.change(_SQL["payloads_delete"], run)
            self._transaction.change(_SQL["messages_delete"], run)
        self._transaction.change_many(_SQL["expiry_delete"], notes)
        self._messages += count
        self._note(walk)

    def _drop_what_belongs_to(self, runs: Sequence[Sequence[int]]) -> bool:
        """Remove attempts and finished deliveries of runs of messages; whether all are gone."""
        left = _PER_MESSAGE * self._limit
        for low, high in runs:
            run = {"low": low, "high": high, "limit": left}
            attempts = self._transaction.change(_SQL["attempts_of_messages_delete"], run)
            finished = self._transaction.change(_SQL["finished_delete"], run)
            self._attempts += attempts
            left -= max(attempts, finished)
            if left <= 0:
                return False
        return True

    def drop_marks(self) -> None:
        """Idempotency marks whose bucket is over, from the table and from the index in memory."""
        indexed = self._transaction.marks.drop(self._transaction, self._now, self._limit)
        self._more = self._more or indexed >= self._limit
        first_kept = (oldest_bucket(True, self._now), oldest_bucket(False, self._now))
        left = self._limit
        bucket = -1
        while left > 0:
            row: Any = self._transaction.row(_SQL["bucket_after"], {"bucket": bucket})
            bucket = row[0]
            if bucket is None:
                return
            if bucket < first_kept[bucket % 2]:
                left -= self._transaction.change(
                    _SQL["marks_delete"], {"bucket": bucket, "limit": left}
                )
        self._more = True

    # -- configuration --------------------------------------------------------------------

    def drop_secrets(self) -> None:
        """Secrets whose overlap has ended."""
        self._transaction.change(
            _SQL["secrets_over_delete"], {"now": self._now, "limit": self._limit}
        )

    def end_deleted_endpoints(self) -> None:
        """Cancel what deleted endpoints have pending; let go of those that nothing points to."""
        walk = self._walks.endpoints
        self._cancels_left = self._limit
        for _key, deleted_at, endpoint_id in self._up_to_now(walk, "endpoints_deleted"):
            left = self._cancels_left
            of_it = {"endpoint_id": endpoint_id, "limit": left}
            pending: Any = self._transaction.rows(_SQL["deliveries_pending"], of_it)
            for (message_id,) in pending:
                self._cancel(message_id, endpoint_id)
            keys = self._transaction.change(_SQL["keys_delete"], of_it)
            if len(pending) == left or keys == left:
                walk.back()
                break
            old = deleted_at <= self._now - self._ages.messages
            if old and self._all_noted(ATTEMPTS, deleted_at):
                self._transaction.change(_SQL["endpoint_expunge"], {"endpoint_id": endpoint_id})
        self._note(walk)

    def drop_deleted_applications(self) -> None:
        """Let go of deleted applications that nothing points to."""
        walk = self._walks.applications
        for _key, deleted_at, application_id in self._up_to_now(walk, "applications_deleted"):
            of_it = {"application_id": application_id, "limit": self._limit}
            self._transaction.change(_MARKETPLACE["credentials_drop"], of_it)
            if self._transaction.change(_MARKETPLACE["entities_drop"], of_it) == self._limit:
                walk.back()
                break
            if self._all_noted(MESSAGES, deleted_at):
                self._transaction.change(_SQL["application_expunge"], {"id": application_id})
        self._note(walk)

    def _all_noted(self, kind: Kind, deleted_at: Instant) -> bool:
        """Whether the lists know all that is left of what was deleted then; until they do, it stays."""
        return has_passed(self._transaction, kind, deleted_at)

    def drop_ended(self) -> None:
        """The marketplaces' things that ended long ago."""
        for kind, age in self._ages.ended.items():
            walk = self._walks.ended.setdefault(kind, Walk((0, 0)))
            drop_ended(
                self._transaction, walk, kind, self._now - age, now=self._now, limit=self._limit
            )
            self._note(walk)

    def drop_portal(self, now: Instant) -> None:
        """Codes and sessions of the portal that are over; they live on real time."""
        values = {"now": now, "limit": self._limit}
        codes = self._transaction.change(_PORTAL["portal_codes_expired"], values)
        sessions = self._transaction.change(_PORTAL["portal_sessions_expired"], values)
        self._more = self._more or max(codes, sessions) >= self._limit

    def drop_audit(self) -> None:
        """Entries of the audit log past their age."""
        walk = self._walks.audit
        gone = [(row[0],) for row in self._past(walk, "audit_between", self._ages.audit)]
        self._transaction.change_many(_AUDIT["audit_delete"], gone)
        self._note(walk)

    # -- walks ----------------------------------------------------------------------------

    def _past(self, walk: Walk[int], between: str, age: Millis) -> Iterator[tuple[Any, ...]]:
        """Old rows of a table whose keys rise with time."""

        def rows(low: int, high: int, limit: int) -> Rows:
            statement = _AUDIT[between] if between in _AUDIT else _SQL[between]
            return self._transaction.rows(statement, {"low": low, "high": high, "limit": limit})

        cutoff = self._now - age
        return walk.past(rows, NEVER, cutoff=cutoff, now=self._now, limit=self._limit)

    def _up_to_now(self, walk: Walk[tuple[int, int]], between: str) -> Iterator[tuple[Any, ...]]:
        """Rows whose time has come, of an index by time and key."""

        def rows(low: tuple[int, int], high: tuple[int, int], limit: int) -> Rows:
            values = {"low_at": low[0], "low": low[1], "high_at": high[0], "high": high[1]}
            found = self._transaction.rows(_SQL[between], {**values, "limit": limit})
            return [(row[:2], row[0], *row[1:]) for row in found]

        now = self._now
        return walk.past(rows, (now, NEVER), cutoff=now, now=now, limit=self._limit)

    def _note(self, walk: Walk[int] | Walk[tuple[int, int]]) -> None:
        self._more = self._more or not walk.done
