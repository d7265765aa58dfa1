"""What is published again gets its first answer, also where it would not be good any more."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from marketbell.control.drafts import MessageDraft
from marketbell.control.idempotency import digest_of, mark, marks_of_batch
from marketbell.errors import InvalidError, MarketbellError, ReusedKeyError
from marketbell.model import Application
from marketbell.store.base import Idempotency, Published
from marketbell.testing import FakeClock, TestReceiver
from support.bazaar import Bazaar
from support.plane import ORGANIZATION

PATH = "/api/v1/app/s/msg"


def marked(body: str) -> Idempotency:
    return mark(ORGANIZATION, PATH, b"k", digest_of(body.encode()))


async def begun(bazaar: Bazaar) -> tuple[Application, MessageDraft]:
    """An application, and a message that is good for two more seconds."""
    application = await bazaar.plane.application()
    at = bazaar.services.clock.now() - 58_000
    return application, MessageDraft(event_type="a", payload=b"{}", deliver_at=at)


async def test_a_message(tmp_path: Path) -> None:
    async with Bazaar(tmp_path, FakeClock()) as bazaar:
        publish = bazaar.services.publisher.publish
        application, draft = await begun(bazaar)
        first = await publish(ORGANIZATION, application.public_id, draft, marked("one"))
        await bazaar.plane.pass_time(4_000)
        again = await publish(ORGANIZATION, application.public_id, draft, marked("one"))
        assert (again.repeated, again.message) == (True, first.message)
        with pytest.raises(ReusedKeyError):
            await publish(ORGANIZATION, application.public_id, draft, marked("other"))
        with pytest.raises(InvalidError, match="deliverAt"):
            await publish(ORGANIZATION, application.public_id, draft)
        new = mark(ORGANIZATION, PATH, b"new", digest_of(b"one"))
        with pytest.raises(InvalidError, match="deliverAt"):
            await publish(ORGANIZATION, application.public_id, draft, new)


async def test_a_message_to_one_endpoint(tmp_path: Path) -> None:
    async with Bazaar(tmp_path, FakeClock()) as bazaar, TestReceiver() as receiver:
        publish_to = bazaar.services.publisher.publish_to
        application, draft = await begun(bazaar)
        endpoint = await bazaar.plane.endpoint(application, receiver.url)
        there = (ORGANIZATION, application.public_id, endpoint.public_id, draft)
        first = await publish_to(*there, marked("one"))
        await bazaar.plane.pass_time(4_000)
        assert (await publish_to(*there, marked("one"))).message == first.message
        with pytest.raises(InvalidError, match="deliverAt"):
            await publish_to(*there)


async def test_a_batch(tmp_path: Path) -> None:
    async with Bazaar(tmp_path, FakeClock()) as bazaar:
        application, draft = await begun(bazaar)
        lasting = msgspec.structs.replace(draft, deliver_at=None)

        async def publish(body: str, *drafts: MessageDraft) -> list[Published | MarketbellError]:
            marks = marks_of_batch(ORGANIZATION, PATH, b"k", body.encode(), len(drafts))
            return await bazaar.services.publisher.publish_batch(
                ORGANIZATION, application.public_id, drafts, marks
            )

        first = await publish("one", draft, lasting)
        await bazaar.plane.pass_time(4_000)
        again = await publish("one", draft, lasting, draft)
        assert isinstance(again[2], InvalidError)
        for now, before in zip(again[:2], first, strict=True):
            assert isinstance(now, Published)
            assert isinstance(before, Published)
            assert (now.repeated, now.message) == (True, before.message)
        for other in ((draft,), (lasting, lasting), (draft, lasting)):
            with pytest.raises(ReusedKeyError):
                await publish("other", *other)
