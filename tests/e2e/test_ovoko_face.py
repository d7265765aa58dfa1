"""Ovoko's API over real sockets, and the webhooks that follow from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest

from e2e.conftest import LiveNode, live_node
from marketbell.control import applications, endpoints
from marketbell.control.endpoint_change import EndpointChange
from marketbell.control.sellers import NewSeller, create_seller
from marketbell.control.tokens import Principal
from marketbell.marketplace.ovoko import face_sales
from marketbell.model import Application
from marketbell.testing import TestReceiver

OPERATOR = Principal("org_test")
DAYS = "2020-01-01/2029-12-31"
PART = {
    "category_id": "55",
    "car_id": "7",
    "quality": "1",
    "status": "0",
    "price": "49.90",
    "original_currency": "EUR",
    "external_id": "shelf-7/front-door",
    "manufacturer_code": "8K0 831 051",
}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    with live_node(tmp_path_factory.mktemp("node"), marketplaces=True) as node:
        yield node


class Seller:
    """A seller of Ovoko, with its API, a receiver of its webhooks, and the buyers around it."""

    def __init__(self, live: LiveNode, made: NewSeller, receiver: TestReceiver) -> None:
        self.live = live
        self.made = made
        self.receiver = receiver
        self.application: Application = made.application
        self.market = live.node.marketplaces.ovoko
        assert live.node.marketplace_url
        self.http = httpx.Client(base_url=live.node.marketplace_url)

    def post(self, path: str, **fields: Any) -> dict[str, Any]:
        """One call; its answer."""
        response = self.http.post(path, data={**self.made.login, **fields})
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        answer: dict[str, Any] = response.json()
        return answer

    def part(self, **fields: Any) -> int:
        """Import a part; its number."""
        answer = self.post("/crm/importPart", **{**PART, **fields})
        assert answer.keys() == {"part_id", "msg", "status_code"}, answer
        assert isinstance(answer["part_id"], int)
        return answer["part_id"]

    def status(self, part: int) -> str:
        """The webhook's word for where a part stands."""
        record = self.post(f"/get/part/{part}")["list"][0][0]
        return str(record["status_name"])

    def heard(self) -> list[tuple[str, dict[str, Any]]]:
        """Every event so far, in the order of the log that tells of them, once all have arrived."""
        self.live.settle()
        bodies = [json.loads(request.body) for request in self.receiver.requests]
        assert len({body["event_id"] for body in bodies}) == len(bodies)
        return [(body["event_type"], body["event_data"]) for body in bodies]


@pytest.fixture
def seller(live: LiveNode) -> Iterator[Seller]:
    services = live.node.marketplaces.services
    made = live.run(create_seller(services, OPERATOR, "ovoko", "Parts Ltd"))
    receiver = live.receiver()
    live.run(
        endpoints.create(
            services,
            OPERATOR,
            made.application.public_id,
            EndpointChange(url=f"{receiver.url}/hooks"),
        )
    )
    it = Seller(live, made, receiver)
    yield it
    it.http.close()


