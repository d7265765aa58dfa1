"""What the dialects put on the wire beside the marketplaces' own events."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketbell import __version__, signing
from marketbell.dialects.base import AttemptStart, Dialect, Signal
from marketbell.dialects.cloudevents import CloudEvents
from marketbell.dialects.ovoko import Ovoko
from marketbell.dialects.sellercenter import SellerCenter
from marketbell.dialects.standard import Standard
from marketbell.errors import InvalidError
from marketbell.model import Message, SigningKey
from support.values import an_endpoint

AT = 1_673_525_840_123
START = AttemptStart(AT + 60_999, 2)
KEY = SigningKey(kind="v1", secret=bytes(range(24)))

MESSAGE = Message(
    id=7,
    public_id="msg_2KFw7HTKyrpLbNEhNZMYY2nDBjS",
    application_id=3,
    event_type="invoice.paid",
    event_id=None,
    payload='{ "b": 1,\n "a": "ž🚗\\u00e9" }'.encode(),
    occurred_at=AT,
    created_at=AT,
    payload_expires_at=AT + 90_000_000,
)

ENDPOINT = an_endpoint(
    public_id="ep_2KFw7GzAnQ4bHqvQRzBQuyVkq1Z",
    application_id=3,
    secrets=(KEY,),
    created_at=AT,
    updated_at=AT,
)

AGENT = ("user-agent", f"Marketbell/{__version__}")
EVERY: list[Dialect] = [
    Standard(),
    Ovoko(),
    SellerCenter(),
    CloudEvents(),
    CloudEvents(binary=True),
]


def by_name(dialect: Dialect) -> str:
    return dialect.name


def test_standard_sends_the_payload_as_given_under_both_names_of_the_signature() -> None:
    request = Standard().render(MESSAGE, ENDPOINT, START)
    signature = signing.sign([KEY], MESSAGE.public_id, 1_673_525_901, MESSAGE.payload)
    assert request.body == MESSAGE.payload
    assert request.headers == (
        ("content-type", "application/json"),
        AGENT,
        ("svix-id", "msg_2KFw7HTKyrpLbNEhNZMYY2nDBjS"),
        ("svix-timestamp", "1673525901"),
        ("svix-signature", signature),
        ("webhook-id", "msg_2KFw7HTKyrpLbNEhNZMYY2nDBjS"),
        ("webhook-timestamp", "1673525901"),
        ("webhook-signature", signature),
    )


def test_standard_signs_with_every_key_that_lives_at_the_attempt_and_no_other() -> None:
    ending = SigningKey(kind="v1", secret=bytes(24), expires_at=START.at + 1)
    ended = SigningKey(kind="v1", secret=bytes(25), expires_at=START.at)
    endpoint = msgspec.structs.replace(ENDPOINT, secrets=(KEY, ended, ending))
    headers = dict(Standard().render(MESSAGE, endpoint, START).headers)
    assert headers["webhook-signature"] == signing.sign(
        [KEY, ending], MESSAGE.public_id, START.at // 1000, MESSAGE.payload
    )


def test_standards_schedule_and_signals() -> None:
    seconds = [wait // 1000 for wait in Standard.schedule.waits]
    assert seconds == [5, 300, 1800, 7200, 18000, 36000, 36000]
    assert Standard.schedule.jitter == 0.2
    assert Standard.honours == frozenset(Signal) == CloudEvents.honours
    assert CloudEvents.schedule == Standard.schedule


@pytest.mark.parametrize("dialect", EVERY, ids=by_name)
def test_only_the_marketplaces_ask_for_https(dialect: Dialect) -> None:
    assert dialect.https_only == (dialect.name in {"ovoko", "sellercenter"})


@pytest.mark.parametrize("dialect", EVERY, ids=by_name)
def test_an_endpoints_own_headers_come_last_and_replace_nothing(dialect: Dialect) -> None:
    plain = dialect.render(MESSAGE, ENDPOINT, START)
    reserved = [*(name.upper() for name, _ in plain.headers), "Host", "Content-Length"]
    own = (("X-Shop", "1"), *((name, "mine") for name in reserved), ("authorization", "Bearer x"))
    endpoint = msgspec.structs.replace(ENDPOINT, headers=own)
    request = dialect.render(MESSAGE, endpoint, START)
    assert request.body == plain.body
    assert request.headers == (*plain.headers, ("X-Shop", "1"), ("authorization", "Bearer x"))


def test_a_static_header_may_have_a_name_that_another_dialect_reserves() -> None:
    endpoint = msgspec.structs.replace(ENDPOINT, headers=(("webhook-id", "s3cret"),))
    assert ("webhook-id", "s3cret") in Ovoko().render(MESSAGE, endpoint, START).headers


def test_an_event_type_of_no_catalogue_carries_its_payloads_own_bytes() -> None:
    assert SellerCenter().render(MESSAGE, ENDPOINT, START).body == (
        b'{"event":"invoice.paid","payload":' + MESSAGE.payload + b"}"
    )
    assert (
        Ovoko()
        .render(MESSAGE, ENDPOINT, START)
        .body.endswith(b',"event_data":' + MESSAGE.payload + b"}")
    )


def test_text_goes_out_as_utf_8_and_is_not_escaped() -> None:
    given = '{"part_id":"13","status":"sold","external_id":"\\u017eibintas 🚗"}'.encode()
    message = msgspec.structs.replace(MESSAGE, event_type="part.status.changed", payload=given)
    body = Ovoko().render(message, ENDPOINT, START).body
    assert '"external_id":"žibintas 🚗"}'.encode() in body


@pytest.mark.parametrize(
    ("dialect", "event_type"),
    [(Ovoko(), "order.created"), (SellerCenter(), "onOrderCreated")],
    ids=["ovoko", "sellercenter"],
)
def test_a_payload_that_does_not_fit_is_never_sent(dialect: Dialect, event_type: str) -> None:
    for payload in (b"", b"{}", b'{"order_id":1,"OrderId":"1"}'):
        message = msgspec.structs.replace(MESSAGE, event_type=event_type, payload=payload)
        with pytest.raises(InvalidError):
            dialect.render(message, ENDPOINT, START)


def test_cloudevents_structured_is_the_whole_event_in_the_body() -> None:
    dialect = CloudEvents(source="urn:example:shop")
    request = dialect.render(MESSAGE, ENDPOINT, START)
    assert dialect.name == "cloudevents"
    assert request.headers == (("content-type", "application/cloudevents+json"), AGENT)
    assert request.body == (
        b'{"specversion":"1.0","id":"msg_2KFw7HTKyrpLbNEhNZMYY2nDBjS",'
        b'"source":"urn:example:shop","type":"invoice.paid","time":"2023-01-12T12:17:20.123Z",'
        b'"datacontenttype":"application/json","data":' + MESSAGE.payload + b"}"
    )


def test_cloudevents_binary_has_its_attributes_in_headers() -> None:
    dialect = CloudEvents(binary=True)
    request = dialect.render(MESSAGE, ENDPOINT, START)
    assert dialect.name == "cloudevents-binary"
    assert request.body == MESSAGE.payload
    assert request.headers == (
        ("content-type", "application/json"),
        AGENT,
        ("ce-specversion", "1.0"),
        ("ce-id", "msg_2KFw7HTKyrpLbNEhNZMYY2nDBjS"),
        ("ce-source", "urn:marketbell"),
        ("ce-type", "invoice.paid"),
        ("ce-time", "2023-01-12T12:17:20.123Z"),
    )


def test_cloudevents_binary_encodes_header_values_as_the_binding_asks() -> None:
    message = msgspec.structs.replace(MESSAGE, event_type='Euro € 😀 "50%"\r\n', occurred_at=0)
    headers = dict(CloudEvents(binary=True).render(message, ENDPOINT, START).headers)
    assert headers["ce-type"] == "Euro%20%E2%82%AC%20%F0%9F%98%80%20%2250%25%22%0D%0A"
    assert headers["ce-time"] == "1970-01-01T00:00:00.000Z"


def test_no_ce_header_of_an_endpoint_joins_a_binary_event() -> None:
    endpoint = msgspec.structs.replace(ENDPOINT, headers=(("Ce-Subject", "x"), ("x-a", "b")))
    names = [name for name, _ in CloudEvents(binary=True).render(MESSAGE, endpoint, START).headers]
    assert names[-1] == "x-a"
    assert "Ce-Subject" not in names
    structured = CloudEvents().render(MESSAGE, endpoint, START)
    assert ("Ce-Subject", "x") in structured.headers


@pytest.mark.parametrize("source", ["", "a b", "urn:\r\nx", "ž", "u" * 513])
def test_a_source_that_is_no_uri_reference_is_refused(source: str) -> None:
    with pytest.raises(InvalidError, match="URI reference"):
        CloudEvents(source=source)


@pytest.mark.parametrize("zone", ["Vilnius", "", "../etc/passwd", "/etc/localtime", "Europe"])
def test_an_unknown_zone_is_refused_with_an_example(zone: str) -> None:
    with pytest.raises(InvalidError, match="such as Europe/Vilnius"):
        Ovoko(zone)


JSON_OBJECTS = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(st.characters(exclude_categories=["Cs"])),
        st.lists,
        max_leaves=10,
    ),
)


@given(payload=JSON_OBJECTS, at=st.integers(0, 250_000_000_000_000))
def test_every_dialect_carries_any_payload_whole(payload: dict[str, object], at: int) -> None:
    text = json.dumps(payload, ensure_ascii=False).encode()
    message = msgspec.structs.replace(MESSAGE, payload=text, occurred_at=at)
    places = [None, "event_data", "payload", "data", None]
    for dialect, place in zip(EVERY, places, strict=True):
        body = json.loads(dialect.render(message, ENDPOINT, START).body)
        assert (body if place is None else body[place]) == payload


def test_a_standard_request_verifies_with_the_secrets_text() -> None:
    headers = dict(Standard().render(MESSAGE, ENDPOINT, START).headers)
    text = "whsec_" + base64.b64encode(bytes(range(24))).decode()
    signing.verify(
        [signing.parse_verifying_key(text)],
        message_id=headers["webhook-id"],
        timestamp=headers["webhook-timestamp"],
        signature=headers["webhook-signature"],
        body=MESSAGE.payload,
        now=START.at,
    )
