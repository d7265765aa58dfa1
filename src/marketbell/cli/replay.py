"""`marketbell message replay`: the messages of a time, sent to an endpoint again."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from marketbell.cli.moments import moment_of
from marketbell.cli.parameters import Channel, EventTypes, NoWait, Tag, Until
from marketbell.cli.shell import Shell, given, in_shell, path_of
from marketbell.errors import InvalidError


@in_shell
def replay(
    shell: Shell,
    *,
    endpoint: Annotated[str, Parameter(help="The endpoint, by id; by uid beside --app.")],
    since: Annotated[str, Parameter(help="From then on: 2h, 7d, or 2026-11-21T09:30:00Z.")],
    until: Until = None,
    app: Annotated[
        str | None, Parameter(help="Whose endpoint it is; looked for if left out.")
    ] = None,
    missing: Annotated[
        bool, Parameter(negative="", help="Only what it wants and never had.")
    ] = False,
    event_types: EventTypes = (),
    channel: Channel = None,
    tag: Tag = None,
    status: Annotated[
        Literal["success", "pending", "fail", "canceled"] | None,
        Parameter(help="Only deliveries that stand so; those that have ended if left out."),
    ] = None,
    code_class: Annotated[
        Literal["0", "100", "200", "300", "400", "500"] | None,
        Parameter(help="Only where its last answer was of this class; 0 for no answer."),
    ] = None,
    no_wait: NoWait = False,
) -> int:
    """Begin the background task, and follow it to its end."""
    from marketbell.cli.following import begin
    from marketbell.cli.message import STATUSES
    from marketbell.cli.owner import owner_of

    filters = given(
        eventTypes=list(event_types) or None,
        channel=channel,
        tag=tag,
        status=None if status is None else STATUSES[status],
        statusCodeClass=None if code_class is None else int(code_class),
    )
    if missing and filters:
        raise InvalidError(
            ("missing",), "what never came cannot be filtered; leave the filters out"
        )
    body = given(
        since=moment_of(since, "since"),
        until=None if until is None else moment_of(until, "until"),
        **filters,
    )
    path = path_of("app", app or owner_of(shell, endpoint), "endpoint", endpoint)
    work = "replay-missing" if missing else "bulk-replay"
    return begin(shell, f"{path}/{work}", body, wait=not no_wait)
