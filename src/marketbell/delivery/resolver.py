"""
Names to checked addresses: one lookup per name at a time, in bounded threads, within a limit.

An answer is judged by the guard every time it is obtained, and callers connect to the very
addresses that were judged. So the cache cannot be used for rebinding: it holds checked addresses.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import queue
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Final, TypeAlias

import msgspec

from marketbell.clock import Clock
from marketbell.delivery import reasons
from marketbell.delivery.addresses import NO_NETWORKS, Networks, judge

Lookup: TypeAlias = Callable[[str], Sequence[str]]
"""Asks for the addresses of a name, blocking, in any thread. Raises OSError where there are none."""

_GAI_REASONS: Final = {
    socket.EAI_NONAME: reasons.RESOLVE_NO_HOST,
    getattr(socket, "EAI_NODATA", socket.EAI_NONAME): reasons.RESOLVE_NO_HOST,
    socket.EAI_AGAIN: reasons.RESOLVE_TEMPORARY,
}


class Resolved(msgspec.Struct, frozen=True, gc=False):
    """What a name came to: addresses that may be called, or the reason why there are none."""

    addresses: tuple[str, ...]
    """In the order in which they are to be tried (RFC 6724); empty with a reason."""
    reason: str
    until: float
    """Until when it may be used, on the clock's monotonic axis."""


def system_lookup(host: str) -> list[str]:
    """The addresses that the system's resolver gives, of both families, in its order."""
    return [
        str(place[0])
        for _, _, _, _, place in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    ]


_RANKS: Final = range(3)
"""Names by their last lookup: answered, never asked or failed, timed out."""


class _Pending:
    """One lookup under way, and who waits for it."""

    __slots__ = ("begun", "host", "late", "rank", "timer", "waiters")

    def __init__(self, host: str, rank: int) -> None:
        self.host = host
        self.rank = rank
        self.begun = False
        self.late = False
        self.timer: asyncio.TimerHandle | None = None
        self.waiters: list[Callable[[Resolved], None]] = []


