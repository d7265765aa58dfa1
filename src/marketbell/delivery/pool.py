"""Kept connections that wait for their next request: last in, first out, bounded in all."""

from __future__ import annotations

import select
from typing import Final

from marketbell.delivery.connection import Connection
from marketbell.delivery.flight import Key

_LOOK_AFTER_S: Final = 0.01
"""
A connection idle for longer is looked at before reuse: the loop may have been held up meanwhile, and
what came unasked would be taken for the next answer.
"""
_MARGIN_S: Final = 1.0
"""By how much less than the server's own Keep-Alive time a connection is kept."""
_LONGEST_S: Final = 60.0
_GONE: Final = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)


class IdleConnections:
    """
    Open connections without an exchange.

    One is kept for `idle_s` seconds, or as its server's `Keep-Alive: timeout=` says, less a
    margin: who reuses it at the last moment meets the server's close. Of more than `most` the
    one that has been idle longest is closed.
    """

    def __init__(self, *, most: int, idle_s: float) -> None:
        self._most = most
        self._idle_s = idle_s
        self._stacks: dict[Key, list[Connection]] = {}
        self._all: dict[Connection, None] = {}
        """In the order of their becoming idle."""

    def __len__(self) -> int:
        return len(self._all)

    def put(self, connection: Connection, now: float) -> None:
        """Keep an open connection, or close it if nothing is to be kept."""
        limit = self._idle_s
        promised = connection.server_idle_s
        if promised is not None:
            limit = min(max(promised - _MARGIN_S, promised / 2), _LONGEST_S)
        if limit <= 0 or self._most <= 0:
            connection.close()
            return
        kept = self._all
        if len(kept) >= self._most:
            oldest = next(iter(kept))
            self.forget(oldest)
            oldest.close()
        connection.idle_since = now
        connection.idle_until = now + limit
        kept[connection] = None
        stack = self._stacks.get(connection.key)
        if stack is None:
            self._stacks[connection.key] = [connection]
        else:
            stack.append(connection)

    def take(self, key: Key, now: float) -> Connection | None:
        """The connection to this place that was used last, if it is still good."""
        stacks = self._stacks
        while (stack := stacks.get(key)) is not None:
            connection = stack.pop()
            if not stack:
                del stacks[key]
            del self._all[connection]
            if now < connection.idle_until:
                transport = connection.transport
                # As `Connection.open`, which would be a call of ours for each request.
                if transport is not None and not transport.is_closing():
                    fresh = now - connection.idle_since < _LOOK_AFTER_S
                    if fresh or not _stale(connection):
                        return connection
            connection.close()
        return None

    def forget(self, connection: Connection) -> None:
        """It is gone, or is to be closed; nothing happens if it is not here."""
        if self._all.pop(connection, connection) is connection:
            return
        stack = self._stacks[connection.key]
        stack.remove(connection)
        if not stack:
            del self._stacks[connection.key]

    def close_expired(self, now: float) -> None:
        """Close those that have been idle for as long as they may."""
        for connection in [each for each in self._all if each.idle_until <= now]:
            self.forget(connection)
            connection.close()

    def close(self) -> None:
        """Keep none from now on; those that were kept are the caller's to close."""
        self._most = 0
        self._all.clear()
        self._stacks.clear()


def _stale(connection: Connection) -> bool:
    """
    Whether the receiver has closed it, or has sent something unasked, while it was idle.

    Looks at the socket itself, since the loop may not have come to it yet.
    """
    look = connection.look
    if look is None:
        poll = select.poll()
        # Over TLS what can be read may be a session ticket, so only an end of the stream counts.
        poll.register(connection.fileno, _GONE if connection.key[3] else _GONE | select.POLLIN)
        look = connection.look = poll.poll
    return bool(look(0))
