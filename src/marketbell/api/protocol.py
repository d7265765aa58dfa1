"""The one hot request, answered ahead of ASGI; every other one is uvicorn's."""

from __future__ import annotations

from typing import Any

from marketbell.api.answers import Answer
from marketbell.api.clients import BoundedProtocol
from marketbell.api.plain import PlainRequests


class PublishProtocol(BoundedProtocol):
    """
    The bounded protocol with a short way for publishing one message.

    A request on the short way costs a quarter of one through ASGI. While it is answered, what
    else comes on its connection waits, as uvicorn lets pipelined requests wait.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:  # uvicorn's own, handed on
        super().__init__(*arguments, **named)
        self._plain = PlainRequests(self.app.limits.head_bytes)
        self._body_max = self.app.body_max
        self._answering = False
        self._last = False
        self._held: list[bytes] = []
        self._idle_since: float | None = None
        """When the last answer on the short way was written, if nothing has come since."""

    def data_received(self, data: bytes) -> None:
        """Take the short way, or uvicorn's."""
        if self._answering:
            self._held.append(data)
            self.flow.pause_reading()
            return
        self._idle_since = None
        if not self._within and (self.cycle is None or self.cycle.response_complete):
            request = self._plain.read(data)
            if request is not None and len(request.body) <= self._body_max:
                if self.timeout_keep_alive_task is not None:
                    self._unset_keepalive_if_required()
                self._waits_since = None
                self._answering = True
                self.app.runs.take(request, self)
                return
        super().data_received(data)

    def cut_if_late(self, now: float) -> None:
        """End the connection of a client that takes too long, or has been idle for too long."""
        if self._idle_since is not None and now - self._idle_since > self.timeout_keep_alive:
            self.transport.close()
        else:
            super().cut_if_late(now)

    def shutdown(self) -> None:
        """Let the request under way be answered, then close."""
        if self._answering:
            self._last = True
        else:
            super().shutdown()

    def answered(self, answer: Answer, request_id: bytes) -> None:
        """Write the answer to the request under way, and go on with what has come since."""
        if self.flow.write_paused:  # who does not read its answers is not read from either
            task = self.loop.create_task(self._answer_later(answer, request_id))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            return
        self._answering = False
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.transport.write(self.written(answer, request_id, last=self._last))
        if self._last:
            self.transport.close()
            return
        self._idle_since = self.loop.time()
        if self._held:
            held = b"".join(self._held)
            self._held.clear()
            self.flow.resume_reading()
            self.data_received(held)

    async def _answer_later(self, answer: Answer, request_id: bytes) -> None:
        await self.flow.drain()
        self.answered(answer, request_id)
