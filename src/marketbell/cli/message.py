"""`marketbell message`: messages over the management API, published, looked for and removed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Final, Literal

from cyclopts import App, Parameter

from marketbell.cli.asking import sure
from marketbell.cli.columns import (
    DELIVERIES,
    DESTINATIONS,
    MESSAGE,
    MESSAGES,
    MESSAGES_ANYWHERE,
    NO_DESTINATION,
)
from marketbell.cli.exits import Exit, place_of
from marketbell.cli.given import json_given
from marketbell.cli.moments import moment_of
from marketbell.cli.parameters import (
    All,
    AppRef,
    Channel,
    EventTypes,
    Limit,
    MessageRef,
    NoWait,
    OfApp,
    OfEndpoint,
    Since,
    Tag,
    TypeName,
    Until,
    Yes,
)
from marketbell.cli.shell import Shell, given, in_shell, path_of
from marketbell.cli.tables import Column, pages_of, print_json_list, print_table
from marketbell.errors import InvalidError

_TAIL: Final = """
Follow attempts as they are made, each once, until Ctrl-C.

With --since those from then on come first. While the server restarts it says so and goes on.
With --json every line is an attempt. Ctrl-C ends it with the exit code 130.
"""
_REPLAY: Final = """
Send the messages of a time to an endpoint again, also those that it took.

A background task does it; this waits until it has ended, and shows how far it is.
"""

message_app = App(
    name="message", help="Messages: publish, look for, follow, send again.", version_flags=()
)
message_app.command("marketbell.cli.tail:tail", name="tail", help=_TAIL)
message_app.command(
    "marketbell.cli.replay:replay",
    name="replay",
    help=_REPLAY,
)

STATUSES: Final = {"success": 0, "pending": 1, "fail": 2, "sending": 3, "canceled": 4}
"""Where a delivery stands, as words and as the API's numbers."""

_VERDICTS: Final = (
    Column("Number", lambda one: one["number"]),
    Column("Status", lambda one: one["status"]),
    Column("Id", lambda one: (one.get("message") or {}).get("id")),
    Column("Error", lambda one: _fault(one["error"]) if "error" in one else ""),
)


@message_app.command
@in_shell
def create(
    shell: Shell,
    app: AppRef,
    event_type: TypeName,
    *,
    payload: Annotated[
        str,
        Parameter(
            help="A JSON object; @file, or - for stdin. Sent as it stands.",
            allow_leading_hyphen=True,
        ),
    ] = "{}",
    event_id: Annotated[
        str | None, Parameter(help="Your own name for it; a second one of the name is refused.")
    ] = None,
    channels: Annotated[
        tuple[str, ...],
        Parameter(name="--channel", negative="", help="A channel of it; can be repeated."),
    ] = (),
    tags: Annotated[
        tuple[str, ...], Parameter(name="--tag", negative="", help="A tag; can be repeated.")
    ] = (),
    deliver_at: Annotated[
        str | None, Parameter(help="When it is due, such as 2026-11-21T09:30:00Z.")
    ] = None,
    idempotency_key: Annotated[
        str | None, Parameter(help="Given again with the same message, nothing more is done.")
    ] = None,
    wait: Annotated[
        bool,
        Parameter(negative="", help="Show its attempts until its deliveries have ended."),
    ] = False,
) -> int:
    """
    Publish a message, and print its id: it is on disk with its deliveries by then.

    With --wait the exit code is 1 if a delivery failed or was cancelled.
    """
    text, _read = json_given(payload, "payload")
    fields = given(
        eventType=event_type,
        eventId=event_id,
        channels=list(channels) or None,
        tags=list(tags) or None,
        deliverAt=deliver_at,
    )
    # Not read and written anew: the payload goes out as the bytes that were given.
    body = f'{json.dumps(fields)[:-1]}, "payload": {text}}}'.encode()
    headers = None if idempotency_key is None else {"idempotency-key": idempotency_key}
    message = shell.post(path_of("app", app, "msg"), body, headers)
    if wait:
        from marketbell.cli.waiting import wait_for

        return wait_for(shell, app, message)
    return shell.made(message)


@message_app.command
@in_shell
def batch(
    shell: Shell,
    app: AppRef,
    messages: Annotated[
        str,
        Parameter(
            help="A JSON list of messages; @file, or - for stdin.", allow_leading_hyphen=True
        ),
    ] = "-",
) -> int:
    """Publish many messages at once, each with its own verdict. Exit code 1 if one is refused."""
    text, _read = json_given(messages, "messages", list)
    verdicts = shell.post(path_of("app", app, "msg") + "/batch", f'{{"messages": {text}}}'.encode())
    numbered = [{"number": number, **one} for number, one in enumerate(verdicts, start=1)]
    if shell.as_json:
        print_json_list(pages_of(verdicts))
    else:
        print_table(_VERDICTS, pages_of(numbered), "no messages")
    return Exit.FAILED if any("error" in one for one in verdicts) else Exit.OK


