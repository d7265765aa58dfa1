"""Event types over HTTP on a real node."""

from __future__ import annotations

from typing import Any

import httpx
import pytest


def made(response: httpx.Response, status: int = 201) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    return body


def fault(response: httpx.Response) -> tuple[list[str], str]:
    assert response.status_code == 422, response.text
    (only,) = response.json()["detail"]
    return only["loc"], only["msg"]


def test_one_is_made_listed_and_its_schema_shown_on_demand(api: httpx.Client) -> None:
    schema = {"type": "object", "required": ["id"]}
    created = made(
        api.post(
            "/event-type",
            json={"name": "a.b", "description": "d", "schemas": {"1": schema}},
        )
    )
    assert created["schemas"] == {"1": schema}
    assert created["deprecated"] is False
    assert made(api.get("/event-type/a.b"), 200) == created
    (listed,) = made(api.get("/event-type"), 200)["data"]
    assert listed["schemas"] is None
    (shown,) = made(api.get("/event-type?with_content=true"), 200)["data"]
    assert shown["schemas"] == {"1": schema}
    again = api.post("/event-type", json={"name": "a.b", "description": "d"})
    assert (again.status_code, again.json()["code"]) == (409, "event_type_exists")


def test_an_archived_one_is_revived_with_its_new_schema(api: httpx.Client) -> None:
    archived = {"name": "a.b", "description": "d", "archived": True}
    assert made(api.post("/event-type", json=archived))["archived"] is True
    assert made(api.get("/event-type"), 200)["data"] == []
    assert len(made(api.get("/event-type?include_archived=true"), 200)["data"]) == 1
    revived = made(api.post("/event-type", json={"name": "a.b", "description": "new"}))
    assert (revived["archived"], revived["description"]) == (False, "new")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "a b"),
        ("schemas", {"2": {}}),
        ("schemas", {"1": {"type": "nonsense"}}),
        ("schemas", {"1": {"$ref": "http://127.0.0.1:1/x.json"}}),
        ("schemas", {"1": []}),
        ("groupName", "g"),
        ("featureFlags", ["f"]),
        ("deprecated", True),
    ],
)
def test_what_cannot_be_kept_or_enforced_is_refused(
    api: httpx.Client, field: str, value: object
) -> None:
    given = {"name": "a.b", "description": "d", field: value}
    loc, _ = fault(api.post("/event-type", json=given))
    assert loc[1] == field
    assert made(api.get("/event-type"), 200)["data"] == []
