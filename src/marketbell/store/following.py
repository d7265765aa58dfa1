"""What follows behind the writing: labels, attempts by endpoint, words of payloads, some at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from marketbell.model import Instant, Millis
from marketbell.store import keys
from marketbell.store.positions import position
from marketbell.store.search_values import ATTEMPTS, MESSAGES, Kind
from marketbell.store.statements import statements
from marketbell.store.texts import scope_of, words_of_payload
from marketbell.store.transaction import Row, Transaction

_SQL = statements("search")
_FOLLOWING = statements("following")

_NOTED: Final[Mapping[Kind, tuple[str, ...]]] = {
    MESSAGES: ("label_messages", "label_event_types", "label_channels", "label_tags"),
    ATTEMPTS: ("note_attempts",),
}
"""What notes a run of each kind of rows for the lists."""
_TEXTS: Final = "texts"
_LATE_TEXTS: Final = "late texts"


def note_rows(transaction: Transaction, rows_max: int) -> bool:
    """See Search.follow_labels; all of it is done within the database."""
    more = [_note(transaction, kind, rows_max) for kind in _NOTED]
    return any(more)


def has_rows(transaction: Transaction) -> bool:
    """Whether `note_rows` has anything to do."""
    return any(
        transaction.row(
            _SQL[f"{kind.table}_next"], {"position": position(transaction, kind.follower)}
        )
        for kind in _NOTED
    )


def _note(transaction: Transaction, kind: Kind, rows_max: int) -> bool:
    """Note the next rows of a kind; whether more wait."""
    begins = position(transaction, kind.follower)
    row: Any = transaction.row(_FOLLOWING[f"{kind.table}_run"], {"position": begins})
    first, last = row
    if first is None:
        return False
    until = min(first - 1 + rows_max, last)
    for name in _NOTED[kind]:
        transaction.change(_FOLLOWING[name], {"position": begins, "until": until})
    transaction.change(_SQL["position_set"], {"name": kind.follower, "position": until})
    return bool(until < last)


class Words(msgspec.Struct, frozen=True):
    """The words of a run of messages, ready to be noted."""

    begins: int
    """The position that the run was read at."""
    ends: int
    rows: list[Row]
    """Message, scope, words, and the message again."""
    more: bool
    name: str = _TEXTS
    """Of the position."""


def read_words(transaction: Transaction, messages_max: int, bytes_max: int) -> Words:
    """The words of the next messages, of at most so many messages and about so many bytes."""
    begins = position(transaction, _TEXTS)
    values = {"position": begins, "limit": messages_max}
    rows, ends, more = _words_of(transaction, "messages_from", values, bytes_max)
    return Words(begins, ends, rows, more)


def read_late_words(
    transaction: Transaction, messages_max: int, bytes_max: int, slack: Millis
) -> Words:
    """
    The words of messages that were committed after others behind them had been read.

    It goes after `read_words`, up to `slack` before the oldest transaction that is open: what
    another one of that time may still keep lies behind it. With a clock of its own, as for tests, it
    stays `slack` behind the first reading.
    """
    begins = position(transaction, _LATE_TEXTS)
    front = position(transaction, _TEXTS)
    row: Any = transaction.row(_SQL["oldest_writer"])
    now, oldest = row
    until = min(front + 1, keys.floor(oldest - slack))
    if front > keys.floor(now + slack):
        until = front - keys.length(slack)
    if until - 1 <= begins:
        return Words(begins, begins, [], False, _LATE_TEXTS)
    values = {"position": begins, "until": until, "limit": messages_max}
    rows, ends, _more = _words_of(transaction, "messages_late", values, bytes_max)
    if ends == begins:  # none of them, and no more than were looked at
        return Words(begins, until - 1, rows, False, _LATE_TEXTS)
    return Words(begins, ends, rows, True, _LATE_TEXTS)


def _words_of(
    transaction: Transaction, name: str, values: dict[str, int], bytes_max: int
) -> tuple[list[Row], int, bool]:
    """The rows to be noted, the last message that was read, and whether there are more."""
    rows: list[Row] = []
    count, size, ends = 0, 0, values["position"]
    found: Any = transaction.each(_SQL[name], values)
    for message_id, application_id, _created_at, payload in found:
        count, ends = count + 1, message_id
        if payload:
            words = " ".join(words_of_payload(payload))
            rows.append((message_id, scope_of(application_id), words, message_id))
            size += len(payload)
        if size >= bytes_max:
            break
    found.close()
    return rows, ends, count == values["limit"] or size >= bytes_max


def note_words(transaction: Transaction, words: Words) -> bool:
    """
    Note what was read, unless another step did meanwhile; whether more waits.

    A payload that went in between is not noted.
    """
    if position(transaction, words.name, "position_held") != words.begins:
        return True
    transaction.change_many(_SQL["text_insert"], words.rows)
    transaction.change(_SQL["position_set"], {"name": words.name, "position": words.ends})
    return words.more


def texts_since(transaction: Transaction) -> Instant | None:
    """See Search.texts_since."""
    row: Any = transaction.row(_SQL["message_next"], {"position": position(transaction, _TEXTS)})
    return None if row is None else row[0]
