"""The dialect `ovoko`: webhooks of the Ovoko car parts marketplace (api.rrr.lt/docs)."""

from __future__ import annotations

import datetime
import hashlib
import re
import uuid
import zoneinfo
from typing import Annotated, Final, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta

from marketbell.dialects import headers
from marketbell.dialects.base import AttemptStart, Request, Schedule, Signal
from marketbell.dialects.catalogue import Catalogue, Described, EventType
from marketbell.errors import InvalidError
from marketbell.model import Endpoint, Instant, Message

SCHEDULE: Final = Schedule(waits=(7_000, 35_000, 175_000))
"""Three resends, exact; the document ends there, so the delivery has failed."""

EVENT_ID_NAMESPACE: Final = uuid.UUID("3c9a1f5e-8b64-4f0b-9d2a-6e7d51c0b8f4")
"""Of the version 5 UUIDs that stand for messages without a UUID of their own. Never changes."""

_TIMESTAMP_LENGTH: Final = len("2023-01-12T14:17:20+02:00")

_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")

E = TypeVar("E")
D = TypeVar("D")


class PartStatus(Described):
    """The eight words for where a part stands."""

    IN_WAREHOUSE = "in_warehouse", "in stock; for sale if it has a price"
    RESERVED = "reserved", "set aside, without a time limit"
    SOLD = "sold", "sold on Ovoko or by the seller elsewhere"
    SOLD_IN_EBAY = "sold_in_ebay", "sold through Ovoko's eBay integration"
    SOLD_IN_ALLEGRO = "sold_in_allegro", "sold through Ovoko's Allegro integration"
    RETURNED = "returned", "back from the buyer and in the seller's hands"
    WRITTEN_OFF = "written_off", "cancelled or scrapped; final"
    UNKNOWN_STOCK_STATUS = (
        "unknown_stock_status",
        "the Allegro integration cannot tell whether it is in stock or sold",
    )


PartId = Annotated[str, Meta(min_length=1, description="Ovoko's id of the part, always a string.")]
OrderId = Annotated[
    str, Meta(min_length=1, description="Ovoko's id of the order, always a string.")
]
ReturnId = Annotated[
    str, Meta(min_length=1, description="Ovoko's id of the return, always a string.")
]
OwnId = Annotated[str, Meta(min_length=1)]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    part_id: PartId
    status: Annotated[PartStatus, PartStatus.field("The part's new status.")]


