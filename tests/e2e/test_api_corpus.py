"""
Bad input for every operation with a body, at a real server in a process of its own.

Every answer is a 4xx with our error body, nothing is stored, the next good request is answered
within 100 ms, and the process grows by 10 MB at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import socket
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import apsw
import httpx
import pytest

from marketbell.api.routes import documented
from marketbell.testing import TestReceiver
from support.badness import bodies
from support.conformity import faults
from support.eventually import PATIENCE_S
from support.server import Server, running

pytestmark = pytest.mark.alone

Answered: TypeAlias = tuple[int, bytes]

GROWTH_MAX = 10_000_000
NEXT_S = 0.1
BEHIND = {"endpoint_attempt", "endpoint_hour", "follower", "message_label", "tally"}
"""Tables that the server fills behind what was accepted before."""


class Room:
    """A server with one of each thing, and what it holds and weighs."""

    def __init__(self, server: Server, there: dict[str, str]) -> None:
        self.server = server
        self.there = there
        self.plain = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)

    def rows(self) -> dict[str, int]:
        """How many rows each table has."""
        db = apsw.Connection(str(self.server.path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            return {
                str(name): len(db.execute(f'SELECT 1 FROM "{name}"').fetchall())
                for (name,) in tables
                if not str(name).startswith("sqlite_") and name not in BEHIND
            }
        finally:
            db.close()

    def weight(self) -> int:
        """The process's resident memory."""
        status = Path(f"/proc/{self.server.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def path(self, path: str) -> str:
        there = self.there
        if "operational-webhook" in path:
            there = {**there, "endpoint_id": there["operational"]}
        for name, value in there.items():
            path = path.replace(f"{{{name}}}", value)
        assert "{" not in path, path
        return path

    def send(self, method: str, path: str, body: bytes | None = None) -> Answered:
        """Status and body of an answer, by the plainest client that there is."""
        try:
            self.plain.request(method, self.path(path), body, self.server.headers)
            answer = self.plain.getresponse()
            return answer.status, answer.read()
        except (BrokenPipeError, http.client.HTTPException):
            self.plain.close()
            raise

    def raw(self, *parts: bytes, patience_s: float = 60.0) -> tuple[int | None, bytes]:
        """What comes back for bytes as they stand: the status, None for none, and everything."""
        host, port = urlsplit(self.server.url).netloc.split(":")
        got = b""
        plug = socket.create_connection((host, int(port)), timeout=patience_s)
        with plug, contextlib.suppress(ConnectionError):
            for part in parts:
                plug.sendall(part)
            while (piece := plug.recv(65_536)) and not complete(got := got + piece):
                pass
        found = re.match(rb"HTTP/1\.[01] (\d{3})", got)
        return (int(found[1]) if found is not None else None), got

    def next_good(self) -> float:
        """How long a good request takes, the best of three."""
        best = 60.0
        for _ in range(3):
            begun = time.perf_counter()
            status, _body = self.send("GET", "/api/v1/app/{app_id}")
            best = min(best, time.perf_counter() - begun)
            assert status == 200
        return best


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    server = Server(tmp_path, MARKETBELL_REQUEST_TIMEOUT="3s")
    receiver = TestReceiver()
    await receiver.listen()
    async with running(server) as client:
        made = Room(server, await furnished(server, client, f"{receiver.url}/hooks"))
        yield made
        made.plain.close()
    await receiver.refuse()


async def furnished(server: Server, client: httpx.AsyncClient, url: str) -> dict[str, str]:
    """One of each thing that a path can name."""
    event_type = {"name": "order.created", "description": "An order."}
    await server.call(client, "POST", "/event-type", event_type)
    app = (await server.call(client, "POST", "/app", {"name": "A", "uid": "seller-1"}))["id"]
    endpoint = await server.call(client, "POST", f"/app/{app}/endpoint", {"url": url})
    operational = await server.call(client, "POST", "/operational-webhook/endpoint", {"url": url})
    message = {"eventType": "order.created", "payload": {}}
    msg = (await server.call(client, "POST", f"/app/{app}/msg", message))["id"]
    attempts: list[dict[str, str]] = []
    async with asyncio.timeout(PATIENCE_S):
        while not attempts:
            attempts = (await server.call(client, "GET", f"/app/{app}/attempt/msg/{msg}"))["data"]
    key = await server.call(client, "POST", "/auth/api-token", {"name": "k"})
    return {
        "app_id": app,
        "endpoint_id": endpoint["id"],
        "operational": operational["id"],
        "event_type_name": "order.created",
        "msg_id": msg,
        "attempt_id": attempts[0]["id"],
        "key_id": key["id"],
        "task_id": "qtask_2Q8sZpXwV4nJ1mK7tLr5cYbGd9A",
        "rejected_id": "rej_2Q8sZpXwV4nJ1mK7tLr5cYbGd9A",
    }


def complete(answer: bytes) -> bool:
    """Whether an answer has come whole."""
    head, mark, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return bool(mark) and length is not None and len(body) >= int(length[1])


def verdicts(status: int, answer: bytes) -> list[int]:
    """The status of an answer; of a batch that was taken, that of each message."""
    if status == 202 and answer[:1] == b"[":
        return [one["status"] for one in json.loads(answer)]
    return [status]


def operations() -> Iterator[tuple[str, str, str]]:
    """Name, method and path of all that take a body."""
    for one in documented():
        if one.takes is not None:
            yield one.name, one.method, one.path


def examine(room: Room, share: int) -> None:
    room.send("GET", "/docs")
    before, weight = room.rows(), room.weight()
    wrong: list[tuple[object, ...]] = []
    count = 0
    for name, method, path in operations():
        for what, body in bodies(name, share):
            count += 1
            status, answer = room.send(method, path, body)
            told = faults(method, path, status, answer)
            if told or not all(400 <= one < 500 for one in verdicts(status, answer)):
                wrong.append((name, what, status, answer[:150]))
        taken = room.next_good()
        if taken > NEXT_S:
            wrong.append((name, "the next good request", taken))
    assert wrong == []
    assert count > 3_000 // share
    assert room.rows() == before
    assert room.weight() - weight < GROWTH_MAX


async def test_no_bad_body_does_anything(room: Room) -> None:
    examine(room, share=5)


@pytest.mark.slow
async def test_none_of_many_bad_bodies_does_anything(room: Room) -> None:
    examine(room, share=1)


def heads(token: bytes) -> dict[str, tuple[bytes, ...]]:
    """Requests that are bad before their body is looked at, each in the pieces that it comes in."""
    begun = b"POST /api/v1/app HTTP/1.1\r\nHost: x\r\nAuthorization: " + token + b"\r\n"
    get = b"GET /api/v1/app%s HTTP/1.1\r\nHost: x\r\nAuthorization: " + token + b"\r\n%s\r\n"
    name = b'{"name":"A"}'
    return {
        "a header of 100 kB": (get % (b"", b"X: " + b"y" * 100_000 + b"\r\n"),),
        "5,000 headers": (get % (b"", b"".join(b"X%d: y\r\n" % one for one in range(5_000))),),
        "a path of 100 kB": (get % (b"/" + b"y" * 100_000, b""),),
        "a path of 2 kB": (get % (b"/" + b"y" * 2_000, b""),),
        "a path of 1,000 parts": (get % (b"/y" * 1_000, b""),),
        "a query of 100 kB": (get % (b"?limit=" + b"1" * 100_000, b""),),
        "a query of 1,000 parameters": (get % (b"?" + b"limit=1&" * 1_000, b""),),
        "a query that is no text": (get % (b"?limit=%ff%fe", b""),),
        "a parameter twice": (get % (b"?limit=1&limit=2", b""),),
        "a NUL in the path": (get % (b"/%00", b""),),
        "a surrogate in the path": (get % (b"/%ed%a0%80", b""),),
        "a negative length": (begun + b"Content-Length: -1\r\n\r\n" + name,),
        "a length of words": (begun + b"Content-Length: twelve\r\n\r\n" + name,),
        "a length of 30 digits": (begun + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n" + name,),
        "a length of a terabyte": (begun + b"Content-Length: 1000000000000\r\n\r\n" + name,),
        "two lengths": (begun + b"Content-Length: 12\r\nContent-Length: 5\r\n\r\n" + name,),
        "a chunk of no size": (begun + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",),
        "a chunk of the largest size": (
            begun + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n",
        ),
        "a NUL in a header": (begun + b"X: a\x00b\r\nContent-Length: 12\r\n\r\n" + name,),
        "a header without a colon": (begun + b"X\r\nContent-Length: 12\r\n\r\n" + name,),
        "no method": (b" /api/v1/app HTTP/1.1\r\nHost: x\r\n\r\n",),
        "a method of 1,000 letters": (b"X" * 1_000 + b" / HTTP/1.1\r\nHost: x\r\n\r\n",),
        "another protocol": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,),
        "only line ends": (b"\r\n" * 1_000 + b"x\r\n",),
        "a key of 300 characters": (
            begun + b"Idempotency-Key: " + b"k" * 300 + b"\r\nContent-Length: 12\r\n\r\n" + name,
        ),
        "a key that is no text": (
            begun + b"Idempotency-Key: \xff\xfe\r\nContent-Length: 12\r\n\r\n" + name,
        ),
        "a token of 50 kB": (b"GET /api/v1/app HTTP/1.1\r\nAuthorization: Bearer ", b"y" * 50_000),
        "half a head": (begun[:60],),
        "half a body": (begun + b"Content-Length: 12\r\n\r\n" + name[:5],),
        "half a chunk": (begun + b"Transfer-Encoding: chunked\r\n\r\nff\r\n" + name,),
    }


async def test_no_bad_request_does_anything(room: Room) -> None:
    before, weight = room.rows(), room.weight()
    wrong: list[tuple[object, ...]] = []
    asked = heads(room.server.headers["authorization"].encode())
    with ThreadPoolExecutor(8) as crowd:
        answers = crowd.map(lambda parts: room.raw(*parts), asked.values())
        for what, (status, got) in zip(asked, answers, strict=True):
            body = got.partition(b"\r\n\r\n")[2]
            clear = status is not None and 400 <= status < 500
            if not clear or not {"code", "detail"} & set(json.loads(body)):
                wrong.append((what, status, got[-200:]))
            if room.next_good() > NEXT_S:
                wrong.append((what, "the next good request"))
    assert wrong == []
    assert room.rows() == before
    assert room.weight() - weight < GROWTH_MAX


async def test_requests_that_break_off_leave_nothing_behind(room: Room) -> None:
    before, weight = room.rows(), room.weight()
    host, port = urlsplit(room.server.url).netloc.split(":")
    for what, parts in heads(room.server.headers["authorization"].encode()).items():
        for cut in (1, 40, len(parts[0])):
            with socket.create_connection((host, int(port)), timeout=60) as plug:
                plug.sendall(parts[0][:cut])
        assert room.next_good() < NEXT_S, what
    assert room.rows() == before
    assert room.weight() - weight < GROWTH_MAX
