"""Plans and claims for tests of turns: only what turns depend on is told, the rest is made up."""

from __future__ import annotations

import itertools

from marketbell.delivery.plan import Plan
from marketbell.dialects.standard import Standard
from marketbell.model import Application, Claim, Message, Policy
from support.values import an_endpoint

NOW = 1_767_225_600_000
STANDARD = Standard()
ids = itertools.count(1)


def make_plan(
    endpoint_id: int,
    *,
    application_id: int = 1,
    revision: int = 1,
    cap: int = 8,
    rate: int | None = None,
    shared_rate: int | None = None,
    ordered: bool = False,
    paused: bool = False,
) -> Plan:
    application = Application(
        id=application_id,
        public_id=f"app_{application_id}",
        organization="org_1",
        uid=None,
        name="",
        metadata={},
        policy=Policy(),
        throttle_rate=shared_rate,
        revision=1,
        created_at=0,
        updated_at=0,
    )
    endpoint = an_endpoint(
        id=endpoint_id,
        public_id=f"ep_{endpoint_id}",
        application_id=application_id,
        url="https://seller.example/",
        throttle_rate=rate,
        paused=paused,
        revision=revision,
    )
    return Plan(
        application=application,
        endpoint=endpoint,
        dialect=STANDARD,
        schedule=STANDARD.schedule,
        honours=STANDARD.honours,
        target=None,
        fault="",
        timeout=15_000,
        max_in_flight=cap,
        order_by=("id",) if ordered else None,
        hold_on_failure=False,
    )


def make_claim(
    endpoint_id: int, *, attempts: int = 0, size: int = 10, lease_until: int = NOW + 60_000
) -> Claim:
    message_id = next(ids)
    return Claim(
        message=Message(
            id=message_id,
            public_id=f"msg_{message_id}",
            application_id=1,
            event_type="part.created",
            event_id=None,
            payload=b"x" * size,
            occurred_at=NOW,
            created_at=NOW,
            payload_expires_at=NOW,
        ),
        endpoint_id=endpoint_id,
        endpoint_revision=1,
        claim_number=1,
        attempt_count=attempts,
        born_at=NOW,
        due_at=NOW,
        lease_until=lease_until,
    )
