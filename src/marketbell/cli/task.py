"""`marketbell task`: background tasks over the management API."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import App, Parameter

from marketbell.cli.columns import TASK, TASKS
from marketbell.cli.parameters import All, Limit, TaskId
from marketbell.cli.shell import Shell, in_shell, path_of

task_app = App(name="task", help="Background tasks: replays and other long work.", version_flags=())


@task_app.command(name="list")
@in_shell
def list_tasks(
    shell: Shell,
    *,
    status: Annotated[
        Literal["running", "finished", "failed"] | None, Parameter(help="Only of this status.")
    ] = None,
    kind: Annotated[
        str | None, Parameter(help="Only of this kind, such as endpoint.bulk-replay.")
    ] = None,
    limit: Limit = None,
    whole: All = False,
) -> int:
    """List background tasks, newest first."""
    query = {"status": status, "task": kind}
    none = "no background tasks"
    return shell.list("/background-task", TASKS, query, limit=limit, whole=whole, none=none)


@task_app.command
@in_shell
def get(shell: Shell, task: TaskId) -> int:
    """Show one background task, with how far it is."""
    return shell.show(shell.get(path_of("background-task", task)), TASK)


@task_app.command
@in_shell
def wait(shell: Shell, task: TaskId) -> int:
    """Show how far a task is until it has ended. Exit code 1 if it failed or was cancelled."""
    from marketbell.cli.following import follow

    return follow(shell, task)


@task_app.command
@in_shell
def cancel(shell: Shell, task: TaskId) -> int:
    """End a task that runs; what it has done stays."""
    return shell.show(shell.post(path_of("background-task", task) + "/cancel"), TASK)
