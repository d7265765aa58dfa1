"""`/api/v1/app/{app_id}/attempt/…` and what became of one message, on the wire."""

from __future__ import annotations

import base64
from typing import Final

import msgspec

from marketbell import ids
from marketbell.api import messages
from marketbell.api.answers import EMPTY_OBJECT, Answer, answer_of
from marketbell.api.call import Access, Call, Operation
from marketbell.api.endpoints import EndpointOut
from marketbell.api.endpoints import shown as endpoint_shown
from marketbell.api.instants import iso
from marketbell.api.messages import MessageOut, channel_of, tag_of
from marketbell.api.pagination import PARAMETERS, list_of, page_of
from marketbell.api.wire import Decoder
from marketbell.control import history
from marketbell.control.history import Destination
from marketbell.model import DeliveryState, Outcome, Trigger
from marketbell.store.base import AttemptFilter, AttemptRow, Slice

BY_MESSAGE: Final = "/api/v1/app/{app_id}/attempt/msg/{msg_id}"
BY_ENDPOINT: Final = "/api/v1/app/{app_id}/attempt/endpoint/{endpoint_id}"
ONE: Final = "/api/v1/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}"
DESTINATIONS: Final = "/api/v1/app/{app_id}/msg/{msg_id}/endpoint"
RESEND: Final = "/api/v1/app/{app_id}/msg/{msg_id}/endpoint/{endpoint_id}/resend"

STATUSES: Final = {
    DeliveryState.DELIVERED: (0, "success"),
    DeliveryState.PENDING: (1, "pending"),
    DeliveryState.FAILED: (2, "fail"),
    DeliveryState.SENDING: (3, "sending"),
    DeliveryState.CANCELLED: (4, "canceled"),
}
"""A delivery's state as the number and the word of the wire."""

_SUCCESS: Final = STATUSES[DeliveryState.DELIVERED]
_FAIL: Final = STATUSES[DeliveryState.FAILED]
_TRIGGERS: Final = {Trigger.SCHEDULED: 0, Trigger.MANUAL: 1}
_CODE_CLASSES: Final = (0, 100, 200, 300, 400, 500)

_FILTERS: Final = (
    *PARAMETERS,
    "status",
    "status_code_class",
    "channel",
    "tag",
    "before",
    "after",
    "with_content",
    "expanded_statuses",
    "event_types",
)


class MessageAttemptOut(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True
):
    """What is shown of an attempt."""

    id: str
    url: str
    response: str
    """The kept part of the answer; where none came, what went wrong. Base64 if it is not UTF-8."""
    response_status_code: int
    """0 where no answer came."""
    response_duration_ms: int
    status: int
    """0 success, 2 fail: an attempt is a fact, whatever its delivery does next."""
    status_text: str
    trigger_type: int
    msg_id: str
    endpoint_id: str
    timestamp: str
    outcome: str
    """Our own word: accepted, rejected, no_answer, closed, unknown."""
    reason: str
    """Our own clause: what went wrong, empty for a success."""
    msg: MessageOut | None = None


class MessageEndpointOut(EndpointOut, frozen=True, rename="camel", kw_only=True):
    """What is shown of an endpoint that a message is for."""

    status: int
    status_text: str
    next_attempt: str | None


