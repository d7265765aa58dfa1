"""Secrets beside the SQLite file: made once, private, never silently replaced."""

from __future__ import annotations

import base64
import json
import os
import stat
import threading
from pathlib import Path

import msgspec
import pytest

from marketbell.errors import SettingsError
from marketbell.settings import (
    Settings,
    begin_key_change,
    end_key_change,
    ensure_secrets,
    secrets_file,
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(db=f"sqlite:///{tmp_path}/shop.db")


def refusal(settings: Settings) -> str:
    with pytest.raises(SettingsError) as caught:
        ensure_secrets(settings)
    (fault,) = caught.value.faults
    return fault


def test_secrets_are_made_once_and_kept_private(settings: Settings) -> None:
    first = ensure_secrets(settings)
    file = secrets_file(settings)
    assert file.name == "shop.db.secrets"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(first.jwt_secret) >= 32
    assert len(first.secrets_key) == 32
    assert ensure_secrets(settings) == first
    assert [path.name for path in file.parent.iterdir()] == ["shop.db.secrets"]


def test_the_mode_does_not_depend_on_the_umask(settings: Settings) -> None:
    before = os.umask(0)
    try:
        ensure_secrets(settings)
    finally:
        os.umask(before)
    assert stat.S_IMODE(secrets_file(settings).stat().st_mode) == 0o600


def test_given_secrets_win_and_touch_no_file(settings: Settings) -> None:
    given = Settings(db=settings.db, jwt_secret=b"j" * 32, secrets_key=b"k" * 32)
    assert ensure_secrets(given) is given
    assert not secrets_file(settings).exists()


def test_one_given_secret_wins_over_the_kept_one(settings: Settings) -> None:
    kept = ensure_secrets(settings)
    mixed = ensure_secrets(Settings(db=settings.db, jwt_secret=b"j" * 32))
    assert mixed.jwt_secret == b"j" * 32
    assert mixed.secrets_key == kept.secrets_key


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o660])
def test_a_file_that_others_may_read_is_refused(settings: Settings, mode: int) -> None:
    ensure_secrets(settings)
    file = secrets_file(settings)
    file.chmod(mode)
    fault = refusal(settings)
    assert f"others may read it (mode {mode:04o}); run: chmod 600 {file}" in fault


@pytest.mark.parametrize(
    "content",
    [
        "",
        "not json",
        "{}",
        json.dumps({"jwt_secret": "short", "secrets_key": base64.b64encode(bytes(32)).decode()}),
        json.dumps({"jwt_secret": "j" * 32, "secrets_key": "AAAA"}),
        json.dumps({"jwt_secret": "j" * 32, "secrets_key": "!"}),
    ],
)
def test_a_damaged_file_is_refused_and_kept(settings: Settings, content: str) -> None:
    file = secrets_file(settings)
    file.write_text(content)
    file.chmod(0o600)
    assert str(file) in refusal(settings)
    assert file.read_text() == content


def test_a_database_whose_secrets_are_gone_is_not_given_new_ones(settings: Settings) -> None:
    """New ones would make every endpoint's secret unreadable for good."""
    settings.db_file.write_bytes(b"SQLite format 3\0")
    assert "is missing, but" in refusal(settings)
    assert not secrets_file(settings).exists()
    assert ensure_secrets(Settings(db=settings.db, secrets_key=b"k" * 32)).jwt_secret


def test_a_directory_that_cannot_be_written_is_a_clear_fault(tmp_path: Path) -> None:
    settings = Settings(db=f"sqlite:///{tmp_path}/none/shop.db")
    assert "can be neither read nor made (No such file or directory)" in refusal(settings)


def test_all_who_ask_at_the_same_time_get_the_same_secrets(settings: Settings) -> None:
    start = threading.Barrier(8)
    got: list[Settings] = []

    def ask() -> None:
        start.wait()
        got.append(ensure_secrets(settings))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8
    assert len({(one.jwt_secret, one.secrets_key) for one in got}) == 1
    assert [path.name for path in settings.db_file.parent.iterdir()] == ["shop.db.secrets"]


def test_another_key_takes_the_place_of_the_kept_one_and_is_forgotten_later(
    settings: Settings,
) -> None:
    before = ensure_secrets(settings)
    begun = begin_key_change(settings)
    assert begun.secrets_key != before.secrets_key
    assert begun.secrets_keys_old == (before.secrets_key,)
    assert ensure_secrets(settings) == begun
    assert begin_key_change(settings) == begun
    assert stat.S_IMODE(secrets_file(settings).stat().st_mode) == 0o600
    end_key_change(settings)
    ended = ensure_secrets(settings)
    assert (ended.secrets_key, ended.secrets_keys_old) == (begun.secrets_key, ())
    assert ended.jwt_secret == before.jwt_secret
    assert [path.name for path in secrets_file(settings).parent.iterdir()] == ["shop.db.secrets"]


def test_a_key_that_is_a_setting_is_not_changed_here(settings: Settings) -> None:
    given = msgspec.structs.replace(settings, secrets_key=b"k" * 32)
    with pytest.raises(SettingsError, match="secrets_keys_old"):
        begin_key_change(given)
    assert not secrets_file(settings).exists()


def test_old_keys_of_settings_and_file_are_all_there(settings: Settings) -> None:
    before = ensure_secrets(settings)
    begin_key_change(settings)
    given = msgspec.structs.replace(settings, secrets_keys_old=(b"o" * 32,))
    assert ensure_secrets(given).secrets_keys_old == (b"o" * 32, before.secrets_key)


def test_a_file_with_a_damaged_old_key_is_refused(settings: Settings) -> None:
    ensure_secrets(settings)
    file = secrets_file(settings)
    kept = json.loads(file.read_text()) | {"secrets_keys_old": ["x"]}
    file.write_text(json.dumps(kept))
    assert "base64" in refusal(settings)
