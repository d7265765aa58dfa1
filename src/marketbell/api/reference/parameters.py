"""What every parameter of a path, a query string and a header takes: one table for all operations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from marketbell.api.call import Operation
from marketbell.api.pagination import LIMIT_DEFAULT, LIMIT_MAX
from marketbell.control.shapes import CHANNEL_MAX, NAME_MAX

Schema: TypeAlias = dict[str, Any]
"""JSON Schema 2020-12: its values are JSON of every kind."""

NAME: Final[Schema] = {
    "type": "string",
    "minLength": 1,
    "maxLength": NAME_MAX,
    "pattern": r"^[a-zA-Z0-9\-_.]+$",
}
TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_CHANNEL: Final[Schema] = {**NAME, "maxLength": CHANNEL_MAX}
_TAG: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": CHANNEL_MAX}
_OFF: Final[Schema] = {"type": "boolean", "default": False}
_ON: Final[Schema] = {"type": "boolean", "default": True}

_BRACES: Final = re.compile(r"{(\w+)}")


class Parameter(msgspec.Struct, frozen=True):
    """One parameter: its schema, what it is for, and a value as it would be sent."""

    schema: Schema
    description: str
    example: object


PATHS: Final[Mapping[str, Parameter]] = {
    "app_id": Parameter(NAME, "The application's id or uid.", "seller-42"),
    "endpoint_id": Parameter(NAME, "The endpoint's id or uid.", "ep_2Q8sZpXwV4nJ1mK7tLr5cYbGd9A"),
    "v1.endpoint.find endpoint_id": Parameter(
        NAME, "The endpoint's id.", "ep_2Q8sZpXwV4nJ1mK7tLr5cYbGd9A"
    ),
    "msg_id": Parameter(
        NAME, "The message's id, or its eventId.", "msg_2Q8sZpXwV4nJ1mK7tLr5cYbGd9A"
    ),
    "v1.message.find msg_id": Parameter(
        NAME, "The message's id.", "msg_2Q8sZpXwV4nJ1mK7tLr5cYbGd9A"
    ),
    "attempt_id": Parameter(NAME, "The attempt's id.", "atmpt_2Q8sZpXwV4nJ1mK7tLr5cYbGd9A"),
    "event_type_name": Parameter(NAME, "The event type's name.", "order.created"),
    "task_id": Parameter(NAME, "The background task's id.", "qtask_2Q8sZpXwV4nJ1mK7tLr5cYbGd9A"),
    "key_id": Parameter(NAME, "The key's id.", "key_2Q8sZpXwV4nJ1mK7tLr5cYbGd9A"),
    "rejected_id": Parameter(NAME, "The rejected message's id.", "rej_2Q8sZpXwV4nJ1mK7tLr5cYbGd9A"),
    "login_id": Parameter(NAME, "The login's id.", "login_2Q8sZpXwV4nJ1mK7tLr5cYbGd9A"),
}

# A row `OPERATION NAME` stands before the row of the name alone.
QUERY: Final[Mapping[str, Parameter]] = {
    "limit": Parameter(
        {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
        "How many the answer has at most.",
        20,
    ),
    "iterator": Parameter(
        {"type": "string", "minLength": 1},
        "Where to go on: the `iterator` or `prevIterator` of an answer.",
        None,
    ),
    "order": Parameter(
        {"type": "string", "enum": ["ascending", "descending"]},
        "The order of the list.",
        "descending",
    ),
    "get_if_exists": Parameter(
        _OFF, "Give the one that has the uid, if there is one, instead of 409.", True
    ),
    "expunge": Parameter(_OFF, "Remove it for good instead of archiving it.", True),
    "include_archived": Parameter(_OFF, "Whether archived ones are listed too.", True),
    "with_msg": Parameter(
        _OFF, "Whether each attempt brings its message along, without the payload.", True
    ),
    "expanded_statuses": Parameter(
        _OFF, "Taken for the SDKs; changes nothing, as an attempt is never cancelled.", False
    ),
    "v1.message-attempt.list-attempted-messages expanded_statuses": Parameter(
        _ON,
        "With `false` a cancelled delivery is shown as 0 success, as older clients expect.",
        True,
    ),
    "with_content": Parameter(
        _ON, "Whether payloads come along; in lists of attempts the answers' bodies.", False
    ),
    "v1.message.create-batch with_content": Parameter(_OFF, "Whether payloads come along.", True),
    "v1.event-type.list with_content": Parameter(_OFF, "Whether schemas come along.", True),
    "channel": Parameter(_CHANNEL, "Only what has this channel.", "warehouse"),
    "tag": Parameter(_TAG, "Only what has this tag.", "import"),
    "text": Parameter(
        {"type": "string", "minLength": 1},
        "Only messages whose payload has these words; where the server is set to search payloads.",
        "brake disc",
    ),
    "event_types": Parameter(
        {"type": "array", "items": NAME},
        "Only these event types: `a,b`, or repeated, or `event_types[]=a`.",
        ["order.created"],
    ),
    "before": Parameter(TIME, "Only what is older than this time.", "2026-11-21T10:00:00Z"),
    "after": Parameter(TIME, "Only what is of this time or later.", "2026-11-21T09:00:00Z"),
    "since": Parameter(TIME, "From when on to count.", "2026-11-20T00:00:00Z"),
    "until": Parameter(TIME, "Until when to count.", "2026-11-21T00:00:00Z"),
    "status": Parameter(
        {"type": "integer", "enum": [0, 1, 2, 3, 4]},
        "0 success, 1 pending, 2 fail, 3 sending, 4 canceled; an attempt is 0 or 2.",
        2,
    ),
    "v1.background-task.list status": Parameter(
        {"type": "string", "enum": ["running", "finished", "failed"]},
        "Only tasks of this status.",
        "running",
    ),
    "task": Parameter({"type": "string"}, "Only tasks of this kind.", "endpoint.recover"),
    "status_code_class": Parameter(
        {"type": "integer", "enum": [0, 100, 200, 300, 400, 500]},
        "The class of the HTTP status that the receiver gave; 0 where no answer came.",
        500,
    ),
    "app_id": Parameter(
        {"type": "string", "maxLength": NAME_MAX},
        "Only what was changed in this application, named by its id or uid.",
        "app_2Q8sZpXwV4nJ1mK7tLr5cYbGd9A",
    ),
    "actor": Parameter(
        {"type": "string", "maxLength": NAME_MAX}, "Only what this caller did.", "marketbell"
    ),
    "operation": Parameter(
        {"type": "string", "maxLength": NAME_MAX},
        "Only what this operation did.",
        "v1.endpoint.patch",
    ),
    "endpoint_id": Parameter(
        NAME, "Only what went to this endpoint, named by its id or uid.", "warehouse"
    ),
}

IDEMPOTENCY_KEY: Final[Schema] = {
    "name": "idempotency-key",
    "in": "header",
    "description": "Makes the request safe to send again: the same key with the same body gets "
    "the first answer and does nothing more; with another body 409.",
    "schema": {"type": "string", "pattern": r"^[\x21-\x7e]{1,256}$"},
    "example": "import-2026-11-21-0042",
}
REQUEST_ID: Final[Schema] = {
    "name": "x-request-id",
    "in": "header",
    "description": "The request's name in the answer's header and in the server's log: 1 to 64 of "
    "`a-z A-Z 0-9 - _ .`; anything else is passed over, and the server makes one.",
    "schema": {"type": "string"},
    "example": "checkout-7f3a",
}


def of(operation: Operation) -> list[Schema]:
    """The parameters of an operation's path and query. KeyError for one that no table has."""
    return [
        *(_shown(operation, "path", name, PATHS) for name in in_path(operation.path)),
        *(_shown(operation, "query", name, QUERY) for name in operation.query),
    ]


def in_path(path: str) -> list[str]:
    """The names in a path's braces, in order."""
    return _BRACES.findall(path)


def unknown(operations: Iterable[Operation]) -> list[str]:
    """What some operation takes and neither table has, as `query limit of v1.x.list`."""
    return [
        f"{place} {name} of {operation.name}"
        for operation in operations
        for place, names, table in (
            ("path", in_path(operation.path), PATHS),
            ("query", operation.query, QUERY),
        )
        for name in names
        if name not in table and f"{operation.name} {name}" not in table
    ]


def _shown(operation: Operation, place: str, name: str, table: Mapping[str, Parameter]) -> Schema:
    parameter = table.get(f"{operation.name} {name}") or table[name]
    schema = parameter.schema
    shown: Schema = {
        "name": name,
        "in": place,
        "description": parameter.description,
        "schema": schema,
    }
    if place == "path":
        shown["required"] = True
    elif schema["type"] == "array":
        shown |= {"style": "form", "explode": False}
    if parameter.example is not None:
        shown["example"] = parameter.example
    return shown
