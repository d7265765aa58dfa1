"""Keys of history: where one file gives them out in order, and where many nodes do."""

from __future__ import annotations

import threading
from typing import Final, Protocol

from marketbell import ids
from marketbell.model import Instant, Millis

NODES_MAX: Final = 1_024
"""So many nodes may have a number at a time."""
DAY_MS: Final = 86_400_000

_EPOCH_MS: Final = 1_577_836_800_000
"""2020-01-01; a key of that millisecond is 0, and the last ones are of 2089."""
_NEAR_MS: Final = 600_000
_TAIL_BITS: Final = 22
_LAST_MS: Final = (1 << 63 - _TAIL_BITS) - 1
"""No later millisecond has a key that a database could hold."""
_SEQUENCE_BITS: Final = 12
_PER_MS: Final = 1 << _SEQUENCE_BITS


class Keys(Protocol):
    """What gives a new message its key; lives with the writer."""

    last: int
    """The last key that was given; set back when a transaction is undone."""

    def next(self, at: Instant) -> int:
        """A key greater than every one that was given before."""


class SerialKeys:
    """One after the other, for the only writer there is."""

    __slots__ = ("last",)

    def __init__(self, last: int) -> None:
        self.last = last

    def next(self, at: Instant) -> int:
        """See Keys.next."""
        self.last += 1
        return self.last


class TimedKeys:
    """
    A key that begins with the millisecond, then the node's number, then a count: no two nodes give the same.

    They rise on each node, also where the clock is set back, and a range of them is a range of
    time. Several threads may ask for them.
    """

    __slots__ = ("_lock", "_node", "last")

    def __init__(self, node_number: int) -> None:
        self._lock = threading.Lock()
        self._node = 0
        self.last = 0
        self.renumber(node_number)

    def renumber(self, node_number: int) -> None:
        """Go on above the last one with another number."""
        if not 0 <= node_number < NODES_MAX:
            raise ValueError(f"a node's number is from 0 to {NODES_MAX - 1}")
        with self._lock:
            self._node = node_number << _SEQUENCE_BITS
            if self.last:
                self.last = (((self.last >> _TAIL_BITS) + 1) << _TAIL_BITS) | self._node

    def next(self, at: Instant) -> int:
        """See Keys.next; more than 4,096 in one millisecond go on in the next one."""
        first = floor(at) | self._node
        with self._lock:
            last = self.last
            if first > last:
                key = first
            elif (last + 1) & (_PER_MS - 1):
                key = last + 1
            else:
                key = (((last >> _TAIL_BITS) + 1) << _TAIL_BITS) | self._node
            self.last = key
            return key


def floor(at: Instant) -> int:
    """The lowest key of a millisecond; 0 for what lies before 2020, the last one's after 2089."""
    return min(max(at - _EPOCH_MS, 0), _LAST_MS) << _TAIL_BITS


def instant(key: int) -> Instant:
    """The millisecond of a timed key."""
    return (key >> _TAIL_BITS) + _EPOCH_MS


def length(time: Millis) -> int:
    """How many keys there are in a time."""
    return time << _TAIL_BITS


def around(public_id: str) -> dict[str, int]:
    """Between which keys a row is looked for first, as parameters: ten minutes around its id's time."""
    try:
        at = ids.time_of(public_id)
    except KeyError:  # it is no id
        return {"near_low": 0, "near_high": 0}
    return {"near_low": floor(at - _NEAR_MS), "near_high": floor(at + _NEAR_MS)}


def day(key: int) -> int:
    """The day of a timed key, counted from 1970-01-01: the partition that it is in."""
    return instant(key) // DAY_MS
