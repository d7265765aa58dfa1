"""How the demo is told: a live table on a terminal, lines elsewhere, JSON lines for machines."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self

import msgspec

from marketbell.demo.script import SCRIPT
from marketbell.demo.verdict import (
    EARLY_MAX,
    LATE_SHARE,
    SAID,
    Finding,
    Progress,
    late_allowed,
    waits_of,
)
from marketbell.model import Millis

if TYPE_CHECKING:
    from rich.table import Table

_WIDTH: Final = 140
"""Columns of what does not go to a terminal."""


class Reporter(Protocol):
    """Who tells of the demo; a context manager around all of it."""

    def __enter__(self) -> Self:
        """Begin to tell."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop to tell."""

    def started(self, seller: str, url: str, speed: float, folder: str) -> None:
        """A marketplace's server accepts."""

    def moved(self, progress: Progress) -> None:
        """A message was accepted, or one more attempt of it is on record."""

    def judged(self, findings: Sequence[Finding], seconds: float, lateness: Millis) -> None:
        """All is over; `lateness` is the machine's own, in real milliseconds."""

    def kept(self, facts: Mapping[str, str]) -> None:
        """A marketplace's server stays up: its address, a token, and what to try."""


class JsonReporter:
    """One JSON object a line, each with its `event`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def started(self, seller: str, url: str, speed: float, folder: str) -> None:
        """`started`, with the server's address."""
        facts = {"seller": seller, "url": url, "speed": round(speed, 3), "folder": folder}
        self._say("started", facts)

    def moved(self, progress: Progress) -> None:
        """`accepted`, or `attempt` with the last one."""
        facts: dict[str, object] = {
            "seller": progress.errand.seller.title,
            "event_type": progress.errand.event_type,
            "message": progress.message,
        }
        if not progress.attempts:
            self._say("accepted", facts)
            return
        last = progress.attempts[-1]
        waits = waits_of(progress.attempts, progress.speed)
        self._say(
            "attempt",
            facts
            | {
                "number": len(progress.attempts),
                "status": last.status_code,
                "reason": "" if last.succeeded else last.response,
                "succeeded": last.succeeded,
                "wait_ms": waits[-1] if waits else None,
            },
        )

    def judged(self, findings: Sequence[Finding], seconds: float, lateness: Millis) -> None:
        """`summary`, with every finding and whether all is well."""
        self._say(
            "summary",
            {
                "ok": _all_well(findings),
                "seconds": round(seconds, 1),
                "tolerance_ms": {
                    "early": EARLY_MAX,
                    "late": late_allowed(lateness),
                    "late_share": LATE_SHARE,
                },
                "machine_late_ms": lateness,
                "findings": findings,
            },
        )

    def kept(self, facts: Mapping[str, str]) -> None:
        """`kept`, with all that is needed to call the server."""
        self._say("kept", facts)

    def _say(self, event: str, facts: Mapping[str, object]) -> None:
        sys.stdout.write(msgspec.json.encode({"event": event, **facts}).decode() + "\n")
        sys.stdout.flush()


