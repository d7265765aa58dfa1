"""Once only: a request that comes again gets its first answer, and a mark lives as long as promised."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import apsw
import pytest

from marketbell.errors import (
    ConflictError,
    MarketbellError,
    NotFoundError,
    ReusedKeyError,
    StaleError,
)
from marketbell.model import Application
from marketbell.store.base import (
    Ages,
    ApplicationDraft,
    Birth,
    Idempotency,
    MessageFilter,
    Once,
    Page,
    Publication,
    Published,
    Repeated,
    Store,
)
from marketbell.testing import FakeClock
from marketbell.testing.stores import ORGANIZATION, Scene
from support.opened import after_a_crash, opened

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
NEVER_OLD = Ages(payloads=3650 * DAY, attempts=3650 * DAY, messages=3650 * DAY)


def digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def mark(key: str = "key", body: str = "body", *, auto: bool = False) -> Idempotency:
    return Idempotency(digest(key), digest(body), auto)


class Sender:
    """A publisher of one application that sends an idempotency key with every message."""

    def __init__(self, scene: Scene, application: Application) -> None:
        self.scene = scene
        self.application = application

    def publication(self, idempotency: Idempotency | None, **fields: Any) -> Publication:
        return Publication(
            message=self.scene.message(self.application, **fields),
            revision=self.application.revision,
            births=(),
            idempotency=idempotency,
        )

    async def send(self, idempotency: Idempotency, **fields: Any) -> Published | MarketbellError:
        (verdict,) = await self.scene.store.publish([self.publication(idempotency, **fields)])
        return verdict

    async def sent(self, idempotency: Idempotency, **fields: Any) -> Published:
        verdict = await self.send(idempotency, **fields)
        assert isinstance(verdict, Published)
        return verdict

    async def count(self) -> int:
        part = await self.scene.store.messages(
            self.application.id, MessageFilter(), Page(limit=1_000)
        )
        return len(part.data)

    def at(self, store: Store, now: int) -> Sender:
        """The same publisher before another store, at another time."""
        return Sender(Scene(store, now=now), self.application)


@pytest.fixture
async def sender(scene: Scene) -> Sender:
    """The publisher of a new application."""
    return Sender(scene, await scene.application())


# -- the first answer ---------------------------------------------------------------------


async def test_the_same_request_gets_the_first_answer_and_keeps_nothing(sender: Sender) -> None:
    first = await sender.sent(mark(), payload=b'{"first":1}')
    again = await sender.sent(mark(), payload=b'{"first":1}')
    assert not first.repeated
    assert again == Published(message=first.message, repeated=True)
    assert await sender.count() == 1


async def test_the_same_key_with_another_body_is_a_conflict(sender: Sender) -> None:
    await sender.sent(mark())
    verdict = await sender.send(mark(body="other"))
    assert isinstance(verdict, ConflictError)
    assert not isinstance(verdict, StaleError)
    assert await sender.count() == 1
    assert (await sender.sent(mark())).repeated


async def test_another_key_is_another_request(sender: Sender) -> None:
    await sender.sent(mark("one"))
    assert not (await sender.sent(mark("other"))).repeated
    assert await sender.count() == 2


async def test_a_repetition_is_answered_before_anything_else_is_judged(
    sender: Sender, scene: Scene
) -> None:
    first = await sender.sent(mark(), event_id="evt")
    await scene.endpoint(sender.application)  # the fan-out is out of date now
    again = await sender.sent(mark(), event_id="evt")
    assert (again.repeated, again.message) == (True, first.message)


async def test_a_repetition_has_no_claims(sender: Sender, scene: Scene, store: Store) -> None:
    endpoint = await scene.endpoint(sender.application)
    application = await store.application(ORGANIZATION, sender.application.public_id)
    birth = Birth(endpoint_id=endpoint.id, due_at=scene.now, lease_until=scene.now + 60_000)
    publications = [
        Publication(
            message=scene.message(application),
            revision=application.revision,
            births=(birth,),
            idempotency=mark(),
        )
        for _ in range(3)
    ]
    verdicts = await store.publish(publications)
    claims = [len(verdict.claims) for verdict in verdicts if isinstance(verdict, Published)]
    assert claims == [1, 0, 0]


async def test_a_batch_resolves_its_own_duplicates(sender: Sender, store: Store) -> None:
    wanted = [
        sender.publication(mark("a")),
        sender.publication(mark("b")),
        sender.publication(mark("a")),
        sender.publication(mark("a", "other")),
        sender.publication(None),
    ]
    verdicts = await store.publish(wanted)
    kinds = [
        verdict.repeated if isinstance(verdict, Published) else type(verdict)
        for verdict in verdicts
    ]
    assert kinds == [False, False, True, ReusedKeyError, False]
    assert isinstance(verdicts[0], Published)
    assert isinstance(verdicts[2], Published)
    assert verdicts[2].message == verdicts[0].message
    assert await sender.count() == 3


async def test_what_was_refused_leaves_no_mark(sender: Sender) -> None:
    await sender.sent(mark("first"), event_id="evt")
    assert isinstance(await sender.send(mark(), event_id="evt"), ConflictError)
    assert not (await sender.sent(mark(), event_id="another")).repeated


async def test_a_key_of_another_kind_of_request_is_refused_for_its_sender_alone(
    sender: Sender, scene: Scene, store: Store
) -> None:
    made = Once(mark("application"), lambda _application: b"answer")
    await store.create_application(
        ORGANIZATION, ApplicationDraft(name="x"), now=scene.now, once=made
    )
    verdicts = await store.publish(
        [sender.publication(mark("application")), sender.publication(mark("message"))]
    )
    assert [type(verdict) for verdict in verdicts] == [ConflictError, Published]


async def test_a_request_whose_message_is_no_longer_kept_is_refused_alone(
    sender: Sender, store: Store, database_file: Path
) -> None:
    first = await sender.sent(mark("gone"))
    connection = apsw.Connection(str(database_file))
    connection.execute("delete from message where id = ?", (first.message.id,))
    connection.close()
    verdicts = await store.publish(
        [sender.publication(mark("gone")), sender.publication(mark("here"))]
    )
    assert [type(verdict) for verdict in verdicts] == [NotFoundError, Published]


async def test_the_control_plane_and_the_queue_share_one_set_of_keys(
    sender: Sender, scene: Scene, store: Store
) -> None:
    once = Once(mark(), lambda application: application.public_id.encode())  # type: ignore[attr-defined]
    draft = ApplicationDraft(name="once")
    made = await store.create_application(ORGANIZATION, draft, now=scene.now, once=once)
    again = await store.create_application(ORGANIZATION, draft, now=scene.now, once=once)
    assert isinstance(made, Application)
    assert again == Repeated(made.public_id.encode())
    assert isinstance(await sender.send(mark()), ConflictError)


# -- restarts -----------------------------------------------------------------------------


@pytest.mark.parametrize("auto", [False, True])
@pytest.mark.parametrize("crash", [False, True])
async def test_a_repetition_after_a_restart_gets_the_first_answer(
    sender: Sender, store: Store, database_file: Path, tmp_path: Path, auto: bool, crash: bool
) -> None:
    first = await sender.sent(mark(auto=auto), payload=b'{"kept":1}')
    now = sender.scene.now
    if crash:
        path = after_a_crash(database_file, tmp_path / "crashed")
    else:
        path = database_file
        await store.aclose()
    async with opened(path, FakeClock(now + MINUTE)) as reopened:
        later = sender.at(reopened, now + MINUTE)
        assert await later.sent(mark(auto=auto)) == Published(message=first.message, repeated=True)
        assert isinstance(await later.send(mark(body="other", auto=auto)), ConflictError)
        assert not (await later.sent(mark("new", auto=auto))).repeated


async def test_a_message_that_was_answered_as_stale_leaves_no_mark_over_a_restart(
    sender: Sender, store: Store, database_file: Path
) -> None:
    (verdict,) = await store.publish(
        [
            Publication(
                message=sender.scene.message(sender.application),
                revision=sender.application.revision + 1,
                births=(),
                idempotency=mark(),
            )
        ]
    )
    assert isinstance(verdict, StaleError)
    await store.aclose()
    async with opened(database_file) as reopened:
        assert not (await sender.at(reopened, sender.scene.now).sent(mark())).repeated


# -- how long -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("auto", "kept_for", "gone_after"), [(True, 15 * MINUTE, 20 * MINUTE), (False, DAY, 30 * HOUR)]
)
@pytest.mark.parametrize("offset", [0, 1, 4 * MINUTE + 59_999, 3 * HOUR, 6 * HOUR - 1])
async def test_a_mark_lives_as_long_as_promised_and_not_much_longer(
    sender: Sender, scene: Scene, auto: bool, kept_for: int, gone_after: int, offset: int
) -> None:
    scene.pass_time(offset)
    await sender.sent(mark(auto=auto))
    scene.pass_time(kept_for)
    assert (await sender.sent(mark(auto=auto))).repeated
    scene.pass_time(gone_after - kept_for)
    assert not (await sender.sent(mark(auto=auto))).repeated


async def test_marks_that_are_over_leave_the_database(
    sender: Sender, scene: Scene, store: Store, database_file: Path
) -> None:
    for number in range(30):
        await sender.sent(mark(f"auto-{number}", auto=True))
        await sender.sent(mark(f"named-{number}"))

    def rows() -> int:
        connection = apsw.Connection(str(database_file), flags=apsw.SQLITE_OPEN_READONLY)
        found: Any = connection.execute("select count(*) from idempotency").fetchall()
        connection.close()
        return int(found[0][0])

    async def prune() -> None:
        while (await store.prune(NEVER_OLD, now=scene.now, limit=7)).more:
            pass

    await prune()
    assert rows() == 60
    scene.pass_time(20 * MINUTE)
    await prune()
    assert rows() == 30
    assert (await sender.sent(mark("named-3"))).repeated
    scene.pass_time(30 * HOUR)
    await prune()
    assert rows() == 0


# -- a clock that jumps -------------------------------------------------------------------


@pytest.mark.parametrize("auto", [False, True])
@pytest.mark.parametrize("back", [1, 10 * MINUTE, 7 * HOUR, 40 * DAY])
async def test_a_repetition_is_known_though_the_clock_was_set_back(
    sender: Sender, store: Store, database_file: Path, tmp_path: Path, auto: bool, back: int
) -> None:
    first = await sender.sent(mark(auto=auto))
    earlier = sender.scene.now - back
    again = await sender.at(store, earlier).sent(mark(auto=auto))
    assert again == Published(message=first.message, repeated=True)
    path = after_a_crash(database_file, tmp_path / "crashed")
    async with opened(path, FakeClock(earlier)) as reopened:
        assert (await sender.at(reopened, earlier).sent(mark(auto=auto))).repeated


async def test_marks_from_before_a_step_back_do_not_stand_in_the_way_of_new_ones(
    sender: Sender, store: Store, database_file: Path
) -> None:
    """The clock is set back, the program starts again, and time comes to where it was before."""
    now = sender.scene.now
    for number in range(5):
        await sender.sent(mark(f"before-{number}", auto=True))
    await store.aclose()
    async with opened(database_file, FakeClock(now - HOUR)) as reopened:
        for minutes in (-60, -30, 0):
            later = sender.at(reopened, now + minutes * MINUTE)
            for number in range(5):
                assert not (await later.sent(mark(f"at{minutes}-{number}", auto=True))).repeated
        assert (await sender.at(reopened, now).sent(mark("before-3", auto=True))).repeated
