"""`marketbell catalogue`: what each dialect's events look like."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cyclopts import App, Parameter

from marketbell.cli.exits import Exit
from marketbell.cli.options import JsonFlag, settings_of
from marketbell.errors import InvalidError, NotFoundError, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from marketbell.dialects.base import Dialect
    from marketbell.dialects.catalogue import EventType

catalogue_app = App(
    name="catalogue",
    help="See, check and export what each dialect's events look like.",
    version_flags=(),
)

_PAYLOAD_MAX: Final = 1_000_000
"""Bytes of a payload that `check` takes."""

DialectName = Annotated[str | None, Parameter(help="Only this dialect's.")]
Config = Annotated[Path | None, Parameter(help="The server's TOML file of settings.")]
EventTypeName = Annotated[str, Parameter(help="Its name, such as order.created.")]


@catalogue_app.command(name="list")
def list_event_types(
    *, dialect: DialectName = None, config: Config = None, json: JsonFlag = False
) -> int:
    """List every event type of every dialect."""
    dialects = _dialects(dialect, config)
    if json:
        return _print_json([_listed(entry) for entry in dialects])
    _print_list(dialects)
    return 0


@catalogue_app.command
def show(
    event_type: EventTypeName,
    *,
    dialect: DialectName = None,
    config: Config = None,
    json: JsonFlag = False,
) -> int:
    """Show one event type: when it is sent, its fields, and an example as it goes out."""
    owner, found = _found(event_type, dialect, config)
    if json:
        return _print_json(_described(owner, found))
    _print_event_type(owner, found)
    return 0


@catalogue_app.command
def check(
    event_type: EventTypeName,
    file: Annotated[
        str,
        Parameter(
            help="The file with the payload, a JSON object; - for standard input.",
            allow_leading_hyphen=True,
        ),
    ] = "-",
    *,
    dialect: DialectName = None,
    config: Config = None,
    json: JsonFlag = False,
) -> int:
    """Check a payload against its event type. Exit code 1 if it does not fit."""
    faults: Sequence[InvalidError]
    owner, found = _found(event_type, dialect, config)
    try:
        faults = _faults(owner, found, _read(file))
    except TooLargeError as too_large:
        faults = (too_large,)
    if json:
        _print_json(
            {
                "event_type": event_type,
                "valid": not faults,
                "faults": [
                    {"loc": fault.field, "msg": fault.detail, "type": fault.kind}
                    for fault in faults
                ],
            }
        )
    else:
        for fault in faults:
            print(fault.detail)
        if not faults:
            print(f"the payload fits {event_type}")
    return Exit.FAILED if faults else Exit.OK


@catalogue_app.command
def export(
    dialect: Annotated[str, Parameter(help="The dialect's name, such as ovoko.")],
    *,
    format: Annotated[  # noqa: A002 - the option's name
        Literal["json-schema", "openapi", "asyncapi"], Parameter(help="What to write.")
    ] = "json-schema",
    output: Annotated[
        Path | None, Parameter(help="The file to write; standard output if left out.")
    ] = None,
    config: Config = None,
    json: Annotated[
        bool, Parameter(name="--json", negative="", help="Tell what was written as JSON.")
    ] = False,
) -> int:
    """Export a dialect's catalogue as JSON Schema, OpenAPI 3.1 webhooks or AsyncAPI 3.0."""
    from marketbell.dialects import export as exports

    (found,) = _dialects(dialect, config)
    written = {
        "json-schema": exports.json_schema,
        "openapi": exports.openapi,
        "asyncapi": exports.asyncapi,
    }[format](found)
    if output is None:
        return _print_json(written)
    text = _formatted(written)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as fault:
        raise InvalidError(("output",), f"cannot write {output}: {fault.strerror}") from None
    if json:
        return _print_json({"dialect": dialect, "format": format, "file": str(output)})
    print(f"wrote {format} of {dialect} to {output}")
    return 0


def _dialects(name: str | None, config: Path | None) -> tuple[Dialect, ...]:
    """The dialects as the settings in force have them: all of them, or the one of this name."""
    from marketbell.dialects.registry import DialectOptions, Registry

    settings = settings_of({}, config)
    options = {name: getattr(settings, name) for name in DialectOptions.__struct_fields__}
    registry = Registry.load(DialectOptions(**options))
    return tuple(registry) if name is None else (registry.dialect(name, field=("dialect",)),)


def _found(name: str, dialect: str | None, config: Path | None) -> tuple[Dialect, EventType]:
    dialects = _dialects(dialect, config)
    owners = [entry for entry in dialects if name in entry.catalogue]
    if len(owners) > 1:
        names = ", ".join(entry.name for entry in owners)
        raise InvalidError(("event_type",), f"{name} is in {names}; choose with --dialect")
    if owners:
        return owners[0], owners[0].catalogue[name]
    import difflib

    known = [known for entry in dialects for known in entry.catalogue]
    near = difflib.get_close_matches(name, known, n=1)
    mend = f"did you mean {near[0]}?" if near else "`marketbell catalogue list` shows them all"
    raise NotFoundError(f"no catalogue has an event type {name[:64]!r}; {mend}")


