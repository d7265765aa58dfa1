"""An endpoint's own headers: which are taken, and which are shown. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from marketbell.control.shapes import Field
from marketbell.dialects.headers import RESERVED, SIGNED, Headers
from marketbell.errors import InvalidError

HEADERS_MAX: Final = 50
NAME_MAX: Final = 128
VALUE_MAX: Final = 4_096
CONTENT_TYPE: Final = "content-type"

FORBIDDEN: Final = RESERVED.union(
    SIGNED,
    {
        "age",
        "cache-control",
        "clear-site-data",
        "content-language",
        "content-location",
        "expires",
        "pragma",
        "proxy-authenticate",
        "proxy-authorization",
        "trailers",
        "warning",
    },
)
"""Lower-case names that an endpoint may not set."""

FORBIDDEN_PREFIXES: Final = (
    "svix-",
    "x-svix-",
    "x-amz-",
    "x-amzn-",
    "x-azure-",
    "x-fd-",
    "x-gfe",
    "x-goog-",
    "x-google",
)
"""
What such names begin with besides: clouds and their metadata services go by them.

A marketplace may well have `webhook-` names of its own, as Ovoko's static header can have any.
"""

_SENSITIVE: Final = re.compile(r"auth|cookie|credential|key|passw|secret|signature|token")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def check_headers(headers: Mapping[str, str], field: Field) -> Headers:
    """
    The headers in the order given, names as they were written.

    Raises InvalidError naming the header: not a token (RFC 9110, section 5.6.2), reserved, there
    twice in another case, or a value with CR, LF, NUL, another control character, a character
    outside of latin-1, or white space around it.
    """
    if len(headers) > HEADERS_MAX:
        raise InvalidError(field, f"There are {len(headers)} headers; at most {HEADERS_MAX}")
    seen: set[str] = set()
    for name, value in headers.items():
        where = (*field, name[:NAME_MAX])
        check_name(name, where)
        if name.lower() in seen:
            raise InvalidError(where, "The header is there twice; its case makes no difference")
        seen.add(name.lower())
        _check_value(value, where)
    return tuple(headers.items())


def check_message_headers(headers: Mapping[str, str], field: Field) -> Headers:
    """The headers of one message; beside what an endpoint may set it may say `content-type`."""
    types = [name for name in headers if name.lower() == CONTENT_TYPE]
    check_headers({name: value for name, value in headers.items() if name not in types}, field)
    for name in types:
        _check_value(headers[name], (*field, name))
    if len(types) > 1:
        raise InvalidError(
            (*field, types[1]), "The header is there twice; its case makes no difference"
        )
    return tuple(headers.items())


def _check_value(value: str, field: Field) -> None:
    if len(value) > VALUE_MAX:
        raise InvalidError(
            field, f"The value has {len(value)} characters; at most {VALUE_MAX} are taken"
        )
    if not _VALUE.fullmatch(value) or value != value.strip():
        raise InvalidError(
            field,
            "The value may hold printable latin-1 characters and inner spaces only: "
            "no line breaks, no NUL, no space around it",
        )


def check_name(name: str, field: Field) -> None:
    """Return if an endpoint may set a header of this name; else raise InvalidError."""
    lower = name.lower()
    if len(name) > NAME_MAX or not _TOKEN.fullmatch(name):
        raise InvalidError(
            field, f"A header's name is 1 to {NAME_MAX} letters, digits and !#$%&'*+-.^_`|~"
        )
    if lower in FORBIDDEN or lower.startswith(FORBIDDEN_PREFIXES):
        raise InvalidError(field, "This header is set by the server or a proxy; use another name")


def merged(headers: Headers, changes: Mapping[str, str | None]) -> dict[str, str]:
    """The headers with some set and those that are None taken away, whatever their names' case."""
    changed = {name.lower() for name in changes}
    kept = {name: value for name, value in headers if name.lower() not in changed}
    return kept | {name: value for name, value in changes.items() if value is not None}


def shown(headers: Headers) -> tuple[dict[str, str], Sequence[str]]:
    """The headers that may be shown, and the names of those whose values look like secrets."""
    plain = {name: value for name, value in headers if not _SENSITIVE.search(name.lower())}
    return plain, [name for name, _ in headers if name not in plain]
