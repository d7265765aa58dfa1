"""What a disk can do to the store: full, failing, read-only."""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from marketbell.errors import OutcomeUnknownError, UnavailableError
from marketbell.model import Application, DeliveryState, Endpoint
from marketbell.store.base import Idempotency, Publication, Published
from marketbell.store.sqlite_store import SqliteStore
from marketbell.testing.stores import Scene
from support.disk import Disk
from support.opened import after_a_crash, environment, kept, opened

KILOBYTES_100 = b'"' + b"x" * 100_000 + b'"'


async def shop(scene: Scene) -> tuple[Application, Endpoint]:
    application = await scene.application()
    return application, await scene.endpoint(application)


@pytest.fixture
def disk() -> Iterator[Disk]:
    """A disk that can fail."""
    failing = Disk()
    yield failing
    failing.unregister()


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """No file of this process can grow above that size, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill_up(store: SqliteStore, spare_pages: int) -> None:
    """Let the database grow by no more than so many pages."""
    connection = store._connection
    pages: int = connection.pragma("page_count")
    connection.pragma("max_page_count", pages + spare_pages)


# -- full ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["database", "log"])
async def test_on_a_full_disk_publishers_are_told_and_nothing_is_kept_by_half(
    tmp_path: Path, how: str
) -> None:
    path = tmp_path / "marketbell.db"
    async with opened(path) as store:
        scene = Scene(store)
        application, endpoint = await shop(scene)
        before = await scene.publish(application, endpoint, lease=60_000)
        log = path.with_name(path.name + "-wal")

        async def publish() -> None:
            await scene.publish(application, endpoint, payload=KILOBYTES_100)

        if how == "database":
            fill_up(store, 2)
            for _ in range(3):
                with pytest.raises(UnavailableError):
                    await publish()
        else:
            with no_file_above(log.stat().st_size + 20_000):
                for _ in range(3):
                    with pytest.raises(UnavailableError):
                        await publish()
        assert set(await kept(store, application)) == {before.message.public_id}
        async with opened(after_a_crash(path, tmp_path / how)) as survivor:
            assert set(await kept(survivor, application)) == {before.message.public_id}

        store._connection.pragma("max_page_count", 1 << 30)
        await publish()
        for claim in before.claims:
            await scene.record(claim)
        assert len(await kept(store, application)) == 2
    async with opened(path) as store:
        states = await kept(store, application)
        assert states[before.message.public_id] == {endpoint.public_id: DeliveryState.DELIVERED}


@pytest.mark.parametrize("fault", [apsw.SQLITE_FULL, apsw.SQLITE_IOERR_WRITE])
async def test_a_commit_that_cannot_be_written_kept_nothing(
    tmp_path: Path, disk: Disk, fault: int
) -> None:
    path = tmp_path / "marketbell.db"
    async with opened(path) as store:
        scene = Scene(store)
        application, endpoint = await shop(scene)
        disk.writes = fault
        with pytest.raises(UnavailableError):
            await scene.publish(application, endpoint)
        async with opened(after_a_crash(path, tmp_path / "crashed")) as survivor:
            assert await kept(survivor, application) == {}
        disk.writes = apsw.SQLITE_OK
        await scene.publish(application, endpoint)
        assert len(await kept(store, application)) == 1


async def test_of_a_commit_that_cannot_be_synced_nobody_knows(tmp_path: Path, disk: Disk) -> None:
    path = tmp_path / "marketbell.db"
    async with opened(path) as store:
        scene = Scene(store)
        application, endpoint = await shop(scene)
        before = await scene.publish(application, endpoint)
        disk.syncs = apsw.SQLITE_IOERR_FSYNC
        with pytest.raises(OutcomeUnknownError):
            await scene.publish(application, endpoint, lease=60_000)
        disk.syncs = apsw.SQLITE_OK
        after = await scene.publish(application, endpoint)
        sure = {before.message.public_id, after.message.public_id}
        assert set(await kept(store, application)) >= sure
    async with opened(path) as store:
        states = await kept(store, application)
        assert set(states) >= sure
        assert all(found == {endpoint.public_id: "pending"} for found in states.values())


async def test_a_key_whose_commit_nobody_knows_of_makes_one_message(
    tmp_path: Path, disk: Disk
) -> None:
    path = tmp_path / "marketbell.db"

    async def send(store: SqliteStore, scene: Scene, application: Application) -> Published:
        (verdict,) = await store.publish(
            [
                Publication(
                    message=scene.message(application),
                    revision=application.revision,
                    births=(),
                    idempotency=Idempotency(b"k" * 16, b"b" * 16, auto=False),
                )
            ]
        )
        assert isinstance(verdict, Published)
        return verdict

    async with opened(path) as store:
        scene = Scene(store)
        application = await scene.application()
        disk.syncs = apsw.SQLITE_IOERR_FSYNC
        with pytest.raises(OutcomeUnknownError):
            await send(store, scene, application)
        disk.syncs = apsw.SQLITE_OK
        sent = [await send(store, scene, application) for _ in range(2)]
        assert sent[1].repeated
    async with opened(path) as store:
        sent.append(await send(store, scene, application))
        assert len({one.message.public_id for one in sent}) == 1
        assert set(await kept(store, application)) == {sent[0].message.public_id}


async def test_one_message_that_does_not_fit_takes_none_of_its_neighbours_with_it_by_half(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "marketbell.db") as store:
        scene = Scene(store)
        application, endpoint = await shop(scene)
        fill_up(store, 10)
        calls = [
            scene.publish(application, endpoint, payload=KILOBYTES_100 if number == 3 else b"{}")
            for number in range(6)
        ]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        for outcome in outcomes:
            assert isinstance(outcome, (Published, UnavailableError))
        told = {one.message.public_id for one in outcomes if isinstance(one, Published)}
        states = await kept(store, application)
        assert set(states) == told
        assert all(found == {endpoint.public_id: "pending"} for found in states.values())


async def test_what_is_known_is_recorded_once_there_is_room_again(tmp_path: Path) -> None:
    async with opened(tmp_path / "marketbell.db") as store:
        scene = Scene(store)
        application, endpoint = await shop(scene)
        published = await scene.publish(application, endpoint, lease=60_000)
        fill_up(store, 0)
        (claim,) = published.claims
        attempt = scene.attempt(claim, response=KILOBYTES_100)
        with pytest.raises(UnavailableError):
            await scene.record(claim, response=KILOBYTES_100)
        states = await store.delivery_states(published.message.id)
        assert states == {endpoint.public_id: DeliveryState.SENDING}
        store._connection.pragma("max_page_count", 1 << 30)
        await scene.record(claim, response=attempt.response)
        states = await store.delivery_states(published.message.id)
        assert states == {endpoint.public_id: DeliveryState.DELIVERED}


async def test_a_new_file_on_a_full_disk_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with no_file_above(8_192), pytest.raises(UnavailableError):
        async with opened(tmp_path / "marketbell.db"):
            pytest.fail("it was opened")
    async with opened(tmp_path / "marketbell.db") as store:
        await shop(Scene(store))


# -- read-only ----------------------------------------------------------------------------

READ_ONLY = textwrap.dedent(
    """
    import asyncio, json, os, sys
    from pathlib import Path
    from marketbell.errors import StoreError
    from marketbell.testing.stores import Scene
    from support.opened import opened

    folder = Path(sys.argv[1])
    told = {}

    async def prepare(name):
        (folder / name).mkdir()
        async with opened(folder / name / "marketbell.db") as store:
            scene = Scene(store)
            application = await scene.application()
            return application, await scene.endpoint(application)

    async def attempt(name, application, endpoint):
        try:
            async with opened(folder / name / "marketbell.db") as store:
                try:
                    await Scene(store).publish(application, endpoint)
                    told[name] = "kept"
                except StoreError as error:
                    told[name] = [type(error).__name__, "publish", error.detail]
        except StoreError as error:
            told[name] = [type(error).__name__, "open", error.detail]

    def lock_up(name, folder_mode):
        place = folder / name
        for file in place.iterdir():
            os.chown(file, 65534, 65534) if os.getuid() == 0 else None
            file.chmod(0o444 if file.suffix == ".db" else 0o644)
        os.chown(place, 65534, 65534) if os.getuid() == 0 else None
        place.chmod(folder_mode)

    both = {name: asyncio.run(prepare(name)) for name in ("file", "folder", "neither")}
    lock_up("file", 0o755)
    lock_up("folder", 0o555)
    if os.getuid() == 0:  # to whom no mode forbids anything
        folder.chmod(0o755)
        for name in ("neither",):
            for place in (folder / name, *(folder / name).iterdir()):
                os.chown(place, 65534, 65534)
        os.setgid(65534)
        os.setuid(65534)
    for name, (application, endpoint) in both.items():
        asyncio.run(attempt(name, application, endpoint))
    print(json.dumps(told))
    """
)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may pass through."""
    folder = Path(tempfile.mkdtemp(prefix="marketbell-disk-"))
    yield folder
    subprocess.run(["chmod", "-R", "u+rwx", str(folder)], check=True)
    shutil.rmtree(folder)


def test_a_read_only_file_or_folder_is_refused_with_a_sentence(open_folder: Path) -> None:
    told = json.loads(run(READ_ONLY, str(open_folder)))
    assert told["neither"] == "kept"
    name, _when, sentence = told["file"]
    assert name == "UnavailableError"
    assert "read-only" in sentence
    name, when, sentence = told["folder"]
    assert (name, when) == ("UnavailableError", "open")
    assert "Cannot write beside" in sentence or "read-only" in sentence


def run(script: str, *arguments: str) -> str:
    """What a script prints."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
