"""The data plane of one node, wired in this process as the server wires it, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, Self

from marketbell import ids, signing
from marketbell.clock import Clock
from marketbell.delivery.addresses import Networks
from marketbell.delivery.dialer import DirectDialer
from marketbell.delivery.dispatcher import Dispatcher
from marketbell.delivery.fairness import Lanes
from marketbell.delivery.http1 import Client
from marketbell.delivery.intake import Acceptance
from marketbell.delivery.janitor import Duties, Janitor
from marketbell.delivery.limits import DispatchLimits
from marketbell.delivery.plan import Planner
from marketbell.delivery.resolver import Resolver
from marketbell.delivery.sender import Sender, SendLimits
from marketbell.delivery.tenure import Owned
from marketbell.dialects.registry import Registry
from marketbell.errors import StaleError
from marketbell.model import (
    Application,
    Attempt,
    DeliveryState,
    Endpoint,
    Instant,
    Message,
    Millis,
    Policy,
)
from marketbell.store.base import (
    ApplicationDraft,
    AttemptFilter,
    EndpointDraft,
    Page,
    Published,
    Repeated,
    Subscribers,
)
from marketbell.store.sealing import Box
from marketbell.store.sqlite import SqliteOptions
from marketbell.store.sqlite_store import SqliteStore
from marketbell.store.written_store import WriterLimits, WrittenStore
from marketbell.testing import FakeClock
from support.eventually import PATIENCE_S
from support.knobs import AS_A_SERVER, DAY, LOOPBACK, Diary, Knobs, Told, trusting

__all__ = ("DAY", "LOOPBACK", "ORGANIZATION", "Diary", "Knobs", "Plane")

ORGANIZATION: Final = "org_tests"

_PASSES = 40
"""Passes of the loop after which what a commit sets off has begun."""


class Plane:
    """
    A store, a client and a dispatcher on the file `folder/marketbell.db`, for `async with`.

    Leaving drains it, so that another one may be opened on the same file.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        knobs: Knobs = AS_A_SERVER,
        *,
        owned: Owned | None = None,
    ) -> None:
        self.path = folder / "marketbell.db"
        self._owned = owned
        self.clock = clock
        self.knobs = knobs
        self.broken_off = 0
        """How many requests the end broke off."""
        self._bell = asyncio.Event()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        knobs, clock = self.knobs, self.clock
        self.told = Told(self._bell.set)
        self._stack.callback(self.told.close)
        self.store = self._open()
        self._stack.push_async_callback(self.store.aclose)
        self.store.statistics.observe = lambda _rows, _seconds: self._bell.set()
        networks = Networks.parse(knobs.networks)
        resolver = Resolver(
            clock=clock, allowed=networks, lookup=self._look_up, ttl_s=knobs.names_ttl_s
        )
        self.client = Client(
            clock=clock,
            resolver=resolver,
            dialer=DirectDialer(trusting(knobs.extra_ca)),
            idle_s=knobs.idle_s,
        )
        self._stack.push_async_callback(self.client.aclose)
        self._stack.callback(resolver.close)
        self.lanes = Lanes(
            knobs.places,
            breaker_failures=knobs.breaker_failures,
            breaker_rest=knobs.breaker_rest,
        )
        self.registry = Registry.load()
        self.dispatcher = Dispatcher(
            self.store,
            sender=Sender(
                self.client,
                clock,
                SendLimits(
                    resolve_s=1.0,
                    connect_s=2.0,
                    first_byte_s=15.0,
                    header_bytes=32_000,
                    reply_bytes=20_000,
                ),
            ),
            planner=Planner(
                self.registry,
                timeout=knobs.timeout,
                timeout_max=knobs.timeout_max or max(knobs.timeout, knobs.lease // 2),
                max_in_flight=knobs.max_in_flight,
                networks=networks,
            ),
            lanes=self.lanes,
            clock=clock,
            witness=self.told,
            owned=self._owned,
            limits=DispatchLimits(
                lease=knobs.lease, retry_after_max=knobs.retry_after_max, look=knobs.look
            ),
        )
        self.store.on_change(self.dispatcher.forget)
        self.dispatcher.start()
        self._stack.push_async_callback(self._drain)
        self.janitor = Janitor(
            self.store,
            self.told,
            clock,
            Duties(
                ages=knobs.ages,
                interval_s=1.0,
                rows=500,
                auto_disable_after=knobs.auto_disable_after,
            ),
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    def _open(self) -> WrittenStore:
        knobs = self.knobs
        return SqliteStore(
            SqliteOptions(
                path=self.path, busy_ms=knobs.busy_ms, payload_retention=knobs.ages.payloads
            ),
            Box([bytes(32)]),
            self.clock,
            WriterLimits(wait_s=knobs.wait_s),
        )

    async def _drain(self) -> None:
        self.broken_off = await self.dispatcher.drain(5.0)

    def _look_up(self, host: str) -> Sequence[str]:
        addresses = self.knobs.names.get(host)
        if addresses is None:
            raise OSError(f"no such host: {host}")
        return addresses

    # -- waiting ------------------------------------------------------------------------

    def ring(self) -> None:
        """Something happened that a condition may depend on."""
        self._bell.set()

    async def until(self, condition: Callable[[], bool], *, limit_s: float = PATIENCE_S) -> None:
        """Wait until the condition holds; it is asked after every attempt and every commit."""
        async with asyncio.timeout(limit_s):
            while True:
                self._bell.clear()
                for _ in range(_PASSES):
                    if condition():
                        return
                    await asyncio.sleep(0)
                await self._bell.wait()

    async def settled(self, *, limit_s: float = PATIENCE_S) -> None:
        """Wait until nothing is at work, so that only time can bring more."""
        quiet = 0

        def idle() -> bool:
            nonlocal quiet
            quiet = quiet + 1 if self.dispatcher.idle else 0
            return quiet > _PASSES // 2

        await self.until(idle, limit_s=limit_s)

    async def go_to(self, instant: Instant, *, limit_s: float = PATIENCE_S) -> None:
        """Turn the FakeClock to an instant, from one due time to the next."""
        assert isinstance(self.clock, FakeClock)
        await self.clock.run_until(instant, lambda: self.dispatcher.idle, limit_s=limit_s)

    async def pass_time(self, time: Millis, *, limit_s: float = PATIENCE_S) -> None:
        """Let so much time pass on the FakeClock, from one due time to the next."""
        await self.go_to(self.clock.now() + time, limit_s=limit_s)

    # -- what there is ------------------------------------------------------------------

    async def application(
        self, policy: Policy | None = None, *, throttle_rate: int | None = None
    ) -> Application:
        """A new application."""
        made = await self.store.create_application(
            ORGANIZATION,
            ApplicationDraft(name="Shop", policy=policy or Policy(), throttle_rate=throttle_rate),
            now=self.clock.now(),
        )
        assert not isinstance(made, Repeated)
        return made

    async def change_application(self, application: Application, **changes: Any) -> Application:
        """The application with these fields changed."""
        fields = {name: getattr(application, name) for name in ApplicationDraft.__struct_fields__}
        return await self.store.update_application(
            ORGANIZATION,
            application.public_id,
            ApplicationDraft(**{**fields, **changes}),
            now=self.clock.now(),
        )

    async def endpoint(self, application: Application, url: str, **draft: Any) -> Endpoint:
        """A new endpoint with a secret of its own; `draft` are fields of EndpointDraft."""
        draft.setdefault("secret", signing.new_secret())
        made = await self.store.create_endpoint(
            application.id,
            EndpointDraft(url=url, **draft),
            now=self.clock.now(),
            endpoints_max=1_000_000,
        )
        assert not isinstance(made, Repeated)
        return made

    async def change(self, endpoint: Endpoint, **changes: Any) -> Endpoint:
        """The endpoint with these fields changed, as an update of it does."""
        present = await self.store.endpoint(endpoint.application_id, endpoint.public_id)
        fields = {
            name: getattr(present, name)
            for name in EndpointDraft.__struct_fields__
            if name != "secret"
        }
        return await self.store.update_endpoint(
            endpoint.application_id,
            endpoint.public_id,
            EndpointDraft(**{**fields, **changes}),
            now=self.clock.now(),
        )

    async def delete(self, endpoint: Endpoint) -> None:
        """Delete an endpoint."""
        await self.store.delete_endpoint(
            endpoint.application_id, endpoint.public_id, now=self.clock.now()
        )

    async def publish(
        self,
        application: Application,
        payload: bytes = b'{"n":1}',
        *,
        event_type: str = "thing.happened",
        channels: tuple[str, ...] = (),
        after: Millis = 0,
    ) -> Message:
        """A message that is on disk; `after` puts its deliveries off. Raises its verdict if it has one."""
        while True:
            subscribers = await self.store.subscribers(ORGANIZATION, application.public_id)
            acceptance = self.acceptance(
                subscribers, payload, event_type=event_type, channels=channels, after=after
            )
            (verdict,) = await self.dispatcher.accept([acceptance])
            if isinstance(verdict, Published):
                return verdict.message
            if not isinstance(verdict, StaleError):
                raise verdict

    def acceptance(
        self,
        subscribers: Subscribers,
        payload: bytes,
        *,
        event_type: str = "thing.happened",
        channels: tuple[str, ...] = (),
        after: Millis = 0,
    ) -> Acceptance:
        """A message as a publisher hands it over, made now."""
        now = self.clock.now()
        return Acceptance(
            message=Message(
                id=0,
                public_id=ids.new_id(ids.MESSAGE, now),
                application_id=subscribers.application.id,
                event_type=event_type,
                event_id=None,
                payload=payload,
                channels=channels,
                occurred_at=now,
                created_at=now,
                payload_expires_at=now + self.knobs.ages.payloads,
            ),
            subscribers=subscribers,
            due_at=now + after,
        )

    async def resend(self, message: Message, endpoint: Endpoint) -> None:
        """Ask for a resend, as a person does."""
        await self.store.resend(
            message.application_id, message.public_id, endpoint.public_id, now=self.clock.now()
        )
        self.dispatcher.wake()

    # -- what was recorded --------------------------------------------------------------

    async def attempts(
        self, of: Message | Endpoint, *, endpoint: Endpoint | None = None
    ) -> list[Attempt]:
        """The attempts on record of a message (at one endpoint) or of an endpoint, oldest first."""
        if isinstance(of, Message):
            which = AttemptFilter(
                message_id=of.id, endpoint_id=None if endpoint is None else endpoint.id
            )
        else:
            which = AttemptFilter(endpoint_id=of.id)
        found: list[Attempt] = []
        after: str | None = None
        while True:
            part = await self.store.attempts(
                of.application_id, which, Page(limit=1_000, after=after)
            )
            found += [row.attempt for row in part.data]
            if part.done:
                return found[::-1]
            after = found[-1].public_id

    async def state(self, message: Message, endpoint: Endpoint) -> DeliveryState | None:
        """Where a delivery stands; None if there is none."""
        states = await self.store.delivery_states(message.id)
        return states.get(endpoint.public_id)

    async def states(
        self, messages: Sequence[Message], endpoint: Endpoint
    ) -> set[DeliveryState | None]:
        """Where deliveries of several messages stand."""
        return {await self.state(message, endpoint) for message in messages}
