"""Which errors an operation may answer, from the table of problems and what the operation takes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Final

from marketbell.api.call import Access, Operation
from marketbell.api.problems import SERVER_ERROR, STATUSES
from marketbell.api.reference.parameters import Schema, in_path
from marketbell.api.reference.schemas import REF, told
from marketbell.errors import MarketbellError

BODY_METHODS: Final = frozenset({"POST", "PUT", "PATCH"})

_NAMING: Final = frozenset({"app_id", "endpoint_id"})
"""Parameters of a query that name a thing, which may not be there."""

_NAMES: Final[Mapping[int, str]] = {
    400: "LimitReached",
    401: "NotAuthenticated",
    403: "Forbidden",
    404: "NotFound",
    408: "TooSlow",
    409: "Conflict",
    413: "TooLarge",
    422: "Invalid",
    429: "TooManyRequests",
    500: "ServerError",
    503: "Unavailable",
}
"""The names of the answers; a status that is none of these is no operation's."""

_DETAILS: Final[Mapping[int, str]] = {
    400: "The application has 50 endpoints already; delete one.",
    401: "There is no token; send the header Authorization: Bearer TOKEN.",
    403: "This token is for one application; this takes the organization's token.",
    404: "There is no application 'shop-7'; check its id or uid, and the token's organization.",
    408: "The body did not come whole within 30 seconds.",
    409: "There is an application with the uid 'seller-42' already.",
    413: "The body is larger than 1000000 bytes; send less in one request.",
    429: "Too many requests; wait for as long as Retry-After says.",
    500: "The server made an error; its log has the request id.",
    503: "The store is too slow; nothing was kept.",
}

_REQUEST_ID: Final = {
    "description": "The request's name, as it stands in the server's log.",
    "schema": {"type": "string"},
    "example": "5f0c1d9ab2e3-1a",
}
_RETRY_AFTER: Final = {
    "description": "After how many seconds to send it again.",
    "schema": {"type": "integer", "minimum": 1},
    "example": 1,
}
HEADERS: Final[Mapping[str, Schema]] = {"RequestId": _REQUEST_ID, "RetryAfter": _RETRY_AFTER}
WITH_REQUEST_ID: Final[Schema] = {"x-request-id": {"$ref": "#/components/headers/RequestId"}}


def refusals_of(operation: Operation) -> dict[str, Schema]:
    """The references to an operation's errors, by status."""
    known = {status for _kind, status in STATUSES}
    return {
        str(status): {"$ref": f"#/components/responses/{_NAMES[status]}"}
        for status in sorted(_statuses(operation))
        if status in known and status not in operation.gives
    }


def _statuses(operation: Operation) -> Iterator[int]:
    yield from (422, 500, 503)
    if operation.access is not Access.NOBODY:
        yield from (401, 403, 429)
    if in_path(operation.path) or not _NAMING.isdisjoint(operation.query):
        yield 404
    if operation.method in BODY_METHODS:
        yield from (400, 404, 408, 409, 413)


def responses() -> dict[str, Schema]:
    """Every error as an answer of the document, by name."""
    return {name: _response(status) for status, name in _NAMES.items() if _kinds(status)}


def _kinds(status: int) -> list[type[MarketbellError]]:
    return [kind for kind, own in STATUSES if own == status]


def headers_of(status: int) -> dict[str, Schema]:
    """The headers that an answer of this status has."""
    headers = dict(WITH_REQUEST_ID)
    if status in {429, 503}:
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    return headers


def _response(status: int) -> Schema:
    kinds = _kinds(status)
    if status == 500:
        described = "A defect of the server; its log says more."
    else:
        described = " ".join(f"`{kind.code}`: {_said(kind)}" for kind in kinds)
    form = "Faults" if status == 422 else "Problem"
    return {
        "description": described,
        "headers": headers_of(status),
        "content": {
            "application/json": {
                "schema": {"$ref": REF + form},
                "example": _example(status, kinds[0]),
            }
        },
    }


def _said(kind: type[MarketbellError]) -> str:
    return told(inspect.cleandoc(kind.__doc__ or "")).split("\n")[0]


def _example(status: int, kind: type[MarketbellError]) -> Any:  # JSON of either form
    if status == 422:
        fault = {
            "loc": ["body", "url"],
            "msg": "The field is missing; it is required",
            "type": "value_error.missing",
        }
        return {"detail": [fault]}
    code = SERVER_ERROR if status == 500 else kind.code
    return {"code": code, "detail": _DETAILS[status]}
