"""What the outbox takes, before any database is asked."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from marketbell.api.message_in import incoming
from marketbell.control.drafts import MessageDraft
from marketbell.errors import InvalidError, TooLargeError
from marketbell.outbox import Draft, Outbox
from marketbell.outbox.draft import row_of

UTC = datetime.UTC
GOOD: dict[str, Any] = {"application": "kaunas", "event_type": "order.created", "payload": {}}


def row(**fields: Any) -> bytes:
    return row_of(Draft(**GOOD | fields), body_max=1_000_000).body


@dataclasses.dataclass
class Part:
    id: int
    name: str


class Struct(msgspec.Struct):
    id: int


@pytest.mark.parametrize(
    ("payload", "written"),
    [
        ({"a": [1, None, 1.5, "ą"]}, '{"a":[1,null,1.5,"ą"]}'),
        (Part(1, "door"), '{"id":1,"name":"door"}'),
        (Struct(1), '{"id":1}'),
        (b' {"a" : 1.0}\n', '{"a" : 1.0}'),
        (bytearray(b"{}"), "{}"),
        (memoryview(b"{}"), "{}"),
        (msgspec.Raw(b'{"a":1e5}'), '{"a":1e5}'),
        ({"at": datetime.datetime(2026, 1, 2, tzinfo=UTC)}, '{"at":"2026-01-02T00:00:00Z"}'),
    ],
)
def test_payloads_are_written_as_json_and_json_stays_as_it_is(
    payload: object, written: str
) -> None:
    assert row(payload=payload) == f'{{"eventType":"order.created","payload":{written}}}'.encode()


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ([], "must be a JSON object"),
        ("{}", "must be a JSON object"),
        (b"{", "not JSON"),
        (b"", "must be a JSON object"),
        (b'{"a":1,"a":2}', "twice"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b'{"a":"\\u0000"}', "U+0000"),
        ({"a": "\x00"}, "U+0000"),
        ({"a": "\ud800"}, "half of a surrogate"),
        (b'{"a":"\\ud800"}', "not JSON"),
        ({"a": float("nan"), "b": None}, "NaN"),
        ({"a": [{"b": float("inf"), "c": None}]}, "NaN or an infinity"),
        ({"a": object()}, "cannot be written as JSON"),
        ({"a": 3j}, "cannot be written as JSON"),
        ({1: "a", "1": "b"}, "twice"),
        (nested(70), "deeper than 64"),
    ],
)
def test_other_payloads_are_refused(payload: object, said: str) -> None:
    with pytest.raises(InvalidError, match=re.escape(said)) as refused:
        row(payload=payload)
    assert refused.value.field == ("payload",)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("application", ""),
        ("application", "a/b"),
        ("application", 5),
        ("organization", "shop"),
        ("organization", "org_" + 65 * "a"),
        ("event_type", "a b"),
        ("event_type", 257 * "a"),
        ("event_type", "a\ud800"),
        ("event_id", "msg_1"),
        ("event_id", "a\x00"),
        ("event_id", 7),
        ("channels", []),
        ("channels", "abc"),
        ("channels", ["a", "a"]),
        ("channels", ["a", "b", "c", "d", "e", "f"]),
        ("tags", [5]),
        ("tags", [str(n) for n in range(11)]),
        ("timestamp", datetime.datetime(2026, 1, 1)),  # noqa: DTZ001 - that is what is refused
        ("timestamp", "2026-01-01T00:00:00Z"),
        ("timestamp", datetime.datetime(1969, 1, 1, tzinfo=UTC)),
        ("deliver_at", 5),
        ("payload_retention_hours", 0),
        ("payload_retention_hours", 24 * 90 + 1),
        ("payload_retention_hours", 1.5),
        ("headers", {"a": 5}),
        ("headers", {"Host": "a"}),
        ("headers", {"x-a": "a\r\nb: c"}),
    ],
)
def test_every_field_is_looked_at(field: str, value: object) -> None:
    with pytest.raises(InvalidError) as refused:
        row(**{field: value})
    assert refused.value.field[0] == field
    assert len(refused.value.detail) > 10


def test_sizes_and_counts_are_bounded() -> None:
    box = Outbox()
    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: row(payload={"a": 1_000_000 * "a"}), "1000048 bytes; at most 1000000"),
        (lambda: box.publish_many(object(), 10_001 * [Draft(**GOOD)]), "10001 messages"),  # type: ignore[call-overload]
        (
            lambda: box.publish_many(
                object(), 65 * [Draft(**GOOD | {"payload": {"a": 999_900 * "a"}})]
            ),  # type: ignore[call-overload]
            "More than 64000000 bytes",
        ),
    ]
    for make, said in refused:
        with pytest.raises(TooLargeError, match=said):
            make()


def test_the_server_reads_the_row_as_it_reads_a_post() -> None:
    moment = datetime.datetime(
        2026, 11, 21, 10, 30, 0, 125_999, datetime.timezone(datetime.timedelta(hours=1))
    )
    body = row(
        payload=b'{"a":"\\\\\\"", "b":1.0}',
        event_id="e-1",
        channels=["a"],
        tags=["t"],
        timestamp=moment,
        deliver_at=moment,
        payload_retention_hours=2,
        headers={"X-A": "b"},
    )
    assert incoming(body).draft == MessageDraft(
        event_type="order.created",
        payload=b'{"a":"\\\\\\"", "b":1.0}',
        event_id="e-1",
        channels=("a",),
        tags=("t",),
        occurred_at=1_795_253_400_125,
        deliver_at=1_795_253_400_125,
        retention=7_200_000,
        headers=(("X-A", "b"),),
    )
