"""Secrets of endpoints: ciphertext at rest, rotation with an overlap, loss of the key."""

from __future__ import annotations

import itertools
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import apsw
import pytest

from marketbell.control.rekeying import Rekeyed, rekey
from marketbell.errors import LimitReachedError, UnavailableError
from marketbell.model import SigningKey
from marketbell.store.base import ClaimRequest, Idempotency, Once, Repeated, Sealed, Store
from marketbell.testing.clock import START
from marketbell.testing.stores import Scene
from support.grounds import Ground

HOUR = 3_600_000


def bytes_on_disk(file: Path) -> bytes:
    """All that a database has written: the file and its log."""
    return file.read_bytes() + file.with_name(f"{file.name}-wal").read_bytes()


async def test_secrets_and_headers_are_ciphertext_in_the_file(
    store: Store, scene: Scene, database_file: Path
) -> None:
    application = await scene.application()
    secret, rotated, header = (
        b"plain-secret-plain-secret-123456",
        b"x" * 40 + b"rotated",
        "hdr-s3cret",
    )
    endpoint = await scene.endpoint(
        application,
        secret=SigningKey(kind="v1", secret=secret),
        headers=(("Authorization", header),),
        url="https://visible.example/",
    )
    await store.rotate_secret(
        application.id,
        endpoint.public_id,
        SigningKey(kind="v1", secret=rotated),
        overlap_until=START + HOUR,
        secrets_max=5,
        now=START,
    )
    written = bytes_on_disk(database_file)
    assert b"visible.example" in written
    for plain in (secret, rotated, header.encode(), b"Authorization"):
        assert plain not in written
    found = await store.endpoint(application.id, endpoint.public_id)
    assert [key.secret for key in found.secrets] == [rotated, secret]
    assert found.headers == (("Authorization", header),)


async def test_a_secret_opens_for_its_own_endpoint_only(
    store: Store, scene: Scene, database_file: Path
) -> None:
    application = await scene.application()
    one, two = await scene.endpoint(application), await scene.endpoint(application)
    with apsw.Connection(str(database_file)) as connection:
        connection.execute(
            "update secret set sealed = (select sealed from secret where endpoint_id = ?)"
            " where endpoint_id = ?",
            (one.id, two.id),
        )
    await store.endpoint(application.id, one.public_id)
    with pytest.raises(UnavailableError, match="altered or moved"):
        await store.endpoint(application.id, two.public_id)


async def test_a_rotation_lets_the_old_secret_sign_along(store: Store, scene: Scene) -> None:
    application = await scene.application()
    endpoint = await scene.endpoint(application)
    old = endpoint.secrets[0]
    for number in (1, 2):
        await store.rotate_secret(
            application.id,
            endpoint.public_id,
            SigningKey(kind="v1", secret=b"%d" % number * 32),
            overlap_until=START + number * HOUR,
            secrets_max=5,
            now=START,
        )
    rotated = await store.endpoint(application.id, endpoint.public_id)
    assert [(key.secret[:1], key.expires_at) for key in rotated.secrets] == [
        (b"2", None),
        (b"1", START + 2 * HOUR),
        (old.secret[:1], START + HOUR),
    ]
    assert rotated.revision == endpoint.revision + 2


async def test_a_claim_brings_live_secrets_only(store: Store, scene: Scene) -> None:
    application = await scene.application()
    endpoint = await scene.endpoint(application)
    await store.rotate_secret(
        application.id,
        endpoint.public_id,
        SigningKey(kind="v1", secret=b"n" * 32),
        overlap_until=START + HOUR,
        secrets_max=5,
        now=START,
    )
    for now, count in ((START + HOUR - 1, 2), (START + HOUR, 1)):
        scene.now = now
        await scene.publish(application, endpoint)
        claimed = await store.claim(
            ClaimRequest(now=now, lease_until=now + 60_000, limit=5, rooms={})
        )
        ((_owner, found),) = claimed.endpoints
        assert len(found.secrets) == count
        await scene.record(claimed.claims[0])


async def test_a_rotation_without_overlap_drops_the_old_secret(store: Store, scene: Scene) -> None:
    application = await scene.application()
    endpoint = await scene.endpoint(application)
    new = SigningKey(kind="v1a", secret=b"n" * 64)
    await store.rotate_secret(
        application.id, endpoint.public_id, new, overlap_until=START, secrets_max=2, now=START
    )
    assert (await store.endpoint(application.id, endpoint.public_id)).secrets == (new,)


async def test_so_many_secrets_sign_at_a_time(store: Store, scene: Scene) -> None:
    application = await scene.application()
    endpoint = await scene.endpoint(application)

    fresh = itertools.count(1)

    async def rotate(now: int, overlap: int = HOUR) -> None:
        await store.rotate_secret(
            application.id,
            endpoint.public_id,
            SigningKey(kind="v1", secret=b"%032d" % next(fresh)),
            overlap_until=now + overlap,
            secrets_max=3,
            now=now,
        )

    await rotate(START)
    await rotate(START)
    with pytest.raises(LimitReachedError, match="3 secrets"):
        await rotate(START)
    await rotate(START, overlap=0)
    await rotate(START + HOUR)


