"""A real `marketbell serve` in a process of its own, to be stopped and killed at will."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx

from marketbell.control.tokens import create_token

SECRET: Final = b"a secret of the tests, of 32 bytes or more"
ORGANIZATION: Final = "org_tests"
_START_S: Final = 60.0


class Server:
    """
    One server on the SQLite file `folder/marketbell.db`, started as often as one likes.

    It may call loopback addresses, and its log goes to `folder/server.log`. `environment` holds
    settings of it, such as MARKETBELL_LEASE.
    """

    def __init__(self, folder: Path, **environment: str) -> None:
        self.path = folder / "marketbell.db"
        self.log = folder / "server.log"
        self.url = ""
        """Where it answers; of the last start."""
        token = create_token(SECRET, ORGANIZATION, int(time.time() * 1000), 86_400_000)
        self.headers = {"authorization": f"Bearer {token}"}
        self._environment = {
            "MARKETBELL_DB": f"sqlite:///{self.path}",
            "MARKETBELL_HOST": "127.0.0.1",
            "MARKETBELL_PORT": "0",
            "MARKETBELL_JWT_SECRET": SECRET.decode(),
            "MARKETBELL_ALLOW_NETWORKS": "127.0.0.0/8",
            "MARKETBELL_LOG_LEVEL": "error",
            **environment,
        }
        self.program: tuple[str, ...] = ("-m", "marketbell", "serve", "--json")
        """What Python runs."""
        self._process: asyncio.subprocess.Process | None = None

    @property
    def alone(self) -> bool:
        """Whether its database lets no other server run beside it."""
        return self._environment["MARKETBELL_DB"].startswith("sqlite")

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None
        return self._process.pid

    async def spawn(self) -> None:
        """Start the process; `ready` tells when it serves."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self.program,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(self.path.parent),
                    **self._environment,
                },
            )

    async def ready(self) -> None:
        """Return once it serves; AssertionError with the end of its log if it does not."""
        assert self._process is not None
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), _START_S)
        assert line, f"the server did not start:\n{self.log.read_text()[-3_000:]}"
        self.url = json.loads(line)["url"]

    async def start(self) -> float:
        """Start it; how many seconds it took until it served."""
        begun = time.monotonic()
        await self.spawn()
        await self.ready()
        return time.monotonic() - begun

    async def kill(self) -> None:
        """SIGKILL, and wait until it is dead."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        code = await self._process.wait()
        assert code == -signal.SIGKILL, f"it died by itself:\n{self.log.read_text()[-3_000:]}"

    def terminate(self) -> None:
        """SIGTERM."""
        assert self._process is not None
        self._process.terminate()

    async def wait(self, limit_s: float) -> int:
        """The exit code, once it has ended."""
        assert self._process is not None
        return await asyncio.wait_for(self._process.wait(), limit_s)

    async def stop(self, limit_s: float = 30.0) -> int:
        """SIGTERM, and the exit code."""
        self.terminate()
        return await self.wait(limit_s)

    async def clear(self) -> None:
        """Leave no process behind."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    # -- its API ------------------------------------------------------------------------

    async def call(
        self, http: httpx.AsyncClient, method: str, path: str, body: object = None, **query: Any
    ) -> Any:
        """The JSON of an answer; AssertionError for any that is no success."""
        answer = await http.request(
            method,
            f"{self.url}/api/v1{path}",
            headers=self.headers,
            json=body,
            params=query or None,
        )
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def listed(
        self, http: httpx.AsyncClient, path: str, **query: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """Everything that a list has, page by page."""
        iterator: str | None = None
        while True:
            if iterator is not None:
                query["iterator"] = iterator
            page = await self.call(http, "GET", path, limit=250, **query)
            for one in page["data"]:
                yield one
            if page["done"]:
                return
            iterator = page["iterator"]

    async def metrics(self, http: httpx.AsyncClient) -> dict[str, float]:
        """Its metrics; names with labels as in the text."""
        answer = (await http.get(f"{self.url}/metrics")).raise_for_status()
        lines = (line for line in answer.text.splitlines() if line and line[0] != "#")
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


@contextlib.asynccontextmanager
async def running(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """A started server and a client for it; killed on leaving if it runs still."""
    async with httpx.AsyncClient(timeout=30.0, trust_env=False) as http:
        try:
            await server.start()
            yield http
        finally:
            await server.clear()
