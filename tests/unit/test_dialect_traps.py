"""Each trap of the marketplaces' documents that a dialect could fall into, by its number."""

from __future__ import annotations

import datetime
import json
import re
import uuid
import zoneinfo

import msgspec
import pytest

from marketbell.api.instants import GREATEST, LEAST
from marketbell.dialects.base import AttemptStart, Dialect, Schedule
from marketbell.dialects.catalogue import Catalogue
from marketbell.dialects.ovoko import EVENT_ID_NAMESPACE, Ovoko, PartStatus
from marketbell.dialects.sellercenter import ItemStatus, SellerCenter
from marketbell.errors import InvalidError
from marketbell.model import Message
from support.values import an_endpoint

AT = 1_673_525_840_123
"""2023-01-12T12:17:20.123Z"""

ENDPOINT = an_endpoint(
    public_id="ep_2KFw7GzAnQ4bHqvQRzBQuyVkq1Z", application_id=3, created_at=AT, updated_at=AT
)

STATUS = "part.status.changed"
ITEMS = "onOrderItemsStatusChanged"


def sent(
    dialect: Dialect,
    event_type: str,
    payload: bytes,
    *,
    event_id: str | None = None,
    occurred_at: int = AT,
    at: int = AT,
    number: int = 1,
) -> bytes:
    message = Message(
        id=7,
        public_id="msg_2KFw7HTKyrpLbNEhNZMYY2nDBjS",
        application_id=3,
        event_type=event_type,
        event_id=event_id,
        payload=payload,
        occurred_at=occurred_at,
        created_at=occurred_at + 60_000,
        payload_expires_at=occurred_at + 90_000_000,
    )
    return dialect.render(message, ENDPOINT, AttemptStart(at, number)).body


def refused(catalogue: Catalogue, event_type: str, payload: bytes) -> tuple[str | int, ...]:
    with pytest.raises(InvalidError) as caught:
        catalogue.check(event_type, payload)
    return caught.value.field[2:]


@pytest.mark.parametrize("name", ["order.return.created", "order.return.updated"])
def test_trap_01_return_events_are_valid_json(name: str) -> None:
    body = json.loads(sent(Ovoko(), name, b'{"return_id":"4555","order_id":"4555"}'))
    assert body["event_data"] == {"return_id": "4555", "order_id": "4555"}


def test_trap_02_id_bridge_is_sent_with_external_id_unless_switched_off() -> None:
    given = b'{"part_id":"13","status":"sold"}'
    assert b'"id_bridge":null,"external_id":null}' in sent(Ovoko(), STATUS, given)
    without = Ovoko(id_bridge=False)
    bridged = b'{"part_id":"13","status":"sold","id_bridge":"12345"}'
    assert sent(without, STATUS, bridged).endswith(
        b'"event_data":{"part_id":"13","status":"sold","external_id":null}}'
    )
    assert "id_bridge" not in json.dumps(without.catalogue.body_schema(STATUS))


@pytest.mark.parametrize("external_id", [b',"external_id":null', b""])
def test_trap_03_external_id_null_is_kept(external_id: bytes) -> None:
    given = b'{"part_id":"13","status":"sold","id_bridge":"12345"' + external_id + b"}"
    assert b'"id_bridge":"12345","external_id":null}' in sent(Ovoko(), STATUS, given)


def test_trap_03_an_empty_external_id_is_refused() -> None:
    given = b'{"part_id":"13","status":"sold","external_id":""}'
    assert refused(Ovoko().catalogue, STATUS, given) == ("external_id",)


@pytest.mark.parametrize(
    ("name", "field", "payload"),
    [
        (STATUS, "part_id", b'{"part_id":13,"status":"sold"}'),
        (STATUS, "external_id", b'{"part_id":"13","status":"sold","external_id":5}'),
        ("order.created", "order_id", b'{"order_id":4555}'),
        ("order.return.created", "return_id", b'{"return_id":1,"order_id":"2"}'),
    ],
)
def test_trap_04_ovoko_ids_are_strings(name: str, field: str, payload: bytes) -> None:
    assert refused(Ovoko().catalogue, name, payload) == (field,)


@pytest.mark.parametrize(
    ("zone", "at", "text"),
    [
        ("Europe/Vilnius", AT, "2023-01-12T14:17:20+02:00"),
        ("Europe/Vilnius", 1_689_164_240_999, "2023-07-12T15:17:20+03:00"),
        ("UTC", AT, "2023-01-12T12:17:20+00:00"),
        ("America/Santiago", AT, "2023-01-12T09:17:20-03:00"),
        ("Asia/Kolkata", AT, "2023-01-12T17:47:20+05:30"),
        # Monrovia was 44 minutes and 30 seconds behind, which RFC 3339 has no way to write.
        ("Africa/Monrovia", 0, "1969-12-31T23:16:00-00:44"),
        ("Africa/Monrovia", 70_000_000_000, "1972-03-21T04:26:40+00:00"),
    ],
)
def test_trap_05_the_timestamp_is_the_events_in_the_zones_own_offset(
    zone: str, at: int, text: str
) -> None:
    payload = b'{"order_id":"1"}'
    body = json.loads(sent(Ovoko(zone), "order.created", payload, occurred_at=at))
    assert body["timestamp"] == text


