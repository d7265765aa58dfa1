"""A real node for tests: it serves from a thread of its own, so that blocking clients can call it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
import pytest
import uvloop

from marketbell.clock import Clock, SystemClock
from marketbell.control.tokens import create_token
from marketbell.node import Node, running_node
from marketbell.settings import Settings, ensure_secrets, load_settings
from marketbell.testing import OK, Answer, FakeClock, Received, TestReceiver
from support.conformity import faults

T = TypeVar("T")

HOUR_MS = 3_600_000


class LiveNode:
    """A node that serves, as its clients see it, with a few handles for tests."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.node: Node
        self.marketplaces = False
        """Whether the marketplaces' own APIs are served too, on a free port."""
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        self._resources = contextlib.ExitStack()
        self._thread = threading.Thread(target=self._main, name="node")

    @property
    def url(self) -> str:
        return self.node.url

    def token(self, organization: str = "org_test", application: str | None = None) -> str:
        now = self.clock.real_now()
        return create_token(self.settings.jwt_secret, organization, now, HOUR_MS, application)

    def client(
        self, organization: str = "org_test", application: str | None = None
    ) -> httpx.Client:
        """A client with a token, closed with the node."""
        token = self.token(organization, application)
        client = httpx.Client(
            base_url=f"{self.url}/api/v1",
            headers={"authorization": f"Bearer {token}"},
            event_hooks={"response": [_as_documented]},
        )
        return self._resources.enter_context(client)

    def receiver(self, *answers: Answer) -> TestReceiver:
        """A receiver on the node's own loop, closed with it."""
        receiver = self.run(_listening(answers or (OK,)))
        self._resources.callback(lambda: self.run(receiver.refuse()))
        return receiver

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What a coroutine gives, run on the node's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(120)

    def advance(self, time_passed: int) -> None:
        """Let milliseconds pass on a FakeClock."""
        assert isinstance(self.clock, FakeClock)
        self.run(_advanced(self.clock, time_passed))

    def settle(self) -> None:
        """Wait until nothing is under way and every attempt is recorded."""
        self.run(self._settled())

    async def _settled(self) -> None:
        dispatcher = self.node.dispatcher
        async with asyncio.timeout(60):
            while not dispatcher.idle:
                await dispatcher.recorder.moved(0.05)

    def start(self) -> None:
        self._thread.start()
        self._ready.wait(120)
        if self._failed is not None:
            raise self._failed

    def stop(self) -> None:
        self._resources.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(120)

    def _main(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            beside = _nothing if self.marketplaces else None
            async with running_node(self.settings, self.clock, beside=beside) as self.node:
                self._ready.set()
                await self._stop.wait()
        except BaseException as error:
            self._failed = error
            self._ready.set()


def _as_documented(response: httpx.Response) -> None:
    """Hold every answer that a test gets against the OpenAPI document."""
    request = response.request
    if request.method != "HEAD":
        told = faults(request.method, request.url.path, response.status_code, response.read())
        assert told == [], told


async def _advanced(clock: FakeClock, time_passed: int) -> None:
    clock.advance(time_passed)


def _nothing(_marketplaces: object) -> tuple[()]:
    """Nothing beside the marketplaces' own APIs."""
    return ()


async def _listening(answers: tuple[Answer, ...]) -> TestReceiver:
    receiver = TestReceiver(answers)
    await receiver.listen()
    return receiver


@contextlib.contextmanager
def live_node(
    folder: Path, clock: Clock | None = None, *, marketplaces: bool = False, **changes: object
) -> Iterator[LiveNode]:
    flags = {
        "db": f"sqlite:///{folder}/node.db",
        "port": "0",
        "allow_networks": "127.0.0.0/8",
        "log_level": "error",
        "failed_logins_max": "0",
    }
    settings = ensure_secrets(load_settings(flags, {}, None))
    live = LiveNode(msgspec.structs.replace(settings, **changes), clock or SystemClock())
    live.marketplaces = marketplaces
    live.start()
    try:
        yield live
    finally:
        live.stop()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    """One node for all tests of a module; tests keep apart by their organizations."""
    secret = b"a secret of the tests, of 32 bytes or more"
    with live_node(tmp_path_factory.mktemp("node"), jwt_secret=secret) as node:
        yield node


@pytest.fixture
def organization(request: pytest.FixtureRequest) -> str:
    """An organization of the test's own."""
    return f"org_{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:24]}"


@pytest.fixture
def api(live: LiveNode, organization: str) -> httpx.Client:
    """An operator's client of that organization, from /api/v1 on."""
    return live.client(organization)


@pytest.fixture
def live_url(live: LiveNode) -> str:
    """Where the API begins."""
    return f"{live.url}/api/v1"


@pytest.fixture
def jwt_secret(live: LiveNode) -> bytes:
    """What signs the node's tokens."""
    return live.settings.jwt_secret


@pytest.fixture
def token_of(live: LiveNode) -> Callable[..., str]:
    """A token of an organization, or of one application of it."""
    return live.token


@pytest.fixture
def client_of(live: LiveNode) -> Callable[..., httpx.Client]:
    """A client with such a token."""
    return live.client


@pytest.fixture
def receiver_of(live: LiveNode) -> Callable[..., TestReceiver]:
    """A receiver that gives these answers."""
    return live.receiver


@pytest.fixture
def settle(live: LiveNode) -> Callable[[], None]:
    """Waits until nothing is under way and every attempt is recorded."""
    return live.settle


@pytest.fixture
def received(live: LiveNode) -> Callable[[TestReceiver, int], list[Received]]:
    """Waits for the first so many requests at a receiver."""

    def wait(receiver: TestReceiver, count: int) -> list[Received]:
        return live.run(receiver.wait_for(count))

    return wait


@pytest.fixture
def own_node() -> Callable[..., contextlib.AbstractContextManager[LiveNode]]:
    """Starts a node in a folder, with changes to its settings."""
    return live_node


@pytest.fixture
def closed_store() -> Callable[[Path], contextlib.AbstractContextManager[httpx.Client]]:
    """Serves the application `s` from a store that has been closed under the server."""

    @contextlib.contextmanager
    def serve(folder: Path) -> Iterator[httpx.Client]:
        with live_node(folder, log_level="error") as live:
            api = live.client()
            assert api.post("/app", json={"name": "A", "uid": "s"}).status_code == 201
            message = {"eventType": "a", "payload": {}}
            assert api.post("/app/s/msg", json=message).status_code == 202
            live.run(live.node.store.aclose())
            yield api

    return serve


@pytest.fixture
def searching() -> Callable[
    [Path], contextlib.AbstractContextManager[tuple[httpx.Client, Callable[[], None]]]
]:
    """Serves a folder's database with payloads searched; what notes all words that there are."""

    @contextlib.contextmanager
    def serve(folder: Path) -> Iterator[tuple[httpx.Client, Callable[[], None]]]:
        with live_node(folder, payload_search=True) as live:

            async def follow() -> None:
                while await live.node.store.follow_texts(messages_max=100, bytes_max=100_000):
                    pass

            yield live.client(), lambda: live.run(follow())

    return serve


@pytest.fixture
def serving() -> Callable[[Path], contextlib.AbstractContextManager[httpx.Client]]:
    """Serves a folder's database for as long as the context is open."""

    @contextlib.contextmanager
    def serve(folder: Path) -> Iterator[httpx.Client]:
        with live_node(folder) as live:
            yield live.client()

    return serve


@pytest.fixture(scope="session")
def node_at() -> Callable[..., contextlib.AbstractContextManager[LiveNode]]:
    """A node of the test's own: its folder, its clock, and settings that differ."""
    return live_node
