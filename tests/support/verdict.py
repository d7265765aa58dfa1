"""What publishers and receivers saw, held against what the server tells: nothing lost, nothing unaccounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import httpx
import msgspec

from support.kills import Kill, Losses, Taken, losses
from support.ledger import Ledger, Pair, Show, attempts_on_record, table
from support.server import Server


class Evidence(msgspec.Struct, kw_only=True):
    """What a run leaves behind."""

    took_s: float
    drained_s: float
    """From the last start until nothing was missing."""
    on_record: dict[Pair, list[str]]
    """Outcomes of the attempts that the server tells of, by route and message."""
    kept: list[str]
    """Ids of the messages that it tells of."""


async def evidence(
    server: Server,
    http: httpx.AsyncClient,
    application: str,
    endpoints: dict[str, str],
    *,
    took_s: float,
    drained_s: float,
) -> Evidence:
    """What a server tells of what was done."""
    return Evidence(
        took_s=took_s,
        drained_s=drained_s,
        on_record=await attempts_on_record(server, http, application, endpoints),
        kept=[one["id"] async for one in server.listed(http, f"/app/{application}/msg")],
    )


def judge(
    ledger: Ledger,
    kills: list[Kill],
    evidence: Evidence,
    show: Show,
    about: Sequence[tuple[str, object]],
    *,
    takes: Sequence[Taken] = (),
    name: str = "kill ledger",
) -> None:
    """Print the ledger, `about` the run first; AssertionError if it does not balance."""
    on_record, kept = evidence.on_record, evidence.kept
    outcomes = Counter(outcome for found in on_record.values() for outcome in found)
    twice = sum(len(one.ids) > 1 for one in ledger.published.values())
    unrecorded = [
        pair for pair, requests in ledger.seen.items() if len(requests) > len(on_record[pair])
    ]
    lost = losses(ledger, kills, takes, on_record)
    rows: list[tuple[str, object]] = [
        *about,
        ("seconds", f"{evidence.took_s:.1f}"),
        ("drained after the last start, s", f"{evidence.drained_s:.1f}"),
        ("POSTs sent", sum(one.requests for one in ledger.published.values())),
        ("messages accepted", len(kept)),
        ("  accepted twice under one key", twice),
        ("deliveries wanted", len(ledger.wanted())),
        ("  missing", len(ledger.missing())),
        ("requests seen by the receiver", sum(map(len, ledger.seen.values()))),
        ("attempts on record", sum(outcomes.values())),
        *((f"  {outcome}", count) for outcome, count in outcomes.most_common()),
        ("requests without an attempt on record", len(unrecorded)),
        *_rows_of(kills, lost),
    ]
    show(table(f"{name} (seed {ledger.seed})", rows))
    # One key is one message, however often it was sent and whatever was killed in between.
    assert not twice
    assert sorted(kept) == sorted({i for one in ledger.published.values() for i in one.ids})
    # Every endpoint got what it wants and nothing else.
    assert not ledger.missing()
    assert set(ledger.seen) == ledger.wanted()
    # For every request there is an attempt, or a claim that was lost.
    assert not unrecorded
    for pair, requests in ledger.seen.items():
        recorded = Counter(on_record[pair])
        answered = sum(one.answered is not None for one in requests)
        assert recorded["accepted"] >= 1
        assert recorded["accepted"] + recorded["rejected"] <= answered
    # No slot is taken from a node whose lease holds.
    assert not [take for take in takes if not take.in_order]
    _judge_losses(kills, lost, on_record)


def _rows_of(kills: list[Kill], lost: Losses) -> list[tuple[str, object]]:
    explained = sum(map(len, lost.by_kill))
    again = explained + len(lost.by_take) + len(lost.by_no_answer) + len(lost.unexplained)
    begun = [len(kill.begun(made)) for kill, made in zip(kills, lost.by_kill, strict=True)]
    worst = begun.index(max(begun))
    waited_s = [
        kill.at - request.answered
        for kill, made in zip(kills, lost.by_kill, strict=True)
        for _pair, request in made
        if request.answered is not None
    ]
    return [
        ("claims held by nodes when they ended", sum(len(kill.held) for kill in kills)),
        ("attempts in flight then, by their gauges", sum(kill.told.in_flight for kill in kills)),
        ("attempts that waited to be recorded", sum(kill.told.unrecorded for kill in kills)),
        ("sent again after a 200", again),
        ("  held by a node that was ended", explained),
        ("    begun when its gauges were read", sum(begun)),
        ("    by one of them at most", begun[worst]),
        ("    of which its gauges told", kills[worst].told.at_risk),
        ("    answered so long before, s", f"{max(waited_s, default=0.0):.2f}"),
        ("  held by a node that lived and had lost its lease", len(lost.by_take)),
        ("  answered too late", len(lost.by_no_answer)),
        ("  not explained", len(lost.unexplained)),
    ]


def _judge_losses(kills: list[Kill], lost: Losses, on_record: dict[Pair, list[str]]) -> None:
    """Sent again after a 200 is only what a node held when it was ended, and no more than it told of."""
    assert not lost.unexplained
    for kill, made in zip(kills, lost.by_kill, strict=True):
        # What was answered too late had ended for the node, and was not in its gauges any more.
        begun = [pair for pair in kill.begun(made) if "no_answer" not in on_record[pair]]
        assert len(begun) <= kill.told.at_risk, (kill.told, kill.at, made)
    # Each is on record as a claim that was lost, or as an answer that came too late: a node that
    # was frozen for longer than a request may take, and kept its slots, finds its time over.
    again = Counter(pair for made in lost.by_kill for pair, _request in made)
    again.update(lost.by_take + lost.by_no_answer)
    for pair, count in again.items():
        recorded = Counter(on_record[pair])
        assert count <= recorded["unknown"] + recorded["no_answer"], (pair, recorded)
