"""The forms that Ovoko's API takes, field by field, with the bounds that it holds them to."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from marketbell.marketplace.ovoko.face_parts import NOTES_MAX, PAGE_MAX, PAGES_MAX
from marketbell.marketplace.ovoko.face_sales import ROWS_MAX
from marketbell.marketplace.ovoko.form import LIST_MAX, NUMBER_MAX, TEXT_MAX

_PLAIN = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f]*$"
_PHOTO = r"^[^?\x00-\x20]+\.([jJ][pP][gG]|[jJ][pP][eE][gG]|[pP][nN][gG])$"

Id: TypeAlias = Annotated[int, Meta(ge=1, le=NUMBER_MAX)]
Number: TypeAlias = Annotated[int, Meta(ge=0, le=NUMBER_MAX)]
Text: TypeAlias = Annotated[str, Meta(max_length=TEXT_MAX, pattern=_PLAIN)]
Notes: TypeAlias = Annotated[str, Meta(max_length=NOTES_MAX, pattern=_PLAIN)]
SoldOn: TypeAlias = Annotated[str, Meta(max_length=40, pattern=_PLAIN)]
Amount: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"^([0-9]{1,7}([.,][0-9]{1,4})?)?$",
        max_length=12,
        description="An amount with up to four places. Empty: none.",
    ),
]
Texts: TypeAlias = Annotated[list[Text], Meta(max_length=LIST_MAX)]
Photo: TypeAlias = Annotated[
    str,
    Meta(
        pattern=_PHOTO,
        max_length=2_000,
        description="The address of a picture; the first of `photos[]` if both are there.",
    ),
]
Photos: TypeAlias = Annotated[
    list[Annotated[str, Meta(pattern=_PHOTO, max_length=2_000)]], Meta(max_length=LIST_MAX)
]
Currency: TypeAlias = Literal["EUR", "PLN"]
FirstStatus: TypeAlias = Annotated[
    Literal[0, 1, 2], Meta(description="0 in stock, 1 reserved, 2 sold out.")
]
AnyStatus: TypeAlias = Annotated[
    Literal[0, 1, 2, 3, 4],
    Meta(description="0 in stock, 1 reserved, 2 sold out, 3 returned, 4 written off."),
]
Limit: TypeAlias = Annotated[int, Meta(ge=1, le=PAGE_MAX, description="Rows of a page.")]
PageNumber: TypeAlias = Annotated[int, Meta(ge=1, le=PAGES_MAX, description="The first is 1.")]
Length: TypeAlias = Annotated[int, Meta(ge=1, le=1_000, description="Centimetres.")]


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls. Every form begins with these three."""

    username: Text
    password: Text
    user_token: Text


class _Known(Login, frozen=True, kw_only=True):
    """What both an import and an update may say of a part."""

    external_id: Annotated[Text, Meta(description="The seller's own id.")] | UnsetType = UNSET
    price: Amount | UnsetType = UNSET
    original_currency: Currency | UnsetType = UNSET
    sell_price: Amount | UnsetType = UNSET
    sell_date: SoldOn | UnsetType = UNSET
    position: Text | UnsetType = UNSET
    notes: Notes | UnsetType = UNSET
    place: Text | UnsetType = UNSET
    manufacturer_code: Text | UnsetType = UNSET
    visible_code: Text | UnsetType = UNSET
    other_code: Text | UnsetType = UNSET
    optional_codes: Texts | UnsetType = msgspec.field(default=UNSET, name="optional_codes[]")
    photo: Photo | UnsetType = UNSET
    photos: Photos | UnsetType = msgspec.field(default=UNSET, name="photos[]")


class ImportPart(_Known, frozen=True, kw_only=True):
    """A new part."""

    category_id: Id
    car_id: Id
    quality: Number
    status: FirstStatus
    id_bridge: Annotated[Text, Meta(description="Deprecated.")] | UnsetType = UNSET


class UpdatePart(_Known, frozen=True, kw_only=True):
    """What changes of a part; what is not said stays."""

    part_id: Id
    category_id: Id | UnsetType = UNSET
    car_id: Id | UnsetType = UNSET
    quality: Number | UnsetType = UNSET
    status: AnyStatus | UnsetType = UNSET


class ChangePartStatus(Login, frozen=True, kw_only=True):
    """A part's new status."""

    part_id: Id
    status: AnyStatus


class DeletePart(Login, frozen=True, kw_only=True):
    """Which part is written off."""

    part_id: Id


class ListParts(Login, frozen=True, kw_only=True):
    """Which parts, and which page of them."""

    limit: Limit | UnsetType = UNSET
    page: PageNumber | UnsetType = UNSET
    external_ids: Texts | UnsetType = msgspec.field(default=UNSET, name="external_ids[]")
    date_from: datetime.date | UnsetType = UNSET
    search: Text | UnsetType = UNSET


class ListPage(Login, frozen=True, kw_only=True):
    """Which page."""

    limit: Limit | UnsetType = UNSET
    page: PageNumber | UnsetType = UNSET


class ListRows(Login, frozen=True, kw_only=True):
    """Everything, unless a page is asked for."""

    limit: Annotated[int, Meta(ge=1, le=ROWS_MAX, description="Rows of a page.")] | UnsetType = (
        UNSET
    )
    page: PageNumber | UnsetType = UNSET


class ListReturns(ListPage, frozen=True, kw_only=True):
    """Returns of which days, and which page of them."""

    date_from: datetime.date | UnsetType = UNSET
    date_to: datetime.date | UnsetType = UNSET


class ImportPostData(Login, frozen=True, kw_only=True):
    """The parcel of an order."""

    order_id: Id
    weight: Annotated[int, Meta(ge=1, le=1_000_000, description="Grams.")]
    height: Length
    length: Length
    width: Length
    packing_type: Annotated[Literal[1, 2, 3], Meta(description="1 box, 2 pallet, 3 envelope.")]
