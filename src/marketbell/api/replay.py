"""`…/recover`, `…/replay-missing` and `…/bulk-replay`: what begins a background task, on the wire."""

from __future__ import annotations

from typing import Final, cast

import msgspec

from marketbell.api.answers import Answer, answer_of
from marketbell.api.attempts import CODE_CLASSES, STATES
from marketbell.api.call import Access, Call, Operation
from marketbell.api.endpoints import ONE
from marketbell.api.instants import instant_of
from marketbell.api.tasks import TaskOut, begun
from marketbell.api.wire import Decoder, Nothing
from marketbell.control import tasks
from marketbell.control.tasks import Wanted
from marketbell.errors import InvalidError
from marketbell.model import DeliveryState
from marketbell.store.base import Repeated, Task, TaskKind

RECOVER: Final = f"{ONE}/recover"
REPLAY_MISSING: Final = f"{ONE}/replay-missing"
BULK_REPLAY: Final = f"{ONE}/bulk-replay"
EXPUNGE_ALL: Final = "/api/v1/app/{app_id}/msg/expunge-all-contents"


class RecoverIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `recover` and `replay-missing` take: a time."""

    since: str
    until: str | None = None

    def wanted(self) -> Wanted:
        """What it says."""
        return Wanted(
            since=instant_of(self.since, ("body", "since")),
            until=None if self.until is None else instant_of(self.until, ("body", "until")),
        )


class BulkReplayIn(
    RecoverIn, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True
):
    """What `bulk-replay` takes: a time and filters."""

    event_types: list[str] | None = None
    channel: str | None = None
    tag: str | None = None
    status: int | None = None
    """Of the delivery: 0 success, 1 pending, 2 fail, 3 sending, 4 canceled."""
    status_code_class: int | None = None
    """Of the last answer: 100 to 500, 0 for none."""

    def wanted(self) -> Wanted:
        """What it says."""
        if self.status_code_class not in {None, *CODE_CLASSES}:
            raise InvalidError(
                ("body", "statusCodeClass"),
                f"{self.status_code_class} is none of {', '.join(map(str, CODE_CLASSES))}",
            )
        return msgspec.structs.replace(
            super().wanted(),
            event_types=None if self.event_types is None else tuple(self.event_types),
            channel=self.channel,
            tag=self.tag,
            state=self._state(),
            status_code_class=self.status_code_class,
        )

    def _state(self) -> DeliveryState | None:
        if self.status is None:
            return None
        if self.status not in STATES:
            raise InvalidError(
                ("body", "status"), f"{self.status} is none of {', '.join(map(str, STATES))}"
            )
        return STATES[self.status]


_RECOVER: Final = Decoder(RecoverIn)
_BULK: Final = Decoder(BulkReplayIn)


def _rendered(made: object) -> bytes:
    return msgspec.json.encode(begun(cast("Task", made)))


def _answer(made: Task | Repeated) -> Answer:
    if isinstance(made, Repeated):
        return Answer(202, made.answer)
    return answer_of(begun(made), 202)


async def _begin(call: Call, kind: TaskKind, wanted: Wanted) -> Answer:
    return _answer(
        await tasks.begin_for_endpoint(
            call.services,
            call.principal,
            call.path["app_id"],
            call.path["endpoint_id"],
            kind=kind,
            wanted=wanted,
            once=call.once(_rendered),
        )
    )


async def _recover(call: Call) -> Answer:
    return await _begin(call, TaskKind.RECOVER, _RECOVER(call.body).wanted())


async def _replay_missing(call: Call) -> Answer:
    return await _begin(call, TaskKind.REPLAY_MISSING, _RECOVER(call.body).wanted())


async def _bulk_replay(call: Call) -> Answer:
    return await _begin(call, TaskKind.BULK_REPLAY, _BULK(call.body).wanted())


async def _expunge_all(call: Call) -> Answer:
    return _answer(
        await tasks.begin_for_application(
            call.services,
            call.principal,
            call.path["app_id"],
            kind=TaskKind.PURGE_CONTENT,
            once=call.once(_rendered),
        )
    )


OPERATIONS: Final = (
    Operation(
        method="POST",
        path=RECOVER,
        name="v1.endpoint.recover",
        summary="Sends again, behind, what failed since a time, and what was missed while disabled.",
        takes=RecoverIn,
        gives={202: TaskOut},
        access=Access.APPLICATION,
        work=_recover,
    ),
    Operation(
        method="POST",
        path=REPLAY_MISSING,
        name="v1.endpoint.replay-missing",
        summary="Sends, behind, the messages since a time that the endpoint wants and never had.",
        takes=RecoverIn,
        gives={202: TaskOut},
        access=Access.APPLICATION,
        work=_replay_missing,
    ),
    Operation(
        method="POST",
        path=BULK_REPLAY,
        name="v1.endpoint.bulk-replay",
        summary="Sends again, behind, the messages since a time that filters name.",
        takes=BulkReplayIn,
        gives={202: TaskOut},
        access=Access.APPLICATION,
        work=_bulk_replay,
    ),
    Operation(
        method="POST",
        path=EXPUNGE_ALL,
        name="v1.message.expunge-all-contents",
        summary="Removes, behind, the payloads of all messages of an application so far.",
        takes=Nothing,
        gives={202: TaskOut},
        access=Access.OPERATOR,
        work=_expunge_all,
    ),
)
