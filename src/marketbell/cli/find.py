"""`marketbell find`: whose an id is, how it stands, and where to look on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from cyclopts import Parameter

from marketbell.cli.columns import (
    APPLICATION,
    ATTEMPT,
    DESTINATIONS,
    ENDPOINT,
    MESSAGES,
    NO_DESTINATION,
)
from marketbell.cli.shell import Shell, in_shell, path_of
from marketbell.cli.tables import Column, Thing, field, pages_of, print_table
from marketbell.errors import InvalidError

_OWNER: Final = (
    field("Application", "appId"),
    Column("Its uid", lambda one: one["app"].get("uid")),
    Column("Its name", lambda one: one["app"]["name"], folds=True),
)
_BARE: Final = {"with_content": "false"}


@in_shell
def find(
    shell: Shell,
    thing: Annotated[str, Parameter(help="The id: ep_..., msg_..., atmpt_... or app_...")],
) -> int:
    """
    Show whose an id is, how it stands, and which commands tell more.

    It takes an organization's token. What was deleted is named with its application; exit code 1.
    """
    prefix = thing.partition("_")[0]
    if prefix == "ep":
        return _show(shell, "endpoint", shell.get(path_of("endpoint", thing)), ENDPOINT)
    if prefix == "msg":
        return _show(shell, "message", shell.get(path_of("msg", thing), _BARE), MESSAGES)
    if prefix == "atmpt":
        return _show(shell, "attempt", shell.get(path_of("attempt", thing)), ATTEMPT)
    if prefix == "app":
        application = shell.get(path_of("app", thing))
        return shell.show(application, (*APPLICATION, *_commands("application")))
    raise InvalidError(("thing",), f"{thing[:64]!r} begins with none of ep_, msg_, atmpt_, app_")


def _show(shell: Shell, kind: str, found: Thing, columns: Sequence[Column]) -> int:
    thing = {**found, "app": shell.get(path_of("app", found["appId"]))}
    if kind == "message":
        path = path_of("app", found["appId"], "msg", found["id"]) + "/endpoint"
        thing["deliveries"] = [one for page in shell.pages(path) for one in page]
    ended = shell.show(thing, (*columns, *_OWNER, *_commands(kind)))
    if kind == "message" and not shell.as_json:
        print()
        print_table(DESTINATIONS, pages_of(thing["deliveries"]), NO_DESTINATION)
    return ended


def _commands(kind: str) -> tuple[Column, ...]:
    """Where to look on: commands as they can be pasted."""
    return tuple(
        Column(head, lambda one, line=line: line.format(**one))  # type: ignore[misc]
        for head, line in _LINES[kind]
    )


_LINES: Final = {
    "application": (
        ("Endpoints", "marketbell endpoint list {id}"),
        ("Attempts", "marketbell attempt list --app {id}"),
    ),
    "endpoint": (
        ("Attempts", "marketbell attempt list --endpoint {id}"),
        ("Waiting", "marketbell message list --endpoint {id} --status pending"),
        ("Figures", "marketbell endpoint stats {appId} {id}"),
    ),
    "message": (
        ("Payload", "marketbell message get {appId} {id}"),
        ("Attempts", "marketbell attempt list --app {appId} --message {id}"),
    ),
    "attempt": (
        ("All attempts", "marketbell attempt list --app {appId} --message {msgId}"),
        ("The endpoint", "marketbell find {endpointId}"),
    ),
}
