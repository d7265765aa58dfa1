"""A node among others: it gives signs of life, takes its share of the slots, and gives it up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, Protocol

import msgspec

from marketbell.delivery.fitness import Work
from marketbell.delivery.slots import in_vain, to_give, to_serve, to_take
from marketbell.delivery.tenure import Tenure
from marketbell.errors import MarketbellError, StoreError
from marketbell.model import Instant, Millis
from marketbell.store.nodes_plane import Node, NodeDraft, Nodes, Registered, Seen

_log = logging.getLogger(__name__)

_SURE: Final = 0.9
"""The part of a lease that a node counts on; the rest is for clocks that do not run alike."""
_SETTLE_S: Final = 0.02
"""How often it is looked whether slots that are being given up have come to rest."""
_AGAIN_S: Final = 0.25
"""How long after a sign of life that failed, or a slot's endpoint that could not be forgotten."""


class Serving(Protocol):
    """What serves the endpoints of slots."""

    def lose(self, slots: Collection[int]) -> None:
        """Begin nothing more in these; give back what was claimed and not begun."""

    def gain(self, slots: Collection[int]) -> None:
        """These are served from now on; something of them may be due."""

    def settle(self, slots: Collection[int]) -> frozenset[int]:
        """Forget the endpoints of these, as far as nothing is under way; where something is."""

    def flying(self, slots: Collection[int]) -> frozenset[int]:
        """Where among these a request is under way, whatever else waits for the store."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How long things take, in real milliseconds."""

    lease: Millis
    """Of a node."""
    heartbeat: Millis
    claim_lease: Millis
    """So long at most it waits for what is under way in a slot that it gives up."""


