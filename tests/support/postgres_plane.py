"""The data plane of one node on a PostgreSQL, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from marketbell.clock import Clock
from marketbell.store.postgresql import PostgresOptions
from marketbell.store.postgresql_store import PostgresStore
from marketbell.store.sealing import Box
from marketbell.store.written_store import WriterLimits
from support.knobs import AS_A_SERVER, Knobs
from support.plane import Plane


class PostgresPlane(Plane):
    """As a Plane, on a database that has the schema; `options` are of PostgresOptions."""

    def __init__(self, url: str, clock: Clock, knobs: Knobs = AS_A_SERVER, **options: Any) -> None:
        super().__init__(Path(), clock, knobs)
        self.url = url
        self._options = options

    def _open(self) -> PostgresStore:
        knobs = self.knobs
        return PostgresStore(
            PostgresOptions(url=self.url, payload_retention=knobs.ages.payloads, **self._options),
            Box([bytes(32)]),
            self.clock,
            WriterLimits(wait_s=knobs.wait_s),
        )
