"""
Every request of Ovoko's API and its answer, byte for byte.

The files are in tests/golden/ovoko. `WRITE_GOLDEN=1 pytest THIS_FILE` writes them anew; read the
difference before it is kept.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import httpx
import msgspec
import pytest

from marketbell.control.sellers import OvokoSecrets
from marketbell.marketplace.machine import Actor
from marketbell.marketplace.ovoko.face import OPERATIONS
from marketbell.testing import FakeClock
from support.bazaar import Bazaar

FOLDER: Final = Path(__file__).parents[1] / "golden" / "ovoko"
WRITE: Final = "WRITE_GOLDEN" in os.environ
LOGIN: Final = (("username", "anna"), ("password", "secret"), ("user_token", "token"))
BY_HTML: Final = "application/x-www-form-urlencoded"
DAYS: Final = "2026-01-01/2026-12-31"

Fields = Sequence[tuple[str, str]]

IMPORT: Final[Fields] = (
    ("category_id", "1172"),
    ("car_id", "98765"),
    ("quality", "1"),
    ("status", "0"),
    ("price", "49,90"),
    ("original_currency", "EUR"),
    ("external_id", "shelf-7/front-door"),
    ("id_bridge", "12345"),
    ("manufacturer_code", "8K0 831 051"),
    ("optional_codes[]", "8K0831051A"),
    ("optional_codes[]", "8K0831051B"),
    ("photo", "https://pictures.example/1.jpg"),
    ("photos[]", "https://pictures.example/1.jpg"),
    ("photos[]", "https://pictures.example/2.PNG"),
    ("notes", "Türgriff fehlt & Kratzer"),
    ("something_new", "is passed over"),
)
LEAST: Final[Fields] = (("category_id", "1"), ("car_id", "2"), ("quality", "0"), ("status", "0"))
PARCEL: Final[Fields] = (
    ("order_id", "1"),
    ("weight", "4200"),
    ("height", "30"),
    ("length", "120"),
    ("width", "90"),
    ("packing_type", "1"),
)

CALLS: Final[dict[str, tuple[str, Fields]]] = {
    "import-part": ("/crm/importPart", IMPORT),
    "import-part-least": ("/crm/importPart", LEAST),
    "import-part-refused": ("/crm/importPart", LEAST[1:]),
    "update-part": ("/crm/updatePart", (("part_id", "2"), ("price", "5"), ("id_bridge", "new"))),
    "update-part-unknown": ("/crm/updatePart", (("part_id", "99"), ("price", "5"))),
    "get-part": ("/get/part/1", ()),
    "get-part-least": ("/get/part/2", ()),
    "get-part-unknown": ("/get/part/99", ()),
    "list-parts": ("/v2/get/parts?limit=10&page=1", ()),
    "list-parts-by-external-id": ("/v2/get/parts", (("external_ids[]", "shelf-7/front-door"),)),
    "list-parts-none": ("/v2/get/parts?page=2&limit=10", ()),
    "list-statuses": ("/get/part_status", ()),
    "change-part-status": ("/crm/changePartStatus", (("part_id", "3"), ("status", "1"))),
    "change-part-status-again": ("/crm/changePartStatus", (("part_id", "3"), ("status", "1"))),
    "change-part-status-refused": ("/crm/changePartStatus", (("part_id", "3"), ("status", "3"))),
    "delete-part": ("/crm/deletePart", (("part_id", "3"),)),
    "delete-part-unknown": ("/crm/deletePart", (("part_id", "99"),)),
    "written-off-part-refused": ("/crm/updatePart", (("part_id", "3"), ("status", "0"))),
    "part-sold-in-ebay": ("/get/part/4", ()),
    "part-unknown": ("/get/part/5", ()),
    "import-post-data": ("/crm/importPostData", PARCEL),
    "import-post-data-unknown": ("/crm/importPostData", (("order_id", "9"), *PARCEL[1:])),
    "import-post-data-refused": ("/crm/importPostData", (*PARCEL[:-1], ("packing_type", "4"))),
    "list-orders": (f"/get/orders/{DAYS}", ()),
    "list-orders-none": ("/get/orders/2020-01-01/2020-01-31", ()),
    "page-orders": (f"/v2/get/orders/{DAYS}?limit=1&page=2", ()),
    "list-returns": ("/get/order_returns?date_from=2026-01-01&date_to=2026-12-31", ()),
    "list-returns-none": ("/get/order_returns?page=2", ()),
    "get-return": ("/get/order_return/1", ()),
    "get-return-unknown": ("/get/order_return/99", ()),
    "list-logs": (f"/get/logs/{DAYS}", ()),
    "list-logs-none": ("/get/logs/2020-01-01/2020-01-31", ()),
}
"""Each call in its turn: the later ones see what the earlier ones did."""

BEFORE_PARTS_MOVE: Final = "change-part-status"
BEFORE_SALES: Final = "import-post-data"


def form(fields: Fields) -> bytes:
    return urlencode(fields).encode()


async def play(folder: Path) -> dict[str, tuple[bytes, bytes]]:
    """Every call in turn: its request and its answer."""
    found: dict[str, tuple[bytes, bytes]] = {}
    clock = FakeClock()
    async with Bazaar(folder, clock) as bazaar:
        seller = await bazaar.seller()
        secret = msgspec.json.encode(OvokoSecrets("secret", "token"))
        await bazaar.plane.store.create_credential(seller.id, "ovoko", "anna", secret, now=0)
        market = bazaar.market
        transport = httpx.ASGITransport(app=bazaar.marketplaces.app())
        async with httpx.AsyncClient(transport=transport, base_url="http://ovoko") as http:

            async def post(path: str, fields: Fields) -> tuple[bytes, bytes]:
                body = form((*LOGIN, *fields))
                response = await http.post(path, content=body, headers={"content-type": BY_HTML})
                assert response.status_code == 200
                return b"POST %s\n\n%s\n" % (path.encode(), body), response.content + b"\n"

            for name, (path, fields) in CALLS.items():
                await clock.run_until(
                    clock.now() + 60_000, lambda: bazaar.plane.dispatcher.idle, limit_s=5
                )
                if name == BEFORE_PARTS_MOVE:
                    for _ in range(3):
                        await post("/crm/importPart", IMPORT)
                    await market.move_part(seller, 4, "sell_in_ebay", Actor.INTEGRATION)
                    await market.move_part(seller, 5, "lose_track", Actor.INTEGRATION)
                elif name == BEFORE_SALES:
                    order = await market.buy(seller, [1])
                    await market.complete_order(seller, order)
                    back = await market.open_return(seller, order, [1], "does not fit")
                    await market.hand_in(seller, back)
                    await market.cancel_order(seller, await market.buy(seller, [2]))
                found[name] = await post(path, fields)
    return found


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, bytes]]:
    calls = asyncio.run(play(tmp_path_factory.mktemp("golden")))
    if WRITE:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, (request, answer) in calls.items():
            (FOLDER / f"{name}.request").write_bytes(request)
            (FOLDER / f"{name}.json").write_bytes(answer)
    return calls


@pytest.mark.parametrize("name", CALLS)
def test_golden(name: str, played: dict[str, tuple[bytes, bytes]]) -> None:
    request, answer = played[name]
    assert request == (FOLDER / f"{name}.request").read_bytes()
    assert answer == (FOLDER / f"{name}.json").read_bytes()


def test_there_is_a_golden_for_every_operation_and_no_other() -> None:
    called = {path.split("?")[0].split("/2026")[0].split("/2020")[0] for path, _ in CALLS.values()}
    for path in OPERATIONS:
        assert any(one.startswith(path.split("/{")[0]) for one in called), path
    assert {file.stem for file in FOLDER.iterdir()} == set(CALLS)


@pytest.mark.parametrize("name", [name for name in CALLS if name.startswith("get-part")])
def test_ids_of_answers_are_integers(name: str, played: dict[str, tuple[bytes, bytes]]) -> None:
    """Trap 4, the half of the API."""
    answer = msgspec.json.decode(played[name][1])
    for (record,) in answer.get("list", ()):
        assert isinstance(record["id"], int)


def test_id_bridge_is_never_updated(played: dict[str, tuple[bytes, bytes]]) -> None:
    """Trap 2, the half of the API: /crm/updatePart passes it over."""
    assert b"id_bridge=new" in played["update-part"][0]
    record = msgspec.json.decode(played["get-part-least"][1])["list"][0][0]
    assert (record["id_bridge"], record["price"]) == (None, 5)
