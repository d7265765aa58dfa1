"""What a disk can do to the store: full, read-only, torn, damaged, somebody else's, in use."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketbell.errors import (
    LockedError,
    OutcomeUnknownError,
    SchemaError,
    StoreError,
    UnavailableError,
)
from marketbell.model import Application, DeliveryState, Endpoint
from marketbell.store.base import Published
from marketbell.store.sqlite_store import SqliteStore
from marketbell.testing.stores import ORGANIZATION, Scene
from support.opened import after_a_crash, opened

KILOBYTES_100 = b'"' + b"x" * 100_000 + b'"'


async def shop(scene: Scene) -> tuple[Application, Endpoint]:
    application = await scene.application()
    return application, await scene.endpoint(application)


async def kept(store: SqliteStore, application: Application) -> dict[str, dict[str, DeliveryState]]:
    """Every message that is kept, with the states of its deliveries."""
    from marketbell.store.base import MessageFilter, Page

    part = await store.messages(application.id, MessageFilter(), Page(limit=10_000))
    return {message.public_id: await store.delivery_states(message.id) for message in part.data}


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
    import shutil
    import tempfile

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
    """What a script prints that sees the tests' support as we do."""
    tests = str(Path(__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": tests},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- after a crash ------------------------------------------------------------------------


async def test_a_file_of_a_crash_opens_with_its_log_and_claims_become_lost_ones(
    tmp_path: Path,
) -> None:
    path = tmp_path / "marketbell.db"
    async with opened(path) as store:
        scene = Scene(store)
        application, endpoint = await shop(scene)
        waiting = await scene.publish(application, endpoint)
        sending = await scene.publish(application, endpoint, lease=60_000)
        crashed = after_a_crash(path, tmp_path / "crashed")
        assert crashed.with_name("marketbell.db-wal").stat().st_size > 0
    async with opened(crashed) as store:
        assert store.lost_at_open == 1
        states = await kept(store, application)
        assert states == {
            one.message.public_id: {endpoint.public_id: DeliveryState.PENDING}
            for one in (waiting, sending)
        }
        claims = await Scene(store).claim()
        assert {claim.message.id: claim.claim_number for claim in claims} == {
            waiting.message.id: 1,
            sending.message.id: 2,
        }


@pytest.fixture(scope="module")
def journal(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, list[tuple[int, str]], Application]:
    """A file with a log of ten messages, and how long the log was once each was kept."""
    folder = tmp_path_factory.mktemp("journal")
    path = folder / "marketbell.db"

    async def write() -> tuple[Path, list[tuple[int, str]], Application]:
        async with opened(path) as store:
            store._connection.pragma("wal_checkpoint(truncate)")
            scene = Scene(store)
            application, endpoint = await shop(scene)
            marks = []
            for _ in range(10):
                published = await scene.publish(application, endpoint, lease=1_000)
                size = path.with_name("marketbell.db-wal").stat().st_size
                marks.append((size, published.message.public_id))
            return after_a_crash(path, folder / "kept"), marks, application

    return asyncio.run(write())


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_log_that_ends_anywhere_has_each_commit_whole_or_not_at_all(
    journal: tuple[Path, list[tuple[int, str]], Application],
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
) -> None:
    """What a power cut leaves: the log up to some byte, and perhaps rubbish behind it."""
    source, marks, application = journal
    first, last = marks[0][0], marks[-1][0]
    end = data.draw(st.integers(first, last) | st.sampled_from([size for size, _id in marks]))
    rubbish = data.draw(st.binary(max_size=8_000))
    path = after_a_crash(source, tmp_path_factory.mktemp("torn"))
    log = path.with_name("marketbell.db-wal")
    log.write_bytes(log.read_bytes()[:end] + rubbish)

    async def look() -> None:
        async with opened(path) as store:
            states = await kept(store, application)
            expected = {public_id for size, public_id in marks if size <= end}
            assert set(states) == expected
            assert all(list(found.values()) == ["pending"] for found in states.values())
            assert store.lost_at_open == len(expected)

    asyncio.run(look())


# -- not a database of ours ---------------------------------------------------------------


async def test_another_programs_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    connection = apsw.Connection(str(path))
    connection.execute("create table theirs (x); insert into theirs values (1)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(SchemaError, match="another program"):
        async with opened(path):
            pytest.fail("it was opened")
    assert path.read_bytes() == before
    assert sorted(found.name for found in tmp_path.iterdir()) == ["theirs.db", "theirs.db.lock"]


async def test_a_newer_schema_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "marketbell.db"
    async with opened(path) as store:
        await shop(Scene(store))
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", 9_999)
    connection.close()
    before = path.read_bytes()
    with pytest.raises(SchemaError, match="9999"):
        async with opened(path):
            pytest.fail("it was opened")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"just some text\n" * 500, b"SQLite format 3\x00" + b"\xff" * 8_000]
)
async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(StoreError):
        async with opened(path):
            pytest.fail("it was opened")
    assert path.read_bytes() == content


async def test_a_damaged_page_is_an_error_of_the_store_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "marketbell.db"
    async with opened(path) as store:
        scene = Scene(store)
        application, endpoint = await shop(scene)
        for _ in range(20):
            await scene.publish(application, endpoint)
    content = bytearray(path.read_bytes())
    content[8_192:] = b"\x5a" * (len(content) - 8_192)
    path.write_bytes(bytes(content))
    with pytest.raises(UnavailableError):
        async with opened(path) as store:
            await store.application(ORGANIZATION, application.public_id)


async def test_a_folder_that_is_not_there_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="Cannot write beside"):
        async with opened(tmp_path / "nowhere" / "marketbell.db"):
            pytest.fail("it was opened")


