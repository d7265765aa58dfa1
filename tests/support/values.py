"""Values with every field filled in, for tests that look at a few of them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from marketbell.model import Endpoint, Policy

_ENDPOINT: Final = Endpoint(
    id=1,
    public_id="ep_1",
    application_id=1,
    uid=None,
    url="https://seller.example/hook",
    description="",
    event_types=None,
    channels=None,
    headers=(),
    secrets=(),
    metadata={},
    policy=Policy(),
    throttle_rate=None,
    disabled=False,
    paused=False,
    slot=0,
    revision=1,
    version=1,
    failing_since=None,
    created_at=0,
    updated_at=0,
)


def an_endpoint(**fields: Any) -> Endpoint:
    """An endpoint of which only these fields matter."""
    return msgspec.structs.replace(_ENDPOINT, **fields)
