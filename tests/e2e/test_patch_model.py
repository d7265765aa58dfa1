"""PATCH against a plain dict: absent stays, null clears or is refused, a value is set."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from e2e.conftest import LiveNode

NAMES = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, unique=True).map(sorted)
RATES = st.integers(1, 65_535)
TEXTS = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1, max_size=20)
METADATA = st.dictionaries(st.sampled_from(["k", "l"]), TEXTS, max_size=2)

# Field to its values, and whether null clears it (else null is refused).
Fields = Mapping[str, tuple[st.SearchStrategy[Any], bool]]

APPLICATION: Fields = {
    "name": (TEXTS, False),
    "throttleRate": (RATES, True),
    "rateLimit": (RATES, True),
    "metadata": (METADATA, False),
}
ENDPOINT: Fields = {
    "url": (st.sampled_from(["https://a.example/", "https://b.example/x"]), False),
    "description": (TEXTS, False),
    "disabled": (st.booleans(), False),
    "version": (st.integers(1, 9), False),
    "eventTypes": (NAMES, True),
    "filterTypes": (NAMES, True),
    "channels": (NAMES, True),
    "throttleRate": (RATES, True),
    "rateLimit": (RATES, True),
    "metadata": (METADATA, False),
}
EVENT_TYPE: Fields = {
    "description": (TEXTS, False),
    "archived": (st.booleans(), False),
    "deprecated": (st.booleans(), False),
    "schemas": (st.sampled_from([{"1": {}}, {"2": {"type": "object"}, "1": {}}]), True),
    "groupName": (st.sampled_from(["g", "h.i"]), True),
    "featureFlags": (NAMES, True),
}
TWINS = {"rateLimit": "throttleRate", "filterTypes": "eventTypes"}

count = itertools.count()


def bodies(fields: Fields) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Some PATCH bodies, one after the other; a field is absent, null or has a value."""

    def said(name: str) -> st.SearchStrategy[tuple[str, Any]]:
        values, clears = fields[name]
        # Nulls that are refused are rare, or hardly any body would get through.
        nulls = st.none() if clears else st.one_of(*[values] * 9, st.none())
        return st.tuples(st.just(name), values | nulls)

    one = st.lists(st.sampled_from(sorted(fields)).flatmap(said), min_size=1, max_size=3).map(dict)
    return st.lists(one, min_size=2, max_size=8)


def follow(api: httpx.Client, path: str, fields: Fields, patches: list[dict[str, Any]]) -> None:
    """Send every patch; the model decides what must be shown after it."""
    model: dict[str, Any] = {name: api.get(path).json()[name] for name in fields}
    for body in patches:
        response = api.patch(path, json=body)
        expected = dict(model)
        twice = any(twin in body and body.get(name, body[twin]) != body[twin]
                    for twin, name in TWINS.items())  # fmt: skip
        refused = twice or any(
            value is None and not fields[name][1] for name, value in body.items()
        )
        if not refused:
            for name, value in body.items():
                expected[name] = value
                for twin, own in TWINS.items():
                    if name in {twin, own} and twin in fields:
                        expected[twin] = expected[own] = value
            model = expected
        assert response.status_code == (422 if refused else 200), response.text
        shown = api.get(path).json()
        assert {name: shown[name] for name in fields} == model
        if not refused:
            assert response.json() == shown


@settings(max_examples=20, deadline=None)
@given(patches=bodies(APPLICATION))
def test_an_application(live: LiveNode, patches: list[dict[str, Any]]) -> None:
    api, uid = client(live), f"a{next(count)}"
    assert api.post("/app", json={"name": "A", "uid": uid}).status_code == 201
    follow(api, f"/app/{uid}", APPLICATION, patches)


@settings(max_examples=20, deadline=None)
@given(patches=bodies(ENDPOINT))
def test_an_endpoint(live: LiveNode, patches: list[dict[str, Any]]) -> None:
    api, uid = client(live), f"e{next(count)}"
    assert api.post("/app", json={"name": "A", "uid": uid}).status_code == 201
    for name in "abc":
        assert api.put(f"/event-type/{name}", json={"description": ""}).status_code in {200, 201}
    given = {"url": "https://c.example/", "uid": uid}
    assert api.post(f"/app/{uid}/endpoint", json=given).status_code == 201
    follow(api, f"/app/{uid}/endpoint/{uid}", ENDPOINT, patches)


@settings(max_examples=20, deadline=None)
@given(patches=bodies(EVENT_TYPE))
def test_an_event_type(live: LiveNode, patches: list[dict[str, Any]]) -> None:
    api, name = client(live), f"t{next(count)}"
    assert api.post("/event-type", json={"name": name}).status_code == 201
    follow(api, f"/event-type/{name}", EVENT_TYPE, patches)


clients: dict[int, httpx.Client] = {}


def client(live: LiveNode) -> httpx.Client:
    """One client for all examples."""
    if id(live) not in clients:
        clients[id(live)] = live.client("org_patch")
    return clients[id(live)]
