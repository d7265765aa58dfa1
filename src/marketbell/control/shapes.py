"""Which names and texts are taken: the rules for uids, event types, channels, tags and metadata."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from marketbell.errors import InvalidError

Field: TypeAlias = Sequence[str | int]

NAME_MAX: Final = 256
"""Characters of a uid, an event type or a display name."""
CHANNEL_MAX: Final = 128
DESCRIPTION_MAX: Final = 4_096
MESSAGE_CHANNELS_MAX: Final = 5
ENDPOINT_CHANNELS_MAX: Final = 10
TAGS_MAX: Final = 10
EVENT_TYPES_MAX: Final = 500
THROTTLE_MAX: Final = 65_535
VERSION_MAX: Final = 65_535

_NAME: Final = re.compile(r"[a-zA-Z0-9\-_.]+")
_TAG: Final = re.compile(r"[a-zA-Z0-9\-_./#:]+")
_ORGANIZATION: Final = re.compile(r"org_[a-zA-Z0-9\-_.]{1,64}")
_CONTROL: Final = re.compile("[\x00-\x08]")
_EVENT_TYPES: Final[set[str]] = set()
"""Names that were good before: every message has one, and few are different."""
_EVENT_TYPES_KNOWN: Final = 4_096
_ALPHABET: Final = "letters, digits and - _ ."


def check_name(text: str, field: Field, what: str, *, limit: int = NAME_MAX) -> None:
    """Return if the text is 1 to `limit` of `a-z A-Z 0-9 - _ .`; else raise InvalidError."""
    if len(text) <= limit and _NAME.fullmatch(text):
        return
    raise InvalidError(field, f"{what} is 1 to {limit} characters: {_ALPHABET}")


def check_uid(text: str, prefix: str, field: Field) -> None:
    """Return if the text may be a uid: a name that does not look like an id with this prefix."""
    if len(text) <= NAME_MAX and _NAME.fullmatch(text) and not text.startswith(prefix):
        return
    what = "A uid" if field[-1] == "uid" else f"An {field[-1]}"
    check_name(text, field, what)
    raise InvalidError(
        field,
        f"{what} may not begin with {prefix!r}, as the ids that this server makes do; "
        f"put something before it, such as {'_' + prefix!r}",
    )


def check_organization(name: str, field: Field) -> None:
    """Return if the text may name an organization."""
    if not _ORGANIZATION.fullmatch(name):
        raise InvalidError(
            field,
            "An organization is named `org_` and 1 to 64 of the characters a-z A-Z 0-9 - _ .",
        )


def check_event_type(name: str, field: Field) -> None:
    """Return if the text may name an event type."""
    if name not in _EVENT_TYPES:
        check_name(name, field, "An event type's name")
        if len(_EVENT_TYPES) < _EVENT_TYPES_KNOWN:
            _EVENT_TYPES.add(name)


def check_channels(names: Sequence[str], field: Field, limit: int, *, null: str = "none") -> None:
    """
    Return if there are 1 to `limit` channels, each of 1 to 128 characters and there once.

    `null` is what no list at all means here.
    """
    _check_list(names, field, limit, "channels", null)
    for place, name in enumerate(names):
        check_name(name, (*field, place), "A channel", limit=CHANNEL_MAX)


def check_tags(names: Sequence[str], field: Field) -> None:
    """Return if there are 1 to 10 tags, each of 1 to 128 characters and there once."""
    _check_list(names, field, TAGS_MAX, "tags", "none")
    for place, name in enumerate(names):
        if len(name) > CHANNEL_MAX or not _TAG.fullmatch(name):
            raise InvalidError(
                (*field, place),
                f"A tag is 1 to {CHANNEL_MAX} characters: {_ALPHABET} / # :",
            )


def check_event_types(names: Collection[str], field: Field) -> None:
    """Return if there are 1 to 500 event type names of the right shape."""
    if not names:
        raise InvalidError(field, "The list is empty; send null to take every event type")
    if len(names) > EVENT_TYPES_MAX:
        raise InvalidError(field, f"At most {EVENT_TYPES_MAX} event types; this is {len(names)}")
    for name in names:
        check_event_type(name, field)


def check_text(text: str, field: Field, *, limit: int, least: int = 0) -> None:
    """Return if a free text has `least` to `limit` characters and no control character below 0x09."""
    if not least <= len(text) <= limit:
        wanted = f"{least} to {limit}" if least else f"at most {limit}"
        raise InvalidError(field, f"The text has {len(text)} characters; {wanted} are taken")
    if _CONTROL.search(text):
        raise InvalidError(field, "The text has a control character (0x00 to 0x08); remove it")


def check_throttle(rate: int, field: Field) -> None:
    """Return if a rate is 1 to 65,535 a second."""
    if not 1 <= rate <= THROTTLE_MAX:
        raise InvalidError(field, f"A rate is 1 to {THROTTLE_MAX} a second, or null for no limit")


def check_metadata(metadata: Mapping[str, str], field: Field, limit: int) -> None:
    """Return if the metadata is at most `limit` bytes of JSON and every key a short text."""
    size = len(msgspec.json.encode(metadata))
    if size > limit:
        raise InvalidError(
            field, f"The metadata is {size} bytes as JSON; at most {limit} are taken"
        )
    for key, value in metadata.items():
        check_text(key, (*field, key[:64]), limit=NAME_MAX, least=1)
        check_text(value, (*field, key), limit=limit)


def _check_list(names: Sequence[str], field: Field, limit: int, what: str, null: str) -> None:
    if not 1 <= len(names) <= limit:
        raise InvalidError(
            field, f"There are {len(names)} {what}; send 1 to {limit}, or null for {null}"
        )
    if len(set(names)) != len(names):
        raise InvalidError(field, f"One of the {what} is there twice; send each once")
