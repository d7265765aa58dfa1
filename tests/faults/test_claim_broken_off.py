"""A claim that is kept and whose endpoints cannot be read: it goes back at once, and is not waited for."""

from __future__ import annotations

import asyncio

import pytest

from marketbell.model import Outcome, Policy
from marketbell.testing import TestReceiver
from support.knobs import Knobs
from support.outages import site
from support.postgres import PostgresServer
from support.proxy import Act

LEASE = 600_000
LIMIT_S = 60.0
"""Much less than the lease."""
ENDPOINTS_READ = b"select array_agg(k.kind order by"
"""Stands in the statement that reads endpoints after a claim, and in no other."""


@pytest.mark.parametrize("act", [Act.RESET, Act.LOSE_ANSWER])
async def test_what_was_claimed_is_sent_before_its_lease_ends(
    postgres: PostgresServer, migrated_template: str, act: Act
) -> None:
    knobs = Knobs(lease=LEASE, timeout=10_000)
    with site(postgres, migrated_template) as at:
        async with TestReceiver() as shop:
            async with at.plane(knobs) as before:
                application = await before.application(Policy())
                endpoint = await before.endpoint(application, shop.url)
                message = await before.publish(application, after=3_600_000)
            for due in ("delivery set due_at = 0", "lane set next_at = 0"):
                postgres.execute(f"update marketbell.{due}", database=at.database)
            # A node that has not met the endpoint yet.
            happened = at.at_commit(act, of=ENDPOINTS_READ)
            async with at.plane(knobs) as plane:
                async with asyncio.timeout(LIMIT_S):
                    await shop.wait_for(1)
                assert happened.is_set()
                await plane.settled(limit_s=LIMIT_S)
                attempts = await plane.attempts(message, endpoint=endpoint)
            assert [one.outcome for one in attempts] == [Outcome.ACCEPTED]
            assert attempts[0].claim_number == 2
