"""`marketbell audit`: who changed what, over the management API."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from marketbell.cli.columns import CHANGES
from marketbell.cli.moments import moment_of
from marketbell.cli.parameters import All, Limit, OfApp, Since, Until
from marketbell.cli.shell import Shell, in_shell

audit_app = App(name="audit", help="The audit log: who changed what.", version_flags=())


@audit_app.command(name="list")
@in_shell
def list_changes(
    shell: Shell,
    *,
    app: OfApp = None,
    actor: Annotated[str | None, Parameter(help="Only what this caller did.")] = None,
    operation: Annotated[
        str | None, Parameter(help="Only what this operation did, such as v1.endpoint.patch.")
    ] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    whole: All = False,
) -> int:
    """List changes, newest first."""
    query = {
        "app_id": app,
        "actor": actor,
        "operation": operation,
        "after": None if since is None else moment_of(since, "since"),
        "before": None if until is None else moment_of(until, "until"),
    }
    none = "no changes"
    return shell.list("/audit-log", CHANGES, query, limit=limit, whole=whole, none=none)
