"""The OpenAPI document: valid, complete, and its examples are what its schemas say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from marketbell.api.call import Access, Operation
from marketbell.api.pagination import ListOut
from marketbell.api.problems import STATUSES
from marketbell.api.reference import parameters
from marketbell.api.reference.document import TAGS, document, tag_of
from marketbell.api.reference.fields import FIELDS
from marketbell.api.reference.schemas import Schemas
from marketbell.api.routes import documented
from support.conformity import whole

OPERATIONS = documented()
READS = {"POST", "PUT", "PATCH"}


def each() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in whole()["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_it_is_valid_openapi_3_1() -> None:
    faults = OpenAPIV31SpecValidator(whole()).iter_errors()
    assert [(list(fault.absolute_path), fault.message[:200]) for fault in faults] == []
    assert whole()["openapi"] == "3.1.0"


def test_it_has_every_operation_once_under_its_own_name() -> None:
    there = {name: operation["operationId"] for name, operation in each()}
    assert there == {f"{one.method} {one.path}": one.name for one in OPERATIONS}
    assert len(set(there.values())) == len(there)
    assert {tag_of(one) for one in OPERATIONS} == set(TAGS)


def test_every_parameter_stands_in_the_table_and_every_row_is_used() -> None:
    assert parameters.unknown(OPERATIONS) == []
    used = {name for one in OPERATIONS for name in one.query}
    assert used == {row.split(" ")[-1] for row in parameters.QUERY}
    special = {f"{one.name} {name}" for one in OPERATIONS for name in one.query}
    assert {row for row in parameters.QUERY if " " in row} <= special
    in_paths = {name for one in OPERATIONS for name in parameters.in_path(one.path)}
    assert in_paths == {row.split(" ")[-1] for row in parameters.PATHS}
    special = {f"{one.name} {name}" for one in OPERATIONS for name in parameters.in_path(one.path)}
    assert {row for row in parameters.PATHS if " " in row} <= special


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.name)
def test_every_operation_says_what_it_does_takes_and_gives(operation: Operation) -> None:
    assert operation.summary.endswith(".")
    assert operation.gives
    assert all(status < 300 or status == 503 for status in operation.gives)
    if operation.method in {"PUT", "PATCH"}:
        assert operation.takes is not None
    if operation.method in {"GET", "DELETE"}:
        assert operation.takes is None


def test_every_form_and_field_is_explained() -> None:
    forms = whole()["components"]["schemas"]
    assert [name for name, form in forms.items() if not form.get("description")] == []
    assert [
        f"{name}.{field}"
        for name, form in forms.items()
        for field, schema in form["properties"].items()
        if not schema.get("description")
    ] == []


def test_every_row_of_the_table_of_fields_is_of_some_form() -> None:
    forms = whole()["components"]["schemas"]
    there = {field for form in forms.values() for field in form["properties"]}
    there |= {f"{name}.{field}" for name, form in forms.items() for field in form["properties"]}
    there |= {f"ListOut.{field.encode_name}" for field in msgspec.structs.fields(ListOut)}
    assert set(FIELDS) - there == set()


def valid(value: object, schema: dict[str, Any]) -> list[str]:
    judge = jsonschema_rs.Draft202012Validator({"components": whole()["components"], **schema})
    return [f"{list(one.instance_path)}: {one.message[:200]}" for one in judge.iter_errors(value)]


def test_every_example_meets_its_schema() -> None:
    wrong: dict[str, list[str]] = {}
    count = 0
    for name, operation in each():
        answers = [
            whole()["components"]["responses"][one["$ref"].rsplit("/", 1)[-1]]
            if "$ref" in one
            else one
            for one in operation["responses"].values()
        ]
        for body in (operation.get("requestBody", {}), *answers):
            for media in body.get("content", {}).values():
                count += 1
                if faults := valid(media["example"], media["schema"]):
                    wrong[name] = faults
        for parameter in operation["parameters"]:
            if "example" in parameter and (
                faults := valid(parameter["example"], parameter["schema"])
            ):
                wrong[f"{name} {parameter['name']}"] = faults
    assert wrong == {}
    assert count > 100


def test_a_form_that_breaks_its_schema_is_noticed() -> None:
    assert valid({"name": 5}, {"$ref": "#/components/schemas/ApplicationIn"})
    assert valid({"name": "A", "x": 1}, {"$ref": "#/components/schemas/ApplicationIn"})
    assert not valid({"name": "A"}, {"$ref": "#/components/schemas/ApplicationIn"})


def test_errors_are_those_that_can_occur() -> None:
    known = {str(status) for _kind, status in STATUSES}
    for name, operation in each():
        statuses = set(operation["responses"])
        refused = {status for status in statuses if status >= "400"}
        assert refused <= known, name
        assert {"422", "500", "503"} <= statuses, name
        assert ("401" in statuses) == (operation.get("security") != []), name
        if "{" in name:
            assert "404" in statuses, name
        if name.split()[0] in READS:
            assert {"409", "413"} <= statuses, name
    answers = whole()["components"]["responses"]
    assert "Retry-After" in answers["Unavailable"]["headers"]
    assert "`outcome_unknown`" in answers["Unavailable"]["description"]


def test_a_post_takes_an_idempotency_key() -> None:
    for name, operation in each():
        there = {"$ref": "#/components/parameters/IdempotencyKey"} in operation["parameters"]
        assert there == name.startswith("POST "), name


class _Inner(msgspec.Struct):
    """Within."""

    one: int | None
    many: list[str] | msgspec.UnsetType | None = msgspec.UNSET
    """Words below it."""
    much: int = 0


class _Form(msgspec.Struct, forbid_unknown_fields=True):
    inner: _Inner
    raw: msgspec.Raw = msgspec.Raw()
    text: str = "x"


def test_a_struct_becomes_the_schema_of_what_it_takes() -> None:
    schemas = Schemas()
    assert schemas.of(_Form) == {"$ref": "#/components/schemas/Form"}
    assert schemas.components["Inner"]["properties"] == {
        "one": {"type": ["integer", "null"]},
        "many": {
            "type": ["array", "null"],
            "items": {"type": "string"},
            "description": "Words below it.",
        },
        "much": {"type": "integer", "default": 0},
    }
    form = schemas.components["Form"]
    assert (form["required"], form["additionalProperties"]) == (["inner"], False)
    assert form["properties"]["text"] == {"type": "string", "default": "x"}
    assert form["properties"]["raw"] == {}


def test_in_an_answer_every_field_that_is_always_written_is_required() -> None:
    schemas = Schemas()
    assert schemas.of(ListOut[_Inner], answer=True) == {"$ref": "#/components/schemas/ListOfInner"}
    lists = ["data", "iterator", "prevIterator", "done"]
    assert schemas.components["ListOfInner"]["required"] == lists
    assert schemas.components["Inner"]["required"] == ["one", "much"]


def test_what_the_tables_do_not_know_is_refused() -> None:
    async def work(_call: object) -> Any:
        raise AssertionError

    odd = Operation(
        method="GET",
        path="/api/v1/app/{what}",
        name="v1.application.odd",
        summary="Odd.",
        access=Access.NOBODY,
        work=work,
    )
    assert parameters.unknown([odd]) == ["path what of v1.application.odd"]
    with pytest.raises(KeyError, match="what"):
        document([odd])


def test_it_is_json() -> None:
    assert json.loads(msgspec.json.encode(whole())) == whole()


def test_there_is_one_form_of_a_body_that_says_nothing() -> None:
    schemas = whole()["components"]["schemas"]
    assert [name for name, one in schemas.items() if one.get("properties") == {}] == ["Nothing"]
    taking = set()
    for name, operation in each():
        body = operation.get("requestBody")
        if body and body["content"]["application/json"]["schema"]["$ref"].endswith("/Nothing"):
            assert not body["required"]
            taking.add(name.rsplit("/", 1)[-1])
        assert body or not name.startswith("POST")
    assert {"pause", "resume", "resend", "requeue", "cancel", "logout"} < taking


def test_every_form_is_some_operations() -> None:
    text = json.dumps(whole())
    unused = {
        name
        for name in whole()["components"]["schemas"]
        if f'"#/components/schemas/{name}"' not in text
    }
    assert unused == set()