class Resolver:
    """
    Resolves names and checks the addresses, without ever blocking the loop it is made in.

    A slow name server cannot stop the others: a name has at most one lookup under way; names
    that have not answered before share at most half of the threads, and those of them that
    timed out last time at most a quarter. What finds no thread within `limit_s` fails with
    `resolve: resolver busy`.

    Good answers are kept for `ttl_s`, failures and refusals for `failure_ttl_s`; at most `hosts`
    answers are kept and `waiting` names wait. Times are real seconds.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        allowed: Networks = NO_NETWORKS,
        lookup: Lookup = system_lookup,
        ttl_s: float = 30.0,
        failure_ttl_s: float = 1.0,
        limit_s: float = 5.0,
        threads: int = 32,
        hosts: int = 16_384,
        waiting: int = 1_024,
    ) -> None:
        self._clock = clock
        self._allowed = allowed
        self._lookup = lookup
        self._ttl_s = ttl_s
        self._failure_ttl_s = failure_ttl_s
        self._limit_s = limit_s
        self._threads = max(4, threads)
        self._hosts = hosts
        self._waiting = waiting
        self._loop = asyncio.get_running_loop()
        self._answers: dict[str, Resolved] = {}
        self._pending: dict[str, _Pending] = {}
        self._queues: tuple[deque[_Pending], ...] = tuple(deque() for _ in _RANKS)
        self._busy = [0 for _ in _RANKS]
        self._started = 0
        self._work: queue.SimpleQueue[_Pending | None] = queue.SimpleQueue()
        self._closed = False

    def known(self, host: str, now: float) -> Resolved | None:
        """The answer if it needs no waiting: a kept one, or that of a literal address."""
        answer = self._answers.get(host)
        if answer is not None and now < answer.until:
            return answer
        if host[-1].isdigit() or ":" in host:
            with contextlib.suppress(ValueError):
                return self._keep(host, [str(ip_address(host))], math.inf)
        return None

    def resolve(self, host: str, done: Callable[[Resolved], None]) -> None:
        """Call `done` once with the answer, from the loop and never within this call."""
        answer = self.known(host, self._clock.monotonic())
        pending = self._pending.get(host)
        if answer is not None:
            self._loop.call_soon(done, answer)
        elif pending is not None and not pending.late:
            pending.waiters.append(done)
        elif pending is not None or self._full or self._closed:
            self._loop.call_soon(done, self._failure(reasons.RESOLVE_BUSY))
        else:
            self._ask(host, done)

    def close(self) -> None:
        """Let the threads go; those that hang in a lookup end with it or with the process."""
        self._closed = True
        for pending in list(self._pending.values()):
            self._give_up(pending)
        for _ in range(self._started):
            self._work.put(None)
        self._started = 0

    @property
    def _full(self) -> bool:
        return sum(map(len, self._queues)) >= self._waiting

    def _ask(self, host: str, done: Callable[[Resolved], None]) -> None:
        last = self._answers.get(host)
        late = last is not None and last.reason == reasons.RESOLVE_TIMED_OUT
        pending = _Pending(host, 2 if late else 0 if last is not None and not last.reason else 1)
        pending.waiters.append(done)
        pending.timer = self._loop.call_later(self._limit_s, self._give_up, pending)
        self._pending[host] = pending
        self._queues[pending.rank].append(pending)
        self._start()

    def _start(self) -> None:
        """Hand lookups to threads: each rank, with those below it, has half of the rank above."""
        for rank in _RANKS:
            waiting = self._queues[rank]
            while waiting and sum(self._busy[rank:]) < self._threads >> rank:
                if sum(self._busy) == self._threads:
                    return
                self._hand_over(waiting.popleft())

    def _hand_over(self, pending: _Pending) -> None:
        self._busy[pending.rank] += 1
        pending.begun = True
        self._work.put(pending)
        if self._started < sum(self._busy):
            self._started += 1
            # Not an executor: its threads would hold up the end of the process.
            threading.Thread(target=self._run, name="resolver", daemon=True).start()

    def _run(self) -> None:
        while (pending := self._work.get()) is not None:
            answer: Sequence[str] | Exception
            try:
                answer = self._lookup(pending.host)
            except Exception as error:
                answer = error
            try:
                self._loop.call_soon_threadsafe(self._answered, pending, answer)
            except RuntimeError:
                return  # the loop has gone, and nobody waits any more

    def _answered(self, pending: _Pending, answer: Sequence[str] | Exception) -> None:
        self._busy[pending.rank] -= 1
        del self._pending[pending.host]
        if isinstance(answer, Exception):
            number = answer.errno if isinstance(answer, socket.gaierror) else None
            reason = _GAI_REASONS.get(number or 0, reasons.RESOLVE_FAILED)
            # That it was late tells more about the next time than what it said in the end.
            reason = reasons.RESOLVE_TIMED_OUT if pending.late else reason
            resolved = self._put(pending.host, self._failure(reason))
        else:
            resolved = self._keep(pending.host, answer, self._clock.monotonic() + self._ttl_s)
        if not pending.late:
            self._tell(pending, resolved)
        self._start()

    def _give_up(self, pending: _Pending) -> None:
        """Its time is over: whoever waits is told so; a thread that hangs in it still counts."""
        if pending.late:
            return
        pending.late = True
        if pending.begun:
            late = self._failure(reasons.RESOLVE_TIMED_OUT)
            self._tell(pending, self._put(pending.host, late))
        else:
            self._queues[pending.rank].remove(pending)
            del self._pending[pending.host]
            self._tell(pending, self._failure(reasons.RESOLVE_BUSY))

    def _tell(self, pending: _Pending, resolved: Resolved) -> None:
        if pending.timer is not None:
            pending.timer.cancel()
        for done in pending.waiters:
            self._loop.call_soon(done, resolved)
        pending.waiters.clear()

    def _keep(self, host: str, texts: Sequence[str], until: float) -> Resolved:
        """Judge an answer and keep the verdict."""
        try:
            why = judge([ip_address(text) for text in texts], self._allowed)
        except ValueError:
            return self._put(host, self._failure(reasons.RESOLVE_FAILED))
        if why is not None:
            return self._put(host, self._failure(reasons.refused_address(why)))
        if not texts:
            return self._put(host, self._failure(reasons.RESOLVE_NO_ADDRESS))
        return self._put(host, Resolved(tuple(dict.fromkeys(texts)), "", until))

    def _failure(self, reason: str) -> Resolved:
        return Resolved((), reason, self._clock.monotonic() + self._failure_ttl_s)

    def _put(self, host: str, resolved: Resolved) -> Resolved:
        self._answers.pop(host, None)
        if len(self._answers) >= self._hosts:
            del self._answers[next(iter(self._answers))]
        self._answers[host] = resolved
        return resolved
