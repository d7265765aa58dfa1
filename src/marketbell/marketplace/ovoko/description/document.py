"""The OpenAPI 3.1 document of Ovoko's API, made from its table of operations."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from marketbell import __version__
from marketbell.marketplace.ovoko.calls import SPAN_DAYS, Operation
from marketbell.marketplace.ovoko.description import answers, forms
from marketbell.marketplace.ovoko.face import OPERATIONS
from marketbell.marketplace.ovoko.form import NUMBER_MAX

Schema: TypeAlias = dict[str, Any]

_ABOUT: Final = (
    "Ovoko's API for sellers as Marketbell answers it. Every call is a form-encoded POST, every "
    "answer has the HTTP status 200, and its `status_code` says what came of it. Fields that are "
    "not known are passed over; multipart forms without files are read too; the fields of a form "
    "may stand in the query instead."
)


class Shape(NamedTuple):
    """What an operation does, takes and answers."""

    group: str
    does: str
    takes: type[forms.Login]
    gives: type[msgspec.Struct]
    may_miss: bool = False
    """Whether it answers R404."""


SHAPES: Final[Mapping[str, Shape]] = {
    "/crm/importPart": Shape("part", "A new part.", forms.ImportPart, answers.PartDone),
    "/crm/updatePart": Shape(
        "part", "Change what is said of a part.", forms.UpdatePart, answers.PartDone, True
    ),
    "/crm/changePartStatus": Shape(
        "part", "Give a part another status.", forms.ChangePartStatus, answers.PartDone, True
    ),
    "/crm/deletePart": Shape(
        "part", "Write a part off; an unknown one is R400.", forms.DeletePart, answers.PartDone
    ),
    "/get/part/{id}": Shape("part", "One part.", forms.Login, answers.OnePart, True),
    "/v2/get/parts": Shape("part", "Parts, newest first.", forms.ListParts, answers.Parts),
    "/get/part_status": Shape(
        "part", "The statuses by number.", forms.Login, answers.StatusNumbers
    ),
    "/crm/importPostData": Shape(
        "order",
        "The parcel of an order; a later one takes its place.",
        forms.ImportPostData,
        answers.OrderDone,
        True,
    ),
    "/get/orders/{from}/{to}": Shape(
        "order", "All orders of these days, oldest first.", forms.ListRows, answers.Orders
    ),
    "/v2/get/orders/{from}/{to}": Shape(
        "order", "A page of these days' orders.", forms.ListPage, answers.OrdersPage
    ),
    "/get/order_returns": Shape(
        "return", "Returns, oldest first.", forms.ListReturns, answers.Returns
    ),
    "/get/order_return/{id}": Shape("return", "One return.", forms.Login, answers.OneReturn, True),
    "/get/logs/{from}/{to}": Shape(
        "log", "All that was done on these days, oldest first.", forms.ListRows, answers.Logs
    ),
}
"""A shape for every path of the table of operations."""

_PARAMETERS: Final[Mapping[str, Schema]] = {
    "id": {"type": "integer", "minimum": 1, "maximum": NUMBER_MAX},
    "from": {"type": "string", "format": "date", "description": "The first day."},
    "to": {
        "type": "string",
        "format": "date",
        "description": f"The last day, at most {SPAN_DAYS} after the first.",
    },
}


def document() -> Schema:
    """The document. KeyError for an operation without a shape."""
    paths = {path: {"post": _operation(path, work)} for path, work in OPERATIONS.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Ovoko",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This server."}],
        "tags": [{"name": group} for group in dict.fromkeys(s.group for s in SHAPES.values())],
        "paths": paths,
        "components": {"schemas": _components()},
    }


def written() -> str:
    """The document as it stands in the docs."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def _operation(path: str, work: Operation) -> Schema:
    shape = SHAPES[path]
    given: list[type] = [shape.gives, answers.Refusal]
    if shape.may_miss:
        given.append(answers.Missing)
    return {
        "operationId": getattr(work, "__name__", path),
        "tags": [shape.group],
        "summary": shape.does,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": dict(_PARAMETERS[name])}
            for name in re.findall(r"\{(\w+)\}", path)
        ],
        "requestBody": {
            "required": True,
            "content": {"application/x-www-form-urlencoded": {"schema": _ref(shape.takes)}},
        },
        "responses": {
            "200": {
                "description": "What came of it.",
                "content": {
                    "application/json": {"schema": {"oneOf": [_ref(kind) for kind in given]}}
                },
            }
        },
    }


def _components() -> dict[str, Schema]:
    kinds = {kind for shape in SHAPES.values() for kind in (shape.takes, shape.gives)}
    _schemas, components = msgspec.json.schema_components(
        [*kinds, answers.Refusal, answers.Missing], ref_template="#/components/schemas/{name}"
    )
    return dict(sorted(components.items()))


def _ref(kind: type) -> Schema:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}
