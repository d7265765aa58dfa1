"""The metrics of several processes that serve as one: each keeps its own in a file, and any tells their sum."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample

_ENDED: Final = "ended"
"""What processes counted that are no more: a counter must not fall because one was started anew."""
_GREATEST: Final = frozenset(
    {
        "marketbell_build_info",
        "marketbell_clock_skew_seconds",
        "marketbell_database_bytes",
        "marketbell_nodes",
        "marketbell_oldest_due_seconds",
        "marketbell_outbox_lag_seconds",
        "marketbell_outbox_rejected",
        "marketbell_outbox_waiting",
        "marketbell_parked_deliveries",
        "marketbell_payload_search_lag_seconds",
        "marketbell_tasks_running",
    }
)
"""Gauges that each process tells of the whole."""
_LEAST: Final = frozenset({"process_start_time_seconds"})

_Labels: TypeAlias = tuple[tuple[str, str], ...]


class _Kept(msgspec.Struct, frozen=True):
    """A family as a file has it."""

    name: str
    kind: str
    help: str
    samples: list[tuple[str, dict[str, str], float]]

    @property
    def counts(self) -> bool:
        """Whether it only ever rises."""
        return self.kind in {"counter", "histogram"}


class SharedMetrics:
    """
    One process among those that keep their metrics in a folder, by its number.

    What the others have counted in the last second or so may be missing.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self._folder = folder
        self._number = number

    def keep(self, families: Iterable[Family]) -> None:
        """Let the others see these."""
        _write(self._folder, str(self._number), [_kept(family) for family in families])

    def whole(self, own: Iterable[Family]) -> list[Family]:
        """These and those of all others together."""
        others = [
            _read(file) for file in self._folder.glob("*.json") if file.stem != str(self._number)
        ]
        return [_shown(one) for one in _together([[_kept(family) for family in own], *others])]


def end(folder: Path, number: int) -> None:
    """A process is no more: what it counted stays, and what it was like goes with it."""
    file = folder / f"{number}.json"
    counted = [one for one in _read(file) if one.counts]
    _write(folder, _ENDED, list(_together([_read(folder / f"{_ENDED}.json"), counted])))
    file.unlink(missing_ok=True)


def _together(every: Iterable[Iterable[_Kept]]) -> Iterator[_Kept]:
    first: dict[str, _Kept] = {}
    values: dict[str, dict[tuple[str, _Labels], float]] = {}
    for families in every:
        for family in families:
            first.setdefault(family.name, family)
            known = values.setdefault(family.name, {})
            for name, labels, value in family.samples:
                key = name, tuple(labels.items())
                known[key] = _joined(family.name, known[key], value) if key in known else value
    for name, family in first.items():
        samples = [
            (sample, dict(labels), value) for (sample, labels), value in values[name].items()
        ]
        yield _Kept(name, family.kind, family.help, samples)


def _joined(family: str, one: float, other: float) -> float:
    if family in _GREATEST:
        return max(one, other)
    return min(one, other) if family in _LEAST else one + other


def _kept(family: Family) -> _Kept:
    samples = [(one.name, dict(one.labels), float(one.value)) for one in family.samples]
    return _Kept(family.name, family.type, family.documentation, samples)


def _shown(kept: _Kept) -> Family:
    family = Family(kept.name, kept.help, kept.kind)
    family.samples = [Sample(name, labels, value) for name, labels, value in kept.samples]
    return family


def _read(file: Path) -> list[_Kept]:
    """What a file has; nothing if it has just gone."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=list[_Kept])
    except (OSError, msgspec.DecodeError):
        return []


def _write(folder: Path, name: str, families: list[_Kept]) -> None:
    """Write a file whole; without room for it the last one stays."""
    draft = folder / f"{name}.draft"
    with contextlib.suppress(OSError):
        draft.write_bytes(msgspec.json.encode(families))
        draft.rename(folder / f"{name}.json")
