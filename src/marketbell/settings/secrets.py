"""The server's own secrets: given, or made once and kept beside the SQLite file."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from marketbell.errors import SettingsError
from marketbell.settings.fields import Settings
from marketbell.settings.token_keys import keys_missing
from marketbell.settings.values import BadValueError, read_key

MODE: Final = 0o600
_SIZE_MAX: Final = 4_096


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a secrets file holds, as JSON."""

    jwt_secret: str
    """At least 32 characters."""
    secrets_key: str
    """32 bytes in base64."""
    secrets_keys_old: list[str] = []
    """Earlier ones, for as long as something may be sealed with them."""


def secrets_file(settings: Settings) -> Path:
    """Where the made secrets of a database are kept: its file's name and `.secrets`."""
    file = settings.db_file
    return file.with_name(file.name + ".secrets")


def ensure_secrets(settings: Settings) -> Settings:
    """
    The settings with both secrets; those that were not given are read from the secrets file.

    The file is made if it is not there: whole or not at all, readable by its owner alone, the
    same one for all who ask at the same time. Raises SettingsError if it can be read by others,
    is damaged, or is missing beside a database that was written with it; and on PostgreSQL, where
    no file is made, for those that were not given.
    """
    if settings.secrets_key and (settings.jwt_secret or settings.jwt_asymmetric):
        return settings
    if settings.on_postgresql:
        raise SettingsError([f"{name}: {text}" for name, text in keys_missing(settings)])
    return _completed(settings, lambda file, kept: kept)


def begin_key_change(settings: Settings) -> Settings:
    """
    The settings with a new `secrets_key` in the secrets file, the one until now among the old ones.

    If a change was begun before and not ended, it goes on with that one's key. Raises
    SettingsError as `ensure_secrets` does, and if `secrets_key` is a setting of its own: then
    it is for whoever gives it to change.
    """
    if settings.secrets_key or settings.on_postgresql:
        raise SettingsError(
            [
                (
                    "secrets_key: it is given as a setting, so give the new one there and the"
                    " present one in secrets_keys_old"
                )
            ]
        )

    def begin(file: Path, kept: _Kept) -> _Kept:
        if kept.secrets_keys_old:
            return kept
        changed = msgspec.structs.replace(
            kept, secrets_key=_new_key(), secrets_keys_old=[kept.secrets_key]
        )
        _replace(file, changed)
        return changed

    return _completed(settings, begin)


def end_key_change(settings: Settings) -> None:
    """Forget the old keys of the secrets file: nothing is sealed with them any more."""

    def end(file: Path, kept: _Kept) -> _Kept:
        changed = msgspec.structs.replace(kept, secrets_keys_old=[])
        _replace(file, changed)
        return changed

    _completed(settings, end)


def _completed(settings: Settings, change: Callable[[Path, _Kept], _Kept]) -> Settings:
    file = secrets_file(settings)
    try:
        kept = _read(file)
        if kept is None:
            _refuse_to_replace(settings, file)
            kept = _make(file)
        kept = change(file, kept)
        old = tuple(read_key(key.encode()) for key in kept.secrets_keys_old)
        return msgspec.structs.replace(
            settings,
            jwt_secret=settings.jwt_secret or kept.jwt_secret.encode(),
            secrets_key=settings.secrets_key or read_key(kept.secrets_key.encode()),
            secrets_keys_old=(*settings.secrets_keys_old, *old),
        )
    except BadValueError as fault:
        raise SettingsError([f"{file}: {fault}"]) from None
    except OSError as error:
        raise SettingsError(
            [
                (
                    f"{file}: the secrets can be neither read nor made ({error.strerror});"
                    " give jwt_secret and secrets_key, or a directory that can be written"
                )
            ]
        ) from error


def _read(file: Path) -> _Kept | None:
    """What the file holds; None if there is none."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as opened:  # noqa: PTH123 - the mode is checked on this very file
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & 0o077:
            raise BadValueError(f"others may read it (mode {mode:04o}); run: chmod 600 {file}")
        try:
            kept = msgspec.json.decode(opened.read(_SIZE_MAX), type=_Kept)
        except msgspec.DecodeError as error:
            raise BadValueError(f"is damaged ({error}); put it back from a copy") from error
    if len(kept.jwt_secret) < 32:
        raise BadValueError("its jwt_secret is shorter than 32 bytes; put it back from a copy")
    for key in (kept.secrets_key, *kept.secrets_keys_old):
        read_key(key.encode())
    return kept


def _refuse_to_replace(settings: Settings, file: Path) -> None:
    """A new key beside a database with old secrets would make those unreadable for good."""
    database = settings.db_file
    if not settings.secrets_key and database.exists() and database.stat().st_size > 0:
        raise BadValueError(
            f"is missing, but {database} was written with it;"
            " put it back from a copy, or give secrets_key and jwt_secret"
        )


def _make(file: Path) -> _Kept:
    """A new secrets file, or the one that another process has made meanwhile."""
    made = _Kept(
        jwt_secret=secrets.token_urlsafe(48),
        secrets_key=_new_key(),
    )
    with _draft(file, made) as draft:
        try:
            os.link(draft, file)
        except FileExistsError:
            return _read(file) or made
    _sync_directory(file.parent)
    return made


def _replace(file: Path, kept: _Kept) -> None:
    """The secrets file with other contents: the old ones or the new ones, whatever happens."""
    with _draft(file, kept) as draft:
        draft.rename(file)
    _sync_directory(file.parent)


@contextlib.contextmanager
def _draft(file: Path, kept: _Kept) -> Iterator[Path]:
    """A file beside it that is whole and on disk, gone at the end unless it was renamed."""
    draft = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    try:
        with open(descriptor, "wb") as opened:  # noqa: PTH123 - made with its mode from the start
            opened.write(msgspec.json.format(msgspec.json.encode(kept)) + b"\n")
            opened.flush()
            os.fsync(descriptor)
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _new_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
