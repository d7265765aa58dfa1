"""`/api/v1/operational-webhook/endpoint`: an operator's own endpoints on the wire."""

from __future__ import annotations

from typing import Final, cast

import msgspec
from msgspec import UNSET, UnsetType

from marketbell import ids
from marketbell.api.answers import NO_CONTENT, Answer, answer_of
from marketbell.api.applications import one_of
from marketbell.api.call import Access, Call, Operation
from marketbell.api.endpoint_secrets import (
    EndpointHeadersIn,
    EndpointHeadersOut,
    EndpointSecretOut,
    EndpointSecretRotateIn,
)
from marketbell.api.instants import iso
from marketbell.api.pagination import ORDERED, ListOut, list_of, page_of
from marketbell.api.wire import Decoder
from marketbell.control import operational, policy, secrets
from marketbell.control.endpoint_change import EndpointChange
from marketbell.model import Endpoint
from marketbell.store.base import Repeated

PATH: Final = "/api/v1/operational-webhook/endpoint"
ONE: Final = f"{PATH}/{{endpoint_id}}"
HEADERS: Final = f"{ONE}/headers"
SECRET: Final = f"{ONE}/secret"
ROTATE: Final = f"{ONE}/secret/rotate"


class OperationalWebhookEndpointUpsertIn(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True
):
    """What PUT takes; null is the same as absent but for the fields that null clears."""

    url: str
    uid: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    event_types: list[str] | UnsetType | None = UNSET
    filter_types: list[str] | UnsetType | None = UNSET
    """The name of `eventTypes` in SDKs before 2.0."""
    throttle_rate: int | UnsetType | None = UNSET
    rate_limit: int | UnsetType | None = UNSET
    """The older name of `throttleRate`."""
    disabled: bool | UnsetType | None = UNSET
    metadata: dict[str, str] | UnsetType | None = UNSET

    def change(self) -> EndpointChange:
        """What it says."""
        types = one_of(self.event_types, self.filter_types, "eventTypes", "filterTypes")
        return EndpointChange(
            url=self.url,
            uid=self.uid,
            description=UNSET if self.description is None else self.description,
            event_types=tuple(types) if isinstance(types, list) else types,
            types_field="filterTypes" if self.event_types is UNSET else "eventTypes",
            throttle_rate=one_of(self.throttle_rate, self.rate_limit, "throttleRate", "rateLimit"),
            disabled=UNSET if self.disabled is None else self.disabled,
            metadata=UNSET if self.metadata is None else self.metadata,
        )


class OperationalWebhookEndpointIn(
    OperationalWebhookEndpointUpsertIn, frozen=True, rename="camel", kw_only=True
):
    """What POST takes."""

    headers: dict[str, str] | UnsetType | None = UNSET
    secret: str | UnsetType | None = UNSET

    def change(self) -> EndpointChange:
        """What it says."""
        return msgspec.structs.replace(
            super().change(),
            headers=UNSET if self.headers is None else self.headers,
            secret=UNSET if self.secret is None else self.secret,
        )


