"""
A client that openapi-python-client generates of Ovoko's description, at a real server.

It is generated anew in each run; nothing of it was written here, and nothing of it is kept.
"""

from __future__ import annotations

import datetime
import importlib
import json
import sys
from collections.abc import Iterator
from typing import Any, Final

import pytest
from openapi_python_client import generate
from openapi_python_client.config import Config, ConfigFile, MetaType
from openapi_python_client.parser.errors import ErrorLevel

from e2e.conftest import live_node
from support.ovoko_calls import Trader, described

PACKAGE: Final = "ovoko_generated"
DAYS: Final = (datetime.date(2020, 1, 1), datetime.date(2029, 12, 31))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The generated package, importable."""
    folder = tmp_path_factory.mktemp("generated")
    source = folder / "openapi.json"
    source.write_text(json.dumps(described()))
    config = Config.from_sources(
        ConfigFile(post_hooks=[]),
        MetaType.NONE,
        document_source=source,
        file_encoding="utf-8",
        overwrite=False,
        output_path=folder / PACKAGE,
    )
    told = generate(config=config)
    assert [one for one in told if one.level is ErrorLevel.ERROR] == []
    assert list(told) == []
    sys.path.insert(0, str(folder))
    yield PACKAGE
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


class Api:
    """The generated client with a seller's login, by operation."""

    def __init__(self, package: str, trader: Trader) -> None:
        self.models: Any = importlib.import_module(f"{package}.models")
        self._package = package
        self._login = trader.login
        made = importlib.import_module(f"{package}.client")
        self.client = made.Client(base_url=trader.url, raise_on_unexpected_status=True)

    def form(self, kind: str, **fields: Any) -> Any:
        return getattr(self.models, kind)(**self._login, **fields)

    def do(self, group: str, name: str, *path: Any, kind: str = "Login", **fields: Any) -> Any:
        """The parsed answer of one call."""
        module = importlib.import_module(f"{self._package}.api.{group}.{name}")
        return module.sync(*path, client=self.client, body=self.form(kind, **fields))


@pytest.fixture(scope="module")
def trader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trader]:
    with live_node(tmp_path_factory.mktemp("node"), marketplaces=True) as live:
        made = Trader(live, live.receiver())
        yield made
        made.close()


@pytest.fixture(scope="module")
def api(package: str, trader: Trader) -> Iterator[Api]:
    made = Api(package, trader)
    with made.client:
        yield made


def imported(api: Api, **fields: Any) -> int:
    status = api.models.ImportPartStatus(0)
    known = {"category_id": 55, "car_id": 7, "quality": 1, "status": status, "price": "49,90"}
    done = api.do("part", "import_part", kind="ImportPart", **{**known, **fields})
    assert isinstance(done, api.models.PartDone)
    return int(done.part_id)


def test_every_operation_has_its_module(package: str) -> None:
    for path in described()["paths"].values():
        group, name = path["post"]["tags"][0], path["post"]["operationId"]
        group = "return_" if group == "return" else group
        assert importlib.import_module(f"{package}.api.{group}.{name}").sync


