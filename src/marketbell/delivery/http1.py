"""
The data plane's HTTP client: one bounded POST to a checked address, and what came of it.

A receiver may do whatever it likes: answer never, byte by byte, without end, with garbage, in the
middle of the request. Each of these is an Exchange with a reason, within the limits. Redirects
are not followed and no request is ever sent twice on its own.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

from marketbell.clock import Clock
from marketbell.delivery import reasons
from marketbell.delivery.connection import Connection
from marketbell.delivery.dialer import Dialer
from marketbell.delivery.exchange import Exchange, Kind, Limits
from marketbell.delivery.flight import Flight, Key, Way
from marketbell.delivery.netguard import Target
from marketbell.delivery.pool import IdleConnections
from marketbell.delivery.resolver import Resolved, Resolver
from marketbell.delivery.wire import bad_header, request_head
from marketbell.dialects.base import Request
from marketbell.errors import ReceiverError

__all__ = ("Client", "Exchange", "Flight", "Kind", "Limits")

_TRIED: Final = 4
"""How many of a name's addresses one exchange tries to connect to."""
_IDLE_SWEEP_S: Final = 0.5


class _Told(Flight):
    """A flight that tells one callable what came of it."""

    __slots__ = ("_done",)

    def __init__(
        self, way: Way, now: float, done: Callable[[Exchange], None], *, fresh: bool
    ) -> None:
        super().__init__(way, now, fresh=fresh)
        self._done = done

    def landed(self, exchange: Exchange) -> None:
        """See Flight.landed."""
        self._done(exchange)


