"""`marketbell secrets rekey`: the key of a real database is changed, and the server goes on."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from e2e.conftest import live_node
from marketbell.cli import run
from marketbell.settings import ensure_secrets, load_settings, secrets_file

KEY = "whsec_" + "A" * 32


@pytest.fixture
def db(tmp_path: Path) -> str:
    """A database with an endpoint that has a secret and a header."""
    with live_node(tmp_path) as live:
        api = live.client()
        assert api.post("/app", json={"name": "A", "uid": "s"}).status_code == 201
        endpoint = {"url": "https://example.com/", "uid": "e", "secret": KEY, "headers": {"A": "b"}}
        assert api.post("/app/s/endpoint", json=endpoint).status_code == 201
    return f"sqlite:///{tmp_path}/node.db"


def key_of(db: str) -> tuple[bytes, tuple[bytes, ...]]:
    settings = ensure_secrets(load_settings({"db": db}, {}, None))
    return settings.secrets_key, settings.secrets_keys_old


def read_back(folder: Path, secrets_key: bytes) -> Any:
    with live_node(folder, secrets_key=secrets_key) as live:
        api = live.client()
        assert api.get("/app/s/endpoint/e/headers").json()["headers"] == {"A": "b"}
        return api.get("/app/s/endpoint/e/secret").json()["key"]


async def ended(rekeyed: asyncio.Future[None]) -> None:
    await asyncio.wait_for(rekeyed, 30)


def test_a_kept_key_is_changed_and_the_old_one_forgotten(
    db: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, _ = key_of(db)
    assert run(["secrets", "rekey", "--db", db, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"resealed": 2, "unreadable": 0}
    after, old = key_of(db)
    assert (after != before, old) == (True, ())
    assert read_back(tmp_path, after) == KEY


def test_a_key_that_is_a_setting_needs_the_old_one_beside_it(
    db: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept, _ = key_of(db)
    new = base64.b64encode(b"n" * 32).decode()
    monkeypatch.setenv("MARKETBELL_SECRETS_KEY", new)
    assert run(["secrets", "rekey", "--db", db]) == 1
    assert capsys.readouterr().out == "0 sealed with the current key, 2 unreadable\n"
    monkeypatch.setenv("MARKETBELL_SECRETS_KEYS_OLD", base64.b64encode(kept).decode())
    assert run(["secrets", "rekey", "--db", db]) == 0
    assert capsys.readouterr().out == "2 sealed with the current key, 0 unreadable\n"
    assert read_back(tmp_path, b"n" * 32) == KEY


def test_nothing_is_changed_while_a_server_has_the_database(
    db: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = secrets_file(load_settings({"db": db}, {}, None)).read_bytes()
    with live_node(tmp_path):
        assert run(["secrets", "rekey", "--db", db]) == 3
    assert "another process" in capsys.readouterr().err.lower()
    assert secrets_file(load_settings({"db": db}, {}, None)).read_bytes() == before


@pytest.mark.parametrize("key", ["", base64.b64encode(b"n" * 32).decode()])
def test_a_database_that_is_not_there_is_not_made(
    key: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if key:
        monkeypatch.setenv("MARKETBELL_SECRETS_KEY", key)
    assert run(["secrets", "rekey", "--db", f"sqlite:///{tmp_path}/slip.db"]) == 2
    assert f"there is no database {tmp_path}/slip.db" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_server_with_old_keys_seals_anew_by_itself(db: str, tmp_path: Path) -> None:
    kept, _ = key_of(db)
    new = b"n" * 32
    with live_node(tmp_path, secrets_key=new, secrets_keys_old=(kept,)) as live:
        api = live.client()
        assert api.get("/app/s/endpoint/e/secret").json()["key"] == KEY
        live.run(ended(live.node.rekeyed))
    assert read_back(tmp_path, new) == KEY