def test_trap_05_every_time_that_is_taken_can_be_sent_in_every_zone() -> None:
    for zone in ("Pacific/Kiritimati", "Etc/GMT+12", *zoneinfo.available_timezones()):
        for at in (LEAST, GREATEST):
            body = json.loads(
                sent(Ovoko(zone), "order.created", b'{"order_id":"1"}', occurred_at=at)
            )
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", body["timestamp"])
            there = datetime.datetime.fromisoformat(body["timestamp"])
            assert there.timestamp() == at // 1000


def test_trap_05_event_id_and_timestamp_stay_on_a_resend() -> None:
    payload = b'{"order_id":"1"}'
    for given in (None, "not-a-uuid", "101AA6A1-ed22-42f0-84ca-1f8a028a2d28"):
        first = sent(Ovoko(), "order.created", payload, event_id=given)
        later = sent(Ovoko(), "order.created", payload, event_id=given, at=AT + 217_000, number=4)
        assert first == later


@pytest.mark.parametrize(
    ("given", "is_sent"),
    [
        ("101aa6a1-ed22-42f0-84ca-1f8a028a2d28", "101aa6a1-ed22-42f0-84ca-1f8a028a2d28"),
        ("101AA6A1-ED22-42F0-84CA-1F8A028A2D28", "101AA6A1-ED22-42F0-84CA-1F8A028A2D28"),
        ("101aa6a1ed2242f084ca1f8a028a2d28", None),
        ("order-4555", None),
        (None, None),
    ],
)
def test_event_id_is_the_publishers_uuid_or_one_made_of_the_messages_id(
    given: str | None, is_sent: str | None
) -> None:
    body = json.loads(sent(Ovoko(), "order.created", b'{"order_id":"1"}', event_id=given))
    made = str(uuid.uuid5(EVENT_ID_NAMESPACE, "msg_2KFw7HTKyrpLbNEhNZMYY2nDBjS"))
    assert body["event_id"] == (is_sent or made)
    assert made == "c2891890-c415-5302-a253-712a6eea45b2"


def test_trap_06_ovoko_resends_three_times_and_never_bends() -> None:
    assert Ovoko.schedule == Schedule(
        waits=(7_000, 35_000, 175_000), repeat_last=False, horizon=None, jitter=0.0
    )
    assert Ovoko.honours == frozenset()


def test_trap_07_ovoko_takes_any_2xx_and_sellercenter_only_200() -> None:
    codes = range(100, 600)
    assert [code for code in codes if Ovoko().accepted(code)] == list(range(200, 300))
    assert [code for code in codes if SellerCenter().accepted(code)] == [200]


def test_trap_08_status_words_are_plain_lower_snake_case() -> None:
    assert [status.value for status in PartStatus] == [
        "in_warehouse",
        "reserved",
        "sold",
        "sold_in_ebay",
        "sold_in_allegro",
        "returned",
        "written_off",
        "unknown_stock_status",
    ]
    for status in ("“sold”", "sold_in_eBay", "Sold", "SOLD"):
        given = json.dumps({"part_id": "13", "status": status}).encode()
        assert refused(Ovoko().catalogue, STATUS, given) == ("status",)


def test_trap_15_the_order_field_is_order_id() -> None:
    catalogue = SellerCenter().catalogue
    assert b'"payload":{"OrderId":190}' in sent(
        SellerCenter(), "onOrderCreated", b'{"OrderId":190}'
    )
    fields = {fault.field[2:] for fault in catalogue.faults("onOrderCreated", b'{"Order":190}')}
    assert fields == {("OrderId",), ("Order",)}


def test_trap_16_callback_ids_are_numbers() -> None:
    given = b'{"OrderId":190,"OrderItemIds":[2,"3"],"NewStatus":"shipped"}'
    assert refused(SellerCenter().catalogue, ITEMS, given) == ("OrderItemIds", 1)
    assert refused(SellerCenter().catalogue, "onOrderCreated", b'{"OrderId":"190"}') == ("OrderId",)
    assert refused(SellerCenter().catalogue, "onOrderCreated", b'{"OrderId":190.0}') == ("OrderId",)


def test_trap_16_ids_go_out_as_strings_where_that_is_asked_for() -> None:
    iconic = SellerCenter(ids_as_strings=True)
    assert b'{"OrderId":"190"}' in sent(iconic, "onOrderCreated", b'{"OrderId":190}')
    given = b'{"OrderId":190,"OrderItemIds":[2,3],"NewStatus":"shipped"}'
    assert sent(iconic, ITEMS, given) == (
        b'{"event":"onOrderItemsStatusChanged","payload":'
        b'{"OrderId":"190","OrderItemIds":["2","3"],"NewStatus":"shipped"}}'
    )
    assert sent(iconic, "onProductCreated", b'{"SellerSkus":["7"]}').endswith(b'["7"]}}')


