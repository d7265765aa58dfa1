"""What a seller has in stock and who buys it: made up, the same for the same seed. Pure."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Final

import msgspec

from marketbell.marketplace.ovoko.orders import Buyer as OvokoBuyer
from marketbell.marketplace.ovoko.parts import Part
from marketbell.marketplace.sellercenter.envelope import Element
from marketbell.marketplace.sellercenter.feeds import Record
from marketbell.marketplace.sellercenter.items import Buyer as SellerCenterBuyer
from marketbell.marketplace.sellercenter.items import Line

_PARTS: Final = ("front door", "tail lamp", "gearbox", "wing mirror", "starter", "radiator")
_SHELVES: Final = "ABCDEF"
_GOODS: Final = ("Kettle", "Backpack", "Desk lamp", "Sneakers", "Headphones", "Frying pan")
_COLOURS: Final = ("black", "white", "red", "blue", "green")
_BUYERS: Final = (
    ("Jonas Petraitis", "Gedimino pr. 1", "Vilnius", "01103", "LT"),
    ("Anna Kowalska", "ul. Długa 12", "Gdańsk", "80-831", "PL"),
    ("Mārtiņš Bērziņš", "Brīvības iela 40", "Rīga", "LV-1050", "LV"),
    ("Paul Weber", "Hauptstraße 7", "Köln", "50667", "DE"),
)
_SHOPPERS: Final = (
    ("Maria", "Pérez", "Av. Providencia 1234", "Santiago", "7500000", "CL"),
    ("José", "Muñoz", "Calle 26 # 13-19", "Bogotá", "110311", "CO"),
    ("Lucía", "Quispe", "Av. Arequipa 815", "Lima", "15046", "PE"),
)


def part(rng: random.Random, number: int) -> Part:
    """The `number`-th used part of a seller: one in four has no external id, one in ten no price."""
    kind = rng.choice(_PARTS)
    code = f"{rng.randint(1, 9)}K{rng.randint(0, 9)} {rng.randint(100, 999)} {rng.randint(10, 99)}"
    own = f"{rng.choice(_SHELVES)}{rng.randint(1, 40)}-{number}"
    named = rng.random() < 0.75
    priced = rng.random() < 0.9
    price = Decimal(rng.randint(500, 90_000)) / 100
    return Part(
        category_id=rng.randint(100, 999),
        car_id=rng.randint(1, 500),
        quality=rng.randint(0, 3),
        external_id=own if named else None,
        id_bridge=str(10_000 + number) if rng.random() < 0.5 else None,
        price=price if priced else None,
        manufacturer_code=code,
        notes=kind,
        place=own,
        photo=f"https://photos.example/{number}.jpg",
        photos=(f"https://photos.example/{number}.jpg",),
    )


def stock(seed: int, count: int) -> tuple[Part, ...]:
    """So many parts; the first four are named and priced, so that a walk through finds what it needs."""
    rng = random.Random(f"stock {seed}")  # noqa: S311 - to be reproduced, not to be secret
    made = [part(rng, number) for number in range(1, count + 1)]
    for place, one in enumerate(made[:4]):
        made[place] = msgspec.structs.replace(
            one,
            external_id=one.external_id or f"A1-{place + 1}",
            price=one.price or Decimal("49.90"),
        )
    return tuple(made)


def record(rng: random.Random, sku: str) -> Record:
    """What a feed says of a new product."""
    name = f"{rng.choice(_COLOURS).capitalize()} {rng.choice(_GOODS).lower()}"
    fields = {
        "Name": name,
        "Description": f"{name}, as good as new.",
        "Brand": "Sample",
        "Price": f"{rng.randint(1_000, 200_000)}.00",
        "Quantity": str(rng.randint(1, 50)),
        "Status": "active",
    }
    return Record(sku, tuple(Element(field, text) for field, text in fields.items()))


def image(rng: random.Random, sku: str) -> Element:
    """What a feed says of a product's pictures."""
    url = f"https://photos.example/{sku}-{rng.randint(1, 99)}.jpg"
    return Element("Images", [Element("Image", url)])


def goods(seed: int, count: int) -> tuple[Record, ...]:
    """The products of a seller, as the feed that creates them: `SAMPLE-001` and on."""
    rng = random.Random(f"goods {seed}")  # noqa: S311 - to be reproduced
    return tuple(record(rng, f"SAMPLE-{number:03}") for number in range(1, count + 1))


def line(record: Record) -> Line:
    """What a buyer orders of a product."""
    texts = {one.name: one.value for one in record.fields if isinstance(one.value, str)}
    return Line(sku=record.sku, name=texts.get("Name", record.sku), price=texts.get("Price", "0"))


def buyer(rng: random.Random) -> OvokoBuyer:
    """Somebody who buys a part."""
    name, address, city, post_code, country = rng.choice(_BUYERS)
    return OvokoBuyer(
        name=name,
        email=f"buyer{rng.randint(1, 9999)}@buyers.example",
        phone=f"+370600{rng.randint(10_000, 99_999)}",
        address=address,
        city=city,
        post_code=post_code,
        country=country,
    )


def shopper(rng: random.Random) -> SellerCenterBuyer:
    """Somebody who orders products."""
    first_name, last_name, address, city, post_code, country = rng.choice(_SHOPPERS)
    return SellerCenterBuyer(
        first_name=first_name,
        last_name=last_name,
        address=address,
        city=city,
        post_code=post_code,
        country=country,
    )
