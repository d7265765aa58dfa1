"""The answers of Ovoko's API, field by field: what was done, or why it was not."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from marketbell.dialects.ovoko import PartStatus
from marketbell.marketplace.ovoko.orders import OrderStatus
from marketbell.marketplace.ovoko.returns import ReturnStatus

Local: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$",
        description="A time of day in Ovoko's zone.",
    ),
]
Amount: TypeAlias = Annotated[float, Meta(ge=0)]
Currency: TypeAlias = Literal["EUR", "PLN"]

_Row = TypeVar("_Row")
_Single: TypeAlias = Annotated[list[_Row], Meta(min_length=1, max_length=1)]
_OneOf: TypeAlias = Annotated[list[_Single[_Row]], Meta(min_length=1, max_length=1)]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something with just these fields."""


class _Done(_Strict, frozen=True, kw_only=True):
    """It was done."""

    msg: Literal["OK"]
    status_code: Literal["R200"]


class Refusal(_Strict, frozen=True, kw_only=True):
    """
    Nothing has changed, and `msg` says why.

    R400: a field breaks a rule, or the life cycle has no such move. R403: wrong username,
    password or user_token. R500: the server could not.
    """

    msg: str
    status_code: Literal["R400", "R403", "R500"]


class Missing(_Strict, frozen=True, kw_only=True):
    """There is no such thing, or it is another seller's."""

    msg: str
    status_code: Literal["R404"]


class PartDone(_Done, frozen=True, kw_only=True):
    """It was done to this part."""

    part_id: int


class OrderDone(_Done, frozen=True, kw_only=True):
    """It was done to this order."""

    order_id: int


class Pagination(_Strict, frozen=True, kw_only=True):
    """Where a page stands."""

    page: int
    limit: int
    total_count: Annotated[int, Meta(ge=0)]


class Part(_Strict, frozen=True, kw_only=True):
    """A part."""

    id: int
    external_id: str | None
    id_bridge: str | None
    status: Annotated[
        Literal[0, 1, 2, 3, 4] | None, Meta(description="null: nobody knows where it is.")
    ]
    status_name: PartStatus
    category_id: int
    car_id: int
    quality: int
    price: Amount | None
    original_currency: Currency
    sell_price: Amount | None
    sell_date: str
    position: str
    notes: str
    place: str
    manufacturer_code: str
    visible_code: str
    other_code: str
    optional_codes: list[str]
    photo: str
    photos: list[str]
    created_at: Local
    updated_at: Local


class OnePart(_Done, frozen=True, kw_only=True):
    """One part, in a list of a list."""

    rows: _OneOf[Part] = msgspec.field(name="list")


class Parts(_Done, frozen=True, kw_only=True):
    """A page of parts, newest first."""

    rows: list[Part] = msgspec.field(name="list")
    pagination: Pagination


class StatusNumber(_Strict, frozen=True, kw_only=True):
    """A status that the API has a number for."""

    id: Literal[0, 1, 2, 3, 4]
    name: str


class StatusNumbers(_Done, frozen=True, kw_only=True):
    """The statuses by number."""

    rows: list[StatusNumber] = msgspec.field(name="list")


class Money(_Strict, frozen=True, kw_only=True):
    """An amount in a currency."""

    amount: Amount
    currency: Currency


class Prices(_Strict, frozen=True, kw_only=True):
    """What the buyer pays and what the seller gets."""

    buyer: Money
    seller: Money


class OrderItem(_Strict, frozen=True, kw_only=True):
    """One part of an order."""

    id: int
    part_id: int
    id_bridge: str | None
    external_id: str | None
    car_id: int
    name: str
    sell_price: Prices


class Order(_Strict, frozen=True, kw_only=True):
    """An order."""

    id: int
    order_date: Local
    order_status: OrderStatus
    payment_method: str
    payment_status: str
    client_name: str
    client_email: str
    client_phone: str
    client_address: str
    client_city: str
    client_post_code: str
    client_country: str
    shipping_price: Prices
    total_price: Prices
    item_list: list[OrderItem]


class Orders(_Done, frozen=True, kw_only=True):
    """Orders, oldest first; with `pagination` if a page was asked for."""

    rows: list[Order] = msgspec.field(name="list")
    pagination: Pagination | UnsetType = UNSET


class OrdersPage(_Done, frozen=True, kw_only=True):
    """A page of orders, oldest first."""

    rows: list[Order] = msgspec.field(name="list")
    pagination: Pagination


class ReturnItem(_Strict, frozen=True, kw_only=True):
    """One part of a return."""

    id: int
    part_id: int
    name: str
    return_reason: str
    price: Amount
    returnable_amount: Amount
    currency: Currency
    price_in_seller_currency: Amount
    returnable_amount_in_seller_currency: Amount
    seller_currency: Currency
    vat_rate: float


class Customer(_Strict, frozen=True, kw_only=True):
    """Who gives something back."""

    name: str
    email: str
    phone: str
    country: str


class Return(_Strict, frozen=True, kw_only=True):
    """A return."""

    id: int
    order_id: int
    order_return_items: list[ReturnItem]
    status: ReturnStatus
    shipping_price: Amount
    total_paid_price: Amount
    total_returnable_amount: Amount
    created_at: Annotated[datetime.datetime, Meta(tz=True)]
    customer: Customer
    refunds: Annotated[list[str], Meta(max_length=0)]


class OneReturn(_Done, frozen=True, kw_only=True):
    """One return, in a list of a list."""

    rows: _OneOf[Return] = msgspec.field(name="list")


class Returns(_Done, frozen=True, kw_only=True):
    """A page of returns, oldest first."""

    rows: list[Return] = msgspec.field(name="list")


class LogRow(_Strict, frozen=True, kw_only=True):
    """One thing that was done."""

    action: Annotated[str, Meta(description="An event type, or what was done without an event.")]
    item_list: Annotated[list[int], Meta(description="The ids that it is about.")]
    date: Local
    user: str
    details: Annotated[str, Meta(description="The event's data as JSON, or empty.")]


class Logs(_Done, frozen=True, kw_only=True):
    """
    The log, oldest first; with `pagination` if a page was asked for.

    A page has so many changes, and a change may have left several rows.
    """

    rows: list[LogRow] = msgspec.field(name="list")
    pagination: Pagination | UnsetType = UNSET
