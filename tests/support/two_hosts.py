"""
`python -m support.two_hosts FOLDER`: a server and a receiver on two hosts, and what came of it.

To be started in a network namespace of its own, which is the server's host; the receiver gets
another one, and a pair of veth devices joins them. Prints one line of JSON, an `Evidence`.
Everything vanishes with the processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import httpx
import msgspec

from marketbell.delivery.reasons import (
    ANSWER_TIMED_OUT,
    CONNECT_TIMED_OUT,
    CONNECT_UNREACHABLE,
)
from marketbell.testing import OK, Answer, Received, TestReceiver
from support.server import Server, running

NEAR: Final = "10.213.0.1"
FAR: Final = "10.213.0.2"
NETWORK: Final = "10.213.0.0/24"
POLICY: Final = {
    "marketbell.retry-schedule": "200ms " * 63 + "200ms",
    "marketbell.timeout": "1s",
}
BAD_LINKS: Final = (
    "netem loss 15% delay 3ms reorder 10%",
    "tbf rate 200kbit burst 2000 limit 3000",
)
"""Links that lose packets, by chance or since they are too narrow: the first that the kernel has."""
_LIMIT_S: Final = 60.0


class Evidence(msgspec.Struct, kw_only=True):
    """What publishers were told, what the receiver saw, and what is on record."""

    phases: dict[str, list[str]] = {}
    """The messages that were accepted in each phase; without a bad link there is no `lossy`."""
    reasons: dict[str, list[str]] = {}
    """Why attempts failed, by the phase of their messages."""
    seen: dict[str, int] = {}
    """How many requests each message came to."""
    outcomes: dict[str, list[str]] = {}
    """Of each message's attempts."""
    lost: int = 0
    """How many packets the bad link dropped."""


def sh(command: str) -> bool:
    """Whether a command succeeds."""
    return subprocess.run(command.split(), capture_output=True, check=False).returncode == 0


def must(command: str) -> None:
    """Run a command that has to succeed."""
    subprocess.run(command.split(), check=True)


def lost() -> int:
    """How many packets the link's queue has dropped."""
    told = subprocess.run(
        ["tc", "-s", "qdisc", "show", "dev", "near0"], capture_output=True, text=True, check=True
    )
    return sum(map(int, re.findall(r"dropped (\d+)", told.stdout)))


# -- the far host -------------------------------------------------------------------------


class FarReceiver(TestReceiver):
    """A receiver on the far host's address."""

    async def listen(self) -> None:
        """Take connections from the other host."""
        self._server = await asyncio.start_server(self._serve, FAR, 0)
        self.port = self._server.sockets[0].getsockname()[1]


