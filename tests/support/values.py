"""Values with every field filled in, for tests that look at a few of them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from marketbell import ids
from marketbell.model import Attempt, Claim, Endpoint, Instant, Outcome, Policy, Trigger

_ENDPOINT: Final = Endpoint(
    id=1,
    public_id="ep_1",
    application_id=1,
    uid=None,
    url="https://seller.example/hook",
    description="",
    event_types=None,
    channels=None,
    headers=(),
    secrets=(),
    metadata={},
    policy=Policy(),
    throttle_rate=None,
    disabled=False,
    paused=False,
    slot=0,
    revision=1,
    version=1,
    failing_since=None,
    created_at=0,
    updated_at=0,
)


def an_endpoint(**fields: Any) -> Endpoint:
    """An endpoint of which only these fields matter."""
    return msgspec.structs.replace(_ENDPOINT, **fields)


def a_refusal(claim: Claim, at: Instant) -> Attempt:
    """The first attempt of a claim, answered 500 after a millisecond."""
    return Attempt(
        public_id=ids.new_id(ids.ATTEMPT, at),
        message_id=claim.message.id,
        endpoint_id=claim.endpoint_id,
        claim_number=claim.claim_number,
        number=1,
        trigger=Trigger.SCHEDULED,
        outcome=Outcome.REJECTED,
        status_code=500,
        reason="",
        response=b"",
        url="",
        address="",
        started_at=at,
        duration=1,
    )
