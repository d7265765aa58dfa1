"""What a store promises the control plane: one small protocol per resource, in prose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import msgspec

from marketbell.model import (
    Application,
    Attempt,
    DeliveryState,
    Endpoint,
    Instant,
    Message,
    Millis,
    Policy,
    SigningKey,
)
from marketbell.store.data_plane import Idempotency

T = TypeVar("T")


class Once(msgspec.Struct, frozen=True):
    """Makes one control-plane POST idempotent: its mark, and how its answer is written down."""

    idempotency: Idempotency
    render: Callable[[object], bytes]
    """Called inside the transaction with what was made; its bytes answer a repetition."""


class Repeated(msgspec.Struct, frozen=True):
    """An earlier request with the same key and body was answered so."""

    answer: bytes


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Which slice of a list; ids are public ids, exclusive."""

    limit: int = 50
    after: str | None = None
    """The slice begins after this id, in the list's order."""
    before: str | None = None
    """The slice ends before this id; the rows come in the list's order all the same."""
    descending: bool = False


class Stop(msgspec.Struct, frozen=True):
    """How far a search came."""

    place: str
    """In the form of a public id; a page may begin after it or end before it."""
    at: Instant
    """The time of the rows there."""
    backward: bool
    """Whether it went against the list's order."""


class Slice(msgspec.Struct, Generic[T], frozen=True):
    """A part of a list."""

    data: tuple[T, ...]
    done: bool
    """Whether nothing follows in the direction that was asked for."""
    stopped: Stop | None = None
    """Where a search ended for want of time; the next page begins there."""


class ApplicationDraft(msgspec.Struct, frozen=True, kw_only=True):
    """What a new or changed application is to be."""

    name: str
    uid: str | None = None
    metadata: dict[str, str] = {}
    policy: Policy = Policy()
    throttle_rate: int | None = None


class EndpointDraft(msgspec.Struct, frozen=True, kw_only=True):
    """What a new or changed endpoint is to be, already checked by control/."""

    url: str
    uid: str | None = None
    description: str = ""
    event_types: frozenset[str] | None = None
    channels: frozenset[str] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    metadata: dict[str, str] = {}
    policy: Policy = Policy()
    throttle_rate: int | None = None
    disabled: bool = False
    paused: bool = False
    version: int = 1
    secret: SigningKey | None = None
    """The current secret of a new endpoint; None on a change keeps what it has."""


class Subscribers(msgspec.Struct, frozen=True):
    """An application with all of its endpoints, in one snapshot."""

    application: Application
    endpoints: tuple[Endpoint, ...]
    event_types: int = 0
    """How often the event types of its organization had changed."""

    def wanting(self, event_type: str, channels: tuple[str, ...]) -> tuple[Endpoint, ...]:
        """The endpoints that a message of this type and these channels is for."""
        return tuple([one for one in self.endpoints if one.wants(event_type, channels)])

    @property
    def revision(self) -> int:
        """Another one as soon as any of it has changed, for each of the two only rises."""
        return self.application.revision + self.event_types


class MessageFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which messages of a list; None does not filter."""

    event_types: frozenset[str] | None = None
    channel: str | None = None
    tag: str | None = None
    since: Instant | None = None
    """Created at or after."""
    until: Instant | None = None
    """Created before."""
    with_content: bool = True


class AttemptFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which attempts of a list; None does not filter."""

    endpoint_id: int | None = None
    message_id: int | None = None
    succeeded: bool | None = None
    status_code_class: int | None = None
    """100 to 500; 0 for no answer at all."""
    event_types: frozenset[str] | None = None
    channel: str | None = None
    tag: str | None = None
    since: Instant | None = None
    until: Instant | None = None
    with_content: bool = True
    """Whether `message.payload` and `attempt.response` come along, else b''."""


