"""`/api/v1/app/{app_id}/endpoint`: endpoints on the wire."""

from __future__ import annotations

from typing import Final, cast

import msgspec
from msgspec import UNSET, UnsetType

from marketbell import ids
from marketbell.api.answers import NO_CONTENT, Answer, answer_of
from marketbell.api.applications import one_of
from marketbell.api.call import Access, Call, Operation
from marketbell.api.instants import iso
from marketbell.api.pagination import ORDERED, ListOut, list_of, page_of
from marketbell.api.wire import Decoder
from marketbell.control import endpoints, policy
from marketbell.control.endpoint_change import EndpointChange
from marketbell.model import Endpoint
from marketbell.store.base import Repeated

PATH: Final = "/api/v1/app/{app_id}/endpoint"
ONE: Final = "/api/v1/app/{app_id}/endpoint/{endpoint_id}"


class _Fields(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True
):
    """The optional fields that POST, PUT and PATCH have in common."""

    uid: str | UnsetType | None = UNSET
    filter_types: list[str] | UnsetType | None = UNSET
    """The name of `eventTypes` in SDKs before 2.0."""
    event_types: list[str] | UnsetType | None = UNSET
    channels: list[str] | UnsetType | None = UNSET
    throttle_rate: int | UnsetType | None = UNSET
    rate_limit: int | UnsetType | None = UNSET
    """The older name of `throttleRate`."""

    def said(self) -> EndpointChange:
        """What these fields say."""
        wanted = one_of(self.event_types, self.filter_types, "eventTypes", "filterTypes")
        return EndpointChange(
            uid=self.uid,
            event_types=_names(wanted),
            types_field="filterTypes" if self.event_types is UNSET else "eventTypes",
            channels=_names(self.channels),
            throttle_rate=one_of(self.throttle_rate, self.rate_limit, "throttleRate", "rateLimit"),
        )


class EndpointUpsertIn(_Fields, frozen=True, rename="camel", kw_only=True):
    """What PUT takes; null is the same as absent but for the fields that null clears."""

    url: str
    description: str | UnsetType | None = UNSET
    metadata: dict[str, str] | UnsetType | None = UNSET
    disabled: bool | UnsetType | None = UNSET
    version: int | UnsetType | None = UNSET
    """Known to SDKs before 2.0."""

    def change(self) -> EndpointChange:
        """What it says."""
        return msgspec.structs.replace(
            self.said(),
            url=self.url,
            description=UNSET if self.description is None else self.description,
            metadata=UNSET if self.metadata is None else self.metadata,
            disabled=UNSET if self.disabled is None else self.disabled,
            version=UNSET if self.version is None else self.version,
        )


class EndpointIn(EndpointUpsertIn, frozen=True, rename="camel", kw_only=True):
    """What POST takes."""

    headers: dict[str, str] | UnsetType | None = UNSET
    secret: str | UnsetType | None = UNSET
    key_type: str | None = None
    """`hmac256` or `ed25519`: what secret is made if none is given."""

    def change(self) -> EndpointChange:
        """What it says."""
        return msgspec.structs.replace(
            super().change(),
            headers=UNSET if self.headers is None else self.headers,
            secret=UNSET if self.secret is None else self.secret,
            key_type=self.key_type,
        )


class EndpointPatch(_Fields, frozen=True, rename="camel", kw_only=True):
    """What PATCH takes; what is absent stays, null clears."""

    url: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    version: int | UnsetType = UNSET
    secret: str | UnsetType = UNSET
    """Known to SDKs before 2.0; the old one no longer signs."""

    def change(self) -> EndpointChange:
        """What it says."""
        return msgspec.structs.replace(
            self.said(),
            url=self.url,
            description=self.description,
            metadata=self.metadata,
            disabled=self.disabled,
            version=self.version,
            secret=self.secret,
        )


