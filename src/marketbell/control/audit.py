"""The audit log as its reader sees it."""

from __future__ import annotations

from msgspec.structs import replace

from marketbell import ids
from marketbell.control import applications
from marketbell.control.services import Services
from marketbell.control.tokens import Principal
from marketbell.store.base import AuditEntry, AuditFilter, Page, Slice


async def listed(
    services: Services, principal: Principal, which: AuditFilter, page: Page
) -> Slice[AuditEntry]:
    """
    A slice of the organization's log, newest first; `which.application` may be a uid.

    A uid must be that of a live application (NotFoundError); an id may be of a deleted one.
    """
    if which.application is not None and not ids.is_id(ids.APPLICATION, which.application):
        found = await applications.get(services, principal, which.application)
        which = replace(which, application=found.public_id)
    return await services.store.audit_log(principal.organization, which, page)
