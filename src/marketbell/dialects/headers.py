"""The headers that every dialect sends, and which of an endpoint's own may join them."""

from __future__ import annotations

from typing import Final, TypeAlias

from marketbell import __version__
from marketbell.model import Endpoint, Message

Headers: TypeAlias = tuple[tuple[str, str], ...]

USER_AGENT: Final = ("user-agent", f"Marketbell/{__version__}")

JSON: Final[Headers] = (("content-type", "application/json"), USER_AGENT)
"""What a plain JSON body is sent with."""

RESERVED: Final = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
"""Lower-case names that belong to the sender or to every dialect."""

SIGNED: Final = tuple(
    f"{prefix}-{name}"
    for prefix in ("svix", "webhook")
    for name in ("id", "timestamp", "signature")
)
"""Those of a signature, in the order in which they are sent."""


def with_message(plain: Headers, message: Message) -> Headers:
    """`plain` with the message's own headers in the place of those of the same name, or after them."""
    named = {name.lower() for name, _value in message.headers}
    return (*(one for one in plain if one[0] not in named), *message.headers)


def with_own(
    headers: Headers, endpoint: Endpoint, *, names: frozenset[str] = RESERVED, prefix: str = ""
) -> Headers:
    """
    `headers`, then the endpoint's own in their order.

    One whose name is in `names`, or begins with `prefix` if that is not empty, is left
    out: a header of a seller never replaces what the dialect or the sender says.
    """
    if not endpoint.headers:
        return headers
    own = [
        header
        for header in endpoint.headers
        if (lower := header[0].lower()) not in names and not (prefix and lower.startswith(prefix))
    ]
    return (*headers, *own)
