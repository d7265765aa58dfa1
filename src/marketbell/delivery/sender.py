"""One claim becomes one attempt: render, send within the limits, tell what came of it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from marketbell.clock import Clock
from marketbell.delivery.exchange import Exchange, Kind, Limits
from marketbell.delivery.http1 import Client
from marketbell.delivery.plan import Plan
from marketbell.dialects.base import AttemptStart, Request
from marketbell.ids import ATTEMPT, new_id
from marketbell.model import Attempt, Claim, Instant, Millis, Outcome


class Sent(msgspec.Struct, frozen=True, gc=False):
    """An attempt that has ended, with what deciding needs beside it."""

    attempt: Attempt
    retry_after: str | None
    ended_at: Instant
    sent_bytes: int


class SendLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of an exchange that no policy changes; seconds and bytes."""

    resolve_s: float
    connect_s: float
    first_byte_s: float
    header_bytes: int
    reply_bytes: int
    slack_ms: Millis = 1_000
    """Allowed beside the time-out for the way from the check of the lease to the first byte."""


class Sender:
    """
    Makes attempts. Whatever a receiver does becomes an attempt with a reason; nothing raises.

    Right before a request is begun the dispatcher looks at the lease: a claim whose lease could
    end before the exchange must is not sent.
    """

    def __init__(self, client: Client, clock: Clock, limits: SendLimits) -> None:
        self._client = client
        self._clock = clock
        self._limits = limits
        self._by_timeout: dict[Millis, Limits] = {}

    def ends_by(self, plan: Plan, now: Instant) -> Instant:
        """When an exchange that is begun now has surely ended, on the axis of leases as `now` is."""
        return now + int((plan.timeout + self._limits.slack_ms) * self._clock.speed)

    def send(
        self, plan: Plan, claim: Claim, *, fresh: bool, done: Callable[[Sent], None]
    ) -> Callable[[], None]:
        """
        Begin an attempt; `done` is called once, later, from the loop.

        What comes back breaks the exchange off; `done` is called for it all the same.
        """
        started_at = self._clock.now()
        number = claim.attempt_count + 1
        if plan.target is None:
            return self._later(plan, claim, started_at, plan.fault, done)
        try:
            request = plan.dialect.render(
                claim.message, plan.endpoint, AttemptStart(started_at, number)
            )
        except Exception as error:
            return self._later(plan, claim, started_at, f"dialect: {error!r}", done)

        def ended(exchange: Exchange) -> None:
            done(self._sent(plan, claim, request, started_at, exchange))

        flight = self._client.send(
            plan.target, request, self._exchange_limits(plan.timeout), ended, fresh=fresh
        )
        return flight.cancel

    def _exchange_limits(self, timeout: Millis) -> Limits:
        known = self._by_timeout.get(timeout)
        if known is None:
            if len(self._by_timeout) > 1_000:
                self._by_timeout.clear()
            limits, total_s = self._limits, timeout / 1000
            known = self._by_timeout[timeout] = Limits(
                resolve_s=min(limits.resolve_s, total_s),
                connect_s=min(limits.connect_s, total_s),
                first_byte_s=min(limits.first_byte_s, total_s),
                total_s=total_s,
                header_bytes=limits.header_bytes,
                reply_bytes=limits.reply_bytes,
            )
        return known

    def _sent(
        self, plan: Plan, claim: Claim, request: Request, started_at: Instant, exchange: Exchange
    ) -> Sent:
        reason = exchange.reason
        if exchange.kind is Kind.ANSWERED:
            outcome = Outcome.REJECTED
            try:
                if plan.dialect.accepted(exchange.status):
                    outcome = Outcome.ACCEPTED
                else:
                    reason = f"answered {exchange.status}"
            except Exception as error:
                reason = f"dialect: {error!r}"
        elif exchange.kind is Kind.CLOSED:
            outcome = Outcome.CLOSED
        else:
            outcome = Outcome.NO_ANSWER
        attempt = Attempt(
            public_id=new_id(ATTEMPT, started_at),
            message_id=claim.message.id,
            endpoint_id=claim.endpoint_id,
            claim_number=claim.claim_number,
            number=claim.attempt_count + 1 if outcome.counted else 0,
            trigger=claim.trigger,
            outcome=outcome,
            status_code=exchange.status if exchange.kind is Kind.ANSWERED else 0,
            reason=reason,
            response=exchange.body,
            url=plan.endpoint.url,
            address=exchange.address,
            started_at=started_at,
            duration=exchange.duration,
        )
        return Sent(attempt, exchange.retry_after, self._clock.now(), len(request.body))

    def _later(
        self,
        plan: Plan,
        claim: Claim,
        started_at: Instant,
        reason: str,
        done: Callable[[Sent], None],
    ) -> Callable[[], None]:
        exchange = Exchange(Kind.FAILED, reason)
        sent = self._sent(plan, claim, Request((), b""), started_at, exchange)
        timer = self._clock.call_at(started_at, lambda: done(sent))
        del timer  # it is due at once; what is begun is not taken back
        return lambda: None
