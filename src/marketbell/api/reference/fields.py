"""What fields of bodies mean, by their name on the wire: bounds, formats and a value of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from marketbell.api.applications import ApplicationIn
from marketbell.api.message_in import DAYS_MAX, HOURS_MAX, MessageIn, TransformationsParams
from marketbell.api.messages import MessageOut
from marketbell.api.problems import Faults, Problem
from marketbell.api.reference.parameters import NAME, TIME, Schema
from marketbell.control.secrets import GRACE_DEFAULT_S
from marketbell.control.shapes import (
    ENDPOINT_CHANNELS_MAX,
    EVENT_TYPES_MAX,
    MESSAGE_CHANNELS_MAX,
    NAME_MAX,
    TAGS_MAX,
    THROTTLE_MAX,
)


class Fact(msgspec.Struct, frozen=True):
    """What the table says of one field; a docstring below the field stands before `description`."""

    description: str = ""
    example: object = None
    schema: Schema = {}
    form: object = None
    """The form of what stands there, where the Struct itself keeps it unread."""


def _id(prefix: str) -> Schema:
    return {"type": "string", "pattern": f"^{prefix}_[0-9A-Za-z]{{27}}$"}


_AT: Final = "2026-11-21T09:30:00.125Z"
_MSG: Final = "msg_2Q8sZpXwV4nJ1mK7tLr5cYbGd9A"
_EP: Final = "ep_2Q8sZpXwV4nJ1mK7tLr5cYbGd9A"
_ATMPT: Final = "atmpt_2Q8sZpXwV4nJ1mK7tLr5cYbGd9A"
_REJ: Final = "rej_2Q8sZpXwV4nJ1mK7tLr5cYbGd9A"
_LOGIN: Final = "login_2Q8sZpXwV4nJ1mK7tLr5cYbGd9A"
_APP: Final = "app_2Q8sZpXwV4nJ1mK7tLr5cYbGd9A"
_MISSING: Final = "There is no application 'shop-7' in org_default; check both."
_PAYLOAD: Final[Mapping[str, Any]] = {"order_id": "1042"}
_OBJECT: Final[Schema] = {"type": "object"}
_SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - an example
_RATE: Final[Schema] = {"minimum": 1, "maximum": THROTTLE_MAX}


def _names(most: int) -> Schema:
    return {"items": NAME, "minItems": 1, "maxItems": most}


FIELDS: Final[Mapping[str, Fact]] = {
    # -- what most things have
    "id": Fact("Its id, made by the server.", _APP),
    "uid": Fact("The caller's own name for it, unique among its like.", "seller-42", NAME),
    "name": Fact("A name for people.", "Seller 42", {"minLength": 1, "maxLength": NAME_MAX}),
    "description": Fact("A text for people.", "Stock of the main warehouse"),
    "metadata": Fact(
        "Texts by text; the keys `marketbell.*` are its policy of deliveries.",
        {"tier": "gold", "marketbell.dialect": "ovoko"},
    ),
    "createdAt": Fact("When it was made.", _AT, TIME),
    "updatedAt": Fact("When it was changed last.", _AT, TIME),
    "throttleRate": Fact("At most so many attempts a second; null for no limit.", 20, _RATE),
    "rateLimit": Fact("The older name of `throttleRate`.", 20, _RATE),
    # -- lists
    "lookedTo": Fact("How far back a search has looked, where it stopped.", None, TIME),
    "ListOut.data": Fact("The slice, in the order that was asked for."),
    "iterator": Fact("Give it back to go on.", _APP),
    "prevIterator": Fact("Give it back to see what came before.", f"-{_APP}"),
    "done": Fact("Whether nothing follows in the direction that was asked for.", True),
    # -- endpoints
    "url": Fact("Where messages are sent: http or https.", "https://seller-42.example/hooks"),
    "eventTypes": Fact(
        "The event types that it takes; null for all.", ["order.created"], _names(EVENT_TYPES_MAX)
    ),
    "filterTypes": Fact(
        "The name of `eventTypes` in SDKs before 2.0.", ["order.created"], _names(EVENT_TYPES_MAX)
    ),
    "channels": Fact(
        "The channels that it takes; null for messages of every channel and of none.",
        ["warehouse"],
        _names(ENDPOINT_CHANNELS_MAX),
    ),
    "disabled": Fact("Whether it gets no new messages.", False),
    "version": Fact("A number of the caller's own.", 1),
    "headers": Fact("Headers of its own, by name.", {"X-Warehouse": "main"}),
    "deleteHeaders": Fact("Names of headers to take away.", ["X-Warehouse"]),
    "sensitive": Fact("The names of headers whose values are not shown.", ["Authorization"]),
    "secret": Fact(
        "`whsec_` and base64 of 24 to 75 bytes, or `whsk_` and base64 of an ed25519 pair; "
        "one is made if absent.",
        _SECRET,
    ),
    "key": Fact("The secret; of an ed25519 pair the public half, `whpk_`.", _SECRET),
    "gracePeriodSeconds": Fact(
        f"How long the old secret signs along; {GRACE_DEFAULT_S} if absent.",
        3600,
        {"minimum": 0, "maximum": 604_800},
    ),
    "EndpointSecretRotateIn.key": Fact("The new secret; one is made if absent.", _SECRET),
    "success": Fact("How many were delivered.", 1200, {"minimum": 0}),
    "pending": Fact("How many wait for an attempt.", 3, {"minimum": 0}),
    "sending": Fact("How many are being sent now.", 1, {"minimum": 0}),
    "fail": Fact("How many failed for good.", 2, {"minimum": 0}),
    "canceled": Fact("How many were cancelled.", 0, {"minimum": 0}),
    # -- event types
    "archived": Fact("Whether it is hidden from lists and its schema not in force.", False),
    "deprecated": Fact("Whether publishers should use another one; shown, nothing else.", False),
    "schemas": Fact(
        "JSON Schemas by version, of which the greatest is in force for payloads.",
        {"1": {"type": "object", "required": ["order_id"]}},
    ),
    "groupName": Fact("A name that pages group it by.", "orders"),
    "featureFlag": Fact("The first of `featureFlags`, for SDKs before 2.0."),
    "featureFlags": Fact("What an application's token must have to see it.", ["beta-orders"]),
    "EventTypeImportOpenApiOutData.archived": Fact(
        "The names of those that were archived, or would be.", ["order.legacy"]
    ),
    "EventTypeImportOpenApiOut.data": Fact("What became of the event types."),
    "EventTypeIn.name": Fact("What publishers and endpoints call it.", "order.created", NAME),
    "EventTypeOut.name": Fact("What publishers and endpoints call it.", "order.created", NAME),
    # -- messages
    "eventType": Fact("What kind of thing happened.", "order.created", NAME),
    "payload": Fact("A JSON object, kept and sent as the bytes that came in.", _PAYLOAD, _OBJECT),
    "MessageOut.payload": Fact(
        '`{"expired": true}` once it is no longer kept, `{}` without content.', _PAYLOAD, _OBJECT
    ),
    "eventId": Fact(
        "The publisher's own name for it; a second one of the application gets 409.",
        "order-1042-created",
        NAME,
    ),
    "MessageIn.data": Fact("Another name of `payload`; send one of them.", None, _OBJECT),
    "MessageIn.channels": Fact(
        "The channels that it is for.", ["warehouse"], _names(MESSAGE_CHANNELS_MAX)
    ),
    "MessageOut.channels": Fact("The channels that it is for.", ["warehouse"]),
    "tags": Fact("Texts to find it by.", ["import"], {"minItems": 1, "maxItems": TAGS_MAX}),
    "MessageIn.timestamp": Fact(
        "When it happened: ISO 8601, or seconds or milliseconds since 1970.", _AT
    ),
    "timestamp": Fact("When it was accepted, or for an attempt when it began.", _AT, TIME),
    "occurredAt": Fact("The publisher's `timestamp`, where it gave one.", _AT, TIME),
    "deliverAt": Fact("When it falls due, at most 24 hours ahead.", None, TIME),
    "payloadRetentionPeriod": Fact(
        "For how many days the payload is kept.", 30, {"minimum": 1, "maximum": DAYS_MAX}
    ),
    "payloadRetentionHours": Fact(
        "The same in hours; send one of both.", None, {"minimum": 1, "maximum": HOURS_MAX}
    ),
    "application": Fact(
        "An application to be made if the path's uid has none yet.",
        None,
        form=ApplicationIn | None,
    ),
    "transformationsParams": Fact(
        "A payload that is sent as it stands, in place of `payload`.",
        None,
        form=TransformationsParams | None,
    ),
    "rawPayload": Fact("The text to send.", '{"order_id": "1042"}', {"minLength": 1}),
    "BatchIn.messages": Fact(
        "The messages, each as it would be published alone.",
        None,
        {"minItems": 1},
        list[MessageIn],
    ),
    "Accepted.status": Fact("Always 202.", 202, {"const": 202}),
    "Accepted.message": Fact("The message.", form=MessageOut),
    "Refused.status": Fact("The status that it would have had alone.", 422),
    "Refused.error": Fact(
        "The body that it would have had alone.",
        None,
        form=Problem | Faults,
    ),
    "ids": Fact("Ids or eventIds of messages.", [_MSG], {"maxItems": 100}),
    "results": Fact("By what was asked for: `expunged` or `not-found`.", {_MSG: "expunged"}),
    "PrecheckIn.channels": Fact("The channels of the message.", ["warehouse"]),
    "PrecheckOut.active": Fact("Whether an endpoint would get such a message.", True),
    # -- attempts
    "msgId": Fact("The message's id.", _MSG, _id("msg")),
    "endpointId": Fact("The endpoint's id.", _EP, _id("ep")),
    "response": Fact("", "ok"),
    "responseStatusCode": Fact("", 200),
    "responseDurationMs": Fact("How long it took, in milliseconds.", 87, {"minimum": 0}),
    "MessageAttemptOut.status": Fact("", 0, {"enum": [0, 2]}),
    "statusText": Fact(
        "`status` as a word.",
        "success",
        {"enum": ["success", "pending", "fail", "sending", "canceled"]},
    ),
    "MessageEndpointOut.status": Fact(
        "The delivery: 0 success, 1 pending, 2 fail, 3 sending, 4 canceled.",
        0,
        {"enum": [0, 1, 2, 3, 4]},
    ),
    "EndpointMessageOut.status": Fact(
        "The delivery: 0 success, 1 pending, 2 fail, 3 sending, 4 canceled.",
        0,
        {"enum": [0, 1, 2, 3, 4]},
    ),
    "triggerType": Fact("0 by the schedule, 1 by a resend.", 0, {"enum": [0, 1]}),
    "outcome": Fact(
        "",
        "accepted",
        {"enum": ["accepted", "rejected", "no_answer", "closed", "unknown"]},
    ),
    "reason": Fact("", ""),
    "nextAttempt": Fact("When it is tried next; null if it is not.", None, TIME),
    "attemptNumber": Fact("", 1, {"minimum": 0}),
    "attemptsMax": Fact("", 8, {"minimum": 1}),
    "MessageAttemptOut.nextAttempt": Fact("", None, TIME),
    "msg": Fact("The message without its payload, with `with_msg=true`."),
    # -- long work
    "since": Fact("From when on.", "2026-11-21T09:00:00Z", TIME),
    "until": Fact("Until when; now if absent.", None, TIME),
    "BulkReplayIn.channel": Fact("Only messages of this channel.", "warehouse", NAME),
    "BulkReplayIn.tag": Fact("Only messages with this tag."),
    "exampleIndex": Fact("Which of the event type's examples to send; 0 is the first.", 0),
    "spec": Fact("The OpenAPI document, as JSON."),
    "TaskOut.status": Fact(
        "How it stands.", "running", {"enum": ["running", "finished", "failed"]}
    ),
    "BackgroundTaskOut.status": Fact(
        "How it stands.", "running", {"enum": ["running", "finished", "failed"]}
    ),
    "task": Fact("What kind of work it is.", "endpoint.recover"),
    "BackgroundTaskOut.data": Fact("How far it is."),
    "looked": Fact("How many messages it has looked at.", 1200),
    "made": Fact("How many deliveries it has made.", 37),
    "skipped": Fact("How many it passed over, as there was nothing to do.", 1163),
    "cancelled": Fact("Whether it was cancelled.", False),
    "TaskData.error": Fact("Why it failed; null if it did not."),
    # -- tokens and keys
    "scopes": Fact("What the key may do; null for all."),
    "expiresAt": Fact("When it ends to be valid; null for never.", None, TIME),
    "token": Fact("What goes into the header Authorization."),
    "readOnly": Fact("Whether the session may look and not change.", False),
    "sessionId": Fact("The caller's own name for the session."),
    # -- users of the marketplaces' APIs
    "marketplace": Fact("The marketplace.", "ovoko", {"enum": ["ovoko", "sellercenter"]}),
    "user": Fact("", "kaunas-parts"),
    "login": Fact(
        "",
        {
            "username": "kaunas-parts",
            "password": "nZ2mT0cW7yQbK4xVdL9sHgEa",
            "user_token": "6f1d0c5be2a94783b1f0a2c4d5e6f708192a3b4c",
        },
    ),
    # -- the outbox
    "RejectedOut.application": Fact("", "seller-42"),
    "RejectedMessageOut.application": Fact("", "seller-42"),
    "RejectedOut.reason": Fact("Why, in a sentence.", _MISSING),
    "RejectedMessageOut.reason": Fact("Why, in a sentence.", _MISSING),
    "rejectedAt": Fact("When it was refused.", _AT, TIME),
    "RejectedMessageOut.message": Fact(
        "As it was put into the outbox.",
        {"eventType": "order.created", "payload": _PAYLOAD},
        form=MessageIn,
    ),
    # -- the audit log
    "appId": Fact("The application's id.", _APP),
    "sourceAddress": Fact("Where the request came from.", "203.0.113.7"),
    "requestId": Fact("The request's id, as it stands in the log.", "5f0c1d9ab2e3-1a"),
    "old": Fact("What it was before; null for nothing."),
    "new": Fact("What it is now; null for nothing."),
    # -- health
    "database": Fact("Whether a write transaction can be made."),
    "queue": Fact("As the database, which it lives in."),
    "cache": Fact("As the database, which it lives in."),
    "Part.status": Fact("", "ok", {"enum": ["ok", "error"]}),
    # -- errors
    "code": Fact("A stable word.", "not_found"),
    "Problem.detail": Fact(
        "A sentence for people.",
        "There is no application 'shop-7'; check its id or uid, and the token's organization.",
    ),
    "Faults.detail": Fact("What is wrong, field by field."),
    "loc": Fact("The path of the field.", ["body", "url"]),
    "Fault.msg": Fact(
        "What is wrong and what would be right.", "The field is missing; it is required"
    ),
    "Fault.type": Fact("What kind of fault it is.", "value_error.missing"),
}

_IDS: Final[Mapping[str, str]] = {
    "ApplicationOut.id": _APP,
    "EndpointOut.id": _EP,
    "MessageEndpointOut.id": _EP,
    "MessageOut.id": _MSG,
    "MessageAttemptOut.id": _ATMPT,
    "MarketplaceLoginOut.id": _LOGIN,
    "RejectedOut.id": _REJ,
    "RejectedMessageOut.id": _REJ,
    "NewMarketplaceLoginOut.id": _LOGIN,
}


def fact_of(struct: str, name: str) -> Fact | None:
    """What the table says of a Struct's field, None if nothing."""
    own = FIELDS.get(f"{'ListOut' if struct.startswith('ListOf') else struct}.{name}")
    if own is not None:
        return own
    identity = _IDS.get(f"{struct}.{name}")
    if identity is not None:
        return Fact(FIELDS["id"].description, identity, _id(identity.split("_")[0]))
    return FIELDS.get(name)
