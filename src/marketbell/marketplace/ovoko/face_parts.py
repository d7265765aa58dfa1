"""The operations on parts: import, update, status, delete, get and list."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from marketbell.dialects.ovoko import PartStatus
from marketbell.errors import InvalidError, MoveRefusedError, NotFoundError
from marketbell.marketplace.ovoko import parts
from marketbell.marketplace.ovoko.calls import Answer, Call
from marketbell.marketplace.ovoko.form import LIST_MAX, Form
from marketbell.marketplace.ovoko.parts import Part
from marketbell.marketplace.ovoko.records import part_record
from marketbell.store.base import Entity, EntityFilter

CURRENCIES: Final = ("EUR", "PLN")
PAGE_MAX: Final = 100
PAGES_MAX: Final = 100_000
SEARCHED_MAX: Final = 20_000
"""How many parts are gone through for a search, which no index serves."""
NOTES_MAX: Final = 10_000
_READ: Final = 1_000
_PHOTO: Final = (".jpg", ".jpeg", ".png")


async def import_part(call: Call) -> Answer:
    """POST /crm/importPart: a new part."""
    form = call.form
    made = Part(
        category_id=form.required("category_id", 1),
        car_id=form.required("car_id", 1),
        quality=form.required("quality"),
        id_bridge=form.text("id_bridge") or None,
    )
    status = _status(form.required("status"))
    part = _amender(form)(made)
    number = await call.market.import_part(call.application, part, status, user=call.user)
    return {"part_id": number}


async def update_part(call: Call) -> Answer:
    """POST /crm/updatePart: what is said changes; `id_bridge` never does."""
    form = call.form
    number = form.required("part_id", 1)
    said = form.integer("status")
    status = None if said is None else _status(said)
    await call.market.update_part(call.application, number, _amender(form), status, user=call.user)
    return {"part_id": number}


async def change_part_status(call: Call) -> Answer:
    """POST /crm/changePartStatus: one of the five numbers."""
    number = call.form.required("part_id", 1)
    status = _status(call.form.required("status"))
    await call.market.change_part_status(call.application, number, status, user=call.user)
    return {"part_id": number}


async def delete_part(call: Call) -> Answer:
    """POST /crm/deletePart: written off. An unknown one is R400 here, not R404."""
    number = call.form.required("part_id", 1)
    try:
        await call.market.delete_part(call.application, number, user=call.user)
    except NotFoundError:
        raise MoveRefusedError("part_id not found") from None
    return {"part_id": number}


async def get_part(call: Call) -> Answer:
    """POST /get/part/{id}: the record at list[0][0]."""
    entity = await call.store.entity(call.application.id, parts.KIND, call.number("id"))
    return {"list": [[part_record(entity, call.zone)]]}


async def list_parts(call: Call) -> Answer:
    """POST /v2/get/parts: newest first, by page."""
    form = call.form
    limit, page = page_of(form)
    external_ids = form.many("external_ids")
    if len(external_ids) == 1:
        external_ids = tuple(name.strip() for name in external_ids[0].split(",") if name.strip())
    if len(external_ids) > LIST_MAX:
        raise InvalidError(("external_ids",), f"external_ids has more than {LIST_MAX} values")
    since = call.day(text, "date_from") if (text := form.text("date_from")) else None
    which = EntityFilter(
        kind=parts.KIND,
        keys=external_ids or None,
        created_since=since,
    )
    begin = (page - 1) * limit
    found: Sequence[Entity]
    if word := form.text("search").casefold():
        matching = await _searched(call, which, word)
        total, found = len(matching), matching[begin : begin + limit]
    else:
        counts = await call.store.count_entities(call.application.id, which)
        total = sum(counts.values())
        found = await call.store.entities(
            call.application.id, which, offset=begin, limit=limit, descending=True
        )
    return {
        "list": [part_record(entity, call.zone) for entity in found],
        "pagination": {"page": page, "limit": limit, "total_count": total},
    }


async def list_statuses(call: Call) -> Answer:
    """POST /get/part_status: the five that have a number."""
    del call
    return {"list": [{"id": number, "name": label} for number, (_, label) in parts.NUMBERS.items()]}


async def _searched(call: Call, which: EntityFilter, word: str) -> list[Entity]:
    """The newest 20,000 parts gone through for those that have this word in an id, code or note."""
    matching: list[Entity] = []
    for offset in range(0, SEARCHED_MAX, _READ):
        found = await call.store.entities(
            call.application.id, which, offset=offset, limit=_READ, descending=True
        )
        matching += [entity for entity in found if word in _words(entity)]
        if len(found) < _READ:
            break
    return matching


def _words(entity: Entity) -> str:
    part = parts.part_of(entity)
    words = (
        str(entity.number),
        part.external_id or "",
        part.id_bridge or "",
        part.manufacturer_code,
        part.visible_code,
        part.other_code,
        *part.optional_codes,
        part.notes,
    )
    return "\n".join(words).casefold()


def page_of(form: Form, most: int = PAGE_MAX) -> tuple[int, int]:
    """`limit`, `most` unless said, and `page`, the first being 1. InvalidError."""
    limit = form.integer("limit", 1)
    page = form.integer("page", 1)
    if limit is not None and limit > most:
        raise InvalidError(("limit",), f"limit is not from 1 to {most}")
    if page is not None and page > PAGES_MAX:
        raise InvalidError(("page",), f"page is not from 1 to {PAGES_MAX}")
    return limit or most, page or 1


def _status(number: int) -> PartStatus:
    if number not in parts.NUMBERS:
        known = ", ".join(str(known) for known in parts.NUMBERS)
        raise InvalidError(("status",), f"status is not one of {known}")
    return parts.NUMBERS[number][0]


_NUMBERS: Final = {"category_id": 1, "car_id": 1, "quality": 0}
"""The least of each."""

_PRICES: Final = ("price", "sell_price")
_TEXTS: Final = ("position", "place", "manufacturer_code", "visible_code", "other_code")


def _amender(form: Form) -> Callable[[Part], Part]:
    """What the form says of a part, checked; what it does not say stays. InvalidError."""
    said: dict[str, object] = {}
    for name, least in _NUMBERS.items():
        number = form.integer(name, least)
        if number is not None:
            said[name] = number
    for name in _PRICES:
        if name in form:
            said[name] = form.price(name)
    for name in _TEXTS:
        if name in form:
            said[name] = form.text(name)
    if "notes" in form:
        said["notes"] = form.text("notes", NOTES_MAX)
    if "external_id" in form:
        said["external_id"] = form.text("external_id") or None
    if "sell_date" in form:
        said["sell_date"] = form.text("sell_date", 40)
    if "optional_codes" in form:
        said["optional_codes"] = form.many("optional_codes")
    if "original_currency" in form:
        said["original_currency"] = _currency(form)
    said |= _photos(form)
    return lambda part: msgspec.structs.replace(part, **said)


def _currency(form: Form) -> str:
    currency = form.text("original_currency").upper() or CURRENCIES[0]
    if currency not in CURRENCIES:
        raise InvalidError(
            ("original_currency",), f"original_currency is not one of {', '.join(CURRENCIES)}"
        )
    return currency


def _photos(form: Form) -> Mapping[str, object]:
    """`photo` and `photos[]`; the first of the second is the first, if both are said."""
    if "photo" not in form and "photos" not in form:
        return {}
    photo, photos = form.text("photo", 2_000), form.many("photos", 2_000)
    photos = photos or ((photo,) if photo else ())
    photo = photo or (photos[0] if photos else "")
    if photos and photo != photos[0]:
        raise InvalidError(("photo",), "photo is not the first of photos")
    for url in photos:
        if not url.lower().partition("?")[0].endswith(_PHOTO):
            raise InvalidError(("photos",), "a photo's address does not end with jpg, jpeg or png")
    return {"photo": photo, "photos": photos}
