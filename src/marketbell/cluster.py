"""A node among those that share its database: what it tells them, takes from them and hears."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Collection
from typing import Final

import marketbell
from marketbell.clock import Clock, ClusterClock, SystemClock
from marketbell.delivery.claims import Claims
from marketbell.delivery.dispatcher import Dispatcher
from marketbell.delivery.fitness import Fitness, Work
from marketbell.delivery.hints import Hints, read
from marketbell.delivery.lookout import Lookout
from marketbell.delivery.membership import Membership, Terms
from marketbell.delivery.tenure import Tenure
from marketbell.errors import StoreError
from marketbell.observe import Observer
from marketbell.settings import Settings
from marketbell.store.base import AccessChange, Change
from marketbell.store.nodes import PostgresNodes
from marketbell.store.nodes_plane import NodeDraft, Nodes, Registered
from marketbell.store.opening import AnyStore, postgres_options
from marketbell.store.postgresql_store import PostgresStore
from marketbell.store.sole_node import SoleNode

_LEADS: Final = 0
"""Whoever has this slot keeps house for all."""
_SAMPLES: Final = 3


class Cluster:
    """
    A node that has joined, and what it needs of the others.

    On SQLite there are no others: it owns all slots and tells nobody anything.
    """

    def __init__(
        self, settings: Settings, clock: Clock, nodes: Nodes, draft: NodeDraft, made: Registered
    ) -> None:
        self.clock = clock
        """What the node goes by: the database's clock, where nodes share one."""
        self.number = made.number
        self.tenure = Tenure.sole()
        self._settings = settings
        self._nodes = nodes
        self._draft = draft
        self._made = made
        self._real = clock if isinstance(clock, ClusterClock) else SystemClock()
        if not nodes.alone:
            # One statement may take long; only what fails beyond that says something of the node.
            bound = max(settings.node_lease, settings.db_statement_timeout)
            fitness = Fitness(self._real.monotonic, bound / 1000)
            self.tenure = Tenure(self._real.monotonic, made.id, fitness)
        self.hints = Hints(nodes.tell, lambda: self.node_id)
        self._membership: Membership | None = None
        self._lookout: Lookout | None = None
        self._hearing = False

    @classmethod
    async def join(cls, settings: Settings, clock: Clock) -> Cluster:
        """
        Take part from now on; slots come once it is started. UnavailableError.

        A clock that is the machine's is replaced by the database's.
        """
        draft = NodeDraft(
            name=settings.node_name or f"{socket.gethostname()}:{os.getpid()}",
            role=settings.role,
            version=marketbell.__version__,
            lease=settings.node_lease,
        )
        if not settings.on_postgresql:
            sole = SoleNode(clock)
            return cls(settings, clock, sole, draft, await sole.register(draft))
        nodes = PostgresNodes(postgres_options(settings, direct=True), lease=settings.node_lease)
        try:
            skew = 0
            if isinstance(clock, SystemClock):
                clock = own = ClusterClock(clock)
                for _ in range(_SAMPLES):
                    sent_s = own.monotonic()
                    own.sync(await nodes.time(), sent_s, own.monotonic())
                skew = own.skew
            return cls(settings, clock, nodes, draft, await nodes.register(draft, skew=skew))
        except BaseException:
            await nodes.aclose()
            raise

    @property
    def node_id(self) -> int:
        """Of this node, as the others see it."""
        return self._made.id if self._membership is None else self._membership.node_id

    @property
    def alone(self) -> bool:
        """Whether there can be no other node."""
        return self._nodes.alone

    @property
    def leads(self) -> bool:
        """Whether this node keeps house for all: retention, figures, what operators are told."""
        return _LEADS in self.tenure.slots

    async def start(self, store: AnyStore, dispatcher: Dispatcher, observer: Observer) -> None:
        """Begin to give signs of life, to take slots, and to tell and to hear."""
        own = self.clock
        observer.gauge("marketbell_nodes", lambda: self._alive)
        observer.gauge("marketbell_slots_owned", lambda: len(self.tenure.slots))
        observer.gauge("marketbell_node_unfit", lambda: not self.tenure.fitness.fit)
        observer.gauge("marketbell_clock_skew_seconds", lambda: self._skew() / 1000)
        if not isinstance(store, PostgresStore):
            return
        settings = self._settings
        self._membership = Membership(
            self._nodes,
            self._draft,
            self._made,
            tenure=self.tenure,
            serving=dispatcher.handover,
            terms=Terms(
                lease=settings.node_lease,
                heartbeat=settings.node_heartbeat,
                claim_lease=settings.lease,
            ),
            monotonic=self._real.monotonic,
            lose_claims=lambda slots: self._lose_claims(store, slots, observer),
            skew=self._skew,
            on_time=own.sync if isinstance(own, ClusterClock) else None,
            on_number=store.renumber,
            on_freed=self.hints.nodes,
        )
        claims = dispatcher.claims
        self._lookout = Lookout(
            poll=settings.node_poll, told=lambda: self._nodes.told, look=claims.poll
        )
        self._nodes.on_told(lambda text: self._heard(store, claims, text))
        store.on_change(self._tell_change)
        store.on_access_change(self._tell_access)
        await self._membership.start()
        self._lookout.start()
        self.hints.start()

    def leave(self) -> None:
        """Begin to give up all slots."""
        if self._membership is not None:
            self._membership.leave()

    async def stop(self) -> None:
        """End what was started; slots and the node's own row are given back at once."""
        if self._lookout is not None:
            await self._lookout.stop()
        if self._membership is not None:
            await self._membership.stop()
            await self.hints.stop()

    async def aclose(self) -> None:
        """Let go of the database; to be called after `stop`."""
        if self._membership is None:  # it never came to start
            with contextlib.suppress(StoreError):
                await self._nodes.leave(self._made.id)
        await self._nodes.aclose()

    # -- within -------------------------------------------------------------------------

    @property
    def _alive(self) -> int:
        return 1 if self._membership is None else len(self._membership.alive)

    async def _lose_claims(
        self, store: PostgresStore, slots: Collection[int], observer: Observer
    ) -> int:
        lost_max = self._settings.lost_claims_max
        with self.tenure.fitness.asking(Work.SLOTS):
            lost = await store.lose_claims(slots, now=self.clock.now(), lost_max=lost_max)
        observer.lost_claims(lost)
        return lost

    def _skew(self) -> int:
        return self.clock.skew if isinstance(self.clock, ClusterClock) else 0

    def _tell_change(self, change: Change) -> None:
        if not self._hearing:
            self.hints.changed(change)

    def _tell_access(self, change: AccessChange) -> None:
        if not self._hearing:
            self.hints.access(change.organization)

    def _heard(self, store: PostgresStore, claims: Claims, text: str) -> None:
        """What a node has told; an empty text says that something was missed."""
        hint = read(text) if text else None
        if self._membership is None:
            return
        if hint is None:
            claims.expect(self.clock.now())
            self._membership.ring()
            return
        if hint.node == self.node_id:
            return
        if hint.any_due or not self.tenure.slots.isdisjoint(hint.due):
            claims.expect(self.clock.now())
        if hint.nodes:
            self._membership.ring()
        self._hearing = True
        try:
            store.hear(
                [
                    *(Change(application, endpoint) for application, endpoint in hint.changed),
                    *(AccessChange(organization) for organization in hint.access),
                ]
            )
        finally:
            self._hearing = False
