"""What pages and steps of retention cost, in operations of the database, whatever is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from marketbell.store import retention
from marketbell.store.base import AttemptFilter, MessageFilter, Page, Pruned, Slice
from marketbell.store.searching import Searcher
from marketbell.testing.clock import START
from support.counted import AGES, DAY, Filled


@pytest.mark.parametrize("noted", [True, False])
def test_a_filter_by_time_reads_that_time_only(noted: bool) -> None:
    """The last of 30,000 messages, by a filter that none of the others passes."""
    filled = Filled()
    filled.application()
    filled.messages(30_000, step=10_000)
    if noted:
        filled.noted()
    end = START + 30_000 * 10_000
    for since, until in ((end - 10_000, None), (None, START + 1), (START + DAY, START + DAY + 1)):
        which = MessageFilter(since=since, until=until)
        with filled.counted():
            found = Searcher(filled.transaction, 60.0).messages(1, which, Page(limit=50))
        assert len(found.data) == 1
        assert filled.operations < 3_000


@pytest.mark.parametrize("noted", [True, False])
@pytest.mark.parametrize("place", ["newest", "oldest"])
def test_a_page_costs_the_same_wherever_it_begins(place: str, noted: bool) -> None:
    filled = Filled()
    filled.application()
    filled.messages(30_000, step=1_000)
    if noted:
        filled.noted()
    rows = filled.connection.execute(
        "select public_id from message where id = ?", (29_900 if place == "newest" else 100,)
    ).fetchall()
    public_id = str(rows[0][0])
    for page in (Page(limit=50, after=public_id), Page(limit=50, before=public_id)):
        with filled.counted():
            found = Searcher(filled.transaction, 60.0).messages(1, MessageFilter(), page)
        assert len(found.data) == 50
        assert filled.operations < 10_000


def test_a_page_reads_its_own_rows_and_what_has_yet_to_be_noted_once() -> None:
    """Of an application with 100 endpoints, which has a hundredth of the rows."""
    filled = Filled()
    filled.application(1)
    filled.application(2)
    filled.connection.execute(
        "insert into endpoint (id, public_id, application_id, url, description, metadata,"
        " disabled, paused, slot, revision, version, created_at, updated_at)"
        " select e.id + value, 'ep_' || (e.id + value), 1, '', '', '{}', 0, 0, 0, 1, 1, 0, 0"
        " from endpoint e, json_each(?) where e.id = 2",
        (f"[{','.join(map(str, range(1, 100)))}]",),
    )
    filled.messages(20_000, step=1_000)
    filled.connection.execute("update message set application_id = 2 where id % 100")
    filled.connection.execute("update attempt set endpoint_id = 2 where id % 100")
    every, at_one = AttemptFilter(), AttemptFilter(endpoint_id=1)
    lists: dict[str, Callable[[Searcher], Slice[Any]]] = {
        "messages": lambda search: search.messages(1, MessageFilter(), Page(limit=50)),
        "deliveries": lambda search: search.deliveries(
            1, 1, MessageFilter(), Page(limit=50), states=None
        ),
        "attempts": lambda search: search.attempts(1, every, Page(limit=50)),
        "attempts at one": lambda search: search.attempts(1, at_one, Page(limit=50)),
    }
    costs: dict[str, list[int]] = {name: [] for name in lists}
    for _ in range(2):
        for name, ask in lists.items():
            with filled.counted():
                found = ask(Searcher(filled.transaction, 60.0))
            assert len(found.data) == (0 if name == "deliveries" else 50)
            costs[name].append(filled.operations)
        filled.noted()
    late, noted = zip(*costs.values(), strict=True)
    assert max(late) < 40 * 20_000, costs
    assert max(noted) < 40_000, costs


def test_a_step_with_nothing_to_do_costs_the_same_whatever_is_kept() -> None:
    costs = []
    for count in (1_000, 50_000):
        filled = Filled()
        filled.application()
        filled.messages(count, step=1)
        filled.pending()
        with filled.counted():
            assert filled.prune(START + DAY) == Pruned()
        costs.append(filled.operations)
    assert costs[1] <= costs[0] + 1_000


def test_what_goes_costs_the_same_whatever_is_kept() -> None:
    """A hundred messages with their attempts, labels and all."""
    costs = []
    for count in (1_000, 20_000):
        filled = Filled()
        filled.application()
        filled.messages(count, step=1)
        filled.connection.execute("""update message set channels = '["c"]', tags = '["t"]'""")
        filled.noted()
        with filled.counted():
            pruned = filled.prune(START + 60 * DAY)
        assert (pruned.messages, pruned.attempts) == (100, 100)
        costs.append(filled.operations)
    assert costs[1] <= costs[0] * 1.2, costs
    labels = filled.connection.execute("select count(*) from message_label").fetchall()
    assert labels == [(4 * (20_000 - 100),)]


def test_a_step_costs_the_same_whatever_number_of_rows_cannot_go() -> None:
    """All are past every age, and an unfinished delivery needs each of them."""
    costs = []
    for count in (2_000, 20_000):
        filled = Filled()
        filled.application()
        filled.messages(count, step=1)
        filled.pending()
        filled.connection.execute("delete from attempt")
        walks = retention.Walks()
        steps = 0
        more = True
        while more:
            with filled.counted():
                pruned = retention.prune(
                    filled.transaction,
                    walks,
                    AGES,
                    now=START + 60 * DAY,
                    real=START,
                    limit=100,
                )
            more = pruned.more
            steps += 1
            if steps == 10:
                costs.append(filled.operations)
        assert (pruned.payloads, pruned.messages) == (0, 0)
        assert steps <= 2 * count / 100 + 4
        with filled.counted():
            retention.prune(
                filled.transaction,
                walks,
                AGES,
                now=START + 60 * DAY + 1,
                real=START,
                limit=100,
            )
        assert filled.operations < 3_000
    assert costs[1] <= costs[0] * 1.2
