"""The sandbox as a process: what it prints works as it stands, and its commands let things happen."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pytest
import pytest_asyncio
from FalabellaAPIClient import FalabellaClient  # type: ignore[import-untyped]

from marketbell.cli import run
from marketbell.dialects.registry import dialect
from marketbell.sandbox.scenarios import SCENARIOS
from marketbell.testing import Answer, Received, TestReceiver
from support.needs import needs

MARKETBELL = Path(sys.executable).parent / "marketbell"
FOURTEEN = {*dialect("ovoko").catalogue, *dialect("sellercenter").catalogue}
WEBHOOK = "<Request><Webhook><CallbackUrl>{url}</CallbackUrl><Events>{events}</Events></Webhook></Request>"


class Process:
    """A sandbox in a process of its own, with the environment of somebody who works with it."""

    def __init__(self, folder: Path, *options: str, as_json: bool = True) -> None:
        self.environment = {
            "PATH": f"{MARKETBELL.parent}:{os.environ['PATH']}",
            "HOME": str(folder),
        }
        start = [str(MARKETBELL), "sandbox", "start", "--port", "0", "--marketplace-port", "0"]
        self.process = subprocess.Popen(
            [*start, *options, *(["--json"] if as_json else [])],
            cwd=folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.facts: dict[str, Any] = {}
        if as_json:
            self.facts = json.loads(self.process.stdout.readline())
            self.environment["MARKETBELL_SANDBOX_URL"] = self.facts["marketplace_url"]

    def command(self, *arguments: str, code: int = 0) -> str:
        """What a command prints, on stdout or, if it fails, on stderr; in this process, for speed."""
        out, errors = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, self.environment),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(errors),
        ):
            assert run(["sandbox", *arguments]) == code, errors.getvalue()
        return errors.getvalue() if code else out.getvalue()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process(tmp_path_factory.mktemp("sandbox"), "--feed-after", "100ms")
    yield process
    assert process.stop() == 0


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[TestReceiver]:
    async with TestReceiver() as one:
        yield one


def kind(request: Received) -> str:
    body = json.loads(request.body)
    return str(body.get("event_type", body.get("event")))


async def in_thread(work: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(work)


def as_documented(requests: list[Received]) -> None:
    """Each body has its document's form, with a payload that fits the catalogue."""
    for request in requests:
        body = json.loads(request.body)
        assert request.method == "POST"
        assert request.header("content-type") == "application/json"
        if "event_type" in body:
            assert list(body) == ["event_id", "event_type", "timestamp", "event_data"]
            assert request.target == "/ovoko"
            assert request.header("X-Callback-Token") == "secret-of-yours"
            name, payload, where = body["event_type"], body["event_data"], "ovoko"
        else:
            assert list(body) == ["event", "payload"]
            assert request.target == "/falabella?seller=7"
            name, payload, where = body["event"], body["payload"], "sellercenter"
        dialect(where).catalogue.check(name, json.dumps(payload).encode())


@needs("curl", "openssl")
async def test_what_it_prints_works_when_it_is_pasted(
    tmp_path: Path, receiver: TestReceiver
) -> None:
    sandbox = Process(tmp_path, as_json=False)
    assert sandbox.process.stdout is not None
    script = ""
    for line in sandbox.process.stdout:
        script += line
        if line.startswith('curl -s "$MARKETPLACE/sandbox"'):
            break
    script = script.replace("127.0.0.1:9000", f"127.0.0.1:{receiver.port}")
    try:
        done = await in_thread(
            lambda: subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script],
                env=sandbox.environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        )
        assert done.returncode == 0, done.stderr
        assert "all-events: as it must be" in done.stdout
        assert '"WebhookId":' in done.stdout
        assert '"status_code":"R200"' in done.stdout
        await receiver.wait_until(lambda: {kind(one) for one in receiver.requests} >= FOURTEEN)
        assert {kind(one) for one in receiver.requests} == FOURTEEN
        as_documented(receiver.requests)
    finally:
        assert await in_thread(sandbox.stop) == 0