class ConsoleReporter:
    """A table that lives on a terminal; a line for each attempt where there is none."""

    def __init__(self) -> None:
        from rich.console import Console as RichConsole
        from rich.live import Live

        class Console(RichConsole):
            def on_broken_pipe(self) -> None:
                # Rich would leave the program from within a task, with requests under way.
                self.quiet = True
                raise BrokenPipeError

        self._live_on = sys.stdout.isatty()
        self._console = Console(
            width=None if self._live_on else _WIDTH, markup=False, highlight=False, emoji=False
        )
        self._live = Live(console=self._console, refresh_per_second=8, auto_refresh=True)
        self._rows: dict[str, Progress] = {}
        self._servers = 0

    def __enter__(self) -> Self:
        if self._live_on:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def started(self, seller: str, url: str, speed: float, folder: str) -> None:
        """One line: where it runs and how fast its clock is."""
        if not self._servers:
            self._console.print(
                f"The databases are in {folder}. Every delivery meets: {', then '.join(SCRIPT)}."
            )
        self._servers += 1
        self._console.print(f"{seller}: Marketbell serves {url}; one real second is {speed:.3g} s.")

    def moved(self, progress: Progress) -> None:
        """The table anew, or one line."""
        self._rows[f"{progress.errand.seller.title}/{progress.errand.event_type}"] = progress
        if self._live_on:
            self._live.update(self._table())
        elif progress.attempts:
            waits = waits_of(progress.attempts, progress.speed)
            after = f" after {_seconds(waits[-1])}" if waits else ""
            self._console.print(
                f"{progress.errand.seller.title:<14}{progress.errand.event_type:<28}"
                f"attempt {len(progress.attempts)}{after}: {_met(progress, len(progress.attempts) - 1)}"
            )

    def judged(self, findings: Sequence[Finding], seconds: float, lateness: Millis) -> None:
        """The summary: a row for each event type, every fault, the tolerance, the verdict."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        self._live.stop()
        table = Table(box=SIMPLE_HEAD, show_edge=False, padding=0)
        for title in ("", "Event type", "Accepted", "Delivered", "Attempts"):
            table.add_column(title, no_wrap=True)
        for title in ("Waits, s", "document"):
            table.add_column(title, no_wrap=True, justify="right")
        for seller, of_seller in itertools.groupby(findings, key=lambda one: one.seller):
            table.add_row("", seller, style="bold")
            for one in of_seller:
                table.add_row(
                    "✗" if one.faults else "✓",
                    one.event_type, _word(one.accepted), _word(one.delivered), str(one.attempts),
                    " ".join(f"{wait / 1000:.1f}" for wait in one.waits),
                    " ".join(f"{wait // 1000}" for wait in one.document_waits),
                )  # fmt: skip
        self._console.print(table)
        for one in findings:
            for fault in one.faults:
                self._console.print(f"{one.seller}, {one.event_type}: {fault}", style="bold red")
        self._console.print(
            "Waits run from the recorded end of one attempt to the recorded start of the next, in"
            f" scaled time; {EARLY_MAX} ms early to {late_allowed(lateness)} ms late is allowed, in"
            f" real time, and never more than {LATE_SHARE:.0%} of the wait (this machine's own timers were up"
            f" to {lateness} ms late). The receiver's clock was compared with the record, and bodies"
            " byte for byte."
        )
        good = sum(not one.faults for one in findings)
        verdict = "All is as the documents say" if good == len(findings) else "NOT as documented"
        self._console.print(
            f"{verdict}: {good} of {len(findings)} event types, {seconds:.1f} s.", style="bold"
        )

    def kept(self, facts: Mapping[str, str]) -> None:
        """All that is needed to call the server, one a line."""
        for name, fact in facts.items():
            self._console.print(f"{name}: {fact}", soft_wrap=True)

    def _table(self) -> Table:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        table = Table(box=SIMPLE_HEAD, show_edge=False, padding=0)
        for title in ("Event type", "1", "2", "3", "4", "State"):
            table.add_column(title, no_wrap=True)
        for row in self._rows.values():
            waits = waits_of(row.attempts, row.speed)
            cells = [_met(row, at) for at in range(len(row.attempts))]
            for at, wait in enumerate(waits, start=1):
                cells[at] = f"{wait / 1000:.1f}s {cells[at]}"
            cells += [""] * (len(SCRIPT) - len(cells))
            table.add_row(row.errand.event_type, *cells, _state(row))
        return table


def _met(progress: Progress, at: int) -> str:
    """What one attempt met: its status, or that there was no answer and why."""
    attempt = progress.attempts[at]
    if attempt.status_code:
        return str(attempt.status_code)
    for words, said in SAID.items():
        if attempt.response.startswith(said):
            return words
    return attempt.response


def _state(progress: Progress) -> str:
    if progress.delivered:
        return "delivered"
    done = len(progress.attempts)
    waits = progress.errand.seller.waits
    if 0 < done <= len(waits):
        return f"waits {waits[done - 1] // 1000} s"
    return "accepted" if progress.message else ""


def _seconds(millis: Millis) -> str:
    return f"{millis / 1000:.2f} s"


def _word(good: bool) -> str:
    return "yes" if good else "NO"


def _all_well(findings: Sequence[Finding]) -> bool:
    return bool(findings) and not any(one.faults for one in findings)


REPORTERS: Final[Mapping[bool, Callable[[], Reporter]]] = {
    True: JsonReporter,
    False: ConsoleReporter,
}
"""By whether a machine reads it."""
