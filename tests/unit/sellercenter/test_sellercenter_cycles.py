"""Seller Center's life cycles by themselves: the tables, walked in every way."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from marketbell.dialects.sellercenter import ItemStatus, SellerCenter
from marketbell.errors import MoveRefusedError
from marketbell.marketplace.decision import Event
from marketbell.marketplace.machine import Actor, Machine, Move
from marketbell.marketplace.sellercenter import feeds, items, products
from marketbell.marketplace.sellercenter.envelope import Element
from marketbell.marketplace.sellercenter.feeds import FEED, FeedBody, FeedStatus, Record
from marketbell.marketplace.sellercenter.items import ITEMS, Buyer, Line, Order
from marketbell.marketplace.sellercenter.products import (
    PRODUCT,
    QUALITY,
    ProductStatus,
    QcStatus,
)
from marketbell.marketplace.sellercenter.throttle import FREE, PAUSE, Bucket, take
from marketbell.store.marketplace_plane import Entity

NOW = 1_767_225_600_000
CATALOGUE = SellerCenter().catalogue

MACHINES = (FEED, PRODUCT, QUALITY, ITEMS)


def fits(events: tuple[Event, ...]) -> None:
    """Every event is one that the dialect can send."""
    for event in events:
        CATALOGUE.check(event.event_type, msgspec.json.encode(event.payload))


def payload(event: Event) -> dict[str, object]:
    read: dict[str, object] = msgspec.json.decode(msgspec.json.encode(event.payload))
    return read


# -- the tables -------------------------------------------------------------------------


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_every_state_is_reached_and_only_final_ones_have_no_exit(machine: Machine[str]) -> None:
    reached, front = set(machine.initial), list(machine.initial)
    while front:
        for move in machine.exits(front.pop()):
            if move.target not in reached:
                reached.add(move.target)
                front.append(move.target)
    assert reached == set(machine.states)
    for state in machine.states:
        assert (state in machine.final) == (not machine.exits(state))


def test_the_sellers_own_moves() -> None:
    """Two by the API; accepting a return is the portal's."""
    own = {(move.source, move.target) for move in ITEMS.moves if Actor.SELLER in move.actors}
    assert own == {
        (ItemStatus.PENDING, ItemStatus.READY_TO_SHIP),
        (ItemStatus.PENDING, ItemStatus.CANCELED),
        (ItemStatus.RETURN_WAITING_FOR_APPROVAL, ItemStatus.RETURNED),
    }


def test_from_ready_on_neither_seller_nor_buyer_cancels() -> None:
    for status in ItemStatus:
        for actor in (Actor.SELLER, Actor.BUYER):
            may = status is ItemStatus.PENDING or (status, actor) == (
                ItemStatus.PROCESSING,
                Actor.BUYER,
            )
            if status is ItemStatus.CANCELED:
                continue
            if may:
                assert ITEMS.next(status, "cancel", actor) is ItemStatus.CANCELED
            else:
                with pytest.raises(MoveRefusedError):
                    ITEMS.next(status, "cancel", actor)


def test_diagrams_show_every_move() -> None:
    for machine in MACHINES:
        assert machine.diagram().count("-->") == (
            len(machine.moves) + len(machine.initial) + len(machine.final)
        )


# -- feeds ------------------------------------------------------------------------------


def new_feed(action: str = "ProductCreate") -> tuple[Entity, tuple[Event, ...]]:
    return feeds.queued(
        3, 7, uuid="829a8d2a-d370-4fa6-8613-8554f43d5fed", action=action, records=(), now=NOW
    )


@given(
    st.sampled_from([*feeds.ANNOUNCED, "UpdateStock"]),
    st.lists(
        st.tuples(st.sampled_from(["start", "cancel", "finish", "fail"]), st.sampled_from(Actor)),
        max_size=8,
    ),
)
def test_a_feed_is_told_of_when_it_is_made_and_when_it_finishes(
    action: str, tried: list[tuple[str, Actor]]
) -> None:
    feed, events = new_feed(action)
    told = list(events)
    path = [feed.state]
    for move, actor in tried:
        try:
            after, more = feeds.moved(feed, move, actor)
        except MoveRefusedError:
            continue
        if after is None:
            assert not more
            continue
        assert after.state != feed.state
        feed = after
        path.append(feed.state)
        told += more
    fits(tuple(told))
    names = [event.event_type for event in told]
    if action not in feeds.ANNOUNCED:
        assert names == []
    elif feed.state == FeedStatus.FINISHED:
        assert names == ["onFeedCreated", "onFeedCompleted"]
    else:
        assert names == ["onFeedCreated"]
    assert path in (
        ["Queued"],
        ["Queued", "Processing"],
        ["Queued", "Processing", "Finished"],
        ["Queued", "Processing", "Error"],
        ["Queued", "Canceled"],
    )


