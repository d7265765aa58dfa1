"""Event types over HTTP on a real node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.conftest import LiveNode, live_node
from marketbell.control.tokens import create_token


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
        ("schemas", {"0": {}}),
        ("schemas", {"v1": {}}),
        ("schemas", {"1": {"type": "nonsense"}}),
        ("schemas", {"1": {}, "2": {"type": "nonsense"}}),
        ("schemas", {"1": {"$ref": "http://127.0.0.1:1/x.json"}}),
        ("schemas", {"1": []}),
        ("schemas", {"1": {"title": "x" * 66_000}}),
        ("schemas", {str(number): {} for number in range(1, 22)}),
        ("groupName", "a b"),
        ("featureFlags", ["a b"]),
        ("featureFlags", ["a", "a"]),
        ("featureFlags", [f"f{number}" for number in range(21)]),
        ("featureFlag", ""),
        ("description", "x" * 5_000),
        ("deprecated", "yes"),
        ("colour", "red"),
    ],
)
def test_what_cannot_be_kept_or_enforced_is_refused(
    api: httpx.Client, field: str, value: object
) -> None:
    given = {"name": "a.b", "description": "d", field: value}
    loc, _ = fault(api.post("/event-type", json=given))
    assert loc[1] in {field, f"{field}s"}
    assert made(api.get("/event-type"), 200)["data"] == []


def test_a_fault_of_a_schema_names_its_version(api: httpx.Client) -> None:
    given = {"name": "a", "description": "", "schemas": {"1": {}, "3": {"type": 1}}}
    assert fault(api.post("/event-type", json=given))[0] == ["body", "schemas", "3"]


def test_every_field_is_kept_and_shown(api: httpx.Client) -> None:
    schemas = {"1": {"type": "object"}, "2": {"type": "object", "required": ["id"]}}
    given = {
        "name": "a.b",
        "description": "d",
        "deprecated": True,
        "archived": False,
        "schemas": schemas,
        "groupName": "a",
        "featureFlags": ["beta", "eu"],
    }
    created = made(api.post("/event-type", json=given))
    assert {name: created[name] for name in given} == given
    assert created["featureFlag"] == "beta"
    assert api.get("/event-type/a.b/").json() == created
    single = made(api.post("/event-type", json={"name": "c", "featureFlag": "beta"}))
    assert (single["featureFlag"], single["featureFlags"]) == ("beta", ["beta"])
    both = {"name": "d", "featureFlag": "x", "featureFlags": ["y", "x"]}
    assert fault(api.post("/event-type", json=both))[0] == ["body", "featureFlag"]


def test_the_greatest_version_is_enforced(api: httpx.Client) -> None:
    made(api.post("/app", json={"name": "A", "uid": "s"}))
    schemas = {"2": {"type": "object"}, "10": {"type": "object", "required": ["id"]}}
    made(api.post("/event-type", json={"name": "a", "schemas": schemas}))
    message = {"eventType": "a", "payload": {}}
    loc, _ = fault(api.post("/app/s/msg", json=message))
    assert loc == ["body", "payload", "id"]
    made(api.patch("/event-type/a", json={"schemas": {"2": schemas["2"]}}), 200)
    made(api.post("/app/s/msg", json=message), 202)
    made(api.put("/event-type/a", json={"description": "", "schemas": schemas}), 200)
    fault(api.post("/app/s/msg", json=message))
    assert api.delete("/event-type/a").status_code == 204
    made(api.post("/app/s/msg", json=message), 202)


def test_put_makes_replaces_and_revives(api: httpx.Client) -> None:
    created = made(api.put("/event-type/a.b", json={"description": "d", "groupName": "g"}))
    assert (created["name"], created["groupName"]) == ("a.b", "g")
    replaced = made(api.put("/event-type/a.b/", json={"description": "e"}), 200)
    assert (replaced["description"], replaced["groupName"]) == ("e", None)
    assert replaced["createdAt"] == created["createdAt"]
    assert api.delete("/event-type/a.b").status_code == 204
    assert made(api.put("/event-type/a.b", json={"description": "f"}), 200)["archived"] is False
    assert fault(api.put("/event-type/a%20b", json={"description": ""}))[0][0] == "path"


def test_patch_tells_absent_from_null(api: httpx.Client) -> None:
    given = {"name": "a", "description": "d", "groupName": "g", "featureFlags": ["f"]}
    made(api.post("/event-type", json={**given, "schemas": {"1": {}}}))
    patched = made(api.patch("/event-type/a", json={"description": "e"}), 200)
    assert (patched["groupName"], patched["schemas"]) == ("g", {"1": {}})
    for field in ("schemas", "groupName", "featureFlags"):
        assert made(api.patch("/event-type/a", json={field: None}), 200)[field] is None
    for field in ("description", "archived", "deprecated"):
        assert fault(api.patch("/event-type/a", json={field: None}))[0] == ["body", field]
    assert api.patch("/event-type/none", json={}).status_code == 404


def test_delete_archives_and_expunge_removes(api: httpx.Client) -> None:
    made(api.post("/event-type", json={"name": "a"}))
    for _ in range(2):
        assert api.delete("/event-type/a").status_code == 204
    assert made(api.get("/event-type/a"), 200)["archived"] is True
    assert api.delete("/event-type/a?expunge=true").status_code == 204
    assert api.get("/event-type/a").status_code == 404
    assert api.delete("/event-type/a?expunge=true").status_code == 404
    assert api.delete("/event-type/a").status_code == 404


def test_a_catalogues_event_type_is_shown_and_cannot_be_changed(api: httpx.Client) -> None:
    shipped = made(api.get("/event-type/part.status.changed"), 200)
    assert shipped["groupName"] == "ovoko"
    assert shipped["schemas"]["1"]["examples"]
    assert made(api.get("/event-type"), 200)["data"] == []
    for response in (
        api.patch("/event-type/part.status.changed", json={"description": "x"}),
        api.delete("/event-type/part.status.changed"),
        api.delete("/event-type/part.status.changed?expunge=true"),
    ):
        assert response.status_code == 404
        assert "catalogue of 'ovoko'" in response.json()["detail"]
    made(api.put("/event-type/part.status.changed", json={"description": "own"}))
    assert made(api.get("/event-type/part.status.changed"), 200)["description"] == "own"


def test_an_application_sees_what_its_flags_open(
    live: LiveNode, api: httpx.Client, organization: str
) -> None:
    app = made(api.post("/app", json={"name": "A"}))["id"]
    made(api.post("/event-type", json={"name": "open"}))
    made(api.post("/event-type", json={"name": "shut", "featureFlags": ["beta", "eu"]}))

    def client(*flags: str) -> httpx.Client:
        token = create_token(
            live.settings.jwt_secret,
            organization,
            live.clock.now(),
            3_600_000,
            app,
            feature_flags=frozenset(flags),
        )
        return httpx.Client(
            base_url=f"{live.url}/api/v1", headers={"authorization": f"Bearer {token}"}
        )

    url = "https://example.com/"
    wanted = {"url": url, "eventTypes": ["shut"], "uid": "e"}
    for flags, seen, status in (((), ["open"], 404), (("beta", "eu"), ["open", "shut"], 200)):
        with client(*flags) as seller:
            listed = made(seller.get("/event-type"), 200)["data"]
            assert [one["name"] for one in listed] == seen
            assert seller.get("/event-type/shut").status_code == status
            if status == 404:
                loc, text = fault(seller.post(f"/app/{app}/endpoint", json=wanted))
                assert (loc, "shut" in text) == (["body", "eventTypes"], True)
            else:
                made(seller.post(f"/app/{app}/endpoint", json=wanted))
    with client() as seller:  # what it has already it may keep
        made(seller.put(f"/app/{app}/endpoint/e", json={**wanted, "description": "x"}), 200)


def test_the_count_is_limited(closed_limit: httpx.Client) -> None:
    made(closed_limit.post("/event-type", json={"name": "a"}))
    made(closed_limit.post("/event-type", json={"name": "b"}))
    over = closed_limit.post("/event-type", json={"name": "c"})
    assert (over.status_code, over.json()["code"]) == (400, "limit_reached")
    assert closed_limit.put("/event-type/c", json={"description": ""}).status_code == 400
    made(closed_limit.put("/event-type/b", json={"description": ""}), 200)


@pytest.fixture
def closed_limit(tmp_path: Path) -> Iterator[httpx.Client]:
    with live_node(tmp_path, event_types_max=2) as node:
        yield node.client()
