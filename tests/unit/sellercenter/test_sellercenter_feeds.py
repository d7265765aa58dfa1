"""Feeds and products of Seller Center over its API, and the runs that work feeds off."""

from __future__ import annotations

import base64
import uuid
from typing import Any

import pytest

from marketbell.errors import MoveRefusedError, NotFoundError
from marketbell.marketplace.sellercenter import runs
from marketbell.marketplace.sellercenter.products import QcStatus
from marketbell.testing import FakeClock
from support.selling import Stall, neighbour

DAY = 86_400_000


def product(sku: str, **fields: str) -> str:
    inner = "".join(f"<{name}>{text}</{name}>" for name, text in fields.items())
    return f"<Product><SellerSku>{sku}</SellerSku>{inner}</Product>"


def request(*parts: str) -> str:
    return f"<Request>{''.join(parts)}</Request>"


async def make(shop: Stall, action: str, *parts: str) -> str:
    answer = await shop.call(action, request(*parts))
    assert answer["Head"]["ResponseType"] == answer["Body"] == "", answer
    found: str = answer["Head"]["RequestId"]
    return found


async def status(shop: Stall, feed: str) -> dict[str, Any]:
    answer = await shop.call("FeedStatus", FeedID=feed)
    assert answer["Head"]["RequestParameters"] == {"FeedID": feed}
    found: dict[str, Any] = answer["Body"]["FeedDetail"]
    return found


async def stocked(shop: Stall, *skus: str) -> None:
    parts = [product(sku, Name=f"Name of {sku}", Quantity="3") for sku in skus]
    await runs.run_feed(shop.seller, await make(shop, "ProductCreate", *parts))


