"""Payloads are checked against the one typed definition, and the fault names the field."""

from __future__ import annotations

import json
import re
from typing import Annotated

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketbell.dialects.catalogue import Catalogue, Described, EventType
from marketbell.dialects.ovoko import Ovoko, PartStatus
from marketbell.dialects.schema import PayloadSchema, of_type
from marketbell.dialects.sellercenter import ItemStatus, SellerCenter
from marketbell.errors import InvalidError

CATALOGUES = [Ovoko().catalogue, SellerCenter().catalogue]
EVERY = [(catalogue, name) for catalogue in CATALOGUES for name in catalogue]
OVOKO, SELLERCENTER = CATALOGUES

STATUS = "part.status.changed"
ITEMS = "onOrderItemsStatusChanged"

DEEP = b'{"a":' * 300 + b"1" + b"}" * 300


@pytest.mark.parametrize(("catalogue", "name"), EVERY)
def test_every_example_fits(catalogue: Catalogue, name: str) -> None:
    event_type = catalogue[name]
    for example in event_type.examples:
        payload = msgspec.json.encode(example)
        catalogue.check(name, payload)
        assert catalogue.decode(name, payload) == example
        assert catalogue.faults(name, payload) == ()
    assert event_type.example == msgspec.json.encode(event_type.examples[0])


@pytest.mark.parametrize(
    ("catalogue", "name", "payload", "field", "says"),
    [
        (
            OVOKO,
            STATUS,
            b'{"part_id":13,"status":"sold"}',
            ("part_id",),
            'payload.part_id is 13; send it as a JSON string: "13"',
        ),
        (
            OVOKO,
            STATUS,
            b'{"part_id":"13"}',
            ("status",),
            "payload.status is missing; add it",
        ),
        (
            OVOKO,
            STATUS,
            b'{"part_id":"13","status":"Sold"}',
            ("status",),
            'payload.status is "Sold"; use one of: in_warehouse, reserved, sold, sold_in_ebay, sold_in_allegro, returned, written_off, unknown_stock_status',
        ),
        (
            OVOKO,
            STATUS,
            b'{"part_id":"13","status":"sold","externalId":"1"}',
            ("externalId",),
            "payload.externalId is not a field of this event; remove it; the fields are part_id, status, id_bridge, external_id",
        ),
        (
            OVOKO,
            STATUS,
            b'{"part_id":"13","status":"sold","external_id":[1]}',
            ("external_id",),
            "payload.external_id is [1]; send a JSON string",
        ),
        (
            OVOKO,
            "order.created",
            b'{"order_id":""}',
            ("order_id",),
            'payload.order_id is ""; give 1 or more characters, or null where the field allows it',
        ),
        (
            SELLERCENTER,
            ITEMS,
            b'{"OrderId":190,"OrderItemIds":[2,"3"],"NewStatus":"shipped"}',
            ("OrderItemIds", 1),
            'payload.OrderItemIds[1] is "3"; send it as a JSON number, without quotes: 3',
        ),
        (
            SELLERCENTER,
            ITEMS,
            b'{"OrderId":190,"OrderItemIds":[2.0],"NewStatus":"shipped"}',
            ("OrderItemIds", 0),
            "payload.OrderItemIds[0] is written with a decimal point or an exponent; send an integer",
        ),
        (
            SELLERCENTER,
            ITEMS,
            b'{"OrderId":0,"OrderItemIds":[2],"NewStatus":"shipped"}',
            ("OrderId",),
            "payload.OrderId is 0; give 1 or more",
        ),
        (
            SELLERCENTER,
            ITEMS,
            b'{"OrderId":1,"OrderItemIds":[9223372036854775808],"NewStatus":"shipped"}',
            ("OrderItemIds", 0),
            "payload.OrderItemIds[0] is 9223372036854775808; give 9223372036854775807 or less",
        ),
        (
            SELLERCENTER,
            "onProductCreated",
            b'{"SellerSkus":[]}',
            ("SellerSkus",),
            "payload.SellerSkus is []; give 1 or more items",
        ),
        (
            SELLERCENTER,
            "onStatisticsUpdated",
            b"[]",
            (),
            "payload is []; send a JSON object, never a list: {} if it is empty",
        ),
        (
            SELLERCENTER,
            "onStatisticsUpdated",
            b'{"a":1}',
            ("a",),
            "payload.a is not a field of this event; remove it; it has no fields",
        ),
        (
            SELLERCENTER,
            "onStatisticsUpdated",
            b"{",
            (),
            "the payload is not JSON (Input data was truncated); send one JSON object in UTF-8",
        ),
        (
            OVOKO,
            "order.created",
            b'{"order_id":"\xff"}',
            (),
            "the payload is not JSON (not UTF-8); send one JSON object in UTF-8",
        ),
        (OVOKO, "order.created", DEEP, (), "the payload is nested too deep; flatten it"),
        (OVOKO, "order.created", b"[" * 9999, (), "the payload is nested too deep; flatten it"),
    ],
)
def test_a_fault_names_the_field_the_value_and_the_mend(
    catalogue: Catalogue, name: str, payload: bytes, field: tuple[str | int, ...], says: str
) -> None:
    with pytest.raises(InvalidError, match=f"^{re.escape(says)}$") as caught:
        catalogue.check(name, payload)
    assert caught.value.field == ("body", "payload", *field)


