"""Event types as typed definitions, and payloads checked against them."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Self

import msgspec

from marketbell.dialects import schema as schemas
from marketbell.dialects.faults import fault_of_refusal
from marketbell.dialects.schema import PayloadSchema, Schema
from marketbell.errors import InvalidError

_UNFIT = "the payload does not fit"


class Described(enum.StrEnum):
    """A set of words that each carry what they mean: `WORD = "word", "what it means"`."""

    meaning: str

    def __new__(cls, word: str, meaning: str) -> Self:
        """A member whose value is the word alone."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning = meaning
        return member

    @classmethod
    def field(cls, what: str) -> msgspec.Meta:
        """For a field of this type: `what`, then every word and its meaning, in our order."""
        meanings = "\n".join(f"- `{word.value}`: {word.meaning}" for word in cls)
        return msgspec.Meta(
            description=f"{what}\n\n{meanings}",
            extra_json_schema={"type": "string", "enum": [word.value for word in cls]},
        )


class EventType(msgspec.Struct, frozen=True, kw_only=True):
    """One event type of a marketplace: all that is known of it, in one place."""

    name: str
    """As it stands on the wire, such as `part.status.changed`."""
    title: str
    subject: str
    """What it is about: part, order, return, feed, product."""
    description: str
    """What happened, in one or two sentences."""
    fires: str
    """When the marketplace's document says that it is sent, and when not."""
    payload: type[msgspec.Struct]
    """What a publisher gives; refuses fields that it does not know."""
    body: type[msgspec.Struct] | None = None
    """The whole body on the wire; None where the payload alone is the body."""
    examples: tuple[msgspec.Struct, ...]
    """At least one instance of `payload`."""
    deprecated: bool = False

    @property
    def type_name(self) -> str:
        """Its name in generated code, such as `PartStatusChanged`."""
        return "".join(
            part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", self.name)
        )

    @property
    def example(self) -> bytes:
        """The first example as a publisher would send it: the payload's JSON."""
        return msgspec.json.encode(self.examples[0])


class Catalogue(Mapping[str, EventType]):
    """
    The event types that a dialect ships, by name. Immutable.

    The typed definition is the one rule: it checks, it is re-encoded onto the wire, and
    the schema is made from it. A payload is decoded straight into it, which costs less
    than decoding it into dicts and holding those against a schema; the compiled schema is
    made on the first fault, to say what is wrong.
    """

    def __init__(self, event_types: Iterable[EventType]) -> None:
        self._types: dict[str, EventType] = {}
        for event_type in event_types:
            if event_type.name in self._types:
                raise ValueError(f"{event_type.name} is twice in the catalogue")
            self._types[event_type.name] = event_type
        self._decoders = {
            name: msgspec.json.Decoder(event_type.payload)
            for name, event_type in self._types.items()
        }
        self._compiled: dict[str, PayloadSchema] = {}

    def __getitem__(self, name: str) -> EventType:
        return self._types[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name, in the order of the marketplace's document."""
        return tuple(self._types)

    def decode(self, name: str, payload: bytes) -> msgspec.Struct | None:
        """
        The payload as its typed value; None for an event type that is not in the catalogue.

        Raises InvalidError with the path of the first field that is wrong.
        """
        decoder = self._decoders.get(name)
        if decoder is None:
            return None
        try:
            return decoder.decode(payload)
        except msgspec.ValidationError as refusal:
            reason = str(refusal)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            reason = _UNFIT
        # To a schema 190.0 is an integer: where it has nothing to say the decoder has.
        fault = self._schema_of(name).fault(schemas.decoded(payload))
        raise fault or fault_of_refusal(reason)

    def check(self, name: str, payload: bytes) -> None:
        """
        Return if the payload fits, or if the event type is not in the catalogue.

        Raises InvalidError with the path of the first field that is wrong, such as
        ("body", "payload", "OrderItemIds", 1), and the mend.
        """
        self.decode(name, payload)

    def faults(self, name: str, payload: bytes) -> Sequence[InvalidError]:
        """Everything that is wrong with a payload; empty if it fits. KeyError for an unknown name."""
        try:
            self._decoders[name].decode(payload)
        except msgspec.ValidationError as refusal:
            refused = fault_of_refusal(str(refusal))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            refused = fault_of_refusal(_UNFIT)
        else:
            return ()
        try:
            value = schemas.decoded(payload)
        except InvalidError as fault:
            return (fault,)
        found = tuple(self._schema_of(name).faults(value))
        # What the schema has nothing to say of, as of 190.0 for an integer.
        depth = len(refused.field)
        told = any(tuple(fault.field[:depth]) == tuple(refused.field) for fault in found)
        return found if told else (*found, refused)

    def schema(self, name: str) -> Schema:
        """The JSON Schema (2020-12) of a payload as it is published. KeyError for an unknown name."""
        event_type = self._types[name]
        schema: Schema = {
            "$schema": schemas.DRAFT,
            **schemas.of_type(event_type.payload, title=event_type.type_name),
            "description": event_type.description,
            "examples": [msgspec.to_builtins(example) for example in event_type.examples],
        }
        if event_type.deprecated:
            schema["deprecated"] = True
        return schema

    def body_schema(self, name: str) -> Schema:
        """The JSON Schema of the whole body on the wire. KeyError for an unknown name."""
        event_type = self._types[name]
        schema: Schema = {
            "$schema": schemas.DRAFT,
            **schemas.of_type(
                event_type.body or event_type.payload,
                title=f"{event_type.type_name}Body",
                sent=True,
            ),
        }
        if event_type.deprecated:
            schema["deprecated"] = True
        return schema

    def _schema_of(self, name: str) -> PayloadSchema:
        compiled = self._compiled.get(name)
        if compiled is None:
            compiled = self._compiled[name] = PayloadSchema(self.schema(name))
        return compiled
