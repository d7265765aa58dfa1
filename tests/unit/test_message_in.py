"""Whatever the bytes of a message, it is read or refused; and read as JSON reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketbell.api.message_in import incoming
from marketbell.errors import InvalidError

TEXTS = st.sampled_from(["", "a", ",", "1", "{}", '"', "\\", '{"n":1}', "Pra\u0161ome"])
VALUES = (
    st.none()
    | st.integers(-20, 200)
    | st.sampled_from([0.1, -1.5, 1e300])
    | TEXTS
    | st.lists(st.integers(0, 20), max_size=2)
    | st.dictionaries(TEXTS, st.integers(0, 20), max_size=2)
)
FIELDS = st.sampled_from(
    [
        "eventType", "payload", "data", "eventId", "channels", "tags", "timestamp", "deliverAt",
        "payloadRetentionPeriod", "payloadRetentionHours", "application", "transformationsParams",
    ]
)  # fmt: skip
MEMBERS = st.lists(st.tuples(FIELDS, VALUES), max_size=6)


def text_of(members: list[tuple[str, Any]], between: str, *, ascii_only: bool) -> bytes:
    """The JSON of these members in their order, of which some may be there twice."""
    texts = [f"{json.dumps(k)}:{json.dumps(v, ensure_ascii=ascii_only)}" for k, v in members]
    return f"{{{f',{between}'.join(texts)}{between}}}".encode()


@given(MEMBERS, st.sampled_from(["", " ", "\n"]), st.booleans())
def test_a_message_is_read_as_it_stands_or_refused(
    members: list[tuple[str, Any]], between: str, ascii_only: bool
) -> None:
    members = [("eventType", "order.paid"), *members]
    body = text_of(members, between, ascii_only=ascii_only)
    try:
        draft = incoming(body).draft
    except InvalidError:
        return
    names = [name for name, _ in members]
    assert len(set(names)) == len(names)
    told = dict(members)
    assert draft.event_type == told["eventType"]
    assert draft.event_id == told.get("eventId")
    if not draft.raw:
        assert json.loads(draft.payload) == told.get("payload", told.get("data"))


@given(st.binary(max_size=80))
def test_whatever_the_bytes_the_one_error_is_ours(body: bytes) -> None:
    for data in (body, b'{"eventType":"a","payload":' + body + b"}"):
        try:
            incoming(data)
        except InvalidError:
            continue


@pytest.mark.parametrize(
    "body",
    [
        b'{"eventType":"a","timestamp":10,"application":{"name":"x"},"payload":1 }',
        b'{"eventType":"a","application":{"name":"x"},"payload":"," }',
        b'{"eventType":"a","application":{"name":"x"},"payload":"" }',
    ],
)
def test_a_payload_that_is_no_object_and_a_part_of_something_else_is_no_riddle(body: bytes) -> None:
    assert incoming(body).draft.payload == body.rpartition(b":")[2].rstrip(b" }")
