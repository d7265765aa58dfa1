"""Which words a payload has, and how payloads are asked for by them. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

WORDS_MAX: Final = 4_096
"""Words of one payload that are noted; what comes after them is not found."""
WORD_MAX: Final = 64
"""Characters of a word that count."""

_WORD: Final = re.compile(r"[^\W_\u19b0-\u19c0\u19c8\u19c9\u1cf2\u1cf3]+")
"""Without the few letters that FTS5 takes for marks: it would part a word there."""
_DECODE: Final = msgspec.json.Decoder().decode


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text: runs of letters and digits, whatever their case, each once."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return tuple(dict.fromkeys(word[:WORD_MAX] for word in _WORD.findall(folded)))


def words_of_payload(payload: bytes) -> tuple[str, ...]:
    """
    The words of a payload's values, not of its keys; of what is no JSON, all words.

    At most 4,096.
    """
    try:
        parts = list(_texts(_DECODE(payload)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        parts = [payload.decode("utf-8", "replace")]
    found: dict[str, None] = {}
    for part in parts:
        found.update(dict.fromkeys(words_of(part)))
        if len(found) >= WORDS_MAX:
            break
    return tuple(found)[:WORDS_MAX]


def match_of(application_id: int, words: Iterable[str]) -> str:
    """The question after payloads of one application that have all of these words."""
    asked = " AND ".join(f'"{word}"' for word in words)
    return f"scope : {scope_of(application_id)} AND words : ({asked})"


def array_of(application_id: int, words: Iterable[str]) -> str:
    """The same as words in a row, the first of which stands for the application and is no word."""
    return " ".join((f"#{scope_of(application_id)}", *words))


def scope_of(application_id: int) -> str:
    """The word that stands for an application beside its payloads' own."""
    return f"a{application_id}"


def _texts(value: object) -> Iterator[str]:
    """The texts and numbers in a value, one level after the other."""
    level = [value]
    while level:
        deeper: list[object] = []
        for one in level:
            if isinstance(one, str):
                yield one
            elif isinstance(one, dict):
                deeper.extend(one.values())
            elif isinstance(one, list):
                deeper.extend(one)
            elif isinstance(one, int | float) and not isinstance(one, bool):
                yield str(one)
        level = deeper
