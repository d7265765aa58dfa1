"""Figures of endpoints: counted in the transactions they are about, added up behind."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from marketbell.model import Instant
from marketbell.store.positions import position
from marketbell.store.statements import statements
from marketbell.store.statistics_plane import AttemptFigures, EndpointFigures
from marketbell.store.tally import (
    ACCEPTED,
    BORN,
    CANCELLED,
    DELIVERED,
    FAILED,
    HOUR_MS,
    REFUSED,
    Tally,
)
from marketbell.store.transaction import Transaction

_SQL = statements("statistics")
_SEARCH = statements("search")

_FIGURES: Final = "figures"
_ENCODE: Final = msgspec.json.Encoder()

_OLD_MAX: Final = 500
"""Figures that are past their age and go in one step."""


def endpoint_figures(
    transaction: Transaction, endpoint_id: int, *, since: Instant, until: Instant
) -> EndpointFigures:
    """See Statistics.endpoint_figures; what is being sent is counted, all else is sums."""
    first, last = _hours(since, until)
    sums = _sums(transaction, endpoint_id, first, last)
    values = {
        "endpoint_id": endpoint_id,
        "since": first * HOUR_MS,
        "until": (last + 1) * HOUR_MS,
    }
    row: Any = transaction.row(_SQL["sending"], values)
    sending: int = row[0]
    unfinished = sums[BORN] - sums[DELIVERED] - sums[FAILED] - sums[CANCELLED]
    return EndpointFigures(
        delivered=sums[DELIVERED],
        pending=max(0, unfinished - sending),
        sending=sending,
        failed=sums[FAILED],
        cancelled=sums[CANCELLED],
    )


def attempt_figures(
    transaction: Transaction, endpoint_id: int, *, since: Instant, until: Instant
) -> AttemptFigures:
    """See Statistics.attempt_figures."""
    sums = _sums(transaction, endpoint_id, *_hours(since, until))
    return AttemptFigures(accepted=sums[ACCEPTED], refused=sums[REFUSED])


class Sums(msgspec.Struct, frozen=True):
    """What a run of transactions has counted, added up and ready to be kept."""

    turn: int
    """How often sums had been kept when the run was read; keys of rows are given again and again."""
    keys: list[int]
    """The rows of the run; another that is committed later may lie between them."""
    rows: list[tuple[int, ...]]
    old: bool
    """Whether there are figures past their age."""
    more: bool


def read_sums(transaction: Transaction, before: Instant, bytes_max: int) -> Sums:
    """What was counted first of what has not been added up, of about so many bytes."""
    tally = Tally()
    keys: list[int] = []
    size = 0
    more = False
    rows: Any = transaction.each(_SQL["tallies"])
    for key, text in rows:
        if keys and size + len(text) > bytes_max:
            more = True
            break
        tally.take((text,))
        keys.append(key)
        size += len(text)
    rows.close()
    old = transaction.row(_SQL["figures_old"], {"before": before // HOUR_MS}) is not None
    return Sums(position(transaction, _FIGURES), keys, tally.rows(), old, more)


def keep_sums(transaction: Transaction, sums: Sums, before: Instant) -> bool:
    """Keep what was added up, unless another step did; throw away what is old; whether more waits."""
    if sums.keys:
        if position(transaction, _FIGURES, "position_held") != sums.turn:
            return True
        transaction.change_many(_SQL["figures_add"], sums.rows)
        run = _ENCODE.encode(sums.keys).decode()
        transaction.change(_SQL["tallies_delete"], {"last": sums.keys[-1], "keys": run})
        transaction.change(_SEARCH["position_set"], {"name": _FIGURES, "position": sums.turn + 1})
    gone = transaction.change(
        _SQL["figures_delete"], {"before": before // HOUR_MS, "limit": _OLD_MAX}
    )
    return sums.more or gone == _OLD_MAX


def _hours(since: Instant, until: Instant) -> tuple[int, int]:
    """The first and the last hour of a time."""
    return since // HOUR_MS, max(since, until - 1) // HOUR_MS


def _sums(transaction: Transaction, endpoint_id: int, first: int, last: int) -> list[int]:
    """The figures of an endpoint over hours, with what has yet to be added up."""
    values = {"endpoint_id": endpoint_id, "first": first, "last": last}
    row: Any = transaction.row(_SQL["figures"], values)
    sums = list(row)
    tally = Tally()
    waiting: Any = transaction.rows(_SQL["tallies"])
    tally.take(text for _key, text in waiting)
    for hour, of_endpoint, *numbers in tally.rows():
        if of_endpoint == endpoint_id and first <= hour <= last:
            sums = [sum(pair) for pair in zip(sums, numbers, strict=True)]
    return sums