class PartStatusChanged(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part and its new status."""

    id_bridge: Annotated[
        OwnId | None,
        Meta(
            description="Deprecated: read `external_id`. Still sent, null if the seller has none.",
            extra_json_schema={"deprecated": True},
        ),
    ] = None
    external_id: Annotated[
        OwnId | None,
        Meta(description="The seller's own id of the part; null if the seller gave none."),
    ] = None


class PartStatusChangedUnbridged(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part and its new status, where the deprecated key is switched off."""

    external_id: Annotated[
        OwnId | None,
        Meta(description="The seller's own id of the part; null if the seller gave none."),
    ] = None


class OrderCreated(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The order that was placed."""

    order_id: OrderId


class OrderCancelled(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The order that was cancelled."""

    order_id: OrderId


class OrderReturnCreated(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The return that was opened, and its order."""

    return_id: ReturnId
    order_id: OrderId


class OrderReturnUpdated(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The return that changed, and its order."""

    return_id: ReturnId
    order_id: OrderId


class Body(msgspec.Struct, Generic[E, D], frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What Ovoko posts for every event."""

    event_id: Annotated[
        str,
        Meta(
            description="A UUID, the same on every resend: the key to know a repeated one by.",
            extra_json_schema={"format": "uuid"},
        ),
    ]
    event_type: Annotated[E, Meta(extra_json_schema={"type": "string"})]
    timestamp: Annotated[
        str,
        Meta(
            description="When it happened, in seconds with the marketplace's offset.",
            extra_json_schema={"format": "date-time"},
        ),
    ]
    event_data: D


def _event_types(part: type[_Part]) -> tuple[EventType, ...]:
    return (
        EventType(
            name="part.status.changed",
            title="Part status changed",
            subject="part",
            description="The status of one part changed; this is the new one.",
            fires="On every change of a part's status: a sale, a reservation, a return that has "
            "reached the seller, a write-off. Not when a return is only opened.",
            payload=PartStatusChanged,
            body=Body[Literal["part.status.changed"], part],  # type: ignore[valid-type]
            examples=(
                PartStatusChanged(part_id="13", status=PartStatus.SOLD, id_bridge="12345"),
                PartStatusChanged(
                    part_id="14", status=PartStatus.RETURNED, external_id="shelf-7/front-door"
                ),
            ),
        ),
        *_order_event_types(),
    )


def _order_event_types() -> tuple[EventType, ...]:
    return (
        EventType(
            name="order.created",
            title="Order created",
            subject="order",
            description="A buyer placed an order with the seller.",
            fires="Once for each new order.",
            payload=OrderCreated,
            body=Body[Literal["order.created"], OrderCreated],
            examples=(OrderCreated(order_id="4555"),),
        ),
        EventType(
            name="order.cancelled",
            title="Order cancelled",
            subject="order",
            description="An order was cancelled.",
            fires="Once for each order that is cancelled.",
            payload=OrderCancelled,
            body=Body[Literal["order.cancelled"], OrderCancelled],
            examples=(OrderCancelled(order_id="4555"),),
        ),
        EventType(
            name="order.return.created",
            title="Order return created",
            subject="return",
            description="A buyer opened a return. The part is not back yet: do nothing until it is.",
            fires="When a buyer opens a return for a part of an order. The part's status changes "
            "only later, when the goods arrive, with an event of its own.",
            payload=OrderReturnCreated,
            body=Body[Literal["order.return.created"], OrderReturnCreated],
            examples=(OrderReturnCreated(return_id="4555", order_id="4555"),),
        ),
        EventType(
            name="order.return.updated",
            title="Order return updated",
            subject="return",
            description="An open return changed: its status, its details or the parts in it.",
            fires="On each change of an open return; for one, when a second part of the order "
            "joins it. The return keeps its id.",
            payload=OrderReturnUpdated,
            body=Body[Literal["order.return.updated"], OrderReturnUpdated],
            examples=(OrderReturnUpdated(return_id="4555", order_id="4555"),),
        ),
    )


class Ovoko:
    """
    `{event_id, event_type, timestamp, event_data}` to the endpoint, with its static header.

    `zone` is the IANA name of the time zone of `timestamp`. `id_bridge` may be switched off
    to leave that deprecated key out. An unknown zone raises InvalidError.
    """

    name = "ovoko"
    schedule = SCHEDULE
    honours: frozenset[Signal] = frozenset()
    https_only = True

    def __init__(self, zone: str = "Europe/Vilnius", *, id_bridge: bool = True) -> None:
        try:
            self._zone = zoneinfo.ZoneInfo(zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise InvalidError(
                ("ovoko_zone",),
                f"{zone!r} is not a time zone; give an IANA name such as Europe/Vilnius",
            ) from None
        self._id_bridge = id_bridge
        self._encode = msgspec.json.Encoder().encode
        self.catalogue = Catalogue(
            _event_types(PartStatusChanged if id_bridge else PartStatusChangedUnbridged)
        )

    def render(self, message: Message, endpoint: Endpoint, start: AttemptStart) -> Request:
        """
        The request; byte for byte the same on every attempt.

        An event type of the catalogue is written anew from its typed definition, any other
        carries its payload's own bytes. Raises InvalidError if the payload of one in the
        catalogue does not fit, as one that was never checked against it may.
        """
        data = self.catalogue.decode(message.event_type, message.payload)
        if not self._id_bridge and isinstance(data, PartStatusChanged):
            data = PartStatusChangedUnbridged(
                part_id=data.part_id, status=data.status, external_id=data.external_id
            )
        body = Body(
            event_id=event_id(message),
            event_type=message.event_type,
            timestamp=_timestamp(message.occurred_at, self._zone),
            event_data=msgspec.Raw(message.payload) if data is None else data,
        )
        return Request(headers.with_own(headers.JSON, endpoint), self._encode(body))

    def accepted(self, status: int) -> bool:
        """Any 2xx."""
        return 200 <= status < 300


def _timestamp(instant: Instant, zone: datetime.tzinfo) -> str:
    """In seconds; an offset that is no whole minute is rounded to one (RFC 3339, section 5.8)."""
    at = datetime.datetime.fromtimestamp(instant // 1000, zone)
    text = at.isoformat()
    if len(text) == _TIMESTAMP_LENGTH:
        return text
    offset = at.utcoffset() or datetime.timedelta()
    minutes = round(offset / datetime.timedelta(minutes=1))
    return at.astimezone(datetime.timezone(datetime.timedelta(minutes=minutes))).isoformat()


def event_id(message: Message) -> str:
    """
    The publisher's event id if that is a UUID of 36 characters, as it was given.

    Else the version 5 UUID (RFC 9562) of the message's own id, so every attempt has the same.
    """
    if message.event_id is not None and _UUID.fullmatch(message.event_id):
        return message.event_id
    # As uuid.uuid5, in a third of its time.
    seed = EVENT_ID_NAMESPACE.bytes + message.public_id.encode()
    digest = bytearray(hashlib.sha1(seed, usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
