"""The description of Ovoko's API is true: each bound that it names is just where the server has it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from openapi_spec_validator import validate

from e2e.conftest import live_node
from marketbell.marketplace.ovoko.description.document import SHAPES, written
from marketbell.marketplace.ovoko.face import OPERATIONS
from support.ovoko_calls import Trader, described, form_of

FILE: Final = Path(__file__).parents[2] / "docs" / "marketplaces" / "ovoko-openapi.json"
AMOUNTS: Final = (
    ["", "0", "9999999.9999", "0,5"],
    ["-1", "1e3", "1.00001", "12345678901", "x", ".5"],
)
PHOTOS: Final = (
    ["http://x.example/a.jpg", "http://x.example/a.JPEG", "x" * 1_996 + ".png"],
    ["http://x.example/a.gif", "x" * 1_997 + ".png"],
)
DATES: Final = (["2026-01-31"], ["2026-02-30", "31.01.2026", "x"])


@pytest.fixture(scope="module")
def trader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trader]:
    with live_node(tmp_path_factory.mktemp("node"), marketplaces=True) as live:
        made = Trader(live, live.receiver())
        yield made
        made.close()


def test_the_file_is_the_one_that_the_code_makes() -> None:
    assert FILE.read_text() == written(), "run: make docs"


def test_the_description_is_sound_and_whole() -> None:
    validate(described())
    assert SHAPES.keys() == OPERATIONS.keys() == described()["paths"].keys()
    names = [path["post"]["operationId"] for path in described()["paths"].values()]
    assert len(set(names)) == len(names)


def values(name: str, schema: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """What the schema of a field just takes, and what it just does not."""
    if "enum" in schema:
        return schema["enum"], ["9", "x"]
    if schema["type"] == "array":
        inside, outside = values(name.removesuffix("[]"), schema["items"])
        most = schema["maxItems"]
        return [[], inside, [inside[-1]] * most], [*outside, [inside[-1]] * (most + 1)]
    if schema["type"] == "integer":
        least, most = schema["minimum"], schema["maximum"]
        return [least, most], [least - 1, most + 1, "x", "1.5", "0x1"]
    if schema.get("format") == "date":
        return DATES
    if name.endswith("price"):
        return AMOUNTS
    if name.startswith("photo"):
        return PHOTOS
    most = schema["maxLength"]
    return ["", "x" * most, "Ä\t\r\n€"], ["x" * (most + 1), "a\x00b"]


FIELDS: Final = [
    pytest.param(path, name, id=f"{path} {name}")
    for path in SHAPES
    for name in form_of(path)["properties"]
]


@pytest.fixture(scope="module")
def forms(trader: Trader) -> dict[str, dict[str, Any]]:
    """A form with what is required, for each path that needs more than the login."""
    new = {"category_id": 1, "car_id": 1, "quality": 1, "status": 0, "price": "1"}
    part = trader.call("/crm/importPart", new)["part_id"]
    sold = trader.call("/crm/importPart", new)["part_id"]
    order = trader.live.run(trader.market.buy(trader.application, [sold]))
    parcel = {"weight": 1, "height": 1, "length": 1, "width": 1, "packing_type": 1}
    return {
        "/crm/importPart": new,
        "/crm/updatePart": {"part_id": part},
        "/crm/changePartStatus": {"part_id": part, "status": 0},
        "/crm/deletePart": {"part_id": trader.call("/crm/importPart", new)["part_id"]},
        "/crm/importPostData": {"order_id": order, **parcel},
    }


@pytest.mark.parametrize(("path", "name"), FIELDS)
def test_each_field_has_just_the_bounds_that_are_described(
    trader: Trader, forms: dict[str, dict[str, Any]], path: str, name: str
) -> None:
    there = {"id": "1", "from": "2026-01-01", "to": "2026-01-31"}
    required = forms.get(path, {})
    schema = form_of(path)
    assert {*required, *trader.login} >= set(schema["required"])
    inside, outside = values(name, schema["properties"][name])
    plain = name.removesuffix("[]")
    if name not in trader.login:
        for value in inside:
            answer = trader.call(path, {**required, name: value}, **there)
            assert answer["status_code"] != "R403"
            # What is not there, or may not move, is not the field's fault.
            gone = answer["msg"] == "part_id not found"
            assert gone or not re.match(rf"{plain}\b|a photo", answer["msg"]), (value, answer)
    for value in outside:
        answer = trader.call(path, {**required, name: value}, **there)
        assert answer["status_code"] == "R400", (value, answer)
        assert re.match(rf"{plain}\b|a photo", answer["msg"]), (value, answer)
    if name in schema["required"]:
        left = {key: value for key, value in required.items() if key != name}
        answer = trader.call(
            path, {**left, **({name: ""} if name in trader.login else {})}, **there
        )
        assert answer["status_code"] == ("R403" if name in trader.login else "R400"), answer


def test_an_amount_that_is_taken_is_shown(trader: Trader) -> None:
    new = {"category_id": 1, "car_id": 1, "quality": 1, "status": 0, "price": "9999999,9999"}
    part = trader.call("/crm/importPart", new)["part_id"]
    assert trader.call("/get/part/{id}", id=part)["list"][0][0]["price"] == 9999999.9999


def test_saying_what_is_known_already_changes_nothing(trader: Trader) -> None:
    new = {"category_id": 1, "car_id": 1, "quality": 1, "status": 0, "price": "1.5"}
    part = trader.call("/crm/importPart", new)["part_id"]
    trader.call("/crm/deletePart", {"part_id": part})
    same = {"part_id": part, "original_currency": "EUR", "price": "1,50", "category_id": ""}
    assert trader.call("/crm/updatePart", same)["status_code"] == "R200"
    days = {"from": "2020-01-01", "to": "2029-12-31"}
    rows = trader.call("/get/logs/{from}/{to}", **days)["list"]
    assert [row["action"] for row in rows if row["item_list"] == [part]] == [
        "part.imported",
        "part.status.changed",
    ]
