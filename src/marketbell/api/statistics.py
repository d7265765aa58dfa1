"""`…/endpoint/{endpoint_id}/stats` and `…/attempt-stats`: figures from counters, on the wire."""

from __future__ import annotations

from typing import Final

import msgspec

from marketbell.api.answers import Answer, answer_of
from marketbell.api.call import Access, Call, Operation
from marketbell.control import figures

ENDPOINT: Final = "/api/v1/app/{app_id}/endpoint/{endpoint_id}"
STATS: Final = f"{ENDPOINT}/stats"
ATTEMPT_STATS: Final = f"{ENDPOINT}/attempt-stats"

_TIME: Final = ("since", "until")


class EndpointStats(msgspec.Struct, frozen=True):
    """Where the deliveries of a time's messages stand now."""

    success: int
    pending: int
    sending: int
    fail: int
    canceled: int


class EndpointAttemptStats(msgspec.Struct, frozen=True):
    """What became of a time's attempts; none is ever canceled."""

    success: int
    fail: int
    canceled: int = 0


async def _stats(call: Call) -> Answer:
    found = await figures.of_endpoint(
        call.services,
        call.principal,
        call.path["app_id"],
        call.path["endpoint_id"],
        since=call.query.instant("since"),
        until=call.query.instant("until"),
    )
    return answer_of(
        EndpointStats(
            success=found.delivered,
            pending=found.pending,
            sending=found.sending,
            fail=found.failed,
            canceled=found.cancelled,
        )
    )


async def _attempt_stats(call: Call) -> Answer:
    found = await figures.of_attempts(
        call.services,
        call.principal,
        call.path["app_id"],
        call.path["endpoint_id"],
        since=call.query.instant("since"),
        until=call.query.instant("until"),
    )
    return answer_of(EndpointAttemptStats(found.accepted, found.refused))


OPERATIONS: Final = (
    Operation(
        method="GET",
        path=STATS,
        name="v1.endpoint.get-stats",
        summary="How many deliveries of a time's messages stand where, from counters.",
        gives={200: EndpointStats},
        access=Access.APPLICATION,
        work=_stats,
        query=_TIME,
    ),
    Operation(
        method="GET",
        path=ATTEMPT_STATS,
        name="v1.endpoint.get-attempt-stats",
        summary="How many attempts of a time were accepted and how many were not, from counters.",
        gives={200: EndpointAttemptStats},
        access=Access.APPLICATION,
        work=_attempt_stats,
        query=_TIME,
    ),
)
