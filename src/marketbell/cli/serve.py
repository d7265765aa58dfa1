"""`marketbell serve`: the server in this process, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from marketbell.cli.exits import Exit
from marketbell.cli.options import JsonFlag, settings_of, with_settings
from marketbell.errors import SettingsError
from marketbell.settings import Settings, ensure_files, ensure_secrets


@with_settings
def serve(
    *,
    config: Annotated[
        Path | None, Parameter(help="A TOML file of settings; also MARKETBELL_CONFIG.")
    ] = None,
    json: JsonFlag = False,
    **flags: object,
) -> int:
    """
    Accept, keep and deliver messages until stopped.

    Prints one line with the address once it accepts. SIGTERM and SIGINT stop it: no new work,
    what is in flight ends within drain_timeout, exit code 0.
    """
    settings = settings_of(flags, config)
    if settings.speed != 1.0:
        raise SettingsError(
            ["speed: only the demo runs on a scaled clock; a server's must be 1, so leave it out"]
        )
    settings = ensure_secrets(settings)
    ensure_files(settings)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, as_json=json))
    return Exit.OK


async def _serve(settings: Settings, *, as_json: bool) -> None:
    from marketbell.clock import SystemClock
    from marketbell.node import running_node

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running_node(settings, SystemClock()) as node:
        if as_json:
            facts = {"url": node.url, "db": str(settings.db_file), "pid": os.getpid()}
            print(msgspec.json.encode(facts).decode(), flush=True)
        else:
            print(f"marketbell serves {node.url} from {settings.db_file}", flush=True)
        waits = {asyncio.ensure_future(stop.wait()), asyncio.ensure_future(node.wait_closed())}
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        finally:
            for one in waits:
                one.cancel()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
