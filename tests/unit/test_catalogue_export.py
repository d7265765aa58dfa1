"""The exported documents are valid, and describe the wire as it is."""

from __future__ import annotations

import json
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest

from marketbell import __version__
from marketbell.dialects import export
from marketbell.dialects.base import Dialect
from marketbell.dialects.cloudevents import CloudEvents
from marketbell.dialects.ovoko import Ovoko
from marketbell.dialects.sellercenter import SellerCenter
from marketbell.dialects.standard import Standard

MARKETPLACES: list[Dialect] = [
    Ovoko(),
    Ovoko(id_bridge=False),
    SellerCenter(),
    SellerCenter(ids_as_strings=True),
]
FREE: list[Dialect] = [Standard(), CloudEvents(), CloudEvents(binary=True)]
EVERY = [*MARKETPLACES, *FREE]

EVENTS = [(dialect, name) for dialect in MARKETPLACES for name in dialect.catalogue]


def by_name(value: object) -> str:
    return value if isinstance(value, str) else str(getattr(value, "name", value))


def plain(document: object) -> Any:
    """The document as a reader of its file has it."""
    return json.loads(msgspec.json.encode(document))


def resolved(document: Any, reference: str) -> Any:
    assert reference.startswith("#/")
    for step in reference[2:].split("/"):
        document = document[step]
    return document


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [found for value in node.values() for found in references(value)]
    return (
        [found for value in node for found in references(value)] if isinstance(node, list) else []
    )


def words(node: Any, keyword: str) -> set[str]:
    """What a keyword says anywhere in a schema."""
    if isinstance(node, list):
        return {found for value in node for found in words(value, keyword)}
    if not isinstance(node, dict):
        return set()
    own = {node[keyword]} if isinstance(node.get(keyword), str) else set()
    return own | {found for value in node.values() for found in words(value, keyword)}


@pytest.mark.parametrize(("dialect", "name"), EVENTS, ids=by_name)
def test_a_payloads_schema_claims_nothing_that_is_not_checked(dialect: Dialect, name: str) -> None:
    """A format is not: what it would refuse is taken, and sent."""
    schema = plain(dialect.catalogue.schema(name))
    assert words(schema, "format") == set()
    assert not any("digits" in text for text in words(schema, "description"))
    assert words(plain(dialect.catalogue.body_schema(name)), "format") <= {"uuid", "date-time"}


def test_an_id_is_any_text_as_the_documents_have_it() -> None:
    for dialect, name, payload, body in (
        (SellerCenter(), "onFeedCreated", b'{"Feed":"x"}', b'{"event":"onFeedCreated"'),
        (Ovoko(), "order.created", b'{"order_id":"abc"}', b'{"order_id":"abc"}'),
    ):
        assert dialect.catalogue.faults(name, payload) == ()
        event_type = dialect.catalogue[name]
        example = dialect.catalogue.decode(name, payload)
        assert example is not None
        request = export.sample(dialect, event_type, example)
        assert body in request.body
        checks = jsonschema.Draft202012Validator.FORMAT_CHECKER
        schema = plain(dialect.catalogue.body_schema(name))
        jsonschema.validate(json.loads(request.body), schema, format_checker=checks)


@pytest.mark.parametrize("dialect", EVERY, ids=by_name)
def test_the_json_schema_is_one(dialect: Dialect) -> None:
    document = plain(export.json_schema(dialect))
    jsonschema.Draft202012Validator.check_schema(document)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert len(document["$defs"]) == 2 * len(dialect.catalogue)


@pytest.mark.parametrize(("dialect", "name"), EVENTS, ids=by_name)
def test_examples_fit_their_schemas_and_the_wire_fits_the_whole_document(
    dialect: Dialect, name: str
) -> None:
    document = plain(export.json_schema(dialect))
    event_type = dialect.catalogue[name]
    checks = jsonschema.FormatChecker()
    for kind in (event_type.type_name, f"{event_type.type_name}Body"):
        schema = document["$defs"][kind]
        assert schema["examples"]
        for example in schema["examples"]:
            jsonschema.validate(example, schema, format_checker=checks)
    whole = jsonschema.Draft202012Validator(document, format_checker=checks)
    for example in event_type.examples:
        body = json.loads(export.sample(dialect, event_type, example).body)
        whole.validate(body)
        assert body in document["$defs"][f"{event_type.type_name}Body"]["examples"]
        for key in body:
            assert not whole.is_valid({other: body[other] for other in body if other != key})
        assert not whole.is_valid(body | {"extra": 1})


