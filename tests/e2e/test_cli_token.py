"""`marketbell token`: tokens that the server takes, and keys that it refuses once they are revoked."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from marketbell import ids
from marketbell.cli import run
from marketbell.cli.credentials import DEFAULT_ORGANIZATION
from marketbell.clock import SystemClock
from marketbell.control.tokens import TokenKey, read_token
from marketbell.settings import Settings, ensure_secrets

APPLICATION = ids.new_id(ids.APPLICATION, 1_700_000_000_000)

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def db(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/shop.db"


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MARKETBELL_URL", "MARKETBELL_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def whose(token: str, db: str) -> tuple[str, str | None]:
    key = TokenKey.of(ensure_secrets(Settings(db=db)))
    principal = read_token(token.encode(), key, SystemClock().now())
    return principal.organization, principal.application


def token(capsys: Capture, *arguments: str) -> str:
    """The last line of `token create`."""
    assert run(["token", "create", *arguments]) == 0, capsys.readouterr().err
    return capsys.readouterr().out.splitlines()[-1]


def printed(capsys: Capture, *arguments: str) -> Any:
    """The JSON that a command prints."""
    assert run([*arguments, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


# -- signed tokens


def test_the_last_line_is_the_bare_token(db: str, capsys: Capture) -> None:
    assert whose(token(capsys, "--db", db), db) == (DEFAULT_ORGANIZATION, None)


def test_a_token_is_of_what_is_named(db: str, capsys: Capture) -> None:
    assert whose(token(capsys, "--db", db, "--org", "org_shop"), db) == ("org_shop", None)
    sellers = token(capsys, "--db", db, "--org", "org_shop", "--app", APPLICATION)
    assert whose(sellers, db) == ("org_shop", APPLICATION)


def test_json_says_what_the_token_is_for(db: str, capsys: Capture) -> None:
    facts = printed(capsys, "token", "create", "--db", db, "--ttl", "1h")
    assert set(facts) == {"token", "org", "app", "expires"}
    assert facts["org"] == whose(facts["token"], db)[0]


def test_the_secrets_are_made_beside_the_database(db: str, tmp_path: Path, capsys: Capture) -> None:
    token(capsys, "--db", db)
    (made,) = tmp_path.iterdir()
    assert made.name == "shop.db.secrets"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    made.chmod(0o644)
    assert run(["token", "create", "--db", db]) == 2
    assert "chmod 600" in capsys.readouterr().err


def test_a_given_secret_signs_and_no_file_is_made(
    db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    secret = "a-secret-of-more-than-thirty-two-bytes"
    monkeypatch.setenv("MARKETBELL_JWT_SECRET", secret)
    made = token(capsys, "--db", db)
    read_token(made.encode(), TokenKey("HS256", secret.encode()), SystemClock().now())
    assert list(tmp_path.iterdir()) == []


def test_with_a_public_key_alone_tokens_are_made_elsewhere(
    db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    pair = ed25519.Ed25519PrivateKey.generate()
    public = pair.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    private = pair.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    monkeypatch.setenv("MARKETBELL_JWT_ALGORITHM", "EdDSA")
    monkeypatch.setenv("MARKETBELL_JWT_PUBLIC_KEY", public.decode())
    assert run(["token", "create", "--db", db]) == 2
    assert "EdDSA tokens are made where the private key is" in capsys.readouterr().err
    file = tmp_path / "private.pem"
    file.write_bytes(private)
    monkeypatch.setenv("MARKETBELL_JWT_PRIVATE_KEY", str(file))
    settings = Settings(jwt_algorithm="EdDSA", jwt_public_key=public)
    made = token(capsys, "--db", db)
    assert read_token(made.encode(), TokenKey.of(settings), SystemClock().now())


# -- keys in the file


def test_a_key_is_made_listed_and_revoked_in_the_file(db: str, capsys: Capture) -> None:
    made = printed(
        capsys, "token", "create", "--db", db, "--name", "robot",
        "--scope", "message:write", "--scope", "message:read", "--ttl", "1h",
    )  # fmt: skip
    assert made["token"].startswith(made["id"] + "_")
    assert made["scopes"] == ["message:read", "message:write"]
    assert made["expiresAt"] is not None
    (listed,) = printed(capsys, "token", "list", "--db", db)
    assert (listed["id"], listed["name"], listed["revokedAt"]) == (made["id"], "robot", None)
    assert "token" not in listed
    assert run(["token", "list", "--db", db]) == 0
    shown = capsys.readouterr().out
    assert made["token"] not in shown
    assert made["id"] in shown, "whole, to be pasted behind `token revoke`"
    assert run(["token", "revoke", made["token"], "--yes", "--db", db]) == 0
    assert capsys.readouterr().out == f"revoked {made['id']}\n"
    (listed,) = printed(capsys, "token", "list", "--db", db)
    assert listed["revokedAt"] is not None


def test_the_last_line_of_a_new_key_is_the_bare_key(db: str, capsys: Capture) -> None:
    assert token(capsys, "--db", db, "--name", "robot").startswith("mbk_")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["create", "--scope", "everything"], 2, "marketbell: scopes: 'everything' is no scope"),
        (["create", "--ttl", "soon"], 2, "marketbell: ttl: 'soon' is not a duration"),
        (["create", "--name", "x", "--ttl", "1s"], 2, "marketbell: ttl: 1s is too low"),
        (["create", "--name", "x", "--app", "nobody"], 1, "no application 'nobody'"),
        (["create", "--name", "x", "--org", "shop"], 2, "An organization is named"),
        (["revoke", "mbk_000000000000000000000000000", "--yes"], 1, "There is no API key"),
        (["revoke", "eyJhbGciOiJIUzI1NiJ9.e30.AA", "--yes"], 2, "auth/logout with it ends it"),
        (["revoke", "mbk_000000000000000000000000000"], 2, "give --yes"),
        (["revoke"], 2, "name a key, --app or --org"),
        (["revoke", "mbk_0", "--app", "a"], 2, "not both"),
        (["revoke", "--org", "org_a", "--after", "soon"], 2, "not a duration"),
    ],
)
def test_what_cannot_be_is_said(
    db: str, capsys: Capture, arguments: list[str], code: int, said: str
) -> None:
    token(capsys, "--db", db, "--name", "first")
    assert run(["token", *arguments, "--db", db]) == code
    assert said.lower() in capsys.readouterr().err.lower()


@pytest.mark.parametrize(
    "line",
    ["list", "revoke --app x --yes", "revoke mbk_0 --yes", "create --name x --app nobody"],
)
def test_what_makes_nothing_makes_no_database(
    line: str, db: str, tmp_path: Path, capsys: Capture
) -> None:
    assert run(["token", *line.split(), "--db", db]) == 2
    said = capsys.readouterr().err
    assert f"there is no database {tmp_path}/shop.db" in said
    assert "--db" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line", ["--org bad", "--app nobody", "--name x --org bad"])
def test_a_token_for_nobody_makes_no_secrets(
    line: str, db: str, tmp_path: Path, capsys: Capture
) -> None:
    assert run(["token", "create", *line.split(), "--db", db]) == 2
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


# -- on a server


@pytest.fixture
def on_server(live: Any, monkeypatch: pytest.MonkeyPatch, organization: str) -> str:
    """An organization whose commands go to a server; its name."""
    monkeypatch.setenv("MARKETBELL_URL", live.url)
    monkeypatch.setenv("MARKETBELL_TOKEN", live.token(organization))
    return organization


def status(live_url: str, token: str) -> int:
    answer = httpx.get(f"{live_url}/app", headers={"authorization": f"Bearer {token}"})
    return answer.status_code


def test_keys_on_a_server_are_good_until_they_are_revoked(
    on_server: str, live_url: str, capsys: Capture
) -> None:
    made = printed(capsys, "token", "create", "--scope", "application:read")
    assert status(live_url, made["token"]) == 200
    (listed,) = printed(capsys, "token", "list")
    assert listed["id"] == made["id"]
    assert run(["token", "revoke", made["id"], "--yes"]) == 0
    assert status(live_url, made["token"]) == 401


def test_an_organizations_tokens_end_on_the_server(
    on_server: str, live_url: str, capsys: Capture, token_of: Callable[..., str]
) -> None:
    own, key = token_of(on_server), token(capsys, "--name", "robot")
    assert run(["token", "revoke", "--org", "org_of_somebody_else", "--yes"]) == 2
    assert "name that one" in capsys.readouterr().err
    assert status(live_url, own) == status(live_url, key) == 200
    assert run(["token", "revoke", "--org", on_server, "--yes"]) == 0
    assert status(live_url, own) == status(live_url, key) == 401
    assert run(["token", "list"]) == 1
    assert "revoked" in capsys.readouterr().err
    assert status(live_url, token_of(on_server)) == 200


def test_a_server_that_is_not_there_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("MARKETBELL_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("MARKETBELL_TOKEN", "x")
    assert run(["token", "list"]) == 3
    assert "cannot be reached" in capsys.readouterr().err


def test_a_served_file_is_asked_through_its_server(
    live: Any, live_url: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """No MARKETBELL_URL: the lock tells that a server has the file, the settings where it is."""
    port = live.url.rsplit(":", 1)[1]
    monkeypatch.setenv("MARKETBELL_PORT", port)
    monkeypatch.setenv("MARKETBELL_JWT_SECRET", live.settings.jwt_secret.decode())
    key = token(capsys, "--db", live.settings.db, "--org", "org_served", "--name", "robot")
    assert status(live_url, key) == 200
