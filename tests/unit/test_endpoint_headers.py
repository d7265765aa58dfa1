"""Which headers an endpoint may have: any name but what the sender, a signature or a cloud goes by."""

from __future__ import annotations

import pytest

from marketbell.control.headers import check_headers
from marketbell.dialects.base import AttemptStart
from marketbell.dialects.ovoko import Ovoko
from marketbell.dialects.standard import Standard
from marketbell.errors import InvalidError
from marketbell.model import Message
from support.values import an_endpoint

FIELD = ("body", "headers")

MESSAGE = Message(
    id=7,
    public_id="msg_2KFw7HTKyrpLbNEhNZMYY2nDBjS",
    application_id=3,
    event_type="order.created",
    event_id=None,
    payload=b'{"order_id":"4555"}',
    occurred_at=0,
    created_at=0,
    payload_expires_at=1,
)


@pytest.mark.parametrize(
    "name",
    ["Webhook-Secret", "webhook-key", "X-Api-Key", "Authorization"],
)
def test_a_seller_names_the_static_header(name: str) -> None:
    own = check_headers({name: "s3cret"}, FIELD)
    endpoint = an_endpoint(headers=own)
    for dialect in (Ovoko(), Standard()):
        request = dialect.render(MESSAGE, endpoint, AttemptStart(0, 1))
        assert (name, "s3cret") in request.headers


@pytest.mark.parametrize(
    "name",
    [
        *("X-Azure-Ref", "X-FD-HealthProbe", "X-GFE-Request", "X-Goog-Token"),
        *("X-Google-Metadata-Request", "x-amz-token", "X-Amzn-Trace-Id", "Svix-Shop", "X-Svix-Id"),
    ],
)
def test_what_clouds_go_by_is_refused(name: str) -> None:
    """A metadata service gives out a machine's credentials to who sends its header."""
    with pytest.raises(InvalidError, match="set by the server or a proxy"):
        check_headers({name: "x"}, FIELD)


def test_no_header_that_a_dialect_or_the_sender_sets_is_taken() -> None:
    request = Standard().render(MESSAGE, an_endpoint(), AttemptStart(0, 1))
    for name in (*(name for name, _ in request.headers), "Host", "content-length"):
        with pytest.raises(InvalidError, match="set by the server") as refused:
            check_headers({name.title(): "x"}, FIELD)
        assert refused.value.field == (*FIELD, name.title())
