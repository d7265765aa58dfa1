"""The traps of Ovoko's documents, each by its number in our list of them."""

from __future__ import annotations

import json
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from marketbell.dialects.base import AttemptStart
from marketbell.dialects.ovoko import SCHEDULE, Ovoko, PartStatus
from marketbell.errors import MoveRefusedError
from marketbell.marketplace.decision import Event
from marketbell.marketplace.machine import Actor
from marketbell.marketplace.ovoko import orders, parts, returns
from marketbell.marketplace.ovoko.orders import Buyer, OrderStatus
from marketbell.marketplace.ovoko.parts import Part
from marketbell.marketplace.ovoko.records import part_record, return_record
from marketbell.model import Message
from marketbell.store.base import Entity
from support.values import an_endpoint

NOW = 1_767_225_600_000
P = PartStatus


def entity(kind: str, number: int, state: str, body: object = None, **fields: Any) -> Entity:
    return Entity(
        **{
            "application_id": 1,
            "kind": kind,
            "number": number,
            "state": state,
            "body": msgspec.json.encode(body),
            "created_at": NOW,
            "updated_at": NOW,
            **fields,
        }
    )


def part(number: int, state: str = "in_warehouse", **known: Any) -> Entity:
    known = {"category_id": 1, "car_id": 1, "quality": 1, "price": 10, **known}
    return entity("part", number, state, msgspec.convert(known, Part, strict=False))


def sale(*numbers: int) -> tuple[Entity, list[Entity]]:
    """A completed order of new parts, and the parts."""
    order = entity("order", 90, OrderStatus.NEW)
    bought = [part(number) for number in numbers]
    (kept, *sold), _told = orders.placed(order, Buyer(), bought, range(1, len(numbers) + 1))
    ((kept,), _none) = orders.completed(kept, Actor.COURIER)
    return kept, list(sold)


def opened(order: Entity, *wanted: int, before: tuple[Entity, ...] = ()) -> orders.Changes:
    fresh = entity("return", 50, "New", parent=order.number)
    return returns.opened(
        fresh, order, before, wanted, reason="", numbers=range(1, len(wanted) + 1)
    )


def body(event: Event, dialect: Ovoko | None = None) -> dict[str, Any]:
    """An event as it is sent."""
    message = Message(
        id=1,
        public_id="msg_1",
        application_id=1,
        event_type=event.event_type,
        event_id=None,
        payload=msgspec.json.encode(event.payload),
        occurred_at=NOW,
        created_at=NOW,
        payload_expires_at=NOW,
    )
    endpoint = an_endpoint(url="https://x.example", created_at=NOW, updated_at=NOW)
    request = (dialect or Ovoko()).render(message, endpoint, AttemptStart(at=NOW, number=1))
    sent: dict[str, Any] = json.loads(request.body)
    return sent


def kinds(told: tuple[Event, ...]) -> list[str]:
    return [event.event_type for event in told]


def test_return_events_are_json_with_both_ids() -> None:
    """Trap 1: the document's sample lacks a comma; what is sent does not."""
    order, _sold = sale(1)
    _changes, (event,) = opened(order, 1)
    assert body(event)["event_data"] == {"return_id": "50", "order_id": "90"}


@pytest.mark.parametrize(("known", "sent"), [("b-1", "b-1"), (None, None)])
def test_id_bridge_is_sent_beside_external_id(known: str | None, sent: str | None) -> None:
    """Trap 2: deprecated and still sent; a flag drops it; it is never updated (see the face)."""
    event = parts.status_changed(part(1, id_bridge=known))
    assert body(event)["event_data"]["id_bridge"] == sent
    assert "id_bridge" not in body(event, Ovoko(id_bridge=False))["event_data"]


def test_no_external_id_is_null() -> None:
    """Trap 3: the key stays, with null; id_bridge may be set all the same."""
    data = body(parts.status_changed(part(1, id_bridge="b-1")))["event_data"]
    assert data == {
        "part_id": "1",
        "status": "in_warehouse",
        "id_bridge": "b-1",
        "external_id": None,
    }


