"""The one hot request, read off the socket ahead of ASGI; every other one is uvicorn's."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from marketbell.api.clients import BoundedProtocol
from marketbell.api.publish import PREFIX, SUFFIX

_START: Final = b"POST " + PREFIX.encode()
_END: Final = SUFFIX.encode()
_FIRST: Final = len(b"POST ")
_LAST: Final = b" HTTP/1.1\r\n"
_FIELDS: Final = re.compile(
    rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[ \t]*[\x21-\x7e\x80-\xff][\t\x20-\x7e\x80-\xff]*\r\n)+"
)
"""Header lines as RFC 9112 section 5 writes them, none of them empty, folded or odd."""
_LENGTH: Final = re.compile(rb"[0-9]{1,12}")
_TARGET: Final = re.compile(rb"[a-zA-Z0-9\-_./]+")
_NOT_PLAIN: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"origin"})
_KEPT: Final = b"keep-alive"


class PlainRequest(msgspec.Struct, frozen=True, gc=False):
    """A whole POST of one message that came in one piece and has nothing unusual in it."""

    application: str
    headers: dict[bytes, bytes]
    query: bytes
    body: bytes


def plain_request(data: bytes) -> PlainRequest | None:
    """
    The request, if `data` is exactly one and nothing about it can be read in two ways.

    None for all else, which is not judged here: in parts, pipelined, chunked, with an escape in
    its path, a header twice, a hop-by-hop header, or malformed.
    """
    end = data.find(b"\r\n\r\n")
    first = data.find(_LAST)
    if end < 0 or not 0 < first < end or not data.startswith(_START):
        return None
    path, _, query = data[_FIRST:first].partition(b"?")
    application = path[len(PREFIX) : -len(_END)]
    if (
        not path.endswith(_END)
        or not application
        or b"/" in application
        or not _TARGET.fullmatch(path)
        or not _FIELDS.fullmatch(data, first + len(_LAST), end + 2)
    ):
        return None
    lines = data[first + len(_LAST) : end].split(b"\r\n")
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip(b" \t")
    body = data[end + 4 :]
    length = headers.get(b"content-length", b"")
    if (
        len(headers) != len(lines)
        or not _LENGTH.fullmatch(length)
        or int(length) != len(body)
        or b"host" not in headers
        or not _NOT_PLAIN.isdisjoint(headers)
        or headers.get(b"connection", _KEPT).lower() != _KEPT
    ):
        return None
    return PlainRequest(application.decode("ascii"), headers, query, body)


class PublishProtocol(BoundedProtocol):
    """
    The bounded protocol with a short way for publishing one message.

    A request on the short way costs a third of one through ASGI. While it is answered, what else
    comes on its connection waits, as uvicorn lets pipelined requests wait.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:  # uvicorn's own, handed on
        super().__init__(*arguments, **named)
        self._answering = False
        self._last = False
        self._held: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        """Take the short way, or uvicorn's."""
        if self._answering:
            self._held.append(data)
            self.flow.pause_reading()
            return
        if not self._within and (self.cycle is None or self.cycle.response_complete):
            request = plain_request(data)
            if (
                request is not None
                and len(request.body) <= self.app.body_max
                and len(data) - len(request.body) <= self.app.limits.head_bytes
            ):
                self._unset_keepalive_if_required()
                self._waits_since = None
                self._answering = True
                task = self.loop.create_task(self._answer(request))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
                return
        super().data_received(data)

    def shutdown(self) -> None:
        """Let the request under way be answered, then close."""
        if self._answering:
            self._last = True
        else:
            super().shutdown()

    async def _answer(self, request: PlainRequest) -> None:
        answer, request_id = await self.app.publish_plain(
            request.application, request.headers, request.query, request.body, self.client
        )
        if self.flow.write_paused:
            await self.flow.drain()  # who does not read its answers is not read from either
        self._answering = False
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.transport.write(self.written(answer, request_id, last=self._last))
        if self._last:
            self.transport.close()
            return
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )
        if self._held:
            held = b"".join(self._held)
            self._held.clear()
            self.flow.resume_reading()
            self.data_received(held)
