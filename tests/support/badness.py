"""Bad bodies for an operation, each with a name: what no JSON parser and no form should take."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any

import jsonschema_rs

from support.conformity import whole

BYTES: dict[str, bytes] = {
    "white space": b"  ",
    "not JSON": b"name=A&url=x",
    "multipart": b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nA\r\n--x--\r\n',
    "gzip": bytes.fromhex("1f8b0800000000000003ab56ca4bcc4d55b25272540200a9b3e5f50c000000"),
    "a list": b"[]",
    "a number": b"5",
    "a text": b'"{}"',
    "null": b"null",
    "half of it": b'{"name":"A","url":"https://',
    "more after it": b"{} {}",
    "UTF-16": '{"name":"A"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"name":"A"}',
    "invalid UTF-8": b'{"name":"\xff\xfe"}',
    "an encoded surrogate": b'{"name":"\xed\xa0\x80"}',
    "overlong UTF-8": b'{"name":"\xc0\x80"}',
    "a raw NUL": b'{"name":"\x00"}',
    "only NUL": b"\x00" * 1000,
    "NaN": b'{"name":NaN}',
    "a comment": b'{"name":"A"/**/}',
    "a trailing comma": b'{"name":"A",}',
    "single quotes": b"{'name':'A'}",
    "an unknown field": b'{"no such field":1}',
    "a field that is a NUL": b'{"\\u0000":1}',
    "a field that is half a surrogate pair": b'{"\\ud800":1}',
    "a field twice": b'{"name":"A","name":"B"}',
}
"""What no operation takes, whatever its form."""

GIANTS: dict[str, bytes] = {
    "100,000 levels": b"[" * 100_000 + b"]" * 100_000,
    "100,000 objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "100,000 fields": b"{" + b",".join(b'"f%d":1' % one for one in range(100_000)) + b"}",
    "a long text": b'{"name":"' + b"y" * 900_000 + b'"}',
}
"""The same, each large."""

VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    10**9,
    2**63,
    10**400,
    1e308,
    "",
    "y" * 20_000,
    "white space and ümläuts",
    [],
    [None],
    [[[[[[[[[]]]]]]]]],
    ["a"] * 2_000,
    {},
    {"a": None},
    {"": {"": {"": []}}},
)
TEXTS: dict[str, str] = {
    "half a surrogate pair": '"\\ud800"',
    "the other half": '"a\\udc00"',
    "a NUL": '"\\u0000"',
    "a control character": '"a\\u0001b"',
    "a number of 5,000 digits": "9" * 5_000,
    "an endless number": "1e999",
}
_MARK = "put it here"


def bodies(operation_id: str, share: int = 1) -> Iterator[tuple[str, bytes]]:
    """
    Bad bodies of an operation: those of all, and its example with one field made wrong.

    Of the latter one in `share`, and large ones for one operation in so many.
    """
    yield from BYTES.items()
    if zlib.crc32(operation_id.encode()) % share == 0:
        yield from GIANTS.items()
    for place, body in enumerate(_made_wrong(operation_id)):
        if place % share == 0:
            yield body


def _made_wrong(operation_id: str) -> Iterator[tuple[str, bytes]]:
    media = _media(operation_id)
    example: dict[str, Any] = media["example"]
    schema = {"components": whole()["components"], **media["schema"]}
    form = _form(media["schema"])
    judge = jsonschema_rs.validator_for(schema)
    for field in form["properties"]:
        for value in VALUES:
            wrong = {**example, field: value}
            if not judge.is_valid(json.loads(json.dumps(wrong))):
                shown = json.dumps(value)[:40]
                yield f"{field}: {shown}", json.dumps(wrong).encode()
        for name, text in TEXTS.items():
            yield f"{field}: {name}", _with(example, field, text)
        yield f"{field} twice", _twice(example, field)
    if example:
        yield "an unknown field beside good ones", json.dumps({**example, "x-y": 1}).encode()
    for field in form.get("required", ()):
        left = {name: value for name, value in example.items() if name != field}
        yield f"no {field}", json.dumps(left).encode()


def _with(example: dict[str, Any], field: str, text: str) -> bytes:
    """The example with a field that is written so."""
    return json.dumps({**example, field: _MARK}).replace(json.dumps(_MARK), text).encode()


def _twice(example: dict[str, Any], field: str) -> bytes:
    """The example with a field that is there twice, once with an escape in its name."""
    value = example.get(field, "a")
    body = json.dumps({**example, field: value})
    escaped = f"\\u{ord(field[0]):04x}{field[1:]}"
    return f'{body[:-1]}, "{escaped}": {json.dumps(value)}}}'.encode()


def _media(operation_id: str) -> dict[str, Any]:
    for methods in whole()["paths"].values():
        for operation in methods.values():
            if operation["operationId"] == operation_id:
                media: dict[str, Any] = operation["requestBody"]["content"]["application/json"]
                return media
    raise KeyError(operation_id)


def _form(schema: dict[str, Any]) -> dict[str, Any]:
    form: dict[str, Any] = whole()["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    return form
