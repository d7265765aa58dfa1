"""The first resources of a store: the control plane's protocols, each a share of a transaction."""

from __future__ import annotations

from functools import cached_property
from typing import Final

from marketbell.model import (
    Application,
    DeliveryState,
    Endpoint,
    Instant,
    Message,
    SigningKey,
)
from marketbell.store import (
    applications,
    audit,
    configuration,
    endpoints,
    history,
    present,
    retention,
)
from marketbell.store.base import (
    Ages,
    ApplicationDraft,
    AuditEntry,
    AuditFilter,
    EndpointDraft,
    Gauges,
    Once,
    Page,
    Pruned,
    Repeated,
    Slice,
    Subscribers,
    Waiting,
)
from marketbell.store.once import sealed
from marketbell.store.resource import Resource
from marketbell.store.transaction import Transaction

_ROTATED: Final = b"answer of a rotation"
"""What a sealed answer to a rotation is for."""


class CoreResource(Resource):
    """Applications, Endpoints, History and Retention over a writer and readers."""

    @cached_property
    def _walks(self) -> retention.Walks:
        return retention.Walks()

    # -- Applications -----------------------------------------------------------------------

    async def create_application(
        self, organization: str, draft: ApplicationDraft, *, now: Instant, once: Once | None = None
    ) -> Application | Repeated:
        """See Applications.create_application."""
        return await self._write(
            lambda transaction: applications.create_application(
                transaction, organization, draft, now=now, mark=once
            )
        )

    async def get_or_create_application(
        self, organization: str, draft: ApplicationDraft, *, now: Instant, once: Once | None = None
    ) -> tuple[Application, bool] | Repeated:
        """See Applications.get_or_create_application."""
        return await self._write(
            lambda transaction: applications.get_or_create_application(
                transaction, organization, draft, now=now, mark=once
            )
        )

    async def application(self, organization: str, ref: str) -> Application:
        """See Applications.application."""
        return await self._read(
            lambda transaction: configuration.find_application(transaction, organization, ref)
        )

    async def applications(self, organization: str, page: Page) -> Slice[Application]:
        """See Applications.applications."""
        return await self._read(
            lambda transaction: applications.applications(transaction, organization, page)
        )

    async def update_application(
        self,
        organization: str,
        ref: str,
        draft: ApplicationDraft,
        *,
        now: Instant,
        revision: int | None = None,
    ) -> Application:
        """See Applications.update_application."""
        return await self._write(
            lambda transaction: applications.update_application(
                transaction, organization, ref, draft, now=now, revision=revision
            )
        )

    async def delete_application(self, organization: str, ref: str, *, now: Instant) -> None:
        """See Applications.delete_application."""
        await self._write(
            lambda transaction: applications.delete_application(
                transaction, organization, ref, now=now
            )
        )

    async def subscribers(self, organization: str, ref: str) -> Subscribers:
        """See Applications.subscribers."""
        return await self._read(
            lambda transaction: configuration.subscribers(transaction, self._box, organization, ref)
        )

    async def subscribers_revision(self, application_id: int) -> int | None:
        """See Applications.subscribers_revision."""
        return await self._read(
            lambda transaction: configuration.subscribers_revision(transaction, application_id)
        )

    # -- Endpoints --------------------------------------------------------------------------

    async def create_endpoint(
        self,
        application_id: int,
        draft: EndpointDraft,
        *,
        now: Instant,
        endpoints_max: int,
        revision: int | None = None,
        once: Once | None = None,
    ) -> Endpoint | Repeated:
        """See Endpoints.create_endpoint."""
        return await self._write(
            lambda transaction: endpoints.create_endpoint(
                transaction,
                self._box,
                application_id,
                draft,
                now=now,
                endpoints_max=endpoints_max,
                revision=revision,
                mark=once,
            )
        )

    async def endpoint(self, application_id: int, ref: str) -> Endpoint:
        """See Endpoints.endpoint."""
        return await self._read(
            lambda transaction: endpoints.endpoint(transaction, self._box, application_id, ref)
        )

    async def endpoints(self, application_id: int, page: Page) -> Slice[Endpoint]:
        """See Endpoints.endpoints."""
        return await self._read(
            lambda transaction: endpoints.endpoints(transaction, self._box, application_id, page)
        )

    async def update_endpoint(
        self,
        application_id: int,
        ref: str,
        draft: EndpointDraft,
        *,
        now: Instant,
        revision: int | None = None,
    ) -> Endpoint:
        """See Endpoints.update_endpoint."""
        return await self._write(
            lambda transaction: endpoints.update_endpoint(
                transaction, self._box, application_id, ref, draft, now=now, revision=revision
            )
        )

    async def delete_endpoint(self, application_id: int, ref: str, *, now: Instant) -> None:
        """See Endpoints.delete_endpoint."""
        await self._write(
            lambda transaction: endpoints.delete_endpoint(transaction, application_id, ref, now=now)
        )

    async def rotate_secret(
        self,
        application_id: int,
        ref: str,
        key: SigningKey,
        *,
        overlap_until: Instant,
        secrets_max: int,
        now: Instant,
        once: Once | None = None,
    ) -> Repeated | None:
        """See Endpoints.rotate_secret; what answers a repetition holds the secret, and is kept sealed."""
        mark = None if once is None else sealed(once, self._box, _ROTATED)
        made = await self._write(
            lambda transaction: endpoints.rotate_secret(
                transaction,
                self._box,
                application_id,
                ref,
                key,
                overlap_until=overlap_until,
                secrets_max=secrets_max,
                now=now,
                mark=mark,
            )
        )
        if isinstance(made, Repeated):
            return Repeated(self._box.open(made.answer, _ROTATED))
        return made

    async def pause_endpoint(
        self,
        application_id: int,
        ref: str,
        *,
        paused: bool,
        now: Instant,
        once: Once | None = None,
    ) -> Repeated | None:
        """See Endpoints.pause_endpoint."""
        return await self._write(
            lambda transaction: endpoints.pause_endpoint(
                transaction, application_id, ref, paused=paused, now=now, mark=once
            )
        )

    async def disable_endpoint(self, endpoint_id: int, *, now: Instant) -> str | None:
        """See Queue.disable_endpoint."""
        return await self._write(
            lambda transaction: endpoints.disable_endpoint(transaction, endpoint_id, now=now),
            bounded=False,
            configures=True,
        )

    # -- History ----------------------------------------------------------------------------

    async def message(self, application_id: int, ref: str) -> Message:
        """See History.message."""
        return await self._read(
            lambda transaction: history.message(transaction, application_id, ref)
        )

    async def delivery_states(self, message_id: int) -> dict[str, DeliveryState]:
        """See History.delivery_states."""
        return await self._read(
            lambda transaction: history.delivery_states(transaction, message_id)
        )

    async def resend(
        self,
        application_id: int,
        message_ref: str,
        endpoint_ref: str,
        *,
        now: Instant,
        once: Once | None = None,
    ) -> Repeated | None:
        """See History.resend."""
        return await self._write(
            lambda transaction: history.resend(
                transaction, application_id, message_ref, endpoint_ref, now=now, mark=once
            )
        )

    # -- Audit ------------------------------------------------------------------------------

    async def audit_log(
        self, organization: str, which: AuditFilter, page: Page
    ) -> Slice[AuditEntry]:
        """See Audit.audit_log."""
        return await self._read(
            lambda transaction: audit.audit_log(transaction, organization, which, page)
        )

    # -- Retention --------------------------------------------------------------------------

    async def prune(
        self, ages: Ages, *, now: Instant, limit: int, real_now: Instant | None = None
    ) -> Pruned:
        """See Retention.prune."""
        real = now if real_now is None else real_now

        def step(transaction: Transaction) -> tuple[Pruned, retention.Walks]:
            walks = self._walks.step()
            return retention.prune(transaction, walks, ages, now=now, real=real, limit=limit), walks

        pruned, self._walks = await self._write(step, bounded=False, configures=True)
        return pruned

    async def failing_since(self, before: Instant, limit: int) -> tuple[int, ...]:
        """See Retention.failing_since."""
        return await self._read(
            lambda transaction: present.failing_since(transaction, before, limit)
        )

    async def gauges(self, *, now: Instant) -> Gauges:
        """See Retention.gauges."""
        return await self._read(
            lambda transaction: present.gauges(transaction, self._sizes(), now=now)
        )

    async def waiting(self, ages: Ages, *, now: Instant) -> Waiting:
        """See Retention.waiting."""
        return await self._read(lambda transaction: present.waiting(transaction, ages, now=now))
