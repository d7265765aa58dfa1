"""Real servers on one PostgreSQL, each a process of its own: started, killed, frozen and woken one by one."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import httpx

from support.server import Server

SECRETS_KEY: Final = base64.b64encode(bytes(range(32))).decode()
SLOTS: Final = 1024

QUICK: Final = {"MARKETBELL_NODE_LEASE": "4s", "MARKETBELL_NODE_HEARTBEAT": "100ms"}
"""Settings of nodes that are lost within a few seconds, and not because a machine stands still for one."""

_LOOK_S: Final = 0.02
_STARTS: Final = 5
_EXIT_S: Final = 60.0


class Cluster:
    """
    Nodes on the database at `url`, which must have the schema; `nodes[i]` is a `Server`.

    `environment` holds settings of all of them. Each node has a folder of its own below `folder`,
    with its log.
    """

    def __init__(self, url: str, folder: Path, **environment: str) -> None:
        self.nodes: list[Server] = []
        self._url = url
        self._folder = folder
        self._environment = environment

    @property
    def urls(self) -> list[str]:
        """Where they answer, in order."""
        return [node.url for node in self.nodes]

    async def start(self, count: int, **environment: str) -> list[Server]:
        """Start so many more at once, with settings of their own; they serve when it returns."""
        made = [self._node(len(self.nodes) + n, environment) for n in range(count)]
        self.nodes += made
        await asyncio.gather(*map(self._started, made))
        return made

    async def start_again(self, index: int) -> float:
        """Start one that has ended; how many seconds it took until it served."""
        return await self._started(self.nodes[index])

    async def kill(self, index: int) -> None:
        """SIGKILL."""
        await self.nodes[index].kill()

    async def stop(self, index: int) -> int:
        """SIGTERM; the exit code."""
        return await self.nodes[index].stop()

    def freeze(self, index: int) -> None:
        """SIGSTOP: it stays connected, and does nothing."""
        os.kill(self.nodes[index].pid, signal.SIGSTOP)

    def thaw(self, index: int) -> None:
        """SIGCONT: as if nothing had been."""
        os.kill(self.nodes[index].pid, signal.SIGCONT)

    async def gauge(self, http: httpx.AsyncClient, name: str) -> list[float]:
        """A gauge of each node, by its name with labels; those that answer."""
        found = await asyncio.gather(
            *(node.metrics(http) for node in self.nodes), return_exceptions=True
        )
        return [one[name] for one in found if isinstance(one, dict)]

    async def in_flight(self, http: httpx.AsyncClient) -> list[float]:
        """Attempts in flight on each node that answers."""
        return await self.gauge(http, "marketbell_in_flight")

    async def settled(self, http: httpx.AsyncClient, *, limit_s: float = 60.0) -> list[float]:
        """Wait until the nodes that answer share all slots evenly; how many each has."""

        def even(owned: list[float]) -> bool:
            return bool(owned) and sum(owned) == SLOTS and max(owned) - min(owned) <= 1

        return await self.until(http, "marketbell_slots_owned", even, limit_s=limit_s)

    async def until(
        self,
        http: httpx.AsyncClient,
        name: str,
        holds: Callable[[list[float]], bool],
        *,
        limit_s: float = 60.0,
    ) -> list[float]:
        """Wait until a gauge of the nodes that answer is so; its values."""
        end = time.monotonic() + limit_s
        while True:
            values = await self.gauge(http, name)
            if holds(values):
                return values
            assert time.monotonic() < end, f"{name}: {values}"
            await asyncio.sleep(_LOOK_S)

    async def clear(self) -> None:
        """Leave no process behind."""
        for node in self.nodes:
            await node.clear()

    async def _started(self, node: Server) -> float:
        """Start it, again if the database has not answered in time, as whoever keeps it running does."""
        for _ in range(_STARTS):
            with contextlib.suppress(AssertionError):
                return await node.start()
            await node.wait(_EXIT_S)
            if "cannot be reached" not in node.log.read_text()[-300:]:
                break
        return await node.start()

    def _node(self, number: int, environment: dict[str, str]) -> Server:
        folder = self._folder / f"node-{number}"
        folder.mkdir(parents=True)
        return Server(
            folder,
            **{
                "MARKETBELL_DB": self._url,
                "MARKETBELL_SECRETS_KEY": SECRETS_KEY,
                "MARKETBELL_NODE_NAME": folder.name,
                **self._environment,
                **environment,
            },
        )


@contextlib.asynccontextmanager
async def cluster(
    url: str, folder: Path, count: int, **environment: str
) -> AsyncIterator[tuple[Cluster, httpx.AsyncClient]]:
    """So many nodes that share all slots, and a client for them; killed on leaving if they run still."""
    nodes = Cluster(url, folder, **environment)
    async with httpx.AsyncClient(timeout=30.0, trust_env=False) as http:
        try:
            await nodes.start(count)
            await nodes.settled(http)
            yield nodes, http
        finally:
            await nodes.clear()
