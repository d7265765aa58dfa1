"""What publishers and receivers saw, held against what the server tells: nothing lost, nothing unaccounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import httpx
import msgspec

from support.ledger import Ledger, Show, attempts_on_record, table
from support.server import Server


class Evidence(msgspec.Struct, kw_only=True):
    """What a run leaves behind."""

    took_s: float
    drained_s: float
    """From the last start until nothing was missing."""
    on_record: dict[tuple[str, str], list[str]]
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
    evidence: Evidence,
    show: Show,
    about: Sequence[tuple[str, object]],
    *,
    name: str = "kill ledger",
) -> None:
    """Print the ledger, `about` the run first; AssertionError if it does not balance."""
    on_record, kept = evidence.on_record, evidence.kept
    outcomes = Counter(outcome for found in on_record.values() for outcome in found)
    twice = sum(len(one.ids) > 1 for one in ledger.published.values())
    unrecorded = [
        pair for pair, requests in ledger.seen.items() if len(requests) > len(on_record[pair])
    ]
    doubles = ledger.doubles()
    unexcused = [
        pair
        for pair, before, after in doubles
        if not ledger.excused(before, after) and "no_answer" not in on_record[pair]
    ]
    under_way = sum(ledger.under_way())
    rows: list[tuple[str, object]] = [
        ("kills", len(ledger.kills)),
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
        ("sent again after a 200", len(doubles)),
        ("  without a kill to excuse it", len(unexcused)),
        ("under way, or just answered, at all kills", under_way),
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
    # Sent twice is only what was under way at a kill, or what the server gave up waiting for.
    assert not unexcused
    assert len(doubles) <= under_way
    assert len(doubles) <= outcomes["unknown"] + outcomes["no_answer"] + outcomes["closed"]