async def test_a_secret_can_be_rotated_though_its_key_was_lost(
    ground: Ground,
) -> None:
    async with ground.opened() as store:
        application, endpoint = await Scene(store).seller()
    async with ground.opened(secrets_key=b"o" * 32) as other:
        with pytest.raises(UnavailableError, match="not among the secrets keys"):
            await other.endpoint(application.id, endpoint.public_id)
        new = SigningKey(kind="v1", secret=b"n" * 32)
        await other.rotate_secret(
            application.id, endpoint.public_id, new, overlap_until=START, secrets_max=2, now=START
        )
        assert (await other.endpoint(application.id, endpoint.public_id)).secrets == (new,)


async def test_a_rotation_to_the_current_secret_changes_nothing(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    await store.rotate_secret(
        application.id,
        endpoint.public_id,
        endpoint.secrets[0],
        overlap_until=START + HOUR,
        secrets_max=2,
        now=START,
    )
    found = await store.endpoint(application.id, endpoint.public_id)
    assert (found.secrets, found.revision) == (endpoint.secrets, endpoint.revision)


async def test_a_repeated_rotation_happens_once(store: Store, scene: Scene) -> None:
    application, endpoint = await scene.seller()
    mark = Once(Idempotency(key=b"k" * 16, body=b"b" * 16, auto=True), lambda _made: b"whsec_1")

    async def rotate(secret: bytes, once: Once | None) -> Repeated | None:
        return await store.rotate_secret(
            application.id,
            endpoint.public_id,
            SigningKey(kind="v1", secret=secret),
            overlap_until=START,
            secrets_max=2,
            now=START,
            once=once,
        )

    assert await rotate(b"1" * 32, mark) is None
    await rotate(b"2" * 32, None)
    assert await rotate(b"1" * 32, mark) == Repeated(b"whsec_1")
    found = await store.endpoint(application.id, endpoint.public_id)
    assert found.secrets[0].secret == b"2" * 32


async def test_the_answer_to_a_rotation_is_ciphertext_in_the_file(
    store: Store, scene: Scene, database_file: Path
) -> None:
    application, endpoint = await scene.seller()
    shown = b"whsec_must-not-be-on-disk"
    mark = Once(Idempotency(key=b"k" * 16, body=b"b" * 16, auto=True), lambda _made: shown)
    for repeated in (None, Repeated(shown)):
        made = await store.rotate_secret(
            application.id,
            endpoint.public_id,
            SigningKey(kind="v1", secret=b"1" * 32),
            overlap_until=START,
            secrets_max=2,
            now=START,
            once=mark,
        )
        assert made == repeated
    assert shown not in bytes_on_disk(database_file)


# -- another key ------------------------------------------------------------------------------

OLD, NEW = bytes(range(32)), b"n" * 32


def opened(ground: Ground, key: bytes, *old: bytes) -> AbstractAsyncContextManager[Store]:
    """A store with these secrets keys."""
    return ground.opened(secrets_key=key, old_keys=old)


async def test_after_a_walk_the_old_key_is_not_needed(ground: Ground) -> None:
    async with opened(ground, OLD) as store:
        scene = Scene(store)
        application = await scene.application()
        before = [
            await scene.endpoint(
                application, headers=(("X-Key", f"{number}"),) if number % 2 else ()
            )
            for number in range(7)
        ]
        for user in ("anna", "bob", "a b"):
            await store.create_credential(application.id, "ovoko", user, b"x", now=scene.now)
    async with opened(ground, NEW, OLD) as store:
        assert await rekey(store, step=2) == Rekeyed(resealed=13, unreadable=0)
        assert await rekey(store, step=2) == Rekeyed(resealed=0, unreadable=0)
    async with opened(ground, NEW) as store:
        for endpoint in before:
            assert await store.endpoint(application.id, endpoint.public_id) == endpoint
        assert {one.user for one in await store.credentials(application.id)} == {
            "anna",
            "bob",
            "a b",
        }
        assert (await store.credential("ovoko", "a b")).secret == b"x"


async def test_a_walk_that_is_broken_off_leaves_all_readable(ground: Ground) -> None:
    async with opened(ground, OLD) as store:
        scene = Scene(store)
        application = await scene.application()
        before = [await scene.endpoint(application, headers=(("A", "b"),)) for _ in range(4)]
    async with opened(ground, NEW, OLD) as store:
        step = await store.reseal(Sealed.SECRETS, after=0, limit=2)
        assert (step.resealed, step.done) == (2, False)
    async with opened(ground, NEW, OLD) as store:
        for endpoint in before:
            assert await store.endpoint(application.id, endpoint.public_id) == endpoint
        fresh = await Scene(store).endpoint(application)
        assert (await rekey(store)).resealed == 6
    async with opened(ground, NEW) as store:
        for endpoint in (*before, fresh):
            assert await store.endpoint(application.id, endpoint.public_id) == endpoint


async def test_what_no_key_opens_is_counted_and_left(ground: Ground) -> None:
    async with opened(ground, b"lost" * 8) as store:
        application, endpoint = await Scene(store).seller()
    async with opened(ground, NEW, OLD) as store:
        assert await rekey(store) == Rekeyed(resealed=0, unreadable=1)
    async with opened(ground, b"lost" * 8) as store:
        assert await store.endpoint(application.id, endpoint.public_id) == endpoint


async def test_an_endpoint_that_cannot_be_read_is_named_by_its_public_id(
    ground: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(ground, b"lost" * 8) as store:
        application, endpoint = await Scene(store).seller()
        await Scene(store).publish(application, endpoint)
    async with opened(ground, NEW) as store:
        assert await Scene(store).claim() == ()
    (record,) = [one for one in caplog.records if "cannot be read" in one.message]
    assert record.__dict__["endpoint"] == endpoint.public_id
