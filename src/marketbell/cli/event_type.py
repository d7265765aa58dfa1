"""`marketbell event-type`: an organization's own event types over the management API."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from cyclopts import App, Parameter

from marketbell.cli.asking import sure
from marketbell.cli.columns import EVENT_TYPE, EVENT_TYPES
from marketbell.cli.given import json_given, text_given
from marketbell.cli.parameters import All, Limit, TypeName, Yes
from marketbell.cli.shell import Shell, given, in_shell, path_of
from marketbell.cli.tables import Column
from marketbell.errors import InvalidError

event_type_app = App(
    name="event-type", help="Event types of your own, with their schemas.", version_flags=()
)

Description = Annotated[str | None, Parameter(help="What has happened when it is sent.")]
Schemas = Annotated[
    str | None,
    Parameter(help='JSON Schemas by version, {"1": {...}}; @file, or - for stdin.'),
]
GroupName = Annotated[str | None, Parameter(name="--group", help="What pages group it by.")]
Deprecated = Annotated[
    bool | None,
    Parameter(help="Whether it is shown as deprecated; --no-deprecated: no longer."),
]
Archived = Annotated[
    bool | None,
    Parameter(help="Whether it is hidden, its schema not in force; --no-archived revives it."),
]
FeatureFlags = Annotated[
    tuple[str, ...],
    Parameter(
        name="--feature-flag", negative="", help="Seen only with this flag; can be repeated."
    ),
]

_CLEARED: Final = {
    "group": "groupName",
    "feature-flag": "featureFlags",
    "schemas": "schemas",
}
_IMPORTED: Final = (
    Column("Changed", lambda one: one["data"]["modified"]),
    Column("Would change", lambda one: [to["name"] for to in one["data"]["to_modify"] or ()]),
    Column("Archived", lambda one: one["data"]["archived"]),
)


@event_type_app.command
@in_shell
def create(
    shell: Shell,
    name: TypeName,
    *,
    description: Description = None,
    schemas: Schemas = None,
    group: GroupName = None,
    deprecated: Deprecated = None,
    archived: Archived = None,
    feature_flags: FeatureFlags = (),
) -> int:
    """Make an event type, or revive an archived one; print its name."""
    body = given(
        name=name,
        description=description or "",
        schemas=None if schemas is None else json_given(schemas, "schemas")[1],
        groupName=group,
        deprecated=deprecated,
        archived=archived,
        featureFlags=list(feature_flags) or None,
    )
    return shell.made(shell.post("/event-type", body), "name")


@event_type_app.command(name="list")
@in_shell
def list_event_types(
    shell: Shell,
    *,
    archived: Annotated[bool, Parameter(negative="", help="List archived ones too.")] = False,
    limit: Limit = None,
    whole: All = False,
) -> int:
    """List your own event types by name; `marketbell catalogue list` has the marketplaces'."""
    query = {"include_archived": "true" if archived else None}
    none = "no event types of your own"
    return shell.list("/event-type", EVENT_TYPES, query, limit=limit, whole=whole, none=none)


@event_type_app.command
@in_shell
def get(shell: Shell, name: TypeName) -> int:
    """Show one event type with its schemas, your own or a marketplace's."""
    return shell.show(shell.get(path_of("event-type", name)), EVENT_TYPE)


@event_type_app.command
@in_shell
def update(
    shell: Shell,
    name: TypeName,
    *,
    description: Description = None,
    schemas: Schemas = None,
    group: GroupName = None,
    deprecated: Deprecated = None,
    archived: Archived = None,
    feature_flags: FeatureFlags = (),
    clear: Annotated[
        tuple[Literal["group", "feature-flag", "schemas"], ...],
        Parameter(negative="", help="Take this away; can be repeated."),
    ] = (),
) -> int:
    """Change what is given, and leave the rest."""
    body = given(
        description=description,
        schemas=None if schemas is None else json_given(schemas, "schemas")[1],
        groupName=group,
        deprecated=deprecated,
        archived=archived,
        featureFlags=list(feature_flags) or None,
    )
    body |= dict.fromkeys((_CLEARED[one] for one in clear), None)
    if not body:
        raise InvalidError((), "there is nothing to change; give an option")
    return shell.show(shell.request("PATCH", path_of("event-type", name), body), EVENT_TYPE)


@event_type_app.command
@in_shell
def delete(
    shell: Shell,
    name: TypeName,
    *,
    expunge: Annotated[
        bool, Parameter(negative="", help="Remove it for good instead of archiving it.")
    ] = False,
    yes: Yes = False,
) -> int:
    """Archive an event type: its schema is no longer in force."""
    word = "Remove" if expunge else "Archive"
    if not sure(f"{word} the event type {name}?", yes=yes):
        return 1
    query = {"expunge": "true"} if expunge else None
    shell.request("DELETE", path_of("event-type", name), query=query)
    done = "removed" if expunge else "archived"
    return shell.done({done: name}, f"{done} {name}")


@event_type_app.command(name="import")
@in_shell
def import_openapi(
    shell: Shell,
    file: Annotated[
        str,
        Parameter(
            help="An OpenAPI document, JSON or YAML; - for stdin.", allow_leading_hyphen=True
        ),
    ] = "-",
    *,
    dry_run: Annotated[
        bool, Parameter(negative="", help="Tell what would change, and change nothing.")
    ] = False,
    replace_all: Annotated[
        bool, Parameter(negative="", help="Archive what the document does not have.")
    ] = False,
    yes: Yes = False,
) -> int:
    """Make event types of the webhooks of an OpenAPI document."""
    document = text_given(file if file == "-" else f"@{file}", "file")
    question = "Archive every event type that the document does not have?"
    if replace_all and not dry_run and not sure(question, yes=yes):
        return 1
    body = {"specRaw": document, "dryRun": dry_run, "replaceAll": replace_all}
    return shell.show(shell.post("/event-type/import/openapi", body), _IMPORTED)
