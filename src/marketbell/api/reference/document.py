"""The OpenAPI 3.1 document of the management API, made from its operations."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

from marketbell import __version__
from marketbell.api.access import rule_of
from marketbell.api.call import Access, Operation
from marketbell.api.problems import Faults, Problem
from marketbell.api.reference import parameters
from marketbell.api.reference.examples import BODIES, example_of
from marketbell.api.reference.parameters import Schema
from marketbell.api.reference.refusals import (
    BODY_METHODS,
    HEADERS,
    headers_of,
    refusals_of,
    responses,
)
from marketbell.api.reference.schemas import Schemas, told

TAGS: Final[Mapping[str, str]] = {
    "application": "Consumers of messages, such as a marketplace's sellers.",
    "endpoint": "An application's URLs, with their filters, headers, secrets and limits.",
    "event-type": "What kinds of things happen, with the schemas of their payloads.",
    "message": "Things that happened: published once, sent to every endpoint that takes them.",
    "message-attempt": "What became of a message: every request that was made for it.",
    "outbox": "Messages from the callers' own transactions that were refused.",
    "background-task": "Long work: replays, recoveries and purges, with how far each is.",
    "operational-webhook": "Messages of the server itself, to the operator's own endpoints.",
    "authentication": "Tokens and keys: who may call this API.",
    "marketplace-login": "Users of the marketplaces' own APIs, a seller's each.",
    "admin": "What an operator does to the server itself.",
    "audit-log": "Who changed what, when and from where.",
    "health": "Whether the server does its work.",
}
"""The groups of operations, by the second part of their names, in the order of the page."""

_ORDER: Final = tuple(TAGS)

_ABOUT: Final = (
    "Marketbell accepts messages for applications, keeps them and delivers each to the "
    "application's endpoints. This is the Svix v1 API with additions: the official `svix` "
    "packages work with `server_url` set to this server.\n\n"
    "Fields and parameters that an operation does not have are refused with 422. Every path is "
    "answered with and without a trailing slash, and HEAD wherever GET is."
)

_WHOSE: Final[Mapping[Access, str]] = {
    Access.NOBODY: "Takes no token.",
    Access.TOKEN: "Takes any good token.",
    Access.OPERATOR: "Takes the organization's token.",
    Access.APPLICATION: "Takes the organization's token, or that of the application.",
}


def document(operations: Sequence[Operation]) -> Schema:
    """
    The document of these operations.

    Raises KeyError for a parameter or a group that has no row in its table, TypeError for a
    form that has no schema.
    """
    schemas = Schemas()
    for kind in (Problem, Faults):
        schemas.of(kind, answer=True)
    paths: dict[str, Schema] = {}
    for operation in operations:
        path = paths.setdefault(operation.path, {})
        path[operation.method.lower()] = _operation(operation, schemas)
    used = {tag_of(operation) for operation in operations}
    shown = {
        "openapi": "3.1.0",
        "info": {
            "title": "Marketbell",
            "version": __version__,
            "summary": "The webhook server for marketplaces.",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This server."}],
        "tags": [
            {"name": name, "description": TAGS[name]} for name in sorted(used, key=_ORDER.index)
        ],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "responses": responses(),
            "parameters": {
                "IdempotencyKey": parameters.IDEMPOTENCY_KEY,
                "RequestId": parameters.REQUEST_ID,
            },
            "headers": dict(HEADERS),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A JSON Web Token or an API key; "
                    "`marketbell token create` makes one.",
                }
            },
        },
    }
    _add_examples(shown)
    return shown


def tag_of(operation: Operation) -> str:
    """The group of an operation: the second part of its name."""
    return operation.name.split(".")[1]


def _operation(operation: Operation, schemas: Schemas) -> Schema:
    shown: Schema = {
        "operationId": operation.name,
        "tags": [tag_of(operation)],
        "summary": operation.summary,
    }
    shown["description"] = _description(operation)
    if operation.access is Access.NOBODY:
        shown["security"] = []
    shown["parameters"] = parameters.of(operation)
    if operation.method == "POST":
        shown["parameters"].append({"$ref": "#/components/parameters/IdempotencyKey"})
    shown["parameters"].append({"$ref": "#/components/parameters/RequestId"})
    if operation.takes is not None:
        schema = schemas.of(operation.takes)
        shown["requestBody"] = {
            "required": _body_required(operation, schema, schemas),
            "content": {"application/json": {"schema": schema}},
        }
    shown["responses"] = {
        **{
            str(status): _answer(status, kind, schemas)
            for status, kind in sorted(operation.gives.items())
        },
        **refusals_of(operation),
    }
    return shown


def _description(operation: Operation) -> str:
    """What the work's docstring says, and whose token it takes."""
    doc = getattr(operation.work, "__doc__", None)
    said = [told(inspect.cleandoc(doc))] if doc else []
    scope = rule_of(operation).scope
    whose = _WHOSE[operation.access]
    said.append(whose if scope is None else f"{whose} A key with scopes needs `{scope}`.")
    return "\n\n".join(said)


def _body_required(operation: Operation, schema: Schema, schemas: Schemas) -> bool:
    """A POST whose form asks for nothing may come without a body."""
    if operation.method != "POST":
        return operation.method in BODY_METHODS
    return bool(schemas.components[schema["$ref"].rsplit("/", 1)[-1]].get("required"))


def _answer(status: int, kind: object, schemas: Schemas) -> Schema:
    shown: Schema = {"description": HTTPStatus(status).phrase, "headers": headers_of(status)}
    if kind is not None:
        schema = schemas.of(kind, answer=True)
        shown["content"] = {"application/json": {"schema": schema}}
    return shown


def _add_examples(shown: Schema) -> None:
    """Give every body and answer an example; all schemas are there by now."""
    components = shown["components"]["schemas"]
    for path in shown["paths"].values():
        for operation in path.values():
            bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
            for body in bodies:
                for media in body.get("content", {}).values():
                    media["example"] = example_of(media["schema"], components)
            own = BODIES.get(operation["operationId"])
            if own is not None:
                operation["requestBody"]["content"]["application/json"]["example"] = own
