"""T1: messages with their deliveries, kept together, each with its own verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from marketbell.errors import (
    ConflictError,
    MarketbellError,
    NotFoundError,
    StaleError,
    TakenError,
)
from marketbell.model import NEVER, Claim, Instant, Message, Millis, Trigger
from marketbell.store.base import Birth, Idempotency, OutboxKey, Publication, Published
from marketbell.store.keys import Keys
from marketbell.store.marks import Mark, used_with_another_body
from marketbell.store.repeating import first_answer
from marketbell.store.rows import encode_headers, encode_keys, encode_names, keys_of
from marketbell.store.statements import statements
from marketbell.store.tally import BORN
from marketbell.store.transaction import Row, Transaction

_SQL = statements("queue")
_OUTBOX = statements("outbox")

_SCHEDULED: Final = Trigger.SCHEDULED.value


class PublishWork:
    """The publications of one caller, as a share of a transaction."""

    __slots__ = ("bounded", "future", "publications", "queued_at", "rows", "size", "verdicts")

    def __init__(
        self,
        publications: Sequence[Publication],
        future: asyncio.Future[list[Published | MarketbellError]],
    ) -> None:
        self.publications = publications
        self.future = future
        self.rows = 0
        self.size = 0
        for publication in publications:
            self.rows += 1 + len(publication.births)
            self.size += 500 + len(publication.message.payload)
        self.bounded = True
        self.queued_at = 0.0
        self.verdicts: list[Published | MarketbellError] = []

    def succeed(self) -> None:
        """Give the caller its verdicts."""
        if not self.future.done():
            self.future.set_result(self.verdicts)

    def fail(self, error: Exception) -> None:
        """Tell the caller that nothing of it was kept, or may not have been."""
        if not self.future.done():
            self.future.set_exception(error)


class Publisher:
    """Keeps publications; lives on the writer's thread and gives out the keys of messages."""

    def __init__(self, keys: Keys, payload_retention: Millis) -> None:
        self.keys = keys
        self._payload_retention = payload_retention

    def keep(self, transaction: Transaction, works: Sequence[PublishWork]) -> None:
        """Run every publication of `works`; their verdicts are put into the works."""
        keeping = _Keeping(transaction, self.keys, self._payload_retention)
        publications = [p for work in works for p in work.publications]
        keeping.look_up(publications)
        keeping.look_up_revisions(publications)
        judge = keeping.judge
        for work in works:
            work.verdicts = [judge(publication) for publication in work.publications]
        keeping.write()

    def keep_together(
        self,
        transaction: Transaction,
        publications: Sequence[Publication],
        before: Callable[[], None],
    ) -> list[Published]:
        """
        Keep all of them after `before` has written what they tell of.

        Raises the error of the first that is refused, or what `before` raises; then nothing has
        been written, provided that `before` writes nothing when it raises.
        """
        keeping = _Keeping(transaction, self.keys, self._payload_retention)
        keeping.look_up_revisions(publications)
        kept: list[Published] = []
        for publication in publications:
            verdict = keeping.judge(publication)
            if not isinstance(verdict, Published):
                raise verdict
            kept.append(verdict)
        before()
        keeping.write()
        return kept