class OperationalWebhookEndpointOut(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What is shown of an operational endpoint, under the names of every SDK."""

    id: str
    uid: str | None
    url: str
    description: str
    event_types: list[str] | None
    filter_types: list[str] | None
    throttle_rate: int | None
    rate_limit: int | None
    disabled: bool
    metadata: dict[str, str]
    created_at: str
    updated_at: str


_IN: Final = Decoder(OperationalWebhookEndpointIn)
_UPSERT: Final = Decoder(OperationalWebhookEndpointUpsertIn)
_HEADERS: Final = Decoder(EndpointHeadersIn)
_ROTATE: Final = Decoder(EndpointSecretRotateIn)


def shown(endpoint: Endpoint) -> OperationalWebhookEndpointOut:
    """An operational endpoint on the wire, without its secrets."""
    event_types = None if endpoint.event_types is None else sorted(endpoint.event_types)
    return OperationalWebhookEndpointOut(
        id=endpoint.public_id,
        uid=endpoint.uid,
        url=endpoint.url,
        description=endpoint.description,
        event_types=event_types,
        filter_types=event_types,
        throttle_rate=endpoint.throttle_rate,
        rate_limit=endpoint.throttle_rate,
        disabled=endpoint.disabled,
        metadata=endpoint.metadata | policy.render(endpoint.policy),
        created_at=iso(endpoint.created_at),
        updated_at=iso(endpoint.updated_at),
    )


def _rendered(made: object) -> bytes:
    return msgspec.json.encode(shown(cast("Endpoint", made)))


async def _create(call: Call) -> Answer:
    made = await operational.create(
        call.services, call.principal, _IN(call.body).change(), once=call.once(_rendered)
    )
    if isinstance(made, Repeated):
        return Answer(201, made.answer)
    return answer_of(shown(made), 201)


async def _list(call: Call) -> Answer:
    page = page_of(call.query, ids.ENDPOINT)
    part = await operational.listed(call.services, call.principal, page)
    return answer_of(list_of(part, shown, lambda endpoint: endpoint.public_id))


async def _get(call: Call) -> Answer:
    return answer_of(shown(await operational.get(call.services, call.principal, _ref(call))))


async def _put(call: Call) -> Answer:
    endpoint, new = await operational.replace(
        call.services, call.principal, _ref(call), _UPSERT(call.body).change()
    )
    return answer_of(shown(endpoint), 201 if new else 200)


async def _delete(call: Call) -> Answer:
    await operational.delete(call.services, call.principal, _ref(call))
    return NO_CONTENT


async def _get_headers(call: Call) -> Answer:
    await operational.get(call.services, call.principal, _ref(call))
    headers, sensitive = await secrets.shown_headers(
        call.services, operational.hidden(call.principal), operational.APPLICATION, _ref(call)
    )
    return answer_of(EndpointHeadersOut(headers, list(sensitive)))


async def _put_headers(call: Call) -> Answer:
    form = _HEADERS(call.body)
    await operational.get(call.services, call.principal, _ref(call))
    await secrets.replace_headers(
        call.services,
        operational.hidden(call.principal),
        operational.APPLICATION,
        _ref(call),
        form.headers,
    )
    return NO_CONTENT


async def _get_secret(call: Call) -> Answer:
    await operational.get(call.services, call.principal, _ref(call))
    key = await secrets.secret(
        call.services, operational.hidden(call.principal), operational.APPLICATION, _ref(call)
    )
    return answer_of(EndpointSecretOut(key))


def _ref(call: Call) -> str:
    return call.path["endpoint_id"]


async def _rotate(call: Call) -> Answer:
    form = _ROTATE(call.body or b"{}")
    await operational.get(call.services, call.principal, _ref(call))
    grace_s = form.grace_period_seconds
    await secrets.rotate(
        call.services,
        operational.hidden(call.principal),
        operational.APPLICATION,
        _ref(call),
        key=form.key,
        key_type=form.key_type,
        grace_s=secrets.GRACE_DEFAULT_S if grace_s is None else grace_s,
        once=call.once(lambda _made: b""),
    )
    return NO_CONTENT


OPERATIONS: Final = (
    Operation(
        method="POST",
        path=PATH,
        name="v1.operational-webhook.endpoint.create",
        summary="Makes an operational endpoint with a secret.",
        takes=OperationalWebhookEndpointIn,
        gives={201: OperationalWebhookEndpointOut},
        access=Access.OPERATOR,
        work=_create,
    ),
    Operation(
        method="GET",
        path=PATH,
        name="v1.operational-webhook.endpoint.list",
        summary="Lists operational endpoints, oldest first.",
        gives={200: ListOut[OperationalWebhookEndpointOut]},
        access=Access.OPERATOR,
        work=_list,
        query=ORDERED,
    ),
    Operation(
        method="GET",
        path=ONE,
        name="v1.operational-webhook.endpoint.get",
        summary="One operational endpoint.",
        gives={200: OperationalWebhookEndpointOut},
        access=Access.OPERATOR,
        work=_get,
    ),
    Operation(
        method="PUT",
        path=ONE,
        name="v1.operational-webhook.endpoint.update",
        summary="Replaces it, or makes it under that uid; headers and secret stay.",
        takes=OperationalWebhookEndpointUpsertIn,
        gives={200: OperationalWebhookEndpointOut, 201: OperationalWebhookEndpointOut},
        access=Access.OPERATOR,
        work=_put,
    ),
    Operation(
        method="DELETE",
        path=ONE,
        name="v1.operational-webhook.endpoint.delete",
        summary="Deletes it; what is pending is cancelled.",
        gives={204: None},
        access=Access.OPERATOR,
        work=_delete,
    ),
    Operation(
        method="GET",
        path=HEADERS,
        name="v1.operational-webhook.endpoint.get-headers",
        summary="Its headers; the names alone of those that look like secrets.",
        gives={200: EndpointHeadersOut},
        access=Access.OPERATOR,
        work=_get_headers,
    ),
    Operation(
        method="PUT",
        path=HEADERS,
        name="v1.operational-webhook.endpoint.update-headers",
        summary="These headers and no others.",
        takes=EndpointHeadersIn,
        gives={204: None},
        access=Access.OPERATOR,
        work=_put_headers,
    ),
    Operation(
        method="GET",
        path=SECRET,
        name="v1.operational-webhook.endpoint.get-secret",
        summary="The current secret; of an ed25519 pair the public half.",
        gives={200: EndpointSecretOut},
        access=Access.OPERATOR,
        scope="endpoint:secret",
        work=_get_secret,
    ),
    Operation(
        method="POST",
        path=ROTATE,
        name="v1.operational-webhook.endpoint.rotate-secret",
        summary="A new secret; the old one signs along for a while.",
        takes=EndpointSecretRotateIn,
        gives={204: None},
        access=Access.OPERATOR,
        scope="endpoint:secret",
        work=_rotate,
    ),
)
