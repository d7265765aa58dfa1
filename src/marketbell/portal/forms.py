"""Forms of pages: read within bounds, and taken from our own pages only."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from marketbell.errors import ForbiddenError, InvalidError, TooLargeError, TooSlowError

FORM_BYTES: Final = 4_096
_FIELDS_MAX: Final = 10
_KIND: Final = "application/x-www-form-urlencoded"
_OWN: Final = frozenset({None, "same-origin", "none"})


async def read_form(request: Request, *, within_s: float) -> Mapping[str, str]:
    """
    The fields of a form.

    ForbiddenError if a browser says that another site sent it (Fetch Metadata, section 2.1.1);
    InvalidError, TooLargeError, TooSlowError.
    """
    if request.headers.get("sec-fetch-site") not in _OWN:
        raise ForbiddenError("The form was sent by another site.")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _KIND:
        raise InvalidError(("body",), f"The body is no form; send it as {_KIND}")
    body = b""
    try:
        async with asyncio.timeout(within_s):
            async for part in request.stream():
                body += part
                if len(body) > FORM_BYTES:
                    raise TooLargeError(("body",), "The form is too large.")
    except TimeoutError:
        raise TooSlowError(("body",), "The form did not come whole in time.") from None
    except ClientDisconnect:
        raise InvalidError(("body",), "The form did not come whole.") from None
    try:
        return dict(parse_qsl(body.decode("ascii"), errors="strict", max_num_fields=_FIELDS_MAX))
    except ValueError:
        raise InvalidError(("body",), "The form cannot be read") from None
