"""What an endpoint keeps to itself: its signing secret, and its headers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from marketbell import signing
from marketbell.control import applications, endpoints, headers
from marketbell.control.endpoint_change import EndpointChange
from marketbell.control.keys import signing_key
from marketbell.control.services import Services
from marketbell.control.tokens import Principal
from marketbell.errors import InvalidError
from marketbell.store.base import Once, Repeated

GRACE_MAX_S: Final = 7 * 86_400
GRACE_DEFAULT_S: Final = 86_400
"""How long a secret that was rotated away still signs, at most and by default."""


async def secret(services: Services, principal: Principal, application: str, ref: str) -> str:
    """The current secret as the receiver needs it: `whsec_…`, or the public `whpk_…`."""
    endpoint = await endpoints.get(services, principal, application, ref)
    return signing.render_secret(endpoint.secrets[0])


async def rotate(
    services: Services,
    principal: Principal,
    application_ref: str,
    ref: str,
    *,
    key: str | None,
    key_type: str | None,
    grace_s: int,
    once: Once | None = None,
) -> str | Repeated:
    """
    A new current secret: `key`, or one that is made of `key_type`; as `secret` shows it.

    The old one signs along for `grace_s`. A key that is the current one changes nothing. What a
    repetition gives is what was current after the first, though it may have been rotated since.
    InvalidError, LimitReachedError, NotFoundError.
    """
    if not 0 <= grace_s <= GRACE_MAX_S:
        raise InvalidError(
            ("body", "gracePeriodSeconds"), f"The grace period is 0 to {GRACE_MAX_S} seconds"
        )
    chosen = signing_key(key, key_type, ("body", "key"))
    rendered = signing.render_secret(chosen)
    mark = None if once is None else Once(once.idempotency, lambda _made: once.render(rendered))
    application = await applications.get(services, principal, application_ref)
    now = services.clock.now()
    async with services.turns.turn(application.id):
        repeated = await services.store.rotate_secret(
            application.id,
            ref,
            chosen,
            overlap_until=now + grace_s * 1000,
            secrets_max=services.settings.secrets_max,
            now=now,
            once=mark,
        )
    return rendered if repeated is None else repeated


async def shown_headers(
    services: Services, principal: Principal, application: str, ref: str
) -> tuple[dict[str, str], Sequence[str]]:
    """The endpoint's headers, and the names of those whose values are kept back."""
    endpoint = await endpoints.get(services, principal, application, ref)
    return headers.shown(endpoint.headers)


async def replace_headers(
    services: Services, principal: Principal, application: str, ref: str, new: dict[str, str]
) -> None:
    """These headers and no others."""
    await endpoints.amend(services, principal, application, ref, EndpointChange(headers=new))


async def amend_headers(
    services: Services,
    principal: Principal,
    application: str,
    ref: str,
    changes: dict[str, str | None],
) -> None:
    """Set some headers, take away those that are None, keep the others."""
    for name in changes:
        headers.check_name(name, ("body", "headers", name[: headers.NAME_MAX]))
    change = EndpointChange(headers_set=changes)
    await endpoints.amend(services, principal, application, ref, change)
