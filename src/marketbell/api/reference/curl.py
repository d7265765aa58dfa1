"""An operation as a command line for curl, with the document's examples filled in."""

from __future__ import annotations

import json
import shlex
from typing import Any, Final
from urllib.parse import quote, urlencode

from marketbell.api.reference.parameters import Schema

_CONTINUED: Final = " \\\n  "


def curl_of(method: str, path: str, operation: Schema, *, document: Schema) -> str:
    """
    The command that sends an operation's example.

    The server's address and the token stand in the shell's MARKETBELL_URL and MARKETBELL_TOKEN.
    """
    given = [one for one in operation["parameters"] if "$ref" not in one]
    url = path
    for parameter in given:
        if parameter["in"] == "path":
            url = url.replace(
                f"{{{parameter['name']}}}", quote(str(parameter.get("example", "ID")), safe="")
            )
    query = [
        (parameter["name"], _written(parameter["example"]))
        for parameter in given
        if parameter["in"] == "query" and _telling(parameter)
    ]
    if query:
        url += f"?{urlencode(query)}"
    lines = [f'curl -X {method} "$MARKETBELL_URL{url}"']
    if operation.get("security", document["security"]):
        lines.append('-H "Authorization: Bearer $MARKETBELL_TOKEN"')
    body = operation.get("requestBody")
    if body is not None:
        example = body["content"]["application/json"]["example"]
        lines.append("-H 'Content-Type: application/json'")
        lines.append(f"-d {shlex.quote(json.dumps(example, ensure_ascii=False))}")
    return _CONTINUED.join(lines)


def _telling(parameter: Schema) -> bool:
    """Whether a parameter is shown: few say more than many, so only those that are no filter."""
    return parameter["name"] in {"limit", "get_if_exists"} or bool(parameter.get("required"))


def _written(value: Any) -> str:  # an example of any kind
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(str(one) for one in value)
    return str(value)