def test_every_fault_is_told_once() -> None:
    faults = OVOKO.faults(STATUS, b'{"part_id":null,"status":null,"x":1,"y":2}')
    assert [fault.field[2:] for fault in faults] == [("part_id",), ("status",), ("x",)]
    assert [fault.kind for fault in faults] == ["type_error", "type_error", "value_error.extra"]


def test_an_event_type_of_no_catalogue_is_not_checked() -> None:
    OVOKO.check("invoice.paid", b"anything")
    assert OVOKO.decode("invoice.paid", b"anything") is None
    with pytest.raises(KeyError):
        OVOKO.faults("invoice.paid", b"{}")


def test_a_long_wrong_value_is_clipped() -> None:
    payload = json.dumps({"order_id": ["x" * 10_000], "y" * 10_000: 1}).encode()
    for fault in OVOKO.faults("order.created", payload):
        assert len(fault.detail) < 500


WORDS = st.sampled_from([*PartStatus, *ItemStatus, "Sold", ""]).map(str)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(data=st.data())
@pytest.mark.parametrize(("catalogue", "name"), EVERY)
def test_the_schema_and_the_typed_definition_say_the_same(
    catalogue: Catalogue, name: str, data: st.DataObject
) -> None:
    """Checked with an independent validator; only numbers such as 2.0 are left out."""
    schema = catalogue.schema(name)
    example = json.loads(catalogue[name].example)
    names = st.sampled_from([*example, "id_bridge", "external_id", "other"])
    changes = data.draw(st.dictionaries(names, VALUES, max_size=3))
    dropped = data.draw(st.sets(st.sampled_from([*example, "other"]), max_size=1))
    payload = {key: value for key, value in (example | changes).items() if key not in dropped}
    fits = jsonschema.Draft202012Validator(schema).is_valid(payload)
    text = json.dumps(payload, ensure_ascii=data.draw(st.booleans())).encode("utf-8", "replace")
    faults = catalogue.faults(name, text)
    assert fits == (faults == ())
    if fits:
        catalogue.check(name, text)
    else:
        with pytest.raises(InvalidError) as caught:
            catalogue.check(name, text)
        assert caught.value.field == faults[0].field


@given(
    payload=st.binary()
    | st.text().map(
        str.encode,
    )
    | VALUES.map(msgspec.json.encode)
)
def test_garbage_is_refused_with_the_one_error(payload: bytes) -> None:
    for catalogue, name in EVERY:
        try:
            catalogue.check(name, payload)
        except InvalidError as fault:
            assert fault.field[:2] == ("body", "payload")  # noqa: PT017
        else:
            assert payload.strip() == b"{}"


def test_a_name_is_in_a_catalogue_once() -> None:
    twice = OVOKO["order.created"]
    with pytest.raises(ValueError, match="twice"):
        Catalogue((twice, twice))


class Leaf(msgspec.Struct, forbid_unknown_fields=True):
    """A leaf."""

    size: Annotated[int, msgspec.Meta(ge=0)] = 3
    inner: Leaf | None = None


def test_a_type_that_contains_itself_has_no_schema() -> None:
    with pytest.raises(TypeError, match="contains itself"):
        of_type(Leaf, title="Leaf")


