"""`/api/v1/app/{app_id}/attempt/…`: attempts on the wire."""

from __future__ import annotations

import base64
from typing import Final

import msgspec

from marketbell import ids
from marketbell.api import messages
from marketbell.api.answers import NO_CONTENT, Answer, answer_of
from marketbell.api.call import Access, Call, Operation, Work
from marketbell.api.instants import iso
from marketbell.api.messages import MessageOut, channel_of, tag_of
from marketbell.api.pagination import PARAMETERS, ListOut, list_of, page_of
from marketbell.control import history
from marketbell.control.services import Services
from marketbell.model import DeliveryState, Outcome, Trigger
from marketbell.store.base import AttemptFilter, AttemptRow

BY_MESSAGE: Final = "/api/v1/app/{app_id}/attempt/msg/{msg_id}"
BY_ENDPOINT: Final = "/api/v1/app/{app_id}/attempt/endpoint/{endpoint_id}"
ONE: Final = "/api/v1/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}"
CONTENT: Final = f"{ONE}/content"
BY_APPLICATION: Final = "/api/v1/app/{app_id}/attempt"
OF_MESSAGE: Final = "/api/v1/app/{app_id}/msg/{msg_id}/attempt"
OF_BOTH: Final = "/api/v1/app/{app_id}/msg/{msg_id}/endpoint/{endpoint_id}/attempt"

STATUSES: Final = {
    DeliveryState.DELIVERED: (0, "success"),
    DeliveryState.PENDING: (1, "pending"),
    DeliveryState.FAILED: (2, "fail"),
    DeliveryState.SENDING: (3, "sending"),
    DeliveryState.CANCELLED: (4, "canceled"),
}
"""A delivery's state as the number and the word of the wire."""
STATES: Final = {number: state for state, (number, _word) in STATUSES.items()}
"""A delivery's state by the number of the wire."""
CODE_CLASSES: Final = (0, 100, 200, 300, 400, 500)
"""What a filter may say of an answer's status; 0 where no answer came."""

_SUCCESS: Final = STATUSES[DeliveryState.DELIVERED]
_FAIL: Final = STATUSES[DeliveryState.FAILED]
_TRIGGERS: Final = {Trigger.SCHEDULED: 0, Trigger.MANUAL: 1}

FILTERS: Final = (
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
"""The parameters of a list of attempts."""


class MessageAttemptOut(
    msgspec.Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True
):
    """What is shown of an attempt."""

    id: str
    url: str
    response: str
    """The kept part of the answer; if that is empty, what went wrong. Base64 if it is not UTF-8."""
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
    attempt_number: int
    """Which try of its delivery it is, from 1; 0 for one that does not count as a try."""
    attempts_max: int | None
    """How many tries its delivery may have by the schedule as it is now; null where time ends them."""
    next_attempt: str | None
    """When its delivery is tried next; null if it is not."""
    msg: MessageOut | None = None


def shown(
    services: Services, row: AttemptRow, *, with_content: bool = True, with_message: bool = False
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
        attempt_number=attempt.number,
        attempts_max=history.attempts_max(services, row),
        next_attempt=None if row.next_at is None else iso(row.next_at),
        msg=messages.shown(row.message, with_content=False) if with_message else None,
    )


def _text(response: bytes) -> str:
    try:
        return response.decode()
    except UnicodeDecodeError:
        return base64.b64encode(response).decode()


def which_of(call: Call) -> AttemptFilter | None:
    """The filters of a list; None if they leave nothing, since no attempt is ever pending."""
    query = call.query
    status = query.number("status", range(5))
    query.flag("expanded_statuses")
    which = AttemptFilter(
        succeeded=None if status is None else status == _SUCCESS[0],
        status_code_class=query.number("status_code_class", CODE_CLASSES),
        event_types=query.event_types(),
        channel=channel_of(call),
        tag=tag_of(call),
        since=query.instant("after"),
        until=query.instant("before"),
        with_content=query.flag("with_content", default=True),
    )
    return which if status in {None, _SUCCESS[0], _FAIL[0]} else None


async def _listed(call: Call, *, message: str | None = None, endpoint: str | None = None) -> Answer:
    which = which_of(call)
    with_message = "with_msg" in call.query.known and call.query.flag("with_msg")
    part = await history.attempts(
        call.services,
        call.principal,
        call.path["app_id"],
        message=message,
        endpoint=endpoint,
        which=which,
        page=page_of(call.query, ids.ATTEMPT, newest_first=True),
    )
    content = which is None or which.with_content
    return answer_of(
        list_of(
            part,
            lambda row: shown(call.services, row, with_content=content, with_message=with_message),
            lambda row: row.attempt.public_id,
        )
    )


async def _by_message(call: Call) -> Answer:
    return await _listed(call, message=call.path["msg_id"], endpoint=call.query.text("endpoint_id"))


async def _by_endpoint(call: Call) -> Answer:
    return await _listed(call, endpoint=call.path["endpoint_id"])


async def _by_both(call: Call) -> Answer:
    return await _listed(call, message=call.path["msg_id"], endpoint=call.path["endpoint_id"])


async def _by_application(call: Call) -> Answer:
    return await _listed(call, endpoint=call.query.text("endpoint_id"))


async def _get(call: Call) -> Answer:
    call.query.flag("expanded_statuses")
    row = await history.attempt(
        call.services,
        call.principal,
        call.path["app_id"],
        call.path["msg_id"],
        call.path["attempt_id"],
    )
    return answer_of(shown(call.services, row))


async def _expunge(call: Call) -> Answer:
    await history.expunge_response(
        call.services,
        call.principal,
        call.path["app_id"],
        call.path["msg_id"],
        call.path["attempt_id"],
    )
    return NO_CONTENT


def _list(path: str, name: str, work: Work, summary: str, *more: str) -> Operation:
    return Operation(
        method="GET",
        path=path,
        name=name,
        summary=summary,
        gives={200: ListOut[MessageAttemptOut]},
        access=Access.APPLICATION,
        work=work,
        query=(*FILTERS, *more),
    )


OPERATIONS: Final = (
    _list(
        BY_MESSAGE,
        "v1.message-attempt.list-by-msg",
        _by_message,
        "Lists the attempts of a message, newest first.",
        "endpoint_id",
    ),
    _list(
        BY_ENDPOINT,
        "v1.message-attempt.list-by-endpoint",
        _by_endpoint,
        "Lists the attempts at an endpoint, newest first.",
        "with_msg",
    ),
    _list(
        BY_APPLICATION,
        "v1.message-attempt.list-by-app",
        _by_application,
        "Lists the attempts at all endpoints of an application, newest first.",
        "endpoint_id",
        "with_msg",
    ),
    _list(
        OF_MESSAGE,
        "v1.message-attempt.list",
        _by_message,
        "Lists the attempts of a message, under an older path.",
        "endpoint_id",
    ),
    _list(
        OF_BOTH,
        "v1.message-attempt.list-by-endpoint-deprecated",
        _by_both,
        "Lists the attempts of a message at one endpoint, under an older path.",
    ),
    Operation(
        method="GET",
        path=ONE,
        name="v1.message-attempt.get",
        summary="One attempt.",
        gives={200: MessageAttemptOut},
        access=Access.APPLICATION,
        work=_get,
        query=("expanded_statuses",),
    ),
    Operation(
        method="DELETE",
        path=CONTENT,
        name="v1.message-attempt.expunge-content",
        summary="Removes what the receiver answered; `EXPUNGED` stands there from then on.",
        gives={204: None},
        access=Access.APPLICATION,
        work=_expunge,
    ),
)
