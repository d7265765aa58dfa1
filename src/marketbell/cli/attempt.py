"""`marketbell attempt`: attempts over the management API, and sending again."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from cyclopts import App, Parameter

from marketbell.cli.asking import sure
from marketbell.cli.columns import ATTEMPT, ATTEMPTS
from marketbell.cli.moments import moment_of
from marketbell.cli.parameters import (
    All,
    AppRef,
    Channel,
    EndpointRef,
    EventTypes,
    Limit,
    MessageRef,
    OfApp,
    OfEndpoint,
    Since,
    Tag,
    Until,
    Yes,
)
from marketbell.cli.shell import Shell, in_shell, path_of
from marketbell.errors import InvalidError

attempt_app = App(
    name="attempt", help="Attempts: what was sent, and what was answered.", version_flags=()
)

AttemptId = Annotated[str, Parameter(help="The attempt, by its id atmpt_...")]

_STATUSES: Final = {"success": 0, "fail": 2}


@attempt_app.command(name="list")
@in_shell
def list_attempts(
    shell: Shell,
    *,
    app: OfApp = None,
    message: Annotated[
        str | None, Parameter(help="Only of this message, by id or eventId; needs --app.")
    ] = None,
    endpoint: OfEndpoint = None,
    status: Annotated[
        Literal["success", "fail"] | None, Parameter(help="Only those that went so.")
    ] = None,
    code_class: Annotated[
        Literal["0", "100", "200", "300", "400", "500"] | None,
        Parameter(help="Only answers of this class; 0 for no answer."),
    ] = None,
    event_types: EventTypes = (),
    channel: Channel = None,
    tag: Tag = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    whole: All = False,
) -> int:
    """List attempts, newest first."""
    if message is not None and app is None:
        raise InvalidError(("app",), "a message is one application's; give --app")
    query: dict[str, str | int | bool | None] = {
        "status": None if status is None else _STATUSES[status],
        "status_code_class": code_class,
        "event_types": ",".join(event_types) or None,
        "channel": channel,
        "tag": tag,
        "after": None if since is None else moment_of(since, "since"),
        "before": None if until is None else moment_of(until, "until"),
        "with_content": "true" if shell.as_json else "false",
    }
    if message is not None and app is not None:
        path, query["endpoint_id"] = path_of("app", app, "attempt", "msg", message), endpoint
    elif endpoint is not None:
        from marketbell.cli.owner import owner_of

        path = path_of("app", app or owner_of(shell, endpoint), "attempt", "endpoint", endpoint)
    else:
        path = "/attempt" if app is None else path_of("app", app, "attempt")
    return shell.list(path, ATTEMPTS, query, limit=limit, whole=whole, none="no attempts")


@attempt_app.command
@in_shell
def get(shell: Shell, app: AppRef, message: MessageRef, attempt: AttemptId) -> int:
    """Show one attempt with what was answered."""
    return shell.show(shell.get(path_of("app", app, "msg", message, "attempt", attempt)), ATTEMPT)


@attempt_app.command
@in_shell
def resend(shell: Shell, app: AppRef, message: MessageRef, endpoint: EndpointRef) -> int:
    """Send a message to an endpoint again now, with its whole retry schedule before it."""
    shell.post(path_of("app", app, "msg", message, "endpoint", endpoint) + "/resend")
    facts = {"resent": message, "endpoint": endpoint}
    return shell.done(facts, f"{message} is due at {endpoint} again")


@attempt_app.command
@in_shell
def expunge(
    shell: Shell, app: AppRef, message: MessageRef, attempt: AttemptId, *, yes: Yes = False
) -> int:
    """Remove what the receiver answered, for good."""
    if not sure(f"Remove the answer of {attempt} for good?", yes=yes):
        return 1
    path = path_of("app", app, "msg", message, "attempt", attempt)
    shell.request("DELETE", f"{path}/content")
    return shell.done({"expunged": attempt}, f"expunged {attempt}")
