"""`python -m benchmarks`: all scenarios, or those that are named, then a report."""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import uvloop
from rich.console import Console

from benchmarks import machine
from benchmarks.bench import Bench, Options
from benchmarks.report import Figure, Report
from benchmarks.scenarios import SCENARIOS
from marketbell.errors import MarketbellError

_RSS_MAX_MB = 150
_ENDS_A_SCENARIO = (
    RuntimeError, OSError, TimeoutError, AssertionError, psycopg.Error, MarketbellError,
)  # fmt: skip


def main() -> int:
    """Run, print, and return 1 if a message was lost, doubled or not recorded."""
    options = _options()
    console = Console(stderr=True)
    if len(machine.cores()) < 2:
        console.print("One core only: server and load share it, so the figures mean little.")
    machine.pin(machine.LOAD_CORE)
    folder = Path(options.folder or tempfile.gettempdir())
    if machine.in_memory(folder):
        console.print(
            f"{folder} is in memory, where a commit costs nothing; choose a disk with --folder."
        )
        return 2
    report = Report(machine.description())
    begun = time.monotonic()
    bench = Bench(
        Options(
            seconds=options.seconds or (2.0 if options.quick else 5.0),
            waiting=10_000_000 if options.huge else 50_000 if options.quick else 1_000_000,
            endpoints=1_000 if options.quick else 10_000,
            drained=50_000 if options.quick else 200_000,
            profile=options.profile,
            keep=options.keep,
            folder=folder,
        ),
        report,
        lambda text: console.print(f"[dim]{time.monotonic() - begun:6.1f} s[/dim]  {text}"),
    )
    names = options.scenario or list(SCENARIOS)
    if "limits" not in names:
        names = ["limits", *names]
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        machine.stay_awake(runner.get_loop())
        for name in names:
            try:
                runner.run(SCENARIOS[name](bench))
            except _ENDS_A_SCENARIO as error:
                bench.fault(f"{name}: {error}")
    if bench.rss_peak:
        report.figures.append(
            Figure(
                scenario="throughout", name="the server's memory at its most (RSS)", unit="MB",
                value=bench.rss_peak / 1e6, target=_RSS_MAX_MB, at_least=False,
            )
        )  # fmt: skip
    if options.json:
        print(report.json())
    else:
        report.show(Console(width=None if sys.stdout.isatty() else 140))
    return 1 if report.faults else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "scenario", nargs="*", help=f"of: {', '.join(SCENARIOS)}; all if none is named"
    )
    parser.add_argument("--quick", action="store_true", help="some minutes, and rougher figures")
    parser.add_argument("--huge", action="store_true", help="10 million deliveries waiting")
    parser.add_argument("--json", action="store_true", help="the report as JSON on standard output")
    parser.add_argument(
        "--profile", action="store_true", help="show where the server's time goes; slows it"
    )
    parser.add_argument("--keep", action="store_true", help="leave databases and logs behind")
    parser.add_argument("--seconds", type=float, help="how long each measurement lasts")
    parser.add_argument("--folder", help="where the databases are made; a disk, not memory")
    options = parser.parse_args()
    unknown = [name for name in options.scenario if name not in SCENARIOS]
    if unknown:
        parser.error(f"there is no scenario {unknown[0]}; choose of: {', '.join(SCENARIOS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
