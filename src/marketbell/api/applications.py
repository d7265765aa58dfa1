"""`/api/v1/app`: applications on the wire."""

from __future__ import annotations

from typing import Final, TypeVar, cast

import msgspec
from msgspec import UNSET, UnsetType

from marketbell import ids
from marketbell.api.answers import NO_CONTENT, Answer, answer_of
from marketbell.api.call import Access, Call, Operation
from marketbell.api.instants import iso
from marketbell.api.pagination import ORDERED, ListOut, list_of, page_of
from marketbell.api.wire import Decoder
from marketbell.control import applications, policy
from marketbell.control.applications import ApplicationChange
from marketbell.errors import InvalidError
from marketbell.model import Application
from marketbell.store.base import Repeated

T = TypeVar("T")

PATH: Final = "/api/v1/app"
ONE: Final = "/api/v1/app/{app_id}"


class ApplicationIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What POST and PUT take, and what a message may bring along."""

    name: str
    uid: str | UnsetType | None = UNSET
    metadata: dict[str, str] | UnsetType | None = UNSET
    throttle_rate: int | UnsetType | None = UNSET
    rate_limit: int | UnsetType | None = UNSET
    """The older name of `throttleRate`."""

    def change(self) -> ApplicationChange:
        """What it says, null as absent where nothing else can be meant."""
        return ApplicationChange(
            name=self.name,
            uid=self.uid,
            metadata=UNSET if self.metadata is None else self.metadata,
            throttle_rate=one_of(self.throttle_rate, self.rate_limit, "throttleRate", "rateLimit"),
        )


class ApplicationPatch(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True
):
    """What PATCH takes; what is absent stays, null clears."""

    name: str | UnsetType = UNSET
    uid: str | UnsetType | None = UNSET
    metadata: dict[str, str] | UnsetType = UNSET
    throttle_rate: int | UnsetType | None = UNSET
    rate_limit: int | UnsetType | None = UNSET

    def change(self) -> ApplicationChange:
        """What it says."""
        return ApplicationChange(
            name=self.name,
            uid=self.uid,
            metadata=self.metadata,
            throttle_rate=one_of(self.throttle_rate, self.rate_limit, "throttleRate", "rateLimit"),
        )


class ApplicationOut(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What is shown of an application."""

    id: str
    uid: str | None
    name: str
    rate_limit: int | None
    throttle_rate: int | None
    metadata: dict[str, str]
    created_at: str
    updated_at: str


_IN: Final = Decoder(ApplicationIn)
_PATCH: Final = Decoder(ApplicationPatch)


def one_of(one: T | UnsetType, other: T | UnsetType, name: str, alias: str) -> T | UnsetType:
    """The value of a field that has two names. InvalidError if both are there and differ."""
    if isinstance(one, UnsetType):
        return other
    if not isinstance(other, UnsetType) and other != one:
        raise InvalidError(
            ("body", alias), f"{alias} and {name} are one field and differ; send {name} alone"
        )
    return one


def shown(application: Application) -> ApplicationOut:
    """An application on the wire, its policy as metadata."""
    return ApplicationOut(
        id=application.public_id,
        uid=application.uid,
        name=application.name,
        rate_limit=application.throttle_rate,
        throttle_rate=application.throttle_rate,
        metadata=application.metadata | policy.render(application.policy),
        created_at=iso(application.created_at),
        updated_at=iso(application.updated_at),
    )


async def _create(call: Call) -> Answer:
    change = _IN(call.body).change()
    once = call.once(lambda made: _kept(*_as_pair(made)))
    made: Application | tuple[Application, bool] | Repeated
    if call.query.flag("get_if_exists"):
        made = await applications.get_or_create(call.services, call.principal, change, once=once)
    else:
        made = await applications.create(call.services, call.principal, change, once=once)
    if isinstance(made, Repeated):
        return Answer(int(made.answer[:3]), made.answer[3:])
    application, new = _as_pair(made)
    return answer_of(shown(application), 201 if new else 200)


def _as_pair(made: object) -> tuple[Application, bool]:
    """What was made or found, and whether it is new."""
    return cast("tuple[Application, bool]", made if isinstance(made, tuple) else (made, True))


def _kept(application: Application, new: bool) -> bytes:
    """An answer as a repeated request gets it, its status before it."""
    return (b"201" if new else b"200") + msgspec.json.encode(shown(application))


async def _list(call: Call) -> Answer:
    page = page_of(call.query, ids.APPLICATION)
    part = await applications.listed(call.services, call.principal, page)
    return answer_of(list_of(part, shown, lambda application: application.public_id))


async def _get(call: Call) -> Answer:
    return answer_of(
        shown(await applications.get(call.services, call.principal, call.path["app_id"]))
    )


async def _put(call: Call) -> Answer:
    application, new = await applications.replace(
        call.services, call.principal, call.path["app_id"], _IN(call.body).change()
    )
    return answer_of(shown(application), 201 if new else 200)


async def _patch(call: Call) -> Answer:
    application = await applications.amend(
        call.services, call.principal, call.path["app_id"], _PATCH(call.body).change()
    )
    return answer_of(shown(application))


async def _delete(call: Call) -> Answer:
    await applications.delete(call.services, call.principal, call.path["app_id"])
    return NO_CONTENT


OPERATIONS: Final = (
    Operation(
        method="POST",
        path=PATH,
        name="v1.application.create",
        summary="Makes an application; with `get_if_exists=true` gives the one that has the uid.",
        takes=ApplicationIn,
        gives={200: ApplicationOut, 201: ApplicationOut},
        access=Access.OPERATOR,
        work=_create,
        query=("get_if_exists",),
    ),
    Operation(
        method="GET",
        path=PATH,
        name="v1.application.list",
        summary="Lists applications, oldest first.",
        gives={200: ListOut[ApplicationOut]},
        access=Access.OPERATOR,
        work=_list,
        query=ORDERED,
    ),
    Operation(
        method="GET",
        path=ONE,
        name="v1.application.get",
        summary="One application.",
        gives={200: ApplicationOut},
        access=Access.APPLICATION,
        work=_get,
    ),
    Operation(
        method="PUT",
        path=ONE,
        name="v1.application.update",
        summary="Replaces it, or makes it under that uid.",
        takes=ApplicationIn,
        gives={200: ApplicationOut, 201: ApplicationOut},
        access=Access.OPERATOR,
        makes_application=True,
        work=_put,
    ),
    Operation(
        method="PATCH",
        path=ONE,
        name="v1.application.patch",
        summary="Changes what is said.",
        takes=ApplicationPatch,
        gives={200: ApplicationOut},
        access=Access.OPERATOR,
        work=_patch,
    ),
    Operation(
        method="DELETE",
        path=ONE,
        name="v1.application.delete",
        summary="Deletes it with its endpoints; its uid is free at once.",
        gives={204: None},
        access=Access.OPERATOR,
        work=_delete,
    ),
)
