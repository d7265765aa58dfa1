"""Child processes of a run, and the receiver in its own process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import sys
from collections.abc import AsyncIterator

from benchmarks.sink import Sink


@contextlib.asynccontextmanager
async def child(*arguments: str) -> AsyncIterator[list[int]]:
    """A child process of ours, and the ports that it listens on."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        yield [int(port) for port in line.split()]
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def measured(*arguments: str) -> dict[str, float]:
    """What a child process of ours prints as JSON when it is done."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, stdout=asyncio.subprocess.PIPE
    )
    answer, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{arguments[0]} ended with {process.returncode}")
    figures: dict[str, float] = json.loads(answer)
    return figures


@contextlib.asynccontextmanager
async def receiver(
    *, ports: int = 1, tls: ssl.SSLContext | None = None, close_after: int = 0
) -> AsyncIterator[Sink]:
    """A sink in this process, on the load's core."""
    sink = Sink(close_after=close_after)
    await sink.start(ports=ports, tls=tls)
    try:
        yield sink
    finally:
        sink.aclose()


def core(number: int) -> list[str]:
    """Arguments that pin a child process."""
    return ["--core", str(number)]
