"""A message that comes in at one node and goes out at another: told at once, and three statements in all."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Self

import pytest

from marketbell import ids, signing
from marketbell.assembly import make_dispatcher, open_client
from marketbell.clock import SystemClock
from marketbell.cluster import Cluster
from marketbell.delivery.dispatcher import Dispatcher
from marketbell.delivery.intake import Acceptance
from marketbell.dialects.registry import Registry
from marketbell.model import SLOTS, Application, Message
from marketbell.observe import Observer
from marketbell.settings import load_settings
from marketbell.store import postgresql
from marketbell.store.base import ApplicationDraft, EndpointDraft, Published, Repeated
from marketbell.store.opening import open_store
from marketbell.store.postgresql import Connection
from marketbell.store.postgresql_store import PostgresStore
from marketbell.testing import TestReceiver
from support.eventually import eventually

ORGANIZATION = "org_tests"
ENDPOINTS = 8
BATCH = 20
ASKED: list[tuple[int, str]] = []
"""Each statement that was a transaction of its own, with the connection that it was asked on."""
_CALL = re.compile(r"(\w+)\(")


class Node:
    """What takes in, sends and records of one node, as the server puts it together, for `async with`."""

    def __init__(self, url: str) -> None:
        self._settings = load_settings(
            {
                "db": url,
                "jwt_secret": "x" * 32,
                "secrets_key": base64.b64encode(bytes(32)).decode(),
                "allow_networks": "127.0.0.0/8",
                "node_heartbeat": "50ms",
            },
            {},
            None,
        )
        self._stack = AsyncExitStack()
        self.cluster: Cluster
        self.store: PostgresStore
        self.dispatcher: Dispatcher

    async def __aenter__(self) -> Self:
        settings = self._settings
        async with AsyncExitStack() as stack:
            self.cluster = cluster = await Cluster.join(settings, SystemClock())
            stack.push_async_callback(cluster.aclose)
            store = open_store(settings, cluster.clock, node_number=cluster.number)
            assert isinstance(store, PostgresStore)
            self.store = store
            stack.push_async_callback(store.aclose)
            client = open_client(settings, cluster.clock)
            stack.push_async_callback(client.aclose)
            observer = Observer()
            stack.callback(observer.close)
            self.dispatcher = make_dispatcher(
                settings,
                cluster.clock,
                store=store,
                client=client,
                registry=Registry.load(),
                observer=observer,
                owned=cluster.tenure,
                hint=cluster.hints.due,
            )
            self.dispatcher.start()
            stack.push_async_callback(cluster.stop)
            await cluster.start(store, self.dispatcher, observer)
            stack.push_async_callback(self.dispatcher.drain, 5.0)
            stack.callback(cluster.leave)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    def asked(self) -> Counter[str]:
        """Which functions its writers have called since this was last asked, and how often."""
        own = {id(executor.connection) for executor in self.store._executors}
        called = Counter(
            name for connection, text in ASKED if connection in own for name in _CALL.findall(text)
        )
        ASKED[:] = [one for one in ASKED if one[0] not in own]
        return called

    async def stop_looking(self) -> None:
        """It claims only what it is told of, or has found out by itself."""
        assert self.cluster._lookout is not None
        await self.cluster._lookout.stop()

    async def application(self, url: str) -> Application:
        """With an endpoint for each path, all of other nodes than this one."""
        now = self.cluster.clock.now()
        made = await self.store.create_application(
            ORGANIZATION, ApplicationDraft(name="Shop"), now=now
        )
        assert not isinstance(made, Repeated)
        others = 0
        while others < ENDPOINTS:
            draft = EndpointDraft(url=f"{url}{others}", secret=signing.new_secret())
            one = await self.store.create_endpoint(made.id, draft, now=now, endpoints_max=1_000)
            assert not isinstance(one, Repeated)
            if one.slot in self.cluster.tenure.slots:
                await self.store.delete_endpoint(made.id, one.public_id, now=now)
            else:
                others += 1
        return made

    async def accept(self, application: Application, count: int) -> None:
        """So many messages at once."""
        now = self.cluster.clock.now()
        subscribers = await self.store.subscribers(ORGANIZATION, application.public_id)
        verdicts = await self.dispatcher.accept(
            [
                Acceptance(
                    message=Message(
                        id=0,
                        public_id=ids.new_id(ids.MESSAGE, now),
                        application_id=application.id,
                        event_type="thing.happened",
                        event_id=None,
                        payload=b"{}",
                        occurred_at=now,
                        created_at=now,
                        payload_expires_at=now + 86_400_000,
                    ),
                    subscribers=subscribers,
                    due_at=now,
                )
                for _ in range(count)
            ]
        )
        assert all(isinstance(verdict, Published) for verdict in verdicts)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Note what is asked, on connections that need not be looked at before, however long they rest."""
    alone = Connection.alone

    def noting(self: Connection, text: str, values: Sequence[Any]) -> list[Any]:
        ASKED.append((id(self), text))
        return alone(self, text, values)

    ASKED.clear()
    monkeypatch.setattr(postgresql, "_WARM_S", 3_600.0)
    monkeypatch.setattr(Connection, "alone", noting)


@pytest.mark.usefixtures("counted")
async def test_from_acceptance_to_record_it_is_three_statements(migrated_url: str) -> None:
    """Nobody looks by himself: the hint alone brings it."""
    async with (
        TestReceiver() as receiver,
        Node(migrated_url) as here,
        Node(migrated_url) as there,
    ):
        nodes = (here, there)
        await eventually(
            lambda: all(len(node.cluster.tenure.slots) == SLOTS // 2 for node in nodes)
        )
        for node in nodes:
            await node.stop_looking()
        application = await here.application(receiver.url)
        came = 0
        # The first make the endpoints known, and open their windows.
        for count in (1, 1, 1, 1, BATCH):
            await here.accept(application, count)
            came += count * ENDPOINTS
            await receiver.wait_for(came)
            await eventually(lambda: all(node.dispatcher.idle for node in nodes))
            published, served = here.asked(), there.asked()
            # As many as there were batches of attempts, and no less.
            assert served.pop("record_attempts") >= 1
        assert published == {"publish_messages": 1}
        assert served == {"claim_deliveries": 1}
