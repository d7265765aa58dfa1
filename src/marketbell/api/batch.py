"""`POST /api/v1/app/{app_id}/msg/batch`: many messages at once, each with its own verdict."""

from __future__ import annotations

import contextlib
import re
from typing import Final

import msgspec

from marketbell.api.answers import Answer, answer_of
from marketbell.api.bodies import too_large
from marketbell.api.call import Access, Call, Operation
from marketbell.api.message_in import Incoming, incoming
from marketbell.api.problems import body_of, status_of
from marketbell.api.publish import PARAMETERS, PATH, accepted
from marketbell.api.wire import Decoder
from marketbell.control.idempotency import marks_of_batch
from marketbell.errors import InvalidError
from marketbell.store.base import Idempotency, Published

BATCH: Final = f"{PATH}/batch"


class BatchIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What POST takes."""

    messages: list[msgspec.Raw]


class Accepted(msgspec.Struct, frozen=True):
    """The verdict of a message that is on disk."""

    status: int
    message: msgspec.Struct


class Refused(msgspec.Struct, frozen=True):
    """The verdict of one that is not: the status and the body that it would have had alone."""

    status: int
    error: msgspec.Struct


_IN: Final = Decoder(BatchIn)
_BEGUN: Final = re.compile(rb'[ \t\r\n]*{[ \t\r\n]*"messages"[ \t\r\n]*:')
_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


async def _publish(call: Call) -> Answer:
    """
    202 with a verdict for each message, in order; some may be refused, the others are kept.

    ReusedKeyError if the idempotency key came before with another batch; then nothing is kept.
    """
    with_content = call.query.flag("with_content")
    messages = _messages(call.body)
    most = call.services.settings.batch_messages_max
    if not 1 <= len(messages) <= most:
        raise InvalidError(
            ("body", "messages"), f"There are {len(messages)} messages; send 1 to {most}"
        )
    limit = call.services.settings.body_max
    given = [_read(bytes(message), limit) for message in messages]
    published = await call.services.publisher.publish_batch(
        call.principal.organization,
        call.path["app_id"],
        [one if isinstance(one, InvalidError) else one.draft for one in given],
        _marks(call, len(given)),
    )
    verdicts: list[Accepted | Refused] = []
    for one, verdict in zip(given, published, strict=True):
        if isinstance(verdict, Published) and isinstance(one, Incoming):
            shown = accepted(verdict.message, one, with_content=with_content)
            verdicts.append(Accepted(202, shown))
        elif not isinstance(verdict, Published):
            verdicts.append(Refused(status_of(verdict), body_of(verdict)))
    return answer_of(verdicts, 202)


def _messages(body: bytes) -> list[msgspec.Raw]:
    """
    The messages of a body, each unread. InvalidError if it is no batch or says `messages` twice.

    A body in its usual form is read once: what follows the list can be nothing but its end.
    """
    begun = _BEGUN.match(body)
    if begun is not None and body.endswith(b"}"):
        with contextlib.suppress(msgspec.DecodeError, RecursionError):
            return _LIST(memoryview(body)[begun.end() : -1])
    return _IN(body).messages


def _read(message: bytes, limit: int) -> Incoming | InvalidError:
    if len(message) > limit:
        return too_large(limit)
    try:
        given = incoming(message)
    except InvalidError as fault:
        return fault
    if given.application is not None:
        return InvalidError(
            ("body", "application"),
            "A message in a batch cannot bring an application; make it first",
        )
    return given


def _marks(call: Call, count: int) -> list[Idempotency | None]:
    """A mark for each message: the batch's key and body, and the message's place in it."""
    key = call.idempotency_key
    if key is None:
        return [None] * count
    organization = call.principal.organization
    return [*marks_of_batch(organization, call.url_path, key, call.body, count)]


OPERATIONS: Final = (
    Operation(
        method="POST",
        path=BATCH,
        name="v1.message.create-batch",
        summary="Publishes many, each with its own verdict.",
        takes=BatchIn,
        gives={202: list[Accepted | Refused]},
        access=Access.OPERATOR,
        work=_publish,
        query=PARAMETERS,
        body_max=lambda services: services.settings.batch_bytes_max,
    ),
)