def test_a_part_from_its_import_to_its_end(api: Api) -> None:
    models = api.models
    photos = ["https://x.example/ä 1.jpg", "https://x.example/2.png"]
    part = imported(
        api,
        external_id="shelf 7 & more",
        notes="ein Kratzer\nlinks",
        optional_codes=["a", "b"],
        photos=[photo.replace(" ", "-") for photo in photos],
    )
    record = api.do("part", "get_part", part).list_[0][0]
    assert (record.price, record.external_id, record.notes) == (
        49.9,
        "shelf 7 & more",
        "ein Kratzer\nlinks",
    )
    assert (record.optional_codes, record.photo) == (["a", "b"], "https://x.example/ä-1.jpg")
    assert record.status_name is models.PartStatus.IN_WAREHOUSE
    done = api.do("part", "update_part", kind="UpdatePart", part_id=part, price="", place="B2")
    assert isinstance(done, models.PartDone)
    reserved = models.ChangePartStatusStatus(1)
    assert (
        api.do(
            "part", "change_part_status", kind="ChangePartStatus", part_id=part, status=reserved
        ).part_id
        == part
    )
    record = api.do("part", "get_part", part).list_[0][0]
    assert (record.price, record.place, record.status) == (None, "B2", 1)
    listed = api.do(
        "part", "list_parts", kind="ListParts", external_ids=["shelf 7 & more"], limit=1
    )
    assert ([row.id for row in listed.list_], listed.pagination.total_count) == ([part], 1)
    assert api.do("part", "delete_part", kind="DeletePart", part_id=part).part_id == part
    refused = api.do("part", "update_part", kind="UpdatePart", part_id=part, place="C")
    assert isinstance(refused, models.Refusal)
    assert refused.msg == "A part that is written_off stays as it is."


def test_a_sale_and_its_return(api: Api, trader: Trader) -> None:
    models, run, market = api.models, trader.live.run, trader.market
    before = len(trader.heard())
    part = imported(api)
    order = run(market.buy(trader.application, [part]))
    packing = models.ImportPostDataPackingType(1)
    parcel = {"weight": 900, "height": 10, "length": 20, "width": 30, "packing_type": packing}
    done = api.do("order", "import_post_data", kind="ImportPostData", order_id=order, **parcel)
    assert done.order_id == order
    run(market.complete_order(trader.application, order))
    back = run(market.open_return(trader.application, order, [part], "does not fit"))
    run(market.hand_in(trader.application, back))
    accepted = models.ChangePartStatusStatus(0)
    api.do("part", "change_part_status", kind="ChangePartStatus", part_id=part, status=accepted)
    for name, kind in (("list_orders", "ListRows"), ("page_orders", "ListPage")):
        rows = api.do("order", name, *DAYS, kind=kind, limit=100).list_
        found = next(row for row in rows if row.id == order)
        assert found.order_status is models.OrderStatus.COMPLETED
        assert [line.part_id for line in found.item_list] == [part]
    one = api.do("return_", "get_return", back).list_[0][0]
    assert (one.order_id, one.status) == (order, models.ReturnStatus.ACCEPTED)
    assert one.created_at.tzinfo is not None
    assert one.order_return_items[0].return_reason == "does not fit"
    today = one.created_at.date()
    rows = api.do("return_", "list_returns", kind="ListReturns", date_from=today).list_
    assert [row.id for row in rows] == [back]
    rows = api.do("log", "list_logs", *DAYS, kind="ListRows").list_
    told = [(row.action, json.loads(row.details)) for row in rows if row.details][before:]
    assert [action for action, _data in told] == [
        "order.created",
        "part.status.changed",
        "order.return.created",
        "order.return.updated",
        "part.status.changed",
        "part.status.changed",
        "order.return.updated",
    ]
    assert sorted(map(repr, trader.heard()[before:])) == sorted(map(repr, told))


def test_refusals_are_parsed_as_what_they_are(api: Api, trader: Trader) -> None:
    models = api.models
    missing = api.do("part", "get_part", 2_000_000_000)
    assert isinstance(missing, models.Missing)
    missing = api.do("return_", "get_return", 2_000_000_000)
    assert (type(missing), missing.msg) == (models.Missing, "Order return not found")
    late = api.do("log", "list_logs", *reversed(DAYS), kind="ListRows")
    assert (type(late), late.status_code.value) == (models.Refusal, "R400")
    statuses = api.do("part", "list_statuses").list_
    assert [row.id for row in statuses] == [0, 1, 2, 3, 4]
    right = trader.login["password"]
    api._login = {**trader.login, "password": "wrong"}
    stranger = api.do("part", "list_statuses")
    api._login = {**trader.login, "password": right}
    assert (type(stranger), stranger.status_code.value) == (models.Refusal, "R403")