class _Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a POST that takes none."""


_NOTHING: Final = Decoder(_Nothing)


def shown(
    row: AttemptRow, *, with_content: bool = True, with_message: bool = False
) -> MessageAttemptOut:
    """An attempt on the wire."""
    attempt = row.attempt
    status, text = _SUCCESS if attempt.outcome is Outcome.ACCEPTED else _FAIL
    response = ""
    if with_content:
        response = _text(attempt.response) if attempt.response else attempt.reason
    return MessageAttemptOut(
        id=attempt.public_id,
        url=attempt.url,
        response=response,
        response_status_code=attempt.status_code,
        response_duration_ms=attempt.duration,
        status=status,
        status_text=text,
        trigger_type=_TRIGGERS[attempt.trigger],
        msg_id=row.message.public_id,
        endpoint_id=row.endpoint_public_id,
        timestamp=iso(attempt.started_at),
        outcome=attempt.outcome,
        reason=attempt.reason,
        msg=messages.shown(row.message, with_content=False) if with_message else None,
    )


def _destination(destination: Destination) -> MessageEndpointOut:
    status, text = STATUSES[destination.state]
    endpoint = msgspec.structs.asdict(endpoint_shown(destination.endpoint))
    return MessageEndpointOut(
        **endpoint,
        status=status,
        status_text=text,
        next_attempt=None if destination.next_at is None else iso(destination.next_at),
    )


def _text(response: bytes) -> str:
    try:
        return response.decode()
    except UnicodeDecodeError:
        return base64.b64encode(response).decode()


def _which(call: Call) -> tuple[AttemptFilter, bool]:
    """The filters of a list; and whether they leave nothing, since no attempt is ever pending."""
    query = call.query
    status = query.number("status", range(5))
    query.flag("expanded_statuses")
    which = AttemptFilter(
        succeeded=None if status is None else status == _SUCCESS[0],
        status_code_class=query.number("status_code_class", _CODE_CLASSES),
        event_types=query.event_types(),
        channel=channel_of(call),
        tag=tag_of(call),
        since=query.instant("after"),
        until=query.instant("before"),
        with_content=query.flag("with_content", default=True),
    )
    return which, status not in {None, _SUCCESS[0], _FAIL[0]}


def _listed(call: Call, part: Slice[AttemptRow], which: AttemptFilter, *, nothing: bool) -> Answer:
    with_message = call.query.flag("with_msg")
    return answer_of(
        list_of(
            Slice((), done=True) if nothing else part,
            lambda row: shown(row, with_content=which.with_content, with_message=with_message),
            lambda row: row.attempt.public_id,
        )
    )


async def _by_message(call: Call) -> Answer:
    which, nothing = _which(call)
    part = await history.attempts_of_message(
        call.services,
        call.principal,
        call.path["app_id"],
        call.path["msg_id"],
        which=which,
        page=page_of(call.query, ids.ATTEMPT, newest_first=True),
        endpoint_ref=call.query.text("endpoint_id"),
    )
    return _listed(call, part, which, nothing=nothing)


async def _by_endpoint(call: Call) -> Answer:
    which, nothing = _which(call)
    part = await history.attempts_of_endpoint(
        call.services,
        call.principal,
        call.path["app_id"],
        call.path["endpoint_id"],
        which=which,
        page=page_of(call.query, ids.ATTEMPT, newest_first=True),
    )
    return _listed(call, part, which, nothing=nothing)


async def _get(call: Call) -> Answer:
    call.query.flag("expanded_statuses")
    row = await history.attempt(
        call.services,
        call.principal,
        call.path["app_id"],
        call.path["msg_id"],
        call.path["attempt_id"],
    )
    return answer_of(shown(row))


async def _destinations(call: Call) -> Answer:
    part = await history.destinations(
        call.services,
        call.principal,
        call.path["app_id"],
        call.path["msg_id"],
        page_of(call.query, ids.ENDPOINT),
    )
    return answer_of(
        list_of(part, _destination, lambda destination: destination.endpoint.public_id)
    )


async def _resend(call: Call) -> Answer:
    if call.body:
        _NOTHING(call.body)
    await history.resend(
        call.services,
        call.principal,
        call.path["app_id"],
        call.path["msg_id"],
        call.path["endpoint_id"],
        once=call.once(lambda _made: EMPTY_OBJECT),
    )
    return Answer(202, EMPTY_OBJECT)


OPERATIONS: Final = (
    Operation(
        method="GET",
        path=BY_MESSAGE,
        name="v1.message-attempt.list-by-msg",
        access=Access.APPLICATION,
        work=_by_message,
        query=(*_FILTERS, "endpoint_id"),
    ),
    Operation(
        method="GET",
        path=BY_ENDPOINT,
        name="v1.message-attempt.list-by-endpoint",
        access=Access.APPLICATION,
        work=_by_endpoint,
        query=(*_FILTERS, "with_msg"),
    ),
    Operation(
        method="GET",
        path=ONE,
        name="v1.message-attempt.get",
        access=Access.APPLICATION,
        work=_get,
        query=("expanded_statuses",),
    ),
    Operation(
        method="GET",
        path=DESTINATIONS,
        name="v1.message-attempt.list-attempted-destinations",
        access=Access.APPLICATION,
        work=_destinations,
        query=PARAMETERS,
    ),
    Operation(
        method="POST",
        path=RESEND,
        name="v1.message-attempt.resend",
        access=Access.APPLICATION,
        work=_resend,
    ),
)
