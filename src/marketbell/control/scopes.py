"""What an API key may do: a small closed set of scopes, and which one an operation needs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from marketbell.control.shapes import Field
from marketbell.control.tokens import Principal
from marketbell.errors import ForbiddenError, InvalidError

SCOPES: Final = {
    "application:read": "See applications.",
    "application:write": "Make, change and delete applications.",
    "endpoint:read": "See endpoints, the names of their headers, and their statistics.",
    "endpoint:write": "Make, change, pause, test, recover and delete endpoints.",
    "endpoint:secret": "See the secrets that sign what is sent, and rotate them.",
    "event-type:read": "See event types.",
    "event-type:write": "Make, import, change and archive event types.",
    "message:read": "See messages, their payloads and their attempts.",
    "message:write": "Publish messages, send them again, and remove their content.",
    "task:read": "See background tasks.",
    "task:write": "Cancel background tasks.",
    "access:read": "See API keys and marketplace logins, without their secrets.",
    "access:write": "Make and revoke API keys and marketplace logins, end tokens, let sellers into the portal.",
    "organization:read": "See what is the organization's as a whole, such as its audit log.",
    "organization:write": "Change what is the organization's as a whole.",
}
"""Every scope, with what it allows."""

_RESOURCES: Final = {
    "application": "application",
    "endpoint": "endpoint",
    "event-type": "event-type",
    "message": "message",
    "message-attempt": "message",
    "outbox": "message",
    "statistics": "message",
    "background-task": "task",
    "authentication": "access",
}
"""The scope's first word by the second part of an operation's name; others are the organization's."""


def scope_of(name: str, method: str) -> str:
    """
    The scope that an operation needs, from its name (`v1.message.list`) and method alone.

    What it is about is the second part of the name; GET reads and everything else writes. What
    shows a signing secret has a scope of its own.
    """
    if name.endswith("-secret"):
        return "endpoint:secret"
    resource = _RESOURCES.get(name.split(".")[1], "organization")
    return f"{resource}:{'read' if method == 'GET' else 'write'}"


def check_scopes(scopes: Collection[str], field: Field) -> None:
    """Return if all of these are scopes; else raise InvalidError."""
    for scope in scopes:
        if scope not in SCOPES:
            raise InvalidError(field, f"{scope[:64]!r} is no scope; there are {', '.join(SCOPES)}")


def require(principal: Principal, scope: str) -> None:
    """Return if the caller has this scope; else raise ForbiddenError."""
    if principal.scopes is not None and scope not in principal.scopes:
        raise ForbiddenError(f"This key does not have the scope {scope}, which this takes.")