@message_app.command(name="list")
@in_shell
def list_messages(
    shell: Shell,
    *,
    app: OfApp = None,
    endpoint: OfEndpoint = None,
    status: Annotated[
        Literal["success", "pending", "fail", "sending", "canceled"] | None,
        Parameter(help="Only those whose delivery to --endpoint stands so."),
    ] = None,
    event_types: EventTypes = (),
    channel: Channel = None,
    tag: Tag = None,
    text: Annotated[
        str | None, Parameter(help="Only those whose payload has these words; needs --app.")
    ] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    whole: All = False,
) -> int:
    """List messages, newest first; with --endpoint those for it, with where each stands."""
    query: dict[str, str | int | bool | None] = {
        "event_types": ",".join(event_types) or None,
        "channel": channel,
        "tag": tag,
        "after": None if since is None else moment_of(since, "since"),
        "before": None if until is None else moment_of(until, "until"),
    }
    if status is not None and endpoint is None:
        raise InvalidError(("status",), "a message stands so at an endpoint; give --endpoint")
    if text is not None and (app is None or endpoint is not None):
        raise InvalidError(("text",), "words are looked for with --app and without --endpoint")
    columns: Sequence[Column] = MESSAGES
    if endpoint is not None:
        from marketbell.cli.owner import owner_of

        path = path_of("app", app or owner_of(shell, endpoint), "endpoint", endpoint) + "/msg"
        columns, query["status"] = DELIVERIES, None if status is None else STATUSES[status]
    elif app is not None:
        path, query["text"] = path_of("app", app, "msg"), text
    else:
        path, columns = "/msg", MESSAGES_ANYWHERE
    if not shell.as_json:
        query["with_content"] = "false"
    return shell.list(path, columns, query, limit=limit, whole=whole, none="no messages")


@message_app.command
@in_shell
def get(shell: Shell, app: AppRef, message: MessageRef) -> int:
    """Show one message with its payload."""
    return shell.show(shell.get(path_of("app", app, "msg", message)), MESSAGE)


@message_app.command
@in_shell
def deliveries(shell: Shell, app: AppRef, message: MessageRef) -> int:
    """List the endpoints that a message is for, with where its delivery to each stands."""
    path = path_of("app", app, "msg", message) + "/endpoint"
    return shell.list(path, DESTINATIONS, limit=None, whole=True, none=NO_DESTINATION)


@message_app.command
@in_shell
def expunge(
    shell: Shell,
    app: AppRef,
    messages: Annotated[
        tuple[str, ...], Parameter(help="Messages, by id or eventId.", negative="")
    ] = (),
    *,
    whole: Annotated[
        bool, Parameter(name="--all", negative="", help="All messages of the application so far.")
    ] = False,
    no_wait: NoWait = False,
    yes: Yes = False,
) -> int:
    """Remove payloads for good; what waits to be sent of them is cancelled."""
    if bool(messages) == whole:
        raise InvalidError(("messages",), "name messages, or give --all")
    what = "all messages" if whole else ", ".join(messages)
    if not sure(f"Remove the payload of {what} of {app} for good?", yes=yes):
        return 1
    path = path_of("app", app, "msg")
    if whole:
        from marketbell.cli.following import begin

        return begin(shell, f"{path}/expunge-all-contents", {}, wait=not no_wait)
    answer = shell.post(f"{path}/bulk-expunge", {"ids": list(messages)})
    missing = [name for name, became in answer["results"].items() if became != "expunged"]
    sentence = "\n".join(f"{became} {name}" for name, became in answer["results"].items())
    shell.done(answer, sentence)
    return Exit.FAILED if missing else Exit.OK


@message_app.command
@in_shell
def precheck(
    shell: Shell,
    app: AppRef,
    event_type: TypeName,
    *,
    channels: Annotated[
        tuple[str, ...],
        Parameter(name="--channel", negative="", help="A channel of it; can be repeated."),
    ] = (),
) -> int:
    """Tell whether any endpoint would get such a message. Exit code 1 if none would."""
    body = given(eventType=event_type, channels=list(channels) or None)
    answer = shell.post(path_of("app", app, "msg") + "/precheck/active", body)
    wanted = answer["active"]
    shell.done(answer, f"{'an' if wanted else 'no'} endpoint of {app} would get {event_type}")
    return Exit.OK if wanted else Exit.FAILED


def _fault(error: dict[str, object]) -> str:
    detail = error.get("detail")
    if isinstance(detail, list):
        return "; ".join(f"{place_of(one['loc'])}: {one['msg']}" for one in detail)
    return str(detail)
