"""Webhooks: made, listed and deleted here, the same endpoints that the management API has."""

from __future__ import annotations

import uuid
from typing import Final

from marketbell.control import endpoints
from marketbell.control.directory import dialect_of
from marketbell.control.endpoint_change import EndpointChange
from marketbell.control.policy import PREFIX
from marketbell.control.tokens import Principal
from marketbell.dialects.sellercenter import SellerCenter
from marketbell.errors import InvalidError, LimitReachedError
from marketbell.marketplace.sellercenter import times
from marketbell.marketplace.sellercenter.actions.call import GET, POST, Action, Call, bracketed
from marketbell.marketplace.sellercenter.envelope import Element, Success, record
from marketbell.marketplace.sellercenter.errors import ActionError, Detail
from marketbell.marketplace.sellercenter.requests import anywhere, child, text_of
from marketbell.marketplace.sellercenter.seller import Seller
from marketbell.model import Application, Endpoint
from marketbell.store.base import Repeated

NAMESPACE: Final = uuid.UUID("6a0d0c52-9a3b-4c57-8a45-0f1d9be0a7c2")
"""Of the version 5 UUIDs that are webhook ids here. Never changes."""

SOURCE_KEY: Final = "webhook-source"
"""The metadata key of an endpoint that says where it was made: `api` for here."""

ENTITIES: Final = (
    ("Feed", (("Completed", "onFeedCompleted"), ("Created", "onFeedCreated"))),
    ("Metrics", (("Updated", "onMetricsUpdated"),)),
    ("Order", (("Created", "onOrderCreated"), ("StatusChanged", "onOrderItemsStatusChanged"))),
    (
        "Product",
        (
            ("Created", "onProductCreated"),
            ("QcStatusChanged", "onProductQcStatusChanged"),
            ("Updated", "onProductUpdated"),
        ),
    ),
    ("Statistics", (("Updated", "onStatisticsUpdated"),)),
)
"""What GetWebhookEntities lists: entities, their events and the aliases that subscribe to them."""

ALIASES: Final = tuple(alias for _, events in ENTITIES for _, alias in events)


def webhook_id(endpoint: str) -> str:
    """The UUID that an endpoint has on this wire, from its public id; always the same."""
    return str(uuid.uuid5(NAMESPACE, endpoint))


async def webhooks_of(seller: Seller) -> tuple[Endpoint, ...]:
    """The seller's endpoints that speak this marketplace's dialect, in order of creation."""
    application, services = seller.application, seller.services
    found = await services.store.subscribers(application.organization, application.public_id)
    name = SellerCenter.name
    return tuple(
        sorted(
            (
                endpoint
                for endpoint in found.endpoints
                if dialect_of(services.registry, found.application, endpoint.policy).name == name
            ),
            key=lambda endpoint: endpoint.id,
        )
    )


async def create_webhook(call: Call) -> Success:
    """A new endpoint of the seller's application."""
    webhook = child(call.request, "Webhook")
    if webhook is None:
        raise ActionError(89, "Webhook")
    url = text_of(child(webhook, "CallbackUrl"))
    if not url:
        raise ActionError(89, "CallbackUrl")
    events = child(webhook, "Events")
    aliases = tuple(dict.fromkeys(anywhere(events, "Event"))) if events is not None else ()
    if not aliases:
        raise ActionError(89, "Events")
    unknown = [alias for alias in aliases if alias not in ALIASES]
    if unknown:
        details = (Detail(field="Event", message="Unknown alias", value=one) for one in unknown)
        raise ActionError(99, "", *details)
    # Nobody else's CreateWebhook may come between the look and the making.
    async with call.seller.services.turns.turn(-call.seller.application.id):
        if call.seller.unique_urls:
            await _check_unused(call.seller, url)
        endpoint = await _created(call.seller, url, aliases)
    webhook_fields = {
        "WebhookId": webhook_id(endpoint.public_id),
        "CreatedAt": times.head_time(endpoint.created_at, call.zone),
    }
    return Success(response_type="Webhook", body=[record("Webhook", webhook_fields)])


