"""A seller of a marketplace made from a shell: its secrets are shown once and let it in."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from marketbell.assembly import open_store
from marketbell.cli.exits import Exit
from marketbell.cli.options import settings_of
from marketbell.cli.seller import make_seller
from marketbell.clock import SystemClock
from marketbell.errors import ConflictError, InvalidError, UnavailableError
from marketbell.settings import ensure_secrets
from marketbell.store.base import Credential


async def credential(db: str, marketplace: str, user: str) -> Credential:
    store = open_store(ensure_secrets(settings_of({"db": db}, None)), SystemClock())
    try:
        return await store.credential(marketplace, user)
    finally:
        await store.aclose()


@pytest.fixture
def db(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/shop.db"


def test_what_is_printed_is_what_lets_it_in(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert make_seller("sellercenter", "Lima Shoes", uid="lima", db=db, as_json=True) == Exit.OK
    made = json.loads(capsys.readouterr().out)
    kept = asyncio.run(credential(db, "sellercenter", made["UserID"]))
    assert kept.secret.decode() == made["ApiKey"]
    assert kept.application.public_id == made["application"]
    assert kept.application.policy.dialect == "sellercenter"
    assert kept.application.uid == "lima"

    assert make_seller("ovoko", "Kaunas Parts", user="kaunas", db=db) == Exit.OK
    lines = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert list(lines) == ["application", "marketplace", "username", "password", "user_token"]
    kept = asyncio.run(credential(db, "ovoko", "kaunas"))
    assert lines["password"].encode() in kept.secret


def test_what_is_taken_or_unknown_is_refused(db: str) -> None:
    make_seller("ovoko", "A", uid="a", user="anna", db=db)
    with pytest.raises(ConflictError):
        make_seller("ovoko", "B", user="anna", db=db)
    with pytest.raises(ConflictError):
        make_seller("ovoko", "B", uid="a", db=db)
    with pytest.raises(InvalidError, match="no marketplace"):
        make_seller("ebay", "B", db=db)
    with pytest.raises(InvalidError, match="organization"):
        make_seller("ovoko", "B", organization="shop", db=db)


async def test_whoever_has_the_file_is_asked(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETBELL_PORT", "1")
    store = open_store(ensure_secrets(settings_of({"db": db}, None)), SystemClock())
    try:
        with pytest.raises(UnavailableError, match="cannot be reached"):
            await asyncio.to_thread(make_seller, "ovoko", "A", db=db)
    finally:
        await store.aclose()
