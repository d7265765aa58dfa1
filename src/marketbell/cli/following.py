"""Following a background task: a bar on a terminal, lines in a pipe, until it has ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from marketbell.cli.columns import TASK
from marketbell.cli.exits import Exit
from marketbell.cli.patience import INTERVAL_S, Patience
from marketbell.cli.shell import Shell, path_of
from marketbell.cli.tables import Thing, console_of
from marketbell.errors import ForbiddenError

_LINE_S: Final = 2.0
"""Between two lines about a task, where there is no bar."""


def begin(shell: Shell, path: str, body: Mapping[str, object], *, wait: bool) -> int:
    """Begin a background task; print its id, or follow it to its end."""
    task = shell.post(path, body)
    if not wait:
        return shell.made(task)
    try:
        return follow(shell, task["id"])
    except ForbiddenError:
        shell.note("it has begun; this token may not look at background tasks")
        return shell.made(task)


def follow(shell: Shell, task_id: str) -> int:
    """
    Show how far a task is until it has ended, then show it. FAILED if it failed or was cancelled.

    The task does not depend on this: Ctrl-C leaves it running and says how to go on.
    """
    patience = Patience(shell)
    path = path_of("background-task", task_id)
    try:
        task = patience.get(path)
        with _shown(shell) as show:
            show(task)
            while task["status"] == "running":
                time.sleep(INTERVAL_S)
                task = patience.get(path)
                show(task)
    except KeyboardInterrupt:
        shell.note(
            f"{task_id} goes on by itself. `marketbell task wait {task_id}` shows it again,"
            f" `marketbell task cancel {task_id}` ends it."
        )
        raise
    shell.show(task, TASK)
    return Exit.OK if task["status"] == "finished" else Exit.FAILED


@contextmanager
def _shown(shell: Shell) -> Iterator[Callable[[Thing], None]]:
    if not sys.stderr.isatty():
        yield _lines(shell)
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[counts]}"),
    )
    with Progress(*columns, console=console_of(stderr=True)) as progress:
        bar = progress.add_task("", total=1.0, counts="")

        def show(task: Thing) -> None:
            progress.update(
                bar,
                description=task["task"],
                completed=task["data"]["progress"],
                counts=_counts(task),
            )

        yield show


def _lines(shell: Shell) -> Callable[[Thing], None]:
    said_at = 0.0
    said = ""

    def show(task: Thing) -> None:
        nonlocal said_at, said
        line = f"{task['id']}: {task['data']['progress']:.0%}, {_counts(task)}"
        if shell.as_json or line == said:
            return
        if time.monotonic() - said_at >= _LINE_S or task["status"] != "running":
            shell.note(line)
            said_at, said = time.monotonic(), line

    return show


def _counts(task: Thing) -> str:
    data = task["data"]
    return f"looked at {data['looked']:,}, made {data['made']:,}, skipped {data['skipped']:,}"
