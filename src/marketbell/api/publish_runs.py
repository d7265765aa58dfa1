"""Publishing in runs: plain requests that came in one turn of the loop are checked and kept together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Final, Protocol, TypeAlias

import msgspec

from marketbell.api.answers import Answer, RequestIds
from marketbell.api.message_in import Incoming, incoming
from marketbell.api.plain import PlainRequest
from marketbell.api.publish import RULE, answer_to, mark_of, shows_content
from marketbell.clock import Clock
from marketbell.control.gate import Gate
from marketbell.control.origins import Peer
from marketbell.control.runs import Runs
from marketbell.control.tokens import Principal
from marketbell.delivery.intake import Acceptance
from marketbell.errors import MarketbellError, NotFoundError, StaleError
from marketbell.model import Instant
from marketbell.store.base import Published

_TOGETHER: Final = 256
_TOGETHER_ROWS: Final = 512
_TOGETHER_BYTES: Final = 4_000_000
"""
Messages of one run, their rows with all the deliveries that they may have, and the bytes of their requests.

What waits for the store is bounded run by run, and a run is refused as a whole: so it is a small part of a
transaction, and the many rows of one application's messages take few of another's with them.
"""


class Caller(Protocol):
    """The connection that a request came on, and that waits for its answer."""

    client: Peer
    tasks: set[asyncio.Task[None]]
    """Those that the server waits for when it stops."""

    def answered(self, answer: Answer, request_id: bytes) -> None:
        """Write the answer; never waits and never raises."""


Alone: TypeAlias = Callable[
    [PlainRequest, bytes, Peer, Principal | None], Coroutine[None, None, Answer]
]
"""Answers one request by itself, whatever it takes; with its id and its caller, if that is known."""

Failed: TypeAlias = Callable[[Exception, str, bytes], Answer]
"""The answer to an error, for the application and the request's id."""


class _Ready(msgspec.Struct, frozen=True):
    """A request that is good by what is in memory, and its message."""

    request: PlainRequest
    request_id: bytes
    caller: Caller
    principal: Principal
    given: Incoming
    with_content: bool
    acceptance: Acceptance


class PublishRuns:
    """
    Takes plain requests as they come off their sockets and publishes those of one turn as one.

    One task, one call of the store and one wake-up then do for all of them. A request of which
    memory alone does not say that it is good has a task of its own, and is judged there.
    """

    def __init__(
        self,
        clock: Clock,
        gate: Gate,
        runs: Runs,
        request_ids: RequestIds,
        *,
        alone: Alone,
        failed: Failed,
    ) -> None:
        self._clock = clock
        self._gate = gate
        self._runs = runs
        self._request_ids = request_ids
        self._answer_alone = alone
        self._failed = failed
        self._admitted: Principal | None = None
        """Who may publish, as was found last."""
        self._waiting: list[tuple[PlainRequest, Caller]] = []

    def take(self, request: PlainRequest, caller: Caller) -> None:
        """Have a request answered; from the event loop."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._begin)
        self._waiting.append((request, caller))

    def _begin(self) -> None:
        """Judge what has come in this turn, and publish what is good in runs."""
        waiting, self._waiting = self._waiting, []
        now, real_now = self._clock.now(), self._clock.real_now()
        run: list[_Ready] = []
        rows = size = 0
        for request, caller in waiting:
            ready = self._judged(request, caller, now, real_now)
            if ready is None:
                continue
            more = 1 + len(ready.acceptance.subscribers.endpoints)
            if run and (
                len(run) >= _TOGETHER
                or rows + more > _TOGETHER_ROWS
                or size + len(request.body) > _TOGETHER_BYTES
            ):
                _start(self._publish(run), run[0].caller)
                run, rows, size = [], 0, 0
            run.append(ready)
            rows += more
            size += len(request.body)
        if run:
            _start(self._publish(run), run[0].caller)

    def _judged(
        self, request: PlainRequest, caller: Caller, now: Instant, real_now: Instant
    ) -> _Ready | None:
        """A request that is good by what is in memory; None for one that is answered by itself."""
        request_id = self._request_ids.of(request.headers)
        try:
            principal = self._gate.known_by(request.caller, real_now)
        except Exception as fault:
            caller.answered(self._failed(fault, request.application, request_id), request_id)
            return None
        if principal is not None:
            try:
                ready = self._ready(request, request_id, caller, principal, now)
            except Exception:
                ready = None  # it is judged again by what is so now, and told then
            if ready is not None:
                return ready
        self._alone(request, request_id, caller, principal)
        return None

    def _ready(
        self,
        request: PlainRequest,
        request_id: bytes,
        caller: Caller,
        principal: Principal,
        now: Instant,
    ) -> _Ready | None:
        """The request with its message; None if memory does not say. Raises what refuses it."""
        if principal is not self._admitted:
            RULE.check(principal)
            self._admitted = principal
        given = incoming(request.body)
        if given.application is not None:
            return None
        organization, application = principal.organization, request.application
        mark = mark_of(organization, application, request.headers, request.body)
        acceptance = self._runs.ready(organization, application, given.draft, mark, now)
        if acceptance is None:
            return None
        with_content = not request.query or shows_content(request.query)
        return _Ready(request, request_id, caller, principal, given, with_content, acceptance)

    def _alone(
        self, request: PlainRequest, request_id: bytes, caller: Caller, principal: Principal | None
    ) -> None:
        async def answer() -> None:
            made = await self._answer_alone(request, request_id, caller.client, principal)
            caller.answered(made, request_id)

        _start(answer(), caller)

    async def _publish(self, run: Sequence[_Ready]) -> None:
        try:
            verdicts = await self._runs.publish([ready.acceptance for ready in run])
        except MarketbellError as fault:
            verdicts = [fault] * len(run)
        except Exception as fault:  # told once, with where it comes from
            answer = self._failed(fault, run[0].request.application, run[0].request_id)
            for ready in run:
                ready.caller.answered(answer, ready.request_id)
            return
        for ready, verdict in zip(run, verdicts, strict=True):
            try:
                answered = self._answer(ready, verdict)
            except Exception as fault:  # the others are to have their answers
                answered = self._failed(fault, ready.request.application, ready.request_id)
            if answered is not None:
                ready.caller.answered(answered, ready.request_id)

    def _answer(self, ready: _Ready, verdict: Published | MarketbellError) -> Answer | None:
        """The answer to a verdict; None if the message is published by itself instead."""
        if isinstance(verdict, Published):
            return answer_to(verdict.message, ready.given, with_content=ready.with_content)
        if isinstance(verdict, StaleError | NotFoundError):
            self._alone(ready.request, ready.request_id, ready.caller, ready.principal)
            return None
        return self._failed(verdict, ready.request.application, ready.request_id)


def _start(work: Coroutine[None, None, None], caller: Caller) -> None:
    task = asyncio.get_running_loop().create_task(work)
    caller.tasks.add(task)
    task.add_done_callback(caller.tasks.discard)
