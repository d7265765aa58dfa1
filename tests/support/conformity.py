"""Answers held against the OpenAPI document: the status is there, and the body is what it says."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import jsonschema_rs

from marketbell.api.reference.document import document
from marketbell.api.routes import documented


@functools.cache
def whole() -> dict[str, Any]:
    """The document of this tree."""
    return document(documented())


@functools.cache
def closed() -> dict[str, Any]:
    """The document, with no room for fields in answers that it does not name."""
    copy: dict[str, Any] = json.loads(json.dumps(whole()))
    for schema in copy["components"]["schemas"].values():
        schema.setdefault("additionalProperties", False)
    return copy


@functools.cache
def paths() -> tuple[tuple[re.Pattern[str], str], ...]:
    """What each path of the document looks like; those with fewer braces first."""
    found = sorted(whole()["paths"], key=lambda path: path.count("{"))
    return tuple((re.compile(re.sub(r"{\w+}", "[^/]+", path) + "/?"), path) for path in found)


@functools.cache
def validator(path: str, method: str, status: str) -> jsonschema_rs.Validator | None:
    """What a body must be; None if there is none."""
    answer = closed()["paths"][path][method]["responses"][status]
    if "$ref" in answer:
        answer = closed()["components"]["responses"][answer["$ref"].rsplit("/", 1)[-1]]
    if "content" not in answer:
        return None
    schema = answer["content"]["application/json"]["schema"]
    return jsonschema_rs.validator_for(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "components": closed()["components"],
            **schema,
        }
    )


def faults(method: str, path: str, status: int, body: bytes) -> list[str]:
    """How an answer differs from the document; nothing is said of paths that it does not have."""
    for pattern, known in paths():
        operation = whole()["paths"][known].get(method.lower())
        if operation is not None and pattern.fullmatch(path):
            if str(status) not in operation["responses"]:
                return [f"{method} {known} does not say that it answers {status}: {body[:300]!r}"]
            wanted = validator(known, method.lower(), str(status))
            if wanted is None:
                return [f"{method} {known} {status} has a body: {body[:300]!r}"] if body else []
            return [
                f"{method} {known} {status} at {list(fault.instance_path)}: {fault.message[:300]}"
                for fault in wanted.iter_errors(json.loads(body))
            ]
    return []