async def test_a_client_that_others_wrote_subscribes_to_all_that_happens(
    sandbox: Process, receiver: TestReceiver
) -> None:
    shop = sandbox.facts["sellers"]["sellercenter"]
    client = FalabellaClient(shop["UserID"], shop["ApiKey"])
    client.url = sandbox.facts["marketplace_url"]
    aliases = "".join(f"<Event>{one}</Event>" for one in dialect("sellercenter").catalogue)
    body = WEBHOOK.format(url=receiver.url + "falabella?seller=7", events=aliases)

    def use() -> Any:
        with client.session:
            made = client.query("post", {"Action": "CreateWebhook"}, payload=body)
            sandbox.command("play", "all-events")
            ready = client.query("get", {"Action": "GetOrders", "CreatedAfter": "2020-01-01"})
            return made, ready

    made, orders = await in_thread(use)
    assert made["SuccessResponse"]["Body"]["Webhook"]["WebhookId"]
    assert orders["SuccessResponse"]["Body"]["Orders"]
    wanted = set(dialect("sellercenter").catalogue)
    await receiver.wait_until(lambda: {kind(one) for one in receiver.requests} >= wanted)
    as_documented(receiver.requests)


async def test_a_feed_that_is_posted_is_worked_off_in_a_while(
    sandbox: Process, receiver: TestReceiver
) -> None:
    shop = sandbox.facts["sellers"]["sellercenter"]
    client = FalabellaClient(shop["UserID"], shop["ApiKey"])
    client.url = sandbox.facts["marketplace_url"]
    events = "<Event>onFeedCreated</Event><Event>onFeedCompleted</Event>"
    hook = WEBHOOK.format(url=receiver.url, events=events)
    product = "<Request><Product><SellerSku>NEW-1</SellerSku><Name>Lamp</Name></Product></Request>"

    def use() -> None:
        with client.session:
            client.query("post", {"Action": "CreateWebhook"}, payload=hook)
            client.query("post", {"Action": "ProductCreate"}, payload=product)

    await in_thread(use)
    await receiver.wait_for(2)
    assert [kind(one) for one in receiver.requests] == ["onFeedCreated", "onFeedCompleted"]


def test_every_scenario_plays_from_the_command_line(sandbox: Process) -> None:
    for one in SCENARIOS[:3]:
        assert f"{one.name}: as it must be" in sandbox.command("play", one.name)
    answer = json.loads(sandbox.command("play", "written-off", "--json"))
    assert answer["well"]
    assert [step["act"] for step in answer["steps"]][:2] == ["buy", "deliver"]


def test_every_command_lets_its_thing_happen(sandbox: Process) -> None:
    def do(*arguments: str) -> dict[str, Any]:
        done: dict[str, Any] = json.loads(sandbox.command(*arguments, "--json"))
        return done

    def told(done: dict[str, Any]) -> list[str]:
        return [event["eventType"] for event in done["events"]]

    order = str(do("buy", "--count", "2")["order_id"])
    assert told(do("deliver", order)) == []
    back = do("return", order)
    assert told(back) == ["order.return.created"]
    assert told(do("receive", str(back["return_id"])))[0] == "order.return.updated"
    assert told(do("part", "write-off"))[0] == "part.status.changed"
    assert told(do("cancel", str(do("buy")["order_id"])))[0] == "order.cancelled"
    where = ("--marketplace", "sellercenter")
    order = str(do("buy", *where)["order_id"])
    for name in ("ready", "ship"):
        assert do("act", "sellercenter", name, f"order_id={order}")["events"]
    for name in ("deliver", "return", "receive"):
        assert told(do(name, order, *where)) == ["onOrderItemsStatusChanged"]
    order = str(do("buy", *where)["order_id"])
    assert told(do("cancel", order, *where)) == ["onOrderItemsStatusChanged"]
    order = str(do("buy", *where)["order_id"])
    for name in ("ready", "ship"):
        do("act", "sellercenter", name, f"order_id={order}")
    assert do("fail-delivery", order)["events"][0]["payload"]["NewStatus"] == "failed"
    feed = do("feed", "queue", "--action", "ProductUpdate")["feed"]
    assert told(do("feed", "finish", feed))[-1] == "onFeedCompleted"
    do("feed", "queue")
    assert told(do("feed", "fail")) == []
    do("feed", "queue")
    do("feed", "start")
    assert "stays so" in sandbox.command("feed", "cancel", feed, code=1)
    do("feed", "finish")
    assert told(do("qc", "rejected", "SAMPLE-001")) == ["onProductQcStatusChanged"]
    assert told(do("act", "sellercenter", "statistics")) == ["onStatisticsUpdated"]


