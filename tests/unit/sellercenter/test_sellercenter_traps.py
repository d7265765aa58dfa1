"""Each trap of the documents that Seller Center holds, by its number, in the living marketplace."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from marketbell.dialects.sellercenter import SCHEDULE, ItemStatus
from marketbell.marketplace.machine import Actor
from marketbell.marketplace.sellercenter import items, runs, trade
from marketbell.marketplace.sellercenter.actions.table import ACTIONS
from marketbell.marketplace.sellercenter.actions.webhooks import ALIASES, webhooks_of
from marketbell.marketplace.sellercenter.feeds import Record
from marketbell.marketplace.sellercenter.items import Line
from marketbell.marketplace.sellercenter.products import QcStatus
from marketbell.marketplace.sellercenter.seller import Seller
from marketbell.model import Outcome
from marketbell.testing import Answer, FakeClock, TestReceiver
from support.selling import Stall

A = Line(sku="A-1", name="Lamp", price="10.00")
S = ItemStatus


async def hooked(shop: Stall, url: str, *aliases: str) -> str:
    """A webhook made over the API; its id."""
    events = "".join(f"<Event>{alias}</Event>" for alias in aliases or ALIASES)
    escaped = url.replace("&", "&amp;")
    answer = await shop.call(
        "CreateWebhook",
        f"<Request><Webhook><CallbackUrl>{escaped}</CallbackUrl><Events>{events}</Events>"
        "</Webhook></Request>",
    )
    found: str = answer["Body"]["Webhook"]["WebhookId"]
    return found


def bodies(receiver: TestReceiver) -> list[Any]:
    return [msgspec.json.decode(one.body) for one in receiver.requests]


async def created(seller: Seller, *skus: str) -> str:
    records = [record(sku) for sku in skus]
    feed = await runs.create_feed(seller, "ProductCreate", records)
    await runs.run_feed(seller, feed)
    return feed


def record(sku: str) -> Record:
    return msgspec.json.decode(
        msgspec.json.encode({"sku": sku, "fields": [{"name": "Name", "value": sku}]}), type=Record
    )


async def everything(shop: Stall) -> None:
    """Let every kind of event happen once."""
    feed = await created(shop.seller, "S-1", "S-2")
    await runs.run_feed(
        shop.seller, await runs.create_feed(shop.seller, "ProductRemove", [record("S-2")])
    )
    assert feed
    await runs.judge_products(shop.seller, ["S-1"], QcStatus.APPROVED)
    await runs.update_metrics(shop.seller)
    await runs.update_statistics(shop.seller)
    number = await trade.place_order(shop.seller, [A, A])
    await trade.move_order(shop.seller, number, S.READY_TO_SHIP, Actor.SELLER)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer(status=200), Outcome.ACCEPTED),
        (Answer(status=201), Outcome.REJECTED),
        (Answer(status=204), Outcome.REJECTED),
        (Answer(status=302, headers=(("Location", "/elsewhere"),)), Outcome.REJECTED),
    ],
)
async def test_trap_07_only_200_is_a_success_and_no_redirect_is_followed(
    shop: Stall, answer: Answer, outcome: Outcome
) -> None:
    async with TestReceiver((answer,)) as receiver:
        await hooked(shop, receiver.url)
        await trade.place_order(shop.seller, [A])
        await receiver.wait_for(1)
        await shop.plane.settled()
        (endpoint,) = await webhooks_of(shop.seller)
        (attempt,) = await shop.plane.attempts(endpoint)
    assert attempt.outcome is outcome
    assert len(receiver.requests) == 1


async def test_trap_15_the_field_is_order_id(shop: Stall) -> None:
    await trade.place_order(shop.seller, [A])
    ((_, payload),) = await shop.told()
    assert list(payload) == ["OrderId"]


async def test_trap_16_ids_are_numbers_in_callbacks_and_strings_in_the_api(shop: Stall) -> None:
    async with TestReceiver() as receiver:
        await hooked(shop, receiver.url)
        number = await trade.place_order(shop.seller, [A])
        await trade.move_order(shop.seller, number, S.CANCELED, Actor.BUYER)
        await receiver.wait_for(2)
    payloads = [body["payload"] for body in bodies(receiver)]
    assert {type(payload["OrderId"]) for payload in payloads} == {int}
    ids = [one for payload in payloads for one in payload.get("OrderItemIds", [])]
    assert {type(one) for one in ids} == {int}
    answer = await shop.call("GetMultipleOrderItems", OrderIdList=f"[{number}]")
    assert leaves(answer) == {str}


def leaves(value: Any) -> set[type]:
    if isinstance(value, dict):
        return set().union(*(leaves(one) for one in value.values()))
    if isinstance(value, list):
        return set().union(*(leaves(one) for one in value))
    return {type(value)}


async def test_trap_17_metrics_can_be_subscribed_to(shop: Stall) -> None:
    async with TestReceiver() as receiver:
        await hooked(shop, receiver.url, "onMetricsUpdated")
        await runs.update_metrics(shop.seller)
        await receiver.wait_for(1)
    assert receiver.requests[0].body == b'{"event":"onMetricsUpdated","payload":{}}'


async def test_trap_18_an_empty_payload_is_an_object(shop: Stall) -> None:
    async with TestReceiver() as receiver:
        await hooked(shop, receiver.url)
        await runs.update_statistics(shop.seller)
        await receiver.wait_for(1)
    assert receiver.requests[0].body == b'{"event":"onStatisticsUpdated","payload":{}}'


async def test_trap_19_the_list_of_statuses_is_never_sent(shop: Stall) -> None:
    await everything(shop)
    assert all("Statuses" not in payload for _, payload in await shop.told())


async def test_trap_20_the_slipped_table_heading_means_nothing(shop: Stall) -> None:
    """A payload of product events has SellerSkus and nothing else."""
    await everything(shop)
    payloads = [payload for name, payload in await shop.told() if name.startswith("onProduct")]
    assert len(payloads) == 3
    assert all(list(payload) == ["SellerSkus"] for payload in payloads)


@pytest.mark.parametrize("action", ["UpdateStock", "UpdatePrice"])
async def test_trap_21_other_feeds_are_silent(shop: Stall, action: str) -> None:
    feed = await runs.create_feed(shop.seller, action, [record("S")])
    await runs.run_feed(shop.seller, feed)
    assert await shop.told() == []


async def test_trap_21_only_a_finished_feed_is_told_of(shop: Stall) -> None:
    finished = await created(shop.seller, "S")
    canceled = await runs.create_feed(shop.seller, "Image", [record("S")])
    await runs.cancel_feed(shop.seller, canceled)
    broken = await runs.create_feed(shop.seller, "Image", [record("S")])
    await runs.start_feed(shop.seller, broken)
    await runs.fail_feed(shop.seller, broken, "no")
    completed = [one for name, one in await shop.told() if name == "onFeedCompleted"]
    assert completed == [{"Feed": finished}]


async def test_trap_22_there_are_eleven_statuses_and_processing_is_one(shop: Stall) -> None:
    number = await trade.place_order(shop.seller, [A])
    await trade.move_order(shop.seller, number, S.PROCESSING, Actor.SYSTEM)
    assert len(items.ITEMS.states) == 11
    assert (await shop.told())[-1][1]["NewStatus"] == "processing"


async def test_trap_23_an_unknown_alias_is_99(shop: Stall) -> None:
    body = (
        "<Request><Webhook><CallbackUrl>http://127.0.0.1:9999/</CallbackUrl>"
        "<Events><Event>onSale</Event></Events></Webhook></Request>"
    )
    answer = await shop.call("CreateWebhook", body)
    assert answer["Head"]["ErrorCode"] == "99"
    assert answer["Head"]["ErrorMessage"].startswith("E099: ")


async def test_trap_24_and_25_thirty_days_of_failures_by_the_table_of_minutes(shop: Stall) -> None:
    clock = shop.plane.clock
    assert isinstance(clock, FakeClock)
    async with TestReceiver((Answer(status=500),)) as receiver:
        await hooked(shop, receiver.url, "onOrderCreated")
        started = clock.now()
        await trade.place_order(shop.seller, [A])
        await shop.plane.settled()
        await shop.plane.pass_time(31 * 86_400_000)
        (endpoint,) = await webhooks_of(shop.seller)
        attempts = await shop.plane.attempts(endpoint)
    assert len(receiver.requests) == len(attempts) == 38
    minutes = [(one.started_at - started) // 60_000 for one in attempts]
    assert minutes[:10] == [0, 1, 6, 16, 46, 106, 226, 526, 1_126, 2_566]
    assert minutes[-1] == 42_886
    assert len({one.body for one in receiver.requests}) == 1
    assert SCHEDULE.horizon == 30 * 86_400_000


async def test_trap_26_a_callback_has_no_fields_and_no_headers_of_ours(shop: Stall) -> None:
    async with TestReceiver() as receiver:
        await hooked(shop, receiver.url)
        await everything(shop)
        await receiver.wait_for(10)
        await shop.plane.settled()
    for request in receiver.requests:
        assert list(msgspec.json.decode(request.body)) == ["event", "payload"]
        names = {name.lower() for name, _ in request.headers}
        allowed = {"host", "content-type", "content-length", "user-agent", "accept",
                   "accept-encoding", "connection"}  # fmt: skip
        assert names <= allowed


async def test_trap_27_each_webhook_has_a_delivery_with_its_own_clock(shop: Stall) -> None:
    async with TestReceiver((Answer(status=500),)) as bad, TestReceiver() as good:
        for receiver in (bad, good):
            await hooked(shop, receiver.url, "onOrderCreated")
        await trade.place_order(shop.seller, [A])
        await shop.plane.settled()
        await shop.plane.pass_time(6 * 60_000)
        assert (len(bad.requests), len(good.requests)) == (3, 1)


async def test_trap_28_a_deleted_webhook_is_called_no_more(shop: Stall) -> None:
    async with TestReceiver((Answer(status=500),)) as receiver:
        made = await hooked(shop, receiver.url, "onOrderCreated")
        await trade.place_order(shop.seller, [A])
        await shop.plane.settled()
        await shop.call("DeleteWebhook", f"<Request><Webhook>{made}</Webhook></Request>")
        await shop.plane.pass_time(2 * 86_400_000)
        assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("events", "number"),
    [("", "89"), ("<Event/>", "89"), ("<Event>onordercreated</Event>", "99")],
)
async def test_trap_29_events_are_there_and_matched_letter_by_letter(
    shop: Stall, events: str, number: str
) -> None:
    body = (
        "<Request><Webhook><CallbackUrl>http://127.0.0.1:9999/</CallbackUrl>"
        f"<Events>{events}</Events></Webhook></Request>"
    )
    assert await shop.refused("CreateWebhook", body) == number
    assert await webhooks_of(shop.seller) == ()


async def test_trap_30_one_event_for_each_run_with_all_its_skus(shop: Stall) -> None:
    await created(shop.seller, "S-1", "S-2", "S-3", "S-4")
    products = [one for name, one in await shop.told() if name == "onProductCreated"]
    assert products == [{"SellerSkus": ["S-1", "S-2", "S-3", "S-4"]}]


async def test_trap_31_one_event_for_each_new_status_with_the_changed_ids_alone(
    shop: Stall,
) -> None:
    number = await trade.place_order(shop.seller, [A, A, A, A])
    order = await trade.order_of(shop.seller, number)
    one, two, three, four = (item.number for item in order.items)
    await trade.move_items(
        shop.seller,
        number,
        {four: S.CANCELED, one: S.PROCESSING, two: S.CANCELED, three: S.PENDING},
        Actor.SYSTEM,
    )
    changed = [payload for name, payload in await shop.told() if name != "onOrderCreated"]
    assert changed == [
        {"OrderId": number, "OrderItemIds": [two, four], "NewStatus": "canceled"},
        {"OrderId": number, "OrderItemIds": [one], "NewStatus": "processing"},
    ]


async def test_trap_32_no_dtd_is_read_and_a_bare_ampersand_reaches_the_callback(
    shop: Stall,
) -> None:
    dtd = '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/hostname">]><Request>&x;</Request>'
    assert await shop.refused("CreateWebhook", dtd) == "5"
    async with TestReceiver() as receiver:
        url = f"{receiver.url}hook?company=7&secret=a%2Fb"
        body = (
            f"<Request><Webhook><CallbackUrl>{url}</CallbackUrl>"
            "<Events><Event>onOrderCreated</Event></Events></Webhook></Request>"
        )
        await shop.call("CreateWebhook", body)
        assert url.replace("&", "&amp;") in await shop.xml("GetWebhooks")
        await trade.place_order(shop.seller, [A])
        (request,) = await receiver.wait_for(1)
    assert request.target == "/hook?company=7&secret=a%2Fb"


@pytest.mark.parametrize(
    "url",
    [
        "http://public.example/hook",
        "https://169.254.169.254/latest/",
        "https://192.168.1.1/",
        "https://user:secret@public.example/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
    ],
)
async def test_trap_33_a_callback_url_is_guarded(shop: Stall, url: str) -> None:
    body = (
        f"<Request><Webhook><CallbackUrl>{url}</CallbackUrl>"
        "<Events><Event>onOrderCreated</Event></Events></Webhook></Request>"
    )
    assert await shop.refused("CreateWebhook", body) == "98"


async def test_trap_34_an_old_call_is_not_taken_again(shop: Stall) -> None:
    clock = shop.plane.clock
    assert isinstance(clock, FakeClock)
    signed = shop.signed("GetWebhooks")
    assert "SuccessResponse" in (await shop.send("GET", signed)).text
    clock.advance(15 * 60_000 + 1)
    assert "<ErrorCode>3</ErrorCode>" in (await shop.send("GET", signed)).text


async def test_trap_35_every_action_wants_a_good_key(shop: Stall) -> None:
    for name, action in ACTIONS.items():
        signed = shop.signed(name, Signature="0" * 64)
        answer = await shop.send(min(action.methods), signed, "<Request/>")
        assert "<ErrorCode>7</ErrorCode>" in answer.text, name


def test_every_trap_of_seller_center_is_here() -> None:
    text = Path(__file__).read_text()
    named = set(map(int, re.findall(r"def test_trap_(\d+)", text)))
    named |= set(map(int, re.findall(r"def test_trap_\d+_and_(\d+)", text)))
    assert named == {7, *range(15, 36)}
