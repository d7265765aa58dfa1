"""The demo from start to verdict: a real server, a failing receiver, and the API between them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from marketbell.clock import ScaledClock
from marketbell.control.tokens import create_token
from marketbell.demo.client import Client
from marketbell.demo.heartbeat import Heartbeat
from marketbell.demo.receiver import ScriptedReceiver
from marketbell.demo.report import Reporter
from marketbell.demo.script import OVOKO, SCRIPT, SELLERCENTER, Seller, Step, errands
from marketbell.demo.verdict import Finding, Progress, judge
from marketbell.model import Millis
from marketbell.node import running_node
from marketbell.settings import Settings, ensure_secrets, load_settings

_POLL_S: Final = 0.1
_ORGANIZATION: Final = "org_demo"
_TOKEN_TTL: Final = 24 * 3600 * 1000
_REFUSED_AT: Final = SCRIPT.index(Step.REFUSE) + 1


async def run_demo(reporter: Reporter, *, speed: float, keep: bool, patience_s: float) -> bool:
    """
    Deliver every event type of both documents and judge what came of it; whether all is well.

    Everything goes over HTTP to servers of its own on free ports, one for each marketplace, with
    their databases in a temporary folder that is removed at the end. After `patience_s` real
    seconds what is not there is judged missing. With `keep` the servers stay up after the verdict
    until SIGINT or SIGTERM. SIGTERM before that raises KeyboardInterrupt, as SIGINT does.
    """
    with _terminable(), tempfile.TemporaryDirectory(prefix="marketbell-demo-") as folder:
        async with contextlib.AsyncExitStack() as stack:
            sites = [
                await _site(stack, Path(folder), seller, seller.speed(speed))
                for seller in (OVOKO, SELLERCENTER)
            ]
            for site in sites:
                reporter.started(site.seller.title, site.url, site.speed, folder)
            heartbeat = stack.enter_context(Heartbeat(Path(folder)))
            demo = _Demo(sites, reporter, heartbeat, stack)
            findings = await demo.play(patience_s)
            if keep:
                await _keep(reporter, sites, demo.a_message)
    return bool(findings) and not any(one.faults for one in findings)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end what is within as SIGINT does, with all that is to be taken down."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    asked = False

    def stop() -> None:
        nonlocal asked
        asked = True
        if task is not None:
            task.cancel()

    loop.add_signal_handler(signal.SIGTERM, stop)
    try:
        yield
    except asyncio.CancelledError:
        if asked:
            raise KeyboardInterrupt from None
        raise
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


class _Site(msgspec.Struct, frozen=True, kw_only=True):
    """One marketplace's server, as it is called."""

    seller: Seller
    url: str
    token: str
    speed: float
    client: Client


async def _site(
    stack: contextlib.AsyncExitStack, folder: Path, seller: Seller, speed: float
) -> _Site:
    """Start a marketplace's server, until the stack ends it."""
    settings = ensure_secrets(_settings(folder, seller))
    node = await stack.enter_async_context(running_node(settings, ScaledClock(speed)))
    now = time.time_ns() // 1_000_000
    token = create_token(settings.jwt_secret, _ORGANIZATION, now, _TOKEN_TTL)
    client = Client(node.url, token)
    stack.push_async_callback(client.aclose)
    return _Site(seller=seller, url=node.url, token=token, speed=speed, client=client)


def _settings(folder: Path, seller: Seller) -> Settings:
    flags = {
        "db": f"sqlite:///{folder}/{seller.dialect}.db",
        "port": "0",
        "allow_networks": "127.0.0.0/8",
        "log_level": "error",
    }
    return load_settings(flags, {}, None)