def test_ids_are_strings_in_webhooks_and_integers_in_the_api() -> None:
    """Trap 4: by type, not only by value."""
    order, (sold,) = sale(13)
    (back,), (event,) = opened(order, 13)
    assert body(event)["event_data"] == {"return_id": "50", "order_id": "90"}
    assert body(parts.status_changed(sold))["event_data"]["part_id"] == "13"
    zone = ZoneInfo("Europe/Vilnius")
    assert part_record(sold, zone)["id"] == 13
    record = return_record(back, order, zone)
    assert (record["id"], record["order_id"]) == (50, 90)
    items: Any = record["order_return_items"]
    assert items[0]["part_id"] == 13


def test_the_timestamp_is_the_zones() -> None:
    """Trap 5: seconds with Vilnius' offset; the tests of the dialect show it on resends."""
    assert body(parts.status_changed(part(1)))["timestamp"] == "2026-01-01T02:00:00+02:00"


def test_three_resends() -> None:
    """Trap 6: 7, 35 and 175 seconds, then no more; the tests of delivery count them."""
    assert SCHEDULE.waits == (7_000, 35_000, 175_000)


def test_every_2xx_is_a_success() -> None:
    """Trap 7: any 2xx, and no redirect is followed."""
    accepted = Ovoko().accepted
    assert [status for status in range(100, 600) if accepted(status)] == list(range(200, 300))


def test_status_words_are_plain() -> None:
    """Trap 8: lower snake case, whatever quotes the document prints."""
    assert [status.value for status in PartStatus] == [
        "in_warehouse",
        "reserved",
        "sold",
        "sold_in_ebay",
        "sold_in_allegro",
        "returned",
        "written_off",
        "unknown_stock_status",
    ]


def test_who_may_sell() -> None:
    """Trap 9: the seller sells locally; only integrations sell in eBay and Allegro."""
    assert parts.turned(part(1), P.SOLD, Actor.SELLER)[0].state == "sold"
    for target in (P.SOLD_IN_EBAY, P.SOLD_IN_ALLEGRO):
        assert parts.turned(part(1), target, Actor.INTEGRATION)[0].state == target
        with pytest.raises(MoveRefusedError, match="Not the seller but the integration"):
            parts.turned(part(1), target, Actor.SELLER)


@pytest.mark.parametrize("actor", list(Actor))
@pytest.mark.parametrize("target", [status for status in PartStatus if status != "written_off"])
def test_written_off_is_for_good(target: PartStatus, actor: Actor) -> None:
    """Trap 10: terminal whatever the cause, and silent."""
    gone = part(1, "written_off")
    with pytest.raises(MoveRefusedError, match="A part that is written_off stays so"):
        parts.turned(gone, target, actor)
    assert parts.turned(gone, P.WRITTEN_OFF, actor) == (gone, ())


def test_an_open_return_changes_no_part() -> None:
    """Trap 11: the part is returned when the goods arrive, and only then."""
    order, sold = sale(1)
    changes, told = opened(order, 1)
    assert ([change.kind for change in changes], kinds(told)) == (
        ["return"],
        ["order.return.created"],
    )
    with pytest.raises(MoveRefusedError, match="Not the seller but the courier"):
        parts.turned(sold[0], P.RETURNED, Actor.SELLER)
    changes, told = returns.handed_in(changes[0], sold)
    assert [change.state for change in changes] == ["Received", "returned"]
    assert kinds(told) == ["order.return.updated", "part.status.changed"]


def test_a_second_part_joins_the_same_return() -> None:
    """Trap 12: the return keeps its id and grows; one event for each change."""
    order, _sold = sale(1, 2)
    (first,), _created = opened(order, 1)
    (joined,), told = opened(order, 2, before=(first,))
    assert joined.number == first.number
    assert returns.return_of(joined).part_ids == (1, 2)
    assert kinds(told) == ["order.return.updated"]
    assert opened(order, 1, 2, before=(joined,)) == ((), ())


