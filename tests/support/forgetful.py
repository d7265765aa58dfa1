"""
`python -m support.forgetful SECONDS`: a server that keeps nothing longer than no setting allows.

As `marketbell serve --json` with settings from the environment, but payloads are kept for so many
seconds, attempts and messages for somewhat longer: so retention can be watched at work. On
PostgreSQL, where history goes by whole days, days pass so quickly that it is seven of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Final

import msgspec
import uvloop

from marketbell.clock import Clock, ScaledClock, SystemClock
from marketbell.node import running_node
from marketbell.settings import Settings, ensure_files, ensure_secrets, load_settings

DAYS: Final = 7
"""From this age on it is whole days that go."""
_DAY_MS: Final = 86_400_000


def speed(seconds: float) -> float:
    """How fast time must run for that many days to pass in so many seconds."""
    return DAYS * _DAY_MS / 1_000 / seconds


def forgetful(settings: Settings, seconds: float) -> Settings:
    """The settings with ages that are short."""
    age, more = int(1_000 * seconds), int(250 * seconds)
    if settings.on_postgresql:
        age, more = DAYS * _DAY_MS, _DAY_MS
    return msgspec.structs.replace(
        settings,
        payload_retention=age,
        attempt_retention=age + more,
        message_retention=age + 2 * more,
        prune_interval=1_000,
    )


async def serve(settings: Settings, clock: Clock) -> None:
    """Serve until SIGTERM; the address on a line of its own."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with running_node(settings, clock) as node:
        print(json.dumps({"url": node.url}), flush=True)
        await stop.wait()


def main() -> None:
    """Serve, on a clock that suits the database."""
    seconds = float(sys.argv[1])
    settings = ensure_secrets(forgetful(load_settings({}, os.environ, None), seconds))
    ensure_files(settings)
    clock = ScaledClock(speed(seconds)) if settings.on_postgresql else SystemClock()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, clock))


if __name__ == "__main__":
    main()
