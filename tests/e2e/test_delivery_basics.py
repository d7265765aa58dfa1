"""One message in, one request out: what goes over the wire and what is kept of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import standardwebhooks
import svix

from marketbell import signing
from marketbell.clock import SystemClock
from marketbell.dialects.base import AttemptStart
from marketbell.errors import ConflictError
from marketbell.model import DeliveryState, Outcome, Policy, SigningKey, Trigger
from marketbell.testing import Answer, FakeClock, Received, TestReceiver
from support.plane import Diary, Plane

PART = b'{"part_id": "13", "status": "sold", "external_id": null, "id_bridge": null}'


async def test_one_message_is_one_request_and_one_recorded_attempt(tmp_path: Path) -> None:
    async with (
        TestReceiver([Answer(body=b"thanks")]) as shop,
        Plane(tmp_path, SystemClock()) as plane,
    ):
        application = await plane.application()
        endpoint = await plane.endpoint(application, shop.url + "hook?key=a%20b&x=%C3%A9")
        message = await plane.publish(application)
        await plane.settled()

        (request,) = shop.requests
        assert request.method == "POST"
        assert request.target == "/hook?key=a%20b&x=%C3%A9"
        assert request.body == message.payload
        (attempt,) = await plane.attempts(message)
        assert attempt.outcome is Outcome.ACCEPTED
        assert (attempt.number, attempt.claim_number) == (1, 1)
        assert (attempt.status_code, attempt.reason, attempt.response) == (200, "", b"thanks")
        assert attempt.trigger is Trigger.SCHEDULED
        assert attempt.url == endpoint.url
        assert attempt.address == f"127.0.0.1:{shop.port}"
        assert await plane.state(message, endpoint) is DeliveryState.DELIVERED


@pytest.mark.parametrize(
    ("dialect", "event_type", "payload"),
    [
        ("standard", "anything.at.all", b'{ "spaced" : 1.0 }'),
        ("ovoko", "part.status.changed", PART),
        ("sellercenter", "onOrderCreated", b'{"OrderId": 1190422}'),
        ("cloudevents", "thing.happened", b'{"n":1}'),
    ],
)
async def test_the_wire_carries_what_the_dialect_renders_to_the_byte(
    tmp_path: Path, dialect: str, event_type: str, payload: bytes
) -> None:
    clock = FakeClock()
    async with TestReceiver() as shop, Plane(tmp_path, clock) as plane:
        application = await plane.application(Policy(dialect=dialect))
        endpoint = await plane.endpoint(
            application, shop.url, headers=(("X-Api-Key", "of the seller"),)
        )
        message = await plane.publish(application, payload, event_type=event_type)
        await plane.settled()

        (request,) = shop.requests
        rendered = plane.registry.dialect(dialect).render(
            message, endpoint, AttemptStart(clock.now(), 1)
        )
        lines = [f"{name}: {value}" for name, value in rendered.headers]
        assert request.body == rendered.body
        assert request.head.decode("latin-1").split("\r\n") == [
            "POST / HTTP/1.1",
            f"Host: 127.0.0.1:{shop.port}",
            *lines,
            f"Content-Length: {len(rendered.body)}",
            "",
            "",
        ]


async def test_the_signature_is_verified_by_the_libraries_that_sellers_use(tmp_path: Path) -> None:
    async with TestReceiver() as shop, Plane(tmp_path, SystemClock()) as plane:
        application = await plane.application()
        endpoint = await plane.endpoint(application, shop.url)
        await plane.publish(application, b'{"name":"\xc3\xa9"}')
        (request,) = await shop.wait_for(1)

        secret = signing.render_secret(endpoint.secrets[0])
        headers = {name.lower(): value for name, value in request.headers}
        svix.Webhook(secret).verify(request.body, headers)
        assert standardwebhooks.Webhook(secret).verify(request.body.decode(), headers) == {
            "name": "é"
        }
        forged = request.body.replace(b"name", b"nome")
        with pytest.raises(svix.WebhookVerificationError):
            svix.Webhook(secret).verify(forged, headers)


async def test_a_rotated_secret_signs_along_until_its_overlap_ends(tmp_path: Path) -> None:
    clock = FakeClock()
    async with TestReceiver() as shop, Plane(tmp_path, clock) as plane:
        application = await plane.application()
        endpoint = await plane.endpoint(application, shop.url)
        old, new = endpoint.secrets[0], signing.new_secret()
        await plane.store.rotate_secret(
            application.id,
            endpoint.public_id,
            new,
            overlap_until=clock.now() + 60_000,
            secrets_max=10,
            now=clock.now(),
        )
        await plane.publish(application)
        await plane.settled()
        await plane.pass_time(61_000)
        await plane.publish(application)
        await plane.settled()

        during, after = shop.requests
        assert signers(during, old, new) == [True, True]
        assert signers(after, old, new) == [False, True]


def signers(request: Received, *keys: SigningKey) -> list[bool]:
    """Which of these keys have signed a request."""
    message_id = request.header("webhook-id")
    seconds = int(request.header("webhook-timestamp") or 0)
    signatures = (request.header("webhook-signature") or "").split()
    assert message_id is not None
    return [signing.sign([key], message_id, seconds, request.body) in signatures for key in keys]


async def test_a_message_fans_out_to_every_endpoint_that_wants_it(tmp_path: Path) -> None:
    async with TestReceiver() as shop, Plane(tmp_path, SystemClock()) as plane:
        application = await plane.application()
        takers: dict[str, dict[str, object]] = {
            "all": {},
            "orders": {"event_types": frozenset({"order.created", "order.cancelled"})},
            "parts": {"event_types": frozenset({"part.changed"})},
            "north": {"channels": frozenset({"north"})},
            "north-orders": {
                "channels": frozenset({"north", "west"}),
                "event_types": frozenset({"order.created"}),
            },
            "off": {"disabled": True},
        }
        for name, filters in takers.items():
            await plane.endpoint(application, shop.url + name, **filters)

        async def reached(event_type: str, *channels: str) -> set[str]:
            shop.requests.clear()
            message = await plane.publish(application, event_type=event_type, channels=channels)
            await plane.settled()
            assert len(await plane.attempts(message)) == len(shop.requests)
            return {request.target[1:] for request in shop.requests}

        assert await reached("order.created") == {"all", "orders"}
        assert await reached("order.created", "north") == {"all", "orders", "north", "north-orders"}
        assert await reached("order.created", "south", "west") == {"all", "orders", "north-orders"}
        assert await reached("part.changed", "north") == {"all", "parts", "north"}
        assert await reached("else.where") == {"all"}


async def test_a_message_without_takers_is_kept_and_sent_nowhere(tmp_path: Path) -> None:
    async with Plane(tmp_path, SystemClock()) as plane:
        application = await plane.application()
        message = await plane.publish(application)
        await plane.settled()
        assert await plane.store.delivery_states(message.id) == {}
        assert plane.told.attempts == []


async def test_deliveries_put_off_are_made_at_their_instant_and_never_before(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    diary = Diary(clock)
    async with TestReceiver(diary) as shop, Plane(tmp_path, clock) as plane:
        application = await plane.application()
        await plane.endpoint(application, shop.url)
        await plane.publish(application, after=3_600_000)
        await plane.publish(application, after=90_000)
        await plane.publish(application)
        await plane.go_to(diary.start + 89_999)
        assert diary.times == [0]
        await plane.go_to(diary.start + 4_000_000)
        assert diary.times == [0, 90_000, 3_600_000]


class TestResend:
    """A person asks for one more delivery."""

    async def test_of_a_delivered_message_is_sent_again(self, tmp_path: Path) -> None:
        async with TestReceiver() as shop, Plane(tmp_path, SystemClock()) as plane:
            application = await plane.application()
            endpoint = await plane.endpoint(application, shop.url)
            message = await plane.publish(application)
            await plane.settled()
            await plane.resend(message, endpoint)
            await shop.wait_for(2)
            await plane.settled()

            first, second = shop.requests
            assert first.body == second.body
            assert first.header("webhook-id") == second.header("webhook-id")
            attempts = await plane.attempts(message)
            assert [one.trigger for one in attempts] == [Trigger.SCHEDULED, Trigger.MANUAL]
            assert await plane.state(message, endpoint) is DeliveryState.DELIVERED

    async def test_of_a_failed_message_begins_the_schedule_anew(self, tmp_path: Path) -> None:
        clock = FakeClock()
        answers = [Answer(status=500)] * 4 + [Answer()]
        async with TestReceiver(answers) as shop, Plane(tmp_path, clock) as plane:
            application = await plane.application(Policy(retry_schedule=(1_000,)))
            endpoint = await plane.endpoint(application, shop.url)
            message = await plane.publish(application)
            await plane.pass_time(60_000)
            assert len(shop.requests) == 2
            assert await plane.state(message, endpoint) is DeliveryState.FAILED

            await plane.resend(message, endpoint)
            await plane.pass_time(60_000)
            assert len(shop.requests) == 4
            assert await plane.state(message, endpoint) is DeliveryState.FAILED

            await plane.resend(message, endpoint)
            await plane.pass_time(60_000)
            assert len(shop.requests) == 5
            assert await plane.state(message, endpoint) is DeliveryState.DELIVERED
            triggers = [one.trigger for one in await plane.attempts(message)]
            assert triggers == [Trigger.SCHEDULED] * 2 + [Trigger.MANUAL] * 3

    async def test_of_a_waiting_message_goes_out_at_once(self, tmp_path: Path) -> None:
        clock = FakeClock()
        answers = [Answer(status=500), Answer()]
        async with TestReceiver(answers) as shop, Plane(tmp_path, clock) as plane:
            application = await plane.application(Policy(retry_schedule=(3_600_000,)))
            endpoint = await plane.endpoint(application, shop.url)
            message = await plane.publish(application)
            await plane.pass_time(1_000)
            assert len(shop.requests) == 1
            await plane.resend(message, endpoint)
            await plane.pass_time(1_000)
            assert len(shop.requests) == 2
            assert await plane.state(message, endpoint) is DeliveryState.DELIVERED
            await plane.pass_time(7_200_000)
            assert len(shop.requests) == 2

    async def test_to_a_disabled_endpoint_is_refused(self, tmp_path: Path) -> None:
        async with TestReceiver() as shop, Plane(tmp_path, SystemClock()) as plane:
            application = await plane.application()
            endpoint = await plane.endpoint(application, shop.url)
            message = await plane.publish(application)
            await plane.settled()
            await plane.change(endpoint, disabled=True)
            with pytest.raises(ConflictError):
                await plane.resend(message, endpoint)
            await plane.settled()
            assert len(shop.requests) == 1