def test_lists_in_words(sandbox: Process) -> None:
    everything = sandbox.command("list")
    for one in SCENARIOS:
        assert one.name in everything
    assert "A buyer orders parts that are for sale." in everything
    assert re.search(r"^part +\d+ +in_warehouse", sandbox.command("list", "ovoko"), re.MULTILINE)
    assert "SAMPLE-001" in sandbox.command("list", "sellercenter")
    assert set(json.loads(sandbox.command("list", "ovoko", "--json"))) == {
        "part",
        "order",
        "return",
    }
    assert "order_id=" in sandbox.command("buy")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("play", "nothing"), 1, "There is no scenario 'nothing'; there are: sold-and-returned"),
        (("buy", "--count", "0"), 2, "count: 0 is not between 1 and 10"),
        (("deliver", "999"), 1, "There is no"),
        (("act", "ovoko", "steal"), 1, "There is no such control"),
        (("act", "ovoko", "buy", "count"), 2, "is not FIELD=VALUE"),
        (("act", "ovoko", "buy", "colour=red"), 2, "colour: There is no such field"),
        (("stream", "fast"), 2, "rate: 'fast' is no rate"),
        (("start", "--rate", "fast"), 2, "rate: 'fast' is no rate"),
        (("start", "--feed-after", "soon"), 2, "feed_after: 'soon' is not a duration"),
    ],
)
def test_a_mistake_is_one_sentence(
    sandbox: Process, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    said = sandbox.command(*arguments, code=code)
    assert said.startswith("marketbell: ")
    assert sentence in said
    assert said.count("\n") == 1


def test_without_a_sandbox_a_command_says_how_to_start_one(sandbox: Process) -> None:
    url, sandbox.environment["MARKETBELL_SANDBOX_URL"] = (
        sandbox.environment["MARKETBELL_SANDBOX_URL"],
        "http://127.0.0.1:1",
    )
    try:
        assert "marketbell sandbox start" in sandbox.command("buy", code=3)
    finally:
        sandbox.environment["MARKETBELL_SANDBOX_URL"] = url


async def test_a_stream_from_the_start_with_chaos(tmp_path: Path, receiver: TestReceiver) -> None:
    sandbox = Process(tmp_path, "--rate", "100/s", "--seed", "7", "--chaos", "--speed", "3600")
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            made = await client.post(
                sandbox.facts["url"] + "/api/v1/app/ovoko/endpoint",
                headers={"authorization": f"Bearer {sandbox.facts['token']}"},
                json={"url": receiver.url},
            )
            assert made.status_code == 201
            await receiver.wait_for(20)
            shown = (await client.get(sandbox.facts["marketplace_url"] + "/sandbox")).json()
        assert shown["chaos"]
        assert shown["speed"] == 3600
        assert shown["stream"]["happened"] > 10
        assert isinstance(shown["lost"], list)
        assert "stopped" in await in_thread(lambda: sandbox.command("stream", "0"))
        said = await in_thread(lambda: sandbox.command("stream", "5/s", "--seed", "9"))
        assert said == "5 acts a second from the seed 9\n"
    finally:
        assert await in_thread(sandbox.stop) == 0


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_thirty_days_in_minutes(tmp_path: Path) -> None:
    """A receiver that always fails gets its 38 attempts of 30 days within the scaled time."""
    sandbox = Process(tmp_path, "--speed", "17280")
    shop = sandbox.facts["sellers"]["sellercenter"]
    client = FalabellaClient(shop["UserID"], shop["ApiKey"])
    client.url = sandbox.facts["marketplace_url"]
    async with TestReceiver([Answer(status=500)]) as receiver:
        hook = WEBHOOK.format(url=receiver.url, events="<Event>onMetricsUpdated</Event>")

        def use() -> None:
            with client.session:
                client.query("post", {"Action": "CreateWebhook"}, payload=hook)
            sandbox.command("act", "sellercenter", "metrics")

        try:
            await in_thread(use)
            await receiver.wait_for(38, limit_s=200)
            with pytest.raises(TimeoutError):
                await receiver.wait_for(39, limit_s=10)
        finally:
            assert await in_thread(sandbox.stop) == 0
        assert len({one.body for one in receiver.requests}) == 1
