"""
Generated calls of Ovoko's description in any order, against a model in plain dicts.

The model foretells every answer, what each list shows, every line of the log and every webhook.
The forms come from the description; only ids and logins are put in by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, ClassVar, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    multiple,
    rule,
    run_state_machine_as_test,
)
from schemathesis import GenerationMode

from e2e.conftest import LiveNode, live_node
from marketbell.errors import MoveRefusedError
from marketbell.testing import TestReceiver
from support.ovoko_calls import Trader, closed

SCHEMA: Final = schemathesis.openapi.from_dict(closed())
WORDS: Final = ["in_warehouse", "reserved", "sold", "returned", "written_off"]
SELLERS: Final = {
    "in_warehouse": {"reserved", "sold", "written_off"},
    "reserved": {"in_warehouse", "sold", "written_off"},
    "returned": {"in_warehouse", "written_off"},
}
"""What the seller may turn a part into; from all else into nothing."""
PLAIN: Final = (
    *("sell_date", "position", "notes", "place"),
    *("manufacturer_code", "visible_code", "other_code"),
)
NUMBERS: Final = ("category_id", "car_id", "quality")
EMPTY: Final[dict[str, Any]] = {
    "external_id": None,
    "id_bridge": None,
    "price": None,
    "original_currency": "EUR",
    "sell_price": None,
    "optional_codes": [],
    "photo": "",
    "photos": [],
    **dict.fromkeys(PLAIN, ""),
}
WHOLE: Final = {"from": "2020-01-01", "to": "2029-12-31"}


def forms(path: str) -> st.SearchStrategy[dict[str, Any]]:
    """Forms that the description allows, without a login."""
    cases = SCHEMA[path]["POST"].as_strategy(generation_mode=GenerationMode.POSITIVE)
    return cases.map(_without_login)


def _without_login(case: schemathesis.Case[Any]) -> dict[str, Any]:
    assert isinstance(case.body, dict)
    login = {"username", "password", "user_token"}
    return {name: value for name, value in case.body.items() if name not in login}


def several(values: list[str]) -> list[str]:
    return [value.strip() for value in values if value.strip()]


def said(form: dict[str, Any]) -> dict[str, Any] | None:
    """What a form says of a part; None if its photos contradict one another."""
    known: dict[str, Any] = {name: form[name] for name in NUMBERS if name in form}
    known |= {name: form[name].strip() for name in PLAIN if name in form}
    for name in ("price", "sell_price"):
        if name in form:
            text = form[name].strip().replace(",", ".")
            known[name] = Decimal(text) if text else None
    for name in ("external_id", "id_bridge"):
        if name in form:
            known[name] = form[name].strip() or None
    if "original_currency" in form:
        known["original_currency"] = form["original_currency"]
    if form.get("optional_codes[]"):
        known["optional_codes"] = several(form["optional_codes[]"])
    photo, photos = form.get("photo", "").strip(), several(form.get("photos[]", []))
    if photo or photos:
        photos = photos or [photo]
        if photo and photo != photos[0]:
            return None
        known |= {"photo": photos[0], "photos": photos}
    return known


def agreeing(form: dict[str, Any]) -> dict[str, Any]:
    """The form with one photo in both places, in most cases where it had two."""
    if form.get("photos[]") and "photo" in form and len(form["photo"]) % 4:
        return {**form, "photo": form["photos[]"][0]}
    return form


class Calls(RuleBasedStateMachine):
    """One seller, its parts and orders."""

    live: ClassVar[LiveNode]
    receiver: ClassVar[TestReceiver]
    reached: ClassVar[set[str]] = set()
    """What was come to: a walk that never gets there proves nothing."""

    parts = Bundle("parts")
    orders = Bundle("orders")

    def __init__(self) -> None:
        super().__init__()
        self.trader = Trader(self.live, self.receiver)
        self.known: dict[int, dict[str, Any]] = {}
        self.status: dict[int, str] = {}
        self.sold: dict[int, int] = {}
        self.order_status: dict[int, str] = {}
        self.returns: dict[int, tuple[int, str]] = {}
        self.back: dict[int, int] = {}
        """Part to the return that brought it back, until the seller decides."""
        self.parcels: dict[int, dict[str, Any]] = {}
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.log: list[tuple[str, int]] = []

    # -- what the model foretells

    def tell(self, kind: str, about: int, **data: Any) -> None:
        self.told.append((kind, data))
        self.log.append((kind, about))
        self.reached.add(kind)

    def moved(self, part: int, status: str) -> None:
        self.status[part] = status
        self.reached.add(status)
        self.tell(
            "part.status.changed",
            part,
            part_id=str(part),
            status=status,
            id_bridge=self.known[part]["id_bridge"],
            external_id=self.known[part]["external_id"],
        )

    def change(self, path: str, part: int, form: dict[str, Any], status: str | None) -> None:
        """A call that may change what is known of a part and its status: all of it or nothing."""
        answer = self.trader.call(path, {**form, "part_id": part})
        new = said(form)
        before = self.status[part]
        status = status or before
        legal = status == before or status in SELLERS.get(before, ())
        amended = {**self.known[part], **(new or {})}
        changes = amended != self.known[part]
        if new is None or not legal or (status == before == "written_off" and changes):
            assert answer["status_code"] == "R400", (before, status, form, answer)
            self.reached.add("refused")
            return
        assert answer == {"part_id": part, "msg": "OK", "status_code": "R200"}, (before, status)
        self.known[part] = amended
        if status != before:
            self.moved(part, status)
            back = self.back.pop(part, None)
            if back is not None:
                self.returns[back] = (self.returns[back][0], "Accepted")
                order = self.returns[back][0]
                self.tell("order.return.updated", back, return_id=str(back), order_id=str(order))
        elif changes:
            self.log.append(("part.updated", part))
            self.reached.add("part.updated")

    # -- the seller's calls

    @rule(target=parts, form=forms("/crm/importPart").map(agreeing), any_kind=st.integers(0, 3))
    def import_part(self, form: dict[str, Any], any_kind: int) -> MultipleResults[int] | int:
        if any_kind:
            # Three of four are for sale, else hardly any part is ever bought.
            form = {**form, "status": 0, "price": form.get("price") or "12,50"}
        answer = self.trader.call("/crm/importPart", form)
        new = said(form)
        if new is None:
            assert answer["status_code"] == "R400"
            return multiple()
        part: int = answer["part_id"]
        assert part not in self.known
        self.known[part] = {**EMPTY, **new}
        self.status[part] = WORDS[form["status"]]
        self.log.append(("part.imported", part))
        return part

    @rule(part=parts, form=forms("/crm/updatePart").map(agreeing))
    def update_part(self, part: int, form: dict[str, Any]) -> None:
        status = WORDS[form["status"]] if "status" in form else None
        self.change("/crm/updatePart", part, form, status)

    @rule(part=parts, form=forms("/crm/changePartStatus"))
    def change_part_status(self, part: int, form: dict[str, Any]) -> None:
        self.change("/crm/changePartStatus", part, form, WORDS[form["status"]])

    @rule(part=parts)
    def delete_part(self, part: int) -> None:
        self.change("/crm/deletePart", part, {}, "written_off")

    @rule(form=forms("/crm/updatePart"), far=st.integers(1_000_000, 2**31 - 1))
    def update_what_is_not_there(self, form: dict[str, Any], far: int) -> None:
        answer = self.trader.call("/crm/updatePart", {**form, "part_id": far})
        # A contradiction in the form is found first.
        assert answer["status_code"] == ("R404" if said(form) is not None else "R400")
        answer = self.trader.call("/crm/deletePart", {"part_id": far})
        assert answer == {"msg": "part_id not found", "status_code": "R400"}

    @rule(order=orders, form=forms("/crm/importPostData"))
    def import_post_data(self, order: int, form: dict[str, Any]) -> None:
        form = {**form, "order_id": order}
        answer = self.trader.call("/crm/importPostData", form)
        assert answer == {"order_id": order, "msg": "OK", "status_code": "R200"}
        if self.parcels.get(order) != form:
            self.log.append(("order.post_data", order))
        self.parcels[order] = form

    # -- buyers and couriers

    def for_sale(self, part: int) -> bool:
        price = self.known[part]["price"]
        return self.status[part] == "in_warehouse" and price is not None and price > 0

    @rule(target=orders, part=parts, blindly=st.integers(0, 3))
    def buy(self, part: int, blindly: int) -> MultipleResults[int] | int:
        if blindly:
            part = next((one for one in reversed(self.known) if self.for_sale(one)), part)
        buying = self.trader.market.buy(self.trader.application, [part])
        if not self.for_sale(part):
            with pytest.raises(MoveRefusedError):
                self.live.run(buying)
            return multiple()
        order = self.live.run(buying)
        self.sold[order], self.order_status[order] = part, "NEW"
        self.tell("order.created", order, order_id=str(order))
        self.moved(part, "sold")
        return order

    @rule(order=orders, status=st.sampled_from([0, 4]))
    def settle(self, order: int, status: int) -> None:
        """The seller decides on what came back."""
        part = self.sold[order]
        if part in self.back:
            self.change("/crm/changePartStatus", part, {"status": status}, WORDS[status])
            self.reached.add("Accepted")

    @rule(order=orders)
    def cancel(self, order: int) -> None:
        if self.order_status[order] == "NEW":
            self.live.run(self.trader.market.cancel_order(self.trader.application, order))
            self.order_status[order] = "CANCELLED"
            self.tell("order.cancelled", order, order_id=str(order))
            self.moved(self.sold[order], "in_warehouse")

    @rule(order=orders)
    def give_back(self, order: int) -> None:
        """The order arrives, and its part comes back."""
        if self.order_status[order] != "NEW":
            return
        run, market, seller = self.live.run, self.trader.market, self.trader.application
        part = self.sold[order]
        run(market.complete_order(seller, order))
        self.order_status[order] = "COMPLETED"
        self.log.append(("order.completed", order))
        back = run(market.open_return(seller, order, [part]))
        run(market.hand_in(seller, back))
        ids = {"return_id": str(back), "order_id": str(order)}
        self.tell("order.return.created", back, **ids)
        self.tell("order.return.updated", back, **ids)
        self.moved(part, "returned")
        self.returns[back] = (order, "Received")
        self.back[part] = back

    # -- what is shown

    @rule(part=parts)
    def get_part(self, part: int) -> None:
        record = self.trader.call("/get/part/{id}", id=part)["list"][0][0]
        known = dict(self.known[part])
        for name in ("price", "sell_price"):
            known[name] = None if known[name] is None else float(known[name])
        status = self.status[part]
        wanted = {"id": part, "status": WORDS.index(status), "status_name": status, **known}
        assert {name: record[name] for name in wanted} == wanted
        assert record.keys() - wanted.keys() == {"created_at", "updated_at"}

    @rule(form=forms("/v2/get/parts"), page=st.integers(1, 3), limit=st.integers(1, 5))
    def list_parts(self, form: dict[str, Any], page: int, limit: int) -> None:
        newest = sorted(self.known, reverse=True)
        answer = self.trader.call("/v2/get/parts", {"page": page, "limit": limit})
        assert [row["id"] for row in answer["list"]] == newest[(page - 1) * limit :][:limit]
        assert answer["pagination"] == {"page": page, "limit": limit, "total_count": len(newest)}
        form = {"external_ids[]": form.get("external_ids[]", [])}
        names = several(form.get("external_ids[]", []))
        if len(names) != 1 or "," not in names[0]:
            found = self.trader.call("/v2/get/parts", form)["pagination"]["total_count"]
            mine = [one for one in newest if self.known[one]["external_id"] in names]
            assert found == len(mine if names else newest)

    def teardown(self) -> None:
        try:
            self.check()
        finally:
            self.trader.close()

    def check(self) -> None:
        """Orders, returns, the log and the webhooks are as foretold."""
        call = self.trader.call
        rows = call("/get/orders/{from}/{to}", **WHOLE)["list"]
        assert {row["id"]: row["order_status"] for row in rows} == self.order_status
        assert {row["id"]: row["item_list"][0]["part_id"] for row in rows} == self.sold
        rows = call("/get/order_returns")["list"]
        assert {row["id"]: (row["order_id"], row["status"]) for row in rows} == self.returns
        for back in self.returns:
            record = call("/get/order_return/{id}", id=back)["list"][0][0]
            assert record in rows
        rows = call("/get/logs/{from}/{to}", **WHOLE)["list"]
        assert [(row["action"], row["item_list"]) for row in rows] == [
            (action, [about]) for action, about in self.log
        ]
        details = [(row["action"], json.loads(row["details"])) for row in rows if row["details"]]
        assert details == self.told
        assert sorted(map(repr, self.trader.heard())) == sorted(map(repr, self.told))


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[type[Calls]]:
    with live_node(tmp_path_factory.mktemp("node"), marketplaces=True) as live:
        Calls.live = live
        Calls.receiver = live.receiver()
        yield Calls


def walk(calls: type[Calls], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        calls,
        settings=settings(
            derandomize=examples < 10,
            # Shrinking takes a minute; the long run has that time.
            phases=[Phase.generate] if examples < 10 else [Phase.generate, Phase.shrink],
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_calls_do_what_the_model_foretells(calls: type[Calls]) -> None:
    walk(calls, examples=8, steps=40)
    assert calls.reached >= {"refused", "part.updated", "order.created", "returned"}


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_many_calls_do_what_the_model_foretells(calls: type[Calls]) -> None:
    walk(calls, examples=1_000, steps=80)
    assert calls.reached >= {
        *WORDS,
        *("refused", "part.updated", "order.cancelled", "order.return.created", "Accepted"),
    }
