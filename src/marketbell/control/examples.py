"""An example of an event type, sent to one endpoint alone on the way that every message goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from marketbell.control import applications, event_types
from marketbell.control.directory import dialect_of
from marketbell.control.drafts import EVENT_TYPE, MessageDraft
from marketbell.control.samples import derived, given_examples
from marketbell.control.services import Services
from marketbell.control.shapes import check_event_type
from marketbell.control.tokens import Principal
from marketbell.errors import ConflictError, InvalidError, NotFoundError
from marketbell.model import Application, Endpoint, Message
from marketbell.store.base import EventType, Idempotency

PING: Final = "svix.ping"
"""An event type that there always is."""

_PING_PAYLOAD: Final = b'{"success": true}'
_SCHEMA: Final = msgspec.json.Decoder(dict[str, object])


class ExampleWanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which example a caller wants."""

    event_type: str
    index: int = 0
    """Which of the examples that there are."""
    payload: bytes | None = None
    """JSON to be sent instead of an example."""


async def send(
    services: Services,
    principal: Principal,
    application_ref: str,
    ref: str,
    wanted: ExampleWanted,
    *,
    idempotency: Idempotency | None = None,
) -> Message:
    """
    The message, on disk with one delivery to this endpoint, whatever its filters.

    NotFoundError for the endpoint and for an event type that the caller cannot see;
    InvalidError if there is no such example or none can be made; ConflictError if the endpoint
    is disabled; and what publishing raises.
    """
    check_event_type(wanted.event_type, EVENT_TYPE)
    application = await applications.get(services, principal, application_ref)
    endpoint = await services.store.endpoint(application.id, ref)
    if endpoint.disabled:
        raise ConflictError("The endpoint is disabled; enable it and send the example again.")
    payload = await _payload(services, principal, application, endpoint, wanted)
    published = await services.publisher.publish_to(
        principal.organization,
        application.public_id,
        endpoint.public_id,
        MessageDraft(event_type=wanted.event_type, payload=payload),
        idempotency,
    )
    return published.message


async def _payload(
    services: Services,
    principal: Principal,
    application: Application,
    endpoint: Endpoint,
    wanted: ExampleWanted,
) -> bytes:
    """What is to be sent: the caller's own, the organization's, the catalogue's, or the ping's."""
    name = wanted.event_type
    try:
        own = await services.store.event_type(principal.organization, name)
    except NotFoundError:
        own = None
    if own is not None and not event_types.visible(own, principal):
        raise NotFoundError(f"There is no event type {name!r}.")
    shipped = _shipped(services, application, endpoint, name)
    if own is None and shipped is None and name != PING:
        raise NotFoundError(f"There is no event type {name!r}.")
    if wanted.payload is not None:
        return wanted.payload
    if own is not None and own.schema is not None:
        return _of_schema(own, own.schema, wanted.index)
    if shipped is not None:
        return _chosen(shipped, wanted.index)
    if name == PING:
        return _PING_PAYLOAD
    raise InvalidError(
        EVENT_TYPE,
        f"The event type {name!r} has neither an example nor a schema to derive one from; "
        "send `payload`, or give it a schema",
    )


def _shipped(
    services: Services, application: Application, endpoint: Endpoint, name: str
) -> Sequence[object] | None:
    """The examples of the catalogues that are in force for this endpoint."""
    for policy in (endpoint.policy, None):
        found = dialect_of(services.registry, application, policy).catalogue.get(name)
        if found is not None:
            return found.examples
    return None


def _of_schema(event_type: EventType, schema: bytes, index: int) -> bytes:
    value = _SCHEMA.decode(schema)
    given = given_examples(value)
    if given:
        return _chosen(given, index)
    made = derived(value)
    if not isinstance(made, dict):
        raise _underivable(event_type.name)
    return msgspec.json.encode(made)


def _chosen(examples: Sequence[object], index: int) -> bytes:
    if not 0 <= index < len(examples):
        raise InvalidError(
            ("body", "exampleIndex"),
            f"There are {len(examples)} examples, counted from 0; {index} is none of them",
        )
    return msgspec.json.encode(examples[index])


def _underivable(name: str) -> InvalidError:
    return InvalidError(
        EVENT_TYPE,
        f"No JSON object can be derived from the schema of {name!r}; "
        "give the schema `examples`, or send `payload`",
    )