def test_a_cancelled_order_gives_its_parts_back() -> None:
    """Trap 13: the order's event first, then each part's, by the system."""
    order = entity("order", 90, OrderStatus.NEW)
    (kept, *sold), told = orders.placed(order, Buyer(), [part(1), part(2)], range(1, 3))
    assert kinds(told) == ["order.created", "part.status.changed", "part.status.changed"]
    by_number = {one.number: one for one in sold}
    changes, told = orders.cancelled(kept, by_number, Actor.BUYER)
    assert kinds(told) == ["order.cancelled", "part.status.changed", "part.status.changed"]
    assert [change.state for change in changes] == ["CANCELLED", "in_warehouse", "in_warehouse"]
    assert all(parts.part_of(one).order_id == 0 for one in changes[1:])
    assert orders.cancelled(changes[0], by_number, Actor.BUYER) == ((), ())
    with pytest.raises(MoveRefusedError, match="Not the seller but the system"):
        parts.turned(sold[0], P.IN_WAREHOUSE, Actor.SELLER)


def test_the_table_is_the_documents() -> None:
    """Trap 14: nothing hides behind the empty heading; what the document lists is what there is."""
    leaves = {
        state: {arrow.target.value for arrow in parts.PARTS.exits(state)} for state in PartStatus
    }
    assert leaves[P.RESERVED] == {
        "in_warehouse",
        "sold",
        "written_off",
        "sold_in_ebay",
        "sold_in_allegro",
    }
    assert leaves[P.RETURNED] == {"in_warehouse", "written_off"}
    assert leaves[P.WRITTEN_OFF] == set()
    reach_returned = {arrow.source for arrow in parts.PARTS.moves if arrow.target == P.RETURNED}
    assert reach_returned == {P.SOLD}


@pytest.mark.parametrize(
    ("known", "state", "sold"),
    [
        ({"price": "0.01"}, "in_warehouse", True),
        ({"price": "0"}, "in_warehouse", False),
        ({"price": None}, "in_warehouse", False),
        ({"price": "5"}, "reserved", False),
        ({"price": "5"}, "unknown_stock_status", False),
    ],
)
def test_for_sale_is_in_the_warehouse_and_priced(
    known: dict[str, Any], state: str, sold: bool
) -> None:
    one = part(1, state, **known)
    assert parts.for_sale(one) is sold
    if not sold:
        with pytest.raises(MoveRefusedError, match="is not for sale"):
            orders.placed(entity("order", 90, "NEW"), Buyer(), [one], range(1, 2))


def test_a_return_of_a_stranger_or_too_early_is_refused() -> None:
    order, _sold = sale(1)
    with pytest.raises(MoveRefusedError, match="The part 2 is not of the order 90"):
        opened(order, 2)
    early = msgspec.structs.replace(order, state="NEW")
    with pytest.raises(MoveRefusedError, match="it is NEW, not COMPLETED"):
        opened(early, 1)


def test_a_cancelled_return_lets_the_buyer_think_again() -> None:
    order, _sold = sale(1)
    (first,), _created = opened(order, 1)
    (gone,), told = returns.cancelled(first, Actor.BUYER)
    assert kinds(told) == ["order.return.updated"]
    assert returns.cancelled(gone, Actor.BUYER) == ((), ())
    (_again,), told = opened(order, 1, before=(gone,))
    assert kinds(told) == ["order.return.created"]


def test_a_return_is_accepted_with_its_last_part() -> None:
    order, sold = sale(1, 2)
    (back,), _created = opened(order, 1, 2)
    (back, first, second), _told = returns.handed_in(back, sold)
    assert returns.handed_in(back, sold) == ((), ())
    with pytest.raises(MoveRefusedError, match="cannot become sold"):
        returns.settled(back, first, P.SOLD)
    assert returns.settled(back, first, P.RETURNED) == ((), ())
    (first, back), told = returns.settled(back, first, P.IN_WAREHOUSE)
    assert (first.state, back.state, kinds(told)) == (
        "in_warehouse",
        "Received",
        ["part.status.changed"],
    )
    (second, back), told = returns.settled(back, second, P.WRITTEN_OFF)
    assert (second.state, back.state) == ("written_off", "Accepted")
    assert kinds(told) == ["part.status.changed", "order.return.updated"]
