"""Two nodes on one PostgreSQL that tell one another nothing: what is kept in memory is never wrong for long."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import msgspec
import psycopg
import pytest

from marketbell.control import applications, endpoints, event_types, history
from marketbell.control.applications import ApplicationChange
from marketbell.control.crier import Crier
from marketbell.control.drafts import MessageDraft
from marketbell.control.endpoint_change import EndpointChange
from marketbell.control.event_types import EventTypeChange
from marketbell.control.gate import CONFIRMED_S, Gate, GateLimits
from marketbell.control.portal import digest_of, signed_in
from marketbell.control.tokens import TokenKey, create_token
from marketbell.errors import AuthenticationError, InvalidError, NotFoundError
from marketbell.model import Application
from marketbell.store.base import MessageFilter, Page, PortalGrant
from marketbell.testing import FakeClock
from support.bazaar import OPERATOR, Bazaar
from support.grounds import PostgresGround
from support.plane import ORGANIZATION
from support.postgres_plane import PostgresPlane

HOUR = 3_600_000
SCHEMA = {"1": msgspec.Raw(b'{"type":"object","required":["price"]}')}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def nodes(many: PostgresGround, clock: FakeClock) -> AsyncIterator[tuple[Bazaar, Bazaar]]:
    async with AsyncExitStack() as until:
        one, two = [
            await until.enter_async_context(
                Bazaar(PostgresPlane(many.url, clock, node_number=number), clock)
            )
            for number in range(2)
        ]
        yield one, two


async def made(node: Bazaar) -> Application:
    found = await applications.create(
        node.services, OPERATOR, ApplicationChange(name="x", uid="seller-1")
    )
    assert isinstance(found, Application)
    return found


async def published(node: Bazaar, event_type: str = "part.updated", **payload: object) -> int:
    """Publish by uid; to how many endpoints it goes."""
    draft = MessageDraft(event_type=event_type, payload=json.dumps(payload).encode())
    kept = await node.services.publisher.publish(ORGANIZATION, "seller-1", draft)
    return len(await node.plane.store.delivery_states(kept.message.id))


def endpoint(number: int) -> EndpointChange:
    return EndpointChange(url=f"https://x.example/{number}", uid=f"e-{number}")


async def test_an_endpoint_gets_the_next_message_of_any_node(nodes: tuple[Bazaar, Bazaar]) -> None:
    one, two = nodes
    await made(one)
    assert await published(two) == 0
    for count in (1, 2):
        await endpoints.create(one.services, OPERATOR, "seller-1", endpoint(count))
        assert await published(two) == count
    await endpoints.delete(one.services, OPERATOR, "seller-1", "e-1")
    assert await published(two) == 1
    change = EndpointChange(event_types=("part.sold",), types_known=frozenset({"part.sold"}))
    await endpoints.amend(one.services, OPERATOR, "seller-1", "e-2", change)
    assert await published(two) == 0
    assert await history.would_be_sent(two.services, OPERATOR, "seller-1", "part.sold", ())
    await endpoints.amend(one.services, OPERATOR, "seller-1", "e-2", EndpointChange(disabled=True))
    await endpoints.delete(one.services, OPERATOR, "seller-1", "e-2")
    assert not await history.would_be_sent(two.services, OPERATOR, "seller-1", "part.sold", ())
    await applications.delete(one.services, OPERATOR, "seller-1")
    with pytest.raises(NotFoundError):
        await published(two)
    await made(one)
    assert await published(two) == 0


async def test_a_schema_counts_for_the_next_message_of_any_node(
    nodes: tuple[Bazaar, Bazaar],
) -> None:
    one, two = nodes
    await made(one)
    assert await published(two) == 0
    create = event_types.create(
        one.services, OPERATOR, "part.updated", EventTypeChange(schemas=SCHEMA)
    )
    await create
    with pytest.raises(InvalidError, match="price"):
        await published(two)
    assert await published(two, price=1) == 0
    drafts = [MessageDraft(event_type="part.updated", payload=b"{}")]
    await event_types.amend(one.services, OPERATOR, "part.updated", EventTypeChange(schemas={}))
    (kept,) = await two.services.publisher.publish_batch(ORGANIZATION, "seller-1", drafts, [None])
    assert not isinstance(kept, InvalidError)
    await event_types.amend(one.services, OPERATOR, "part.updated", EventTypeChange(schemas=SCHEMA))
    (kept,) = await two.services.publisher.publish_batch(ORGANIZATION, "seller-1", drafts, [None])
    assert isinstance(kept, InvalidError)
    await event_types.archive(one.services, OPERATOR, "part.updated")
    assert await published(two) == 0


async def test_changes_of_different_fields_on_two_nodes_are_all_kept(
    nodes: tuple[Bazaar, Bazaar],
) -> None:
    one, two = nodes
    await made(one)
    await endpoints.create(one.services, OPERATOR, "seller-1", endpoint(1))
    await event_types.create(one.services, OPERATOR, "a.b", EventTypeChange())
    for number in range(5):
        text = f"turn-{number}"
        rate = number + 1
        await asyncio.gather(
            endpoints.amend(
                one.services, OPERATOR, "seller-1", "e-1", EndpointChange(description=text)
            ),
            endpoints.amend(
                two.services, OPERATOR, "seller-1", "e-1", EndpointChange(throttle_rate=rate)
            ),
            applications.amend(one.services, OPERATOR, "seller-1", ApplicationChange(name=text)),
            applications.amend(
                two.services, OPERATOR, "seller-1", ApplicationChange(throttle_rate=rate)
            ),
            event_types.amend(one.services, OPERATOR, "a.b", EventTypeChange(description=text)),
            event_types.amend(two.services, OPERATOR, "a.b", EventTypeChange(group_name=text)),
        )
        found = await endpoints.get(two.services, OPERATOR, "seller-1", "e-1")
        assert (found.description, found.throttle_rate) == (text, rate)
        owner = await applications.get(one.services, OPERATOR, "seller-1")
        assert (owner.name, owner.throttle_rate) == (text, rate)
        kind = await event_types.get(one.services, OPERATOR, "a.b")
        assert (kind.description, kind.group_name) == (text, text)


async def test_an_endpoint_suits_its_applications_dialect_whichever_is_changed_first(
    many: PostgresGround, nodes: tuple[Bazaar, Bazaar]
) -> None:
    one, two = nodes
    await made(one)
    ovoko = ApplicationChange(metadata={"marketbell.dialect": "ovoko"})
    plain = EndpointChange(url="http://x.example/hooks")
    with many.hold_control():
        works = [
            asyncio.ensure_future(applications.amend(one.services, OPERATOR, "seller-1", ovoko)),
            asyncio.ensure_future(endpoints.create(two.services, OPERATOR, "seller-1", plain)),
        ]
        await both_wait(many)
    first, second = await asyncio.gather(*works, return_exceptions=True)
    assert isinstance(first, InvalidError) != isinstance(second, InvalidError), (first, second)


async def both_wait(many: PostgresGround) -> None:
    """Return once two changes wait for each other's kind of lock."""
    looking = (
        "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        " and database = (select oid from pg_database where datname = current_database())"
    )
    async with asyncio.timeout(60), await psycopg.AsyncConnection.connect(many.url) as connection:
        while (await (await connection.execute(looking)).fetchone()) != (2,):  # noqa: ASYNC110 - nothing in this process knows of it
            await asyncio.sleep(0.002)