def test_the_failure_report_is_a_csv() -> None:
    body = FeedBody(
        action="ProductCreate",
        total=2,
        errors=(feeds.RecordError(0, 'a "b"; c', "S-1"),),
        warnings=(feeds.RecordWarning("w", "S-2"),),
    )
    assert base64.b64decode(feeds.report(body)).decode().split("\n") == [
        '"Error";"Warning";"SellerSku"',
        '"a ""b""; c";"";"S-1"',
        '"";"w";"S-2"',
    ]
    assert feeds.report(FeedBody(action="ProductCreate", total=0)) == ""


# -- the throttle -----------------------------------------------------------------------


def test_fifty_at_once_then_one_every_two_minutes() -> None:
    bucket: Bucket | None = None
    for _ in range(FREE):
        bucket = take(bucket, NOW)
        assert bucket is not None
    assert take(bucket, NOW) is None
    assert take(bucket, NOW + PAUSE - 1) is None
    later = take(bucket, NOW + PAUSE)
    assert later is not None
    assert take(later, NOW + PAUSE) is None


def test_770_on_the_first_day() -> None:
    bucket, made = None, 0
    for second in range(0, 86_400, 10):
        while (after := take(bucket, NOW + second * 1000)) is not None:
            bucket, made = after, made + 1
    assert made == 769  # the 770th falls on the day's last instant
    assert take(bucket, NOW + 86_400_000) is not None


@given(st.lists(st.integers(0, 10 * PAUSE), max_size=200))
def test_never_more_than_the_bucket_holds(gaps: list[int]) -> None:
    bucket, now, given_at = None, NOW, []
    for gap in gaps:
        now += gap
        after = take(bucket, now)
        if after is not None:
            bucket = after
            given_at.append(now)
    for place, at in enumerate(given_at[FREE:]):
        assert at - given_at[place] >= PAUSE


# -- products ---------------------------------------------------------------------------


def product(sku: str, body: Mapping[str, str] | None = None, *, state: str = "") -> Entity:
    fields = tuple(Element(name, text) for name, text in (body or {"Name": sku}).items())
    return Entity(
        application_id=3,
        kind=products.KIND,
        number=1,
        key=sku,
        state=state or products.state_of(ProductStatus.ACTIVE, QcStatus.PENDING),
        revision=1,
        body=msgspec.json.encode(products.ProductBody(fields=fields)),
        created_at=NOW,
        updated_at=NOW,
    )


def run(action: str, records: list[Record], *known: Entity) -> products.Run:
    feed = FeedBody(action=action, records=tuple(records), total=len(records))
    by_sku = {one.key: one for one in known}
    done = products.run(feed, by_sku, range(1, 100), application_id=3, now=NOW)
    fits(done.events)
    return done


def rec(sku: str, **fields: str) -> Record:
    return Record(sku, tuple(Element(name, text) for name, text in fields.items()))


def test_one_event_for_all_that_a_run_created() -> None:
    done = run("ProductCreate", [rec("A", Name="a"), rec("B", Name="b", Status="Inactive")])
    assert [(event.event_type, payload(event)) for event in done.events] == [
        ("onProductCreated", {"SellerSkus": ["A", "B"]})
    ]
    assert [one.state for one in done.changes] == ["active pending", "inactive pending"]
    assert (done.body.processed, done.body.failed, done.body.records) == (2, 0, ())


@pytest.mark.parametrize(
    ("action", "record", "says"),
    [
        ("ProductCreate", rec("", Name="a"), "empty"),
        ("ProductCreate", rec("A", Name="a"), "exists"),
        ("ProductCreate", rec("N"), "Name"),
        ("ProductCreate", rec("N", Name="a", Status="deleted"), "deleted"),
        ("ProductCreate", rec("N", Name="a", Status="ok"), "none of"),
        ("ProductCreate", rec("N" * 201, Name="a"), "200"),
        ("ProductUpdate", rec("N"), "does not exist"),
        ("ProductUpdate", rec("A", Status="deleted"), "ProductRemove"),
        ("ProductUpdate", rec("D", Name="x"), "bring it back"),
        ("ProductRemove", rec("N"), "does not exist"),
        ("ProductRemove", rec("D"), "already"),
        ("Image", rec("A"), "empty"),
        ("Image", rec("D", Image="https://x/1.png"), "deleted"),
        ("Image", rec("A", Image="ftp://x/1.png"), "not a URL"),
        ("Image", Record("A", tuple(Element("Image", "https://x/") for _ in range(9))), "8"),
    ],
)
def test_a_record_that_cannot_be_done_changes_nothing(
    action: str, record: Record, says: str
) -> None:
    done = run(action, [record], product("A"), product("D", state="deleted approved"))
    assert done.changes == ()
    assert done.events == ()
    assert done.body.failed == 1
    assert says in done.body.errors[0].message