def _faults(dialect: Dialect, event_type: EventType, payload: bytes) -> Sequence[InvalidError]:
    """All for which a server would refuse the payload: as text, and as one of its event type."""
    from marketbell.control.payloads import check_payload

    payload = payload.strip(b" \t\r\n")
    try:
        check_payload(payload, ("body", "payload"))
    except InvalidError as fault:
        others = dialect.catalogue.faults(event_type.name, payload)
        return (fault, *(other for other in others if other.field != fault.field))
    return dialect.catalogue.faults(event_type.name, payload)


def _read(file: str) -> bytes:
    if file.startswith("-") and file != "-":
        raise InvalidError(("file",), f"unknown option {file}; a file of that name is ./{file}")
    try:
        if file == "-":
            payload = sys.stdin.buffer.read(_PAYLOAD_MAX + 1)
        else:
            with Path(file).open("rb") as source:
                payload = source.read(_PAYLOAD_MAX + 1)
    except OSError as fault:
        raise InvalidError(("file",), f"cannot read {file}: {fault.strerror}") from None
    if len(payload) > _PAYLOAD_MAX:
        raise TooLargeError(
            ("body", "payload"), f"the payload is over {_PAYLOAD_MAX} bytes; make it smaller"
        )
    return payload


def _formatted(value: object) -> str:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def _print_json(value: object) -> int:
    sys.stdout.write(_formatted(value))
    return 0


def _listed(dialect: Dialect) -> Mapping[str, object]:
    return {
        "dialect": dialect.name,
        "event_types": [
            {
                "name": event_type.name,
                "title": event_type.title,
                "subject": event_type.subject,
                "deprecated": event_type.deprecated,
            }
            for event_type in dialect.catalogue.values()
        ],
    }


def _described(dialect: Dialect, event_type: EventType) -> Mapping[str, object]:
    import msgspec

    from marketbell.dialects.export import sample

    return {
        "dialect": dialect.name,
        "name": event_type.name,
        "title": event_type.title,
        "subject": event_type.subject,
        "description": event_type.description,
        "fires": event_type.fires,
        "deprecated": event_type.deprecated,
        "schema": dialect.catalogue.schema(event_type.name),
        "body_schema": dialect.catalogue.body_schema(event_type.name),
        "examples": [
            {"payload": example, "headers": request.headers, "body": msgspec.Raw(request.body)}
            for example in event_type.examples
            for request in [sample(dialect, event_type, example)]
        ],
    }


def _print_list(dialects: Sequence[Dialect]) -> None:
    from marketbell.cli.tables import field, pages_of, print_table, prose

    columns = (
        field("Dialect", "dialect"),
        field("Event type", "name"),
        field("About", "subject"),
        prose("What happened", "title"),
    )
    rows = [
        {
            "dialect": dialect.name,
            "name": event_type.name,
            "subject": event_type.subject,
            "title": event_type.title + (" (deprecated)" if event_type.deprecated else ""),
        }
        for dialect in dialects
        for event_type in dialect.catalogue.values()
    ]
    if rows:
        print_table(columns, pages_of(rows), "")
    if free := [dialect.name for dialect in dialects if not dialect.catalogue]:
        print(f"Any event type, without a catalogue: {', '.join(free)}")


def _print_event_type(dialect: Dialect, event_type: EventType) -> None:
    from rich.table import Table

    from marketbell.cli.tables import console_of
    from marketbell.dialects.export import sample

    console = console_of()
    console.print(f"{event_type.name} ({dialect.name})", style="bold")
    console.print(f"{event_type.description}\n\nSent: {event_type.fires}\n")
    schema = dialect.catalogue.schema(event_type.name)
    fields, required = schema.get("properties"), schema.get("required", ())
    if isinstance(fields, dict) and isinstance(required, list) and fields:
        table = Table(
            "Field", "Type", "Given", "Meaning", box=None, pad_edge=False, header_style="bold"
        )
        for name, field in fields.items():
            marks = ["required"] if name in required else ["optional"]
            marks += ["deprecated"] if field.get("deprecated") else []
            meaning = str(field.get("description", ""))
            table.add_row(name, _type_of(field), ", ".join(marks), meaning)
        console.print(table)
    else:
        console.print("The payload is an empty object: {}")
    for example in event_type.examples:
        console.print("\nAs it goes out:", style="bold")
        request = sample(dialect, event_type, example)
        for header, value in request.headers:
            console.print(f"{header}: {value}", style="dim", soft_wrap=True)
        console.print(request.body.decode(), soft_wrap=True)


def _type_of(schema: Mapping[str, object]) -> str:
    match schema:
        case {"anyOf": [*kinds]}:
            return " or ".join(_type_of(kind) for kind in kinds if isinstance(kind, dict))
        case {"enum": [*words]}:
            return f"one of {len(words)} words"
        case {"type": "array", "items": dict(items)}:
            return f"list of {_type_of(items)}"
    return str(schema.get("type", "any"))
