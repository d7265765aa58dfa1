"""The columns that each kind of thing is shown with, in lists and alone."""

from __future__ import annotations

from typing import Final

from marketbell.cli.moments import clock_of, told
from marketbell.cli.tables import Column, Thing, field, json_of, prose, time_of

APPLICATIONS: Final = (
    field("Id", "id"),
    field("Uid", "uid"),
    prose("Name", "name"),
    field("Rate limit", "rateLimit"),
    time_of("Created", "createdAt"),
)
APPLICATION: Final = (
    *APPLICATIONS,
    time_of("Updated", "updatedAt"),
    prose("Metadata", "metadata"),
)


def _state(endpoint: Thing) -> str:
    return "disabled" if endpoint["disabled"] else "paused" if endpoint.get("paused") else "active"


ENDPOINTS: Final = (
    field("Id", "id"),
    field("Uid", "uid"),
    Column("State", _state),
    prose("URL", "url"),
    Column("Event types", lambda one: one.get("filterTypes") or "all", folds=True),
    time_of("Created", "createdAt"),
)
ENDPOINT: Final = (
    *ENDPOINTS,
    time_of("Updated", "updatedAt"),
    prose("Description", "description"),
    prose("Channels", "channels"),
    field("Rate limit", "rateLimit"),
    prose("Metadata", "metadata"),
)


def _event_type_state(event_type: Thing) -> str:
    if event_type.get("archived"):
        return "archived"
    return "deprecated" if event_type.get("deprecated") else "active"


def _dated(head: str, name: str) -> Column:
    """A catalogue's event types were made at no time; the API says 1970 of them."""
    return Column(head, lambda one: "" if one[name].startswith("1970-") else told(one[name]))


EVENT_TYPES: Final = (
    field("Name", "name"),
    field("Group", "groupName"),
    Column("State", _event_type_state),
    prose("Description", "description"),
)
EVENT_TYPE: Final = (
    *EVENT_TYPES,
    prose("Feature flags", "featureFlags"),
    _dated("Created", "createdAt"),
    _dated("Updated", "updatedAt"),
    Column("Schemas", lambda one: json_of(one["schemas"]) if one.get("schemas") else ""),
)

MESSAGES: Final = (
    field("Id", "id"),
    field("Event type", "eventType"),
    time_of("Accepted", "timestamp"),
    field("Event id", "eventId"),
    prose("Channels", "channels"),
    prose("Tags", "tags"),
)
MESSAGES_ANYWHERE: Final = (*MESSAGES[:2], field("Application", "appId"), *MESSAGES[2:])
MESSAGE: Final = (
    *MESSAGES,
    time_of("Happened", "occurredAt"),
    time_of("Due", "deliverAt"),
    Column("Payload", lambda one: json_of(one["payload"])),
)
DELIVERIES: Final = (
    field("Id", "id"),
    field("Event type", "eventType"),
    field("Status", "statusText"),
    time_of("Next attempt", "nextAttempt"),
    time_of("Accepted", "timestamp"),
    field("Event id", "eventId"),
)
DESTINATIONS: Final = (
    field("Id", "id"),
    field("Uid", "uid"),
    field("Status", "statusText"),
    time_of("Next attempt", "nextAttempt"),
    prose("URL", "url"),
)
NO_DESTINATION: Final = "no endpoint wanted it, or those that did have been deleted"


def _answer(attempt: Thing) -> str:
    code = attempt["responseStatusCode"]
    return str(code) if code else str(attempt.get("outcome", ""))


def _response(attempt: Thing) -> str:
    """Where nothing was answered the API repeats the reason, which has a line of its own."""
    response = str(attempt.get("response") or "")
    return "" if response == attempt.get("reason") else response


def _which(attempt: Thing) -> str:
    """Which try of how many, as far as the server says it; none that does not count is one."""
    number, most = attempt.get("attemptNumber"), attempt.get("attemptsMax")
    if not number:
        return ""
    return f"{number}/{most}" if most else str(number)


_TRIGGERS: Final = ("schedule", "resend")

ATTEMPTS: Final = (
    field("Id", "id"),
    Column("Attempt", _which),
    field("Status", "statusText"),
    Column("Answer", _answer),
    time_of("Began", "timestamp"),
    Column("Took", lambda one: f"{one['responseDurationMs']} ms"),
    field("Message", "msgId"),
    field("Endpoint", "endpointId"),
    prose("Reason", "reason"),
)
ATTEMPT: Final = (
    *ATTEMPTS,
    prose("URL", "url"),
    Column("By", lambda one: _TRIGGERS[one["triggerType"]]),
    time_of("Next attempt", "nextAttempt"),
    Column("Response", _response, folds=True),
)
FOLLOWED: Final = (
    Column("Began", lambda one: clock_of(one["timestamp"])),
    Column("Attempt", _which),
    field("Status", "statusText"),
    Column("Answer", _answer),
    Column("Took", lambda one: f"{one['responseDurationMs']} ms"),
    Column("Event type", lambda one: (one.get("msg") or {}).get("eventType")),
    field("Message", "msgId"),
    field("Endpoint", "endpointId"),
    prose("Reason", "reason"),
)
"""Of attempts as they happen."""
FOLLOWED_WIDTHS: Final = (12, 7, 7, 9, 8, 25, 31, 30, 0)

TASKS: Final = (
    field("Id", "id"),
    field("Task", "task"),
    Column("Status", lambda one: "cancelled" if one["data"]["cancelled"] else one["status"]),
    Column("Progress", lambda one: f"{one['data']['progress']:.0%}"),
    Column("Looked at", lambda one: one["data"]["looked"]),
    Column("Made", lambda one: one["data"]["made"]),
    Column("Skipped", lambda one: one["data"]["skipped"]),
    time_of("Updated", "updatedAt"),
)
TASK: Final = (
    *TASKS,
    Column("Created", lambda one: time_of("", "createdAt").value(one["data"])),
    Column("Application", lambda one: one["data"]["appId"]),
    Column("Endpoint", lambda one: one["data"]["endpointId"]),
    Column("Error", lambda one: one["data"]["error"]),
)

KEYS: Final = (
    field("Key", "id"),
    prose("Name", "name"),
    Column("For", lambda one: one["appId"] or "the organization"),
    Column("May", lambda one: " ".join(one["scopes"] or ("everything",)), folds=True),
    Column("Expires", lambda one: told(one["expiresAt"]) or "never"),
    Column("Last used", lambda one: told(one["lastUsedAt"]) or "never"),
    time_of("Revoked", "revokedAt"),
)

CHANGES: Final = (
    time_of("When", "timestamp"),
    prose("Who", "actor"),
    field("Operation", "operation"),
    field("Application", "appId"),
    field("Endpoint", "endpointId"),
    field("From", "sourceAddress"),
    Column(
        "Fields",
        lambda one: [change.get("field") or change.get("name") for change in one["fields"]],
        folds=True,
    ),
)