def many(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [found] if found else []


async def skus(shop: Stall, **parameters: str) -> list[str]:
    body = (await shop.call("GetProducts", **parameters))["Body"]
    return [one["SellerSku"] for one in many(body["Products"] and body["Products"]["Product"])]


async def test_a_feed_from_post_to_product(shop: Stall) -> None:
    feed = await make(
        shop, "ProductCreate", product("A", Name="Lamp &amp; shade"), product("B"), product("A")
    )
    assert str(uuid.UUID(feed)) == feed
    detail = await status(shop, feed)
    assert (detail["Status"], detail["Source"], detail["UpdatedDate"]) == ("Queued", "api", "")
    await runs.start_feed(shop.seller, feed)
    assert (await status(shop, feed))["Status"] == "Processing"
    await runs.finish_feed(shop.seller, feed)
    detail = await status(shop, feed)
    assert (detail["Status"], detail["Action"]) == ("Finished", "ProductCreate")
    counts = (detail["TotalRecords"], detail["ProcessedRecords"], detail["FailedRecords"])
    assert counts == ("3", "3", "1")
    assert detail["FeedErrors"]["Error"] == {
        "Code": "0", "Message": "Field Name cannot be empty", "SellerSku": "B"
    }  # fmt: skip
    assert detail["FeedWarnings"]["Warning"]["SellerSku"] == "A"
    assert detail["FailureReports"]["MimeType"] == "text/csv"
    assert base64.b64decode(detail["FailureReports"]["File"]).startswith(b'"Error";"Warning"')
    assert await shop.told() == [
        ("onFeedCreated", {"Feed": feed}),
        ("onProductCreated", {"SellerSkus": ["A"]}),
        ("onFeedCompleted", {"Feed": feed}),
    ]
    answer = await shop.call("GetProducts")
    assert answer["Body"]["Products"]["Product"]["Name"] == "Lamp & shade"


async def test_a_run_that_was_broken_off_is_taken_up_again(shop: Stall) -> None:
    feed = await make(shop, "ProductCreate", product("A", Name="a"))
    await runs.start_feed(shop.seller, feed)
    assert await runs.unfinished_feeds(shop.seller) == (feed,)
    await runs.run_feed(shop.seller, feed)
    assert await runs.unfinished_feeds(shop.seller) == ()
    assert [name for name, _ in await shop.told()].count("onFeedCompleted") == 1
    again = await runs.finish_feed(shop.seller, feed)
    assert again.processed == 1
    assert [name for name, _ in await shop.told()].count("onFeedCompleted") == 1


async def test_update_remove_and_images(shop: Stall) -> None:
    await stocked(shop, "A", "B", "C")
    told = len(await shop.told())
    images = "".join(f"<Image>https://img.example/{number}.png</Image>" for number in range(2))
    for action, part in (
        ("ProductUpdate", product("A", Price="9.99")),
        (
            "Image",
            f"<ProductImage><SellerSku>B</SellerSku><Images>{images}</Images></ProductImage>",
        ),
        ("ProductRemove", product("C")),
    ):
        await runs.run_feed(shop.seller, await make(shop, action, part))
    names = [name for name, _ in (await shop.told())[told:]]
    assert names == ["onFeedCreated", "onProductUpdated", "onFeedCompleted"] * 3
    found = many((await shop.call("GetProducts"))["Body"]["Products"]["Product"])
    assert [(one["SellerSku"], one["Status"], one["Price"]) for one in found] == [
        ("A", "active", "9.99"), ("B", "active", ""), ("C", "deleted", "")
    ]  # fmt: skip
    assert found[1]["MainImage"] == "https://img.example/0.png"
    assert len(found[1]["Images"]["Image"]) == 2
    assert found[0]["Images"] == ""


async def test_filters_of_products(shop: Stall) -> None:
    await stocked(shop, "A", "B", "C", "D")
    await runs.judge_products(shop.seller, ["A", "B"], QcStatus.APPROVED)
    await runs.judge_products(shop.seller, ["C"], QcStatus.REJECTED)
    await runs.run_feed(
        shop.seller, await make(shop, "ProductUpdate", product("B", Status="inactive"))
    )
    await runs.run_feed(shop.seller, await make(shop, "ProductUpdate", product("D", Quantity="0")))
    assert await skus(shop) == ["A", "B", "C", "D"]
    assert await skus(shop, Filter="live") == ["A"]
    assert await skus(shop, Filter="inactive") == ["B"]
    assert await skus(shop, Filter="rejected") == ["C"]
    assert await skus(shop, Filter="pending") == ["D"]
    assert await skus(shop, Filter="deleted") == []
    assert await skus(shop, Filter="sold-out") == ["D"]
    assert await skus(shop, Filter="image-missing", Limit="2", Offset="1") == ["B", "C"]
    assert await skus(shop, Search="of c") == ["C"]
    assert await skus(shop, SkuSellerList='["D","A","Z"]') == ["A", "D"]
    assert await skus(shop, Limit="2", Offset="1") == ["B", "C"]
    assert await skus(shop, CreatedAfter="2030-01-01") == []
    assert await skus(await neighbour(shop)) == []


@pytest.mark.parametrize(
    ("parameters", "number"),
    [
        ({"Limit": "0"}, "19"),
        ({"Limit": "1001"}, "19"),
        ({"Offset": "-1"}, "14"),
        ({"Filter": "every"}, "36"),
        ({"CreatedAfter": "soon"}, "17"),
        ({"SkuSellerList": "A,B"}, "5"),
    ],
)
async def test_what_products_cannot_be_asked_for(
    shop: Stall, parameters: dict[str, str], number: str
) -> None:
    assert await shop.refused("GetProducts", **parameters) == number


@pytest.mark.parametrize(
    ("body", "number"),
    [
        ("<Request/>", "1000"),
        ("<Request><Item/></Request>", "1000"),
        (request(*[product("A")] * 1_001), "11"),
        ("no XML", "5"),
        ("", "30"),
    ],
)
async def test_what_makes_no_feed(shop: Stall, body: str, number: str) -> None:
    assert await shop.refused("ProductCreate", body, method="POST") == number
    assert await shop.told() == []


async def test_a_feed_too_large_to_parse_in_passing(shop: Stall) -> None:
    parts = [product(f"S-{number}", Name="x" * 100) for number in range(1_000)]
    feed = await make(shop, "ProductCreate", *parts)
    await runs.run_feed(shop.seller, feed)
    told = dict(await shop.told())
    assert len(told["onProductCreated"]["SellerSkus"]) == 1_000
    assert len(await skus(shop, Filter="image-missing", Offset="990")) == 10
    await stocked(shop, "T-1", "T-2")
    assert await skus(shop, Search="of t-2") == ["T-2"]


async def test_canceling(shop: Stall) -> None:
    feed = await make(shop, "ProductCreate", product("A", Name="a"))
    answer = await shop.call("FeedCancel", method="POST", FeedID=feed)
    assert answer["Head"]["RequestParameters"] == {"FeedID": feed}
    assert (await status(shop, feed))["Status"] == "Canceled"
    with pytest.raises(MoveRefusedError):
        await runs.run_feed(shop.seller, feed)
    assert [name for name, _ in await shop.told()] == ["onFeedCreated"]
    running = await make(shop, "ProductCreate", product("A", Name="a"))
    await runs.start_feed(shop.seller, running)
    assert await shop.refused("FeedCancel", FeedID=running) == "13"
    assert await shop.refused("FeedCancel", FeedID=str(uuid.uuid4())) == "12"
    assert await shop.refused("FeedCancel") == "1"
    assert await (await neighbour(shop)).refused("FeedCancel", FeedID=running) == "12"


async def test_an_error_is_shown_and_not_told(shop: Stall) -> None:
    feed = await make(shop, "ProductCreate", product("A", Name="a"))
    with pytest.raises(MoveRefusedError):
        await runs.fail_feed(shop.seller, feed, "too early")
    await runs.start_feed(shop.seller, feed)
    await runs.fail_feed(shop.seller, feed, "the category is gone")
    detail = await status(shop, feed)
    assert detail["Status"] == "Error"
    assert detail["FeedErrors"]["Error"]["Message"] == "the category is gone"
    assert [name for name, _ in await shop.told()] == ["onFeedCreated"]
    assert await skus(shop) == []


async def test_lists_and_counts(shop: Stall) -> None:
    assert (await shop.call("FeedList"))["Body"] == ""
    clock = shop.plane.clock
    assert isinstance(clock, FakeClock)
    made = []
    for name in "ABC":
        made.append(await make(shop, "ProductCreate", product(name, Name="n")))
        clock.advance(60_000)
    await runs.run_feed(shop.seller, made[0])
    await runs.cancel_feed(shop.seller, made[1])
    answer = await shop.call("FeedList")
    assert [feed["Feed"] for feed in answer["Body"]["Feed"]] == made[::-1]
    counts = (await shop.call("FeedCount"))["Body"]["FeedCount"]
    assert counts == {
        "Total": "3", "Queued": "1", "Processing": "0", "Finished": "1", "Canceled": "1"
    }  # fmt: skip

    async def page(**parameters: str) -> list[str]:
        body = (await shop.call("FeedOffsetList", **parameters))["Body"]
        return [feed["Feed"] for feed in many(body and body["Feed"])]

    assert await page() == made[::-1]
    assert await page(Status="Finished") == made[:1]
    assert await page(Offset="1", PageSize="1") == [made[1]]
    after = "2026-01-01T00:01:00Z"
    assert await page(CreationDate=after) == [made[2], made[1]]
    assert await page(UpdatedDate="2026-01-01T00:03:00Z") == [made[1], made[0]]
    clock.advance(31 * DAY)
    assert await page() == []
    assert (await shop.call("FeedCount"))["Body"]["FeedCount"]["Total"] == "0"
    assert (await status(shop, made[0]))["Status"] == "Finished"


@pytest.mark.parametrize(
    ("parameters", "number"),
    [
        ({"Status": "Error"}, "13"),
        ({"Status": "queued"}, "13"),
        ({"Offset": "x"}, "14"),
        ({"PageSize": "0"}, "15"),
        ({"CreationDate": "x"}, "46"),
        ({"UpdatedDate": "x"}, "47"),
    ],
)
async def test_what_feeds_cannot_be_asked_for(
    shop: Stall, parameters: dict[str, str], number: str
) -> None:
    assert await shop.refused("FeedOffsetList", **parameters) == number


async def test_unknown_feeds_and_products(shop: Stall) -> None:
    assert await shop.refused("FeedStatus", FeedID=str(uuid.uuid4())) == "12"
    assert await shop.refused("FeedStatus") == "1"
    with pytest.raises(NotFoundError):
        await runs.judge_products(shop.seller, ["Z"], QcStatus.APPROVED)


async def test_the_throttle_is_the_sellers_own(shop: Stall) -> None:
    clock = shop.plane.clock
    assert isinstance(clock, FakeClock)
    for _ in range(50):
        await make(shop, "ProductRemove", product("A"))
    assert await shop.refused("ProductRemove", request(product("A"))) == "429"
    assert await shop.refused("ProductRemove", "no XML") == "5"
    await make(await neighbour(shop), "ProductRemove", product("A"))
    clock.advance(120_000)
    await make(shop, "ProductRemove", product("A"))
    assert await shop.refused("Image", "<Request><ProductImage/></Request>") == "429"
