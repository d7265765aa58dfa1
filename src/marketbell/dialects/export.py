"""A dialect's catalogue as JSON Schema, OpenAPI 3.1 webhooks and AsyncAPI 3.0."""

from __future__ import annotations

from typing import Final

import msgspec

from marketbell import __version__
from marketbell.dialects.base import AttemptStart, Dialect, Request
from marketbell.dialects.catalogue import EventType
from marketbell.dialects.schema import DRAFT, Schema
from marketbell.model import Endpoint, Message, Policy, SigningKey

OPENAPI: Final = "3.1.1"
ASYNCAPI: Final = "3.0.0"

_SAMPLE_AT: Final = 1_673_525_840_000
"""2023-01-12T14:17:20+02:00, the time of Ovoko's own samples."""

_SAMPLE_ENDPOINT: Final = Endpoint(
    id=1,
    public_id="ep_2KFw7GzAnQ4bHqvQRzBQuyVkq1Z",
    application_id=1,
    uid=None,
    url="https://seller.example/webhooks",
    description="",
    event_types=None,
    channels=None,
    headers=(),
    secrets=(SigningKey(kind="v1", secret=b"a key for samples only!!"),),
    metadata={},
    policy=Policy(),
    throttle_rate=None,
    disabled=False,
    paused=False,
    slot=0,
    revision=1,
    version=1,
    failing_since=None,
    created_at=_SAMPLE_AT,
    updated_at=_SAMPLE_AT,
)

_UNDESCRIBED: Final = frozenset({"content-type", "user-agent"})


def sample(dialect: Dialect, event_type: EventType, example: msgspec.Struct) -> Request:
    """The request that the dialect makes of one of the event type's examples."""
    message = Message(
        id=1,
        public_id="msg_2KFw7HTKyrpLbNEhNZMYY2nDBjS",
        application_id=1,
        event_type=event_type.name,
        event_id="101aa6a1-ed22-42f0-84ca-1f8a028a2d28",
        payload=msgspec.json.encode(example),
        occurred_at=_SAMPLE_AT,
        created_at=_SAMPLE_AT,
        payload_expires_at=_SAMPLE_AT,
    )
    return dialect.render(message, _SAMPLE_ENDPOINT, AttemptStart(_SAMPLE_AT, 1))


def json_schema(dialect: Dialect) -> Schema:
    """
    One JSON Schema (2020-12) that every body of the catalogue fits.

    `$defs` holds, for each event type, the payload as it is published under its type name
    and the body on the wire under that name with `Body`.
    """
    document: Schema = {
        "$schema": DRAFT,
        "$id": f"urn:marketbell:dialect:{dialect.name}",
        "title": f"Webhooks of {dialect.name}",
        "$defs": _schemas(dialect),
    }
    bodies = [
        {"$ref": f"#/$defs/{event_type.type_name}Body"} for event_type in dialect.catalogue.values()
    ]
    if bodies:
        document["anyOf"] = bodies
    return document


def openapi(dialect: Dialect) -> Schema:
    """
    An OpenAPI 3.1 document with one webhook for each event type.

    It describes the request that the receiver gets and the answers that count as success;
    `components.schemas` are those of `json_schema`.
    """
    return {
        "openapi": OPENAPI,
        "info": _info(dialect),
        "webhooks": {
            event_type.name: {"post": _operation(dialect, event_type)}
            for event_type in dialect.catalogue.values()
        },
        "components": {"schemas": _schemas(dialect)},
    }


def asyncapi(dialect: Dialect) -> Schema:
    """
    An AsyncAPI 3.0 document: one channel, whose address is the endpoint's URL.

    Each event type is a message and a `send` operation; `components.schemas` are those of
    `json_schema`.
    """
    event_types = tuple(dialect.catalogue.values())
    return {
        "asyncapi": ASYNCAPI,
        "info": _info(dialect),
        "defaultContentType": "application/json",
        "channels": {
            "endpoint": {
                "address": None,
                "title": "The receiver's URL",
                "messages": {
                    event_type.type_name: {"$ref": f"#/components/messages/{event_type.type_name}"}
                    for event_type in event_types
                },
            }
        },
        "operations": {
            f"send{event_type.type_name}": {
                "action": "send",
                "title": event_type.title,
                "summary": event_type.description,
                "description": event_type.fires,
                "channel": {"$ref": "#/channels/endpoint"},
                "bindings": {"http": {"method": "POST", "bindingVersion": "0.3.0"}},
                "messages": [
                    {"$ref": f"#/channels/endpoint/messages/{event_type.type_name}"},
                ],
            }
            for event_type in event_types
        },
        "components": {
            "messages": {
                event_type.type_name: _message(dialect, event_type) for event_type in event_types
            },
            "schemas": _schemas(dialect),
        },
    }


