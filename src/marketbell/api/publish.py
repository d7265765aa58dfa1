"""`POST /api/v1/app/{app_id}/msg`: the one hot route, ahead of the router."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Final

import msgspec

from marketbell import ids
from marketbell.api.access import rule_of
from marketbell.api.answers import Answer
from marketbell.api.call import Access, Call, Operation
from marketbell.api.message_in import Incoming, MessageIn, incoming
from marketbell.api.messages import WITHOUT, MessageOut, payload_shown, wire
from marketbell.api.query import Query
from marketbell.control import inline
from marketbell.control.idempotency import digest_of, mark
from marketbell.control.services import Services
from marketbell.control.tokens import Principal
from marketbell.errors import InvalidError
from marketbell.model import Message
from marketbell.store.base import Idempotency

PATH: Final = "/api/v1/app/{app_id}/msg"
PREFIX: Final = "/api/v1/app/"
SUFFIX: Final = "/msg"

PARAMETERS: Final = ("with_content",)
_SHOWN: Final = {b"": True, b"with_content=true": True, b"with_content=false": False}
_ENCODE: Final = msgspec.json.Encoder().encode


def application_of(path: str) -> str | None:
    """The application in the path of this route, None for any other path."""
    if not path.startswith(PREFIX) or not path.endswith(SUFFIX):
        return None
    application = path[len(PREFIX) : -len(SUFFIX)]
    return None if not application or "/" in application else application


def path_of(application: str) -> str:
    """The path of this route for an application."""
    return f"{PREFIX}{application}{SUFFIX}"


async def publish(
    services: Services,
    principal: Principal,
    application: str,
    body: bytes,
    *,
    query: bytes,
    headers: Mapping[bytes, bytes],
    making: Callable[[], AbstractContextManager[None]],
) -> Answer:
    """
    Accept one message: 202 once it and its deliveries are on disk.

    The application that it may bring along is made within `making()`.
    """
    RULE.check(principal)
    with_content = shows_content(query)
    try:
        given = incoming(body)
    except InvalidError:
        services.publisher.refused()
        if ids.is_id(ids.APPLICATION, application):
            await services.directory.entry(principal.organization, application)
        raise
    draft = given.draft
    organization = principal.organization
    idempotency = mark_of(organization, application, headers, body)
    published = None
    if given.application is not None:
        with making():
            published = await inline.ensure(
                services,
                principal,
                application,
                given.application,
                [draft],
                idempotency=idempotency,
            )
    if published is None:
        published = await services.publisher.publish(organization, application, draft, idempotency)
    return answer_to(published.message, given, with_content=with_content)


def shows_content(query: bytes) -> bool:
    """Whether a query string asks for the payload in the answer. InvalidError."""
    with_content = _SHOWN.get(query)
    if with_content is None:
        return Query(query, PARAMETERS).flag("with_content", default=True)
    return with_content


def mark_of(
    organization: str, application: str, headers: Mapping[bytes, bytes], body: bytes
) -> Idempotency | None:
    """The mark of a request with these headers; None if it has no key. InvalidError."""
    key = headers.get(b"idempotency-key")
    if key is None:
        return None
    return mark(organization, path_of(application), key, digest_of(body))


def answer_to(message: Message, given: Incoming, *, with_content: bool) -> Answer:
    """The answer to the publisher of a message that is on disk."""
    draft = given.draft
    if draft.raw or not with_content:
        return Answer(202, _ENCODE(accepted(message, given, with_content=with_content)))
    return Answer(202, _ENCODE(wire(message, msgspec.Raw(draft.payload))))


def accepted(message: Message, given: Incoming, *, with_content: bool) -> MessageOut:
    """A message as the answer to its publisher shows it."""
    draft = given.draft
    if not with_content:
        return wire(message, WITHOUT)
    return wire(message, payload_shown(draft.payload) if draft.raw else msgspec.Raw(draft.payload))


async def _passed_by(_call: Call) -> Answer:
    raise AssertionError("publishing passes by the router")


OPERATION: Final = Operation(
    method="POST",
    path=PATH,
    name="v1.message.create",
    summary="Publishes a message: on disk with its deliveries when it answers.",
    takes=MessageIn,
    gives={202: MessageOut},
    access=Access.OPERATOR,
    makes_application=True,
    work=_passed_by,
    query=PARAMETERS,
)
"""The row of this route for the reference and for checks; the router never sees it."""

RULE: Final = rule_of(OPERATION)
"""Who may publish."""
