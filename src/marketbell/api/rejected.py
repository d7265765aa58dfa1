"""`/api/v1/outbox/rejected`: messages that were put into the outbox and refused when they were taken."""

from __future__ import annotations

from typing import Final, cast

import msgspec

from marketbell import ids
from marketbell.api.answers import NO_CONTENT, Answer, answer_of
from marketbell.api.call import Access, Call, Operation
from marketbell.api.instants import iso
from marketbell.api.pagination import PARAMETERS, ListOut, list_of, page_of
from marketbell.api.wire import Nothing
from marketbell.control import rejected
from marketbell.store.base import Rejected, Repeated

PATH: Final = "/api/v1/outbox/rejected"
ONE: Final = PATH + "/{rejected_id}"
REQUEUE: Final = ONE + "/requeue"


class RejectedOut(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What is shown of a rejected message in a list."""

    id: str
    application: str
    """As the message names it: an id or a uid."""
    code: str
    """Of the error, as it would be answered to a POST."""
    reason: str
    created_at: str
    """When it was put into the outbox."""
    rejected_at: str


class RejectedMessageOut(RejectedOut, frozen=True, rename="camel", kw_only=True):
    """A rejected message, with what was to be published."""

    message: msgspec.Raw


def shown(one: Rejected) -> RejectedOut:
    """One on the wire."""
    return RejectedOut(
        id=one.public_id,
        application=one.application,
        code=one.code,
        reason=one.reason,
        created_at=iso(one.created_at),
        rejected_at=iso(one.rejected_at),
    )


async def _list(call: Call) -> Answer:
    page = page_of(call.query, ids.REJECTED, newest_first=True)
    part = await rejected.listed(call.services, call.principal, page)
    return answer_of(list_of(part, shown, lambda one: one.public_id))


async def _get(call: Call) -> Answer:
    one = await rejected.get(call.services, call.principal, call.path["rejected_id"])
    fields = msgspec.structs.asdict(shown(one))
    return answer_of(RejectedMessageOut(**fields, message=msgspec.Raw(one.body)))


async def _delete(call: Call) -> Answer:
    await rejected.drop(call.services, call.principal, call.path["rejected_id"])
    return NO_CONTENT


async def _requeue(call: Call) -> Answer:
    once = call.once(lambda made: msgspec.json.encode(shown(cast("Rejected", made))))
    one = await rejected.requeue(call.services, call.principal, call.path["rejected_id"], once)
    if isinstance(one, Repeated):
        return Answer(202, one.answer)
    return answer_of(shown(one), 202)


OPERATIONS: Final = (
    Operation(
        method="GET",
        path=PATH,
        name="v1.outbox.rejected.list",
        summary="Lists messages of the outbox that were refused, newest first.",
        gives={200: ListOut[RejectedOut]},
        access=Access.OPERATOR,
        work=_list,
        query=PARAMETERS,
    ),
    Operation(
        method="GET",
        path=ONE,
        name="v1.outbox.rejected.get",
        summary="One refused message, with what was to be published.",
        gives={200: RejectedMessageOut},
        access=Access.OPERATOR,
        work=_get,
    ),
    Operation(
        method="DELETE",
        path=ONE,
        name="v1.outbox.rejected.delete",
        summary="Forgets a refused message.",
        gives={204: None},
        access=Access.OPERATOR,
        work=_delete,
    ),
    Operation(
        method="POST",
        path=REQUEUE,
        name="v1.outbox.rejected.requeue",
        summary="Puts a refused message into the outbox again, once what refused it is mended.",
        takes=Nothing,
        gives={202: RejectedOut},
        access=Access.OPERATOR,
        work=_requeue,
    ),
)