class _Demo:
    """One run: the errands, their receivers, and what is known of them so far."""

    def __init__(
        self,
        sites: Sequence[_Site],
        reporter: Reporter,
        heartbeat: Heartbeat,
        stack: contextlib.AsyncExitStack,
    ) -> None:
        self._sites = {site.seller.dialect: site for site in sites}
        self._reporter = reporter
        self._heartbeat = heartbeat
        self._stack = stack
        self._applications: dict[str, str] = {}
        self._receivers: dict[str, ScriptedReceiver] = {}
        self._progress: dict[str, Progress] = {}

    async def play(self, patience_s: float) -> list[Finding]:
        """Create, publish, watch and judge."""
        begun = time.monotonic()
        await self._create()
        await asyncio.gather(*(self._publish(name) for name in self._progress))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await asyncio.gather(*(self._watch(name) for name in self._progress))
        lateness = self._heartbeat.late
        findings = [await self._judge(name, lateness) for name in self._progress]
        findings += self._missing(findings)
        self._reporter.judged(findings, time.monotonic() - begun, lateness)
        return findings

    async def _create(self) -> None:
        for errand in errands():
            seller = errand.seller
            site = self._sites[seller.dialect]
            if seller.dialect not in self._applications:
                self._applications[seller.dialect] = await site.client.create_seller(seller)
            receiver = ScriptedReceiver(seller)
            await self._stack.enter_async_context(receiver)
            endpoint = await site.client.create_endpoint(
                self._applications[seller.dialect], receiver.url, errand
            )
            self._receivers[errand.event_type] = receiver
            self._progress[errand.event_type] = Progress(
                errand=errand, speed=site.speed, endpoint=endpoint
            )

    async def _publish(self, name: str) -> None:
        client, errand = self._client(name), self._progress[name].errand
        message = await client.publish(self._application(name), errand)
        self._move(name, message=message)

    async def _watch(self, name: str) -> None:
        """Follow one message until it is delivered; let its receiver refuse in between."""
        receiver, client = self._receivers[name], self._client(name)
        while not self._progress[name].delivered:
            known = self._progress[name].attempts
            message = str(self._progress[name].message)
            attempts = await client.attempts_of_message(self._application(name), message)
            for count in range(len(known) + 1, len(attempts) + 1):
                self._move(name, attempts=attempts[:count])
            if len(attempts) == _REFUSED_AT - 1:
                await receiver.refuse()
            elif len(attempts) >= _REFUSED_AT:
                await receiver.resume()
            await asyncio.sleep(_POLL_S)

    def _move(self, name: str, **changes: object) -> None:
        self._progress[name] = msgspec.structs.replace(self._progress[name], **changes)
        self._reporter.moved(self._progress[name])

    async def _judge(self, name: str, lateness: Millis) -> Finding:
        progress = self._progress[name]
        listed = await self._client(name).attempts_of_endpoint(
            self._application(name), progress.endpoint
        )
        progress = msgspec.structs.replace(progress, at_endpoint=listed)
        return judge(progress, self._receivers[name].received, lateness)

    def _missing(self, findings: Sequence[Finding]) -> list[Finding]:
        """A finding for each seller whose catalogue is not as long as its document's list."""
        sellers = {one.errand.seller.dialect: one.errand.seller for one in self._progress.values()}
        found = []
        for seller in sellers.values():
            count = sum(one.seller == seller.title for one in findings)
            if count != seller.event_types:
                found.append(
                    Finding(
                        seller=seller.title,
                        event_type="(all)",
                        accepted=False,
                        delivered=False,
                        attempts=0,
                        waits=(),
                        document_waits=seller.waits,
                        faults=(f"the document lists {seller.event_types} types, not {count}",),
                    )
                )
        return found

    def a_message(self, seller: Seller) -> str:
        """The id of one of the seller's messages."""
        of_seller = (one for one in self._progress.values() if one.errand.seller is seller)
        return next(one.message for one in of_seller if one.message is not None)

    def _client(self, name: str) -> Client:
        return self._sites[self._progress[name].errand.seller.dialect].client

    def _application(self, name: str) -> str:
        return self._applications[self._progress[name].errand.seller.dialect]


async def _keep(
    reporter: Reporter, sites: Sequence[_Site], message_of: Callable[[Seller], str]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    for site in sites:
        curl = f"curl -H 'Authorization: Bearer {site.token}' {site.url}/api/v1/app"
        application = f"{curl}/{site.seller.dialect}"
        reporter.kept(
            {
                "seller": site.seller.title,
                "address": site.url,
                "token": site.token,
                "sellers": curl,
                "messages": f"{application}/msg",
                "attempts": f"{application}/attempt/msg/{message_of(site.seller)}",
                "stop": "Ctrl-C",
            }
        )
    await stop.wait()