# -- in use -------------------------------------------------------------------------------

HOLDER = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    from support.opened import opened

    async def hold():
        async with opened(Path(sys.argv[1])):
            print("open", flush=True)
            await asyncio.to_thread(sys.stdin.read)

    asyncio.run(hold())
    """
)


async def test_a_file_has_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "marketbell.db"
    tests = str(Path(__file__).parent.parent)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        env={**os.environ, "PYTHONPATH": tests},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert await asyncio.to_thread(holder.stdout.readline) == b"open\n"
        with pytest.raises(LockedError, match="Another process"):
            async with opened(path):
                pytest.fail("it was opened")
        holder.kill()  # the lock goes with its process, however it ends
    async with opened(path) as store:
        await store.ping()


async def test_a_file_has_one_store_at_a_time_within_a_process(tmp_path: Path) -> None:
    path = tmp_path / "marketbell.db"
    async with opened(path):
        with pytest.raises(LockedError):
            async with opened(path):
                pytest.fail("it was opened twice")
    async with opened(path):
        pass


async def test_a_backup_program_may_read_along(tmp_path: Path) -> None:
    path = tmp_path / "marketbell.db"
    async with opened(path) as store:
        scene = Scene(store)
        application, endpoint = await shop(scene)
        reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        reader.execute("begin; select count(*) from message").fetchall()
        for _ in range(3):
            await scene.publish(application, endpoint)
        copy = apsw.Connection(str(tmp_path / "copy.db"))
        with copy.backup("main", reader, "main") as backup:
            backup.step()
        reader.close()
        copy.close()
        assert len(await kept(store, application)) == 3


async def test_a_lock_that_stays_too_long_is_told_and_passes(tmp_path: Path) -> None:
    path = tmp_path / "marketbell.db"
    async with opened(path, busy_ms=10) as store:
        scene = Scene(store)
        application, endpoint = await shop(scene)
        other = apsw.Connection(str(path))
        other.execute("begin immediate")
        with pytest.raises(UnavailableError, match="locked"):
            await scene.publish(application, endpoint)
        other.execute("rollback")
        other.close()
        await scene.publish(application, endpoint)
        assert len(await kept(store, application)) == 1


def test_an_unknown_outcome_is_a_store_error() -> None:
    assert issubclass(OutcomeUnknownError, StoreError)
