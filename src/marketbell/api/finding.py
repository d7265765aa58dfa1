"""`/api/v1/endpoint/…`, `/api/v1/msg/…`, `/api/v1/attempt/…`: one thing by its id alone, on the wire."""

from __future__ import annotations

from typing import Final

import msgspec

from marketbell.api import attempts, endpoints, messages
from marketbell.api.answers import Answer, answer_of
from marketbell.api.anywhere import ATTEMPTS, MESSAGES, OwnedAttemptOut, OwnedMessageOut
from marketbell.api.call import Access, Call, Operation
from marketbell.api.endpoints import EndpointOut
from marketbell.control import finding

ENDPOINT: Final = "/api/v1/endpoint/{endpoint_id}"
MESSAGE: Final = f"{MESSAGES}/{{msg_id}}"
ATTEMPT: Final = f"{ATTEMPTS}/{{attempt_id}}"


class OwnedEndpointOut(EndpointOut, frozen=True, rename="camel", kw_only=True):
    """What is shown of an endpoint that was asked for by its id alone."""

    app_id: str


async def _endpoint(call: Call) -> Answer:
    found = await finding.endpoint(call.services, call.principal, call.path["endpoint_id"])
    shown = msgspec.structs.asdict(endpoints.shown(found.value))
    return answer_of(OwnedEndpointOut(**shown, app_id=found.application))


async def _message(call: Call) -> Answer:
    content = call.query.flag("with_content", default=True)
    found = await finding.message(call.services, call.principal, call.path["msg_id"])
    shown = msgspec.structs.asdict(messages.shown(found.value, with_content=content))
    return answer_of(OwnedMessageOut(**shown, app_id=found.application))


async def _attempt(call: Call) -> Answer:
    found = await finding.attempt(call.services, call.principal, call.path["attempt_id"])
    shown = attempts.shown(call.services, found.value, with_message=True)
    return answer_of(OwnedAttemptOut(**msgspec.structs.asdict(shown), app_id=found.application))


OPERATIONS: Final = (
    Operation(
        method="GET",
        path=ENDPOINT,
        name="v1.endpoint.find",
        summary="One endpoint by its id alone, with the application that it belongs to.",
        gives={200: OwnedEndpointOut},
        access=Access.OPERATOR,
        work=_endpoint,
    ),
    Operation(
        method="GET",
        path=MESSAGE,
        name="v1.message.find",
        summary="One message by its id alone, with the application that it belongs to.",
        gives={200: OwnedMessageOut},
        access=Access.OPERATOR,
        work=_message,
        query=("with_content",),
    ),
    Operation(
        method="GET",
        path=ATTEMPT,
        name="v1.message-attempt.find",
        summary="One attempt by its id alone, with its message and application.",
        gives={200: OwnedAttemptOut},
        access=Access.OPERATOR,
        work=_attempt,
    ),
)
