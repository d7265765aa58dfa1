"""Policy as metadata keys: read, changed, rendered back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketbell.control import policy
from marketbell.control.policy import Bounds
from marketbell.errors import ForbiddenError, InvalidError
from marketbell.model import OrderOnFailure, Policy

DIALECTS = ("standard", "ovoko")
BOUNDS = Bounds(dialects=DIALECTS, timeout_max=25_000, max_in_flight_max=64)
WAITS = st.lists(st.integers(1, policy.WAIT_MAX), min_size=1, max_size=20).map(tuple)
TOKENS = st.lists(
    st.text(max_size=8).map(lambda text: text.replace("~", "~0").replace("/", "~1")),
    min_size=1,
    max_size=5,
)
POLICIES = st.builds(
    Policy,
    dialect=st.none() | st.sampled_from(DIALECTS),
    retry_schedule=st.none() | WAITS,
    timeout=st.none() | st.integers(100, 25_000),
    max_in_flight=st.none() | st.integers(1, 64),
    order_by=st.none() | TOKENS.map(lambda tokens: "/" + "/".join(tokens)),
    order_on_failure=st.none() | st.sampled_from(OrderOnFailure),
)


@given(POLICIES)
def test_what_is_rendered_reads_back_as_the_same_policy(wanted: Policy) -> None:
    words = policy.split(policy.render(wanted))
    assert words.own == {}
    assert policy.change(Policy(), words.policy, BOUNDS) == wanted


@given(POLICIES, POLICIES)
def test_keys_that_are_absent_stay_and_empty_texts_clear(before: Policy, other: Policy) -> None:
    words = policy.split(policy.render(other)).policy
    after = policy.change(before, words, BOUNDS)
    assert after == other.over(before)
    assert policy.change(after, dict.fromkeys(words, ""), BOUNDS) == Policy(
        **{
            name: getattr(before, name) if getattr(other, name) is None else None
            for name in Policy.__struct_fields__
        }
    )


def test_the_callers_own_keys_are_parted_from_ours() -> None:
    words = policy.split({"a": "1", "marketbell.timeout": "5s", "marketbell": "x"})
    assert words.own == {"a": "1", "marketbell": "x"}
    assert words.policy == {"timeout": "5s"}


def test_a_key_of_ours_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(InvalidError, match=r"marketbell\.retry-schedule") as refused:
        policy.split({"marketbell.retries": "3"})
    assert refused.value.field == ("body", "metadata", "marketbell.retries")


def test_durations_are_rendered_in_their_shortest_exact_form() -> None:
    waits = (7_000, 35_000, 175_000, 60_000, 3_600_000, 86_400_000, 1_500)
    shown = policy.render(Policy(retry_schedule=waits))
    assert shown == {"marketbell.retry-schedule": "7s 35s 175s 1m 1h 1d 1500ms"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dialect", "Ovoko"),
        ("dialect", " "),
        ("retry-schedule", " "),
        ("retry-schedule", "7"),
        ("retry-schedule", "0s"),
        ("retry-schedule", "-1s"),
        ("retry-schedule", "1.5s"),
        ("retry-schedule", "7s,35s"),
        ("retry-schedule", "31d"),
        ("retry-schedule", "7 s"),
        ("retry-schedule", "٣s"),
        ("retry-schedule", " ".join(["1s"] * 65)),
        ("retry-schedule", "9" * 500 + "s"),
        ("timeout", "99ms"),
        ("timeout", "25001ms"),
        ("timeout", "1s 2s"),
        ("timeout", "soon"),
        ("max-in-flight", "0"),
        ("max-in-flight", "65"),
        ("max-in-flight", "1.0"),
        ("max-in-flight", "٣"),
        ("order-by", "order_id"),
        ("order-by", "/a~2b"),
        ("order-by", "/" + "a" * 256),
        ("order-on-failure", "move_on"),
    ],
)
def test_a_wrong_value_is_refused_with_its_key(name: str, text: str) -> None:
    with pytest.raises(InvalidError) as refused:
        policy.change(Policy(), {name: text}, BOUNDS)
    assert refused.value.field == ("body", "metadata", f"marketbell.{name}")
    assert len(refused.value.detail) < 300


def test_sixty_four_waits_are_taken() -> None:
    changed = policy.change(Policy(), {"retry-schedule": " ".join(["1s"] * 64)}, BOUNDS)
    assert changed.retry_schedule == (1_000,) * 64


@given(POLICIES, POLICIES)
def test_an_applications_token_changes_only_keys_that_it_may_set(
    before: Policy, after: Policy
) -> None:
    may_set = ("marketbell.timeout", "marketbell.order-by")
    fields = set(Policy.__struct_fields__) - {"timeout", "order_by"}
    if any(getattr(before, name) != getattr(after, name) for name in fields):
        with pytest.raises(ForbiddenError, match=r"marketbell\.[a-z-]+"):
            policy.check_portal(before, after, may_set)
    else:
        policy.check_portal(before, after, may_set)