class AttemptRow(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt with what a list of attempts shows beside it."""

    attempt: Attempt
    message: Message
    """Without its payload."""
    endpoint_public_id: str
    next_at: Instant | None
    """When its delivery is tried next; None if it is finished or waits for something else than time."""
    dialect: str | None
    retry_schedule: tuple[Millis, ...] | None
    """What the endpoint's policy says now, or else its application's."""


class Applications(Protocol):
    """Applications of an organization; `ref` is a public id or a uid."""

    async def create_application(
        self, organization: str, draft: ApplicationDraft, *, now: Instant, once: Once | None = None
    ) -> Application | Repeated:
        """A new application. ConflictError if its uid is taken."""

    async def get_or_create_application(
        self, organization: str, draft: ApplicationDraft, *, now: Instant, once: Once | None = None
    ) -> tuple[Application, bool] | Repeated:
        """
        The application that has the draft's uid as it is, else a new one; and whether it is new.

        `once` renders both.
        """

    async def application(self, organization: str, ref: str) -> Application:
        """One application. NotFoundError."""

    async def applications(self, organization: str, page: Page) -> Slice[Application]:
        """A slice, in order of creation."""

    async def update_application(
        self,
        organization: str,
        ref: str,
        draft: ApplicationDraft,
        *,
        now: Instant,
        revision: int | None = None,
    ) -> Application:
        """
        Replace what it is.

        NotFoundError; ConflictError if the new uid is taken; StaleError if it or an endpoint of it
        has changed since `revision`.
        """

    async def delete_application(self, organization: str, ref: str, *, now: Instant) -> None:
        """Soft delete: its uid is free at once, its endpoints are deleted with it. NotFoundError."""

    async def subscribers(self, organization: str, ref: str) -> Subscribers:
        """An application and all endpoints of it, read in one snapshot. NotFoundError."""

    async def subscribers_revision(self, application_id: int) -> int | None:
        """The revision that they would have now; None if the application is gone."""


class Endpoints(Protocol):
    """Endpoints of an application; `ref` is a public id or a uid."""

    async def create_endpoint(
        self,
        application_id: int,
        draft: EndpointDraft,
        *,
        now: Instant,
        endpoints_max: int,
        revision: int | None = None,
        once: Once | None = None,
    ) -> Endpoint | Repeated:
        """
        A new endpoint with its lane. ConflictError (uid), LimitReachedError, NotFoundError.

        With `revision`, the application's, StaleError if it has another one by now.
        """

    async def endpoint(self, application_id: int, ref: str) -> Endpoint:
        """One endpoint. NotFoundError."""

    async def endpoints(self, application_id: int, page: Page) -> Slice[Endpoint]:
        """A slice, in order of creation."""

    async def update_endpoint(
        self,
        application_id: int,
        ref: str,
        draft: EndpointDraft,
        *,
        now: Instant,
        revision: int | None = None,
    ) -> Endpoint:
        """
        Replace what it is; in force from the next attempt.

        Disabling or pausing holds its lane; the reverse lets it go on at once with all that
        waited. NotFoundError; ConflictError if the new uid is taken; StaleError if it has changed
        since `revision`.
        """

    async def delete_endpoint(self, application_id: int, ref: str, *, now: Instant) -> None:
        """Soft delete: nothing more is sent; what is pending is cancelled. NotFoundError."""

    async def rotate_secret(
        self,
        application_id: int,
        ref: str,
        key: SigningKey,
        *,
        overlap_until: Instant,
        secrets_max: int,
        now: Instant,
        once: Once | None = None,
    ) -> Repeated | None:
        """
        A new current secret; the old one signs along until `overlap_until`.

        A key that is the current one changes nothing. An old secret that cannot be opened is no
        hindrance. NotFoundError; LimitReachedError if `secrets_max` sign already.
        """

    async def pause_endpoint(
        self,
        application_id: int,
        ref: str,
        *,
        paused: bool,
        now: Instant,
        once: Once | None = None,
    ) -> Repeated | None:
        """
        Hold its lane, or let it go on at once with all that waited; nothing if it is so already.

        NotFoundError.
        """


class History(Protocol):
    """Messages, deliveries and attempts, as they are and were."""

    async def message(self, application_id: int, ref: str) -> Message:
        """One message by public id or eventId, with its payload if it is still kept. NotFoundError."""

    async def messages(
        self, application_id: int, which: MessageFilter, page: Page
    ) -> Slice[Message]:
        """A slice, newest first."""

    async def attempts(
        self, application_id: int, which: AttemptFilter, page: Page
    ) -> Slice[AttemptRow]:
        """A slice of the attempts of a message, of an endpoint, or else of the application, newest first."""

    async def delivery_states(self, message_id: int) -> dict[str, DeliveryState]:
        """Endpoint public id to the state of this message's delivery to it."""

    async def resend(
        self,
        application_id: int,
        message_ref: str,
        endpoint_ref: str,
        *,
        now: Instant,
        once: Once | None = None,
    ) -> Repeated | None:
        """
        Make a delivery due now, finished or not, with its whole retry schedule before it.

        It stands outside of any order. NotFoundError; GoneError if the payload is no longer kept;
        ConflictError if the endpoint is disabled, or while a retry is claimed. A first attempt that
        is claimed is left as it is: its whole schedule is before it.
        """
