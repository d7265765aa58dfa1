"""Files as the store may find them: torn by a crash, damaged, somebody else's, in use."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketbell.errors import LockedError, SchemaError, StoreError, UnavailableError
from marketbell.model import Application, DeliveryState, Endpoint
from marketbell.testing.stores import ORGANIZATION, Scene
from support.opened import after_a_crash, environment, kept, opened


async def shop(scene: Scene) -> tuple[Application, Endpoint]:
    application = await scene.application()
    return application, await scene.endpoint(application)


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
    left = await asyncio.to_thread(lambda: sorted(found.name for found in tmp_path.iterdir()))
    assert left == ["theirs.db", "theirs.db.lock"]


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
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLDER, str(path)),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"open\n"
    with pytest.raises(LockedError, match="Another process"):
        async with opened(path):
            pytest.fail("it was opened")
    holder.kill()  # the lock goes with its process, however it ends
    await holder.wait()
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
