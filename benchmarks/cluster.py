"""Nodes under test: several real servers on one PostgreSQL, all on the servers' core."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import time
from collections import Counter
from pathlib import Path
from typing import Final

from benchmarks import machine
from benchmarks.postgres import Database
from benchmarks.target import Target
from marketbell.model import SLOTS

_SETTLE_S: Final = 30.0


class _Node(Target):
    def __init__(
        self, folder: Path, database: Database, jwt_secret: str, profile: Path | None = None
    ) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(folder, profile=profile, jwt_secret=jwt_secret)
        self.kept = database
        self.environment["MARKETBELL_NODE_NAME"] = folder.name

    @property
    def database(self) -> str:
        """The database's address."""
        return self.kept.url


class Cluster(_Node):
    """The first of `count` nodes, which starts and stops the others too; each has its share of slots."""

    def __init__(
        self, folder: Path, database: Database, count: int, *, profile: Path | None = None
    ) -> None:
        jwt_secret = secrets.token_hex(32)
        super().__init__(folder, database, jwt_secret, profile)
        self.others = [
            _Node(folder / f"node-{number}", database, jwt_secret) for number in range(1, count)
        ]
        key = base64.b64encode(os.urandom(32)).decode()
        for one in (self, *self.others):
            one.environment["MARKETBELL_SECRETS_KEY"] = key

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Of all nodes."""
        return [self.address, *(one.address for one in self.others)]

    async def start(self) -> None:
        """Start all and wait until they have shared the slots."""
        await super().start()
        await asyncio.gather(*(one.start() for one in self.others))
        limit = time.monotonic() + _SETTLE_S
        while True:
            owned = [
                (await one.metrics())["marketbell_slots_owned"] for one in (self, *self.others)
            ]
            if sum(owned) == SLOTS and max(owned) - min(owned) <= 1:
                return
            if time.monotonic() > limit:
                raise RuntimeError(f"the nodes do not share the slots: {owned}")
            await asyncio.sleep(0.05)

    async def stop(self) -> int:
        """End all; the worst exit code."""
        codes = await asyncio.gather(super().stop(), *(one.stop() for one in self.others))
        self.rss_peak = max(one.rss_peak for one in (self, *self.others))
        return max(codes, key=abs)

    def usage(self) -> machine.Usage:
        """What all nodes have used so far."""
        used = [super().usage(), *(one.usage() for one in self.others)]
        return machine.Usage(
            cpu_s=sum(one.cpu_s for one in used),
            rss=max(one.rss for one in used),
            rss_peak=max(one.rss_peak for one in used),
        )

    def database_used(self) -> Counter[str]:
        """What PostgreSQL has used so far."""
        return self.kept.used()

    async def batches(self) -> float:
        """Group commits of all nodes so far."""
        found = [await one.metrics() for one in (self, *self.others)]
        return sum(one["marketbell_store_commit_seconds_count"] for one in found)

    def attempts(self) -> int:
        """Accepted attempts on record."""
        return self.kept.attempts()

    def failed(self) -> list[tuple[str, int]]:
        """Reasons of attempts that failed, and how many."""
        return self.kept.failed()
