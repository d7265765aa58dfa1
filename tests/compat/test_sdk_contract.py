"""Our document against what the official `svix` packages send and read, by their own models."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.conformity import whole
from support.fitting import Side, unread
from support.sdk_routes import CLOUD_ONLY, beginning, shape

SURFACE = Path(__file__).parents[1] / "support" / "sdk_surface.py"
OLDER = Path(sys.prefix) / "svix-1"
VERSIONS = ("1.99.1", "2.9.1")

REFUSED_PARAMETERS = {
    "exclude_apps_with_no_endpoints",
    "exclude_apps_with_disabled_endpoints",
    "exclude_apps_with_svix_play_endpoints",
}
"""Filters of Svix's cloud: 422 says that there is no such parameter."""

REFUSED_FIELDS: dict[str, str] = {}
"""Fields that packages can send and that are refused, as `METHOD /path .field`, each with a reason."""


@functools.cache
def surface(version: str) -> dict[str, Any]:
    arguments = [str(OLDER)] if version.startswith("1.") else []
    done = subprocess.run(
        [sys.executable, str(SURFACE), *arguments], check=True, capture_output=True, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@functools.cache
def ours() -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), shape(path)): operation
        for path, methods in whole()["paths"].items()
        for method, operation in methods.items()
    }


def compared(version: str) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every request that the package makes of what is here, with our operation for it."""
    return [
        (f"{one['method']} {shape(one['path'])}", one, operation)
        for one in surface(version)["requests"]
        if (operation := ours().get((one["method"], shape(one["path"])))) is not None
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_package_is_the_one_that_is_meant(version: str) -> None:
    found = surface(version)
    assert found["version"] == version
    assert len(found["requests"]) >= 130
    assert sum(beginning(one["path"]) is None for one in found["requests"]) >= 45
    # Seen with bodies, answers and parameters: the reading of the source did not come to nothing.
    assert sum(one["body"] is not None for one in found["requests"]) >= 40
    assert sum(one["answer"] is not None for one in found["requests"]) >= 80
    assert sum(bool(one["query"]) for one in found["requests"]) >= 15


def test_what_is_left_out_is_asked_for_and_not_here() -> None:
    paths = {shape(one["path"]) for version in VERSIONS for one in surface(version)["requests"]}
    for start in CLOUD_ONLY:
        assert any(path.startswith(start) for path in paths), start
        assert not [path for _method, path in ours() if path.startswith(start)], start


@pytest.mark.parametrize("version", VERSIONS)
def test_there_is_an_operation_for_each_request(version: str) -> None:
    asked = {
        (one["method"], shape(one["path"]))
        for one in surface(version)["requests"]
        if beginning(one["path"]) is None
    }
    assert sorted(asked - set(ours())) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_each_parameter_that_it_sends_is_known(version: str) -> None:
    unknown = {
        route: missing
        for route, one, operation in compared(version)
        if (missing := set(one["query"]) - REFUSED_PARAMETERS - queried(operation))
    }
    assert unknown == {}
    assert not any(REFUSED_PARAMETERS & queried(operation) for operation in ours().values())


def queried(operation: dict[str, Any]) -> set[str]:
    return {one["name"] for one in operation["parameters"] if one.get("in") == "query"}


@pytest.mark.parametrize("version", VERSIONS)
def test_each_body_that_it_sends_is_taken(version: str) -> None:
    faults: dict[str, list[str]] = {}
    count = 0
    for route, one, operation in compared(version):
        if one["body"] is None:
            continue
        count += 1
        taken = operation["requestBody"]["content"]["application/json"]["schema"]
        found = unread(Side(one["body"], one["body"]), Side(taken, whole()), nulls=False)
        told = [fault for fault in found if f"{route} {fault.split(':')[0]}" not in REFUSED_FIELDS]
        if told:
            faults[route] = told
    assert faults == {}
    assert count >= 10


@pytest.mark.parametrize("version", VERSIONS)
def test_each_answer_that_it_reads_is_given(version: str) -> None:
    faults: dict[str, list[str]] = {}
    count = 0
    for route, one, operation in compared(version):
        for status, answer in operation["responses"].items():
            if one["answer"] is not None and status < "300":
                count += 1
                if "content" not in answer:
                    faults[f"{route} {status}"] = ["has no body"]
                    continue
                given = answer["content"]["application/json"]["schema"]
                found = list(unread(Side(given, whole()), Side(one["answer"], one["answer"])))
                if found:
                    faults[f"{route} {status}"] = found
    assert faults == {}
    assert count >= 25


def test_a_field_that_lacks_or_is_of_another_type_is_noticed() -> None:
    reads = {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "at": {"type": "string", "format": "date-time"},
            "n": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "status": {"enum": [0, 1], "type": "integer"},
        },
        "required": ["id"],
    }

    def faults(**fields: Any) -> list[str]:
        given = {"type": "object", "properties": fields, "required": list(fields)}
        return list(unread(Side(given, given), Side(reads, reads)))

    good = {"id": {"type": "string"}}
    assert faults(**good) == []
    assert faults(**good, n={"type": ["integer", "null"]}, more={"type": "array"}) == []
    assert faults() == [".id: is required and not always there"]
    assert "type" in faults(id={"type": ["string", "null"]})[0]
    assert "type" in faults(**good, n={"type": "string"})[0]
    assert "time" in faults(**good, at={"type": "string"})[0]
    assert "[2]" in faults(**good, status={"type": "integer", "enum": [2]})[0]
    closed = {"type": "object", "properties": good, "additionalProperties": False}
    sent = {"type": "object", "properties": {"x": {"type": "string"}}}
    assert list(unread(Side(sent, sent), Side(closed, closed))) == [".x: is not known"]
