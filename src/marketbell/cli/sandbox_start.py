"""`marketbell sandbox start`: both marketplaces in this process, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from cyclopts import Parameter

from marketbell.cli.exits import Exit
from marketbell.cli.options import JsonFlag, settings_of, with_settings
from marketbell.errors import InvalidError
from marketbell.settings import Settings, ensure_files, ensure_secrets
from marketbell.settings.values import BadValueError, read_duration

if TYPE_CHECKING:
    from marketbell.node import Node
    from marketbell.sandbox.run import Wishes
    from marketbell.sandbox.sandbox import Sandbox
    from marketbell.sandbox.welcome import Welcome

MARKETPLACE_PORT: Final = "8090"

_QUIET: Final = "error"
"""Receivers that fail are what a sandbox is for."""
_TOKEN_TTL: Final = 30 * 24 * 3_600_000


@with_settings
def start(
    *,
    chaos: Annotated[
        bool, Parameter(negative="", help="Lose, delay, reorder and repeat events, by the seed.")
    ] = False,
    rate: Annotated[
        str | None, Parameter(help="Let things happen at this rate from the start: 5/s, 30/m.")
    ] = None,
    seed: Annotated[int, Parameter(help="What stock, stream and chaos are drawn by.")] = 1,
    feed_after: Annotated[
        str,
        Parameter(help="How old a posted feed is when it is worked off; 0 for only by hand."),
    ] = "5s",
    config: Annotated[
        Path | None, Parameter(help="A TOML file of settings; also MARKETBELL_CONFIG.")
    ] = None,
    json: JsonFlag = False,
    **flags: object,
) -> int:
    """
    Serve both marketplaces, alive: samples, buyers, couriers and a clock.

    Prints credentials and commands to paste once it serves. Without --db all of it is in a
    temporary folder and gone at the end. SIGTERM and SIGINT stop it.
    """
    from marketbell.sandbox.chaos import DEFAULT
    from marketbell.sandbox.run import Wishes
    from marketbell.sandbox.stream import rate_of

    wishes = Wishes(
        seed=seed,
        rate=None if rate is None else rate_of(rate),
        odds=DEFAULT if chaos else None,
        feed_after=_feed_after(feed_after),
    )
    with _database(flags) as given:
        settings = ensure_secrets(settings_of(_defaults(given), config))
        ensure_files(settings)
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, wishes, as_json=json))
    return Exit.OK


def _feed_after(text: str) -> int | None:
    if text == "0":
        return None
    try:
        return read_duration(text)
    except BadValueError as fault:
        raise InvalidError(("feed_after",), str(fault)) from None


@contextlib.contextmanager
def _database(flags: Mapping[str, object]) -> Iterator[dict[str, object]]:
    """The flags with a database: the one that is named, else one that goes at the end."""
    if flags.get("db") is not None:
        yield dict(flags)
        return
    with tempfile.TemporaryDirectory(prefix="marketbell-sandbox-") as folder:
        yield {**flags, "db": f"sqlite:///{folder}/sandbox.db"}


def _defaults(flags: dict[str, object]) -> dict[str, object]:
    """The flags, with what a sandbox has by default where nothing else says it."""
    for name, value in (("marketplace_port", MARKETPLACE_PORT), ("log_level", _QUIET)):
        if flags.get(name) is None and f"MARKETBELL_{name.upper()}" not in os.environ:
            flags[name] = value
    return flags


async def _serve(settings: Settings, wishes: Wishes, *, as_json: bool) -> None:
    from marketbell.clock import ScaledClock, SystemClock
    from marketbell.sandbox.run import running_sandbox
    from marketbell.sandbox.welcome import as_object, text

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    clock = SystemClock() if settings.speed == 1.0 else ScaledClock(settings.speed)
    async with running_sandbox(settings, clock, wishes) as (node, sandbox):
        welcome = _welcome(settings, wishes, node, sandbox)
        if as_json:
            print(msgspec.json.encode(as_object(welcome)).decode(), flush=True)
        else:
            print(text(welcome), flush=True)
        await stop.wait()


def _welcome(settings: Settings, wishes: Wishes, node: Node, sandbox: Sandbox) -> Welcome:
    from marketbell.cli.credentials import signed
    from marketbell.sandbox.stage import ORGANIZATION
    from marketbell.sandbox.welcome import Welcome

    if node.marketplace_url is None:
        raise InvalidError(("marketplace_port",), "a sandbox serves the marketplaces")
    stage = sandbox.stage
    return Welcome(
        url=node.url,
        marketplace_url=node.marketplace_url,
        organization=ORGANIZATION,
        token=signed(settings, ORGANIZATION, time.time_ns() // 1_000_000, _TOKEN_TTL, None),
        sellers={
            name: {"application": stage.sellers[name].public_id, **login}
            for name, login in stage.logins.items()
        },
        speed=settings.speed,
        seed=wishes.seed,
        chaos=wishes.odds is not None,
        rate=wishes.rate,
        db=settings.db_shown,
        pid=os.getpid(),
    )
