"""`/api/v1/msg` and `/api/v1/attempt`: lists over all of an organization's applications."""

from __future__ import annotations

from typing import Final

import msgspec

from marketbell import ids
from marketbell.api import attempts, messages
from marketbell.api.answers import Answer, answer_of
from marketbell.api.attempts import MessageAttemptOut
from marketbell.api.call import Access, Call, Operation
from marketbell.api.messages import MessageOut
from marketbell.api.pagination import PARAMETERS, ListOut, list_of, page_of
from marketbell.control import history
from marketbell.store.base import AttemptRow, Owned, Slice

MESSAGES: Final = "/api/v1/msg"
ATTEMPTS: Final = "/api/v1/attempt"


class OwnedMessageOut(MessageOut, frozen=True, rename="camel", kw_only=True):
    """What is shown of a message beside those of other applications."""

    app_id: str


class OwnedAttemptOut(MessageAttemptOut, frozen=True, rename="camel", kw_only=True):
    """What is shown of an attempt beside those of other applications."""

    app_id: str


async def _messages(call: Call) -> Answer:
    which = messages.which_of(call)
    page = page_of(call.query, ids.MESSAGE, newest_first=True)
    part = await history.messages_anywhere(call.services, call.principal, which, page)
    return answer_of(
        list_of(
            part,
            lambda one: OwnedMessageOut(
                **msgspec.structs.asdict(
                    messages.shown(one.value, with_content=which.with_content)
                ),
                app_id=one.application,
            ),
            lambda one: one.value.public_id,
        )
    )


async def _attempts(call: Call) -> Answer:
    which = attempts.which_of(call)
    with_message = call.query.flag("with_msg")
    page = page_of(call.query, ids.ATTEMPT, newest_first=True)
    part: Slice[Owned[AttemptRow]] = Slice((), done=True)
    if which is not None:
        part = await history.attempts_anywhere(call.services, call.principal, which, page)
    return answer_of(
        list_of(
            part,
            lambda one: OwnedAttemptOut(
                **msgspec.structs.asdict(
                    attempts.shown(
                        call.services,
                        one.value,
                        with_content=which is None or which.with_content,
                        with_message=with_message,
                    )
                ),
                app_id=one.application,
            ),
            lambda one: one.value.attempt.public_id,
        )
    )


OPERATIONS: Final = (
    Operation(
        method="GET",
        path=MESSAGES,
        name="v1.message.list-all",
        summary="Lists the messages of all applications, newest first.",
        gives={200: ListOut[OwnedMessageOut]},
        access=Access.OPERATOR,
        work=_messages,
        query=(*PARAMETERS, *messages.FILTERS),
    ),
    Operation(
        method="GET",
        path=ATTEMPTS,
        name="v1.message-attempt.list-all",
        summary="Lists the attempts of all applications, newest first.",
        gives={200: ListOut[OwnedAttemptOut]},
        access=Access.OPERATOR,
        work=_attempts,
        query=(*attempts.FILTERS, "with_msg"),
    ),
)
