from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from marketbell.metrics import METRICS, Counters, Histogram
from marketbell.observe import Observer

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


def documented() -> dict[str, tuple[str, str, str]]:
    rows = (line for line in DOCS.read_text().splitlines() if line.startswith("| `marketbell_"))
    cells = ([cell.strip() for cell in row.strip("|").split("|")] for row in rows)
    return {name.strip("`"): (kind, labels, text) for name, kind, labels, text in cells}


def test_the_documentation_lists_every_metric_as_the_table_has_it() -> None:
    table = {}
    for metric in METRICS.values():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        if metric.known:
            labels += ": " + ", ".join(metric.known)
        table[metric.name] = (metric.kind, labels, metric.help)
    assert documented() == table


def test_every_metric_is_exposed_with_its_kind_and_help() -> None:
    content_type, text = Observer().metrics()
    assert content_type.startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(text.decode())}
    for metric in METRICS.values():
        family = families[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.help)


def test_a_scraper_that_asks_for_openmetrics_gets_it() -> None:
    content_type, text = Observer().metrics("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    families = openmetrics_families(text.decode())  # type: ignore[no-untyped-call]
    names = {family.name for family in families}
    assert {name.removesuffix("_total") for name in METRICS} <= names


def test_process_metrics_stand_beside_ours() -> None:
    assert b"\nprocess_resident_memory_bytes " in Observer().metrics()[1]


def test_two_observers_do_not_share_their_counts() -> None:
    one, other = Observer(), Observer()
    one.lost_claims(3)
    assert b"\nmarketbell_lost_claims_total 3.0\n" in one.metrics()[1]
    assert b"\nmarketbell_lost_claims_total 0.0\n" in other.metrics()[1]


def test_a_counter_that_the_table_does_not_have_is_an_error() -> None:
    with pytest.raises(KeyError):
        Counters().add("marketbell_nonsense_total")


@given(st.lists(st.integers(0, 2_000)), st.lists(st.integers(0, 1_500), unique=True, min_size=1))
def test_each_bucket_counts_the_values_up_to_and_with_its_bound(
    added: list[int], bounds: list[int]
) -> None:
    histogram = Histogram(sorted(bounds))
    for one in added:
        histogram.add(one)
    buckets, total = histogram.cumulated(0.001)
    assert [float(le) for le, _count in buckets] == pytest.approx(
        [*(bound / 1000 for bound in sorted(bounds)), float("inf")]
    )
    assert [count for _le, count in buckets] == [
        *(sum(one <= bound for one in added) for bound in sorted(bounds)),
        len(added),
    ]
    assert total == pytest.approx(sum(added) / 1000)
