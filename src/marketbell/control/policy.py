"""Policy as metadata: the keys `marketbell.*` and the typed columns that they stand for. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Final

import msgspec

from marketbell.errors import ForbiddenError, InvalidError
from marketbell.model import Millis, OrderOnFailure, Policy
from marketbell.settings.values import BadValueError, read_duration, show_duration

PREFIX: Final = "marketbell."

RETRIES_MAX: Final = 64
WAIT_MAX: Final[Millis] = 30 * 24 * 3_600_000
TIMEOUT_MIN: Final[Millis] = 100
POINTER_MAX: Final = 256
_TEXT_MAX: Final = 1_024

_POINTER: Final = re.compile(r"(?:/(?:[^~/]|~[01])*)+")
_WHOLE: Final = re.compile(r"[0-9]{1,6}")


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator's settings allow a policy to say."""

    dialects: Collection[str]
    """The names that there are."""
    timeout_max: Millis
    max_in_flight_max: int


class Split(msgspec.Struct, frozen=True):
    """Metadata as it came, in two parts."""

    own: dict[str, str]
    """The caller's own keys."""
    policy: dict[str, str]
    """The keys `marketbell.*` without that prefix; every one is known."""


def split(metadata: Mapping[str, str]) -> Split:
    """
    Part a caller's own keys from ours.

    Raises InvalidError, naming the key, for one that begins with `marketbell.` and is none of ours.
    """
    own: dict[str, str] = {}
    policy: dict[str, str] = {}
    for key, value in metadata.items():
        if not key.startswith(PREFIX):
            own[key] = value
            continue
        name = key.removeprefix(PREFIX)
        if name not in _READERS:
            raise InvalidError(
                _field(name),
                f"There is no key {key[:64]!r}; the keys are "
                f"{', '.join(PREFIX + known for known in _READERS)}",
            )
        policy[name] = value
    return Split(own, policy)


def change(policy: Policy, words: Mapping[str, str], bounds: Bounds) -> Policy:
    """
    The policy with the keys of `words` set; an empty text clears one, an absent one stays.

    Raises InvalidError naming the key, what is wrong with its value and the mend.
    """
    if not words:
        return policy
    values: dict[str, object] = {}
    for name, text in words.items():
        field, read = _READERS[name]
        values[field] = None if text == "" else read(text, bounds)
    return msgspec.structs.replace(policy, **values)


def check_portal(before: Policy, after: Policy, may_set: Collection[str]) -> None:
    """
    Return if everything that differs is a key in `may_set` (full names, `marketbell.timeout`).

    Raises ForbiddenError naming the first key that an application's own token may not set.
    """
    for name, (field, _) in _READERS.items():
        if PREFIX + name not in may_set and getattr(before, field) != getattr(after, field):
            raise ForbiddenError(
                f"The metadata key {PREFIX + name!r} is the operator's to set; "
                "leave it out or send it unchanged."
            )


def render(policy: Policy) -> dict[str, str]:
    """The metadata keys of a policy; what is unset is left out."""
    words: dict[str, str] = {}
    for name, (field, _) in _READERS.items():
        value = getattr(policy, field)
        if value is None:
            continue
        if isinstance(value, tuple):
            words[PREFIX + name] = " ".join(show_duration(wait) for wait in value)
        elif name == "timeout":
            words[PREFIX + name] = show_duration(value)
        else:
            words[PREFIX + name] = str(value)
    return words


def _field(name: str) -> tuple[str, ...]:
    return ("body", "metadata", PREFIX + name)


def _dialect(text: str, bounds: Bounds) -> str:
    if text in bounds.dialects:
        return text
    raise InvalidError(
        _field("dialect"),
        f"There is no dialect {text[:64]!r}; use one of: {', '.join(bounds.dialects)}",
    )


def _retry_schedule(text: str, bounds: Bounds) -> tuple[Millis, ...]:
    del bounds
    field = _field("retry-schedule")
    parts = text[:_TEXT_MAX].split()
    if not parts or len(parts) > RETRIES_MAX or len(text) > _TEXT_MAX:
        raise InvalidError(
            field, f"Write 1 to {RETRIES_MAX} waits, one per resend, such as `7s 35s 175s`"
        )
    return tuple(_wait(part, field) for part in parts)


def _wait(part: str, field: tuple[str, ...]) -> Millis:
    wait = _duration(part, field)
    if not 1 <= wait <= WAIT_MAX:
        raise InvalidError(field, f"The wait {part!r} is outside of 1ms to 30d")
    return wait


def _timeout(text: str, bounds: Bounds) -> Millis:
    field = _field("timeout")
    timeout = _duration(text, field)
    if not TIMEOUT_MIN <= timeout <= bounds.timeout_max:
        raise InvalidError(
            field,
            f"The timeout {text!r} is outside of {show_duration(TIMEOUT_MIN)} to "
            f"{show_duration(bounds.timeout_max)}",
        )
    return timeout


def _duration(text: str, field: tuple[str, ...]) -> Millis:
    if len(text.split()) != 1 or len(text) > 20:
        raise InvalidError(field, f"{text[:64]!r} is not one duration such as 500ms, 20s or 5m")
    try:
        return read_duration(text)
    except BadValueError as fault:
        raise InvalidError(field, str(fault)) from None


def _max_in_flight(text: str, bounds: Bounds) -> int:
    most = bounds.max_in_flight_max
    if _WHOLE.fullmatch(text) and 1 <= int(text) <= most:
        return int(text)
    raise InvalidError(
        _field("max-in-flight"), f"{text[:64]!r} is not a whole number from 1 to {most}"
    )


def _order_by(text: str, bounds: Bounds) -> str:
    del bounds
    if len(text) <= POINTER_MAX and _POINTER.fullmatch(text):
        return text
    raise InvalidError(
        _field("order-by"),
        f"{text[:64]!r} is not a JSON pointer (RFC 6901) of at most {POINTER_MAX} characters; "
        "write it as /order_id or /order/id",
    )


def _order_on_failure(text: str, bounds: Bounds) -> OrderOnFailure:
    del bounds
    try:
        return OrderOnFailure(text)
    except ValueError:
        words = ", ".join(OrderOnFailure)
        raise InvalidError(
            _field("order-on-failure"), f"{text[:64]!r} is none of: {words}"
        ) from None


_READERS: Final[Mapping[str, tuple[str, Callable[[str, Bounds], object]]]] = {
    "dialect": ("dialect", _dialect),
    "retry-schedule": ("retry_schedule", _retry_schedule),
    "timeout": ("timeout", _timeout),
    "max-in-flight": ("max_in_flight", _max_in_flight),
    "order-by": ("order_by", _order_by),
    "order-on-failure": ("order_on_failure", _order_on_failure),
}

KEYS: Final = tuple(_READERS)
"""The keys without their prefix."""
