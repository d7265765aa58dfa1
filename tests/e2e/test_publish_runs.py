"""Requests that come in one turn go together, in runs that the bounds of the store can tell apart."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from marketbell.api.answers import Answer
from marketbell.api.app import Api, create_app
from marketbell.api.clients import cut_late
from marketbell.api.message_in import Incoming
from marketbell.api.plain import plain_request
from marketbell.api.publish import answer_to
from marketbell.assembly import make_dispatcher, open_client
from marketbell.clock import SystemClock
from marketbell.control.origins import Peer
from marketbell.control.tokens import create_token
from marketbell.delivery.intake import Verdicts
from marketbell.dialects.registry import Registry
from marketbell.listening import serve
from marketbell.model import Message
from marketbell.observe import Observer
from marketbell.settings import load_settings
from marketbell.signing import new_secret
from marketbell.store.base import ApplicationDraft, EndpointDraft
from support.opened import opened

ORGANIZATION = "org_tests"
SECRET = bytes(range(32))
TOKEN = create_token(SECRET, ORGANIZATION, SystemClock().now(), 3_600_000).encode()
"""One for all: who came before is let in from memory."""
KB = 1_000


class Connection:
    """A client's, as far as a run knows it."""

    client: Peer = ("127.0.0.1", 1)

    def __init__(self, tasks: set[asyncio.Task[None]]) -> None:
        self.tasks = tasks
        self.got: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def answered(self, answer: Answer, request_id: bytes) -> None:
        assert request_id
        self.got.set_result(answer)


@asynccontextmanager
async def api(folder: Path, **limits: Any) -> AsyncIterator[Api]:
    """The management API over a store that lets so little wait, with one application, `shop`."""
    async with AsyncExitStack() as stack:
        clock, observer, registry = SystemClock(), Observer(), Registry.load()
        stack.callback(observer.close)
        settings = msgspec.structs.replace(
            load_settings({"log_level": "error"}, {}, None), jwt_secret=SECRET
        )
        store = await stack.enter_async_context(opened(folder / "db.sqlite", clock, **limits))
        client = open_client(settings, clock)
        stack.push_async_callback(client.aclose)
        dispatcher = make_dispatcher(
            settings, clock, store=store, client=client, registry=registry, observer=observer
        )
        store.on_change(dispatcher.forget)
        dispatcher.start()
        stack.push_async_callback(dispatcher.drain, 5.0)
        draft = ApplicationDraft(name="shop", uid="shop")
        await store.create_application(ORGANIZATION, draft, now=clock.now())
        yield create_app(
            settings=settings,
            clock=clock,
            store=store,
            intake=dispatcher,
            registry=registry,
            observer=observer,
        )


def one_request(number: int, size: int = 0) -> bytes:
    """A whole request, as one piece, with a payload of some `size` bytes."""
    body = b'{"eventType":"order.paid","payload":{"n":%d,"x":"%b"}}' % (number, b"x" * size)
    return (
        b"POST /api/v1/app/shop/msg HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer %b\r\n"
        b"Content-Length: %d\r\n\r\n%b"
    ) % (TOKEN, len(body), body)


async def answered(served: Api, requests: Iterable[bytes]) -> list[Answer]:
    """The answers to requests that come in one turn."""
    tasks: set[asyncio.Task[None]] = set()
    connections = []
    for data in requests:
        request = plain_request(data)
        assert request is not None
        connections.append(Connection(tasks))
        served.runs.take(request, connections[-1])
    return await asyncio.wait_for(asyncio.gather(*(one.got for one in connections)), 60)


async def published(served: Api, count: int, size: int = 0) -> Counter[int]:
    """How so many requests of one turn were answered, each with a payload of some `size` bytes."""
    answers = await answered(served, (one_request(number, size) for number in range(count)))
    for number, answer in enumerate(answers):
        if answer.status == 202:
            assert json.loads(answer.body)["payload"]["n"] == number
    return Counter(answer.status for answer in answers)


async def test_a_turn_is_no_way_past_the_bound_on_rows_that_wait(tmp_path: Path) -> None:
    async with api(tmp_path, waiting_rows=100) as served:
        assert await published(served, 1) == {202: 1}
        # The first run is larger than the bound, and has its turn because nothing waits before it.
        assert await published(served, 600) == {202: 256, 503: 600 - 256}
        assert await published(served, 256) == {202: 256}


async def test_a_turn_is_no_way_past_the_bound_on_bytes_that_wait(tmp_path: Path) -> None:
    async with api(tmp_path, waiting_bytes=1_000 * KB) as served:
        assert await published(served, 1) == {202: 1}
        answers = await published(served, 100, size=200 * KB)
        assert answers == {202: 19, 503: 81}


async def test_a_turn_is_no_way_past_the_rows_of_a_transaction(tmp_path: Path) -> None:
    async with api(tmp_path, rows_per_transaction=1_000) as served:
        store, now = served.services.store, served.services.clock.now()
        application = await store.application(ORGANIZATION, "shop")
        for number in range(50):
            draft = EndpointDraft(
                url=f"http://127.0.0.1:9/{number}", paused=True, secret=new_secret()
            )
            await store.create_endpoint(application.id, draft, now=now, endpoints_max=50)
        assert await published(served, 1) == {202: 1}
        rows: list[int] = []
        store.statistics.observe = lambda count, _seconds: rows.append(count)  # type: ignore[attr-defined]
        assert await published(served, 100) == {202: 100}
        assert sum(rows) >= 100 * 51
        assert max(rows) <= 1_000


async def test_a_fault_in_one_answer_leaves_the_others_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = answer_to

    def fails_for_3(message: Message, given: Incoming, *, with_content: bool) -> Answer:
        if b'"n":3,' in message.payload:
            raise RuntimeError("no answer can be made")
        return made(message, given, with_content=with_content)

    async with api(tmp_path) as served:
        assert await published(served, 1) == {202: 1}
        monkeypatch.setattr("marketbell.api.publish_runs.answer_to", fails_for_3)
        answers = await answered(served, map(one_request, range(10)))
    assert [answer.status for answer in answers] == [202] * 3 + [500] + [202] * 6


async def test_a_fault_of_a_whole_run_is_told_once_with_where_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_acceptances: object) -> Verdicts:
        raise RuntimeError("the run broke")

    async with api(tmp_path) as served:
        assert await published(served, 1) == {202: 1}
        monkeypatch.setattr(served.services.publisher.runs, "publish", broken)
        with capture_logs() as told:
            assert await published(served, 10) == {500: 10}
    (line,) = told
    assert line["event"] == "request failed"
    assert traceback.extract_tb(line["exc_info"].__traceback__)[-1].name == "broken"


async def test_the_runs_of_one_turn_answer_each_its_own(tmp_path: Path) -> None:
    async with api(tmp_path) as served:
        assert await published(served, 1) == {202: 1}
        assert await published(served, 1_000) == {202: 1_000}


async def test_a_client_that_has_published_and_says_no_more_is_let_go(tmp_path: Path) -> None:
    async with api(tmp_path) as served:
        server, url = await serve(served, served.services.settings, port=0)
        connections = server._server.server_state.connections
        loop = asyncio.get_running_loop()
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        for number in range(3):
            writer.write(one_request(number))
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
            assert head.startswith(b"HTTP/1.1 202")
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split()[0]))
            cut_late(connections, loop.time() + 70)
        cut_late(connections, loop.time() + 80)
        assert await asyncio.wait_for(reader.read(), 60) == b""  # the end of the connection
        writer.close()
        await writer.wait_closed()
        await server.stop()
