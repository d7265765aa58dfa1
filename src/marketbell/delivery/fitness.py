"""Whether a node is fit to have slots: what it asks of the store gets through, or has not for too long."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Final

_log = logging.getLogger(__name__)

_RELAPSE: Final = 10
"""A node that falls ill again within so many rests of its last recovery rests twice as long."""
_REST_MAX: Final = 60
"""The longest rest, in bounds."""


class Work(Enum):
    """What a node asks of the store for the slots that it has."""

    CLAIMS = auto()
    RECORDS = auto()
    SLOTS = auto()
    """The claims of a slot's last node are lost, so that this one may serve it."""


class Fitness:
    """
    What a node's work with the store has come to, while its signs of life went through.

    It is unfit once something that was asked, and asked again, has not been answered for
    `bound_s`; where nothing is asked, or is not asked again, it stays as it is. It is fit again with the first answer, but
    where it has stood down for others only once answers have come for a rest without a failure
    between: at first as long as the bound, twice as long with each relapse. So slots do not go to
    and fro between nodes of which none can work.
    """

    def __init__(self, monotonic: Callable[[], float], bound_s: float = math.inf) -> None:
        self._monotonic = monotonic
        self._bound_s = bound_s
        self._asked: dict[Work, float] = {}
        """What was asked and has not been answered since, and since when."""
        self._well_since: float | None = None
        """Of a node that is unfit: since when all that it asked was answered."""
        self._recovered_at = -math.inf
        self._rest_s = 0.0
        self._stood_down = False
        self.fit = True
        """As it was when it was last looked at."""

    @contextmanager
    def asking(self, work: Work) -> Iterator[None]:
        """Note that this is asked of the store, and what came of it."""
        self._asked.setdefault(work, self._monotonic())
        try:
            yield
        except BaseException:
            self._well_since = None
            raise
        self._asked.pop(work, None)
        if not self.fit:
            self._recover()

    def look(self) -> bool:
        """Whether it is fit now."""
        if self.fit and self._overdue:
            self.fit, self._well_since = False, None
            what = ", ".join(sorted(work.name.lower() for work in self._asked))
            _log.error("what is asked for the node's slots gets no answer", extra={"asked": what})
        return self.fit

    def leave_off(self, work: Work) -> None:
        """It is not asked again for now: what came of it says nothing of a node that is fit."""
        if self.fit:
            self._asked.pop(work, None)

    def begin_anew(self) -> None:
        """The node or the database was away as a whole: what is asked counts from now."""
        self._asked = dict.fromkeys(self._asked, self._monotonic())

    def stand_down(self) -> None:
        """The node gives up its slots because it is unfit; to be told as often as one likes."""
        self._asked.pop(Work.SLOTS, None)  # it asks for no more of them
        if self._stood_down:
            return
        self._stood_down = True
        relapse = self._monotonic() - self._recovered_at < _RELAPSE * self._rest_s
        rest_s = 2 * self._rest_s if relapse else self._bound_s
        self._rest_s = min(rest_s, _REST_MAX * self._bound_s)

    @property
    def _overdue(self) -> bool:
        before = self._monotonic() - self._bound_s
        return any(since <= before for since in self._asked.values())

    def _recover(self) -> None:
        now = self._monotonic()
        if self._overdue:
            self._well_since = None
            return
        if self._well_since is None:
            self._well_since = now
        if not self._stood_down or now - self._well_since >= self._rest_s:
            self.fit, self._stood_down, self._recovered_at = True, False, now
            _log.warning("what is asked for the node's slots is answered again")