async def test_a_token_that_was_ended_elsewhere_is_refused_within_its_bound(
    nodes: tuple[Bazaar, Bazaar], clock: FakeClock
) -> None:
    one, two = nodes
    key = b"k" * 32
    gate = Gate(two.plane.store, TokenKey("HS256", key), clock, GateLimits(), alone=False)
    token = f"Bearer {create_token(key, ORGANIZATION, clock.real_now(), HOUR)}".encode()
    login = (await gate.admit(token, "10.0.0.1")).login
    assert login is not None
    assert gate.known(token) is not None
    await one.plane.store.end_token(
        ORGANIZATION, login.digest, expires_at=clock.real_now() + HOUR, now=clock.real_now()
    )
    clock.advance(int(CONFIRMED_S * 1000))
    assert gate.known(token) is None
    with pytest.raises(AuthenticationError, match="revoked"):
        await gate.admit(token, "10.0.0.1")


async def test_a_portal_session_is_good_on_every_node_until_it_ends_on_one(
    nodes: tuple[Bazaar, Bazaar], clock: FakeClock
) -> None:
    one, two = nodes
    application = await made(one)
    now = clock.real_now()
    grant = PortalGrant(
        organization=ORGANIZATION,
        application=application.public_id,
        scopes=frozenset({"application:read"}),
        sees_secrets=False,
        rotates=False,
        feature_flags=frozenset(),
        session_id=None,
        session_until=now + HOUR,
    )
    await one.plane.store.keep_portal_code(
        digest_of("code"), grant, now=now, expires_at=now + HOUR, codes_max=9
    )
    opened = await asyncio.gather(
        *(
            node.plane.store.open_portal_session(
                digest_of("code"), digest_of(f"secret {place}"), now=now, sessions_max=9
            )
            for place, node in enumerate(nodes)
        ),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in opened) == ["NotFoundError", "PortalSession"]
    secret = "secret 0" if not isinstance(opened[0], BaseException) else "secret 1"
    assert await signed_in(one.services, secret)
    assert await signed_in(two.services, secret)
    await one.plane.store.end_portal_session(digest_of(secret))
    assert await signed_in(two.services, secret) is None


async def test_what_operators_are_told_is_published_once(nodes: tuple[Bazaar, Bazaar]) -> None:
    one, two = nodes
    hidden = f"operational:{ORGANIZATION}"
    listener = await applications.create(
        one.services,
        msgspec.structs.replace(OPERATOR, organization=hidden),
        ApplicationChange(name="x", uid="operational"),
    )
    assert isinstance(listener, Application)
    await endpoints.create(
        one.services,
        msgspec.structs.replace(OPERATOR, organization=hidden),
        "operational",
        endpoint(0),
    )
    await made(one)
    for number in range(1, 6):
        await endpoints.create(one.services, OPERATOR, "seller-1", endpoint(number))
    criers = [Crier(node.plane.store, node.services.publisher) for node in nodes]
    await asyncio.gather(*(crier.look() for crier in criers))
    assert await two.plane.store.notices(10) == ()
    told = await two.plane.store.messages(listener.id, MessageFilter(), Page(limit=50))
    assert len(told.data) == 5
    assert len({message.event_id for message in told.data}) == 5
