"""Short ways to fill a store and to move what it holds, as the control plane and a sender would."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from marketbell import ids
from marketbell.model import (
    Application,
    Attempt,
    Claim,
    DeliveryState,
    Endpoint,
    Instant,
    Message,
    Millis,
    Outcome,
    SigningKey,
    Verdict,
)
from marketbell.store.base import (
    Ages,
    ApplicationDraft,
    Birth,
    ClaimRequest,
    EndpointDraft,
    Pruned,
    Publication,
    Published,
    Result,
    Store,
)
from marketbell.testing.clock import START

ORGANIZATION = "org_23rb8YdGqMT0qIzpgGwdXfHirMu"
PAYLOAD_RETENTION: Millis = 90 * 86_400_000
"""What `SqliteOptions.payload_retention` is by default: payloads of this age are noted nowhere."""


class Scene:
    """
    A store with a present instant; each method is one step of a story.

    What a step needs and is not told, it makes up: names, payloads, ids. Time stands still
    unless `now` is set.
    """

    def __init__(self, store: Store, *, now: Instant = START) -> None:
        self.store = store
        self.now = now
        self._count = 0

    def pass_time(self, time_passed: Millis) -> None:
        """Let the present be that much later."""
        self.now += time_passed

    async def application(self, organization: str = ORGANIZATION, **draft: Any) -> Application:
        """A new application; `draft` is of ApplicationDraft."""
        # Without a mark nothing is a repetition.
        return cast(
            Application,
            await self.store.create_application(
                organization,
                ApplicationDraft(**{"name": self._name("seller"), **draft}),
                now=self.now,
            ),
        )

    async def endpoint(
        self, application: Application, *, endpoints_max: int = 500, **draft: Any
    ) -> Endpoint:
        """A new endpoint with a secret; `draft` is of EndpointDraft."""
        return cast(
            Endpoint,
            await self.store.create_endpoint(
                application.id,
                EndpointDraft(
                    **{
                        "url": f"https://{self._name('seller')}.example/hooks",
                        "secret": SigningKey(kind="v1", secret=bytes(32)),
                        **draft,
                    }
                ),
                now=self.now,
                endpoints_max=endpoints_max,
            ),
        )

    async def seller(self) -> tuple[Application, Endpoint]:
        """An application with one endpoint."""
        application = await self.application()
        return application, await self.endpoint(application)

    async def update(self, endpoint: Endpoint, **changes: Any) -> Endpoint:
        """Change an endpoint in some fields only; `changes` are of EndpointDraft."""
        kept = {
            name: getattr(endpoint, name)
            for name in EndpointDraft.__struct_fields__
            if name != "secret"
        }
        return await self.store.update_endpoint(
            endpoint.application_id,
            endpoint.public_id,
            EndpointDraft(**{**kept, **changes}),
            now=self.now,
        )

    def message(self, application: Application, **fields: Any) -> Message:
        """A message that is not kept yet; `fields` are of Message."""
        kept_for = fields.pop("kept_for", PAYLOAD_RETENTION)
        return Message(
            **{
                "id": 0,
                "public_id": ids.new_id(ids.MESSAGE, self.now),
                "application_id": application.id,
                "event_type": "part.updated",
                "event_id": None,
                "payload": b'{"part":%d}' % self._number(),
                "occurred_at": self.now,
                "created_at": self.now,
                "payload_expires_at": self.now + kept_for,
                **fields,
            }
        )

    async def publish(
        self,
        application: Application,
        *endpoints: Endpoint,
        order_key: bytes | None = None,
        lease: Millis = 0,
        **fields: Any,
    ) -> Published:
        """Keep a message with a delivery to each of the endpoints, due now; born claimed with a lease."""
        revision = (
            await self.store.subscribers(application.organization, application.public_id)
        ).revision
        births = tuple(
            Birth(
                endpoint_id=endpoint.id,
                due_at=self.now,
                lease_until=self.now + lease if lease else 0,
                order_key=order_key,
            )
            for endpoint in endpoints
        )
        (verdict,) = await self.store.publish(
            [
                Publication(
                    message=self.message(application, **fields), revision=revision, births=births
                )
            ]
        )
        if not isinstance(verdict, Published):
            raise verdict
        return verdict

    async def claim(
        self, *, limit: int = 100, lease: Millis = 60_000, lanes: Sequence[int] = ()
    ) -> tuple[Claim, ...]:
        """Claim what is due now, in order of messages."""
        claimed = await self.store.claim(
            ClaimRequest(
                now=self.now,
                lease_until=self.now + lease,
                limit=limit,
                rooms={},
                lanes=lanes,
                new_room=limit,
            )
        )
        return tuple(sorted(claimed.claims, key=lambda claim: claim.message.id))

    def attempt(self, claim: Claim, status_code: int = 200, **fields: Any) -> Attempt:
        """What came of a claim's request; `fields` are of Attempt."""
        accepted = 200 <= status_code < 300
        return Attempt(
            **{
                "public_id": ids.new_id(ids.ATTEMPT, self.now),
                "message_id": claim.message.id,
                "endpoint_id": claim.endpoint_id,
                "claim_number": claim.claim_number,
                "number": claim.attempt_count + 1,
                "trigger": claim.trigger,
                "outcome": Outcome.ACCEPTED if accepted else Outcome.REJECTED,
                "status_code": status_code,
                "reason": "" if accepted else f"answered {status_code}",
                "response": b"ok" if accepted else b"no",
                "url": "https://seller.example/hooks",
                "address": "203.0.113.7:443",
                "started_at": self.now,
                "duration": 20,
                **fields,
            }
        )

    async def record(
        self,
        claim: Claim,
        status_code: int = 200,
        *,
        again_at: Instant | None = None,
        hold_key: bool = False,
        **fields: Any,
    ) -> Attempt:
        """Record a claim's attempt: delivered, due again at an instant, or failed for good."""
        attempt = self.attempt(claim, status_code, **fields)
        if attempt.outcome is Outcome.ACCEPTED:
            verdict = Verdict(state=DeliveryState.DELIVERED)
        elif again_at is not None:
            verdict = Verdict(state=DeliveryState.PENDING, due_at=again_at)
        else:
            verdict = Verdict(state=DeliveryState.FAILED)
        await self.store.record(
            [Result(claim=claim, attempt=attempt, verdict=verdict, hold_key=hold_key)]
        )
        return attempt

    async def deliver(
        self, application: Application, *endpoints: Endpoint, **fields: Any
    ) -> Message:
        """Publish a message and have every one of its deliveries accepted."""
        published = await self.publish(application, *endpoints, lease=60_000, **fields)
        for claim in published.claims:
            await self.record(claim)
        return published.message

    async def prune(self, ages: Ages, *, limit: int = 100) -> Pruned:
        """Prune in steps until no more work is at hand; what went in all."""
        steps: list[Pruned] = []
        while not steps or steps[-1].more:
            steps.append(await self.store.prune(ages, now=self.now, limit=limit))
        return Pruned(
            payloads=sum(step.payloads for step in steps),
            attempts=sum(step.attempts for step in steps),
            messages=sum(step.messages for step in steps),
            cancelled=sum(step.cancelled for step in steps),
        )

    def _number(self) -> int:
        self._count += 1
        return self._count

    def _name(self, kind: str) -> str:
        return f"{kind}-{self._number()}"
