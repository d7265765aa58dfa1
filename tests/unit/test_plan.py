"""What sending to an endpoint needs: its policy resolved, and the key that orders its deliveries."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketbell.delivery.addresses import Networks
from marketbell.delivery.plan import Plan, Planner, order_key, pointer_tokens
from marketbell.dialects.base import Schedule
from marketbell.dialects.registry import Registry, built_in
from marketbell.model import Application, OrderOnFailure, Policy
from support.values import an_endpoint

REGISTRY = Registry(built_in())

APPLICATION = Application(
    id=3,
    public_id="app_3",
    organization="org_1",
    uid=None,
    name="",
    metadata={},
    policy=Policy(),
    throttle_rate=None,
    revision=1,
    created_at=0,
    updated_at=0,
)
ENDPOINT = an_endpoint(
    id=7, public_id="ep_7", application_id=3, url="https://seller.example/hook?a=1"
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def make_planner(networks: tuple[str, ...] = ()) -> Planner:
    return Planner(
        REGISTRY,
        timeout=15_000,
        timeout_max=30_000,
        max_in_flight=64,
        networks=Networks.parse(networks),
    )


def make_plan(
    endpoint: Policy | None = None, application: Policy | None = None, *, url: str = ENDPOINT.url
) -> Plan:
    return make_planner().plan(
        msgspec.structs.replace(APPLICATION, policy=application or Policy()),
        msgspec.structs.replace(ENDPOINT, policy=endpoint or Policy(), url=url),
    )


# -- plans --------------------------------------------------------------------------------


def test_without_a_policy_the_settings_and_the_standard_dialect_are_in_force() -> None:
    plan = make_plan()
    assert plan.dialect.name == "standard"
    assert plan.schedule == plan.dialect.schedule
    assert plan.honours == plan.dialect.honours
    assert (plan.timeout, plan.max_in_flight, plan.fault) == (15_000, 64, "")
    assert plan.order_by is None
    assert not plan.hold_on_failure


def test_the_endpoints_policy_stands_above_the_applications() -> None:
    wider = Policy(dialect="ovoko", timeout=5_000, max_in_flight=3, order_by="/id")
    plan = make_plan(Policy(dialect="sellercenter", timeout=1_000), wider)
    assert plan.dialect.name == "sellercenter"
    assert (plan.timeout, plan.max_in_flight) == (1_000, 3)
    assert plan.order_by == ("id",)


def test_a_schedule_of_the_policy_is_exact_and_ends_with_its_last_wait() -> None:
    plan = make_plan(Policy(retry_schedule=(7_000, 35_000)))
    assert plan.schedule == Schedule(waits=(7_000, 35_000))
    assert make_plan(Policy(retry_schedule=())).schedule.waits == ()


def test_a_failed_delivery_holds_its_key_only_if_the_policy_says_so() -> None:
    assert make_plan(Policy(order_on_failure=OrderOnFailure.HOLD)).hold_on_failure
    assert not make_plan(Policy(order_on_failure=OrderOnFailure.MOVE_ON)).hold_on_failure


def test_a_timeout_that_outlasts_the_lease_is_cut_and_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    planner = make_planner()
    for number in range(3):
        endpoint = msgspec.structs.replace(ENDPOINT, id=number, policy=Policy(timeout=30_001))
        assert planner.plan(APPLICATION, endpoint).timeout == 30_000
    assert [line.message for line in caplog.records] == [
        "time-outs are cut to what the lease has room for"
    ]
    assert make_plan(Policy(timeout=30_000)).timeout == 30_000


def test_an_empty_pointer_means_no_order() -> None:
    assert make_plan(Policy(order_by="")).order_by is None


def test_a_url_that_may_not_be_called_is_a_fault_of_the_plan_and_no_error() -> None:
    plan = make_plan(url="https://192.168.7.7/hook")
    assert plan.target is None
    assert plan.fault.startswith("refused address: ")
    allowed = make_planner(("192.168.0.0/16",)).plan(
        APPLICATION, msgspec.structs.replace(ENDPOINT, url="https://192.168.7.7/hook")
    )
    assert allowed.target is not None
    assert allowed.fault == ""


def test_plain_http_is_a_fault_where_the_dialect_asks_for_tls() -> None:
    assert make_plan(url="http://seller.example/").fault == ""
    assert make_plan(Policy(dialect="ovoko"), url="http://seller.example/").target is None


def test_a_dialect_that_is_no_longer_installed_is_a_fault_of_the_plan() -> None:
    plan = make_plan(Policy(dialect="gone"))
    assert not plan.installed
    assert make_plan(Policy(dialect="ovoko")).installed
    assert plan.target is None
    assert plan.fault.startswith("dialect: ")


def test_a_plan_is_made_once_for_a_pair_of_revisions() -> None:
    planner = make_planner()
    plan = planner.plan(APPLICATION, ENDPOINT)
    assert planner.plan(APPLICATION, ENDPOINT) is plan
    newer = msgspec.structs.replace(ENDPOINT, revision=2)
    assert planner.plan(APPLICATION, newer).endpoint.revision == 2
    other = msgspec.structs.replace(APPLICATION, revision=2)
    assert planner.plan(other, newer).application.revision == 2
    planner.forget(ENDPOINT.id)
    assert planner.plan(other, newer).endpoint.revision == 2
    planner.keep(())
    assert planner.plan(APPLICATION, ENDPOINT) is not plan


# -- pointers -----------------------------------------------------------------------------

RFC_6901_5 = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    "g|h": 4,
    "i\\j": 5,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", RFC_6901_5),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
    ],
)
def test_the_examples_of_rfc_6901_point_where_it_says(pointer: str, value: Any) -> None:
    document = json.dumps(RFC_6901_5).encode()
    expected = order_key(json.dumps({"x": value}).encode(), ("x",))
    assert expected is not None
    assert order_key(document, pointer_tokens(pointer)) == expected


def test_an_escaped_tilde_is_read_once() -> None:
    assert pointer_tokens("/~01") == ("~1",)


@pytest.mark.parametrize(
    ("payload", "pointer"),
    [
        (b'{"a":1}', "/b"),
        (b'{"a":1}', "/a/b"),
        (b'{"a":[1,2]}', "/a/2"),
        (b'{"a":[1,2]}', "/a/01"),
        (b'{"a":[1,2]}', "/a/-"),
        (b'{"a":[1,2]}', "/a/-1"),
        (b'{"a":[1,2]}', "/a/+1"),
        (b'{"a":[1,2]}', "/a/\xb2"),
        (b'{"a":[1,2]}', "/a/" + "9" * 5_000),
        (b'{"a":"text"}', "/a/0"),
        (b"null", "/a"),
        (b"not json", ""),
        (b"", ""),
        (b"\xff", ""),
        (b"[" * 200_000, ""),
        (b"[" * 200_000 + b"]" * 200_000, "/0"),
    ],
)
def test_a_payload_without_such_a_value_stands_outside_of_any_order(
    payload: bytes, pointer: str
) -> None:
    assert order_key(payload, pointer_tokens(pointer)) is None


@given(value=json_values)
def test_one_value_has_one_key_of_16_bytes_however_it_is_written(value: Any) -> None:
    plain = json.dumps({"id": value}).encode()
    spaced = json.dumps({"z": 1, "id": value}, indent=3, ensure_ascii=False).encode()
    key = order_key(plain, ("id",))
    if key is not None:
        assert len(key) == 16
    assert key == order_key(spaced, ("id",))


@given(one=st.integers(-(2**60), 2**60) | st.text(), other=st.integers(-(2**60), 2**60) | st.text())
def test_different_ids_have_different_keys(one: int | str, other: int | str) -> None:
    keys = [order_key(json.dumps({"id": value}).encode(), ("id",)) for value in (one, other)]
    assert (keys[0] == keys[1]) == (one == other and type(one) is type(other))


def test_the_order_of_members_does_not_matter() -> None:
    assert order_key(b'{"id":{"a":1,"b":2}}', ("id",)) == order_key(
        b'{"id":{"b":2,"a":1}}', ("id",)
    )


@given(payload=st.binary(max_size=60), tokens=st.lists(st.text(max_size=4), max_size=3))
def test_no_payload_breaks_the_reading(payload: bytes, tokens: list[str]) -> None:
    key = order_key(payload, tuple(tokens))
    assert key is None or len(key) == 16
