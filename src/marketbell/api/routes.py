"""Every operation of the management API, in one list: who may, and what it takes."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import compile_path

from marketbell.api import (
    anywhere,
    applications,
    attempts,
    audit,
    batch,
    deliveries,
    endpoint_actions,
    endpoint_secrets,
    endpoints,
    event_type_import,
    event_types,
    finding,
    health,
    keys,
    marketplace_logins,
    messages,
    operational_webhooks,
    portal_access,
    publish,
    rejected,
    replay,
    statistics,
    tasks,
)
from marketbell.api.call import Operation


def operations() -> tuple[Operation, ...]:
    """All that go through the router, made for one server."""
    return (
        *health.operations(),
        *applications.OPERATIONS,
        *endpoints.OPERATIONS,
        *endpoint_secrets.OPERATIONS,
        *endpoint_actions.OPERATIONS,
        *event_types.OPERATIONS,
        *event_type_import.OPERATIONS,
        *batch.OPERATIONS,
        *replay.OPERATIONS,
        *messages.OPERATIONS,
        *attempts.OPERATIONS,
        *deliveries.OPERATIONS,
        *statistics.OPERATIONS,
        *anywhere.OPERATIONS,
        *finding.OPERATIONS,
        *tasks.OPERATIONS,
        *operational_webhooks.OPERATIONS,
        *rejected.OPERATIONS,
        *audit.OPERATIONS,
        *portal_access.OPERATIONS,
        *keys.OPERATIONS,
        *marketplace_logins.OPERATIONS,
    )


def documented() -> tuple[Operation, ...]:
    """All operations, the one that passes by the router among them, before its like."""
    found = operations()
    place = next(place for place, one in enumerate(found) if one.name.startswith("v1.message."))
    return (*found[:place], publish.OPERATION, *found[place:])


def by_path(
    found: Iterable[Operation],
) -> list[tuple[str, list[Operation], list[str] | None]]:
    """
    Paths as a router tries them, each with its operations and the methods that end the search.

    A path of words stands before one that takes any word there. An eventId may read `batch`
    too: where the second path would take the first one's words, other methods go on to it.
    """
    paths: dict[str, list[Operation]] = {}
    for operation in found:
        paths.setdefault(operation.path, []).append(operation)
    return [
        (path, own, [one.method for one in own] if _taken_too(path, paths) else None)
        for path, own in sorted(paths.items(), key=lambda one: _braces(one[0]))
    ]


def _braces(path: str) -> list[bool]:
    return [part.startswith("{") for part in path.split("/")]


def _taken_too(path: str, paths: Iterable[str]) -> bool:
    words = path.replace("{", "").replace("}", "")
    return any(path != other and compile_path(other)[0].match(words) for other in paths)
