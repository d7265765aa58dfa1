"""`…/endpoint/{endpoint_id}/secret` and `…/headers` on the wire."""

from __future__ import annotations

from typing import Final, cast

import msgspec

from marketbell.api.answers import NO_CONTENT, Answer, answer_of
from marketbell.api.call import Access, Call, Operation
from marketbell.api.endpoints import ONE
from marketbell.api.wire import Decoder
from marketbell.control import secrets
from marketbell.store.base import Repeated

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
    key_type: str | None = None
    """`hmac256` or `ed25519`: what is made if no key is given."""


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
    grace_s = form.grace_period_seconds
    made = await secrets.rotate(
        call.services,
        call.principal,
        call.path["app_id"],
        call.path["endpoint_id"],
        key=form.key,
        key_type=form.key_type,
        grace_s=secrets.GRACE_DEFAULT_S if grace_s is None else grace_s,
        once=call.once(_rotated),
    )
    # SDKs before 2.0 expect nothing; later ones read the new secret.
    return Answer(200, made.answer if isinstance(made, Repeated) else _rotated(made))


def _rotated(secret: object) -> bytes:
    return msgspec.json.encode(EndpointSecretOut(cast("str", secret)))


OPERATIONS: Final = (
    Operation(
        method="GET",
        path=HEADERS,
        name="v1.endpoint.get-headers",
        summary="Its headers; the names alone of those that look like secrets.",
        gives={200: EndpointHeadersOut},
        access=Access.APPLICATION,
        work=_get_headers,
    ),
    Operation(
        method="PUT",
        path=HEADERS,
        name="v1.endpoint.update-headers",
        summary="These headers and no others.",
        takes=EndpointHeadersIn,
        gives={204: None},
        access=Access.APPLICATION,
        work=_put_headers,
    ),
    Operation(
        method="PATCH",
        path=HEADERS,
        name="v1.endpoint.patch-headers",
        summary="Sets some, takes some away.",
        takes=EndpointHeadersPatchIn,
        gives={204: None},
        access=Access.APPLICATION,
        work=_patch_headers,
    ),
    Operation(
        method="GET",
        path=SECRET,
        name="v1.endpoint.get-secret",
        summary="The current secret; of an ed25519 pair the public half.",
        gives={200: EndpointSecretOut},
        access=Access.APPLICATION,
        work=_get_secret,
    ),
    Operation(
        method="POST",
        path=ROTATE,
        name="v1.endpoint.rotate-secret",
        summary="A new secret; the old one signs along for a while.",
        takes=EndpointSecretRotateIn,
        gives={200: EndpointSecretOut},
        access=Access.APPLICATION,
        work=_rotate,
    ),
)
