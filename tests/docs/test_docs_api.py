"""The page of the API: every route, parameter, field and error code, on both sides."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from marketbell import errors
from marketbell.api import (
    applications,
    attempts,
    batch,
    deliveries,
    endpoint_actions,
    endpoint_secrets,
    endpoints,
    event_type_import,
    event_types,
    health,
    message_in,
    messages,
    pagination,
)
from marketbell.api.problems import METHOD_NOT_ALLOWED, SERVER_ERROR, STATUSES
from marketbell.api.reference.tables import filled
from marketbell.api.routes import documented
from marketbell.control import policy
from marketbell.control.event_types import EXISTS
from marketbell.settings import SETTINGS

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()


def section(heading: str) -> str:
    level = heading.split(" ", 1)[0]
    text = PAGE.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"\n#{{2,{len(level)}}} ", text, maxsplit=1)[0]


def rows(text: str) -> list[list[str]]:
    lines = (line for line in text.splitlines() if line.startswith("| `"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def names(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def test_the_tables_are_those_that_the_code_makes() -> None:
    assert filled(PAGE, documented()) == PAGE, "run make docs"


def test_the_routes_are_those_that_there_are() -> None:
    told = {
        row[0].strip("`"): (names(row[4]), {int(one) for one in row[5].split(", ")})
        for row in rows(section("## Routes").split("###", 1)[0])
    }
    ours = {f"{one.method} {one.path}": (set(one.query), set(one.gives)) for one in documented()}
    assert told == ours
    assert len(told) >= 70


def test_the_parameters_are_explained() -> None:
    told = {re.findall(r"`(\w+)`", row[0])[0] for row in rows(section("### Parameters"))}
    assert told == {name for one in documented() for name in one.query}


def fields(*kinds: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for kind in kinds for field in msgspec.structs.fields(kind)}


@pytest.mark.parametrize(
    ("heading", "taken", "shown"),
    [
        (
            "### Application",
            fields(applications.ApplicationIn, applications.ApplicationPatch),
            fields(applications.ApplicationOut),
        ),
        (
            "### Endpoint",
            fields(endpoints.EndpointIn, endpoints.EndpointUpsertIn, endpoints.EndpointPatch),
            fields(endpoints.EndpointOut),
        ),
        (
            "### Event type",
            fields(
                event_types.EventTypeIn, event_types.EventTypeUpsertIn, event_types.EventTypePatch
            ),
            fields(event_types.EventTypeOut),
        ),
        ("### Message", fields(message_in.MessageIn), fields(messages.MessageOut)),
    ],
)
def test_the_fields_are_those_that_are_taken_and_shown(
    heading: str, taken: set[str], shown: set[str]
) -> None:
    table = rows(section(heading))
    told_in = set().union(*(names(row[0]) for row in table if row[1]))
    told_out = set().union(*(names(row[0]) for row in table if row[2]))
    assert told_in == taken
    assert told_out - {"data"} == shown


def test_the_fields_of_attempts_are_those_that_are_shown() -> None:
    told = set().union(*(names(row[0]) for row in rows(section("### Attempt"))))
    assert told == fields(attempts.MessageAttemptOut)
    extra = fields(deliveries.MessageEndpointOut) - fields(endpoints.EndpointOut)
    assert extra <= names(section("### Attempt"))


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("### Endpoint", endpoint_secrets.EndpointHeadersPatchIn),
        ("### Endpoint", endpoint_secrets.EndpointHeadersOut),
        ("### Endpoint", endpoint_secrets.EndpointSecretRotateIn),
        ("### Endpoint", endpoint_actions.EventExampleIn),
        ("### Event type", event_type_import.EventTypeImportOpenApiIn),
        ("### Event type", event_type_import.EventTypeImportOpenApiOutData),
        ("### Health", health.HealthOut),
        ("### Message", message_in.TransformationsParams),
    ],
)
def test_smaller_forms_are_named_in_prose(heading: str, kind: type[msgspec.Struct]) -> None:
    text = section(heading)
    for name in fields(kind):
        assert re.search(rf"`[^`]*\b{name}\b[^`]*`", text), name


def test_the_shape_of_lists_and_batches_is_shown() -> None:
    for kind, heading in (
        (pagination.ListOut, "### Lists"),
        (batch.BatchIn, "### Batch"),
        (batch.Accepted, "### Batch"),
        (batch.Refused, "### Batch"),
    ):
        for name in fields(kind):
            assert f'"{name}"' in section(heading), name


def test_the_keys_of_a_policy_are_those_that_are_read() -> None:
    told = {row[0].strip("`") for row in rows(section("## Policy"))}
    assert told == {policy.PREFIX + name for name in policy.KEYS}


def test_the_codes_are_those_that_are_answered() -> None:
    told = {}
    for row in rows(section("## Errors")):
        told.update(dict.fromkeys(names(row[0]), int(row[1])))
    ours = {kind.code: status for kind, status in STATUSES if status not in {422, 500}}
    ours |= {METHOD_NOT_ALLOWED: 405, SERVER_ERROR: 500, EXISTS: 409}
    assert told == ours
    assert errors.StaleError.code not in told


def test_settings_that_are_named_exist() -> None:
    named = {
        name
        for name in names(PAGE)
        if re.fullmatch(r"[a-z]+(_[a-z]+)*_(max|set|secret|retention|networks)", name)
    }
    assert named <= set(SETTINGS)
    assert len(named) >= 6
