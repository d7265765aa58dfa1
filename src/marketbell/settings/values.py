"""How the value of a setting is written: durations, sizes, networks, and their bounds."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
KB: Final = 1_000
MB: Final = 1_000_000

_DURATION_UNITS: Final = {"ms": 1, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_SIZE_UNITS: Final = {
    "": 1, "B": 1, "KB": KB, "MB": MB, "GB": 1_000 * MB,
    "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30,
}  # fmt: skip
_AMOUNT: Final = re.compile(r"([0-9]{1,15})\s*([A-Za-z]*)")
_POSTGRESQL: Final = ("postgresql://", "postgres://")
_PASSWORD: Final = re.compile(r"(://[^:/?#]*):.*@", re.DOTALL)
"""To the last @: a password that should have been escaped is hidden whole."""
_QUERY_PASSWORD: Final = re.compile(r"(?i)([?&](?:ssl)?password=)[^&#]*")
_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})


class BadValueError(ValueError):
    """What is wrong with one value and how to mend it: the end of a sentence about a setting."""


class Setting(msgspec.Struct, frozen=True):
    """
    The one description of a setting: help, documentation and validation come from it.

    It stands in the annotation of its field in `Settings`, which has the default.
    """

    kind: str
    """How a value is written: text, database, number, count, flag, duration, size, words, networks, file, secret, secrets, pem, secret pem."""
    purpose: str
    """What it is for, as one or two sentences."""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    """The only words allowed, for kind text and words."""
    unset: str = ""
    """What an empty default means."""

    def read(self, raw: object) -> object:
        """The value that `raw` (a string, or what TOML has) stands for. Raises BadValueError."""
        value = _READERS[self.kind](raw)
        if isinstance(value, int | float) and not isinstance(value, bool):
            self._check_bounds(value)
        if self.choices:
            words = value if isinstance(value, tuple) else (value,)
            for word in words:
                if word not in self.choices:
                    raise BadValueError(f"{word!r} is none of {', '.join(self.choices)}")
        return value

    def _check_bounds(self, value: float) -> None:
        if self.low is not None and value < self.low:
            raise BadValueError(
                f"{self.show(value)} is too low; the least is {self.show(self.low)}"
            )
        if self.high is not None and value > self.high:
            raise BadValueError(
                f"{self.show(value)} is too high; the most is {self.show(self.high)}"
            )

    def show(self, value: object) -> str:
        """A value in the form in which a person writes it; secrets are never shown."""
        if self.kind in _GUARDED:
            return _GUARDED[self.kind](value)
        if self.kind == "duration" and isinstance(value, int | float):
            return show_duration(int(value))
        if self.kind == "size" and isinstance(value, int | float):
            return show_size(int(value))
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, tuple):
            return " ".join(str(part) for part in value)
        return "" if value is None else str(value)

    @property
    def bounds(self) -> str:
        """The allowed range in words, or ''."""
        if self.choices:
            return ", ".join(self.choices)
        low = None if self.low is None else self.show(self.low)
        high = None if self.high is None else self.show(self.high)
        if low is not None and high is not None:
            return f"{low} to {high}"
        if low is not None:
            return f"at least {low}"
        return "" if high is None else f"at most {high}"


def read_duration(raw: object) -> int:
    """Milliseconds from `90d`, `1h 30m`, `500ms`; a bare number has no unit and is refused."""
    text = _text(raw, "a duration such as 500ms, 20s, 5m, 2h or 90d").strip()
    if text == "0":
        return 0
    total = 0
    parts = text.split()
    if not parts:
        raise BadValueError("is empty; write a duration such as 20s")
    for part in parts:
        found = _AMOUNT.fullmatch(part)
        if found is None or found[2] not in _DURATION_UNITS:
            raise BadValueError(
                f"{text!r} is not a duration; write a whole number with ms, s, m, h or d, such as 20s"
            )
        total += int(found[1]) * _DURATION_UNITS[found[2]]
    return total


def read_size(raw: object) -> int:
    """Bytes from `1MB` (1,000,000), `1MiB` (1,048,576) or a bare number of bytes."""
    text = _text(raw, "a size such as 20kB or 1MB").strip()
    found = _AMOUNT.fullmatch(text)
    unit = _SIZE_UNITS.get(found[2].upper()) if found else None
    if found is None or unit is None:
        raise BadValueError(
            f"{text!r} is not a size; write bytes, or a whole number with kB, MB or MiB"
        )
    return int(found[1]) * unit


def on_postgresql(url: str) -> bool:
    """Whether an address names PostgreSQL."""
    return url.startswith(_POSTGRESQL)


def shown_address(url: str) -> str:
    """An address without the passwords in it."""
    if url.startswith("sqlite:"):
        return url
    return _QUERY_PASSWORD.sub(r"\1***", _PASSWORD.sub(r"\1:***@", url))


def show_duration(millis: int) -> str:
    """The shortest exact form with one unit: 5000 is `5s`."""
    for unit in ("d", "h", "m", "s"):
        if millis and millis % _DURATION_UNITS[unit] == 0:
            return f"{millis // _DURATION_UNITS[unit]}{unit}"
    return f"{millis}ms"


def show_size(size: int) -> str:
    """The shortest exact form with one unit: 1000000 is `1MB`."""
    for name, unit in (("GB", 1_000 * MB), ("MB", MB), ("kB", KB)):
        if size and size % unit == 0:
            return f"{size // unit}{name}"
    return f"{size}B"


def _masked(value: object) -> str:
    return "(secret)" if value else ""


def _text(raw: object, wanted: str) -> str:
    if isinstance(raw, bool) or not isinstance(raw, str | int):
        raise BadValueError(f"{raw!r} is not {wanted}")
    return str(raw)


def _read_text(raw: object) -> str:
    if not isinstance(raw, str | Path):
        raise BadValueError(f"{raw!r} is not text; put it in quotes")
    if "\0" in str(raw):
        raise BadValueError(f"{raw!r} has a NUL character in it")
    return str(raw)


def _read_count(raw: object) -> int:
    try:
        return int(_text(raw, "a whole number").strip().replace("_", ""))
    except ValueError as error:
        raise BadValueError(f"{raw!r} is not a whole number") from error


def _read_number(raw: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        raise BadValueError(f"{raw!r} is not a number")
    try:
        number = float(raw)
    except ValueError as error:
        raise BadValueError(f"{raw!r} is not a number") from error
    if number != number or number in (float("inf"), float("-inf")):  # noqa: PLR0124
        raise BadValueError(f"{raw!r} is not a finite number")
    return number


def _read_flag(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    word = str(raw).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise BadValueError(f"{raw!r} is neither true nor false")


def _read_words(raw: object) -> tuple[str, ...]:
    if isinstance(raw, str):
        return tuple(raw.replace(",", " ").split())
    if isinstance(raw, Sequence) and all(isinstance(word, str) for word in raw):
        return tuple(str(word) for word in raw)
    raise BadValueError(f"{raw!r} is not a list of words")


def _read_networks(raw: object) -> tuple[Network, ...]:
    networks: list[Network] = []
    for word in _read_words(raw):
        try:
            networks.append(ipaddress.ip_network(word))
        except ValueError as error:
            raise BadValueError(
                f"{word!r} is not a network such as 10.0.0.0/8 ({error})"
            ) from error
    return tuple(networks)


def _read_file(raw: object) -> Path | None:
    text = _read_text(raw)
    return Path(text) if text else None


def _read_secret(raw: object) -> bytes:
    if isinstance(raw, bytes):
        return raw
    if not isinstance(raw, str):
        raise BadValueError("is not text; put it in quotes")
    return raw.encode("utf-8", "surrogateescape")


def _read_pem(raw: object) -> bytes:
    """The text itself, or what stands in the file that it names."""
    text = _read_text(raw)
    if text.lstrip().startswith("-----BEGIN "):
        return text.encode("utf-8", "surrogateescape")
    try:
        return Path(text).read_bytes() if text else b""
    except OSError as error:
        raise BadValueError(f"{text!r} cannot be read ({error.strerror})") from error


def _read_secrets(raw: object) -> tuple[bytes, ...]:
    try:
        return tuple(word.encode("utf-8", "surrogateescape") for word in _read_words(raw))
    except BadValueError:
        raise BadValueError("is not a list of texts") from None


def read_key(secret: bytes) -> bytes:
    """The 32 bytes behind a base64 text. Raises BadValueError."""
    try:
        key = base64.b64decode(secret.strip(), validate=True)
    except binascii.Error as error:
        raise BadValueError("is not base64; make one with: openssl rand -base64 32") from error
    if len(key) != 32:
        raise BadValueError(
            f"has {len(key)} bytes and must have 32; make one with: openssl rand -base64 32"
        )
    return key


_GUARDED: Final[dict[str, Callable[[object], str]]] = {
    **dict.fromkeys(("secret", "secrets", "secret pem", "pem"), _masked),
    "database": lambda value: shown_address(str(value)),
}
"""How those are shown that are, or may hold, secrets."""

_READERS: Final[dict[str, Callable[[object], object]]] = {
    "text": _read_text,
    "database": _read_text,
    "count": _read_count,
    "number": _read_number,
    "flag": _read_flag,
    "duration": read_duration,
    "size": read_size,
    "words": _read_words,
    "networks": _read_networks,
    "file": _read_file,
    "secret": _read_secret,
    "secrets": _read_secrets,
    "pem": _read_pem,
    "secret pem": _read_pem,
}
