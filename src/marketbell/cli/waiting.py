"""Waiting for the deliveries of one message, with its attempts as they are made."""

from __future__ import annotations

import sys
import time

from marketbell.cli.exits import Exit
from marketbell.cli.message import STATUSES
from marketbell.cli.patience import INTERVAL_S, Patience
from marketbell.cli.shell import Shell, path_of
from marketbell.cli.tables import Thing, print_json
from marketbell.cli.tail import writer
from marketbell.cli.trail import Trail

_UNDER_WAY = frozenset({STATUSES["pending"], STATUSES["sending"]})


def wait_for(shell: Shell, app: str, message: Thing) -> int:
    """
    Print a message's id and its attempts until every delivery has ended.

    FAILED if one failed or was cancelled. As JSON it is one document at the end.
    """
    path = path_of("app", app, "msg", message["id"])
    patience = Patience(shell)
    trail = Trail(patience, path_of("app", app, "attempt", "msg", message["id"]), {})
    attempts: list[Thing] = []
    write = attempts.append
    if not shell.as_json:
        print(message["id"], flush=True)
        write = writer(shell)
    while True:
        # First how they stand: an attempt is recorded together with what it made of its delivery.
        deliveries = patience.get(f"{path}/endpoint", {"limit": 250})["data"]
        for attempt in trail.new():
            # The list has no messages in it, and all of these are of this one.
            write(attempt if shell.as_json else {**attempt, "msg": message})
        sys.stdout.flush()
        if not any(one["status"] in _UNDER_WAY for one in deliveries):
            break
        time.sleep(INTERVAL_S)
    if shell.as_json:
        print_json({"message": message, "deliveries": deliveries, "attempts": attempts})
    elif not deliveries:
        shell.note("no endpoint wants it")
    good = all(one["status"] == STATUSES["success"] for one in deliveries)
    return Exit.OK if good else Exit.FAILED
