"""Endpoints in a store: what they are, their secrets at rest, and how their lanes hold and go on."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from marketbell import ids
from marketbell.errors import (
    ConflictError,
    LimitReachedError,
    NotFoundError,
    UnavailableError,
)
from marketbell.model import (
    SLOTS,
    Application,
    DeliveryState,
    Endpoint,
    OrderOnFailure,
    Policy,
    SigningKey,
)
from marketbell.store.base import (
    ApplicationDraft,
    AttemptFilter,
    ClaimRequest,
    EndpointDraft,
    Page,
    Store,
)
from marketbell.store.configuration import slot_of
from marketbell.store.sealing import Box
from marketbell.store.sqlite import SqliteOptions
from marketbell.store.sqlite_store import SqliteStore, WriterLimits
from marketbell.testing import FakeClock
from marketbell.testing.clock import START
from marketbell.testing.stores import ORGANIZATION, Scene

HOUR = 3_600_000
KEY = b"order-1"


def draft_of(endpoint: Endpoint, **changes: object) -> EndpointDraft:
    """The draft that leaves an endpoint as it is, but for the changes."""
    fields = {
        name: getattr(endpoint, name)
        for name in EndpointDraft.__struct_fields__
        if name != "secret"
    }
    return EndpointDraft(**{**fields, **changes})


async def update(scene: Scene, endpoint: Endpoint, **changes: object) -> Endpoint:
    """Change an endpoint in some fields only."""
    return await scene.store.update_endpoint(
        endpoint.application_id, endpoint.public_id, draft_of(endpoint, **changes), now=scene.now
    )


def bytes_on_disk(file: Path) -> bytes:
    """All that a database has written: the file and its log."""
    return file.read_bytes() + file.with_name(f"{file.name}-wal").read_bytes()


async def test_an_endpoint_is_read_back_as_it_was_made(store: Store, scene: Scene) -> None:
    application = await scene.application()
    draft = EndpointDraft(
        url="https://seller.example/hooks?a=1&b=%20",
        uid="main",
        description="Główny",
        event_types=frozenset({"part.updated", "order.created"}),
        channels=frozenset({"pl"}),
        headers=(("X-Key", "s3cret"), ("x-key", "twice")),
        metadata={"a": "b"},
        policy=Policy(dialect="sellercenter", timeout=5_000),
        throttle_rate=2,
        paused=True,
        version=3,
        secret=SigningKey(kind="v1a", secret=b"p" * 64),
    )
    made = await store.create_endpoint(application.id, draft, now=START, endpoints_max=5)
    assert isinstance(made, Endpoint)
    assert ids.is_id(ids.ENDPOINT, made.public_id)
    for name in EndpointDraft.__struct_fields__:
        if name != "secret":
            assert getattr(made, name) == getattr(draft, name)
    assert made.secrets == (draft.secret,)
    assert (made.application_id, made.created_at, made.updated_at) == (application.id, START, START)
    assert await store.endpoint(application.id, "main") == made
    assert await store.endpoint(application.id, made.public_id) == made


async def test_no_filter_and_an_empty_filter_are_not_the_same(scene: Scene) -> None:
    application = await scene.application()
    everything = await scene.endpoint(application)
    nothing = await scene.endpoint(application, event_types=frozenset(), channels=frozenset())
    assert (everything.event_types, everything.channels) == (None, None)
    assert (nothing.event_types, nothing.channels) == (frozenset(), frozenset())


async def test_slots_are_even_and_always_the_same(scene: Scene) -> None:
    made = await scene.endpoint(await scene.application())
    assert made.slot == slot_of(made.public_id)
    assert slot_of("ep_2hPOoCLSTJgnuKWQrNrpNOFgZFo") == 259
    slots = {slot_of(ids.new_id(ids.ENDPOINT, START)) for _ in range(20_000)}
    assert slots == set(range(SLOTS))


async def test_another_application_sees_nothing(store: Store, scene: Scene) -> None:
    endpoint = await scene.endpoint(await scene.application(), uid="main")
    other = await scene.application()
    for ref in (endpoint.public_id, "main"):
        with pytest.raises(NotFoundError):
            await store.endpoint(other.id, ref)
        with pytest.raises(NotFoundError):
            await store.delete_endpoint(other.id, ref, now=START)
        with pytest.raises(NotFoundError):
            await store.update_endpoint(other.id, ref, draft_of(endpoint), now=START)
    assert (await store.endpoints(other.id, Page())).data == ()


async def test_an_application_may_have_so_many_endpoints(store: Store, scene: Scene) -> None:
    application = await scene.application()
    first = await scene.endpoint(application, endpoints_max=2)
    await scene.endpoint(application, endpoints_max=2)
    with pytest.raises(LimitReachedError, match="endpoints_per_application_max"):
        await scene.endpoint(application, endpoints_max=2)
    await store.delete_endpoint(application.id, first.public_id, now=START)
    await scene.endpoint(application, endpoints_max=2)


async def test_a_uid_is_free_at_once_after_deletion(store: Store, scene: Scene) -> None:
    application = await scene.application()
    first = await scene.endpoint(application, uid="main")
    with pytest.raises(ConflictError, match="main"):
        await scene.endpoint(application, uid="main")
    await store.delete_endpoint(application.id, "main", now=START)
    with pytest.raises(NotFoundError):
        await store.endpoint(application.id, first.public_id)
    second = await scene.endpoint(application, uid="main")
    assert (await store.endpoint(application.id, "main")).id == second.id != first.id


async def test_an_update_replaces_all_but_the_secret(store: Store, scene: Scene) -> None:
    application = await scene.application()
    before = await scene.endpoint(application, uid="a", headers=(("X", "1"),))
    scene.pass_time(10)
    after = await store.update_endpoint(
        application.id, "a", EndpointDraft(url="https://new.example/"), now=scene.now
    )
    assert (after.url, after.uid, after.headers) == ("https://new.example/", None, ())
    assert after.secrets == before.secrets
    assert after.revision > before.revision
    assert (after.created_at, after.updated_at) == (START, START + 10)


async def test_an_update_may_bring_another_secret_at_once(scene: Scene) -> None:
    endpoint = await scene.endpoint(await scene.application())
    key = SigningKey(kind="v1", secret=b"n" * 32)
    assert (await update(scene, endpoint, secret=key)).secrets == (key,)


async def test_an_update_to_a_taken_uid_changes_nothing(store: Store, scene: Scene) -> None:
    application = await scene.application()
    await scene.endpoint(application, uid="a")
    b = await scene.endpoint(application, uid="b")
    with pytest.raises(ConflictError):
        await update(scene, b, uid="a", url="https://changed.example/")
    assert await store.endpoint(application.id, "b") == b


async def test_slices_come_in_order_of_creation(store: Store, scene: Scene) -> None:
    application = await scene.application()
    made = [await scene.endpoint(application) for _ in range(5)]
    await scene.endpoint(await scene.application())
    first = await store.endpoints(application.id, Page(limit=3))
    assert (list(first.data), first.done) == (made[:3], False)
    rest = await store.endpoints(application.id, Page(limit=3, after=made[2].public_id))
    assert (list(rest.data), rest.done) == (made[3:], True)
    back = await store.endpoints(application.id, Page(limit=2, before=made[2].public_id))
    assert (list(back.data), back.done) == (made[:2], True)


# -- secrets ------------------------------------------------------------------------------


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

    async def rotate(now: int, overlap: int = HOUR) -> None:
        await store.rotate_secret(
            application.id,
            endpoint.public_id,
            SigningKey(kind="v1", secret=b"n" * 32),
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
    scene: Scene, store: Store, database_file: Path
) -> None:
    application = await scene.application()
    endpoint = await scene.endpoint(application)
    await store.aclose()
    other = SqliteStore(
        SqliteOptions(path=database_file), Box([b"o" * 32]), FakeClock(), WriterLimits()
    )
    try:
        with pytest.raises(UnavailableError, match="not among the secrets keys"):
            await other.endpoint(application.id, endpoint.public_id)
        new = SigningKey(kind="v1", secret=b"n" * 32)
        await other.rotate_secret(
            application.id, endpoint.public_id, new, overlap_until=START, secrets_max=2, now=START
        )
        assert (await other.endpoint(application.id, endpoint.public_id)).secrets == (new,)
    finally:
        await other.aclose()


# -- lanes --------------------------------------------------------------------------------


async def waiting(scene: Scene) -> tuple[Application, Endpoint]:
    """An endpoint with one delivery that is due, and one that is due in an hour."""
    application = await scene.application()
    endpoint = await scene.endpoint(application)
    await scene.publish(application, endpoint)
    (claim,) = await scene.claim()
    await scene.record(claim, 500, again_at=scene.now + HOUR)
    await scene.publish(application, endpoint)
    return application, endpoint


@pytest.mark.parametrize("way", ["paused", "disabled"])
async def test_a_held_endpoint_sends_nothing_until_it_goes_on(scene: Scene, way: str) -> None:
    application, endpoint = await waiting(scene)
    held = await update(scene, endpoint, **{way: True})
    await scene.publish(application, endpoint)
    scene.pass_time(2 * HOUR)
    assert await scene.claim() == ()
    assert await scene.claim(lanes=[endpoint.id]) == ()
    await update(scene, held, **{way: False})
    claims = await scene.claim()
    assert len(claims) == 3
    assert {claim.endpoint_revision for claim in claims} == {endpoint.revision + 2}


@pytest.mark.parametrize("way", ["paused", "disabled"])
async def test_an_endpoint_may_be_made_held(scene: Scene, way: str) -> None:
    application = await scene.application()
    endpoint = await scene.endpoint(application, **{way: True})
    await scene.publish(application, endpoint)
    assert await scene.claim() == ()
    await update(scene, endpoint, **{way: False})
    assert len(await scene.claim()) == 1


async def test_an_endpoint_held_for_two_reasons_waits_for_both(scene: Scene) -> None:
    application = await scene.application()
    endpoint = await scene.endpoint(application, paused=True, disabled=True)
    await scene.publish(application, endpoint)
    endpoint = await update(scene, endpoint, paused=False)
    assert await scene.claim() == ()
    await update(scene, endpoint, disabled=False)
    assert len(await scene.claim()) == 1


async def test_what_a_held_lane_learns_meanwhile_does_not_release_it(
    store: Store, scene: Scene
) -> None:
    """Attempts in flight when it was paused end later, and may ask for a rest or a retry."""
    application = await scene.application()
    endpoint = await scene.endpoint(application)
    await scene.publish(application, endpoint)
    (claim,) = await scene.claim()
    await update(scene, endpoint, paused=True)
    await scene.record(claim, 503, again_at=scene.now + 1_000)
    await store.hold(endpoint.id, scene.now + 2_000)
    await scene.publish(application, endpoint)
    scene.pass_time(HOUR)
    assert await scene.claim(lanes=[endpoint.id]) == ()
    assert await scene.claim() == ()


async def test_a_change_of_something_else_keeps_a_rest(store: Store, scene: Scene) -> None:
    application = await scene.application()
    endpoint = await scene.endpoint(application)
    await scene.publish(application, endpoint)
    await store.hold(endpoint.id, scene.now + 5_000)
    await update(scene, endpoint, description="new")
    assert await scene.claim() == ()
    scene.pass_time(5_000)
    assert len(await scene.claim()) == 1


async def test_a_receiver_may_have_its_endpoint_disabled(store: Store, scene: Scene) -> None:
    application, endpoint = await waiting(scene)
    await store.note_health(endpoint.id, START)
    await store.disable_endpoint(endpoint.id, now=START + 9)
    found = await store.endpoint(application.id, endpoint.public_id)
    assert (found.disabled, found.updated_at, found.failing_since) == (True, START + 9, None)
    assert await scene.claim() == ()
    await store.disable_endpoint(endpoint.id, now=START + 10)
    assert await store.endpoint(application.id, endpoint.public_id) == found
    await store.delete_endpoint(application.id, endpoint.public_id, now=START)
    await store.disable_endpoint(endpoint.id, now=START + 11)
    await store.disable_endpoint(987_654, now=START + 11)


async def test_health_is_forgotten_when_an_endpoint_is_enabled(store: Store, scene: Scene) -> None:
    endpoint = await scene.endpoint(await scene.application(), disabled=True)
    await store.note_health(endpoint.id, START)
    assert await store.failing_since(START + 1, 10) == ()
    enabled = await update(scene, endpoint, disabled=False)
    assert enabled.failing_since is None
    await store.note_health(endpoint.id, START + 5)
    assert await store.failing_since(START + 5, 10) == ()
    assert await store.failing_since(START + 6, 10) == (endpoint.id,)
    found = await store.endpoint(endpoint.application_id, endpoint.public_id)
    assert found.failing_since == START + 5


async def test_a_deleted_endpoint_sends_nothing(store: Store, scene: Scene) -> None:
    application = await scene.application()
    endpoint = await scene.endpoint(application)
    published = await scene.publish(application, endpoint, lease=60_000)
    await scene.publish(application, endpoint)
    await store.delete_endpoint(application.id, endpoint.public_id, now=START)
    assert await scene.claim() == ()
    assert await scene.claim(lanes=[endpoint.id]) == ()
    # The attempt that was in flight is recorded all the same.
    await scene.record(published.claims[0], 500, again_at=scene.now)
    assert await scene.claim() == ()
    rows = await store.attempts(application.id, AttemptFilter(endpoint_id=endpoint.id), Page())
    assert [row.delivery_state for row in rows.data] == [DeliveryState.CANCELLED]


# -- keys that wait for a failed delivery ---------------------------------------------------


async def held_key(
    scene: Scene, order_on_failure: OrderOnFailure | None = None
) -> tuple[Application, Endpoint]:
    """An endpoint with a key that a failed delivery holds, and one delivery behind it."""
    application = await scene.application()
    endpoint = await scene.endpoint(application, policy=Policy(order_on_failure=order_on_failure))
    await scene.publish(application, endpoint, order_key=KEY)
    await scene.publish(application, endpoint, order_key=KEY)
    (claim,) = await scene.claim()
    await scene.record(claim, 500, hold_key=True)
    assert await scene.claim() == ()
    return application, endpoint


async def test_an_endpoint_that_moves_on_lets_its_held_keys_go(scene: Scene) -> None:
    _application, endpoint = await held_key(scene, OrderOnFailure.HOLD)
    endpoint = await update(scene, endpoint, description="still holding")
    assert await scene.claim() == ()
    await update(scene, endpoint, policy=Policy(order_on_failure=OrderOnFailure.MOVE_ON))
    assert len(await scene.claim()) == 1


async def test_an_application_that_moves_on_lets_held_keys_go(store: Store, scene: Scene) -> None:
    application, _endpoint = await held_key(scene)
    other, _own = await held_key(scene, OrderOnFailure.HOLD)

    async def say(owner: Application, order_on_failure: OrderOnFailure) -> int:
        await store.update_application(
            ORGANIZATION,
            owner.public_id,
            ApplicationDraft(name="x", policy=Policy(order_on_failure=order_on_failure)),
            now=scene.now,
        )
        return len(await scene.claim())

    assert await say(application, OrderOnFailure.HOLD) == 0
    assert await say(application, OrderOnFailure.MOVE_ON) == 1
    # The endpoint's own word stands above the application's.
    assert await say(other, OrderOnFailure.MOVE_ON) == 0
