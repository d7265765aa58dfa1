"""A node that takes from the outbox, without its HTTP server: the parts as the server puts them together."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from contextlib import AsyncExitStack
from typing import Any, Final, Self

import msgspec

from marketbell import signing
from marketbell.api.app import create_app
from marketbell.api.message_in import draft_of
from marketbell.assembly import make_dispatcher, make_relay, open_client
from marketbell.clock import SystemClock
from marketbell.dialects.registry import Registry
from marketbell.model import Application, Message
from marketbell.observe import Observer
from marketbell.settings import Settings, load_settings
from marketbell.store.base import (
    ApplicationDraft,
    EndpointDraft,
    MessageFilter,
    Page,
    Repeated,
)
from support.postgres_stores import postgres_store

ORGANIZATION: Final = "org_tests"


class OutboxNode:
    """Store, data plane, API and relay of one node on a migrated database, for `async with`."""

    def __init__(self, url: str, number: int = 0, **options: Any) -> None:
        self.url = url
        self.number = number
        self.options = options
        self.slots: frozenset[int] | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            clock = SystemClock()
            flags = {"allow_networks": "127.0.0.0/8", "log_level": "error"}
            self.settings: Settings = msgspec.structs.replace(
                load_settings(flags, {}, None), jwt_secret=bytes(range(32))
            )
            self.observer = Observer()
            stack.callback(self.observer.close)
            self.store = postgres_store(
                self.url, bytes(32), clock, node_number=self.number, **self.options
            )
            stack.push_async_callback(self.store.aclose)
            registry = Registry.load()
            client = open_client(self.settings, clock)
            stack.push_async_callback(client.aclose)
            self.dispatcher = make_dispatcher(
                self.settings,
                clock,
                store=self.store,
                client=client,
                registry=registry,
                observer=self.observer,
            )
            self.store.on_change(self.dispatcher.forget)
            self.dispatcher.start()
            stack.push_async_callback(self.dispatcher.drain, 5.0)
            self.app = create_app(
                settings=self.settings,
                clock=clock,
                store=self.store,
                intake=self.dispatcher,
                registry=registry,
                observer=self.observer,
            )
            self.relay = make_relay(
                self.settings,
                clock,
                store=self.store,
                publisher=self.app.services.publisher,
                observer=self.observer,
                read=draft_of,
                share=lambda: self.slots,
            )
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def start_relay(self) -> None:
        """Let the relay run by itself, until the node ends."""
        self.relay.start()
        self._stack.push_async_callback(self.relay.stop)

    async def application(
        self, uid: str, *urls: str, organization: str = ORGANIZATION
    ) -> Application:
        """A new application with an endpoint at each address."""
        now = self.app.services.clock.now()
        made = await self.store.create_application(
            organization, ApplicationDraft(name=uid, uid=uid), now=now
        )
        assert not isinstance(made, Repeated)
        for url in urls:
            draft = EndpointDraft(url=url, secret=signing.new_secret())
            await self.store.create_endpoint(made.id, draft, now=now, endpoints_max=50)
        return made

    async def messages(self, application: Application) -> list[Message]:
        """Its messages, newest first."""
        found: list[Message] = []
        after = None
        while True:
            page = Page(limit=250, after=after)
            part = await self.store.messages(application.id, MessageFilter(), page)
            found += part.data
            if part.done:
                return found
            after = found[-1].public_id


async def _main(url: str) -> None:
    async with OutboxNode(url, number=1) as node:
        node.start_relay()
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main(sys.argv[1]))
