"""The page at /docs: the OpenAPI document as HTML that needs nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from marketbell.api.reference.curl import curl_of
from marketbell.api.reference.html import (
    anchor,
    bounds_of,
    code_block,
    marked,
    paragraphs,
    plain_block,
    safe,
    table,
    type_of,
)
from marketbell.api.reference.parameters import Schema

STYLE: Final = "/docs/reference.css"
SCRIPT: Final = "/docs/reference.js"

_JSON: Final = "application/json"


def page(document: Schema) -> str:
    """The whole page of a document."""
    info = document["info"]
    found = list(_operations(document))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{safe(info['title'])} API</title>"
        f'<link rel="stylesheet" href="{STYLE}"><script type="module" src="{SCRIPT}"></script>'
        '</head><body><a class="skip" href="#content">Skip to the operations</a>'
        f'{_head(info)}<div class="sides">{_navigation(document, found)}'
        f'<main id="content">{paragraphs(info["description"])}'
        f"{''.join(_group(tag, document, found) for tag in document['tags'])}"
        f"{_forms(document)}</main></div></body></html>"
    )


def _operations(document: Schema) -> Iterator[tuple[str, str, Schema]]:
    """Method, path and operation, in the document's order."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _head(info: Schema) -> str:
    return (
        f"<header><h1>{safe(info['title'])} API <small>{safe(info['version'])}</small></h1>"
        '<p><a href="/api/v1/openapi.json">openapi.json</a></p></header>'
    )


def _navigation(document: Schema, found: list[tuple[str, str, Schema]]) -> str:
    groups = []
    for tag in document["tags"]:
        links = "".join(
            f'<li data-find="{_words(method, path, operation)}">'
            f'<a href="#{anchor(operation["operationId"])}">'
            f"{_method(method)} {safe(operation['operationId'].split('.', 2)[-1])}</a></li>"
            for method, path, operation in found
            if tag["name"] in operation["tags"]
        )
        groups.append(f"<section><h2>{safe(tag['name'])}</h2><ul>{links}</ul></section>")
    return (
        '<nav aria-label="Operations"><search hidden><label for="find">Find an operation</label>'
        '<input id="find" type="search" autocomplete="off" spellcheck="false" '
        'aria-describedby="found"><p id="found" role="status"></p></search>'
        f"{''.join(groups)}</nav>"
    )


def _group(tag: Schema, document: Schema, found: list[tuple[str, str, Schema]]) -> str:
    parts = "".join(
        _article(method, path, operation, document)
        for method, path, operation in found
        if tag["name"] in operation["tags"]
    )
    name = anchor(tag["name"])
    return (
        f'<section aria-labelledby="group-{name}"><h2 id="group-{name}">{safe(tag["name"])}</h2>'
        f"{paragraphs(tag['description'])}{parts}</section>"
    )


def _article(method: str, path: str, operation: Schema, document: Schema) -> str:
    name = anchor(operation["operationId"])
    return (
        f'<article id="{name}" data-find="{_words(method, path, operation)}" tabindex="-1" '
        f'aria-labelledby="{name}-title">'
        f'<h3 id="{name}-title">{marked(operation["summary"])}</h3>'
        f'<p class="route">{_method(method)} <code>{_breakable(path)}</code> '
        f'<a href="#{name}" aria-label="Link to {name}">#</a></p>'
        f"{paragraphs(operation.get('description', ''))}{_parameters(operation)}"
        f"{_body(operation)}{_answers(operation, document)}"
        '<div class="example"><h4>Example</h4>'
        '<button type="button" class="copy" hidden>Copy</button>'
        f"{plain_block(curl_of(method, path, operation, document=document))}</div></article>"
    )


def _parameters(operation: Schema) -> str:
    rows = [
        (
            f"<code>{safe(one['name'])}</code>",
            "path" if one["in"] == "path" else "query",
            f"{type_of(one['schema'])} <small>{bounds_of(one['schema'])}</small>",
            marked(one["description"]),
        )
        for one in operation["parameters"]
        if "$ref" not in one
    ]
    return table("Parameters", ("Name", "In", "Value", "Meaning"), rows) if rows else ""


def _body(operation: Schema) -> str:
    body = operation.get("requestBody")
    if body is None:
        return ""
    media = body["content"][_JSON]
    needed = "" if body["required"] else " It may be left out."
    return (
        f"<h4>Body</h4><p>{type_of(media['schema'])}.{needed}</p>"
        f"<details><summary>Example of the body</summary>{code_block(media['example'])}</details>"
    )


def _answers(operation: Schema, document: Schema) -> str:
    rows = []
    examples = ""
    for status, given in operation["responses"].items():
        answer = given
        if "$ref" in given:
            answer = document["components"]["responses"][given["$ref"].rsplit("/", 1)[-1]]
        media = answer.get("content", {}).get(_JSON)
        form = "" if media is None else type_of(media["schema"])
        rows.append((f"<code>{safe(status)}</code>", form, marked(answer["description"])))
        if media is not None and "$ref" not in given:
            examples += (
                f"<details><summary>Example of the answer {safe(status)}</summary>"
                f"{code_block(media['example'])}</details>"
            )
    return table("Answers", ("Status", "Body", "Meaning"), rows) + examples


def _forms(document: Schema) -> str:
    parts = []
    for name, schema in document["components"]["schemas"].items():
        required = schema.get("required", ())
        rows = [
            (
                f"<code>{safe(field)}</code>",
                "yes" if field in required else "",
                f"{type_of(inner)} <small>{bounds_of(inner)}</small>",
                marked(inner.get("description", "")),
            )
            for field, inner in schema["properties"].items()
        ]
        shown = table(f"Fields of {name}", ("Field", "Always", "Value", "Meaning"), rows)
        parts.append(
            f'<article id="form-{anchor(name)}" tabindex="-1"><h3>{safe(name)}</h3>'
            f"{paragraphs(schema.get('description', ''))}{shown if rows else ''}</article>"
        )
    return (
        '<section aria-labelledby="forms"><h2 id="forms">Forms</h2>'
        f"<p>The bodies of requests and answers.</p>{''.join(parts)}</section>"
    )


def _method(method: str) -> str:
    return f'<span class="method {method.lower()}">{method}</span>'


def _breakable(path: str) -> str:
    return safe(path).replace("/", "/<wbr>")


def _words(method: str, path: str, operation: Schema) -> str:
    """What the search looks through."""
    return safe(f"{method} {path} {operation['operationId']} {operation['summary']}".lower())