class EndpointOut(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What is shown of an endpoint, under the names of every SDK."""

    id: str
    uid: str | None
    url: str
    description: str
    filter_types: list[str] | None
    event_types: list[str] | None
    channels: list[str] | None
    rate_limit: int | None
    throttle_rate: int | None
    disabled: bool
    paused: bool
    """Whether everything for it is held: see `…/pause` and `…/resume`."""
    version: int
    metadata: dict[str, str]
    created_at: str
    updated_at: str


_IN: Final = Decoder(EndpointIn)
_UPSERT: Final = Decoder(EndpointUpsertIn)
_PATCH: Final = Decoder(EndpointPatch)


def shown(endpoint: Endpoint) -> EndpointOut:
    """An endpoint on the wire, its policy as metadata, without its secrets."""
    event_types = None if endpoint.event_types is None else sorted(endpoint.event_types)
    return EndpointOut(
        id=endpoint.public_id,
        uid=endpoint.uid,
        url=endpoint.url,
        description=endpoint.description,
        filter_types=event_types,
        event_types=event_types,
        channels=None if endpoint.channels is None else sorted(endpoint.channels),
        rate_limit=endpoint.throttle_rate,
        throttle_rate=endpoint.throttle_rate,
        disabled=endpoint.disabled,
        paused=endpoint.paused,
        version=endpoint.version,
        metadata=endpoint.metadata | policy.render(endpoint.policy),
        created_at=iso(endpoint.created_at),
        updated_at=iso(endpoint.updated_at),
    )


def _names(names: list[str] | UnsetType | None) -> tuple[str, ...] | UnsetType | None:
    return tuple(names) if isinstance(names, list) else names


def _rendered(made: object) -> bytes:
    return msgspec.json.encode(shown(cast("Endpoint", made)))


async def _create(call: Call) -> Answer:
    made = await endpoints.create(
        call.services,
        call.principal,
        call.path["app_id"],
        _IN(call.body).change(),
        once=call.once(_rendered),
    )
    if isinstance(made, Repeated):
        return Answer(201, made.answer)
    return answer_of(shown(made), 201)


async def _list(call: Call) -> Answer:
    page = page_of(call.query, ids.ENDPOINT)
    part = await endpoints.listed(call.services, call.principal, call.path["app_id"], page)
    return answer_of(list_of(part, shown, lambda endpoint: endpoint.public_id))


async def _get(call: Call) -> Answer:
    endpoint = await endpoints.get(
        call.services, call.principal, call.path["app_id"], call.path["endpoint_id"]
    )
    return answer_of(shown(endpoint))


async def _put(call: Call) -> Answer:
    endpoint, new = await endpoints.replace(
        call.services,
        call.principal,
        call.path["app_id"],
        call.path["endpoint_id"],
        _UPSERT(call.body).change(),
    )
    return answer_of(shown(endpoint), 201 if new else 200)


async def _patch(call: Call) -> Answer:
    endpoint = await endpoints.amend(
        call.services,
        call.principal,
        call.path["app_id"],
        call.path["endpoint_id"],
        _PATCH(call.body).change(),
    )
    return answer_of(shown(endpoint))


async def _delete(call: Call) -> Answer:
    await endpoints.delete(
        call.services, call.principal, call.path["app_id"], call.path["endpoint_id"]
    )
    return NO_CONTENT


OPERATIONS: Final = (
    Operation(
        method="POST",
        path=PATH,
        name="v1.endpoint.create",
        summary="Makes an endpoint with a secret.",
        takes=EndpointIn,
        gives={201: EndpointOut},
        access=Access.APPLICATION,
        work=_create,
    ),
    Operation(
        method="GET",
        path=PATH,
        name="v1.endpoint.list",
        summary="Lists endpoints, oldest first.",
        gives={200: ListOut[EndpointOut]},
        access=Access.APPLICATION,
        work=_list,
        query=ORDERED,
    ),
    Operation(
        method="GET",
        path=ONE,
        name="v1.endpoint.get",
        summary="One endpoint.",
        gives={200: EndpointOut},
        access=Access.APPLICATION,
        work=_get,
    ),
    Operation(
        method="PUT",
        path=ONE,
        name="v1.endpoint.update",
        summary="Replaces it, or makes it under that uid; headers and secret stay.",
        takes=EndpointUpsertIn,
        gives={200: EndpointOut, 201: EndpointOut},
        access=Access.APPLICATION,
        work=_put,
    ),
    Operation(
        method="PATCH",
        path=ONE,
        name="v1.endpoint.patch",
        summary="Changes what is said.",
        takes=EndpointPatch,
        gives={200: EndpointOut},
        access=Access.APPLICATION,
        work=_patch,
    ),
    Operation(
        method="DELETE",
        path=ONE,
        name="v1.endpoint.delete",
        summary="Deletes it; what is pending is cancelled.",
        gives={204: None},
        access=Access.APPLICATION,
        work=_delete,
    ),
)