def test_the_second_of_one_sku_is_left_out_with_a_warning() -> None:
    done = run("ProductCreate", [rec("A", Name="a"), rec("A", Name="b")])
    assert len(done.changes) == 1
    assert [warning.sku for warning in done.body.warnings] == ["A"]
    assert done.body.failed == 0


def test_an_update_keeps_what_it_does_not_name() -> None:
    before = product("A", {"Name": "a", "Price": "1.00"})
    done = run("ProductUpdate", [rec("A", Price="2.00")], before)
    body = products.body_of(done.changes[0])
    assert (body.text("Name"), body.text("Price")) == ("a", "2.00")
    assert payload(done.events[0]) == {"SellerSkus": ["A"]}


def test_an_update_that_changes_nothing_is_a_warning_and_no_event() -> None:
    done = run("ProductUpdate", [rec("A", Name="A")], product("A"))
    assert (done.changes, done.events) == ((), ())
    assert done.body.warnings[0].sku == "A"


def test_what_was_removed_comes_back_by_a_status() -> None:
    removed = run("ProductRemove", [rec("A")], product("A"))
    assert [event.event_type for event in removed.events] == ["onProductUpdated"]
    back = run("ProductUpdate", [rec("A", Status="active")], removed.changes[0])
    assert products.states_of(back.changes[0])[0] is ProductStatus.ACTIVE


def test_quality_control_tells_of_what_it_changed_alone() -> None:
    approved = product("B", state="active approved")
    changes, events = products.judged([product("A"), approved], QcStatus.APPROVED)
    fits(events)
    assert [one.key for one in changes] == ["A"]
    assert [payload(event) for event in events] == [{"SellerSkus": ["A"]}]
    assert products.judged([approved], QcStatus.APPROVED) == ((), ())


# -- orders -----------------------------------------------------------------------------


def new_order(count: int) -> Order:
    made = items.placed(
        3,
        190,
        item_numbers=range(1, count + 1),
        lines=[Line(sku=f"S-{number}", price="0.10") for number in range(count)],
        buyer=Buyer(),
        now=NOW,
    )
    assert [payload(event) for event in made.events] == [{"OrderId": 190}]
    return Order(made.changes[0], made.changes[1:])


class Trade(RuleBasedStateMachine):
    """One order of four items, moved in every way by everyone."""

    def __init__(self) -> None:
        super().__init__()
        self.order = new_order(4)
        self.told: list[Event] = []

    @rule(
        wanted=st.dictionaries(st.integers(1, 4), st.sampled_from(ItemStatus), max_size=4),
        actor=st.sampled_from(Actor),
    )
    def move(self, wanted: dict[int, ItemStatus], actor: Actor) -> None:
        self.apply(wanted, actor)

    @precondition(lambda self: any(self.exits(number) for number in range(1, 5)))
    @rule(data=st.data())
    def legal(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from([n for n in range(1, 5) if self.exits(n)]))
        move = data.draw(st.sampled_from(self.exits(number)))
        before = len(self.told)
        self.apply({number: move.target}, min(move.actors))
        assert len(self.told) == before + 1

    def apply(self, targets: dict[int, ItemStatus], actor: Actor) -> None:
        before = {item.number: item.state for item in self.order.items}
        allowed = all(
            target == before[number]
            or any(move.target is target and actor in move.actors for move in self.exits(number))
            for number, target in targets.items()
        )
        try:
            moved = items.moved(self.order, targets, actor)
        except MoveRefusedError:
            assert not allowed
            return
        assert allowed
        changed = {number: to for number, to in targets.items() if before[number] != to}
        fits(moved.events)
        seen: dict[int, str] = {}
        for event in moved.events:
            content = payload(event)
            assert content["OrderId"] == 190
            numbers = content["OrderItemIds"]
            assert isinstance(numbers, list)
            assert numbers == sorted(numbers)
            seen |= dict.fromkeys(numbers, str(content["NewStatus"]))
        assert seen == changed
        assert len(moved.events) == len(set(changed.values()))
        assert (moved.changes == ()) == (not changed)
        after = {one.number: one for one in moved.changes if one.kind == items.ITEM}
        assert after.keys() == changed.keys()
        if changed:
            self.order = Order(
                moved.changes[0],
                tuple(after.get(item.number, item) for item in self.order.items),
            )
        self.told += moved.events

    def exits(self, number: int) -> tuple[Move[ItemStatus], ...]:
        return ITEMS.exits(items.STATUSES[self.order.items[number - 1].state])

    @invariant()
    def the_order_says_what_its_items_say(self) -> None:
        assert self.order.order.state == items.statuses_of(self.order.items)


Trade.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestTrade = Trade.TestCase


def test_prices_add_up_exactly() -> None:
    assert items.order_body(new_order(3).order).price == "0.30"
