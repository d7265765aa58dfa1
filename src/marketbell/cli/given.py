"""What is given to a command in more than a word: text from a file or standard input, pairs, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from marketbell.errors import InvalidError, TooLargeError

BYTES_MAX: Final = 32_000_000
"""Of a file or of standard input; servers take less."""


def text_given(value: str, option: str) -> str:
    """A value as it stands, the text of a file for `@file`, or standard input for `-`."""
    try:
        if value == "-":
            raw = sys.stdin.buffer.read(BYTES_MAX + 1)
        elif value.startswith("@"):
            with Path(value[1:]).open("rb") as source:
                raw = source.read(BYTES_MAX + 1)
        else:
            return value
    except OSError as fault:
        raise InvalidError((option,), f"cannot read {value[1:]}: {fault.strerror}") from None
    if len(raw) > BYTES_MAX:
        raise TooLargeError((option,), f"over {BYTES_MAX} bytes; no server takes so much")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise InvalidError((option,), "is not UTF-8") from None


def json_given(value: str, option: str, kind: type = dict) -> tuple[str, Any]:
    """JSON as text and read; InvalidError unless it is an object, or what `kind` is."""
    text = text_given(value, option)
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as fault:
        raise InvalidError((option,), f"is not JSON: {fault}") from None
    if not isinstance(read, kind):
        wanted = "a list" if kind is list else "an object"
        raise InvalidError((option,), f"is JSON, but not {wanted}")
    return text, read


def pairs_given(values: Iterable[str], option: str, between: str = "=") -> dict[str, str] | None:
    """`KEY=VALUE` texts as a mapping; None if there are none."""
    pairs: dict[str, str] = {}
    for value in values:
        key, found, text = value.partition(between)
        if not found or not key.strip():
            raise InvalidError((option,), f"{value[:64]!r} is not KEY{between}VALUE")
        pairs[key.strip()] = text.strip() if between == ":" else text
    return pairs or None