def test_trap_17_metrics_updated_is_an_event_with_an_empty_payload() -> None:
    assert sent(SellerCenter(), "onMetricsUpdated", b"{}") == (
        b'{"event":"onMetricsUpdated","payload":{}}'
    )


@pytest.mark.parametrize("name", ["onStatisticsUpdated", "onMetricsUpdated"])
def test_trap_18_an_empty_payload_is_an_object_never_a_list_or_null(name: str) -> None:
    for given in (b"[]", b"null", b'""', b"0", b"false"):
        assert refused(SellerCenter().catalogue, name, given) == ()
    with pytest.raises(InvalidError, match=r"never a list: \{\}"):
        SellerCenter().catalogue.check(name, b"[]")


def test_trap_19_the_statuses_wrapper_is_never_part_of_an_event() -> None:
    given = b'{"OrderId":190,"OrderItemIds":[2],"NewStatus":"shipped","Statuses":["shipped"]}'
    assert refused(SellerCenter().catalogue, ITEMS, given) == ("Statuses",)
    assert "Statuses" not in json.dumps(SellerCenter().catalogue.body_schema(ITEMS))


def test_trap_20_quality_control_events_carry_the_same_list_of_skus() -> None:
    catalogue = SellerCenter().catalogue
    schemas = [
        catalogue.schema(name)["properties"]
        for name in ("onProductCreated", "onProductUpdated", "onProductQcStatusChanged")
    ]
    assert schemas[0] == schemas[1] == schemas[2]


def test_trap_21_the_feed_events_say_which_feeds_are_silent() -> None:
    catalogue = SellerCenter().catalogue
    assert "four kinds" in catalogue["onFeedCreated"].fires
    assert "canceled" in catalogue["onFeedCompleted"].fires
    assert "FeedStatus" in catalogue["onFeedCompleted"].fires


def test_trap_22_new_status_has_eleven_words_and_processing_is_one() -> None:
    assert [status.value for status in ItemStatus] == [
        "shipped",
        "returned",
        "return_waiting_for_approval",
        "return_shipped_by_customer",
        "return_rejected",
        "ready_to_ship",
        "processing",
        "pending",
        "failed",
        "delivered",
        "canceled",
    ]
    for status in ("cancelled", "Cancel", "ready_To_Ship", "failed_delivery", "returned_rejected"):
        given = msgspec.json.encode({"OrderId": 1, "OrderItemIds": [2], "NewStatus": status})
        assert refused(SellerCenter().catalogue, ITEMS, given) == ("NewStatus",)


def test_traps_24_and_25_the_minutes_table_then_daily_for_thirty_days() -> None:
    schedule = SellerCenter.schedule
    minutes = [wait // 60_000 for wait in schedule.waits]
    assert minutes == [1, 5, 10, 30, 60, 120, 300, 600, 1440]
    assert schedule.repeat_last
    assert schedule.horizon == 30 * 86_400_000
    assert schedule.jitter == 0.0
    due, retries = 0, 0
    while True:
        due += schedule.waits[min(retries, len(schedule.waits) - 1)]
        if due > schedule.horizon:
            break
        retries += 1
    assert retries == 37


def test_trap_26_a_sellercenter_request_names_no_id_anywhere() -> None:
    message = Message(
        id=7,
        public_id="msg_2KFw7HTKyrpLbNEhNZMYY2nDBjS",
        application_id=3,
        event_type="onOrderCreated",
        event_id="101aa6a1-ed22-42f0-84ca-1f8a028a2d28",
        payload=b'{"OrderId":190}',
        occurred_at=AT,
        created_at=AT,
        payload_expires_at=AT,
    )
    request = SellerCenter().render(message, ENDPOINT, AttemptStart(AT, 1))
    assert [name for name, _ in request.headers] == ["content-type", "user-agent"]
    assert list(json.loads(request.body)) == ["event", "payload"]


def test_trap_30_one_event_carries_many_skus() -> None:
    skus = [f"NI006ELAAGWDNAFAMZ-{number}" for number in range(1000)]
    body = sent(SellerCenter(), "onProductUpdated", msgspec.json.encode({"SellerSkus": skus}))
    assert json.loads(body)["payload"]["SellerSkus"] == skus
    assert refused(SellerCenter().catalogue, "onProductUpdated", b'{"SellerSkus":[]}') == (
        "SellerSkus",
    )
    assert refused(SellerCenter().catalogue, "onProductUpdated", b'{"SellerSkus":"a"}') == (
        "SellerSkus",
    )


def test_trap_31_one_event_has_one_new_status_and_a_list_of_items_even_for_one() -> None:
    given = b'{"OrderId":190,"OrderItemIds":[2],"NewStatus":"delivered"}'
    assert b'"OrderItemIds":[2],"NewStatus":"delivered"' in sent(SellerCenter(), ITEMS, given)
    two = b'{"OrderId":190,"OrderItemIds":[2],"NewStatus":["delivered","failed"]}'
    assert refused(SellerCenter().catalogue, ITEMS, two) == ("NewStatus",)
    none = b'{"OrderId":190,"OrderItemIds":[],"NewStatus":"delivered"}'
    assert refused(SellerCenter().catalogue, ITEMS, none) == ("OrderItemIds",)