class _Keeping:
    """One transaction's publications: judged one by one, written together."""

    def __init__(self, transaction: Transaction, keys: Keys, payload_retention: Millis) -> None:
        self._transaction = transaction
        self._next_key = keys.next
        self._payload_retention = payload_retention
        self._revisions: dict[int, int | None] = {}
        self._marks: dict[bytes, Mark] = {}
        self._reused: set[bytes] = set()
        """The bodies of batches whose key came before with another one."""
        self._kept: dict[int, Message] = {}
        self._event_ids: set[tuple[int, str]] = set()
        self._busy_keys: set[tuple[int, bytes]] = set()
        self._messages: list[Row] = []
        self._payloads: list[Row] = []
        self._expiries: list[Row] = []
        self._aimed: list[Row] = []
        self._deliveries: list[Row] = []
        self._born: list[tuple[int, Instant]] = []
        self._made: list[tuple[Idempotency, Instant, Mark]] = []
        self._lanes: dict[int, int] = {}
        self._taken: set[Row] = set()
        self._relayed: list[OutboxKey] = []

    def look_up(self, publications: Sequence[Publication]) -> None:
        """
        Find what earlier requests left under the keys of all these, in one query per bucket.

        Rows of the outbox are locked, or left to whoever has them.
        """
        keys = [publication.outbox for publication in publications if publication.outbox]
        if keys:
            self._taken.update(self._transaction.rows(_OUTBOX["outbox_take"], keys_of(keys)))
        made_by_sdk: list[bytes] = []
        named: list[bytes] = []
        now = 0
        for publication in publications:
            mark = publication.idempotency
            if mark is not None:
                (made_by_sdk if mark.auto else named).append(mark.key)
                now = max(now, publication.message.created_at)
        transaction = self._transaction
        for auto, asked in ((True, made_by_sdk), (False, named)):
            if asked:
                found = transaction.marks.find(transaction, asked, auto, now)
                self._marks.update(found)
        if self._marks:
            self._reused = {
                mark.body
                for mark in (publication.idempotency for publication in publications)
                if mark is not None and mark.of_batch
                if self._marks.get(mark.key, (mark.body,))[0] != mark.body
            }

    def look_up_revisions(self, publications: Sequence[Publication]) -> None:
        """Find the present revision of each application, in one query."""
        application_ids = {publication.message.application_id for publication in publications}
        found: Any = self._transaction.rows(
            _SQL["application_revisions"], {"application_ids": encode_keys(application_ids)}
        )
        self._revisions = dict(found)

    def judge(self, publication: Publication) -> Published | MarketbellError:
        """What becomes of one publication; what is to be written is put by."""
        mark, outbox = publication.idempotency, publication.outbox
        if outbox is not None and outbox not in self._taken:
            return TakenError("Another node has this row of the outbox.")
        if mark is not None and (mark.key in self._marks or mark.body in self._reused):
            return self._repeated(mark)
        message = publication.message
        refused = self._refused(message, publication.revision)
        if refused is not None:
            return refused
        created_at = message.created_at
        message_id = self._next_key(created_at)
        kept = msgspec.structs.replace(message, id=message_id)
        if mark is not None:
            made = self._marks[mark.key] = (mark.body, message_id, None)
            self._kept[message_id] = kept
            self._made.append((mark, created_at, made))
        expires_at = kept.payload_expires_at
        self._messages.append(
            (
                message_id,
                kept.public_id,
                kept.application_id,
                kept.event_type,
                kept.event_id,
                encode_names(kept.channels) if kept.channels else None,
                encode_names(kept.tags) if kept.tags else None,
                kept.occurred_at,
                created_at,
                expires_at,
                kept.deliver_at,
                encode_headers(kept.headers) if kept.headers else None,
            )
        )
        self._payloads.append((message_id, kept.payload))
        if publication.aimed:
            self._aimed.append((message_id,))
        if expires_at != created_at + self._payload_retention:
            self._expiries.append((expires_at, message_id))
        if outbox is not None:
            self._taken.discard(outbox)
            self._relayed.append(outbox)
        return Published(message=kept, claims=self._bear(publication.births, kept))

    def write(self) -> None:
        """Write all that was put by."""
        transaction = self._transaction
        transaction.change_many(_SQL["message_insert"], self._messages)
        transaction.change_many(_SQL["payload_insert"], self._payloads)
        if self._aimed:
            transaction.change_many(_SQL["aimed_insert"], self._aimed)
        if self._expiries:
            transaction.change_many(_SQL["payload_expiry_insert"], self._expiries)
        if self._deliveries:
            transaction.change_many(_SQL["delivery_insert"], self._deliveries)
            transaction.tally.add_each(self._born, BORN)
        if self._made:
            transaction.marks.put(transaction, self._made)
        if self._relayed:
            transaction.change(_OUTBOX["outbox_delete"], keys_of(self._relayed))
        for endpoint_id, due_at in sorted(self._lanes.items()):
            transaction.change(_SQL["lane_lower"], {"endpoint_id": endpoint_id, "due_at": due_at})

    def _repeated(self, mark: Idempotency) -> Published | MarketbellError:
        found = self._marks.get(mark.key)
        if found is None or found[0] != mark.body:
            if mark.of_batch:
                self._reused.add(mark.body)
            return used_with_another_body()
        kept = None if found[1] is None else self._kept.get(found[1])
        if kept is not None:
            return Published(message=kept, repeated=True)
        return first_answer(self._transaction, mark, found)

    def _refused(self, message: Message, matched_at: int) -> MarketbellError | None:
        application_id, event_id = message.application_id, message.event_id
        revision = self._revisions.get(application_id)
        if revision != matched_at:
            if revision is None:
                return NotFoundError("The application has been deleted.")
            return StaleError("The application has changed.")
        if event_id is None:
            return None
        if (application_id, event_id) in self._event_ids or self._transaction.row(
            _SQL["event_id_taken"], {"application_id": application_id, "event_id": event_id}
        ):
            return ConflictError(f"A message with the eventId {event_id!r} exists already.")
        self._event_ids.add((application_id, event_id))
        return None

    def _bear(self, births: Sequence[Birth], message: Message) -> tuple[Claim, ...]:
        """Put the deliveries of a message by; the claims of those that are born claimed."""
        claims: list[Claim] = []
        message_id, born_at = message.id, message.created_at
        for birth in births:
            endpoint_id, due_at = birth.endpoint_id, birth.due_at
            lease_until, order_key = birth.lease_until, birth.order_key
            state, claim_number, place = "pending", 0, message_id
            if lease_until:
                state, claim_number = "sending", 1
                claims.append(
                    Claim(
                        message=message,
                        endpoint_id=endpoint_id,
                        endpoint_revision=0,
                        claim_number=1,
                        attempt_count=0,
                        born_at=born_at,
                        due_at=due_at,
                        lease_until=lease_until,
                    )
                )
            elif order_key is not None and self._blocked(endpoint_id, order_key):
                due_at += NEVER
            else:
                self._lanes[endpoint_id] = min(due_at, self._lanes.get(endpoint_id, due_at))
            if order_key is not None:
                place = self._transaction.place(message_id)
            self._deliveries.append(
                (
                    message_id,
                    endpoint_id,
                    state,
                    lease_until or due_at,
                    claim_number,
                    born_at,
                    _SCHEDULED,
                    order_key,
                    place,
                )
            )
            self._born.append((endpoint_id, born_at))
        return tuple(claims)

    def _blocked(self, endpoint_id: int, order_key: bytes) -> bool:
        pair = (endpoint_id, order_key)
        if pair in self._busy_keys:
            return True
        self._busy_keys.add(pair)
        self._transaction.lock_keys([pair])
        busy = self._transaction.row(
            _SQL["order_key_busy"], {"endpoint_id": endpoint_id, "order_key": order_key}
        )
        return busy is not None