class Membership:
    """
    Keeps a node's tenure.

    A slot is taken only where it is free or its node is lost, by its fence, so that two nodes
    never have it; what its last node had claimed is lost then. Where a node joins, the others
    give up what they have above their share, each slot as soon as nothing of it is under way. A
    node that was away for its whole lease sends nothing until it has its slots confirmed by new
    fences, and takes nobody else's until it has been well for a lease: perhaps all were away. One
    that is unfit gives its slots to those that are not; where all are, nothing moves.
    """

    def __init__(
        self,
        nodes: Nodes,
        draft: NodeDraft,
        registered: Registered,
        *,
        tenure: Tenure,
        serving: Serving,
        terms: Terms,
        monotonic: Callable[[], float],
        lose_claims: Callable[[Collection[int]], Awaitable[int]],
        skew: Callable[[], Millis] = int,
        on_time: Callable[[Instant, float, float], None] | None = None,
        on_number: Callable[[int], None] | None = None,
        on_freed: Callable[[], None] | None = None,
    ) -> None:
        self._nodes = nodes
        self._draft = draft
        self._id = registered.id
        self._tenure = tenure
        self._serving = serving
        self._terms = terms
        self._monotonic = monotonic
        self._lose_claims = lose_claims
        self._skew = skew
        self._on_time = on_time
        self._on_number = on_number
        self._on_freed = on_freed
        self._held: dict[int, int] = {}
        """Slots that this node has, with their fences."""
        self._giving: dict[int, float] = {}
        """Those among them that it gives up, and since when."""
        self._gone: frozenset[int] = frozenset()
        """Slots that were lost and whose endpoints are not forgotten yet."""
        self._leaving = False
        self._fresh = True
        self._needed_s = monotonic()
        """When it was fit itself, or no other node was, for the last time."""
        self._well_since = monotonic()
        self._until_s = self._well_since + _SURE * terms.lease / 1000
        self._failing = False
        self._bell = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._taking: asyncio.Task[None] | None = None
        self.alive: tuple[int, ...] = (registered.id,)
        """Nodes that live, as they were seen last, in order of their beginning."""

    @property
    def node_id(self) -> int:
        """Of this node, as others see it."""
        return self._id

    async def start(self) -> None:
        """Begin, on the running loop; the first slots that are free have been taken when it returns."""
        try:
            await self.look()
            if self._taking is not None:
                await self._taking
        except StoreError as error:
            _log.warning("slots are not taken yet", extra={"reason": str(error)})
        self._task = asyncio.get_running_loop().create_task(self._run())

    def ring(self) -> None:
        """Something about nodes has changed: look now."""
        self._bell.set()

    def leave(self) -> None:
        """Begin to give up all slots, each once nothing of it is under way; nothing new begins in them."""
        self._leaving = True
        self._bell.set()

    async def stop(self) -> None:
        """End: what is still held is free at once. To be called when nothing is under way."""
        self._stopping = True
        self._bell.set()
        for task in (self._task, self._taking):
            if task is not None:
                await task
        self._tenure.end()
        try:
            await self._nodes.leave(self._id)
        except StoreError as error:
            _log.warning("the node is not signed off", extra={"reason": str(error)})
        if self._on_freed is not None:
            self._on_freed()

    # -- the loop -----------------------------------------------------------------------

    async def _run(self) -> None:
        next_s = self._monotonic() + self._terms.heartbeat / 1000
        while not self._stopping:
            try:
                if self._bell.is_set() or self._monotonic() >= next_s:
                    self._bell.clear()
                    next_s = self._monotonic() + self._terms.heartbeat / 1000
                    await self.look()
                    if self._failing:
                        _log.warning("signs of life are given again")
                    self._failing = False
                await self._settle()
            except MarketbellError as error:
                if not self._failing:
                    _log.error("no sign of life can be given", extra={"reason": str(error)})
                self._failing = True
                self._bell.clear()  # a connection that opens and then refuses rings it each time
                next_s = self._monotonic() + min(_AGAIN_S, self._terms.heartbeat / 1000)
            except Exception:
                # Without its signs of life the node would lose its work for no reason.
                _log.exception("the node's signs of life broke off; they go on")
                next_s = self._monotonic() + _AGAIN_S
            wait_s = max(0.0, next_s - self._monotonic())
            often_s = _SETTLE_S if self._giving else _AGAIN_S if self._gone else wait_s
            await self._pause(min(often_s, wait_s))

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._bell.wait(), seconds)
        except TimeoutError:
            return

    async def look(self) -> None:
        """One sign of life, and all that follows from what was seen."""
        sent_s, fitness = self._monotonic(), self._tenure.fitness
        if sent_s >= self._until_s:
            fitness.begin_anew()
        fit = fitness.look()
        seen = await self._nodes.beat(self._id, leaving=self._leaving, fit=fit, skew=self._skew())
        came_s = self._monotonic()
        if self._on_time is not None:
            self._on_time(seen.now, sent_s, came_s)
        if not seen.known:
            await self._begin_anew()
            return
        mine = {slot: fence for slot, (owner, fence) in enumerate(seen.slots) if owner == self._id}
        self._let_go([slot for slot, fence in self._held.items() if mine.get(slot) != fence])
        away = came_s >= self._until_s
        if away:
            await self._confirm(came_s)
        self._until_s = sent_s + _SURE * self._terms.lease / 1000
        self._share(seen, came_s)
        if away or not (fit or self._held):  # it asks for work to see what comes of it
            self._serving.gain(self._tenure.slots)

    async def _begin_anew(self) -> None:
        """The node was away for so long that it is forgotten."""
        _log.warning("the node was forgotten by the others; it joins anew")
        self._let_go(list(self._held))
        self._tenure.end()
        registered = await self._nodes.register(self._draft, skew=self._skew())
        self._id = self._tenure.node_id = registered.id
        self._well_since = self._monotonic()
        if self._on_number is not None:
            self._on_number(registered.number)
        self._bell.set()

    async def _confirm(self, now_s: float) -> None:
        """The lease may have been over: have the slots that nobody took by new fences, then go on with them."""
        self._fresh, self._well_since = False, now_s
        held = dict(self._held)
        if not held:
            return
        confirmed = await self._nodes.take(self._id, held)
        self._held.update(confirmed)
        self._let_go(held.keys() - confirmed.keys())
        _log.warning(
            "the node was away for longer than its lease",
            extra={"slots_lost": len(held) - len(confirmed), "slots_kept": len(confirmed)},
        )

    def _share(self, seen: Seen, now_s: float) -> None:
        """Give up what is above the share of this node, and take what it lacks."""
        me, fitness = self._id, self._tenure.fitness
        alive = {node.id for node in seen.nodes if node.left > 0} | {me}
        self.alive = tuple(sorted(alive))
        workers, relieved = self._workers(seen, now_s)
        taking = self._taking is not None and not self._taking.done()
        anew = taking or me in workers  # what it has taken and could not begin to serve
        owners = [
            owner if owner in alive and (owner != me or slot in self._held or not anew) else None
            for slot, (owner, _fence) in enumerate(seen.slots)
        ]
        wanted = () if taking else to_take(owners, workers, me)
        over = to_give(owners, workers, me, self._giving)
        if not (fitness.fit or self._leaving or relieved):
            over = frozenset()
        elif not taking:
            over |= in_vain(owners, seen.slots, me, wanted)
        begun = over - self._giving.keys()
        kept = frozenset(self._giving.keys() - over)
        for slot in kept:
            del self._giving[slot]
        self._giving.update(dict.fromkeys(begun, now_s))
        self._renew()
        if begun:
            self._serving.lose(begun)
            if not fitness.fit:
                fitness.stand_down()
                _log.error("slots go to nodes whose work gets through", extra={"count": len(begun)})
        if kept:
            self._serving.gain(kept)
        if not self._may_take_lost(seen, now_s):
            wanted = tuple(slot for slot in wanted if seen.slots[slot][0] in {0, me})
        if wanted and not self._stopping:
            fences = {slot: seen.slots[slot][1] for slot in wanted}
            self._taking = asyncio.get_running_loop().create_task(self._take(fences))
        elif not taking:
            fitness.leave_off(Work.SLOTS)

    def _workers(self, seen: Seen, now_s: float) -> tuple[frozenset[int], bool]:
        """The nodes that are to have slots; whether others but not this one were fit for a lease."""
        lease, worker = self._terms.lease, self._draft.role != "api"
        me = Node(self._id, worker, self._leaving, self._tenure.fitness.fit, lease)
        workers = to_serve([*(node for node in seen.nodes if node.id != me.id), me])
        if me.fit or not any(node.fit for node in seen.nodes if node.id in workers - {me.id}):
            self._needed_s = now_s
        return workers, now_s - self._needed_s >= lease / 1000

    def _may_take_lost(self, seen: Seen, now_s: float) -> bool:
        """Whether nodes that gave no sign of life are lost, and not just kept from giving it."""
        lease = self._terms.lease
        return now_s - self._well_since >= lease / 1000 or (self._fresh and seen.up > lease)

    async def _take(self, fences: Mapping[int, int]) -> None:
        """Have slots, once what their last node had claimed is lost; if that fails, the next look begins again."""
        try:
            taken = await self._nodes.take(self._id, fences)
            if not taken:
                return
            lost = await self._lose_claims(taken.keys())
        except MarketbellError as error:
            _log.warning("slots could not be taken", extra={"reason": str(error)})
            return
        except Exception:
            _log.exception("taking slots broke off; it goes on")
            return
        self._serving.settle(taken.keys())
        self._held.update(taken)
        self._gone -= taken.keys()
        self._renew()
        self._serving.gain(taken.keys())
        _log.info("slots taken", extra={"count": len(taken), "lost_claims": lost})

    async def _settle(self) -> None:
        """Give up what has come to rest."""
        if self._gone:
            self._gone = self._serving.settle(self._gone)
        if not self._giving:
            return
        before_s = self._monotonic() - self._terms.claim_lease / 1000
        fit = self._tenure.fitness.fit
        # Where the store takes nothing, only what others could be sent twice is waited for.
        under_way = (self._serving.settle if fit else self._serving.flying)(self._giving)
        done = [
            slot
            for slot, since_s in self._giving.items()
            if slot not in under_way or since_s < before_s
        ]
        if not done:
            return
        await self._nodes.give_up(self._id, done)
        for slot in done:
            self._held.pop(slot, None)
            self._giving.pop(slot, None)
        self._gone |= frozenset(done)
        if self._on_freed is not None:
            self._on_freed()

    def _let_go(self, slots: Collection[int]) -> None:
        """These are another node's, or nobody's."""
        if not slots:
            return
        for slot in slots:
            self._held.pop(slot, None)
            self._giving.pop(slot, None)
        self._gone |= frozenset(slots)
        self._tenure.renew(frozenset(self._held.keys() - self._giving.keys()), self._tenure.until_s)
        self._serving.lose(slots)
        _log.warning("slots lost to other nodes", extra={"count": len(slots)})

    def _renew(self) -> None:
        self._tenure.renew(frozenset(self._held.keys() - self._giving.keys()), self._until_s)
