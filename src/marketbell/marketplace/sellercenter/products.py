"""The life cycle of a product, and what the records of a feed do to a seller's products. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from marketbell.dialects.sellercenter import Products as ProductsPayload
from marketbell.marketplace.decision import Event
from marketbell.marketplace.machine import Actor, Machine, moves
from marketbell.marketplace.sellercenter.envelope import Element
from marketbell.marketplace.sellercenter.feeds import (
    FeedBody,
    Record,
    RecordError,
    RecordWarning,
)
from marketbell.model import Instant
from marketbell.store.marketplace_plane import Entity

KIND: Final = "product"

SKU_MAX: Final = 200
IMAGES_MAX: Final = 8
"""The most images of a product; the document's own limit."""


class ProductStatus(enum.StrEnum):
    """Whether a product is offered."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    DELETED = "deleted"


class QcStatus(enum.StrEnum):
    """What quality control says of a product."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"


_A, _I, _D = ProductStatus

PRODUCT: Final = Machine(
    "product",
    states=tuple(ProductStatus),
    initial=[_A, _I],
    final=[],
    moves=[
        *moves("deactivate", [_A, _D], _I, Actor.SELLER),
        *moves("activate", [_I, _D], _A, Actor.SELLER),
        *moves("remove", [_A, _I], _D, Actor.SELLER),
    ],
)
"""A removed product is kept, and an update with a status brings it back."""

QUALITY: Final = Machine(
    "product's quality control",
    states=tuple(QcStatus),
    initial=[QcStatus.PENDING],
    final=[],
    moves=[
        *moves("approve", [QcStatus.PENDING, QcStatus.REJECTED], QcStatus.APPROVED, Actor.SYSTEM),
        *moves("reject", [QcStatus.PENDING, QcStatus.APPROVED], QcStatus.REJECTED, Actor.SYSTEM),
        *moves(
            "review again", [QcStatus.APPROVED, QcStatus.REJECTED], QcStatus.PENDING, Actor.SYSTEM
        ),
    ],
)
"""Quality control may change its mind, so no state is final."""