@pytest.mark.parametrize(("dialect", "name"), EVENTS, ids=by_name)
def test_the_body_schema_asks_for_every_field_that_is_sent(dialect: Dialect, name: str) -> None:
    event_type = dialect.catalogue[name]
    schema = plain(dialect.catalogue.body_schema(name))
    data_key = "event_data" if dialect.name == "ovoko" else "payload"
    for example in event_type.examples:
        body = json.loads(export.sample(dialect, event_type, example).body)
        assert schema["required"] == list(schema["properties"]) == list(body)
        data = schema["properties"][data_key]
        assert data["required"] == list(data["properties"]) == list(body[data_key])
        assert data["additionalProperties"] is schema["additionalProperties"] is False


def test_each_envelope_names_its_event_type() -> None:
    for dialect, key in ((Ovoko(), "event_type"), (SellerCenter(), "event")):
        for name in dialect.catalogue:
            schema = plain(dialect.catalogue.body_schema(name))
            assert schema["properties"][key] == {"type": "string", "enum": [name]}


def test_ids_as_strings_are_strings_in_the_wires_schema_and_numbers_in_the_payloads() -> None:
    catalogue = SellerCenter(ids_as_strings=True).catalogue
    body = plain(catalogue.body_schema("onOrderCreated"))["properties"]["payload"]
    assert body["properties"]["OrderId"]["type"] == "string"
    assert plain(catalogue.schema("onOrderCreated"))["properties"]["OrderId"]["type"] == "integer"


@pytest.mark.parametrize("dialect", EVERY, ids=by_name)
def test_openapi_has_one_webhook_for_each_event_type(dialect: Dialect) -> None:
    document = plain(export.openapi(dialect))
    assert document["openapi"] == "3.1.1"
    assert document["info"]["version"] == __version__
    assert list(document["webhooks"]) == list(dialect.catalogue)
    identifiers = []
    for name, item in document["webhooks"].items():
        assert list(item) == ["post"]
        operation = item["post"]
        identifiers.append(operation["operationId"])
        assert operation["requestBody"]["required"] is True
        content = operation["requestBody"]["content"]["application/json"]
        schema = resolved(document, content["schema"]["$ref"])
        for example in content["examples"].values():
            jsonschema.validate(example["value"], schema)
        assert name in json.dumps(schema["properties"])
        assert all(answer["description"] for answer in operation["responses"].values())
    assert len(set(identifiers)) == len(identifiers)
    for reference in references(document):
        resolved(document, reference)


def test_openapi_tells_the_success_rule() -> None:
    for dialect, codes in ((Ovoko(), ["2XX"]), (SellerCenter(), ["200"])):
        for item in plain(export.openapi(dialect))["webhooks"].values():
            assert list(item["post"]["responses"]) == codes


@pytest.mark.parametrize("dialect", EVERY, ids=by_name)
def test_openapi_fits_its_own_schema(dialect: Dialect) -> None:
    definitions = pytest.importorskip("schemathesis.specs.openapi.definitions")
    faults = definitions.OPENAPI_31_VALIDATOR.iter_errors(plain(export.openapi(dialect)))
    assert [fault.message for fault in faults] == []


@pytest.mark.parametrize("dialect", EVERY, ids=by_name)
def test_asyncapi_has_a_send_operation_and_a_message_for_each_event_type(
    dialect: Dialect,
) -> None:
    document = plain(export.asyncapi(dialect))
    assert document["asyncapi"] == "3.0.0"
    assert set(document) == {
        "asyncapi",
        "info",
        "defaultContentType",
        "channels",
        "operations",
        "components",
    }
    assert document["channels"]["endpoint"]["address"] is None
    messages = document["components"]["messages"]
    assert [message["name"] for message in messages.values()] == list(dialect.catalogue)
    assert len(document["operations"]) == len(messages)
    for operation in document["operations"].values():
        assert operation["action"] == "send"
        assert resolved(document, operation["channel"]["$ref"])
        (reference,) = operation["messages"]
        message = resolved(document, resolved(document, reference["$ref"])["$ref"])
        schema = resolved(document, message["payload"]["$ref"])
        for example in message["examples"]:
            jsonschema.validate(example["payload"], schema)
    for reference in references(document):
        resolved(document, reference)


@pytest.mark.parametrize("write", [export.json_schema, export.openapi, export.asyncapi])
def test_an_export_is_the_same_every_time(write: Any) -> None:
    for dialect in EVERY:
        assert msgspec.json.encode(write(dialect)) == msgspec.json.encode(write(dialect))
