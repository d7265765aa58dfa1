"""One seller at work: whose things they are, and where they are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Final

import msgspec

from marketbell.control.services import Services
from marketbell.errors import NotFoundError
from marketbell.marketplace.ledger import Ledger
from marketbell.model import Application
from marketbell.store.marketplace_plane import Entity, EntityFilter

PAGE: Final = 1_000
"""Rows read at once where all of a list is gone through."""


PROFILE_KEY: Final = "sellercenter-profile"
"""The metadata key of an application that says whose ways its Seller Center has."""
LINIO: Final = "linio"
"""A callback URL may be used once only; any other profile is Falabella's, where it may be shared."""


class Seller(msgspec.Struct, frozen=True, kw_only=True):
    """An application of the marketplace, with the store and the ledger of its things."""

    services: Services
    ledger: Ledger
    application: Application

    @property
    def unique_urls(self) -> bool:
        """Whether each of its webhooks must have a URL of its own, as Linio has it."""
        profile = self.application.metadata.get(PROFILE_KEY, "")
        if not profile:
            return self.services.settings.sellercenter_linio
        return profile.strip().lower() == LINIO

    async def by_key(self, kind: str, key: str) -> Entity:
        """The one of this kind with this key. NotFoundError."""
        found = await self.keyed(kind, [key])
        if key not in found:
            raise NotFoundError(f"There is no such {kind}.")
        return found[key]

    async def keyed(self, kind: str, keys: Iterable[str]) -> dict[str, Entity]:
        """Those of this kind with these keys, by key."""
        wanted = tuple(dict.fromkeys(keys))
        if not wanted:
            return {}
        found = await self.services.store.entities(
            self.application.id, EntityFilter(kind=kind, keys=wanted), limit=len(wanted)
        )
        return {entity.key: entity for entity in found}

    async def numbered(self, kind: str, numbers: Iterable[int]) -> dict[int, Entity]:
        """Those of this kind with these numbers, by number."""
        wanted = tuple(dict.fromkeys(numbers))
        if not wanted:
            return {}
        found = await self.services.store.entities(
            self.application.id, EntityFilter(kind=kind, numbers=wanted), limit=len(wanted)
        )
        return {entity.number: entity for entity in found}

    async def all_of(self, which: EntityFilter, *, most: int) -> AsyncIterator[Entity]:
        """Every one that passes, page by page, up to `most` of them."""
        for offset in range(0, most, PAGE):
            found = await self.services.store.entities(
                self.application.id, which, offset=offset, limit=min(PAGE, most - offset)
            )
            for entity in found:
                yield entity
            if len(found) < PAGE:
                return
