"""Every event of both documents goes out to the byte as its document shows it."""

from __future__ import annotations

import msgspec
import pytest

from marketbell import __version__
from marketbell.dialects.base import AttemptStart, Request
from marketbell.dialects.ovoko import Ovoko
from marketbell.dialects.sellercenter import SellerCenter
from marketbell.model import Message, SigningKey
from support.values import an_endpoint

AT = 1_673_525_840_123
"""2023-01-12T12:17:20.123Z"""

MESSAGE = Message(
    id=7,
    public_id="msg_2KFw7HTKyrpLbNEhNZMYY2nDBjS",
    application_id=3,
    event_type="",
    event_id="101aa6a1-ed22-42f0-84ca-1f8a028a2d28",
    payload=b"",
    occurred_at=AT,
    created_at=AT + 5_000,
    payload_expires_at=AT + 90_000_000,
)

ENDPOINT = an_endpoint(
    public_id="ep_2KFw7GzAnQ4bHqvQRzBQuyVkq1Z",
    application_id=3,
    url="https://seller.example/hook?token=a%2Fb",
    headers=(("X-Callback", "s3cret"),),
    secrets=(SigningKey(kind="v1", secret=bytes(24)),),
    created_at=AT,
    updated_at=AT,
)

HEADERS = (
    ("content-type", "application/json"),
    ("user-agent", f"Marketbell/{__version__}"),
    ("X-Callback", "s3cret"),
)

OVOKO = {
    "part.status.changed": (
        b'{"part_id": "13", "status": "sold", "id_bridge": "12345", "external_id": null}',
        b'{"event_id":"101aa6a1-ed22-42f0-84ca-1f8a028a2d28","event_type":"part.status.changed","timestamp":"2023-01-12T14:17:20+02:00","event_data":{"part_id":"13","status":"sold","id_bridge":"12345","external_id":null}}',
    ),
    "order.created": (
        b'{"order_id": "4555"}',
        b'{"event_id":"101aa6a1-ed22-42f0-84ca-1f8a028a2d28","event_type":"order.created","timestamp":"2023-01-12T14:17:20+02:00","event_data":{"order_id":"4555"}}',
    ),
    "order.cancelled": (
        b'{"order_id": "4555"}',
        b'{"event_id":"101aa6a1-ed22-42f0-84ca-1f8a028a2d28","event_type":"order.cancelled","timestamp":"2023-01-12T14:17:20+02:00","event_data":{"order_id":"4555"}}',
    ),
    "order.return.created": (
        b'{"return_id": "4555", "order_id": "4556"}',
        b'{"event_id":"101aa6a1-ed22-42f0-84ca-1f8a028a2d28","event_type":"order.return.created","timestamp":"2023-01-12T14:17:20+02:00","event_data":{"return_id":"4555","order_id":"4556"}}',
    ),
    "order.return.updated": (
        b'{"order_id": "4556", "return_id": "4555"}',
        b'{"event_id":"101aa6a1-ed22-42f0-84ca-1f8a028a2d28","event_type":"order.return.updated","timestamp":"2023-01-12T14:17:20+02:00","event_data":{"return_id":"4555","order_id":"4556"}}',
    ),
}

SELLERCENTER = {
    "onFeedCreated": (
        b'{"Feed": "829a8d2a-d370-4fa6-8613-8554f43d5fed"}',
        b'{"event":"onFeedCreated","payload":{"Feed":"829a8d2a-d370-4fa6-8613-8554f43d5fed"}}',
    ),
    "onFeedCompleted": (
        b'{"Feed": "829a8d2a-d370-4fa6-8613-8554f43d5fed"}',
        b'{"event":"onFeedCompleted","payload":{"Feed":"829a8d2a-d370-4fa6-8613-8554f43d5fed"}}',
    ),
    "onProductCreated": (
        b'{"SellerSkus": ["NI006ELAAGWDNAFAMZ-43340"]}',
        b'{"event":"onProductCreated","payload":{"SellerSkus":["NI006ELAAGWDNAFAMZ-43340"]}}',
    ),
    "onProductUpdated": (
        b'{"SellerSkus": ["NI006ELAAGWDNAFAMZ-43340", "NI006ELAAGWDNAFAMZ-43341", "NI006ELAAGWDNAFAMZ-43342", "NI006ELAAGWDNAFAMZ-43343"]}',
        b'{"event":"onProductUpdated","payload":{"SellerSkus":["NI006ELAAGWDNAFAMZ-43340","NI006ELAAGWDNAFAMZ-43341","NI006ELAAGWDNAFAMZ-43342","NI006ELAAGWDNAFAMZ-43343"]}}',
    ),
    "onProductQcStatusChanged": (
        b'{"SellerSkus": ["NI006ELAAGWDNAFAMZ-43341", "NI006ELAAGWDNAFAMZ-43342"]}',
        b'{"event":"onProductQcStatusChanged","payload":{"SellerSkus":["NI006ELAAGWDNAFAMZ-43341","NI006ELAAGWDNAFAMZ-43342"]}}',
    ),
    "onOrderCreated": (
        b'{"OrderId": 190}',
        b'{"event":"onOrderCreated","payload":{"OrderId":190}}',
    ),
    "onOrderItemsStatusChanged": (
        b'{"NewStatus": "ready_to_ship", "OrderId": 190, "OrderItemIds": [2, 3]}',
        b'{"event":"onOrderItemsStatusChanged","payload":{"OrderId":190,"OrderItemIds":[2,3],"NewStatus":"ready_to_ship"}}',
    ),
    "onMetricsUpdated": (b"{ }", b'{"event":"onMetricsUpdated","payload":{}}'),
    "onStatisticsUpdated": (b"{ }", b'{"event":"onStatisticsUpdated","payload":{}}'),
}


def rendered(dialect: Ovoko | SellerCenter, name: str, payload: bytes, number: int = 1) -> Request:
    message = msgspec.structs.replace(MESSAGE, event_type=name, payload=payload)
    return dialect.render(message, ENDPOINT, AttemptStart(AT + number * 60_000, number))


@pytest.mark.parametrize("name", OVOKO)
def test_ovoko_sends_these_bytes(name: str) -> None:
    payload, body = OVOKO[name]
    assert rendered(Ovoko(), name, payload) == Request(HEADERS, body)


@pytest.mark.parametrize("name", SELLERCENTER)
def test_sellercenter_sends_these_bytes(name: str) -> None:
    payload, body = SELLERCENTER[name]
    assert rendered(SellerCenter(), name, payload) == Request(HEADERS, body)


def test_the_goldens_are_all_events_of_both_documents_in_their_order() -> None:
    assert Ovoko().catalogue.names == tuple(OVOKO)
    assert SellerCenter().catalogue.names == tuple(SELLERCENTER)
    assert (len(OVOKO), len(SELLERCENTER)) == (5, 9)


def test_a_resend_is_the_same_to_the_byte() -> None:
    for dialect, golden in ((Ovoko(), OVOKO), (SellerCenter(), SELLERCENTER)):
        for name, (payload, _) in golden.items():
            assert rendered(dialect, name, payload) == rendered(dialect, name, payload, 38)
