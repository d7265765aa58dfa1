"""Metrics of several processes as one page: sums, the greatest where each tells the whole, and none lost."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from marketbell.observe import Observer
from marketbell.shared_metrics import SharedMetrics, end


def page(observer: Observer) -> dict[str, float]:
    text = observer.metrics()[1].decode()
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if line and line[0] != "#")
    return {name: float(value) for name, value in lines}


def processes(folder: Path, count: int) -> list[Observer]:
    return [Observer(shared=SharedMetrics(folder, number)) for number in range(count)]


def test_any_process_tells_the_sum_of_all(tmp_path: Path) -> None:
    first, second, third = processes(tmp_path, 3)
    for number, observer in enumerate((first, second, third), start=1):
        observer.not_accepted("refused", number)
        observer.committed(number, 0.001)
        observer.gauge("marketbell_in_flight", partial(int, number))
        observer.gauge("marketbell_nodes", partial(int, number))
    second.keep_metrics()
    third.keep_metrics()
    told = page(first)
    assert told['marketbell_messages_total{result="refused"}'] == 6
    assert told["marketbell_in_flight"] == 6
    assert told["marketbell_nodes"] == 3
    assert told["marketbell_store_batch_rows_count"] == 3
    assert told["marketbell_store_batch_rows_sum"] == 6
    assert told['marketbell_store_batch_rows_bucket{le="2.0"}'] == 2
    own = page(Observer())
    assert told.keys() - {"marketbell_in_flight", "marketbell_nodes"} == own.keys()
    assert told["process_resident_memory_bytes"] > 2 * own["process_resident_memory_bytes"]
    assert told["process_start_time_seconds"] == own["process_start_time_seconds"]
    assert [value for name, value in told.items() if name.startswith("marketbell_build")] == [1]


def test_what_a_dead_process_counted_stays_and_what_it_was_like_goes(tmp_path: Path) -> None:
    for _ in range(2):
        dead = Observer(shared=SharedMetrics(tmp_path, 1))
        dead.not_accepted("conflict", 5)
        dead.gauge("marketbell_in_flight", lambda: 100)
        dead.keep_metrics()
        end(tmp_path, 1)
    end(tmp_path, 1)
    alive = Observer(shared=SharedMetrics(tmp_path, 0))
    alive.gauge("marketbell_in_flight", lambda: 1)
    told = page(alive)
    assert told['marketbell_messages_total{result="conflict"}'] == 10
    assert told["marketbell_in_flight"] == 1


def test_a_damaged_or_missing_file_counts_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "1.json").write_bytes(b"[{")
    observer = Observer(shared=SharedMetrics(tmp_path / "gone", 0))
    observer.keep_metrics()
    assert page(observer)['marketbell_messages_total{result="refused"}'] == 0
    whole = Observer(shared=SharedMetrics(tmp_path, 0))
    whole.not_accepted("refused")
    assert page(whole)['marketbell_messages_total{result="refused"}'] == 1
