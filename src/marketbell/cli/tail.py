"""`marketbell message tail`: attempts as they are made."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from marketbell.cli.columns import FOLLOWED, FOLLOWED_WIDTHS
from marketbell.cli.moments import moment_of
from marketbell.cli.parameters import Channel, EventTypes, OfApp, OfEndpoint, Since, Tag
from marketbell.cli.patience import INTERVAL_S, Patience
from marketbell.cli.shell import Shell, in_shell, path_of
from marketbell.cli.tables import Thing, aligned, console_of, json_of, text_of
from marketbell.cli.trail import Trail

_STATUSES: Final = {"success": 0, "fail": 2}
_STYLES: Final = {"success": "green", "fail": "red"}


@in_shell
def tail(
    shell: Shell,
    *,
    app: OfApp = None,
    endpoint: OfEndpoint = None,
    status: Annotated[
        Literal["success", "fail"] | None, Parameter(help="Only attempts that went so.")
    ] = None,
    event_types: EventTypes = (),
    channel: Channel = None,
    tag: Tag = None,
    since: Since = None,
) -> int:
    """Follow attempts as they are made, each once, until Ctrl-C."""
    query: dict[str, str | int | bool | None] = {
        "status": None if status is None else _STATUSES[status],
        "event_types": ",".join(event_types) or None,
        "channel": channel,
        "tag": tag,
        "with_content": "true" if shell.as_json else "false",
        "with_msg": "true",
    }
    begun = None if since is None else moment_of(since, "since")
    path = "/attempt"
    if endpoint is not None:
        from marketbell.cli.owner import owner_of

        path = path_of("app", app or owner_of(shell, endpoint), "attempt", "endpoint", endpoint)
    elif app is not None:
        path = path_of("app", app, "attempt")
    trail = Trail(Patience(shell), path, query)
    write = writer(shell)
    for attempt in trail.begin(begun):
        write(attempt)
    while True:
        sys.stdout.flush()
        time.sleep(INTERVAL_S)
        for attempt in trail.new():
            write(attempt)


def writer(shell: Shell) -> Callable[[Thing], None]:
    """What writes one attempt as one line; the head of the columns is written at once."""
    if shell.as_json:
        return lambda attempt: print(json_of(attempt))
    console = console_of() if sys.stdout.isatty() else None
    head = aligned([column.head.upper() for column in FOLLOWED], FOLLOWED_WIDTHS)
    if console is None:
        print(head)
    else:
        console.print(head, style="bold", soft_wrap=True)

    def write(attempt: Thing) -> None:
        line = aligned(
            [text_of(column.value(attempt)) or "-" for column in FOLLOWED], FOLLOWED_WIDTHS
        )
        if console is None:
            print(line)
        else:
            console.print(line, style=_STYLES[attempt["statusText"]], soft_wrap=True)

    return write
