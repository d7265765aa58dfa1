"""A node has its slots until its lease may be over, and not a moment longer."""

from __future__ import annotations

import pytest

from marketbell.delivery.tenure import ALL, Tenure

SOME = frozenset({1, 2})


@pytest.mark.parametrize(
    ("now", "holds"), [(0.0, True), (9.999, True), (10.0, False), (99.0, False)]
)
def test_it_ends_by_the_monotonic_clock_alone(now: float, holds: bool) -> None:
    tenure = Tenure(lambda: now)
    tenure.renew(SOME, 10.0)
    assert tenure.holds is holds
    assert tenure.slots == (SOME if holds else frozenset())


def test_new_or_ended_it_has_none() -> None:
    tenure = Tenure(lambda: 0.0)
    assert not tenure.holds
    assert not tenure.slots
    tenure.renew(SOME, 10.0)
    tenure.end()
    assert not tenure.holds
    assert not tenure.slots


def test_that_of_the_only_node_never_ends() -> None:
    tenure = Tenure.sole()
    assert tenure.holds
    assert tenure.slots == ALL
    assert tenure.node_id is None
