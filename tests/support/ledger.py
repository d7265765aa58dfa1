"""What publishers were told and what receivers saw, kept outside of the server, to hold against it."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

import httpx
import msgspec
import pytest

from marketbell.testing import HANG, OK, Answer, Received
from support.server import Server

ROUTES: Final = {
    "all": None,
    "orders": ("order.created",),
    "both": ("order.created", "part.changed"),
}
"""The endpoints, by the path of their receiver, and the event types that they want."""

EVENT_TYPES: Final = ("order.created", "part.changed", "stock.counted")

Pair: TypeAlias = tuple[str, str]
"""A delivery: the endpoint's route, and the message's id."""

_ERROR: Final = Answer(status=500)


class Request(msgspec.Struct):
    """One request as the receiver saw it; real seconds."""

    came: float
    answered: float | None = None
    good: bool = False


class Published(msgspec.Struct):
    """One message as its publisher sees it."""

    event_type: str
    body: bytes
    ids: set[str]
    """Every id that an accepted request was answered with."""
    requests: int = 0


class Ledger:
    """
    A receiver's script and a publisher's books in one.

    The receiver answers after a few milliseconds, mostly with 200, now and then with 500 or not
    at all. The publisher repeats each request with its idempotency key until it is answered.
    """

    def __init__(self, seed: int, *, errors: float = 0.03, hangs: float = 0.002) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.errors = errors
        self.hangs = hangs
        self.well = False
        """Whether the receiver answers everything with 200 from now on."""
        self.seen: dict[Pair, list[Request]] = defaultdict(list)
        """Requests by endpoint and message."""
        self.published: dict[str, Published] = {}
        """By idempotency key."""
        self._changed = asyncio.Event()

    # -- the receiver -------------------------------------------------------------------

    async def __call__(self, request: Received) -> Answer:
        """Answer one request."""
        one = Request(came=time.monotonic())
        self.seen[request.target[1:], request.header("webhook-id") or ""].append(one)
        chance = self.chance.random()
        if not self.well and chance < self.hangs:
            return HANG
        await asyncio.sleep(self.chance.random() * 0.008)
        one.good = self.well or chance > self.hangs + self.errors
        one.answered = time.monotonic()
        self._changed.set()
        return OK if one.good else _ERROR

    # -- the publisher ------------------------------------------------------------------

    def draft(self) -> str:
        """A new message of a random type; its idempotency key."""
        key = f"key-{len(self.published)}"
        event_type = self.chance.choice(EVENT_TYPES)
        body = {"eventType": event_type, "payload": {"key": key, "fill": "x" * 100}}
        self.published[key] = Published(event_type, json.dumps(body).encode(), set())
        return key

    async def post(
        self, http: httpx.AsyncClient, server: Server, application: str, key: str
    ) -> bool:
        """Send it once; whether it was accepted. Any answer but 202 and 503 is an AssertionError."""
        one = self.published[key]
        one.requests += 1
        try:
            answer = await http.post(
                f"{server.url}/api/v1/app/{application}/msg",
                content=one.body,
                headers={
                    **server.headers,
                    "content-type": "application/json",
                    "idempotency-key": key,
                },
            )
        except httpx.TransportError:
            return False
        assert answer.status_code in {202, 503}, answer.text
        if answer.status_code == 503:
            return False
        one.ids.add(answer.json()["id"])
        return True

    # -- what it comes to ---------------------------------------------------------------

    def wanted(self) -> set[Pair]:
        """Every endpoint and message that must have met, by what publishers were told."""
        return {
            (route, message_id)
            for one in self.published.values()
            for message_id in one.ids
            for route, event_types in ROUTES.items()
            if event_types is None or one.event_type in event_types
        }

    def missing(self) -> set[Pair]:
        """Those of them that have not."""
        return {
            pair for pair in self.wanted() if not any(one.good for one in self.seen.get(pair, ()))
        }

    async def complete(self, *, limit_s: float) -> float:
        """Wait until nothing is missing; how many seconds that took."""
        begun = time.monotonic()
        try:
            async with asyncio.timeout(limit_s):
                while self.missing():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            missing = self.missing()
            raise AssertionError(f"{len(missing)} are missing: {sorted(missing)[:5]}") from None
        return time.monotonic() - begun

    def doubles(self) -> list[tuple[Pair, Request, Request]]:
        """Requests that followed one which was answered with 200."""
        return [
            (pair, one, after)
            for pair, requests in self.seen.items()
            for one, after in itertools.pairwise(requests)
            if one.good
        ]


async def make_endpoints(
    server: Server, http: httpx.AsyncClient, receiver_url: str, **metadata: str
) -> tuple[str, dict[str, str]]:
    """An application with an endpoint for each of ROUTES; its id, and theirs by route."""
    for name in EVENT_TYPES:
        await server.call(http, "POST", "/event-type", {"name": name, "description": name})
    application = (await server.call(http, "POST", "/app", {"name": "Shop"}))["id"]
    endpoints = {}
    for route, event_types in ROUTES.items():
        body = {
            "url": receiver_url + route,
            "filterTypes": event_types,
            "metadata": {
                f"marketbell.{name.replace('_', '-')}": metadata[name] for name in metadata
            },
        }
        made = await server.call(http, "POST", f"/app/{application}/endpoint", body)
        endpoints[route] = made["id"]
    return application, endpoints


async def attempts_on_record(
    server: Server, http: httpx.AsyncClient, application: str, endpoints: dict[str, str]
) -> dict[Pair, list[str]]:
    """The outcomes of all attempts that the server tells of, by route and message."""
    found: dict[Pair, list[str]] = defaultdict(list)
    for route, endpoint in endpoints.items():
        path = f"/app/{application}/attempt/endpoint/{endpoint}"
        async for one in server.listed(http, path, with_content="false"):
            found[route, one["msgId"]].append(one["outcome"])
    return found


async def accepted_on_record(
    server: Server,
    http: httpx.AsyncClient,
    application: str,
    endpoints: dict[str, str],
    wanted: set[Pair],
) -> None:
    """
    Return once each of these deliveries has an attempt on record that was accepted.

    One that was accepted after the state was kept that the server began with is sent once more.
    """
    async with asyncio.timeout(60):
        while True:
            on_record = await attempts_on_record(server, http, application, endpoints)
            if all("accepted" in on_record[pair] for pair in wanted):
                return
            await asyncio.sleep(0.1)


def table(title: str, rows: Iterable[tuple[str, Any]]) -> list[str]:
    """Lines that show names and figures."""
    shown = [(name, f"{value:,}" if isinstance(value, int) else str(value)) for name, value in rows]
    width = max(len(name) for name, _ in shown)
    return [title, *(f"  {name:<{width}}  {value:>12}" for name, value in shown)]


Show: TypeAlias = Callable[[Iterable[str]], None]
"""Prints lines, whether or not output is captured."""


def shower(config: pytest.Config) -> Show:
    """Prints to the terminal of a test run."""
    terminal: Any = config.pluginmanager.get_plugin("terminalreporter")
    capture: Any = config.pluginmanager.get_plugin("capturemanager")

    def show(lines: Iterable[str]) -> None:
        with capture.global_and_fixture_disabled():
            terminal.ensure_newline()
            for line in lines:
                terminal.write_line(line)

    return show
