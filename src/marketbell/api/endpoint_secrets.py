"""`…/endpoint/{endpoint_id}/secret` and `…/headers` on the wire."""

from __future__ import annotations

from typing import Final

import msgspec

from marketbell.api.answers import NO_CONTENT, Answer, answer_of
from marketbell.api.call import Access, Call, Operation
from marketbell.api.endpoints import ONE
from marketbell.api.wire import Decoder
from marketbell.control import secrets

HEADERS: Final = f"{ONE}/headers"
SECRET: Final = f"{ONE}/secret"
ROTATE: Final = f"{ONE}/secret/rotate"


class EndpointHeadersIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What PUT takes: all headers."""

    headers: dict[str, str]


class EndpointHeadersPatchIn(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"
):
    """What PATCH takes: some headers, null to take one away, and names to take away."""

    headers: dict[str, str | None] = {}
    delete_headers: list[str] | None = None


class EndpointHeadersOut(msgspec.Struct, frozen=True):
    """Headers that may be shown, and the names of those that are kept back."""

    headers: dict[str, str]
    sensitive: list[str]


class EndpointSecretOut(msgspec.Struct, frozen=True):
    """The current secret, as the receiver needs it."""

    key: str


class EndpointSecretRotateIn(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"
):
    """What a rotation takes."""

    key: str | None = None
    grace_period_seconds: int | None = None


_HEADERS: Final = Decoder(EndpointHeadersIn)
_HEADERS_PATCH: Final = Decoder(EndpointHeadersPatchIn)
_ROTATE: Final = Decoder(EndpointSecretRotateIn)


async def _get_headers(call: Call) -> Answer:
    shown, sensitive = await secrets.shown_headers(
        call.services, call.principal, call.path["app_id"], call.path["endpoint_id"]
    )
    return answer_of(EndpointHeadersOut(shown, list(sensitive)))


async def _put_headers(call: Call) -> Answer:
    await secrets.replace_headers(
        call.services,
        call.principal,
        call.path["app_id"],
        call.path["endpoint_id"],
        _HEADERS(call.body).headers,
    )
    return NO_CONTENT


async def _patch_headers(call: Call) -> Answer:
    form = _HEADERS_PATCH(call.body)
    removed: dict[str, str | None] = dict.fromkeys(form.delete_headers or ())
    await secrets.amend_headers(
        call.services,
        call.principal,
        call.path["app_id"],
        call.path["endpoint_id"],
        removed | form.headers,
    )
    return NO_CONTENT


async def _get_secret(call: Call) -> Answer:
    key = await secrets.secret(
        call.services, call.principal, call.path["app_id"], call.path["endpoint_id"]
    )
    return answer_of(EndpointSecretOut(key))


async def _rotate(call: Call) -> Answer:
    form = _ROTATE(call.body or b"{}")
    key = await secrets.rotate(
        call.services,
        call.principal,
        call.path["app_id"],
        call.path["endpoint_id"],
        key=form.key,
        grace_s=(
            secrets.GRACE_DEFAULT_S
            if form.grace_period_seconds is None
            else form.grace_period_seconds
        ),
    )
    return answer_of(EndpointSecretOut(key))


OPERATIONS: Final = (
    Operation(
        method="GET",
        path=HEADERS,
        name="v1.endpoint.get-headers",
        access=Access.APPLICATION,
        work=_get_headers,
    ),
    Operation(
        method="PUT",
        path=HEADERS,
        name="v1.endpoint.update-headers",
        access=Access.APPLICATION,
        work=_put_headers,
    ),
    Operation(
        method="PATCH",
        path=HEADERS,
        name="v1.endpoint.patch-headers",
        access=Access.APPLICATION,
        work=_patch_headers,
    ),
    Operation(
        method="GET",
        path=SECRET,
        name="v1.endpoint.get-secret",
        access=Access.APPLICATION,
        work=_get_secret,
    ),
    Operation(
        method="POST",
        path=ROTATE,
        name="v1.endpoint.rotate-secret",
        access=Access.APPLICATION,
        work=_rotate,
    ),
)
