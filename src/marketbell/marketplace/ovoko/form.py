"""What a caller of Ovoko's API sends: a form, read kindly and within limits."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from marketbell.errors import InvalidError, TooLargeError, TooSlowError

FIELDS_MAX: Final = 1_000
TEXT_MAX: Final = 255
LIST_MAX: Final = 100
NUMBER_MAX: Final = 2**31 - 1
PRICE_MAX: Final = Decimal(10_000_000)

_ALOUD: Final = 64 * 1024
"""Bodies above this are parsed in a thread, so that others are served meanwhile."""

_LISTED: Final = re.compile(r"\[\d*\]$")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_DIGITS: Final = re.compile(r"[0-9]{1,10}")
_BOUNDARY: Final = re.compile(r"boundary=\"?([^\";,\s]{1,70})")
_NAME: Final = re.compile(rb"[; ]name=\"([^\"]{1,200})\"")
_PRICE: Final = re.compile(r"[0-9]{1,10}(?:[.,][0-9]{1,4})?")


class Form:
    """
    The fields of one request by name; `photos[]` and `photos[0]` are both `photos`.

    Fields of the body stand above those of the query. Fields that nobody asks for are passed
    over, as Ovoko does. Every reader raises InvalidError that names the field.
    """

    def __init__(self, fields: Mapping[str, list[str]]) -> None:
        self._fields = fields

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def text(self, name: str, limit: int = TEXT_MAX) -> str:
        """The last value, or an empty text."""
        value = self._fields.get(name, [""])[-1].strip()
        if len(value) > limit:
            raise InvalidError((name,), f"{name} is longer than {limit} characters")
        if _CONTROL.search(value):
            raise InvalidError((name,), f"{name} holds control characters")
        return value

    def integer(self, name: str, least: int = 0) -> int | None:
        """A whole number, or None if it is missing or empty."""
        text = self.text(name)
        if not text:
            return None
        if not _DIGITS.fullmatch(text) or not least <= int(text) <= NUMBER_MAX:
            raise InvalidError((name,), f"{name} is not a whole number from {least} on")
        return int(text)

    def required(self, name: str, least: int = 0) -> int:
        """A whole number that has to be there."""
        number = self.integer(name, least)
        if number is None:
            raise InvalidError((name,), f"{name} is required")
        return number

    def price(self, name: str) -> Decimal | None:
        """An amount with up to 4 places, by dot or comma; None if it is missing or empty."""
        text = self.text(name)
        if not text:
            return None
        try:
            amount = Decimal(text.replace(",", ".")) if _PRICE.fullmatch(text) else None
        except InvalidOperation:
            amount = None
        if amount is None or amount > PRICE_MAX:
            raise InvalidError((name,), f"{name} is not an amount from 0 to {PRICE_MAX}")
        return amount

    def many(self, name: str, limit: int = TEXT_MAX) -> tuple[str, ...]:
        """Every value that is not empty, in order."""
        values = [value.strip() for value in self._fields.get(name, ())]
        kept = tuple(value for value in values if value)
        if len(kept) > LIST_MAX:
            raise InvalidError((name,), f"{name} has more than {LIST_MAX} values")
        if any(len(value) > limit for value in kept):
            raise InvalidError((name,), f"{name} has a value longer than {limit} characters")
        if any(_CONTROL.search(value) for value in kept):
            raise InvalidError((name,), f"{name} has a value with control characters")
        return kept


async def read_form(request: Request, *, body_max: int, limit_s: float) -> Form:
    """
    The form of a request.

    InvalidError for a body that is no form, TooLargeError beyond `body_max` bytes, TooSlowError
    if it has not come whole after `limit_s`.
    """
    body = await _body(request, body_max, limit_s)
    pairs = (
        _fields(request, body)
        if len(body) <= _ALOUD
        else await asyncio.to_thread(_fields, request, body)
    )
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(_LISTED.sub("", name), []).append(value)
    beside: dict[str, list[str]] = {}
    for name, value in _pairs(request.scope.get("query_string", b"")):
        beside.setdefault(_LISTED.sub("", name), []).append(value)
    return Form({**beside, **fields})


def _fields(request: Request, body: bytes) -> list[tuple[str, str]]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return _multipart(request.headers["content-type"], body)
    if kind in {"", "application/x-www-form-urlencoded"}:
        return _pairs(body)
    raise InvalidError(
        (), "The body must be form-encoded: application/x-www-form-urlencoded, not " + kind[:80]
    )


async def _body(request: Request, body_max: int, limit_s: float) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(limit_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > body_max:
                    raise TooLargeError((), f"The body is larger than {body_max} bytes")
    except TimeoutError:
        raise TooSlowError((), "The body did not come in time") from None
    except ClientDisconnect:
        raise InvalidError((), "The body did not come whole") from None
    return bytes(body)


def _pairs(body: bytes) -> list[tuple[str, str]]:
    if body.count(b"%") * 3 > len(body):
        raise InvalidError((), "The form has a % that begins no escape such as %41")
    try:
        return parse_qsl(
            body.decode("utf-8"),
            keep_blank_values=True,
            encoding="utf-8",
            errors="strict",
            max_num_fields=FIELDS_MAX,
        )
    except UnicodeDecodeError:
        raise InvalidError((), "The form is not UTF-8") from None
    except ValueError:
        raise InvalidError((), f"The form has more than {FIELDS_MAX} fields") from None


def _multipart(content_type: str, body: bytes) -> list[tuple[str, str]]:
    """Fields of a multipart form (RFC 7578), as PHP's curl sends arrays; files are refused."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise InvalidError((), "The multipart form names no boundary")
    parts = (b"\r\n" + body).split(b"\r\n--" + found[1].encode("latin-1"))
    if len(parts) - 2 > FIELDS_MAX or not parts[-1].startswith(b"--"):
        raise InvalidError((), f"The form did not end, or has more than {FIELDS_MAX} fields")
    pairs = []
    for part in parts[1:-1]:
        head, blank, value = part.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if not blank or name is None or b"filename" in head.lower():
            raise InvalidError((), "A part of the form is no field; files are not taken")
        try:
            pairs.append((name[1].decode("utf-8"), value.decode("utf-8")))
        except UnicodeDecodeError:
            raise InvalidError((), "The form is not UTF-8") from None
    return pairs