class ProductBody(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a product beside its SKU, states and times."""

    fields: tuple[Element, ...] = ()
    """As the seller posted them, the latest of each name."""
    images: tuple[str, ...] = ()

    def text(self, name: str) -> str:
        """The text of a field, "" if it has none."""
        for field in self.fields:
            if field.name == name and isinstance(field.value, str):
                return field.value
        return ""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What working a feed off comes to."""

    changes: tuple[Entity, ...]
    events: tuple[Event, ...]
    """One of a kind at most, with every SKU of it in the feed's order."""
    body: FeedBody


def state_of(status: ProductStatus, quality: QcStatus) -> str:
    """The one word for both that a product's row has."""
    return f"{status} {quality}"


def states_of(product: Entity) -> tuple[ProductStatus, QcStatus]:
    """What a product's row says of both."""
    status, _, quality = product.state.partition(" ")
    return ProductStatus(status), QcStatus(quality)


def body_of(product: Entity) -> ProductBody:
    """What a product's row holds."""
    return msgspec.json.decode(product.body, type=ProductBody)


def run(
    feed: FeedBody,
    known: Mapping[str, Entity],
    numbers: Iterable[int],
    application_id: int,
    now: Instant,
) -> Run:
    """
    Work off every record of a feed over the products that its SKUs name.

    `numbers` are for products that come to be. A record that cannot be done is an error of
    its own and changes nothing; the second of one SKU is left out with a warning.
    """
    work = _Work(known, iter(numbers), application_id, now)
    seen: set[str] = set()
    for record in feed.records:
        if record.sku and record.sku in seen:
            work.warnings.append(
                RecordWarning(
                    "The following SKUs have been excluded, because they stand in the feed "
                    f"twice: {record.sku}",
                    record.sku,
                )
            )
            continue
        seen.add(record.sku)
        work.do(feed.action, record)
    total = len(feed.records)
    body = msgspec.structs.replace(
        feed,
        records=(),
        processed=total,
        failed=len(work.errors),
        errors=tuple(work.errors),
        warnings=tuple(work.warnings),
    )
    events = [
        Event(event_type=name, payload=ProductsPayload(seller_skus=tuple(skus)))
        for name, skus in (("onProductCreated", work.created), ("onProductUpdated", work.updated))
        if skus
    ]
    return Run(changes=tuple(work.changes.values()), events=tuple(events), body=body)


def judged(
    products: Iterable[Entity], quality: QcStatus
) -> tuple[tuple[Entity, ...], tuple[Event, ...]]:
    """Products with quality control's new word, and the one event that lists those it changed."""
    changes = []
    for product in products:
        status, before = states_of(product)
        after = QUALITY.to(before, quality, Actor.SYSTEM)
        if after != before:
            changes.append(msgspec.structs.replace(product, state=state_of(status, after)))
    if not changes:
        return (), ()
    skus = tuple(product.key for product in changes)
    payload = ProductsPayload(seller_skus=skus)
    return tuple(changes), (Event(event_type="onProductQcStatusChanged", payload=payload),)


class _RefusedError(Exception):
    """Why a record cannot be done."""


class _Work:
    """One run over a feed's records."""

    def __init__(
        self, known: Mapping[str, Entity], numbers: Iterable[int], application_id: int, now: Instant
    ) -> None:
        self.changes: dict[str, Entity] = {}
        self.created: list[str] = []
        self.updated: list[str] = []
        self.errors: list[RecordError] = []
        self.warnings: list[RecordWarning] = []
        self._known = known
        self._numbers = iter(numbers)
        self._application_id = application_id
        self._now = now

    def do(self, action: str, record: Record) -> None:
        """Do one record, or note why it cannot be done."""
        try:
            match action:
                case "ProductCreate":
                    self._create(record)
                case "ProductUpdate":
                    self._update(record)
                case "ProductRemove":
                    self._remove(record)
                case "Image":
                    self._image(record)
        except _RefusedError as refused:
            self.errors.append(RecordError(0, str(refused), record.sku))

    def _create(self, record: Record) -> None:
        _check_sku(record.sku)
        if record.sku in self._known:
            raise _RefusedError(f"SellerSku {record.sku} exists already; use ProductUpdate")
        body = ProductBody(fields=record.fields)
        if not body.text("Name"):
            raise _RefusedError("Field Name cannot be empty")
        status = _status(body.text("Status")) or ProductStatus.ACTIVE
        if status not in PRODUCT.initial:
            raise _RefusedError(f"A new product cannot be {status}")
        self.created.append(record.sku)
        self.changes[record.sku] = Entity(
            application_id=self._application_id,
            kind=KIND,
            number=next(iter(self._numbers)),
            key=record.sku,
            sole=True,
            state=state_of(status, QcStatus.PENDING),
            body=msgspec.json.encode(body),
            created_at=self._now,
            updated_at=self._now,
        )

    def _update(self, record: Record) -> None:
        product = self._product(record.sku)
        before = body_of(product)
        posted = {field.name for field in record.fields}
        kept = tuple(field for field in before.fields if field.name not in posted)
        body = msgspec.structs.replace(before, fields=kept + record.fields)
        status, quality = states_of(product)
        wanted = _status(ProductBody(fields=record.fields).text("Status"))
        if wanted is ProductStatus.DELETED:
            raise _RefusedError("Status deleted is set by ProductRemove")
        if wanted is not None:
            status = PRODUCT.to(status, wanted, Actor.SELLER)
        elif status is ProductStatus.DELETED:
            raise _RefusedError(
                f"SellerSku {record.sku} is deleted; send a Status to bring it back"
            )
        self._change(product, state_of(status, quality), body)

    def _remove(self, record: Record) -> None:
        product = self._product(record.sku)
        status, quality = states_of(product)
        removed = PRODUCT.next(status, "remove", Actor.SELLER)
        if removed == status:
            raise _RefusedError(f"Could not remove product: {record.sku} is deleted already")
        self._change(product, state_of(removed, quality), body_of(product))

    def _image(self, record: Record) -> None:
        product = self._product(record.sku)
        if states_of(product)[0] is ProductStatus.DELETED:
            raise _RefusedError(f"SellerSku {record.sku} is deleted")
        images = tuple(_images(record.fields))
        if not images:
            raise _RefusedError("Field Images cannot be empty")
        if len(images) > IMAGES_MAX:
            raise _RefusedError(
                f"There are {len(images)} images; a product has at most {IMAGES_MAX}"
            )
        for image in images:
            if not image.startswith(("http://", "https://")):
                raise _RefusedError(f"Field Image with value '{image[:200]}' is not a URL")
        body = msgspec.structs.replace(body_of(product), images=images)
        self._change(product, product.state, body)

    def _product(self, sku: str) -> Entity:
        _check_sku(sku)
        product = self._known.get(sku)
        if product is None:
            raise _RefusedError(f"SellerSku {sku} does not exist")
        return product

    def _change(self, product: Entity, state: str, body: ProductBody) -> None:
        encoded = msgspec.json.encode(body)
        if state == product.state and encoded == product.body:
            self.warnings.append(
                RecordWarning(f"SellerSku {product.key} has not changed", product.key)
            )
            return
        self.updated.append(product.key)
        self.changes[product.key] = msgspec.structs.replace(product, state=state, body=encoded)


def _check_sku(sku: str) -> None:
    if not sku:
        raise _RefusedError("SellerSku cannot be empty")
    if len(sku) > SKU_MAX:
        raise _RefusedError(f"SellerSku has more than {SKU_MAX} characters")


def _status(word: str) -> ProductStatus | None:
    if not word:
        return None
    try:
        return ProductStatus(word.lower())
    except ValueError:
        raise _RefusedError(
            f"Field Status with value '{word[:40]}' is none of {', '.join(ProductStatus)}"
        ) from None


def _images(fields: Iterable[Element]) -> Iterable[str]:
    for field in fields:
        if field.name == "Image" and isinstance(field.value, str) and field.value:
            yield field.value
        elif not isinstance(field.value, str):
            yield from _images(field.value)
