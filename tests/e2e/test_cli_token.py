"""`marketbell token create`: tokens that the server of the same database takes."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from marketbell import ids
from marketbell.cli import run
from marketbell.clock import SystemClock
from marketbell.control.tokens import Principal, TokenVerifier
from marketbell.settings import Settings, ensure_secrets

APPLICATION = ids.new_id(ids.APPLICATION, 1_700_000_000_000)


@pytest.fixture
def db(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/shop.db"


def whose(token: str, db: str) -> Principal:
    settings = ensure_secrets(Settings(db=db))
    verifier = TokenVerifier(settings.jwt_secret, SystemClock())
    return verifier.principal(f"Bearer {token}".encode())


def test_the_last_line_is_the_bare_token(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["token", "create", "--db", db]) == 0
    *_, token = capsys.readouterr().out.splitlines()
    assert whose(token, db).application is None


def test_a_token_is_of_the_organization_that_is_named(
    db: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["token", "create", "--db", db, "--org", "org_shop"]) == 0
    *_, token = capsys.readouterr().out.splitlines()
    assert whose(token, db) == Principal("org_shop")


def test_a_seller_gets_a_token_of_its_own(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["token", "create", "--db", db, "--org", "org_shop", "--app", APPLICATION]) == 0
    *_, token = capsys.readouterr().out.splitlines()
    assert whose(token, db) == Principal("org_shop", APPLICATION)


def test_json_says_what_the_token_is_for(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["token", "create", "--db", db, "--ttl", "1h", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert set(facts) == {"token", "org", "app", "expires"}
    assert facts["org"] == whose(facts["token"], db).organization


def test_the_secrets_are_made_beside_the_database(
    db: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["token", "create", "--db", db]) == 0
    (made,) = tmp_path.iterdir()
    assert made.name == "shop.db.secrets"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    made.chmod(0o644)
    capsys.readouterr()
    assert run(["token", "create", "--db", db]) == 2
    assert "chmod 600" in capsys.readouterr().err


def test_a_given_secret_signs_and_no_file_is_made(
    db: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    secret = "a-secret-of-more-than-thirty-two-bytes"
    monkeypatch.setenv("MARKETBELL_JWT_SECRET", secret)
    assert run(["token", "create", "--db", db]) == 0
    *_, token = capsys.readouterr().out.splitlines()
    assert TokenVerifier(secret.encode(), SystemClock()).principal(f"Bearer {token}".encode())
    assert list(tmp_path.iterdir()) == []
