"""What the use cases stand on: the parts of one running node, put together once."""

from __future__ import annotations

from typing import Self

import msgspec

from marketbell.clock import Clock
from marketbell.control.directory import Directory
from marketbell.control.policy import Bounds
from marketbell.control.publishing import Publisher
from marketbell.control.schemas import Schemas
from marketbell.control.site import Site
from marketbell.control.turns import Turns
from marketbell.delivery.addresses import Networks
from marketbell.delivery.intake import Intake
from marketbell.dialects.registry import Registry
from marketbell.observe import Observer
from marketbell.settings import Settings
from marketbell.store.base import Store


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """All that a use case may need; made by `assemble`."""

    settings: Settings
    clock: Clock
    store: Store
    intake: Intake
    registry: Registry
    networks: Networks
    directory: Directory
    schemas: Schemas
    publisher: Publisher
    turns: Turns
    site: Site

    @classmethod
    def assemble(
        cls,
        *,
        settings: Settings,
        clock: Clock,
        store: Store,
        intake: Intake,
        registry: Registry,
        observer: Observer,
    ) -> Self:
        """The services of a node; listens to the store's changes from now on."""
        directory = Directory(store, registry)
        schemas = Schemas(store)
        turns = Turns()
        return cls(
            settings=settings,
            clock=clock,
            store=store,
            intake=intake,
            registry=registry,
            networks=Networks(settings.allow_networks),
            directory=directory,
            schemas=schemas,
            publisher=Publisher(
                clock=clock,
                store=store,
                intake=intake,
                directory=directory,
                schemas=schemas,
                observer=observer,
                turns=turns,
                payload_retention=settings.payload_retention,
            ),
            turns=turns,
            site=Site(settings),
        )

    def bounds(self, *, operator: bool) -> Bounds:
        """What a policy may say; an application's own token gets less in flight."""
        return Bounds(
            dialects=self.registry.names,
            timeout_max=self.settings.timeout_max,
            max_in_flight_max=4_096 if operator else self.settings.endpoint_in_flight,
        )
