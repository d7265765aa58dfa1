"""One claim becomes one attempt: render, send within the limits, tell what came of it."""

from __future__ import annotations

from typing import Final

import msgspec

from marketbell.clock import Clock
from marketbell.delivery import reasons
from marketbell.delivery.exchange import Exchange, Kind, Limits
from marketbell.delivery.http1 import Client
from marketbell.delivery.plan import Plan
from marketbell.delivery.route import Forms, Route
from marketbell.delivery.sending import Sending
from marketbell.delivery.wire import bad_header, request_head
from marketbell.dialects.base import AttemptStart
from marketbell.ids import ATTEMPT, new_id
from marketbell.model import Attempt, Millis, Outcome

_ANSWERED: Final = Kind.ANSWERED
_ACCEPTED: Final = Outcome.ACCEPTED
_CLOSED: Final = Outcome.CLOSED


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
    end before the exchange must have ended is not sent.
    """

    def __init__(self, client: Client, clock: Clock, limits: SendLimits) -> None:
        self._client = client
        self._speed = clock.speed
        self._limits = limits
        self._by_timeout: dict[Millis, Limits] = {}
        self._forms = Forms()

    def route(self, plan: Plan) -> Route:
        """The way that requests of this plan take."""
        within = int((plan.timeout + self._limits.slack_ms) * self._speed)
        return Route(plan, self._exchange_limits(plan.timeout), within)

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

    def send(self, sending: Sending) -> None:
        """Begin an attempt; it lands once, later, whatever comes of it."""
        message, route, head = sending.claim.message, sending.route, None
        head_of = route.head_of
        if head_of is not None and not message.headers:
            sending.body = message.payload
            route.used = sending.started
            try:
                head = head_of(message, sending.started_at)
            except Exception:
                head = None  # rendering it tells what is wrong
        if head is None:
            head = self._rendered(sending)
            if head_of is None:
                self._forms.rendered(route, sending.started)
        if head is not None:
            sending.head = head
            self._client.fly(sending)

    def _rendered(self, sending: Sending) -> bytes | None:
        """The request's head, made by the dialect anew, and its body; if it cannot be sent it has landed."""
        plan, claim = sending.plan, sending.claim
        if plan.target is None:
            sending.landed(Exchange(Kind.FAILED, plan.fault))
            return None
        try:
            request = plan.dialect.render(
                claim.message,
                plan.endpoint,
                AttemptStart(sending.started_at, claim.attempt_count + 1),
            )
        except Exception as error:
            sending.landed(Exchange(Kind.FAILED, f"dialect: {error!r}"))
            return None
        sending.body = request.body
        head = request_head(plan.target, request.headers, len(request.body))
        if head is None:
            reason = reasons.invalid_header(bad_header(request.headers))
            sending.landed(Exchange(Kind.FAILED, reason))
        return head

    def attempt(self, sending: Sending) -> Attempt:
        """What is recorded of one that has landed."""
        exchange, plan, claim = sending.exchange, sending.plan, sending.claim
        reason, status, number = exchange.reason, 0, claim.attempt_count + 1
        outcome = _ACCEPTED
        if exchange.kind is _ANSWERED:
            status = exchange.status
            try:
                if not plan.dialect.accepted(status):
                    outcome, reason = Outcome.REJECTED, f"answered {status}"
            except Exception as error:
                outcome, reason = Outcome.REJECTED, f"dialect: {error!r}"
        elif exchange.kind is Kind.CLOSED:
            outcome, number = _CLOSED, 0  # it is not counted
        else:
            outcome = Outcome.NO_ANSWER
        return Attempt(
            public_id=new_id(ATTEMPT, sending.started_at),
            message_id=claim.message.id,
            endpoint_id=claim.endpoint_id,
            claim_number=claim.claim_number,
            number=number,
            trigger=claim.trigger,
            outcome=outcome,
            status_code=status,
            reason=reason,
            response=exchange.body,
            url=plan.endpoint.url,
            address=exchange.address,
            started_at=sending.started_at,
            duration=exchange.duration,
        )
