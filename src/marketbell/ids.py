"""
Public ids: a prefix and 27 base62 characters that sort by time (KSUID with milliseconds).

The 20 bytes are those of Svix's `KsuidMs`: 4 bytes of seconds since 1,400,000,000, one byte of
milliseconds divided by 4, and 15 random bytes.
"""

from __future__ import annotations

import os
import struct
from typing import Final, TypeAlias

from marketbell.model import Instant

ORGANIZATION: Final = "org_"
APPLICATION: Final = "app_"
ENDPOINT: Final = "ep_"
MESSAGE: Final = "msg_"
ATTEMPT: Final = "atmpt_"
TASK: Final = "qtask_"
NOTICE: Final = "notice_"
API_KEY: Final = "mbk_"
AUDIT: Final = "audit_"
LOGIN: Final = "login_"
REJECTED: Final = "rej_"

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHARACTERS: Final = frozenset(_ALPHABET)
_DIGITS: Final = {character: value for value, character in enumerate(_ALPHABET)}
_PAIRS: Final = tuple(high + low for high in _ALPHABET for low in _ALPHABET)
_LENGTH: Final = 27
_EPOCH_MS: Final = 1_400_000_000_000
_RANDOM_BITS: Final = 120
_LAST_TICK: Final = ((1 << 32) - 1) << 8 | 249
_BACK_MS: Final = 1000
"""How far the clock may step back with the ids still rising."""
_BACK_TICKS: Final = (_BACK_MS // 1000) << 8
_FOUR: Final = 62**4
_NINE: Final = 62**9
_WORDS: Final = 512


_Last: TypeAlias = tuple[Instant, int, int, str, int]
"""
The last id: when it was made, its tick, what its first 18 characters stand for, they themselves
(ids of one tick share them nearly always), and what its last nine characters stand for.
"""

_NONE: Final[_Last] = (-1, -1, -1, "", 0)


class _State:
    """Random 64-bit words, read a page at a time, and the last id."""

    def __init__(self) -> None:
        self.words: list[int] = []
        self.last = _NONE
        """Replaced as a whole: two threads never see parts of two ids."""
        os.register_at_fork(after_in_child=self._forget)

    def word(self) -> int:
        """The next word. Two threads never get the same one."""
        try:
            return self.words.pop()
        except IndexError:
            self.words.extend(struct.unpack(f"<{_WORDS}Q", os.urandom(8 * _WORDS)))
            return self.word()

    def _forget(self) -> None:
        self.words.clear()
        self.last = _NONE


_STATE: Final = _State()


def new_id(prefix: str, now: Instant) -> str:
    """
    A new id of that moment, greater than every one that this thread made before.

    It holds while the clock steps back by less than a second; after a greater step ids follow
    the clock. Instants before 2014-05-13 count as that day.
    """
    state = _STATE
    then, tick, above, characters, low = state.last
    if now != then:  # many are made in one millisecond
        new_tick = _tick(now)
        if not -_BACK_TICKS <= new_tick - tick <= 0:
            value = (new_tick << _RANDOM_BITS) | (state.word() << 56) | (state.word() >> 8)
            above, low = divmod(value, _NINE)
            return prefix + _made(state, now, above, low)
    try:
        word = state.words.pop()
    except IndexError:
        word = state.word()
    low += 1 + (word >> 16)
    if low >= _NINE:
        return prefix + _made(state, now, above + 1, low - _NINE)
    state.last = (now, tick, above, characters, low)
    # As `_nine`, without the call: numbers below 2**30 are the quick ones.
    pairs = _PAIRS
    high, rest = divmod(low, _FOUR)
    first = high // 3844
    return (
        f"{prefix}{characters}{_ALPHABET[first // 3844]}{pairs[first % 3844]}{pairs[high % 3844]}"
        f"{pairs[rest // 3844]}{pairs[rest % 3844]}"
    )


def _made(state: _State, now: Instant, above: int, low: int) -> str:
    """The characters of an id that does not share its first ones with the last."""
    characters = _nine(above // _NINE) + _nine(above % _NINE)
    tick = (above * _NINE + low) >> _RANDOM_BITS
    state.last = (now, tick, above, characters, low)
    return characters + _nine(low)


def smallest_at(prefix: str, now: Instant) -> str:
    """The lower bound of all ids of that moment and later; itself never made."""
    return prefix + _base62(_tick(now) << _RANDOM_BITS)


def time_of(public_id: str) -> Instant:
    """When an id was made, to 4 ms below. The id must be one by `is_id`."""
    value = 0
    for character in public_id[-_LENGTH:]:
        value = value * 62 + _DIGITS[character]
    tick = value >> _RANDOM_BITS
    return _EPOCH_MS + (tick >> 8) * 1000 + ((tick & 255) << 2)


def is_id(prefix: str, text: str) -> bool:
    """Whether a text has the shape of an id with that prefix."""
    body = text[len(prefix) :]
    return (
        len(body) == _LENGTH
        and text.startswith(prefix)
        and _CHARACTERS.issuperset(body)
        and body <= _GREATEST
    )


def of_key(prefix: str, key: int) -> str:
    """
    A place in a list as an id: the one of that key, which says nothing of whose row stands there.

    Ids that are made have a later day than it.
    """
    return prefix + _base62(key)


def key_of(public_id: str) -> int | None:
    """The reverse of `of_key`; None for an id that was made."""
    value = 0
    for character in public_id[-_LENGTH:]:
        value = value * 62 + _DIGITS[character]
    return value if value < 1 << 62 else None


def _tick(now: Instant) -> int:
    seconds, millis = divmod(now - _EPOCH_MS, 1000)
    return min(max(seconds << 8 | millis >> 2, 0), _LAST_TICK)


def _base62(value: int) -> str:
    """160 bits as 27 characters."""
    above, low = divmod(value, _NINE)
    return _nine(above // _NINE) + _nine(above % _NINE) + _nine(low)


def _nine(value: int) -> str:
    """A number below 62**9, which fits a machine word, as nine characters."""
    pairs = _PAIRS
    high, rest = divmod(value, _FOUR)
    first = high // 3844
    return (
        f"{_ALPHABET[first // 3844]}{pairs[first % 3844]}{pairs[high % 3844]}"
        f"{pairs[rest // 3844]}{pairs[rest % 3844]}"
    )


_GREATEST: Final = _base62((1 << 160) - 1)
