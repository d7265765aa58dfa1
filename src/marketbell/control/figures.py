"""Figures of endpoints over a time, from counters."""

from __future__ import annotations

from typing import Final

from marketbell.control import applications
from marketbell.control.services import Services
from marketbell.control.tokens import Principal
from marketbell.errors import InvalidError
from marketbell.model import Endpoint, Instant, Millis
from marketbell.store.base import AttemptFigures, EndpointFigures

TIME_MAX: Final[Millis] = 28 * 86_400_000
"""The longest time that figures are of."""


async def of_endpoint(
    services: Services,
    principal: Principal,
    application_ref: str,
    ref: str,
    *,
    since: Instant | None,
    until: Instant | None,
) -> EndpointFigures:
    """Where the deliveries of the messages accepted in a time stand now. NotFoundError, InvalidError."""
    endpoint, since, until = await _asked(services, principal, application_ref, ref, since, until)
    return await services.store.endpoint_figures(endpoint.id, since=since, until=until)


async def of_attempts(
    services: Services,
    principal: Principal,
    application_ref: str,
    ref: str,
    *,
    since: Instant | None,
    until: Instant | None,
) -> AttemptFigures:
    """What became of the attempts begun in a time. NotFoundError, InvalidError."""
    endpoint, since, until = await _asked(services, principal, application_ref, ref, since, until)
    return await services.store.attempt_figures(endpoint.id, since=since, until=until)


async def _asked(  # noqa: PLR0917 - what both questions have in common
    services: Services,
    principal: Principal,
    application_ref: str,
    ref: str,
    since: Instant | None,
    until: Instant | None,
) -> tuple[Endpoint, Instant, Instant]:
    """The endpoint and the time; the last 28 days where nothing is said."""
    application = await applications.get(services, principal, application_ref)
    endpoint = await services.store.endpoint(application.id, ref)
    if until is None:
        now = services.clock.now()
        until = now if since is None else min(now, since + TIME_MAX)
    if since is None:
        since = max(0, until - TIME_MAX)
    if since > until:
        raise InvalidError(("query", "since"), "since lies after until; change one of them")
    if until - since > TIME_MAX:
        raise InvalidError(
            ("query", "since"), "The time from since to until is longer than 28 days; ask for less"
        )
    return endpoint, since, until
