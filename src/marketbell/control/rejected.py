"""Messages of the outbox that were refused, as their operator sees them."""

from __future__ import annotations

from marketbell.control.services import Services
from marketbell.control.tokens import Principal
from marketbell.store.base import Once, Page, Rejected, Repeated, Slice


async def listed(services: Services, principal: Principal, page: Page) -> Slice[Rejected]:
    """A slice of the organization's, newest first, without what they say."""
    return await services.store.rejected(principal.organization, page)


async def get(services: Services, principal: Principal, rejected: str) -> Rejected:
    """One with what it says. NotFoundError."""
    return await services.store.rejected_one(principal.organization, rejected)


async def drop(services: Services, principal: Principal, rejected: str) -> None:
    """Forget one. NotFoundError."""
    await services.store.drop_rejected(principal.organization, rejected)


async def requeue(
    services: Services, principal: Principal, rejected: str, once: Once | None
) -> Rejected | Repeated:
    """Put one into the outbox again: it is taken once more, as if it came now. NotFoundError."""
    return await services.store.requeue_rejected(
        principal.organization, rejected, now=services.clock.now(), once=once
    )
