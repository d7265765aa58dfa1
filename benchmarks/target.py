"""The server under test: a real `marketbell serve` on a core of its own, spoken to over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import apsw
import httpx
import jwt
from prometheus_client.parser import text_string_to_metric_families

from benchmarks import machine, wire
from benchmarks.load import Load

ORGANIZATION: Final = "org_benchmarks"
_START_S: Final = 60.0
_STOP_S: Final = 60.0
_CREATE_S: Final = 120.0


class Target:
    """
    One server on one SQLite file in `folder`; started and stopped as often as one likes.

    With `profile` it runs under the sampler, which writes what it saw when the server stops.
    """

    def __init__(
        self,
        folder: Path,
        *,
        profile: Path | None = None,
        extra_ca: Path | None = None,
        jwt_secret: str | None = None,
    ) -> None:
        self.folder = folder
        self.profile = profile
        self.extra_ca = extra_ca
        self.environment: dict[str, str] = {}
        """Variables of the server beside ours."""
        self._jwt_secret = jwt_secret or secrets.token_hex(32)
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self.url = ""
        self.rss_peak = 0
        """The most memory that any of its processes had, in bytes."""
        self.token = jwt.encode(
            {"sub": ORGANIZATION, "exp": int(time.time()) + 86_400}, self._jwt_secret, "HS256"
        )

    @property
    def db(self) -> Path:
        """The database file."""
        return self.folder / "marketbell.db"

    @property
    def database(self) -> str:
        """The database's address."""
        return f"sqlite:///{self.db}"

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """All that messages may be sent to."""
        return [self.address]

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the API."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 0

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait until it accepts. RuntimeError with the log's end if it does not."""
        arguments = [
            "serve", "--db", self.database, "--port", "0", "--json",
            "--allow-networks", "127.0.0.0/8",
        ]  # fmt: skip
        if self.extra_ca is not None:
            arguments += ["--extra-ca", str(self.extra_ca)]
        command: Sequence[str] = (sys.executable, "-m", "marketbell", *arguments)
        if self.profile is not None:
            command = (
                sys.executable, "-m", "benchmarks.sampler", str(self.profile), "marketbell", *arguments,
            )  # fmt: skip
        with (self.folder / "server.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, **self.environment, "MARKETBELL_JWT_SECRET": self._jwt_secret},
            )
        machine.pin(machine.SERVER_CORE, self._process.pid)
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), _START_S)
            self.url = json.loads(line)["url"]
        except (TimeoutError, ValueError, KeyError) as error:
            tail = (self.folder / "server.log").read_text(errors="replace")[-2000:]
            await self.stop()
            raise RuntimeError(f"the server did not start: {tail}") from error
        self._watch = asyncio.create_task(self._watch_memory())

    async def stop(self) -> int:
        """End it as an operator would (SIGTERM); its exit code."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            process.kill()
            return await process.wait()

    def usage(self) -> machine.Usage:
        """What the running server has used so far."""
        return machine.usage(self.pid)

    def database_used(self) -> Counter[str]:
        """What the database has used so far, where it is not within the server."""
        return Counter()

    def attempts(self) -> int:
        """Accepted attempts on record, counted by a reader of our own."""
        connection = apsw.Connection(str(self.db), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            (count,) = next(
                connection.execute("select count(*) from attempt where outcome = 'accepted'")
            )
            assert isinstance(count, int)
            return count
        finally:
            connection.close()

    async def followed(self) -> None:
        """Wait until what is written behind has come up to what was stored beforehand."""
        while await asyncio.to_thread(self._behind):  # noqa: ASYNC110 - another process writes
            await asyncio.sleep(0.5)

    def _behind(self) -> bool:
        connection = apsw.Connection(str(self.db), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            ((behind,),) = connection.execute(
                "select (select max(id) from message) >"
                " coalesce((select position from follower where name = 'labels'), 0)"
                " or (select max(id) from attempt) >"
                " coalesce((select position from follower where name = 'attempts'), 0)"
            )
            return bool(behind)
        finally:
            connection.close()

    def failed(self) -> list[tuple[str, int]]:
        """Reasons of attempts that failed where no receiver was asked to hang, and how many."""
        connection = apsw.Connection(str(self.db), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            rows = connection.execute(
                "select reason, count(*) from attempt where outcome not in ('accepted', 'closed')"
                " and url not like '%/hang/%' group by reason"
            )
            return [(str(reason), int(str(count))) for reason, count in rows]
        finally:
            connection.close()

    def begin_profile(self) -> None:
        """Let a server that is profiled forget what it has seen so far."""
        if self.profile is not None:
            self.profile.unlink(missing_ok=True)
            os.kill(self.pid, signal.SIGUSR1)

    async def end_profile(self) -> None:
        """Let it write what it has seen, and wait for that. RuntimeError if it does not."""
        assert self.profile is not None
        os.kill(self.pid, signal.SIGUSR2)
        limit = time.monotonic() + _START_S
        while not await asyncio.to_thread(self.profile.exists):
            if time.monotonic() > limit:
                raise RuntimeError("the sampler wrote nothing")
            await asyncio.sleep(0.05)

    def http(self) -> httpx.AsyncClient:
        """A client of its API with an operator's token."""
        return httpx.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=60.0,
            trust_env=False,
        )

    async def metrics(self) -> dict[str, float]:
        """Its metrics now; names with labels as in the text, such as `x_total{state="delivered"}`."""
        async with self.http() as http:
            text = (await http.get("/metrics")).raise_for_status().text
        values: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
                values[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return values

    async def create(
        self, urls: Sequence[str], metadata: dict[str, str] | None = None
    ) -> list[tuple[str, str]]:
        """An application with one endpoint for each URL; their ids in the order of the URLs."""
        applications = await self._posted(
            ["/api/v1/app"] * len(urls), [{"name": f"seller {n}"} for n in range(len(urls))]
        )
        endpoints = await self._posted(
            [f"/api/v1/app/{one}/endpoint" for one in applications],
            [{"url": url, "metadata": metadata or {}} for url in urls],
        )
        return list(zip(applications, endpoints, strict=True))

    async def _posted(self, paths: Sequence[str], bodies: Sequence[dict[str, object]]) -> list[str]:
        """The ids of what these requests made. RuntimeError for any answer but 201."""
        host, port = self.address
        made = [""] * len(paths)

        def request(number: int) -> bytes:
            requests = wire.Requests(f"{host}:{port}", paths[number], token=self.token)
            return requests.request(json.dumps(bodies[number]).encode())

        def on_answer(number: int, status: int, answer: bytes, _now: float) -> None:
            if status != 201:
                raise RuntimeError(f"POST {paths[number]} answered {answer[-500:]!r}")
            made[number] = json.loads(answer.partition(b"\r\n\r\n")[2])["id"]

        load = Load(host, port, request, concurrency=min(32, len(paths)), on_answer=on_answer)
        await load.connect()
        await load.closed(_CREATE_S, count_max=len(paths))
        await load.aclose()
        if not all(made):
            raise RuntimeError(f"{made.count('')} of {len(made)} POSTs were not answered with 201")
        return made

    async def _watch_memory(self) -> None:
        while True:
            try:
                self.rss_peak = max(self.rss_peak, self.usage().rss)
            except (FileNotFoundError, ProcessLookupError):
                return
            await asyncio.sleep(0.25)
