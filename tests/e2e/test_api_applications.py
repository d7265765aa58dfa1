"""Applications over HTTP on a real node."""

from __future__ import annotations

from typing import Any

import httpx


def made(response: httpx.Response, status: int = 201) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    return body


def fault(response: httpx.Response) -> tuple[list[str], str]:
    assert response.status_code == 422, response.text
    (only,) = response.json()["detail"]
    return only["loc"], only["msg"]


def test_one_is_made_read_changed_and_deleted(api: httpx.Client) -> None:
    created = made(api.post("/app", json={"name": "Seller", "uid": "s1", "rateLimit": 7}))
    assert created["throttleRate"] == created["rateLimit"] == 7
    assert created["metadata"] == {}
    assert made(api.get(f"/app/{created['id']}"), 200) == created
    assert made(api.get("/app/s1/"), 200) == created
    changed = made(api.patch("/app/s1", json={"name": "New"}), 200)
    assert (changed["name"], changed["uid"], changed["rateLimit"]) == ("New", "s1", 7)
    cleared = made(api.patch("/app/s1", json={"uid": None, "throttleRate": None}), 200)
    assert (cleared["uid"], cleared["throttleRate"]) == (None, None)
    assert api.get("/app/s1").status_code == 404
    assert api.delete(f"/app/{created['id']}").status_code == 204
    assert api.get(f"/app/{created['id']}").status_code == 404


def test_a_uid_is_taken_until_its_application_is_deleted(api: httpx.Client) -> None:
    made(api.post("/app", json={"name": "A", "uid": "s"}))
    taken = api.post("/app", json={"name": "B", "uid": "s"})
    assert (taken.status_code, taken.json()["code"]) == (409, "conflict")
    assert api.delete("/app/s").status_code == 204
    made(api.post("/app", json={"name": "B", "uid": "s"}))


def test_get_if_exists_answers_200_with_the_existing_one(api: httpx.Client) -> None:
    first = made(api.post("/app?get_if_exists=true", json={"name": "A", "uid": "s"}))
    again = made(api.post("/app?get_if_exists=true", json={"name": "Other", "uid": "s"}), 200)
    assert again == first


def test_put_makes_by_uid_then_replaces(api: httpx.Client) -> None:
    first = made(api.put("/app/s", json={"name": "A", "metadata": {"k": "v"}}))
    assert first["uid"] == "s"
    second = made(api.put("/app/s", json={"name": "B"}), 200)
    assert second["id"] == first["id"]
    assert (second["name"], second["uid"], second["metadata"]) == ("B", "s", {})
    unknown = api.put("/app/app_000000000000000000000000000", json={"name": "A"})
    assert unknown.status_code == 404
    loc, _ = fault(api.put("/app/t", json={"name": "A", "uid": "other"}))
    assert loc == ["body", "uid"]


def test_lists_go_forth_and_back_in_both_orders(api: httpx.Client) -> None:
    ids = [made(api.post("/app", json={"name": f"A{n}"}))["id"] for n in range(5)]
    first = made(api.get("/app", params={"limit": 2}), 200)
    assert [one["id"] for one in first["data"]] == ids[:2]
    assert not first["done"]
    second = made(api.get("/app", params={"limit": 2, "iterator": first["iterator"]}), 200)
    assert [one["id"] for one in second["data"]] == ids[2:4]
    back = {"limit": 2, "iterator": second["prevIterator"]}
    assert made(api.get("/app", params=back), 200)["data"] == first["data"]
    newest = made(api.get("/app", params={"limit": 3, "order": "descending"}), 200)
    assert [one["id"] for one in newest["data"]] == ids[:1:-1]
    everything = made(api.get("/app", params={"limit": 250}), 200)
    assert everything["done"]
    assert len(everything["data"]) == 5


def test_the_same_key_and_body_answer_the_same_and_another_body_is_refused(
    api: httpx.Client,
) -> None:
    key = {"idempotency-key": "auto_1"}
    first = made(api.post("/app", json={"name": "A"}, headers=key))
    assert made(api.post("/app/", json={"name": "A"}, headers=key)) == first
    other = api.post("/app", json={"name": "B"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "conflict")
    assert "idempotency-key" in other.json()["detail"]
    assert len(api.get("/app").json()["data"]) == 1
