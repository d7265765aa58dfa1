"""`…/endpoint/{endpoint_id}/msg` and `…/msg/{msg_id}/endpoint`: where deliveries stand, and resends."""

from __future__ import annotations

from typing import Final

import msgspec

from marketbell import ids
from marketbell.api import messages
from marketbell.api.answers import EMPTY_OBJECT, Answer, answer_of
from marketbell.api.attempts import STATES, STATUSES
from marketbell.api.call import Access, Call, Operation
from marketbell.api.endpoints import EndpointOut
from marketbell.api.endpoints import shown as endpoint_shown
from marketbell.api.instants import iso
from marketbell.api.messages import MessageOut
from marketbell.api.pagination import PARAMETERS, ListOut, list_of, page_of
from marketbell.api.wire import Nothing
from marketbell.control import history
from marketbell.control.history import Destination
from marketbell.model import DeliveryState
from marketbell.store.base import DeliveryRow

OF_ENDPOINT: Final = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/msg"
DESTINATIONS: Final = "/api/v1/app/{app_id}/msg/{msg_id}/endpoint"
RESEND: Final = f"{DESTINATIONS}/{{endpoint_id}}/resend"


class EndpointMessageOut(MessageOut, frozen=True, rename="camel", kw_only=True):
    """What is shown of a message that is for an endpoint."""

    status: int
    """Of its delivery: 0 success, 1 pending, 2 fail, 3 sending, 4 canceled."""
    status_text: str
    next_attempt: str | None


class MessageEndpointOut(EndpointOut, frozen=True, rename="camel", kw_only=True):
    """What is shown of an endpoint that a message is for."""

    status: int
    status_text: str
    next_attempt: str | None


async def _of_endpoint(call: Call) -> Answer:
    which = messages.which_of(call)
    # Clients from before there was a number for it take a cancelled one for a success.
    expanded = call.query.flag("expanded_statuses", default=True)
    status = call.query.number("status", range(5))
    states = None if status is None else {STATES[status]}
    if states == {DeliveryState.DELIVERED} and not expanded:
        states.add(DeliveryState.CANCELLED)
    part = await history.deliveries(
        call.services,
        call.principal,
        call.path["app_id"],
        call.path["endpoint_id"],
        which=which,
        states=None if states is None else frozenset(states),
        page=page_of(call.query, ids.MESSAGE, newest_first=True),
    )
    return answer_of(
        list_of(
            part,
            lambda row: _delivery(row, with_content=which.with_content, expanded=expanded),
            lambda row: row.message.public_id,
        )
    )


def _delivery(row: DeliveryRow, *, with_content: bool, expanded: bool) -> EndpointMessageOut:
    state = row.state
    if state is DeliveryState.CANCELLED and not expanded:
        state = DeliveryState.DELIVERED
    status, text = STATUSES[state]
    message = msgspec.structs.asdict(messages.shown(row.message, with_content=with_content))
    return EndpointMessageOut(
        **message,
        status=status,
        status_text=text,
        next_attempt=None if row.next_at is None else iso(row.next_at),
    )


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


def _destination(destination: Destination) -> MessageEndpointOut:
    status, text = STATUSES[destination.state]
    endpoint = msgspec.structs.asdict(endpoint_shown(destination.endpoint))
    return MessageEndpointOut(
        **endpoint,
        status=status,
        status_text=text,
        next_attempt=None if destination.next_at is None else iso(destination.next_at),
    )


async def _resend(call: Call) -> Answer:
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
        path=OF_ENDPOINT,
        name="v1.message-attempt.list-attempted-messages",
        summary="Lists the messages that are for an endpoint, newest first, with where each stands.",
        gives={200: ListOut[EndpointMessageOut]},
        access=Access.APPLICATION,
        work=_of_endpoint,
        query=(*PARAMETERS, *messages.FILTERS, "status", "expanded_statuses"),
    ),
    Operation(
        method="GET",
        path=DESTINATIONS,
        name="v1.message-attempt.list-attempted-destinations",
        summary="Lists the live endpoints that a message is for, with where its delivery stands.",
        gives={200: ListOut[MessageEndpointOut]},
        access=Access.APPLICATION,
        work=_destinations,
        query=PARAMETERS,
    ),
    Operation(
        method="POST",
        path=RESEND,
        name="v1.message-attempt.resend",
        summary=(
            "Sends it again now, whatever became of it, with its whole retry schedule before it;"
            " 409 while a retry is under way."
        ),
        takes=Nothing,
        gives={202: Nothing},
        access=Access.APPLICATION,
        work=_resend,
    ),
)
