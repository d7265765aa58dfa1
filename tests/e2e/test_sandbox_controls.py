"""`/sandbox/...` over HTTP: what it takes, what it refuses, and that no server has it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from e2e.conftest import live_node
from marketbell.clock import SystemClock
from marketbell.control.sellers import OVOKO, SELLER_CENTER
from marketbell.sandbox.acts import ACTS
from marketbell.sandbox.controls import BODY_MAX, CONTROLS
from marketbell.sandbox.run import Wishes, running_sandbox
from marketbell.sandbox.scenarios import SCENARIOS
from marketbell.settings import ensure_secrets, load_settings

Client = httpx.AsyncClient


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """A client of the marketplace port of one sandbox for all tests."""
    folder = tmp_path_factory.mktemp("sandbox")
    flags = {"db": f"sqlite:///{folder}/sandbox.db", "port": "0", "log_level": "error"}
    settings = ensure_secrets(load_settings(flags, {}, None))
    async with running_sandbox(settings, SystemClock(), Wishes(seed=3)) as (node, _sandbox):
        assert node.marketplace_url
        async with Client(base_url=node.marketplace_url, trust_env=False) as one:
            yield one


async def post(client: Client, path: str, body: object = None, status: int = 200) -> Any:
    """The JSON of an answer with this status."""
    answer = await client.post(f"/sandbox{path}", json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


async def test_the_overview_shows_everything_but_secrets(client: Client) -> None:
    answer = await client.get("/sandbox")
    shown = answer.json()
    assert set(shown) == {
        "now", "speed", "chaos", "lost", "seed", "stream", "sellers", "acts", "scenarios",
    }  # fmt: skip
    assert (shown["seed"], shown["chaos"], shown["stream"]) == (3, False, None)
    assert shown["sellers"][OVOKO]["things"]["part"] == {"in_warehouse": 40}
    assert shown["sellers"][SELLER_CENTER]["things"]["feed"] == {"Finished": 1}
    assert len(shown["acts"]) == len(ACTS)
    assert list(shown["scenarios"]) == [one.name for one in SCENARIOS]
    for word in ("password", "user_token", "ApiKey", "token"):
        assert word not in answer.text


async def test_an_act_answers_with_what_it_came_to_and_what_was_told(client: Client) -> None:
    done = await post(client, "/ovoko/buy", {"part_ids": [1, 2]})
    assert done["part_ids"] == [1, 2]
    order = {"eventType": "order.created", "payload": {"order_id": str(done["order_id"])}}
    assert done["events"][0] == order
    assert [event["payload"]["status"] for event in done["events"][1:]] == ["sold", "sold"]
    assert (await post(client, "/sellercenter/metrics"))["events"] == [
        {"eventType": "onMetricsUpdated", "payload": {}}
    ]
    things = (await client.get("/sandbox/ovoko")).json()
    assert things["order"][0] == {"id": done["order_id"], "status": "NEW"}


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/ovoko/buy", {"part_ids": [999]}, 404, "There is no part 999."),
        ("/ovoko/buy", {"part_ids": []}, 422, "Name 1 to 100 parts"),
        ("/ovoko/buy", {"count": 11}, 422, "11 is not between 1 and 10"),
        ("/ovoko/buy", {"colour": 1}, 422, "There is no such field; remove it"),
        ("/ovoko/buy", {"count": "many"}, 422, "Expected 'int', got 'str'"),
        ("/ovoko/part", {}, 422, "The field is missing"),
        ("/ovoko/part", {"move": "burn"}, 422, "Invalid enum value 'burn'; give one of "),
        ("/ovoko/part", {"move": "release", "part_id": 5}, 200, '"events": []'),
        ("/ovoko/part", {"move": "accept", "part_id": 1}, 409, "cannot accept"),
        ("/ovoko/part", {"move": "find"}, 409, "There is no part that is unknown_stock_status."),
        ("/ovoko/receive", None, 409, "There is no return that is New."),
        ("/sellercenter/ship", {"order_id": 1}, 404, "There is no"),
        ("/sellercenter/ship", None, 409, "There is no item that is ready_to_ship."),
        (
            "/sellercenter/feed",
            {"action": "Price"},
            422,
            "Invalid enum value 'Price'; give one of Image, ",
        ),
        ("/sellercenter/feed-finish", {"feed": "none"}, 404, "There is no such feed."),
        ("/sellercenter/qc", {"skus": ["none"]}, 404, "SellerSku 'none'"),
        ("/sellercenter/qc", {"skus": []}, 409, "Name a product"),
        ("/play", {"scenario": "none"}, 404, "There is no scenario 'none'"),
        ("/play", {}, 422, "The field is missing"),
        ("/stream", {"rate": "fast"}, 422, "'fast' is no rate"),
        ("/stream", {"rate": 0}, 422, "0 is not above 0"),
        ("/nowhere", {}, 404, "There is no such control"),
        ("/ovoko/steal", {}, 404, "There is no such control"),
    ],
)
async def test_what_cannot_be_says_why(
    client: Client, path: str, body: object, status: int, said: str
) -> None:
    assert said in json.dumps(await post(client, path, body, status), ensure_ascii=False)


async def test_a_body_that_is_no_json_or_too_much_is_refused(client: Client) -> None:
    answer = await client.post("/sandbox/ovoko/buy", content=b"part_ids=1")
    assert (answer.status_code, "not JSON" in answer.text) == (422, True)
    answer = await client.post("/sandbox/ovoko/buy", content=b" " * (BODY_MAX + 1))
    assert answer.status_code == 413
    answer = await client.put("/sandbox/play")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_a_page_of_another_site_cannot_act(client: Client) -> None:
    evil = {"origin": "http://evil.example"}
    answer = await client.post("/sandbox/ovoko/buy", headers=evil)
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_access")
    own = {"origin": str(client.base_url).rstrip("/")}
    assert (await client.post("/sandbox/ovoko/buy", headers=own)).status_code == 200


async def test_the_stream_starts_stands_and_stops(client: Client) -> None:
    begun = await post(client, "/stream", {"rate": "100/s", "seed": 5})
    assert (begun["rate"], begun["seed"]) == (100.0, 5)
    assert (await post(client, "/stream"))["seed"] == 3
    assert (await client.get("/sandbox")).json()["stream"]["rate"] == 1.0
    assert (await client.delete("/sandbox/stream")).json()["happened"] >= 0
    assert (await client.get("/sandbox")).json()["stream"] is None


async def test_scenarios_play(client: Client) -> None:
    played = await post(client, "/play", {"scenario": "order-cancelled"})
    assert played["well"]
    assert played["steps"][1]["told"] == ["order.cancelled", "part.status.changed in_warehouse"]


async def test_a_server_has_no_sandbox(tmp_path: Path) -> None:
    """Neither where it serves the management API nor where it serves the marketplaces."""
    with live_node(tmp_path, marketplaces=True) as node:
        assert node.node.marketplace_url
        async with Client(trust_env=False) as one:
            for url in (node.url, node.node.marketplace_url):
                for control in CONTROLS:
                    answer = await one.request(control.method, url + control.path)
                    assert answer.status_code == 404, control.path