def _info(dialect: Dialect) -> Schema:
    return {
        "title": f"Webhooks of {dialect.name}",
        "version": __version__,
        "description": f"What a receiver of the dialect `{dialect.name}` gets from Marketbell.",
    }


def _schemas(dialect: Dialect) -> Schema:
    schemas: Schema = {}
    for name, event_type in dialect.catalogue.items():
        body = dialect.catalogue.body_schema(name)
        body["examples"] = [
            msgspec.json.decode(sample(dialect, event_type, example).body)
            for example in event_type.examples
        ]
        schemas[event_type.type_name] = _within(dialect.catalogue.schema(name))
        schemas[f"{event_type.type_name}Body"] = _within(body)
    return schemas


def _within(schema: Schema) -> Schema:
    """A schema as a part of a document that has said which draft it is in."""
    return {key: value for key, value in schema.items() if key != "$schema"}


def _operation(dialect: Dialect, event_type: EventType) -> Schema:
    requests = [sample(dialect, event_type, example) for example in event_type.examples]
    operation: Schema = {
        "operationId": f"receive{event_type.type_name}",
        "summary": event_type.title,
        "description": f"{event_type.description}\n\n{event_type.fires}",
        "tags": [event_type.subject],
        "requestBody": {
            "required": True,
            "content": {
                _content_type(requests[0]): {
                    "schema": {"$ref": f"#/components/schemas/{event_type.type_name}Body"},
                    "examples": {
                        f"example{number}": {"value": msgspec.json.decode(request.body)}
                        for number, request in enumerate(requests, start=1)
                    },
                }
            },
        },
        "responses": {
            code: {"description": "The receiver has the event; it is not sent again."}
            for code in _accepted(dialect)
        },
    }
    parameters = [
        {
            "name": name,
            "in": "header",
            "required": True,
            "schema": {"type": "string"},
            "example": value,
        }
        for name, value in _own_headers(requests[0])
    ]
    if parameters:
        operation["parameters"] = parameters
    if event_type.deprecated:
        operation["deprecated"] = True
    return operation


def _message(dialect: Dialect, event_type: EventType) -> Schema:
    requests = [sample(dialect, event_type, example) for example in event_type.examples]
    message: Schema = {
        "name": event_type.name,
        "title": event_type.title,
        "summary": event_type.description,
        "description": event_type.fires,
        "contentType": _content_type(requests[0]),
        "tags": [{"name": event_type.subject}],
        "payload": {"$ref": f"#/components/schemas/{event_type.type_name}Body"},
        "examples": [
            {"name": f"example{number}", "payload": msgspec.json.decode(request.body)}
            for number, request in enumerate(requests, start=1)
        ],
    }
    own = _own_headers(requests[0])
    if own:
        message["headers"] = {
            "type": "object",
            "properties": {name: {"type": "string", "examples": [value]} for name, value in own},
            "required": [name for name, _ in own],
        }
    return message


def _own_headers(request: Request) -> list[tuple[str, str]]:
    return [header for header in request.headers if header[0] not in _UNDESCRIBED]


def _content_type(request: Request) -> str:
    return next(value for name, value in request.headers if name == "content-type")


def _accepted(dialect: Dialect) -> list[str]:
    """The accepted codes; a class such as `2XX` where all hundred are."""
    codes: list[str] = []
    for first in range(100, 600, 100):
        accepted = [code for code in range(first, first + 100) if dialect.accepted(code)]
        if len(accepted) == 100:
            codes.append(f"{first // 100}XX")
        else:
            codes += [str(code) for code in accepted]
    return codes
