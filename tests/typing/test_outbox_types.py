"""What a type checker sees of `outbox.publish`: nothing to await, or something, by the connection's kind."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias

from marketbell import outbox

Awaited: TypeAlias = Coroutine[Any, Any, None]

if TYPE_CHECKING:
    import asyncpg
    import psycopg
    import sqlalchemy
    from sqlalchemy import orm
    from sqlalchemy.ext import asyncio as sqlalchemy_async

    def nothing_to_await(
        one: psycopg.Connection[Any],
        two: sqlalchemy.Connection,
        three: orm.Session,
        four: orm.scoped_session[orm.Session],
    ) -> None:
        drafts = [outbox.Draft(application="a", event_type="b", payload={})]
        outbox.publish(one, application="a", event_type="b", payload={})
        outbox.publish(two, application="a", event_type="b", payload={})
        outbox.publish(three, application="a", event_type="b", payload={})
        outbox.publish(four, application="a", event_type="b", payload={})
        outbox.publish_many(one, drafts)

    def something_to_await(
        one: psycopg.AsyncConnection[Any],
        two: asyncpg.Connection[asyncpg.Record],
        three: sqlalchemy_async.AsyncConnection,
        four: sqlalchemy_async.AsyncSession,
        five: sqlalchemy_async.async_scoped_session[sqlalchemy_async.AsyncSession],
        six: asyncpg.pool.PoolConnectionProxy[asyncpg.Record],
    ) -> None:
        awaitable: Awaited = outbox.publish(one, application="a", event_type="b", payload={})
        awaitable = outbox.publish(two, application="a", event_type="b", payload={})
        awaitable = outbox.publish(three, application="a", event_type="b", payload={})
        awaitable = outbox.publish(four, application="a", event_type="b", payload={})
        awaitable = outbox.publish(five, application="a", event_type="b", payload={})
        awaitable = outbox.publish_many(six, [])
        assert awaitable

    def forgotten(one: psycopg.AsyncConnection[Any]) -> None:
        outbox.publish(one, application="a", event_type="b", payload={})  # type: ignore[unused-coroutine]

    def refused(one: sqlalchemy.Engine) -> None:
        outbox.publish(one, application="a", event_type="b", payload={})  # type: ignore[call-overload]


def test_the_types_are_looked_at_by_the_type_checker() -> None:
    assert callable(outbox.publish)