async def get_webhooks(call: Call) -> Success:
    """All webhooks, or those whose ids are asked for; ids that there are not are left out."""
    wanted = None
    if call.text("WebhookIds"):
        given = call.text("WebhookIds")
        ids = bracketed(given if given.startswith("[") else f"[{given}]")
        if ids is None:
            raise ActionError(5)
        wanted = {one.lower() for one in ids}
    shown = [
        _shown(endpoint)
        for endpoint in await webhooks_of(call.seller)
        if wanted is None or webhook_id(endpoint.public_id) in wanted
    ]
    return Success(response_type="Webhooks", body=[Element("Webhooks", shown)])


async def delete_webhook(call: Call) -> Success:
    """Delete an endpoint, whoever made it; what is still to be sent to it is dropped."""
    given = text_of(child(call.request, "Webhook"))
    if not given:
        raise ActionError(89, "Webhook")
    try:
        wanted = str(uuid.UUID(given))
    except ValueError:
        raise ActionError(97, "Webhook") from None
    for endpoint in await webhooks_of(call.seller):
        if webhook_id(endpoint.public_id) == wanted:
            application = call.seller.application
            await endpoints.delete(
                call.seller.services,
                _principal(application),
                application.public_id,
                endpoint.public_id,
            )
            return Success()
    raise ActionError(100)


async def get_webhook_entities(call: Call) -> Success:
    """What can be subscribed to."""
    del call
    entities = [
        Element(
            "Entity",
            [
                Element("Name", name),
                Element(
                    "Events",
                    [
                        record("Event", {"EventName": event, "EventAlias": alias})
                        for event, alias in events
                    ],
                ),
            ],
        )
        for name, events in ENTITIES
    ]
    return Success(response_type="Entities", body=[Element("Entities", entities)])


ACTIONS: Final = (
    Action(name="CreateWebhook", methods=POST, work=create_webhook, takes_body=True),
    Action(name="GetWebhooks", methods=GET, work=get_webhooks),
    Action(name="DeleteWebhook", methods=POST, work=delete_webhook, takes_body=True),
    Action(name="GetWebhookEntities", methods=GET, work=get_webhook_entities),
)


def _principal(application: Application) -> Principal:
    """The operator, who may name a dialect, acting for the seller."""
    return Principal(application.organization, actor=f"app {application.public_id}")


async def _check_unused(seller: Seller, url: str) -> None:
    if any(endpoint.url == url for endpoint in await webhooks_of(seller)):
        raise ActionError(98, f"The callback url ({url}) is already in use.")


async def _created(seller: Seller, url: str, aliases: tuple[str, ...]) -> Endpoint:
    application, services = seller.application, seller.services
    metadata = {SOURCE_KEY: "api"}
    if dialect_of(services.registry, application).name != SellerCenter.name:
        metadata[PREFIX + "dialect"] = SellerCenter.name
    change = EndpointChange(url=url, event_types=aliases, metadata=metadata)
    try:
        endpoint = await endpoints.create(
            services, _principal(application), application.public_id, change
        )
    except InvalidError as fault:
        if fault.field != ("body", "url"):
            raise
        detail = Detail(field="CallbackUrl", message=fault.detail, value=url)
        raise ActionError(98, "Given url is invalid", detail) from None
    except LimitReachedError as fault:
        raise ActionError(1000, fault.detail) from None
    assert not isinstance(endpoint, Repeated)  # noqa: S101 - no idempotency key was given
    return endpoint


def _shown(endpoint: Endpoint) -> Element:
    taken = endpoint.event_types
    if taken is None:
        names = ALIASES
    else:
        names = tuple(alias for alias in ALIASES if alias in taken)
        names += tuple(sorted(taken.difference(ALIASES)))
    source = "api" if endpoint.metadata.get(SOURCE_KEY) == "api" else "web"
    return Element(
        "Webhook",
        [
            Element("WebhookId", webhook_id(endpoint.public_id)),
            Element("CallbackUrl", endpoint.url),
            Element("WebhookSource", source),
            Element("Events", [Element("Event", name) for name in names]),
        ],
    )