async def be_far() -> None:
    """Be the receiver: told by lines on stdin, telling by lines on stdout."""
    seen: Counter[str] = Counter()

    def take(request: Received) -> Answer:
        seen[request.header("webhook-id") or ""] += 1
        return OK

    print("here", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    must("ip link set lo up")
    must(f"ip addr add {FAR}/24 dev far0")
    must("ip link set far0 up")
    async with FarReceiver(take) as receiver:
        print(receiver.port, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
    print(msgspec.json.encode(seen).decode(), flush=True)


class FarHost:
    """The other host, as it is seen from this one."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def join(self) -> str:
        """Join it to this one; the URL of the receiver there."""
        assert await self._line() == "here"
        must("ip link set lo up")
        must("ip link add near0 type veth peer name far0")
        must(f"ip link set far0 netns {self._process.pid}")
        must(f"ip addr add {NEAR}/24 dev near0")
        must("ip link set near0 up")
        self._tell()
        return f"http://{FAR}:{await self._line()}/"

    async def seen(self) -> dict[str, int]:
        """How many requests came for each message; the receiver has ended."""
        self._tell()
        return msgspec.json.decode(await self._line(), type=dict[str, int])

    def _tell(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")

    async def _line(self) -> str:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), _LIMIT_S)
        assert line, "the far host has gone"
        return line.decode().strip()


@contextlib.asynccontextmanager
async def far_host() -> AsyncIterator[FarHost]:
    """A host of its own for the receiver."""
    process = await asyncio.create_subprocess_exec(
        "unshare", "--net", sys.executable, "-m", "support.two_hosts", "far",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield FarHost(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


# -- the near host ------------------------------------------------------------------------


class Trial:
    """Publishes to the receiver, and looks at what is on record."""

    def __init__(self, server: Server, http: httpx.AsyncClient) -> None:
        self.evidence = Evidence()
        self._server = server
        self._http = http
        self._application = ""
        self._endpoint = ""

    async def prepare(self, url: str) -> None:
        """An application and an endpoint for it."""
        server, http = self._server, self._http
        made = await server.call(http, "POST", "/app", {"name": "Shop", "metadata": POLICY})
        self._application = made["id"]
        made = await server.call(http, "POST", f"/app/{made['id']}/endpoint", {"url": url})
        self._endpoint = made["id"]

    async def publish(self, phase: str, count: int, *, fill: int = 0) -> None:
        """So many messages that belong to a phase, each with some bytes more."""
        accepted = self.evidence.phases.setdefault(phase, [])
        for number in range(count):
            payload = {"phase": phase, "number": number, "fill": "x" * fill}
            body = {"eventType": "thing.happened", "payload": payload}
            path = f"/app/{self._application}/msg"
            accepted.append((await self._server.call(self._http, "POST", path, body))["id"])

    async def failure(self, phase: str, *reasons: str) -> None:
        """Return once an attempt of the phase has failed for one of these reasons."""
        await self._until(lambda: not set(reasons).isdisjoint(self.evidence.reasons.get(phase, ())))

    async def delivered(self) -> None:
        """Return once all messages are delivered and that is on record."""
        wanted = {one for accepted in self.evidence.phases.values() for one in accepted}

        def all_of_them() -> bool:
            outcomes = self.evidence.outcomes
            return all("accepted" in outcomes.get(one, ()) for one in wanted)

        await self._until(all_of_them)

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(_LIMIT_S):
            while True:
                await self._look()
                if condition():
                    return
                await asyncio.sleep(0.05)

    async def _look(self) -> None:
        evidence = self.evidence
        phase_of = {one: phase for phase, many in evidence.phases.items() for one in many}
        outcomes: dict[str, list[str]] = defaultdict(list)
        reasons: dict[str, list[str]] = defaultdict(list)
        path = f"/app/{self._application}/attempt/endpoint/{self._endpoint}"
        async for one in self._server.listed(self._http, path, with_content="false"):
            outcomes[one["msgId"]].append(one["outcome"])
            if one["reason"]:
                reasons[phase_of[one["msgId"]]].append(one["reason"])
        evidence.outcomes, evidence.reasons = dict(outcomes), dict(reasons)


async def be_near(folder: Path) -> None:
    """Let a server deliver to the other host while the way there is good, bad, and not there."""
    server = Server(
        folder,
        MARKETBELL_ALLOW_NETWORKS=NETWORK,
        MARKETBELL_CONNECT_TIMEOUT="500ms",
        MARKETBELL_BREAKER_FAILURES="10000",
    )
    async with far_host() as far:
        url = await far.join()
        async with running(server) as http:
            trial = Trial(server, http)
            await trial.prepare(url)
            await trial.publish("clear", 30)
            await trial.delivered()
            if any(sh(f"tc qdisc add dev near0 root {bad}") for bad in BAD_LINKS):
                await trial.publish("lossy", 60)
                # However slowly they come: no link that is narrow has room for one of these.
                await trial.publish("lossy", 5, fill=8_000)
                await trial.delivered()
                trial.evidence.lost = lost()
                must("tc qdisc del dev near0 root")
            # What is sent goes to a machine that is not there, and nobody says so.
            must(f"ip neigh replace {FAR} lladdr 02:00:00:00:00:99 dev near0 nud permanent")
            await trial.publish("black hole", 20)
            await trial.failure("black hole", CONNECT_TIMED_OUT, ANSWER_TIMED_OUT)
            must(f"ip neigh del {FAR} dev near0")
            await trial.delivered()
            must("ip link set near0 down")
            await trial.publish("down", 20)
            await trial.failure("down", CONNECT_UNREACHABLE)
            must("ip link set near0 up")
            await trial.delivered()
            await trial.publish("up again", 10)
            await trial.delivered()
            assert await server.stop() == 0
        trial.evidence.seen = await far.seen()
    print(msgspec.json.encode(trial.evidence).decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(be_far() if sys.argv[1] == "far" else be_near(Path(sys.argv[1])))
