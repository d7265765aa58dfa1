"""Webhooks of Seller Center's API are the endpoints of the management API, both ways."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest

from marketbell.control import endpoints
from marketbell.control.endpoint_change import EndpointChange
from marketbell.control.tokens import Principal
from marketbell.marketplace.sellercenter.actions.webhooks import (
    ALIASES,
    ENTITIES,
    webhook_id,
    webhooks_of,
)
from marketbell.marketplace.sellercenter.seller import PROFILE_KEY
from marketbell.model import Endpoint
from marketbell.store.base import Page, Repeated
from support.plane import ORGANIZATION
from support.selling import Stall, neighbour, stall

OPERATOR = Principal(ORGANIZATION)
URL = "http://127.0.0.1:9999/hook?token=a&company=7"


def posted(url: str, *events: str) -> str:
    inner = "".join(f"<Event>{event}</Event>" for event in events)
    escaped = url.replace("&", "&amp;")
    return (
        f"<Request><Webhook><CallbackUrl>{escaped}</CallbackUrl>"
        f"<Events>{inner}</Events></Webhook></Request>"
    )


async def made(shop: Stall, url: str, *events: str) -> str:
    answer = await shop.call("CreateWebhook", posted(url, *(events or ("onOrderCreated",))))
    found: str = answer["Body"]["Webhook"]["WebhookId"]
    return found


async def listed(shop: Stall, **parameters: str) -> list[dict[str, Any]]:
    body = (await shop.call("GetWebhooks", **parameters))["Body"]
    found = body["Webhooks"]["Webhook"] if body["Webhooks"] else []
    return found if isinstance(found, list) else [found]


async def managed(shop: Stall) -> tuple[Endpoint, ...]:
    ref = shop.application.public_id
    return (await endpoints.listed(shop.services, OPERATOR, ref, Page())).data


async def test_a_webhook_made_here_is_an_endpoint(shop: Stall) -> None:
    made_id = await made(shop, URL, "onOrderCreated", "onFeedCompleted", "onOrderCreated")
    assert str(uuid.UUID(made_id)) == made_id
    (endpoint,) = await managed(shop)
    assert endpoint.url == URL
    assert endpoint.event_types == frozenset({"onOrderCreated", "onFeedCompleted"})
    assert endpoint.metadata == {"webhook-source": "api"}
    (webhook,) = await listed(shop)
    assert webhook == {
        "WebhookId": made_id,
        "CallbackUrl": URL,
        "WebhookSource": "api",
        "Events": {"Event": ["onFeedCompleted", "onOrderCreated"]},
    }


async def test_an_endpoint_made_there_is_a_webhook_of_source_web(shop: Stall) -> None:
    change = EndpointChange(url=URL, event_types=("onFeedCreated",))
    endpoint = await endpoints.create(shop.services, OPERATOR, shop.application.public_id, change)
    assert not isinstance(endpoint, Repeated)
    (webhook,) = await listed(shop)
    assert webhook["WebhookSource"] == "web"
    assert webhook["WebhookId"] == webhook_id(endpoint.public_id)
    assert webhook["Events"] == {"Event": "onFeedCreated"}
    body = f"<Request><Webhook>{webhook['WebhookId']}</Webhook></Request>"
    answer = await shop.call("DeleteWebhook", body)
    assert (answer["Head"]["ResponseType"], answer["Body"]) == ("", "")
    assert await managed(shop) == ()


async def test_an_endpoint_without_a_filter_shows_every_alias(shop: Stall) -> None:
    await endpoints.create(
        shop.services, OPERATOR, shop.application.public_id, EndpointChange(url=URL)
    )
    (webhook,) = await listed(shop)
    assert webhook["Events"] == {"Event": list(ALIASES)}


async def test_a_sellers_other_endpoints_are_no_webhooks(tmp_path: Path) -> None:
    async with stall(tmp_path, dialect="standard") as shop:
        ref = shop.application.public_id
        await endpoints.create(shop.services, OPERATOR, ref, EndpointChange(url=URL))
        assert await listed(shop) == []
        await made(shop, URL)
        assert [one["WebhookSource"] for one in await listed(shop)] == ["api"]
        (webhook,) = await webhooks_of(shop.seller)
        assert webhook.policy.dialect == "sellercenter"


async def test_some_can_be_asked_for(shop: Stall) -> None:
    ids = [await made(shop, f"{URL}{number}") for number in range(3)]
    assert [one["WebhookId"] for one in await listed(shop)] == ids
    quoted = f'["{ids[2]}","{ids[0].upper()}","{uuid.uuid4()}"]'
    assert [one["WebhookId"] for one in await listed(shop, WebhookIds=quoted)] == [ids[0], ids[2]]
    assert [one["WebhookId"] for one in await listed(shop, WebhookIds=f"[{ids[1]}]")] == [ids[1]]
    assert await listed(shop, WebhookIds="[]") == []
    assert [one["WebhookId"] for one in await listed(shop, WebhookIds=ids[2])] == [ids[2]]
    bare = f"{ids[0]}, {ids[1]}"
    assert [one["WebhookId"] for one in await listed(shop, WebhookIds=bare)] == ids[:2]
    assert await shop.refused("GetWebhooks", WebhookIds="[[1]]") == "5"
    assert await shop.refused("GetWebhooks", WebhookIds=f'["{ids[0]}"') == "5"


async def test_sellers_do_not_see_one_another(shop: Stall) -> None:
    made_id = await made(shop, URL)
    other = await neighbour(shop)
    assert await listed(other) == []
    body = f"<Request><Webhook>{made_id}</Webhook></Request>"
    assert await other.refused("DeleteWebhook", body) == "100"
    assert len(await listed(shop)) == 1


@pytest.mark.parametrize(
    ("body", "number"),
    [
        ("<Request/>", "89"),
        ("<Request><Webhook/></Request>", "89"),
        (
            "<Request><Webhook><CallbackUrl>http://127.0.0.1/</CallbackUrl></Webhook></Request>",
            "89",
        ),
        (posted("http://127.0.0.1:9999/"), "89"),
        (posted("http://127.0.0.1:9999/", "onSale"), "99"),
        (posted("http://example.com/hook", "onOrderCreated"), "98"),
        (posted("https://10.0.0.1/hook", "onOrderCreated"), "98"),
        (posted("ftp://example.com/hook", "onOrderCreated"), "98"),
        (posted("not a url", "onOrderCreated"), "98"),
    ],
)
async def test_what_is_no_webhook_is_refused_and_nothing_is_made(
    shop: Stall, body: str, number: str
) -> None:
    assert await shop.refused("CreateWebhook", body) == number
    assert await managed(shop) == ()


async def test_a_refused_url_is_told_with_its_reason(shop: Stall) -> None:
    answer = await shop.call("CreateWebhook", posted("https://10.0.0.1/", "onOrderCreated"))
    assert answer["Head"]["ErrorMessage"] == (
        'E098: Invalid Webhook Callback Url, "Given url is invalid"'
    )
    detail = answer["Body"]["ErrorDetail"]
    assert detail["Field"] == "CallbackUrl"
    assert "not public" in detail["Message"]


@pytest.mark.parametrize(
    ("body", "number"),
    [
        ("<Request/>", "89"),
        ("<Request><Webhook>7</Webhook></Request>", "97"),
        ("<Request><Webhook>00617ca6-c3f1-4a03-80ac-d4a48a710fc7</Webhook></Request>", "100"),
        ("", "30"),
    ],
)
async def test_what_cannot_be_deleted(shop: Stall, body: str, number: str) -> None:
    assert await shop.refused("DeleteWebhook", body, method="POST") == number


async def test_one_url_may_have_several_webhooks(shop: Stall) -> None:
    assert await made(shop, URL) != await made(shop, URL)


async def test_linio_refuses_a_url_in_use(tmp_path: Path) -> None:
    async with stall(tmp_path, sellercenter_linio=True) as shop:
        answers = await asyncio.gather(
            *(shop.call("CreateWebhook", posted(URL, "onOrderCreated")) for _ in range(3))
        )
        refused = [one["Head"] for one in answers if "ErrorCode" in one["Head"]]
        assert [head["ErrorCode"] for head in refused] == ["98", "98"]
        assert f"The callback url ({URL}) is already in use." in refused[0]["ErrorMessage"]
        assert len(await managed(shop)) == 1
        await made(await neighbour(shop), URL)


@pytest.mark.parametrize(
    ("everywhere", "profile", "refused"),
    [(False, " Linio ", True), (True, "falabella", False), (True, "", True), (False, "", False)],
)
async def test_an_application_may_have_a_profile_of_its_own(
    tmp_path: Path, *, everywhere: bool, profile: str, refused: bool
) -> None:
    async with stall(tmp_path, sellercenter_linio=everywhere) as shop:
        await shop.plane.change_application(shop.application, metadata={PROFILE_KEY: profile})
        await made(shop, URL)
        answer = await shop.call("CreateWebhook", posted(URL, "onOrderCreated"))
        assert ("ErrorCode" in answer["Head"]) == refused


async def test_the_limit_of_endpoints_is_told(tmp_path: Path) -> None:
    async with stall(tmp_path, endpoints_per_application_max=1) as shop:
        await made(shop, URL)
        assert await shop.refused("CreateWebhook", posted(URL, "onOrderCreated")) == "1000"


async def test_entities_are_the_dialects_events(shop: Stall) -> None:
    answer = await shop.call("GetWebhookEntities")
    assert answer["Head"]["ResponseType"] == "Entities"
    entities = answer["Body"]["Entities"]["Entity"]
    assert [entity["Name"] for entity in entities] == [name for name, _ in ENTITIES]
    assert sorted(ALIASES) == sorted(shop.plane.registry.dialect("sellercenter").catalogue)
    assert entities[1]["Events"] == {
        "Event": {"EventName": "Updated", "EventAlias": "onMetricsUpdated"}
    }