def kinds(events: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    return sorted(kind for kind, _data in events)


def test_a_part_is_sold_by_the_seller(seller: Seller) -> None:
    part = seller.part()
    assert seller.heard() == []
    answer = seller.post("/crm/changePartStatus", part_id=part, status=2)
    assert answer == {"part_id": part, "msg": "OK", "status_code": "R200"}
    assert seller.heard() == [
        (
            "part.status.changed",
            {
                "part_id": str(part),
                "status": "sold",
                "id_bridge": None,
                "external_id": "shelf-7/front-door",
            },
        )
    ]


def test_the_whole_way_of_a_sale_and_its_return(seller: Seller) -> None:
    first, second = seller.part(), seller.part(external_id="")
    run, market, application = seller.live.run, seller.market, seller.application
    order = run(market.buy(application, [first, second]))
    assert kinds(seller.heard()) == ["order.created", "part.status.changed", "part.status.changed"]
    run(market.complete_order(application, order))
    back = run(market.open_return(application, order, [first], "does not fit"))
    assert (seller.status(first), seller.status(second)) == ("sold", "sold")
    assert run(market.open_return(application, order, [second])) == back
    run(market.hand_in(application, back))
    assert (seller.status(first), seller.status(second)) == ("returned", "returned")
    seller.post("/crm/changePartStatus", part_id=first, status=0)
    seller.post("/crm/updatePart", part_id=second, status=4)
    assert (seller.status(first), seller.status(second)) == ("in_warehouse", "written_off")
    record = seller.post(f"/get/order_return/{back}")["list"][0][0]
    assert (record["status"], record["order_id"]) == ("Accepted", order)
    events = seller.heard()
    assert kinds(events) == [
        "order.created",
        "order.return.created",
        *["order.return.updated"] * 3,
        *["part.status.changed"] * 6,
    ]
    assert ("order.return.created", {"return_id": str(back), "order_id": str(order)}) in events


def test_the_log_tells_of_every_event_in_its_order(seller: Seller) -> None:
    part = seller.part()
    run, market, application = seller.live.run, seller.market, seller.application
    order = run(market.buy(application, [part]))
    run(market.cancel_order(application, order))
    seller.post("/crm/updatePart", part_id=part, notes="a scratch")
    rows = seller.post("/get/logs/1970-01-01/1970-01-02")["list"]
    assert rows == []
    rows = seller.post("/get/logs/2020-01-01/2029-12-31")["list"]
    assert [(row["action"], row["item_list"]) for row in rows] == [
        ("part.imported", [part]),
        ("order.created", [order]),
        ("part.status.changed", [part]),
        ("order.cancelled", [order]),
        ("part.status.changed", [part]),
        ("part.updated", [part]),
    ]
    assert rows[0]["user"] == seller.made.login["username"]
    told = [json.loads(row["details"]) for row in rows if row["details"]]
    assert sorted(map(repr, told)) == sorted(repr(data) for _kind, data in seller.heard())


def test_wrong_secrets_are_refused_alike(seller: Seller) -> None:
    part = seller.part()
    login = seller.made.login
    for wrong in (
        {"username": "nobody"},
        {"password": "x"},
        {"user_token": ""},
        {"password": login["user_token"], "user_token": login["password"]},
    ):
        answer = seller.post(f"/get/part/{part}", **wrong)
        assert answer == {
            "msg": "Wrong username, password or user_token",
            "status_code": "R403",
        }


def test_another_sellers_things_are_not_there(seller: Seller, live: LiveNode) -> None:
    services = live.node.marketplaces.services
    other = live.run(create_seller(services, OPERATOR, "ovoko", "Others"))
    part = seller.part()
    order = live.run(seller.market.buy(seller.application, [part]))
    own = seller.made.login
    seller.made = other
    assert seller.post(f"/get/part/{part}")["status_code"] == "R404"
    assert seller.post("/crm/updatePart", part_id=part, price=1)["status_code"] == "R404"
    assert seller.post("/crm/deletePart", part_id=part) == {
        "msg": "part_id not found",
        "status_code": "R400",
    }
    assert seller.post(
        "/crm/importPostData",
        order_id=order,
        weight=1,
        height=1,
        length=1,
        width=1,
        packing_type=1,
    ) == {"msg": "Order not found", "status_code": "R404"}
    assert seller.post("/v2/get/parts")["pagination"]["total_count"] == 0
    assert own != other.login


def test_lists_of_parts_are_pages(seller: Seller) -> None:
    numbers = [seller.part(external_id=f"own-{n}") for n in range(5)]
    answer = seller.post("/v2/get/parts?limit=2&page=2")
    assert [record["id"] for record in answer["list"]] == numbers[::-1][2:4]
    assert answer["pagination"] == {"page": 2, "limit": 2, "total_count": 5}
    answer = seller.post("/v2/get/parts", **{"external_ids[]": ["own-1", "own-4", "none"]})
    assert {record["external_id"] for record in answer["list"]} == {"own-1", "own-4"}
    answer = seller.post("/v2/get/parts", external_ids="own-1,own-2")
    assert answer["pagination"]["total_count"] == 2
    assert seller.post("/v2/get/parts", date_from="2100-01-01")["list"] == []
    assert seller.post("/v2/get/parts", limit=101)["status_code"] == "R400"


def test_parts_are_searched_by_their_codes(seller: Seller) -> None:
    numbers = [seller.part(manufacturer_code=code) for code in ("8K0 831", "1J0 407", "8K0 999")]
    found = seller.post("/v2/get/parts", search="8k0", limit="1", page="2")
    assert [row["id"] for row in found["list"]] == numbers[:1]
    assert found["pagination"] == {"page": 2, "limit": 1, "total_count": 2}
    assert seller.post("/v2/get/parts", search="nowhere")["list"] == []


def test_orders_by_day_and_by_page(seller: Seller) -> None:
    orders = [
        seller.live.run(seller.market.buy(seller.application, [seller.part()])) for _ in range(3)
    ]
    rows = seller.post("/get/orders/2020-01-01/2029-12-31")["list"]
    assert [row["id"] for row in rows] == orders
    answer = seller.post("/v2/get/orders/2020-01-01/2029-12-31", limit=2, page=2)
    assert [row["id"] for row in answer["list"]] == orders[2:]
    assert answer["pagination"] == {"page": 2, "limit": 2, "total_count": 3}
    assert seller.post("/get/orders/2020-01-01/2020-01-02")["list"] == []


def test_lists_without_pages_are_whole_or_say_so(
    seller: Seller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list that ended without a word at its limit would lose events for who catches up by it."""
    monkeypatch.setattr(face_sales, "ROWS_MAX", 3)
    numbers = [seller.part() for _ in range(3)]
    whole = seller.post(f"/get/logs/{DAYS}")
    assert [row["item_list"] for row in whole["list"]] == [[number] for number in numbers]
    assert "pagination" not in whole
    numbers.append(seller.part())
    refused = seller.post(f"/get/logs/{DAYS}")
    assert refused["status_code"] == "R400"
    assert "There are more than 3 rows" in refused["msg"]
    assert "list" not in refused
    pages = [seller.post(f"/get/logs/{DAYS}", page=page, limit=3) for page in (1, 2)]
    rows = [row["item_list"][0] for page in pages for row in page["list"]]
    assert rows == numbers
    assert pages[1]["pagination"] == {"page": 2, "limit": 3, "total_count": 4}
    assert seller.post(f"/get/logs/{DAYS}", page=1)["pagination"]["limit"] == 3
    assert "limit is not from 1 to 3" in seller.post(f"/get/logs/{DAYS}", limit=4)["msg"]
    market, application = seller.market, seller.application
    orders = [seller.live.run(market.buy(application, [number])) for number in numbers]
    assert seller.post(f"/get/orders/{DAYS}")["status_code"] == "R400"
    found = seller.post(f"/get/orders/{DAYS}", page="2", limit="3")["list"]
    assert [row["id"] for row in found] == orders[3:]


def test_a_multipart_form_is_read_as_php_sends_it(seller: Seller) -> None:
    fields = {**seller.made.login, **PART, "photos[0]": "https://x.example/ä.JPG"}
    response = seller.http.post(
        "/crm/importPart", files={name: (None, value) for name, value in fields.items()}
    )
    number = response.json()["part_id"]
    record = seller.post(f"/get/part/{number}")["list"][0][0]
    assert (record["photo"], record["photos"]) == (
        "https://x.example/ä.JPG",
        ["https://x.example/ä.JPG"],
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"category_id": ""}, "category_id is required"),
        ({"car_id": "seven"}, "car_id is not a whole number from 1 on"),
        ({"car_id": "9999999999"}, "car_id is not a whole number from 1 on"),
        ({"status": "9"}, "status is not one of 0, 1, 2, 3, 4"),
        ({"status": "4"}, "A part cannot begin as written_off"),
        ({"price": "-1"}, "price is not an amount from 0 to 10000000"),
        ({"price": "99999999"}, "price is not an amount from 0 to 10000000"),
        ({"original_currency": "USD"}, "original_currency is not one of EUR, PLN"),
        ({"external_id": "x" * 256}, "external_id is longer than 255 characters"),
        ({"external_id": "a\x00b"}, "external_id holds control characters"),
        ({"photo": "https://x.example/a.gif"}, "a photo's address does not end with"),
        (
            {"photo": "https://x.example/a.jpg", "photos[]": "https://x.example/b.jpg"},
            "photo is not the first of photos",
        ),
        ({"photos[]": ["https://x.example/a.jpg"] * 101}, "photos has more than 100 values"),
        ({"optional_codes[]": ["x" * 256]}, "optional_codes has a value longer than 255"),
    ],
)
def test_a_part_that_breaks_a_rule_is_refused(
    seller: Seller, fields: dict[str, Any], said: str
) -> None:
    answer = seller.post("/crm/importPart", **{**PART, **fields})
    assert answer["status_code"] == "R400"
    assert answer["msg"].startswith(said)
    assert seller.post("/v2/get/parts")["list"] == []


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/get/orders/2020-02-30/2020-03-01", "from is not a date such as 2026-01-31"),
        ("/get/orders/2020-01-02/2020-01-01", "to is before from"),
        ("/get/orders/1999-01-01/2020-01-01", "to is before from, or more than 3660 days"),
        ("/get/orders/0001-01-01/0001-01-02", "from is not a date"),
        ("/get/part/abc", "id is not a whole number from 1 on"),
    ],
)
def test_a_path_that_breaks_a_rule_is_refused(seller: Seller, path: str, said: str) -> None:
    answer = seller.post(path)
    assert answer["status_code"] == "R400"
    assert answer["msg"].startswith(said)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"method": "GET"}, "Only POST is allowed"),
        ({"headers": {"content-type": "application/json"}, "content": b"{}"}, "The body must be"),
        ({"content": b"a=%ff"}, "The form is not UTF-8"),
        ({"content": b"&".join([b"a=1"] * 1_001)}, "The form has more than 1000 fields"),
        ({"content": b"a" * 1_100_000}, "The body is larger than 1000000 bytes"),
        (
            {"headers": {"content-type": "multipart/form-data"}, "content": b"x"},
            "The multipart form names no boundary",
        ),
        (
            {"headers": {"content-type": "multipart/form-data; boundary=x"}, "content": b"--x\r\n"},
            "The form did not end",
        ),
        ({"files": {"a": ("a.txt", b"x")}}, "A part of the form is no field"),
    ],
)
def test_what_is_no_form_is_refused(seller: Seller, request_: dict[str, Any], said: str) -> None:
    asked = {"method": "POST", "headers": {}, **request_}
    if "files" not in asked:
        asked["headers"] = {
            "content-type": "application/x-www-form-urlencoded",
            **asked["headers"],
        }
    response = seller.http.request(url="/get/part_status", **asked)
    assert response.status_code == 200
    assert response.json()["status_code"] == "R400"
    assert response.json()["msg"].startswith(said)


def test_a_user_of_another_marketplace_cannot_log_in(live: LiveNode, seller: Seller) -> None:
    services = live.node.marketplaces.services
    other = live.run(create_seller(services, OPERATOR, "sellercenter", "Shop"))
    answer = seller.post("/get/part_status", username=other.login["UserID"])
    assert answer["status_code"] == "R403"


def test_both_marketplaces_answer_on_one_port_and_nothing_else_does(seller: Seller) -> None:
    assert b"ErrorResponse" in seller.http.get("/").content
    assert seller.http.post("/api/v1/app").status_code == 404
    assert seller.http.post("/crm/noSuchThing").status_code == 404


def test_sellers_are_made_with_their_dialect(live: LiveNode) -> None:
    services = live.node.marketplaces.services
    made = live.run(create_seller(services, OPERATOR, "ovoko", "A", user="anna"))
    assert made.application.policy.dialect == "ovoko"
    assert made.login["username"] == "anna"
    assert made.login["password"] not in repr(made)
    with pytest.raises(Exception, match="no marketplace 'ebay'"):
        live.run(create_seller(services, OPERATOR, "ebay", "A"))
    with pytest.raises(Exception, match="user name 'anna' is taken"):
        live.run(create_seller(services, OPERATOR, "ovoko", "Second", user="anna", uid="second"))
    # The application of the second was taken back.
    with pytest.raises(Exception, match="no application 'second'"):
        live.run(applications.get(services, OPERATOR, "second"))
