"""What a store promises of background tasks: long work in small steps that no crash loses or repeats."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from marketbell.model import DeliveryState, Endpoint, Instant
from marketbell.store.control_plane import Once, Page, Repeated, Slice


class TaskKind(enum.StrEnum):
    """What a task does; the words are those of the wire."""

    RECOVER = "endpoint.recover"
    """Send again what failed in a time, and make what was missed."""
    REPLAY_MISSING = "endpoint.replay"
    """Make the deliveries of messages that the endpoint wants and never had."""
    BULK_REPLAY = "endpoint.bulk-replay"
    """Send again all that a filter names."""
    PURGE_CONTENT = "application.purge_content"
    """Remove the payloads of an application's messages."""


class TaskStatus(enum.StrEnum):
    """Where a task stands; only the first is not final."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Selection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which messages a task is about; None does not filter."""

    since: Instant = 0
    """Created at or after."""
    until: Instant
    """Created before."""
    event_types: tuple[str, ...] | None = None
    channel: str | None = None
    tag: str | None = None
    state: DeliveryState | None = None
    """Of the delivery to the endpoint."""
    status_code_class: int | None = None
    """Of the endpoint's last answer, 100 to 500; 0 for none at all."""


class TaskDraft(msgspec.Struct, frozen=True, kw_only=True):
    """What a new task is to do."""

    kind: TaskKind
    organization: str
    application_id: int
    endpoint_id: int | None
    """None for a task about the whole application."""
    selection: Selection


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One task as it stands."""

    id: int
    public_id: str
    kind: TaskKind
    organization: str
    application_id: int
    application_public_id: str
    endpoint_id: int | None
    endpoint_public_id: str | None
    selection: Selection
    status: TaskStatus
    first: int
    """The walk goes over the keys of messages above this one,"""
    last: int
    """up to this one;"""
    position: int
    """all up to this one are done."""
    looked: int
    """Messages looked at."""
    made: int
    """Deliveries made due, or payloads removed."""
    skipped: int
    """Messages that it was about and that could not be done: their payload is gone, or in use."""
    failures: int
    """Steps that broke off since the last one that did not."""
    claim_number: int
    """The fence: rises with every claim of the task."""
    error: str | None
    """Why it failed, as a sentence."""
    created_at: Instant
    updated_at: Instant

    @property
    def progress(self) -> float:
        """The part of the walk that is done, 0 to 1."""
        if self.status is TaskStatus.FINISHED or self.last <= self.first:
            return 1.0
        return (self.position - self.first) / (self.last - self.first)


class Candidate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One message that a task comes by, with what decides about it."""

    message_id: int
    event_type: str
    channels: tuple[str, ...]
    tags: tuple[str, ...]
    created_at: Instant
    aimed: bool
    """Whether it was made for one endpoint alone."""
    state: DeliveryState | None
    """Of its delivery to the task's endpoint; None if there never was one."""
    status_code: int | None
    """Of the endpoint's last answer, if it was asked for."""


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """What a step sees, in one snapshot."""

    endpoint: Endpoint | None
    """None if the task is about no endpoint, or if it has been deleted."""
    due: int
    """Deliveries of the endpoint that are due and wait; no more than asked for are counted."""
    candidates: tuple[Candidate, ...]
    """The next messages of the walk, in order of their keys."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What a step does; its effects and the new position are kept together."""

    position: int
    looked: int
    message_ids: Sequence[int] = ()
    """Those that something is done about."""
    finished: bool = False


class TaskFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which tasks of a list; None does not filter."""

    statuses: frozenset[TaskStatus] | None = None
    kind: TaskKind | None = None


class ParkedPlace(msgspec.Struct, frozen=True):
    """Where a walk over parked deliveries stands."""

    lost_count: int = 0
    message_id: int = 0
    endpoint_id: int = 0


class Tasks(Protocol):
    """
    Background tasks of organizations.

    A task is claimed for one step at a time, by one node, until a time; the claim's number is
    the fence. A step's effects, its position and its counts are one transaction: a crash leaves
    all of it or nothing, and the next step begins where the last one ended.
    """

    async def create_task(
        self, draft: TaskDraft, *, now: Instant, running_max: int, once: Once | None = None
    ) -> Task | Repeated:
        """
        A new task, due now; its walk ends at the last message that there is.

        LimitReachedError if the organization has `running_max` that run; ConflictError if the
        endpoint is disabled or gone.
        """

    async def task(self, organization: str, ref: str) -> Task:
        """One task. NotFoundError."""

    async def tasks(self, organization: str, which: TaskFilter, page: Page) -> Slice[Task]:
        """A slice, in order of creation."""

    async def cancel_task(self, organization: str, ref: str, *, now: Instant) -> Task:
        """
        End a task that runs; what it has done stays, a step under way changes nothing more.

        NotFoundError; ConflictError if it has ended, unless it was cancelled before.
        """

    async def claim_task(self, *, now: Instant, lease_until: Instant) -> Task | None:
        """The right to make the next step of the task that has been due for longest; None if none is."""

    async def task_sight(self, task: Task, *, now: Instant, rows: int, due_max: int) -> Sight:
        """What a step of this task sees: at most `rows` messages after its position."""

    async def take_step(self, task: Task, step: Step, *, now: Instant, due_at: Instant) -> bool:
        """
        Do what a step does and keep its position; the task is due again at `due_at`.

        False, and nothing is changed, unless `task` is its latest claim and stands where it
        stood: the task was cancelled, claimed anew, or this step was kept before. A delivery is
        made due only if its endpoint is live and enabled, its payload is there, and none of the
        pair is unfinished; one that waits is made due now only where the selection asks for
        pending ones. Where a payload is removed, its deliveries that wait are cancelled.
        """

    async def put_off_task(self, task: Task, *, until: Instant, failures: int) -> None:
        """Give a claim back without a step; nothing happens if it is not the latest."""

    async def fail_task(self, task: Task, error: str, *, now: Instant) -> bool:
        """End a task that cannot go on, with a sentence; False if `task` is not its latest claim."""

    async def next_task_at(self) -> Instant | None:
        """When the next task falls due; None if none runs."""

    async def release_tasks(self, *, now: Instant) -> None:
        """Make every task that runs due now; a claim that is alive is fenced by the next one."""

    async def running_tasks(self) -> int:
        """How many tasks of all organizations run."""

    async def prune_tasks(self, before: Instant, *, limit: int) -> int:
        """
        Remove up to `limit` tasks that ended before an instant; how many it were.

        Counted with them are notes of messages made for one endpoint alone that are no longer kept.
        """

    def on_task(self, listener: Callable[[], None]) -> None:
        """Call back on the event loop after each new task."""

    async def redrive_parked(
        self, organization: str, place: ParkedPlace, *, now: Instant, limit: int
    ) -> tuple[int, ParkedPlace | None]:
        """
        Make parked deliveries of an organization due now, of at most `limit` that are looked at.

        How many it were, and where to go on; None if that was all.
        """
