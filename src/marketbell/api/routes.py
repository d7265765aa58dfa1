"""Every operation of the management API, in one list: who may, and what it takes."""

from __future__ import annotations

from typing import Final

from marketbell.api import (
    applications,
    attempts,
    batch,
    endpoint_secrets,
    endpoints,
    event_types,
    health,
    messages,
)
from marketbell.api.call import Access, Operation
from marketbell.api.publish import PARAMETERS, PATH

PUBLISH: Final = ("POST", PATH, Access.OPERATOR, PARAMETERS)
"""The one operation that passes by the router: method, path, access and parameters."""


def operations() -> tuple[Operation, ...]:
    """All that go through the router, made for one server."""
    return (
        *health.operations(),
        *applications.OPERATIONS,
        *endpoints.OPERATIONS,
        *endpoint_secrets.OPERATIONS,
        *event_types.OPERATIONS,
        *batch.OPERATIONS,
        *messages.OPERATIONS,
        *attempts.OPERATIONS,
    )
