"""Uvicorn's protocol within bounds: connections, heads, slow senders and slow readers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from marketbell.api.answers import Answer, head_of
from marketbell.errors import (
    HeadTooLargeError,
    MalformedError,
    MarketbellError,
    OverloadedError,
    TooSlowError,
)

_BODY_MORE_S: Final = 10.0
"""How much longer than its time a body is waited for, so that the API can answer 408 itself."""


_STARTS: Final[dict[int, tuple[list[tuple[bytes, bytes]], bytes]]] = {}
"""What answers of each status begin with, and the headers that it was made of."""


class BoundedProtocol(HttpToolsProtocol):
    """
    One client's connection.

    Nothing here runs a timer: who is late is found by `cut_late`, which is called now and then
    for all connections.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:  # uvicorn's own, handed on
        super().__init__(*arguments, **named)
        self._within = False
        """Whether the parser is inside of a message."""
        self._in_head = False
        """Whether it is inside of a message's head."""
        self._head_bytes = 0
        self._between_bytes = 0
        """What came of a body since its last byte: sizes of chunks, their extensions, trailers."""
        self._waits_since: float | None = None
        """When the head or the body that is still coming began."""
        self._unread_since: float | None = None
        """Since when the client has not read what was written."""
        self._refused = False

    def connection_made(self, transport: Any) -> None:
        """Take the connection, or answer 503 if there are too many."""
        super().connection_made(transport)
        self._waits_since = self.loop.time()
        if len(self.connections) > self.app.limits.connections:
            self._refuse(OverloadedError("Too many connections are open; try again later."))

    def data_received(self, data: bytes) -> None:
        """Parse it; refuse a head that grows beyond the limit."""
        if self._refused:
            return
        if self._waits_since is None and not self._within:
            self._waits_since = self.loop.time()
        in_head = self._in_head
        self._between_bytes += len(data)
        super().data_received(data)
        if self._within and not self._in_head:
            if self._between_bytes > self.app.limits.head_bytes:
                self._cut_body()
        elif self._in_head and in_head:
            # What came before in the chunk that began it is counted when the head is whole.
            self._head_bytes += len(data)
            if self._head_bytes > self.app.limits.head_bytes:
                self._refuse_head()

    def on_message_begin(self) -> None:
        """The parser has seen the first byte of a message."""
        self._within = self._in_head = True
        self._head_bytes = 0
        if self._waits_since is None:
            self._waits_since = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The parser has seen a whole head."""
        self._in_head = False
        self._between_bytes = 0
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.app.limits.head_bytes:
            self._refuse_head()
        if self._refused:
            return
        self._waits_since = self.loop.time()
        super().on_headers_complete()

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser has seen a header; a trailer is none (RFC 9110, section 6.5.1) and is dropped."""
        if self._in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """The parser has seen a part of a body."""
        self._between_bytes = 0
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The parser has seen the last byte of a message."""
        self._within = False
        self._waits_since = None
        if not self._refused:
            super().on_message_complete()

    def pause_writing(self) -> None:
        """The client does not read its answers."""
        self._unread_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """It reads again."""
        self._unread_since = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP as every error is answered."""
        if not self._refused:
            self._refuse(MalformedError(("request",), msg))

    def cut_if_late(self, now: float) -> None:
        """End the connection of a client that takes too long."""
        limit = self.app.limits.request_s
        if self._unread_since is not None and now - self._unread_since > limit:
            self.transport.abort()
        elif self._waits_since is None or self.transport.is_closing():
            return
        elif self._within and not self._in_head:
            if now - self._waits_since > limit + _BODY_MORE_S:
                self.transport.close()
        elif now - self._waits_since > limit:
            if self._within:
                self._refuse(
                    TooSlowError(
                        ("request",), f"The request did not come whole within {limit:g} seconds."
                    )
                )
            else:
                self.transport.close()

    def written(self, answer: Answer, request_id: bytes, *, last: bool) -> bytes:
        """An answer as bytes, the last of its connection or not."""
        headers = self.server_state.default_headers
        start = _STARTS.get(answer.status)
        if start is None or start[0] is not headers:  # uvicorn makes the list anew with each date
            start = _STARTS[answer.status] = (headers, _start(answer.status, headers))
        head = head_of(answer, request_id)
        end = b"connection: close\r\n\r\n" if last else b"\r\n"
        return b"%b%b%b%b%b" % (start[1], head, self.app.always, end, answer.body)

    def _refuse_head(self) -> None:
        limit = self.app.limits.head_bytes
        self._refuse(
            HeadTooLargeError(
                ("request",), f"The request line and headers are larger than {limit} bytes."
            )
        )

    def _cut_body(self) -> None:
        """End a request with more around its body than a head may have; answered if it was not yet."""
        if self.cycle is None or self.cycle.response_started:
            self.transport.close()
        else:
            self._refuse_head()

    def _refuse(self, fault: MarketbellError) -> None:
        """Answer ahead of the API and close; what else comes is not looked at."""
        if self._refused:
            return
        self._refused = True
        answer, request_id = self.app.refusal(fault)
        closes = (b"connection", b"close") in answer.headers
        self.transport.write(self.written(answer, request_id, last=not closes))
        self.transport.close()


def _start(status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
    """The status line and the headers that all answers of this second have."""
    lines = [STATUS_LINE[status]]
    for name, value in headers:
        lines += (name, b": ", value, b"\r\n")
    return b"".join(lines)


def cut_late(connections: Iterable[object], now: float) -> None:
    """End the connections of all clients that take too long at this instant of the loop's clock."""
    for connection in list(connections):
        cast("BoundedProtocol", connection).cut_if_late(now)
