"""A seller of a marketplace from a shell while the server runs: on a named one, or the file's own."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from e2e.conftest import LiveNode, live_node
from marketbell.cli import run
from marketbell.cli.credentials import DEFAULT_ORGANIZATION

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    folder: Path = tmp_path_factory.mktemp("market")
    with live_node(folder, marketplaces=True, marketplace_port=0) as node:
        yield node


@pytest.fixture
def named(market: LiveNode, monkeypatch: pytest.MonkeyPatch) -> httpx.Client:
    """Commands go to the server; a client of the same organization."""
    monkeypatch.setenv("MARKETBELL_URL", market.url)
    monkeypatch.setenv("MARKETBELL_TOKEN", market.token("org_shell"))
    return market.client("org_shell")


def command(line: str) -> int:
    return run(["application", "create", *shlex.split(line)])


def test_a_seller_is_made_on_a_server(
    market: LiveNode, named: httpx.Client, capsys: Capture
) -> None:
    assert command("Kaunas --marketplace ovoko --uid kaunas --user anna --json") == 0
    made = json.loads(capsys.readouterr().out)
    assert list(made) == ["application", "marketplace", "username", "password", "user_token"]
    found = named.get("/app/kaunas").json()
    assert found["id"] == made["application"]
    assert found["metadata"]["marketbell.dialect"] == "ovoko"
    login = {name: made[name] for name in ("username", "password", "user_token")}
    answer = httpx.post(f"{market.node.marketplace_url}/get/part_status", data=login)
    assert answer.json()["status_code"] == "R200"


def test_without_its_user_nothing_is_left(named: httpx.Client, capsys: Capture) -> None:
    assert command("One --marketplace sellercenter --user lima") == 0
    assert "ApiKey" in capsys.readouterr().out
    assert command("Two --marketplace sellercenter --user lima --uid two") == 1
    assert "'lima' is taken" in capsys.readouterr().err
    assert named.get("/app/two").status_code == 404


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize(
    "line",
    [
        "A --marketplace ovoko --rate-limit 5",
        "A --marketplace ovoko --metadata k=v",
        "A --marketplace ovoko --uid a --get-if-exists",
        "A --marketplace ovoko --db sqlite:////tmp/other.db",
        "A --user anna",
    ],
)
def test_what_does_not_go_together_is_refused(line: str, capsys: Capture) -> None:
    assert command(line) == 2
    assert capsys.readouterr().out == ""


def test_the_server_that_has_the_file_is_asked(
    market: LiveNode, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.delenv("MARKETBELL_URL", raising=False)
    monkeypatch.delenv("MARKETBELL_TOKEN", raising=False)
    monkeypatch.setenv("MARKETBELL_PORT", str(urlsplit(market.url).port))
    file = market.settings.db_file
    assert command(f"Vilnius --marketplace ovoko --uid vilnius --db sqlite:///{file}") == 0
    assert "user_token" in capsys.readouterr().out
    assert market.client(DEFAULT_ORGANIZATION).get("/app/vilnius").status_code == 200
