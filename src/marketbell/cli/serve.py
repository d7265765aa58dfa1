"""`marketbell serve`: the server in this process, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter

from marketbell.cli.exits import Exit
from marketbell.cli.options import JsonFlag, settings_of, with_settings
from marketbell.errors import SettingsError
from marketbell.settings import Settings, ensure_files, ensure_secrets

if TYPE_CHECKING:
    from marketbell.cli.workers import Share
    from marketbell.node import Node
    from marketbell.shared_metrics import SharedMetrics


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
    settings = settings_of(flags, config, serving=True)
    if settings.speed != 1.0:
        raise SettingsError(
            ["speed: only the demo runs on a scaled clock; a server's must be 1, so leave it out"]
        )
    settings = ensure_secrets(settings)
    ensure_files(settings)
    if settings.workers > 1:
        return _serve_with_workers(settings, as_json=json)
    serve_here(settings, as_json=json)
    return Exit.OK


def serve_here(settings: Settings, *, as_json: bool) -> None:
    """Serve in this process until stopped, with complete settings."""
    _run(_serve(settings, lambda node: _announce(settings, node.url, as_json=as_json)))


def _run(serving: Coroutine[Any, Any, None]) -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serving)


def _announce(settings: Settings, url: str, *, as_json: bool) -> None:
    if as_json:
        facts = {"url": url, "db": settings.db_shown, "pid": os.getpid()}
        print(msgspec.json.encode(facts).decode(), flush=True)
    else:
        print(f"marketbell serves {url} from {settings.db_shown}", flush=True)


def _serve_with_workers(settings: Settings, *, as_json: bool) -> int:
    from marketbell.cli.workers import Workers
    from marketbell.listening import listener

    console = settings.log_format == "console" or (
        settings.log_format == "auto" and sys.stderr.isatty()
    )
    settings = msgspec.structs.replace(settings, log_format="console" if console else "json")
    ports = [settings.port, *([settings.marketplace_port] if settings.marketplace_port else [])]
    listeners = tuple(listener(settings.host, port) for port in ports)
    try:
        return Workers(settings, listeners, _work).run(
            lambda url: _announce(settings, url.decode(), as_json=as_json)
        )
    finally:
        for one in listeners:
            one.close()


def _work(settings: Settings, share: Share) -> int:
    """One worker, in a process of its own."""
    from marketbell.shared_metrics import SharedMetrics

    if settings.node_name:
        name = f"{settings.node_name}-{share.number}"
        settings = msgspec.structs.replace(settings, node_name=name)
    _run(
        _serve(
            settings,
            lambda node: os.write(share.ready, f"{node.url}\n".encode()),
            listeners=share.listeners,
            shared=SharedMetrics(share.folder, share.number),
            leash=share.leash,
        )
    )
    return Exit.OK


async def _serve(
    settings: Settings,
    announce: Callable[[Node], object],
    *,
    listeners: Sequence[socket.socket] = (),
    shared: SharedMetrics | None = None,
    leash: int | None = None,
) -> None:
    from marketbell.clock import SystemClock
    from marketbell.node import running_node

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if leash is not None:
        loop.add_reader(leash, stop.set)
    async with running_node(settings, SystemClock(), listeners=listeners, shared=shared) as node:
        announce(node)
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
