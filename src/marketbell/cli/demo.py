"""`marketbell demo`: the whole way of every event, on scaled time, with a verdict."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

from cyclopts import Parameter

from marketbell.cli.exits import Exit
from marketbell.cli.options import JsonFlag
from marketbell.errors import InvalidError

_PATIENCE_S: Final = 55.0
_SPEED_MIN: Final = 25.0
"""Below it the Seller Center's first 16 minutes outlast the demo's patience."""
_SPEED_MAX: Final = 60.0
"""Above it what a busy machine is late is more than half of Ovoko's shortest wait."""


def demo(
    *,
    speed: Annotated[
        float,
        Parameter(help="How much faster than real time the Seller Center's clock runs, 25 to 60."),
    ] = 40.0,
    keep: Annotated[
        bool,
        Parameter(negative="", help="Leave the servers up afterwards and print how to call them."),
    ] = False,
    json: JsonFlag = False,
) -> int:
    """
    Deliver every event of both marketplaces to a failing receiver, and judge it.

    Starts a server for each marketplace and receivers that answer each delivery with 500, then
    not at all, then refuse the connection, then are well. Exit code 0
    only if every event type was accepted and delivered, with the attempts, the waits and the
    bytes that the marketplaces' documents ask for.
    """
    if not _SPEED_MIN <= speed <= _SPEED_MAX:
        raise InvalidError(
            ("speed",), f"{speed:g} is not between {_SPEED_MIN:g} and {_SPEED_MAX:g}"
        )
    import uvloop

    from marketbell.demo.report import REPORTERS
    from marketbell.demo.run import run_demo

    with REPORTERS[json]() as reporter, asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        well = loop.run(run_demo(reporter, speed=speed, keep=keep, patience_s=_PATIENCE_S))
    return Exit.OK if well else Exit.FAILED
