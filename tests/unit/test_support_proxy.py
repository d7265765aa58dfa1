"""The faulty network of the tests does to connections what it is told, and ends by itself."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import asyncpg
import pytest

from support.postgres import PostgresServer
from support.proxy import Act, Line, TcpProxy

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Client]]


class Echo:
    """A server that sends everything back, and tells what it got."""

    def __init__(self) -> None:
        self.port = 0
        self.got = bytearray()
        self.ends: list[str] = []
        self._news = asyncio.Condition()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(65_536):
                self.got += piece
                writer.write(piece)
                await writer.drain()
            end = "left"
        except ConnectionError:
            end = "reset"
        writer.close()
        async with self._news:
            self.ends.append(end)
            self._news.notify_all()

    async def ended(self, count: int = 1) -> list[str]:
        """How so many connections ended, once they have."""
        async with asyncio.timeout(60), self._news:
            await self._news.wait_for(lambda: len(self.ends) >= count)
        return self.ends


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    served = Echo()
    server = await asyncio.start_server(served, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    async with server:
        yield served


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[TcpProxy]:
    with TcpProxy("127.0.0.1", echo.port) as between:
        yield between


@pytest.fixture
async def connect(proxy: TcpProxy) -> AsyncIterator[Connect]:
    """Opens connections through the proxy; closed afterwards."""
    writers = []

    async def connected() -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writers.append(writer)
        return reader, writer

    yield connected
    for writer in writers:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def says(client: Client, text: bytes) -> bytes:
    """What comes back for it; empty if the server left."""
    reader, writer = client
    writer.write(text)
    async with asyncio.timeout(60):
        return await reader.read(len(text))


async def silent(client: Client, text: bytes) -> bool:
    """Whether nothing comes back for it in 100 ms."""
    client[1].write(text)
    try:
        async with asyncio.timeout(0.1):
            await client[0].read(1)
    except TimeoutError:
        return True
    return False


async def test_bytes_pass_both_ways_and_farewells_too(
    proxy: TcpProxy, connect: Connect, echo: Echo
) -> None:
    reader, writer = client = await connect()
    assert await says(client, b"one") == b"one"
    large = bytes(range(256)) * 40_000
    writer.write(large)
    assert await reader.readexactly(len(large)) == large
    writer.write_eof()
    assert await reader.read() == b""
    assert await echo.ended() == ["left"]
    assert proxy.accepted == 1


async def test_cut_resets_what_is_open_and_accepts_anew(
    proxy: TcpProxy, connect: Connect, echo: Echo
) -> None:
    first, second = await connect(), await connect()
    await says(first, b"one")
    await says(second, b"two")
    assert proxy.cut() == 2
    for client in (first, second):
        with pytest.raises(ConnectionResetError):
            await says(client, b"three")
    assert await echo.ended(2) == ["reset", "reset"]
    assert await says(await connect(), b"four") == b"four"
    assert proxy.open == 1


async def test_cut_of_one_side_leaves_the_other_waiting(
    proxy: TcpProxy, connect: Connect, echo: Echo
) -> None:
    client = await connect()
    await says(client, b"one")
    proxy.cut("client")
    with pytest.raises(ConnectionResetError):
        await says(client, b"two")
    assert await says(await connect(), b"three") == b"three"
    assert not echo.ends
    other = await connect()
    await says(other, b"four")
    proxy.cut("server")
    assert await echo.ended(2) == ["reset", "reset"]
    assert await silent(other, b"five")


async def test_refuse_and_admit(proxy: TcpProxy, connect: Connect) -> None:
    client = await connect()
    await says(client, b"one")
    proxy.refuse()
    with pytest.raises(ConnectionResetError):
        await says(client, b"two")
    with pytest.raises(ConnectionRefusedError):
        await connect()
    proxy.admit()
    assert await says(await connect(), b"three") == b"three"


async def test_stalled_is_open_and_goes_on_after(
    proxy: TcpProxy, connect: Connect, echo: Echo
) -> None:
    old = await connect()
    await says(old, b"one")
    proxy.put(Line(stalled=True))
    assert await silent(old, b"two")
    new = await connect()
    assert await silent(new, b"three")
    assert bytes(echo.got) == b"one"
    proxy.put(Line())
    assert await old[0].readexactly(3) == b"two"
    assert await new[0].readexactly(5) == b"three"


@pytest.mark.parametrize("way", ["up", "down"])
async def test_half_open_loses_one_way(
    proxy: TcpProxy, connect: Connect, echo: Echo, way: str
) -> None:
    client = await connect()
    await says(client, b"one")
    proxy.put(Line(swallowed="up" if way == "up" else "down"))
    assert await silent(client, b"two")
    assert bytes(echo.got) == (b"one" if way == "up" else b"onetwo")
    untouched = await connect()
    proxy.put(Line())
    with pytest.raises(ConnectionResetError):
        await says(client, b"three")
    assert await says(untouched, b"four") == b"four"


async def test_slow_takes_its_time(proxy: TcpProxy, connect: Connect) -> None:
    client = await connect()
    proxy.put(Line(bytes_per_s=2_000))
    begun = time.monotonic()
    client[1].write(bytes(400))
    await client[0].readexactly(400)
    assert 0.15 <= time.monotonic() - begun < 10


async def test_delay_is_each_way_and_does_not_add_up(proxy: TcpProxy, connect: Connect) -> None:
    client = await connect()
    proxy.put(Line(delay_ms=100))
    took = []
    for _ in range(5):  # the best of them, as the machine may stand still
        begun = time.monotonic()
        for _ in range(10):
            client[1].write(b"x")
            await asyncio.sleep(0.001)
        await client[0].readexactly(10)
        took.append(time.monotonic() - begun)
    assert 0.19 <= min(took) < 0.8


async def test_reset_in_the_middle_of_a_reply(
    proxy: TcpProxy, connect: Connect, echo: Echo
) -> None:
    client = await connect()
    await says(client, b"before")
    proxy.put(Line(reset_after=4))
    client[1].write(b"answered")
    got = await client[0].readexactly(4)
    with pytest.raises(ConnectionResetError):
        await client[0].read(1)
    assert got == b"answ"
    assert await echo.ended() == ["reset"]


async def test_a_watch_sees_what_clients_send_and_decides(
    proxy: TcpProxy, connect: Connect, echo: Echo
) -> None:
    seen = []

    def watch(piece: bytes) -> Act:
        seen.append(piece)
        return {b"no": Act.RESET, b"lost": Act.LOSE_ANSWER}.get(piece, Act.PASS)

    proxy.watch(watch)
    client = await connect()
    assert await says(client, b"yes") == b"yes"
    with pytest.raises(ConnectionResetError):
        await says(client, b"no")
    with pytest.raises(ConnectionResetError):
        await says(await connect(), b"lost")
    assert bytes(echo.got) == b"yeslost"
    proxy.watch(None)
    assert await says(await connect(), b"no") == b"no"
    assert seen == [b"yes", b"no", b"lost"]


async def test_another_target_holds_for_new_connections(proxy: TcpProxy, connect: Connect) -> None:
    old = await connect()
    await says(old, b"one")

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(3)
        writer.write(b"new")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        proxy.target = server.sockets[0].getsockname()[:2]
        assert await says(await connect(), b"two") == b"new"
        assert await says(old, b"old") == b"old"


async def test_a_target_that_is_not_there_resets(connect: Connect, proxy: TcpProxy) -> None:
    proxy.target = ("127.0.0.1", 1)
    with pytest.raises(ConnectionResetError):
        await says(await connect(), b"one")
    assert proxy.open == 0


async def test_a_closed_one_leaves_nothing(echo: Echo) -> None:
    before = threading.active_count()
    proxy = TcpProxy("127.0.0.1", echo.port)
    client = await asyncio.open_connection("127.0.0.1", proxy.port)
    await says(client, b"one")
    proxy.put(Line(stalled=True))
    client[1].write(b"two")
    proxy.close()
    proxy.close()
    assert await echo.ended() == ["reset"]
    assert threading.active_count() == before
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", proxy.port)
    client[1].close()
    with contextlib.suppress(ConnectionError):
        await client[1].wait_closed()


# -- before PostgreSQL ------------------------------------------------------------------


@pytest.fixture
def before_postgres(postgres_url: str) -> Iterator[TcpProxy]:
    with TcpProxy.before(postgres_url) as between:
        yield between


@pytest.mark.parametrize(
    ("act", "kept"), [(Act.LOSE_ANSWER, 1), (Act.RESET, 0)], ids=["answer lost", "never came"]
)
async def test_the_client_does_not_learn_whether_it_committed(
    before_postgres: TcpProxy, postgres_url: str, act: Act, kept: int
) -> None:
    connection = await asyncpg.connect(before_postgres.url(postgres_url))
    await connection.execute("create table kept (id bigint)")
    happened = before_postgres.at_commit(act)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("insert into kept values (1)")
    assert not happened.is_set()
    with pytest.raises((asyncpg.ConnectionDoesNotExistError, ConnectionError)):
        await transaction.commit()
    assert happened.is_set()
    connection.terminate()

    again = await asyncpg.connect(before_postgres.url(postgres_url))
    assert await again.fetchval("select count(*) from kept") == kept
    async with again.transaction():
        await again.execute("insert into kept values (2)")
    assert await again.fetchval("select count(*) from kept") == kept + 1
    await again.close()


async def test_a_client_that_vanished_keeps_its_session(
    before_postgres: TcpProxy, postgres_url: str, postgres: PostgresServer
) -> None:
    connection = await asyncpg.connect(before_postgres.url(postgres_url))
    pid = connection.get_server_pid()
    await connection.execute("begin")
    before_postgres.cut("client")
    connection.terminate()
    alive = "select count(*) from pg_stat_activity where pid = %s"
    assert postgres.execute(alive, pid) == [(1,)]
    before_postgres.cut()
    deadline = time.monotonic() + 60
    while postgres.execute(alive, pid) != [(0,)]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
