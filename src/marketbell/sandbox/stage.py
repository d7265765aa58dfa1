"""Where the sandbox plays: one seller of each marketplace with its stock, and who acts there."""

from __future__ import annotations

import random
import uuid
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Final, TypeVar

import msgspec

from marketbell.control.sellers import OVOKO, SELLER_CENTER, OvokoSecrets, create_seller
from marketbell.control.services import Services
from marketbell.control.tokens import Principal
from marketbell.dialects.ovoko import PartStatus
from marketbell.errors import NotFoundError
from marketbell.marketplace.decision import Decision, Event
from marketbell.marketplace.ledger import Ledger
from marketbell.marketplace.ovoko.market import Market
from marketbell.marketplace.sellercenter import runs
from marketbell.marketplace.sellercenter.products import QcStatus
from marketbell.marketplace.sellercenter.seller import Seller
from marketbell.model import Application, Instant
from marketbell.sandbox import sample
from marketbell.store.base import EntityFilter

Loaded = TypeVar("Loaded")
Answer = TypeVar("Answer")

ORGANIZATION: Final = "org_sandbox"
"""Whose sellers they are; keeps them apart from all else in the database."""
SELLERS: Final = {OVOKO: "Sample parts shop", SELLER_CENTER: "Sample department store"}
"""The sellers' names by marketplace, which is also each one's uid."""
PARTS: Final = 40
PRODUCTS: Final = 12

_told: ContextVar[list[Event] | None] = ContextVar("told", default=None)


class WatchedLedger(Ledger):
    """A ledger that remembers, within `listening`, what it has announced."""

    async def act(
        self,
        application: Application,
        load: Callable[[], Awaitable[Loaded]],
        decide: Callable[[Loaded, Instant], Decision[Answer]],
    ) -> Answer:
        """See Ledger.act."""
        last: list[Event] = []

        def noted(loaded: Loaded, now: Instant) -> Decision[Answer]:
            decision = decide(loaded, now)
            last[:] = decision.events
            return decision

        answer = await super().act(application, load, noted)
        heard = _told.get()
        if heard is not None:
            heard.extend(last)
        return answer


async def listening(work: Awaitable[Answer]) -> tuple[Answer, tuple[Event, ...]]:
    """What a piece of work gives, and what was announced on the way, in order."""
    heard: list[Event] = []
    token = _told.set(heard)
    try:
        answer = await work
    finally:
        _told.reset(token)
    return answer, tuple(heard)


class Stage:
    """One seller of each marketplace, with the ways to let things happen to it."""

    def __init__(
        self, services: Services, sellers: dict[str, Application], logins: dict[str, dict[str, str]]
    ) -> None:
        self.services = services
        self.sellers = sellers
        self.logins = logins
        """What each seller's own calls carry, by the API's own names; secrets."""
        ledger = WatchedLedger(services)
        self.market = Market(services.store, ledger)
        self.shop = Seller(services=services, ledger=ledger, application=sellers[SELLER_CENTER])
        self.by_hand: set[str] = set()
        """Feeds that somebody queued here, and will finish or fail himself."""

    @property
    def parts_seller(self) -> Application:
        """The seller at Ovoko."""
        return self.sellers[OVOKO]


async def open_stage(services: Services, seed: int) -> Stage:
    """
    The two sellers as the database has them, made with their stock if it has none yet.

    The same seed makes the same stock; the secrets are made up each time.
    """
    sellers: dict[str, Application] = {}
    logins: dict[str, dict[str, str]] = {}
    principal = Principal(ORGANIZATION, actor="sandbox")
    for marketplace, name in SELLERS.items():
        try:
            found = await services.store.application(ORGANIZATION, marketplace)
        except NotFoundError:
            made = await create_seller(services, principal, marketplace, name, uid=marketplace)
            sellers[marketplace], logins[marketplace] = made.application, made.login
        else:
            sellers[marketplace] = found
            logins[marketplace] = await _login(services, found, marketplace)
    stage = Stage(services, sellers, logins)
    await _fill(stage, seed)
    return stage


async def _login(services: Services, application: Application, marketplace: str) -> dict[str, str]:
    """The seller's first user, as it was made."""
    known = await services.store.credentials(application.id)
    credential = next((one for one in known if one.marketplace == marketplace), None)
    if credential is None:
        raise NotFoundError(f"The seller {marketplace!r} of this database has no user any more.")
    if marketplace == OVOKO:
        secret = msgspec.json.decode(credential.secret, type=OvokoSecrets)
        return {
            "username": credential.user,
            "password": secret.password,
            "user_token": secret.user_token,
        }
    return {"UserID": credential.user, "ApiKey": credential.secret.decode()}


async def _fill(stage: Stage, seed: int) -> None:
    """Sample parts and products, where there are none."""
    rng = random.Random(f"fill {seed}")  # noqa: S311 - to be reproduced
    parts = await _count(stage, OVOKO, "part")
    if not parts:
        for part in sample.stock(seed, PARTS):
            await stage.market.import_part(stage.parts_seller, part, PartStatus.IN_WAREHOUSE)
    if not await _count(stage, SELLER_CENTER, "product"):
        feed = await runs.create_feed(
            stage.shop, "ProductCreate", sample.goods(seed, PRODUCTS), feed_id=feed_id(rng)
        )
        await runs.run_feed(stage.shop, feed)
        skus = [record.sku for record in sample.goods(seed, PRODUCTS)]
        await runs.judge_products(stage.shop, skus[: PRODUCTS // 2], QcStatus.APPROVED)


async def _count(stage: Stage, marketplace: str, kind: str) -> int:
    counts = await stage.services.store.count_entities(
        stage.sellers[marketplace].id, EntityFilter(kind=kind)
    )
    return sum(counts.values())


def feed_id(rng: random.Random) -> str:
    """A feed's UUID, the same for the same seed."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))
