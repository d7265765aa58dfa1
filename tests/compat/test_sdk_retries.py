"""An official client that gets no answer asks again with the same key: one message comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from compat.conftest import BLOCKING
from e2e.conftest import LiveNode, live_node
from marketbell.testing import Answer, TestReceiver
from support.lossy import CUT, LOST, Lossy
from support.sdk_client import Program, Sdk

MESSAGE = {"eventType": "a", "payload": {"n": 1}}
LOSSES = ((LOST,), (LOST, LOST), (CUT,))


@pytest.fixture(params=BLOCKING)
def program(request: pytest.FixtureRequest, program_of: Callable[[str], Program]) -> Program:
    """The driver of each package."""
    return program_of(request.param)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveNode, Path]]:
    """A node that says 503 soon when its store is away, and its database."""
    folder = tmp_path_factory.mktemp("impatient")
    with live_node(folder, waiting_max=1_000) as node:
        yield node, folder / "node.db"


@pytest.fixture
def through(live: LiveNode, sdk: Sdk) -> Iterator[Callable[..., tuple[TestReceiver, Sdk]]]:
    """The client's way to the server, with what is lost on it."""
    ways: list[TestReceiver] = []

    def lay(*instead: Answer) -> tuple[TestReceiver, Sdk]:
        way = TestReceiver(Lossy(live.url, instead))
        live.run(way.listen())
        ways.append(way)
        return way, sdk.to(server=way.url.rstrip("/"))

    yield lay
    for way in ways:
        live.run(way.refuse())


def keys(way: TestReceiver) -> list[str | None]:
    return [request.header("idempotency-key") for request in way.requests]


def test_one_message_comes_of_requests_whose_answers_are_lost(
    sdk: Sdk, through: Callable[..., tuple[TestReceiver, Sdk]]
) -> None:
    sdk.call("application.create", {"name": "A", "uid": "s"})
    for losses in LOSSES:
        if losses == (CUT,) and sdk.program.name.startswith("python-1"):
            continue  # the only package that does not ask again when a connection breaks
        before = sdk.call("message.list", "s")["data"]
        way, client = through(*losses)
        made = client.call("message.create", "s", MESSAGE)
        assert len(way.requests) == len(losses) + 1
        (key,) = set(keys(way))
        assert str(key).startswith("auto_")
        assert way.requests[-1].header("svix-retry-count") is not None
        after = sdk.call("message.list", "s")["data"]
        assert [one["id"] for one in after[: len(after) - len(before)]] == [made["id"]]


CREATIONS: list[tuple[str, tuple[Any, ...], str, tuple[Any, ...]]] = [
    ("application.create", ({"name": "B", "uid": "b"},), "application.list", ()),
    ("event_type.create", ({"name": "t", "description": ""},), "event_type.list", ()),
    ("endpoint.create", ("s", {"url": "https://example.com/"}), "endpoint.list", ("s",)),
    (
        "operational_webhook.endpoint.create",
        ({"url": "https://example.com/"},),
        "operational_webhook.endpoint.list",
        (),
    ),
]


def test_one_resource_comes_of_them(
    sdk: Sdk, through: Callable[..., tuple[TestReceiver, Sdk]]
) -> None:
    sdk.call("application.create", {"name": "A", "uid": "s"})
    for create, given, listing, where in CREATIONS:
        before = sdk.call(listing, *where)["data"]
        way, client = through(LOST)
        made = client.call(create, *given)
        assert len(way.requests) == 2, create
        assert len(set(keys(way))) == 1, create
        after = sdk.call(listing, *where)["data"]
        assert [one for one in after if one not in before] == [made], create


def test_the_callers_own_key_gives_the_same_answer_and_no_other_body(sdk: Sdk) -> None:
    sdk.call("application.create", {"name": "A", "uid": "s"})
    own = {"idempotencyKey": "mine"}
    first = sdk.call("message.create", "s", MESSAGE, own)
    assert sdk.call("message.create", "s", MESSAGE, own)["id"] == first["id"]
    other = sdk.refused("message.create", "s", {**MESSAGE, "payload": {"n": 2}}, own)
    assert other.status == 409
    assert len(sdk.call("message.list", "s")["data"]) == 1


def test_one_message_comes_of_requests_while_the_store_is_away(
    program: Program, impatient: tuple[LiveNode, Path], organization: str
) -> None:
    """The server's own 503: another program holds the write lock until the client has seen one."""
    node, path = impatient
    direct = Sdk(program, node.url, node.token(organization))
    direct.call("application.create", {"name": "A", "uid": "s"})
    other = apsw.Connection(str(path))
    other.set_busy_timeout(60_000)
    other.execute("begin immediate")
    held = [True]

    def seen(status: int) -> None:
        if held and status == 503:
            held.clear()
            other.execute("rollback")

    lossy = Lossy(node.url, seen=seen)
    way = TestReceiver(lossy)
    node.run(way.listen())
    try:
        made = direct.to(server=way.url.rstrip("/")).call("message.create", "s", MESSAGE)
    finally:
        other.close()
        node.run(way.refuse())
    assert lossy.statuses[0] == 503
    assert lossy.statuses[-1] == 202
    assert len(set(keys(way))) == 1
    assert [one["id"] for one in direct.call("message.list", "s")["data"]] == [made["id"]]