class Client:
    """
    Sends POST requests and keeps connections, all within the loop that it is made in.

    The number of requests under way is the caller's to bound; each takes one socket. Of kept
    connections there are at most `max_idle`, each idle for `idle_s` or for as long as its
    server says. Time limits are looked at every `sweep_s` seconds, so an exchange ends up to
    that much after its limit and never before it.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        resolver: Resolver,
        dialer: Dialer,
        max_idle: int = 1_024,
        idle_s: float = 1.5,
        sweep_s: float = 0.05,
    ) -> None:
        self.now = clock.monotonic
        self._resolver = resolver
        self._dialer = dialer
        self._idle = IdleConnections(most=max_idle, idle_s=idle_s)
        self.keep = self._idle.put
        self._sweep_s = sweep_s
        self._idle_sweep_at = 0.0
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._flights: set[Flight] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[Connection] = set()
        self._closed: asyncio.Event | None = None

    @property
    def idle(self) -> int:
        """How many kept connections wait for a request."""
        return len(self._idle)

    @property
    def connections(self) -> int:
        """How many connections are open, those that wait included."""
        return len(self._open)

    def send(
        self,
        target: Target,
        request: Request,
        limits: Limits,
        done: Callable[[Exchange], None],
        *,
        fresh: bool = False,
    ) -> Flight:
        """
        Send one request and call `done` exactly once, from the loop and never within this call.

        With `fresh` it goes over a new connection; use that after Kind.CLOSED. Whatever the
        receiver does, nothing is raised.
        """
        flight = _Told(Way(target, limits), self.now(), done, fresh=fresh)
        head = request_head(target, request.headers, len(request.body))
        if head is None:
            flight.tower = self
            bad = reasons.invalid_header(bad_header(request.headers))
            self._loop.call_soon(self._fail, flight, bad)
            return flight
        flight.head, flight.body = head, request.body
        self.fly(flight)
        return flight

    def fly(self, flight: Flight) -> None:
        """
        Send a flight that has its head and body; it lands exactly once, later, from the loop.

        What holds for `send` holds for it.
        """
        now, way = flight.started, flight.way
        flight.tower = self
        self._flights.add(flight)
        if self._timer is None:
            self._timer = self._loop.call_later(self._sweep_s, self._sweep)
        if now < way.known_until and not flight.fresh:
            for key in way.keys:
                connection = self._idle.take(key, now)
                if connection is not None:
                    connection.begin(flight, now)
                    return
        self._set_out(flight, now)

    def _set_out(self, flight: Flight, now: float) -> None:
        """Begin an exchange that no kept connection is at hand for."""
        target = flight.way.target
        if self._closed is not None:
            self._loop.call_soon(self._fail, flight, reasons.CANCELLED)
            return
        resolved = self._resolver.known(target.host, now)
        if resolved is not None and not resolved.reason:
            self._begin(flight, resolved, now)
        else:
            flight.phase(now + flight.way.limits.resolve_s, reasons.RESOLVE_TIMED_OUT)
            self._resolver.resolve(target.host, lambda answer: self._resolved(flight, answer))

    async def aclose(self) -> None:
        """Give up what is under way and close all: the connections, and the resolver with them."""
        self._closed = asyncio.Event()
        self._idle.close()
        for flight in list(self._flights):
            flight.cancel()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._resolver.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in list(self._open):
            connection.abort()
        while self._open:
            self._closed.clear()
            await self._closed.wait()

    def give_up(self, flight: Flight, reason: str) -> None:
        """See Tower.give_up."""
        if flight.over:
            return
        if flight.connection is not None:
            flight.connection.drop(reason)
            return
        if flight.task is not None:
            flight.task.cancel()
            flight.task = None
        self._fail(flight, reason)

    def _resolved(self, flight: Flight, resolved: Resolved) -> None:
        if flight.over:
            return
        if resolved.reason:
            self._fail(flight, resolved.reason)
        else:
            self._begin(flight, resolved, self.now())

    def _begin(self, flight: Flight, resolved: Resolved, now: float) -> None:
        """Use a kept connection to one of these addresses, or open one."""
        way, target = flight.way, flight.way.target
        way.keys = tuple(
            (target.host, address, target.port, target.tls) for address in resolved.addresses
        )
        way.known_until = resolved.until
        if not flight.fresh:
            for key in way.keys:
                connection = self._idle.take(key, now)
                if connection is not None:
                    connection.begin(flight, now)
                    return
        flight.phase(now + way.limits.connect_s, reasons.CONNECT_TIMED_OUT)
        flight.task = self._loop.create_task(self._connect(flight, way.keys[:_TRIED], now))
        self._tasks.add(flight.task)
        flight.task.add_done_callback(self._tasks.discard)

    async def _connect(self, flight: Flight, keys: tuple[Key, ...], now: float) -> None:
        """
        Try the addresses in order and send over the first connection that stands.

        Not one byte of the request has left before that, so trying another one repeats nothing.
        """
        reason = reasons.CONNECT_FAILED
        for place, key in enumerate(keys, 1):
            flight.late = reasons.CONNECT_TIMED_OUT
            # All but the last get half of what is left; the sweep ends the last one.
            last = place == len(keys)
            share = None if last else (flight.deadline - self.now()) / 2
            try:
                async with asyncio.timeout(share):
                    connection = await self._dial(flight, key)
            except ReceiverError as fault:
                reason = fault.reason
            except (OSError, ValueError) as error:
                begun = flight.late == reasons.TLS_TIMED_OUT
                reason = reasons.tls_cut(error) if begun else reasons.connect_failed(error)
                if isinstance(error, ssl.SSLError):
                    break  # the receiver has spoken; its other addresses would say the same
            else:
                flight.task = None
                self._connected(flight, connection, now)
                return
        flight.task = None
        self._fail(flight, reason)

    async def _dial(self, flight: Flight, key: Key) -> Connection:
        connection = Connection(self, key)

        def connected() -> None:
            flight.late = reasons.TLS_TIMED_OUT

        try:
            await self._dialer.dial(lambda: connection, flight.way.target, key[1], connected)
        except BaseException:
            # uvloop closes a transport whose dialing is cancelled without a word to its protocol.
            connection.connection_lost(None)
            raise
        return connection

    def _connected(self, flight: Flight, connection: Connection, since: float) -> None:
        now = self.now()
        flight.connect = int((now - since) * 1000)
        if connection.open:
            connection.begin(flight, now)
        else:
            self._fail(flight, reasons.CLOSED_BEFORE)

    def _fail(self, flight: Flight, reason: str) -> None:
        """End an exchange that has no connection."""
        if flight.over:
            return
        duration = int((self.now() - flight.started) * 1000)
        self.finish(
            flight, Exchange(Kind.FAILED, reason, duration=duration, connect=flight.connect)
        )

    def _sweep(self) -> None:
        """End what is over its limit; the only timer there is."""
        now = self.now()
        for flight in [each for each in self._flights if each.deadline <= now]:
            self.give_up(flight, flight.late)
        if now >= self._idle_sweep_at:
            self._idle_sweep_at = now + _IDLE_SWEEP_S
            self._idle.close_expired(now)
        busy = self._flights or len(self._idle)
        self._timer = self._loop.call_later(self._sweep_s, self._sweep) if busy else None

    # connection.Owner

    def finish(self, flight: Flight, exchange: Exchange) -> None:
        """Tell what came of it."""
        flight.over = True
        flight.connection = None
        self._flights.discard(flight)
        flight.landed(exchange)

    def opened(self, connection: Connection) -> None:
        """Count a connection that stands."""
        self._open.add(connection)

    def lost(self, connection: Connection) -> None:
        """Forget a connection that is gone."""
        self._open.discard(connection)
        self._idle.forget(connection)
        if self._closed is not None and not self._open:
            self._closed.set()
