"""Kept connections that wait for their next request: last in, first out, bounded in all."""

from __future__ import annotations

from typing import Final

from marketbell.delivery.connection import Connection, Key

_LOOK_AFTER_S: Final = 0.01
"""A connection idle for longer is looked at before reuse; a shorter gap is not worth the call."""
_MARGIN_S: Final = 1.0
"""By how much less than the server's own Keep-Alive time a connection is kept."""
_LONGEST_S: Final = 60.0


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
        if connection.server_idle_s is not None:
            promised = connection.server_idle_s
            limit = min(max(promised - _MARGIN_S, promised / 2), _LONGEST_S)
        if limit <= 0 or self._most <= 0:
            connection.close()
            return
        if len(self._all) >= self._most:
            oldest = next(iter(self._all))
            self.forget(oldest)
            oldest.close()
        connection.idle_since = now
        connection.idle_until = now + limit
        self._all[connection] = None
        stack = self._stacks.get(connection.key)
        if stack is None:
            self._stacks[connection.key] = [connection]
        else:
            stack.append(connection)

    def take(self, key: Key, now: float) -> Connection | None:
        """The connection to this place that was used last, if it is still good."""
        while (stack := self._stacks.get(key)) is not None:
            connection = stack.pop()
            if not stack:
                del self._stacks[key]
            del self._all[connection]
            if now < connection.idle_until and connection.open:
                fresh = now - connection.idle_since < _LOOK_AFTER_S
                if fresh or not connection.stale():
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

    def close_all(self) -> None:
        """Close every one."""
        connections = list(self._all)
        self._all.clear()
        self._stacks.clear()
        for connection in connections:
            connection.close()
