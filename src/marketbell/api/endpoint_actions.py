"""`…/endpoint/{endpoint_id}/pause`, `…/resume` and `…/send-example` on the wire."""

from __future__ import annotations

from typing import Final

import msgspec

from marketbell.api.answers import NO_CONTENT, Answer, answer_of
from marketbell.api.call import Access, Call, Operation
from marketbell.api.endpoints import ONE
from marketbell.api.messages import MessageOut, shown
from marketbell.api.wire import Decoder, Nothing
from marketbell.control import endpoints, examples
from marketbell.control.examples import ExampleWanted

PAUSE: Final = f"{ONE}/pause"
RESUME: Final = f"{ONE}/resume"
SEND_EXAMPLE: Final = f"{ONE}/send-example"


class EventExampleIn(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True
):
    """Which example is to be sent."""

    event_type: str
    example_index: int | None = None
    payload: msgspec.Raw = msgspec.Raw(b"null")
    """A JSON object to be sent instead of an example."""


_EXAMPLE: Final = Decoder(EventExampleIn)


async def _pause(call: Call) -> Answer:
    return await _set_paused(call, paused=True)


async def _resume(call: Call) -> Answer:
    return await _set_paused(call, paused=False)


async def _set_paused(call: Call, *, paused: bool) -> Answer:
    await endpoints.pause(
        call.services,
        call.principal,
        call.path["app_id"],
        call.path["endpoint_id"],
        paused=paused,
        once=call.once(lambda _made: b""),
    )
    return NO_CONTENT


async def _send_example(call: Call) -> Answer:
    form = _EXAMPLE(call.body)
    message = await examples.send(
        call.services,
        call.principal,
        call.path["app_id"],
        call.path["endpoint_id"],
        ExampleWanted(
            event_type=form.event_type,
            index=form.example_index or 0,
            payload=None if bytes(form.payload) == b"null" else bytes(form.payload),
        ),
        idempotency=call.idempotency(),
    )
    return answer_of(shown(message))


OPERATIONS: Final = (
    Operation(
        method="POST",
        path=PAUSE,
        name="v1.endpoint.pause",
        summary="Holds what there is to send and what comes.",
        takes=Nothing,
        gives={204: None},
        access=Access.APPLICATION,
        work=_pause,
    ),
    Operation(
        method="POST",
        path=RESUME,
        name="v1.endpoint.resume",
        summary="Lets everything that was held go on at once.",
        takes=Nothing,
        gives={204: None},
        access=Access.APPLICATION,
        work=_resume,
    ),
    Operation(
        method="POST",
        path=SEND_EXAMPLE,
        name="v1.endpoint.send-example",
        summary="Sends an example of an event type to this endpoint alone, whatever its filters.",
        takes=EventExampleIn,
        gives={200: MessageOut},
        access=Access.APPLICATION,
        work=_send_example,
    ),
)
