"""Small pieces of HTML: text made safe, code in it marked, tables and lists."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from marketbell.api.reference.parameters import Schema
from marketbell.api.reference.schemas import REF

_CODE: Final = re.compile(r"`([^`]+)`")
_NOT_ID: Final = re.compile(r"[^a-zA-Z0-9.\-]+")
_BOUNDS: Final = (
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("minItems", "at least {} of them"),
    ("maxItems", "at most {} of them"),
    ("minimum", "at least {}"),
    ("maximum", "at most {}"),
)


def safe(text: object) -> str:
    """A text that may stand anywhere in HTML."""
    return html.escape(str(text), quote=True)


def marked(text: str) -> str:
    """A text with `code` marked."""
    return _CODE.sub(r"<code>\1</code>", safe(text))


def paragraphs(text: str) -> str:
    """A text as paragraphs."""
    return "".join(f"<p>{marked(part)}</p>" for part in text.split("\n\n") if part.strip())


def anchor(text: str) -> str:
    """A text as an id within a page."""
    return _NOT_ID.sub("-", text).strip("-")


def code_block(value: Any) -> str:  # JSON of every kind
    """JSON as a block that can be scrolled by keyboard."""
    return plain_block(json.dumps(value, indent=2, ensure_ascii=False))


def plain_block(text: str) -> str:
    """A text as it stands, as a block that can be scrolled by keyboard."""
    return f'<pre tabindex="0"><code>{safe(text)}</code></pre>'


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already; it scrolls sideways on a narrow screen."""
    head = "".join(f'<th scope="col">{safe(name)}</th>' for name in heads)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{safe(caption)}"><table>'
        f"<caption>{safe(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def type_of(schema: Schema) -> str:
    """What a schema takes, as HTML in a few words; forms are links."""
    if "$ref" in schema:
        name = str(schema["$ref"]).removeprefix(REF)
        return f'<a href="#form-{anchor(name)}">{safe(name)}</a>'
    if "anyOf" in schema:
        return " or ".join(type_of(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " ".join(f"<code>{safe(json.dumps(one))}</code>" for one in schema["enum"])
    kinds = schema.get("type", "anything")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    words = [_word(kind, schema) for kind in kinds]
    return " or ".join(words)


def _word(kind: str, schema: Schema) -> str:
    if kind == "array":
        return f"list of {type_of(schema.get('items', {}))}"
    if kind == "object" and schema.get("additionalProperties"):
        return f"object of {type_of(schema['additionalProperties'])}"
    if kind == "string" and schema.get("format") == "date-time":
        return "time"
    return safe(
        {"string": "text", "integer": "whole number", "boolean": "true or false"}.get(kind, kind)
    )


def bounds_of(schema: Schema) -> str:
    """What else a value must meet, as HTML."""
    said = [
        "not empty"
        if words.startswith("at least {} ") and schema[name] == 1
        else words.format(f"{schema[name]:,}")
        for name, words in _BOUNDS
        if name in schema
    ]
    if "default" in schema:
        said.append(f"{json.dumps(schema['default'])} if absent")
    return safe("; ".join(said))