def test_words_carry_their_meanings_into_the_schema() -> None:
    field = OVOKO.schema(STATUS)["properties"]
    assert isinstance(field, dict)
    assert field["status"]["enum"] == [word.value for word in PartStatus]
    for word in PartStatus:
        assert f"- `{word.value}`: {word.meaning}" in field["status"]["description"]
    assert issubclass(ItemStatus, Described)
    assert json.dumps(ItemStatus.CANCELED) == '"canceled"'


def test_deprecation_reaches_the_schemas() -> None:
    fields = OVOKO.schema(STATUS)["properties"]
    assert isinstance(fields, dict)
    assert [name for name, field in fields.items() if field.get("deprecated")] == ["id_bridge"]
    old = msgspec.structs.replace(OVOKO["order.created"], deprecated=True)
    catalogue = Catalogue((old,))
    assert catalogue.schema("order.created")["deprecated"] is True
    assert catalogue.body_schema("order.created")["deprecated"] is True


def test_type_names_are_what_code_generators_use() -> None:
    def named(name: str) -> str:
        return msgspec.structs.replace(OVOKO["order.created"], name=name).type_name

    assert named("part.status.changed") == "PartStatusChanged"
    assert named("onOrderItemsStatusChanged") == "OnOrderItemsStatusChanged"
    assert named("a-b_c.d") == "ABCD"
    assert isinstance(OVOKO["order.created"], EventType)


OWN = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": "^[a-z]+$"},
        "n": {"type": "integer", "maximum": 5},
    },
    "required": ["id"],
}


def test_an_operators_own_schema_checks_payloads_too() -> None:
    schema = PayloadSchema(OWN)
    schema.check(b'{"id":"ab","n":5,"more":true}')
    for payload, field in [
        (b"{}", ("body", "payload", "id")),
        (b'{"id":"AB"}', ("body", "payload", "id")),
        (b'{"id":"a","n":6}', ("body", "payload", "n")),
        (b"x", ("body", "payload")),
        (DEEP, ("body", "payload")),
    ]:
        with pytest.raises(InvalidError) as caught:
            schema.check(payload)
        assert caught.value.field == field


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "strung"},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "#/$defs/missing"},
        {"properties": {"a": {"pattern": "(a+)+$(?=b)"}}},
        {"properties": {"a": {"pattern": "("}}},
    ],
)
def test_an_unusable_schema_is_refused_and_nothing_is_fetched(schema: dict[str, object]) -> None:
    with pytest.raises(InvalidError, match="not a usable JSON Schema") as caught:
        PayloadSchema(schema, field=("body", "schemas", "1"))
    assert caught.value.field == ("body", "schemas", "1")


def test_a_pattern_cannot_hold_the_check_up() -> None:
    """A backtracking engine would need 2^5000 steps for this one."""
    schema = PayloadSchema({"properties": {"a": {"pattern": "^(a+)+$"}}})
    with pytest.raises(InvalidError):
        schema.check(json.dumps({"a": "a" * 5000 + "!"}).encode())


@pytest.mark.timeout(30)  # to gather all that is wrong would take some 40 s
def test_a_payload_that_is_wrong_throughout_is_told_its_first_fault() -> None:
    zeros = ",".join(["0"] * 2_000_000)
    payload = f'{{"OrderId":190,"OrderItemIds":[{zeros}],"NewStatus":"shipped"}}'.encode()
    with pytest.raises(InvalidError) as refused:
        SELLERCENTER.check(ITEMS, payload)
    assert refused.value.field == ("body", "payload", "OrderItemIds", 0)


def test_a_long_payload_is_not_held_against_each_alternative_to_be_told_where() -> None:
    """All that is wrong under each of them would be gathered, some 16 us for each value."""
    numbers = {"type": "array", "items": {"type": "integer"}}
    texts = {"type": "array", "items": {"type": "string"}}
    schema = {"properties": {"list": {"anyOf": [numbers, texts]}}}
    ours, theirs = PayloadSchema(schema), PayloadSchema(schema, trusted=False)
    short = b'{"list":[1,"a"]}'
    long = b'{"list":[' + b",".join([b'1,"a"'] * 12_000) + b"]}"
    for one, payload in ((ours, short), (ours, long), (theirs, short)):
        with pytest.raises(InvalidError, match=r"payload\.list"):
            one.check(payload)
    with pytest.raises(InvalidError, match="too long to be told where"):
        theirs.check(long)
    theirs.check(b'{"list":[' + b",".join([b"1"] * 40_000) + b"]}")
