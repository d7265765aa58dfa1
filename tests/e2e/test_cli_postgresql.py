"""Commands that open the database themselves, on PostgreSQL, beside a server and without one."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest

from e2e.conftest import live_node
from marketbell.cli import run
from marketbell.control.tokens import create_token

SECRET = "a secret of the tests, of 32 bytes or more"
KEY = base64.b64encode(bytes(range(32))).decode()
OTHER = base64.b64encode(b"n" * 32).decode()
ORGANIZATION = "org_shop"


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both keys, as every node has them; and no server that would be asked instead."""
    monkeypatch.setenv("MARKETBELL_JWT_SECRET", SECRET)
    monkeypatch.setenv("MARKETBELL_SECRETS_KEY", KEY)
    for name in ("MARKETBELL_URL", "MARKETBELL_TOKEN", "MARKETBELL_DB", "MARKETBELL_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def said(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_migrate_makes_the_schema_and_serve_asks_for_it(
    postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["token", "list", "--db", postgres_url]) == 3
    assert "marketbell migrate" in capsys.readouterr().err
    assert run(["serve", "--db", postgres_url, "--port", "0"]) == 3
    assert "marketbell migrate" in capsys.readouterr().err
    assert run(["migrate", "--db", postgres_url, "--dry-run"]) == 0
    assert "create table message" in capsys.readouterr().out
    assert run(["migrate", "--db", postgres_url]) == 0
    assert capsys.readouterr().out.startswith("ran 0001_initial.sql\n")
    assert run(["migrate", "--db", postgres_url, "--json"]) == 0
    report = said(capsys)
    assert (report["applied"], report["waiting"], report["database"]) == ([], [], "postgresql")
    assert run(["token", "list", "--db", postgres_url, "--json"]) == 0
    assert said(capsys) == []


def test_migrate_refuses_a_wait_that_is_none_and_a_database_that_is_away(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["migrate", "--wait", "soon"]) == 2
    assert "wait: 'soon' is not a duration" in capsys.readouterr().err
    assert run(["migrate", "--db", "postgresql://m@127.0.0.1:1/m", "--json"]) == 3
    assert json.loads(capsys.readouterr().err)["code"] == "unavailable"


def test_without_keys_it_is_said_which_are_to_be_given(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MARKETBELL_SECRETS_KEY")
    for command in (["token", "list"], ["secrets", "rekey"], ["token", "create", "--name", "x"]):
        assert run([*command, "--db", migrated_url]) == 2
        assert capsys.readouterr().err.startswith("marketbell: secrets_key: ")


def test_keys_are_made_listed_and_revoked_beside_a_server(
    migrated_url: str, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--org", ORGANIZATION, "--db", migrated_url]
    with live_node(
        tmp_path_factory.mktemp("node"),
        db=migrated_url,
        jwt_secret=SECRET.encode(),
        secrets_key=bytes(range(32)),
    ) as live:

        def status(token: str) -> int:
            with httpx.Client(trust_env=False, timeout=30) as http:
                bearer = {"authorization": f"Bearer {token}"}
                return http.get(f"{live.url}/api/v1/app", headers=bearer).status_code

        assert run(["token", "create", "--name", "ci", *arguments, "--json"]) == 0
        key = said(capsys)
        assert status(key["token"]) == 200
        assert run(["token", "create", *arguments]) == 0
        assert status(capsys.readouterr().out.splitlines()[-1]) == 200
        assert run(["token", "list", *arguments, "--json"]) == 0
        assert [one["id"] for one in said(capsys)] == [key["id"]]
        assert run(["token", "revoke", key["id"], "--yes", *arguments]) == 0
        capsys.readouterr()
        assert run(["token", "list", *arguments, "--json"]) == 0
        assert len(said(capsys)) == 1
    with live_node(
        tmp_path_factory.mktemp("node"),
        db=migrated_url,
        jwt_secret=SECRET.encode(),
        secrets_key=bytes(range(32)),
    ) as live:  # one that served already looks every few seconds
        assert status(key["token"]) == 401


def test_the_key_of_the_secrets_is_changed_beside_a_server_that_has_both(
    migrated_url: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with live_node(
        tmp_path_factory.mktemp("node"),
        db=migrated_url,
        secrets_key=bytes(range(32)),
        secrets_keys_old=(b"n" * 32,),
    ) as live:
        api = live.client()
        assert api.post("/app", json={"name": "A", "uid": "s"}).status_code == 201
        endpoint = {"url": "https://example.com/", "uid": "e", "headers": {"A": "b"}}
        assert api.post("/app/s/endpoint", json=endpoint).status_code == 201
        monkeypatch.setenv("MARKETBELL_SECRETS_KEY", OTHER)
        monkeypatch.setenv("MARKETBELL_SECRETS_KEYS_OLD", KEY)
        assert run(["secrets", "rekey", "--db", migrated_url, "--json"]) == 0
        assert said(capsys) == {"resealed": 2, "unreadable": 0}
        assert api.get("/app/s/endpoint/e/headers").json()["headers"] == {"A": "b"}
    monkeypatch.delenv("MARKETBELL_SECRETS_KEYS_OLD")
    assert run(["doctor", "--db", migrated_url, "--json"]) == 2
    found = {one["check"]: one for one in said(capsys)["findings"]}
    assert found["keys"]["verdict"] == "ok"


def test_tokens_of_the_command_line_are_of_the_given_secret(
    migrated_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["token", "create", "--db", migrated_url]) == 0
    token = capsys.readouterr().out.splitlines()[-1]
    assert token.count(".") == create_token(SECRET.encode(), "org_a", 0, 1).count(".")
